//! Flags that `run`, `goal` and `cost` share: a question with one value of everything.

use clap::Args;
use wafersim::answer::Question;

use crate::choice;
use crate::failure::Failure;
use crate::layers::Layers;
use crate::mapping_flags::MappingFlags;
use crate::scenario_flags::ScenarioFlags;

/// A whole question.
#[derive(Debug, Args)]
pub struct LoadFlags {
    #[command(flatten)]
    scenario: ScenarioFlags,
    /// Wafers to use: a number, `auto` for the fewest that reach the target, or that more are not worth, or `fewest`
    /// for those that hold the model.
    #[arg(long, value_name = "auto|fewest|N", allow_negative_numbers = true)]
    wafers: Option<String>,
    /// Users served at the same time.
    #[arg(long, value_name = "USERS", allow_negative_numbers = true)]
    users: Option<String>,
    /// Tokens in each user's KV cache (32k is 32768).
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    context: Option<String>,
    /// Tokens of the prompt whose first token is waited for; the context where left out.
    #[arg(long, value_name = "TOKENS", allow_negative_numbers = true)]
    prompt: Option<String>,
    /// Which programs and rates the answer is for.
    #[arg(long, value_name = "PROFILE", value_parser = choice::profiles())]
    profile: Option<String>,
    /// Where the routed experts live.
    #[arg(long, value_name = "PLACEMENT", value_parser = choice::placements())]
    placement: Option<String>,
    /// Data type of weights.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    weights: Option<String>,
    /// Data type of the KV cache.
    #[arg(long, value_name = "TYPE", value_parser = choice::data_types())]
    kv: Option<String>,
    /// The mapping, given or looked for.
    #[command(flatten)]
    pub mapping: MappingFlags,
}

impl LoadFlags {
    /// The scenario file with flags and `--set` on it.
    pub fn layers(&self) -> Result<Layers, Failure> {
        let mut layers = self.scenario.layers()?;
        for (flag, path, value) in [
            ("--wafers", "wafers", &self.wafers),
            ("--users", "users", &self.users),
            ("--context", "context", &self.context),
            ("--prompt", "prompt", &self.prompt),
            ("--profile", "profile", &self.profile),
            ("--placement", "placement", &self.placement),
            ("--weights", "precision.weights", &self.weights),
            ("--kv", "precision.kv_cache", &self.kv),
        ] {
            layers.flag(flag, path, value.as_deref())?;
        }
        Ok(layers)
    }

    /// The question, with its mapping or how one is found.
    pub fn question(&self) -> Result<Question, Failure> {
        self.mapping.ask(Question::load(self.layers()?.check()?)?)
    }
}
