//! `simctl schema`: JSON Schemas of the outputs, as they are shipped in `docs/schemas/`. `sim/schemas/` links to them
//! for the package.

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::failure::Failure;
use crate::output::Destination;

macro_rules! schemas {
    ($($name:literal)*) => {
        /// Each by the name of its command, words joined by `-`.
        const SCHEMAS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../schemas/", $name, ".json")))),*];
    };
}

schemas! {
    "run" "compare" "bound" "goal" "size" "cost" "plan" "stream" "explain" "trace-inspect" "validate" "values"
    "crosscheck" "traffic" "place" "results-show" "results-diff" "routing-inspect" "graph" "map" "mappings" "models"
    "wafers" "settings"
}

/// Flags of `schema`.
#[derive(Debug, Args)]
pub struct SchemaFlags {
    /// The command whose output is described (`trace-inspect` for `trace inspect`); a list of all where left out.
    #[arg(value_name = "COMMAND", value_parser = names(), hide_possible_values = true)]
    name: Option<String>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(SCHEMAS.iter().map(|(name, _)| *name))
}

/// Lists the schemas, or writes one.
pub fn execute(flags: &SchemaFlags) -> Result<(), Failure> {
    let text = match &flags.name {
        None => SCHEMAS.iter().map(|(name, _)| format!("{name}\n")).collect(),
        Some(asked) => SCHEMAS.iter().filter(|(name, _)| name == asked).map(|(_, text)| *text).collect::<String>(),
    };
    Destination::Stdout.write(&text)
}
