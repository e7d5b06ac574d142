//! `simctl compare`: two answers beside each other.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use wafersim::answer::{Question, answer_without_ranges};
use wafersim::report;
use wafersim::report::compare::{Answered, Comparison};

use crate::asked::{Asked, signed};
use crate::failure::Failure;
use crate::input::read_table_text;
use crate::layers::Layers;
use crate::mapping_flags::MappingFlags;
use crate::out_flags::{Forms, HasPicture, OutFlags};

/// The word for the question that is asked without a file.
const DEFAULT: &str = "default";

/// Flags of `compare`.
#[derive(Debug, Args)]
pub struct CompareFlags {
    /// An answer that was saved (`run --format json --out FILE.json`), a scenario file (.toml), or `default`.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// What it is compared with.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Sets anything in the scenarios, not in saved answers; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Sets anything in B alone, for example `wafer.link.latency=1`; may be repeated.
    #[arg(long = "set-b", value_name = "PATH=VALUE")]
    sets_of_b: Vec<String>,
    #[command(flatten)]
    mapping: MappingFlags,
    #[command(flatten)]
    output: OutFlags,
}

/// Compares.
pub fn execute(flags: &CompareFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
    let a = answered("A", &flags.a, flags.sets.clone(), flags, asked)?;
    let b = answered("B", &flags.b, [flags.sets.clone(), flags.sets_of_b.clone()].concat(), flags, asked)?;
    let compared = Comparison::of(&a, &b).map_err(Failure::NoAnswer)?;
    let (text, json) = (|| Ok(report::compare::text(&compared)), || Ok(report::compare::json(&compared)?));
    let head = asked.head();
    out.write(Forms::new("compare", &text, &json).asked(&head))
}

/// A saved answer as it was written, or the answer to a scenario.
fn answered(
    by: &'static str,
    file: &Path,
    sets: Vec<String>,
    flags: &CompareFlags,
    asked: &Asked,
) -> Result<Answered, Failure> {
    let name = file.display().to_string();
    let is_saved = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    if is_saved {
        let answer: Value = serde_json::from_str(&read_table_text(by, file)?).map_err(|error| Failure::Flag {
            flag: by.into(),
            problem: format!("is {name}, which is not valid JSON: {error}"),
            allowed: "what 'simctl run --format json' writes".into(),
        })?;
        return Ok(Answered { name, answer });
    }
    let scenario = (name != DEFAULT).then_some(file);
    let layers = Layers::read(scenario, &sets)?;
    let question = flags.mapping.ask(Question::load(layers.check()?)?)?;
    let mut answer = answer_without_ranges(&question)?;
    answer.provenance = signed(answer.provenance);
    let json = asked.question(&question).json(&report::answer::json(&answer)?)?;
    let answer = serde_json::from_str(&json)
        .map_err(|error| Failure::Write { file: "JSON".into(), reason: error.to_string() })?;
    let set = if sets.is_empty() { String::new() } else { format!(" with {}", sets.join(", ")) };
    Ok(Answered { name: format!("{name}{set}"), answer })
}
