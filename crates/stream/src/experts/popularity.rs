//! Experts drawn from their popularity: tokens and layers independent.

use std::collections::BTreeMap;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use wafersim_answer::expert_load::use_probabilities;

use super::{ExpertSource, RoutedLayer};
use crate::random::{Purpose, stream};

/// Draws before a token takes the first expert that it has not got: only where it uses nearly all of them.
const MOST_DRAWS: u32 = 64;

/// The popularity of a routing model (`wafersim_answer::expert_load`), by rank; which expert has which rank is drawn
/// once for each layer.
#[derive(Debug)]
pub struct Popularity<'r> {
    routing: wafersim_mapping::ExpertUse<'r>,
    random: ChaCha8Rng,
    layers: BTreeMap<u64, Law>,
}

#[derive(Debug)]
struct Law {
    /// Cumulative popularity by rank.
    sums: Vec<f64>,
    /// Expert of each rank.
    experts: Vec<u32>,
}

impl<'r> Popularity<'r> {
    /// Draws by a routing model.
    pub fn new(routing: impl Into<wafersim_mapping::ExpertUse<'r>>, seed: u64) -> Self {
        Self { routing: routing.into(), random: stream(seed, Purpose::Experts), layers: BTreeMap::new() }
    }
}

impl ExpertSource for Popularity<'_> {
    fn choose(&mut self, _user: u32, layer: RoutedLayer, chosen: &mut Vec<u32>) {
        let RoutedLayer { layer, experts, top_k, .. } = layer;
        chosen.clear();
        let (random, routing) = (&mut self.random, self.routing);
        let law = self.layers.entry(layer).or_insert_with(|| {
            let mut sum = 0.0;
            let sums = use_probabilities(experts, top_k, routing).into_iter().map(|part| {
                sum += part;
                sum
            });
            let sums: Vec<f64> = sums.collect();
            let mut experts: Vec<u32> = (0..u32::try_from(sums.len()).unwrap_or(u32::MAX)).collect();
            experts.shuffle(random);
            Law { sums, experts }
        });
        let total = law.sums.last().copied().unwrap_or(0.0);
        for _ in 0..top_k.min(law.experts.len() as u64) {
            let mut draw = || {
                let at = random.random::<f64>() * total;
                let rank = law.sums.partition_point(|sum| *sum <= at);
                law.experts.get(rank).copied().filter(|expert| !chosen.contains(expert))
            };
            let drawn = (0..MOST_DRAWS).find_map(|_| draw());
            let drawn = drawn.or_else(|| law.experts.iter().copied().find(|expert| !chosen.contains(expert)));
            chosen.extend(drawn);
        }
    }
}
