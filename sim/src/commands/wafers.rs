//! `simctl wafers`: the wafers that are built in, or every parameter of those that are named.

use std::path::Path;

use clap::Args;
use wafersim::report;
use wafersim::spec::Wafer;
use wafersim::spec::wafer::{BUILTIN_WAFERS, builtin_text};

use crate::asked::Asked;
use crate::failure::Failure;
use crate::files;
use crate::out_flags::{Form, Forms, HasPicture, OutFlags};

/// Flags of `wafers`.
#[derive(Debug, Args)]
pub struct WafersFlags {
    /// Built-in names or paths of wafer files; a list of all built-in ones where left out.
    #[arg(value_name = "NAME|PATH")]
    names: Vec<String>,
    #[command(flatten)]
    output: OutFlags,
}

/// Lists the wafers, or the parameters of those that are named.
pub fn execute(flags: &WafersFlags, asked: &Asked) -> Result<(), Failure> {
    if flags.output.copies(Form::Toml, || file(&flags.names))? {
        return Ok(());
    }
    let out = flags.output.open(HasPicture::No)?;
    let names: Vec<&str> =
        if flags.names.is_empty() { BUILTIN_WAFERS.to_vec() } else { flags.names.iter().map(String::as_str).collect() };
    let wafers: Vec<Wafer> = names.into_iter().map(Wafer::from_name_or_path).collect::<Result<_, _>>()?;
    let is_list = flags.names.is_empty();
    let text = || Ok(if is_list { report::wafer::list_text(&wafers) } else { joined(&wafers, report::wafer::text) });
    let markdown =
        || Ok(if is_list { report::wafer::list_markdown(&wafers) } else { joined(&wafers, report::wafer::markdown) });
    let json = || match wafers.as_slice() {
        [wafer] => Ok(report::wafer::json(wafer)?),
        wafers => Ok(report::wafer::list_json(wafers)?),
    };
    let head = asked.head();
    out.write(Forms::new("wafers", &text, &json).asked(&head).bare_text().markdown(&markdown))
}

fn joined(wafers: &[Wafer], render: impl Fn(&Wafer) -> String) -> String {
    wafers.iter().map(render).collect::<Vec<_>>().join("\n")
}

/// The file of one wafer.
fn file(names: &[String]) -> Result<String, Failure> {
    let [name] = names else {
        return Err(Failure::Flag {
            flag: "--format".into(),
            problem: format!("is toml, and {} wafers are named", names.len()),
            allowed: "the name of one built-in wafer, or of one file".into(),
        });
    };
    if let Some(text) = builtin_text(name) {
        return Ok(text.to_owned());
    }
    // Whatever is no wafer is refused as elsewhere.
    Wafer::from_name_or_path(name)?;
    let path = Path::new(name);
    files::reads("NAME", path)?;
    std::fs::read_to_string(path).map_err(|error| Failure::Trace { file: name.clone(), reason: error.to_string() })
}
