//! `simctl models`: the models that are built in, or those that are named.

use clap::Args;
use wafersim::report;
use wafersim::spec::Model;
use wafersim::spec::model::builtin;

use crate::asked::Asked;
use crate::failure::Failure;
use crate::out_flags::{Forms, HasPicture, OutFlags};

/// Flags of `models`.
#[derive(Debug, Args)]
pub struct ModelsFlags {
    /// Built-in names or paths of config.json files; all built-in ones where left out.
    #[arg(value_name = "NAME|PATH")]
    names: Vec<String>,
    #[command(flatten)]
    output: OutFlags,
}

/// Lists the models.
pub fn execute(flags: &ModelsFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let mut models: Vec<report::model::Named> = Vec::new();
    for name in &flags.names {
        models.push((name.clone(), Ok(Model::from_name_or_path(name)?)));
    }
    if models.is_empty() {
        models.extend(builtin::names().map(|name| (name.to_owned(), Model::builtin(name))));
    }
    let (text, json) = (|| Ok(report::model::list_text(&models)), || Ok(report::model::list_json(&models)?));
    let head = asked.head();
    let forms = Forms::new("models", &text, &json).asked(&head).bare_text();
    out.write(forms.markdown(&|| Ok(report::model::list_markdown(&models))))
}
