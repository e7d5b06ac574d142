//! The most users of a machine for which all levels hold.

use rayon::prelude::*;
use wafersim_stream::ServiceOutcome;
use wafersim_stream::observer::Nobody;
use wafersim_stream::run::{Server, Under};
use wafersim_stream::scenario::LoadScenario;

use super::designs::Design;
use super::levels::Level;
use super::{Asked, Kept, is_counted, machines, with_users};

/// What a design came to.
pub(super) struct Found {
    /// Most users for which all levels hold.
    pub(super) most: Option<f64>,
    /// Why one is too many.
    pub(super) why_not: Option<String>,
    /// What one user alone sees, level by level.
    pub(super) of_one: Vec<Option<f64>>,
    /// The least headroom of one user; below 0 where a level does not hold.
    pub(super) headroom_of_one: f64,
}

/// A design, confirmed with several seeds.
pub(super) struct Confirmed {
    /// Most users of a machine.
    pub(super) most: f64,
    /// Users of each machine.
    pub(super) users: f64,
    /// Levels as they are with these.
    pub(super) kept: Vec<Kept>,
    /// The level that more than the most would break.
    pub(super) binds: Option<String>,
    /// What went through a machine.
    pub(super) traffic: Traffic,
}

/// What goes through a machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    pub(super) tokens_per_second: f64,
    pub(super) median_speed: f64,
    pub(super) input_per_output: f64,
    pub(super) cached: f64,
    pub(super) ttft_p95: f64,
    pub(super) speed_p5: f64,
}

/// Seconds before a window; sessions are begun in it.
const WARM_UP: f64 = 300.0;
/// A window has about so many user-seconds, and so many seconds at least and at most.
const USER_SECONDS: f64 = 12_000.0;
const WINDOW: (f64, f64) = (300.0, 2400.0);
/// Users are found to so small a part.
const PRECISION: f64 = 0.02;
/// By how much users are taken away where the mean of all seeds does not hold, and how often.
const LESS: f64 = 0.95;
const ROUNDS: usize = 12;

/// The load of a machine with so many users, for a run of a seed.
pub(super) fn under(asked: &Asked, load: &LoadScenario, users: f64, seed: u64) -> Under {
    let scenario = &asked.scenario;
    // A window that was given is one for all users: it is as long for a machine's.
    let usual = (USER_SECONDS / users.max(1e-9)).clamp(WINDOW.0, WINDOW.1);
    let warm_up = if scenario.warm_up > 0.0 { scenario.warm_up } else { WARM_UP };
    Under { load: with_users(load, users), warm_up, window: scenario.window.unwrap_or(usual), seed }
}

/// A run of so many users.
pub(super) fn run(asked: &Asked, server: &Server, load: &LoadScenario, users: f64, seed: u64) -> ServiceOutcome {
    server.under(under(asked, load, users, seed)).run(&mut Nobody, |_| {})
}

/// The least headroom of all levels in a run, and whose it is.
pub(super) fn tightest<'a>(levels: &'a [Level], outcome: &ServiceOutcome) -> (f64, Option<&'a Level>) {
    let each = levels
        .iter()
        .map(|level| (level.value(outcome).map_or(f64::NEG_INFINITY, |value| level.headroom(value)), Some(level)));
    let least = each.fold((f64::INFINITY, None), |least, here| if here.0 < least.0 { here } else { least });
    if outcome.steady.state == wafersim_stream::result::State::Growing { (f64::NEG_INFINITY, least.1) } else { least }
}

/// The most users of every design.
pub(super) fn most_users(asked: &Asked, all: &[Design], users: f64) -> Vec<Found> {
    all.par_iter().map(|design| of_design(asked, design, users)).collect()
}

fn of_design(asked: &Asked, design: &Design, users: f64) -> Found {
    let server = match &design.server {
        Ok(server) => server,
        Err(why) => {
            let (most, of_one, headroom_of_one) = (None, Vec::new(), f64::NEG_INFINITY);
            return Found { most, why_not: Some(why.clone()), of_one, headroom_of_one };
        }
    };
    let load = &asked.scenario.load;
    let least = least_of(load);
    let one = run(asked, server, load, least, asked.scenario.seed);
    let of_one = asked.levels.iter().map(|level| level.value(&one)).collect();
    let (headroom_of_one, binds) = tightest(&asked.levels, &one);
    if headroom_of_one < 0.0 {
        let why = binds.map(|level| format!("{level} with one user: {:.4}", level.value(&one).unwrap_or(f64::NAN)));
        return Found { most: None, why_not: why, of_one, headroom_of_one };
    }
    let holds = |count: f64| tightest(&asked.levels, &run(asked, server, load, count, asked.scenario.seed)).0 >= 0.0;
    let start = if is_counted(load) { design.holds as f64 } else { users / 4.0 };
    Found { most: Some(bisected(asked, least, start, users, &holds)), why_not: None, of_one, headroom_of_one }
}

/// The smallest load of a machine: a user, or a request in some minutes.
pub(super) fn least_of(load: &LoadScenario) -> f64 {
    match load {
        LoadScenario::Open(load) => (load.rate * 1e-3).min(0.01),
        _ => 1.0,
    }
}

/// The most users that hold: `least` do. `start` is where to look first, `all` the most that are wanted.
pub(super) fn bisected(asked: &Asked, least: f64, start: f64, all: f64, holds: &dyn Fn(f64) -> bool) -> f64 {
    let counted = is_counted(&asked.scenario.load);
    let step = |value: f64| if counted { value.round() } else { value };
    let (mut good, mut bad) = (least, f64::INFINITY);
    let mut here = step(start.clamp(least, all));
    while good < all && bad.is_infinite() {
        if here <= good {
            here = step((2.0 * good).min(all));
        }
        if holds(here) {
            good = here;
            here = step((2.0 * here).min(all));
        } else {
            bad = here;
        }
    }
    let is_close = |good: f64, bad: f64| {
        if counted { bad - good <= (PRECISION * good).max(1.0) } else { bad <= good * (1.0 + PRECISION) }
    };
    while good < all && !is_close(good, bad) {
        // Far apart, the middle of the factors.
        let middle = step(if bad > 2.0 * good { (good * bad).sqrt() } else { 0.5 * (good + bad) });
        if middle <= good || middle >= bad {
            break;
        }
        if holds(middle) { good = middle } else { bad = middle }
    }
    good
}

/// A design with as many users as the mean of all seeds allows; nothing where that is none.
pub(super) fn confirmed(asked: &Asked, design: &Design, most: f64, users: f64) -> Option<Confirmed> {
    let server = design.server.as_ref().ok()?;
    let load = &asked.scenario.load;
    let seeds: Vec<u64> =
        (0..u64::from(asked.seeds.max(1))).map(|index| asked.scenario.seed.wrapping_add(index)).collect();
    let all = |count: f64| -> Vec<ServiceOutcome> {
        seeds.par_iter().map(|seed| run(asked, server, load, count, *seed)).collect()
    };
    let mut most = most;
    let mut outcomes = all(most);
    let mut broken = None;
    for _ in 0..ROUNDS {
        let kept = kept(&asked.levels, &outcomes);
        let Some(worst) =
            kept.iter().filter(|kept| !kept.holds).min_by(|one, other| headroom(one).total_cmp(&headroom(other)))
        else {
            break;
        };
        broken = Some(worst.level.to_string());
        let fewer = if is_counted(load) { (most * LESS).floor().min(most - 1.0) } else { most * LESS };
        if fewer < least_of(load) {
            return None;
        }
        most = fewer;
        outcomes = all(most);
    }
    if kept(&asked.levels, &outcomes).iter().any(|kept| !kept.holds) {
        return None;
    }
    let machines = machines(most, users);
    let each = users / machines as f64;
    let each = if is_counted(load) { each.ceil() } else { each };
    let binds = broken.or_else(|| {
        let more = if is_counted(load) {
            (most * (1.0 + PRECISION)).ceil().max(most + 1.0)
        } else {
            most * (1.0 + 2.0 * PRECISION)
        };
        (most < users).then(|| {
            tightest(&asked.levels, &run(asked, server, load, more, asked.scenario.seed)).1.map(ToString::to_string)
        })?
    });
    let outcomes = if each < most { all(each) } else { outcomes };
    Some(Confirmed { most, users: each, kept: kept(&asked.levels, &outcomes), binds, traffic: Traffic::of(&outcomes) })
}

fn headroom(kept: &Kept) -> f64 {
    kept.value.map_or(f64::NEG_INFINITY, |value| kept.level.headroom(value))
}

/// Two-sided 95 % quantiles of Student's distribution by degrees of freedom from 1; beyond them the normal one.
const STUDENT: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// Levels over several seeds.
pub(super) fn kept(levels: &[Level], outcomes: &[ServiceOutcome]) -> Vec<Kept> {
    let of_level = |level: &Level| {
        let values: Vec<f64> = outcomes.iter().filter_map(|outcome| level.value(outcome)).collect();
        let count = values.len() as f64;
        let value = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count);
        let half_width = value.filter(|_| values.len() > 1).map(|mean| {
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
            STUDENT.get(values.len() - 2).copied().unwrap_or(1.96) * (variance / count).sqrt()
        });
        let holds = value.is_some_and(|value| level.holds(value));
        let ends = value.map(|value| [value - half_width.unwrap_or(0.0), value + half_width.unwrap_or(0.0)]);
        let surely = ends.is_some_and(|ends| ends.iter().all(|end| level.holds(*end)));
        Kept { level: *level, promised: level.bound, value, half_width, holds, surely }
    };
    levels.iter().map(of_level).collect()
}

impl Traffic {
    fn of(outcomes: &[ServiceOutcome]) -> Self {
        let count = outcomes.len().max(1) as f64;
        let mean = |of: &dyn Fn(&ServiceOutcome) -> f64| outcomes.iter().map(of).sum::<f64>() / count;
        let known = |outcome: &ServiceOutcome| outcome.totals.cached_tokens + outcome.totals.loaded_tokens;
        let part = |part: u64, of: u64| part as f64 / of.max(1) as f64;
        Self {
            tokens_per_second: mean(&|outcome| outcome.tokens_per_second.mean),
            median_speed: mean(&|outcome| outcome.user_speed.map_or(0.0, |speed| speed.p50)),
            input_per_output: mean(&|outcome| part(outcome.totals.prompt_tokens, outcome.totals.produced)),
            cached: mean(&|outcome| part(known(outcome), outcome.totals.prompt_tokens)),
            ttft_p95: mean(&|outcome| outcome.first_token.map_or(f64::NAN, |first| first.p95)),
            speed_p5: mean(&|outcome| outcome.user_speed.map_or(f64::NAN, |speed| speed.p5)),
        }
    }
}
