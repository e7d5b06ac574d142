//! Feed-forward networks: dense SwiGLU, router with top-k, experts spread over the region or in rectangles of their own.
//!
//! Spread experts need no dispatch: every processing element holds a tile of every expert, and the sum over the chosen
//! experts is taken before the one reduction that a dense network needs as well. Clustered experts work at the same
//! time, each in its rectangle, for which tokens travel there (dispatch) and back (combine).

use wafersim_program::formula::along;
use wafersim_program::{
    Action, Axis, BufferId, Chosen, Digit, Dimension, End, Field, Formula, Math, Node, Operand, Operation, Pair,
    ReduceOperator, Region, Relayout, Spread, collective,
};
use wafersim_spec::model::{Gating, Moe, Role};

use crate::context::Kernel;
use crate::exact::{Exact, first, table};
use crate::gemm::{self, Tile};
use crate::gemv::{Product, local_product};
use crate::norm::fused_elements;
use crate::options::Scope;

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

/// Whose network: what exact programs need to know of it.
#[derive(Debug, Clone)]
pub struct Network {
    /// Roles of gate, up and down.
    pub roles: [Role; 3],
    /// Whether they have biases.
    pub bias: bool,
    /// For experts, the router's choice and the pairs that go through: row `i` of the inner vectors is pair `i`; `from` is a
    /// row of the input, `to` one of the output.
    pub chosen: Option<(BufferId, Vec<Pair>)>,
    /// Rows of the output; tokens in a rectangle of experts.
    pub rows: Dimension,
}

impl Network {
    /// A dense network.
    pub const fn dense(bias: bool, tokens: u64) -> Self {
        Self { roles: [Role::Gate, Role::Up, Role::Down], bias, chosen: None, rows: Dimension::whole(tokens) }
    }

    /// The shared expert.
    pub fn shared(tokens: u64) -> Self {
        let roles = [Role::SharedGate, Role::SharedUp, Role::SharedDown];
        Self { roles, ..Self::dense(false, tokens) }
    }

    /// Routed experts: `pairs` of the choice in a buffer.
    pub const fn experts(choice: BufferId, pairs: Vec<Pair>, rows: Dimension) -> Self {
        let roles = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown];
        Self { roles, bias: false, chosen: Some((choice, pairs)), rows }
    }

    /// The pairs into the inner vectors.
    fn first(&self) -> Option<Chosen> {
        let pairs = |pairs: &[Pair]| (0..).zip(pairs).map(|(to, pair)| Pair { to, ..*pair }).collect();
        self.chosen.as_ref().map(|(choice, list)| Chosen {
            experts: first(*choice),
            pairs: pairs(list),
            bias_weights: None,
        })
    }

    /// The pairs out of them.
    fn last(&self) -> Option<Chosen> {
        let pairs = |pairs: &[Pair]| (0..).zip(pairs).map(|(from, pair)| Pair { from, ..*pair }).collect();
        self.chosen.as_ref().map(|(choice, list)| Chosen {
            experts: first(*choice),
            pairs: pairs(list),
            bias_weights: None,
        })
    }
}

/// All pairs of `tokens` tokens with `top_k` experts each, whose outputs are summed for each token.
pub fn all_pairs(tokens: u64, top_k: u64) -> Vec<Pair> {
    (0..tokens).flat_map(|token| (0..top_k).map(move |slot| Pair { token, slot, from: token, to: token })).collect()
}

/// Gate, up, activation and down of one network with its width spread over the region: `pairs` vectors through `distinct`
/// different sets of tiles; `vectors` sums come out. The sums of squares of `fused_norms` vectors travel with the first
/// reduction, where norms are fused. Returns the nodes of the three operators and the buffer of the result.
pub fn spread(
    kernel: &mut Kernel,
    size: NetworkSize,
    load: ExpertLoad,
    fused_norms: u64,
    x: BufferId,
    network: &Network,
) -> ([Vec<Node>; 3], BufferId) {
    let NetworkSize { hidden, width, vectors } = size;
    let region = kernel.region();
    let inputs = region.share(Axis::Y, hidden);
    let inner = region.share(Axis::X, width);
    let both = inner.saturating_mul(2).saturating_mul(load.pairs);
    let sums = fused_elements(kernel, fused_norms);
    let fields = || ["gate", "up"].map(|name| table(name, load.pairs, width, Axis::X, region)).to_vec();
    let gate_up = kernel.declare("feed_forward.gate_up", both + sums, fields);
    let operands = [Operand::new(gate_up, 0), Operand::new(gate_up, 1)];
    let [gate_role, up_role, down_role] = network.roles;
    let product_of = |kernel: &mut Kernel, role: Role, (x, y): (Operand, Operand), chosen, bias: Option<Axis>| {
        let (inputs, outputs) = (kernel.field(x), kernel.field(y));
        let weight = kernel.weight(role, inputs, outputs);
        Formula::Product { x, weight, y, chosen, bias }
    };
    let bias = |axis: Axis| network.bias.then_some(axis);
    let mut first_nodes = Vec::new();
    let exact = kernel.exact.is_some();
    if kernel.options.interleaved_gate_up && !exact {
        let outputs = inner.saturating_mul(2);
        let product = Product { inputs, outputs, vectors: load.pairs, tiles: load.distinct };
        first_nodes.extend(local_product(kernel, product, x, gate_up));
    } else {
        for (role, y) in [gate_role, up_role].into_iter().zip(operands) {
            let product = Product { inputs, outputs: inner, vectors: load.pairs, tiles: load.distinct };
            let nodes = local_product(kernel, product, x, gate_up);
            if exact {
                let formula = product_of(kernel, role, (first(x), y), network.first(), bias(Axis::Y));
                first_nodes.extend(kernel.last_means(nodes, || formula));
            } else {
                first_nodes.extend(nodes);
            }
        }
    }
    first_nodes.extend(kernel.all_reduce(Axis::Y, gate_up, ReduceOperator::Add));
    // What the measured layer's SiLU runs over: its columns' share of the hidden width.
    let hidden_here = region.share(Axis::X, hidden);
    let node = gated_activation(kernel, (inner, hidden_here), load.pairs, gate_up);
    let activation = vec![kernel.means(node, || Formula::GatedActivation {
        gate: operands[0],
        up: operands[1],
        gating: Gating::Silu,
        weighs_input: false,
        weights: network.chosen.as_ref().map(|(choice, pairs)| (Operand::new(*choice, 1), pairs.clone())),
    })];
    let output = kernel.declare("feed_forward.output", inputs.saturating_mul(vectors), || {
        vec![Field::new("output", network.rows.clone(), vec![along(hidden, Axis::Y, region)])]
    });
    let product = Product { inputs: inner, outputs: inputs, vectors: load.pairs, tiles: load.distinct };
    let mut last = local_product(kernel, product, gate_up, output);
    if exact {
        let formula = product_of(kernel, down_role, (operands[0], first(output)), network.last(), bias(Axis::X));
        last = kernel.last_means(last, || formula);
    }
    last.extend(kernel.all_reduce(Axis::X, output, ReduceOperator::Add));
    ([first_nodes, activation, last], output)
}

/// `silu(gate) * up` of `vectors` vectors with `inner` elements here: SiLU per element and two products (the second with the
/// router weight, or a copy). The measured layer's SiLU runs over as many elements as the hidden vector has here.
fn gated_activation(kernel: &mut Kernel, (inner, hidden): (u64, u64), vectors: u64, gate_up: BufferId) -> Node {
    let elements = inner.saturating_mul(vectors);
    let activated = match kernel.scope {
        Scope::Model => elements,
        Scope::Measured => hidden.saturating_mul(vectors),
    };
    kernel.compute(
        Math::GatedActivation,
        &[gate_up],
        gate_up,
        vec![kernel.work(Operation::Silu, activated, 1), kernel.work(Operation::Multiply, elements, 2)],
    )
}

/// The router: scores of all experts, gathered along x so that every processing element selects the same experts. Returns
/// the buffer of the choice: numbers and weights.
///
/// Selection reads the scores once for each of the `top_k` (a guess: the published kernels have no router, and this is the
/// plainest one), then exponentials and a division of the chosen weights.
pub fn router(kernel: &mut Kernel, hidden: u64, moe: &Moe, vectors: u64, x: BufferId) -> (Vec<Node>, BufferId) {
    let region = kernel.region();
    let inputs = region.share(Axis::Y, hidden);
    let outputs = region.share(Axis::X, moe.experts);
    let weights = kernel.precision.weights;
    // The router is a small weight: stored in 16 bit, never converted.
    kernel.precision.weights = kernel.precision.small_weights;
    let sums = fused_elements(kernel, vectors);
    let scores = kernel.declare("router.scores", outputs.saturating_mul(vectors) + sums, || {
        vec![table("scores", vectors, moe.experts, Axis::X, region)]
    });
    let mut nodes = local_product(kernel, Product { inputs, outputs, vectors, tiles: 1 }, x, scores);
    if kernel.exact.is_some() {
        let (inputs, outputs) = (kernel.field(first(x)), kernel.field(first(scores)));
        let weight = kernel.weight(Role::Router, inputs, outputs);
        nodes = kernel.last_means(nodes, || Formula::Product {
            x: first(x),
            weight,
            y: first(scores),
            chosen: None,
            bias: None,
        });
    }
    kernel.precision.weights = weights;
    nodes.extend(kernel.all_reduce(Axis::Y, scores, ReduceOperator::Add));
    let (select, choice) = selection(kernel, moe, vectors, Dimension::whole(vectors), scores);
    nodes.extend(select);
    (nodes, choice)
}

/// The router of a chunk of a prompt: a matrix product, then each row selects for its own tokens.
pub fn prefill_router(kernel: &mut Kernel, hidden: u64, moe: &Moe, tokens: u64) -> Vec<Node> {
    let region = kernel.region();
    let tile = Tile::new(region.columns, region.rows, tokens, hidden, moe.experts);
    let mut nodes = gemm::alignment(kernel, tile);
    nodes.extend(gemm::cannon(kernel, tile));
    let scores = kernel.buffer("router.scores", tile.m.saturating_mul(tile.n));
    nodes.extend(selection(kernel, moe, tile.m, Dimension::whole(tile.m), scores).0);
    nodes
}

/// The scores of all experts gathered along x, and the selection in every processing element.
pub(crate) fn selection(
    kernel: &mut Kernel,
    moe: &Moe,
    vectors: u64,
    rows: Dimension,
    scores: BufferId,
) -> (Vec<Node>, BufferId) {
    let (experts, top_k) = (moe.experts, moe.top_k);
    let field = |name: &'static str, width: u64| Field::new(name, rows.clone(), vec![Dimension::whole(width)]);
    let all = kernel.declare("router.all_scores", experts.saturating_mul(vectors), || vec![field("scores", experts)]);
    let hops = kernel.region().columns - 1;
    let mut nodes =
        vec![relayout(kernel, Axis::X, hops, experts.saturating_mul(vectors), scores, all, (End::Last, false))];
    let chosen = top_k.saturating_mul(vectors);
    let choice = if kernel.exact.is_some() {
        kernel.declare("router.choice", 0, || vec![field("experts", top_k), field("weights", top_k)])
    } else {
        all
    };
    // One pass for each chosen expert, or a single one.
    let passes = if kernel.options.single_pass_top_k { vectors } else { chosen };
    let node = kernel.compute(
        Math::TopK,
        &[all],
        choice,
        vec![
            kernel.work(Operation::ScalarReduce, experts, passes),
            kernel.exponential(chosen, 1),
            kernel.work(Operation::Divide, 1, vectors),
        ],
    );
    let weights = Operand::new(choice, 1);
    nodes.push(kernel.means(node, || Formula::Choose {
        keys: first(all),
        values: first(all),
        experts: first(choice),
        chosen: weights,
        top_k,
        groups: 1,
        kept_groups: 1,
    }));
    if kernel.exact.is_some() {
        let node = kernel.compute(Math::TopK, &[all], choice, Vec::new());
        let all = (!moe.selection.weighs_chosen_alone()).then_some(first(all));
        nodes.push(kernel.means(node, || Formula::Weigh { weights, all, selection: moe.selection }));
    }
    (nodes, choice)
}

fn relayout(
    kernel: &mut Kernel,
    axis: Axis,
    hops: u64,
    elements: u64,
    source: BufferId,
    target: BufferId,
    (farthest, accumulate): (End, bool),
) -> Node {
    let wavelets = kernel.activations().wavelets(elements);
    let colors = collective::transit_colors(&mut kernel.program, axis);
    kernel.program.step(Action::Relayout(Relayout {
        axis,
        hops,
        wavelets,
        others: Vec::new(),
        farthest,
        source,
        target,
        accumulate,
        colors,
    }))
}

/// From the layout of prefill (tokens along y, the hidden vector along x) to that of decode (the hidden vector along y,
/// replicated along x), for spread experts: half of each column's elements cross its middle, then every row gathers what
/// its processing elements hold along x.
pub fn turn_tokens(kernel: &mut Kernel, hidden: u64, tokens: u64, x: BufferId) -> Vec<Node> {
    let region = kernel.region();
    let crossing = region.share(Axis::X, hidden).saturating_mul(tokens).div_ceil(2);
    let gathered = region.share(Axis::Y, hidden).saturating_mul(tokens);
    vec![
        relayout(kernel, Axis::Y, region.rows - 1, crossing, x, x, (End::First, false)),
        relayout(kernel, Axis::X, region.columns - 1, gathered, x, x, (End::First, false)),
    ]
}

/// The way back: every processing element keeps the columns of the hidden vector that it holds in prefill.
pub fn turn_back(kernel: &mut Kernel, hidden: u64, tokens: u64, x: BufferId) -> Node {
    let region = kernel.region();
    let crossing = region.share(Axis::X, hidden).saturating_mul(tokens).div_ceil(2);
    relayout(kernel, Axis::Y, region.rows - 1, crossing, x, x, (End::First, false))
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
    let region = kernel.region();
    let rectangle = Region::new(region.x, region.y, cluster.columns, cluster.rows);
    let result = kernel.buffer("expert.output", region.share(Axis::Y, size.hidden).saturating_mul(size.vectors));
    let network = Network::dense(false, size.vectors);
    let [dispatch, experts, down, mut combine] =
        in_rectangle(kernel, size, rectangle, (load, size.vectors.max(load.busiest.max(1))), (x, result), &network);
    // Every column of rectangles holds the sum of its own experts: they are added along x.
    combine.extend(kernel.all_reduce(Axis::X, result, ReduceOperator::Add));
    [dispatch, experts, down, combine]
}

/// The same in an exact program: each rectangle that a token has chosen is written, with the pairs that go there; they work
/// beside each other. Returns the buffer of the result as well.
pub fn exact_clustered(
    kernel: &mut Kernel,
    size: NetworkSize,
    exact: &Exact,
    x: BufferId,
    choice: BufferId,
) -> ([Vec<Node>; 4], BufferId) {
    let region = kernel.region();
    let result =
        kernel.declare("expert.output", 0, || vec![table("output", size.vectors, size.hidden, Axis::Y, region)]);
    let mut branches: [Vec<Node>; 4] = Default::default();
    for (number, cell) in (0u64..).zip(&exact.cells) {
        let chosen = (0u64..).zip(&exact.chosen).flat_map(|(token, experts)| {
            (0u64..)
                .zip(experts)
                .filter(|(_, expert)| *expert % exact.cells.len() as u64 == number)
                .map(move |(slot, _)| (token, slot))
        });
        let pairs: Vec<Pair> =
            (0u64..).zip(chosen).map(|(row, (token, slot))| Pair { token, slot, from: row, to: row }).collect();
        if pairs.is_empty() {
            continue;
        }
        let busiest = pairs.len() as u64;
        let rows =
            Dimension { size: size.vectors, spread: Spread::Listed(pairs.iter().map(|pair| pair.token).collect()) };
        let network = Network::experts(choice, pairs, rows);
        let rectangle = Region::new(region.x + cell.x, region.y + cell.y, cell.columns, cell.rows);
        let load = ExpertLoad { pairs: busiest, distinct: 1, busiest };
        let parts = in_rectangle(kernel, size, rectangle, (load, busiest), (x, result), &network);
        for (branch, part) in branches.iter_mut().zip(parts) {
            branch.push(Node::Sequence(part));
        }
    }
    let [dispatch, experts, down, combine] = branches.map(|mut branch| match branch.len() {
        0 | 1 => branch.pop().into_iter().collect(),
        _ => vec![Node::Parallel(branch)],
    });
    let mut combine: Vec<Node> = combine;
    combine.extend(kernel.all_reduce(Axis::X, result, ReduceOperator::Add));
    ([dispatch, experts, down, combine], result)
}

/// Dispatch to one rectangle, its network, and the way back into `result`.
fn in_rectangle(
    kernel: &mut Kernel,
    size: NetworkSize,
    rectangle: Region,
    (load, vectors_fetched): (ExpertLoad, u64),
    (x, result): (BufferId, BufferId),
    network: &Network,
) -> [Vec<Node>; 4] {
    let NetworkSize { hidden, width, .. } = size;
    let region = kernel.region();
    let inputs = rectangle.share(Axis::Y, hidden);
    let busiest = load.busiest.max(1);
    let fetched = hidden.div_ceil(rectangle.columns).saturating_mul(vectors_fetched);
    let local = inputs.saturating_mul(busiest);
    let column_hops = region.rows.saturating_sub(1);
    let row_hops = rectangle.columns.saturating_sub(1);
    let rows = |name: &'static str| Field::new(name, network.rows.clone(), vec![along(hidden, Axis::Y, rectangle)]);
    let columns = Digit::line(Axis::X, rectangle.columns);
    let exact = kernel.exact.is_some();

    kernel.program.region = rectangle;
    let arrived = kernel.declare("expert.input", local, || vec![rows("normed")]);
    let fetched_here =
        if exact { kernel.declare("expert.fetched", 0, || vec![rows("normed").shared(columns)]) } else { arrived };
    kernel.program.region = region;
    let dispatch = vec![
        relayout(kernel, Axis::Y, column_hops, fetched, x, fetched_here, (End::Last, false)),
        relayout(kernel, Axis::X, row_hops, local, fetched_here, arrived, (End::First, false)),
    ];

    kernel.program.region = rectangle;
    let expert_load = ExpertLoad { pairs: busiest, distinct: 1, busiest };
    // The norm was applied before dispatch, so nothing is fused inside the rectangle.
    let inside = NetworkSize { hidden, width, vectors: busiest };
    let ([gate_up, activation, down], output) = spread(kernel, inside, expert_load, 0, arrived, network);
    let kept = if exact { kernel.declare("expert.kept", 0, || vec![rows("output").shared(columns)]) } else { arrived };
    kernel.program.region = region;

    let source = if exact { output } else { arrived };
    let combine = vec![
        relayout(kernel, Axis::X, row_hops, local, source, kept, (End::First, false)),
        relayout(kernel, Axis::Y, column_hops, fetched, kept, result, (End::First, true)),
    ];
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
    let activation = vec![gated_activation(kernel, (wide.n, region.share(Axis::X, hidden)), wide.m, inner)];
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
