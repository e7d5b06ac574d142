//! What no mapping beats, for a question: beside the figures of the profiles, and in the verdict.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Deref;

use serde::Serialize;
use wafersim_bound::{Bound, BoundLoad, Limit, bound};
use wafersim_spec::scenario::{Profile, WaferCount};

use crate::question::Question;
use crate::run::{ProfileAnswer, State};

/// The bound of a question: of its model, wafer and load, whatever its mapping says. A draft costs nothing there.
pub fn no_mapping_beats(question: &Question) -> Bound {
    let scenario = &question.scenario;
    let load = BoundLoad {
        context: scenario.context,
        users: scenario.users,
        precision: scenario.precision,
        wafers: match scenario.wafers {
            WaferCount::Auto | WaferCount::Fewest => None,
            WaferCount::Exactly(wafers) => Some(wafers),
        },
        tokens: 1 + u64::from(scenario.speculation.draft_length),
        accepted: scenario.speculation.tokens_per_step(),
        clock: question.clock(),
    };
    bound(&question.model, &question.wafer, &load)
}

/// The profiles that were asked for, and what no mapping beats.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Profiles {
    /// What programs give.
    #[serde(flatten)]
    pub programs: BTreeMap<Profile, ProfileAnswer>,
    /// What no mapping beats at the peak rate of a processing element.
    pub no_mapping_beats: Unbeaten,
    /// What no mapping beats at the rate that was measured for products of a token.
    pub no_mapping_beats_at_measured_rate: Unbeaten,
}

/// A speed that no mapping beats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Unbeaten {
    /// Output tokens per second that each user sees, at most.
    pub tokens_per_second_per_user: f64,
    /// Output tokens per second of all users together, at most.
    pub tokens_per_second_total: f64,
    /// Mean time between a user's output tokens, at least, in microseconds.
    pub time_per_output_token_us: f64,
    /// One pass of a token through the model, at least, in microseconds.
    pub latency_us: f64,
    /// Whether the target is no higher.
    pub reaches_target: bool,
}

impl Profiles {
    pub(crate) fn new(question: &Question, programs: BTreeMap<Profile, ProfileAnswer>) -> Self {
        let scenario = &question.scenario;
        let unbeaten = |limit: &Limit| Unbeaten {
            tokens_per_second_per_user: limit.tokens_per_second_per_user,
            tokens_per_second_total: limit.tokens_per_second_per_user * scenario.users as f64,
            time_per_output_token_us: limit.time_per_output_token_us,
            latency_us: limit.pass_us,
            reaches_target: limit.tokens_per_second_per_user >= scenario.target,
        };
        let bound = no_mapping_beats(question);
        Self {
            programs,
            no_mapping_beats: unbeaten(&bound.no_mapping_beats),
            no_mapping_beats_at_measured_rate: unbeaten(&bound.no_mapping_beats_at_measured_rate),
        }
    }

    /// What is known of the target, where a profile's programs reach it or do not.
    pub(crate) const fn state(&self, reached: bool) -> State {
        match (reached, self.no_mapping_beats.reaches_target) {
            (true, _) => State::Reached,
            (false, true) => State::NotFound,
            (false, false) => State::Excluded,
        }
    }
}

impl Deref for Profiles {
    type Target = BTreeMap<Profile, ProfileAnswer>;

    fn deref(&self) -> &Self::Target {
        &self.programs
    }
}

impl<'a> IntoIterator for &'a Profiles {
    type Item = (&'a Profile, &'a ProfileAnswer);
    type IntoIter = btree_map::Iter<'a, Profile, ProfileAnswer>;

    fn into_iter(self) -> Self::IntoIter {
        self.programs.iter()
    }
}
