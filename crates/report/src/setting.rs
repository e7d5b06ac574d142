//! Everything that `--set path=value` can set: the settings of a scenario and the parameters of a wafer; and those of a
//! stream.

use serde::Serialize;
use wafersim_spec::scenario::SETTINGS;
use wafersim_spec::wafer::DECLARATIONS;
use wafersim_stream::scenario::STREAM_SETTINGS;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;

/// Of which scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Of a question: `run`, `plan` and others.
    Question,
    /// Of a load against a machine: `stream`, `size`, `explain`, `serve`.
    Stream,
}

/// The reference for a terminal.
pub fn text(of: Of) -> String {
    grid(of).text()
}

/// The reference in Markdown.
pub fn markdown(of: Of) -> String {
    grid(of).markdown()
}

/// The reference for programs: a JSON list.
///
/// # Errors
/// None.
pub fn json(of: Of) -> Result<String, ReportError> {
    pretty(&entries(of))
}

fn grid(of: Of) -> Grid {
    let mut grid = Grid::new([("path", Side::Left), ("allowed", Side::Left), ("meaning", Side::Left)]);
    for entry in entries(of) {
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

fn entries(of: Of) -> Vec<Entry> {
    match of {
        Of::Question => of_a_question(),
        Of::Stream => of_a_stream(),
    }
}

fn of_a_stream() -> Vec<Entry> {
    let entry = |setting: &wafersim_stream::scenario::StreamSetting| Entry {
        path: setting.path.to_owned(),
        allowed: setting.allowed.to_owned(),
        meaning: setting.meaning,
    };
    STREAM_SETTINGS.iter().map(entry).collect()
}

fn of_a_question() -> Vec<Entry> {
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
