//! The best mapping found for a question, as a recipe that answers work by; and how many wafers it takes where their
//! number is left open.
//!
//! Where wafers are free, the fewest whose best reaches the target are taken; where none do, the fewest that are at
//! most 5 % slower than any more ([`WORTH`]). What is compared are the mappings found for the question and for harder
//! ones ([`crate::rungs`]), each timed on the question itself.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use wafersim_mapping::{Common, Mapped, Recipe, micro_batch_ladder};
use wafersim_search::{Effort, Judge, Pins, Point, Search, Space, growth, refine, refine_each, survey};
use wafersim_spec::scenario::WaferCount;

use crate::map::{ClosedForm, How, fewest, first_point, start};
use crate::question::Question;
use crate::rungs::{self, Rung};

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
    /// Users whose tokens go through together.
    pub micro_batch: u64,
    /// Mappings that were judged.
    pub mappings: u64,
    /// Where the number of wafers was left open: speeds on the numbers that were looked at. Empty where an objective
    /// from outside chose.
    pub considered: Vec<Considered>,
    /// Where it was left open: the wafers that were looked at last.
    pub most: u32,
}

/// The best division found with a number of wafers: fewer are slower.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Considered {
    /// Wafers.
    pub wafers: u32,
    /// Tokens a second for each user.
    pub tokens_per_second_per_user: f64,
}

impl Searched {
    /// Searches; nothing where no mapping was found that fits.
    pub(crate) fn new(question: &Question, effort: Effort) -> Option<Self> {
        let is_open = question.draft.is_none() && question.scenario.wafers == WaferCount::Auto;
        let fewest = fewest(question).ok()?;
        // What some of the wafers do faster is done on them, where there are more.
        let (fewest, most) = match question.scenario.wafers {
            WaferCount::Exactly(wafers) => (fewest.min(wafers), wafers),
            WaferCount::Auto if is_open => (fewest, fewest.saturating_add(fewest.clamp(FURTHER.0, FURTHER.1))),
            WaferCount::Auto | WaferCount::Fewest => (fewest, fewest),
        };
        if question.extensions.objective().is_some() {
            return Self::by_own_objective(question, rungs::How { effort, fewest, most });
        }
        let rungs = rungs::all(question, rungs::How { effort, fewest, most });
        let mappings = rungs.iter().map(|rung| rung.evaluations).sum();
        let judge = ClosedForm::new(question, &|_| ());
        let mut priced = priced(question, &rungs, &judge);
        // The fastest first; of equally fast ones that of the lower rung.
        priced.sort_by(|one, other| one.time.total_cmp(&other.time));
        loop {
            let considered = by_wafers(&priced);
            let wafers = if is_open { taken(&considered, question.scenario.target) } else { most };
            let at = priced.iter().position(|priced| priced.wafers <= wafers)?;
            let best = &priced[at];
            if !judge.fits_in_routers(&best.mapped) {
                priced.remove(at);
                continue;
            }
            let recipe = best.recipe.clone();
            let considered = if is_open { considered } else { Vec::new() };
            let (wafers, micro_batch) = (best.wafers, best.mapped.micro_batch);
            return Some(Self { recipe, wafers, micro_batch, mappings, considered, most });
        }
    }

    /// The best by an objective from outside, on any number of wafers that is looked at; of equally good ones that on
    /// the fewest. It is asked about the question alone: what it wants of a harder one nobody knows.
    fn by_own_objective(question: &Question, rungs::How { effort, fewest, most }: rungs::How) -> Option<Self> {
        let extensions = &question.extensions;
        let (own, moves) = (extensions.objective().cloned(), extensions.moves().to_vec());
        let how = How { own, moves, effort, ..How::default() };
        let judge = ClosedForm::for_search(question, &how, &|_| ());
        let (pins, moves) = (Pins::default(), how.moves.clone());
        let space = Space { inputs: question.inputs(), fewest, wafers: most, pins, moves };
        let search = Search { space, effort, seed: how.seed };
        let surveyed = survey(&search, first_point(question, start(question), most), &judge);
        let mut found = refine_each(&search, &surveyed, &judge);
        if effort > Effort::Quick {
            found.extend(refine(&search, &surveyed, &judge));
        }
        let mappings = found.iter().map(|found| found.evaluations).max().unwrap_or(0);
        found.sort_by_key(|found| found.point.wafers);
        // Divisions that were not refined have not been asked whether routers have colors for them.
        found.retain(|found| judge.fits_in_routers(&found.mapped));
        let best = found.into_iter().min_by(|one, other| one.judged.time.total_cmp(&other.judged.time))?;
        let recipe = best.point.recipe.pinned(&best.mapped);
        let (wafers, micro_batch) = (best.point.wafers, best.point.micro_batch);
        Some(Self {
            recipe: Recipe { draft: best.point.draft, ..recipe },
            wafers,
            micro_batch,
            mappings,
            considered: Vec::new(),
            most,
        })
    }
}

/// A mapping of a rung on the question itself.
struct Priced {
    recipe: Recipe,
    wafers: u32,
    mapped: Mapped,
    time: f64,
}

/// What the mappings of all rungs take on a question: with every way of verifying drafts that it allows, and with the
/// users of every micro-batch of a ladder that does not depend on it.
fn priced(question: &Question, rungs: &[Arc<Rung>], judge: &ClosedForm<'_>) -> Vec<Priced> {
    let common = Arc::new(Common::new(&question.model));
    let sizes = micro_batch_ladder(question.scenario.users);
    let mut points: Vec<Point> = Vec::new();
    for found in rungs.iter().flat_map(|rung| &rung.found) {
        let own = found.micro_batch.clamp(1, question.scenario.users);
        for micro_batch in std::iter::once(own).chain(sizes.iter().copied().filter(|size| *size != own)) {
            let recipe = Recipe { draft: found.draft, ..found.recipe.clone() };
            let point = Point { recipe, wafers: found.wafers, micro_batch, draft: found.draft };
            if !points.contains(&point) {
                points.push(point);
            }
        }
    }
    let all: Vec<Option<Priced>> = points
        .into_par_iter()
        .map(|point| {
            let mapped = point.mapped(question.inputs(), &common)?;
            let time = judge.judge(&mapped)?.time;
            Some(Priced { recipe: point.recipe, wafers: point.wafers, mapped, time })
        })
        .collect();
    all.into_iter().flatten().collect()
}

/// Numbers of wafers at which speed grows, each with the fastest on so many.
fn by_wafers(priced: &[Priced]) -> Vec<Considered> {
    let steps = growth(priced, |found| (found.wafers, found.time)).into_iter();
    steps.map(|found| Considered { wafers: found.wafers, tokens_per_second_per_user: 1.0 / found.time }).collect()
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
