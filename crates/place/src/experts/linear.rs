//! Neighbouring experts share a rectangle: the order of the checkpoint, cut into runs.

use super::assignment::Assignment;
use super::strategies::{Strategy, Task};

/// Runs of neighbouring experts.
#[derive(Debug, Clone, Copy)]
pub struct Linear;

impl Strategy for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let experts = task.demand.experts();
        Assignment::single(task.cells, |expert| expert * task.cells / experts.max(1), experts)
    }
}
