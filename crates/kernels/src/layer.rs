//! One transformer layer as a program, decode and prefill, in the order of WaferLLM's layer.
//!
//! The residual stream lies along y (each row of processing elements holds `hidden / rows` elements) and is replicated
//! along x. Products alternate: q, k, v, gate and up reduce along y and leave their outputs along x; the output and down
//! projections reduce along x and leave theirs along y. With one head as wide as the hidden size, a square region and
//! [`Options::PUBLISHED`] this is the layer that was measured (rows `decode_layer_*` and `prefill_layer_*`).

use serde::Serialize;
use wafersim_program::{Axis, BufferId, Math, Node, Operation, Program, ReduceOperator, Region};
use wafersim_spec::Precision;
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, LatentAttention, Layer, Moe};

use crate::attention::{self, Heads};
use crate::context::Kernel;
use crate::feed_forward::{self, Cluster, ExpertLoad, NetworkSize};
use crate::gemm::{self, Tile};
use crate::gemv::{Product, local_product};
use crate::norm::{fused_elements, head_norm, rms_norm, rope};
use crate::options::Options;

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

/// The program of a layer for a decoding micro-batch.
pub fn decode_layer(shape: &LayerShape<'_>) -> Program {
    let mut kernel = Kernel::new("decode layer", shape.region, shape.precision, shape.options);
    let tokens = shape.tokens.max(1);
    let row_share = shape.region.share(Axis::Y, shape.hidden);
    let x = kernel.buffer("residual", row_share.saturating_mul(tokens));

    norm(&mut kernel, "attention.norm", row_share, tokens, x);
    match &shape.layer.attention {
        Attention::Grouped(grouped) => grouped_decode(&mut kernel, shape, grouped, tokens, x),
        Attention::Latent(latent) => latent_decode(&mut kernel, shape, latent, tokens, x),
    }
    match &shape.layer.feed_forward {
        FeedForward::Dense { width, .. } => {
            norm(&mut kernel, "feed_forward.norm", row_share, tokens, x);
            let load = ExpertLoad { pairs: tokens, distinct: 1, busiest: tokens };
            let size = NetworkSize { hidden: shape.hidden, width: *width, vectors: tokens };
            let parts = feed_forward::spread(&mut kernel, size, load, tokens, x);
            push_network(&mut kernel, DENSE, parts, row_share, tokens, x);
        }
        FeedForward::Moe(moe) => {
            norm(&mut kernel, "feed_forward.norm", row_share, tokens, x);
            decode_experts(&mut kernel, shape, moe, tokens, row_share, x);
        }
    }
    for _ in 2..shape.layer.norms {
        norm(&mut kernel, "output.norm", row_share, tokens, x);
    }
    kernel.program
}

fn norm(kernel: &mut Kernel, name: &'static str, elements: u64, vectors: u64, x: BufferId) {
    let nodes = rms_norm(kernel, Axis::Y, elements, vectors, x);
    kernel.program.push(name, nodes);
}

/// Appends the parts of a network, with the residual sum.
fn push_network(
    kernel: &mut Kernel,
    names: [&'static str; 3],
    parts: [Vec<Node>; 3],
    row_share: u64,
    tokens: u64,
    x: BufferId,
) {
    let [first, activation, mut last] = parts;
    last.push(residual(kernel, row_share.saturating_mul(tokens), x));
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

fn residual(kernel: &Kernel, elements: u64, x: BufferId) -> Node {
    kernel.compute(Math::Add, &[x], x, vec![kernel.work(Operation::Add, elements, 1)])
}

fn grouped_decode(kernel: &mut Kernel, shape: &LayerShape<'_>, grouped: &GroupedAttention, tokens: u64, x: BufferId) {
    let region = shape.region;
    let row_share = region.share(Axis::Y, shape.hidden);
    let query_here = region.share(Axis::X, grouped.heads.saturating_mul(grouped.head_dim));
    let key_here = region.share(Axis::X, grouped.kv_heads.saturating_mul(grouped.head_dim));
    let outputs = query_here.saturating_add(key_here.saturating_mul(2)).saturating_mul(tokens);
    let sums = fused_elements(kernel, tokens);
    let qkv = kernel.buffer("attention.query_key_value", outputs + sums);
    let mut products = Vec::new();
    for here in [query_here, key_here, key_here] {
        let product = Product { inputs: row_share, outputs: here, vectors: tokens, tiles: 1 };
        products.extend(local_product(kernel, product, x, qkv));
    }
    products.extend(kernel.all_reduce(Axis::Y, qkv, ReduceOperator::Add));
    kernel.program.push("attention.query_key_value", products);

    if grouped.qk_norm {
        let mut nodes = Vec::new();
        for (here, heads) in [(query_here, grouped.heads), (key_here, grouped.kv_heads)] {
            let columns = region.columns.div_ceil(heads).max(1);
            let heads_here = heads.div_ceil(region.columns).saturating_mul(tokens);
            nodes.extend(head_norm(kernel, here.saturating_mul(tokens), heads_here, columns, qkv));
        }
        kernel.program.push("attention.head_norm", nodes);
    }
    if grouped.rotary_dim > 0 {
        let share =
            |here: u64| here.saturating_mul(tokens).saturating_mul(grouped.rotary_dim).div_ceil(grouped.head_dim);
        let nodes = vec![rope(kernel, share(query_here), qkv), rope(kernel, share(key_here), qkv)];
        kernel.program.push("attention.rope", nodes);
    }
    append(kernel, key_here.saturating_mul(2).saturating_mul(tokens));
    let heads = Heads {
        queries_per_kv: grouped.heads / grouped.kv_heads.max(1),
        key_dim: grouped.head_dim,
        value_dim: grouped.head_dim,
    };
    let visible = grouped.reach.visible(shape.context);
    push_core(kernel, heads, shape.kv, tokens, visible, qkv);
    output_projection(kernel, grouped.heads.saturating_mul(grouped.head_dim), row_share, tokens, x);
}

fn append(kernel: &mut Kernel, elements: u64) {
    if !kernel.options.layer_only {
        let nodes = attention::append(kernel, elements);
        kernel.program.push("attention.kv_append", nodes);
    }
}

fn push_core(kernel: &mut Kernel, heads: Heads, kv: KvShape, tokens: u64, visible: u64, query: BufferId) {
    let ([scores, softmax, values], _) = attention::decode(kernel, heads, kv, tokens, visible, query);
    push_with_route_change(kernel, "attention.scores", scores);
    kernel.program.push("attention.softmax", softmax);
    kernel.program.push("attention.values", values);
}

fn output_projection(kernel: &mut Kernel, inner: u64, row_share: u64, tokens: u64, x: BufferId) {
    let inputs = kernel.region().share(Axis::X, inner);
    let output = kernel.buffer("attention.projected", row_share.saturating_mul(tokens));
    let product = Product { inputs, outputs: row_share, vectors: tokens, tiles: 1 };
    let mut nodes = local_product(kernel, product, output, output);
    nodes.extend(kernel.all_reduce(Axis::X, output, ReduceOperator::Add));
    nodes.push(residual(kernel, row_share.saturating_mul(tokens), x));
    push_with_route_change(kernel, "attention.output", nodes);
}

/// A product that reads along `from` and leaves its outputs along the other axis.
fn turn(kernel: &mut Kernel, from: Axis, inputs: u64, outputs: u64, tokens: u64, x: BufferId) -> (Vec<Node>, BufferId) {
    let region = kernel.region();
    let product = Product {
        inputs: region.share(from, inputs),
        outputs: region.share(from.across(), outputs),
        vectors: tokens,
        tiles: 1,
    };
    let y = kernel.buffer("turned", product.outputs.saturating_mul(tokens));
    let mut nodes = local_product(kernel, product, x, y);
    nodes.extend(kernel.all_reduce(from, y, ReduceOperator::Add));
    (nodes, y)
}

/// MLA in the absorbed form: the cache holds one latent for all heads, queries are brought into its space and results
/// out of it (DeepSeek-V2, section 2.1.2). Per head a product with its own matrix: block-diagonal, so that its tile holds
/// `heads x nope x rank` over all processing elements.
fn latent_decode(kernel: &mut Kernel, shape: &LayerShape<'_>, latent: &LatentAttention, tokens: u64, x: BufferId) {
    let region = shape.region;
    let row_share = region.share(Axis::Y, shape.hidden);
    let query_width = latent.heads.saturating_mul(latent.nope_dim + latent.rope_dim);
    let mut nodes = Vec::new();
    let query = if let Some(rank) = latent.query_rank {
        let (down, compressed) = turn(kernel, Axis::Y, shape.hidden, rank, tokens, x);
        nodes.extend(down);
        nodes.extend(rms_norm(kernel, Axis::X, region.share(Axis::X, rank), tokens, compressed));
        let (up, query) = turn(kernel, Axis::X, rank, query_width, tokens, compressed);
        nodes.extend(up);
        query
    } else {
        let (direct, query) = turn(kernel, Axis::Y, shape.hidden, query_width, tokens, x);
        nodes.extend(direct);
        query
    };
    let (down, latent_key) = turn(kernel, Axis::Y, shape.hidden, latent.kv_rank + latent.rope_dim, tokens, x);
    nodes.extend(down);
    let latent_here = region.share(Axis::X, latent.kv_rank);
    nodes.extend(rms_norm(kernel, Axis::X, latent_here, tokens, latent_key));
    kernel.program.push("attention.query_key_value", nodes);

    let rotated = region.share(Axis::Y, latent.heads.saturating_mul(latent.rope_dim)).saturating_mul(tokens);
    let rotations = vec![rope(kernel, rotated, query)];
    kernel.program.push("attention.rope", rotations);

    let absorbed = block_diagonal(kernel, latent.heads, latent.nope_dim, latent.kv_rank, tokens, query);
    kernel.program.push("attention.absorbed_key", absorbed);
    append(kernel, region.share(Axis::X, latent.kv_rank + latent.rope_dim).saturating_mul(tokens));
    let heads =
        Heads { queries_per_kv: latent.heads, key_dim: latent.kv_rank + latent.rope_dim, value_dim: latent.kv_rank };
    push_core(kernel, heads, shape.kv, tokens, shape.context, query);
    let expanded = block_diagonal(kernel, latent.heads, latent.kv_rank, latent.value_dim, tokens, query);
    kernel.program.push("attention.absorbed_value", expanded);
    output_projection(kernel, latent.heads.saturating_mul(latent.value_dim), row_share, tokens, x);
}

fn block_diagonal(kernel: &mut Kernel, heads: u64, inputs: u64, outputs: u64, tokens: u64, x: BufferId) -> Vec<Node> {
    let region = kernel.region();
    let head_rows = region.share(Axis::Y, heads.saturating_mul(inputs));
    let product = Product { inputs: head_rows, outputs: region.share(Axis::X, outputs), vectors: tokens, tiles: 1 };
    // The rows of a processing element belong to one head or few: so many sums leave it.
    let heads_here = head_rows.div_ceil(inputs.max(1));
    let elements = product.outputs.saturating_mul(heads_here).saturating_mul(tokens);
    let y = kernel.buffer("attention.absorbed", elements);
    let mut nodes = local_product(kernel, product, x, y);
    nodes.extend(kernel.all_reduce(Axis::Y, y, ReduceOperator::Add));
    nodes
}

fn decode_experts(kernel: &mut Kernel, shape: &LayerShape<'_>, moe: &Moe, tokens: u64, row_share: u64, x: BufferId) {
    let router = feed_forward::router(kernel, shape.hidden, moe.experts, moe.top_k, tokens, x);
    push_with_route_change(kernel, "router", router);
    let shared_pairs = ExpertLoad { pairs: tokens, distinct: 1, busiest: tokens };
    let size = NetworkSize { hidden: shape.hidden, width: moe.width, vectors: tokens };
    let shared = (moe.shared_width > 0).then(|| {
        let size = NetworkSize { width: moe.shared_width, ..size };
        feed_forward::spread(kernel, size, shared_pairs, 0, x)
    });
    match shape.experts {
        ExpertShape::Spread => {
            // A fused norm has travelled with the router's scores.
            let parts = feed_forward::spread(kernel, size, shape.load, 0, x);
            push_network(kernel, EXPERTS, parts, row_share, tokens, x);
        }
        ExpertShape::Clustered { columns, rows } => {
            let cluster = Cluster { columns, rows };
            let [dispatch, gate_up, down, mut combine] = feed_forward::clustered(kernel, size, cluster, shape.load, x);
            kernel.program.push("experts.dispatch", dispatch);
            kernel.program.push("experts.gate_up", gate_up);
            kernel.program.push("experts.down", down);
            combine.push(residual(kernel, row_share.saturating_mul(tokens), x));
            push_with_route_change(kernel, "experts.combine", combine);
        }
    }
    if let Some(parts) = shared {
        for (name, part) in SHARED.into_iter().zip(parts) {
            kernel.program.push(name, part);
        }
    }
}

/// The program of a layer for a chunk of a prompt. `context` tokens lie before the chunk.
pub fn prefill_layer(shape: &LayerShape<'_>) -> Program {
    let mut kernel = Kernel::new("prefill layer", shape.region, shape.precision, shape.options);
    let region = shape.region;
    let tokens = shape.tokens.max(1);
    let rows_of_tokens = region.share(Axis::Y, tokens);
    let hidden_here = region.share(Axis::X, shape.hidden);

    prefill_norm(&mut kernel, "attention.norm", rows_of_tokens, hidden_here);
    match &shape.layer.attention {
        Attention::Grouped(grouped) => {
            let query = grouped.heads.saturating_mul(grouped.head_dim);
            let key = grouped.kv_heads.saturating_mul(grouped.head_dim);
            prefill_products(
                &mut kernel,
                "attention.query_key_value",
                shape,
                tokens,
                &[(shape.hidden, query), (shape.hidden, key), (shape.hidden, key)],
            );
            prefill_rope(&mut kernel, rows_of_tokens, region.share(Axis::X, query) + region.share(Axis::X, key));
            let heads = Heads {
                queries_per_kv: grouped.heads / grouped.kv_heads.max(1),
                key_dim: grouped.head_dim,
                value_dim: grouped.head_dim,
            };
            let visible = grouped.reach.visible(shape.context.saturating_add(tokens));
            prefill_core(&mut kernel, shape, heads, tokens, visible);
            prefill_aligned(&mut kernel, "attention.output", tokens, query, shape.hidden);
        }
        Attention::Latent(latent) => {
            let query = latent.heads.saturating_mul(latent.nope_dim + latent.rope_dim);
            let rank = latent.query_rank.unwrap_or(shape.hidden);
            let absorbed = latent.heads.saturating_mul(latent.kv_rank);
            prefill_products(
                &mut kernel,
                "attention.query_key_value",
                shape,
                tokens,
                &[
                    (shape.hidden, rank),
                    (rank, query),
                    (shape.hidden, latent.kv_rank + latent.rope_dim),
                    (latent.nope_dim, absorbed),
                ],
            );
            let rotated = latent.heads.saturating_mul(latent.rope_dim);
            prefill_rope(&mut kernel, rows_of_tokens, region.share(Axis::X, rotated));
            let heads = Heads {
                queries_per_kv: latent.heads,
                key_dim: latent.kv_rank + latent.rope_dim,
                value_dim: latent.kv_rank,
            };
            prefill_core(&mut kernel, shape, heads, tokens, shape.context.saturating_add(tokens));
            let values = latent.heads.saturating_mul(latent.value_dim);
            prefill_aligned(&mut kernel, "attention.absorbed_value", tokens, latent.kv_rank, values);
            prefill_aligned(&mut kernel, "attention.output", tokens, values, shape.hidden);
        }
    }
    prefill_norm(&mut kernel, "feed_forward.norm", rows_of_tokens, hidden_here);
    match &shape.layer.feed_forward {
        FeedForward::Dense { width, .. } => prefill_dense(&mut kernel, DENSE, shape.hidden, *width, tokens),
        FeedForward::Moe(moe) => prefill_experts(&mut kernel, shape, moe, tokens),
    }
    for _ in 2..shape.layer.norms {
        prefill_norm(&mut kernel, "output.norm", rows_of_tokens, hidden_here);
    }
    kernel.program
}

/// RMSNorm in prefill: a plain chain all-reduce along x of one sum per row of tokens.
fn prefill_norm(kernel: &mut Kernel, name: &'static str, vectors: u64, elements: u64) {
    let sums = kernel.buffer("norm.sums", vectors);
    let columns = kernel.region().columns;
    let mut nodes = vec![kernel.compute(
        Math::SumOfSquares,
        &[sums],
        sums,
        vec![kernel.work(Operation::ScalarReduce, elements, vectors)],
    )];
    let program = &mut kernel.program;
    nodes.extend(wafersim_program::collective::chain_all_reduce(program, Axis::X, columns, sums, ReduceOperator::Add));
    nodes.push(kernel.compute(
        Math::RmsScale,
        &[sums],
        sums,
        vec![
            kernel.work(Operation::Divide, 1, vectors),
            kernel.work(Operation::SquareRoot, 1, vectors),
            kernel.work(Operation::Multiply, elements, vectors.saturating_mul(4)),
        ],
    ));
    kernel.program.push(name, nodes);
}

fn prefill_rope(kernel: &mut Kernel, rows: u64, elements: u64) {
    let x = kernel.buffer("rope", rows.saturating_mul(elements));
    let node = rope(kernel, rows.saturating_mul(elements), x);
    kernel.program.push("attention.rope", vec![node]);
}

/// Products that share one aligned input.
fn prefill_products(
    kernel: &mut Kernel,
    name: &'static str,
    shape: &LayerShape<'_>,
    tokens: u64,
    products: &[(u64, u64)],
) {
    let region = kernel.region();
    let mut nodes = gemm::alignment(kernel, Tile::new(region.columns, region.rows, tokens, shape.hidden, 1));
    for &(inputs, outputs) in products {
        nodes.extend(feed_forward::tile_conversion(kernel, inputs, outputs, 1));
        nodes.extend(gemm::cannon(kernel, Tile::new(region.columns, region.rows, tokens, inputs, outputs)));
    }
    kernel.program.push(name, nodes);
}

fn prefill_aligned(kernel: &mut Kernel, name: &'static str, tokens: u64, inputs: u64, outputs: u64) {
    let region = kernel.region();
    let tile = Tile::new(region.columns, region.rows, tokens, inputs, outputs);
    let mut nodes = feed_forward::tile_conversion(kernel, inputs, outputs, 1);
    nodes.extend(gemm::alignment(kernel, tile));
    nodes.extend(gemm::cannon(kernel, tile));
    let x = kernel.buffer("residual", tile.m.saturating_mul(tile.n));
    nodes.push(residual(kernel, tile.m.saturating_mul(tile.n), x));
    kernel.program.push(name, nodes);
}

fn prefill_core(kernel: &mut Kernel, shape: &LayerShape<'_>, heads: Heads, tokens: u64, visible: u64) {
    let [scores, softmax, values] = attention::prefill(kernel, heads, shape.kv, tokens, visible, shape.key_block);
    kernel.program.push("attention.scores", scores);
    kernel.program.push("attention.softmax", softmax);
    kernel.program.push("attention.values", values);
}

fn prefill_dense(kernel: &mut Kernel, names: [&'static str; 3], hidden: u64, width: u64, tokens: u64) {
    let [first, activation, last] = feed_forward::prefill_network(kernel, hidden, width, tokens);
    kernel.program.push(names[0], first);
    kernel.program.push(names[1], activation);
    kernel.program.push(names[2], last);
}

/// Experts in prefill. In rectangles each multiplies its own tokens as matrices. Spread experts have too few tokens each
/// to fill the rows of the region, so tokens go through them as in decode, weights in place.
fn prefill_experts(kernel: &mut Kernel, shape: &LayerShape<'_>, moe: &Moe, tokens: u64) {
    let x = kernel.buffer("experts.input", shape.region.share(Axis::Y, shape.hidden));
    let router = feed_forward::prefill_router(kernel, shape.hidden, moe.experts, moe.top_k, tokens);
    kernel.program.push("router", router);
    let size = NetworkSize { hidden: shape.hidden, width: moe.width, vectors: tokens };
    match shape.experts {
        ExpertShape::Spread => {
            let row_share = shape.region.share(Axis::Y, shape.hidden);
            let dispatch = feed_forward::turn_tokens(kernel, shape.hidden, tokens, x);
            kernel.program.push("experts.dispatch", dispatch);
            let parts = feed_forward::spread(kernel, size, shape.load, 0, x);
            push_network(kernel, EXPERTS, parts, row_share, tokens, x);
            let back = feed_forward::turn_back(kernel, shape.hidden, tokens, x);
            kernel.program.push("experts.combine", vec![back]);
        }
        ExpertShape::Clustered { columns, rows } => {
            let cluster = Cluster { columns, rows };
            let [dispatch, _, _, combine] = feed_forward::clustered(kernel, size, cluster, shape.load, x);
            kernel.program.push("experts.dispatch", dispatch);
            let outer = kernel.program.region;
            kernel.program.region = Region::new(outer.x, outer.y, columns, rows);
            let [first, activation, last] =
                feed_forward::prefill_network(kernel, shape.hidden, moe.width, shape.load.busiest.max(1));
            kernel.program.region = outer;
            kernel.program.push("experts.gate_up", [first, activation].concat());
            kernel.program.push("experts.down", last);
            kernel.program.push("experts.combine", combine);
        }
    }
    if moe.shared_width > 0 {
        prefill_dense(kernel, SHARED, shape.hidden, moe.shared_width, tokens);
    }
}
