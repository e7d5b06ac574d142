//! What must be true of every run, whatever the numbers are: counts that add up, order, shares, Little's law, and that
//! all numbers are numbers. Builds for tests check every run as it ends; tests and fuzzers call the same.

use wafersim_answer::invariants::{Laws, Violation};

use crate::clients::ClientOutcome;
use crate::result::{ServiceOutcome, State};
use crate::statistics::{Average, Estimate, Summary};

/// Little's law holds to rounding: times are whole picoseconds.
const LITTLE: f64 = 1e-6;

/// The laws that a run breaks: none.
pub fn of_outcome(outcome: &ServiceOutcome) -> Vec<Violation> {
    let mut laws = Laws::default();
    laws.finite(outcome);
    laws.that("a window ends behind its start", outcome.window_end >= outcome.window_start, || {
        format!("{:?} to {:?}", outcome.window_start, outcome.window_end)
    });
    totals(&mut laws, outcome);
    let estimates = [
        Some(outcome.tokens_per_second),
        Some(outcome.prompt_tokens_per_second),
        Some(outcome.requests_per_second),
        outcome.user_speed_mean,
        outcome.first_token_mean,
        outcome.per_output_token_mean,
    ];
    for estimate in estimates.into_iter().flatten() {
        is_estimate(&mut laws, estimate);
    }
    let summaries = [
        &outcome.user_speed,
        &outcome.first_token,
        &outcome.per_output_token,
        &outcome.between_steps,
        &outcome.whole_request,
    ];
    for summary in summaries.into_iter().flatten() {
        is_summary(&mut laws, summary);
    }
    parts(&mut laws, outcome);
    let queues = outcome.queues;
    let levels = [queues.inside, queues.in_service, queues.room, queues.prefill, queues.entry, queues.passes];
    for level in levels.into_iter().chain([outcome.kv.taken]) {
        is_average(&mut laws, level);
    }
    for station in &outcome.stations {
        laws.share("the busy share of a station", station.busy);
    }
    if let Some(prefill) = &outcome.prefill {
        laws.share("the busy share of what computes prompts", prefill.busy);
        laws.share("the busy share of the way of keys and values", prefill.transfer_busy);
        is_average(&mut laws, prefill.crossing);
    }
    for busy in &outcome.wafers {
        laws.share("the busy share of a wafer", *busy);
    }
    let kv = outcome.kv;
    let taken = [kv.idle_at_end, kv.taken_at_end, kv.taken.largest, kv.capacity];
    let in_order = kv.idle_at_end <= kv.taken_at_end && kv.taken_at_end.max(kv.taken.largest) <= kv.capacity;
    laws.that("keys and values have room", in_order, || format!("idle, taken, most, capacity: {taken:?}"));
    let little = [outcome.little.passes, outcome.little.requests];
    laws.that("Little's law", little.iter().all(|difference| difference.abs() <= LITTLE), || format!("{little:?}"));
    if let Some(clients) = &outcome.clients {
        of_clients(&mut laws, clients);
    }
    laws.violations()
}

/// Ends a build for tests where a run breaks a law.
pub(crate) fn debug_check(outcome: &ServiceOutcome) {
    if cfg!(debug_assertions) {
        let violations = of_outcome(outcome);
        debug_assert!(violations.is_empty(), "a bug in wafersim: {violations:#?}");
    }
}

fn totals(laws: &mut Laws, outcome: &ServiceOutcome) {
    let totals = outcome.totals;
    let requests = totals.refused + totals.finished + totals.cancelled + totals.aborted + totals.inside;
    laws.that("who came was refused, has ended, was lost, or is inside", totals.arrived == requests, || {
        format!("{totals:?}")
    });
    laws.that("what was asked has come or is to come", totals.asked == totals.produced + totals.owed, || {
        format!("{totals:?}")
    });
    let cached = totals.cached_tokens.saturating_add(totals.loaded_tokens);
    laws.that("no more of prompts is kept than there is", cached <= totals.prompt_tokens, || format!("{totals:?}"));
}

/// Parts of times add up to their means.
fn parts(laws: &mut Laws, outcome: &ServiceOutcome) {
    if outcome.steady.state == State::NoWindow {
        return;
    }
    let step = outcome.step_parts;
    let sum = step.service + step.draft + step.stage + step.expert + step.prefill + step.links + step.room;
    if let Some(between) = &outcome.between_steps {
        nearly(laws, "parts of a step add up to its mean", sum, between.mean);
    }
    let first = outcome.first_token_parts;
    if let Some(token) = &outcome.first_token {
        let sum = first.room + first.host + first.turn + first.work + first.transfer + first.decode;
        nearly(laws, "parts of the time to first token add up to its mean", sum, token.mean);
    }
}

/// Means are of whole picoseconds, and of whole nanoseconds in distributions.
fn nearly(laws: &mut Laws, law: &'static str, one: f64, other: f64) {
    let close = (one - other).abs() <= 1e-9 + 1e-6 * other.abs();
    laws.that(law, close, || format!("{one} and {other}"));
}

fn is_estimate(laws: &mut Laws, estimate: Estimate) {
    let holds = estimate.mean >= 0.0 && estimate.half_width.is_none_or(|width| width >= 0.0);
    laws.that("a mean and its interval are not below 0", holds, || format!("{estimate:?}"));
}

fn is_summary(laws: &mut Laws, summary: &Summary) {
    let Summary { count, mean, min, p5, p50, p95, p99, max } = *summary;
    laws.that("a distribution has values", count > 0, || format!("{summary:?}"));
    laws.ascending("percentiles ascend", &[p5, p50, p95, p99]);
    // Quantiles are known to 0.1 %.
    let within = |value: f64| (min * 0.999..=max * 1.001).contains(&value);
    laws.that("percentiles and mean are between the ends", [p5, p99, mean].into_iter().all(within), || {
        format!("{summary:?}")
    });
}

fn is_average(laws: &mut Laws, average: Average) {
    laws.that(
        "a mean is no more than the largest value",
        average.mean <= average.largest as f64 * (1.0 + 1e-9),
        || format!("{average:?}"),
    );
}

fn of_clients(laws: &mut Laws, clients: &ClientOutcome) {
    let refused = clients.refused_quota + clients.refused_capacity;
    laws.that("no more attempts are refused than are sent", refused <= clients.attempts, || format!("{clients:?}"));
    laws.that("the cache has no more than the prompts", clients.cached_tokens <= clients.prompt_tokens, || {
        format!("{clients:?}")
    });
    for summary in [&clients.seen_speed, &clients.first_token, &clients.whole].into_iter().flatten() {
        is_summary(laws, summary);
    }
    if let Some(whole) = &clients.whole {
        nearly(laws, "parts of a client's time add up to its mean", clients.shares.sum(), whole.mean);
    }
    if let Some(fairness) = clients.fairness {
        laws.share("fairness", fairness);
    }
}
