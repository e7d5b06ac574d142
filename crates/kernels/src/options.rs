//! Whose kernels: the published ones, or with which hypothetical improvements.

use serde::Serialize;
use wafersim_program::collective::default_groups;
use wafersim_spec::scenario::Profile;

/// Groups of the two-level reductions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Groups {
    /// About the square root of the line's length, as the published kernels choose without being told.
    SquareRoot,
    /// So many on every line.
    Count(u64),
}

impl Groups {
    /// Groups for a line of `length`.
    pub fn on(self, length: u64) -> u64 {
        match self {
            Self::SquareRoot => default_groups(length),
            Self::Count(count) => count.clamp(1, length.max(1)),
        }
    }
}

/// What a layer is written for. Not a choice of a kernel: validation asks what the published layer ran, everything else
/// what a model needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Scope {
    /// A layer of a model that gives the right numbers.
    Model,
    /// The layer that was timed (rows `decode_layer_*` and `prefill_layer_*`), as its public source has it: no KV append,
    /// SiLU over `hidden / P` elements where `ffn / P` are needed, and an exponential of two squarings, `(1 + x/256)^4`.
    Measured,
}

/// What the kernels do beyond the published ones. Each step is hypothetical and named in docs/src/kernels.md; each can
/// only take work away, so a program with more of them is never slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Options {
    /// Groups of the reductions.
    pub groups: Groups,
    /// Routes of all kernels are static: no route change at run time.
    pub static_routes: bool,
    /// RMSNorm's sum of squares rides with the reduction of the product that follows it (the product is linear, the
    /// scale is applied to its result): one all-reduce less each.
    pub fused_norms: bool,
    /// Online softmax: maximum and sum ride with the reduction of scores x V: two all-reduces less.
    pub online_softmax: bool,
    /// Gate and up projections interleaved in memory: one mapped operation of twice the length.
    pub interleaved_gate_up: bool,
    /// No zeroing and copying of accumulators around a product: the reduction reads them in place.
    pub accumulators_in_place: bool,
    /// The router's selection keeps the largest scores while it passes over them once.
    pub single_pass_top_k: bool,
    /// Stored weights are converted beside the transfer before their product.
    pub overlapped_conversion: bool,
}

impl Options {
    /// The published kernels of WaferLLM.
    pub const PUBLISHED: Self = Self {
        groups: Groups::SquareRoot,
        static_routes: false,
        fused_norms: false,
        online_softmax: false,
        interleaved_gate_up: false,
        accumulators_in_place: false,
        single_pass_top_k: false,
        overlapped_conversion: false,
    };

    /// All hypothetical improvements together.
    pub const OPTIMISED: Self = Self {
        groups: Groups::SquareRoot,
        static_routes: true,
        fused_norms: true,
        online_softmax: true,
        interleaved_gate_up: true,
        accumulators_in_place: true,
        single_pass_top_k: true,
        overlapped_conversion: true,
    };

    /// The kernels that a profile assumes. `bound` runs the optimised programs on ideal hardware.
    pub const fn of(profile: Profile) -> Self {
        match profile {
            Profile::Waferllm => Self::PUBLISHED,
            Profile::Optimised | Profile::Bound => Self::OPTIMISED,
        }
    }
}
