//! Wafers as reference tables: every parameter with value, range, evidence and source.

use serde::Serialize;
use wafersim_spec::wafer::{DECLARATIONS, Declaration, Figure, RateSet};
use wafersim_spec::{Bytes, Wafer};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::whole;
use crate::paragraph::wrapped;

/// The wafers side by side, for a terminal.
pub fn list_text(wafers: &[Wafer]) -> String {
    list(wafers).text()
}

/// The wafers side by side, in Markdown.
pub fn list_markdown(wafers: &[Wafer]) -> String {
    list(wafers).markdown()
}

/// The wafers with all parameters, for programs: an object with `wafers`.
///
/// # Errors
/// None that a wafer can cause.
pub fn list_json(wafers: &[Wafer]) -> Result<String, ReportError> {
    #[derive(Serialize)]
    struct List<'a> {
        wafers: Vec<WaferTable<'a>>,
    }
    pretty(&List { wafers: wafers.iter().map(WaferTable::of).collect() })
}

/// The parameters of one wafer, for a terminal; the sources stand below the table.
pub fn text(wafer: &Wafer) -> String {
    let mut sources: Vec<&str> = Vec::new();
    let table = parameters(wafer, |source| {
        let known = sources.iter().position(|known| *known == source);
        let number = known.unwrap_or_else(|| {
            sources.push(source);
            sources.len() - 1
        });
        format!("[{}]", number + 1)
    });
    let mut text = format!("{}: {}\n\n{}\n", wafer.name, wafer.title, table.text());
    for (index, source) in sources.into_iter().enumerate() {
        text.push_str(&wrapped(&format!("  {:>4} ", format!("[{}]", index + 1)), source));
    }
    text
}

/// The parameters of one wafer, in Markdown.
pub fn markdown(wafer: &Wafer) -> String {
    format!("`{}`: {}\n\n{}", wafer.name, wafer.title, parameters(wafer, str::to_owned).markdown())
}

/// The parameters of one wafer, for programs.
///
/// # Errors
/// None that a wafer can cause.
pub fn json(wafer: &Wafer) -> Result<String, ReportError> {
    pretty(&WaferTable::of(wafer))
}

fn list(wafers: &[Wafer]) -> Grid {
    let mut grid = Grid::new([
        ("wafer", Side::Left),
        ("title", Side::Left),
        ("columns x rows", Side::Right),
        ("SRAM of a PE", Side::Right),
        ("SRAM in all", Side::Right),
        ("clock", Side::Right),
    ]);
    for wafer in wafers {
        let all = Bytes(wafer.memory_bytes().0.saturating_mul(wafer.columns()).saturating_mul(wafer.rows()));
        grid.row([
            wafer.name.clone(),
            wafer.title.clone(),
            format!("{} x {}", whole(wafer.columns()), whole(wafer.rows())),
            wafer.memory_bytes().to_string(),
            all.to_string(),
            wafer.clock().to_string(),
        ]);
    }
    grid
}

fn parameters<'a>(wafer: &'a Wafer, mut source: impl FnMut(&'a str) -> String) -> Grid {
    let mut grid = Grid::new([
        ("parameter", Side::Left),
        ("value", Side::Right),
        ("low", Side::Right),
        ("high", Side::Right),
        ("unit", Side::Left),
        ("evidence", Side::Left),
        ("source", Side::Left),
    ]);
    for declared in DECLARATIONS {
        let chip = wafer.figure(declared.key);
        grid.row(cells(declared, declared.path, chip, source(&chip.source)));
        if let Some(simulated) = simulator_figure(wafer, declared) {
            grid.row(cells(declared, "  in the simulator", simulated, source(&simulated.source)));
        }
    }
    grid
}

fn cells(declared: &Declaration, name: &str, figure: &Figure, source: String) -> [String; 7] {
    [
        name.to_owned(),
        figure.value.to_string(),
        figure.low.to_string(),
        figure.high.to_string(),
        declared.unit.to_owned(),
        figure.evidence.name().to_owned(),
        source,
    ]
}

/// What the vendor's simulator does, where that is something else.
fn simulator_figure<'a>(wafer: &'a Wafer, declared: &Declaration) -> Option<&'a Figure> {
    let other = wafer.figure_in(declared.key, RateSet::VendorSimulator);
    (!std::ptr::eq(other, wafer.figure(declared.key))).then_some(other)
}

/// A wafer with the names of its parameters.
#[derive(Serialize)]
struct WaferTable<'a> {
    name: &'a str,
    title: &'a str,
    parameters: Vec<ParameterRow<'a>>,
}

#[derive(Serialize)]
struct ParameterRow<'a> {
    path: &'static str,
    unit: &'static str,
    meaning: &'static str,
    #[serde(flatten)]
    figure: &'a Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulator: Option<&'a Figure>,
}

impl<'a> WaferTable<'a> {
    fn of(wafer: &'a Wafer) -> Self {
        let row = |declared: &Declaration| ParameterRow {
            path: declared.path,
            unit: declared.unit,
            meaning: declared.meaning,
            figure: wafer.figure(declared.key),
            simulator: simulator_figure(wafer, declared),
        };
        Self { name: &wafer.name, title: &wafer.title, parameters: DECLARATIONS.iter().map(row).collect() }
    }
}
