//! What a processing element computes: the mathematics, and the vector operations that do it.
//!
//! [`Math`] is what the numeric reading executes; [`Work`] is what the cost and the fabric charge for. Both stand in
//! one [`crate::Compute`] so that neither can be changed without the other in view.

use serde::Serialize;
use wafersim_spec::DataType;

/// What is computed, as mathematics over the buffers of a [`crate::Compute`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Math {
    /// `y += x W` with the tile of W in this processing element.
    MatVec,
    /// `C += A B` on the local tiles.
    MatMul,
    /// Sum of squares of a vector.
    SumOfSquares,
    /// `x / sqrt(mean square + epsilon) * gain`.
    RmsScale,
    /// Rotary position embedding of pairs.
    Rope,
    /// Largest element.
    Maximum,
    /// `exp(x - maximum)` and its sum.
    ExpAndSum,
    /// Running maximum, exponentials, sum and rescaling in one pass (online softmax).
    OnlineSoftmax,
    /// Division by a sum.
    Normalise,
    /// `silu(gate) * up`, times the router weight for an expert.
    GatedActivation,
    /// Elementwise sum.
    Add,
    /// Copy between buffers.
    Copy,
    /// The k largest of the router's scores, their indices and weights.
    TopK,
    /// Row of the embedding table.
    Lookup,
    /// Index of the largest logit.
    ArgMax,
    /// Append one token's keys and values to the cache and level the rows.
    KvAppend,
    /// Causal convolution of channels, and SiLU.
    Convolution,
    /// Strength and decay of a state's update.
    StateGates,
    /// A part of the gated delta rule: decay and read, or write and read.
    DeltaRule,
    /// Stored format to arithmetic format.
    Dequantise,
}

/// How a processing element does it. Costs live with the wafer; here is only what is done how often on how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Vector multiply-accumulate issued from a map over preloaded descriptors: one column of a matrix-vector product.
    MappedFma,
    /// The same with products of 16-bit values summed in fp32.
    MappedMixedFma,
    /// Vector multiply-accumulate in a plain loop, with products of 16-bit values: each turn of the loop sets it up
    /// again.
    LoopedFma,
    /// The same summed in fp32.
    LoopedMixedFma,
    /// Vector multiply-accumulate inside a matrix-matrix product, operands in place.
    TileFma,
    /// Set-up of one column of a matrix-matrix product; `length` is 0.
    TileColumn,
    /// Plain vector multiply-accumulate.
    Fma,
    /// Plain vector addition.
    Add,
    /// Plain vector multiplication.
    Multiply,
    /// Plain copy.
    Copy,
    /// Conversion between number formats, from a map.
    Convert,
    /// Multiplication of a row by block scales, from a map.
    Scale,
    /// Reduction of a vector to a scalar.
    ScalarReduce,
    /// Exponential, per element.
    Exponential,
    /// What the published layer has in place of an exponential, `(1 + x/256)^4` of two squarings, per element.
    UnfinishedExponential,
    /// SiLU, per element.
    Silu,
    /// Scalar division, per element.
    Divide,
    /// Scalar inverse square root, per element.
    SquareRoot,
    /// Preparing descriptors for what follows; `length` is 1.
    Setup,
}

/// `count` operations, each over `length` elements of `data_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Which operation.
    pub operation: Operation,
    /// Number format computed in.
    pub data_type: DataType,
    /// Elements of one operation.
    pub length: u64,
    /// How many operations.
    pub count: u64,
}

impl Work {
    /// `count` operations over `length` elements each.
    pub const fn new(operation: Operation, data_type: DataType, length: u64, count: u64) -> Self {
        Self { operation, data_type, length, count }
    }

    /// Multiply-accumulates in all.
    pub const fn macs(&self) -> u64 {
        match self.operation {
            Operation::MappedFma
            | Operation::MappedMixedFma
            | Operation::LoopedFma
            | Operation::LoopedMixedFma
            | Operation::TileFma
            | Operation::Fma => self.length.saturating_mul(self.count),
            _ => 0,
        }
    }
}
