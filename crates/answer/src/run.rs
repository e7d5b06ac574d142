//! One question answered: place, read under three profiles, judge.

mod memory;

pub use memory::{DraftMemory, Memory, MemoryBytes, WorstPe};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use wafersim_cost::{Cause, Cost};
use wafersim_mapping::{Certificate, Mapping, Resolved};
use wafersim_place::Placement;
use wafersim_spec::model::ParameterCount;
use wafersim_spec::scenario::{Profile, Speculation};
use wafersim_spec::wafer::Key;
use wafersim_spec::{Bytes, Precision};

use self::memory::memory;
use crate::bound::Profiles;
use crate::candidates::{Way, candidates};
use crate::chosen::Chosen;
use crate::decode::{DecodeTiming, Pace, Verified};
use crate::draft::wafers_used;
use crate::error::AnswerError;
use crate::fewer::FewerAtOnce;
use crate::first_token::PrefillElsewhere;
use crate::invariants::{self, debug_assert_lawful};
#[cfg(feature = "fabric")]
use crate::production::Services;
use crate::provenance::Provenance;
use crate::question::Question;
use crate::read::{OfProfile, Read, Timed, closed_form, fastest, read_profiles};
use crate::searched::Considered;
use crate::stage::LayerReading;
use crate::uncertainty::{Drawing, Ranges, Uncertainty, uncertainty};

/// The answer. Field names are those of `simctl run --format json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// Name of the model.
    pub model: String,
    /// Its parameters.
    pub parameters: ParameterCount,
    /// Bytes of KV cache for one token of one user, all layers.
    pub kv_bytes_per_token: Bytes,
    /// Name of the wafer.
    pub wafer: String,
    /// Wafers used: the number asked for, or those that `auto` takes (`Searched`).
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
    /// Where prompts are computed elsewhere: what of the first token is what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<PrefillElsewhere>,
    /// Wafers that decode and wafers that compute prompts, where those are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wafers_in_all: Option<u32>,
    /// Users whom the arrangement behind these figures serves without slowing any of them: their micro-batches in
    /// flight do not wait for each other, and their KV cache fits. Those of the profile.
    pub users_at_full_speed: u64,
    /// Users with this context whose KV cache the wafers hold in any arrangement, however slow.
    pub max_users: u64,
    /// Fewer users at once, where that gives more in all; nothing where that was not looked for
    /// ([`crate::fewer_at_once`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fewer_at_once: Option<FewerAtOnce>,
    /// Whether the target is reached.
    pub verdict: Verdict,
    /// All three profiles side by side, and what no mapping beats.
    pub profiles: Profiles,
    /// What services of this kind have made of the best that was found; nothing where too few are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg(feature = "fabric")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fabric")))]
    pub services: Option<Services>,
    /// One token's way through the machine, by operator. Shares add up to 1.
    pub breakdown: Vec<BreakdownRow>,
    /// What lives in the memory of the processing elements.
    pub memory: Memory,
    /// The load as it was run.
    pub load: LoadAsRun,
    /// What has been shown of the mapping of profile `best`: nothing unless that was asked for.
    pub certificate: Certificate,
    /// Where the number of wafers was left open and a mapping was looked for: speeds on the numbers that were compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub considered: Vec<Considered>,
    /// The most wafers that were looked at for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub considered_up_to: Option<u32>,
    /// How the answer moves with what is not known; absent where ranges were not asked for.
    pub uncertainty: Option<Uncertainty>,
    /// Where the answer comes from.
    pub provenance: Provenance,
}

/// What is known of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The programs of the profile reach it.
    Reached,
    /// They do not. Whether other programs would is not known.
    NotFound,
    /// No mapping does: it is more than no mapping beats.
    Excluded,
}

impl State {
    /// Whether the target is reached.
    pub const fn is_reached(self) -> bool {
        matches!(self, Self::Reached)
    }
}

/// What binds: the largest cause of a pass, and where most of it is spent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// The cause that takes most of a token's way.
    pub cause: Cause,
    /// The operator that takes most of that cause.
    pub operator: String,
    /// The cause's share of the way; 0 to 1.
    pub share: f64,
    /// Where the pipeline is full: what its micro-batches wait for, which is more than their way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<FullPipeline>,
}

/// A pipeline in which micro-batches wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FullPipeline {
    /// Micro-batches in flight.
    pub micro_batches: u64,
    /// The slowest stage, which they share.
    pub stage: String,
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(FullPipeline { micro_batches, stage }) = &self.full {
            write!(formatter, "a full pipeline: {micro_batches} micro-batches share {stage}; on the way: ")?;
        }
        write!(formatter, "{} ({:.0} % of a token's way", self.cause.name(), self.share * 100.0)?;
        if !self.operator.is_empty() {
            write!(formatter, ", most of it in {}", self.operator)?;
        }
        formatter.write_str(")")
    }
}

/// Whether the target is reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether the profile of the answer reaches it.
    pub state: State,
    /// Tokens per second that each user should get.
    pub target: f64,
    /// Speed over target, less one: +0.1 is 10 % above, -0.5 is half.
    pub margin: f64,
    /// What binds.
    pub limit: Limit,
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
    /// Where prompts are computed elsewhere: what of the first token is what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill: Option<PrefillElsewhere>,
    /// One pass of a micro-batch through the pipeline, in microseconds.
    pub latency_us: f64,
    /// The slowest stage, in microseconds.
    pub slowest_stage_us: f64,
    /// Users with whom the pipeline is full: as many micro-batches as one step takes times of the slowest stage, of
    /// which a draft that is verified as a stream fills several.
    pub full_pipeline_users: u64,
    /// Output tokens per second of all users together when the pipeline is full: a step of a micro-batch in the times
    /// of the slowest stage that it fills. Whether their KV caches fit is another question: see `max_users`.
    pub full_pipeline_tokens_per_second: f64,
    /// Users whom this profile's arrangement serves without slowing any of them, their KV cache included.
    pub users_at_full_speed: u64,
    /// Whether the target is reached.
    pub reaches_target: bool,
    /// What binds.
    pub limit: Limit,
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

/// The load as it was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LoadAsRun {
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
    /// Speculation as it was asked for.
    pub speculation: Speculation,
    /// How drafts are verified: what was asked for, or the faster way; nothing without speculation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verified>,
    /// What the draft of one user's step takes, in microseconds; nothing without speculation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_time_us: Option<f64>,
    /// Speed of a user over that without speculation on the same wafers, both in closed form: below 1 the draft costs
    /// more than it gives. Nothing without speculation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_gain: Option<f64>,
    /// Where the experts live: the name of the scenario's placement, or the id of an own one.
    pub placement: String,
    /// How tokens choose experts: the name of the scenario's model, or the id of an own one.
    pub routing: String,
    /// Code from outside, by kind and id: `experts: snake`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Data types.
    pub precision: Precision,
    /// Where those come from that are the checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision_source: Option<String>,
    /// What of the model is not modelled, or is taken otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub model_notes: Vec<String>,
}

impl Answer {
    /// Wafers that decode, and others that compute prompts.
    pub fn systems(&self) -> u32 {
        self.wafers_in_all.unwrap_or(self.wafers)
    }
}

/// Answers a question, with the ranges that follow from what is not known.
///
/// # Errors
/// Where the model does not fit, or parameters are so extreme that times are no numbers.
pub fn answer(question: &Question) -> Result<Answer, AnswerError> {
    answer_with(question, Ranges::Corner, &|_, _| ())
}

/// The same with the ranges that are asked for. `drawn` is called from any thread, with the draws that are done and
/// with all that are known to come.
///
/// # Errors
/// As [`answer`].
pub fn answer_with(question: &Question, ranges: Ranges, drawn: Drawing<'_>) -> Result<Answer, AnswerError> {
    let (answer, way) = base_answer(question, Profile::ALL, &mut closed_form)?;
    let answer = with_ranges(question, answer, &way, ranges, drawn)?;
    debug_assert_lawful!(invariants::of_answer(&answer));
    Ok(answer)
}

/// The placement that an answer rests on: the one that is fastest for the scenario's profile.
///
/// # Errors
/// As [`answer`].
pub fn chosen_placement(question: &Question) -> Result<Placement, AnswerError> {
    base_answer(question, &[question.scenario.profile], &mut closed_form)
        .map(|(_, way)| Arc::unwrap_or_clone(way.mapped.placement))
}

/// The mapping that an answer rests on, with every number: the way of working that is fastest for the scenario's
/// profile.
///
/// # Errors
/// As [`answer`].
pub fn resolved_mapping(question: &Question) -> Result<Resolved, AnswerError> {
    let (_, way) = base_answer(question, &[question.scenario.profile], &mut closed_form)?;
    Ok(Chosen::new(question, way.source)?.resolved(&way.mapped))
}

/// An answer with the ranges and the known errors, both in closed form.
pub(crate) fn with_ranges(
    question: &Question,
    mut answer: Answer,
    way: &Way,
    ranges: Ranges,
    drawn: Drawing<'_>,
) -> Result<Answer, AnswerError> {
    answer.provenance = answer.provenance.with_known_errors(question);
    let sampling = match ranges {
        Ranges::None => return Ok(answer),
        Ranges::Corner => None,
        Ranges::Sampled(sampling) => Some(sampling),
    };
    let ranges = uncertainty(question, way, answer.wafers, sampling, drawn)?;
    answer.verdict.depends_on_clock =
        ranges.clock.iter().any(|point| point.reaches_target != answer.verdict.state.is_reached());
    answer.provenance.seed = sampling.map(|sampling| sampling.seed);
    answer.uncertainty = Some(ranges);
    Ok(answer)
}

/// The same without ranges and known errors: what sweeps use. `depends_on_clock` is false then, unasked.
///
/// # Errors
/// As [`answer`].
pub fn answer_without_ranges(question: &Question) -> Result<Answer, AnswerError> {
    let (answer, _) = base_answer(question, Profile::ALL, &mut closed_form)?;
    debug_assert_lawful!(invariants::of_answer(&answer));
    Ok(answer)
}

/// The same for the scenario's profile alone.
///
/// # Errors
/// As [`answer`].
pub fn answer_one_profile(question: &Question) -> Result<Answer, AnswerError> {
    let (answer, _) = base_answer(question, &[question.scenario.profile], &mut closed_form)?;
    debug_assert_lawful!(invariants::of_answer(&answer));
    Ok(answer)
}

/// Answers in closed form; `replace` may then put other times in place of those of the scenario's profile.
pub(crate) fn base_answer(
    question: &Question,
    asked: &[Profile],
    replace: &mut dyn FnMut(&mut Read<'_>) -> Result<(), AnswerError>,
) -> Result<(Answer, Way), AnswerError> {
    let scenario = &question.scenario;
    let mut profiles = BTreeMap::new();
    let mut chosen = None;
    read_profiles(question, asked, replace, &mut |found| {
        profiles.insert(found.profile, found.figures.clone());
        if found.profile == scenario.profile {
            let OfProfile { way, timing, figures, closed_form, wafers, max_users, .. } = found;
            chosen = Some((way.clone(), timing, figures, closed_form, wafers, max_users));
        }
    })?;
    // The scenario's profile is one of those asked for.
    let Some((way, timing, figures, closed_form, wafers, max_users)) = chosen else {
        return Err(AnswerError::NotANumber { what: "the profile", value: scenario.profile.to_string() });
    };
    let clock = question.wafer.figure(Key::ClockGigahertz);
    let profiles = Profiles::new(question, profiles);
    let verdict = Verdict {
        state: profiles.state(figures.reaches_target),
        target: scenario.target,
        margin: figures.tokens_per_second_per_user / scenario.target - 1.0,
        limit: figures.limit.clone(),
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
        wafers,
        users: scenario.users,
        context: scenario.context,
        profile: scenario.profile,
        tokens_per_second_per_user: figures.tokens_per_second_per_user,
        tokens_per_second_total: figures.tokens_per_second_total,
        time_per_output_token_us: figures.time_per_output_token_us,
        time_to_first_token_ms: figures.time_to_first_token_ms,
        wafers_in_all: figures.prefill.as_ref().map(|prefill| wafers.saturating_add(prefill.wafers)),
        prefill: figures.prefill.clone(),
        users_at_full_speed: figures.users_at_full_speed,
        max_users,
        fewer_at_once: None,
        verdict,
        #[cfg(feature = "fabric")]
        services: Services::of(question, &profiles),
        profiles,
        breakdown: breakdown(&timing),
        memory: memory(question, &way),
        load: LoadAsRun {
            wafers_used: wafers_used(&way.mapped.placement, way.draft.as_ref().map(|draft| &*draft.placement)),
            prompt: scenario.prompt,
            micro_batch: timing.micro_batch,
            in_flight: timing.in_flight,
            stages: timing.times.stages,
            pace: timing.pace,
            tokens_per_step: timing.tokens_per_step,
            speculation: scenario.speculation.clone(),
            verification: timing.verified,
            draft_time_us: timing.verified.map(|_| timing.draft.latency.microseconds(question.clock())),
            draft_gain: timing
                .verified
                .map(|_| plain_seconds(question, wafers))
                .transpose()?
                .map(|plain| plain / closed_form),
            placement: question.placement_name(),
            routing: question.expert_use().name().into_owned(),
            extensions: question.own_code(),
            precision: scenario.precision,
            precision_source: scenario.precision_source.clone(),
            model_notes: question.model.notes.clone(),
        },
        certificate: match &question.mapping {
            Some(Mapping::Resolved(resolved)) => resolved.certificate(),
            _ => Certificate::default(),
        },
        considered: question.searched().map_or_else(Vec::new, |searched| searched.considered.clone()),
        considered_up_to: question.searched().filter(|found| !found.considered.is_empty()).map(|found| found.most),
        uncertainty: None,
        provenance: Provenance::new(question),
    };
    Ok((answer, way))
}

/// Time of a token without speculation on so many wafers, under the scenario's profile, in closed form.
fn plain_seconds(question: &Question, wafers: u32) -> Result<f64, AnswerError> {
    let plain = question.without_draft(wafers);
    let profile = plain.scenario.profile;
    let reading = LayerReading::new(&plain, profile);
    let found = candidates(&plain, profile)?;
    let ways = found.iter().flat_map(|candidates| &candidates.ways);
    let timed = ways.map(|way| Timed::new(&plain, way, &reading)).collect();
    Ok(fastest(&plain, timed)?.timing.seconds_per_token(&plain))
}

/// The figures of a profile.
pub(crate) fn profile_answer(question: &Question, read: &Read<'_>) -> Result<ProfileAnswer, AnswerError> {
    let (clock, timing) = (question.clock(), &read.timing);
    let seconds = timing.seconds_per_token(question);
    let first_token = read.first_token.total().seconds(clock);
    for (what, value) in [("the time per output token", seconds), ("the time to first token", first_token)] {
        if !(value.is_finite() && value > 0.0) {
            return Err(AnswerError::NotANumber { what, value: value.to_string() });
        }
    }
    let per_user = 1.0 / seconds;
    let (step, full) = (timing.step().seconds(clock), timing.step_of_full_pipeline().seconds(clock));
    Ok(ProfileAnswer {
        tokens_per_second_per_user: per_user,
        tokens_per_second_total: per_user * question.scenario.users as f64,
        time_per_output_token_us: seconds * 1e6,
        time_to_first_token_ms: first_token * 1e3,
        prefill: read.first_token.said(
            question,
            read.first_token_programs.wafers(question, read.placement),
            read.reading,
        ),
        latency_us: timing.times.latency.total().microseconds(clock),
        slowest_stage_us: timing.times.slowest.microseconds(clock),
        full_pipeline_users: ((step / full).ceil().max(1.0) as u64).saturating_mul(timing.micro_batch),
        full_pipeline_tokens_per_second: timing.tokens_per_step * timing.micro_batch as f64 / full,
        users_at_full_speed: timing.users_at_full_speed(question, read.placement),
        reaches_target: per_user >= question.scenario.target,
        limit: limit(timing),
        causes: causes(&timing.times.latency),
    })
}

/// What binds: the full pipeline, and the cause that takes most of a pass with the operator that takes most of that
/// cause.
fn limit(timing: &DecodeTiming) -> Limit {
    let latency = timing.times.latency;
    let cause = latency.largest();
    let where_most = timing.times.operators.iter().fold(None::<(&str, f64)>, |best, operator| {
        let cycles = operator.cost.cause(cause).0;
        if best.is_none_or(|(_, most)| cycles > most) { Some((&operator.name, cycles)) } else { best }
    });
    let full = match timing.pace {
        Pace::Latency => None,
        Pace::SlowestStage => Some(timing.times.slowest_name.clone()),
        Pace::DraftStage => Some("the draft model".into()),
    };
    Limit {
        cause,
        operator: where_most.map_or_else(String::new, |(name, _)| name.to_owned()),
        share: share(latency.cause(cause).0, latency.total().0),
        full: full.map(|stage| FullPipeline { micro_batches: timing.in_flight, stage }),
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
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
                share: share(cycles, total),
                causes: causes(&operator.cost),
            }
        })
        .collect()
}
