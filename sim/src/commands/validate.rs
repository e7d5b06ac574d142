//! `simctl validate`: predicted against measured, each group without the constants that it gave, and what services were
//! seen to do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wafersim::answer::production::{compare, questions};
use wafersim::check::leave_out::leave_out;
use wafersim::check::measurements::{BUILTIN_MEASUREMENTS, read_table};
use wafersim::check::production::{BUILTIN_PRODUCTION, read_production};
use wafersim::check::validate::validate;
use wafersim::report;
use wafersim::spec::Wafer;

use crate::asked::Asked;
use crate::failure::Failure;
use crate::files;
use crate::input::read_table_text;
use crate::mapping_flags::SearchFlag;
use crate::output::Destination;
use crate::progress::Progress;

/// Devices that rows of measurements may name without `--wafer`.
const DEVICES: [&str; 2] = ["wse2", "wse3"];

/// What a validation can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// For documents.
    Markdown,
    /// One object, for programs.
    Json,
}

/// Flags of `validate`.
#[derive(Debug, Args)]
pub struct ValidateFlags {
    /// Table of measurements; the built-in one where left out.
    #[arg(long, value_name = "FILE.csv")]
    data: Option<PathBuf>,
    /// A wafer beside wse2 and wse3, or in place of one of the same name; may be repeated. A file's wafer has the name
    /// of the file without `.toml`, or the one before `=`.
    #[arg(long = "wafer", value_name = "[DEVICE=]NAME|PATH")]
    wafers: Vec<String>,
    /// Predict each group of rows with constants that are fitted without it.
    #[arg(long)]
    leave_out: bool,
    /// Compare what services were seen to do with what the model says; `--data` is then a table of such records.
    #[arg(long, conflicts_with_all = ["leave_out", "wafers"])]
    production: bool,
    /// How much is tried to find the mappings that services are compared with.
    #[arg(long, value_enum, default_value_t = SearchFlag::Quick, requires = "production")]
    search: SearchFlag,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Predicts every row.
pub fn execute(flags: &ValidateFlags, asked: &Asked) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    if flags.production {
        return destination.write(&production(flags, asked)?);
    }
    let wafers = wafers(&flags.wafers)?;
    let measurements = match &flags.data {
        Some(path) => read_table(&read_table_text("--data", path)?, &path.display().to_string())?,
        None => read_table(BUILTIN_MEASUREMENTS, "built-in measurements")?,
    };
    if flags.leave_out {
        let left_out = leave_out(&measurements, &wafers);
        return destination.write(&match flags.format {
            Format::Text => asked.head().text(report::validation::leave_out_text(&left_out)),
            Format::Markdown => asked.head().markdown(report::validation::leave_out_markdown(&left_out)),
            Format::Json => asked.head().json(&report::validation::leave_out_json(&left_out)?)?,
        });
    }
    let validation = validate(&measurements, &wafers);
    let text = match flags.format {
        Format::Text => asked.head().text(report::validation::text(&validation)),
        Format::Markdown => asked.head().markdown(report::validation::markdown(&validation)),
        Format::Json => asked.head().json(&report::validation::json(&validation)?)?,
    };
    destination.write(&text)
}

/// Records of services beside what the model says.
fn production(flags: &ValidateFlags, asked: &Asked) -> Result<String, Failure> {
    let table = match &flags.data {
        Some(path) => read_production(&read_table_text("--data", path)?, &path.display().to_string())?,
        None => read_production(BUILTIN_PRODUCTION, "built-in records")?,
    };
    let progress = Progress::start(questions(&table) as u64);
    let production = compare(&table, flags.search.effort(), || progress.advance());
    progress.clear();
    Ok(match flags.format {
        Format::Text => asked.head().text(report::production::text(&production)),
        Format::Markdown => asked.head().markdown(report::production::markdown(&production)),
        Format::Json => asked.head().json(&report::production::json(&production)?)?,
    })
}

/// The devices by name; later ones replace earlier ones.
fn wafers(added: &[String]) -> Result<BTreeMap<String, Wafer>, Failure> {
    let mut wafers = BTreeMap::new();
    for name in DEVICES {
        wafers.insert(name.to_owned(), Wafer::builtin(name)?);
    }
    for text in added {
        let (device, source) = match text.split_once('=') {
            Some((device, source)) if !device.contains(['/', '\\', '.']) => (Some(device), source),
            _ => (None, text.as_str()),
        };
        files::reads_named("--wafer", source)?;
        let wafer = Wafer::from_name_or_path(source)?;
        wafers.insert(device.map_or_else(|| wafer.name.clone(), str::to_owned), wafer);
    }
    Ok(wafers)
}
