//! A placement and its programs: what stays while inputs vary, written once and read for every draw.

use std::borrow::Cow;

use wafersim_cost::AfterWork;
use wafersim_spec::Hertz;
use wafersim_spec::scenario::Profile;

use super::inputs::{Input, Toggle, What, other_routing};
use crate::candidates::Way;
use crate::decode::{DecodePrograms, DecodeTiming};
use crate::error::AnswerError;
use crate::first_token::{FirstTokenPrograms, PromptPlace};
use crate::question::Question;
use crate::stage::{LayerReading, Ports};
use crate::written::Kept;

/// What comes out of one set of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    /// Tokens per second of each user.
    pub(super) speed: f64,
    /// Milliseconds from the prompt's arrival to the first token.
    pub(super) first_token_ms: f64,
    /// The same where keys and values from elsewhere cross while the prompt is computed.
    pub(super) overlapped_ms: f64,
    /// Users whom the arrangement serves without slowing any.
    pub(super) users_at_full_speed: u64,
}

/// An input with a value.
pub(super) type Set<'a> = (&'a Input, f64);

/// Ways of a question with their programs.
pub(super) struct Held<'a> {
    question: &'a Question,
    way: &'a Way,
    profile: Profile,
    assumed: Programs,
    /// Under the other routing, where there are routed experts.
    other: Option<Programs>,
}

struct Programs {
    decode: DecodePrograms,
    prompt: FirstTokenPrograms,
}

impl Programs {
    fn new(question: &Question, way: &Way, place: PromptPlace) -> Self {
        let kept = &mut Kept::sharing(question);
        let decode = DecodePrograms::new(question, way, kept);
        Self { decode, prompt: FirstTokenPrograms::new(question, way, place, kept) }
    }
}

/// Everything that a set of values changes.
struct Machine<'a> {
    question: Cow<'a, Question>,
    clock: Hertz,
    reading: LayerReading,
    programs: &'a Programs,
}

impl<'a> Held<'a> {
    /// Writes the programs of a profile's ways, for every toggle among the inputs.
    ///
    /// # Errors
    /// Where the model does not fit the other wafers that compute prompts.
    pub(super) fn new(
        question: &'a Question,
        way: &'a Way,
        profile: Profile,
        inputs: &[Input],
    ) -> Result<Self, AnswerError> {
        let place = PromptPlace::of(question, profile)?;
        let is_toggled = inputs.iter().any(|input| input.toggle() == Some(Toggle::Routing));
        let other = is_toggled.then(|| {
            let mut other = question.clone();
            if question.extensions.routing().is_some() {
                // In place of an own model that of the scenario.
                other.extensions = question.extensions.without_routing();
            } else {
                other.scenario.routing = other_routing(question.scenario.routing);
            }
            let place = place.routed_as(&other);
            Programs::new(&other, way, place)
        });
        let assumed = Programs::new(question, way, place);
        Ok(Self { question, way, profile, assumed, other })
    }

    /// Tokens per second of each user.
    pub(super) fn speed(&self, values: &[Set<'_>]) -> f64 {
        let machine = self.machine(values);
        1.0 / self.timing(&machine).seconds_at(machine.clock)
    }

    /// The same at another clock.
    pub(super) fn speed_at(&self, clock: Hertz) -> f64 {
        let reading = LayerReading::of(&self.question.wafer, clock, self.profile);
        let question = Cow::Borrowed(self.question);
        let machine = Machine { question, clock, reading, programs: &self.assumed };
        1.0 / self.timing(&machine).seconds_at(clock)
    }

    /// Everything that is asked of a set of values.
    pub(super) fn figures(&self, values: &[Set<'_>]) -> Figures {
        let machine = self.machine(values);
        let Machine { question, clock, reading, programs } = &machine;
        let timing = self.timing(&machine);
        let first_token = programs.prompt.time(question, &self.way.mapped.placement, reading);
        let is_same = question.scenario.prefill.is_same();
        let overlapped = if is_same { first_token.total() } else { first_token.overlapped() };
        Figures {
            speed: 1.0 / timing.seconds_at(*clock),
            first_token_ms: first_token.total().seconds(*clock) * 1e3,
            overlapped_ms: overlapped.seconds(*clock) * 1e3,
            users_at_full_speed: timing.users_at_full_speed(question, &self.way.mapped.placement),
        }
    }

    fn timing(&self, machine: &Machine<'_>) -> DecodeTiming {
        let placement = &self.way.mapped.placement;
        DecodeTiming::new(&machine.question, placement, &machine.programs.decode, &machine.reading)
    }

    fn machine(&self, values: &[Set<'_>]) -> Machine<'_> {
        let wafer = self.question.wafer.map_values(|declared, figure| {
            let is_it = |(input, _): &&Set<'_>| matches!(input.what, What::Rate(other) if other.key == declared.key);
            values.iter().find(is_it).map_or(figure.value, |(_, value)| *value)
        });
        let mut question = Cow::Borrowed(self.question);
        let mut programs = &self.assumed;
        let (mut ports, mut after_work) = (Ports::SameRows, AfterWork::SetUp);
        for (input, value) in values {
            match input.what {
                What::Rate(_) | What::FreeMemory => {}
                What::AcceptedLength => question.to_mut().scenario.speculation.accepted_length = Some(*value),
                What::DraftCost => question.to_mut().scenario.speculation.draft_cost = Some(*value),
                What::Toggle(Toggle::Routing) => {
                    programs = self.other.as_ref().filter(|_| *value > 0.5).unwrap_or(&self.assumed);
                }
                What::Toggle(Toggle::LinkPorts) if *value > 0.5 => ports = Ports::AnyRows,
                What::Toggle(Toggle::TransferSetup) if *value > 0.5 => after_work = AfterWork::Ready,
                What::Toggle(Toggle::LinkPorts | Toggle::TransferSetup) => {}
            }
        }
        let clock = question.scenario.clock_ghz.map_or_else(|| wafer.clock(), Hertz::from_gigahertz);
        let reading = LayerReading::of(&wafer, clock, self.profile).with_ports(ports).with_transfers(after_work);
        Machine { question, clock, reading, programs }
    }
}
