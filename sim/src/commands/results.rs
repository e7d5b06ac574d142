//! `simctl results`: what the files of `--store` hold, and several of one question put together.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use wafersim::report::number::{plural, whole};
use wafersim::report::results::{self, Named};
use wafersim::report::results_diff::{self, By, difference};
use wafersim::store::{self, Stored, part_of};

use crate::asked::Asked;
use crate::failure::Failure;
use crate::files;
use crate::out_flags::{Forms, HasPicture, OutFlags};
use crate::output::{Destination, say};

/// Flags of `results`.
#[derive(Debug, Args)]
pub struct ResultsFlags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say of each store what it is of and how many of its rows are finished.
    List(ListFlags),
    /// Show what was asked and which rows are missing, or write the rows.
    Show(ShowFlags),
    /// Put the rows of several stores of one question into a new one, for example those of shards.
    Merge(MergeFlags),
    /// Say which rows only one of two stores has, and what differs in those that both have.
    Diff(DiffFlags),
}

#[derive(Debug, Args)]
struct ListFlags {
    /// Files that --store has made.
    #[arg(value_name = "FILE", required = true)]
    stores: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ShowFlags {
    /// File that --store has made.
    #[arg(value_name = "FILE")]
    store: PathBuf,
    #[command(flatten)]
    output: OutFlags,
}

#[derive(Debug, Args)]
struct MergeFlags {
    /// Files that --store has made.
    #[arg(value_name = "FILE", required = true)]
    stores: Vec<PathBuf>,
    /// New file for all rows: .jsonl or .sqlite.
    #[arg(long, value_name = "FILE", required = true)]
    into: PathBuf,
}

#[derive(Debug, Args)]
struct DiffFlags {
    /// File that --store has made.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another, or another part of the same.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Which rows belong together: those that mean the same, or those at the same place.
    #[arg(long, value_enum, default_value_t = ByFlag::Key)]
    by: ByFlag,
    #[command(flatten)]
    output: OutFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ByFlag {
    /// By the hash of what a row means: model, wafer, scenario, mapping.
    Key,
    /// By the place in the result, for stores of different questions.
    Place,
}

/// Does what was asked with stores.
pub fn execute(flags: &ResultsFlags, asked: &Asked) -> Result<(), Failure> {
    match &flags.action {
        Action::List(flags) => list(flags),
        Action::Show(flags) => show(flags),
        Action::Merge(flags) => merge(flags),
        Action::Diff(flags) => diff(flags, asked),
    }
}

fn read(path: &Path) -> Result<Named, Failure> {
    files::reads("FILE", path)?;
    Ok(Named { file: path.display().to_string(), stored: store::read(path).map_err(Failure::Results)? })
}

fn list(flags: &ListFlags) -> Result<(), Failure> {
    let stores = flags.stores.iter().map(|path| read(path)).collect::<Result<Vec<_>, Failure>>()?;
    Destination::Stdout.write(&results::list(&stores))
}

fn show(flags: &ShowFlags) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let store = read(&flags.store)?;
    let (text, json) = (|| Ok(results::text(&store)), || Ok(results::json(&store.stored)?));
    out.write(Forms::new("results show", &text, &json).csv(&|| Ok(results::csv(&store.stored)?)))
}

fn merge(flags: &MergeFlags) -> Result<(), Failure> {
    flags.stores.iter().try_for_each(|path| files::reads("FILE", path))?;
    files::writes("--into", &flags.into)?;
    files::unfinished(part_of(&flags.into));
    let from: Vec<&Path> = flags.stores.iter().map(PathBuf::as_path).collect();
    let Stored { header, rows, .. } = store::merge(&from, &flags.into).map_err(Failure::Results)?;
    let (there, asked) = (whole(rows.len() as u64), plural(header.rows, "row"));
    say(&format!("written: {}, {there} of {asked}", flags.into.display()));
    Ok(())
}

fn diff(flags: &DiffFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let by = match flags.by {
        ByFlag::Key => By::Key,
        ByFlag::Place => By::Place,
    };
    let found = difference(&read(&flags.a)?, &read(&flags.b)?, by)?;
    let (text, json) = (|| Ok(results_diff::text(&found)), || Ok(results_diff::json(&found)?));
    let head = asked.head();
    out.write(Forms::new("results diff", &text, &json).asked(&head).bare_text().csv(&|| Ok(results_diff::csv(&found)?)))
}
