//! Flags that say which model in which data types: shared by `run`, `plan` and `graph`.

use clap::Args;

use crate::choice;
use crate::failure::Failure;
use crate::layers::Layers;

/// Which model, and how its activations are stored.
#[derive(Debug, Args)]
pub struct ModelFlags {
    /// Built-in model (see `simctl models`), or path of a Hugging Face config.json.
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Data type of activations.
    #[arg(long, value_name = "TYPE", value_parser = choice::arithmetic_types())]
    activations: Option<String>,
}

impl ModelFlags {
    /// Lays the flags on the layers.
    pub fn apply(&self, layers: &mut Layers) -> Result<(), Failure> {
        layers.flag("--model", "model", self.model.as_deref())?;
        layers.flag("--activations", "precision.activations", self.activations.as_deref())
    }
}
