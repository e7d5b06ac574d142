//! How a draft of several tokens is verified.

use serde::{Deserialize, Serialize};

/// How the tokens of a draft go through the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Whichever of the two is faster.
    #[default]
    Faster,
    /// Together, as one micro-batch in every layer.
    MicroBatch,
    /// One after the other, as a stream: layer l works on a token while layer l + 1 works on the one before it.
    Stream,
}
