//! `simctl wafers`: the wafers that are built in, or every parameter of those that are named.

use clap::Args;
use wafersim::report;
use wafersim::spec::Wafer;
use wafersim::spec::wafer::BUILTIN_WAFERS;

use crate::asked::Asked;
use crate::failure::Failure;
use crate::out_flags::{Forms, HasPicture, OutFlags};

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
