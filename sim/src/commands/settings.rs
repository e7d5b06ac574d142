//! `simctl settings`: what a scenario file and `--set` can set.

use clap::Args;
use wafersim::report;

use crate::failure::Failure;
use crate::out_flags::{Forms, HasPicture, OutFlags};

/// Flags of `settings`.
#[derive(Debug, Args)]
pub struct SettingsFlags {
    #[command(flatten)]
    output: OutFlags,
}

/// Lists the settings.
pub fn execute(flags: &SettingsFlags) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let (text, json) = (|| Ok(report::setting::text()), || Ok(report::setting::json()?));
    out.write(Forms::new("settings", &text, &json).markdown(&|| Ok(report::setting::markdown())))
}
