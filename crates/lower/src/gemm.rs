//! Matrix-matrix products of prefill: `C[M, N] = A[M, K] B[K, N]`, M along y, N along x.
//!
//! MeshGEMM (WaferLLM, OSDI 2025) is Cannon's algorithm on lines folded by interleaving: P steps, in each the A tile
//! moves along x and the B tile along y, double buffered, beside the local product. A's row r is first rotated by r
//! positions in P / 2 shifts. On an oblong grid P is the longer side and the shorter lines hold several pieces of K.

use wafersim_mapping::Routes;
use wafersim_program::{
    Action, Axis, BufferId, ChainReduce, Color, Dimension, Field, Formula, Math, Node, Operand, Operation, Part,
    ReduceOperator, Region, Resident, Ring, Root, RouteChange, Scaling, Segment, Shift, Spread, Step, Stored, Style,
    Weight,
};
use wafersim_spec::model::Role;

use crate::writer::{Writer, first};

/// The local tiles of a product: C is `m` x `n`, each step multiplies `k` columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileSizes {
    /// Rows of C in one processing element.
    pub m: u64,
    /// Inner dimension of one step.
    pub k: u64,
    /// Columns of C in one processing element.
    pub n: u64,
    /// Steps: the longer side of the grid.
    pub steps: u64,
}

/// Sizes of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProductSizes {
    pub m: u64,
    pub k: u64,
    pub n: u64,
}

impl TileSizes {
    /// Tiles of a product on a grid.
    pub fn new(region: Region, sizes: ProductSizes) -> Self {
        let steps = region.columns.max(region.rows).max(1);
        let (m, n) = (sizes.m.div_ceil(region.rows.max(1)), sizes.n.div_ceil(region.columns.max(1)));
        Self { m, k: sizes.k.div_ceil(steps), n, steps }
    }

    /// Tiles of the transposed product on a grid: the rows of the right matrix lie along y like those of the left one
    /// and pass by, one tile a step, while the inner dimension stays along x.
    pub fn transposed(region: Region, sizes: ProductSizes) -> Self {
        let (columns, rows) = (region.columns.max(1), region.rows.max(1));
        Self { m: sizes.m.div_ceil(rows), k: sizes.k.div_ceil(columns), n: sizes.n.div_ceil(rows), steps: rows }
    }
}

/// The operands of a product on the mesh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TileOperands {
    pub a: BufferId,
    pub b: BufferId,
    pub c: BufferId,
}

/// Blocks of columns that work beside each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnBlocks {
    pub blocks: u64,
    pub width: u64,
}

/// A matrix at rest that takes part in a product.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    pub role: Role,
    pub bias: bool,
    pub part: Part,
}

impl Matrix {
    /// A whole matrix.
    pub const fn new(role: Role, bias: bool) -> Self {
        Self { role, bias, part: Part::Whole }
    }
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
        let ring = Ring { axis: Axis::X, length: self.columns, pieces: self.pieces, across };
        Dimension { size, spread: Spread::Ring(ring) }
    }

    /// The rows of a right operand, rotated by its columns.
    pub const fn skewed_rows(self, size: u64) -> Dimension {
        let ring = Ring { axis: Axis::Y, length: self.rows, pieces: self.pieces, across: self.columns };
        Dimension { size, spread: Spread::Ring(ring) }
    }
}

impl Writer<'_> {
    /// The local product of one step: per column of A a set-up and `n` multiply-accumulates of length `m`.
    fn local_step(&self, tile: TileSizes, operands: TileOperands, formula: Formula) -> Node {
        let work = vec![
            self.work(Operation::TileColumn, 0, tile.k),
            self.work(Operation::TileFma, tile.m, tile.k.saturating_mul(tile.n)),
        ];
        let TileOperands { a, b, c } = operands;
        self.compute(Math::MatMul, &[a, b, c], c, work, formula)
    }

    fn ring_shift(&mut self, axis: Axis, payload: BufferId) -> Step {
        let first = if axis == Axis::X { 0 } else { 4 };
        let colors = (first..first + 4).map(Color).collect();
        while self.program.color_count() < 8 {
            self.program.new_colors(1);
        }
        Step { region: self.region(), action: Action::Shift(Shift { axis, ring: true, payload, colors }) }
    }

    /// P steps of Cannon's algorithm in blocks of columns that work beside each other, without alignment.
    pub fn cannon(
        &mut self,
        tile: TileSizes,
        operands: TileOperands,
        blocks: ColumnBlocks,
        formula: Formula,
    ) -> Vec<Node> {
        let compute = self.local_step(tile, operands, formula);
        let outer = self.region();
        let mut transfers: Vec<Step> = (0..blocks.blocks)
            .map(|block| {
                let x = outer.x + block * blocks.width;
                let region = Region::new(x, outer.y, blocks.width, outer.rows);
                self.within(region, |writer| writer.ring_shift(Axis::X, operands.a))
            })
            .collect();
        transfers.push(self.ring_shift(Axis::Y, operands.b));
        let after = vec![self.program.synchronise(2, 2)];
        vec![Node::Systolic { times: tile.steps, compute: Box::new(compute), transfers, after }]
    }

    /// Loads an operand and rotates it: each row of the region one way or the other, P / 2 shifts, until it lies as the
    /// next product wants it. Returns the rotated one.
    pub fn aligned(&mut self, source: Operand) -> (Vec<Node>, Operand) {
        let region = self.region();
        let field = self.field(source);
        let k = field.row_size();
        let a = self.declare("gemm.a", vec![Field::new("a", field.rows, vec![Rings::new(region).inner(k, true)])]);
        let load = Formula::Load { source, target: first(a) };
        let mut nodes = vec![self.compute(Math::Copy, &[source.buffer], a, Vec::new(), load)];
        let shift = self.ring_shift(Axis::X, a);
        let times = region.columns.max(region.rows) / 2;
        nodes.push(Node::Repeat { times, body: Box::new(Node::Step(shift)) });
        (nodes, first(a))
    }

    /// Cannon's algorithm of an aligned operand with a matrix, whose tiles lie skewed beforehand and are converted
    /// first where they are stored narrow.
    pub fn matrix_product(&mut self, a: Operand, matrix: Matrix, c: Operand) -> Vec<Node> {
        let region = self.region();
        let rings = Rings::new(region);
        let (left, result) = (self.field(a), self.field(c));
        let k = left.row_size();
        let sizes = ProductSizes { m: left.rows.size, k, n: result.row_size() };
        let stored = self.stored(matrix.role);
        let skewed = Field::new("b", rings.skewed_rows(k), result.inner.clone());
        let b = self.declare_typed("gemm.b", stored, vec![skewed.clone()]);
        self.program.residents.push(Resident { buffer: b, role: matrix.role, part: matrix.part });
        // Many vectors go through a tile: its elements are scaled while they are converted.
        let scaling = if stored.scale_tile().is_some() { Scaling::Elements } else { Scaling::Nothing };
        let inputs = Field::new("", Dimension::whole(0), vec![skewed.rows]);
        let declared = Weight::new(matrix.role, region, inputs, result);
        let stored = Some(Stored { data_type: stored, scaling });
        let weight = self.program.weight(Weight { stored, part: matrix.part, ..declared });
        let tile = (sizes.k.div_ceil(region.rows), sizes.n.div_ceil(region.columns));
        let mut nodes = self.whole_conversion(matrix.role, weight, tile);
        let formula = Formula::TileProduct { a, b: first(b), c, bias: matrix.bias.then_some(matrix.role) };
        let operands = TileOperands { a: a.buffer, b, c: c.buffer };
        let whole = ColumnBlocks { blocks: 1, width: region.columns };
        nodes.extend(self.cannon(TileSizes::new(region, sizes), operands, whole, formula));
        nodes
    }

    /// The transposed product `S[M, N] = Q[M, K] K[N, K]^T` of prefill attention: in each step the right tile moves
    /// along y and an `m` x `n` tile of partial sums is reduced along x to a root that moves on by one element; on
    /// machines that change routes at run time the reduction's routes (as many as a layer's, 6) follow it.
    pub fn transposed(&mut self, tile: TileSizes, operands: TileOperands, meaning: Transposed) -> Vec<Node> {
        /// Route changes of one move of the root, the published count of one set of reduction routes on WSE-3.
        const ROUTES_OF_A_REDUCTION: u64 = 6;
        let compute = self.local_step(tile, operands, meaning.product);
        let transfers = vec![self.ring_shift(Axis::Y, operands.b)];
        let region = self.region();
        let reduce = Action::ChainReduce(ChainReduce {
            axis: Axis::X,
            count: meaning.columns,
            stride: 1,
            offset: 0,
            segment: Segment::LINE,
            root: Root::Rotating,
            operator: ReduceOperator::Add,
            style: Style::Streaming,
            payload: operands.c,
            colors: (0..4).map(Color).collect(),
        });
        let mut after = vec![self.program.synchronise(2, 2), Step { region, action: reduce }];
        if self.mapping().routes == Routes::Changed {
            let changes = ROUTES_OF_A_REDUCTION;
            after.push(Step { region, action: Action::RouteChange(RouteChange { changes }) });
        }
        after.push(meaning.collect);
        vec![Node::Systolic { times: tile.steps, compute: Box::new(compute), transfers, after }]
    }
}

/// What a transposed product means: its local product, the step that collects the sums where they end, and the columns
/// of a block, over which sums go.
#[derive(Debug, Clone)]
pub(crate) struct Transposed {
    pub product: Formula,
    pub collect: Step,
    pub columns: u64,
}
