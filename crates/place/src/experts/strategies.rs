//! Strategies that deal the experts of a layer to rectangles: the interface and the register. Each is one file; a
//! further one is a file and a line in [`STRATEGIES`]. A strategy from outside needs neither: mappings and comparisons
//! take it as it is.

use std::fmt;

use super::assignment::Assignment;
use super::demand::{Demand, Price};

/// What is to be dealt.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// What the batches want: the past, from which a strategy may learn.
    pub demand: &'a Demand,
    /// Rectangles.
    pub cells: usize,
    /// Copies that fit a rectangle. `cells x room` is at least the number of experts.
    pub room: usize,
    /// What a rectangle costs for what it gets.
    pub price: &'a Price,
}

/// A way to deal experts to rectangles.
pub trait Strategy: Send + Sync {
    /// Its name; of those that are built in the one on the command line.
    fn name(&self) -> &str;

    /// What tells it from all others: its name with every number that it deals by. Goes into hashes of inputs.
    fn id(&self) -> String {
        self.name().to_owned()
    }

    /// Whether it puts experts into more than one rectangle, where there is room.
    fn makes_copies(&self) -> bool {
        false
    }

    /// Deals the experts, the same way whenever it is asked. The result is valid for the task: every expert has a home,
    /// no rectangle more than its room. Anything else is refused.
    fn assign(&self, task: &Task<'_>) -> Assignment;
}

impl fmt::Debug for dyn Strategy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "strategy '{}'", self.id())
    }
}

/// The strategies of one step, in the order in which they are compared. The optimiser is [`super::annealed`].
pub const STRATEGIES: [&dyn Strategy; 5] = [
    &super::linear::Linear,
    &super::round_robin::RoundRobin,
    &super::hybrid::Hybrid,
    &super::apart::Apart,
    &super::replicated::Replicated,
];

/// The rectangle with the least of something among those with room; of equals the first.
pub(super) fn least(room: &[usize], value: impl Fn(usize) -> f64) -> Option<usize> {
    let open = (0..room.len()).filter(|&cell| room[cell] > 0);
    open.map(|cell| (value(cell), cell)).min_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, cell)| cell)
}
