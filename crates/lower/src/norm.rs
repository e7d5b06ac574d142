//! RMSNorm, norms of heads, rotary embedding.
//!
//! Counts of vector operations are read off the per-operation run of the vendor's simulator (WSE-3, 12 elements per
//! processing element; docs/src/kernels.md): RMSNorm 953 and 938 cycles with one all-reduce (534-538) inside and 45 of
//! markers, rotary embedding 212 and 197. Where a sum rides, the operations are those that the formulas need.

use wafersim_graph::LayerGraph;
use wafersim_mapping::LineKind;
use wafersim_program::{
    Axis, Dimension, Field, Formula, GainName, Math, Node, Operand, Operation, Pairs, Rescaled, Spread,
};
use wafersim_spec::model::Role;

use crate::attention::{Attending, Scored};
use crate::cache::NewTokens;
use crate::lies::KvLies;
use crate::overlap::{is_transfer, is_work};
use crate::writer::{Lines, Writer, everywhere, first};

/// Vector operations of RMSNorm over its elements: (953 - 536 - 45 - 24 - 150) / (16 + 12 / 4) is about ten.
const NORM_OPERATIONS: u64 = 10;

/// Vector operations of the rotary embedding of q, or of k: (205 - 45) / (16 + 12 / 4) is about eight.
const ROPE_OPERATIONS: u64 = 8;

/// Fewest for the rotation of pairs, over as many elements as there are pairs: two products, and two more that are
/// added to them. Ours: a count of operations, not measured; it takes halves of a head that lie side by side.
const LEAN_ROPE_OPERATIONS: [(Operation, u64); 2] = [(Operation::Multiply, 2), (Operation::Fma, 2)];

/// Scale and gain of a head's norm.
const HEAD_NORM_OPERATIONS: u64 = 2;

/// Inverse square roots of several numbers at once: a first guess from the bits of the number (three operations) and
/// two steps of Newton's method with four each, which reach half precision. One by one with scalar division and root
/// they take ten times as long for a dozen heads. Ours; a count of operations, not measured.
const INVERSE_ROOT_OPERATIONS: u64 = 11;

/// A norm over whole vectors: input, output, gain, and the axis that shares out the vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormOf {
    pub operator: &'static str,
    pub x: Operand,
    pub y: Operand,
    pub gain: GainName,
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

/// A norm whose sum of squares travels while experts are chosen.
#[derive(Debug, Clone)]
pub(crate) struct Beside {
    pub riding: Riding,
    pub sums: Operand,
    /// Its transfers that have not begun when the choice is made.
    pub travels: Vec<Node>,
}

impl Writer<'_> {
    /// The sum of squares of a norm by itself, its first transfer beside the last step of `choice`, where that is work
    /// of all cores: a choice by logits that are here already. Its reduction is that of gate and up, with which it
    /// would ride.
    pub fn norm_beside(&mut self, riding: Riding, choice: &mut Vec<Node>) -> Beside {
        let tokens = self.laid(riding.x).rows.most();
        let sums = self.declare("feed_forward.sums", vec![riding_sums(tokens)]);
        let mut travels = self.reduce("experts.gate_up", LineKind::Y, Lines::Whole(Axis::Y), sums);
        let choosing = choice.pop_if(|last| is_work(last));
        choice.extend(self.ride(Some(riding), first(sums)));
        if !travels.iter().all(is_transfer) {
            choice.extend(choosing);
            choice.append(&mut travels);
        } else if let Some(choosing) = choosing {
            let transfer = travels.drain(..travels.len().min(1));
            let beside: Vec<Node> = transfer.chain([choosing]).collect();
            choice.push(Node::Parallel(beside));
        }
        Beside { riding, sums: first(sums), travels }
    }

    /// RMSNorm by itself: a sum of squares, an all-reduce of it, a scale.
    pub fn norm(&mut self, norm: NormOf) -> Vec<Node> {
        let lines = (norm.line, Lines::Whole(norm.axis));
        self.norm_over(norm, lines)
    }

    /// The same of vectors that each copy of a block has over its columns.
    pub fn norm_of_copies(&mut self, norm: NormOf, lies: KvLies) -> Vec<Node> {
        let lines = (LineKind::Head, Lines::Segments { count: lies.of_copy(), stride: 1 });
        let region = lies.in_use(self.region());
        self.within(region, |writer| writer.norm_over(norm, lines))
    }

    fn norm_over(&mut self, norm: NormOf, (line, lines): (LineKind, Lines)) -> Vec<Node> {
        let field = self.laid(norm.x);
        let (width, vectors, elements) = (field.row_size(), field.rows.most(), field.most_inner());
        let sums = self.declare("norm.sums", vec![everywhere("sums", vectors, 1)]);
        let mut nodes = vec![self.sum_of_squares(norm.x, first(sums), width)];
        nodes.extend(self.reduce(norm.operator, line, lines, sums));
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
        let width = self.laid(norm.x).row_size();
        let work = vec![self.work(Operation::Multiply, self.most(norm.x), 1)];
        let formula = Formula::Gain { x: norm.x, gain: norm.gain, y: norm.y, width };
        let node = self.compute(Math::RmsScale, &[norm.x.buffer], norm.y.buffer, work, formula);
        (vec![node], Riding { x: norm.x, width })
    }

    /// The sum of squares of what lies here.
    pub fn sum_of_squares(&self, x: Operand, sums: Operand, width: u64) -> Node {
        let field = self.laid(x);
        let work = vec![self.work(Operation::ScalarReduce, field.most_inner(), field.rows.most())];
        let formula = Formula::SumOfSquares { x, sums, width };
        self.compute(Math::SumOfSquares, &[x.buffer], sums.buffer, work, formula)
    }

    /// Scales what was made from an input whose norm rode along.
    pub fn rescale(&self, riding: Riding, sums: Operand, operands: Vec<Rescaled>) -> Node {
        let vectors = self.laid(sums).rows.most();
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

    /// The scale of a norm in place of its sums of squares.
    pub fn norm_scale(&self, riding: Riding, sums: Operand) -> Node {
        let vectors = self.laid(sums).rows.most();
        let work = vec![self.work(Operation::Divide, 1, vectors), self.work(Operation::SquareRoot, 1, vectors)];
        let (width, epsilon) = (riding.width, self.request.norm_epsilon);
        let formula = Formula::NormScale { sums, width, epsilon };
        self.compute(Math::RmsScale, &[sums.buffer], sums.buffer, work, formula)
    }

    /// Operands times a factor for each row, or for the token of each row's pair.
    pub fn times(&self, operands: Vec<Operand>, factors: Operand, pairs: Option<Pairs>) -> Node {
        let elements: u64 = operands.iter().map(|operand| self.most(*operand)).sum();
        let target = operands.first().map_or(factors.buffer, |operand| operand.buffer);
        let work = vec![self.work(Operation::Multiply, elements, 1)];
        let formula = Formula::Times { operands, factors, pairs };
        self.compute(Math::RmsScale, &[factors.buffer], target, work, formula)
    }

    /// RMSNorm of the heads of q (`copy` 0) or k (`copy` 1), in place.
    pub fn head_norm(&mut self, lies: KvLies, x: Operand, copy: u64) -> Vec<Node> {
        let field = self.laid(x);
        let (width, tokens, elements) = (lies.key_dim, field.rows.most(), field.most());
        let sums = if copy == 0 { lies.statistic("sums", tokens) } else { lies.key_statistic("sums", tokens) };
        let sums = Field { rows: field.rows.clone(), ..sums };
        let heads_here = sums.most();
        let sums = self.declare("head_norm.sums", vec![sums]);
        let work = vec![self.work(Operation::ScalarReduce, elements, 1)];
        let formula = Formula::SumOfSquares { x, sums: first(sums), width };
        let mut nodes = vec![self.compute(Math::SumOfSquares, &[x.buffer], sums, work, formula)];
        let lines = Lines::Segments { count: lies.of_copy(), stride: 1 };
        let region = lies.in_use(self.region());
        nodes.extend(self.within(region, |writer| writer.reduce("attention.head_norm", LineKind::Head, lines, sums)));
        let work = vec![
            self.work(Operation::Divide, 1, heads_here),
            self.work(Operation::SquareRoot, 1, heads_here),
            self.work(Operation::Multiply, elements, HEAD_NORM_OPERATIONS),
        ];
        let gain = GainName { role: Role::AttentionInnerNorm, copy };
        let epsilon = self.request.norm_epsilon;
        let formula = Formula::RmsScale { x, sums: first(sums), gain, y: x, width, epsilon };
        nodes.push(self.compute(Math::RmsScale, &[x.buffer, sums], x.buffer, work, formula));
        nodes
    }

    /// Sums of squares of q and of k, one for each of the columns that share a sequence: those who `made` them hold
    /// one, who has got them all.
    pub fn squares(&self, lies: KvLies, made: bool) -> [Field; 2] {
        let spread = if made { Spread::Split(lies.groups_digit()) } else { Spread::Whole };
        let part = Dimension { size: lies.groups, spread };
        let tokens = self.request.tokens;
        let fields = [lies.statistic("query_squares", tokens), lies.key_statistic("key_squares", tokens)];
        fields.map(|mut field| {
            field.inner.push(part.clone());
            field
        })
    }

    /// The part of the norms of heads that comes before the scores: sums of squares of what lies here, and the gains.
    /// What goes to other columns is put together in a buffer of its own.
    pub fn head_norm_rides(&mut self, lies: KvLies, new: NewTokens) -> (Vec<Node>, NewTokens) {
        let squares = self.squares(lies, true);
        let fields = [new.query, new.key, new.value].map(|operand| self.field(operand)).to_vec();
        let target = if lies.groups > 1 {
            let target = self.declare("attention.to_share", [fields, squares.to_vec()].concat());
            let at = |field: u32| Operand::new(target, field);
            NewTokens { query: at(0), key: at(1), value: at(2), squares: Some([at(3), at(4)]) }
        } else {
            let sums = self.declare("attention.squares", squares.to_vec());
            NewTokens { squares: Some([first(sums), Operand::new(sums, 1)]), ..new }
        };
        let width = lies.key_dim;
        let mut nodes = Vec::new();
        let both = [(new.query, target.query), (new.key, target.key)];
        for ((x, y), (copy, sums)) in both.into_iter().zip((0..).zip(target.squares.into_iter().flatten())) {
            let elements = self.most(x);
            let work = vec![self.work(Operation::ScalarReduce, elements, 1)];
            let formula = Formula::SumOfSquares { x, sums, width };
            nodes.push(self.compute(Math::SumOfSquares, &[x.buffer], sums.buffer, work, formula));
            let work = vec![self.work(Operation::Multiply, elements, 1)];
            let formula = Formula::Gain { x, gain: GainName { role: Role::AttentionInnerNorm, copy }, y, width };
            nodes.push(self.compute(Math::RmsScale, &[x.buffer], y.buffer, work, formula));
        }
        if lies.groups > 1 {
            let work = vec![self.work(Operation::Copy, self.most(new.value), 1)];
            let formula = Formula::Load { source: new.value, target: target.value };
            nodes.push(self.compute(Math::Copy, &[new.value.buffer], target.value.buffer, work, formula));
        }
        (nodes, target)
    }

    /// The part that comes after the reduction that carried their sums: scores, and the new keys in the cache. The
    /// inverse roots are computed for all heads of a place at once.
    pub fn head_scale(&mut self, attending: &Attending, scored: &Scored) -> Vec<Node> {
        let Some([query_sums, key_sums]) = scored.squares else { return Vec::new() };
        let Attending { lies, cache, .. } = *attending;
        let of_field = |field: &Field, dimensions: usize| -> u64 {
            field.rows.most() * field.inner.iter().take(dimensions).map(Dimension::most).product::<u64>()
        };
        let heads = of_field(self.laid(query_sums), 2);
        let roots = heads + of_field(self.laid(key_sums), 1);
        let scores_here = self.most(scored.scores);
        let each = self.request.consecutive().div_ceil(lies.groups).div_ceil(lies.rows);
        let new_keys = lies.new_keys(each.saturating_mul(lies.users)).most();
        let work = vec![
            self.work(Operation::Multiply, roots, INVERSE_ROOT_OPERATIONS),
            self.work(Operation::Multiply, scores_here.div_ceil(heads.max(1)), heads),
            self.work(Operation::Multiply, new_keys, 1),
        ];
        let formula = Formula::HeadScale {
            scores: scored.scores,
            keys: cache.keys,
            query_sums,
            key_sums,
            group: lies.group,
            width: lies.key_dim,
            epsilon: self.request.norm_epsilon,
            token: self.request.position(),
            users: lies.users,
            scale: attending.score_scale(),
        };
        let (scores, keys) = (scored.scores.buffer, cache.keys.buffer);
        vec![self.compute(Math::RmsScale, &[query_sums.buffer, keys], scores, work, formula)]
    }

    /// Rotary embedding of the leading `rotary` dimensions of each head, in place.
    pub fn rope(&self, graph: &LayerGraph, x: Operand, rotary: u64) -> Node {
        let field = self.laid(x);
        let head_dim = field.inner.last().map_or(0, |dimension| dimension.size);
        let elements = field.most().saturating_mul(rotary).div_ceil(head_dim.max(1));
        let work = if graph.accumulators_in_place {
            let lean = LEAN_ROPE_OPERATIONS.iter();
            lean.map(|(operation, times)| self.work(*operation, elements.div_ceil(2), *times)).collect()
        } else {
            vec![self.work(Operation::Multiply, elements, ROPE_OPERATIONS)]
        };
        let (position, users) = (self.request.position(), self.request.users);
        self.compute(Math::Rope, &[x.buffer], x.buffer, work, Formula::Rope { x, head_dim, rotary, position, users })
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
