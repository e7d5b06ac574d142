//! A layer and its mapping, written as a program: `lower(layer, mapping) -> Program`.
//!
//! There is one writer. It walks the operators of a [`wafersim_graph::LayerGraph`] in order, each operator in a file of
//! its own, and takes every decision from a [`wafersim_mapping::LayerMapping`]. Every buffer has a layout and every
//! compute step names its operands, so the program that is added up is the one that runs on the fabric and the one
//! whose numbers are checked. Where two layouts differ, a relayout stands between them, and takes its time.
//!
//! | file | writes | source |
//! |---|---|---|
//! | `request` | what is asked: layer, load, mapping, what is known of the routing | |
//! | `writer` | buffers, steps, reductions, conversion of stored weights | |
//! | `lies` | where heads, caches, widths lie | KV blocks: ours; one head over all columns: WaferLLM |
//! | `relayout` | hops and wavelets of a movement between layouts | ours |
//! | `norm`, `product`, `attention`, `cache`, `router`, `network`, `clustered` | the operators | WaferLLM (OSDI 2025); grouped heads and experts are ours |
//! | `linear` | gated linear attention, the gate behind attention | ours; equations of Qwen3-Next |
//! | `overlap` | conversions beside transfers | ours |
//! | `layer` | the walk over the operators | |
//! | `kernel` | kernels from outside in place of operators | |
//! | `gemm`, `prefill` | matrix products, a layer for a chunk of a prompt, and what its cache becomes | WaferLLM (OSDI 2025) |
//! | `ends` | embedding, final norm, LM head, sampling | ours |
//!
//! Nothing here knows a time or a wafer.

mod attention;
mod cache;
mod clustered;
mod ends;
mod gemm;
mod kernel;
mod layer;
mod lies;
mod linear;
mod network;
mod norm;
mod overlap;
mod prefill;
mod product;
mod relayout;
mod request;
mod router;
mod sparse;
mod strips;
mod writer;

pub use ends::{EndRequest, embedding, is_same_for_ends, lm_head, prefill_embedding, turn_to_head};
pub use kernel::{BuiltIn, Kernel, with_kernels};
pub use layer::{decode_layer, decode_layer_with};
pub use lies::{Contents, KvLies};
pub use prefill::{cache_handover, handed_over, prefill_layer, prefill_layer_with};
pub use wafersim_graph::LayerGraphs;

pub use request::{ExpertLoad, LayerRequest, LowerError, PlaceLoad, Routed, Scope};
