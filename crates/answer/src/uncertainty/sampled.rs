//! Monte Carlo: the figures of many draws of all inputs, and the probability that the target is reached.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use wafersim_spec::wafer::{DECLARATIONS, Key};

use super::held::{self, Figures, Held};
use super::inputs::{DISTRIBUTION, Input, Set, What, drawn};
use super::room::{Fitting, Rooms};
use super::shares::{Drawings, Shares, shares};
use super::{Counted, Sampling};
use crate::error::AnswerError;

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
    /// The part of the draws in which the users asked for fit on the wafers of the answer.
    pub fits: f64,
    /// The part of the draws that fit and reach the target.
    pub probability: f64,
    /// The standard error of that part, `sqrt(p (1 - p) / samples)`; 0 where all or none reach it, which `3 / samples`
    /// bounds with a confidence of 95 %.
    pub standard_error: f64,
    /// What causes the variance of each user's speed.
    #[serde(flatten)]
    pub shares: Shares,
    /// What causes that of the time to first token.
    #[serde(rename = "first_token_variance")]
    pub first_token: Shares,
    /// What moves the fewest wafers.
    #[serde(rename = "fewest_wafers_variance")]
    pub fewest_wafers: Shares,
    /// What moves the users that the wafers of the answer hold.
    #[serde(rename = "max_users_variance")]
    pub max_users: Shares,
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
    /// The fewest wafers for the users and contexts asked for: `p95` with little memory free; nothing where no number
    /// is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fewest_wafers: Option<u32>,
    /// Users whose KV cache the wafers of the answer hold, in any arrangement: `p5` with little memory free; 0 where
    /// the model does not fit.
    pub max_users: u64,
}

/// What draws are made of: programs, inputs, room, and how many.
#[derive(Clone, Copy)]
pub(super) struct Draws<'a> {
    pub(super) held: &'a Held<'a>,
    pub(super) inputs: &'a [Input],
    pub(super) rooms: Rooms<'a>,
    pub(super) sampling: Sampling,
    pub(super) counted: &'a Counted<'a>,
}

/// Draws all inputs again and again. `moving`: those that move the speed, by their places.
///
/// # Errors
/// Where the mapping cannot be read with another memory.
pub(super) fn sampled(draws: &Draws<'_>, moving: &[usize]) -> Result<Sampled, AnswerError> {
    let Draws { held, inputs, rooms, sampling, counted } = *draws;
    let (Sampling { samples, seed }, scenario) = (sampling, &rooms.question.scenario);
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
    let memory = inputs.iter().position(|input| input.what == What::FreeMemory);
    let free: Vec<f64> = match memory {
        Some(at) => values.iter().filter_map(|draw| draw.get(at).copied()).collect(),
        None => vec![rooms.question.wafer.free_bytes().0 as f64],
    };
    let room = rooms.of_draws(&free)?;
    let fits = |draw: usize| memory.is_none() || free.get(draw).is_some_and(|free| *free >= room.least);
    let count = |holds: &dyn Fn(usize) -> bool| {
        (0..figures.len()).filter(|draw| holds(*draw)).count() as f64 / f64::from(samples.max(1))
    };
    let probability = count(&|draw| fits(draw) && figures[draw].speed >= scenario.target);
    let of = |part: f64, fitting: Fitting| {
        let ranked = |figure: fn(&Figures) -> f64| rank(figures.iter().map(figure).collect(), part);
        let speed = ranked(|figures| figures.speed);
        Drawn {
            tokens_per_second_per_user: speed,
            tokens_per_second_total: speed * scenario.users as f64,
            time_to_first_token_ms: ranked(|figures| figures.first_token_ms),
            users_at_full_speed: ranked(|figures| figures.users_at_full_speed as f64) as u64,
            fewest_wafers: fitting.fewest_wafers,
            max_users: fitting.max_users,
        }
    };
    let speeds: Vec<f64> = figures.iter().map(|figures| figures.speed).collect();
    let first: Vec<f64> = figures.iter().map(|figures| figures.first_token_ms).collect();
    let speed = |set: &[held::Set<'_>]| held.speed(set);
    let first_token = |set: &[held::Set<'_>]| held.figures(set).first_token_ms;
    let moving_first = moving_first(held, inputs);
    let of_speed = Drawings { inputs, moving, values: &values, found: &speeds, figure: &speed };
    let of_first = Drawings { moving: &moving_first, found: &first, figure: &first_token, ..of_speed };
    let name = DECLARATIONS[Key::FreeBytes as usize].path;
    let [p5, p50, p95] = room.parts;
    Ok(Sampled {
        samples,
        seed,
        distribution: DISTRIBUTION.into(),
        p5: of(0.05, p5),
        p50: of(0.5, p50),
        p95: of(0.95, p95),
        fits: count(&fits),
        probability,
        standard_error: (probability * (1.0 - probability) / f64::from(samples.max(1))).sqrt(),
        shares: shares(of_speed, sampling, counted),
        first_token: shares(of_first, sampling, counted),
        fewest_wafers: Shares::alone(room.moves_wafers.then_some(name)),
        max_users: Shares::alone(room.moves_users.then_some(name)),
    })
}

/// The places of inputs that move the first token by themselves.
fn moving_first(held: &Held<'_>, inputs: &[Input]) -> Vec<usize> {
    let first = |values: &[held::Set<'_>]| held.figures(values).first_token_ms;
    let base = first(&[]);
    let moves = |input: &Input| [input.low, input.high].iter().any(|value| first(&[(input, *value)]) != base);
    inputs.par_iter().enumerate().filter(|(_, input)| moves(input)).map(|(at, _)| at).collect()
}

/// Where the value of a rank stands among so many in ascending order.
pub(super) fn place_of_rank(part: f64, count: usize) -> usize {
    (part * count as f64).ceil().max(1.0) as usize - 1
}

/// The smallest value that at least this part of all do not exceed.
fn rank(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(place_of_rank(part, values.len())).copied().unwrap_or(f64::NAN)
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
