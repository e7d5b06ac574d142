//! The most users of a machine for which all levels hold.

use rayon::prelude::*;
use wafersim_stream::ServiceOutcome;
use wafersim_stream::clients::{ClientOutcome, Shares};
use wafersim_stream::observer::Nobody;
use wafersim_stream::run::{Server, Under};
use wafersim_stream::scenario::LoadScenario;

use super::designs::Design;
use super::levels::Level;
use super::{Asked, Kept, PlanSeen, is_counted, machines, rate_of, users_of, wafers_in_all, with_users};

/// What a design came to.
#[derive(Clone)]
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
    /// What its clients saw, where a plan stands before it.
    pub(super) plan: Option<PlanSeen>,
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
const USER_SECONDS: f64 = 6_000.0;
const WINDOW: (f64, f64) = (300.0, 2400.0);
/// Part of a trace before the window.
const TRACE_WARM_UP: f64 = 0.1;
/// Requests that the smallest part of a trace has: enough for a quantile of 95 %.
const FEWEST_REQUESTS: f64 = 64.0;
/// Designs that are asked side by side.
const ROUND: usize = 4;
/// Users are found to so small a part.
const PRECISION: f64 = 0.02;
/// By how much users are taken away where the mean of all seeds does not hold, and how often.
const LESS: f64 = 0.92;
const ROUNDS: usize = 12;

/// The load of a machine with so many users, for a run of a seed.
pub(super) fn under(asked: &Asked, load: &LoadScenario, users: f64, seed: u64) -> Under {
    let scenario = &asked.scenario;
    // A window that was given is one for all users: it is as long for a machine's.
    let (usual, usual_warm_up) = match span(asked, load) {
        // A trace as it is, but for its beginning, when caches are empty.
        Some(span) => (span * (1.0 - TRACE_WARM_UP), span * TRACE_WARM_UP),
        None => ((USER_SECONDS / users.max(1e-9)).clamp(WINDOW.0, WINDOW.1), WARM_UP),
    };
    let warm_up = if scenario.warm_up > 0.0 { scenario.warm_up } else { usual_warm_up };
    // Organisations are shared out over machines as their users are.
    let organisations = scenario.clients.as_ref().map(|clients| {
        let all = users_of(asked).unwrap_or(users).max(1e-9);
        (f64::from(clients.organisations) * users / all).round().max(1.0) as u32
    });
    let window = scenario.window.unwrap_or(usual);
    Under { load: with_users(asked, load, users), organisations, warm_up, window, seed }
}

/// Seconds of a trace as it is replayed, where the load is one.
fn span(asked: &Asked, load: &LoadScenario) -> Option<f64> {
    match (load, &asked.requests) {
        (LoadScenario::Trace(load), Some(trace)) => Some(trace.about().span_s / load.speed),
        _ => None,
    }
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

/// The most users of every design that could need the fewest wafers. Designs are asked in rounds, those that are placed
/// for most users for a wafer first; who would not beat the best of the rounds before is not asked further.
pub(super) fn most_users(asked: &Asked, all: &[Design], users: f64) -> Vec<Found> {
    let mut found: Vec<Found> = all.par_iter().map(|design| of_one(asked, design)).collect();
    let mut order: Vec<usize> = (0..all.len()).filter(|at| found[*at].headroom_of_one >= 0.0).collect();
    let held_for_a_wafer = |at: &usize| all[*at].holds as f64 / f64::from(all[*at].systems());
    order.sort_by(|one, other| held_for_a_wafer(other).total_cmp(&held_for_a_wafer(one)));
    let mut fewest: Option<u64> = None;
    for round in order.chunks(ROUND) {
        let of_round: Vec<(usize, Found)> = round
            .par_iter()
            .filter_map(|at| Some((*at, of_design(asked, all.get(*at)?, found.get(*at)?, users, fewest))))
            .collect();
        for (at, new) in of_round {
            let wafers = new.most.map(|most| wafers_in_all(&all[at], most, users));
            fewest = [fewest, wafers].into_iter().flatten().min();
            found[at] = new;
        }
    }
    found
}

/// What one user alone sees.
fn of_one(asked: &Asked, design: &Design) -> Found {
    let server = match &design.server {
        Ok(server) => server,
        Err(why) => {
            let (most, of_one, headroom_of_one) = (None, Vec::new(), f64::NEG_INFINITY);
            return Found { most, why_not: Some(why.clone()), of_one, headroom_of_one };
        }
    };
    if asked.stop.is_set() {
        let (most, of_one, headroom_of_one) = (None, Vec::new(), f64::NEG_INFINITY);
        return Found { most, why_not: None, of_one, headroom_of_one };
    }
    let load = &asked.scenario.load;
    let one = run(asked, server, load, least_of(asked, load), asked.scenario.seed);
    let of_one = asked.levels.iter().map(|level| level.value(&one)).collect();
    let (headroom_of_one, binds) = tightest(&asked.levels, &one);
    let why = binds.filter(|_| headroom_of_one < 0.0);
    let why_not = why.map(|level| format!("one user: {level} {:.4}", level.value(&one).unwrap_or(f64::NAN)));
    Found { most: None, why_not, of_one, headroom_of_one }
}

/// Goes on with a design on which one user sees what was promised; `fewest` wafers in all are known to do.
fn of_design(asked: &Asked, design: &Design, known: &Found, users: f64, fewest: Option<u64>) -> Found {
    let Ok(server) = &design.server else { return known.clone() };
    let load = &asked.scenario.load;
    let holds = |count: f64| {
        // Nothing holds any more, so that bisection ends.
        let holds = || tightest(&asked.levels, &run(asked, server, load, count, asked.scenario.seed)).0 >= 0.0;
        !asked.stop.is_set() && holds()
    };
    let least = least_of(asked, load);
    // As many users as it must serve to need fewer wafers than what is known.
    let needed = fewest.map(|fewest| {
        let machines = (fewest.saturating_sub(1) / u64::from(design.systems())).max(1) as f64;
        let needed = users / machines;
        if is_counted(load) { needed.ceil() } else { needed }
    });
    let is_beaten = fewest.is_some_and(|fewest| fewest <= u64::from(design.systems()));
    match needed {
        _ if is_beaten => Found { why_not: Some("more wafers than all of another design".into()), ..known.clone() },
        Some(needed) if !holds(needed) => {
            let why = if is_counted(load) {
                format!("fewer than {needed:.0} users")
            } else {
                format!("less than {needed:.3} a second")
            };
            Found { why_not: Some(why), ..known.clone() }
        }
        Some(needed) => {
            let most = bisected(asked, needed, 1.25 * needed, users, &holds);
            Found { most: Some(most), why_not: None, ..known.clone() }
        }
        None => {
            let start = if is_counted(load) { design.holds as f64 } else { users / 4.0 };
            Found { most: Some(bisected(asked, least, start, users, &holds)), why_not: None, ..known.clone() }
        }
    }
}

/// The smallest load of a machine: a user, a request in some minutes, a trace's smallest part.
pub(super) fn least_of(asked: &Asked, load: &LoadScenario) -> f64 {
    match load {
        LoadScenario::Open(load) => (load.rate * 1e-3).min(0.01),
        LoadScenario::Trace(load) => {
            let requests = asked.requests.as_ref().map_or(1, |trace| trace.len().max(1)) as f64;
            rate_of(asked, load).unwrap_or(1.0) * (FEWEST_REQUESTS / requests).min(1.0)
        }
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
    let server = design.server.as_ref().ok().filter(|_| !asked.stop.is_set())?;
    let load = &asked.scenario.load;
    let seeds: Vec<u64> =
        (0..u64::from(asked.seeds.max(1))).map(|index| asked.scenario.seed.wrapping_add(index)).collect();
    let all = |count: f64| -> Vec<ServiceOutcome> {
        seeds.par_iter().map(|seed| run(asked, server, load, count, *seed)).collect()
    };
    let counted = is_counted(load);
    // Users of each of as many machines as these make.
    let shared = |most: f64| {
        let each = users / machines(most, users) as f64;
        if counted { each.ceil() } else { each }
    };
    let mut each = shared(most);
    let mut broken = None;
    for _ in 0..ROUNDS {
        let outcomes = all(each);
        let kept = kept(&asked.levels, &outcomes);
        let worst =
            kept.iter().filter(|kept| !kept.holds).min_by(|one, other| headroom(one).total_cmp(&headroom(other)));
        let Some(worst) = worst else {
            let binds = broken.or_else(|| (most < users).then(|| next_broken(asked, server, most))?);
            let most = if each < most && binds.is_some() { most } else { each };
            return Some(Confirmed {
                most,
                users: each,
                kept,
                binds,
                traffic: Traffic::of(&outcomes),
                plan: plan_seen(asked, &outcomes),
            });
        };
        broken = Some(worst.level.to_string());
        let fewer = if counted { (each * LESS).floor().min(each - 1.0) } else { each * LESS };
        if fewer < least_of(asked, load) {
            return None;
        }
        each = shared(fewer);
    }
    None
}

/// What clients saw in the mean of all seeds.
fn plan_seen(asked: &Asked, outcomes: &[ServiceOutcome]) -> Option<PlanSeen> {
    let clients = asked.scenario.clients.as_ref()?;
    let seen: Vec<&ClientOutcome> = outcomes.iter().filter_map(|outcome| outcome.clients.as_ref()).collect();
    let mean = |of: &dyn Fn(&ClientOutcome) -> Option<f64>| {
        let values: Vec<f64> = seen.iter().filter_map(|seen| of(seen)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let share =
        |part: &dyn Fn(&Shares) -> f64| mean(&|seen| (seen.served > 0).then(|| part(&seen.shares) / seen.shares.sum()));
    Some(PlanSeen {
        plan: clients.plan.name.clone(),
        profile: clients.profile.name.clone(),
        organisations: clients.organisations,
        seen_speed_p50: mean(&|seen| seen.seen_speed.map(|speed| speed.p50)),
        first_token_p95_s: mean(&|seen| seen.first_token.map(|first| first.p95)),
        waiting_for_quota: share(&|shares| shares.quota + shares.retries),
        refused_per_hour_and_machine: mean(&|seen| Some(seen.refused_per_hour)),
        given_up: mean(&|seen| Some(seen.abandoned as f64 / (seen.served + seen.abandoned).max(1) as f64)),
        usd_per_month: clients.plan.monthly.map(|monthly| monthly * f64::from(clients.organisations)),
    })
}

/// The level that somewhat more users than the most break.
fn next_broken(asked: &Asked, server: &Server, most: f64) -> Option<String> {
    let load = &asked.scenario.load;
    let counted = is_counted(load);
    let more = if counted { (most * (1.0 + PRECISION)).ceil().max(most + 1.0) } else { most * (1.0 + 2.0 * PRECISION) };
    tightest(&asked.levels, &run(asked, server, load, more, asked.scenario.seed)).1.map(ToString::to_string)
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
