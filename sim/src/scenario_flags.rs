//! Flags that `run` and `plan` share: everything of a question that has one value.

use std::path::PathBuf;

use clap::Args;
use wafersim::spec::Hertz;

use crate::choice;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::model_flags::ModelFlags;

/// The scenario file and what has one value.
#[derive(Debug, Args)]
pub struct ScenarioFlags {
    /// Scenario file; flags win over it, `--set` wins over flags.
    #[arg(value_name = "SCENARIO.toml")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    model: ModelFlags,
    /// Built-in wafer (see `simctl wafers`), or path of a wafer file.
    #[arg(long, value_name = "NAME|PATH")]
    wafer: Option<String>,
    /// How tokens choose experts: `uniform`, `skewed`, or a file that says how often each expert was chosen (counts or a
    /// trace, in any form that `simctl routing inspect` reads).
    #[arg(long, value_name = "MODEL|FILE")]
    routing: Option<String>,
    /// Clock in GHz; the wafer's nominal one where left out.
    #[arg(long, value_name = "GHZ", allow_negative_numbers = true)]
    clock: Option<String>,
    /// Tokens per second that each user should get.
    #[arg(long, value_name = "TOK/S", allow_negative_numbers = true)]
    target: Option<String>,
    /// Speculative decoding: tokens proposed per step, 0 for none.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    draft_length: Option<String>,
    /// Speculative decoding: probability that a proposed token is accepted; one for all positions, one for each
    /// (0.81,0.73,0.68), or the name of measured ones.
    #[arg(long, value_name = "0..1|LIST|NAME", allow_negative_numbers = true)]
    acceptance: Option<String>,
    /// Speculative decoding: mean tokens of a step, the model's own included, in place of `--acceptance`.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    accepted_length: Option<String>,
    /// Speculative decoding: time to propose a token, as a fraction of the model's own time per token.
    #[arg(long, value_name = "0..1", allow_negative_numbers = true)]
    draft_cost: Option<String>,
    /// Speculative decoding: the model that drafts, placed beside the model; `mtp` for the layers that the checkpoint
    /// brings.
    #[arg(long, value_name = "NAME|PATH|mtp")]
    draft_model: Option<String>,
    /// Speculative decoding: how a draft is verified.
    #[arg(long, value_name = "WAY", value_parser = choice::verifications())]
    verification: Option<String>,
    /// Sets anything, for example `wafer.fabric.hop_latency=1` (see `simctl settings`); may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
}

impl ScenarioFlags {
    /// Reads the file and lays flags and `--set` on it.
    pub fn layers(&self) -> Result<Layers, Failure> {
        let mut layers = Layers::read(self.scenario.as_deref(), &self.sets)?;
        self.model.apply(&mut layers)?;
        let clock = self.clock.as_deref().map(gigahertz);
        for (flag, path, value) in [
            ("--wafer", "wafer", &self.wafer),
            ("--clock", "clock_ghz", &clock),
            ("--target", "target", &self.target),
            ("--draft-length", "speculation.draft_length", &self.draft_length),
            ("--acceptance", "speculation.acceptance", &self.acceptance),
            ("--accepted-length", "speculation.accepted_length", &self.accepted_length),
            ("--draft-cost", "speculation.draft_cost", &self.draft_cost),
            ("--draft-model", "speculation.draft_model", &self.draft_model),
            ("--verification", "speculation.verification", &self.verification),
        ] {
            layers.flag(flag, path, value.as_deref())?;
        }
        layers.routing(self.routing.as_deref())?;
        Ok(layers)
    }
}

/// A clock with a unit, in GHz; a bare number stays as it is.
fn gigahertz(text: &str) -> String {
    let is_number = text.trim().parse::<f64>().is_ok();
    let clock = if is_number { None } else { text.parse::<Hertz>().ok() };
    clock.map_or_else(|| text.to_owned(), |clock| clock.gigahertz().to_string())
}
