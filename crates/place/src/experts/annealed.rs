//! The optimiser: simulated annealing of an assignment, from any start.
//!
//! A move exchanges homes of two experts, or moves one to a rectangle with room; its worth is the change of the mean
//! price of the costliest rectangle, computed from the batches that want these experts alone. Worse moves are taken
//! with the probability exp(-change / temperature) (Kirkpatrick et al. 1983); the temperature falls geometrically.
//! Restarts run in parallel, each with a random stream of its own; the best of them counts, of equals the first. The
//! best assignment that was met is given back, so the result is never worse than the start on the demand that it
//! learned from.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::assignment::{Assignment, share};
use super::demand::{Demand, PlaceLoad};
use super::strategies::Task;

/// How long to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annealing {
    /// Moves tried in each restart.
    pub moves: u32,
    /// Restarts.
    pub restarts: u32,
    /// Seed.
    pub seed: u64,
}

/// Temperatures at start and end, as parts of the mean change by a random move from the start.
const HOT: f64 = 0.3;
const COLD: f64 = 3e-3;
/// Moves from which that mean is taken.
const PROBES: u32 = 64;
/// Random stream of the first restart.
const MOVES: u64 = 6 << 48;

/// Improves an assignment for a task.
pub fn anneal(task: &Task<'_>, start: &Assignment, annealing: Annealing) -> Assignment {
    let found: Vec<(f64, Assignment)> = (0..annealing.restarts.max(1))
        .into_par_iter()
        .map(|restart| Search::new(task, start).run(annealing, restart))
        .collect();
    let best = found.into_iter().reduce(|best, other| if other.0 < best.0 { other } else { best });
    best.map_or_else(|| start.clone(), |(_, assignment)| assignment)
}

/// A batch's rectangles before a move.
#[derive(Debug, Clone, Copy)]
struct Before {
    batch: usize,
    loads: [PlaceLoad; 2],
    price: f64,
}

struct Search<'a> {
    task: &'a Task<'a>,
    now: Assignment,
    /// Batches x rectangles.
    loads: Vec<PlaceLoad>,
    /// Price of each batch, and their sum.
    prices: Vec<f64>,
    sum: f64,
    copies: Vec<usize>,
    undo: Vec<Before>,
    /// The last move in which each batch was touched.
    touched: Vec<u32>,
    moves: u32,
}

/// One home of an expert, in rectangle `from`, that goes to `to`.
#[derive(Debug, Clone, Copy)]
struct Step {
    expert: usize,
    home: usize,
    from: usize,
    to: usize,
}

impl<'a> Search<'a> {
    fn new(task: &'a Task<'a>, start: &Assignment) -> Self {
        let loads = start.loads(task.demand);
        let batch_price = |batch: &[PlaceLoad]| batch.iter().map(|&load| task.price.of(load)).fold(0.0, f64::max);
        let prices: Vec<f64> = loads.chunks_exact(task.cells.max(1)).map(batch_price).collect();
        Self {
            task,
            copies: start.copies_in_cells(),
            now: start.clone(),
            sum: prices.iter().sum(),
            touched: vec![0; prices.len()],
            prices,
            loads,
            undo: Vec::new(),
            moves: 0,
        }
    }

    fn run(mut self, annealing: Annealing, restart: u32) -> (f64, Assignment) {
        let mut random = ChaCha8Rng::seed_from_u64(annealing.seed);
        random.set_stream(MOVES | u64::from(restart));
        let (first, batches) = (self.sum, self.prices.len().max(1) as f64);
        let mut best = (self.sum, self.now.clone());
        let cooling = (COLD / HOT).powf(1.0 / f64::from(annealing.moves.max(1)));
        let mut temperature = HOT * self.probe(&mut random);
        for _ in 0..annealing.moves {
            temperature *= cooling;
            let Some((one, other)) = self.propose(&mut random) else { continue };
            let before = self.sum;
            self.take(one, other);
            let change = self.sum - before;
            let chance = f64::from(random.next_u32()) / 4_294_967_296.0;
            if change <= 0.0 || chance < (-change / temperature.max(f64::MIN_POSITIVE)).exp() {
                if self.sum < best.0 - 1e-9 * first {
                    best = (self.sum, self.now.clone());
                }
            } else {
                self.take_back(one, other, before);
            }
        }
        (best.0 / batches, best.1)
    }

    /// The mean change of the price, up or down, by a random move; every move is taken back.
    fn probe(&mut self, random: &mut ChaCha8Rng) -> f64 {
        let (mut changes, mut moves) = (0.0, 0u32);
        for _ in 0..PROBES {
            if let Some((one, other)) = self.propose(random) {
                let before = self.sum;
                self.take(one, other);
                changes += (self.sum - before).abs();
                moves += 1;
                self.take_back(one, other, before);
            }
        }
        changes / f64::from(moves.max(1))
    }

    /// A random move that keeps the assignment valid.
    fn propose(&self, random: &mut ChaCha8Rng) -> Option<(Step, Option<Step>)> {
        let mut below = |count: usize| ((u64::from(random.next_u32()) * count as u64) >> 32) as usize;
        let expert = below(self.now.homes.len());
        let home = below(self.now.homes.get(expert)?.len());
        let from = usize::from(*self.now.homes.get(expert)?.get(home)?);
        let to = below(self.task.cells);
        let holds = |expert: usize, cell: usize| self.now.homes[expert].contains(&(cell as u16));
        if to == from || holds(expert, to) {
            return None;
        }
        let one = Step { expert, home, from, to };
        if self.copies[to] < self.task.room && below(2) == 0 {
            return Some((one, None));
        }
        let other = below(self.now.homes.len());
        let back = self.now.homes[other].iter().position(|&home| usize::from(home) == to)?;
        if other == expert || holds(other, from) {
            return None;
        }
        Some((one, Some(Step { expert: other, home: back, from: to, to: from })))
    }

    fn take(&mut self, one: Step, other: Option<Step>) {
        self.undo.clear();
        self.moves = self.moves.wrapping_add(1);
        let cells = [one.from, one.to];
        for step in [Some(one), other].into_iter().flatten() {
            self.step(step, cells);
        }
        for index in 0..self.undo.len() {
            let before = self.undo[index];
            let start = before.batch * self.task.cells;
            let price = |load: PlaceLoad| self.task.price.of(load);
            let after = price(self.loads[start + one.from]).max(price(self.loads[start + one.to]));
            let was = price(before.loads[0]).max(price(before.loads[1]));
            let new = if after >= before.price {
                after
            } else if was >= before.price {
                self.loads[start..start + self.task.cells].iter().map(|&load| price(load)).fold(0.0, f64::max)
            } else {
                before.price
            };
            self.sum += new - before.price;
            self.prices[before.batch] = new;
        }
    }

    /// Moves one home and the pairs that go to it.
    fn step(&mut self, step: Step, cells: [usize; 2]) {
        let Step { expert, home, from, to } = step;
        let task: &'a Task<'a> = self.task;
        let homes = self.now.homes[expert].len();
        self.now.homes[expert][home] = to as u16;
        self.copies[from] -= 1;
        self.copies[to] += 1;
        for &(batch, count) in task.demand.wanted(expert) {
            let share = share(count, home, homes);
            if share == 0 {
                continue;
            }
            let batch = batch as usize;
            let start = batch * task.cells;
            if self.touched[batch] != self.moves {
                self.touched[batch] = self.moves;
                let loads = cells.map(|cell| self.loads[start + cell]);
                self.undo.push(Before { batch, loads, price: self.prices[batch] });
            }
            let taken = &mut self.loads[start + from];
            *taken = PlaceLoad { pairs: taken.pairs - share, distinct: taken.distinct - 1 };
            let given = &mut self.loads[start + to];
            *given = PlaceLoad { pairs: given.pairs + share, distinct: given.distinct + 1 };
        }
    }

    fn take_back(&mut self, one: Step, other: Option<Step>, sum: f64) {
        for step in [Some(one), other].into_iter().flatten() {
            self.now.homes[step.expert][step.home] = step.from as u16;
            self.copies[step.to] -= 1;
            self.copies[step.from] += 1;
        }
        for before in &self.undo {
            let start = before.batch * self.task.cells;
            self.loads[start + one.from] = before.loads[0];
            self.loads[start + one.to] = before.loads[1];
            self.prices[before.batch] = before.price;
        }
        self.sum = sum;
    }
}

/// The best assignment of single homes there is, by trying all: for small cases, to hold the others to.
///
/// Rectangles are alike, so an expert may only open the first empty one: as many cases as set partitions.
pub fn exhaustive(task: &Task<'_>) -> Option<(f64, Assignment)> {
    /// More would take too long.
    const MOST_EXPERTS: usize = 10;
    let demand: &Demand = task.demand;
    if demand.experts() > MOST_EXPERTS || task.cells.saturating_mul(task.room) < demand.experts() {
        return None;
    }
    let mut homes = vec![0usize; demand.experts()];
    let mut best: Option<(f64, Assignment)> = None;
    deal(task, 0, 0, &mut homes, &mut best);
    best
}

fn deal(task: &Task<'_>, expert: usize, open: usize, homes: &mut Vec<usize>, best: &mut Option<(f64, Assignment)>) {
    if expert == homes.len() {
        let assignment = Assignment::single(task.cells, |expert| homes[expert], homes.len());
        let price = assignment.judge(task.demand, task.price).price;
        if best.as_ref().is_none_or(|(known, _)| price < *known) {
            *best = Some((price, assignment));
        }
        return;
    }
    for cell in 0..(open + 1).min(task.cells) {
        if homes[..expert].iter().filter(|&&home| home == cell).count() < task.room {
            homes[expert] = cell;
            deal(task, expert + 1, open.max(cell + 1), homes, best);
        }
    }
}
