//! Attention of grouped heads for a chunk of a prompt: products, transposed product of queries and passing keys,
//! softmax over the columns of a block, product with passing values, output projection (WaferLLM, OSDI 2025, prefill).

use wafersim_program::formula::Causal;
use wafersim_program::{
    Action, Axis, Compute, Digit, Dimension, Field, Formula, GainName, Math, Node, Operand, Operation, ReduceOperator,
    Region, Ring, Spread, Step, collective,
};
use wafersim_spec::model::{GroupedAttention, HeadValues, Role};

use super::Chunk;
use crate::gemm::{ColumnBlocks, Matrix, ProductSizes, Rings, TileOperands, TileSizes, Transposed};
use crate::layer::{KEY_VALUE, grouped_lies, nothing};
use crate::lies::KvLies;
use crate::relayout::Way;
use crate::request::{LayerRequest, LowerError};
use crate::writer::{Writer, along, first};

/// Vector operations of a softmax over its scores beside exponentials and scalar reductions, in prefill.
const SOFTMAX_OPERATIONS: u64 = 4;

/// What a product makes.
#[derive(Clone)]
struct MadeOf {
    name: &'static str,
    role: Role,
    field: Field,
}

/// Products of one input that are one operator, and its rectangle.
#[derive(Clone, Copy)]
struct Together {
    operator: &'static str,
    own: Option<Region>,
}

impl Chunk<'_> {
    pub(super) fn attention(
        &mut self,
        grouped: &GroupedAttention,
        x: Operand,
        normed: Operand,
    ) -> Result<(), LowerError> {
        let request = self.writer.request;
        let (region, tokens) = (self.writer.region(), self.tokens());
        let lies = whole_width(request, grouped);
        crate::layer::check_columns(&lies, region.columns)?;
        let rows = self.rings().rows(tokens);
        let with_rows = |field: Field| Field { rows: rows.clone(), ..field };
        let value = Field { name: "v".into(), ..value_field(region, grouped, &lies, tokens) };
        let query = match grouped.query_rank {
            Some(rank) => {
                let inner = vec![self.rings().inner(rank, false)];
                ("attention.compressed", Role::QueryDown, Field::new("compressed", rows.clone(), inner))
            }
            None => ("attention.query", Role::Query, lies.query(tokens)),
        };
        let mut outputs = vec![query, ("attention.key", Role::Key, lies.new_keys(tokens))];
        if grouped.values != HeadValues::OfKeys {
            outputs.push(("attention.value", Role::Value, value.clone()));
        }
        let outputs = outputs.into_iter().map(|(name, role, field)| MadeOf { name, role, field: with_rows(field) });
        let mut outputs: Vec<MadeOf> = outputs.collect();
        let [together, beside] =
            ["attention.query_key_value", KEY_VALUE].map(|operator| Together { operator, own: self.own(operator) });
        let mut made = Vec::new();
        match beside.own {
            None => made.extend(self.products(together, grouped, normed, outputs)),
            Some(_) => {
                let others = outputs.split_off(1);
                made.extend(self.products(together, grouped, normed, outputs));
                made.extend(self.products(beside, grouped, normed, others));
            }
        }
        if let (HeadValues::OfKeys, Some(key)) = (grouped.values, made.get(1).copied()) {
            let target = first(self.writer.declare("attention.value", vec![with_rows(value)]));
            let node = self.writer.copied(key, target);
            self.writer.program.push("attention.value_of_key", vec![node]);
            made.push(target);
        }
        let [mut query, key, value] = made[..] else {
            return Err(nothing("attention without queries, keys and values"));
        };
        if grouped.query_rank.is_some() {
            let gain = GainName::first(Role::AttentionInnerNorm);
            self.norm_to(query, query, gain, "attention.query_norm");
            let (mut nodes, a) = self.writer.aligned(query);
            query = first(self.writer.declare("attention.query", vec![with_rows(lies.query(tokens))]));
            nodes.extend(self.writer.matrix_product(a, Matrix::new(Role::QueryUp, false), query));
            self.writer.program.push("attention.query_up", nodes);
        }
        if grouped.qk_norm.is_some() {
            let mut nodes = self.writer.head_norm(lies, query, 0);
            nodes.extend(self.writer.head_norm(lies, key, 1));
            self.writer.program.push("attention.head_norm", nodes);
        }
        if grouped.rotary_dim > 0 {
            let ropes = [query, key].map(|x| self.writer.rope(self.graph, x, grouped.rotary_dim)).to_vec();
            self.writer.program.push("attention.rope", ropes);
        }
        let visible = grouped.reach.visible(request.context);
        let result = self.core(&lies, [query, key, value], visible);
        let inner = grouped.heads.saturating_mul(grouped.value_dim());
        self.output(&lies, (result, inner), grouped.output_bias, x);
        Ok(())
    }

    /// The output projection of what attention has made, `inner` wide.
    pub(super) fn output(&mut self, lies: &KvLies, (result, inner): (Operand, u64), bias: bool, x: Operand) {
        let region = self.writer.region();
        let rings = self.rings();
        let rows = rings.rows(self.tokens());
        let wanted = Field::new("result", rows, vec![rings.inner(inner, false)]);
        let gathered = first(self.writer.declare("attention.gathered", vec![wanted]));
        // In the order of the next ring, from other columns where they do not lie there already.
        let mut nodes = vec![if in_order_of_ring(region, lies) {
            let formula = Formula::Select { source: result, target: gathered };
            self.writer.compute(Math::Copy, &[result.buffer], gathered.buffer, Vec::new(), formula)
        } else {
            let elements = self.writer.most(gathered);
            let way = Way::Through { hops: region.columns, elements };
            self.writer.relayout(Axis::X, result.buffer, gathered.buffer, way)
        }];
        let (align, a) = self.writer.aligned(gathered);
        nodes.extend(align);
        let output = self.stream("attention.projected", "normed");
        nodes.extend(self.writer.matrix_product(a, Matrix::new(Role::Output, bias), output));
        nodes.push(self.writer.residual(x, output));
        self.writer.program.push("attention.output", nodes);
    }

    /// Blocks of keys in which a chunk reads what it sees: how many, and tokens of one.
    pub(super) fn key_blocks(&self, visible: u64) -> (u64, u64) {
        let alone = visible == self.tokens();
        let blocks = if alone { 1 } else { visible.div_ceil(self.key_block.max(1)).max(1) };
        (blocks, visible.div_ceil(blocks))
    }

    /// Products of one input, in a rectangle where the part has one.
    fn products(
        &mut self,
        Together { operator, own }: Together,
        grouped: &GroupedAttention,
        normed: Operand,
        outputs: Vec<MadeOf>,
    ) -> Vec<Operand> {
        let (mut nodes, here) = self.enter(normed, own);
        let at = own.unwrap_or(self.writer.region());
        let (align, a) = self.within(at, |chunk| chunk.writer.aligned(here));
        nodes.extend(align);
        let mut made = Vec::new();
        for MadeOf { name, role, field } in outputs {
            let matrix = Matrix::new(role, grouped.qkv_bias);
            let Some(rectangle) = own else {
                let c = first(self.writer.declare(name, vec![field]));
                nodes.extend(self.writer.matrix_product(a, matrix, c));
                made.push(c);
                continue;
            };
            let inside = vec![along(field.row_size(), Axis::X, rectangle)];
            let inside = Field::new(field.name.clone(), Rings::new(rectangle).rows(field.rows.size), inside);
            let c = self.within(rectangle, |chunk| {
                let c = first(chunk.writer.declare("products.inside", vec![inside]));
                nodes.extend(chunk.writer.matrix_product(a, matrix, c));
                c
            });
            let (left, out) = self.leave(c, rectangle, (name, field.inner));
            nodes.extend(left);
            made.push(out);
        }
        self.writer.program.push(operator, nodes);
        made
    }

    /// Scores, softmax and weighted values of a chunk.
    pub(super) fn core(&mut self, lies: &KvLies, [query, key, value]: [Operand; 3], visible: u64) -> Operand {
        let (region, tokens, columns) = (self.writer.region(), self.tokens(), lies.pitch());
        let (blocks, seen) = self.key_blocks(visible);
        let rows = self.rings().rows(tokens);
        let with_rows = |field: Field| Field { rows: rows.clone(), ..field };
        let (group, head_dim) = (lies.group, lies.key_dim);
        let repeated = |nodes: Vec<Node>| repeated(blocks, nodes);

        // Scores: keys pass by along y, sums end in a place that moves on along x.
        let keys = self.writer.declare("gemm.b", vec![with_rows(lies.new_keys(seen))]);
        let load = Formula::Load { source: key, target: first(keys) };
        let mut nodes = vec![self.writer.compute(Math::Copy, &[key.buffer], keys, Vec::new(), load)];
        let inner = |spread: Spread| {
            let mut inner = lies.statistic("", 1).inner;
            inner.push(Dimension { size: seen, spread });
            inner
        };
        let passing = inner(Spread::Split(Digit::line(Axis::Y, region.rows)));
        let partial = self.writer.declare("gemm.c", vec![Field::new("scores", rows.clone(), passing)]);
        let pieces = columns.max(region.rows);
        let skewed = Spread::Ring(Ring { axis: Axis::X, length: columns, pieces, across: region.rows });
        let skewed = Field::new("scores", rows.clone(), inner(skewed));
        let square = columns == region.rows;
        let collected = Spread::Collected { columns, rows: region.rows };
        let collected = Field::new("scores", rows.clone(), inner(collected));
        let scores = self.writer.declare("attention.scores", vec![if square { skewed.clone() } else { collected }]);
        let heads_here = group.saturating_mul(lies.kv_heads.div_ceil(lies.blocks.max(1)));
        let stacked = tokens.saturating_mul(heads_here);
        let block = Region::new(region.x, region.y, columns, region.rows);
        let product = TileSizes::transposed(block, ProductSizes { m: stacked, k: head_dim, n: seen });
        let formula =
            Formula::PassingScores { query, keys: first(keys), partial: first(partial), group, head_dim, tokens };
        let collect = Compute {
            math: Math::Copy,
            reads: vec![partial],
            writes: scores,
            work: Vec::new(),
            formula: Some(Formula::Collect { partial: first(partial), whole: first(scores), columns }),
        };
        let collect = Step { region, action: Action::Compute(collect) };
        let operands = TileOperands { a: query.buffer, b: keys, c: partial };
        nodes.extend(self.writer.transposed(product, operands, Transposed { product: formula, collect, columns }));
        self.writer.program.push("attention.scores", repeated(nodes));

        let statistic =
            first(self.writer.declare("attention.statistic", vec![with_rows(lies.statistic("statistic", tokens))]));
        let nodes = self.softmax(lies, first(scores), statistic, product.m, seen.div_ceil(columns));
        self.writer.program.push("attention.softmax", repeated(nodes));

        // Scores x V: a product like any other, once both lie skewed.
        let mut nodes = Vec::new();
        let mut weights = scores;
        if !square {
            weights = self.writer.declare("attention.weights", vec![skewed]);
            let way = Way::Through { hops: region.columns, elements: self.writer.program.buffer_of(weights).elements };
            nodes.push(self.writer.relayout(Axis::X, scores, weights, way));
        }
        let ring = Ring { axis: Axis::Y, length: region.rows, pieces, across: columns };
        let skewed_rows = Dimension { size: seen, spread: Spread::Ring(ring) };
        let field = Field { rows: skewed_rows, ..values(region, lies, lies.new_values(seen)) };
        let moved = self.writer.declare("gemm.b", vec![field]);
        let way = Way::Through { hops: region.rows, elements: self.writer.program.buffer_of(moved).elements };
        nodes.push(self.writer.relayout(Axis::Y, value.buffer, moved, way));
        let result =
            self.writer.declare("attention.result", vec![with_rows(values(region, lies, lies.result(tokens)))]);
        let (scores, values_at, output) = (first(weights), first(moved), first(result));
        let formula = Formula::PassingValues { scores, values: values_at, output, group, head_dim: lies.value_dim };
        let tile = TileSizes::new(block, ProductSizes { m: stacked, k: seen, n: lies.value_dim });
        let operands = TileOperands { a: weights, b: moved, c: result };
        let width = ColumnBlocks { blocks: lies.blocks, width: columns };
        nodes.extend(self.writer.cannon(tile, operands, width, formula));
        self.writer.program.push("attention.values", repeated(nodes));
        output
    }

    fn softmax(
        &mut self,
        lies: &KvLies,
        scores: Operand,
        statistic: Operand,
        vectors: u64,
        scores_here: u64,
    ) -> Vec<Node> {
        let (tokens, context) = (self.tokens(), self.writer.request.context);
        let scale = 1.0 / (lies.key_dim as f64).sqrt();
        let causal = Some(Causal { position: context - tokens, users: 1, reach: lies.reach });
        let scan = self.writer.work(Operation::ScalarReduce, scores_here, vectors);
        let maximum = Formula::Maximum { scores, statistic, causal, sinks: None };
        let mut nodes =
            vec![self.writer.compute(Math::Maximum, &[scores.buffer], statistic.buffer, vec![scan], maximum)];
        let reduce = |writer: &mut Writer<'_>, operator| {
            collective::chain_all_reduce(&mut writer.program, Axis::X, lies.pitch(), statistic.buffer, operator)
        };
        nodes.extend(reduce(&mut self.writer, ReduceOperator::Max));
        let work = vec![
            scan,
            self.writer.work(Operation::Multiply, scores_here, vectors.saturating_mul(SOFTMAX_OPERATIONS)),
            self.writer.work(self.writer.exponential(), scores_here, vectors),
        ];
        let formula =
            Formula::ExpAndSum { scores, statistic, exponentials: scores, sums: statistic, scale, causal, sinks: None };
        nodes.push(self.writer.compute(Math::ExpAndSum, &[scores.buffer], statistic.buffer, work, formula));
        nodes.extend(reduce(&mut self.writer, ReduceOperator::Add));
        let work = vec![self.writer.work(Operation::Divide, 1, vectors)];
        let formula = Formula::Normalise { scores, statistic };
        let reads = [scores.buffer, statistic.buffer];
        nodes.push(self.writer.compute(Math::Normalise, &reads, scores.buffer, work, formula));
        nodes
    }
}

/// Nodes that run so many times.
pub(super) fn repeated(times: u64, nodes: Vec<Node>) -> Vec<Node> {
    match times {
        1 => nodes,
        times => vec![Node::Repeat { times, body: Box::new(Node::Sequence(nodes)) }],
    }
}

/// Heads over their blocks with their whole width over the columns of a block, as products leave them in prefill.
pub(super) fn whole_width(request: &LayerRequest<'_>, grouped: &GroupedAttention) -> KvLies {
    let decode = grouped_lies(request, grouped);
    let columns = request.mapping.region.columns;
    let dims = decode.pitch().max((columns / decode.blocks.max(1)).max(1));
    KvLies { dims, groups: 1, copies: 1, ..decode }
}

/// Whether a single head lies over all columns: then values, which no rotary embedding keeps in pairs, and results are
/// made in the order in which the next product reads them.
fn in_order_of_ring(region: Region, lies: &KvLies) -> bool {
    lies.kv_heads == 1 && lies.group == 1 && lies.pitch() == region.columns
}

/// Where a chunk leaves the values of grouped heads: as their product makes them, or where their keys lie.
pub(super) fn value_field(region: Region, grouped: &GroupedAttention, lies: &KvLies, tokens: u64) -> Field {
    match grouped.values {
        HeadValues::OfKeys => lies.new_values(tokens),
        HeadValues::Plain | HeadValues::Width(_) => values(region, lies, lies.new_values(tokens)),
    }
}

/// A field of values or of results.
pub(super) fn values(region: Region, lies: &KvLies, mut field: Field) -> Field {
    if in_order_of_ring(region, lies)
        && let Some(width) = field.inner.last_mut()
    {
        *width = Rings::new(region).inner(width.size, false);
    }
    field
}
