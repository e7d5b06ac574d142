//! `simctl bound`: what no mapping beats, with every term.

use std::path::PathBuf;

use clap::Args;
use wafersim::answer::{Question, no_mapping_beats};
use wafersim::report;

use crate::asked::Asked;
use crate::choice::{self, ObjectFormat};
use crate::failure::Failure;
use crate::output::Destination;
use crate::scenario_flags::ScenarioFlags;

/// Flags of `bound`.
#[derive(Debug, Args)]
pub struct BoundFlags {
    #[command(flatten)]
    scenario: ScenarioFlags,
    /// Wafers at most: a number, or `auto` for any number.
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Users served at the same time.
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    users: Option<String>,
    /// Tokens in each user's KV cache (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// How to write the bound.
    #[arg(long, value_enum, default_value_t = ObjectFormat::Text)]
    format: ObjectFormat,
    /// File to write to instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Writes the bound.
pub fn execute(flags: &BoundFlags, asked: &Asked) -> Result<(), Failure> {
    let destination = Destination::open(flags.out.as_deref())?;
    let mut layers = flags.scenario.layers()?;
    for (flag, path, value) in [
        ("--wafers", "wafers", &flags.wafers),
        ("--users", "users", &flags.users),
        ("--context", "context", &flags.context),
        ("--weights", "precision.weights", &flags.weights),
        ("--kv", "precision.kv_cache", &flags.kv),
    ] {
        layers.flag(flag, path, value.as_deref())?;
    }
    let question = Question::load(layers.check()?)?;
    let bound = no_mapping_beats(&question);
    let head = asked.question(&question);
    destination.write(&match flags.format {
        ObjectFormat::Text => head.text(report::bound::text(&bound)),
        ObjectFormat::Json => head.json(&report::bound::json(&bound)?)?,
    })
}
