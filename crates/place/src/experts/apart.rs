//! Experts that batches want together lie apart, so that they run side by side: each expert, the hottest first, goes
//! where it adds the least to the sum over batches of squared pairs of a rectangle, that is, to the rectangle whose
//! experts are wanted least in the same batches.

use super::assignment::Assignment;
use super::strategies::{Strategy, Task, least};

/// Co-activated experts apart.
#[derive(Debug, Clone, Copy)]
pub struct Apart;

impl Strategy for Apart {
    fn name(&self) -> &'static str {
        "apart"
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let demand = task.demand;
        let mut room = vec![task.room; task.cells];
        let mut homes = vec![0; demand.experts()];
        // Pairs by batch and rectangle so far.
        let mut pairs = vec![0u32; demand.batches() * task.cells];
        let mut met = vec![0u64; task.cells];
        for expert in demand.hottest_first() {
            met.iter_mut().for_each(|sum| *sum = 0);
            for &(batch, count) in demand.wanted(expert) {
                let start = batch as usize * task.cells;
                for (sum, &pairs) in met.iter_mut().zip(&pairs[start..start + task.cells]) {
                    *sum += u64::from(pairs) * u64::from(count);
                }
            }
            let Some(cell) = least(&room, |cell| met[cell] as f64) else { break };
            homes[expert] = cell;
            room[cell] -= 1;
            for &(batch, count) in demand.wanted(expert) {
                pairs[batch as usize * task.cells + cell] += u32::from(count);
            }
        }
        Assignment::single(task.cells, |expert| homes[expert], demand.experts())
    }
}
