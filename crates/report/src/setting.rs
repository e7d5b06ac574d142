//! Everything that `--set path=value` can set: the settings of a scenario, the parameters of a wafer, and what a stream
//! scenario has beside them.

use serde::Serialize;
use wafersim_spec::scenario::SETTINGS;
use wafersim_spec::wafer::DECLARATIONS;
use wafersim_stream::scenario::settings as stream_settings;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;

/// What stands above the second table.
const OF_STREAMS: &str = "Stream scenarios (simctl stream) have machine.PATH for each of these, and:";

/// The reference for a terminal.
pub fn text() -> String {
    format!("{}\n{OF_STREAMS}\n\n{}", grid(scenario()).text(), grid(stream()).text())
}

/// The reference in Markdown.
pub fn markdown() -> String {
    format!("{}\n{OF_STREAMS}\n\n{}", grid(scenario()).markdown(), grid(stream()).markdown())
}

/// The reference for programs: an object with `settings` and `stream_settings`.
///
/// # Errors
/// None.
pub fn json() -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct Lists {
        settings: Vec<Entry>,
        stream_settings: Vec<Entry>,
    }
    pretty(&Lists { settings: scenario(), stream_settings: stream() })
}

fn grid(entries: Vec<Entry>) -> Grid {
    let mut grid = Grid::new([("path", Side::Left), ("allowed", Side::Left), ("meaning", Side::Left)]);
    for entry in entries {
        grid.row([entry.path, entry.allowed, entry.meaning]);
    }
    grid
}

#[derive(Serialize)]
struct Entry {
    path: String,
    allowed: String,
    meaning: String,
}

fn scenario() -> Vec<Entry> {
    let settings = SETTINGS.iter().map(|setting| Entry {
        path: setting.path.to_owned(),
        allowed: setting.kind.allowed(),
        meaning: setting.meaning.to_owned(),
    });
    let parameters = DECLARATIONS.iter().map(|declared| Entry {
        path: format!("wafer.{}", declared.path),
        allowed: declared.allowed(),
        meaning: declared.meaning.to_owned(),
    });
    settings.chain(parameters).collect()
}

fn stream() -> Vec<Entry> {
    let entry = |setting: wafersim_stream::scenario::StreamSetting| Entry {
        path: setting.path,
        allowed: setting.allowed,
        meaning: setting.meaning,
    };
    stream_settings().into_iter().map(entry).collect()
}
