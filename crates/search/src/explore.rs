//! From a start to the best found.
//!
//! Divisions first, each with the start's other decisions and the layouts of the cache that the start would take; the
//! best are refined: one decision after the other takes its best value while the others stay, round and round until
//! nothing moves. How fast a division is says little before that, so they are refined in heats: all a little, the best
//! few of them further, the best to the end. Then from other starts: the best found with some decisions drawn anew.
//! What is first of equals wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use wafersim_mapping::{Common, Mapped, Recipe};

use crate::effort::Effort;
use crate::space::{Decision, Point, Space};

/// What a judge says of a mapping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// What is to be small: the time that was asked for.
    pub time: f64,
    /// What decides between mappings of the same time (the other times of an answer).
    pub tie: f64,
}

/// How much faster refining may make a division: more than it has given in most of those that were tried (1.5 times in
/// one of 60).
const MOST_GAINED: f64 = 1.4;

/// The first heat of a refinement is one in so many of its evaluations.
const FIRST_HEAT: u64 = 30;

/// Who says how good mappings are.
pub trait Judge: Sync {
    /// How long a mapping takes; nothing where it cannot be written, or does not fit the memory.
    fn judge(&self, mapped: &Mapped) -> Option<Judged>;
    /// Whether routers have colors enough for it. Asked of what would be the best alone.
    fn fits_in_routers(&self, mapped: &Mapped) -> bool;
    /// Whether nobody waits for the search any more: it ends then, with what it has, which is of no use.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// A search.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// What may be decided.
    pub space: Space<'a>,
    /// How much is tried.
    pub effort: Effort,
    /// Seed of further starts.
    pub seed: u64,
}

/// A mapping that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The point.
    pub point: Point,
    /// With every number.
    pub mapped: Mapped,
    /// What the judge said.
    pub judged: Judged,
    /// Mappings that were judged.
    pub evaluations: u64,
}

struct Walk<'w, 'a> {
    search: &'w Search<'a>,
    judge: &'w dyn Judge,
    common: Arc<Common<'a>>,
    /// Mappings that may still be judged.
    left: u64,
    /// Mappings that have been.
    evaluations: u64,
    /// Mappings for which routers may still have too few colors.
    router_failures_left: u64,
}

/// A point that was judged.
#[derive(Clone)]
struct Here {
    point: Point,
    mapped: Mapped,
    judged: Judged,
}

impl Here {
    fn is_better(&self, other: &Self) -> bool {
        let (one, other) = (self.judged, other.judged);
        // Below a part in 10^9 is rounding.
        let least = other.time * (1.0 - 1e-9);
        one.time < least || (one.time < other.time * (1.0 + 1e-9) && one.tie < other.tie * (1.0 - 1e-9))
    }
}

/// The best mapping found from a start, if any fits.
pub fn explore(search: &Search<'_>, start: Point, judge: &dyn Judge) -> Option<Found> {
    refine(search, &survey(search, start, judge), judge)
}

/// A look at all divisions, each with the start's other decisions and, where it is among the best for its number of
/// wafers, the best layout of the cache; the fastest first.
pub fn survey(search: &Search<'_>, start: Point, judge: &dyn Judge) -> Vec<Found> {
    let mut walk = Walk::new(search, judge);
    let all = walk.survey(start);
    let evaluations = walk.evaluations;
    all.into_iter().map(|Here { point, mapped, judged }| Found { point, mapped, judged, evaluations }).collect()
}

/// The best mapping found from what a survey has found on at most the wafers of the search.
pub fn refine(search: &Search<'_>, surveyed: &[Found], judge: &dyn Judge) -> Option<Found> {
    let mut walk = Walk::new(search, judge);
    walk.evaluations = surveyed.first().map_or(0, |found| found.evaluations);
    let all = surveyed.iter().filter(|found| found.point.wafers <= search.space.wafers);
    let candidates = walk.candidates(all);
    let mut best = walk.heats(candidates, walk.left / 4)?;
    for restart in (0..search.effort.restarts()).take_while(|_| !judge.is_stopped()) {
        let Some(start) = walk.elsewhere(&best, restart) else { continue };
        let share = walk.left / (search.effort.restarts() - restart);
        let refined = walk.refined(start, share);
        if refined.is_better(&best) {
            best = refined;
        }
    }
    let Here { point, mapped, judged } = best;
    Some(Found { point, mapped, judged, evaluations: walk.evaluations })
}

/// Of mappings, whose wafers and time `of` says, the fastest on each number of wafers at which speed grows, fewest
/// wafers first.
pub fn growth<T>(all: &[T], of: impl Fn(&T) -> (u32, f64)) -> Vec<&T> {
    let mut all: Vec<(u32, f64, &T)> =
        all.iter().map(|one| (of(one), one)).map(|((n, time), one)| (n, time, one)).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let mut fastest = f64::INFINITY;
    all.retain(|(_, time, _)| {
        // Below a part in 10^9 is rounding.
        let is_faster = *time < fastest * (1.0 - 1e-9);
        fastest = time.min(fastest);
        is_faster
    });
    all.into_iter().map(|(_, _, one)| one).collect()
}

/// The best mappings found for each number of wafers at which speed grows, or may grow once they are refined. What is
/// found for a number of wafers does not depend on how many more are looked at. Numbers so slow that refining would not
/// make them the fastest are given as they are.
pub fn refine_each(search: &Search<'_>, surveyed: &[Found], judge: &dyn Judge) -> Vec<Found> {
    /// How much slower than fewer wafers a number of them may be in the survey to go on, and after its first heat.
    const SURVEYED: f64 = 1.1;
    const HEATED: f64 = 1.05;
    let Some(fastest) = surveyed.first() else { return Vec::new() };
    let mut walk = Walk::new(search, judge);
    walk.evaluations = fastest.evaluations;
    let mut by_wafers: BTreeMap<u32, Vec<&Found>> = BTreeMap::new();
    for found in surveyed {
        by_wafers.entry(found.point.wafers).or_default().push(found);
    }
    let mut found: Vec<Found> = Vec::new();
    // Of fewer wafers: the fastest in the survey, and as refined.
    let (mut fewer, mut refined) = (f64::INFINITY, f64::INFINITY);
    for all in by_wafers.into_values() {
        let time = all[0].judged.time;
        if time >= fewer * SURVEYED {
            continue;
        }
        let grows = time < fewer * (1.0 - 1e-9);
        fewer = fewer.min(time);
        if time > fastest.judged.time * MOST_GAINED {
            found.extend(grows.then(|| all[0].clone()));
            continue;
        }
        walk.left = u64::MAX;
        let mut candidates = walk.candidates(all.into_iter());
        if !grows {
            candidates.truncate(1);
            let first = candidates.iter().map(|here| walk.first_heat(here).here.judged.time).min_by(f64::total_cmp);
            if first.is_none_or(|first| first > refined * HEATED) {
                continue;
            }
        }
        if let Some(Here { point, mapped, judged }) = walk.heats(candidates, search.effort.evaluations()) {
            refined = refined.min(judged.time);
            found.push(Found { point, mapped, judged, evaluations: walk.evaluations });
        }
    }
    found
}

/// When routers are asked whether they have colors enough, which takes longer than all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routers {
    /// Before a decision moves.
    Now,
    /// When all have moved.
    Later,
}

/// A division that is being refined.
#[derive(Clone)]
struct Refining {
    here: Here,
    /// The decision whose turn it is.
    next: usize,
    /// Decisions that stayed since one moved last, or from the beginning.
    stayed: usize,
    /// Whether any has moved: it has its best value, and need not be tried again before another moves.
    has_moved: bool,
}

impl Refining {
    const fn new(here: Here) -> Self {
        Self { here, next: 0, stayed: 0, has_moved: false }
    }
}

impl<'w, 'a> Walk<'w, 'a> {
    fn new(search: &'w Search<'a>, judge: &'w dyn Judge) -> Self {
        let common = Arc::new(Common::new(search.space.inputs.model));
        let effort = search.effort;
        Self {
            search,
            judge,
            common,
            left: effort.evaluations(),
            evaluations: 0,
            router_failures_left: effort.router_failures(),
        }
    }
}

impl Walk<'_, '_> {
    /// Whether routers have colors enough; no, where that was asked for in vain too often.
    fn fits_in_routers(&mut self, mapped: &Mapped) -> bool {
        if self.router_failures_left == 0 {
            return false;
        }
        let fits = self.judge.fits_in_routers(mapped);
        self.router_failures_left -= u64::from(!fits);
        fits
    }

    /// Judges points, in their order; what does not fit is left out.
    fn judged(&mut self, mut points: Vec<Point>) -> Vec<Here> {
        points.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= points.len() as u64;
        self.looked_at(points)
    }

    /// The same, whatever is left.
    fn looked_at(&mut self, points: Vec<Point>) -> Vec<Here> {
        self.evaluations += points.len() as u64;
        let judge = self.judge;
        let (inputs, common) = (self.search.space.inputs, &self.common);
        let all: Vec<Option<Here>> = points
            .into_par_iter()
            .map(|point| {
                if judge.is_stopped() {
                    return None;
                }
                let mapped = point.mapped(inputs, common)?;
                let judged = judge.judge(&mapped)?;
                judged.time.is_finite().then_some(Here { point, mapped, judged })
            })
            .collect();
        all.into_iter().flatten().collect()
    }

    /// All divisions, and the best layouts of the cache for the best of them.
    fn survey(&mut self, start: Point) -> Vec<Here> {
        /// Divisions with the same number of wafers that are given other layouts of the cache.
        const MOST_ALIKE: usize = 3;
        /// How much slower than a mapping on no more wafers a division may be to be given others.
        const SLOWER: f64 = 1.25;
        let mut points = self.search.space.divisions(&start);
        // Half of the room for converted weights may be what a division lacks.
        let in_strips = self.search.space.in_strips(&start);
        points.extend(in_strips.iter().flat_map(|start| self.search.space.divisions(start)));
        let mut all = self.looked_at(points);
        // Divisions that fit in strips alone, and of each number of wafers the fastest in strips: it may have room for
        // a better layout of the cache.
        let mut further: Vec<Here> = Vec::new();
        if let Some(in_strips) = in_strips {
            let is_in_strips = |here: &Here| here.point.recipe.rewrites == in_strips.recipe.rewrites;
            let (mut cut, whole): (Vec<Here>, Vec<Here>) = all.into_iter().partition(is_in_strips);
            cut.sort_by(by_wafers_and_time);
            for same in cut.chunk_by(|one, other| one.point.wafers == other.point.wafers) {
                further.extend(same.first().cloned());
            }
            let same = |one: &Here, other: &Here| {
                (one.point.wafers, one.point.recipe.division) == (other.point.wafers, other.point.recipe.division)
            };
            cut.retain(|cut| !whole.iter().any(|whole| same(whole, cut)));
            all = whole.into_iter().chain(cut).collect();
        }
        if all.is_empty() {
            // Nothing fits with all that helps: with what takes no memory. Refinement adds what there is room for.
            let lean = self.search.space.lean(start);
            let points = self.search.space.divisions(&lean);
            all = self.looked_at(points.clone());
            if all.is_empty() {
                let caches = self.with_all_caches(&points);
                // The layout of fewest bytes may be the one whose scores take most.
                all = self.looked_at(caches);
            }
            if all.is_empty() {
                // As placement divides.
                all = self.looked_at(vec![lean]);
            }
        }
        if !self.search.space.pins.has(Decision::Kv) {
            all.sort_by(by_wafers_and_time);
            let mut points: Vec<Point> =
                further.iter().flat_map(|here| self.with_caches(&here.point, &here.mapped)).collect();
            let mut fastest = f64::INFINITY;
            for same in all.chunk_by(|one, other| one.point.wafers == other.point.wafers) {
                fastest = same.first().map_or(fastest, |here| here.judged.time.min(fastest));
                let worth = same.iter().take(MOST_ALIKE).filter(|here| here.judged.time <= fastest * SLOWER);
                points.extend(worth.flat_map(|here| self.with_caches(&here.point, &here.mapped)));
            }
            let found = self.looked_at(points);
            all.extend(found);
        }
        all.sort_by(|one, other| one.judged.time.total_cmp(&other.judged.time));
        all
    }

    /// A point with the layouts of the cache that leave hardly a column of its region unused.
    fn with_caches(&self, point: &Point, mapped: &Mapped) -> Vec<Point> {
        let Some(layer) = mapped.layers.first() else { return Vec::new() };
        let layouts = self.search.space.kv_layouts_that_fill(point, layer).into_iter();
        let with = |kv| Point { recipe: Recipe { kv, ..point.recipe.clone() }, ..point.clone() };
        layouts.map(with).collect()
    }

    /// The same of points that placement has room for, whatever their programs keep; none where the layout is pinned.
    fn with_all_caches(&self, points: &[Point]) -> Vec<Point> {
        if self.search.space.pins.has(Decision::Kv) {
            return Vec::new();
        }
        let (inputs, common) = (self.search.space.inputs, &self.common);
        let of = |point: &Point| point.mapped(inputs, common).map(|mapped| self.with_caches(point, &mapped));
        let all: Vec<Option<Vec<Point>>> = points.par_iter().map(of).collect();
        all.into_iter().flatten().flatten().collect()
    }

    /// The best of what a survey found, regions of the same size once.
    fn candidates<'f>(&self, surveyed: impl Iterator<Item = &'f Found>) -> Vec<Here> {
        let mut kept: Vec<Here> = Vec::new();
        let region = |mapped: &Mapped| mapped.layers.first().map(|layer| layer.region);
        for found in surveyed {
            let is_near = kept.first().is_none_or(|best| found.judged.time <= best.judged.time * MOST_GAINED);
            if !is_near || kept.len() == self.search.effort.divisions() {
                break;
            }
            if kept.iter().all(|known| region(&known.mapped) != region(&found.mapped)) {
                let Found { point, mapped, judged, .. } = found.clone();
                kept.push(Here { point, mapped, judged });
            }
        }
        kept
    }

    /// The best of some divisions when it is refined to the end, with at most so many evaluations for each of the best.
    fn heats(&mut self, candidates: Vec<Here>, evaluations: u64) -> Option<Here> {
        /// A heat.
        struct Heat {
            /// The part of the evaluations that each has had by its end: one in so many.
            one_in: u64,
            /// How many go on at most, and how much slower than the best of them.
            most: usize,
            slower: f64,
        }
        const HEATS: [Heat; 2] =
            [Heat { one_in: FIRST_HEAT, most: 2, slower: 1.06 }, Heat { one_in: 6, most: 2, slower: 1.03 }];
        let mut all: Vec<Refining> = Vec::new();
        let mut had = 0;
        if candidates.len() > 1 {
            all.extend(candidates.iter().cloned().map(Refining::new));
            for heat in HEATS {
                let until = evaluations / heat.one_in;
                all.iter_mut().for_each(|refining| self.advance(refining, until - had, Routers::Later));
                had = until;
                all.sort_by(|one, other| one.here.judged.time.total_cmp(&other.here.judged.time));
                let fastest = all.first()?.here.judged.time;
                all.truncate(heat.most);
                all.retain(|refining| refining.here.judged.time <= fastest * heat.slower);
            }
        }
        let mut best: Option<Here> = None;
        for refining in all {
            let Some(here) = self.finished(refining, evaluations - had) else { continue };
            if best.as_ref().is_none_or(|best| here.is_better(best)) {
                best = Some(here);
            }
        }
        if best.is_none() {
            // Routers have too few colors for what they were refined to, or there was nothing to choose.
            let first = candidates.into_iter().find(|here| self.fits_in_routers(&here.mapped))?;
            best = self.finished(Refining::new(first), evaluations);
        }
        best
    }

    /// A division after the first heat.
    fn first_heat(&mut self, here: &Here) -> Refining {
        let mut refining = Refining::new(here.clone());
        self.advance(&mut refining, self.search.effort.evaluations() / FIRST_HEAT, Routers::Later);
        refining
    }

    /// A division refined to the end, if routers have colors enough for it. They are asked on the way only where they
    /// would have too few at the end.
    fn finished(&mut self, mut refining: Refining, evaluations: u64) -> Option<Here> {
        let mut free = refining.clone();
        self.advance(&mut free, evaluations, Routers::Later);
        if self.fits_in_routers(&free.here.mapped) {
            return Some(free.here);
        }
        let fits = self.fits_in_routers(&refining.here.mapped);
        fits.then(|| self.advance(&mut refining, evaluations, Routers::Now));
        fits.then_some(refining.here)
    }

    /// A point whose decisions have each been given their best value while the others stayed.
    fn refined(&mut self, here: Here, evaluations: u64) -> Here {
        let mut refining = Refining::new(here);
        self.advance(&mut refining, evaluations, Routers::Now);
        refining.here
    }

    /// Gives decisions their best value while the others stay, in turn, until nothing moves any more or so many
    /// mappings have been judged.
    fn advance(&mut self, refining: &mut Refining, evaluations: u64, routers: Routers) {
        let end = self.left.saturating_sub(evaluations);
        let decisions = self.search.space.decisions();
        while refining.stayed + usize::from(refining.has_moved) < decisions.len() && self.left > end {
            if self.judge.is_stopped() {
                return;
            }
            let here = &refining.here;
            let points = self.search.space.values(decisions[refining.next], &here.point, &here.mapped);
            refining.next = (refining.next + 1) % decisions.len();
            let mut all = self.judged(points);
            all.retain(|other| other.is_better(here));
            all.sort_by(|one, other| one.judged.time.total_cmp(&other.judged.time));
            let fits = |other: &Here| routers == Routers::Later || self.fits_in_routers(&other.mapped);
            match all.into_iter().find(fits) {
                Some(better) => (refining.here, refining.stayed, refining.has_moved) = (better, 0, true),
                None => refining.stayed += 1,
            }
        }
    }

    /// Another start: some decisions of the best drawn anew.
    fn elsewhere(&mut self, best: &Here, restart: u64) -> Option<Here> {
        const REDRAWN: usize = 3;
        const TRIES: u64 = 20;
        let mut random = ChaCha8Rng::seed_from_u64(self.search.seed);
        random.set_stream(restart);
        let mut decisions = self.search.space.decisions();
        if !self.search.space.pins.has(Decision::Division) {
            decisions.push(Decision::Division);
        }
        let mut here = best.clone();
        let mut changed = 0;
        for _ in 0..TRIES {
            if changed == REDRAWN || decisions.is_empty() || self.left == 0 {
                break;
            }
            let decision = decisions[below(&mut random, decisions.len())];
            let mut points = self.search.space.values(decision, &here.point, &here.mapped);
            if points.is_empty() {
                continue;
            }
            let drawn = points.swap_remove(below(&mut random, points.len()));
            if let Some(other) = self.judged(vec![drawn]).pop()
                && self.fits_in_routers(&other.mapped)
            {
                here = other;
                changed += 1;
            }
        }
        (changed > 0).then_some(here)
    }
}

fn by_wafers_and_time(one: &Here, other: &Here) -> std::cmp::Ordering {
    one.point.wafers.cmp(&other.point.wafers).then(one.judged.time.total_cmp(&other.judged.time))
}

fn below(random: &mut ChaCha8Rng, count: usize) -> usize {
    ((u64::from(random.next_u32()) * count as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use wafersim_mapping::{Inputs, Load, Verification};
    use wafersim_spec::scenario::{RoutingModel, WaferCount};
    use wafersim_spec::{Model, Precision, Wafer};

    use super::*;
    use crate::space::{Pins, start};

    /// Everything fits the memory, few slots are quickest, and no router ever has colors enough.
    #[derive(Default)]
    struct NoColors {
        asked: AtomicU64,
    }

    impl Judge for NoColors {
        fn judge(&self, mapped: &Mapped) -> Option<Judged> {
            Some(Judged { time: mapped.placement.slots_per_wafer as f64, tie: 0.0 })
        }

        fn fits_in_routers(&self, _: &Mapped) -> bool {
            self.asked.fetch_add(1, Ordering::Relaxed);
            false
        }
    }

    #[test]
    fn routers_that_never_suffice_are_not_asked_for_ever() {
        let (model, wafer) = (Model::builtin("llama-3.1-8b").unwrap(), Wafer::builtin("wse3").unwrap());
        let load = Load {
            wafers: WaferCount::Exactly(1),
            users: 1,
            context: 1024,
            tokens_per_step: 1,
            precision: Precision::default(),
            routing: RoutingModel::Uniform,
        };
        let space = Space {
            inputs: Inputs::new(&model, &wafer, load),
            fewest: 1,
            wafers: 1,
            pins: Pins::default(),
            moves: Vec::new(),
        };
        let search = Search { space, effort: Effort::Quick, seed: 1 };
        let point = Point { recipe: start(), wafers: 1, micro_batch: 1, draft: Verification::Stream };
        let judge = NoColors::default();
        assert!(explore(&search, point, &judge).is_none());
        let asked = judge.asked.load(Ordering::Relaxed);
        assert!((1..=Effort::Quick.router_failures()).contains(&asked), "{asked}");
    }
}
