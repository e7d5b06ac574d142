//! One lever by itself: bisection where it is a number, one value after the other where it is not.

use rayon::prelude::*;
use wafersim_answer::Reread;

use super::levers::{Candidate, Setting, Side, Values, What, octaves};
use super::pricing::{Change, Pricing, reread};
use super::{Known, Lever, Part, Published, Value};

/// A lever with where it comes from.
pub(super) struct Sought {
    pub(super) candidate: Candidate,
    pub(super) lever: Lever,
}

/// Halvings of a range of numbers: 1e-9 of it is left.
const HALVINGS: u32 = 30;
/// Levers that a mapping is looked for anew for, and how much of the target they must reach without one.
const SEARCHES: usize = 4;
const NEAR: f64 = 0.75;

/// What was found along a range of values.
struct Along {
    /// The value that decides, and whether there is one.
    value: Option<Value>,
    octaves: Option<f64>,
    limit: Value,
    speed_at_limit: f64,
}

/// One lever, all others as they are.
pub(super) fn alone(pricing: &Pricing, candidate: &Candidate, side: Side, target: f64) -> Sought {
    let holds = |speed: f64| speed >= target;
    let with: Vec<Change> =
        candidate.with.iter().map(|(setting, _, value)| (What::Setting(*setting), value.clone())).collect();
    let along = match &candidate.values {
        Values::Real { from, to } => {
            let written = if with.is_empty() { None } else { pricing.written(&with) };
            let read = written.as_ref().unwrap_or_else(|| pricing.as_it_is());
            let speed = |value: f64| reread(read, &[(candidate.what, Value::Real(value))]).unwrap_or(0.0);
            real(*from, *to, side, &|value| holds(speed(value)), &speed)
        }
        Values::Whole { from, to } => {
            let speed = |value: u64| pricing.speed(&[(candidate.what, Value::Whole(value))]).unwrap_or(0.0);
            whole(*from, *to, side, &|value| holds(speed(value)), &speed)
        }
        Values::Each(each) => {
            let speeds: Vec<f64> =
                each.par_iter()
                    .map(|(value, _)| {
                        let known = pricing.considered.iter().find(|known| {
                            candidate.path == "wafers" && Some(f64::from(known.wafers)) == value.number()
                        });
                        match known {
                            Some(known) => known.tokens_per_second_per_user,
                            None => pricing.speed(&[(candidate.what, value.clone())]).unwrap_or(0.0),
                        }
                    })
                    .collect();
            one_of(candidate, each, &speeds, side, &holds)
        }
    };
    let at_limit = || {
        let mut changes = with.clone();
        changes.push((candidate.what, along.limit.clone()));
        pricing.bound(&changes)
    };
    let reached = along.value.is_some();
    let octaves = of_acceptance(pricing, candidate, &along).or(along.octaves);
    let state = match side {
        _ if reached => Known::Reached,
        Side::Reach if at_limit() < target => Known::Excluded,
        Side::Reach | Side::Lose => Known::NotFound,
    };
    let published = published(pricing, candidate);
    let number = along.value.as_ref().and_then(Value::number);
    let in_published_range = match (candidate.what, number) {
        (What::Rate(declared), Some(number)) => {
            let figure = pricing.base.wafer.figure(declared.key);
            Some((figure.low..=figure.high).contains(&number))
        }
        _ => None,
    };
    let with = candidate.with.iter();
    let unit = match candidate.what {
        What::Rate(declared) | What::Machine(declared) => declared.unit,
        What::Setting(_) => "",
    };
    let lever = Lever {
        path: candidate.path.clone(),
        unit,
        current: candidate.current.clone(),
        octaves,
        reached,
        state,
        value: along.value,
        limit: along.limit,
        speed_at_limit: along.speed_at_limit,
        in_published_range,
        published,
        with: with.map(|(_, path, value)| Part { path: (*path).to_owned(), value: value.clone() }).collect(),
        searched: false,
    };
    Sought { candidate: candidate.clone(), lever }
}

/// Acceptance moves as far as the tokens of a step do that it gives.
fn of_acceptance(pricing: &Pricing, candidate: &Candidate, along: &Along) -> Option<f64> {
    if candidate.what != What::Setting(Setting::Acceptance) {
        return None;
    }
    let mut changed = pricing.base.scenario.clone();
    let with = candidate.with.iter().map(|(setting, _, value)| (*setting, value));
    for (setting, value) in with.chain([(Setting::Acceptance, along.value.as_ref()?)]) {
        setting.apply(&mut changed, value)?;
    }
    octaves(pricing.base.scenario.speculation.tokens_per_step(), changed.speculation.tokens_per_step())
}

fn published(pricing: &Pricing, candidate: &Candidate) -> Option<Published> {
    let What::Rate(declared) = candidate.what else { return None };
    let figure = pricing.base.wafer.figure(declared.key);
    let speed = |value: f64| reread(pricing.as_it_is(), &[(candidate.what, Value::Real(value))]);
    (figure.low < figure.high).then_some(Published {
        low: figure.low,
        high: figure.high,
        evidence: figure.evidence,
        speed_at_low: speed(figure.low)?,
        speed_at_high: speed(figure.high)?,
    })
}

/// Where along a range of numbers the target is reached first, or kept last.
fn real(from: f64, to: f64, side: Side, holds: &dyn Fn(f64) -> bool, speed: &dyn Fn(f64) -> f64) -> Along {
    // Where both ends are above 0 the range is one of factors.
    let is_log = from > 0.0 && to > 0.0;
    let at = |part: f64| match part {
        0.0 => from,
        1.0 => to,
        part if is_log => from * (to / from).powf(part),
        part => from + (to - from) * part,
    };
    let decides = |value: f64| holds(value) == (side == Side::Reach);
    let limit = Value::Real(to);
    let speed_at_limit = speed(to);
    if decides(from) && from != 0.0 {
        // What goes with it decides already: how little of it would do.
        return Along { limit, speed_at_limit, ..real(0.0, from, side, holds, speed) };
    }
    let (mut before, mut behind) = (0.0, 1.0);
    if !decides(to) {
        return Along { value: None, octaves: None, limit, speed_at_limit };
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (before + behind);
        if decides(at(middle)) { behind = middle } else { before = middle }
    }
    // The side on which the target holds.
    let value = at(if side == Side::Reach { behind } else { before });
    Along { octaves: octaves(from, value), value: Some(Value::Real(value)), limit, speed_at_limit }
}

/// The same of whole numbers.
fn whole(from: u64, to: u64, side: Side, holds: &dyn Fn(u64) -> bool, speed: &dyn Fn(u64) -> f64) -> Along {
    let decides = |value: u64| holds(value) == (side == Side::Reach);
    let limit = Value::Whole(to);
    let speed_at_limit = speed(to);
    if !decides(to) {
        return Along { value: None, octaves: None, limit, speed_at_limit };
    }
    let (mut before, mut behind) = (from, to);
    while before.abs_diff(behind) > 1 {
        let middle = before.midpoint(behind);
        if decides(middle) { behind = middle } else { before = middle }
    }
    let value = if side == Side::Reach { behind } else { before };
    let octaves = octaves(from as f64, value as f64);
    Along { octaves, value: Some(Value::Whole(value)), limit, speed_at_limit }
}

/// The same of several values: the first that decides.
fn one_of(
    candidate: &Candidate,
    each: &[(Value, Option<f64>)],
    speeds: &[f64],
    side: Side,
    holds: &dyn Fn(f64) -> bool,
) -> Along {
    let all = || each.iter().zip(speeds);
    let sign = if side == Side::Reach { 1.0 } else { -1.0 };
    let farthest = all().max_by(|(_, one), (_, other)| (sign * **one).total_cmp(&(sign * **other)));
    let (limit, speed_at_limit) =
        farthest.map_or((candidate.current.clone(), 0.0), |((value, _), speed)| (value.clone(), *speed));
    let first = all().position(|(_, speed)| holds(*speed) == (side == Side::Reach));
    let Some(first) = first else { return Along { value: None, octaves: None, limit, speed_at_limit } };
    let is_word = matches!(each.get(first), Some((Value::Word(_), None)));
    let decided =
        if side == Side::Reach || is_word { each.get(first) } else { first.checked_sub(1).and_then(|at| each.get(at)) };
    let (value, octaves) = decided.map_or((candidate.current.clone(), Some(0.0)), |(value, far)| (value.clone(), *far));
    Along { value: Some(value), octaves, limit, speed_at_limit }
}

/// Looks for mappings anew at the ends of those levers that stay a little short, and seeks again with what is found.
pub(super) fn anew(pricing: &Pricing, found: &mut [Sought], target: f64) -> u64 {
    let is_near = |sought: &Sought| {
        let is_of_mapping = ["mapping", "profile", "wafers"].contains(&sought.lever.path.as_str());
        sought.lever.state == Known::NotFound && !is_of_mapping && sought.lever.speed_at_limit >= NEAR * target
    };
    let mut near: Vec<&mut Sought> = found.iter_mut().filter(|sought| is_near(sought)).collect();
    near.sort_by(|one, other| other.lever.speed_at_limit.total_cmp(&one.lever.speed_at_limit));
    near.truncate(SEARCHES);
    let count = near.len() as u64;
    for sought in near {
        let with = sought.candidate.with.iter().map(|(setting, _, value)| (What::Setting(*setting), value.clone()));
        let mut changes: Vec<Change> = with.collect();
        changes.push((sought.candidate.what, sought.lever.limit.clone()));
        let again = pricing.search(&changes).and_then(|searched| pricing.with_found(searched));
        let again = again.map(|pricing| alone(&pricing, &sought.candidate, Side::Reach, target));
        sought.lever.searched = true;
        if let Some(again) = again.filter(|again| again.lever.speed_at_limit > sought.lever.speed_at_limit) {
            sought.lever = Lever { searched: true, ..again.lever };
        }
    }
    count
}

/// Speed of programs with one number of a lever moved by so many octaves to what is faster.
pub(super) fn moved(read: &Reread, candidate: &Candidate, octaves: f64) -> Option<(Value, f64)> {
    let (What::Rate(declared), Values::Real { from, .. }) = (candidate.what, &candidate.values) else { return None };
    let factor = 2_f64.powf(if declared.is_faster_when_larger() { octaves } else { -octaves });
    let value = Value::Real((from * factor).clamp(declared.smallest, declared.largest));
    let speed = reread(read, &[(candidate.what, value.clone())])?;
    Some((value, speed))
}
