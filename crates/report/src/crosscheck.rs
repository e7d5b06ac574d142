//! Closed form against fabric: the worst case first, then every case, then what the marks mean.

use wafersim_check::crosscheck::{CheckedCase, Crosscheck};

use crate::error::ReportError;
use crate::fabric::deviation;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, plural, whole};
use crate::paragraph::{heading, wrapped};
use crate::records::csv_text;

/// The table for people.
pub fn text(found: &Crosscheck) -> String {
    let mut text = wrapped("", &summary(found)) + "\n";
    let mut grid = Grid::new([
        ("wafer", Side::Left),
        ("grid", Side::Left),
        ("kernel", Side::Left),
        ("closed form", Side::Right),
        ("fabric", Side::Right),
        ("deviation %", Side::Right),
        ("", Side::Left),
        ("hops", Side::Right),
        ("engine", Side::Left),
    ]);
    let mut problems = Grid::new([("case", Side::Left), ("why", Side::Left)]);
    for case in &found.cases {
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.into());
        let is_beyond = case.deviation_percent.is_some_and(|percent| percent.abs() > found.limit_percent);
        grid.row([
            case.wafer.clone(),
            case.grid.to_string(),
            case.kernel.to_owned(),
            whole(case.closed_form_cycles.round() as u64),
            or_nothing(case.cycles.map(|cycles| whole(cycles.round() as u64))),
            or_nothing(case.deviation_percent.map(deviation)),
            (if is_beyond { "!" } else { "" }).to_owned(),
            or_nothing(case.wavelet_hops.map(whole)),
            or_nothing(case.engine.map(str::to_owned)),
        ]);
        if let Some(problem) = &case.problem {
            problems.row([name(case), problem.clone()]);
        }
    }
    text.push_str(&grid.text());
    if !problems.is_empty() {
        text.push_str(&heading("Not run"));
        text.push_str(&problems.text());
    }
    let marks = format!(
        "\nCycles; deviation: fabric over closed form, less one; ! beyond {} %; hops: wavelets times links; engine: streams \
         where none contended for a link, mixed where only the steps that contended went wavelet by wavelet, else wavelets.",
        found.limit_percent
    );
    text + "\n" + &wrapped("", &marks)
}

/// For spreadsheets: one line a case, figures in full, empty where there is none.
///
/// # Errors
/// None that a cross-check can cause.
pub fn csv(found: &Crosscheck) -> Result<String, ReportError> {
    let header = [
        "wafer",
        "columns",
        "rows",
        "kernel",
        "closed_form_cycles",
        "cycles",
        "deviation_percent",
        "wavelet_hops",
        "engine",
        "problem",
    ];
    let lines = found.cases.iter().map(|case| {
        vec![
            case.wafer.clone(),
            case.grid.columns.to_string(),
            case.grid.rows.to_string(),
            case.kernel.to_owned(),
            case.closed_form_cycles.to_string(),
            optional(case.cycles),
            optional(case.deviation_percent),
            optional(case.wavelet_hops),
            optional(case.engine),
            optional(case.problem.as_deref()),
        ]
    });
    csv_text(std::iter::once(header.map(str::to_owned).to_vec()).chain(lines))
}

/// For programs: one JSON object with the fields of [`Crosscheck`].
///
/// # Errors
/// None that a cross-check can cause.
pub fn json(found: &Crosscheck) -> Result<String, ReportError> {
    pretty(found)
}

fn summary(found: &Crosscheck) -> String {
    let left_out = match found.left_out {
        0 => String::new(),
        count => format!(" {} of large grids left out: --full runs them.", plural(count as u64, "case")),
    };
    let failed = match found.cases.iter().filter(|case| case.problem.is_some()).count() {
        0 => String::new(),
        count => format!(" {} could not be run.", plural(count as u64, "case")),
    };
    let Some((worst, percent)) = found.worst().and_then(|case| Some((case, case.deviation_percent?))) else {
        return format!("No case ran.{failed}{left_out}");
    };
    let beyond = match found.beyond_limit {
        0 => format!("no case is beyond {} %", found.limit_percent),
        count => format!("{} beyond {} %", plural(count as u64, "case"), found.limit_percent),
    };
    if percent == 0.0 {
        return format!("No deviation in {}.{failed}{left_out}", plural(found.cases.len() as u64, "case"));
    }
    format!(
        "Worst of {}: {} deviates by {} %; {beyond}.{failed}{left_out}",
        plural(found.cases.len() as u64, "case"),
        name(worst),
        deviation(percent)
    )
}

fn name(case: &CheckedCase) -> String {
    format!("{} on {} of {}", case.kernel, case.grid, case.wafer)
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}
