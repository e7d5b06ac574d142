//! Single kernels as functions that return programs: those that were measured by themselves on wafers.
//!
//! | file | kernel | source |
//! |---|---|---|
//! | [`gemv`] | MeshGEMV with two-level all-reduce; the vendor library's chain GEMV | WaferLLM, OSDI 2025 |
//! | [`gemm`] | MeshGEMM (Cannon on an interleaved ring), SUMMA | WaferLLM, OSDI 2025 |
//! | [`collectives`] | reductions over lines, a round of the vendor library's collectives | sources.md#reductions-over-512-elements, sources.md#graph-traversal-on-a-cs-3 |
//!
//! Layers of models are `wafersim-lower`'s, whose products are these with a mapping's decisions. Kernels know regions
//! and tile sizes; they know no time and no wafer.

pub mod collectives;
pub mod gemm;
pub mod gemv;
mod kernel;

pub use gemv::Groups;
