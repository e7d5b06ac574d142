//! Predicted against measured: every row of a table of measurements, read through the same programs and formulas as any
//! other question.
//!
//! Rows that were measured on a chip are judged with the silicon rates of the wafer file, rows from the vendor's
//! simulator with the simulator's. Layers are built by the same functions as the layers of real models.

mod predict;

use std::collections::BTreeMap;

use serde::Serialize;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

pub use predict::{MeasuredProgram, measured_program, predict};

use crate::measurements::Measurement;

/// A row with its prediction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// Name of the row.
    pub id: String,
    /// Machine.
    pub device: String,
    /// Kernel.
    pub kernel: String,
    /// Rate set that it is judged with.
    pub evidence: RateSet,
    /// What was measured.
    pub measured: f64,
    /// What the model says.
    pub predicted: f64,
    /// (predicted / measured - 1) in per cent.
    pub error_percent: f64,
    /// Unit of both.
    pub unit: String,
}

/// A row that could not be predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Name of the row.
    pub id: String,
    /// Why.
    pub why: String,
}

/// Rows of one kernel, machine and rate set.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// Kernel.
    pub kernel: String,
    /// Machine.
    pub device: String,
    /// Rate set.
    pub evidence: RateSet,
    /// Number of rows.
    pub rows: usize,
    /// Mean of the absolute errors, in per cent of the measured values.
    pub mape_percent: f64,
    /// The error of largest absolute value, in per cent, without its sign.
    pub worst_percent: f64,
}

/// What a validation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// Mean of the absolute errors of all predicted rows, in per cent; nothing where no row could be predicted.
    pub mape_percent: Option<f64>,
    /// Number of predicted rows.
    pub rows: usize,
    /// By kernel, machine and rate set.
    pub groups: Vec<Group>,
    /// Rounds of the vendor library's collectives, where the table has enough of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<Rounds>,
    /// By row, in the order of the table.
    pub predictions: Vec<Prediction>,
    /// Rows that could not be predicted.
    pub skipped: Vec<Skipped>,
}

/// Sides of a grid from which rounds of collectives are judged: what they launch counts for less than what moves.
const LARGE_GRID: u64 = 128;

/// Rounds of collectives beside what a straight line says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rounds {
    /// Rows on grids of at least 128 columns.
    pub rows: usize,
    /// Mean of their absolute errors, in per cent.
    pub mape_percent: f64,
    /// The same for `constant + slope x columns` by least squares over these very rows: what is to be had from two
    /// numbers that were fitted to them.
    pub line_percent: f64,
    /// Rows on smaller grids.
    pub smaller_rows: usize,
    /// Mean of their absolute errors, in per cent; nothing where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smaller_mape_percent: Option<f64>,
}

/// A round: columns, measured, and its error in per cent.
#[derive(Debug, Clone, Copy)]
struct Round {
    columns: u64,
    measured: f64,
    error_percent: f64,
}

impl Rounds {
    /// Nothing where a line would pass through all that there is.
    fn new(rounds: &[Round]) -> Option<Self> {
        let (large, small): (Vec<Round>, Vec<Round>) = rounds.iter().partition(|round| round.columns >= LARGE_GRID);
        let mean = |rounds: &[Round], error: &dyn Fn(&Round) -> f64| {
            rounds.iter().map(|round| error(round).abs()).sum::<f64>() / rounds.len().max(1) as f64
        };
        let [constant, slope] = line(&large)?;
        let own = |round: &Round| round.error_percent;
        let on_line = |round: &Round| ((constant + slope * round.columns as f64) / round.measured - 1.0) * 100.0;
        Some(Self {
            rows: large.len(),
            mape_percent: mean(&large, &own),
            line_percent: mean(&large, &on_line),
            smaller_rows: small.len(),
            smaller_mape_percent: (!small.is_empty()).then(|| mean(&small, &own)),
        })
    }
}

/// Constant and slope of the straight line through rounds by least squares; nothing where fewer than three rounds or
/// one size of grid do not tell.
fn line(rounds: &[Round]) -> Option<[f64; 2]> {
    let count = rounds.len() as f64;
    let mean = |of: &dyn Fn(&Round) -> f64| rounds.iter().map(of).sum::<f64>() / count;
    let (columns, measured) = (mean(&|round| round.columns as f64), mean(&|round| round.measured));
    let off = |round: &Round| round.columns as f64 - columns;
    let spread = mean(&|round| off(round) * off(round));
    if rounds.len() < 3 || spread <= 0.0 {
        return None;
    }
    let slope = mean(&|round| off(round) * (round.measured - measured)) / spread;
    Some([measured - slope * columns, slope])
}

/// Predicts every row of a table. `wafers` are looked up by the table's device names.
pub fn validate(measurements: &[Measurement], wafers: &BTreeMap<String, Wafer>) -> Validation {
    let mut predictions = Vec::new();
    let mut skipped = Vec::new();
    let mut rounds = Vec::new();
    for row in measurements {
        let outcome = wafers
            .get(&row.device)
            .ok_or_else(|| format!("no wafer '{}' (known: {})", row.device, names(wafers)))
            .and_then(|wafer| predict(row, wafer));
        match outcome {
            Ok(predicted) => {
                let error_percent = (predicted / row.value - 1.0) * 100.0;
                if row.kernel == "library_round" {
                    rounds.push(Round { columns: row.grid_x, measured: row.value, error_percent });
                }
                predictions.push(Prediction {
                    id: row.id.clone(),
                    device: row.device.clone(),
                    kernel: row.kernel.clone(),
                    evidence: row.rate_set(),
                    measured: row.value,
                    predicted,
                    error_percent,
                    unit: row.unit.clone(),
                });
            }
            Err(why) => skipped.push(Skipped { id: row.id.clone(), why }),
        }
    }
    let mut by_key: BTreeMap<(String, String, RateSet), Vec<f64>> = BTreeMap::new();
    for prediction in &predictions {
        let key = (prediction.kernel.clone(), prediction.device.clone(), prediction.evidence);
        by_key.entry(key).or_default().push(prediction.error_percent.abs());
    }
    let mean = |errors: &[f64]| errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    let groups = by_key
        .into_iter()
        .map(|((kernel, device, evidence), errors)| Group {
            kernel,
            device,
            evidence,
            rows: errors.len(),
            mape_percent: mean(&errors),
            worst_percent: errors.iter().copied().fold(0.0, f64::max),
        })
        .collect();
    let all: Vec<f64> = predictions.iter().map(|prediction| prediction.error_percent.abs()).collect();
    Validation {
        mape_percent: (!all.is_empty()).then(|| mean(&all)),
        rows: predictions.len(),
        groups,
        rounds: Rounds::new(&rounds),
        predictions,
        skipped,
    }
}

fn names(wafers: &BTreeMap<String, Wafer>) -> String {
    wafers.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}
