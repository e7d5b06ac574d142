//! Predicted against measured: by kernel and machine, by row, and what could not be predicted.

use wafersim_check::validate::{Group, Prediction, Validation};
use wafersim_spec::wafer::RateSet;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{plural, significant};
use crate::paragraph::{heading, wrapped};

/// The table for a terminal: by row, then by kernel and machine, then the sum.
pub fn text(validation: &Validation) -> String {
    let mut text = heading("By row").trim_start().to_owned() + &rows(validation).text();
    text.push_str(&heading("By kernel and machine"));
    text.push_str(&groups(validation).text());
    let skipped = skipped(validation);
    if !skipped.is_empty() {
        text.push_str(&heading("Not predicted"));
        text.push_str(&skipped.text());
    }
    text + "\n" + &wrapped("", &summary(validation))
}

/// The tables for the documentation.
pub fn markdown(validation: &Validation) -> String {
    let mut text =
        format!("{}\n\n{}\n{}", summary(validation), groups(validation).markdown(), rows(validation).markdown());
    let skipped = skipped(validation);
    if !skipped.is_empty() {
        text.push_str(&format!("\nNot predicted:\n\n{}", skipped.markdown()));
    }
    text
}

/// For programs: one JSON object with the fields of [`Validation`].
///
/// # Errors
/// None that a validation can cause.
pub fn json(validation: &Validation) -> Result<String, ReportError> {
    pretty(validation)
}

fn rows(validation: &Validation) -> Grid {
    let mut grid = Grid::new([
        ("row", Side::Left),
        ("measured", Side::Right),
        ("predicted", Side::Right),
        ("unit", Side::Left),
        ("error %", Side::Right),
    ]);
    for Prediction { id, measured, predicted, unit, error_percent, .. } in &validation.predictions {
        grid.row([
            id.clone(),
            significant(*measured, 5),
            significant(*predicted, 5),
            unit.clone(),
            format!("{:+.2}", without_minus_zero(*error_percent)),
        ]);
    }
    grid
}

fn groups(validation: &Validation) -> Grid {
    let mut grid = Grid::new([
        ("kernel", Side::Left),
        ("machine", Side::Left),
        ("measured on", Side::Left),
        ("rows", Side::Right),
        ("mean error %", Side::Right),
        ("worst error %", Side::Right),
    ]);
    for Group { kernel, device, evidence, rows, mape_percent, worst_percent } in &validation.groups {
        grid.row([
            kernel.clone(),
            device.clone(),
            measured_on(*evidence).to_owned(),
            rows.to_string(),
            format!("{mape_percent:.2}"),
            format!("{worst_percent:.2}"),
        ]);
    }
    grid
}

fn skipped(validation: &Validation) -> Grid {
    let mut grid = Grid::new([("row", Side::Left), ("why", Side::Left)]);
    for row in &validation.skipped {
        grid.row([row.id.clone(), row.why.clone()]);
    }
    grid
}

fn summary(validation: &Validation) -> String {
    let skipped = match validation.skipped.len() {
        0 => String::new(),
        count => format!("; {} not predicted", plural(count as u64, "row")),
    };
    match validation.mape_percent {
        None => format!("No row could be predicted{skipped}."),
        Some(mean) => {
            format!("Mean absolute error {mean:.2} % over {}{skipped}.", plural(validation.rows as u64, "row"))
        }
    }
}

const fn measured_on(evidence: RateSet) -> &'static str {
    match evidence {
        RateSet::Silicon => "silicon",
        RateSet::VendorSimulator => "vendor simulator",
    }
}

/// An error that rounds to nothing has no sign.
fn without_minus_zero(percent: f64) -> f64 {
    if percent.abs() < 0.005 { 0.0 } else { percent }
}
