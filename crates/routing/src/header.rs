//! What a trace says of itself: the model's name and shape, and how many tokens follow.

use serde::{Deserialize, Serialize};

use crate::error::RoutingError;

/// The name of the format, first in every header.
pub const FORMAT: &str = "wafersim-routing";
/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// Most layers with routed experts.
pub const MOST_LAYERS: u32 = 4096;
/// Most routed experts of a layer.
pub const MOST_EXPERTS: u32 = 65_535;
/// Most experts of one token.
pub const MOST_TOP_K: u32 = 1024;
/// Users are numbered below this.
pub const MOST_USERS: u32 = 1 << 20;
/// Most choices of one token over all layers.
const MOST_CHOICES: u64 = 1 << 20;
/// Most experts of all layers: a header alone shall not fill the memory of whoever counts them.
const MOST_COUNTED: u64 = 1 << 24;

/// What a trace says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// The model whose router chose, or was imitated.
    pub model: String,
    /// Layers with routed experts, counted from 0 in the order of the model.
    pub layers: u32,
    /// Routed experts of each of these layers.
    pub experts: u32,
    /// Experts that each token chooses in each layer.
    pub top_k: u32,
    /// Tokens that follow, 1 or more.
    pub tokens: u64,
    /// Whether each choice carries router weights.
    pub weights: bool,
    /// Where the trace comes from, for people.
    #[serde(default)]
    pub note: String,
}

impl Header {
    /// A header of this version.
    ///
    /// # Errors
    /// Where a number is outside its range.
    pub fn new(model: &str, layers: u32, experts: u32, top_k: u32, tokens: u64) -> Result<Self, RoutingError> {
        let header = Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            model: model.to_owned(),
            layers,
            experts,
            top_k,
            tokens,
            weights: false,
            note: String::new(),
        };
        header.check()?;
        Ok(header)
    }

    /// Choices of one token over all layers.
    pub const fn choices(&self) -> usize {
        self.layers as usize * self.top_k as usize
    }

    /// Whether every field is in its range.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn check(&self) -> Result<(), RoutingError> {
        if self.format != FORMAT {
            return Err(RoutingError::range("format", format!("'{}'", self.format), format!("'{FORMAT}'")));
        }
        if self.version != VERSION {
            return Err(RoutingError::range("version", self.version, format!("{VERSION}, the only one known")));
        }
        for (field, value, most) in [
            ("layers", self.layers, MOST_LAYERS),
            ("experts", self.experts, MOST_EXPERTS),
            ("top_k", self.top_k, MOST_TOP_K.min(self.experts)),
        ] {
            if value == 0 || value > most {
                return Err(RoutingError::range(field, value, format!("1 to {most}")));
            }
        }
        let choices = u64::from(self.layers) * u64::from(self.top_k);
        if choices > MOST_CHOICES {
            return Err(RoutingError::range("layers x top_k", choices, format!("at most {MOST_CHOICES}")));
        }
        let counted = u64::from(self.layers) * u64::from(self.experts);
        if counted > MOST_COUNTED {
            return Err(RoutingError::range("layers x experts", counted, format!("at most {MOST_COUNTED}")));
        }
        if self.tokens == 0 {
            return Err(RoutingError::range("tokens", 0, "1 or more"));
        }
        Ok(())
    }
}
