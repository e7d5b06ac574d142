//! `simctl completions`: scripts that complete commands and flags in a shell.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::output::Destination;

/// Flags of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsFlags {
    /// Which shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script.
pub fn execute(flags: &CompletionsFlags) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(flags.shell, &mut CommandLine::command(), "simctl", &mut script);
    Destination::Stdout.write(&String::from_utf8_lossy(&script))
}
