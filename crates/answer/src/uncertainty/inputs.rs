//! What is not known of a question, and how likely each of its values is taken to be.
//!
//! An input with a low, a nominal and a high is triangular between its ends, with the mode at the nominal: no source
//! says more than these three numbers, and the nominal is what is held most likely. Where the range spans more than a
//! factor of [`WIDE`], its logarithm is: such ranges are guesses of an order of magnitude. A toggle is as likely as
//! what is assumed. All are independent.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use wafersim_place::Placement;
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::{RoutingModel, Speculation};
use wafersim_spec::wafer::{DECLARATIONS, Declaration, Evidence, Key, OF_TIME, TIMED};

use crate::question::Question;

/// The distribution of all inputs, in words.
pub(super) const DISTRIBUTION: &str = "independent; triangular from low to high with the mode at the nominal, of the \
     logarithm where high is more than 3 times low; a toggle as likely as what is assumed";

/// Ranges of a larger factor are taken on a logarithmic scale.
const WIDE: f64 = 3.0;

/// A structural guess with two states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Toggle {
    /// Tokens choose experts by the other one of the two routing models.
    Routing,
    /// Links put words on any row of the next wafer, not on those on which they left.
    LinkPorts,
    /// Transfers that follow the core's own work are set up beside it, and not after it.
    TransferSetup,
}

impl Toggle {
    /// Its name: that of the setting, where there is one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::LinkPorts => "link_ports",
            Self::TransferSetup => "transfer_setup",
        }
    }
}

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What {
    /// A rate of the wafer, links and clock included.
    Rate(&'static Declaration),
    /// Mean tokens of a step with a draft.
    AcceptedLength,
    /// What a proposed token costs, where nobody said it.
    DraftCost,
    /// 0 is what is assumed, 1 the other.
    Toggle(Toggle),
    /// Memory that code and runtime leave free: it moves wafers and users, and no time.
    FreeMemory,
}

/// An input that is not known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Input {
    pub(super) what: What,
    pub(super) evidence: Evidence,
    pub(super) low: f64,
    pub(super) nominal: f64,
    pub(super) high: f64,
}

impl Input {
    /// All of a question that is placed so, rates in the order of the wafer file.
    pub(super) fn all(question: &Question, placement: &Placement) -> Vec<Self> {
        let scenario = &question.scenario;
        let rates = TIMED.iter().filter_map(|declared| {
            let is_fixed = declared.key == Key::ClockGigahertz && scenario.clock_ghz.is_some();
            let figure = question.wafer.figure(declared.key);
            let input = Self {
                what: What::Rate(declared),
                evidence: figure.evidence,
                low: figure.low,
                nominal: figure.value,
                high: figure.high,
            };
            (!declared.whole && !is_fixed).then_some(input)
        });
        let lengths = scenario.speculation.measured_lengths().map(|lengths| Self {
            what: What::AcceptedLength,
            evidence: Evidence::Inferred,
            low: lengths.least,
            nominal: scenario.speculation.tokens_per_step(),
            high: lengths.most,
        });
        let is_assumed = scenario.speculation.draft_length > 0
            && scenario.speculation.draft_cost.is_none()
            && scenario.speculation.draft_model.is_none();
        let cost = is_assumed.then_some(Self {
            what: What::DraftCost,
            evidence: Evidence::Guess,
            low: Speculation::LEAST_COST,
            nominal: Speculation::USUAL_COST,
            high: Speculation::MOST_COST,
        });
        let is_routed = question.model.layers.iter().any(|layer| matches!(layer.feed_forward, FeedForward::Moe(_)));
        let toggle =
            |toggle, evidence| Self { what: What::Toggle(toggle), evidence, low: 0.0, nominal: 0.0, high: 1.0 };
        // What was counted has no other.
        let is_assumed = question.scenario.counted.is_none();
        let routing = (is_routed && is_assumed).then(|| toggle(Toggle::Routing, Evidence::Inferred));
        let ports = (placement.wafers_used > 1).then(|| toggle(Toggle::LinkPorts, Evidence::Guess));
        // Where setting up takes no time, it does not matter when.
        let takes_time = question.wafer.figure(Key::VectorSetup).high > 0.0;
        let setup = takes_time.then(|| toggle(Toggle::TransferSetup, Evidence::Guess));
        let figure = question.wafer.figure(Key::FreeBytes);
        let free = Self {
            what: What::FreeMemory,
            evidence: figure.evidence,
            low: figure.low,
            nominal: figure.value,
            high: figure.high.min(question.wafer.figure(Key::MemoryBytes).value),
        };
        let others = lengths.into_iter().chain(cost).chain(routing).chain(ports).chain(setup).chain([free]);
        rates.chain(others).filter(|input| input.low < input.high).collect()
    }

    /// Its name: a parameter of the wafer file or a setting.
    pub(super) const fn name(&self) -> &'static str {
        match self.what {
            What::Rate(declared) => declared.path,
            What::AcceptedLength => "speculation.accepted_length",
            What::DraftCost => "speculation.draft_cost",
            What::Toggle(toggle) => toggle.name(),
            What::FreeMemory => DECLARATIONS[Key::FreeBytes as usize].path,
        }
    }

    /// Whether it is a toggle.
    pub(super) const fn toggle(&self) -> Option<Toggle> {
        match self.what {
            What::Toggle(toggle) => Some(toggle),
            _ => None,
        }
    }

    /// The end at which everything takes longest; of a toggle what is assumed.
    pub(super) fn slow(&self) -> f64 {
        if self.is_faster_when_larger() { self.low } else { self.high_unless_toggle() }
    }

    /// The end at which everything is quickest; of a toggle what is assumed.
    pub(super) fn fast(&self) -> f64 {
        if self.is_faster_when_larger() { self.high_unless_toggle() } else { self.low }
    }

    fn is_faster_when_larger(&self) -> bool {
        match self.what {
            What::Rate(declared) => declared.is_faster_when_larger(),
            What::AcceptedLength | What::FreeMemory => true,
            What::DraftCost | What::Toggle(_) => false,
        }
    }

    fn high_unless_toggle(&self) -> f64 {
        if self.toggle().is_some() { self.nominal } else { self.high }
    }

    /// The value below which it is with a probability of `part`: the inverse of its distribution.
    fn quantile(&self, part: f64) -> f64 {
        match self.what {
            What::Toggle(_) => f64::from(u8::from(part >= 0.5)),
            _ if self.low > 0.0 && self.high / self.low > WIDE => {
                let logarithm = triangular(self.low.ln(), self.nominal.ln(), self.high.ln(), part);
                logarithm.exp().clamp(self.low, self.high)
            }
            _ => triangular(self.low, self.nominal, self.high, part).clamp(self.low, self.high),
        }
    }

    /// A place of its own in the stream of a draw, so that its value does not depend on which others are not known.
    const fn place(&self) -> u128 {
        match self.what {
            What::Rate(declared) => declared.key as u128,
            What::AcceptedLength => OF_TIME as u128,
            What::DraftCost => OF_TIME as u128 + 1,
            What::FreeMemory => OF_TIME as u128 + 2,
            What::Toggle(toggle) => OF_TIME as u128 + 3 + toggle as u128,
        }
    }
}

/// The inverse of the triangular distribution from `low` to `high` with the mode `mode`.
fn triangular(low: f64, mode: f64, high: f64, part: f64) -> f64 {
    let width = high - low;
    if part * width < mode - low {
        low + (part * width * (mode - low)).sqrt()
    } else {
        high - ((1.0 - part) * width * (high - mode)).sqrt()
    }
}

/// The routing that is not assumed.
pub(super) const fn other_routing(assumed: RoutingModel) -> RoutingModel {
    match assumed {
        RoutingModel::Uniform => RoutingModel::Skewed,
        RoutingModel::Skewed => RoutingModel::Uniform,
    }
}

/// Which of several sets of draws: for shares by [`super::shares`] two are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    A,
    B,
}

/// The values of all inputs in one draw: a stream of numbers for each, whatever the number of threads and of draws.
pub(super) fn drawn(inputs: &[Input], seed: u64, set: Set, draw: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(draw << 1 | u64::from(set == Set::B));
    let values = inputs.iter().map(|input| {
        // Two words for each number.
        random.set_word_pos(2 * input.place());
        let part = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        input.quantile(part)
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(low: f64, nominal: f64, high: f64) -> Input {
        let what = What::Rate(&TIMED[Key::LinkLatency as usize]);
        Input { what, evidence: Evidence::Guess, low, nominal, high }
    }

    fn mean(input: Input) -> f64 {
        let count = 20_000;
        let sum: f64 = (0..count).map(|draw| drawn(&[input], 7, Set::A, draw)[0]).sum();
        sum / count as f64
    }

    #[test]
    fn means_are_those_of_the_triangular_distribution() {
        for (low, nominal, high) in [(1.0, 1.5, 2.0), (0.85, 1.1, 1.1), (-1.0, 0.0, 1.0), (10.0, 10.0, 20.0)] {
            let expected = (low + nominal + high) / 3.0;
            let deviation = (high - low) / 18_f64.sqrt();
            // Five standard errors; no triangular distribution spreads more than the one with its mode at an end.
            let allowed = 5.0 * deviation / 20_000_f64.sqrt();
            assert!((mean(input(low, nominal, high)) - expected).abs() < allowed, "{low} {nominal} {high}");
        }
    }

    #[test]
    fn wide_ranges_are_drawn_on_a_logarithmic_scale() {
        // The median of a symmetric triangle is its mode: here of the logarithm.
        assert!((input(1.0, 10.0, 100.0).quantile(0.5) - 10.0).abs() < 1e-9);
        assert!((input(1.0, 2.0, 3.0).quantile(0.5) - 2.0).abs() < 1e-12);
        // A logarithm and back: the last digits may differ, and never beyond the ends.
        let [low, high] = [0.0, 1.0].map(|part| input(2.0, 5.0, 20.0).quantile(part));
        assert!((2.0..2.0 + 1e-12).contains(&low) && high <= 20.0 && high > 20.0 - 1e-12, "{low} {high}");
        assert_eq!([0.0, 1.0].map(|part| input(5.0, 5.0, 9.0).quantile(part)), [5.0, 9.0]);
    }

    #[test]
    fn a_value_does_not_depend_on_the_other_inputs() {
        let link = input(2.0, 5.0, 20.0);
        let clock = Input { what: What::Rate(&TIMED[Key::ClockGigahertz as usize]), ..input(0.85, 1.1, 1.1) };
        for draw in 0..50 {
            let both = drawn(&[clock, link], 3, Set::A, draw);
            assert_eq!(drawn(&[link], 3, Set::A, draw), both[1..]);
            assert_ne!(drawn(&[link], 3, Set::B, draw), both[1..]);
            assert_ne!(drawn(&[link], 4, Set::A, draw), both[1..]);
        }
    }

    #[test]
    fn a_toggle_is_as_likely_as_what_is_assumed() {
        let toggle = Input { what: What::Toggle(Toggle::Routing), ..input(0.0, 0.0, 1.0) };
        // Five standard errors of a fair coin.
        assert!((mean(toggle) - 0.5).abs() < 5.0 * 0.5 / 20_000_f64.sqrt());
        assert_eq!([toggle.slow(), toggle.fast()], [0.0, 0.0]);
    }
}
