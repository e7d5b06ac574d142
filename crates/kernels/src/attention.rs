//! Attention over a KV cache spread over rows.
//!
//! Decode (WaferLLM, OSDI 2025, section 4): scores are reduced along x, softmax statistics and scores x V along y. The
//! published kernel has one head as wide as the hidden size; with grouped heads each KV head gets a block of columns of
//! its own, and the reduction along x stays inside the block. `dimension_split` columns of a block share the head's
//! dimensions; `sequence_split` such sub-blocks share the sequence beside the rows (1 is the published layout).

use wafersim_program::formula::ScorePart;
use wafersim_program::{
    Action, Axis, BufferId, End, Field, Formula, Math, Node, Operand, Operation, ReduceOperator, Relayout, Work,
    collective,
};

use crate::context::Kernel;
use crate::exact::{CacheLayout, first, same_columns};
use crate::gemm::{self, Tile};
use crate::gemv::{Product, local_product};
use crate::layer::KvShape;

/// Vector operations of the softmax beside exponentials and scalar reductions, over the scores: (1552 - 1072 - 45 - 48 -
/// 180 - 50) / (16 + 12 / 4) is about eight (per-operation run of the vendor's simulator, 12 scores).
const SOFTMAX_OPERATIONS: u64 = 8;

/// Fewest that do the same in one pass: subtract the maximum, scale the old sum.
const LEAN_SOFTMAX_OPERATIONS: u64 = 2;

/// What attention works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads that share one KV head.
    pub queries_per_kv: u64,
    /// Width of a key.
    pub key_dim: u64,
    /// Width of a value.
    pub value_dim: u64,
}

/// Sizes in the fullest processing element.
#[derive(Debug, Clone, Copy)]
struct Local {
    heads: u64,
    key_dims: u64,
    value_dims: u64,
    tokens: u64,
}

fn local(kernel: &Kernel, heads: Heads, kv: KvShape, visible: u64) -> Local {
    let split = kv.dimension_split.max(1);
    Local {
        heads: heads.queries_per_kv.saturating_mul(kv.heads_per_block.max(1)),
        key_dims: heads.key_dim.div_ceil(split),
        value_dims: heads.value_dim.div_ceil(split),
        tokens: visible.div_ceil(kernel.region().rows.saturating_mul(kv.sequence_split.max(1))),
    }
}

/// What decode attention reads: the query and, in exact programs, the cache and how it lies.
#[derive(Debug, Clone, Copy)]
pub struct Reads {
    /// The query.
    pub query: Operand,
    /// Keys and values; only in exact programs.
    pub cache: Option<(BufferId, CacheLayout)>,
}

/// Scores, softmax and scores x V for `vectors` decoding tokens with `visible` cached tokens each. Returns the nodes of
/// the three operators and the buffer of the result, which lies along x and is replicated along y.
pub fn decode(
    kernel: &mut Kernel,
    heads: Heads,
    kv: KvShape,
    vectors: u64,
    visible: u64,
    reads: Reads,
) -> ([Vec<Node>; 3], BufferId) {
    let here = local(kernel, heads, kv, visible);
    let rows_of_scores = here.heads.saturating_mul(vectors);
    let fields =
        |field: &dyn Fn(CacheLayout) -> Field| reads.cache.map_or_else(Vec::new, |(_, lies)| vec![field(lies)]);
    let scores = kernel.declare("attention.scores", rows_of_scores.saturating_mul(here.tokens), || {
        fields(&|lies| lies.scores(vectors, visible))
    });
    let values_elements = rows_of_scores.saturating_mul(here.value_dims);
    let statistics = if kernel.options.online_softmax { rows_of_scores } else { 0 };
    let output = kernel
        .declare("attention.result", values_elements + statistics, || fields(&|lies| lies.heads("result", vectors)));
    let cache = reads.cache.map_or(BufferId(0), |(cache, _)| cache);

    let (mut score_nodes, query) = spread_query(kernel, heads, kv, vectors, reads);
    score_nodes.extend(kv_conversion(kernel, here.key_dims.saturating_mul(here.tokens), vectors, kv));
    let product = cache_product(kernel, here.tokens, here.key_dims, rows_of_scores, query.buffer, scores);
    let (group, head_dim) = (heads.queries_per_kv, heads.key_dim);
    score_nodes.extend(kernel.last_means(product, || Formula::Scores {
        users: 1,
        parts: vec![ScorePart { query, keys: Operand::new(cache, 0), head_dim }],
        scores: first(scores),
        group,
    }));
    let (segment, stride) = (kv.dimension_split.max(1), kv.sequence_split.max(1));
    score_nodes.extend(block_all_reduce(kernel, kv, segment, stride, scores, ReduceOperator::Add, reads));

    let mut softmax_nodes = Vec::new();
    let statistic = kernel.declare("attention.statistic", rows_of_scores, || fields(&|lies| lies.statistic(vectors)));
    let (all_scores, one_each) = (first(scores), first(statistic));
    let scale = 1.0 / (heads.key_dim as f64).sqrt();
    let scores_here = rows_of_scores.saturating_mul(here.tokens);
    if kernel.options.online_softmax {
        softmax_nodes.push(kernel.compute(
            Math::OnlineSoftmax,
            &[scores],
            scores,
            vec![
                kernel.work(Operation::ScalarReduce, here.tokens, rows_of_scores.saturating_mul(2)),
                kernel.work(Operation::Multiply, scores_here, LEAN_SOFTMAX_OPERATIONS),
                kernel.exponential(scores_here, 1),
                kernel.work(Operation::Divide, 1, 1),
            ],
        ));
    } else {
        for (math, operator) in [(Math::Maximum, ReduceOperator::Max), (Math::ExpAndSum, ReduceOperator::Add)] {
            let mut work = vec![kernel.work(Operation::ScalarReduce, here.tokens, rows_of_scores)];
            if math == Math::ExpAndSum {
                work.push(kernel.work(Operation::Multiply, scores_here, SOFTMAX_OPERATIONS));
                work.push(kernel.exponential(scores_here, 1));
            }
            let node = kernel.compute(math, &[scores], statistic, work);
            softmax_nodes.push(kernel.means(node, || match math {
                Math::Maximum => {
                    Formula::Maximum { scores: all_scores, statistic: one_each, causal: None, sinks: None }
                }
                _ => Formula::ExpAndSum {
                    scores: all_scores,
                    statistic: one_each,
                    exponentials: all_scores,
                    sums: one_each,
                    scale,
                    causal: None,
                    sinks: None,
                },
            }));
            softmax_nodes.extend(over_tokens(kernel, kv, statistic, operator, reads));
        }
        let divide = kernel.work(Operation::Divide, 1, 1);
        let node = kernel.compute(Math::Normalise, &[scores, statistic], scores, vec![divide]);
        softmax_nodes.push(kernel.means(node, || Formula::Normalise { scores: all_scores, statistic: one_each }));
    }

    let mut value_nodes = kv_conversion(kernel, here.value_dims.saturating_mul(here.tokens), vectors, kv);
    let product = cache_product(kernel, here.value_dims, here.tokens, rows_of_scores, scores, output);
    value_nodes.extend(kernel.last_means(product, || Formula::WeightedValues {
        users: 1,
        scores: all_scores,
        values: Operand::new(cache, 1),
        output: first(output),
        group,
        head_dim,
    }));
    value_nodes.extend(over_tokens(kernel, kv, output, ReduceOperator::Add, reads));
    ([score_nodes, softmax_nodes, value_nodes], output)
}

/// A product with the cache: per score row `inputs` mapped operations of `outputs` elements.
fn cache_product(kernel: &mut Kernel, outputs: u64, inputs: u64, vectors: u64, x: BufferId, y: BufferId) -> Vec<Node> {
    // The cache is in an arithmetic type or has been converted: no weights are read here.
    local_product(kernel, Product { inputs, outputs, vectors, tiles: 0 }, x, y)
}

/// Conversion of cached keys or values that are stored narrow.
fn kv_conversion(kernel: &mut Kernel, elements: u64, vectors: u64, kv: KvShape) -> Vec<Node> {
    let stored = kernel.precision.kv_cache;
    if stored.is_arithmetic() || elements == 0 {
        return Vec::new();
    }
    let converted = kernel.buffer("kv.converted", elements);
    let all = elements.saturating_mul(vectors).saturating_mul(kv.heads_per_block.max(1));
    let work = vec![kernel.work(Operation::Convert, all, 1)];
    vec![kernel.compute(Math::Dequantise, &[converted], converted, work)]
}

/// With the sequence split inside a block, every sub-block needs the whole query of its heads: it is gathered along x. In
/// exact programs also where the projection leaves it in other columns than its keys.
fn spread_query(kernel: &mut Kernel, heads: Heads, kv: KvShape, vectors: u64, reads: Reads) -> (Vec<Node>, Operand) {
    let query = reads.query;
    let wanted = reads.cache.map(|(_, lies)| lies.heads("q", vectors));
    let needed = match &wanted {
        None => kv.sequence_split > 1,
        Some(wanted) => !same_columns(&kernel.field(query), wanted, kernel.region().columns),
    };
    if !needed {
        return (Vec::new(), query);
    }
    let elements = heads
        .queries_per_kv
        .saturating_mul(kv.heads_per_block.max(1))
        .saturating_mul(heads.key_dim)
        .saturating_mul(vectors);
    let target = kernel.declare("attention.query_spread", elements.div_ceil(kv.dimension_split.max(1)), || {
        wanted.into_iter().collect()
    });
    let wavelets = kernel.activations().wavelets(elements);
    let colors = collective::transit_colors(&mut kernel.program, Axis::X);
    // Where blocks leave columns over, heads drift away from their keys by up to that much.
    let hops = if kernel.exact.is_some() { kernel.region().columns } else { kv.columns_per_head };
    let node = kernel.program.step(Action::Relayout(Relayout {
        axis: Axis::X,
        hops,
        wavelets,
        others: Vec::new(),
        farthest: End::First,
        source: query.buffer,
        target,
        accumulate: false,
        colors,
    }));
    let gathered = if kernel.exact.is_some() { first(target) } else { query };
    (vec![node], gathered)
}

/// An all-reduce inside blocks of `count` columns, `stride` apart; on a whole line the two-level reduction with the
/// kernel's groups, as published.
fn block_all_reduce(
    kernel: &mut Kernel,
    kv: KvShape,
    count: u64,
    stride: u64,
    payload: BufferId,
    operator: ReduceOperator,
    reads: Reads,
) -> Vec<Node> {
    if stride == 1 && count >= kernel.region().columns {
        return kernel.all_reduce(Axis::X, payload, operator);
    }
    match reads.cache {
        None => collective::segment_all_reduce(&mut kernel.program, Axis::X, count, stride, payload, operator),
        Some((_, lies)) => kernel.blocks_of_columns(lies.blocks, kv.columns_per_head, count, payload, operator),
    }
}

/// A reduction over all places that hold tokens of a head: the rows, and the sub-blocks of its columns.
fn over_tokens(
    kernel: &mut Kernel,
    kv: KvShape,
    payload: BufferId,
    operator: ReduceOperator,
    reads: Reads,
) -> Vec<Node> {
    let mut nodes = kernel.all_reduce(Axis::Y, payload, operator);
    if kv.sequence_split > 1 {
        nodes.extend(block_all_reduce(kernel, kv, kv.sequence_split, 1, payload, operator, reads));
    }
    nodes
}

/// The append of the new keys and values and the shift that keeps the rows level: one row up for both, and two copies.
pub fn append(kernel: &mut Kernel, elements: u64) -> Vec<Node> {
    let entry = kernel.typed_buffer("kv.entry", elements, kernel.precision.kv_cache);
    let copy: Vec<Work> = vec![kernel.work(Operation::Copy, elements, 2)];
    vec![kernel.compute(Math::KvAppend, &[entry], entry, copy), shift_of_entries(kernel, entry)]
}

fn shift_of_entries(kernel: &mut Kernel, entry: BufferId) -> Node {
    let colors = collective::transit_colors(&mut kernel.program, Axis::Y);
    let shift = Action::Shift(wafersim_program::Shift { axis: Axis::Y, ring: false, payload: entry, colors });
    kernel.program.step(shift)
}

/// The same with exact layouts: the two copies are the entry that leaves a row and the one that comes in. `new`: keys and
/// values of the token, which becomes number `token` of the cache. Returns the cache after the append.
pub fn exact_append(kernel: &mut Kernel, lies: CacheLayout, new: [Operand; 2], token: u64) -> (Vec<Node>, BufferId) {
    let stored = kernel.precision.kv_cache;
    let fields = |tokens: u64| vec![lies.cache("k", tokens), lies.cache("v", tokens)];
    let before = kernel.declare_typed("kv.before", 0, stored, || fields(token));
    let after = kernel.declare_typed("kv.cache", 0, stored, || fields(token + 1));
    let mut nodes = Vec::new();
    let wanted = [lies.new_token("k", token), lies.new_token("v", token)];
    let columns = kernel.region().columns;
    let mut new = new;
    if new.iter().zip(&wanted).any(|(have, wanted)| !same_columns(&kernel.field(*have), wanted, columns)) {
        let gathered = kernel.declare("kv.new", 0, || wanted.to_vec());
        let wavelets = kernel.activations().wavelets(kernel.program.buffer_of(gathered).elements);
        let colors = collective::transit_colors(&mut kernel.program, Axis::X);
        nodes.push(kernel.program.step(Action::Relayout(Relayout {
            axis: Axis::X,
            hops: columns,
            wavelets,
            others: Vec::new(),
            farthest: End::First,
            source: new[0].buffer,
            target: gathered,
            accumulate: false,
            colors,
        })));
        new = [Operand::new(gathered, 0), Operand::new(gathered, 1)];
    }
    // One entry of a row, whichever token it is.
    let entry = kernel.declare_typed("kv.entry", 0, stored, || vec![lies.new_token("k", 0), lies.new_token("v", 0)]);
    let elements = kernel.program.buffer_of(entry).elements;
    let copy = |kernel: &Kernel, reads: &[BufferId], writes: BufferId| {
        kernel.compute(Math::KvAppend, reads, writes, vec![kernel.work(Operation::Copy, elements, 1)])
    };
    let leave = copy(kernel, &[before], entry);
    nodes.push(kernel.means(leave, || Formula::Leave { before, after, entry }));
    nodes.push(shift_of_entries(kernel, entry));
    let enter = copy(kernel, &[before, entry, new[0].buffer], after);
    nodes.push(kernel.means(enter, || Formula::Enter { before, entry: Some(entry), new, after, row: token }));
    (nodes, after)
}

/// Prefill attention of a chunk of `tokens` with `visible` tokens before and in it: a transposed product, a softmax and a
/// product with the values, all blocks of columns at the same time. The query heads that share a KV head are stacked:
/// they are further rows of the same product. More than `key_block` keys go block by block, with an online softmax.
pub fn prefill(
    kernel: &mut Kernel,
    heads: Heads,
    kv: KvShape,
    tokens: u64,
    visible: u64,
    key_block: u64,
) -> [Vec<Node>; 3] {
    let region = kernel.region();
    let columns = kv.columns_per_head.clamp(1, region.columns);
    let blocks = visible.div_ceil(key_block.max(1)).max(1);
    let rounds = kv.heads_per_block.max(1).saturating_mul(blocks);
    let visible = visible.div_ceil(blocks);
    let rows = tokens.saturating_mul(heads.queries_per_kv);
    let scores = Tile::transposed(columns, region.rows, rows, heads.key_dim, visible);
    let scores_here = visible.div_ceil(columns);
    let values = Tile::new(columns, region.rows, rows, visible, heads.value_dim);
    let repeat = |nodes: Vec<Node>| vec![Node::Repeat { times: rounds, body: Box::new(Node::Sequence(nodes)) }];
    let score_nodes = gemm::transposed(kernel, scores);

    let statistic = kernel.buffer("attention.statistic", scores.m);
    let mut softmax_nodes = Vec::new();
    let table = kernel.buffer("attention.scores", scores.m.saturating_mul(scores_here));
    for (math, operator) in [(Math::Maximum, ReduceOperator::Max), (Math::ExpAndSum, ReduceOperator::Add)] {
        let mut work = vec![kernel.work(Operation::ScalarReduce, scores_here, scores.m)];
        if math == Math::ExpAndSum {
            work.push(kernel.work(Operation::Multiply, scores_here, scores.m.saturating_mul(4)));
            work.push(kernel.exponential(scores_here, scores.m));
            work.push(kernel.work(Operation::Divide, 1, scores.m));
        }
        softmax_nodes.push(kernel.compute(math, &[table], statistic, work));
        softmax_nodes.extend(collective::chain_all_reduce(&mut kernel.program, Axis::X, columns, statistic, operator));
    }
    let mut value_nodes = gemm::alignment(kernel, values);
    value_nodes.extend(gemm::cannon(kernel, values));
    [repeat(score_nodes), repeat(softmax_nodes), repeat(value_nodes)]
}
