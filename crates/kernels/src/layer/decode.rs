//! A layer for a decoding micro-batch.

use wafersim_program::{Axis, BufferId, Dimension, Field, Formula, Node, Operand, Program, ReduceOperator};
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, LatentAttention, Moe, Role};

use super::{
    DENSE, EXPERTS, ExpertShape, KvShape, LayerShape, SHARED, grouped_heads, latent_heads, push_network,
    push_with_route_change, residual,
};
use crate::attention::{self, Heads, Reads};
use crate::context::Kernel;
use crate::exact::{CacheLayout, Exact, ExactError, HeadBlocks, check, first, table};
use crate::feed_forward::{self, Cluster, ExpertLoad, Network, NetworkSize};
use crate::gemv::{Product, local_product};
use crate::norm::{closed_rms_norm, fused_elements, head_norm, rms_norm, rms_norm_to, rope, rope_of};
use crate::options::Scope;
use crate::overlap::hide_conversions;

/// The program of a layer for a decoding micro-batch.
pub fn decode_layer(shape: &LayerShape<'_>) -> Program {
    decode_layer_for(shape, Scope::Model)
}

/// The same for a model, or as it was measured.
pub fn decode_layer_for(shape: &LayerShape<'_>, scope: Scope) -> Program {
    let mut kernel = Kernel::new("decode layer", shape.region, shape.precision, shape.options);
    kernel.scope = scope;
    write(kernel, shape)
}

/// The same as an exact program, for one token. `shape.context` counts the token itself: it sees itself in the cache. The
/// inputs are the buffers `residual` and `kv.before`, the outputs `residual` and `kv.cache`.
///
/// # Errors
/// Where the layer, its KV layout or its experts have no exact program.
pub fn exact_decode_layer(shape: &LayerShape<'_>, exact: &Exact) -> Result<Program, ExactError> {
    if shape.tokens != 1 {
        return Err(ExactError::Tokens(shape.tokens));
    }
    let Some(context) = shape.context.checked_sub(1) else {
        return Err(ExactError::Context { context: shape.context, tokens: shape.tokens });
    };
    check(&LayerShape { context, ..shape.clone() }, exact)?;
    let mut kernel = Kernel::new("decode layer", shape.region, shape.precision, shape.options);
    kernel.exact = Some(exact.clone());
    Ok(write(kernel, shape))
}

fn write(mut kernel: Kernel, shape: &LayerShape<'_>) -> Program {
    let tokens = shape.tokens.max(1);
    let row_share = shape.region.share(Axis::Y, shape.hidden);
    let x = kernel.declare("residual", row_share.saturating_mul(tokens), || {
        vec![table("residual", tokens, shape.hidden, Axis::Y, shape.region)]
    });

    let gain = (Role::AttentionNorm, "attention.normed", shape.hidden);
    let normed = norm(&mut kernel, "attention.norm", row_share, tokens, x, gain);
    match &shape.layer.attention {
        Attention::Grouped(grouped) => grouped_decode(&mut kernel, shape, grouped, tokens, (x, normed)),
        Attention::Latent(latent) => latent_decode(&mut kernel, shape, latent, tokens, x),
        // Written by `lower` alone; who answers with these programs refuses such a layer.
        Attention::Linear(_) => {}
    }
    let gain = (Role::FeedForwardNorm, "feed_forward.normed", shape.hidden);
    let normed = norm(&mut kernel, "feed_forward.norm", row_share, tokens, x, gain);
    match &shape.layer.feed_forward {
        FeedForward::Dense { width, bias } => {
            let load = ExpertLoad { pairs: tokens, distinct: 1, busiest: tokens };
            let size = NetworkSize { hidden: shape.hidden, width: *width, vectors: tokens };
            let network = Network::dense(*bias, tokens);
            let parts = feed_forward::spread(&mut kernel, size, load, tokens, normed, &network);
            push_network(&mut kernel, DENSE, parts, row_share, tokens, x);
        }
        FeedForward::Moe(moe) => decode_experts(&mut kernel, shape, moe, tokens, row_share, (x, normed)),
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

fn norm(
    kernel: &mut Kernel,
    name: &'static str,
    elements: u64,
    vectors: u64,
    x: BufferId,
    gain: (Role, &'static str, u64),
) -> BufferId {
    let (nodes, normed) = rms_norm_to(kernel, elements, vectors, x, gain);
    kernel.program.push(name, nodes);
    normed
}

fn grouped_decode(
    kernel: &mut Kernel,
    shape: &LayerShape<'_>,
    grouped: &GroupedAttention,
    tokens: u64,
    (x, normed): (BufferId, BufferId),
) {
    let region = shape.region;
    let row_share = region.share(Axis::Y, shape.hidden);
    let query_here = region.share(Axis::X, grouped.heads.saturating_mul(grouped.head_dim));
    let key_here = region.share(Axis::X, grouped.kv_heads.saturating_mul(grouped.head_dim));
    let outputs = query_here.saturating_add(key_here.saturating_mul(2)).saturating_mul(tokens);
    let sums = fused_elements(kernel, tokens);
    let qkv = kernel.declare("attention.query_key_value", outputs + sums, || {
        let heads = |name: &'static str, heads: u64| {
            HeadBlocks::new(heads, region.columns).field(name, tokens, grouped.head_dim)
        };
        vec![heads("q", grouped.heads), heads("k", grouped.kv_heads), heads("v", grouped.kv_heads)]
    });
    let parts = [Operand::new(qkv, 0), Operand::new(qkv, 1), Operand::new(qkv, 2)];
    let mut products = Vec::new();
    for ((here, role), y) in
        [(query_here, Role::Query), (key_here, Role::Key), (key_here, Role::Value)].into_iter().zip(parts)
    {
        let product = Product { inputs: row_share, outputs: here, vectors: tokens, tiles: 1 };
        let nodes = local_product(kernel, product, normed, qkv);
        products.extend(meant(kernel, nodes, role, (first(normed), y), grouped.qkv_bias.then_some(Axis::Y)));
    }
    products.extend(kernel.all_reduce(Axis::Y, qkv, ReduceOperator::Add));
    kernel.program.push("attention.query_key_value", products);

    if grouped.qk_norm {
        let mut nodes = Vec::new();
        for (copy, (here, heads)) in (0..).zip([(query_here, grouped.heads), (key_here, grouped.kv_heads)]) {
            nodes.extend(head_norm(kernel, here, heads, tokens, Operand::new(qkv, copy), u64::from(copy)));
        }
        kernel.program.push("attention.head_norm", nodes);
    }
    if grouped.rotary_dim > 0 {
        let share =
            |here: u64| here.saturating_mul(tokens).saturating_mul(grouped.rotary_dim).div_ceil(grouped.head_dim);
        let position = shape.context.saturating_sub(tokens);
        let nodes = vec![
            rope_of(kernel, share(query_here), parts[0], grouped.head_dim, position),
            rope_of(kernel, share(key_here), parts[1], grouped.head_dim, position),
        ];
        kernel.program.push("attention.rope", nodes);
    }
    let heads = grouped_heads(grouped);
    let cache = if kernel.exact.is_some() {
        let lies = CacheLayout::new(shape.kv, grouped.kv_heads, heads.queries_per_kv, grouped.head_dim, region.rows);
        let token = shape.context.saturating_sub(1);
        let (nodes, cache) = attention::exact_append(kernel, lies, [parts[1], parts[2]], token);
        kernel.program.push("attention.kv_append", nodes);
        Some((cache, lies))
    } else {
        append(kernel, key_here.saturating_mul(2).saturating_mul(tokens));
        None
    };
    let visible = grouped.reach.visible(shape.context);
    let result = push_core(kernel, heads, shape.kv, tokens, visible, Reads { query: parts[0], cache });
    let inner = grouped.heads.saturating_mul(grouped.head_dim);
    let input = cache.map(|(_, lies)| (result, lies.projected(tokens), grouped.output_bias));
    output_projection(kernel, inner, row_share, tokens, (x, shape.hidden), input);
}

/// Gives a product between two fields its meaning, in exact programs.
fn meant(
    kernel: &mut Kernel,
    nodes: Vec<Node>,
    role: Role,
    (x, y): (Operand, Operand),
    bias: Option<Axis>,
) -> Vec<Node> {
    if kernel.exact.is_none() {
        return nodes;
    }
    let (inputs, outputs) = (kernel.field(x), kernel.field(y));
    let weight = kernel.weight(role, inputs, outputs);
    kernel.last_means(nodes, || Formula::Product { x, weight, y, chosen: None, bias })
}

fn append(kernel: &mut Kernel, elements: u64) {
    if kernel.scope == Scope::Model {
        let nodes = attention::append(kernel, elements);
        kernel.program.push("attention.kv_append", nodes);
    }
}

fn push_core(kernel: &mut Kernel, heads: Heads, kv: KvShape, tokens: u64, visible: u64, reads: Reads) -> BufferId {
    let ([scores, softmax, values], result) = attention::decode(kernel, heads, kv, tokens, visible, reads);
    push_with_route_change(kernel, "attention.scores", scores);
    kernel.program.push("attention.softmax", softmax);
    kernel.program.push("attention.values", values);
    result
}

fn output_projection(
    kernel: &mut Kernel,
    inner: u64,
    row_share: u64,
    tokens: u64,
    (x, hidden): (BufferId, u64),
    input: Option<(BufferId, Field, bool)>,
) {
    let region = kernel.region();
    let inputs = region.share(Axis::X, inner);
    let output = kernel.declare("attention.projected", row_share.saturating_mul(tokens), || {
        vec![table("projected", tokens, hidden, Axis::Y, region)]
    });
    let product = Product { inputs, outputs: row_share, vectors: tokens, tiles: 1 };
    let mut nodes = local_product(kernel, product, output, output);
    if let Some((result, inputs, bias)) = input {
        let outputs = kernel.field(first(output));
        let weight = kernel.weight(Role::Output, inputs, outputs);
        let (x, y, bias) = (first(result), first(output), bias.then_some(Axis::X));
        nodes = kernel.last_means(nodes, || Formula::Product { x, weight, y, chosen: None, bias });
    }
    nodes.extend(kernel.all_reduce(Axis::X, output, ReduceOperator::Add));
    nodes.push(residual(kernel, row_share.saturating_mul(tokens), x, output));
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
    push_core(kernel, heads, shape.kv, tokens, shape.context, Reads { query: first(query), cache: None });
    let expanded = block_diagonal(kernel, latent.heads, latent.kv_rank, latent.value_dim, tokens, query);
    kernel.program.push("attention.absorbed_value", expanded);
    let inner = latent.heads.saturating_mul(latent.value_dim);
    output_projection(kernel, inner, row_share, tokens, (x, shape.hidden), None);
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

fn decode_experts(
    kernel: &mut Kernel,
    shape: &LayerShape<'_>,
    moe: &Moe,
    tokens: u64,
    row_share: u64,
    (x, normed): (BufferId, BufferId),
) {
    let (router, choice) = feed_forward::router(kernel, shape.hidden, moe, tokens, normed);
    push_with_route_change(kernel, "router", router);
    let shared_pairs = ExpertLoad { pairs: tokens, distinct: 1, busiest: tokens };
    let size = NetworkSize { hidden: shape.hidden, width: moe.width, vectors: tokens };
    let shared = (moe.shared_width > 0).then(|| {
        let size = NetworkSize { width: moe.shared_width, ..size };
        feed_forward::spread(kernel, size, shared_pairs, 0, normed, &Network::shared(tokens)).0
    });
    match shape.experts {
        ExpertShape::Spread => {
            let (load, pairs) = if kernel.exact.is_some() {
                let pairs = feed_forward::all_pairs(tokens, moe.top_k);
                (ExpertLoad { pairs: pairs.len() as u64, ..shape.load }, pairs)
            } else {
                (shape.load, Vec::new())
            };
            let network = Network::experts(choice, pairs, Dimension::whole(tokens));
            // A fused norm has travelled with the router's scores.
            let parts = feed_forward::spread(kernel, size, load, 0, normed, &network);
            push_network(kernel, EXPERTS, parts, row_share, tokens, x);
        }
        ExpertShape::Clustered { columns, rows } => {
            let ([dispatch, gate_up, down, mut combine], result) = match kernel.exact.clone() {
                Some(exact) => feed_forward::exact_clustered(kernel, size, &exact, normed, choice),
                None => (feed_forward::clustered(kernel, size, Cluster { columns, rows }, shape.load, normed), normed),
            };
            kernel.program.push("experts.dispatch", dispatch);
            kernel.program.push("experts.gate_up", gate_up);
            kernel.program.push("experts.down", down);
            combine.push(residual(kernel, row_share.saturating_mul(tokens), x, result));
            push_with_route_change(kernel, "experts.combine", combine);
        }
    }
    if let Some(parts) = shared {
        for (name, part) in SHARED.into_iter().zip(parts) {
            kernel.program.push(name, part);
        }
    }
}
