//! `simctl crosscheck`: closed form against fabric.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use wafersim::check::crosscheck::{Cases, CheckedKernel, Extent, Grid, crosscheck};
use wafersim::mapping::{Mapping, Recipe};
use wafersim::report;
use wafersim::spec::Wafer;

use crate::asked::Asked;
use crate::failure::Failure;
use crate::files;
use crate::output::Destination;
use crate::progress::Progress;

/// What a cross-check can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// For spreadsheets.
    Csv,
    /// One object, for programs.
    Json,
}

/// Flags of `crosscheck`.
#[derive(Debug, Args)]
pub struct CrosscheckFlags {
    /// Built-in wafers (see `simctl wafers`), or paths of wafer files.
    #[arg(long, value_name = "NAME|PATH", value_delimiter = ',', default_values = ["wse2", "wse3"])]
    wafer: Vec<String>,
    /// Kernels [default: all].
    #[arg(long, value_name = "KERNEL", value_delimiter = ',', value_parser = PossibleValuesParser::new(CheckedKernel::NAMES))]
    kernels: Vec<String>,
    /// Grids as columns x rows, each side up to 4096 [default: 8x8 to 720x720, square and oblong].
    #[arg(long, value_name = "CxR", value_delimiter = ',')]
    grids: Vec<String>,
    /// Recipe that layers and their parts are written by: a built-in one (see `simctl mappings`), or path of a file
    /// [default: published].
    #[arg(long, value_name = "NAME|FILE")]
    mapping: Option<String>,
    /// Run products of matrices and prefill layers on large grids too: several minutes.
    #[arg(long)]
    full: bool,
    /// How to write the table.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Compares.
pub fn execute(flags: &CrosscheckFlags, asked: &Asked) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    let cases = cases(flags)?;
    let progress = Progress::start(cases.count() as u64);
    let found = crosscheck(&cases, || progress.advance());
    progress.finish();
    let text = match flags.format {
        Format::Text => asked.head().text(report::crosscheck::text(&found)),
        Format::Csv => asked.head().csv(&report::crosscheck::csv(&found)?)?,
        Format::Json => asked.head().json(&report::crosscheck::json(&found)?)?,
    };
    destination.write(&text)
}

fn cases(flags: &CrosscheckFlags) -> Result<Cases, Failure> {
    flags.wafer.iter().try_for_each(|name| files::reads_named("--wafer", name))?;
    flags.mapping.iter().try_for_each(|name| files::reads_named("--mapping", name))?;
    let wafers: Vec<Wafer> = flags.wafer.iter().map(|name| Wafer::from_name_or_path(name)).collect::<Result<_, _>>()?;
    let kernels = match flags.kernels.as_slice() {
        [] => CheckedKernel::ALL.to_vec(),
        names => names.iter().filter_map(|name| CheckedKernel::of_name(name)).collect(),
    };
    let grids = match flags.grids.as_slice() {
        [] => Grid::ALL.to_vec(),
        texts => texts.iter().map(|text| grid(text)).collect::<Result<_, _>>()?,
    };
    for wafer in &wafers {
        let (columns, rows) = (wafer.columns(), wafer.rows());
        if let Some(grid) = grids.iter().find(|grid| grid.columns > columns || grid.rows > rows) {
            return Err(Failure::Flag {
                flag: "--grids".into(),
                problem: format!("{grid} is larger than {}", wafer.name),
                allowed: format!("up to {columns}x{rows}"),
            });
        }
    }
    let mapping = match flags.mapping.as_deref().map(Mapping::from_name_or_path).transpose()? {
        None => Recipe::published(),
        Some(Mapping::Recipe(recipe)) => *recipe,
        Some(Mapping::Resolved(resolved)) => {
            return Err(Failure::Flag {
                flag: "--mapping".into(),
                problem: format!("'{}' was resolved for model {}", resolved.name, resolved.resolved_for.model),
                allowed: "a recipe: the layers of a cross-check are made for their grids".into(),
            });
        }
    };
    Ok(Cases { wafers, kernels, grids, extent: if flags.full { Extent::Full } else { Extent::Short }, mapping })
}

fn grid(text: &str) -> Result<Grid, Failure> {
    let side = |text: &str| text.trim().parse::<u64>().ok().filter(|side| (1..=4096).contains(side));
    let sides = text.split_once('x').and_then(|(columns, rows)| Some((side(columns)?, side(rows)?)));
    let (columns, rows) = sides.ok_or_else(|| Failure::Flag {
        flag: "--grids".into(),
        problem: format!("'{text}' is no grid"),
        allowed: "columns x rows, for example 24x9, each from 1 to 4096".into(),
    })?;
    Ok(Grid { columns, rows })
}
