//! The best mapping found for a question, as a recipe that answers work by; and how many wafers it takes where their
//! number is left open.
//!
//! Where wafers are free, the fewest whose best reaches the target are taken; where none do, the fewest that are at
//! most 5 % slower than any more ([`WORTH`]). What is compared is the survey of divisions, before one of them is
//! refined.

use serde::Serialize;
use wafersim_mapping::Recipe;
use wafersim_search::{Effort, Found, Search, Space, refine, survey};
use wafersim_spec::scenario::WaferCount;

use crate::map::{ClosedForm, fewest, first_point, start};
use crate::question::Question;

/// What more wafers must give to be taken.
pub const WORTH: f64 = 1.05;

/// More wafers than the fewest that are looked at: as many again, and so many at least and at most.
const FURTHER: (u32, u32) = (4, 16);

/// The best mapping found for a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Searched {
    /// Every decision that was made.
    pub recipe: Recipe,
    /// Wafers that it takes, or of those that were asked for.
    pub wafers: u32,
    /// Mappings that were judged.
    pub mappings: u64,
    /// Where the number of wafers was left open: speeds on the numbers that were looked at.
    pub considered: Vec<Considered>,
    /// Where it was left open: the wafers that were looked at last.
    pub most: u32,
}

/// The best division found with a number of wafers: fewer are slower.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Considered {
    /// Wafers.
    pub wafers: u32,
    /// Tokens a second for each user, before the mapping is refined.
    pub tokens_per_second_per_user: f64,
}

impl Searched {
    /// Searches; nothing where no mapping was found that fits.
    pub(crate) fn new(question: &Question, effort: Effort) -> Option<Self> {
        let judge = ClosedForm::new(question, &|_| ());
        let is_open = question.draft.is_none() && question.scenario.wafers == WaferCount::Auto;
        let fewest = fewest(question).ok()?;
        // What some of the wafers do faster is done on them, where there are more.
        let (fewest, most) = match question.scenario.wafers {
            WaferCount::Exactly(wafers) => (fewest.min(wafers), wafers),
            WaferCount::Auto if is_open => (fewest, fewest.saturating_add(fewest.clamp(FURTHER.0, FURTHER.1))),
            WaferCount::Auto => (fewest, fewest),
        };
        let space = Space { inputs: question.inputs(), fewest, wafers: most, pins: Default::default() };
        let search = Search { space, effort, seed: 1 };
        let surveyed = survey(&search, first_point(question, start(question), most), &judge);
        let considered = by_wafers(&surveyed);
        let wafers = if is_open { taken(&considered, question.scenario.target) } else { most };
        let space = Space { wafers, ..search.space.clone() };
        let found = refine(&Search { space, ..search }, &surveyed, &judge)?;
        // Which micro-batches, and how drafts are verified, is compared once more by whoever answers.
        let recipe = found.point.recipe;
        let (wafers, mappings) = (found.point.wafers, found.evaluations);
        let considered = if is_open { considered } else { Vec::new() };
        Some(Self { recipe, wafers, mappings, considered, most })
    }
}

/// Numbers of wafers at which speed grows, each with the fastest on so many.
fn by_wafers(surveyed: &[Found]) -> Vec<Considered> {
    let mut all: Vec<Considered> = surveyed
        .iter()
        .map(|found| Considered { wafers: found.point.wafers, tokens_per_second_per_user: 1.0 / found.judged.time })
        .collect();
    let faster = |one: &Considered, other: &Considered| {
        other.tokens_per_second_per_user.total_cmp(&one.tokens_per_second_per_user)
    };
    all.sort_by(|one, other| one.wafers.cmp(&other.wafers).then(faster(one, other)));
    let mut fastest = 0.0;
    all.retain(|one| {
        let is_faster = one.tokens_per_second_per_user > fastest * (1.0 + 1e-9);
        fastest = one.tokens_per_second_per_user.max(fastest);
        is_faster
    });
    all
}

/// The wafers that are taken: the fewest that reach the target, or that more are not worth.
fn taken(considered: &[Considered], target: f64) -> u32 {
    let fastest = considered.last().map_or(0.0, |last| last.tokens_per_second_per_user);
    let enough = target.min(fastest / WORTH);
    let first = considered.iter().find(|one| one.tokens_per_second_per_user >= enough);
    first.or(considered.last()).map_or(1, |one| one.wafers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_wafers_are_taken_where_they_are_worth_it() {
        let at = |(wafers, tokens_per_second_per_user)| Considered { wafers, tokens_per_second_per_user };
        let considered = [(16, 700.0), (19, 720.0), (22, 900.0), (30, 910.0)].map(at);
        assert_eq!(taken(&considered, 2000.0), 22);
        assert_eq!(taken(&considered, 710.0), 19);
        assert_eq!(taken(&considered, 905.0), 22, "at most 5 % slower");
        assert_eq!(taken(&considered, 100.0), 16);
    }
}
