//! An answer's ways, written once and read again at other rates: what a search for a value asks some thousand times.
//!
//! Placement and programs stay. What a changed rate would make of the choice of a mapping is not asked; the ways that
//! are compared are those that the question was answered by.

use wafersim_spec::scenario::Speculation;
use wafersim_spec::{Hertz, Scenario, Wafer};

use crate::candidates::{Way, candidates};
use crate::decode::{DecodePrograms, DecodeTiming};
use crate::error::AnswerError;
use crate::question::Question;
use crate::read::Timed;
use crate::stage::LayerReading;
use crate::written::Kept;

/// The ways of a question with their programs.
#[derive(Debug)]
pub struct Reread {
    question: Question,
    written: Vec<(Way, DecodePrograms)>,
}

/// How many of the fastest ways are kept: others would have to become faster than all of these.
const WAYS: usize = 8;

impl Reread {
    /// Writes the ways of the scenario's profile. A mapping is looked for where the question says so.
    ///
    /// # Errors
    /// Where the model does not fit, or its programs do not.
    pub fn new(question: Question) -> Result<Self, AnswerError> {
        let profile = question.scenario.profile;
        let reading = LayerReading::new(&question, profile);
        let found = candidates(&question, profile)?;
        let ways = found.iter().flat_map(|candidates| &candidates.ways);
        let mut timed: Vec<Timed<'_>> = ways.map(|way| Timed::new(&question, way, &reading)).collect();
        timed.sort_by(|one, other| one.timing.period.0.total_cmp(&other.timing.period.0));
        let (mut kept, mut refused) = (Vec::new(), None);
        for way in timed {
            match way.check(&question) {
                Ok(()) => kept.push(way.way.clone()),
                Err(error) => refused = refused.or(Some(error)),
            }
            if kept.len() == WAYS {
                break;
            }
        }
        if let (true, Some(error)) = (kept.is_empty(), refused) {
            return Err(error);
        }
        let mut programs = Kept::default();
        let written = kept.into_iter().map(|way| {
            let decode = DecodePrograms::new(&question, &way, &mut programs);
            (way, decode)
        });
        Ok(Self { written: written.collect(), question })
    }

    /// The question.
    pub const fn question(&self) -> &Question {
        &self.question
    }

    /// Tokens per second of each user as the question has it.
    pub fn speed(&self) -> f64 {
        self.speed_on(&self.question.wafer, &self.question.scenario)
    }

    /// The same on another wafer of as many processing elements, with the clock of another scenario, and with drafts
    /// that are accepted as there and cost what they do there; all else is the question's.
    pub fn speed_on(&self, wafer: &Wafer, other: &Scenario) -> f64 {
        let mut question = self.question.clone();
        let scenario = &mut question.scenario;
        let draft_length = scenario.speculation.draft_length;
        scenario.speculation = Speculation { draft_length, ..other.speculation.clone() };
        scenario.clock_ghz = other.clock_ghz;
        let clock = scenario.clock_ghz.map_or_else(|| wafer.clock(), Hertz::from_gigahertz);
        let reading = LayerReading::of(wafer, clock, scenario.profile);
        let seconds = self.written.iter().map(|(way, programs)| {
            DecodeTiming::new(&question, &way.mapped.placement, programs, &reading).seconds_at(clock)
        });
        1.0 / seconds.fold(f64::INFINITY, f64::min)
    }
}
