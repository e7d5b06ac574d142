//! The capacity-planning table in four forms: for the terminal, for documents, for spreadsheets, for programs. Each
//! takes what the users of each row get event by event ([`Steady`]), where that was run: in the order of the rows.

mod chart;
mod columns;
mod csv;

use serde::Serialize;
use wafersim_answer::plan::{Plan, PlanRow};
use wafersim_stream::steady::Steady;

use crate::error::ReportError;
use crate::grid::Grid;
use crate::json::pretty;
use crate::number::{figure, plural};
use crate::paragraph::wrapped;
use crate::prefill;
use columns::Columns;

pub use chart::chart;
pub use csv::{csv, csv_with};

/// A table's rows with what was run for them; nothing for a row that does not fit.
#[derive(Debug, Clone, Copy)]
pub struct WithRuns<'a> {
    /// The table.
    pub plan: &'a Plan,
    /// As many as there are rows.
    pub runs: &'a [Option<Steady>],
}

/// The table for a terminal. What is the same in all rows stands above it, what varies in columns.
pub fn text(plan: &Plan) -> String {
    in_text(plan, None)
}

/// The same with the columns of what was run.
pub fn text_with(with: WithRuns<'_>) -> String {
    in_text(with.plan, Some(with.runs))
}

fn in_text(plan: &Plan, runs: Option<&[Option<Steady>]>) -> String {
    let columns = Columns::of(plan);
    let mut table = grid(plan, &columns, runs);
    for title in columns::DISPENSABLE {
        if table.is_too_wide() {
            table.remove(title);
        }
    }
    [
        wrapped("", &title(plan, &columns)),
        "\n".into(),
        table.text(),
        "\n".into(),
        wrapped("", &summary(plan)),
        "\n".into(),
        wrapped("", &columns::legend(plan.ranges, runs.is_some())),
    ]
    .concat()
}

/// The table in Markdown, with what limits every point.
pub fn markdown(plan: &Plan) -> String {
    in_markdown(plan, None)
}

/// The same with the columns of what was run.
pub fn markdown_with(with: WithRuns<'_>) -> String {
    in_markdown(with.plan, Some(with.runs))
}

fn in_markdown(plan: &Plan, runs: Option<&[Option<Steady>]>) -> String {
    let columns = Columns::of(plan);
    let (title, table) = (title(plan, &columns), grid(plan, &columns, runs).markdown());
    format!("{title}\n\n{table}\n{}\n\n{}\n", summary(plan), columns::legend(plan.ranges, runs.is_some()))
}

/// The table for programs: one JSON object with the fields of [`Plan`].
///
/// # Errors
/// None that a plan can cause.
pub fn json(plan: &Plan) -> Result<String, ReportError> {
    pretty(plan)
}

#[derive(Serialize)]
struct RowWithRun<'a> {
    #[serde(flatten)]
    row: &'a PlanRow,
    stream: Option<&'a Steady>,
}

#[derive(Serialize)]
struct PlanWithRuns<'a> {
    model: &'a str,
    wafer: &'a str,
    target: f64,
    clock_ghz: f64,
    rows: Vec<RowWithRun<'a>>,
}

/// The same with `stream` in each row: what was run for it.
///
/// # Errors
/// None that a plan can cause.
pub fn json_with(with: WithRuns<'_>) -> Result<String, ReportError> {
    let plan = with.plan;
    let rows = plan.rows.iter().enumerate();
    let rows = rows.map(|(index, row)| RowWithRun { row, stream: with.runs.get(index).and_then(Option::as_ref) });
    pretty(&PlanWithRuns {
        model: &plan.model,
        wafer: &plan.wafer,
        target: plan.target,
        clock_ghz: plan.clock_ghz,
        rows: rows.collect(),
    })
}

fn title(plan: &Plan, columns: &Columns) -> String {
    let is_swept = |path: &str| columns::swept(plan).any(|swept| swept == path);
    let one =
        |path: &str, named: &str, several: &str| if is_swept(path) { several.to_owned() } else { named.to_owned() };
    let clock = match is_swept("clock_ghz") || is_swept("wafer") || is_swept("wafer.clock.frequency") {
        true => String::new(),
        false => format!(" at {} GHz", plan.clock_ghz),
    };
    let target =
        if is_swept("target") { "several targets".into() } else { format!("target {} tok/s", figure(plan.target)) };
    let (model, wafer) = (one("model", &plan.model, "several models"), one("wafer", &plan.wafer, "several wafers"));
    let mut title = format!("{model} on {wafer}{clock}, {target} for each user");
    for same in columns.same_in_all_rows(plan) {
        title.push_str(&format!(", {same}"));
    }
    title
}

fn grid(plan: &Plan, columns: &Columns, runs: Option<&[Option<Steady>]>) -> Grid {
    let mut grid = Grid::new(columns.titles(runs.is_some()));
    for (index, row) in plan.rows.iter().enumerate() {
        grid.row(columns.cells(row, runs.map(|runs| runs.get(index).and_then(Option::as_ref))));
    }
    grid
}

fn summary(plan: &Plan) -> String {
    let fitting = plan.rows.iter().filter(|row| row.fits).count();
    let reaching = plan.rows.iter().filter(|row| row.reaches_target).count();
    let fastest = plan
        .rows
        .iter()
        .filter_map(|row| row.tokens_per_second_per_user)
        .fold(None, |best: Option<f64>, speed| Some(best.map_or(speed, |best| best.max(speed))));
    let best =
        fastest.map_or_else(String::new, |speed| format!("; the fastest gives each user {} tok/s", figure(speed)));
    let most = plan
        .rows
        .iter()
        .filter_map(|row| row.tokens_per_second_total)
        .fold(None, |best: Option<f64>, speed| Some(best.map_or(speed, |best| best.max(speed))));
    let total = most.map_or_else(String::new, |speed| format!(", the busiest {} tok/s in all", figure(speed)));
    format!(
        "{}: {fitting} fit the wafers, {reaching} reach the target{best}{total}.{}",
        plural(plan.rows.len() as u64, "point"),
        prefill::of_plan(plan)
    )
}
