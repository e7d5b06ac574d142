//! `simctl settings`: what a scenario file and `--set` can set.

use clap::{Args, ValueEnum};
use wafersim::report;
use wafersim::report::setting::Of;

use crate::failure::Failure;
use crate::out_flags::{Forms, HasPicture, OutFlags};

/// Kinds of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Of a question: `run`, `plan` and others.
    Question,
    /// Of a load against a machine: `stream`, `size`, `explain`, `serve`.
    Stream,
}

/// Flags of `settings`.
#[derive(Debug, Args)]
pub struct SettingsFlags {
    /// Of which scenarios.
    #[arg(value_enum, default_value_t = Kind::Question)]
    of: Kind,
    #[command(flatten)]
    output: OutFlags,
}

/// Lists the settings.
pub fn execute(flags: &SettingsFlags) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let of = match flags.of {
        Kind::Question => Of::Question,
        Kind::Stream => Of::Stream,
    };
    let (text, json) = (|| Ok(report::setting::text(of)), || Ok(report::setting::json(of)?));
    out.write(Forms::new("settings", &text, &json).markdown(&|| Ok(report::setting::markdown(of))))
}
