//! One transformer layer as a program, decode and prefill, in the order of WaferLLM's layer.
//!
//! The residual stream lies along y (each row of processing elements holds `hidden / rows` elements) and is replicated
//! along x. Products alternate: q, k, v, gate and up reduce along y and leave their outputs along x; the output and down
//! projections reduce along x and leave theirs along y. With one head as wide as the hidden size, a square region and
//! [`Options::PUBLISHED`] this is the layer that was measured (rows `decode_layer_*` and `prefill_layer_*`), but for what
//! its source leaves unfinished: [`crate::Scope::Measured`].

mod decode;
mod exact_prefill;
mod prefill;

use serde::Serialize;
use wafersim_program::{BufferId, Formula, Math, Node, Operation, Region};
use wafersim_spec::Precision;
use wafersim_spec::model::{GroupedAttention, LatentAttention, Layer};

use crate::attention::Heads;
use crate::context::Kernel;
use crate::exact::first;
use crate::feed_forward::ExpertLoad;
use crate::options::Options;
pub use decode::{decode_layer, decode_layer_for, exact_decode_layer};
pub use exact_prefill::{exact_prefill_embedding, exact_prefill_layer, exact_turn};
pub use prefill::{prefill_layer, prefill_layer_for};

/// How the KV cache lies on the region (decided by placement).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct KvShape {
    /// KV heads on one block of columns; 1 unless there are more heads than columns.
    pub heads_per_block: u64,
    /// Columns of a block.
    pub columns_per_head: u64,
    /// Columns that share the dimensions of a head.
    pub dimension_split: u64,
    /// Sub-blocks of columns that share the sequence, beside the rows.
    pub sequence_split: u64,
}

impl KvShape {
    /// The published layout: one head over all columns.
    pub const fn published(columns: u64) -> Self {
        Self { heads_per_block: 1, columns_per_head: columns, dimension_split: columns, sequence_split: 1 }
    }
}

/// Where the experts of a layer lie (decided by placement).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertShape {
    /// Every expert over the whole region.
    Spread,
    /// One or more experts in each rectangle of this size.
    Clustered {
        /// Columns of a rectangle.
        columns: u64,
        /// Rows of a rectangle.
        rows: u64,
    },
}

/// A layer, where it lies, and what flows through it.
#[derive(Debug, Clone)]
pub struct LayerShape<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Processing elements.
    pub region: Region,
    /// KV cache layout.
    pub kv: KvShape,
    /// Expert layout; ignored in dense layers.
    pub experts: ExpertShape,
    /// Data types.
    pub precision: Precision,
    /// Tokens that go through together: a micro-batch in decode, a chunk in prefill.
    pub tokens: u64,
    /// Tokens in the cache that each of them sees.
    pub context: u64,
    /// Keys that prefill attention works on at once; ignored in decode.
    pub key_block: u64,
    /// Expected load of the experts; ignored in dense layers.
    pub load: ExpertLoad,
    /// Whose kernels.
    pub options: Options,
}

/// Operators of a dense network.
const DENSE: [&str; 3] = ["feed_forward.gate_up", "feed_forward.activation", "feed_forward.down"];
/// Operators of the routed experts.
const EXPERTS: [&str; 3] = ["experts.gate_up", "experts.activation", "experts.down"];
/// Operators of the shared expert.
const SHARED: [&str; 3] = ["shared_expert.gate_up", "shared_expert.activation", "shared_expert.down"];

/// Appends the parts of a network, with the residual sum.
fn push_network(
    kernel: &mut Kernel,
    names: [&'static str; 3],
    (parts, output): ([Vec<Node>; 3], BufferId),
    row_share: u64,
    tokens: u64,
    x: BufferId,
) {
    let [first, activation, mut last] = parts;
    last.push(residual(kernel, row_share.saturating_mul(tokens), x, output));
    kernel.program.push(names[0], first);
    kernel.program.push(names[1], activation);
    push_with_route_change(kernel, names[2], last);
}

/// The published WSE-3 kernel changes its routes when the axis of its reductions changes: six times a layer.
fn push_with_route_change(kernel: &mut Kernel, name: &'static str, body: Vec<Node>) {
    let mut nodes = kernel.route_change();
    nodes.extend(body);
    nodes.extend(kernel.route_change());
    kernel.program.push(name, nodes);
}

fn residual(kernel: &Kernel, elements: u64, x: BufferId, y: BufferId) -> Node {
    let node = kernel.compute(Math::Add, &[x, y], x, vec![kernel.work(Operation::Add, elements, 1)]);
    kernel.means(node, || Formula::Add { x: first(x), y: first(y) })
}

fn grouped_heads(grouped: &GroupedAttention) -> Heads {
    Heads {
        queries_per_kv: grouped.heads / grouped.kv_heads.max(1),
        key_dim: grouped.head_dim,
        value_dim: grouped.head_dim,
    }
}

/// MLA in the absorbed form: all heads look at one latent.
fn latent_heads(latent: &LatentAttention) -> Heads {
    Heads { queries_per_kv: latent.heads, key_dim: latent.kv_rank + latent.rope_dim, value_dim: latent.kv_rank }
}
