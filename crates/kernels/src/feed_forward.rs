//! Feed-forward networks: dense SwiGLU, router with top-k, experts spread over the region or in rectangles of their own.
//!
//! Spread experts need no dispatch: every processing element holds a tile of every expert, and the sum over the chosen
//! experts is taken before the one reduction that a dense network needs as well. Clustered experts work at the same
//! time, each in its rectangle, for which tokens travel there (dispatch) and back (combine).

use wafersim_program::{Action, Axis, BufferId, Math, Node, Operation, ReduceOperator, Region, Relayout, collective};

use crate::context::Kernel;
use crate::gemm::{self, Tile};
use crate::gemv::{Product, local_product};
use crate::norm::fused_elements;

/// The expected load of a mixture of experts, from the routing model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertLoad {
    /// Token-expert pairs in all: tokens x top-k.
    pub pairs: u64,
    /// Different experts among them.
    pub distinct: u64,
    /// Pairs of the busiest expert.
    pub busiest: u64,
}

/// Sizes of a gated network and of what goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSize {
    /// Width of the residual stream.
    pub hidden: u64,
    /// Inner width.
    pub width: u64,
    /// Vectors that come out: tokens, or token-expert pairs where each expert's output is wanted for itself.
    pub vectors: u64,
}

/// Gate, up, activation and down of one network with its width spread over the region: `pairs` vectors through `distinct`
/// different sets of tiles; `vectors` sums come out. The sums of squares of `fused_norms` vectors travel with the first
/// reduction, where norms are fused.
pub fn spread(
    kernel: &mut Kernel,
    size: NetworkSize,
    load: ExpertLoad,
    fused_norms: u64,
    x: BufferId,
) -> [Vec<Node>; 3] {
    let NetworkSize { hidden, width, vectors } = size;
    let region = kernel.region();
    let inputs = region.share(Axis::Y, hidden);
    let inner = region.share(Axis::X, width);
    let both = inner.saturating_mul(2).saturating_mul(load.pairs);
    let sums = fused_elements(kernel, fused_norms);
    let gate_up = kernel.buffer("feed_forward.gate_up", both + sums);
    let mut first = Vec::new();
    if kernel.options.interleaved_gate_up {
        let outputs = inner.saturating_mul(2);
        let product = Product { inputs, outputs, vectors: load.pairs, tiles: load.distinct };
        first.extend(local_product(kernel, product, x, gate_up));
    } else {
        for _ in ["gate", "up"] {
            let product = Product { inputs, outputs: inner, vectors: load.pairs, tiles: load.distinct };
            first.extend(local_product(kernel, product, x, gate_up));
        }
    }
    first.extend(kernel.all_reduce(Axis::Y, gate_up, ReduceOperator::Add));
    let activation = vec![gated_activation(kernel, inner.saturating_mul(load.pairs), gate_up)];
    let output = kernel.buffer("feed_forward.output", inputs.saturating_mul(vectors));
    let product = Product { inputs: inner, outputs: inputs, vectors: load.pairs, tiles: load.distinct };
    let mut last = local_product(kernel, product, gate_up, output);
    last.extend(kernel.all_reduce(Axis::X, output, ReduceOperator::Add));
    [first, activation, last]
}

/// `silu(gate) * up`: SiLU per element and two products (the second with the router weight, or a copy).
fn gated_activation(kernel: &mut Kernel, elements: u64, gate_up: BufferId) -> Node {
    kernel.compute(
        Math::GatedActivation,
        &[gate_up],
        gate_up,
        vec![kernel.work(Operation::Silu, elements, 1), kernel.work(Operation::Multiply, elements, 2)],
    )
}

/// The router: scores of all experts, gathered along x so that every processing element selects the same experts.
///
/// Selection reads the scores once for each of the `top_k` (a guess: the published kernels have no router, and this is the
/// plainest one), then exponentials and a division of the chosen weights.
pub fn router(kernel: &mut Kernel, hidden: u64, experts: u64, top_k: u64, vectors: u64, x: BufferId) -> Vec<Node> {
    let region = kernel.region();
    let inputs = region.share(Axis::Y, hidden);
    let outputs = region.share(Axis::X, experts);
    let weights = kernel.precision.weights;
    // The router is a small weight: stored in 16 bit, never converted.
    kernel.precision.weights = kernel.precision.small_weights;
    let sums = fused_elements(kernel, vectors);
    let scores = kernel.buffer("router.scores", outputs.saturating_mul(vectors) + sums);
    let mut nodes = local_product(kernel, Product { inputs, outputs, vectors, tiles: 1 }, x, scores);
    kernel.precision.weights = weights;
    nodes.extend(kernel.all_reduce(Axis::Y, scores, ReduceOperator::Add));
    nodes.extend(selection(kernel, experts, top_k, vectors, scores));
    nodes
}

/// The router of a chunk of a prompt: a matrix product, then each row selects for its own tokens.
pub fn prefill_router(kernel: &mut Kernel, hidden: u64, experts: u64, top_k: u64, tokens: u64) -> Vec<Node> {
    let region = kernel.region();
    let tile = Tile::new(region.columns, region.rows, tokens, hidden, experts);
    let mut nodes = gemm::alignment(kernel, tile);
    nodes.extend(gemm::cannon(kernel, tile));
    let scores = kernel.buffer("router.scores", tile.m.saturating_mul(tile.n));
    nodes.extend(selection(kernel, experts, top_k, tile.m, scores));
    nodes
}

/// The scores of all experts gathered along x, and the selection in every processing element.
fn selection(kernel: &mut Kernel, experts: u64, top_k: u64, vectors: u64, scores: BufferId) -> Vec<Node> {
    let all = kernel.buffer("router.all_scores", experts.saturating_mul(vectors));
    let hops = kernel.region().columns - 1;
    let mut nodes = vec![relayout(kernel, Axis::X, hops, experts.saturating_mul(vectors), scores, all, false)];
    let chosen = top_k.saturating_mul(vectors);
    // One pass for each chosen expert, or a single one.
    let passes = if kernel.options.single_pass_top_k { vectors } else { chosen };
    nodes.push(kernel.compute(
        Math::TopK,
        &[all],
        all,
        vec![
            kernel.work(Operation::ScalarReduce, experts, passes),
            kernel.work(Operation::Exponential, chosen, 1),
            kernel.work(Operation::Divide, 1, vectors),
        ],
    ));
    nodes
}

fn relayout(
    kernel: &mut Kernel,
    axis: Axis,
    hops: u64,
    elements: u64,
    source: BufferId,
    target: BufferId,
    accumulate: bool,
) -> Node {
    let wavelets = kernel.activations().wavelets(elements);
    let colors = collective::transit_colors(&mut kernel.program, axis);
    kernel.program.step(Action::Relayout(Relayout { axis, hops, wavelets, source, target, accumulate, colors }))
}

/// From the layout of prefill (tokens along y, the hidden vector along x) to that of decode (the hidden vector along y,
/// replicated along x), for spread experts: half of each column's elements cross its middle, then every row gathers what
/// its processing elements hold along x.
pub fn turn_tokens(kernel: &mut Kernel, hidden: u64, tokens: u64, x: BufferId) -> Vec<Node> {
    let region = kernel.region();
    let crossing = region.share(Axis::X, hidden).saturating_mul(tokens).div_ceil(2);
    let gathered = region.share(Axis::Y, hidden).saturating_mul(tokens);
    vec![
        relayout(kernel, Axis::Y, region.rows - 1, crossing, x, x, false),
        relayout(kernel, Axis::X, region.columns - 1, gathered, x, x, false),
    ]
}

/// The way back: every processing element keeps the columns of the hidden vector that it holds in prefill.
pub fn turn_back(kernel: &mut Kernel, hidden: u64, tokens: u64, x: BufferId) -> Node {
    let region = kernel.region();
    let crossing = region.share(Axis::X, hidden).saturating_mul(tokens).div_ceil(2);
    relayout(kernel, Axis::Y, region.rows - 1, crossing, x, x, false)
}

/// A rectangle that holds one expert (or several), and how many pairs its busiest one gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Columns of the rectangle.
    pub columns: u64,
    /// Rows of the rectangle.
    pub rows: u64,
}

/// Routed experts in rectangles: dispatch, gate and up, activation, down, combine. All rectangles work at the same time;
/// the busiest decides.
///
/// Dispatch: a token lies along y, replicated along x. Each of a rectangle's columns fetches its share of the hidden
/// vector along y from the whole column of the region, then passes it along the rectangle's rows; on the busiest links of
/// a column travel the vectors of the experts below or above it, of which `busiest` go to one rectangle. Combine is the
/// way back, with sums on the way.
pub fn clustered(
    kernel: &mut Kernel,
    size: NetworkSize,
    cluster: Cluster,
    load: ExpertLoad,
    x: BufferId,
) -> [Vec<Node>; 4] {
    let NetworkSize { hidden, width, vectors: tokens } = size;
    let region = kernel.region();
    let rectangle = Region::new(region.x, region.y, cluster.columns, cluster.rows);
    let inputs = rectangle.share(Axis::Y, hidden);
    let busiest = load.busiest.max(1);

    let fetched = hidden.div_ceil(rectangle.columns).saturating_mul(tokens.max(busiest));
    let local = inputs.saturating_mul(busiest);
    let arrived = kernel.buffer("expert.input", local);
    let column_hops = region.rows.saturating_sub(1);
    let row_hops = rectangle.columns.saturating_sub(1);
    let dispatch = vec![
        relayout(kernel, Axis::Y, column_hops, fetched, x, arrived, false),
        relayout(kernel, Axis::X, row_hops, local, arrived, arrived, false),
    ];

    let outer = kernel.program.region;
    kernel.program.region = rectangle;
    let expert_load = ExpertLoad { pairs: busiest, distinct: 1, busiest };
    // The norm was applied before dispatch, so nothing is fused inside the rectangle.
    let size = NetworkSize { hidden, width, vectors: busiest };
    let [gate_up, activation, down] = spread(kernel, size, expert_load, 0, arrived);
    kernel.program.region = outer;

    let result = kernel.buffer("expert.output", region.share(Axis::Y, hidden).saturating_mul(tokens));
    let mut combine = vec![
        relayout(kernel, Axis::X, row_hops, local, arrived, arrived, false),
        relayout(kernel, Axis::Y, column_hops, fetched, arrived, result, true),
    ];
    // Every column of rectangles holds the sum of its own experts: they are added along x.
    combine.extend(kernel.all_reduce(Axis::X, result, ReduceOperator::Add));
    [dispatch, [gate_up, activation].concat(), down, combine]
}

/// Prefill of one network over the region with `vectors` rows: three products, the last one aligned like the published
/// `down`. Used for dense networks, shared experts, and each spread expert with rows enough to fill the grid.
pub fn prefill_network(kernel: &mut Kernel, hidden: u64, width: u64, vectors: u64) -> [Vec<Node>; 3] {
    let region = kernel.region();
    let wide = Tile::new(region.columns, region.rows, vectors, hidden, width);
    let narrow = Tile::new(region.columns, region.rows, vectors, width, hidden);
    let mut first = tile_conversion(kernel, hidden, width, 2);
    first.extend(gemm::alignment(kernel, wide));
    first.extend(gemm::cannon(kernel, wide));
    first.extend(gemm::cannon(kernel, wide));
    let inner = kernel.buffer("feed_forward.inner", wide.m.saturating_mul(wide.n));
    let activation = vec![gated_activation(kernel, wide.m.saturating_mul(wide.n), inner)];
    let mut last = tile_conversion(kernel, width, hidden, 1);
    last.extend(gemm::alignment(kernel, narrow));
    last.extend(gemm::cannon(kernel, narrow));
    [first, activation, last]
}

/// Conversion of the tiles of a matrix that is stored narrow, once per chunk.
pub fn tile_conversion(kernel: &mut Kernel, inputs: u64, outputs: u64, matrices: u64) -> Vec<Node> {
    let region = kernel.region();
    let product = Product {
        inputs: region.share(Axis::Y, inputs),
        outputs: region.share(Axis::X, outputs),
        vectors: 0,
        tiles: matrices,
    };
    let scratch = kernel.buffer("weights.scratch", 0);
    crate::gemv::dequantise(kernel, product, scratch)
}
