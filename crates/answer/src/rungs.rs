//! Harder questions, whose best mappings are tried on an easier one too.
//!
//! What holds a longer cache or more users, or leaves more of the memory free, holds this question as well and is no
//! slower on it. A search that refines decision by decision ends where no single one helps, and that may be further
//! from the best for an easier question than for a harder one. So what is found at each *rung* above a question is
//! timed, unchanged, on the question itself, and the fastest counts. Rungs are the next octave of context and of users,
//! powers of four of users and steps of free memory; points of a plan that have one in common search it once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use wafersim_mapping::{Recipe, Verification, hash};
use wafersim_search::{Effort, Search, Space, refine, refine_each, survey};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Profile, WaferCount};

use crate::map::{ClosedForm, fewest, first_point, start};
use crate::question::Question;

/// Powers of four of users above a question's: few, so that neighbouring questions have the same ones.
const USERS: usize = 3;

/// Rungs of free memory, in bytes of a processing element, and how many of them below what is free.
const MEMORY_STEP: u64 = 2_048;
const MEMORY: u64 = 2;

/// A mapping that was found at a rung.
#[derive(Debug, Clone)]
pub(crate) struct OfRung {
    /// Every decision, but for the users that go through together.
    pub(crate) recipe: Recipe,
    /// Wafers that it takes.
    pub(crate) wafers: u32,
    /// How a draft is verified.
    pub(crate) draft: Verification,
    /// Users that go through together at the rung.
    pub(crate) micro_batch: u64,
}

/// What was found at a rung.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rung {
    pub(crate) found: Vec<OfRung>,
    /// Mappings that were judged.
    pub(crate) evaluations: u64,
}

/// How a rung is searched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// How much is tried.
    pub(crate) effort: Effort,
    /// The fewest wafers that are looked at, and the most.
    pub(crate) fewest: u32,
    pub(crate) most: u32,
}

/// Rungs that have been searched, by a hash of what was asked.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<BTreeMap<String, Arc<Rung>>>);

/// What is found at every rung at or above a question, its own first.
pub(crate) fn all(question: &Question, how: How) -> Vec<Arc<Rung>> {
    let mut rungs = vec![question.clone()];
    rungs.extend(
        above(question, how.effort).into_iter().filter(|harder| fewest(harder).is_ok_and(|wafers| wafers <= how.most)),
    );
    // One after the other would leave threads idle at the end of each.
    (0..rungs.len()).into_par_iter().map(|index| at(&rungs[index], how, index == 0)).collect()
}

/// The questions above one: those that the model allows. What an answer can wait for is the next octave of users.
fn above(question: &Question, effort: Effort) -> Vec<Question> {
    let scenario = &question.scenario;
    let (context, users) = (scenario.context, scenario.users);
    let powers =
        |step: usize, least: u64| (0..63).step_by(step).map(|power| 1u64 << power).filter(move |rung| *rung > least);
    let with = |scenario: Scenario| Question { scenario, ..question.clone() };
    if effort == Effort::Quick {
        return powers(1, users).take(1).map(|users| with(Scenario { users, ..scenario.clone() })).collect();
    }
    let contexts = powers(1, context).take(1).filter(|context| *context <= question.model.max_positions);
    let mut all: Vec<Question> = contexts.map(|context| with(Scenario { context, ..scenario.clone() })).collect();
    let users: BTreeSet<u64> = powers(1, users).take(1).chain(powers(2, users).take(USERS)).collect();
    all.extend(users.into_iter().map(|users| with(Scenario { users, ..scenario.clone() })));
    let free = question.wafer.free_bytes().0;
    all.extend((0..MEMORY).filter_map(|step| {
        let rung = (free.saturating_sub(1) / MEMORY_STEP).checked_sub(step)? * MEMORY_STEP;
        let mut harder = question.clone();
        // What a wafer file does not allow is no rung.
        harder.wafer.set("pe.free_memory", rung as f64).ok()?;
        Some(harder)
    }));
    all
}

fn at(question: &Question, how: How, is_own: bool) -> Arc<Rung> {
    // The rung of a question itself is always searched with all of the effort.
    let whole = is_own || how.effort > Effort::Quick;
    let scenario = Scenario {
        target: 0.0,
        prompt: 0,
        profile: Profile::Best,
        wafers: WaferCount::Auto,
        ..question.scenario.clone()
    };
    let fewest = fewest(question).map_or(how.fewest, |fewest| fewest.min(how.most));
    let key = hash::of(&(&scenario, question.wafer.free_bytes(), how.effort, fewest, how.most, whole));
    let known = || question.rungs.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(rung) = known().get(&key) {
        return Arc::clone(rung);
    }
    // Not under the lock: who waits for it could be who works for it.
    let rung = Arc::new(searched(question, How { fewest, ..how }, whole));
    known().insert(key, Arc::clone(&rung));
    rung
}

fn searched(question: &Question, how: How, whole: bool) -> Rung {
    let judge = ClosedForm::new(question, &|_| ());
    let space = Space { inputs: question.inputs(), fewest: how.fewest, wafers: how.most, pins: Default::default() };
    let search = Search { space, effort: how.effort, seed: 1 };
    let surveyed = survey(&search, first_point(question, start(question), how.most), &judge);
    let mut refined = refine_each(&search, &surveyed, &judge);
    if whole {
        // Other divisions than the fastest may be better once they are refined.
        refined.extend(refine(&search, &surveyed, &judge));
    }
    let evaluations = refined.iter().map(|found| found.evaluations).max().unwrap_or(0);
    let found = refined.into_iter().map(|found| OfRung {
        recipe: found.point.recipe.pinned(&found.mapped),
        wafers: found.point.wafers,
        draft: found.point.draft,
        micro_batch: found.point.micro_batch,
    });
    Rung { found: found.collect(), evaluations }
}
