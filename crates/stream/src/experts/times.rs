//! What the experts take that tokens really want.
//!
//! Clustered: the rectangle with the most tokens decides; the time beyond that of an even split is lost to waiting.
//! Spread: different experts are worked off one after the other; the time beyond that of tokens that all want the same
//! is counted as lost. Experts of consecutive numbers share a rectangle, where several do.

use rustc_hash::FxHashMap;
use wafersim_answer::Pipeline;
use wafersim_answer::pipeline::{Routed, Station};
use wafersim_lower::{ExpertLoad, PlaceLoad};

use super::{ExpertDelay, ExpertSource, RoutedLayer};
use crate::time::Time;

/// The experts of a pipeline, with a source that says who wants them.
#[derive(Debug)]
pub struct ExpertTimes<'a> {
    pipeline: &'a Pipeline,
    source: Box<dyn ExpertSource + 'a>,
    /// By station: its layers with routed experts.
    layers: Vec<Vec<(Routed, RoutedLayer)>>,
    /// What one layer of each station takes longer than expected, by tokens and by the load that decides.
    longer: FxHashMap<(u32, u64), Vec<i64>>,
    counts: Vec<u32>,
    chosen: Vec<u32>,
}

impl<'a> ExpertTimes<'a> {
    /// Times are read at the context of the pipeline's scenario; what experts take does not depend on it.
    pub fn new(pipeline: &'a Pipeline, source: Box<dyn ExpertSource + 'a>) -> Self {
        let of = |station: &Station| match station {
            Station::Slot { slot, .. } => pipeline.routed(*slot as usize),
            Station::Link { .. } | Station::Return => Vec::new(),
        };
        let found: Vec<Vec<Routed>> = pipeline.stations().iter().map(of).collect();
        let mut order: Vec<u64> = found.iter().flatten().map(|routed| routed.layer).collect();
        order.sort_unstable();
        let counted = |routed: Routed| {
            let index = order.partition_point(|layer| *layer < routed.layer);
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let Routed { layer, experts, top_k, .. } = routed;
            (routed, RoutedLayer { layer, index, experts, top_k })
        };
        let layers = found.into_iter().map(|station| station.into_iter().map(counted).collect()).collect();
        Self { pipeline, source, layers, longer: FxHashMap::default(), counts: Vec::new(), chosen: Vec::new() }
    }

    /// Asks who wants which experts of a layer: the load that follows.
    fn load(&mut self, users: &[u32], tokens: u32, (routed, layer): (Routed, RoutedLayer)) -> ExpertLoad {
        self.counts.clear();
        self.counts.resize(usize::try_from(routed.experts).unwrap_or(0), 0);
        for user in users {
            for _ in 0..tokens {
                self.source.choose(*user, layer, &mut self.chosen);
                for expert in &self.chosen {
                    if let Some(count) = self.counts.get_mut(*expert as usize) {
                        *count += 1;
                    }
                }
            }
        }
        let distinct = self.counts.iter().filter(|count| **count > 0).count() as u64;
        let each = usize::try_from(routed.rectangle.unwrap_or(1)).unwrap_or(1).max(1);
        let busiest = self.counts.chunks(each).map(|cell| cell.iter().sum::<u32>()).max().unwrap_or(0);
        let pairs = u64::from(tokens).saturating_mul(users.len() as u64).saturating_mul(routed.top_k);
        ExpertLoad { distinct: distinct.max(1), ..in_rectangle(pairs, u64::from(busiest).max(1)) }
    }

    /// What one layer of a station takes longer than expected with a load of which `decides` counts.
    fn longer(&mut self, station: usize, tokens: u32, load: ExpertLoad, decides: u64) -> i64 {
        let (pipeline, layers) = (self.pipeline, &self.layers);
        let context = pipeline.question().scenario.context;
        let by_station = self.longer.entry((tokens, decides)).or_insert_with(|| {
            let expected = pipeline.decode(u64::from(tokens), context, None);
            let wanted = pipeline.decode(u64::from(tokens), context, Some(load));
            let pairs = wanted.stations.iter().zip(&expected.stations).zip(layers);
            let longer = pairs.map(|((wanted, expected), layers)| {
                let cycles = (wanted.transit.0 - expected.transit.0) / layers.len().max(1) as f64;
                // A cast saturates.
                (cycles / pipeline.clock().0 * 1e12).round() as i64
            });
            longer.collect()
        });
        by_station.get(station).copied().unwrap_or(0)
    }
}

/// So many of all pairs in the busiest rectangle.
fn in_rectangle(pairs: u64, busiest: u64) -> ExpertLoad {
    let place = PlaceLoad { pairs: busiest, distinct: 1, tokens: busiest };
    ExpertLoad { busiest: place, column: place, ..ExpertLoad::spread(pairs, 1) }
}

impl ExpertDelay for ExpertTimes<'_> {
    fn draw(&mut self, users: &[u32], each: u32, longer: &mut Vec<i64>) -> Time {
        let tokens = u32::try_from(users.len()).unwrap_or(u32::MAX).saturating_mul(each);
        longer.clear();
        longer.resize(self.layers.len(), 0);
        let mut waited = 0u64;
        for (station, total) in longer.iter_mut().enumerate() {
            for index in 0..self.layers[station].len() {
                let (routed, layer) = self.layers[station][index];
                let load = self.load(users, each, (routed, layer));
                // What decides, and the same load with the least of it.
                let (decides, least, best) = match routed.rectangle {
                    Some(_) => {
                        let least = load.pairs.div_ceil(routed.experts.max(1)).max(1);
                        (
                            load.busiest.pairs,
                            least,
                            ExpertLoad { distinct: load.distinct, ..in_rectangle(load.pairs, least) },
                        )
                    }
                    None => {
                        let least = routed.top_k.min(load.pairs).max(1);
                        (load.distinct, least, ExpertLoad { distinct: least, ..load })
                    }
                };
                let here = self.longer(station, tokens, load, decides);
                let at_best = self.longer(station, tokens, best, least);
                *total = total.saturating_add(here);
                waited = waited.saturating_add(u64::try_from(here.saturating_sub(at_best)).unwrap_or(0));
            }
        }
        Time(waited)
    }
}
