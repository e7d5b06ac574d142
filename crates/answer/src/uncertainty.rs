//! How the answer moves with what is not known: every rate that has a range, the clock among them, and the memory that
//! code and runtime leave free.
//!
//! One parameter at a time is set to its low and its high, all others stay; the combined range takes for each the end
//! that slows or speeds the answer. The placement stays for that. What it would be with less or more memory free is
//! asked by itself: it moves wafers, users and what is spare.

use serde::Serialize;
use wafersim_mapping::Mapped;
use wafersim_place::Placement;
use wafersim_spec::scenario::{Profile, WaferCount};
use wafersim_spec::wafer::{DECLARATIONS, Declaration, Evidence, Figure, Key, RateSet};
use wafersim_spec::{Bytes, Hertz, Wafer};

use crate::candidates::{Way, most_users, way, with_room_for_draft};
use crate::chosen::Chosen;
use crate::decode::{DecodePrograms, DecodeTiming};
use crate::draft::Drafts;
use crate::error::AnswerError;
use crate::question::Question;
use crate::stage::LayerReading;
use crate::written::Kept;

/// A range of speeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    /// The slower end, in tokens per second per user.
    pub low: f64,
    /// The faster end.
    pub high: f64,
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
    /// Parameter of the wafer file.
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
    /// All rates that have a range, the clock among them, at their slow and fast ends together.
    pub tokens_per_second_per_user: Range,
    /// At the ends of the published range of the clock, and at the clock used.
    pub clock: Vec<ClockPoint>,
    /// Parameters that move the answer by more than 0.1 %, largest first.
    pub parameters: Vec<Influence>,
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
}

/// What something is at the low and at the high end of what is not known; an end is absent where the model does not
/// fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ends<T> {
    /// The smaller end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<T>,
    /// The larger end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<T>,
}

/// A placement and its programs: what stays while parameters vary.
#[derive(Clone, Copy)]
struct Fixed<'a> {
    placement: &'a Placement,
    programs: &'a DecodePrograms,
}

/// `wafers`: those of the answer.
pub(crate) fn uncertainty(question: &Question, way: &Way, wafers: u32) -> Result<Uncertainty, AnswerError> {
    let profile = question.scenario.profile;
    let programs = DecodePrograms::new(question, way, &mut Kept::default());
    let placed = Fixed { placement: &way.mapped.placement, programs: &programs };
    let base = speed(question, placed, profile);
    let mut parameters = Vec::new();
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    for declared in DECLARATIONS.iter().filter(|declared| is_rate(declared)) {
        let figure = question.wafer.figure(declared.key);
        if figure.low >= figure.high {
            continue;
        }
        let with = |value: f64| speed(&changed(question, &[(declared, value)]), placed, profile);
        let (at_low, at_high) = (with(figure.low), with(figure.high));
        let (slow_value, fast_value) =
            if at_low <= at_high { (figure.low, figure.high) } else { (figure.high, figure.low) };
        slow.push((declared, slow_value));
        fast.push((declared, fast_value));
        let range = Range { low: at_low.min(at_high), high: at_low.max(at_high) };
        if (range.high - range.low) > base * 1e-3 {
            parameters.push(Influence {
                parameter: declared.path,
                evidence: figure.evidence,
                low: figure.low,
                high: figure.high,
                tokens_per_second_per_user: range,
            });
        }
    }
    let spread =
        |influence: &Influence| influence.tokens_per_second_per_user.high - influence.tokens_per_second_per_user.low;
    // A stable sort: parameters of equal influence stay in the order of the wafer file.
    parameters.sort_by(|left, right| spread(right).total_cmp(&spread(left)));
    let at_ends = |values: &[(&Declaration, f64)]| speed(&changed(question, values), placed, profile);
    let range = Range { low: at_ends(&slow).min(base), high: at_ends(&fast).max(base) };
    let (least, most) =
        (room_at(question, way, wafers, |free| free.low)?, room_at(question, way, wafers, |free| free.high)?);
    Ok(Uncertainty {
        tokens_per_second_per_user: range,
        clock: clock_points(question, placed, profile),
        parameters,
        free_memory: Ends { low: Some(least.free), high: Some(most.free) },
        wafers: Ends { low: most.fewest, high: least.fewest },
        max_users: Ends { low: Some(least.max_users), high: Some(most.max_users) },
        spare: Ends { low: least.spare, high: most.spare },
    })
}

/// What the model takes at one end of the memory that is free.
struct Room {
    free: Bytes,
    fewest: Option<u32>,
    max_users: u64,
    spare: Option<Bytes>,
}

/// Places anew, with the memory at one end, for drafts that are verified as in a known way.
fn room_at(question: &Question, known: &Way, wafers: u32, end: impl Fn(&Figure) -> f64) -> Result<Room, AnswerError> {
    let declared = &DECLARATIONS[Key::FreeBytes as usize];
    let free = end(question.wafer.figure(Key::FreeBytes)).min(question.wafer.figure(Key::MemoryBytes).value);
    let question = changed(question, &[(declared, free)]);
    let source = known.source.elsewhere();
    let drafts = Drafts::new(&question, source);
    // Another memory is another machine: a mapping with every number is opened.
    let chosen = Chosen::new(&question, source)?.open();
    let placed = |wafers: WaferCount| with_room_for_draft(&chosen, known.verified, 1, wafers, &drafts).ok();
    let here = placed(WaferCount::Exactly(wafers)).map(|(mapped, _)| mapped);
    let users = |mapped: &Mapped| {
        let way = way(&chosen, known.verified, mapped.clone(), wafers, &drafts);
        way.map_or(0, |way| most_users(&chosen, &question, wafers, &way, &drafts))
    };
    Ok(Room {
        free: question.wafer.free_bytes(),
        fewest: placed(WaferCount::Auto).map(|(_, wafers)| wafers),
        max_users: here.as_ref().map_or(0, users),
        spare: here.map(|mapped| mapped.placement.ledger.worst.spare),
    })
}

/// Sizes and memory are not varied here.
fn is_rate(declared: &Declaration) -> bool {
    !declared.whole
}

fn changed(question: &Question, values: &[(&Declaration, f64)]) -> Question {
    let wafer: Wafer = question.wafer.map_values(|declared, figure| {
        values.iter().find(|(other, _)| other.key == declared.key).map_or(figure.value, |(_, value)| *value)
    });
    Question { wafer, ..question.clone() }
}

fn speed(question: &Question, placed: Fixed<'_>, profile: Profile) -> f64 {
    let reading = LayerReading::new(question, profile);
    let timing = DecodeTiming::new(question, placed.placement, placed.programs, &reading);
    1.0 / timing.seconds_per_token(question)
}

fn clock_points(question: &Question, placed: Fixed<'_>, profile: Profile) -> Vec<ClockPoint> {
    let figure = question.wafer.figure_in(Key::ClockGigahertz, RateSet::Silicon);
    let mut clocks = vec![figure.low, question.clock().gigahertz(), figure.high];
    clocks.sort_by(f64::total_cmp);
    clocks.dedup();
    clocks
        .into_iter()
        .map(|ghz| {
            let mut at_clock = question.clone();
            at_clock.scenario.clock_ghz = Some(ghz);
            let speed = speed(&at_clock, placed, profile);
            ClockPoint {
                ghz: Hertz::from_gigahertz(ghz).gigahertz(),
                tokens_per_second_per_user: speed,
                reaches_target: speed >= question.scenario.target,
            }
        })
        .collect()
}
