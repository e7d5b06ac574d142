//! The walk over a layer's operators. What an operator leaves for those after it is kept by tensor.

mod feed_forward;
mod heads;
mod indexer;
mod latent;
mod own;

pub(crate) use own::KEY_VALUE;

use std::collections::{BTreeMap, BTreeSet};

use wafersim_graph::layer::{LayerOperation, NetworkKind, TensorId};
use wafersim_graph::{LayerGraph, LayerGraphs, LayerLoad};
use wafersim_mapping::LineKind;
use wafersim_program::{Action, Axis, Field, Formula, GainName, Node, Operand, Order, Program, Step};
use wafersim_spec::model::{Attention, GroupedAttention, HeadValues, LatentAttention, Reach, Role};

use crate::attention::{Attending, Made, Queries, Relative, Scored, Softmax};
use crate::clustered::Clusters;
use crate::lies::{Contents, HeadSizes, KvLies};
use crate::linear::{Remembering, StateLies};
use crate::network::GateUp;
use crate::norm::{Beside, NormOf, Riding};
use crate::product::all_in_first;
use crate::request::{LayerRequest, LowerError};
use crate::router::{Choice, Logits};
use crate::writer::{Writer, first, table};

/// The program of a layer for a decoding micro-batch. Its inputs are the buffers `residual` and `kv.before`, its
/// outputs `residual` and `kv.cache`.
///
/// # Errors
/// Where the mapping does not fit the layer, or decides what the writer does not know.
pub fn decode_layer(request: &LayerRequest<'_>) -> Result<Program, LowerError> {
    decode_layer_with(request, &mut LayerGraphs::default())
}

/// The same where layers are written again and again: the graphs of one layer under each set of rewrites are kept. Or
/// where rewrites come from outside ([`LayerGraphs::with_own`]).
///
/// # Errors
/// As [`decode_layer`], and where a rewrite from outside refuses.
pub fn decode_layer_with(request: &LayerRequest<'_>, graphs: &mut LayerGraphs) -> Result<Program, LowerError> {
    let load = LayerLoad { tokens: request.tokens, context: request.context };
    request.check()?;
    let graph = graphs.of(request.layer, request.hidden, load, request.mapping.rewrites)?;
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
    if graph.conversion_in_strips {
        crate::strips::cut(&mut program, crate::strips::OF_LAYERS);
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
    /// One whose sum travels beside the choice of experts.
    beside: Option<Beside>,
    /// The norm of new latents, where it rides with the product that makes queries.
    latent_riding: Option<Riding>,
    attending: Option<Attending>,
    scored: Option<Scored>,
    /// Which places of the chosen tokens' cache hold one.
    filled: Option<Operand>,
    /// What is left of a softmax relative to the maxima of single rows.
    relative: Option<Relative>,
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
    gain: GainName,
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
            beside: None,
            latent_riding: None,
            attending: None,
            scored: None,
            filled: None,
            relative: None,
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
        if !matches!(operator.operation, LayerOperation::Residual | LayerOperation::Choose(_)) {
            self.close();
        }
        self.settle(index);
        match &operator.operation {
            LayerOperation::Norm { riding } => match name {
                "attention.query_norm" if *riding => self.query_norm(name, reads)?,
                "attention.query_norm" | "attention.latent_norm" => self.latent_norm(name, *riding, reads)?,
                _ => self.norm(name, *riding, reads, writes)?,
            },
            LayerOperation::Products if self.latent().is_ok() => self.latent_products(index)?,
            LayerOperation::Products if name == "attention.query_up" => self.query_up(index)?,
            LayerOperation::ValueOfKey => self.value_of_key(name, reads, writes)?,
            LayerOperation::Products => self.products(index)?,
            LayerOperation::HeadNorm { riding } => self.head_norm(name, *riding, reads)?,
            LayerOperation::Rope { rotary } => {
                let nodes = writes
                    .iter()
                    .map(|id| self.operand(Some(id)).map(|x| self.writer.rope(graph, x, *rotary)))
                    .collect::<Result<Vec<_>, _>>()?;
                // Queries and keys that lie interleaved are rotated by the same operations.
                let nodes = if graph.interleaved_products { all_in_first(nodes) } else { nodes };
                self.writer.program.push(name, nodes);
            }
            LayerOperation::Append if self.latent().is_ok() => self.latent_append(name, reads)?,
            LayerOperation::Append => self.append(name)?,
            LayerOperation::Scores { .. } => {
                let query = self.operand(reads.first())?;
                let attending = self.attending()?;
                let divided = graph.operators().iter().any(|other| match &other.operation {
                    LayerOperation::Softmax(form) => form.divided,
                    _ => false,
                });
                // What queries of heads read third are sums of squares that ride.
                let rotary = reads.get(2).filter(|_| self.latent().is_ok());
                let rotary = rotary.map(|rotary| self.operand(Some(rotary))).transpose()?;
                let queries = Queries { query, rotary, squares: self.squares };
                let (mut nodes, scored) = self.writer.scores(&attending, queries, divided);
                nodes.extend(self.filled.map(|filled| self.writer.mask(scored.scores, filled)));
                self.scored = Some(scored);
                self.writer.push_with_route_changes(name, nodes);
            }
            LayerOperation::HeadScale => {
                let (attending, scored) = (self.attending()?, self.scored()?);
                let nodes = self.writer.head_scale(&attending, &scored);
                self.scored = Some(Scored { scaled: true, ..scored });
                self.writer.program.push(name, nodes);
            }
            LayerOperation::Softmax(form) => {
                let (attending, scored) = (self.attending()?, self.scored()?);
                let made = self.writer.result_buffer(&attending, form.sum_rides);
                self.result = Some(made);
                let Softmax { nodes, scored, relative } = self.writer.softmax(&attending, scored, *form, made);
                (self.scored, self.relative) = (Some(scored), relative);
                self.writer.program.push(name, nodes);
            }
            LayerOperation::Values { .. } => {
                let (attending, scored) = (self.attending()?, self.scored()?);
                let Some(made) = self.result else { return Err(nothing("attention without a softmax")) };
                let nodes = self.writer.values(&attending, scored, made, self.relative.take());
                self.mixed = Some((made.result, attending.lies.projected(attending.tokens)));
                self.writer.program.push(name, nodes);
                let nodes = self.writer.forget(attending.lies, attending.cache);
                if !nodes.is_empty() {
                    self.writer.program.push("attention.kv_forget", nodes);
                }
            }
            LayerOperation::Output { .. } => self.output(index)?,
            LayerOperation::Residual => {
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
            LayerOperation::PerHead => self.per_head(name, reads, writes)?,
            LayerOperation::OutputGate => {
                let gate = self.operand(reads.get(1))?;
                let Some((result, field)) = self.mixed.take() else { return Err(nothing("a gate without attention")) };
                let (node, mixed) = if self.grouped()?.head_gate {
                    (self.writer.head_gate(result, gate), (result, field))
                } else {
                    let (node, gated) = self.writer.output_gate(result, gate);
                    (node, (gated, self.writer.field(gated)))
                };
                self.mixed = Some(mixed);
                self.writer.program.push(name, vec![node]);
            }
            LayerOperation::IndexNorm => self.index_norm(name, reads)?,
            LayerOperation::IndexScores => self.index_scores(name, reads, writes)?,
            LayerOperation::Select { top_k } => self.select(name, *top_k, reads)?,
            LayerOperation::Convolution => {
                let (nodes, of) = self.writer.convolution(self.remembering()?);
                self.remembering = Some(of);
                self.writer.program.push(name, nodes);
            }
            LayerOperation::StateGates => {
                let node = self.writer.state_gates(self.remembering()?);
                self.writer.program.push(name, vec![node]);
            }
            LayerOperation::UnitNorm { riding } => {
                let (nodes, of) = self.writer.unit_norm(self.remembering()?, *riding);
                self.remembering = Some(of);
                if !nodes.is_empty() {
                    self.writer.program.push(name, nodes);
                }
            }
            LayerOperation::DeltaRule { single_read } => {
                let (nodes, result) = self.writer.delta_rule(self.remembering()?, *single_read);
                self.mixed = Some((result, self.writer.field(result)));
                self.writer.push_with_route_changes(name, nodes);
            }
            LayerOperation::GatedNorm => {
                let Some((result, _)) = self.mixed else { return Err(nothing("a norm without attention")) };
                let nodes = self.writer.gated_norm(self.remembering()?, result);
                self.writer.program.push(name, nodes);
            }
            LayerOperation::Router { early } => self.router(name, *early, reads)?,
            LayerOperation::Choose(form) => self.choose(*form, reads)?,
            LayerOperation::GateUp { network, shared_beside, .. } => self.gate_up(index, *network, *shared_beside)?,
            LayerOperation::Activation { network } => self.activation(name, *network)?,
            LayerOperation::Down { network, shared_beside, .. } => self.down(index, *network, *shared_beside)?,
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

    fn norm(
        &mut self,
        name: &'static str,
        riding: bool,
        reads: &[TensorId],
        writes: &[TensorId],
    ) -> Result<(), LowerError> {
        let x = self.operand(reads.first())?;
        let gain = reads.get(1).and_then(|id| self.graph.tensor(*id)).and_then(|tensor| match tensor.kind {
            wafersim_graph::layer::TensorKind::Vector { role, copy } => Some(GainName { role, copy }),
            _ => None,
        });
        let gain = gain.unwrap_or(GainName::first(Role::AttentionNorm));
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
        contents: Contents::Latents { rotary: latent.rope_dim, index: latent.index_width() },
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
        value_dim: grouped.value_dim(),
        contents: Contents::Heads { rotary: grouped.rotary_dim, shared: grouped.values == HeadValues::OfKeys },
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
