//! What must be true of every answer, whatever the numbers are: sums, shares, order, and that all numbers are numbers.
//!
//! Builds for tests check every answer and every row of a plan as they are made; tests and fuzzers call the same. A
//! violation is a bug, never wrong input. Laws between answers (something gets faster, nothing gets later) stand in
//! `tests/laws.rs`.

use std::fmt;

#[cfg(feature = "fabric")]
use ciborium::Value;
use serde::Serialize;
use wafersim_spec::Bytes;
use wafersim_spec::scenario::Profile;

use crate::plan::PlanRow;
use crate::run::{Answer, ProfileAnswer};
use crate::uncertainty::{Corner, Range, Sampled, Spread, Uncertainty};

/// A law that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The law, as it should be.
    pub law: &'static str,
    /// What is there instead.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.law, self.found)
    }
}

/// Relative error of a sum of many numbers.
const ROUNDING: f64 = 1e-9;

/// Collects violations.
#[derive(Debug, Default)]
pub struct Laws(Vec<Violation>);

impl Laws {
    /// `holds`, or else what was found.
    pub fn that(&mut self, law: &'static str, holds: bool, found: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation { law, found: found() });
        }
    }

    /// Two numbers that are one but for rounding.
    pub fn equal(&mut self, law: &'static str, one: f64, other: f64) {
        let close = (one - other).abs() <= ROUNDING * one.abs().max(other.abs());
        self.that(law, close, || format!("{one} and {other}"));
    }

    /// Numbers none of which is smaller than the one before it, but for rounding.
    pub fn ascending(&mut self, law: &'static str, numbers: &[f64]) {
        let holds = numbers.windows(2).all(|pair| pair[0] <= pair[1] + ROUNDING * pair[1].abs());
        self.that(law, holds, || format!("{numbers:?}"));
    }

    /// A number from 0 to 1.
    pub fn share(&mut self, law: &'static str, share: f64) {
        self.that(law, (-ROUNDING..=1.0 + ROUNDING).contains(&share), || share.to_string());
    }

    /// No infinity, and nothing that is no number, anywhere in a result.
    #[cfg(feature = "fabric")]
    pub fn finite(&mut self, result: &impl Serialize) {
        match Value::serialized(result) {
            Ok(value) => not_finite("", &value, &mut self.0),
            Err(error) => self.that("a result can be written", false, || error.to_string()),
        }
    }

    /// Looked at with the feature `fabric` alone: what reads a result's numbers brings crates along.
    #[cfg(not(feature = "fabric"))]
    pub fn finite(&mut self, _: &impl Serialize) {}

    /// What was found.
    pub fn violations(self) -> Vec<Violation> {
        self.0
    }
}

#[cfg(feature = "fabric")]
fn not_finite(path: &str, value: &Value, found: &mut Vec<Violation>) {
    match value {
        Value::Float(number) if !number.is_finite() => {
            found.push(Violation { law: "all numbers are finite", found: format!("{path}: {number}") });
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                not_finite(&format!("{path}[{place}]"), item, found);
            }
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                let key = key.as_text().map_or_else(|| format!("{key:?}"), str::to_owned);
                not_finite(&format!("{path}.{key}"), item, found);
            }
        }
        _ => {}
    }
}

/// The laws that an answer breaks: none.
pub fn of_answer(answer: &Answer) -> Vec<Violation> {
    let mut laws = Laws::default();
    laws.finite(answer);
    let speed = answer.tokens_per_second_per_user;
    laws.that("times and speeds are positive", speed > 0.0 && answer.time_to_first_token_ms > 0.0, || {
        format!("{speed} tok/s, first token after {} ms", answer.time_to_first_token_ms)
    });
    laws.equal(
        "all users together get their number times the speed of one",
        answer.tokens_per_second_total,
        speed * answer.users as f64,
    );
    laws.equal("speed times time is one", speed * answer.time_per_output_token_us, 1e6);
    laws.that("the users asked for have room", answer.max_users >= answer.users, || {
        format!("room for {} of {}", answer.max_users, answer.users)
    });
    if let Some(fewer) = &answer.fewer_at_once {
        let makes_more = fewer.tokens_per_second_total > answer.tokens_per_second_total;
        laws.that("fewer users at once make more", fewer.users < answer.users && makes_more, || {
            format!("{} make {} tok/s", fewer.users, fewer.tokens_per_second_total)
        });
    }
    laws.that("users at full speed have room", answer.users_at_full_speed <= answer.max_users, || {
        format!("{} at full speed, room for {}", answer.users_at_full_speed, answer.max_users)
    });
    laws.that("no more wafers are used than there are", answer.load.wafers_used <= answer.wafers, || {
        format!("{} of {}", answer.load.wafers_used, answer.wafers)
    });
    breakdown(&mut laws, answer);
    memory(&mut laws, answer);
    columns(&mut laws, answer);
    verdict(&mut laws, answer);
    // Ranges are those of the closed form.
    if let Some(uncertainty) = &answer.uncertainty
        && !on_fabric(answer)
    {
        ranges(&mut laws, answer, uncertainty);
    }
    laws.violations()
}

fn on_fabric(answer: &Answer) -> bool {
    answer.provenance.fidelity == "fabric"
}

fn breakdown(laws: &mut Laws, answer: &Answer) {
    laws.equal("shares of operators add up to 1", answer.breakdown.iter().map(|row| row.share).sum(), 1.0);
    for row in &answer.breakdown {
        laws.share("the share of an operator", row.share);
        laws.equal("an operator's causes add up to its cycles", row.causes.values().sum(), row.cycles);
    }
}

fn memory(laws: &mut Laws, answer: &Answer) {
    let bytes = answer.memory.per_pe_bytes;
    let parts = [
        bytes.weights,
        bytes.replicated,
        bytes.kv_cache,
        bytes.activations,
        bytes.receive_buffers,
        bytes.code_and_runtime,
        bytes.spare,
    ];
    let sum = parts.into_iter().fold(Bytes(0), |sum, part| Bytes(sum.0.saturating_add(part.0)));
    laws.that("what a processing element holds, with what is spare, is its memory", sum == bytes.limit, || {
        format!("{sum:?} of {:?}", bytes.limit)
    });
}

/// `published`, `best`, `ideal`, and what no mapping beats.
fn columns(laws: &mut Laws, answer: &Answer) {
    let profiles = &answer.profiles;
    let said = |profile: Profile| profiles.into_iter().find(|(known, _)| **known == profile).map(|(_, said)| said);
    let time = |profile: Profile| said(profile).map(|said: &ProfileAnswer| said.time_per_output_token_us);
    if let Some(own) = said(answer.profile) {
        let same = own.tokens_per_second_per_user == answer.tokens_per_second_per_user
            && own.time_to_first_token_ms == answer.time_to_first_token_ms
            && own.users_at_full_speed == answer.users_at_full_speed;
        laws.that("the answer is its profile's", same, || format!("{own:?}"));
    }
    let (peak, measured) = (&profiles.no_mapping_beats, &profiles.no_mapping_beats_at_measured_rate);
    laws.ascending(
        "the bound at the measured rate is no higher than the one at peak",
        &[measured.tokens_per_second_per_user, peak.tokens_per_second_per_user],
    );
    for (profile, said) in profiles {
        let bound = if *profile == Profile::Ideal { peak } else { measured };
        laws.ascending(
            "no profile beats what no mapping beats",
            &[said.tokens_per_second_per_user, bound.tokens_per_second_per_user],
        );
        laws.share("the share of what binds", said.limit.share);
        laws.equal(
            "a profile's speed times its time is one",
            said.time_per_output_token_us,
            1e6 / said.tokens_per_second_per_user,
        );
    }
    // On the fabric one profile alone is run; the others stay in closed form.
    if on_fabric(answer) {
        return;
    }
    let is_own = |code: &String| code.starts_with("objective: ");
    let order = if answer.provenance.mapping.is_none() && !answer.load.extensions.iter().any(is_own) {
        &[Profile::Ideal, Profile::Best, Profile::Published][..]
    } else {
        // A mapping that is given, or found by an objective from outside, may be slower than the published one.
        &[Profile::Ideal, Profile::Best]
    };
    let times: Vec<f64> = order.iter().filter_map(|profile| time(*profile)).collect();
    laws.ascending("ideal is no slower than best, nor that than published", &times);
}

fn verdict(laws: &mut Laws, answer: &Answer) {
    let verdict = &answer.verdict;
    let reached = answer.tokens_per_second_per_user >= verdict.target;
    laws.that("the verdict is that of speed and target", verdict.state.is_reached() == reached, || {
        format!("{:?} at {} of {}", verdict.state, answer.tokens_per_second_per_user, verdict.target)
    });
    laws.equal(
        "the margin is speed over target, less 1",
        verdict.margin + 1.0,
        answer.tokens_per_second_per_user / verdict.target,
    );
    let clock = [verdict.lowest_clock_ghz, verdict.nominal_clock_ghz, verdict.highest_clock_ghz];
    laws.ascending("the nominal clock is in its published range", &clock);
}

fn ranges(laws: &mut Laws, answer: &Answer, uncertainty: &Uncertainty) {
    let speed = answer.tokens_per_second_per_user;
    holds(laws, uncertainty.tokens_per_second_per_user, speed);
    holds(laws, uncertainty.time_to_first_token_ms, answer.time_to_first_token_ms);
    for influence in &uncertainty.parameters {
        laws.ascending("a parameter's low is no higher than its high", &[influence.low, influence.high]);
        holds(laws, influence.tokens_per_second_per_user, influence.tokens_per_second_per_user.low);
    }
    for toggle in &uncertainty.toggles {
        holds(laws, toggle.tokens_per_second_per_user, speed);
    }
    if let (Some(low), Some(high)) = (uncertainty.wafers.low, uncertainty.wafers.high) {
        laws.that("more free memory never takes more wafers", low <= high, || format!("{low} to {high}"));
    }
    if let Some(sampled) = &uncertainty.sampled {
        draws(laws, sampled);
    }
}

/// A range that has its ends in order, and the value in it.
fn holds(laws: &mut Laws, range: Range, value: f64) {
    laws.ascending("a value is in its range", &[range.low, value, range.high]);
}

fn draws(laws: &mut Laws, sampled: &Sampled) {
    laws.share("the probability of the target", sampled.probability);
    laws.ascending("what reaches the target fits", &[sampled.probability, sampled.fits, 1.0]);
    let percentiles = [&sampled.p5, &sampled.p50, &sampled.p95];
    laws.ascending("percentiles of the speed ascend", &percentiles.map(|drawn| drawn.tokens_per_second_per_user));
    laws.ascending("percentiles of all users' speed ascend", &percentiles.map(|drawn| drawn.tokens_per_second_total));
    laws.ascending("percentiles of the first token ascend", &percentiles.map(|drawn| drawn.time_to_first_token_ms));
    laws.ascending("percentiles of the users that fit ascend", &percentiles.map(|drawn| drawn.max_users as f64));
    let wafers = percentiles.map(|drawn| drawn.fewest_wafers.map_or(f64::MAX, f64::from));
    laws.ascending("percentiles of the fewest wafers ascend", &wafers);
}

/// The laws that a row of a plan breaks: none.
pub fn of_row(row: &PlanRow) -> Vec<Violation> {
    let mut laws = Laws::default();
    laws.finite(row);
    let figures = [row.tokens_per_second_per_user, row.tokens_per_second_total, row.time_per_output_token_us];
    laws.that(
        "a row has figures where it fits, and none where not",
        figures.iter().all(|figure| figure.is_some() == row.fits) && (row.fits || !row.reaches_target),
        || format!("fits: {}, {figures:?}, reaches its target: {}", row.fits, row.reaches_target),
    );
    laws.that("a row without figures says why", row.fits || !row.limit.is_empty(), || row.limit.clone());
    let [Some(speed), Some(total), Some(time)] = figures else { return laws.violations() };
    laws.equal("all users together get their number times the speed of one", total, speed * row.users as f64);
    laws.equal("speed times time is one", speed * time, 1e6);
    let room = row.max_users.unwrap_or(0);
    let users = [Some(row.users), row.users_at_full_speed].map(Option::unwrap_or_default);
    laws.that(
        "the users asked for, and those at full speed, have room",
        users.iter().all(|users| *users <= room),
        || format!("{users:?}, room for {room}"),
    );
    let bound =
        if row.profile == Profile::Ideal { row.no_mapping_beats } else { row.no_mapping_beats_at_measured_rate };
    if let Some(bound) = bound {
        laws.ascending("no profile beats what no mapping beats", &[speed, bound]);
    }
    match &row.ranges {
        Some(Spread::Corner(Corner { tokens_per_second_per_user, .. })) => {
            holds(&mut laws, *tokens_per_second_per_user, speed);
        }
        Some(Spread::Sampled(sampled)) => draws(&mut laws, sampled),
        None => {}
    }
    laws.violations()
}

/// Ends a build for tests where a result breaks a law.
macro_rules! debug_assert_lawful {
    ($violations:expr) => {
        if cfg!(debug_assertions) {
            let violations = $violations;
            debug_assert!(violations.is_empty(), "a bug in wafersim: {violations:#?}");
        }
    };
}
pub(crate) use debug_assert_lawful;

#[cfg(test)]
mod tests {
    use super::*;

    fn laws(check: impl Fn(&mut Laws)) -> usize {
        let mut laws = Laws::default();
        check(&mut laws);
        laws.violations().len()
    }

    #[test]
    fn laws_that_are_broken_are_found() {
        assert_eq!(laws(|laws| laws.equal("", 1.0, 1.0 + 1e-12)), 0);
        assert_eq!(laws(|laws| laws.equal("", 1.0, 1.0001)), 1);
        assert_eq!(laws(|laws| laws.equal("", f64::NAN, 1.0)), 1);
        assert_eq!(laws(|laws| laws.ascending("", &[1.0, 1.0, 2.0])), 0);
        assert_eq!(laws(|laws| laws.ascending("", &[1.0, f64::NAN, 2.0])), 1);
        assert_eq!(laws(|laws| laws.ascending("", &[2.0, 1.0])), 1);
        assert_eq!(laws(|laws| laws.share("", 1.1)), 1);
        assert_eq!(laws(|laws| laws.finite(&[Some(1.0), None])), 0);
        let mut found = Laws::default();
        found.finite(&std::collections::BTreeMap::from([("a", vec![1.0, f64::INFINITY])]));
        assert_eq!(
            found.violations().pop().map(|law| law.to_string()),
            Some("all numbers are finite: .a[1]: inf".into())
        );
    }
}
