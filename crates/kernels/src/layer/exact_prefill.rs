//! A prefill layer as an exact program: the words of `prefill`, with operands, layouts and what they need beside them.
//!
//! Where it differs from the program that is written for its cost, the other one leaves something out: the norms of q and k,
//! the residual sum after the network, the relayouts around attention (scores and values have to lie skewed for their
//! product, results in the order of the next ring), and the choice of experts on its way along y. Heads that share a
//! block of columns go through attention together. Experts, spread or in rectangles, work on vectors as in decode.

use wafersim_program::formula::Causal;
use wafersim_program::formula::along;
use wafersim_program::{
    Action, Axis, BufferId, Compute, Dimension, End, Field, Formula, Math, Node, Operand, Operation, Program,
    ReduceOperator, Region, Relayout, Ring, Spread, Step, collective,
};
use wafersim_spec::Precision;
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, Moe, Reach, Role};

use super::{ExpertShape, KvShape, LayerShape, residual};
use crate::context::Kernel;
use crate::exact::{CacheLayout, Exact, ExactError, check, everywhere, first, same_columns, table};
use crate::feed_forward::{self, ExpertLoad, Network, NetworkSize};
use crate::gemm::{self, Rings, Tile, exact_aligned, exact_cannon};
use crate::norm::rope_of;
use crate::options::Options;

/// The exact program of a layer for a whole prompt of `shape.tokens` tokens (`shape.context` must be 0). Its input and output is
/// the buffer `residual`; keys and values are left in `attention.key` and `attention.value`.
///
/// # Errors
/// Where the layer, its KV layout or its experts have no exact program.
pub fn exact_prefill_layer(shape: &LayerShape<'_>, exact: &Exact) -> Result<Program, ExactError> {
    check(shape, exact)?;
    if shape.context > 0 {
        return Err(ExactError::Part("a chunk of a prompt with others before it"));
    }
    if shape.tokens == 0 {
        return Err(ExactError::Tokens(0));
    }
    let Attention::Grouped(grouped) = &shape.layer.attention else {
        return Err(ExactError::Part("latent attention"));
    };
    let mut kernel = Kernel::new("prefill layer", shape.region, shape.precision, shape.options);
    kernel.exact = Some(exact.clone());
    let rings = Rings::new(shape.region);
    let x = stream(&mut kernel, "residual", shape.tokens, shape.hidden);
    let normed = norm(&mut kernel, shape, x, (Role::AttentionNorm, "attention.norm", "attention.normed"));
    attention(&mut kernel, shape, grouped, (x, normed));
    let normed = norm(&mut kernel, shape, x, (Role::FeedForwardNorm, "feed_forward.norm", "feed_forward.normed"));
    match &shape.layer.feed_forward {
        FeedForward::Dense { width, bias } => dense(&mut kernel, shape, (*width, *bias), rings, (x, normed)),
        FeedForward::Moe(moe) => experts(&mut kernel, shape, moe, rings, (x, normed)),
    }
    Ok(kernel.program)
}

/// The residual stream of prefill: tokens along y, widths along x.
fn stream(kernel: &mut Kernel, name: &'static str, tokens: u64, width: u64) -> BufferId {
    let rings = Rings::new(kernel.region());
    let field = if name == "residual" { "residual" } else { "normed" };
    kernel.declare(name, 0, || vec![Field::new(field, rings.rows(tokens), vec![rings.inner(width, false)])])
}

fn norm(
    kernel: &mut Kernel,
    shape: &LayerShape<'_>,
    x: BufferId,
    (role, operator, name): (Role, &'static str, &'static str),
) -> BufferId {
    let region = shape.region;
    let (vectors, elements) = (region.share(Axis::Y, shape.tokens), region.share(Axis::X, shape.hidden));
    let rows = kernel.field(first(x)).rows;
    let sums = kernel.declare("norm.sums", 0, || vec![Field::new("sums", rows, vec![Dimension::whole(1)])]);
    let y = stream(kernel, name, shape.tokens, shape.hidden);
    let width = shape.hidden;
    let epsilon = kernel.exact.as_ref().map_or(0.0, |exact| exact.norm_epsilon);
    let work = vec![kernel.work(Operation::ScalarReduce, elements, vectors)];
    let squares = kernel.compute(Math::SumOfSquares, &[x], sums, work);
    let mut nodes = vec![kernel.means(squares, || Formula::SumOfSquares { x: first(x), sums: first(sums), width })];
    let program = &mut kernel.program;
    nodes.extend(collective::chain_all_reduce(program, Axis::X, region.columns, sums, ReduceOperator::Add));
    let work = vec![
        kernel.work(Operation::Divide, 1, vectors),
        kernel.work(Operation::SquareRoot, 1, vectors),
        kernel.work(Operation::Multiply, elements, vectors.saturating_mul(4)),
    ];
    let scale = kernel.compute(Math::RmsScale, &[x, sums], y, work);
    nodes.push(kernel.means(scale, || Formula::RmsScale {
        x: first(x),
        sums: first(sums),
        gain: (role, 0),
        y: first(y),
        width,
        epsilon,
    }));
    kernel.program.push(operator, nodes);
    y
}

fn relayout(kernel: &mut Kernel, axis: Axis, source: BufferId, target: BufferId) -> Node {
    let hops = kernel.region().along(axis);
    let wavelets = kernel.activations().wavelets(kernel.program.buffer_of(target).elements);
    let colors = collective::transit_colors(&mut kernel.program, axis);
    let moved = Relayout {
        axis,
        hops,
        wavelets,
        others: Vec::new(),
        farthest: End::First,
        source,
        target,
        accumulate: false,
        colors,
    };
    kernel.program.step(Action::Relayout(moved))
}

fn with_rows(field: Field, rows: &Dimension) -> Field {
    Field { rows: rows.clone(), ..field }
}

fn attention(
    kernel: &mut Kernel,
    shape: &LayerShape<'_>,
    grouped: &GroupedAttention,
    (x, normed): (BufferId, BufferId),
) {
    let (region, tokens) = (shape.region, shape.tokens);
    let group = grouped.heads / grouped.kv_heads.max(1);
    let lies = whole_width(shape.kv, grouped, region.rows);
    let rows = Rings::new(region).rows(tokens);
    let (head_dim, columns) = (grouped.head_dim, shape.kv.columns_per_head.max(1));
    let outputs = [
        ("attention.query", Role::Query, with_rows(lies.heads("q", tokens), &rows)),
        ("attention.key", Role::Key, with_rows(lies.kv("k"), &rows)),
        ("attention.value", Role::Value, with_rows(lies.kv("v"), &rows)),
    ];
    let tile = |n: u64| Tile::new(region.columns, region.rows, tokens, shape.hidden, n);
    let (mut nodes, a) = exact_aligned(kernel, tile(1), first(normed), shape.hidden);
    let mut made = Vec::new();
    for (name, role, field) in outputs {
        let n = field.row_size();
        let c = kernel.declare(name, 0, || vec![field]);
        nodes.extend(exact_cannon(kernel, tile(n), a, (role, grouped.qkv_bias), first(c)));
        made.push(first(c));
    }
    kernel.program.push("attention.query_key_value", nodes);
    let [query, key, value] = [made[0], made[1], made[2]];

    if grouped.qk_norm {
        let mut nodes = head_norm(kernel, &lies, query, 0);
        nodes.extend(head_norm(kernel, &lies, key, 1));
        kernel.program.push("attention.head_norm", nodes);
    }
    let elements = |kernel: &Kernel, of: Operand| kernel.program.buffer_of(of.buffer).elements;
    let (query_elements, key_elements) = (elements(kernel, query), elements(kernel, key));
    let ropes =
        vec![rope_of(kernel, query_elements, query, head_dim, 0), rope_of(kernel, key_elements, key, head_dim, 0)];
    kernel.program.push("attention.rope", ropes);

    // Scores: keys pass by along y, sums end in a place that moves on along x.
    let keys = kernel.declare("gemm.b", 0, || vec![with_rows(lies.kv("k"), &rows)]);
    let load = kernel.compute(Math::Copy, &[key.buffer], keys, Vec::new());
    let mut nodes = vec![kernel.means(load, || Formula::Load { source: key, target: first(keys) })];
    let inner = |spread: Spread| {
        let mut inner = lies.statistic(1).inner;
        inner.push(Dimension { size: tokens, spread });
        inner
    };
    let passing = inner(Spread::Split(wafersim_program::Digit::line(Axis::Y, region.rows)));
    let partial = kernel.declare("gemm.c", 0, || vec![Field::new("scores", rows.clone(), passing)]);
    let pieces = columns.max(region.rows);
    let skewed = Spread::Ring(Ring { axis: Axis::X, length: columns, pieces, across: region.rows });
    let scores_field = Field::new("scores", rows.clone(), inner(skewed));
    let collected = Spread::Collected { columns, rows: region.rows };
    let collected_field = Field::new("scores", rows.clone(), inner(collected));
    let scores = kernel.declare("attention.scores", 0, || {
        vec![if columns == region.rows { scores_field.clone() } else { collected_field }]
    });
    let heads_here = group.saturating_mul(shape.kv.heads_per_block.max(1));
    let product = Tile::transposed(columns, region.rows, tokens.saturating_mul(heads_here), head_dim, tokens);
    let formula = Formula::PassingScores { query, keys: first(keys), partial: first(partial), group, head_dim, tokens };
    let collect = Compute {
        math: Math::Copy,
        reads: vec![partial],
        writes: scores,
        work: Vec::new(),
        formula: Some(Formula::Collect { partial: first(partial), whole: first(scores), columns }),
    };
    let collect = Step { region, action: Action::Compute(collect) };
    let meaning = Some((formula, collect));
    nodes.extend(gemm::transposed_of(kernel, product, (query.buffer, keys, partial), columns, meaning));
    kernel.program.push("attention.scores", nodes);

    let statistic = kernel.declare("attention.statistic", 0, || vec![with_rows(lies.statistic(tokens), &rows)]);
    let nodes = softmax(kernel, (scores, statistic), (columns, product.m, tokens.div_ceil(columns)), head_dim);
    kernel.program.push("attention.softmax", nodes);

    // Scores x V: a product like any other, once both lie skewed.
    let mut nodes = Vec::new();
    let mut weights = scores;
    if columns != region.rows {
        weights = kernel.declare("attention.weights", 0, || vec![scores_field]);
        nodes.push(relayout(kernel, Axis::X, scores, weights));
    }
    let skewed = Ring { axis: Axis::Y, length: region.rows, pieces, across: columns };
    let skewed_rows = Dimension { size: tokens, spread: Spread::Ring(skewed) };
    let values = kernel.declare("gemm.b", 0, || vec![with_rows(lies.kv("v"), &skewed_rows)]);
    nodes.push(relayout(kernel, Axis::Y, value.buffer, values));
    let result = kernel.declare("attention.result", 0, || vec![with_rows(lies.heads("result", tokens), &rows)]);
    let formula = Formula::PassingValues {
        scores: first(weights),
        values: first(values),
        output: first(result),
        group,
        head_dim,
    };
    let tile = Tile::new(columns, region.rows, tokens.saturating_mul(heads_here), tokens, head_dim);
    let operands = (weights, values, result);
    nodes.extend(gemm::cannon_of(kernel, tile, operands, (lies.blocks, columns), Some(formula)));
    kernel.program.push("attention.values", nodes);

    let inner = grouped.heads.saturating_mul(head_dim);
    let mut nodes = Vec::new();
    let rings = Rings::new(region);
    let wanted = Field::new("result", rows, vec![rings.inner(inner, false)]);
    // In the order of the next ring, from other columns where they do not lie there already.
    let here = same_columns(&kernel.field(first(result)), &wanted, region.columns);
    let gathered = kernel.declare("attention.gathered", 0, || vec![wanted]);
    if here {
        let copy = kernel.compute(Math::Copy, &[result], gathered, Vec::new());
        let (source, target) = (first(result), first(gathered));
        nodes.push(kernel.means(copy, || Formula::Select { source, target }));
    } else {
        nodes.push(relayout(kernel, Axis::X, result, gathered));
    }
    let tile = Tile::new(region.columns, region.rows, tokens, inner, shape.hidden);
    let (align, a) = exact_aligned(kernel, tile, first(gathered), inner);
    nodes.extend(align);
    let output = stream(kernel, "attention.projected", tokens, shape.hidden);
    nodes.extend(exact_cannon(kernel, tile, a, (Role::Output, grouped.output_bias), first(output)));
    nodes.push(residual(kernel, tile.m.saturating_mul(tile.n), x, output));
    kernel.program.push("attention.output", nodes);
}

/// Heads over their blocks with their whole width over the columns of a block, as products leave them in prefill.
fn whole_width(kv: KvShape, grouped: &GroupedAttention, rows: u64) -> CacheLayout {
    let kv = KvShape { dimension_split: kv.columns_per_head, sequence_split: 1, ..kv };
    CacheLayout::new(kv, grouped.kv_heads, grouped.heads / grouped.kv_heads.max(1), grouped.head_dim, rows)
}

/// RMSNorm of each head over the columns of its block.
fn head_norm(kernel: &mut Kernel, lies: &CacheLayout, x: Operand, copy: u64) -> Vec<Node> {
    let mut field = kernel.field(x);
    field.inner.pop();
    let sums = kernel.declare("head_norm.sums", 0, || vec![Field { name: "sums".into(), ..field }]);
    let (elements, heads) = (kernel.program.buffer_of(x.buffer).elements, kernel.program.buffer_of(sums).elements);
    let width = lies.head_dim;
    let epsilon = kernel.exact.as_ref().map_or(0.0, |exact| exact.norm_epsilon);
    let work = vec![kernel.work(Operation::ScalarReduce, elements, 1)];
    let squares = kernel.compute(Math::SumOfSquares, &[x.buffer], sums, work);
    let mut nodes = vec![kernel.means(squares, || Formula::SumOfSquares { x, sums: first(sums), width })];
    let columns = lies.kv.columns_per_head;
    nodes.extend(kernel.blocks_of_columns(lies.blocks, columns, columns, sums, ReduceOperator::Add));
    let work = vec![
        kernel.work(Operation::Divide, 1, heads),
        kernel.work(Operation::SquareRoot, 1, heads),
        kernel.work(Operation::Multiply, elements, 2),
    ];
    let scale = kernel.compute(Math::RmsScale, &[x.buffer, sums], x.buffer, work);
    let gain = (Role::AttentionInnerNorm, copy);
    nodes.push(kernel.means(scale, || Formula::RmsScale { x, sums: first(sums), gain, y: x, width, epsilon }));
    nodes
}

fn softmax(
    kernel: &mut Kernel,
    (scores, statistic): (BufferId, BufferId),
    (columns, vectors, scores_here): (u64, u64, u64),
    head_dim: u64,
) -> Vec<Node> {
    let (table, one_each) = (first(scores), first(statistic));
    let scale = 1.0 / (head_dim as f64).sqrt();
    let causal = Some(Causal { position: 0, users: 1, reach: Reach::Full });
    let mut nodes = Vec::new();
    for (math, operator) in [(Math::Maximum, ReduceOperator::Max), (Math::ExpAndSum, ReduceOperator::Add)] {
        let mut work = vec![kernel.work(Operation::ScalarReduce, scores_here, vectors)];
        if math == Math::ExpAndSum {
            work.push(kernel.work(Operation::Multiply, scores_here, vectors.saturating_mul(4)));
            work.push(kernel.exponential(scores_here, vectors));
        }
        let node = kernel.compute(math, &[scores], statistic, work);
        nodes.push(kernel.means(node, || match math {
            Math::Maximum => Formula::Maximum { scores: table, statistic: one_each, causal, sinks: None },
            _ => Formula::ExpAndSum {
                scores: table,
                statistic: one_each,
                exponentials: table,
                sums: one_each,
                scale,
                causal,
                sinks: None,
            },
        }));
        nodes.extend(collective::chain_all_reduce(&mut kernel.program, Axis::X, columns, statistic, operator));
    }
    let work = vec![kernel.work(Operation::Divide, 1, vectors)];
    let node = kernel.compute(Math::Normalise, &[scores, statistic], scores, work);
    nodes.push(kernel.means(node, || Formula::Normalise { scores: table, statistic: one_each }));
    nodes
}

fn dense(
    kernel: &mut Kernel,
    shape: &LayerShape<'_>,
    (width, bias): (u64, bool),
    rings: Rings,
    (x, normed): (BufferId, BufferId),
) {
    let (region, tokens, hidden) = (shape.region, shape.tokens, shape.hidden);
    let wide = Tile::new(region.columns, region.rows, tokens, hidden, width);
    let (mut nodes, a) = exact_aligned(kernel, wide, first(normed), hidden);
    let fields = ["gate", "up"].map(|name| Field::new(name, rings.rows(tokens), vec![rings.inner(width, false)]));
    let [gate, up] = fields.map(|field| first(kernel.declare("feed_forward.inner", 0, || vec![field])));
    nodes.extend(exact_cannon(kernel, wide, a, (Role::Gate, bias), gate));
    nodes.extend(exact_cannon(kernel, wide, a, (Role::Up, bias), up));
    kernel.program.push("feed_forward.gate_up", nodes);
    let elements = wide.m.saturating_mul(wide.n);
    let work = vec![kernel.work(Operation::Silu, elements, 1), kernel.work(Operation::Multiply, elements, 2)];
    let node = kernel.compute(Math::GatedActivation, &[gate.buffer, up.buffer], gate.buffer, work);
    let activation = vec![kernel.means(node, || Formula::GatedActivation {
        gate,
        up,
        gating: wafersim_spec::model::Gating::Silu,
        weights: None,
        weighs_input: false,
    })];
    kernel.program.push("feed_forward.activation", activation);
    let narrow = Tile::new(region.columns, region.rows, tokens, width, hidden);
    let (mut nodes, a) = exact_aligned(kernel, narrow, gate, width);
    let output = stream(kernel, "feed_forward.output", tokens, hidden);
    nodes.extend(exact_cannon(kernel, narrow, a, (Role::Down, bias), first(output)));
    nodes.push(residual(kernel, narrow.m.saturating_mul(narrow.n), x, output));
    kernel.program.push("feed_forward.down", nodes);
}

fn experts(kernel: &mut Kernel, shape: &LayerShape<'_>, moe: &Moe, rings: Rings, (x, normed): (BufferId, BufferId)) {
    let (region, tokens, hidden) = (shape.region, shape.tokens, shape.hidden);
    let tile = Tile::new(region.columns, region.rows, tokens, hidden, moe.experts);
    let (mut nodes, a) = exact_aligned(kernel, tile, first(normed), hidden);
    let rows = rings.rows(tokens);
    let scores = kernel.declare("router.scores", 0, || {
        vec![Field::new("scores", rows.clone(), vec![along(moe.experts, Axis::X, region)])]
    });
    nodes.extend(exact_cannon(kernel, tile, a, (Role::Router, false), first(scores)));
    let (select, choice) = feed_forward::selection(kernel, moe, tile.m, rows, scores);
    nodes.extend(select);
    kernel.program.push("router", nodes);

    // Every row has chosen for its own tokens; all rows work on all of them.
    let known = kernel.declare("router.known", 0, || {
        vec![everywhere("experts", tokens, moe.top_k), everywhere("weights", tokens, moe.top_k)]
    });
    let mut dispatch = vec![relayout(kernel, Axis::Y, choice, known)];
    let turned = kernel.declare("experts.turned", 0, || vec![table("normed", tokens, hidden, Axis::Y, region)]);
    dispatch.extend(turn(kernel, normed, turned, hidden, tokens));
    let size = NetworkSize { hidden, width: moe.width, vectors: tokens };
    let result = match shape.experts {
        ExpertShape::Spread => {
            kernel.program.push("experts.dispatch", dispatch);
            let pairs = feed_forward::all_pairs(tokens, moe.top_k);
            let load = ExpertLoad { pairs: pairs.len() as u64, distinct: moe.experts, busiest: tokens };
            let network = Network::experts(known, pairs, Dimension::whole(tokens));
            let ([first_part, activation, last], output) =
                feed_forward::spread(kernel, size, load, 0, turned, &network);
            kernel.program.push("experts.gate_up", first_part);
            kernel.program.push("experts.activation", activation);
            kernel.program.push("experts.down", last);
            output
        }
        ExpertShape::Clustered { .. } => {
            let exact = kernel.exact.clone().unwrap_or_else(|| Exact::new(0.0));
            let ([to, gate_up, down, back], result) =
                feed_forward::exact_clustered(kernel, size, &exact, turned, known);
            dispatch.extend(to);
            kernel.program.push("experts.dispatch", dispatch);
            kernel.program.push("experts.gate_up", gate_up);
            kernel.program.push("experts.down", down);
            kernel.program.push("experts.sum", back);
            result
        }
    };
    let field = Field::new("output", rings.rows(tokens), vec![rings.inner(hidden, false)]);
    let back = kernel.declare("experts.returned", 0, || vec![field]);
    let mut combine = vec![relayout(kernel, Axis::Y, result, back)];
    let elements = kernel.program.buffer_of(back).elements;
    combine.push(residual(kernel, elements, x, back));
    kernel.program.push("experts.combine", combine);
}

/// From tokens along y and widths along x to widths along y, everything else everywhere: first along y inside each column,
/// then gathered along x. Fields keep their name.
fn turn(kernel: &mut Kernel, source: BufferId, target: BufferId, width: u64, tokens: u64) -> Vec<Node> {
    let region = kernel.region();
    let field = kernel.field(first(source));
    let columns = field.inner.first().map_or(Spread::Whole, |inner| inner.spread.clone());
    let spread = Spread::Meet(vec![columns, along(width, Axis::Y, region).spread]);
    let crossing = Field { rows: Dimension::whole(tokens), inner: vec![Dimension { size: width, spread }], ..field };
    let crossed = kernel.declare("crossed", 0, || vec![crossing]);
    vec![relayout(kernel, Axis::Y, source, crossed), relayout(kernel, Axis::X, crossed, target)]
}

/// The residual stream of prefill (`residual`) to that of decode (`head.x`), for the LM head.
pub fn exact_turn(region: Region, hidden: u64, tokens: u64, precision: Precision, options: Options) -> Program {
    let mut kernel = Kernel::new("turn", region, precision, options);
    kernel.exact = Some(Exact::new(0.0));
    let source = stream(&mut kernel, "residual", tokens, hidden);
    let target = kernel.declare("head.x", 0, || vec![table("residual", tokens, hidden, Axis::Y, region)]);
    let nodes = turn(&mut kernel, source, target, hidden, tokens);
    kernel.program.push("turn", nodes);
    kernel.program
}

/// The rows of the embedding table for the tokens of a prompt: the table is shared out over the columns; each column looks up
/// what it holds, the sum along x is the whole, and each row of the region keeps its tokens (`residual`).
pub fn exact_prefill_embedding(
    region: Region,
    hidden: u64,
    vocabulary: u64,
    prompt: &[u64],
    precision: Precision,
    options: Options,
) -> Program {
    let mut kernel = Kernel::new("prefill embedding", region, precision, options);
    kernel.exact = Some(Exact::new(0.0));
    let tokens = prompt.len() as u64;
    let rows = kernel.declare("embedding.row", 0, || vec![table("residual", tokens, hidden, Axis::Y, region)]);
    let elements = kernel.program.buffer_of(rows).elements;
    let node = kernel.compute(Math::Lookup, &[rows], rows, vec![kernel.work(Operation::Copy, elements, 1)]);
    let table = along(vocabulary, Axis::X, region);
    let mut nodes = vec![kernel.means(node, || Formula::Lookup { rows: first(rows), tokens: prompt.to_vec(), table })];
    nodes.extend(kernel.all_reduce(Axis::X, rows, ReduceOperator::Add));
    let target = stream(&mut kernel, "residual", tokens, hidden);
    nodes.push(relayout(&mut kernel, Axis::Y, rows, target));
    kernel.program.push("embedding", nodes);
    kernel.program
}
