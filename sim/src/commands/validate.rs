//! `simctl validate`: predicted against measured, and each group without the constants that it gave.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wafersim::check::leave_out::leave_out;
use wafersim::check::measurements::{BUILTIN_MEASUREMENTS, read_table};
use wafersim::check::validate::validate;
use wafersim::report;
use wafersim::spec::{SpecError, Wafer};

use crate::failure::Failure;
use crate::input::read_table_text;
use crate::output::Destination;

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
    /// How to write the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Predicts every row.
pub fn execute(flags: &ValidateFlags) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    let wafers = wafers(&flags.wafers)?;
    let measurements = match &flags.data {
        Some(path) => read_table(&read_table_text(path)?, &path.display().to_string())?,
        None => read_table(BUILTIN_MEASUREMENTS, "built-in measurements")?,
    };
    if flags.leave_out {
        let left_out = leave_out(&measurements, &wafers);
        return destination.write(&match flags.format {
            Format::Text => report::validation::leave_out_text(&left_out),
            Format::Markdown => report::validation::leave_out_markdown(&left_out),
            Format::Json => report::validation::leave_out_json(&left_out)?,
        });
    }
    let validation = validate(&measurements, &wafers);
    let text = match flags.format {
        Format::Text => report::validation::text(&validation),
        Format::Markdown => report::validation::markdown(&validation),
        Format::Json => report::validation::json(&validation)?,
    };
    destination.write(&text)
}

/// The devices by name; later ones replace earlier ones.
fn wafers(added: &[String]) -> Result<BTreeMap<String, Wafer>, SpecError> {
    let mut wafers = BTreeMap::new();
    for name in DEVICES {
        wafers.insert(name.to_owned(), Wafer::builtin(name)?);
    }
    for text in added {
        let (device, source) = match text.split_once('=') {
            Some((device, source)) if !device.contains(['/', '\\', '.']) => (Some(device), source),
            _ => (None, text.as_str()),
        };
        let wafer = Wafer::from_name_or_path(source)?;
        wafers.insert(device.map_or_else(|| wafer.name.clone(), str::to_owned), wafer);
    }
    Ok(wafers)
}
