//! Wafer kernels as functions that return programs.
//!
//! | file | kernel | source |
//! |---|---|---|
//! | [`gemv`] | MeshGEMV with two-level all-reduce; the vendor library's chain GEMV | WaferLLM, OSDI 2025 |
//! | [`gemm`] | MeshGEMM (Cannon on an interleaved ring), SUMMA, the transposed product of prefill attention | WaferLLM, OSDI 2025 |
//! | [`norm`] | RMSNorm, per-head norm, rotary embedding | WaferLLM, per-operation run of the vendor's simulator |
//! | [`attention`] | decode and prefill attention over a KV cache spread over rows | WaferLLM; grouped heads are ours |
//! | [`feed_forward`] | SwiGLU networks, router with top-k, experts spread or clustered, dispatch and combine | ours, of the same parts |
//! | [`head`] | embedding lookup, LM head, sampling | ours, of the same parts |
//! | [`exact`] | which element lies where, and every movement that this needs: programs for the numeric reading | ours |
//! | [`overlap`] | hypothetical: conversion of weights beside transfers | ours |
//! | [`layer`] | one transformer layer, decode and prefill | the order of WaferLLM's layer |
//!
//! Kernels know regions and tile sizes; they know no time and no wafer. [`Options`] says whose kernels they are.

pub mod attention;
pub mod context;
pub mod exact;
pub mod feed_forward;
pub mod gemm;
pub mod gemv;
pub mod head;
pub mod layer;
pub mod norm;
mod options;
pub mod overlap;

pub use context::Kernel;
pub use exact::{Exact, ExactError};
pub use layer::{
    ExpertShape, KvShape, LayerShape, decode_layer, decode_layer_for, exact_decode_layer, exact_prefill_embedding,
    exact_prefill_layer, exact_turn, prefill_layer, prefill_layer_for,
};
pub use options::{Groups, Options, Scope};
