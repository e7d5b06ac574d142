//! Decoding under load: micro-batches, the pipeline's fill, speculative decoding.
//!
//! With U users in micro-batches of b tokens, ceil(U / b) micro-batches are in flight. A token's period is the longer
//! of one pass through the pipeline and of what the slowest stage needs for all micro-batches: TPOT = max(latency(b),
//! ceil(U / b) slowest(b)).
//!
//! Speculation: a draft of k tokens is proposed, then verified with the model's own token in one of two ways. As a
//! *micro-batch*, the k + 1 tokens of each user go through in one pass of b (k + 1) tokens. As a *stream*, they follow
//! each other, each in the time of the slowest stage: keys and values of those before are in every layer when a token
//! arrives, as in a prompt. A step then takes latency(b) + k slowest(b), and fills k + 1 places of the pipeline:
//!
//! | | step | full pipeline |
//! |---|---|---|
//! | micro-batch | latency(b (k + 1)) | ceil(U / b) slowest(b (k + 1)) |
//! | stream | latency(b) + k slowest(b) | ceil(U / b) (k + 1) slowest(b) |
//!
//! The period is max(step + draft, full): a draft holds up its user, not the pipeline. A draft takes k times its cost,
//! which is a fraction of the model's pass of one token; or, where a draft model is named, k of its own passes, and its
//! own pipeline is another limit, U k times its slowest stage.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use wafersim_mapping::Mapped;
use wafersim_place::Placement;
use wafersim_spec::scenario::Verification;
use wafersim_spec::wafer::Key;
use wafersim_spec::{Cycles, Hertz};

use crate::candidates::Way;
use crate::error::AnswerError;
use crate::known::Lowered;
use crate::question::Question;
use crate::stage::{LayerReading, StageTimes};
use crate::written::{Flow, Kept, Written};

/// Decoding of all users.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeTiming {
    /// Tokens of different users that go through together.
    pub micro_batch: u64,
    /// Micro-batches in flight.
    pub in_flight: u64,
    /// How drafts are verified; nothing without speculation.
    pub verified: Option<Verified>,
    /// Passes of a micro-batch in one step.
    pub passes: u64,
    /// One pass through the pipeline.
    pub times: StageTimes,
    /// What the draft of a step takes.
    pub draft: DraftTime,
    /// From one step of a user to the next.
    pub period: Cycles,
    /// What limits the period.
    pub pace: Pace,
    /// Expected tokens of a step: 1 without speculation.
    pub tokens_per_step: f64,
}

/// How a draft is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// All tokens in one pass.
    MicroBatch,
    /// One after the other.
    Stream,
}

impl Verified {
    /// As a mapping by itself verifies the drafts of a question: token by token, unless it says otherwise.
    pub(crate) fn of(question: &Question, mapped: &Mapped) -> Option<Self> {
        (question.inputs().load.tokens_per_step > 1).then_some(match mapped.draft {
            Verification::MicroBatch => Self::MicroBatch,
            Verification::Stream | Verification::Faster => Self::Stream,
        })
    }

    /// The ways that a question allows; what is first wins a tie. One of nothing without speculation.
    pub(crate) fn allowed(question: &Question, asked: Verification) -> &'static [Option<Self>] {
        if question.scenario.speculation.draft_length == 0 {
            return &[None];
        }
        match asked {
            Verification::Faster => &[Some(Self::Stream), Some(Self::MicroBatch)],
            Verification::MicroBatch => &[Some(Self::MicroBatch)],
            Verification::Stream => &[Some(Self::Stream)],
        }
    }
}

/// What the draft of one user's step takes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DraftTime {
    /// Until the last token is proposed.
    pub latency: Cycles,
    /// For how long the draft model's slowest stage is busy with it; 0 where no draft model is named, and nothing is
    /// known of where it runs.
    pub occupancy: Cycles,
}

impl DraftTime {
    /// A draft by a model whose pass of one token takes so long.
    pub(crate) fn by_model(question: &Question, pass: &StageTimes) -> Self {
        let count = f64::from(question.scenario.speculation.draft_length);
        Self { latency: pass.latency.total() * count, occupancy: pass.slowest * count }
    }

    /// The same where its cost is given as a fraction of the model's own pass.
    pub(crate) fn by_cost(question: &Question, cost: f64, pass: Cycles) -> Self {
        let count = f64::from(question.scenario.speculation.draft_length);
        let latency = pass * (count * cost);
        Self { latency, occupancy: Cycles::ZERO }
    }
}

/// What sets the period of a user's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// One step: the pipeline has room for more micro-batches.
    Latency,
    /// The slowest stage, which all micro-batches share: the pipeline is full.
    SlowestStage,
    /// The slowest stage of the draft model, which all users share.
    DraftStage,
}

/// The programs that decoding needs.
#[derive(Debug, Clone)]
pub struct DecodePrograms {
    micro_batch: u64,
    verified: Option<Verified>,
    /// One pass of a micro-batch: a token of each user, or a draft to verify.
    pub(crate) pass: Written,
    /// A single token, for the cost of a draft; nothing where a pass is that, or where no cost is needed.
    pub(crate) single: Option<Written>,
    /// The draft model, where its time counts.
    draft: Option<DraftPrograms>,
}

/// The draft model's own pass.
#[derive(Debug, Clone)]
struct DraftPrograms {
    question: Question,
    placement: Arc<Placement>,
    pass: Written,
}

impl DecodePrograms {
    /// Writes the programs of a way of working.
    pub fn new(question: &Question, way: &Way, kept: &mut Kept) -> Self {
        let draft = way.draft.as_ref().filter(|_| question.scenario.speculation.cost().is_none());
        let draft = draft.and_then(|mapped| {
            let question = question.of_draft()?;
            let flow = Flow::Decode { tokens: 1, users: 1, context: question.scenario.context };
            let pass = Written::new(&question, mapped, flow);
            Some(DraftPrograms { question, placement: Arc::clone(&mapped.placement), pass })
        });
        Self { draft, ..Self::alone(question, &way.mapped, way.verified, kept) }
    }

    /// The same without a draft model, where mappings of one question are written again and again.
    pub(crate) fn alone(question: &Question, mapped: &Mapped, verified: Option<Verified>, kept: &mut Kept) -> Self {
        let scenario = &question.scenario;
        let micro_batch = mapped.micro_batch.clamp(1, scenario.users);
        let mut write = |tokens: u64, users: u64| {
            let flow = Flow::Decode { tokens, users, context: scenario.context };
            Written::with_kept(question, mapped, flow, None, kept)
        };
        let tokens = micro_batch.saturating_mul(question.tokens_per_pass(verified));
        let needs_single = verified.is_some() && scenario.speculation.cost().is_some() && tokens > 1;
        let pass = write(tokens, micro_batch);
        Self { micro_batch, verified, pass, single: needs_single.then(|| write(1, 1)), draft: None }
    }
}

impl DecodePrograms {
    /// Whether everything could be written.
    ///
    /// # Errors
    /// Where a layer could not be written as its mapping says.
    pub(crate) fn check(&self, mapping: &str) -> Result<(), AnswerError> {
        let draft = self.draft.as_ref().map(|draft| &draft.pass);
        let mut all = std::iter::once(&self.pass).chain(self.single.as_ref()).chain(draft);
        all.try_for_each(|written| written.check(mapping))
    }
}

impl DecodePrograms {
    /// Whether every router has colors enough for the layers of a pass: pairs of color and route over the whole
    /// program, with names renamed where they do not meet.
    ///
    /// # Errors
    /// Where a router has not, with the router and the number.
    pub(crate) fn fit_in_routers(&self, question: &Question) -> Result<(), AnswerError> {
        let available = question.wafer.figure(Key::Colors).value as u32;
        let fits = |(layout, program): (usize, &Arc<Lowered>)| {
            if program.color_count() <= available {
                return Ok(());
            }
            program.fits_in_routers(&question.wafer, &question.shared.routers).map_err(|reason| {
                let what = format!("a layer of layout {layout}");
                AnswerError::Fabric { what, reason }
            })
        };
        let all: Vec<Result<(), AnswerError>> = self.pass.layouts.par_iter().enumerate().map(fits).collect();
        all.into_iter().collect()
    }
}

impl DecodeTiming {
    /// Reads the programs of a placement.
    pub fn new(question: &Question, placement: &Placement, programs: &DecodePrograms, reading: &LayerReading) -> Self {
        let read = |written: &Written| StageTimes::read(question, placement, written, reading);
        Self::assemble(question, programs, reading, read(&programs.pass), programs.single.as_ref().map(read))
    }

    /// Puts the period together from a pass and, where a draft's cost needs it, a pass of one token. The draft model is
    /// read in closed form.
    pub(crate) fn assemble(
        question: &Question,
        programs: &DecodePrograms,
        reading: &LayerReading,
        times: StageTimes,
        single: Option<StageTimes>,
    ) -> Self {
        let scenario = &question.scenario;
        let (micro_batch, verified) = (programs.micro_batch, programs.verified);
        let in_flight = scenario.users.div_ceil(micro_batch);
        let passes = question.passes_per_step(verified);
        let draft = match (&programs.draft, scenario.speculation.cost()) {
            _ if verified.is_none() => DraftTime::default(),
            (Some(draft), _) => {
                let pass = StageTimes::read(&draft.question, &draft.placement, &draft.pass, reading);
                DraftTime::by_model(question, &pass)
            }
            (None, cost) => {
                let pass = single.as_ref().unwrap_or(&times).latency.total();
                DraftTime::by_cost(question, cost.unwrap_or(0.0), pass)
            }
        };
        let step = times.latency.total() + times.slowest * (passes - 1) as f64 + draft.latency;
        let full = times.slowest * in_flight.saturating_mul(passes) as f64;
        let full_draft = draft.occupancy * scenario.users as f64;
        let period = step.max(full).max(full_draft);
        let pace = match () {
            () if full_draft.0 > step.max(full).0 => Pace::DraftStage,
            () if full.0 > step.0 => Pace::SlowestStage,
            () => Pace::Latency,
        };
        let tokens_per_step = scenario.speculation.tokens_per_step();
        Self { micro_batch, in_flight, verified, passes, times, draft, period, pace, tokens_per_step }
    }

    /// One step of a user on an otherwise idle machine: the draft, and the passes that verify it.
    pub fn step(&self) -> Cycles {
        self.times.latency.total() + self.times.slowest * (self.passes - 1) as f64 + self.draft.latency
    }

    /// Time in which a full pipeline is through with one step of a micro-batch.
    pub fn step_of_full_pipeline(&self) -> Cycles {
        (self.times.slowest * self.passes as f64).max(self.draft.occupancy * self.micro_batch as f64)
    }

    /// Mean time between the tokens of all users where the pipeline is full, in seconds.
    pub fn seconds_per_token_of_full_pipeline(&self, question: &Question) -> f64 {
        let step = self.step_of_full_pipeline().seconds(question.clock());
        step / (self.micro_batch.max(1) as f64 * self.tokens_per_step)
    }

    /// Mean time between a user's tokens, in seconds.
    pub fn seconds_per_token(&self, question: &Question) -> f64 {
        self.seconds_at(question.clock())
    }

    /// The same at a clock.
    pub(crate) fn seconds_at(&self, clock: Hertz) -> f64 {
        self.period.seconds(clock) / self.tokens_per_step
    }

    /// Micro-batches that one pass has room for before one of them waits at the slowest stage, times their users; no
    /// more than the arrangement's KV cache holds.
    pub(crate) fn users_at_full_speed(&self, question: &Question, placement: &Placement) -> u64 {
        let room = self.step().0 / self.step_of_full_pipeline().0;
        let users = (room.floor().max(1.0) as u64).saturating_mul(self.micro_batch);
        users.min(placement.max_users(question.scenario.context))
    }
}
