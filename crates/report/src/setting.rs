//! Everything that `--set path=value` can set: the settings of a scenario and the parameters of a wafer.

use serde::Serialize;
use wafersim_spec::scenario::SETTINGS;
use wafersim_spec::wafer::DECLARATIONS;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;

/// The reference for a terminal.
pub fn text() -> String {
    grid().text()
}

/// The reference in Markdown.
pub fn markdown() -> String {
    grid().markdown()
}

/// The reference for programs: a JSON list.
///
/// # Errors
/// None.
pub fn json() -> Result<String, ReportError> {
    pretty(&entries())
}

fn grid() -> Grid {
    let mut grid = Grid::new([("path", Side::Left), ("allowed", Side::Left), ("meaning", Side::Left)]);
    for entry in entries() {
        grid.row([entry.path, entry.allowed, entry.meaning.to_owned()]);
    }
    grid
}

#[derive(Serialize)]
struct Entry {
    path: String,
    allowed: String,
    meaning: &'static str,
}

fn entries() -> Vec<Entry> {
    let settings = SETTINGS.iter().map(|setting| Entry {
        path: setting.path.to_owned(),
        allowed: setting.kind.allowed(),
        meaning: setting.meaning,
    });
    let parameters = DECLARATIONS.iter().map(|declared| Entry {
        path: format!("wafer.{}", declared.path),
        allowed: declared.allowed(),
        meaning: declared.meaning,
    });
    settings.chain(parameters).collect()
}
