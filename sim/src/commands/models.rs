//! `simctl models`: the models that are built in, or those that are named.

use clap::Args;
use wafersim::report;
use wafersim::spec::Model;
use wafersim::spec::model::builtin;

use crate::commands::wafers::Format;
use crate::failure::Failure;
use crate::output::Destination;

/// Flags of `models`.
#[derive(Debug, Args)]
pub struct ModelsFlags {
    /// Built-in names or paths of config.json files; all built-in ones where left out.
    #[arg(value_name = "NAME|PATH")]
    names: Vec<String>,
    /// How to write the list.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Lists the models.
pub fn execute(flags: &ModelsFlags) -> Result<(), Failure> {
    let mut models: Vec<report::model::Named> = Vec::new();
    for name in &flags.names {
        models.push((name.clone(), Ok(Model::from_name_or_path(name)?)));
    }
    if models.is_empty() {
        models.extend(builtin::names().map(|name| (name.to_owned(), Model::builtin(name))));
    }
    let text = match flags.format {
        Format::Text => report::model::list_text(&models),
        Format::Markdown => report::model::list_markdown(&models),
        Format::Json => report::model::list_json(&models)?,
    };
    Destination::Stdout.write(&text)
}
