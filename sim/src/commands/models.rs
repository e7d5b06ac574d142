//! `simctl models`: the models that are built in, or those that are named.

use std::path::Path;

use clap::Args;
use wafersim::report;
use wafersim::spec::Model;
use wafersim::spec::model::builtin;

use crate::asked::Asked;
use crate::failure::Failure;
use crate::files;
use crate::out_flags::{Form, Forms, HasPicture, OutFlags};

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
    if flags.output.copies(Form::Config, || config(&flags.names))? {
        return Ok(());
    }
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

/// The `config.json` of one model.
fn config(names: &[String]) -> Result<String, Failure> {
    let [name] = names else {
        return Err(Failure::Flag {
            flag: "--format".into(),
            problem: format!("is config, and {} models are named", names.len()),
            allowed: "the name of one built-in model, or of one file".into(),
        });
    };
    if let Some(text) = builtin::config(name) {
        return Ok(text.to_owned());
    }
    // Whatever is no model is refused as elsewhere.
    Model::from_name_or_path(name)?;
    let path = Path::new(name);
    files::reads_named("NAME", name)?;
    let file = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
    std::fs::read_to_string(&file)
        .map_err(|error| Failure::Trace { file: file.display().to_string(), reason: error.to_string() })
}
