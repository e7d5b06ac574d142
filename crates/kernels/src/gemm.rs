//! Matrix-matrix products: `C[M, N] = A[M, K] B[K, N]` on a grid, M along y, N along x.
//!
//! MeshGEMM (WaferLLM, OSDI 2025) is Cannon's algorithm on lines folded by interleaving: P steps, in each the A tile moves
//! along x and the B tile along y, double buffered, beside the local product. A's row r is first rotated by r positions in
//! P / 2 shifts. On an oblong grid P is the longer side and the shorter lines hold several pieces of K.
//! SUMMA broadcasts one tile of A and one of B along the lines in every step instead.

use wafersim_program::{
    Action, Axis, BufferId, ChainReduce, Dimension, Field, Formula, Math, Multicast, Node, Operand, Operation, Part,
    Program, ReduceOperator, Region, Resident, Ring, Root, RouteChange, Segment, Shift, Spread, Step, Style,
};
use wafersim_spec::Precision;
use wafersim_spec::model::Role;

use crate::context::Kernel;
use crate::exact::{Exact, first};
use crate::gemv::fp16;
use crate::options::Options;

/// The local tiles of a product: C is `m` x `n`, each step multiplies `k` columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Rows of C in one processing element.
    pub m: u64,
    /// Inner dimension of one step.
    pub k: u64,
    /// Columns of C in one processing element.
    pub n: u64,
    /// Steps: the longer side of the grid.
    pub steps: u64,
}

impl Tile {
    /// Tiles of a product on a grid of `columns` x `rows`.
    pub fn new(columns: u64, rows: u64, m: u64, k: u64, n: u64) -> Self {
        let steps = columns.max(rows).max(1);
        Self { m: m.div_ceil(rows.max(1)), k: k.div_ceil(steps), n: n.div_ceil(columns.max(1)), steps }
    }
}

impl Tile {
    /// Tiles of the transposed product on a grid of `columns` x `rows`: the rows of the right matrix lie along y like those of
    /// the left one and pass by, one tile a step, while the inner dimension stays along x.
    pub fn transposed(columns: u64, rows: u64, m: u64, k: u64, n: u64) -> Self {
        let (columns, rows) = (columns.max(1), rows.max(1));
        Self { m: m.div_ceil(rows), k: k.div_ceil(columns), n: n.div_ceil(rows), steps: rows }
    }
}

/// How the tiles of SUMMA are broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broadcast {
    /// Streaming multicasts of our own, beside the compute.
    Asynchronous,
    /// The vendor's collectives library.
    Library,
}

/// The local product of one step: per column of A a set-up and `n` multiply-accumulates of length `m`.
fn local_step(kernel: &mut Kernel, tile: Tile, a: BufferId, b: BufferId, c: BufferId) -> Node {
    let work = vec![
        kernel.work(Operation::TileColumn, 0, tile.k),
        kernel.work(Operation::TileFma, tile.m, tile.k.saturating_mul(tile.n)),
    ];
    kernel.compute(Math::MatMul, &[a, b, c], c, work)
}

fn ring_shift(kernel: &mut Kernel, axis: Axis, payload: BufferId) -> Step {
    let first = if axis == Axis::X { 0 } else { 4 };
    let colors = (first..first + 4).map(wafersim_program::Color).collect();
    while kernel.program.color_count() < 8 {
        kernel.program.new_colors(1);
    }
    Step { region: kernel.region(), action: Action::Shift(Shift { axis, ring: true, payload, colors }) }
}

fn route_change(region: Region, changes: u64) -> Step {
    Step { region, action: Action::RouteChange(RouteChange { changes }) }
}

/// Buffers of a product.
fn tiles(kernel: &mut Kernel, tile: Tile) -> (BufferId, BufferId, BufferId) {
    let a = kernel.buffer("gemm.a", tile.m.saturating_mul(tile.k));
    let b = kernel.buffer("gemm.b", tile.k.saturating_mul(tile.n));
    let c = kernel.buffer("gemm.c", tile.m.saturating_mul(tile.n));
    (a, b, c)
}

/// P steps of Cannon's algorithm, without alignment.
pub fn cannon(kernel: &mut Kernel, tile: Tile) -> Vec<Node> {
    let operands = tiles(kernel, tile);
    let columns = kernel.region().columns;
    cannon_of(kernel, tile, operands, (1, columns), None)
}

/// The same on given operands, in `blocks` blocks of `width` columns that work beside each other.
pub(crate) fn cannon_of(
    kernel: &mut Kernel,
    tile: Tile,
    (a, b, c): (BufferId, BufferId, BufferId),
    (blocks, width): (u64, u64),
    formula: Option<Formula>,
) -> Vec<Node> {
    let mut compute = local_step(kernel, tile, a, b, c);
    if let Some(formula) = formula {
        compute = kernel.means(compute, || formula);
    }
    let mut transfers = shifts_in_blocks(kernel, a, blocks, width);
    transfers.push(ring_shift(kernel, Axis::Y, b));
    let after = vec![kernel.program.synchronise(2, 2)];
    vec![Node::Systolic { times: tile.steps, compute: Box::new(compute), transfers, after }]
}

fn shifts_in_blocks(kernel: &mut Kernel, payload: BufferId, blocks: u64, width: u64) -> Vec<Step> {
    let outer = kernel.program.region;
    let shifts = (0..blocks).map(|block| {
        kernel.program.region = Region::new(outer.x + block * width, outer.y, width, outer.rows);
        ring_shift(kernel, Axis::X, payload)
    });
    let shifts = shifts.collect();
    kernel.program.region = outer;
    shifts
}

/// The rotation of A before Cannon's algorithm: P / 2 shifts.
pub fn alignment(kernel: &mut Kernel, tile: Tile) -> Vec<Node> {
    let a = kernel.buffer("gemm.a", tile.m.saturating_mul(tile.k));
    alignment_of(kernel, tile, a)
}

/// The same of a given operand: each row of the region rotates it one way or the other until it lies as its layout says.
pub(crate) fn alignment_of(kernel: &mut Kernel, tile: Tile, a: BufferId) -> Vec<Node> {
    let shift = ring_shift(kernel, Axis::X, a);
    vec![Node::Repeat { times: tile.steps / 2, body: Box::new(Node::Step(shift)) }]
}

/// The transposed product `S[M, N] = Q[M, K] K[N, K]^T` of prefill attention: in each step the right tile moves along y and
/// an `m` x `n` tile of partial sums is reduced along x to a root that moves on by one element; on machines that change
/// routes at run time the reduction's routes (as many as a layer's, 6) follow it.
pub fn transposed(kernel: &mut Kernel, tile: Tile) -> Vec<Node> {
    let operands = tiles(kernel, tile);
    let columns = kernel.region().columns;
    transposed_of(kernel, tile, operands, columns, None)
}

/// The same on given operands, in blocks of `columns`; `meaning`: of the local product, and of the step that collects the sums
/// where they end.
pub(crate) fn transposed_of(
    kernel: &mut Kernel,
    tile: Tile,
    (a, b, c): (BufferId, BufferId, BufferId),
    columns: u64,
    meaning: Option<(Formula, Step)>,
) -> Vec<Node> {
    /// Route changes of one move of the root, the published count of one set of reduction routes on WSE-3.
    const ROUTES_OF_A_REDUCTION: u64 = 6;
    let mut compute = local_step(kernel, tile, a, b, c);
    let collect = meaning.map(|(formula, collect)| {
        compute = kernel.means(compute.clone(), || formula);
        collect
    });
    let transfers = vec![ring_shift(kernel, Axis::Y, b)];
    let colors = (0..4).map(wafersim_program::Color).collect();
    let region = kernel.region();
    let reduce = Action::ChainReduce(ChainReduce {
        axis: Axis::X,
        count: columns,
        stride: 1,
        offset: 0,
        segment: Segment::LINE,
        root: Root::Rotating,
        operator: ReduceOperator::Add,
        style: Style::Streaming,
        payload: c,
        colors,
    });
    let mut after = vec![kernel.program.synchronise(2, 2), Step { region, action: reduce }];
    if !kernel.options.static_routes {
        after.push(route_change(region, ROUTES_OF_A_REDUCTION));
    }
    after.extend(collect);
    vec![Node::Systolic { times: tile.steps, compute: Box::new(compute), transfers, after }]
}

/// MeshGEMM on its own, as it was measured. `aligned`: the alignment of A is inside the timed part.
///
/// ```
/// use wafersim_kernels::{Options, gemm};
/// use wafersim_program::Region;
///
/// let program = gemm::mesh_gemm(Region::new(0, 0, 360, 360), 4320, 4320, 4320, true, Options::PUBLISHED);
/// assert_eq!(program.macs_per_element(), 360 * 12 * 12 * 12);
/// ```
pub fn mesh_gemm(region: Region, m: u64, k: u64, n: u64, aligned: bool, options: Options) -> Program {
    let mut kernel = Kernel::new("MeshGEMM", region, fp16(), options);
    let tile = Tile::new(region.columns, region.rows, m, k, n);
    if aligned {
        let nodes = alignment(&mut kernel, tile);
        kernel.program.push("alignment", nodes);
    }
    let nodes = cannon(&mut kernel, tile);
    kernel.program.push("steps", nodes);
    kernel.program
}

/// MeshGEMM as an exact program: `gemm.input` times the matrix `role` of a checkpoint gives `gemm.result`.
pub fn exact_mesh_gemm(
    region: Region,
    (m, k, n): (u64, u64, u64),
    role: Role,
    precision: Precision,
    options: Options,
) -> Program {
    let mut kernel = Kernel::new("MeshGEMM", region, precision, options);
    kernel.exact = Some(Exact::new(0.0));
    let rings = Rings::new(region);
    let input = kernel.declare("gemm.input", 0, || vec![Field::new("a", rings.rows(m), vec![rings.inner(k, false)])]);
    let result = kernel.declare("gemm.result", 0, || vec![Field::new("c", rings.rows(m), vec![rings.inner(n, false)])]);
    let tile = Tile::new(region.columns, region.rows, m, k, n);
    let (nodes, a) = exact_aligned(&mut kernel, tile, first(input), k);
    kernel.program.push("alignment", nodes);
    let nodes = exact_cannon(&mut kernel, tile, a, (role, false), first(result));
    kernel.program.push("steps", nodes);
    kernel.program
}

/// Loads an operand and rotates it. Returns the rotated one.
pub(crate) fn exact_aligned(kernel: &mut Kernel, tile: Tile, source: Operand, k: u64) -> (Vec<Node>, Operand) {
    let rings = Rings::new(kernel.region());
    let rows = kernel.field(source).rows;
    let a = kernel.declare("gemm.a", 0, || vec![Field::new("a", rows, vec![rings.inner(k, true)])]);
    let load = kernel.compute(Math::Copy, &[source.buffer], a, Vec::new());
    let mut nodes = vec![kernel.means(load, || Formula::Load { source, target: first(a) })];
    nodes.extend(alignment_of(kernel, tile, a));
    (nodes, first(a))
}

/// Cannon's algorithm with a weight, whose tiles lie skewed beforehand.
pub(crate) fn exact_cannon(
    kernel: &mut Kernel,
    tile: Tile,
    a: Operand,
    (role, bias): (Role, bool),
    c: Operand,
) -> Vec<Node> {
    let region = kernel.region();
    let rings = Rings::new(region);
    let k = kernel.field(a).row_size();
    let inner = kernel.field(c).inner;
    let b = kernel
        .declare_typed("gemm.b", 0, kernel.precision.weights, || vec![Field::new("b", rings.skewed_rows(k), inner)]);
    kernel.program.residents.push(Resident { buffer: b, role, part: Part::Whole });
    let formula = Formula::TileProduct { a, b: first(b), c, bias: bias.then_some(role) };
    cannon_of(kernel, tile, (a.buffer, b, c.buffer), (1, region.columns), Some(formula))
}

/// The rings of a product on a region: tokens and skewed weights along y, widths along x.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rings {
    columns: u64,
    rows: u64,
    pieces: u64,
}

impl Rings {
    pub const fn new(region: Region) -> Self {
        let pieces = if region.columns > region.rows { region.columns } else { region.rows };
        Self { columns: region.columns, rows: region.rows, pieces }
    }

    /// Tokens over the rows of the region, in the order of their ring.
    pub const fn rows(self, size: u64) -> Dimension {
        let ring = Ring { axis: Axis::Y, length: self.rows, pieces: self.rows, across: 0 };
        Dimension { size, spread: Spread::Ring(ring) }
    }

    /// A width over the columns: as it comes out of a product, or rotated for the next one.
    pub const fn inner(self, size: u64, rotated: bool) -> Dimension {
        let across = if rotated { self.rows } else { 0 };
        Dimension {
            size,
            spread: Spread::Ring(Ring { axis: Axis::X, length: self.columns, pieces: self.pieces, across }),
        }
    }

    /// The rows of a right operand, rotated by its columns.
    pub const fn skewed_rows(self, size: u64) -> Dimension {
        let ring = Ring { axis: Axis::Y, length: self.rows, pieces: self.pieces, across: self.columns };
        Dimension { size, spread: Spread::Ring(ring) }
    }
}

/// SUMMA on its own, as it was measured.
pub fn summa(region: Region, m: u64, k: u64, n: u64, broadcast: Broadcast, options: Options) -> Program {
    let mut kernel = Kernel::new("SUMMA", region, fp16(), options);
    let tile = Tile::new(region.columns, region.rows, m, k, n);
    let (a, b, c) = tiles(&mut kernel, tile);
    let compute = local_step(&mut kernel, tile, a, b, c);
    let style = match broadcast {
        Broadcast::Asynchronous => Style::Streaming,
        Broadcast::Library => Style::Library,
    };
    let colors = kernel.program.new_colors(4);
    let multicast = |axis: Axis, payload: BufferId| Step {
        region,
        action: Action::Multicast(Multicast {
            axis,
            from: 0,
            span: region.along(axis),
            stride: 1,
            style,
            payload,
            colors: if axis == Axis::X { colors[..2].to_vec() } else { colors[2..].to_vec() },
        }),
    };
    let casts = vec![multicast(Axis::X, a), multicast(Axis::Y, b)];
    let loop_node = match broadcast {
        Broadcast::Asynchronous => {
            let mut after = vec![kernel.program.synchronise(2, 3)];
            if !options.static_routes {
                after.push(route_change(region, 1));
            }
            Node::Systolic { times: tile.steps, compute: Box::new(compute), transfers: casts, after }
        }
        Broadcast::Library => {
            // A library broadcast blocks its caller; hops are hidden behind the next step's words.
            let words = casts.into_iter().map(library_words_only).map(Node::Step);
            let body = words.chain([compute, Node::Step(kernel.program.synchronise(2, 2))]).collect();
            Node::Repeat { times: tile.steps, body: Box::new(Node::Sequence(body)) }
        }
    };
    kernel.program.push("steps", vec![loop_node]);
    kernel.program
}

/// A library broadcast inside a loop of broadcasts: successive roots are neighbours and successive broadcasts follow each
/// other down the line, so a round costs the caller its words and not the line's length.
fn library_words_only(mut step: Step) -> Step {
    if let Action::Multicast(cast) = &mut step.action {
        cast.span = cast.span.min(2);
    }
    step
}
