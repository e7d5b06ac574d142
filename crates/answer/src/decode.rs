//! Decoding under load: micro-batches, the pipeline's fill, speculative decoding.
//!
//! With U users in micro-batches of b tokens, ceil(U / b) micro-batches are in flight. A token's period is the longer of
//! one pass through the pipeline and of what the slowest stage needs for all micro-batches:
//! TPOT = max(latency(b), ceil(U / b) slowest(b)).
//!
//! Speculation (draft of k tokens, each accepted with probability a given that all before it were): a step yields
//! (1 - a^(k+1)) / (1 - a) tokens on average, takes a pass with k + 1 tokens per user (verification is that small batch),
//! and k times the draft's cost before it (Leviathan et al., ICML 2023, equation 1).

use serde::Serialize;
use wafersim_place::Placement;
use wafersim_spec::Cycles;
use wafersim_spec::scenario::Profile;

use crate::question::Question;
use crate::stage::{LayerReading, StageTimes};
use crate::written::{Flow, Written};

/// Decoding of all users.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodeTiming {
    /// Tokens of different users that go through together.
    pub micro_batch: u64,
    /// Micro-batches in flight.
    pub in_flight: u64,
    /// One pass through the pipeline.
    pub times: StageTimes,
    /// From one step of a user to the next.
    pub period: Cycles,
    /// What limits the period.
    pub pace: Pace,
    /// Expected tokens of a step: 1 without speculation.
    pub tokens_per_step: f64,
}

/// What sets the period of a user's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// One pass through the pipeline: the pipeline has room for more micro-batches.
    Latency,
    /// The slowest stage, which all micro-batches share: the pipeline is full.
    SlowestStage,
}

/// The programs that decoding needs.
#[derive(Debug, Clone)]
pub struct DecodePrograms {
    micro_batch: u64,
    /// One step of a micro-batch: a token of each user, or a draft to verify.
    pub(crate) step: Written,
    /// Single tokens, for the cost of a draft.
    pub(crate) single: Option<Written>,
}

impl DecodePrograms {
    /// Writes a placement's programs for micro-batches of `micro_batch` users.
    pub fn new(question: &Question, placement: &Placement, micro_batch: u64, profiles: &[Profile]) -> Self {
        let scenario = &question.scenario;
        let micro_batch = micro_batch.clamp(1, scenario.users);
        let write = |tokens: u64| {
            Written::new(question, placement, Flow::Decode { tokens, context: scenario.context }, profiles)
        };
        Self {
            micro_batch,
            step: write(micro_batch.saturating_mul(question.tokens_per_step())),
            single: (scenario.speculation.draft_length > 0).then(|| write(micro_batch)),
        }
    }
}

impl DecodeTiming {
    /// Reads the programs of a placement.
    pub fn new(question: &Question, placement: &Placement, programs: &DecodePrograms, reading: &LayerReading) -> Self {
        let read = |written: &Written| StageTimes::read(question, placement, written, reading);
        Self::assemble(question, programs, read(&programs.step), programs.single.as_ref().map(read))
    }

    /// Puts the period together from a pass of a step and, with speculation, a pass of single tokens.
    pub(crate) fn assemble(
        question: &Question,
        programs: &DecodePrograms,
        times: StageTimes,
        single: Option<StageTimes>,
    ) -> Self {
        let scenario = &question.scenario;
        let micro_batch = programs.micro_batch;
        let in_flight = scenario.users.div_ceil(micro_batch);
        let latency = times.latency.total();
        let full = times.slowest * in_flight as f64;
        let mut period = latency.max(full);
        let pace = if full.0 > latency.0 { Pace::SlowestStage } else { Pace::Latency };
        let mut tokens_per_step = 1.0;
        if let Some(one) = single {
            let speculation = scenario.speculation;
            let (draft, acceptance) = (f64::from(speculation.draft_length), speculation.acceptance);
            period += one.latency.total() * (draft * speculation.draft_cost);
            tokens_per_step =
                if acceptance < 1.0 { (1.0 - acceptance.powf(draft + 1.0)) / (1.0 - acceptance) } else { draft + 1.0 };
        }
        Self { micro_batch, in_flight, times, period, pace, tokens_per_step }
    }

    /// Mean time between a user's tokens, in seconds.
    pub fn seconds_per_token(&self, question: &Question) -> f64 {
        self.period.seconds(question.clock()) / self.tokens_per_step
    }
}

/// Micro-batch sizes worth trying on `stages` stages: single tokens while there are stages for all; else as many micro-batches
/// as stages, and half as many.
pub fn candidate_micro_batches(users: u64, stages: u64) -> Vec<u64> {
    let even = users.div_ceil(stages.max(1)).max(1);
    let mut sizes = if users <= stages.max(1) { vec![1] } else { vec![even, even * 2] };
    sizes.retain(|size| *size <= users);
    sizes.dedup();
    sizes
}
