//! A layer for a chunk of a prompt: tokens along y, widths along x, products by MeshGEMM (WaferLLM, OSDI 2025,
//! prefill).
//!
//! Heads that share a block of columns go through attention together; the query heads of a KV head are further rows of
//! the same product. Experts have too few tokens each to fill the rows of a region, so tokens go through them as in
//! decode, weights in place, spread or in rectangles: they are turned to widths along y and back.

mod latent;
mod own;

use wafersim_graph::layer::ChoiceForm;
use wafersim_graph::{LayerGraph, LayerLoad, Rewrite};
use wafersim_program::formula::Causal;
use wafersim_program::{
    Action, Axis, BufferId, Compute, Digit, Dimension, Field, Formula, Math, Node, Operand, Operation, Program,
    ReduceOperator, Region, Ring, Spread, Step, collective,
};
use wafersim_spec::model::{Attention, FeedForward, Gating, GroupedAttention, Moe, Role};

use crate::gemm::{ColumnBlocks, Matrix, Rings, Sizes, Tile, TileOperands, Transposed};
use crate::layer::{KEY_VALUE, grouped_lies, latent_lies, nothing};
use crate::lies::KvLies;
use crate::network::{Network, NetworkForm, all_pairs};
use crate::relayout::Way;
use crate::request::{LayerRequest, LowerError, Scope};
use crate::router::{Choice, ChoiceOf, Logits, check_selection};
use crate::writer::{Writer, along, everywhere, first, table};

/// Vector operations of a softmax over its scores beside exponentials and scalar reductions, in prefill.
const SOFTMAX_OPERATIONS: u64 = 4;

/// Vector operations of a norm over its elements in prefill.
const NORM_OPERATIONS: u64 = 4;

/// The program of a layer for a chunk of `request.tokens` tokens of a prompt; `request.context` counts the tokens that
/// the last of them sees, itself included. Its input and output is the buffer `residual`; keys and values of the chunk
/// (or latents and rotary keys) are left in the buffers of [`handed_over`]. A chunk with others before it reads their
/// keys block by block and has no numbers.
///
/// # Errors
/// Where the mapping does not fit the layer, or the layer has a part that is not written for prefill.
pub fn prefill_layer(request: &LayerRequest<'_>, key_block: u64) -> Result<Program, LowerError> {
    let load = LayerLoad { tokens: request.tokens, context: request.context };
    request.check()?;
    let graph = LayerGraph::new(request.layer, request.hidden, load).rewritten(request.mapping.rewrites);
    let mut chunk = Chunk { writer: Writer::new("prefill layer", request), graph: &graph, key_block };
    let x = chunk.stream("residual", "residual");
    let normed = chunk.norm(x, (Role::AttentionNorm, 0), "attention.norm", "attention.normed");
    match &request.layer.attention {
        Attention::Grouped(grouped) if grouped.output_gate => {
            return Err(nothing("a gate behind attention in a chunk of a prompt"));
        }
        Attention::Grouped(grouped) => chunk.attention(grouped, x, normed)?,
        Attention::Latent(latent) => chunk.latent(latent, x, normed),
        Attention::Linear(_) => return Err(nothing("linear attention in a chunk of a prompt")),
    }
    let normed = chunk.norm(x, (Role::FeedForwardNorm, 0), "feed_forward.norm", "feed_forward.normed");
    match &request.layer.feed_forward {
        FeedForward::Dense { width, bias } => chunk.dense(&DENSE, Gated { width: *width, bias: *bias }, x, normed),
        FeedForward::Moe(moe) => chunk.experts(moe, x, normed)?,
    }
    match chunk.writer.refused {
        Some(refused) => Err(refused),
        None => Ok(chunk.writer.program),
    }
}

/// Buffers in which a chunk of a prompt leaves what is cached.
pub const fn handed_over(attention: &Attention) -> [&'static str; 2] {
    match attention {
        Attention::Grouped(_) | Attention::Linear(_) => ["attention.key", "attention.value"],
        Attention::Latent(_) => ["attention.latent", "attention.rotary_key"],
    }
}

/// What is cached from where a chunk of a prompt has left it ([`handed_over`]) to where decode wants it: `kv.keys` and
/// `kv.values` (latents and rotary keys).
///
/// # Errors
/// Where the KV layout does not fit its region.
pub fn cache_handover(request: &LayerRequest<'_>) -> Result<Program, LowerError> {
    let mut writer = Writer::new("cache handover", request);
    let (region, tokens) = (writer.region(), request.tokens);
    let (lies, made) = match &request.layer.attention {
        Attention::Grouped(grouped) => {
            let from = whole_width(request, grouped);
            let made = [from.new_keys(tokens), values(region, &from, from.new_values(tokens))];
            (grouped_lies(request, grouped), made)
        }
        Attention::Latent(latent) => (latent_lies(request, latent), latent::entry(region, latent, tokens)),
        Attention::Linear(_) => return Err(nothing("linear attention in a chunk of a prompt")),
    };
    crate::layer::check_columns(&lies, region.columns)?;
    let rows = Rings::new(region).rows(tokens);
    let [one, other] = made.map(|field| Field { rows: rows.clone(), ..field });
    let [name, other_name] = handed_over(&request.layer.attention);
    let nodes = writer.hand_over(lies, [(name, one), (other_name, other)], tokens);
    writer.program.push("handover", nodes);
    Ok(writer.program)
}

/// Names and roles of a gated network.
struct Names {
    part: &'static str,
    operators: [&'static str; 3],
    roles: [Role; 3],
    output: &'static str,
}

const DENSE: Names = Names {
    part: "feed_forward",
    operators: ["feed_forward.gate_up", "feed_forward.activation", "feed_forward.down"],
    roles: [Role::Gate, Role::Up, Role::Down],
    output: "feed_forward.output",
};

const SHARED: Names = Names {
    part: "shared_expert",
    operators: ["shared_expert.gate_up", "shared_expert.activation", "shared_expert.down"],
    roles: [Role::SharedGate, Role::SharedUp, Role::SharedDown],
    output: "shared_expert.output",
};

/// Sizes of a gated network.
#[derive(Clone, Copy)]
struct Gated {
    width: u64,
    bias: bool,
}

struct Chunk<'a> {
    writer: Writer<'a>,
    graph: &'a LayerGraph,
    key_block: u64,
}

impl Chunk<'_> {
    fn tokens(&self) -> u64 {
        self.writer.request.tokens
    }

    fn hidden(&self) -> u64 {
        self.writer.request.hidden
    }

    fn rings(&self) -> Rings {
        Rings::new(self.writer.region())
    }

    /// A residual stream of prefill: tokens along y, widths along x.
    fn stream(&mut self, name: &'static str, field: &'static str) -> Operand {
        let rings = self.rings();
        let field = Field::new(field, rings.rows(self.tokens()), vec![rings.inner(self.hidden(), false)]);
        first(self.writer.declare(name, vec![field]))
    }

    /// RMSNorm, where its part of the mapping says.
    fn norm(&mut self, x: Operand, gain: (Role, u64), operator: &'static str, name: &'static str) -> Operand {
        let own = self.own(operator);
        let (mut nodes, x) = self.enter(x, own);
        let (body, y) = self.within(own.unwrap_or(self.writer.region()), |chunk| {
            let y = chunk.stream(name, "normed");
            (chunk.norm_nodes(x, y, gain), y)
        });
        let (left, y) = self.leave_to_stream(y, own, "left");
        nodes.extend(body.into_iter().chain(left));
        self.writer.program.push(operator, nodes);
        y
    }

    /// The same to where its result lies like its input.
    fn norm_to(&mut self, x: Operand, y: Operand, gain: (Role, u64), operator: &'static str) {
        let nodes = self.norm_nodes(x, y, gain);
        self.writer.program.push(operator, nodes);
    }

    /// RMSNorm: a plain chain all-reduce along x of one sum for each row of tokens.
    fn norm_nodes(&mut self, x: Operand, y: Operand, gain: (Role, u64)) -> Vec<Node> {
        let field = self.writer.field(x);
        let (vectors, elements, width) = (field.rows.most(), field.most_inner(), field.row_size());
        let sums = self.writer.declare("norm.sums", vec![Field::new("sums", field.rows, vec![Dimension::whole(1)])]);
        let mut nodes = vec![self.writer.sum_of_squares(x, first(sums), width)];
        let columns = self.writer.region().columns;
        let program = &mut self.writer.program;
        nodes.extend(collective::chain_all_reduce(program, Axis::X, columns, sums, ReduceOperator::Add));
        let work = vec![
            self.writer.work(Operation::Divide, 1, vectors),
            self.writer.work(Operation::SquareRoot, 1, vectors),
            self.writer.work(Operation::Multiply, elements, vectors.saturating_mul(NORM_OPERATIONS)),
        ];
        let epsilon = self.writer.request.norm_epsilon;
        let formula = Formula::RmsScale { x, sums: first(sums), gain, y, width, epsilon };
        nodes.push(self.writer.compute(Math::RmsScale, &[x.buffer, sums], y.buffer, work, formula));
        nodes
    }

    fn attention(&mut self, grouped: &GroupedAttention, x: Operand, normed: Operand) -> Result<(), LowerError> {
        let request = self.writer.request;
        let (region, tokens) = (self.writer.region(), self.tokens());
        let lies = whole_width(request, grouped);
        crate::layer::check_columns(&lies, region.columns)?;
        let rows = self.rings().rows(tokens);
        let with_rows = |field: Field| Field { rows: rows.clone(), ..field };
        let head_dim = grouped.head_dim;
        let outputs = [
            ("attention.query", Role::Query, with_rows(lies.query(tokens))),
            ("attention.key", Role::Key, with_rows(lies.new_keys(tokens))),
            ("attention.value", Role::Value, with_rows(values(region, &lies, lies.new_values(tokens)))),
        ];
        let [together, beside] = ["attention.query_key_value", KEY_VALUE].map(|part| self.own(part));
        let [query, others @ ..] = outputs;
        let mut made = Vec::new();
        match beside {
            None => {
                let all = [query].into_iter().chain(others).collect();
                made.extend(self.products(("attention.query_key_value", together), grouped, normed, all));
            }
            Some(_) => {
                made.extend(self.products(("attention.query_key_value", together), grouped, normed, vec![query]));
                made.extend(self.products((KEY_VALUE, beside), grouped, normed, others.to_vec()));
            }
        }
        let [query, key, value] = made[..] else { return Err(nothing("attention without queries, keys and values")) };
        if grouped.qk_norm {
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
        let inner = grouped.heads.saturating_mul(head_dim);
        self.output(&lies, (result, inner), grouped.output_bias, x);
        Ok(())
    }

    /// The output projection of what attention has made, `inner` wide.
    fn output(&mut self, lies: &KvLies, (result, inner): (Operand, u64), bias: bool, x: Operand) {
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
    fn key_blocks(&self, visible: u64) -> (u64, u64) {
        let alone = visible == self.tokens();
        let blocks = if alone { 1 } else { visible.div_ceil(self.key_block.max(1)).max(1) };
        (blocks, visible.div_ceil(blocks))
    }

    /// Products of one input, in a rectangle where the part has one.
    fn products(
        &mut self,
        (operator, own): (&'static str, Option<Region>),
        grouped: &GroupedAttention,
        normed: Operand,
        outputs: Vec<(&'static str, Role, Field)>,
    ) -> Vec<Operand> {
        let (mut nodes, here) = self.enter(normed, own);
        let at = own.unwrap_or(self.writer.region());
        let (align, a) = self.within(at, |chunk| chunk.writer.aligned(here));
        nodes.extend(align);
        let mut made = Vec::new();
        for (name, role, field) in outputs {
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
    fn core(&mut self, lies: &KvLies, [query, key, value]: [Operand; 3], visible: u64) -> Operand {
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
        let product = Tile::transposed(block, Sizes { m: stacked, k: head_dim, n: seen });
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
        let tile = Tile::new(block, Sizes { m: stacked, k: seen, n: lies.value_dim });
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

    fn dense(&mut self, names: &Names, gated: Gated, x: Operand, normed: Operand) {
        let own = self.own(names.part);
        let (entered, here) = self.enter(normed, own);
        let at = own.unwrap_or(self.writer.region());
        let (mut nodes, output) = self.within(at, |chunk| chunk.network(names, gated, here, entered));
        let (left, output) = self.leave_to_stream(output, own, "left");
        nodes.extend(left);
        nodes.push(self.writer.residual(x, output));
        self.writer.program.push(names.operators[2], nodes);
    }

    /// A gated network; its last operator is not pushed yet.
    fn network(&mut self, names: &Names, gated: Gated, normed: Operand, mut nodes: Vec<Node>) -> (Vec<Node>, Operand) {
        let (tokens, rings) = (self.tokens(), self.rings());
        let (align, a) = self.writer.aligned(normed);
        nodes.extend(align);
        let inner = |name: &'static str| Field::new(name, rings.rows(tokens), vec![rings.inner(gated.width, false)]);
        let [gate, up] = ["gate", "up"].map(|name| first(self.writer.declare("feed_forward.inner", vec![inner(name)])));
        for (role, c) in [(names.roles[0], gate), (names.roles[1], up)] {
            nodes.extend(self.writer.matrix_product(a, Matrix::new(role, gated.bias), c));
        }
        self.writer.program.push(names.operators[0], nodes);
        let elements = self.writer.most(gate);
        // The measured layer runs its SiLU over the elements of the residual stream.
        let activated = match self.writer.request.scope {
            Scope::Model => elements,
            Scope::Measured => self.writer.most(normed),
        };
        let work =
            vec![self.writer.work(Operation::Silu, activated, 1), self.writer.work(Operation::Multiply, elements, 2)];
        let formula = Formula::GatedActivation { gate, up, gating: Gating::Silu, weights: None, weighs_input: false };
        let node = self.writer.compute(Math::GatedActivation, &[gate.buffer, up.buffer], gate.buffer, work, formula);
        self.writer.program.push(names.operators[1], vec![node]);
        let (mut nodes, a) = self.writer.aligned(gate);
        let output = self.stream(names.output, "normed");
        nodes.extend(self.writer.matrix_product(a, Matrix::new(names.roles[2], gated.bias), output));
        (nodes, output)
    }

    fn experts(&mut self, moe: &Moe, x: Operand, normed: Operand) -> Result<(), LowerError> {
        let (region, tokens) = (self.writer.region(), self.tokens());
        check_selection(&moe.selection)?;
        if moe.shared_gate {
            return Err(nothing("a gate of the shared expert in a chunk of a prompt"));
        }
        let own = self.own("router");
        let (mut nodes, here) = self.enter(normed, own);
        let at = own.unwrap_or(region);
        let (routed, choice) = self.within(at, |chunk| chunk.router(moe, here));
        nodes.extend(routed);
        self.writer.program.push("router", nodes);

        // Every row has chosen for its own tokens; all rows work on all of them.
        let known = vec![everywhere("experts", tokens, moe.top_k), everywhere("weights", tokens, moe.top_k)];
        let known = self.writer.declare("router.known", known);
        let numbers = tokens.saturating_mul(moe.top_k).saturating_mul(2);
        let mut dispatch = match own {
            None => {
                let way = Way::Through { hops: region.rows, elements: numbers };
                vec![self.writer.relayout(Axis::Y, choice.buffer, known, way)]
            }
            Some(own) => {
                let columns = Region::new(own.x, region.y, own.columns, region.rows);
                let along_columns = self.writer.counted_relayout(Axis::Y, columns, [choice.buffer, known]);
                let across = collective::multicast(&mut self.writer.program, Axis::X, own.x - region.x, known);
                vec![along_columns, across]
            }
        };
        let known = Choice { buffer: known, waits: false };
        if let Some(own) = self.own("experts") {
            let (entered, here) = self.enter(normed, Some(own));
            dispatch.extend(entered);
            let back = self.within(own, |chunk| -> Result<Operand, LowerError> {
                let (turned, nodes) = chunk.turned(here);
                dispatch.extend(nodes);
                chunk.writer.program.push("experts.dispatch", dispatch);
                let output = chunk.spread(moe, turned, known)?;
                let (node, back) = chunk.turned_back(output);
                chunk.writer.program.push("experts.combine", vec![node]);
                Ok(back)
            })?;
            let (mut combine, back) = self.leave_to_stream(back, Some(own), "left");
            combine.push(self.writer.residual(x, back));
            self.writer.program.push("experts.combine", combine);
            self.shared(moe, x, normed);
            return Ok(());
        }
        let (x_of_experts, turn) = self.turned(normed);
        dispatch.extend(turn);
        let in_rectangles = self.writer.mapping().experts.as_ref().is_some_and(|experts| !experts.is_spread());
        let (mut combine, output) = if in_rectangles {
            self.in_rectangles(moe, x_of_experts, known, dispatch)?
        } else {
            self.writer.program.push("experts.dispatch", dispatch);
            (Vec::new(), self.spread(moe, x_of_experts, known)?)
        };
        let (node, back) = self.turned_back(output);
        combine.push(node);
        combine.push(self.writer.residual(x, back));
        self.writer.program.push("experts.combine", combine);
        self.shared(moe, x, normed);
        Ok(())
    }

    fn shared(&mut self, moe: &Moe, x: Operand, normed: Operand) {
        if moe.shared_width > 0 {
            self.dense(&SHARED, Gated { width: moe.shared_width, bias: false }, x, normed);
        }
    }

    /// Logits and the choice of each row of the region for its own tokens.
    fn router(&mut self, moe: &Moe, normed: Operand) -> (Vec<Node>, Choice) {
        let (region, tokens) = (self.writer.region(), self.tokens());
        let (mut nodes, a) = self.writer.aligned(normed);
        let field = Field::new("scores", self.rings().rows(tokens), vec![along(moe.experts, Axis::X, region)]);
        let scores = self.writer.declare("router.scores", vec![field]);
        let bias = moe.router_bias && !moe.selection.corrected;
        nodes.extend(self.writer.matrix_product(a, Matrix::new(Role::Router, bias), first(scores)));
        let single_pass = self.writer.mapping().has(Rewrite::SinglePassTopK);
        let form = ChoiceForm { single_pass, single_choice: false };
        let logits = Logits { at: first(scores), axis: Axis::X, line: None, scale: None };
        let (select, choice) = self.writer.choose(moe, logits, ChoiceOf { form, waits: false, known: region }, normed);
        nodes.extend(select);
        (nodes, choice)
    }

    /// What experts read: widths along y, all tokens everywhere.
    fn turned(&mut self, normed: Operand) -> (Operand, Vec<Node>) {
        let (region, tokens, hidden) = (self.writer.region(), self.tokens(), self.hidden());
        let turned = self.writer.declare("experts.turned", vec![table("normed", tokens, hidden, Axis::Y, region)]);
        let nodes = self.turn(normed, turned);
        (first(turned), nodes)
    }

    /// What they make, back in the layout of the stream.
    fn turned_back(&mut self, output: BufferId) -> (Node, Operand) {
        let (rings, rows) = (self.rings(), self.writer.region().rows);
        let field = Field::new("output", rings.rows(self.tokens()), vec![rings.inner(self.hidden(), false)]);
        let back = self.writer.declare("experts.returned", vec![field]);
        let crossing = self.writer.program.buffer_of(back).elements.saturating_mul(rows).div_ceil(2);
        let way = Way::Through { hops: rows, elements: crossing };
        (self.writer.relayout(Axis::Y, output, back, way), first(back))
    }

    fn form(&self) -> NetworkForm {
        NetworkForm {
            interleaved: self.writer.mapping().has(Rewrite::InterleavedGateUp),
            concatenated: self.writer.mapping().has(Rewrite::ConcatenatedExperts),
            accumulators_in_place: self.graph.accumulators_in_place,
        }
    }

    /// Experts over the whole region, as in decode. Returns their outputs, summed, along y.
    fn spread(&mut self, moe: &Moe, x: Operand, choice: Choice) -> Result<BufferId, LowerError> {
        let tokens = self.tokens();
        let network = Network {
            roles: crate::layer::EXPERT_ROLES,
            bias: moe.expert_bias,
            width: moe.width,
            hidden: self.hidden(),
            x,
            inputs: self.writer.field(x),
            chosen: Some((choice, all_pairs(tokens, moe.top_k))),
            tiles: self.writer.expert_load().distinct,
            rows: Dimension::whole(tokens),
            gating: moe.gating,
            weighs_input: moe.selection.weighs_input,
            output_gate: None,
        };
        let form = self.form();
        let (nodes, made) = self.writer.gate_up("experts.gate_up", std::slice::from_ref(&network), form, None);
        self.writer.program.push("experts.gate_up", nodes);
        let Some(made) = made.first().copied() else { return Err(nothing("experts without a gate")) };
        let node = self.writer.gated_activation(&network, made);
        self.writer.program.push("experts.activation", vec![node]);
        let (nodes, output) = self.writer.down("experts.down", &[(network, made.gate)], form);
        self.writer.push_with_route_changes("experts.down", nodes);
        Ok(output)
    }

    /// Experts in rectangles, as in decode: every rectangle fetches the tokens that chose its experts. Returns the way
    /// back, not pushed yet, and the outputs, summed, along y.
    fn in_rectangles(
        &mut self,
        moe: &Moe,
        x: Operand,
        choice: Choice,
        mut dispatch: Vec<Node>,
    ) -> Result<(Vec<Node>, BufferId), LowerError> {
        let form = self.form();
        let (nodes, mut clusters) = self.writer.dispatch(moe, x, choice)?;
        dispatch.extend(nodes);
        self.writer.program.push("experts.dispatch", dispatch);
        self.writer.experts_in_cells(&mut clusters, form);
        for (part, name) in ["experts.gate_up", "experts.activation", "experts.down"].into_iter().enumerate() {
            self.writer.program.push(name, clusters.part(part));
        }
        Ok(self.writer.combine(&clusters, None))
    }

    /// From tokens along y and widths along x to widths along y, everything else everywhere: half of each column's
    /// elements cross its middle, then every row gathers along x what its processing elements hold. Fields keep their
    /// name.
    fn turn(&mut self, source: Operand, target: BufferId) -> Vec<Node> {
        let (region, tokens, width) = (self.writer.region(), self.tokens(), self.hidden());
        turn(&mut self.writer, source, target, Turned { tokens, width, region })
    }
}

/// Nodes that run so many times.
fn repeated(times: u64, nodes: Vec<Node>) -> Vec<Node> {
    match times {
        1 => nodes,
        times => vec![Node::Repeat { times, body: Box::new(Node::Sequence(nodes)) }],
    }
}

/// What is turned.
#[derive(Clone, Copy)]
pub(crate) struct Turned {
    pub tokens: u64,
    pub width: u64,
    pub region: Region,
}

pub(crate) fn turn(writer: &mut Writer<'_>, source: Operand, target: BufferId, turned: Turned) -> Vec<Node> {
    let Turned { tokens, width, region } = turned;
    let field = writer.field(source);
    let columns = field.inner.first().map_or(Spread::Whole, |inner| inner.spread.clone());
    let spread = Spread::Meet(vec![columns, along(width, Axis::Y, region).spread]);
    let crossing = Field { rows: Dimension::whole(tokens), inner: vec![Dimension { size: width, spread }], ..field };
    let crossed = writer.declare("crossed", vec![crossing]);
    let half = region.share(Axis::X, width).saturating_mul(tokens).div_ceil(2);
    let all = region.share(Axis::Y, width).saturating_mul(tokens);
    vec![
        writer.relayout(Axis::Y, source.buffer, crossed, Way::Through { hops: region.rows, elements: half }),
        writer.relayout(Axis::X, crossed, target, Way::Through { hops: region.columns, elements: all }),
    ]
}

/// Heads over their blocks with their whole width over the columns of a block, as products leave them in prefill.
fn whole_width(request: &LayerRequest<'_>, grouped: &GroupedAttention) -> KvLies {
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

/// A field of values or of results.
fn values(region: Region, lies: &KvLies, mut field: Field) -> Field {
    if in_order_of_ring(region, lies)
        && let Some(width) = field.inner.last_mut()
    {
        *width = Rings::new(region).inner(width.size, false);
    }
    field
}
