//! Predicted against measured: by kernel and machine, by row, and what could not be predicted.

use wafersim_check::leave_out::{HeldOut, LeaveOut, Refitted};
use wafersim_check::validate::{Group, Prediction, Rounds, Validation};
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

/// Groups without the constants that they gave, for a terminal.
pub fn leave_out_text(left_out: &LeaveOut) -> String {
    let mut text = heading("Each group without its own rows").trim_start().to_owned() + &held_out(left_out).text();
    text.push_str(&heading("Constants found again"));
    text.push_str(&refitted(left_out).text());
    text + "\n" + &wrapped("", &left_out_summary(left_out))
}

/// The same for the documentation.
pub fn leave_out_markdown(left_out: &LeaveOut) -> String {
    let (groups, constants) = (held_out(left_out).markdown(), refitted(left_out).markdown());
    format!("{}\n\n{groups}\n{constants}", left_out_summary(left_out))
}

/// The same for programs: one JSON object with the fields of [`LeaveOut`].
///
/// # Errors
/// None that it can cause.
pub fn leave_out_json(left_out: &LeaveOut) -> Result<String, ReportError> {
    pretty(left_out)
}

fn held_out(left_out: &LeaveOut) -> Grid {
    let mut grid = Grid::new([
        ("kernel", Side::Left),
        ("machine", Side::Left),
        ("measured on", Side::Left),
        ("rows", Side::Right),
        ("found from", Side::Left),
        ("mean %", Side::Right),
        ("without", Side::Right),
        ("worst %", Side::Right),
        ("without", Side::Right),
    ]);
    for group in &left_out.groups {
        let HeldOut { kernel, device, evidence, rows, others, row_by_row, only_themselves, .. } = group;
        let from = match (group.constants.is_empty(), *row_by_row) {
            (true, _) => "no constant is theirs".to_owned(),
            (false, _) if *rows == 0 => "no other row".to_owned(),
            (false, false) => plural(*others as u64, "other row"),
            (false, true) if *others == 0 => "each other".to_owned(),
            (false, true) => format!("{}, each other", plural(*others as u64, "other row")),
        };
        let rows = match only_themselves.len() {
            0 => rows.to_string(),
            missing => format!("{rows} of {}", rows + missing),
        };
        let mut cells = vec![kernel.clone(), device.clone(), measured_on(*evidence).to_owned(), rows, from];
        if group.rows > 0 {
            let errors =
                [group.mape_percent, group.held_out_percent, group.worst_percent, group.held_out_worst_percent];
            cells.extend(errors.map(|error| format!("{error:.2}")));
        }
        grid.row(cells);
    }
    grid
}

fn refitted(left_out: &LeaveOut) -> Grid {
    let mut grid = Grid::new([
        ("without the rows", Side::Left),
        ("machine", Side::Left),
        ("constant", Side::Left),
        ("in the file", Side::Right),
        ("found again", Side::Right),
    ]);
    for group in left_out.groups.iter().filter(|group| group.rows > 0) {
        for Refitted { constant, value, low, high } in &group.constants {
            let [low, high] = [*low, *high].map(|value| significant(value, 3));
            let found = if low == high { low } else { format!("{low} to {high}") };
            let cells =
                [group.kernel.clone(), group.device.clone(), (*constant).to_owned(), significant(*value, 3), found];
            grid.row(cells);
        }
    }
    grid
}

fn left_out_summary(left_out: &LeaveOut) -> String {
    let missing: Vec<&str> =
        left_out.groups.iter().flat_map(|group| &group.only_themselves).map(String::as_str).collect();
    let missing = match missing.len() {
        0 => String::new(),
        count => {
            let rows = plural(count as u64, "row");
            format!(
                " {rows} alone know their constant and cannot be predicted without themselves: {}.",
                missing.join(", ")
            )
        }
    };
    format!(
        "Mean absolute error {:.2} % over {} with constants that know nothing of the row's group, {:.2} % with those of the \
         wafer files.{missing}",
        left_out.held_out_percent,
        plural(left_out.rows as u64, "row"),
        left_out.mape_percent,
    )
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
            let rounds = validation.rounds.as_ref().map_or_else(String::new, rounds);
            format!("Mean absolute error {mean:.2} % over {}{skipped}.{rounds}", plural(validation.rows as u64, "row"))
        }
    }
}

fn rounds(rounds: &Rounds) -> String {
    let Rounds { rows, mape_percent, line_percent, smaller_rows, smaller_mape_percent } = *rounds;
    let smaller = smaller_mape_percent.map_or_else(String::new, |mean| {
        format!(", {mean:.2} % over {} on smaller ones", plural(smaller_rows as u64, "row"))
    });
    format!(
        " Rounds of library collectives: {mape_percent:.2} % over {} on grids of 128 columns and more (a straight line \
         fitted to them: {line_percent:.2} %){smaller}.",
        plural(rows as u64, "row")
    )
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
