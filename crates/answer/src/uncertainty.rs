//! How the answer moves with what is not known: every rate that has a range, clock and links among them, what a draft
//! gains and costs, how tokens choose experts, and the memory that code and runtime leave free.
//!
//! One input at a time is set to its low and its high, all others stay. The *corner* takes for each the end that slows
//! or speeds the answer; *sampled* draws all of them ([`sampled`]). The placement and its mapping stay for that. What
//! it would be with less or more memory free is asked by itself ([`room`]): it moves wafers, users and what is spare.

mod held;
mod inputs;
mod room;
mod sampled;
mod shares;

pub use inputs::Toggle;
pub use sampled::{Drawn, Sampled};
pub use shares::{Estimator, Share, Shares};

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use wafersim_spec::scenario::Profile;
use wafersim_spec::wafer::{Evidence, Key, RateSet};
use wafersim_spec::{Bytes, Hertz};

use crate::candidates::Way;
use crate::error::AnswerError;
use crate::question::Question;
use held::{Figures, Held};
use inputs::{Input, other_routing};
use room::{Room, Rooms};
use sampled::{Draws, sampled};

/// A range of speeds or times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The smaller end, in the unit of its field.
    pub low: f64,
    /// The larger end.
    pub high: f64,
}

impl Range {
    const fn of(value: f64) -> Self {
        Self { low: value, high: value }
    }

    fn with(self, value: f64) -> Self {
        Self { low: self.low.min(value), high: self.high.max(value) }
    }

    fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// The answer at another clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockPoint {
    /// Clock in GHz.
    pub ghz: f64,
    /// Tokens per second per user.
    pub tokens_per_second_per_user: f64,
    /// Whether the target is reached.
    pub reaches_target: bool,
}

/// How one parameter moves the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Influence {
    /// Parameter of the wafer file, or setting of the scenario.
    pub parameter: &'static str,
    /// How well it is known.
    pub evidence: Evidence,
    /// Its low and high.
    pub low: f64,
    /// Its high.
    pub high: f64,
    /// The speeds at both ends, in order of speed.
    pub tokens_per_second_per_user: Range,
}

/// How the answer moves with what is not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Uncertainty {
    /// All inputs that have a range, the clock among them, at their slow and fast ends together.
    pub tokens_per_second_per_user: Range,
    /// The same of the time to first token, in milliseconds.
    pub time_to_first_token_ms: Range,
    /// At the ends of the published range of the clock, and at the clock used.
    pub clock: Vec<ClockPoint>,
    /// Parameters that move the answer by more than 0.1 %, largest first.
    pub parameters: Vec<Influence>,
    /// Structural guesses, each switched by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub toggles: Vec<Alternative>,
    /// Memory of a processing element that code and runtime leave free.
    pub free_memory: Ends<Bytes>,
    /// The fewest wafers for the users and contexts asked for: `low` with the most memory free, `high` with the least;
    /// nothing where the model does not fit.
    pub wafers: Ends<u32>,
    /// Users whose KV cache the wafers of the answer hold: `low` with the least memory free; 0 where the model does not
    /// fit.
    pub max_users: Ends<u64>,
    /// Memory to spare in the fullest processing element on the wafers of the answer, `low` with the least memory free;
    /// nothing where the model does not fit.
    pub spare: Ends<Bytes>,
    /// Many draws of all inputs; nothing where they were not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled: Option<Sampled>,
}

/// What a toggle makes of the answer, all else as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alternative {
    /// The toggle.
    pub toggle: Toggle,
    /// What is assumed.
    pub assumed: Cow<'static, str>,
    /// What is not.
    pub other: Cow<'static, str>,
    /// How well it is known.
    pub evidence: Evidence,
    /// Tokens per second of each user with the one and with the other, in order of size.
    pub tokens_per_second_per_user: Range,
    /// Time to first token with the one and with the other, in milliseconds, in order of size.
    pub time_to_first_token_ms: Range,
}

/// What something is at the low and at the high end of what is not known; an end is absent where the model does not
/// fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends<T> {
    /// The smaller end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<T>,
    /// The larger end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<T>,
}

/// Which ranges an answer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ranges {
    /// None.
    None,
    /// All at their slow and all at their fast ends.
    #[default]
    Corner,
    /// That, and many draws.
    Sampled(Sampling),
}

/// Draws of all inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Sampling {
    /// How many: one of [`Sampling::ALLOWED`].
    pub samples: u32,
    /// Seed.
    pub seed: u64,
}

impl Sampling {
    /// Draws that may be asked for: with fewer than 20 there is no 5 % of them.
    pub const ALLOWED: RangeInclusive<u32> = 20..=100_000;
}

impl Default for Sampling {
    fn default() -> Self {
        Self { samples: 200, seed: 1 }
    }
}

/// Who is told how far the draws are: those that are done, and all that are known to come.
pub type Drawing<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Counts draws.
struct Counted<'a> {
    drawing: Drawing<'a>,
    done: AtomicU64,
    expected: AtomicU64,
}

impl<'a> Counted<'a> {
    fn new(drawing: Drawing<'a>) -> Self {
        Self { drawing, done: AtomicU64::new(0), expected: AtomicU64::new(0) }
    }

    fn expect(&self, more: u64) {
        self.expected.fetch_add(more, Ordering::Relaxed);
    }

    fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.drawing)(done, self.expected.load(Ordering::Relaxed));
    }
}

/// The ranges of speed and first token, however they were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// With all inputs at their slow and at their fast ends.
    Corner(Corner),
    /// Of many draws.
    Sampled(Box<Sampled>),
}

/// The ends with all inputs at their slow and at their fast ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Corner {
    /// Tokens per second of each user.
    pub tokens_per_second_per_user: Range,
    /// Time to first token, in milliseconds.
    pub time_to_first_token_ms: Range,
    /// The fewest wafers, `low` with the most memory free; nothing where the model does not fit.
    pub fewest_wafers: Ends<u32>,
    /// Users whose KV cache the wafers of the answer hold, `low` with the least memory free.
    pub max_users: Ends<u64>,
}

impl Corner {
    fn new(held: &Held<'_>, inputs: &[Input], base: Figures, [least, most]: &[Room; 2]) -> Self {
        // Toggles have no slow end of their own: each state is asked at both ends of all others.
        let toggles: Vec<&Input> = inputs.iter().filter(|input| input.toggle().is_some()).collect();
        let mut corner = Self {
            tokens_per_second_per_user: Range::of(base.speed),
            time_to_first_token_ms: Range::of(base.first_token_ms),
            fewest_wafers: Ends { low: most.fewest, high: least.fewest },
            max_users: Ends { low: Some(least.max_users), high: Some(most.max_users) },
        };
        for state in 0_u32..1 << toggles.len() {
            let switched = |input: &Input| {
                let place = toggles.iter().position(|toggle| toggle.what == input.what);
                place.map(|place| f64::from(state >> place & 1))
            };
            for end in [Input::slow, Input::fast] {
                let values: Vec<_> =
                    inputs.iter().map(|input| (input, switched(input).unwrap_or_else(|| end(input)))).collect();
                let figures = held.figures(&values);
                corner.tokens_per_second_per_user = corner.tokens_per_second_per_user.with(figures.speed);
                let first_token = corner.time_to_first_token_ms.with(figures.first_token_ms);
                corner.time_to_first_token_ms = first_token.with(figures.overlapped_ms);
            }
        }
        corner
    }
}

/// The ranges of a profile's speed and first token; nothing where none are asked for.
///
/// # Errors
/// Where the mapping cannot be read with another memory.
pub(crate) fn spread(
    question: &Question,
    way: &Way,
    wafers: u32,
    profile: Profile,
    ranges: Ranges,
) -> Result<Option<Spread>, AnswerError> {
    if ranges == Ranges::None {
        return Ok(None);
    }
    let inputs = Input::all(question, &way.mapped.placement);
    let held = Held::new(question, way, profile, &inputs)?;
    let rooms = Rooms { question, known: way, wafers };
    Ok(Some(match ranges {
        Ranges::Sampled(sampling) => {
            let counted = Counted::new(&|_, _| ());
            let draws = Draws { held: &held, inputs: &inputs, rooms, sampling, counted: &counted };
            Spread::Sampled(Box::new(sampled(&draws, &Moves::new(&held, &inputs).moving())?))
        }
        Ranges::None | Ranges::Corner => Spread::Corner(Corner::new(&held, &inputs, held.figures(&[]), &rooms.ends()?)),
    }))
}

/// The speed at both ends of each input, all others as they are.
struct Moves {
    base: f64,
    /// At the low and at the high, in the order of the inputs.
    ends: Vec<Range>,
}

impl Moves {
    fn new(held: &Held<'_>, inputs: &[Input]) -> Self {
        let ends = inputs.iter().map(|input| {
            let [one, other] = [input.low, input.high].map(|value| held.speed(&[(input, value)]));
            Range::of(one).with(other)
        });
        Self { base: held.speed(&[]), ends: ends.collect() }
    }

    /// The places of inputs that move the speed by themselves.
    fn moving(&self) -> Vec<usize> {
        let moves = |(_, range): &(usize, &Range)| range.low < self.base || range.high > self.base;
        self.ends.iter().enumerate().filter(moves).map(|(at, _)| at).collect()
    }

    /// Inputs with values that move the speed by more than 0.1 %, largest first.
    fn influences(&self, inputs: &[Input]) -> Vec<Influence> {
        let both = inputs.iter().zip(&self.ends);
        let weighty = both.filter(|(input, range)| input.toggle().is_none() && range.width() > self.base * 1e-3);
        let mut influences: Vec<Influence> = weighty
            .map(|(input, range)| Influence {
                parameter: input.name(),
                evidence: input.evidence,
                low: input.low,
                high: input.high,
                tokens_per_second_per_user: *range,
            })
            .collect();
        let spread = |influence: &Influence| influence.tokens_per_second_per_user.width();
        // A stable sort: parameters of equal influence stay in the order of the wafer file.
        influences.sort_by(|left, right| spread(right).total_cmp(&spread(left)));
        influences
    }
}

/// What each toggle makes of speed and first token.
fn alternatives(question: &Question, held: &Held<'_>, inputs: &[Input]) -> Vec<Alternative> {
    let base = held.figures(&[]);
    let toggled = inputs.iter().filter_map(|input| Some((input, input.toggle()?)));
    let alternatives = toggled.map(|(input, toggle)| {
        let figures = held.figures(&[(input, input.high)]);
        let routing = question.scenario.routing;
        let [assumed, other] = match toggle {
            Toggle::Routing => match question.extensions.routing() {
                Some(own) => [Cow::Owned(own.id().to_owned()), routing.name().into()],
                None => [routing.name(), other_routing(routing).name()].map(Cow::Borrowed),
            },
            Toggle::LinkPorts => ["same rows", "any rows"].map(Cow::Borrowed),
            Toggle::TransferSetup => ["after work", "beside work"].map(Cow::Borrowed),
        };
        Alternative {
            toggle,
            assumed,
            other,
            evidence: input.evidence,
            tokens_per_second_per_user: Range::of(base.speed).with(figures.speed),
            time_to_first_token_ms: Range::of(base.first_token_ms).with(figures.first_token_ms),
        }
    });
    alternatives.collect()
}

/// `wafers`: those of the answer.
pub(crate) fn uncertainty(
    question: &Question,
    way: &Way,
    wafers: u32,
    sampling: Option<Sampling>,
    drawing: Drawing<'_>,
) -> Result<Uncertainty, AnswerError> {
    let inputs = Input::all(question, &way.mapped.placement);
    let held = Held::new(question, way, question.scenario.profile, &inputs)?;
    let moves = Moves::new(&held, &inputs);
    let rooms = Rooms { question, known: way, wafers };
    let ends = rooms.ends()?;
    let corner = Corner::new(&held, &inputs, held.figures(&[]), &ends);
    let sampled = sampling.map(|sampling| {
        let counted = Counted::new(drawing);
        let draws = Draws { held: &held, inputs: &inputs, rooms, sampling, counted: &counted };
        sampled(&draws, &moves.moving())
    });
    let [least, most] = ends;
    Ok(Uncertainty {
        tokens_per_second_per_user: corner.tokens_per_second_per_user,
        time_to_first_token_ms: corner.time_to_first_token_ms,
        clock: clock_points(question, &held),
        parameters: moves.influences(&inputs),
        toggles: alternatives(question, &held, &inputs),
        free_memory: Ends { low: Some(least.free), high: Some(most.free) },
        wafers: corner.fewest_wafers,
        max_users: corner.max_users,
        spare: Ends { low: least.spare, high: most.spare },
        sampled: sampled.transpose()?,
    })
}

fn clock_points(question: &Question, held: &Held<'_>) -> Vec<ClockPoint> {
    let figure = question.wafer.figure_in(Key::ClockGigahertz, RateSet::Silicon);
    let mut clocks = vec![figure.low, question.clock().gigahertz(), figure.high];
    clocks.sort_by(f64::total_cmp);
    clocks.dedup();
    clocks
        .into_iter()
        .map(|ghz| {
            let clock = Hertz::from_gigahertz(ghz);
            let speed = held.speed_at(clock);
            ClockPoint {
                ghz: clock.gigahertz(),
                tokens_per_second_per_user: speed,
                reaches_target: speed >= question.scenario.target,
            }
        })
        .collect()
}
