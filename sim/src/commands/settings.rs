//! `simctl settings`: what a scenario file and `--set` can set, and a stream scenario.

use clap::Args;
use wafersim::report;

use crate::asked::Asked;
use crate::failure::Failure;
use crate::out_flags::{Forms, HasPicture, OutFlags};

/// Flags of `settings`.
#[derive(Debug, Args)]
pub struct SettingsFlags {
    #[command(flatten)]
    output: OutFlags,
}

/// Lists the settings.
pub fn execute(flags: &SettingsFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let (text, json) = (|| Ok(report::setting::text()), || Ok(report::setting::json()?));
    let head = asked.head();
    let forms = Forms::new("settings", &text, &json).asked(&head).bare_text();
    out.write(forms.markdown(&|| Ok(report::setting::markdown())))
}
