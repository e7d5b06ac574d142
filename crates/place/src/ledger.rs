//! The ledger: bytes of every processing element by category, the worst one and the sums over all, and what each tensor
//! takes. It records; it decides nothing.
//!
//! Two identities hold exactly and are tested by enumeration: the bytes of a matrix over all processing elements add up
//! to the tensor's bytes, and `tensor bytes + replication = held bytes` for every vector.

use serde::Serialize;
use wafersim_spec::Bytes;
use wafersim_spec::model::Role;

/// Bytes by category.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ByteCounts {
    /// Matrices and biases, block scales included.
    pub weights: Bytes,
    /// In a processing element: gains and sinks, of which every row or column of the region holds a copy, and copies of
    /// block scales. In sums over all processing elements: what those copies take beyond the tensors themselves, which
    /// count as weights.
    pub replicated: Bytes,
    /// Keys and values.
    pub kv_cache: Bytes,
    /// Activations of one micro-batch in decode.
    pub activations: Bytes,
    /// Buffers for arriving payloads.
    pub receive_buffers: Bytes,
    /// Code and runtime.
    pub code_and_runtime: Bytes,
}

impl ByteCounts {
    /// What stays while the pipeline runs: weights and KV cache.
    pub fn lasting(&self) -> Bytes {
        self.weights + self.replicated + self.kv_cache
    }

    /// What is needed only while an item works.
    pub fn passing(&self) -> Bytes {
        self.activations + self.receive_buffers
    }

    /// Everything.
    pub fn sum(&self) -> Bytes {
        self.lasting() + self.passing() + self.code_and_runtime
    }

    /// Two items in one slot: what stays adds up, of what passes the larger counts.
    #[must_use]
    pub(crate) fn with(&self, other: &Self) -> Self {
        let passing = if other.passing() > self.passing() { other } else { self };
        Self {
            weights: self.weights + other.weights,
            replicated: self.replicated + other.replicated,
            kv_cache: self.kv_cache + other.kv_cache,
            activations: passing.activations,
            receive_buffers: passing.receive_buffers,
            code_and_runtime: self.code_and_runtime.max(other.code_and_runtime),
        }
    }
}

/// The worst processing element of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SlotLedger {
    /// Index of the slot in [`crate::Placement::slots`].
    pub slot: usize,
    /// Wafer of the slot, from 0.
    pub wafer: u32,
    /// Bytes that no processing element of the slot exceeds: a bound in closed form. It was 0.03 to 0.2 % above the
    /// weights of the worst processing element where that was computed on every third row (Qwen3-Coder-480B spread and
    /// clustered, Llama-3.1-8B, gpt-oss-120b). Items that share a slot are taken to have their worst processing element
    /// in the same place.
    pub worst_pe: ByteCounts,
    /// Memory of a processing element less the sum of `worst_pe`.
    pub spare: Bytes,
}

/// What one tensor of a layout, or one part of a table, takes in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TensorEntry {
    /// What it does.
    pub role: Role,
    /// Whether it is the bias of that matrix.
    pub is_bias: bool,
    /// Index in [`crate::Placement::layouts`]; `None` for the tensors outside the layers.
    pub layout: Option<usize>,
    /// Layers of that layout; 1 outside the layers.
    pub layers: u64,
    /// Copies in one layer: experts.
    pub copies: u64,
    /// Bytes of the tensor in one layer, all copies.
    pub bytes: Bytes,
    /// Bytes over all processing elements beyond `bytes`, because copies are held.
    pub replicated: Bytes,
    /// Bytes that no processing element exceeds.
    pub worst_pe: Bytes,
    /// Mean bytes over the processing elements of the region.
    pub mean_pe: f64,
}

/// The ledger of a placement.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Ledger {
    /// Memory of one processing element.
    pub limit: Bytes,
    /// The slots in order of the pipeline.
    pub slots: Vec<SlotLedger>,
    /// The slot with the least spare; the first of equals.
    pub worst: SlotLedger,
    /// Sums over all processing elements of all regions. Weights, replication and KV cache are exact; activations and
    /// buffers are those of the worst processing element times the number of processing elements.
    pub totals: ByteCounts,
    /// What each tensor takes.
    pub tensors: Vec<TensorEntry>,
}
