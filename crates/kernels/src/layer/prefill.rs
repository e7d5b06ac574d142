//! A layer for a chunk of a prompt: tokens along y, widths along x, products by MeshGEMM.

use wafersim_program::{Axis, Math, Node, Operation, Program, ReduceOperator, Region};
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, Moe};

use super::{
    DENSE, EXPERTS, ExpertShape, KvShape, LayerShape, SHARED, grouped_heads, latent_heads, push_network, residual,
};
use crate::attention::{self, Heads};
use crate::context::Kernel;
use crate::feed_forward::{self, Cluster, Network, NetworkSize};
use crate::gemm::{self, Tile};
use crate::norm::{LEAN_NORM_OPERATIONS, rope};
use crate::options::Scope;

/// The program of a layer for a chunk of a prompt. `context` tokens lie before the chunk.
pub fn prefill_layer(shape: &LayerShape<'_>) -> Program {
    prefill_layer_for(shape, Scope::Model)
}

/// The same for a model, or as it was measured.
pub fn prefill_layer_for(shape: &LayerShape<'_>, scope: Scope) -> Program {
    let mut kernel = Kernel::new("prefill layer", shape.region, shape.precision, shape.options);
    kernel.scope = scope;
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
            if grouped.qk_norm {
                prefill_head_norm(&mut kernel, grouped, shape.kv, rows_of_tokens);
            }
            prefill_rope(&mut kernel, rows_of_tokens, region.share(Axis::X, query) + region.share(Axis::X, key));
            let heads = grouped_heads(grouped);
            let visible = grouped.reach.visible(shape.context.saturating_add(tokens));
            prefill_core(&mut kernel, shape, heads, tokens, visible);
            prefill_aligned(&mut kernel, "attention.output", tokens, query, shape.hidden);
        }
        // As in decode.
        Attention::Linear(_) => {}
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
            for rank in latent.query_rank.into_iter().chain([latent.kv_rank]) {
                prefill_norm(&mut kernel, "attention.head_norm", rows_of_tokens, region.share(Axis::X, rank));
            }
            let rotated = latent.heads.saturating_mul(latent.rope_dim);
            prefill_rope(&mut kernel, rows_of_tokens, region.share(Axis::X, rotated));
            let heads = latent_heads(latent);
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

/// Vector operations of RMSNorm over each row of tokens.
const PREFILL_NORM_OPERATIONS: u64 = 4;

/// RMSNorm in prefill: a plain chain all-reduce along x of one sum per row of tokens.
fn prefill_norm(kernel: &mut Kernel, name: &'static str, vectors: u64, elements: u64) {
    let columns = kernel.region().columns;
    let nodes = prefill_norm_over(kernel, columns, vectors, elements, PREFILL_NORM_OPERATIONS);
    kernel.program.push(name, nodes);
}

/// RMSNorm of the heads of query and key: as many sums for each token as a processing element has pieces of heads, each over
/// the columns of its block.
fn prefill_head_norm(kernel: &mut Kernel, grouped: &GroupedAttention, kv: KvShape, rows_of_tokens: u64) {
    let columns = kv.columns_per_head.clamp(1, kernel.region().columns);
    let piece = grouped.head_dim.div_ceil(columns);
    let keys = kv.heads_per_block.max(1);
    let queries = keys.saturating_mul(grouped.heads / grouped.kv_heads.max(1));
    let mut nodes = Vec::new();
    for heads in [queries, keys] {
        let vectors = rows_of_tokens.saturating_mul(heads);
        nodes.extend(prefill_norm_over(kernel, columns, vectors, piece, LEAN_NORM_OPERATIONS));
    }
    kernel.program.push("attention.head_norm", nodes);
}

fn prefill_norm_over(kernel: &mut Kernel, columns: u64, vectors: u64, elements: u64, operations: u64) -> Vec<Node> {
    let sums = kernel.buffer("norm.sums", vectors);
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
            kernel.work(Operation::Multiply, elements, vectors.saturating_mul(operations)),
        ],
    ));
    nodes
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
    nodes.push(residual(kernel, tile.m.saturating_mul(tile.n), x, x));
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
    let router = feed_forward::prefill_router(kernel, shape.hidden, moe, tokens);
    kernel.program.push("router", router);
    let size = NetworkSize { hidden: shape.hidden, width: moe.width, vectors: tokens };
    match shape.experts {
        ExpertShape::Spread => {
            let row_share = shape.region.share(Axis::Y, shape.hidden);
            let dispatch = feed_forward::turn_tokens(kernel, shape.hidden, tokens, x);
            kernel.program.push("experts.dispatch", dispatch);
            let parts = feed_forward::spread(kernel, size, shape.load, 0, x, &Network::dense(false, tokens));
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
