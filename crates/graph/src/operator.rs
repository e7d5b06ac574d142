//! One node of the graph, with its shapes and counts, and one edge, with what flows along it.
//!
//! Counts are of the model's mathematics for one load, whole and undivided. Cycles, tiles and hops are not here.

use std::fmt;

use serde::{Serialize, Serializer};
use wafersim_spec::Bytes;
use wafersim_spec::model::Role;

/// Rows and columns of a matrix; rows are tokens, or tokens times heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Shape {
    /// Rows.
    pub rows: u64,
    /// Columns.
    pub columns: u64,
}

impl Shape {
    /// A shape of `rows` rows and `columns` columns.
    pub const fn new(rows: u64, columns: u64) -> Self {
        Self { rows, columns }
    }

    /// Elements of the full rectangle (`u64::MAX` where they leave 64 bits).
    pub const fn elements(self) -> u64 {
        self.rows.saturating_mul(self.columns)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} x {}", self.rows, self.columns)
    }
}

/// Which part of an expert's gated network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertStage {
    /// Gate projection.
    Gate,
    /// Up projection; independent of the gate.
    Up,
    /// The activation of the gate times up.
    Activation,
    /// Down projection.
    Down,
}

/// What an operator computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorKind {
    /// The residual stream that enters a graph of a single layer. Costs nothing.
    LayerInput,
    /// One row of the embedding table per token.
    Embedding,
    /// RMSNorm over the row, with gains.
    RmsNorm,
    /// Product with a weight matrix outside the experts.
    Projection(Role),
    /// RMSNorm of each head of q or of k, with gains that all heads share.
    QkNorm,
    /// Rotary embedding.
    Rope,
    /// Writes the new keys, values or latents into the cache. Its outgoing edge carries the new entries; the old ones
    /// are in `cache_bytes_read` of whoever reads them.
    KvAppend,
    /// Query times every visible key.
    AttentionScores,
    /// Scale, maximum, exponential, sum and quotient of each row of scores; with the sink logits, where there are any.
    Softmax,
    /// Softmax weights times every visible value.
    AttentionValues,
    /// What attention makes, times the sigmoid of a projection.
    OutputGate,
    /// Causal convolution of each channel over the last tokens, and SiLU (linear attention).
    Convolution,
    /// LayerNorm of an indexer's key.
    IndexNorm,
    /// An indexer's scores of every visible token.
    IndexScores,
    /// The tokens that attention looks at: those with the best of these scores.
    IndexSelect,
    /// How strongly a token is written and how much of the state decays, from two numbers for each head.
    StateGates,
    /// Queries or keys of each head to length 1.
    UnitNorm,
    /// Decay of the state, what the key reads of it, what is written, what the query reads.
    DeltaRule,
    /// RMSNorm of each head's result, times SiLU of a projection.
    GatedNorm,
    /// The activation of the gate times up, of a dense feed-forward network.
    GatedActivation,
    /// Router logits of all experts.
    Router,
    /// Scores of the experts, and the best `top_k` of them.
    TopK,
    /// Sends every token to its chosen experts.
    ExpertDispatch,
    /// Part of a routed expert. There are `top_k` slots; slot s stands for the s-th choice of every token.
    Expert(ExpertStage),
    /// Part of the network that every token uses beside the routed experts.
    SharedExpert(ExpertStage),
    /// Weighted sum of the chosen experts' outputs, plus the shared expert's.
    ExpertCombine,
    /// Adds a branch to the residual stream.
    ResidualAdd,
    /// The last RMSNorm.
    FinalNorm,
    /// Product with the LM head.
    LmHead,
    /// The largest logit (greedy).
    Sampling,
}

/// Where an operator stands, printed as `layers.3.attention.query` or `layers.3.feed_forward.experts.7.gate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperatorName {
    /// The layer, from 0; `None` outside the layers.
    pub layer: Option<usize>,
    /// The path inside the layer; a `*` stands for the slot.
    pub path: &'static str,
    /// The expert slot, from 0, of a routed expert's operators.
    pub slot: Option<u64>,
}

impl OperatorName {
    /// The name without its layer.
    pub fn within_layer(self) -> Self {
        Self { layer: None, ..self }
    }
}

impl fmt::Display for OperatorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(layer) = self.layer {
            write!(formatter, "layers.{layer}.")?;
        }
        match (self.slot, self.path.split_once('*')) {
            (Some(slot), Some((before, after))) => write!(formatter, "{before}{slot}{after}"),
            _ => formatter.write_str(self.path),
        }
    }
}

impl Serialize for OperatorName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operator {
    /// Unique in its graph.
    pub name: OperatorName,
    /// What it computes.
    pub kind: OperatorKind,
    /// The operand that streams in. All operands are on the incoming edges.
    pub input: Shape,
    /// The matrix at rest that the input is multiplied with: one copy of a weight (inputs x outputs), or what one head
    /// sees of the cache. `input.columns == matrix.rows` and `output.columns == matrix.columns`.
    pub matrix: Option<Shape>,
    /// The rectangle that holds the result. Causal scores fill it only in part: the edges carry the exact elements.
    pub output: Shape,
    /// Parameters that live here. The copies of all routed experts are dealt out over the expert slots.
    pub parameters: u64,
    /// Parameters that one token uses, whatever the load.
    pub active_parameters: u64,
    /// Multiply-accumulates of all tokens of the load.
    pub macs: u64,
    /// Other arithmetic of all tokens of the load, each addition, product, comparison or function counted as one; see
    /// [`elementwise`].
    pub elementwise: u64,
    /// Weights that are read, each once per pass. Of the routed experts, those of the expected number of distinct
    /// ones ([`expected_distinct_experts`](crate::expected_distinct_experts)), dealt out over the slots.
    pub weight_bytes_read: Bytes,
    /// KV cache that is read. MLA's latents are read twice: as keys and as values. States of linear attention, of each
    /// user once.
    pub cache_bytes_read: Bytes,
    /// KV cache, or states, that are written.
    pub bytes_written: Bytes,
}

impl Operator {
    /// An operator with shapes and no counts.
    #[cfg(feature = "operator-graph")]
    pub(crate) const fn new(name: OperatorName, kind: OperatorKind, input: Shape, output: Shape) -> Self {
        Self {
            name,
            kind,
            input,
            matrix: None,
            output,
            parameters: 0,
            active_parameters: 0,
            macs: 0,
            elementwise: 0,
            weight_bytes_read: Bytes::ZERO,
            cache_bytes_read: Bytes::ZERO,
            bytes_written: Bytes::ZERO,
        }
    }

    /// The layer, from 0; `None` outside the layers.
    pub const fn layer(&self) -> Option<usize> {
        self.name.layer
    }

    /// Weights and cache that are read.
    pub fn bytes_read(&self) -> Bytes {
        self.weight_bytes_read + self.cache_bytes_read
    }
}

/// One edge of the graph: the tensor that flows, in the precision of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Elements that the receiver needs of the sender's result.
    pub elements: u64,
    /// Their bytes.
    pub bytes: Bytes,
}

/// Operations per element behind [`Operator::elementwise`]: additions, products, comparisons and functions, one each.
pub mod elementwise {
    /// RMSNorm: square, sum, scale, gain.
    pub const RMS_NORM: u64 = 4;
    /// LayerNorm: sum and difference of the mean beside what RMSNorm does, bias.
    pub const LAYER_NORM: u64 = 4 + 3;
    /// Rotary embedding: four products and two sums for a pair.
    pub const ROPE: u64 = 3;
    /// Softmax: scale, maximum, difference, exponential, sum, quotient.
    pub const SOFTMAX: u64 = 6;
    /// SiLU (negate, exponential, sum, quotient) and the product with up.
    pub const GATED_ACTIVATION: u64 = 5;
    /// A routed expert's output: product with its weight, sum.
    pub const COMBINE: u64 = 2;
    /// Sigmoid (negate, exponential, sum, quotient) and the product with it.
    pub const SIGMOID_GATE: u64 = 5;
    /// SiLU.
    pub const SILU: u64 = 4;
    /// A head's gates: sigmoid; sum with the bias's time step, softplus (exponential, sum, logarithm), exponential of
    /// the rate, product, exponential.
    pub const STATE_GATES: u64 = 4 + 7;
    /// Norm to length 1: square, sum, scale.
    pub const UNIT_NORM: u64 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_layer_and_slot() {
        let name = OperatorName { layer: Some(3), path: "feed_forward.experts.*.gate", slot: Some(7) };
        assert_eq!(name.to_string(), "layers.3.feed_forward.experts.7.gate");
        assert_eq!(name.within_layer().to_string(), "feed_forward.experts.7.gate");
        assert_eq!(OperatorName { layer: None, path: "lm_head", slot: None }.to_string(), "lm_head");
    }
}
