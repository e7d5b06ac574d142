//! `simctl`: how fast does a model run on a wafer, what limits it, how sure is that, and what would it take.
//!
//! This program reads files, asks [`wafersim`] and writes what [`wafersim::report`] says; it computes nothing itself.
//! Data goes to stdout (or the file of `--out`), words go to stderr. Exit codes: 0 done, 1 a bug or a failure while
//! writing, 2 wrong input, 3 no mapping passes its certificate, 130 and 143 SIGINT and SIGTERM.

mod asked;
mod cache;
mod certify;
mod choice;
mod command_line;
mod commands;
mod economics_flags;
mod fabric_flags;
mod failure;
mod files;
mod input;
mod layers;
mod load_flags;
mod mapping_flags;
mod model_flags;
mod out_flags;
mod output;
mod pages;
mod part;
mod picture_file;
mod plan_axes;
mod progress;
mod range_flags;
mod request_trace;
mod scenario_flags;
mod store_flags;
mod sweep_flags;
mod table;
mod terminal;
mod threads;
mod wafer_map_flag;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use mimalloc::MiMalloc;

use crate::asked::Asked;
use crate::command_line::{Command, CommandLine};

/// A search writes some ten thousand programs, each a few hundred small vectors: a third of its time is allocation.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let mut definition = CommandLine::command();
    let parsed = definition.try_get_matches_from_mut(std::env::args_os());
    let parsed = parsed.and_then(|matches| Ok((CommandLine::from_arg_matches(&matches)?, matches)));
    let (line, asked) = match parsed {
        Ok((line, matches)) => (line, Asked::of(&definition, &matches)),
        Err(error) => return refused(&error.format(&mut definition)),
    };
    // The endpoint ends in its own way.
    if !matches!(line.command, Command::Serve(_)) {
        files::heed_signals();
    }
    files::survive_full_files();
    threads::prepare();
    match commands::execute(line.command, &asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&format!("error: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

/// What clap says, in its colors where nothing in it is to be replaced or left out.
fn refused(error: &clap::Error) -> ExitCode {
    let said = error.render().to_string();
    let words = words::message(&said);
    if !error.use_stderr() || words == said {
        error.exit();
    }
    output::say(words.trim_end());
    ExitCode::from(2)
}
