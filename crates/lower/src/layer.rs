//! The walk over a layer's operators. What an operator leaves for those after it is kept by tensor.

mod latent;
mod own;

pub(crate) use own::KEY_VALUE;

use std::collections::{BTreeMap, BTreeSet};

use wafersim_graph::layer::{ChoiceForm, NetworkKind, Operation, TensorId};
use wafersim_graph::{LayerGraph, LayerGraphs, LayerLoad};
use wafersim_mapping::LineKind;
use wafersim_program::{
    Action, Axis, BufferId, Dimension, Field, Formula, Node, Operand, Order, Program, Rescaled, Step,
};
use wafersim_spec::model::{Attention, FeedForward, Gating, GroupedAttention, LatentAttention, Moe, Reach, Role};

use crate::attention::{Attending, Made, Queries, Scored};
use crate::cache::NewTokens;
use crate::clustered::Clusters;
use crate::lies::{Contents, HeadSizes, KvLies};
use crate::linear::{Remembering, StateLies};
use crate::network::{GateUp, Network, NetworkForm, Waiting, all_pairs};
use crate::norm::{NormOf, Riding, riding_sums};
use crate::product::{Product, interleave};
use crate::request::{LayerRequest, LowerError, Scope};
use crate::router::{Choice, ChoiceOf, Logits, can_wait, check_selection};
use crate::writer::{Lines, Writer, first, roles, table};

/// The program of a layer for a decoding micro-batch. Its inputs are the buffers `residual` and `kv.before`, its
/// outputs `residual` and `kv.cache`.
///
/// # Errors
/// Where the mapping does not fit the layer, or decides what the writer does not know.
pub fn decode_layer(request: &LayerRequest<'_>) -> Result<Program, LowerError> {
    decode_layer_with(request, &mut LayerGraphs::default())
}

/// The same where layers are written again and again: the graphs of one layer under each set of rewrites are kept.
///
/// # Errors
/// As [`decode_layer`].
pub fn decode_layer_with(request: &LayerRequest<'_>, graphs: &mut LayerGraphs) -> Result<Program, LowerError> {
    let load = LayerLoad { tokens: request.tokens, context: request.context };
    request.check()?;
    let graph = graphs.of(request.layer, request.hidden, load, request.mapping.rewrites);
    let mut walk = Walk::new(request, graph)?;
    for index in 0..graph.operators().len() {
        walk.operator(index)?;
    }
    if let Some(refused) = walk.writer.refused {
        return Err(refused);
    }
    let mut program = walk.writer.program;
    if request.mapping.overlap.independent {
        program.order = Order::Own;
    }
    if walk.choice_beside {
        crate::overlap::hide_choice(&mut program);
    }
    if request.mapping.overlap.conversion {
        crate::overlap::hide_conversions(&mut program);
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
    /// The norm of new latents, where it rides with the product that makes queries.
    latent_riding: Option<Riding>,
    attending: Option<Attending>,
    scored: Option<Scored>,
    result: Option<Made>,
    /// What the output projection reads, and which elements of it a place multiplies.
    mixed: Option<(Operand, Field)>,
    /// Linear attention on its way.
    remembering: Option<Remembering>,
    /// Sums of squares of queries and keys, where the norms of heads ride.
    squares: Option<[Operand; 2]>,
    /// Sums of squares of the last norm that did not ride.
    norm_sums: Option<Operand>,
    /// Logits of the router that were made from the stream before attention.
    early: Option<Operand>,
    logits: Option<Logits>,
    choice: Option<Choice>,
    gates: BTreeMap<NetworkKind, GateUp>,
    clusters: Option<Clusters>,
    open: Option<Open>,
    /// Whether the choice may be made while the stream is on its way.
    choice_beside: bool,
    /// What lies in rectangles of parts.
    inside: Vec<own::Inside>,
    /// What parts have made in their rectangles, and nobody has wanted elsewhere yet.
    leaving: Vec<own::Leaving>,
    /// Operators that have been written before their turn.
    done: BTreeSet<usize>,
}

/// A norm in a rectangle.
struct NormInside<'a> {
    name: &'static str,
    gain: (Role, u64),
    normed_name: &'static str,
    reads: &'a [TensorId],
    writes: &'a [TensorId],
}

/// Roles of the routed experts' matrices.
pub(crate) const EXPERT_ROLES: [Role; 3] = [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown];

impl<'a> Walk<'a> {
    fn new(request: &'a LayerRequest<'a>, graph: &'a LayerGraph) -> Result<Self, LowerError> {
        let mut writer = Writer::new("decode layer", request);
        let region = writer.region();
        match &request.layer.attention {
            Attention::Grouped(grouped) => check_columns(&grouped_lies(request, grouped), region.columns)?,
            Attention::Latent(latent) => check_columns(&latent_lies(request, latent), region.columns)?,
            Attention::Linear(linear) => StateLies::new(request, linear).check(region.columns)?,
        }
        let x = writer.declare("residual", vec![table("residual", request.tokens, request.hidden, Axis::Y, region)]);
        let stream = graph.tensors().find(|(_, tensor)| tensor.name == "residual").map(|(id, _)| id);
        Ok(Self {
            writer,
            graph,
            at: stream.map(|stream| (stream, first(x))).into_iter().collect(),
            riding: None,
            latent_riding: None,
            attending: None,
            scored: None,
            result: None,
            mixed: None,
            remembering: None,
            norm_sums: None,
            early: None,
            logits: None,
            squares: None,
            choice: None,
            gates: BTreeMap::new(),
            clusters: None,
            open: None,
            choice_beside: false,
            inside: Vec::new(),
            leaving: Vec::new(),
            done: BTreeSet::new(),
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
        if self.done.contains(&index) {
            return Ok(());
        }
        let graph = self.graph;
        let operator = &graph.operators()[index];
        let (name, reads, writes) = (operator.name, &operator.reads, &operator.writes);
        if !matches!(operator.operation, Operation::Residual | Operation::Choose(_)) {
            self.close();
        }
        self.settle(index);
        match &operator.operation {
            Operation::Norm { riding } => match name {
                "attention.query_norm" if *riding => self.query_norm(name, reads)?,
                "attention.query_norm" | "attention.latent_norm" => self.latent_norm(name, *riding, reads)?,
                _ => self.norm(name, *riding, reads, writes)?,
            },
            Operation::Products if self.latent().is_ok() => self.latent_products(index)?,
            Operation::Products => self.products(index)?,
            Operation::HeadNorm { riding } => self.head_norm(name, *riding, reads)?,
            Operation::Rope { rotary } => {
                let nodes = writes
                    .iter()
                    .map(|id| self.operand(Some(id)).map(|x| self.writer.rope(graph, x, *rotary)))
                    .collect::<Result<Vec<_>, _>>()?;
                self.writer.program.push(name, nodes);
            }
            Operation::Append if self.latent().is_ok() => self.latent_append(name, reads)?,
            Operation::Append => self.append(name)?,
            Operation::Scores { .. } => {
                let query = self.operand(reads.first())?;
                let attending = self.attending()?;
                let divided = graph.operators().iter().any(|other| match &other.operation {
                    Operation::Softmax(form) => form.divided,
                    _ => false,
                });
                // What queries of heads read third are sums of squares that ride.
                let rotary = reads.get(2).filter(|_| self.latent().is_ok());
                let rotary = rotary.map(|rotary| self.operand(Some(rotary))).transpose()?;
                let queries = Queries { query, rotary, squares: self.squares };
                let (nodes, scored) = self.writer.scores(&attending, queries, divided);
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
                self.mixed = Some((made.result, attending.lies.projected(attending.tokens)));
                self.writer.program.push(name, nodes);
                let nodes = self.writer.forget(attending.lies, attending.cache);
                if !nodes.is_empty() {
                    self.writer.program.push("attention.kv_forget", nodes);
                }
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
                    None => {
                        let made = graph.operators().iter().find(|made| made.writes.first() == reads.get(1));
                        self.writer.push_with_route_changes(made.map_or(name, |made| made.name), vec![sum]);
                    }
                }
            }
            Operation::PerHead => self.per_head(name, reads, writes)?,
            Operation::OutputGate => {
                let gate = self.operand(reads.get(1))?;
                let Some((result, _)) = self.mixed.take() else { return Err(nothing("a gate without attention")) };
                let (node, gated) = self.writer.output_gate(result, gate);
                self.mixed = Some((gated, self.writer.field(gated)));
                self.writer.program.push(name, vec![node]);
            }
            Operation::Convolution => {
                let (nodes, of) = self.writer.convolution(self.remembering()?);
                self.remembering = Some(of);
                self.writer.program.push(name, nodes);
            }
            Operation::StateGates => {
                let node = self.writer.state_gates(self.remembering()?);
                self.writer.program.push(name, vec![node]);
            }
            Operation::UnitNorm { riding } => {
                let (nodes, of) = self.writer.unit_norm(self.remembering()?, *riding);
                self.remembering = Some(of);
                if !nodes.is_empty() {
                    self.writer.program.push(name, nodes);
                }
            }
            Operation::DeltaRule { single_read } => {
                let (nodes, result) = self.writer.delta_rule(self.remembering()?, *single_read);
                self.mixed = Some((result, self.writer.field(result)));
                self.writer.push_with_route_changes(name, nodes);
            }
            Operation::GatedNorm => {
                let Some((result, _)) = self.mixed else { return Err(nothing("a norm without attention")) };
                let nodes = self.writer.gated_norm(self.remembering()?, result);
                self.writer.program.push(name, nodes);
            }
            Operation::Router { early } => self.router(name, *early, reads)?,
            Operation::Choose(form) => self.choose(*form, reads)?,
            Operation::GateUp { network, shared_beside, .. } => self.gate_up(index, *network, *shared_beside)?,
            Operation::Activation { network } => self.activation(name, *network)?,
            Operation::Down { network, shared_beside, .. } => self.down(index, *network, *shared_beside)?,
        }
        Ok(())
    }

    /// Appends the operator that was waiting for what belongs to it.
    fn close(&mut self) {
        if let Some(Open { name, body }) = self.open.take() {
            // Only those change their routes who work on it.
            let at = self.own(name).unwrap_or(self.writer.region());
            let nodes = self.writer.within(at, |writer| writer.between_route_changes(body));
            self.writer.program.push(name, nodes);
        }
    }

    fn attending(&self) -> Result<Attending, LowerError> {
        self.attending.ok_or_else(|| nothing("attention without a cache"))
    }

    fn remembering(&self) -> Result<Remembering, LowerError> {
        self.remembering.ok_or_else(|| nothing("linear attention without queries, keys and values"))
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
        if let Some(rectangle) = self.own(name) {
            return self.norm_inside(rectangle, NormInside { name, gain, normed_name, reads, writes });
        }
        let riding = riding && self.may_ride(name, writes.first());
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
            let nodes = self.writer.norm(norm);
            self.norm_sums = sums_of(&nodes);
            nodes
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
            Attention::Linear(_) => Err(nothing("linear attention")),
        }
    }

    /// Products of one input whose sums one reduction carries: q, k and v.
    fn products(&mut self, index: usize) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let beside = self.own(KEY_VALUE);
        if let Some(rectangle) = beside {
            self.products_inside(index, KEY_VALUE, rectangle, 1..3)?;
        }
        if let Some(rectangle) = self.own(operator.name) {
            self.products_inside(index, operator.name, rectangle, 0..if beside.is_some() { 1 } else { 3 })?;
            return if beside.is_some() { self.joined(index) } else { Ok(()) };
        }
        let x = self.operand(operator.reads.first())?;
        let riding = self.riding.take();
        let all = operator.writes.len() - usize::from(self.early_logits(&operator.writes).is_some());
        let heads = if beside.is_some() { 1 } else { all };
        let mut fields = self.head_fields(&operator.writes[..heads])?;
        let count = fields.len();
        fields.extend(riding.map(|_| riding_sums(self.writer.request.tokens)));
        let early = Operand::new(BufferId(0), fields.len() as u32);
        fields.extend(self.early_logits(&operator.writes));
        let made = self.writer.declare(operator.name, fields);
        let sums = Operand::new(made, count as u32);
        let mut nodes = self.writer.ride(riding, sums);
        if self.early_logits(&operator.writes).is_some() {
            let early = Operand { buffer: made, ..early };
            let stream = self.operand(operator.reads.get(operator.reads.len() - 2))?;
            nodes.extend(self.writer.logits_of_stream(stream, early, self.graph.accumulators_in_place));
            self.early = Some(early);
        }
        let operands: Vec<Operand> = (0..count as u32).map(|field| Operand::new(made, field)).collect();
        // A bias is not normed: where a norm rides, it comes after that.
        let mut scaled = Vec::new();
        let mut products = Vec::new();
        for ((role, bias), y) in roles(self.graph, operator).into_iter().zip(&operands) {
            let product = Product::plain(&self.writer, role, x, *y).with_bias(bias && riding.is_none(), Axis::Y);
            scaled.push(Rescaled { operand: *y, bias: bias.then_some(role) });
            products.extend(self.writer.product(product, self.graph.accumulators_in_place));
        }
        nodes.extend(if self.graph.interleaved_products { interleave(products) } else { products });
        nodes.extend(self.writer.reduce(operator.name, LineKind::Y, Lines::Whole(Axis::Y), made));
        nodes.extend(self.writer.scale(riding, sums, scaled));
        for (id, operand) in operator.writes.iter().zip(&operands) {
            self.at.insert(*id, *operand);
        }
        if let (Attention::Linear(linear), [query, key, value, gate, strength, decay]) =
            (&self.writer.request.layer.attention, operands.as_slice())
        {
            let lies = StateLies::new(self.writer.request, linear);
            let [query, key, value, gate, strength, decay] = [*query, *key, *value, *gate, *strength, *decay];
            self.remembering = Some(Remembering { lies, query, key, value, gate, strength, decay });
        }
        self.writer.program.push(operator.name, nodes);
        if beside.is_some() { self.joined(index) } else { Ok(()) }
    }

    /// The field of the router's logits that are made beside some tensors, where they are among them.
    fn early_logits(&self, made: &[TensorId]) -> Option<Field> {
        let experts = self.moe().ok()?.experts;
        let is_early = self.graph.of(made).any(|tensor| tensor.name == "router.early_scores");
        let writer = &self.writer;
        is_early.then(|| table("scores", writer.request.tokens, experts, Axis::X, writer.region()))
    }

    /// Where q, k and v are made: where their keys and values lie.
    fn head_fields(&self, made: &[TensorId]) -> Result<Vec<Field>, LowerError> {
        let request = self.writer.request;
        if let Attention::Linear(linear) = &request.layer.attention {
            let lies = StateLies::new(request, linear);
            return Ok(self.graph.of(made).map(|tensor| lies.made(tensor.name, request.tokens)).collect());
        }
        let lies = grouped_lies(request, self.grouped()?);
        let field = |name: &str| match name {
            "attention.query" => lies.made(lies.query(request.tokens)),
            "attention.key" => lies.made(lies.new_keys(request.tokens)),
            "attention.output_gate" => Field { name: "gate".into(), ..lies.projected(request.tokens) },
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
        let Some([query, key, value, ..]) = made.map(|operator| operator.writes.as_slice()) else {
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
        let (mut nodes, new) = self.writer.spread_to_groups(lies, new);
        self.keep(&ids, new);
        let cache = match request.scope {
            Scope::Measured => self.writer.resting_cache(lies, request.context),
            Scope::Model => {
                let (append, cache) = self.writer.append(lies, [new.key, new.value], request.position());
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
            score_width: grouped.head_dim,
            accumulators_in_place: self.graph.accumulators_in_place,
        });
        Ok(())
    }

    fn output(&mut self, index: usize) -> Result<(), LowerError> {
        let operator = &self.graph.operators()[index];
        let Some((result, inputs)) = self.mixed.take() else {
            return Err(nothing("an output projection without attention"));
        };
        let request = self.writer.request;
        let whole = self.writer.region();
        let mut fields = vec![table("projected", request.tokens, request.hidden, Axis::Y, whole)];
        // Logits that are made beside end along y, like the stream.
        let early = self.early.take().map(|early| (early, self.moe()));
        if let Some((_, Ok(moe))) = &early {
            fields.push(table("scores", request.tokens, moe.experts, Axis::Y, whole));
        }
        let output = self.writer.declare("attention.projected", fields);
        let Some((role, bias)) = roles(self.graph, operator).first().copied() else {
            return Err(nothing("an output projection without a matrix"));
        };
        let mut body = Vec::new();
        let (result, inputs) = match self.latent() {
            Ok(latent) => {
                let (nodes, turned) = self.writer.turned_result(self.attending()?.lies, latent, result);
                body.push(nodes);
                (turned, self.writer.field(turned))
            }
            Err(_) => (result, inputs),
        };
        let product = Product::plain(&self.writer, role, result, first(output)).with_bias(bias, Axis::X);
        let in_place = self.graph.accumulators_in_place;
        body.extend(self.writer.product(Product { inputs: inputs.clone(), ..product }, in_place));
        if let Some((early, _)) = early {
            let logits = Operand::new(output, 1);
            let added = (early, logits);
            body.extend(self.writer.logits_of_attention((result, inputs), added, (bias, in_place)));
            self.logits = Some(Logits { at: logits, axis: Axis::Y, line: None, scale: None });
        }
        body.extend(self.writer.reduce(operator.name, LineKind::X, Lines::Whole(Axis::X), output));
        if let Some(id) = operator.writes.first() {
            self.at.insert(*id, first(output));
        }
        self.open = Some(Open { name: operator.name, body });
        Ok(())
    }

    fn choice_form(&self) -> ChoiceForm {
        let forms = self.graph.operators().iter().filter_map(|operator| match &operator.operation {
            Operation::Choose(form) => Some(*form),
            _ => None,
        });
        forms.into_iter().next().unwrap_or(ChoiceForm { single_pass: false, single_choice: false })
    }

    /// Whether the routed experts lie in rectangles.
    fn in_rectangles(&self, network: NetworkKind) -> bool {
        let experts = self.writer.mapping().experts.as_ref();
        network == NetworkKind::Experts && experts.is_some_and(|experts| !experts.is_spread())
    }

    /// Logits of all experts. Where they were made beside attention, they are left unscaled if the norm's sum can ride
    /// on.
    fn router(&mut self, name: &'static str, early: bool, reads: &[TensorId]) -> Result<(), LowerError> {
        let moe = self.moe()?;
        check_selection(&moe.selection)?;
        self.shared_first()?;
        let form = self.choice_form();
        let mut body = Vec::new();
        if early {
            let (Some(logits), x) = (self.logits, self.operand(reads.get(1))?) else {
                return Err(nothing("a router whose logits nobody has made"));
            };
            let rides_on = can_wait(moe) && !self.in_rectangles(NetworkKind::Experts);
            let riding = if rides_on { None } else { self.riding.take() };
            if self.riding.is_none() {
                body.extend(self.writer.scale_early(moe, logits.at, (x, riding), self.norm_sums));
            }
            // Where nothing is added to the logits, their sums are complete in the line of the roots before all others
            // have them.
            let root = crate::overlap::last_root(&self.writer.program, Axis::X);
            let root = root.filter(|_| self.graph.choice_beside_stream && body.is_empty());
            self.choice_beside = root.is_some() && form.single_choice;
            let line = form.single_choice.then(|| root.unwrap_or(self.writer.region().columns / 2));
            self.logits = Some(Logits { line, ..logits });
        } else if let Some(rectangle) = self.own(name) {
            let x = self.inside(reads.first(), rectangle, &mut body)?;
            let how = (self.graph.accumulators_in_place, form.single_choice);
            let (nodes, logits) = self.writer.within(rectangle, |writer| writer.router(moe, x, None, how));
            body.extend(nodes);
            self.logits = Some(logits);
        } else {
            let x = self.operand(reads.first())?;
            let riding = self.riding.take();
            let how = (self.graph.accumulators_in_place, form.single_choice);
            let (nodes, logits) = self.writer.router(moe, x, riding, how);
            body.extend(nodes);
            self.logits = Some(logits);
        }
        // The choice belongs to the same operator of the breakdown.
        self.open = Some(Open { name, body });
        Ok(())
    }

    fn choose(&mut self, form: ChoiceForm, reads: &[TensorId]) -> Result<(), LowerError> {
        let moe = self.moe()?;
        let Some(logits) = self.logits else { return Err(nothing("a choice without logits")) };
        let router = self.graph.operator("router");
        let x = router.and_then(|router| router.reads.iter().find(|id| !reads.contains(id)));
        let x = self.operand(x)?;
        let waits = self.riding.is_some();
        let made = self.own("router").unwrap_or(self.writer.region());
        let known = self.choice_known(made);
        let (nodes, choice) =
            self.writer.within(made, |writer| writer.choose(moe, logits, ChoiceOf { form, waits, known }, x));
        self.choice = Some(choice);
        if let Some(open) = &mut self.open {
            open.body.extend(nodes);
        }
        self.close();
        Ok(())
    }

    /// A network over the whole region.
    fn network(&self, kind: NetworkKind, x: Operand) -> Result<Network, LowerError> {
        let request = self.writer.request;
        let tokens = request.tokens;
        let (hidden, inputs, rows) = (request.hidden, self.writer.field(x), Dimension::whole(tokens));
        let plain = |roles: [Role; 3], width: u64, bias: bool| {
            let (chosen, gating) = (None, Gating::Silu);
            Network {
                roles,
                bias,
                width,
                hidden,
                x,
                inputs,
                chosen,
                tiles: 1,
                rows,
                gating,
                weighs_input: false,
                output_gate: None,
            }
        };
        match (kind, &request.layer.feed_forward) {
            (NetworkKind::Dense, FeedForward::Dense { width, bias }) => {
                Ok(plain([Role::Gate, Role::Up, Role::Down], *width, *bias))
            }
            (NetworkKind::Shared, FeedForward::Moe(moe)) => {
                let output_gate = moe.shared_gate.then_some(Role::SharedOutputGate);
                let shared = plain([Role::SharedGate, Role::SharedUp, Role::SharedDown], moe.shared_width, false);
                Ok(Network { output_gate, ..shared })
            }
            (NetworkKind::Experts, FeedForward::Moe(moe)) => {
                let Some(choice) = self.choice else { return Err(nothing("experts that nobody has chosen")) };
                Ok(Network {
                    chosen: Some((choice, all_pairs(tokens, moe.top_k))),
                    tiles: self.writer.expert_load().distinct,
                    gating: moe.gating,
                    weighs_input: moe.selection.weighs_input,
                    ..plain(EXPERT_ROLES, moe.width, moe.expert_bias)
                })
            }
            _ => Err(nothing("a network that the layer does not have")),
        }
    }

    fn gate_up(&mut self, index: usize, kind: NetworkKind, shared_beside: bool) -> Result<(), LowerError> {
        if let Some(rectangle) = self.own_network(kind) {
            return self.gate_up_inside(index, kind, rectangle);
        }
        let operator = &self.graph.operators()[index];
        let form = self.form(index);
        let x = self.operand(operator.reads.first())?;
        let mut kinds = vec![kind];
        if self.in_rectangles(kind) {
            let Some(choice) = self.choice else { return Err(nothing("experts that nobody has chosen")) };
            let (nodes, mut clusters) = self.writer.dispatch(self.moe()?, x, choice)?;
            self.writer.program.push("experts.dispatch", nodes);
            self.writer.experts_in_cells(&mut clusters, form);
            self.writer.program.push(operator.name, clusters.part(0));
            self.clusters = Some(clusters);
            kinds.clear();
        }
        if shared_beside {
            kinds.push(NetworkKind::Shared);
        }
        if kinds.is_empty() {
            return Ok(());
        }
        let networks = kinds.iter().map(|kind| self.network(*kind, x)).collect::<Result<Vec<_>, _>>()?;
        let later = self.graph.operators()[index + 1..].iter();
        let read_later = operator.reads.first().is_some_and(|id| later.clone().any(|other| other.reads.contains(id)));
        let waiting = match (self.choice, self.moe()) {
            (Some(choice), Ok(moe)) if choice.waits => Some((choice, moe)),
            _ => None,
        };
        let waiting = self.riding.take().map(|riding| Waiting { riding, x: read_later.then_some(x), choice: waiting });
        let name = if kinds == [NetworkKind::Shared] { "shared_expert.gate_up" } else { operator.name };
        let (nodes, made) = self.writer.gate_up(name, &networks, form, waiting);
        self.gates.extend(kinds.into_iter().zip(made));
        self.writer.program.push(name, nodes);
        Ok(())
    }

    fn form(&self, index: usize) -> NetworkForm {
        let in_place = self.graph.accumulators_in_place;
        match &self.graph.operators()[index].operation {
            Operation::GateUp { interleaved, concatenated, .. } => {
                NetworkForm { interleaved: *interleaved, concatenated: *concatenated, accumulators_in_place: in_place }
            }
            Operation::Down { concatenated, .. } => {
                NetworkForm { interleaved: false, concatenated: *concatenated, accumulators_in_place: in_place }
            }
            _ => NetworkForm { accumulators_in_place: in_place, ..NetworkForm::default() },
        }
    }

    fn gate(&self, kind: NetworkKind) -> Result<GateUp, LowerError> {
        self.gates.get(&kind).copied().ok_or_else(|| nothing("a network without a gate"))
    }

    fn activation(&mut self, name: &'static str, kind: NetworkKind) -> Result<(), LowerError> {
        let in_rectangles = self.in_rectangles(kind);
        let nodes = match &mut self.clusters {
            Some(clusters) if in_rectangles => clusters.part(1),
            _ => {
                let made = self.gate(kind)?;
                let network = self.network(kind, made.gate)?;
                let at = self.own_network(kind).unwrap_or(self.writer.region());
                let divided = self.graph.divided_activation;
                let (nodes, inner) = self.writer.within(at, |writer| {
                    let sharing = writer.activation_sharing(made).filter(|_| divided);
                    let (mut nodes, inner) = match sharing {
                        Some(rows) => writer.divided_activation(&network, made, rows),
                        None => (vec![writer.gated_activation(&network, made)], made.gate),
                    };
                    nodes.extend(writer.gate_of_output(GateUp { gate: inner, ..made }));
                    (nodes, inner)
                });
                self.gates.insert(kind, GateUp { gate: inner, ..made });
                nodes
            }
        };
        self.writer.program.push(name, nodes);
        Ok(())
    }

    fn down(&mut self, index: usize, kind: NetworkKind, shared_beside: bool) -> Result<(), LowerError> {
        if let Some(rectangle) = self.own_network(kind) {
            return self.down_inside(index, kind, rectangle);
        }
        let operator = &self.graph.operators()[index];
        let form = self.form(index);
        let clusters = self.clusters.take().filter(|_| self.in_rectangles(kind));
        let mut kinds = if clusters.is_some() { Vec::new() } else { vec![kind] };
        if shared_beside {
            kinds.push(NetworkKind::Shared);
        }
        let of_kind = |kind: &NetworkKind| {
            let inner = self.gate(*kind)?.gate;
            Ok::<_, LowerError>((self.network(*kind, inner)?, inner))
        };
        let networks = kinds.iter().map(of_kind).collect::<Result<Vec<_>, _>>()?;
        let (name, body, output) = match clusters {
            None => {
                let (nodes, output) = self.writer.down(operator.name, &networks, form);
                (operator.name, nodes, output)
            }
            Some(mut clusters) => {
                self.writer.program.push(operator.name, clusters.part(2));
                let mut also = None;
                if !networks.is_empty() {
                    let (nodes, partial) = self.writer.partial_down(&networks, form);
                    self.writer.program.push("shared_expert.down", nodes);
                    also = Some(partial);
                }
                let (nodes, output) = self.writer.combine(&clusters, also);
                ("experts.combine", nodes, output)
            }
        };
        if let Some(id) = operator.writes.first() {
            self.at.insert(*id, first(output));
        }
        self.open = Some(Open { name, body });
        Ok(())
    }
}

/// The sums of squares that a norm's last step scales by.
fn sums_of(nodes: &[Node]) -> Option<Operand> {
    match nodes.last() {
        Some(Node::Step(Step { action: Action::Compute(compute), .. })) => match &compute.formula {
            Some(Formula::RmsScale { sums, .. }) => Some(*sums),
            _ => None,
        },
        _ => None,
    }
}

/// An operator that the writer has no words for, or not in this place.
pub(crate) fn nothing(part: &'static str) -> LowerError {
    LowerError::Unknown { what: "a program".into(), part, allowed: "the layers of limits.md" }
}

/// A latent is what keys and values are made of for all heads: one KV head.
pub(crate) fn latent_lies(request: &LayerRequest<'_>, latent: &LatentAttention) -> KvLies {
    let sizes = HeadSizes {
        kv_heads: 1,
        group: latent.heads,
        key_dim: latent.kv_rank,
        value_dim: latent.kv_rank,
        contents: Contents::Latents { rotary: latent.rope_dim },
        reach: Reach::Full,
    };
    let lies = KvLies::new(&request.mapping.kv, sizes, request.mapping.region.rows);
    KvLies { users: request.users.max(1), ..lies }
}

pub(crate) fn grouped_lies(request: &LayerRequest<'_>, grouped: &GroupedAttention) -> KvLies {
    let sizes = HeadSizes {
        kv_heads: grouped.kv_heads,
        group: grouped.heads / grouped.kv_heads.max(1),
        key_dim: grouped.head_dim,
        value_dim: grouped.head_dim,
        contents: Contents::Heads { rotary: grouped.rotary_dim },
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
