//! `simctl settings`: what a scenario file and `--set` can set.

use clap::Args;
use wafersim::report;

use crate::commands::wafers::Format;
use crate::failure::Failure;
use crate::output::Destination;

/// Flags of `settings`.
#[derive(Debug, Args)]
pub struct SettingsFlags {
    /// How to write the table.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Lists the settings.
pub fn execute(flags: &SettingsFlags) -> Result<(), Failure> {
    let text = match flags.format {
        Format::Text => report::setting::text(),
        Format::Markdown => report::setting::markdown(),
        Format::Json => report::setting::json()?,
    };
    Destination::Stdout.write(&text)
}
