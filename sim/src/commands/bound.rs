//! `simctl bound`: what no mapping beats, with every term.

use clap::Args;
use wafersim::answer::{Question, no_mapping_beats};
use wafersim::report;

use crate::asked::Asked;
use crate::choice;
use crate::failure::Failure;
use crate::out_flags::{Forms, HasPicture, OutFlags};
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
    #[command(flatten)]
    output: OutFlags,
}

/// Writes the bound.
pub fn execute(flags: &BoundFlags, asked: &Asked) -> Result<(), Failure> {
    let out = flags.output.open(HasPicture::No)?;
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
    out.write(
        Forms::new("bound", &|| Ok(report::bound::text(&bound)), &|| Ok(report::bound::json(&bound)?)).asked(&head),
    )
}
