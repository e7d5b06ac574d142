//! A layer for a chunk of a prompt: tokens along y, widths along x, products by MeshGEMM (WaferLLM, OSDI 2025,
//! prefill).
//!
//! Heads that share a block of columns go through attention together; the query heads of a KV head are further rows of
//! the same product. Experts have too few tokens each to fill the rows of a region, so tokens go through them as in
//! decode, weights in place, spread or in rectangles: they are turned to widths along y and back.

mod attention;
mod experts;
mod latent;
mod own;

use wafersim_graph::{LayerGraph, LayerLoad, OwnRewrites};
use wafersim_program::{
    Axis, Dimension, Field, Formula, GainName, Math, Node, Operand, Operation, Program, ReduceOperator, collective,
};
use wafersim_spec::model::{Attention, FeedForward, Gating, Role};

use self::attention::{value_field, whole_width};
use crate::gemm::{Matrix, Rings};
use crate::layer::{grouped_lies, latent_lies, nothing};
use crate::request::{LayerRequest, LowerError, Scope};
use crate::writer::{Writer, first};

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
    prefill_layer_with(request, key_block, &OwnRewrites::NONE)
}

/// The same with rewrites from outside. A chunk has an order of its own; of its graph it reads rotations, how experts
/// are chosen and multiplied, and whether products read their accumulators in place.
///
/// # Errors
/// As [`prefill_layer`], and where a rewrite from outside refuses.
pub fn prefill_layer_with(
    request: &LayerRequest<'_>,
    key_block: u64,
    own: &OwnRewrites,
) -> Result<Program, LowerError> {
    let load = LayerLoad { tokens: request.tokens, context: request.context };
    request.check()?;
    let graph = own.of(LayerGraph::new(request.layer, request.hidden, load).rewritten(request.mapping.rewrites))?;
    let mut chunk = Chunk { writer: Writer::new("prefill layer", request), graph: &graph, key_block };
    let x = chunk.stream("residual", "residual");
    let normed = chunk.norm(x, GainName::first(Role::AttentionNorm), "attention.norm", "attention.normed");
    match &request.layer.attention {
        Attention::Grouped(grouped) if grouped.output_gate || grouped.head_gate => {
            return Err(nothing("a gate behind attention in a chunk of a prompt"));
        }
        Attention::Grouped(grouped) => chunk.attention(grouped, x, normed)?,
        Attention::Latent(latent) if latent.indexer.is_some() => {
            return Err(nothing("sparse attention with an indexer in a chunk of a prompt"));
        }
        Attention::Latent(latent) => chunk.latent(latent, x, normed),
        Attention::Linear(_) => return Err(nothing("linear attention in a chunk of a prompt")),
    }
    let normed = chunk.norm(x, GainName::first(Role::FeedForwardNorm), "feed_forward.norm", "feed_forward.normed");
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
            let made = [from.new_keys(tokens), value_field(region, grouped, &from, tokens)];
            (grouped_lies(request, grouped), made)
        }
        Attention::Latent(latent) if latent.indexer.is_some() => {
            return Err(nothing("sparse attention with an indexer in a chunk of a prompt"));
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
    fn norm(&mut self, x: Operand, gain: GainName, operator: &'static str, name: &'static str) -> Operand {
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
    fn norm_to(&mut self, x: Operand, y: Operand, gain: GainName, operator: &'static str) {
        let nodes = self.norm_nodes(x, y, gain);
        self.writer.program.push(operator, nodes);
    }

    /// RMSNorm: a plain chain all-reduce along x of one sum for each row of tokens.
    fn norm_nodes(&mut self, x: Operand, y: Operand, gain: GainName) -> Vec<Node> {
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
}
