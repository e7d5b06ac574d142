//! What came out of runs: points, how they are kept, sweeps over a setting, the knee of one.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use wafersim_answer::Provenance;
use wafersim_answer::plan::Swept;

use super::{MachineSummary, Server};
use crate::result::ServiceOutcome;
use crate::scenario::StreamScenario;
use crate::statistics::Count;
use crate::time::Time;
use crate::trace::TraceSummary;

/// A point of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Point {
    /// The value of the setting, as written, with commas between those of several; empty where nothing was swept.
    pub value: String,
    /// The settings that were swept, each with its value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swept: Vec<Swept>,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What was run.
    pub scenario: StreamScenario,
    /// The machine.
    pub machine: MachineSummary,
    /// The trace that was replayed, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceSummary>,
    /// What came out.
    pub outcome: ServiceOutcome,
}

/// A run as it can be kept: with the same scenario it gives the same [`Point`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenRun", into = "WrittenRun")]
pub struct KeptRun {
    /// The machine.
    pub machine: MachineSummary,
    /// What came out.
    pub outcome: ServiceOutcome,
}

/// A run with what the JSON of its outcome leaves out or rounds.
#[derive(Serialize, Deserialize)]
struct WrittenRun {
    machine: MachineSummary,
    outcome: ServiceOutcome,
    window_ps: [u64; 2],
    first_token_counts: Vec<Count>,
    between_steps_counts: Vec<Count>,
}

impl From<KeptRun> for WrittenRun {
    fn from(KeptRun { machine, mut outcome }: KeptRun) -> Self {
        Self {
            machine,
            window_ps: [outcome.window_start.0, outcome.window_end.0],
            first_token_counts: std::mem::take(&mut outcome.first_token_counts),
            between_steps_counts: std::mem::take(&mut outcome.between_steps_counts),
            outcome,
        }
    }
}

impl From<WrittenRun> for KeptRun {
    fn from(written: WrittenRun) -> Self {
        let WrittenRun { machine, outcome, window_ps: [start, end], first_token_counts, between_steps_counts } =
            written;
        let (window_start, window_end) = (Time(start), Time(end));
        let outcome = ServiceOutcome { window_start, window_end, first_token_counts, between_steps_counts, ..outcome };
        Self { machine, outcome }
    }
}

impl From<&Point> for KeptRun {
    fn from(point: &Point) -> Self {
        Self { machine: point.machine.clone(), outcome: point.outcome.clone() }
    }
}

impl Point {
    /// The same as a point of a sweep over these settings.
    #[must_use]
    pub fn of_sweep(self, swept: &[Swept]) -> Self {
        let values: Vec<&str> = swept.iter().map(|one| one.value.as_str()).collect();
        Self { value: values.join(", "), swept: swept.to_vec(), ..self }
    }
}

/// Runs machines side by side; the order is theirs, whatever the number of threads. `finished` hears of each point as
/// it ends, from any thread, with the place of its machine; its error ends the sweep.
///
/// # Errors
/// One of `finished`'s.
pub fn sweep<Error: Send>(
    machines: &[(String, Server)],
    finished: impl Fn(usize, &Point) -> Result<(), Error> + Sync,
) -> Result<Vec<Point>, Error> {
    machines
        .par_iter()
        .enumerate()
        .map(|(place, (value, machine))| {
            let point = machine.point(value, |_| {});
            finished(place, &point)?;
            Ok(point)
        })
        .collect()
}

/// The knee of a sweep: the point with the largest power, throughput times the median user's speed (Kleinrock, "Power
/// and deterministic rules of thumb", ICC 1979, with the speed for one over the delay). Beyond it, more load costs
/// users more than it gives in all. Nothing where less than three points were made, or the values are no numbers.
pub fn knee(points: &[Point]) -> Option<usize> {
    if points.len() < 3 || points.iter().any(|point| point.value.parse::<f64>().is_err()) {
        return None;
    }
    let power =
        |point: &Point| point.outcome.tokens_per_second.mean * point.outcome.user_speed.map_or(0.0, |speed| speed.p50);
    let best = points.iter().enumerate().fold(None, |best: Option<(usize, f64)>, (index, point)| match best {
        Some((_, most)) if most >= power(point) => best,
        _ => Some((index, power(point))),
    });
    best.filter(|(_, most)| *most > 0.0).map(|(index, _)| index)
}
