//! The transformer as a graph of operators with shapes, parameters, multiply-accumulates and bytes.
//!
//! [`OperatorGraph::of_model`] takes a checked [`Model`](wafersim_spec::Model), a [`PassLoad`] (decode or prefill, how
//! many tokens, how much context) and a [`Precision`](wafersim_spec::Precision), and lays the whole forward pass out as
//! a directed acyclic graph: one node per operator, one edge per tensor that flows. What may run at the same time has
//! no path between it: q, k and v; gate and up; the chosen experts; the shared expert beside the routed ones.
//!
//! This crate knows no wafer, no placement, no kernel and no clock. Which processing element computes an operator, and
//! how long it takes, is the business of the crates to the right.
//!
//! | module | owns |
//! |---|---|
//! | [`layer`] | one layer described once: operators over named dimensions, tensors, rewrites |
//! | [`load`] | what is asked of the model in one pass, and which cached tokens it looks at |
//! | [`operator`] | one node: kind, shapes, counts; one edge: elements and bytes |
//! | [`operator_graph`] | the graph: order, levels, critical path, totals, DOT and JSON |
//! | [`routing`] | how many experts several tokens want together |
//! | [`error`] | what can be asked wrongly |
//!
//! # Example
//! ```
//! use wafersim_graph::{PassLoad, OperatorGraph};
//! use wafersim_spec::{Model, Precision};
//!
//! let model = Model::builtin("qwen3-coder-480b-a35b")?;
//! let graph = OperatorGraph::of_model(&model, PassLoad::decode(1, 131_072), &Precision::default())?;
//!
//! assert_eq!(graph.parameters(), 480_154_875_392);
//! // 34.5 G multiply-accumulates with weights, and 2 * 96 heads * 128 for each layer and cached token.
//! assert_eq!(graph.macs(), 34_540_486_656 + 62 * 2 * 96 * 128 * 131_072);
//! // Embedding, 62 layers of 19 operators one after the other, final norm, LM head, sampling.
//! assert_eq!(graph.critical_path_depth(), 1 + 62 * 19 + 3);
//!
//! let query = graph.find("layers.3.attention.query").ok_or("no such operator")?;
//! let value = graph.find("layers.3.attention.value").ok_or("no such operator")?;
//! assert!(!graph.depends_on(value, query) && !graph.depends_on(query, value));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is left out
//! * MLA runs in the absorbed form in prefill too. Expanding keys and values per head would need fewer
//!   multiply-accumulates for chunks above about 170 tokens (DeepSeek-V3: 512 * 256 / 768), or for any chunk without
//!   cached context, and a place for the expanded ones in the SRAM.
//! * Gain-free norms, logit soft caps, attention temperature (Llama 4, Grok): no parameters, few operations.
//! * A chunked layer (Llama 4) counts as a window of the same width, as `Reach::visible` does: an upper bound.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "operator-graph")]
mod build;
pub mod error;
mod export;
pub mod layer;
pub mod load;
pub mod operator;
#[cfg(feature = "operator-graph")]
#[cfg_attr(docsrs, doc(cfg(feature = "operator-graph")))]
pub mod operator_graph;
pub mod routing;

pub use error::GraphError;
pub use layer::{LayerGraph, LayerGraphs, LayerLoad, OwnRewrite, OwnRewrites, Rewrite, RewriteRefused, Rewrites};
pub use load::{PassLoad, Phase};
pub use operator::{ExpertStage, Flow, Operator, OperatorKind, OperatorName, Shape};
#[cfg(feature = "operator-graph")]
#[cfg_attr(docsrs, doc(cfg(feature = "operator-graph")))]
pub use operator_graph::{OperatorGraph, OperatorId};
pub use routing::expected_distinct_experts;
