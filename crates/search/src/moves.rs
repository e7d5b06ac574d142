//! Moves from outside: neighbours of a mapping that no decision of ours proposes.

use std::fmt;

use wafersim_mapping::{Inputs, Mapped};

use crate::space::Point;

/// Proposes neighbours of a mapping. They are tried as the values of one decision, before those that are built in:
/// placed, judged and compared like all others.
pub trait Move: Send + Sync {
    /// What tells it from all others: its name with every number that it works by.
    fn id(&self) -> String;

    /// Neighbours of a point, whose mapping is `at`; the same ones whenever it is asked. Points that do not fit are left
    /// out by the search. Each may be as large a step as it likes.
    fn neighbours(&self, inputs: &Inputs<'_>, point: &Point, at: &Mapped) -> Vec<Point>;
}

impl fmt::Debug for dyn Move {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "move '{}'", self.id())
    }
}
