//! Time to first token, wherever the prompt is computed (`prefill.where` of the scenario).
//!
//! Where the wafers that decode compute it, its last piece gives the token. Elsewhere it is a sum of three: the prompt
//! there, then its keys and values over the way between, then one step of decode, which takes the prompt's last token
//! again. The keys and values cross when the whole prompt is computed; layer by layer beside the computation is the low
//! end ([`FirstTokenTime::overlapped`]). The way has a bandwidth and no latency: microseconds beside milliseconds.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wafersim_mapping::Mapped;
use wafersim_place::Placement;
use wafersim_spec::scenario::{PrefillPlace, Profile};
use wafersim_spec::{Bytes, Cycles, Hertz};

use crate::candidates::{Way, candidates};
use crate::decode::{DecodePrograms, DecodeTiming, Verified};
use crate::error::AnswerError;
use crate::prefill::PromptPrograms;
use crate::question::Question;
use crate::read::{Timed, fastest};
use crate::stage::LayerReading;
use crate::written::Kept;

/// Where prompts are computed, and what their first tokens are made of; of an idle machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PrefillElsewhere {
    /// Where.
    #[serde(rename = "where")]
    pub place: PrefillPlace,
    /// Wafers that compute prompts, beside those that decode; 0 where no wafers do.
    pub wafers: u32,
    /// Tokens of prompts a second, where that is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Bytes of keys and values that cross in a second.
    pub bandwidth_bytes_per_second: f64,
    /// Bytes of keys and values of the prompt, states included.
    pub kv_bytes: Bytes,
    /// From the prompt's arrival to its last token there, in milliseconds.
    pub prompt_time_ms: f64,
    /// What its keys and values take to the wafers that decode, in milliseconds.
    pub transfer_time_ms: f64,
    /// One step of decode behind them, in milliseconds.
    pub decode_time_ms: f64,
    /// Time to first token where keys and values cross layer by layer while the prompt is computed, in milliseconds.
    pub overlapped_time_to_first_token_ms: f64,
}

/// Parts of the time to first token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FirstTokenTime {
    /// The prompt.
    pub prompt: Cycles,
    /// Keys and values to the wafers that decode.
    pub transfer: Cycles,
    /// The step of decode behind them.
    pub decode: Cycles,
    /// Layers, one after the other of which could cross.
    layers: u64,
}

impl FirstTokenTime {
    /// One part after the other.
    pub fn total(&self) -> Cycles {
        self.prompt + self.transfer + self.decode
    }

    /// The same where each layer crosses while the next ones are computed: the way of equal pieces through two stages.
    pub fn overlapped(&self) -> Cycles {
        let pieces = self.layers.max(1) as f64;
        let (computed, crossed) = (self.prompt * (1.0 / pieces), self.transfer * (1.0 / pieces));
        computed + computed.max(crossed) * (pieces - 1.0) + crossed + self.decode
    }

    /// The same under `question`, in milliseconds, with what it is of; nothing where prompts are computed where tokens
    /// are decoded.
    pub(crate) fn said(&self, question: &Question, wafers: u32, reading: &LayerReading) -> Option<PrefillElsewhere> {
        let prefill = &question.scenario.prefill;
        let milliseconds = |cycles: Cycles| cycles.seconds(question.clock()) * 1e3;
        (!prefill.is_same()).then(|| PrefillElsewhere {
            place: prefill.place,
            wafers,
            tokens_per_second: prefill.tokens_per_second,
            bandwidth_bytes_per_second: bandwidth(question, reading),
            kv_bytes: kv_bytes(question),
            prompt_time_ms: milliseconds(self.prompt),
            transfer_time_ms: milliseconds(self.transfer),
            decode_time_ms: milliseconds(self.decode),
            overlapped_time_to_first_token_ms: milliseconds(self.overlapped()),
        })
    }

    /// What a prompt that takes so long makes of it: elsewhere the rest comes behind.
    pub(crate) fn behind(
        question: &Question,
        prompt: Cycles,
        step: impl FnOnce() -> Cycles,
        reading: &LayerReading,
    ) -> Self {
        let layers = question.model.layers.len() as u64;
        if question.scenario.prefill.is_same() {
            return Self { prompt, transfer: Cycles::ZERO, decode: Cycles::ZERO, layers };
        }
        let seconds = kv_bytes(question).0 as f64 / bandwidth(question, reading);
        Self { prompt, transfer: Cycles::from_seconds(seconds, reading.clock()), decode: step(), layers }
    }
}

/// Bytes a second between the places: as given, or one wafer's links.
fn bandwidth(question: &Question, reading: &LayerReading) -> f64 {
    question.scenario.prefill.bandwidth.unwrap_or_else(|| reading.link_bytes_per_second())
}

fn kv_bytes(question: &Question) -> Bytes {
    question.model.kv_bytes_between(0, question.scenario.prompt.max(1), &question.scenario.precision)
}

/// What something else takes for the prompt, at the rate that is given.
pub(crate) fn external(question: &Question, clock: Hertz) -> Cycles {
    // A scenario without a rate has not been checked.
    let rate = question.scenario.prefill.tokens_per_second.unwrap_or(0.0);
    Cycles::from_seconds(question.scenario.prompt.max(1) as f64 / rate, clock)
}

/// What is wrong on the other wafers that compute prompts.
pub(crate) fn not_there(reason: AnswerError) -> AnswerError {
    AnswerError::Prefill { reason: Box::new(reason) }
}

/// What computes the prompts.
#[derive(Debug, Clone)]
pub(crate) enum PromptPlace {
    /// The wafers that decode, or as many others that are arranged like them.
    Alike,
    /// Other wafers, arranged for themselves.
    Others(Box<(Question, Way)>),
    /// Something else.
    External,
}

impl PromptPlace {
    /// Of a question under a profile.
    ///
    /// # Errors
    /// Where the model does not fit the other wafers.
    pub(crate) fn of(question: &Question, profile: Profile) -> Result<Self, AnswerError> {
        if question.scenario.prefill.place == PrefillPlace::External {
            return Ok(Self::External);
        }
        let Some(there) = question.prompts_there() else { return Ok(Self::Alike) };
        let reading = LayerReading::new(there, profile);
        let found = candidates(there, profile).map_err(not_there)?;
        let ways = found.iter().flat_map(|candidates| &candidates.ways);
        let timed = ways.map(|way| Timed::new(there, way, &reading)).collect();
        let way = fastest(there, timed).map_err(not_there)?.way.clone();
        Ok(Self::Others(Box::new((there.clone(), way))))
    }

    /// The same under the routing of another question.
    pub(crate) fn routed_as(&self, other: &Question) -> Self {
        match self {
            Self::Others(there) => {
                let (mut question, way) = (**there).clone();
                question.scenario.routing = other.scenario.routing;
                question.extensions = other.extensions.clone();
                Self::Others(Box::new((question, way)))
            }
            Self::Alike => Self::Alike,
            Self::External => Self::External,
        }
    }
}

/// What the first token takes, written once for all readings.
#[derive(Debug, Clone)]
pub(crate) struct FirstTokenPrograms {
    place: PromptPlace,
    /// The programs of the prompt; nothing where no wafers compute it.
    pub(crate) prompt: Option<Arc<PromptPrograms>>,
    /// One user's step behind the prompt, where that is computed elsewhere.
    step: Option<DecodePrograms>,
}

impl FirstTokenPrograms {
    /// For a way of working.
    pub(crate) fn new(question: &Question, way: &Way, place: PromptPlace, kept: &mut Kept) -> Self {
        let step = |alone: &Question, kept: &mut Kept| DecodePrograms::new(alone, way, kept);
        Self::with_step(question, &way.mapped, place, kept, step)
    }

    /// The same without a draft model, where mappings of one question are written again and again.
    pub(crate) fn alone(question: &Question, mapped: &Mapped, place: PromptPlace, kept: &mut Kept) -> Self {
        let verified = Verified::of(question, mapped);
        let step = |alone: &Question, kept: &mut Kept| DecodePrograms::alone(alone, mapped, verified, kept);
        Self::with_step(question, mapped, place, kept, step)
    }

    fn with_step(
        question: &Question,
        mapped: &Mapped,
        place: PromptPlace,
        kept: &mut Kept,
        step: impl FnOnce(&Question, &mut Kept) -> DecodePrograms,
    ) -> Self {
        let prompt = match &place {
            PromptPlace::Alike => Some(PromptPrograms::new(question, mapped, kept)),
            PromptPlace::Others(there) => {
                Some(PromptPrograms::new(&there.0, &there.1.mapped, &mut Kept::sharing(&there.0)))
            }
            PromptPlace::External => None,
        };
        let is_elsewhere = !question.scenario.prefill.is_same();
        let step = is_elsewhere.then(|| step(&question.alone_behind_prompt(), kept));
        Self { place, prompt: prompt.map(Arc::new), step }
    }

    /// Whether some way of the prompt could be written, and the step behind it.
    ///
    /// # Errors
    /// Where a layer could not be written as its mapping says.
    pub(crate) fn check(&self, mapping: &str) -> Result<(), AnswerError> {
        if let Some(prompt) = &self.prompt {
            let mapping = if let PromptPlace::Others(there) = &self.place { &there.1.mapping } else { mapping };
            prompt.check(mapping)?;
        }
        self.step.as_ref().map_or(Ok(()), |step| step.check(mapping))
    }

    /// Question and placement that the prompt's programs are of, where those that decode have these.
    pub(crate) fn prompt_on<'a>(
        &'a self,
        question: &'a Question,
        placement: &'a Placement,
    ) -> (&'a Question, &'a Placement) {
        match &self.place {
            PromptPlace::Others(there) => (&there.0, &there.1.mapped.placement),
            PromptPlace::Alike | PromptPlace::External => (question, placement),
        }
    }

    /// Wafers that compute prompts beside those that decode.
    pub(crate) fn wafers(&self, question: &Question, placement: &Placement) -> u32 {
        match (question.scenario.prefill.place, question.scenario.prefill.wafers) {
            (PrefillPlace::Same | PrefillPlace::External, _) => 0,
            (PrefillPlace::OtherWafers, asked) => asked.unwrap_or(placement.wafers_used),
        }
    }

    /// What it takes on the placement that decodes.
    pub(crate) fn time(&self, question: &Question, placement: &Placement, reading: &LayerReading) -> FirstTokenTime {
        let prompt = match &self.prompt {
            Some(programs) => {
                let (question, placement) = self.prompt_on(question, placement);
                programs.time(question, placement, reading)
            }
            None => external(question, reading.clock()),
        };
        let step = || {
            let programs = self.step.as_ref();
            programs.map_or(Cycles::ZERO, |step| DecodeTiming::new(question, placement, step, reading).step())
        };
        FirstTokenTime::behind(question, prompt, step, reading)
    }
}
