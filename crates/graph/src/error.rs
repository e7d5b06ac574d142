//! What can be asked wrongly of the operator graph. It does not repeat what `wafersim-spec` checks of a model.

use thiserror::Error;
use wafersim_spec::model::Role;

/// Why no operator graph could be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A load without tokens has no operators.
    #[error("a load of 0 tokens has nothing to compute; ask for at least 1 token")]
    NoTokens,
    /// The layer does not exist.
    #[error("model '{model}' has no layer {layer}: its {layers} layers count from 0")]
    LayerOutOfRange {
        /// The model's name.
        model: String,
        /// The layer that was asked for.
        layer: usize,
        /// How many layers there are.
        layers: usize,
    },
    /// A count of the graph would not fit 64 bits.
    #[error("a load of {tokens} tokens with a context of {context} overflows the 64-bit counts; use fewer tokens")]
    LoadTooLarge {
        /// Tokens of the load.
        tokens: u64,
        /// Context of the load.
        context: u64,
    },
    /// More operators than the graph is made for, which only happens with an absurd number of chosen experts.
    #[error(
        "model '{model}' would have {operators} operators, more than {limit}; check its layers and experts per token"
    )]
    TooManyOperators {
        /// The model's name.
        model: String,
        /// Operators that it would have.
        operators: u64,
        /// The most that are built.
        limit: u64,
    },
    /// The layer's list of tensors lacks one that the graph needs, or has one that it does not use.
    #[error("a bug in wafersim: {layer}: tensor {role:?} is {problem} by the operator graph; please report it")]
    TensorMismatch {
        /// "layer 3" or "outside the layers".
        layer: String,
        /// The tensor's role.
        role: Role,
        /// "missed" or "not used".
        problem: &'static str,
    },
    /// The description of a layer has an operator before what it reads.
    #[error("a bug in wafersim: layer {layer:?}: nothing has made what '{operator}' reads; please report it")]
    NothingRead {
        /// The layer, from 0.
        layer: Option<usize>,
        /// The operator.
        operator: &'static str,
    },
}
