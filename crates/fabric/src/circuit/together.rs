//! Several programs at once on one wafer, each on its own rectangle.
//!
//! No wavelet of a program leaves its rectangle (lowering writes streams along lines of regions inside it), so programs
//! on disjoint rectangles share no router, no link and no core: they cannot disturb each other, and each is run for
//! itself, in parallel. Rectangles that overlap are refused.

use rayon::prelude::*;

use super::error::CircuitError;
use super::lowered::Lowered;
use super::outcome::{Engine, Maps, Outcome, Progress, Tally};
use super::{MOST_ELEMENTS, run};

/// Runs programs on disjoint rectangles of one wafer, all from cycle 0. `progress` is told which of them has come how
/// far; it is called from several threads.
///
/// # Errors
/// [`CircuitError::Overlap`] where two rectangles share a processing element; else that of the first program, in the
/// order of the list, that does not end.
pub fn run_all(programs: &[Lowered], progress: impl Fn(usize, Progress) + Sync) -> Result<Vec<Outcome>, CircuitError> {
    check_disjoint(programs)?;
    let one = |(index, lowered): (usize, &Lowered)| run(lowered, |now| progress(index, now));
    let outcomes: Vec<Result<Outcome, CircuitError>> = programs.par_iter().enumerate().map(one).collect();
    outcomes.into_iter().collect()
}

/// Columns and rows from where to where.
fn rectangle(origin: (u64, u64), columns: u32, rows: u32) -> [u64; 4] {
    let (x, y) = origin;
    [x, x.saturating_add(u64::from(columns)), y, y.saturating_add(u64::from(rows))]
}

fn check_disjoint(programs: &[Lowered]) -> Result<(), CircuitError> {
    for (first, one) in programs.iter().enumerate() {
        let [left, right, top, bottom] = rectangle(one.origin, one.columns, one.rows);
        for (second, other) in programs.iter().enumerate().skip(first + 1) {
            let [x, end_x, y, end_y] = rectangle(other.origin, other.columns, other.rows);
            let (column, row) = (left.max(x), top.max(y));
            if column < right.min(end_x) && row < bottom.min(end_y) {
                return Err(CircuitError::Overlap { first, second, column, row });
            }
        }
    }
    Ok(())
}

/// Outcomes of programs that ran side by side as one: maps over the rectangle around all of them (0 where none was),
/// counts added up, the time and the operators of the slowest (of the first of them on a tie). Timelines stay with each
/// program. Nothing without outcomes.
///
/// # Errors
/// Where the rectangle around all of them has more processing elements than are simulated.
pub fn side_by_side(outcomes: &[Outcome]) -> Result<Option<Outcome>, CircuitError> {
    let slowest = outcomes.iter().reduce(|slowest, one| if one.cycles.0 > slowest.cycles.0 { one } else { slowest });
    let Some(slowest) = slowest else { return Ok(None) };
    let around = outcomes.iter().map(|one| rectangle(one.origin, one.columns, one.rows));
    let around =
        around.reduce(|one, two| [one[0].min(two[0]), one[1].max(two[1]), one[2].min(two[2]), one[3].max(two[3])]);
    let [left, right, top, bottom] = around.unwrap_or_default();
    let (columns, rows) = (right - left, bottom - top);
    let value = columns.saturating_mul(rows);
    if value > MOST_ELEMENTS {
        let what = "the number of processing elements around all programs";
        return Err(CircuitError::TooLarge { what, value, largest: MOST_ELEMENTS });
    }
    let mut maps = Maps::new(value as usize);
    let mut tally = Tally::default();
    for one in outcomes {
        tally.add(&one.tally);
        let width = one.columns as usize;
        for y in 0..one.rows as usize {
            let to = (one.origin.1 - top) as usize + y;
            let to = to * columns as usize + (one.origin.0 - left) as usize;
            let (from, to) = (y * width..(y + 1) * width, to..to + width);
            for (all, own) in maps.links.iter_mut().zip(&one.maps.links) {
                all[to.clone()].copy_from_slice(&own[from.clone()]);
            }
            maps.busy[to.clone()].copy_from_slice(&one.maps.busy[from.clone()]);
            maps.stalled[to.clone()].copy_from_slice(&one.maps.stalled[from.clone()]);
            maps.queue[to].copy_from_slice(&one.maps.queue[from]);
        }
    }
    let same = outcomes.iter().all(|one| one.engine == slowest.engine);
    Ok(Some(Outcome {
        cycles: slowest.cycles,
        operators: slowest.operators.clone(),
        tally,
        maps,
        columns: columns as u32,
        rows: rows as u32,
        origin: (left, top),
        colors: outcomes.iter().map(|one| one.colors).max().unwrap_or(0),
        engine: if same { slowest.engine } else { Engine::Mixed },
        timeline: None,
    }))
}
