//! Hot experts share rectangles with cold ones: each expert, the hottest first, goes where the least is wanted so far
//! (Graham's rule of the longest first, with room for a fixed number in each rectangle).

use super::assignment::Assignment;
use super::strategies::{Strategy, Task, least};

/// Groups of equal popularity.
#[derive(Debug, Clone, Copy)]
pub struct Hybrid;

impl Strategy for Hybrid {
    fn name(&self) -> &'static str {
        "hybrid"
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let mut room = vec![task.room; task.cells];
        let mut wanted = vec![0u64; task.cells];
        let mut homes = vec![0; task.demand.experts()];
        for expert in task.demand.hottest_first() {
            let Some(cell) = least(&room, |cell| wanted[cell] as f64) else { break };
            homes[expert] = cell;
            room[cell] -= 1;
            wanted[cell] += task.demand.choices()[expert];
        }
        Assignment::single(task.cells, |expert| homes[expert], task.demand.experts())
    }
}
