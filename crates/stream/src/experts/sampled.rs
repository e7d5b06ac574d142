//! Experts drawn token by token from their popularity.
//!
//! Each token of a micro-batch draws its experts in every layer, without replacement, with the popularity of the scenario's routing
//! (`wafersim_answer::routing`): independent of other tokens and layers. Clustered: the rectangle with the most tokens
//! decides; the time beyond that of an even split is lost to waiting. Spread: different experts are converted and worked off
//! one after the other; the time beyond that of tokens that all want the same is counted as lost.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rustc_hash::FxHashMap;
use wafersim_answer::Pipeline;
use wafersim_answer::pipeline::{Routed, Station};
use wafersim_answer::routing::use_probabilities;
use wafersim_kernels::feed_forward::ExpertLoad;

use super::ExpertSource;
use crate::random::{Purpose, stream};
use crate::time::Time;

/// Draws before a token takes the most popular expert that it has not got: only where it uses nearly all of them.
const MOST_DRAWS: u32 = 64;

/// Experts drawn from their popularity.
#[derive(Debug)]
pub struct Sampled<'a> {
    pipeline: &'a Pipeline,
    /// By station: its layers with routed experts.
    layers: Vec<Vec<Routed>>,
    /// Cumulative popularity by number of experts and experts per token.
    popularity: Vec<((u64, u64), Vec<f64>)>,
    random: ChaCha8Rng,
    /// Longer than expected, by tokens and load, of one layer at each station.
    longer: FxHashMap<(u32, u64), Vec<i64>>,
    counts: Vec<u32>,
    context: u64,
}

impl<'a> Sampled<'a> {
    /// The experts of a pipeline. Times are read at the context of its scenario; what experts take does not depend on it.
    pub fn new(pipeline: &'a Pipeline, seed: u64) -> Self {
        let of = |station: &Station| match station {
            Station::Slot { slot, .. } => pipeline.routed(*slot as usize),
            Station::Link { .. } | Station::Return => Vec::new(),
        };
        let layers: Vec<Vec<Routed>> = pipeline.stations().iter().map(of).collect();
        let scenario = &pipeline.question().scenario;
        let mut popularity: Vec<((u64, u64), Vec<f64>)> = Vec::new();
        for routed in layers.iter().flatten() {
            let key = (routed.experts, routed.top_k);
            if popularity.iter().all(|(known, _)| *known != key) {
                let mut sum = 0.0;
                let law = use_probabilities(routed.experts, routed.top_k, scenario.routing);
                popularity.push((
                    key,
                    law.into_iter()
                        .map(|part| {
                            sum += part;
                            sum
                        })
                        .collect(),
                ));
            }
        }
        Self {
            pipeline,
            layers,
            popularity,
            random: stream(seed, Purpose::Experts),
            longer: FxHashMap::default(),
            counts: Vec::new(),
            context: scenario.context,
        }
    }

    /// Draws the experts of a layer: the load that decides.
    fn load(&mut self, tokens: u32, routed: Routed) -> ExpertLoad {
        let key = (routed.experts, routed.top_k);
        let law = self.popularity.iter().find(|(known, _)| *known == key).map(|(_, law)| law.as_slice());
        let law = law.unwrap_or(&[]);
        let total = law.last().copied().unwrap_or(0.0);
        self.counts.clear();
        self.counts.resize(law.len(), 0);
        // An expert's count is marked with the token that drew it last, so that no token draws it twice.
        let mut last = vec![u32::MAX; law.len()];
        for token in 0..tokens {
            for _ in 0..routed.top_k.min(law.len() as u64) {
                let mut drawn = None;
                for _ in 0..MOST_DRAWS {
                    let at = self.random.random::<f64>() * total;
                    let expert = law.partition_point(|sum| *sum <= at).min(law.len() - 1);
                    if last[expert] != token {
                        drawn = Some(expert);
                        break;
                    }
                }
                let drawn = drawn.or_else(|| last.iter().position(|mark| *mark != token));
                if let Some(expert) = drawn {
                    last[expert] = token;
                    self.counts[expert] += 1;
                }
            }
        }
        let distinct = self.counts.iter().filter(|count| **count > 0).count() as u64;
        let each = usize::try_from(routed.rectangle.unwrap_or(1)).unwrap_or(1).max(1);
        let busiest = self.counts.chunks(each).map(|cell| cell.iter().sum::<u32>()).max().unwrap_or(0);
        let pairs = u64::from(tokens) * routed.top_k;
        ExpertLoad { pairs, distinct, busiest: u64::from(busiest).max(1) }
    }

    /// What one layer of each station takes longer than expected, with a load in all of them.
    fn longer(&mut self, tokens: u32, load: ExpertLoad, decides: u64) -> &[i64] {
        let (pipeline, context, layers) = (self.pipeline, self.context, &self.layers);
        self.longer.entry((tokens, decides)).or_insert_with(|| {
            let expected = pipeline.decode(u64::from(tokens), context, None);
            let drawn = pipeline.decode(u64::from(tokens), context, Some(load));
            let pairs = drawn.stations.iter().zip(&expected.stations).zip(layers);
            let longer = pairs.map(|((drawn, expected), layers)| {
                let cycles = (drawn.transit.0 - expected.transit.0) / layers.len().max(1) as f64;
                // A cast saturates.
                (cycles / pipeline.clock().0 * 1e12).round() as i64
            });
            longer.collect()
        })
    }
}

impl ExpertSource for Sampled<'_> {
    fn draw(&mut self, tokens: u32, longer: &mut Vec<i64>) -> Time {
        longer.clear();
        longer.resize(self.layers.len(), 0);
        let mut waited = 0u64;
        for (station, total) in longer.iter_mut().enumerate() {
            for index in 0..self.layers[station].len() {
                let routed = self.layers[station][index];
                let load = self.load(tokens, routed);
                let (decides, least) = match routed.rectangle {
                    Some(_) => (load.busiest, load.pairs.div_ceil(routed.experts).max(1)),
                    None => (load.distinct, routed.top_k.min(load.pairs)),
                };
                let best = match routed.rectangle {
                    Some(_) => ExpertLoad { busiest: least, ..load },
                    None => ExpertLoad { distinct: least, ..load },
                };
                let here = self.longer(tokens, load, decides).get(station).copied().unwrap_or(0);
                let at_best = self.longer(tokens, best, least).get(station).copied().unwrap_or(0);
                *total = total.saturating_add(here);
                waited += u64::try_from(here.saturating_sub(at_best)).unwrap_or(0);
            }
        }
        Time(waited)
    }
}
