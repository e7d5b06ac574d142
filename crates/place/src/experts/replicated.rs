//! Spare memory holds copies of the hottest experts: the next copy goes to the expert with most choices for each of its
//! copies; then copies go to the rectangle with the least wanted so far, never two of an expert into the same.

use super::assignment::Assignment;
use super::strategies::{Strategy, Task, least};

/// Copies of the hottest experts in whatever room there is.
#[derive(Debug, Clone, Copy)]
pub struct Replicated;

impl Strategy for Replicated {
    fn name(&self) -> &'static str {
        "replicated"
    }

    fn makes_copies(&self) -> bool {
        true
    }

    fn assign(&self, task: &Task<'_>) -> Assignment {
        let (demand, experts) = (task.demand, task.demand.experts());
        let each = |expert: usize, copies: usize| demand.choices()[expert] as f64 / copies.max(1) as f64;
        let mut copies = vec![1usize; experts];
        for _ in experts..task.cells.saturating_mul(task.room) {
            let open = (0..experts).filter(|&expert| copies[expert] < task.cells);
            let hottest = open.max_by(|&one, &other| {
                each(one, copies[one]).total_cmp(&each(other, copies[other])).then(other.cmp(&one))
            });
            let Some(expert) = hottest.filter(|&expert| demand.choices()[expert] > 0) else { break };
            copies[expert] += 1;
        }
        // The most wanted copies first; the first copy of every expert is sure of a home, since none takes more than
        // its part.
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|&one, &other| {
            each(other, copies[other]).total_cmp(&each(one, copies[one])).then(one.cmp(&other))
        });
        let mut room = vec![task.room; task.cells];
        let mut wanted = vec![0.0; task.cells];
        let mut homes: Vec<Vec<u16>> = vec![Vec::new(); experts];
        for expert in order {
            for _ in 0..copies[expert] {
                let taken = |cell: usize| homes[expert].contains(&(cell as u16));
                let here: Vec<usize> = (0..task.cells).map(|cell| if taken(cell) { 0 } else { room[cell] }).collect();
                let Some(cell) = least(&here, |cell| wanted[cell]) else { break };
                homes[expert].push(cell as u16);
                room[cell] -= 1;
                wanted[cell] += each(expert, copies[expert]);
            }
        }
        Assignment { cells: task.cells, homes }
    }
}
