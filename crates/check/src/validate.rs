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
    /// By row, in the order of the table.
    pub predictions: Vec<Prediction>,
    /// Rows that could not be predicted.
    pub skipped: Vec<Skipped>,
}

/// Predicts every row of a table. `wafers` are looked up by the table's device names.
pub fn validate(measurements: &[Measurement], wafers: &BTreeMap<String, Wafer>) -> Validation {
    let mut predictions = Vec::new();
    let mut skipped = Vec::new();
    for row in measurements {
        let outcome = wafers
            .get(&row.device)
            .ok_or_else(|| format!("no wafer '{}' (known: {})", row.device, names(wafers)))
            .and_then(|wafer| predict(row, wafer));
        match outcome {
            Ok(predicted) => predictions.push(Prediction {
                id: row.id.clone(),
                device: row.device.clone(),
                kernel: row.kernel.clone(),
                evidence: row.rate_set(),
                measured: row.value,
                predicted,
                error_percent: (predicted / row.value - 1.0) * 100.0,
                unit: row.unit.clone(),
            }),
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
        predictions,
        skipped,
    }
}

fn names(wafers: &BTreeMap<String, Wafer>) -> String {
    wafers.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}
