//! RMSNorm, norms of heads, rotary embedding.
//!
//! Counts of vector operations are read off the per-operation run of the vendor's simulator (WSE-3, 12 elements per
//! processing element; docs/src/kernels.md): RMSNorm 953 and 938 cycles with one all-reduce (534-538) inside and 45 of
//! markers, rotary embedding 212 and 197. Where a sum rides, the operations are those that the formulas need.

use wafersim_graph::LayerGraph;
use wafersim_mapping::LineKind;
use wafersim_program::{Axis, Dimension, Field, Formula, Math, Node, Operand, Operation, Rescaled};
use wafersim_spec::model::Role;

use crate::lies::HeadColumns;
use crate::writer::{Lines, Writer, everywhere, first};

/// Vector operations of RMSNorm over its elements: (953 - 536 - 45 - 24 - 150) / (16 + 12 / 4) is about ten.
const NORM_OPERATIONS: u64 = 10;

/// Vector operations of the rotary embedding of q, or of k: (205 - 45) / (16 + 12 / 4) is about eight.
const ROPE_OPERATIONS: u64 = 8;

/// Fewest for the rotation of pairs: four products and two sums.
const LEAN_ROPE_OPERATIONS: u64 = 6;

/// Scale and gain of a head's norm.
const HEAD_NORM_OPERATIONS: u64 = 2;

/// A norm over whole vectors: input, output, gain, and the axis that shares out the vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormOf {
    pub operator: &'static str,
    pub x: Operand,
    pub y: Operand,
    pub gain: (Role, u64),
    pub line: LineKind,
    pub axis: Axis,
}

/// A norm whose sum of squares has not travelled yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Riding {
    /// What is normed.
    pub x: Operand,
    /// Elements of a whole vector.
    pub width: u64,
}

impl Writer<'_> {
    /// RMSNorm by itself: a sum of squares, an all-reduce of it, a scale.
    pub fn norm(&mut self, norm: NormOf) -> Vec<Node> {
        let field = self.field(norm.x);
        let (width, vectors, elements) = (field.row_size(), field.rows.most(), field.most_inner());
        let sums = self.declare("norm.sums", vec![everywhere("sums", vectors, 1)]);
        let mut nodes = vec![self.sum_of_squares(norm.x, first(sums), width)];
        nodes.extend(self.reduce(norm.operator, norm.line, Lines::Whole(norm.axis), sums));
        let work = vec![
            self.work(Operation::Divide, 1, vectors),
            self.work(Operation::SquareRoot, 1, vectors),
            self.work(Operation::Multiply, elements.saturating_mul(vectors), NORM_OPERATIONS),
        ];
        let formula = Formula::RmsScale {
            x: norm.x,
            sums: first(sums),
            gain: norm.gain,
            y: norm.y,
            width,
            epsilon: self.request.norm_epsilon,
        };
        nodes.push(self.compute(Math::RmsScale, &[norm.x.buffer, sums], norm.y.buffer, work, formula));
        nodes
    }

    /// The gain alone: the sum of squares rides with the product that follows.
    pub fn gain(&mut self, norm: NormOf) -> (Vec<Node>, Riding) {
        let width = self.field(norm.x).row_size();
        let work = vec![self.work(Operation::Multiply, self.most(norm.x), 1)];
        let formula = Formula::Gain { x: norm.x, gain: norm.gain, y: norm.y, width };
        let node = self.compute(Math::RmsScale, &[norm.x.buffer], norm.y.buffer, work, formula);
        (vec![node], Riding { x: norm.x, width })
    }

    /// The sum of squares of what lies here.
    pub fn sum_of_squares(&self, x: Operand, sums: Operand, width: u64) -> Node {
        let field = self.field(x);
        let work = vec![self.work(Operation::ScalarReduce, field.most_inner(), field.rows.most())];
        let formula = Formula::SumOfSquares { x, sums, width };
        self.compute(Math::SumOfSquares, &[x.buffer], sums.buffer, work, formula)
    }

    /// Scales what was made from an input whose norm rode along.
    pub fn rescale(&self, riding: Riding, sums: Operand, operands: Vec<Rescaled>) -> Node {
        let vectors = self.field(sums).rows.most();
        let elements: u64 = operands.iter().map(|scaled| self.most(scaled.operand)).sum();
        let mut work = vec![
            self.work(Operation::Divide, 1, vectors),
            self.work(Operation::SquareRoot, 1, vectors),
            self.work(Operation::Multiply, elements, 1),
        ];
        let biased = operands.iter().filter(|scaled| scaled.bias.is_some());
        let added: u64 = biased.map(|scaled| self.most(scaled.operand)).sum();
        if added > 0 {
            work.push(self.work(Operation::Add, added, 1));
        }
        let target = operands.first().map_or(sums.buffer, |scaled| scaled.operand.buffer);
        let epsilon = self.request.norm_epsilon;
        let formula = Formula::Rescale { operands, sums, width: riding.width, epsilon };
        self.compute(Math::RmsScale, &[sums.buffer], target, work, formula)
    }

    /// RMSNorm of each head of an operand, in place. `columns`: how its heads lie.
    pub fn head_norm(&mut self, x: Operand, columns: HeadColumns, copy: u64) -> Vec<Node> {
        let field = self.field(x);
        let width = field.inner.last().map_or(0, |dimension| dimension.size);
        let tokens = field.rows.most();
        let elements = field.most();
        // The heads of a place: all inner dimensions but the last.
        let heads = Field { rows: field.rows.clone(), inner: field.inner[..field.inner.len() - 1].to_vec(), ..field };
        let sums = Field { name: "sums".into(), ..heads };
        let heads_here = sums.most_inner().saturating_mul(tokens);
        let region = columns.in_use(self.region());
        let sums = self.declare("head_norm.sums", vec![sums]);
        let squares = {
            let work = vec![self.work(Operation::ScalarReduce, elements, 1)];
            let formula = Formula::SumOfSquares { x, sums: first(sums), width };
            self.compute(Math::SumOfSquares, &[x.buffer], sums, work, formula)
        };
        let mut nodes = vec![squares];
        let lines = Lines::Segments { count: columns.width, stride: 1 };
        nodes.extend(self.within(region, |writer| writer.reduce("attention.head_norm", LineKind::Head, lines, sums)));
        let work = vec![
            self.work(Operation::Divide, 1, heads_here),
            self.work(Operation::SquareRoot, 1, heads_here),
            self.work(Operation::Multiply, elements, HEAD_NORM_OPERATIONS),
        ];
        let formula = Formula::RmsScale {
            x,
            sums: first(sums),
            gain: (Role::AttentionInnerNorm, copy),
            y: x,
            width,
            epsilon: self.request.norm_epsilon,
        };
        nodes.push(self.compute(Math::RmsScale, &[x.buffer, sums], x.buffer, work, formula));
        nodes
    }

    /// Rotary embedding of the leading `rotary` dimensions of each head, in place.
    pub fn rope(&self, graph: &LayerGraph, x: Operand, rotary: u64) -> Node {
        let field = self.field(x);
        let head_dim = field.inner.last().map_or(0, |dimension| dimension.size);
        let elements = field.most().saturating_mul(rotary).div_ceil(head_dim.max(1));
        let operations = if graph.accumulators_in_place { LEAN_ROPE_OPERATIONS } else { ROPE_OPERATIONS };
        let work = vec![self.work(Operation::Multiply, elements, operations)];
        let position = self.request.context.saturating_sub(self.request.tokens);
        self.compute(Math::Rope, &[x.buffer], x.buffer, work, Formula::Rope { x, head_dim, position })
    }

    /// A residual sum: `x += y`.
    pub fn residual(&self, x: Operand, y: Operand) -> Node {
        let work = vec![self.work(Operation::Add, self.most(x), 1)];
        self.compute(Math::Add, &[x.buffer, y.buffer], x.buffer, work, Formula::Add { x, y })
    }
}

/// A field for the sums of squares that ride with a payload.
pub(crate) fn riding_sums(tokens: u64) -> Field {
    Field::new("sums", Dimension::whole(tokens), vec![Dimension::whole(1)])
}
