//! Matrix-matrix products: `C[M, N] = A[M, K] B[K, N]` on a grid, M along y, N along x.
//!
//! MeshGEMM (WaferLLM, OSDI 2025) is Cannon's algorithm on lines folded by interleaving: P steps, in each the A tile
//! moves along x and the B tile along y, double buffered, beside the local product. A's row r is first rotated by r
//! positions in P / 2 shifts. On an oblong grid P is the longer side and the shorter lines hold several pieces of K.
//! SUMMA broadcasts one tile of A and one of B along the lines in every step instead.

use wafersim_program::{
    Action, Axis, BufferId, Dimension, Field, Formula, Math, Multicast, Node, Operand, Operation, Part, Program,
    Region, Resident, Ring, RouteChange, Shift, Spread, Step, Style,
};
use wafersim_spec::Precision;
use wafersim_spec::model::Role;

use crate::gemv::fp16;
use crate::kernel::Kernel;

/// A product on a grid: `m` x `k` times `k` x `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    /// Processing elements.
    pub region: Region,
    /// Rows of A and C.
    pub m: u64,
    /// Columns of A, rows of B.
    pub k: u64,
    /// Columns of B and C.
    pub n: u64,
}

/// The local tiles of a product: C is `m` x `n`, each step multiplies `k` columns.
#[derive(Debug, Clone, Copy)]
struct Tile {
    m: u64,
    k: u64,
    n: u64,
    /// Steps: the longer side of the grid.
    steps: u64,
}

impl Tile {
    fn of(gemm: &Gemm) -> Self {
        let Gemm { region, m, k, n } = *gemm;
        let steps = region.columns.max(region.rows).max(1);
        Self { m: m.div_ceil(region.rows.max(1)), k: k.div_ceil(steps), n: n.div_ceil(region.columns.max(1)), steps }
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

/// Buffers of a product.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    a: BufferId,
    b: BufferId,
    c: BufferId,
}

impl Tiles {
    /// Without layouts.
    fn of(kernel: &mut Kernel, tile: Tile) -> Self {
        Self {
            a: kernel.buffer("gemm.a", tile.m.saturating_mul(tile.k)),
            b: kernel.buffer("gemm.b", tile.k.saturating_mul(tile.n)),
            c: kernel.buffer("gemm.c", tile.m.saturating_mul(tile.n)),
        }
    }
}

/// The local product of one step: per column of A a set-up and `n` multiply-accumulates of length `m`.
fn local_step(kernel: &mut Kernel, tile: Tile, Tiles { a, b, c }: Tiles) -> Node {
    let work = vec![
        kernel.work(Operation::TileColumn, 0, tile.k),
        kernel.work(Operation::TileFma, tile.m, tile.k.saturating_mul(tile.n)),
    ];
    kernel.compute(Math::MatMul, &[a, b, c], c, work)
}

/// The local product of the vendor's example of its collectives: a plain loop over `k` and `n` around a
/// multiply-accumulate of length `m` (sources.md#cerebras-example-kernels).
fn looped_step(kernel: &Kernel, tile: Tile, Tiles { a, b, c }: Tiles) -> Node {
    let work = vec![kernel.work(Operation::LoopedFma, tile.m, tile.k.saturating_mul(tile.n))];
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

/// P steps of Cannon's algorithm, without alignment.
fn cannon(kernel: &mut Kernel, tile: Tile, tiles: Tiles, formula: impl FnOnce() -> Formula) -> Vec<Node> {
    let compute = local_step(kernel, tile, tiles);
    let compute = kernel.means(compute, formula);
    let transfers = vec![ring_shift(kernel, Axis::X, tiles.a), ring_shift(kernel, Axis::Y, tiles.b)];
    let after = vec![kernel.program.synchronise(2, 2)];
    vec![Node::Systolic { times: tile.steps, compute: Box::new(compute), transfers, after }]
}

/// The rotation of A before Cannon's algorithm: in P / 2 shifts each row of the region rotates it one way or the other.
fn alignment(kernel: &mut Kernel, tile: Tile, a: BufferId) -> Node {
    let shift = ring_shift(kernel, Axis::X, a);
    Node::Repeat { times: tile.steps / 2, body: Box::new(Node::Step(shift)) }
}

/// MeshGEMM in 16 bit, as it was measured. `aligned`: the alignment of A is inside the timed part.
///
/// ```
/// use wafersim_kernels::gemm::{Gemm, mesh_gemm};
/// use wafersim_program::Region;
///
/// let product = Gemm { region: Region::new(0, 0, 360, 360), m: 4320, k: 4320, n: 4320 };
/// assert_eq!(mesh_gemm(&product, true).macs_per_element(), 360 * 12 * 12 * 12);
/// ```
pub fn mesh_gemm(gemm: &Gemm, aligned: bool) -> Program {
    let mut kernel = Kernel::new("MeshGEMM", gemm.region, fp16());
    let tile = Tile::of(gemm);
    let tiles = Tiles::of(&mut kernel, tile);
    if aligned {
        let node = alignment(&mut kernel, tile, tiles.a);
        kernel.program.push("alignment", vec![node]);
    }
    let operand = |buffer| Operand::new(buffer, 0);
    let (a, b, c) = (operand(tiles.a), operand(tiles.b), operand(tiles.c));
    let nodes = cannon(&mut kernel, tile, tiles, || Formula::TileProduct { a, b, c, bias: None });
    kernel.program.push("steps", nodes);
    kernel.program
}

/// MeshGEMM as a program that can be executed: `gemm.input` times the matrix `role` of a checkpoint gives
/// `gemm.result`. It loads its input before it rotates it.
pub fn exact_mesh_gemm(gemm: &Gemm, role: Role, precision: Precision) -> Program {
    let mut kernel = Kernel::exact("MeshGEMM", gemm.region, precision);
    let (rings, tile) = (Rings::new(gemm.region), Tile::of(gemm));
    let numbers = precision.activations;
    let field =
        |name: &'static str, width, rotated| Field::new(name, rings.rows(gemm.m), vec![rings.inner(width, rotated)]);
    let source = kernel.laid_buffer("gemm.input", numbers, field("a", gemm.k, false));
    let c = kernel.laid_buffer("gemm.result", numbers, field("c", gemm.n, false));
    let a = kernel.laid_buffer("gemm.a", numbers, field("a", gemm.k, true));
    let load = kernel.compute(Math::Copy, &[source.buffer], a.buffer, Vec::new());
    let load = kernel.means(load, || Formula::Load { source, target: a });
    let rotate = alignment(&mut kernel, tile, a.buffer);
    kernel.program.push("alignment", vec![load, rotate]);
    let inner = kernel.field(c).inner;
    let skewed = Field::new("b", rings.skewed_rows(gemm.k), inner);
    let b = kernel.laid_buffer("gemm.b", precision.weights, skewed);
    kernel.program.residents.push(Resident { buffer: b.buffer, role, part: Part::Whole });
    let tiles = Tiles { a: a.buffer, b: b.buffer, c: c.buffer };
    let nodes = cannon(&mut kernel, tile, tiles, || Formula::TileProduct { a, b, c, bias: None });
    kernel.program.push("steps", nodes);
    kernel.program
}

/// The rings of a product on a region: tokens and skewed weights along y, widths along x.
#[derive(Debug, Clone, Copy)]
struct Rings {
    columns: u64,
    rows: u64,
    pieces: u64,
}

impl Rings {
    const fn new(region: Region) -> Self {
        let pieces = if region.columns > region.rows { region.columns } else { region.rows };
        Self { columns: region.columns, rows: region.rows, pieces }
    }

    /// Tokens over the rows of the region, in the order of their ring.
    const fn rows(self, size: u64) -> Dimension {
        let ring = Ring { axis: Axis::Y, length: self.rows, pieces: self.rows, across: 0 };
        Dimension { size, spread: Spread::Ring(ring) }
    }

    /// A width over the columns: as it comes out of a product, or rotated for the next one.
    const fn inner(self, size: u64, rotated: bool) -> Dimension {
        let across = if rotated { self.rows } else { 0 };
        let ring = Ring { axis: Axis::X, length: self.columns, pieces: self.pieces, across };
        Dimension { size, spread: Spread::Ring(ring) }
    }

    /// The rows of a right operand, rotated by its columns.
    const fn skewed_rows(self, size: u64) -> Dimension {
        let ring = Ring { axis: Axis::Y, length: self.rows, pieces: self.pieces, across: self.columns };
        Dimension { size, spread: Spread::Ring(ring) }
    }
}

/// SUMMA in 16 bit, as it was measured.
pub fn summa(gemm: &Gemm, broadcast: Broadcast) -> Program {
    let region = gemm.region;
    let mut kernel = Kernel::new("SUMMA", region, fp16());
    let tile = Tile::of(gemm);
    let tiles = Tiles::of(&mut kernel, tile);
    let (style, compute) = match broadcast {
        Broadcast::Asynchronous => (Style::Streaming, local_step(&mut kernel, tile, tiles)),
        Broadcast::Library => (Style::Library, looped_step(&kernel, tile, tiles)),
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
    let casts = vec![multicast(Axis::X, tiles.a), multicast(Axis::Y, tiles.b)];
    let loop_node = match broadcast {
        Broadcast::Asynchronous => {
            let change = Step { region, action: Action::RouteChange(RouteChange { changes: 1 }) };
            let after = vec![kernel.program.synchronise(2, 3), change];
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

/// A library broadcast inside a loop of broadcasts: successive roots are neighbours and successive broadcasts follow
/// each other down the line, so a round costs the caller its words and not the line's length.
fn library_words_only(mut step: Step) -> Step {
    if let Action::Multicast(cast) = &mut step.action {
        cast.span = cast.span.min(2);
    }
    step
}
