//! A layer for a decoding micro-batch.

use wafersim_program::{Axis, BufferId, Node, Program, ReduceOperator};
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, LatentAttention, Moe};

use super::{
    DENSE, EXPERTS, ExpertShape, KvShape, LayerShape, SHARED, grouped_heads, latent_heads, push_network,
    push_with_route_change, residual,
};
use crate::attention::{self, Heads};
use crate::context::Kernel;
use crate::feed_forward::{self, Cluster, ExpertLoad, NetworkSize};
use crate::gemv::{Product, local_product};
use crate::norm::{closed_rms_norm, fused_elements, head_norm, rms_norm, rope};
use crate::overlap::hide_conversions;

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
        let nodes = closed_rms_norm(&mut kernel, Axis::Y, row_share, tokens, x);
        kernel.program.push("output.norm", nodes);
    }
    if kernel.options.overlapped_conversion {
        hide_conversions(&mut kernel.program);
    }
    kernel.program
}

fn norm(kernel: &mut Kernel, name: &'static str, elements: u64, vectors: u64, x: BufferId) {
    let nodes = rms_norm(kernel, Axis::Y, elements, vectors, x);
    kernel.program.push(name, nodes);
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
    let heads = grouped_heads(grouped);
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
    // The sum of squares of a fused norm travels along.
    let sums = fused_elements(kernel, tokens);
    let y = kernel.buffer("turned", product.outputs.saturating_mul(tokens) + sums);
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
    nodes.extend(closed_rms_norm(kernel, Axis::X, latent_here, tokens, latent_key));
    kernel.program.push("attention.query_key_value", nodes);

    let rotated = region.share(Axis::Y, latent.heads.saturating_mul(latent.rope_dim)).saturating_mul(tokens);
    let rotations = vec![rope(kernel, rotated, query)];
    kernel.program.push("attention.rope", rotations);

    let absorbed = block_diagonal(kernel, latent.heads, latent.nope_dim, latent.kv_rank, tokens, query);
    kernel.program.push("attention.absorbed_key", absorbed);
    append(kernel, region.share(Axis::X, latent.kv_rank + latent.rope_dim).saturating_mul(tokens));
    let heads = latent_heads(latent);
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
