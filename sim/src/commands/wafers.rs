//! `simctl wafers`: the wafers that are built in, or every parameter of those that are named.

use clap::{Args, ValueEnum};
use wafersim::report;
use wafersim::spec::Wafer;
use wafersim::spec::wafer::BUILTIN_WAFERS;

use crate::failure::Failure;
use crate::output::Destination;

/// What a reference table can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    Text,
    /// For documents.
    Markdown,
    /// For programs.
    Json,
}

/// Flags of `wafers`.
#[derive(Debug, Args)]
pub struct WafersFlags {
    /// Built-in names or paths of wafer files; a list of all built-in ones where left out.
    #[arg(value_name = "NAME|PATH")]
    names: Vec<String>,
    /// How to write the table.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Lists the wafers, or the parameters of those that are named.
pub fn execute(flags: &WafersFlags) -> Result<(), Failure> {
    let names: Vec<&str> =
        if flags.names.is_empty() { BUILTIN_WAFERS.to_vec() } else { flags.names.iter().map(String::as_str).collect() };
    let wafers: Vec<Wafer> = names.into_iter().map(Wafer::from_name_or_path).collect::<Result<_, _>>()?;
    let is_list = flags.names.is_empty();
    let text = match (flags.format, wafers.as_slice()) {
        (Format::Text, wafers) if is_list => report::wafer::list_text(wafers),
        (Format::Markdown, wafers) if is_list => report::wafer::list_markdown(wafers),
        (Format::Json, [wafer]) => report::wafer::json(wafer)?,
        (Format::Json, wafers) => report::wafer::list_json(wafers)?,
        (Format::Text, wafers) => joined(wafers, report::wafer::text),
        (Format::Markdown, wafers) => joined(wafers, report::wafer::markdown),
    };
    Destination::Stdout.write(&text)
}

fn joined(wafers: &[Wafer], render: impl Fn(&Wafer) -> String) -> String {
    wafers.iter().map(render).collect::<Vec<_>>().join("\n")
}
