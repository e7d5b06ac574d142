//! Two levers together, neither of which would do as it stands there: the pairs that have to move least.
//!
//! A pair's price is the root of the sum of the squares of both ways in octaves: two short ways are cheaper than a
//! long one. It weighs a clock of twice the rate as much as half the users: what an octave of either costs is the
//! reader's to say. Pairs that are hardly cheaper than one of the two by itself are left out.

use rayon::prelude::*;
use serde::Serialize;
use wafersim_answer::Reread;

use super::Value;
use super::levers::{Candidate, Values, What, octaves};
use super::pricing::{Change, Pricing, reread};
use super::seek::{Sought, moved};

/// A parameter with the value that it takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Part {
    /// Its path.
    pub path: String,
    /// Its value.
    pub value: Value,
}

/// Two parameters that reach the target together.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pair {
    /// Both, with their values.
    pub levers: [Part; 2],
    /// How far both have to move: the root of the sum of the squares, in octaves.
    pub octaves: f64,
    /// Tokens per second of each user.
    pub speed: f64,
}

/// Rates that are paired: those that give most for an octave.
const RATES: usize = 7;
/// Steps of each setting that are paired.
const STEPS: usize = 4;
/// Pairs that are named.
const NAMED: usize = 10;
/// The farthest that a rate is moved in a pair, and the steps on the way there.
const FARTHEST: f64 = 5.0;
const GRID: usize = 10;
/// How much cheaper a pair must be than one of its members.
const CHEAPER: f64 = 0.95;
/// Halvings of a way in octaves.
const HALVINGS: u32 = 12;

/// A setting with a value, and the programs that are written for it.
struct Step<'a> {
    candidate: &'a Candidate,
    value: Value,
    octaves: f64,
    read: Reread,
}

/// The cheapest pairs.
pub(super) fn cheapest(pricing: &Pricing, found: &[Sought], target: f64) -> Vec<Pair> {
    let base = pricing.as_it_is();
    let rates = rates(base, found);
    let steps = steps(pricing, found, target);
    let of_rates = pairs_of(rates.len())
        .into_par_iter()
        .filter_map(|(one, other)| two_rates(base, rates[one], rates[other], target));
    let with_steps =
        steps.par_iter().flat_map_iter(|step| rates.iter().filter_map(move |rate| step_and_rate(step, rate, target)));
    let of_steps = pairs_of(steps.len())
        .into_par_iter()
        .filter_map(|(one, other)| two_steps(pricing, &steps[one], &steps[other], target));
    let is_cheaper = |pair: &Pair| {
        let alone = |part: &Part| found.iter().find(|sought| sought.lever.path == part.path)?.lever.octaves;
        pair.levers.iter().filter_map(alone).all(|octaves| pair.octaves < CHEAPER * octaves)
    };
    let all = of_rates.chain(with_steps).chain(of_steps);
    let mut pairs: Vec<Pair> = all.filter(is_cheaper).collect();
    pairs.sort_by(|one, other| one.octaves.total_cmp(&other.octaves));
    let mut named: Vec<Pair> = Vec::new();
    for pair in pairs {
        let paths = |pair: &Pair| [pair.levers[0].path.clone(), pair.levers[1].path.clone()];
        if named.len() < NAMED && named.iter().all(|known| paths(known) != paths(&pair)) {
            named.push(pair);
        }
    }
    named
}

fn pairs_of(count: usize) -> Vec<(usize, usize)> {
    (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other))).collect()
}

/// Rates above 0 that give most where they are twice as good.
fn rates<'a>(base: &Reread, found: &'a [Sought]) -> Vec<&'a Candidate> {
    let is_rate = |candidate: &Candidate| match (candidate.what, &candidate.values) {
        (What::Rate(_), Values::Real { from, .. }) => *from > 0.0,
        _ => false,
    };
    let mut rates: Vec<(f64, &Candidate)> = found
        .iter()
        .filter(|sought| is_rate(&sought.candidate))
        .filter_map(|sought| Some((moved(base, &sought.candidate, 1.0)?.1, &sought.candidate)))
        .collect();
    rates.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    rates.into_iter().take(RATES).map(|(_, candidate)| candidate).collect()
}

/// Settings on their way, as far as they do not reach the target by themselves.
fn steps<'a>(pricing: &Pricing, found: &'a [Sought], target: f64) -> Vec<Step<'a>> {
    let all: Vec<(&Candidate, Value, f64)> = found
        .iter()
        .filter(|sought| matches!(sought.candidate.what, What::Setting(_)) && sought.candidate.path != "wafers")
        .flat_map(|sought| {
            let candidate = &sought.candidate;
            let values: Vec<(Value, f64)> = match &candidate.values {
                Values::Each(each) => {
                    let measured = each.iter().filter_map(|(value, far)| Some((value.clone(), (*far)?)));
                    measured.take(STEPS).collect()
                }
                Values::Whole { from, to } => (1..=STEPS)
                    .map(|step| from >> step)
                    .take_while(|value| value >= to && *value > 0)
                    .filter_map(|value| Some((Value::Whole(value), octaves(*from as f64, value as f64)?)))
                    .collect(),
                Values::Real { .. } => Vec::new(),
            };
            values.into_iter().map(move |(value, far)| (candidate, value, far))
        })
        .collect();
    let written = all.into_par_iter().filter_map(|(candidate, value, octaves)| {
        let read = pricing.written(&[(candidate.what, value.clone())])?;
        (read.speed() < target).then_some(Step { candidate, value, octaves, read })
    });
    written.collect()
}

/// The least way of a rate with which `speed` reaches the target; nothing where none up to [`FARTHEST`] does.
fn least(speed: impl Fn(f64) -> f64, target: f64) -> Option<f64> {
    if speed(FARTHEST) < target {
        return None;
    }
    let (mut short, mut enough) = (0.0, FARTHEST);
    for _ in 0..HALVINGS {
        let middle = 0.5 * (short + enough);
        if speed(middle) >= target { enough = middle } else { short = middle }
    }
    Some(enough)
}

fn two_rates(base: &Reread, one: &Candidate, other: &Candidate, target: f64) -> Option<Pair> {
    let at =
        |candidate: &Candidate, octaves: f64| moved(base, candidate, octaves).map(|(value, _)| (candidate.what, value));
    let speed = |first: f64, second: f64| {
        let changes: Option<Vec<Change>> = [at(one, first), at(other, second)].into_iter().collect();
        changes.and_then(|changes| reread(base, &changes)).unwrap_or(0.0)
    };
    let tried = (1..=GRID).filter_map(|step| {
        let first = FARTHEST * (step as f64 / GRID as f64).powi(2);
        // The first by itself would do from here on.
        (speed(first, 0.0) < target)
            .then(|| least(|second| speed(first, second), target).map(|second| (first, second)))?
    });
    let (first, second) = tried.min_by(|(a, b), (c, d)| a.hypot(*b).total_cmp(&c.hypot(*d)))?;
    let value = |candidate: &Candidate, octaves: f64| moved(base, candidate, octaves).map(|(value, _)| value);
    let part = |candidate: &Candidate, octaves: f64| {
        Some(Part { path: candidate.path.clone(), value: value(candidate, octaves)? })
    };
    Some(Pair {
        levers: [part(one, first)?, part(other, second)?],
        octaves: first.hypot(second),
        speed: speed(first, second),
    })
}

fn step_and_rate(step: &Step<'_>, rate: &Candidate, target: f64) -> Option<Pair> {
    let far = least(|octaves| moved(&step.read, rate, octaves).map_or(0.0, |(_, speed)| speed), target)?;
    let (value, speed) = moved(&step.read, rate, far)?;
    let one = Part { path: step.candidate.path.clone(), value: step.value.clone() };
    let other = Part { path: rate.path.clone(), value };
    Some(Pair { levers: [one, other], octaves: step.octaves.hypot(far), speed })
}

fn two_steps(pricing: &Pricing, one: &Step<'_>, other: &Step<'_>, target: f64) -> Option<Pair> {
    if one.candidate.path == other.candidate.path {
        return None;
    }
    let change = |step: &Step<'_>| (step.candidate.what, step.value.clone());
    let speed = pricing.speed(&[change(one), change(other)]).filter(|speed| *speed >= target)?;
    let part = |step: &Step<'_>| Part { path: step.candidate.path.clone(), value: step.value.clone() };
    Some(Pair { levers: [part(one), part(other)], octaves: one.octaves.hypot(other.octaves), speed })
}
