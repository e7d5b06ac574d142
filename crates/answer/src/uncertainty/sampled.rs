//! Monte Carlo: the figures of many draws of all inputs, and the probability that the target is reached.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::held::{Figures, Held};
use super::inputs::{DISTRIBUTION, Input, Set, drawn};
use super::shares::{Drawings, Shares, shares};
use super::{Counted, Sampling};
use crate::question::Question;

/// What many draws of all inputs give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// Draws.
    pub samples: u32,
    /// Their seed.
    pub seed: u64,
    /// How inputs are distributed.
    pub distribution: Cow<'static, str>,
    /// Values that 5 % of the draws do not exceed, each figure by itself.
    pub p5: Drawn,
    /// The same of half of the draws.
    pub p50: Drawn,
    /// The same of 95 %.
    pub p95: Drawn,
    /// The part of the draws that reach the target.
    pub probability: f64,
    /// The standard error of that part, `sqrt(p (1 - p) / samples)`; 0 where all or none reach it, which `3 / samples`
    /// bounds with a confidence of 95 %.
    pub standard_error: f64,
    /// What causes the variance of each user's speed.
    #[serde(flatten)]
    pub shares: Shares,
}

/// Figures at one part of the draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// Output tokens per second that each user sees.
    pub tokens_per_second_per_user: f64,
    /// Of all users together.
    pub tokens_per_second_total: f64,
    /// Time to first token, in milliseconds: `p95` is the slow end.
    pub time_to_first_token_ms: f64,
    /// Users whom the arrangement serves without slowing any.
    pub users_at_full_speed: u64,
}

/// Draws all inputs again and again. `moving`: those that move the speed, by their places.
pub(super) fn sampled(
    question: &Question,
    held: &Held<'_>,
    inputs: &[Input],
    moving: &[usize],
    sampling: Sampling,
    counted: &Counted<'_>,
) -> Sampled {
    let Sampling { samples, seed } = sampling;
    counted.expect(u64::from(samples));
    let values: Vec<Vec<f64>> = (0..u64::from(samples)).map(|draw| drawn(inputs, seed, Set::A, draw)).collect();
    let figures: Vec<Figures> = values
        .par_iter()
        .map(|draw| {
            let figures = held.figures(&inputs.iter().zip(draw.iter().copied()).collect::<Vec<_>>());
            counted.advance();
            figures
        })
        .collect();
    let speeds: Vec<f64> = figures.iter().map(|figures| figures.speed).collect();
    let reached = speeds.iter().filter(|speed| **speed >= question.scenario.target).count();
    let probability = reached as f64 / f64::from(samples.max(1));
    let of = |part: f64| {
        let ranked = |figure: fn(&Figures) -> f64| rank(figures.iter().map(figure).collect(), part);
        let speed = ranked(|figures| figures.speed);
        Drawn {
            tokens_per_second_per_user: speed,
            tokens_per_second_total: speed * question.scenario.users as f64,
            time_to_first_token_ms: ranked(|figures| figures.first_token_ms),
            users_at_full_speed: ranked(|figures| figures.users_at_full_speed as f64) as u64,
        }
    };
    let drawings = Drawings { inputs, moving, values: &values, speeds: &speeds };
    Sampled {
        samples,
        seed,
        distribution: DISTRIBUTION.into(),
        p5: of(0.05),
        p50: of(0.5),
        p95: of(0.95),
        probability,
        standard_error: (probability * (1.0 - probability) / f64::from(samples.max(1))).sqrt(),
        shares: shares(held, drawings, sampling, counted),
    }
}

/// The smallest value that at least this part of all do not exceed.
fn rank(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (part * values.len() as f64).ceil().max(1.0) as usize - 1;
    values.get(place).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn ranks_are_values_that_were_drawn() {
        let values: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!([0.05, 0.5, 0.95].map(|part| rank(values.clone(), part)), [1.0, 10.0, 19.0]);
        assert_eq!(rank(vec![4.0], 0.95), 4.0);
    }
}
