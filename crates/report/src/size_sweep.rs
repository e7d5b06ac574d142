//! Sizes for every combination of settings: a table.

use serde::Serialize;
use wafersim_decide::size::SizeRow;
use wafersim_decide::size::levels::Level;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, duration, figure, plural, whole};
use crate::paragraph::labelled;
use crate::records::csv_text;
use crate::stream::short_names;

/// The table, with what it is of.
#[derive(Debug, Serialize)]
pub struct Table<'a> {
    /// Settings that were swept.
    pub settings: Vec<&'a str>,
    /// What users are promised, where that is not swept.
    pub levels: &'a [Level],
    /// A row for each combination.
    pub rows: &'a [SizeRow],
}

/// The settings of rows.
pub fn settings(rows: &[SizeRow]) -> Vec<&str> {
    rows.first().map_or_else(Vec::new, |row| row.swept.iter().map(|one| one.path.as_str()).collect())
}

type Cell = fn(&SizeRow) -> Option<String>;

/// Columns for people.
const SHOWN: &[(&str, Side, Cell)] = &[
    ("machines", Side::Right, |row| row.machines.map(whole)),
    ("spare", Side::Right, |row| row.in_reserve.map(whole)),
    ("wafers each", Side::Right, |row| row.wafers_per_machine.map(|wafers| wafers.to_string())),
    ("in all", Side::Right, |row| row.wafers_in_all.map(whole)),
    ("users each", Side::Right, |row| row.users_per_machine.map(figure)),
    ("ttft p95", Side::Right, |row| row.ttft_p95_s.map(duration)),
    ("tok/s p5", Side::Right, |row| row.speed_p5.map(figure)),
    ("kW", Side::Right, |row| row.facility_kw.map(figure)),
    ("USD/month", Side::Right, |row| row.usd_per_month.map(|usd| whole(usd.round().max(0.0) as u64))),
    ("binds", Side::Left, |row| match (&row.why_not, row.feasible) {
        (Some(_), _) => Some("no machine".into()),
        (None, true) => row.binds.clone(),
        (None, false) => Some(format!("infeasible: {}", row.binds.as_deref().unwrap_or("all levels"))),
    }),
];

/// For people.
pub fn text(table: &Table<'_>) -> String {
    let settings = short_names(&table.settings).into_iter().map(|setting| (setting, Side::Right));
    let mut grid = Grid::new(settings.chain(SHOWN.iter().map(|(title, side, _)| ((*title).to_owned(), *side))));
    for row in table.rows {
        let swept = row.swept.iter().map(|one| one.value.clone());
        let cells = SHOWN.iter().map(|(.., cell)| cell(row).unwrap_or_else(|| NOTHING.to_owned()));
        grid.row(swept.chain(cells));
    }
    let mut page = String::new();
    let levels: Vec<String> = table.levels.iter().map(|level| format!("{level} {}", level.bound)).collect();
    let promised = if levels.is_empty() { "what is swept".to_owned() } else { levels.join(", ") };
    page.push_str(&labelled("promised", &promised));
    let feasible = table.rows.iter().filter(|row| row.feasible).count() as u64;
    let rows = plural(table.rows.len() as u64, "combination");
    page.push_str(&labelled("table", &format!("{rows}, {} of them feasible", whole(feasible))));
    page.push('\n');
    page.push_str(&grid.text());
    for row in table.rows {
        if let Some(why) = &row.why_not {
            let values: Vec<String> = row.swept.iter().map(|one| format!("{}={}", one.path, one.value)).collect();
            page.push_str(&labelled("no machine", &format!("{}: {why}", values.join(", "))));
        }
    }
    page.push_str(&labelled(
        "columns",
        "spare: machines in reserve, in none of the other columns but kW and USD; in all: wafers; users each: on the \
         fullest machine; kW: rated power",
    ));
    page
}

/// For programs.
///
/// # Errors
/// None that a table can cause.
pub fn json(table: &Table<'_>) -> Result<String, ReportError> {
    pretty(table)
}

/// For spreadsheets: all fields of a row.
///
/// # Errors
/// None that a table can cause.
pub fn csv(table: &Table<'_>) -> Result<String, ReportError> {
    let fields: [(&str, Cell); 15] = [
        ("feasible", |row| Some(row.feasible.to_string())),
        ("machines", |row| row.machines.map(|value| value.to_string())),
        ("wafers_per_machine", |row| row.wafers_per_machine.map(|value| value.to_string())),
        ("wafers_in_all", |row| row.wafers_in_all.map(|value| value.to_string())),
        ("in_reserve", |row| row.in_reserve.map(|value| value.to_string())),
        ("users_per_machine", |row| row.users_per_machine.map(|value| value.to_string())),
        ("binds", |row| row.binds.clone()),
        ("ttft_p95_s", |row| row.ttft_p95_s.map(|value| value.to_string())),
        ("speed_p5", |row| row.speed_p5.map(|value| value.to_string())),
        ("facility_kw", |row| row.facility_kw.map(|value| value.to_string())),
        ("usd_per_month", |row| row.usd_per_month.map(|value| value.to_string())),
        ("usd_per_user_and_month", |row| row.usd_per_user_and_month.map(|value| value.to_string())),
        ("usd_per_million", |row| row.usd_per_million.map(|value| value.to_string())),
        ("why_not", |row| row.why_not.clone()),
        ("input_hash", |row| Some(row.input_hash.clone())),
    ];
    let titles = table.settings.iter().copied().chain(fields.iter().map(|(title, _)| *title)).map(str::to_owned);
    let line = |row: &SizeRow| {
        let swept = row.swept.iter().map(|one| one.value.clone());
        swept.chain(fields.iter().map(|(_, cell)| cell(row).unwrap_or_default())).collect()
    };
    csv_text(std::iter::once(titles.collect()).chain(table.rows.iter().map(line)))
}
