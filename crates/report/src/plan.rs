//! The capacity-planning table in four forms: for the terminal, for documents, for spreadsheets, for programs.

mod columns;
mod csv;

use wafersim_answer::plan::Plan;

use crate::error::ReportError;
use crate::grid::Grid;
use crate::json::pretty;
use crate::number::{figure, plural};
use crate::paragraph::wrapped;
use columns::Columns;

pub use csv::csv;

/// The table for a terminal. What is the same in all rows stands above it, what varies in columns.
pub fn text(plan: &Plan) -> String {
    let columns = Columns::of(plan);
    let mut table = grid(plan, &columns);
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
        wrapped("", columns::LEGEND),
    ]
    .concat()
}

/// The table in Markdown, with what limits every point.
pub fn markdown(plan: &Plan) -> String {
    let columns = Columns::of(plan);
    let (title, table) = (title(plan, &columns), grid(plan, &columns).markdown());
    format!("{title}\n\n{table}\n{}\n\n{}\n", summary(plan), columns::LEGEND)
}

/// The table for programs: one JSON object with the fields of [`Plan`].
///
/// # Errors
/// None that a plan can cause.
pub fn json(plan: &Plan) -> Result<String, ReportError> {
    pretty(plan)
}

fn title(plan: &Plan, columns: &Columns) -> String {
    let mut title = format!(
        "{} on {} at {} GHz, target {} tok/s for each user",
        plan.model,
        plan.wafer,
        plan.clock_ghz,
        figure(plan.target)
    );
    for same in columns.same_in_all_rows(plan) {
        title.push_str(&format!(", {same}"));
    }
    title
}

fn grid(plan: &Plan, columns: &Columns) -> Grid {
    let mut grid = Grid::new(columns.titles());
    for row in &plan.rows {
        grid.row(columns.cells(row));
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
        "{}: {fitting} fit the wafers, {reaching} reach the target{best}{total}.",
        plural(plan.rows.len() as u64, "point")
    )
}
