//! What batches put on experts and on the places where experts live, drawn from a trace.
//!
//! A batch is what meets in a layer at once: tokens of users who have nothing to do with each other.

use std::ops::Range;

use rand::seq::{SliceRandom, index};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::token::Trace;

/// Random stream of batches.
const BATCHES: u64 = 5 << 48;

/// Places in the trace of `count` batches of `batch` tokens each, one after the other, drawn from a range of places: of
/// different users where there are enough, else different tokens, else any. A batch of one token takes the tokens of
/// the range in turn where they are no more than `count`: then there are as many batches as tokens.
pub fn draw_batches(trace: &Trace, places: Range<usize>, batch: usize, count: usize, seed: u64) -> Vec<usize> {
    let places = places.start..places.end.min(trace.len());
    if places.is_empty() || batch == 0 {
        return Vec::new();
    }
    if batch == 1 && places.len() <= count {
        return places.collect();
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(BATCHES);
    let mut of_user = std::collections::BTreeMap::<u32, Vec<usize>>::new();
    for place in places.clone() {
        of_user.entry(trace.users()[place]).or_default().push(place);
    }
    let mut users: Vec<Vec<usize>> = of_user.into_values().collect();
    let mut drawn = Vec::with_capacity(batch.saturating_mul(count));
    for _ in 0..count {
        if users.len() >= batch {
            let (chosen, _) = users.partial_shuffle(&mut random, batch);
            for tokens in chosen {
                drawn.push(tokens[random.random_range(0..tokens.len())]);
            }
        } else if places.len() >= batch {
            drawn.extend(index::sample(&mut random, places.len(), batch).into_iter().map(|at| places.start + at));
        } else {
            drawn.extend((0..batch).map(|_| places.start + random.next_u32() as usize % places.len()));
        }
    }
    drawn
}

/// The experts that drawn tokens chose in a layer, one after the other: `top_k` for each place.
pub fn choices(trace: &Trace, drawn: &[usize], layer: u32) -> Vec<u16> {
    drawn.iter().flat_map(|&place| trace.chosen(place, layer)).copied().collect()
}

/// Expected load of a layer by batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchLoad {
    /// Token-expert pairs of a batch.
    pub pairs: f64,
    /// Different experts among them.
    pub distinct: f64,
    /// Pairs of the busiest place.
    pub busiest: f64,
}

/// The mean load of batches of `pairs` choices each, where expert e lives at `place_of(e)`, one of `places`.
pub fn expected_load(choices: &[u16], pairs: usize, places: usize, place_of: impl Fn(u16) -> usize) -> BatchLoad {
    let mut sum = (0.0, 0.0, 0u32);
    let mut at = vec![0u32; places];
    let mut wanted = Vec::new();
    for batch in choices.chunks_exact(pairs.max(1)) {
        at.iter_mut().for_each(|count| *count = 0);
        for &expert in batch {
            if let Some(count) = at.get_mut(place_of(expert)) {
                *count += 1;
            }
        }
        wanted.clear();
        wanted.extend_from_slice(batch);
        wanted.sort_unstable();
        wanted.dedup();
        let busiest = at.iter().copied().max().unwrap_or(0);
        sum = (sum.0 + wanted.len() as f64, sum.1 + f64::from(busiest), sum.2 + 1);
    }
    let batches = f64::from(sum.2.max(1));
    BatchLoad { pairs: pairs as f64, distinct: sum.0 / batches, busiest: sum.1 / batches }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{SyntheticSettings, generate};

    #[test]
    fn loads_by_hand() {
        let choices = [0u16, 1, 0, 2, 5, 4, 3, 2];
        let alone = expected_load(&choices, 4, 6, usize::from);
        assert_eq!(alone, BatchLoad { pairs: 4.0, distinct: 3.5, busiest: 1.5 });
        let pairs = expected_load(&choices, 4, 3, |expert| usize::from(expert) / 2);
        assert_eq!(pairs, BatchLoad { pairs: 4.0, distinct: 3.5, busiest: 2.5 });
    }

    #[test]
    fn batches_are_of_different_users_where_there_are_enough() {
        let settings = SyntheticSettings { layers: 1, users: 6, tokens: 60, ..SyntheticSettings::qwen3_30b() };
        let trace = generate(&settings).and_then(|mut made| Trace::read(&mut made)).unwrap();
        let drawn = draw_batches(&trace, 0..60, 4, 50, 1);
        assert_eq!(drawn.len(), 200);
        for batch in drawn.chunks(4) {
            let mut users: Vec<u32> = batch.iter().map(|&place| trace.users()[place]).collect();
            users.sort_unstable();
            users.dedup();
            assert_eq!(users.len(), 4);
        }
        assert_eq!(drawn, draw_batches(&trace, 0..60, 4, 50, 1));
        assert_ne!(drawn, draw_batches(&trace, 0..60, 4, 50, 2));
        assert_eq!(draw_batches(&trace, 10..30, 1, 50, 1), (10..30).collect::<Vec<_>>());
        assert_eq!(draw_batches(&trace, 0..60, 20, 3, 1).len(), 60);
        assert_eq!(draw_batches(&trace, 0..4, 20, 3, 1).len(), 60);
        assert!(draw_batches(&trace, 60..60, 20, 3, 1).is_empty());
    }
}
