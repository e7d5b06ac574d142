//! Experts dealt to rectangles in turn.

use super::assignment::Assignment;
use super::strategies::{Strategy, Task};

/// Experts dealt in turn.
#[derive(Debug, Clone, Copy)]
pub struct RoundRobin;

impl Strategy for RoundRobin {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        Assignment::single(task.cells, |expert| expert % task.cells.max(1), task.demand.experts())
    }
}
