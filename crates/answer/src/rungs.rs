//! A ladder of questions, at whose rungs mappings are looked for.
//!
//! A search that refines decision by decision ends where no single one helps, which may be nearer to the best for a
//! harder question than for an easier one. So mappings are looked for at the next rung at or above a question, and at
//! some further up; each is timed, unchanged, on the question itself, and the fastest counts. Rungs are contexts and
//! users in eighths of an octave, and steps of free memory. They do not depend on the question: between two rungs all
//! questions choose among the same mappings, and points of a plan that have a rung in common search it once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use wafersim_mapping::{Recipe, Verification, hash};
use wafersim_search::{Effort, Pins, Search, Space, refine, refine_each, survey};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Prefill, Profile, WaferCount};

use crate::map::{ClosedForm, fewest, first_point, start};
use crate::question::Question;

/// Bytes of a processing element between rungs of free memory, and between those of them that are looked at.
const MEMORY_STEP: u64 = 16;
const LOWER: u64 = 1_024;

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

/// How far a rung is above the one of a question, along each axis.
#[derive(Debug, Clone, Copy)]
struct Height {
    /// Eighths of an octave of context.
    context: u32,
    /// The same of users.
    users: u32,
    /// Steps of [`LOWER`] bytes.
    memory: u32,
}

impl Height {
    const fn new(context: u32, users: u32, memory: u32) -> Self {
        Self { context, users, memory }
    }
}

/// The rungs that are looked at, the question's own first. Near ones stand side by side, so that those of a question
/// that is not much harder are among them.
const HEIGHTS: [Height; 18] = [
    Height::new(0, 0, 0),
    Height::new(8, 0, 0),
    Height::new(0, 8, 0),
    Height::new(0, 0, 1),
    Height::new(1, 0, 0),
    Height::new(2, 0, 0),
    Height::new(3, 0, 0),
    Height::new(4, 0, 0),
    Height::new(6, 0, 0),
    Height::new(12, 0, 0),
    Height::new(16, 0, 0),
    Height::new(0, 1, 0),
    Height::new(0, 2, 0),
    Height::new(0, 4, 0),
    Height::new(8, 8, 0),
    Height::new(0, 0, 2),
    Height::new(0, 0, 4),
    Height::new(4, 0, 1),
];

/// Those that a quick answer can wait for.
const QUICK: usize = 3;

/// What is found at the rungs at or above a question.
pub(crate) fn all(question: &Question, how: How) -> Vec<Arc<Rung>> {
    let can_hold = |rung: &Question| fewest(rung).is_ok_and(|wafers| wafers <= how.most);
    let count = if how.effort == Effort::Quick { QUICK } else { HEIGHTS.len() };
    let above = HEIGHTS.iter().take(count).filter_map(|height| rung(question, *height));
    let rungs: Vec<Question> = above.filter(can_hold).collect();
    // One after the other would leave threads idle at the end of each.
    let mut found: Vec<Arc<Rung>> = rungs.par_iter().map(|rung| at(rung, how)).collect();
    if found.iter().all(|rung| rung.found.is_empty()) {
        // Near what the wafers hold no rung may have room, but the question itself does.
        found.push(at(question, how));
    }
    found
}

/// The number so many eighths of an octave above the first of the ladder that is not below a value; up to 16 those of
/// the ladder are whole numbers.
fn up(value: u64, eighths: u32) -> Option<u64> {
    let above = |value: u64| value.checked_next_multiple_of((value.checked_next_power_of_two()? / 16).max(1));
    let near = (0..eighths % 8).try_fold(above(value)?, |at, _| above(at.checked_add(1)?))?;
    near.checked_mul(1u64.checked_shl(eighths / 8)?)
}

/// The rung so far above a question; nothing where the model, the wafer or 64 bits do not allow it.
fn rung(question: &Question, height: Height) -> Option<Question> {
    let context = up(question.scenario.context, height.context)?;
    let users = up(question.scenario.users, height.users)?;
    let mut rung = at_most_positions(question, context, users)?;
    let free = rung.wafer.free_bytes().0 / MEMORY_STEP * MEMORY_STEP;
    let free = free.checked_sub(LOWER * u64::from(height.memory))?;
    // What a wafer file does not allow is no rung.
    rung.wafer.set("pe.free_memory", free as f64).ok()?;
    Some(rung)
}

/// A question of so many tokens and users; the most tokens that the model allows are the last rung.
fn at_most_positions(question: &Question, context: u64, users: u64) -> Option<Question> {
    let most = question.model.max_positions;
    let is_beyond = context > most && context / 2 >= most;
    let scenario = Scenario { context: context.min(most), users, ..question.scenario.clone() };
    (!is_beyond).then(|| Question { scenario, ..question.clone() })
}

fn at(question: &Question, how: How) -> Arc<Rung> {
    let scenario = Scenario {
        target: 0.0,
        prompt: 0,
        prefill: Prefill::default(),
        profile: Profile::Best,
        wafers: WaferCount::Auto,
        ..question.scenario.clone()
    };
    let fewest = fewest(question).map_or(how.fewest, |fewest| fewest.min(how.most));
    let mut key = hash::of(&(&scenario, question.wafer.free_bytes(), how.effort, fewest, how.most));
    if !question.extensions.is_empty() {
        key = hash::of(&(key, &question.extensions));
    }
    let known = || question.shared.rungs.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(rung) = known().get(&key) {
        return Arc::clone(rung);
    }
    // Not under the lock: who waits for it could be who works for it.
    let rung = Arc::new(searched(question, How { fewest, ..how }));
    known().insert(key, Arc::clone(&rung));
    rung
}

fn searched(question: &Question, how: How) -> Rung {
    let judge = ClosedForm::new(question, &|_| ());
    let (pins, moves) = (Pins::default(), question.extensions.moves().to_vec());
    let space = Space { inputs: question.inputs(), fewest: how.fewest, wafers: how.most, pins, moves };
    let search = Search { space, effort: how.effort, seed: 1 };
    let surveyed = survey(&search, first_point(question, start(question), how.most), &judge);
    let mut refined = refine_each(&search, &surveyed, &judge);
    // Other divisions than the fastest may be better once they are refined, and other starts.
    if how.effort > Effort::Quick {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn question(context: u64, users: u64) -> Question {
        let scenario = Scenario { context, users, prompt: 0, model: "llama-3.1-8b".into(), ..Scenario::default() };
        Question::load(scenario).unwrap()
    }

    fn said(rung: &Question) -> (u64, u64, u64) {
        (rung.scenario.context, rung.scenario.users, rung.wafer.free_bytes().0)
    }

    #[test]
    fn rungs_are_eighths_of_an_octave() {
        let own = |context, users| rung(&question(context, users), Height::new(0, 0, 0)).as_ref().map(said);
        for (context, users, rung) in [
            (18_065, 1, (18_432, 1, 41_984)),
            (18_432, 3, (18_432, 3, 41_984)),
            (100_000, 33, (106_496, 36, 41_984)),
            (1, 5, (1, 5, 41_984)),
        ] {
            assert_eq!(own(context, users), Some(rung), "{context}, {users}");
        }
        // All questions between two rungs have the same ones.
        assert_eq!(own(16_385, 1), own(18_432, 1));
    }

    #[test]
    fn rungs_above_are_what_the_model_allows() {
        let at = |context, users, memory| rung(&question(40_000, 3), Height::new(context, users, memory));
        assert_eq!(at(1, 2, 2).as_ref().map(said), Some((45_056, 5, 39_936)));
        assert_eq!(at(8, 0, 0).as_ref().map(said), Some((81_920, 3, 41_984)));
        assert_eq!(at(16, 0, 0).as_ref().map(said), Some((131_072, 3, 41_984)), "the most that the model allows");
        assert_eq!(at(8, 8, 0).as_ref().map(said), Some((81_920, 6, 41_984)));
        assert!(at(24, 0, 0).is_none() && at(0, 8 * 63, 0).is_none() && at(0, 0, 41).is_none());
    }
}
