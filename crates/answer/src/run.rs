//! One question answered: place, read under three profiles, judge.

use std::collections::BTreeMap;

use serde::Serialize;
use wafersim_cost::{Cause, Cost};
use wafersim_place::{ByteCounts, Item, Placement, Rectangle};
use wafersim_spec::model::ParameterCount;
use wafersim_spec::scenario::{ExpertPlacement, Profile, Routing};
use wafersim_spec::wafer::Key;
use wafersim_spec::{Bytes, Cycles, Precision};

use crate::candidates::candidates;
use crate::decode::{DecodePrograms, DecodeTiming, Pace};
use crate::error::AnswerError;
use crate::prefill::PromptPrograms;
use crate::provenance::Provenance;
use crate::question::Question;
use crate::stage::LayerReading;
use crate::uncertainty::{Uncertainty, uncertainty};

/// The answer. Field names are those of `simctl run --format json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Name of the model.
    pub model: String,
    /// Its parameters.
    pub parameters: ParameterCount,
    /// Bytes of KV cache for one token of one user, all layers.
    pub kv_bytes_per_token: Bytes,
    /// Name of the wafer.
    pub wafer: String,
    /// Wafers used: the number asked for, or the fewest that suffice.
    pub wafers: u32,
    /// Users served at the same time.
    pub users: u64,
    /// Tokens in each user's cache.
    pub context: u64,
    /// Profile of the verdict, the breakdown and the figures at this level.
    pub profile: Profile,
    /// Output tokens per second that each user sees.
    pub tokens_per_second_per_user: f64,
    /// Output tokens per second of all users together.
    pub tokens_per_second_total: f64,
    /// Mean time between a user's output tokens, in microseconds.
    pub time_per_output_token_us: f64,
    /// From the prompt's arrival at an idle machine to its first output token, in milliseconds.
    pub time_to_first_token_ms: f64,
    /// Users with this context whose KV cache the wafers hold.
    pub max_users: u64,
    /// Whether the target is reached.
    pub verdict: Verdict,
    /// All three profiles side by side.
    pub profiles: BTreeMap<Profile, ProfileAnswer>,
    /// One token's way through the machine, by operator. Shares add up to 1.
    pub breakdown: Vec<BreakdownRow>,
    /// What lives in the memory of the processing elements.
    pub memory: Memory,
    /// The load as it was run.
    pub load: Load,
    /// How the answer moves with what is not known; absent where ranges were not asked for.
    pub uncertainty: Option<Uncertainty>,
    /// Where the answer comes from.
    pub provenance: Provenance,
}

/// Whether the target is reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Tokens per second that each user should get.
    pub target: f64,
    /// Whether the profile of the answer reaches it.
    pub reachable: bool,
    /// Speed over target, less one: +0.1 is 10 % above, -0.5 is half.
    pub margin: f64,
    /// What binds: the largest cause, and where most of it is spent.
    pub limit: String,
    /// The profiles that reach the target.
    pub reachable_under: Vec<Profile>,
    /// Clock of the verdict in GHz.
    pub clock_ghz: f64,
    /// The wafer's nominal clock in GHz, and the ends of the range that is published.
    pub nominal_clock_ghz: f64,
    /// The lowest clock that is published.
    pub lowest_clock_ghz: f64,
    /// The highest clock that is published.
    pub highest_clock_ghz: f64,
    /// Whether the verdict is another one somewhere in the published range of the clock.
    pub depends_on_clock: bool,
}

/// What a profile says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileAnswer {
    /// Output tokens per second that each user sees.
    pub tokens_per_second_per_user: f64,
    /// Output tokens per second of all users together.
    pub tokens_per_second_total: f64,
    /// Mean time between a user's output tokens, in microseconds.
    pub time_per_output_token_us: f64,
    /// From the prompt's arrival at an idle machine to its first output token, in milliseconds.
    pub time_to_first_token_ms: f64,
    /// One pass of a micro-batch through the pipeline, in microseconds.
    pub latency_us: f64,
    /// The slowest stage, in microseconds.
    pub slowest_stage_us: f64,
    /// Users with whom the pipeline is full: as many micro-batches as one pass takes stages' times.
    pub full_pipeline_users: u64,
    /// Output tokens per second of all users together when the pipeline is full: a micro-batch in the time of the slowest
    /// stage. Whether their KV caches fit is another question: see `max_users`.
    pub full_pipeline_tokens_per_second: f64,
    /// Whether the target is reached.
    pub reaches_target: bool,
    /// What binds.
    pub limit: String,
    /// Cycles of one pass by cause.
    pub causes: BTreeMap<&'static str, f64>,
}

/// One operator of the breakdown, summed over all layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BreakdownRow {
    /// Operator.
    pub operator: String,
    /// Cycles in one pass through the pipeline.
    pub cycles: f64,
    /// Of the pass.
    pub share: f64,
    /// Cycles by cause.
    pub causes: BTreeMap<&'static str, f64>,
}

/// Memory of the processing elements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Memory {
    /// Bytes in the worst processing element.
    pub per_pe_bytes: MemoryBytes,
    /// Which one that is.
    pub worst_pe: WorstPe,
    /// Sums over all wafers.
    pub total_bytes: ByteCounts,
    /// Slots on one wafer: columns x rows.
    pub slots_per_wafer: u64,
    /// Size of a slot's region in processing elements.
    pub region: Rectangle,
    /// Processing elements of each wafer that belong to no slot.
    pub spare_pes_per_wafer: u64,
    /// Slots that hold nothing, over all wafers.
    pub empty_slots: u64,
}

/// Bytes of one processing element. All but `limit` add up to `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryBytes {
    /// Matrices and biases.
    pub weights: Bytes,
    /// Gains and sinks, of which every row or column holds a copy.
    pub replicated: Bytes,
    /// Keys and values.
    pub kv_cache: Bytes,
    /// Activations.
    pub activations: Bytes,
    /// Buffers for arriving payloads.
    pub receive_buffers: Bytes,
    /// Code and runtime.
    pub code_and_runtime: Bytes,
    /// Free.
    pub spare: Bytes,
    /// All of its SRAM.
    pub limit: Bytes,
}

/// The processing element with the least to spare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorstPe {
    /// Wafer, from 0.
    pub wafer: u32,
    /// Slot in the order of the pipeline, from 0.
    pub slot: usize,
    /// Its region on the wafer.
    pub region: Rectangle,
    /// What the slot holds.
    pub holds: String,
}

/// The load as it was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Load {
    /// Wafers that hold something: fewer than `wafers` where the rest would only make ways longer.
    pub wafers_used: u32,
    /// Tokens of the prompt of the time to first token.
    pub prompt: u64,
    /// Users whose tokens go through together.
    pub micro_batch: u64,
    /// Micro-batches in flight.
    pub in_flight: u64,
    /// Stages of the pipeline.
    pub stages: u64,
    /// What sets the pace.
    pub pace: Pace,
    /// Expected tokens of one step of a user.
    pub tokens_per_step: f64,
    /// Where the experts live.
    pub placement: ExpertPlacement,
    /// How tokens choose experts.
    pub routing: Routing,
    /// Data types.
    pub precision: Precision,
}

/// Answers a question, with the ranges that follow from what is not known.
///
/// # Errors
/// Where the model does not fit, or parameters are so extreme that times are no numbers.
pub fn answer(question: &Question) -> Result<Answer, AnswerError> {
    let (answer, placement) = base_answer(question, Profile::ALL, &mut closed_form)?;
    Ok(with_ranges(question, answer, &placement))
}

/// The placement that an answer rests on: the one that is fastest for the scenario's profile.
///
/// # Errors
/// As [`answer`].
pub fn chosen_placement(question: &Question) -> Result<Placement, AnswerError> {
    base_answer(question, &[question.scenario.profile], &mut closed_form).map(|(_, placement)| placement)
}

/// An answer with the ranges and the known errors, both in closed form.
pub(crate) fn with_ranges(question: &Question, mut answer: Answer, placement: &Placement) -> Answer {
    let ranges = uncertainty(question, placement, answer.wafers, answer.load.micro_batch);
    answer.verdict.depends_on_clock = ranges.clock.iter().any(|point| point.reaches_target != answer.verdict.reachable);
    answer.uncertainty = Some(ranges);
    answer.provenance = answer.provenance.with_known_errors(question);
    answer
}

/// The same without ranges and known errors: what sweeps use. `depends_on_clock` is false then, unasked.
///
/// # Errors
/// As [`answer`].
pub fn answer_without_ranges(question: &Question) -> Result<Answer, AnswerError> {
    base_answer(question, Profile::ALL, &mut closed_form).map(|(answer, _)| answer)
}

/// The same for the scenario's profile alone: what a plan asks for each point.
///
/// # Errors
/// As [`answer`].
pub fn answer_one_profile(question: &Question) -> Result<Answer, AnswerError> {
    base_answer(question, &[question.scenario.profile], &mut closed_form).map(|(answer, _)| answer)
}

/// What was read in closed form for the scenario's profile, for another reading to replace.
pub(crate) struct Read<'a> {
    /// The placement that is fastest for the profile.
    pub(crate) placement: &'a Placement,
    /// Its programs.
    pub(crate) programs: &'a DecodePrograms,
    /// The placement that the prompt is read on.
    pub(crate) prompt_placement: &'a Placement,
    /// The programs of the prompt.
    pub(crate) prompt_programs: &'a PromptPrograms,
    /// How they were read.
    pub(crate) reading: &'a LayerReading,
    /// Decoding.
    pub(crate) timing: DecodeTiming,
    /// Time to first token.
    pub(crate) first_token: Cycles,
}

/// Replaces nothing.
fn closed_form(_: &mut Read<'_>) -> Result<(), AnswerError> {
    Ok(())
}

/// Answers in closed form; `replace` may then put other times in place of those of the scenario's profile.
pub(crate) fn base_answer(
    question: &Question,
    asked: &[Profile],
    replace: &mut dyn FnMut(&mut Read<'_>) -> Result<(), AnswerError>,
) -> Result<(Answer, Placement), AnswerError> {
    let candidates = candidates(question)?;
    let scenario = &question.scenario;
    let written: Vec<DecodePrograms> = candidates
        .ways
        .iter()
        .map(|(placement, micro_batch)| DecodePrograms::new(question, placement, *micro_batch, asked))
        .collect();
    // The first way always exists.
    let first = &candidates.ways[0].0;
    let prompt = PromptPrograms::new(question, first, asked);
    let mut profiles = BTreeMap::new();
    let mut chosen = None;
    for &profile in asked {
        let reading = LayerReading::new(question, profile);
        let timed = candidates.ways.iter().zip(&written).map(|((placement, _), programs)| {
            (placement, programs, DecodeTiming::new(question, placement, programs, &reading))
        });
        // The first of the fastest.
        let fastest = timed.reduce(|best, way| if way.2.period.0 < best.2.period.0 { way } else { best });
        let Some((placement, programs, timing)) = fastest else { continue };
        check_colors(question, timing.times.colors)?;
        let mut read = Read {
            placement,
            programs,
            prompt_placement: first,
            prompt_programs: &prompt,
            reading: &reading,
            timing,
            first_token: prompt.time(question, first, &reading),
        };
        if profile == scenario.profile {
            replace(&mut read)?;
        }
        let figures = profile_answer(question, read.first_token, &read.timing)?;
        if profile == scenario.profile {
            chosen = Some((placement, read.timing, figures.clone()));
        }
        profiles.insert(profile, figures);
    }
    // The scenario's profile is one of those asked for.
    let Some((placement, timing, figures)) = chosen else {
        return Err(AnswerError::NotANumber { what: "the profile", value: scenario.profile.to_string() });
    };
    let clock = question.wafer.figure(Key::ClockGigahertz);
    let verdict = Verdict {
        target: scenario.target,
        reachable: figures.reaches_target,
        margin: figures.tokens_per_second_per_user / scenario.target - 1.0,
        limit: figures.limit.clone(),
        reachable_under: profiles.iter().filter(|(_, said)| said.reaches_target).map(|(profile, _)| *profile).collect(),
        clock_ghz: question.clock().gigahertz(),
        nominal_clock_ghz: clock.value,
        lowest_clock_ghz: clock.low,
        highest_clock_ghz: clock.high,
        depends_on_clock: false,
    };
    let answer = Answer {
        model: question.model.name.clone(),
        parameters: question.model.parameters(),
        kv_bytes_per_token: question.model.kv_bytes_per_token(&scenario.precision),
        wafer: question.wafer.name.clone(),
        wafers: candidates.wafers,
        users: scenario.users,
        context: scenario.context,
        profile: scenario.profile,
        tokens_per_second_per_user: figures.tokens_per_second_per_user,
        tokens_per_second_total: figures.tokens_per_second_total,
        time_per_output_token_us: figures.time_per_output_token_us,
        time_to_first_token_ms: figures.time_to_first_token_ms,
        max_users: candidates.max_users,
        verdict,
        profiles,
        breakdown: breakdown(&timing),
        memory: memory(placement),
        load: Load {
            wafers_used: placement.wafers_used,
            prompt: scenario.prompt,
            micro_batch: timing.micro_batch,
            in_flight: timing.in_flight,
            stages: timing.times.stages,
            pace: timing.pace,
            tokens_per_step: timing.tokens_per_step,
            placement: scenario.placement,
            routing: scenario.routing,
            precision: scenario.precision,
        },
        uncertainty: None,
        provenance: Provenance::new(question),
    };
    Ok((answer, placement.clone()))
}

pub(crate) fn check_colors(question: &Question, needed: u32) -> Result<(), AnswerError> {
    let available = question.wafer.figure(Key::Colors).value as u32;
    if needed <= available {
        return Ok(());
    }
    Err(AnswerError::TooFewColors { wafer: question.wafer.name.clone(), needed, available })
}

fn profile_answer(question: &Question, prompt: Cycles, timing: &DecodeTiming) -> Result<ProfileAnswer, AnswerError> {
    let clock = question.clock();
    let seconds = timing.seconds_per_token(question);
    let first_token = prompt.seconds(clock);
    for (what, value) in [("the time per output token", seconds), ("the time to first token", first_token)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(AnswerError::NotANumber { what, value: value.to_string() });
        }
    }
    let per_user = 1.0 / seconds;
    let (latency, slowest) = (timing.times.latency.total().seconds(clock), timing.times.slowest.seconds(clock));
    Ok(ProfileAnswer {
        tokens_per_second_per_user: per_user,
        tokens_per_second_total: per_user * question.scenario.users as f64,
        time_per_output_token_us: seconds * 1e6,
        time_to_first_token_ms: first_token * 1e3,
        latency_us: timing.times.latency.total().microseconds(clock),
        slowest_stage_us: timing.times.slowest.microseconds(clock),
        full_pipeline_users: ((latency / slowest).ceil().max(1.0) as u64).saturating_mul(timing.micro_batch),
        full_pipeline_tokens_per_second: timing.tokens_per_step * timing.micro_batch as f64 / slowest,
        reaches_target: per_user >= question.scenario.target,
        limit: limit(timing),
        causes: causes(&timing.times.latency),
    })
}

/// The binding limit in words: the full pipeline, or the cause that takes most of a pass and the operator that takes most
/// of that cause.
fn limit(timing: &DecodeTiming) -> String {
    let latency = timing.times.latency;
    let cause = latency.largest();
    let share = percent(latency.cause(cause).0, latency.total().0);
    let where_most = timing.times.operators.iter().fold(None::<(&str, f64)>, |best, operator| {
        let cycles = operator.cost.cause(cause).0;
        if best.is_none_or(|(_, most)| cycles > most) { Some((&operator.name, cycles)) } else { best }
    });
    let place = where_most.map_or_else(String::new, |(name, _)| format!(", most of it in {name}"));
    let causes = format!("{} ({share:.0} % of a token's way{place})", cause.name());
    match timing.pace {
        Pace::Latency => causes,
        Pace::SlowestStage => format!(
            "a full pipeline: {} micro-batches share {}; on the way: {causes}",
            timing.in_flight, timing.times.slowest_name
        ),
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

fn causes(cost: &Cost) -> BTreeMap<&'static str, f64> {
    Cause::ALL.into_iter().map(|cause| (cause.key(), cost.cause(cause).0)).collect()
}

fn breakdown(timing: &DecodeTiming) -> Vec<BreakdownRow> {
    let total = timing.times.latency.total().0;
    timing
        .times
        .operators
        .iter()
        .map(|operator| {
            let cycles = operator.cost.total().0;
            BreakdownRow {
                operator: operator.name.to_string(),
                cycles,
                share: percent(cycles, total) / 100.0,
                causes: causes(&operator.cost),
            }
        })
        .collect()
}

fn memory(placement: &Placement) -> Memory {
    let worst = &placement.ledger.worst;
    let bytes = worst.worst_pe;
    let slot = placement.slots.get(worst.slot);
    let region = slot.map_or(Rectangle { x: 0, y: 0, columns: 0, rows: 0 }, |slot| slot.region);
    Memory {
        per_pe_bytes: MemoryBytes {
            weights: bytes.weights,
            replicated: bytes.replicated,
            kv_cache: bytes.kv_cache,
            activations: bytes.activations,
            receive_buffers: bytes.receive_buffers,
            code_and_runtime: bytes.code_and_runtime,
            spare: worst.spare,
            limit: placement.ledger.limit,
        },
        worst_pe: WorstPe {
            wafer: worst.wafer,
            slot: worst.slot,
            region,
            holds: slot.map_or_else(String::new, |slot| holds(&slot.items)),
        },
        total_bytes: placement.ledger.totals,
        slots_per_wafer: placement.slots_per_wafer,
        region,
        spare_pes_per_wafer: placement.spare_pes_per_wafer,
        empty_slots: placement.empty_slots,
    }
}

fn holds(items: &[Item]) -> String {
    match items {
        [] => "nothing".into(),
        [only] => only.to_string(),
        [first, .., last] => format!("{first} to {last}"),
    }
}
