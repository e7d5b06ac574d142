//! The walk over a layer's operators. What an operator leaves for those after it is kept by tensor.

use std::collections::BTreeMap;

use wafersim_graph::layer::{NetworkKind, Operation, TensorId};
use wafersim_graph::{LayerGraph, LayerLoad};
use wafersim_mapping::LineKind;
use wafersim_program::{Axis, BufferId, Field, Node, Operand, Order, Program, Rescaled};
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, Moe, Role};

use crate::attention::{Attending, Made, Scored};
use crate::cache::NewTokens;
use crate::lies::{HeadSizes, KvLies};
use crate::network::{GateUp, Network, NetworkForm, all_pairs};
use crate::norm::{NormOf, Riding, riding_sums};
use crate::product::Product;
use crate::request::{ExpertLoad, LayerRequest, LowerError, Scope};
use crate::writer::{Lines, Writer, first, roles, table};

/// The program of a layer for a decoding micro-batch. Its inputs are the buffers `residual` and `kv.before`, its outputs
/// `residual` and `kv.cache`.
///
/// # Errors
/// Where the mapping does not fit the layer, or decides what the writer does not know.
pub fn decode_layer(request: &LayerRequest<'_>) -> Result<Program, LowerError> {
    let load = LayerLoad { tokens: request.tokens, context: request.context };
    request.check()?;
    let graph = LayerGraph::new(request.layer, request.hidden, load).rewritten(request.mapping.rewrites);
    let mut walk = Walk::new(request, &graph)?;
    for index in 0..graph.operators().len() {
        walk.operator(index)?;
    }
    let mut program = walk.writer.program;
    if request.mapping.overlap.independent {
        program.order = Order::Own;
    }
    if request.mapping.overlap.conversion {
        wafersim_kernels::overlap::hide_conversions(&mut program);
    }
    Ok(program)
}

/// The body of an operator that waits for the residual sum behind it.
struct Open {
    name: &'static str,
    body: Vec<Node>,
}

struct Walk<'a> {
    writer: Writer<'a>,
    graph: &'a LayerGraph,
    /// Where tensors lie.
    at: BTreeMap<TensorId, Operand>,
    riding: Option<Riding>,
    attending: Option<Attending>,
    scored: Option<Scored>,
    result: Option<Made>,
    /// Sums of squares of queries and keys, where the norms of heads ride.
    squares: Option<[Operand; 2]>,
    choice: Option<BufferId>,
    scores: Option<BufferId>,
    gate_up: Option<GateUp>,
    open: Option<Open>,
}

impl<'a> Walk<'a> {
    fn new(request: &'a LayerRequest<'a>, graph: &'a LayerGraph) -> Result<Self, LowerError> {
        let mut writer = Writer::new("decode layer", request);
        let region = writer.region();
        if let Attention::Grouped(grouped) = &request.layer.attention {
            check_columns(&grouped_lies(request, grouped), region.columns)?;
        }
        let x = writer.declare("residual", vec![table("residual", request.tokens, request.hidden, Axis::Y, region)]);
        let stream = graph.tensors().find(|(_, tensor)| tensor.name == "residual").map(|(id, _)| id);
        Ok(Self {
            writer,
            graph,
            at: stream.map(|stream| (stream, first(x))).into_iter().collect(),
            riding: None,
            attending: None,
            scored: None,
            result: None,
            squares: None,
            choice: None,
            scores: None,
            gate_up: None,
            open: None,
        })
    }

    fn operand(&self, id: Option<&TensorId>) -> Result<Operand, LowerError> {
        id.and_then(|id| self.at.get(id)).copied().ok_or(LowerError::Unknown {
            what: "an operator whose input nothing has made".into(),
            part: "a layer",
            allowed: "operators in the order of their dependencies",
        })
    }

    fn operator(&mut self, index: usize) -> Result<(), LowerError> {
        let graph = self.graph;
        let operator = &graph.operators()[index];
        let (name, reads, writes) = (operator.name, &operator.reads, &operator.writes);
        if !matches!(operator.operation, Operation::Residual | Operation::Choose(_)) {
            self.close();
        }
        match &operator.operation {
            Operation::Norm { riding } => self.norm(name, *riding, reads, writes)?,
            Operation::Products => self.products(index)?,
            Operation::HeadNorm { riding } => self.head_norm(name, *riding, reads)?,
            Operation::Rope { rotary } => {
                let nodes = writes
                    .iter()
                    .map(|id| self.operand(Some(id)).map(|x| self.writer.rope(graph, x, *rotary)))
                    .collect::<Result<Vec<_>, _>>()?;
                self.writer.program.push(name, nodes);
            }
            Operation::Append => self.append(name)?,
            Operation::Scores { .. } => {
                let query = self.operand(reads.first())?;
                let attending = self.attending()?;
                let divided = graph.operators().iter().any(|other| match &other.operation {
                    Operation::Softmax(form) => form.divided,
                    _ => false,
                });
                let (nodes, scored) = self.writer.scores(&attending, query, self.squares, divided);
                self.scored = Some(scored);
                self.writer.push_with_route_changes(name, nodes);
            }
            Operation::HeadScale => {
                let (attending, scored) = (self.attending()?, self.scored()?);
                let nodes = self.writer.head_scale(&attending, &scored);
                self.scored = Some(Scored { scaled: true, ..scored });
                self.writer.program.push(name, nodes);
            }
            Operation::Softmax(form) => {
                let (attending, scored) = (self.attending()?, self.scored()?);
                let made = self.writer.result_buffer(&attending, form.sum_rides);
                self.result = Some(made);
                let (nodes, scored) = self.writer.softmax(&attending, scored, *form, made);
                self.scored = Some(scored);
                self.writer.program.push(name, nodes);
            }
            Operation::Values { .. } => {
                let (attending, scored) = (self.attending()?, self.scored()?);
                let Some(made) = self.result else { return Err(nothing("attention without a softmax")) };
                let nodes = self.writer.values(&attending, scored, made);
                self.writer.program.push(name, nodes);
            }
            Operation::Output { .. } => self.output(index)?,
            Operation::Residual => {
                let (x, y) = (self.operand(reads.first())?, self.operand(reads.get(1))?);
                let sum = self.writer.residual(x, y);
                match self.open.take() {
                    Some(Open { name, mut body }) => {
                        body.push(sum);
                        self.writer.push_with_route_changes(name, body);
                    }
                    None => self.writer.program.push(name, vec![sum]),
                }
            }
            Operation::PerHead => return Err(nothing("latent attention")),
            Operation::Router { .. } => {
                let moe = self.moe()?;
                let x = self.operand(reads.first())?;
                let riding = self.riding.take();
                let in_place = graph.accumulators_in_place;
                let (nodes, scores) = self.writer.router(moe, x, riding, in_place);
                self.scores = Some(scores);
                // The choice belongs to the same operator of the breakdown.
                self.open = Some(Open { name, body: nodes });
            }
            Operation::Choose(form) => {
                let moe = self.moe()?;
                let Some(scores) = self.scores else { return Err(nothing("a choice without scores")) };
                let (nodes, choice) = self.writer.choose(moe, scores, *form);
                self.choice = Some(choice);
                if let Some(id) = writes.first() {
                    self.at.insert(*id, first(choice));
                }
                if let Some(open) = &mut self.open {
                    open.body.extend(nodes);
                }
                self.close();
            }
            Operation::GateUp { network, interleaved, .. } => {
                let form = self.form(*interleaved);
                let x = self.operand(reads.first())?;
                let parts = self.network(*network, x, index)?;
                let riding = self.riding.take();
                let (nodes, made) = self.writer.gate_up(name, &parts, form, riding);
                self.gate_up = Some(made);
                for (id, operand) in writes.iter().zip([made.gate, made.up]) {
                    self.at.insert(*id, operand);
                }
                self.writer.program.push(name, nodes);
            }
            Operation::Activation { network } => {
                let Some(made) = self.gate_up else { return Err(nothing("an activation without a gate")) };
                let parts = self.network(*network, made.gate, index)?;
                let node = self.writer.gated_activation(&parts, made);
                self.writer.program.push(name, vec![node]);
            }
            Operation::Down { network, .. } => {
                let Some(made) = self.gate_up else { return Err(nothing("a down projection without a gate")) };
                let parts = self.network(*network, made.gate, index)?;
                let (nodes, output) = self.writer.down(name, &parts, self.form(false), made.gate);
                if let Some(id) = writes.first() {
                    self.at.insert(*id, first(output));
                }
                self.open = Some(Open { name, body: nodes });
            }
        }
        Ok(())
    }

    /// Appends the operator that was waiting for what belongs to it.
    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.writer.push_with_route_changes(open.name, open.body);
        }
    }

    fn attending(&self) -> Result<Attending, LowerError> {
        self.attending.ok_or_else(|| nothing("attention without a cache"))
    }

    fn scored(&self) -> Result<Scored, LowerError> {
        self.scored.ok_or_else(|| nothing("a softmax without scores"))
    }

    fn moe(&self) -> Result<&'a Moe, LowerError> {
        match &self.writer.request.layer.feed_forward {
            FeedForward::Moe(moe) => Ok(moe),
            FeedForward::Dense { .. } => Err(nothing("a router in a dense layer")),
        }
    }

    fn form(&self, interleaved: bool) -> NetworkForm {
        NetworkForm { interleaved, accumulators_in_place: self.graph.accumulators_in_place }
    }

    fn norm(
        &mut self,
        name: &'static str,
        riding: bool,
        reads: &[TensorId],
        writes: &[TensorId],
    ) -> Result<(), LowerError> {
        let x = self.operand(reads.first())?;
        let gain = reads.get(1).and_then(|id| self.graph.tensor(*id)).and_then(|tensor| match tensor.kind {
            wafersim_graph::layer::TensorKind::Vector { role, copy } => Some((role, copy)),
            _ => None,
        });
        let gain = gain.unwrap_or((Role::AttentionNorm, 0));
        let normed_name = writes.first().and_then(|id| self.graph.tensor(*id)).map_or("normed", |tensor| tensor.name);
        let y = if reads.first() == writes.first() {
            x
        } else {
            let field = Field { name: "normed".into(), ..self.writer.field(x) };
            first(self.writer.declare(normed_name, vec![field]))
        };
        let norm = NormOf { operator: name, x, y, gain, line: LineKind::Y, axis: Axis::Y };
        let nodes = if riding {
            let (nodes, riding) = self.writer.gain(norm);
            self.riding = Some(riding);
            nodes
        } else {
            self.writer.norm(norm)
        };
        if let Some(id) = writes.first() {
            self.at.insert(*id, y);
        }
        self.writer.program.push(name, nodes);
        Ok(())
    }

    fn grouped(&self) -> Result<&'a GroupedAttention, LowerError> {
        match &self.writer.request.layer.attention {
            Attention::Grouped(grouped) => Ok(grouped),
            Attention::Latent(_) => Err(nothing("latent attention")),
        }
    }

    /// Products of one input whose sums one reduction carries: q, k and v.
    fn products(&mut self, index: usize) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let x = self.operand(operator.reads.first())?;
        let riding = self.riding.take();
        let mut fields = self.head_fields(&operator.writes)?;
        let count = fields.len();
        fields.extend(riding.map(|_| riding_sums(self.writer.request.tokens)));
        let made = self.writer.declare(operator.name, fields);
        let sums = Operand::new(made, count as u32);
        let mut nodes = self.writer.ride(riding, sums);
        let operands: Vec<Operand> = (0..count as u32).map(|field| Operand::new(made, field)).collect();
        // A bias is not normed: where a norm rides, it comes after that.
        let mut scaled = Vec::new();
        for ((role, bias), y) in roles(self.graph, operator).into_iter().zip(&operands) {
            let product = Product::plain(&self.writer, role, x, *y).with_bias(bias && riding.is_none(), Axis::Y);
            scaled.push(Rescaled { operand: *y, bias: bias.then_some(role) });
            nodes.extend(self.writer.product(product, self.graph.accumulators_in_place));
        }
        nodes.extend(self.writer.reduce(operator.name, LineKind::Y, Lines::Whole(Axis::Y), made));
        nodes.extend(self.writer.scale(riding, sums, scaled));
        for (id, operand) in operator.writes.iter().zip(&operands) {
            self.at.insert(*id, *operand);
        }
        self.writer.program.push(operator.name, nodes);
        Ok(())
    }

    /// Where q, k and v are made: where their keys and values lie.
    fn head_fields(&self, made: &[TensorId]) -> Result<Vec<Field>, LowerError> {
        let request = self.writer.request;
        let lies = grouped_lies(request, self.grouped()?);
        let field = |name: &str| match name {
            "attention.query" => lies.made(lies.query(request.tokens)),
            "attention.key" => lies.made(lies.new_keys(request.tokens)),
            _ => lies.made(lies.new_values(request.tokens)),
        };
        Ok(self.graph.of(made).map(|tensor| field(tensor.name)).collect())
    }

    fn head_norm(&mut self, name: &'static str, riding: bool, reads: &[TensorId]) -> Result<(), LowerError> {
        let lies = grouped_lies(self.writer.request, self.grouped()?);
        let mut nodes = Vec::new();
        if riding {
            let (ids, new) = self.new_tokens()?;
            let (local, riding) = self.writer.head_norm_rides(lies, new);
            nodes.extend(local);
            self.keep(&ids, riding);
        } else {
            for (copy, id) in (0..2).zip(reads) {
                let x = self.operand(Some(id))?;
                nodes.extend(self.writer.head_norm(lies, x, copy));
            }
        }
        self.writer.program.push(name, nodes);
        Ok(())
    }

    /// Queries, keys and values as they are now, and their tensors.
    fn new_tokens(&self) -> Result<([TensorId; 3], NewTokens), LowerError> {
        let made = self.graph.operators().iter().find(|operator| operator.operation == Operation::Products);
        let Some([query, key, value]) = made.map(|operator| operator.writes.as_slice()) else {
            return Err(nothing("attention without queries, keys and values"));
        };
        let new = NewTokens {
            query: self.operand(Some(query))?,
            key: self.operand(Some(key))?,
            value: self.operand(Some(value))?,
            squares: self.squares,
        };
        Ok(([*query, *key, *value], new))
    }

    fn keep(&mut self, ids: &[TensorId; 3], new: NewTokens) {
        self.at.extend(ids.iter().copied().zip([new.query, new.key, new.value]));
        self.squares = new.squares;
    }

    fn append(&mut self, name: &'static str) -> Result<(), LowerError> {
        let grouped = self.grouped()?;
        let request = self.writer.request;
        let lies = grouped_lies(request, grouped);
        let (ids, new) = self.new_tokens()?;
        let (mut nodes, new) = self.writer.to_groups(lies, new);
        self.keep(&ids, new);
        let cache = match request.scope {
            Scope::Measured => self.writer.resting_cache(lies, request.context),
            Scope::Model => {
                let (append, cache) = self.writer.append(lies, new, request.position());
                nodes.extend(append);
                cache
            }
        };
        if !nodes.is_empty() {
            self.writer.program.push(name, nodes);
        }
        self.attending = Some(Attending {
            lies,
            cache,
            tokens: request.tokens,
            consecutive: request.consecutive(),
            context: request.context,
            sinks: grouped.sinks,
            accumulators_in_place: self.graph.accumulators_in_place,
        });
        Ok(())
    }

    fn output(&mut self, index: usize) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let (attending, Some(Made { result, .. })) = (self.attending()?, self.result) else {
            return Err(nothing("an output projection without attention"));
        };
        let request = self.writer.request;
        let field = table("projected", request.tokens, request.hidden, Axis::Y, self.writer.region());
        let output = self.writer.declare("attention.projected", vec![field]);
        let Some((role, bias)) = roles(self.graph, operator).first().copied() else {
            return Err(nothing("an output projection without a matrix"));
        };
        let product = Product::plain(&self.writer, role, result, first(output)).with_bias(bias, Axis::X);
        let product = Product { inputs: attending.lies.projected(request.tokens), ..product };
        let mut body = self.writer.product(product, self.graph.accumulators_in_place);
        body.extend(self.writer.reduce(operator.name, LineKind::X, Lines::Whole(Axis::X), output));
        if let Some(id) = operator.writes.first() {
            self.at.insert(*id, first(output));
        }
        self.open = Some(Open { name: operator.name, body });
        Ok(())
    }

    /// The network that an operator belongs to.
    fn network(&self, kind: NetworkKind, x: Operand, index: usize) -> Result<Network, LowerError> {
        let operator = &self.graph.operators()[index];
        let request = self.writer.request;
        let tokens = request.tokens;
        let layer = &request.layer.feed_forward;
        let rows = wafersim_program::Dimension::whole(tokens);
        let dense = ExpertLoad { pairs: tokens, distinct: 1, busiest: tokens };
        let (width, roles_of, load, chosen) = match (kind, layer) {
            (NetworkKind::Dense, FeedForward::Dense { width, .. }) => {
                (*width, [Role::Gate, Role::Up, Role::Down], dense, None)
            }
            (NetworkKind::Shared, FeedForward::Moe(moe)) => {
                (moe.shared_width, [Role::SharedGate, Role::SharedUp, Role::SharedDown], dense, None)
            }
            (NetworkKind::Experts, FeedForward::Moe(moe)) => {
                let Some(choice) = self.choice else { return Err(nothing("experts that nobody has chosen")) };
                let pairs = all_pairs(tokens, moe.top_k);
                let roles_of = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown];
                (moe.width, roles_of, self.writer.expert_load(moe.top_k), Some((choice, pairs)))
            }
            _ => return Err(nothing("a network that the layer does not have")),
        };
        let bias = roles(self.graph, operator).first().is_some_and(|(_, bias)| *bias);
        Ok(Network { roles: roles_of, bias, width, hidden: request.hidden, x, chosen, load, rows })
    }
}

/// An operator that the writer has no words for, or not in this place.
pub(crate) fn nothing(part: &'static str) -> LowerError {
    LowerError::Unknown { what: "a program".into(), part, allowed: "the layers of limits.md" }
}

pub(crate) fn grouped_lies(request: &LayerRequest<'_>, grouped: &GroupedAttention) -> KvLies {
    let sizes = HeadSizes {
        kv_heads: grouped.kv_heads,
        group: grouped.heads / grouped.kv_heads.max(1),
        key_dim: grouped.head_dim,
        value_dim: grouped.head_dim,
        rotary: grouped.rotary_dim,
        reach: grouped.reach,
    };
    let lies = KvLies::new(&request.mapping.kv, sizes, request.mapping.region.rows);
    KvLies { users: request.users.max(1), ..lies }
}

pub(crate) fn check_columns(lies: &KvLies, columns: u64) -> Result<(), LowerError> {
    let wanted = lies.blocks.saturating_mul(lies.pitch());
    if wanted > columns {
        return Err(LowerError::KvColumns { wanted, blocks: lies.blocks, columns });
    }
    Ok(())
}
