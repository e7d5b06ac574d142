//! A layer of the whole-model graph, derived from its one description ([`LayerGraph`]): which operators there are, in
//! which order, what they read and write, and which weights. Here is only what the description leaves out because a
//! processing element does not care: that an operator over several tensors is several independent ones (q, k and v;
//! gate and up; the experts of a token), names of these, and counts.
//!
//! The tensors themselves are taken from the model's list, each once ([`Shelf`]), so that description and list are held
//! together.

use std::collections::BTreeMap;

use wafersim_spec::model::{Reach, Role, Tensor};
use wafersim_spec::{Bytes, DataType};

use super::experts::{Network, Slot};
use super::shelf::Shelf;
use super::{Builder, Tap, Weights, hold, product};
use crate::error::GraphError;
use crate::layer::{
    Dim, LayerGraph, LayerLoad, LayerOperation, LayerOperator, NetworkKind, Rewrite, Rewrites, Tensor as Described,
    TensorId, TensorKind,
};
use crate::load::Attended;
use crate::operator::{Operator, OperatorKind, Shape, elementwise};

/// A layer on its way into the graph.
pub(super) struct Walk<'b, 'm> {
    pub(super) builder: &'b mut Builder<'m>,
    graph: &'b LayerGraph,
    pub(super) shelf: Shelf,
    /// Who has made a tensor.
    at: BTreeMap<TensorId, Tap>,
    /// Bytes that a token adds to a cache.
    cached: BTreeMap<TensorId, Bytes>,
    attending: Option<Attending>,
    /// Tokens that an indexer has chosen.
    top_k: u64,
    /// The matrix of all heads that two operators read a part of each (latent attention).
    of_heads: Option<Tensor>,
    pub(super) networks: BTreeMap<NetworkKind, Network>,
}

/// What attention looks at.
#[derive(Clone, Copy)]
struct Attending {
    heads: u64,
    attended: Attended,
}

impl Builder<'_> {
    /// The operators of a layer behind its input; what it makes.
    pub(super) fn layer(
        &mut self,
        index: usize,
        layer: &wafersim_spec::model::Layer,
        stream: Tap,
    ) -> Result<Tap, GraphError> {
        self.layer = Some(index);
        let load = LayerLoad { tokens: self.load.tokens, context: self.load.context };
        // The shared expert waits for nobody, and what it makes is summed with the others'.
        let beside: Rewrites = [Rewrite::SharedExpertBeside].into_iter().collect();
        let graph = LayerGraph::new(layer, self.hidden, load).rewritten(beside);
        let shelf = Shelf::new(Some(index), layer.tensors(self.hidden));
        let id = graph.tensors().find(|(_, tensor)| tensor.kind == TensorKind::Stream).map(|(id, _)| id);
        let at = id.map(|id| (id, stream)).into_iter().collect();
        let (cached, networks) = (BTreeMap::new(), BTreeMap::new());
        let mut walk = Walk {
            builder: self,
            graph: &graph,
            shelf,
            at,
            cached,
            attending: None,
            top_k: 0,
            of_heads: None,
            networks,
        };
        for operator in graph.operators() {
            walk.operator(operator)?;
        }
        let mut made = id.and_then(|id| walk.at.get(&id)).copied().unwrap_or(stream);
        // Norms of branches that the description leaves out (Gemma 4's experts beside a dense network).
        for path in FURTHER_NORMS {
            if walk.shelf.count(Role::FeedForwardNorm) > 0 {
                let gain = walk.shelf.take(Role::FeedForwardNorm)?;
                made = walk.builder.norm(path, OperatorKind::RmsNorm, &gain, load.tokens, made);
            }
        }
        walk.shelf.finish()?;
        Ok(made)
    }
}

/// Norms of experts, of the dense network beside them, and of what the router reads.
const FURTHER_NORMS: [&str; 4] =
    ["feed_forward.dense_norm", "feed_forward.experts_norm", "feed_forward.experts_post_norm", "router.norm"];

impl<'b> Walk<'b, '_> {
    fn operator(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        match &operator.operation {
            LayerOperation::Norm { .. } => self.norm(operator),
            LayerOperation::Products | LayerOperation::Output { .. } => self.products(operator),
            LayerOperation::HeadNorm { .. } => self.head_norms(operator),
            // Nothing is computed.
            LayerOperation::ValueOfKey => {
                let key = self.tap(operator, 0)?;
                self.made(operator, key);
                Ok(())
            }
            // Its sums have been counted with the norm.
            LayerOperation::HeadScale => Ok(()),
            LayerOperation::Rope { rotary } => self.rope(operator, *rotary),
            LayerOperation::Append => self.append(operator),
            LayerOperation::Scores { reach } => {
                let graph = self.graph;
                let chosen = graph.of(&operator.reads).find(|tensor| tensor.kind == TensorKind::Choice);
                // As many as a window of that length would have.
                let reach = chosen.map_or(*reach, |_| Reach::Window(self.top_k));
                self.scores(operator, self.builder.load.attended(reach))
            }
            LayerOperation::Softmax(_) => self.softmax(operator),
            LayerOperation::Values { .. } => self.values(operator),
            LayerOperation::PerHead => self.per_head(operator),
            LayerOperation::OutputGate => {
                let result = self.tensor(operator.writes.first());
                let shape = Shape::new(product([self.tokens(), result.size(Dim::Head)]), result.size(Dim::HeadDim));
                let mut gated = self.named("attention.output_gate", OperatorKind::OutputGate, [shape; 2]);
                gated.elementwise = product([elementwise::SIGMOID_GATE, shape.elements()]);
                self.one(operator, gated)
            }
            LayerOperation::IndexNorm => {
                let shape = Shape::new(self.tokens(), last_size(self.tensor(operator.writes.first())));
                let mut norm = self.named("attention.index_norm", OperatorKind::IndexNorm, [shape; 2]);
                norm.elementwise = product([elementwise::LAYER_NORM, shape.elements()]);
                let (gain, bias) = (self.shelf.take(Role::IndexNorm)?, self.shelf.take(Role::IndexNorm)?);
                let both = Tensor { copies: gain.copies + bias.copies, active: gain.active + bias.active, ..gain };
                hold(&mut norm, Weights::whole(&both, self.builder.precision));
                self.one(operator, norm)
            }
            LayerOperation::IndexScores => self.index_scores(operator),
            LayerOperation::Select { top_k } => {
                self.top_k = *top_k;
                let attended = self.builder.load.attended(Reach::Full);
                let shapes =
                    [attended.widest, attended.widest.min(*top_k)].map(|width| Shape::new(self.tokens(), width));
                let mut chosen = self.named("attention.select", OperatorKind::IndexSelect, shapes);
                // At least one comparison each.
                chosen.elementwise = attended.pairs;
                self.one(operator, chosen)
            }
            LayerOperation::Convolution => self.convolution(operator),
            LayerOperation::StateGates => {
                let heads = self.tensor(operator.writes.first()).size(Dim::Head);
                let numbers = Shape::new(self.tokens(), heads);
                let mut gates = self.named("attention.state_gates", OperatorKind::StateGates, [numbers; 2]);
                gates.elementwise = product([elementwise::STATE_GATES, numbers.elements()]);
                self.hold_read(operator, &mut gates)?;
                self.one(operator, gates)
            }
            LayerOperation::UnitNorm { .. } => {
                let key = self.tensor(operator.writes.first());
                let rows = product([operator.writes.len() as u64, self.tokens(), key.size(Dim::KvHead)]);
                let shape = Shape::new(rows, key.size(Dim::HeadDim));
                let mut unit = self.named("attention.unit_norm", OperatorKind::UnitNorm, [shape; 2]);
                unit.elementwise = product([elementwise::UNIT_NORM, shape.elements()]);
                self.one(operator, unit)
            }
            LayerOperation::DeltaRule { .. } => self.delta_rule(operator),
            LayerOperation::GatedNorm => {
                let result = self.tensor(operator.writes.first());
                let shape = Shape::new(product([self.tokens(), result.size(Dim::Head)]), result.size(Dim::HeadDim));
                let mut norm = self.named("attention.gated_norm", OperatorKind::GatedNorm, [shape; 2]);
                let each = elementwise::RMS_NORM + elementwise::GATED_ACTIVATION;
                norm.elementwise = product([each, shape.elements()]);
                self.hold_read(operator, &mut norm)?;
                self.one(operator, norm)
            }
            LayerOperation::Residual => {
                let path = match operator.name {
                    "attention.residual" => "attention.residual",
                    _ => "feed_forward.residual",
                };
                let shape = Shape::new(self.tokens(), self.builder.hidden);
                let mut sum = self.named(path, OperatorKind::ResidualAdd, [shape; 2]);
                sum.elementwise = shape.elements();
                self.one(operator, sum)
            }
            LayerOperation::Router { .. } => {
                let (logits, source) = (self.shelf.take(Role::Router)?, self.tap(operator, 0)?);
                let weights = Weights::whole(&logits, self.builder.precision);
                let name = self.builder.name("feed_forward.router");
                let tokens = self.tokens();
                let made = self.builder.projection(name, OperatorKind::Router, &logits, weights, tokens, source);
                self.made(operator, made);
                Ok(())
            }
            LayerOperation::Choose(_) => self.choose(operator),
            LayerOperation::GateUp { network, .. } => self.gate_up(operator, *network),
            LayerOperation::Activation { network } => self.activation(*network),
            LayerOperation::Down { network, .. } => self.down(operator, *network),
        }
    }

    pub(super) const fn tokens(&self) -> u64 {
        self.builder.load.tokens
    }

    /// A tensor of the description; an empty one where there is none.
    pub(super) fn tensor(&self, id: Option<&TensorId>) -> &'b Described {
        static NONE: Described = Described { name: "", extents: Vec::new(), kind: TensorKind::Activation };
        id.and_then(|id| self.graph.tensor(*id)).unwrap_or(&NONE)
    }

    /// Whoever has made the tensor that an operator reads in some place.
    pub(super) fn tap(&self, operator: &LayerOperator, place: usize) -> Result<Tap, GraphError> {
        let made = operator.reads.get(place).and_then(|id| self.at.get(id));
        made.copied().ok_or(GraphError::NothingRead { layer: self.builder.layer, operator: operator.name })
    }

    /// All whom an operator reads from, in order; what it takes of one operator by several tensors is one flow.
    fn taps(&self, operator: &LayerOperator) -> Vec<Tap> {
        let mut taps: Vec<Tap> = Vec::new();
        for tap in operator.reads.iter().filter_map(|id| self.at.get(id)) {
            match taps.iter_mut().find(|known| known.operator == tap.operator) {
                Some(known) => known.elements = known.elements.saturating_add(tap.elements),
                None => taps.push(*tap),
            }
        }
        taps
    }

    /// What an operator writes comes from here: of each tensor its own elements.
    pub(super) fn made(&mut self, operator: &LayerOperator, tap: Tap) {
        for id in &operator.writes {
            let elements = self.tensor(Some(id)).elements();
            let tap = if operator.writes.len() > 1 { tap.part(elements) } else { tap };
            self.at.insert(*id, tap);
        }
    }

    pub(super) fn named(&self, path: &'static str, kind: OperatorKind, [input, output]: [Shape; 2]) -> Operator {
        Operator::new(self.builder.name(path), kind, input, output)
    }

    /// Adds the only operator that one of the description is.
    fn one(&mut self, operator: &LayerOperator, added: Operator) -> Result<(), GraphError> {
        let sources = self.taps(operator);
        let made = self.builder.add(added, &sources);
        self.made(operator, made);
        Ok(())
    }

    /// Notes that an operator holds the weights that it reads.
    fn hold_read(&mut self, operator: &LayerOperator, added: &mut Operator) -> Result<(), GraphError> {
        for id in &operator.reads {
            if let Some(role) = role_of(self.tensor(Some(id))) {
                let tensor = self.shelf.take(role)?;
                hold(added, Weights::whole(&tensor, self.builder.precision));
            }
        }
        Ok(())
    }

    fn norm(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let source = self.tap(operator, 0)?;
        let role = operator.reads.get(1).and_then(|id| role_of(self.tensor(Some(id))));
        let Some(role) = role.filter(|role| self.shelf.count(*role) > 0) else {
            // A model that has no such norm.
            self.made(operator, source);
            return Ok(());
        };
        let gain = self.shelf.take(role)?;
        let path = match operator.name {
            "attention.output_norm" => "attention.post_norm",
            "feed_forward.output_norm" => "feed_forward.post_norm",
            name => name,
        };
        let made = self.builder.norm(path, OperatorKind::RmsNorm, &gain, self.tokens(), source);
        self.made(operator, made);
        Ok(())
    }

    /// One product for each matrix; of its outputs each tensor takes its part, one after the other.
    fn products(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let source = self.tap(operator, 0)?;
        let graph = self.graph;
        let mut written = operator.writes.iter();
        for matrix in graph.weights(operator) {
            let Some(role) = role_of(matrix) else { continue };
            let made = self.builder.take_projection(path_of(role), role, &mut self.shelf, source)?;
            let mut left = made.elements;
            while left > 0 {
                let Some(id) = written.next() else { break };
                let elements = self.tensor(Some(id)).elements();
                self.at.insert(*id, made.part(elements));
                left = left.saturating_sub(elements.max(1));
            }
        }
        Ok(())
    }

    /// The norm of each head, with one gain for all.
    fn head_norms(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        for (place, path) in ["attention.query_norm", "attention.key_norm"].into_iter().enumerate() {
            let (source, heads) = (self.tap(operator, place)?, heads_of(self.tensor(operator.reads.get(place))));
            let gain = self.shelf.take(Role::AttentionInnerNorm)?;
            // One gain for each head, or for all together.
            let width = self.tensor(operator.reads.get(place)).size(Dim::HeadDim);
            let rows = if gain.outputs > width { self.tokens() } else { product([self.tokens(), heads]) };
            let made = self.builder.norm(path, OperatorKind::QkNorm, &gain, rows, source);
            self.at.extend(operator.writes.get(place).map(|id| (*id, made)));
        }
        Ok(())
    }

    /// Rotates the first `rotary` of each head's elements; the others pass through.
    fn rope(&mut self, operator: &LayerOperator, rotary: u64) -> Result<(), GraphError> {
        if rotary == 0 {
            return Ok(());
        }
        let paths = match operator.name {
            "attention.index_rope" => ["attention.index_query_rope", "attention.index_key_rope"],
            _ => ["attention.query_rope", "attention.key_rope"],
        };
        for (place, path) in paths.into_iter().enumerate() {
            let (source, tensor) = (self.tap(operator, place)?, self.tensor(operator.reads.get(place)));
            let rows = product([self.tokens(), heads_of(tensor)]);
            let shape = Shape::new(rows, last_size(tensor));
            let mut rotated = self.named(path, OperatorKind::Rope, [shape; 2]);
            rotated.elementwise = product([elementwise::ROPE, rows, rotary]);
            let made = self.builder.add(rotated, &[source]);
            self.at.extend(operator.writes.get(place).map(|id| (*id, made)));
        }
        Ok(())
    }

    /// New entries of each cache. They are stored as one block; each cache takes what those before it leave of its
    /// bytes.
    fn append(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let tokens = self.tokens();
        let (mut width, mut before) = (0u64, Bytes::ZERO);
        for (place, cache) in operator.writes.iter().enumerate() {
            let (source, entry) = (self.tap(operator, place)?, self.tensor(operator.reads.get(place)));
            let elements = entry.extents.iter().filter(|extent| extent.dim != Dim::Token).map(|extent| extent.size);
            let elements = elements.fold(1, u64::saturating_mul);
            width = width.saturating_add(elements);
            let all = self.builder.precision.kv_cache.storage(width);
            let bytes = all.saturating_sub(before);
            before = all;
            let path = match self.tensor(Some(cache)).name {
                "attention.keys" => "attention.key_append",
                "attention.cached_values" => "attention.value_append",
                "attention.latents" => "attention.latent_append",
                "attention.index_keys" => "attention.index_key_append",
                _ => "attention.rope_key_append",
            };
            let mut append = self.named(path, OperatorKind::KvAppend, [Shape::new(tokens, elements); 2]);
            append.bytes_written = bytes * tokens;
            let made = self.builder.add(append, &[source]);
            self.at.insert(*cache, made);
            self.cached.insert(*cache, bytes);
        }
        Ok(())
    }

    /// Bytes of a token in the caches that an operator reads.
    fn cached_bytes(&self, operator: &LayerOperator) -> Bytes {
        operator.reads.iter().filter_map(|id| self.cached.get(id)).copied().sum()
    }

    fn scores(&mut self, operator: &LayerOperator, attended: Attended) -> Result<(), GraphError> {
        let graph = self.graph;
        let queries = graph.of(&operator.reads).filter(|tensor| tensor.kind == TensorKind::Activation);
        let key_width = queries.map(last_size).fold(0, u64::saturating_add);
        let heads = self.tensor(operator.writes.first()).size(Dim::Head);
        self.attending = Some(Attending { heads, attended });
        let rows = product([self.tokens(), heads]);
        let pairs = product([heads, attended.pairs]);
        let shapes = [Shape::new(rows, key_width), Shape::new(rows, attended.widest)];
        let mut scores = self.named("attention.scores", OperatorKind::AttentionScores, shapes);
        scores.matrix = Some(Shape::new(key_width, attended.widest));
        scores.macs = product([pairs, key_width]);
        scores.cache_bytes_read = self.cached_bytes(operator) * attended.entries_read;
        let sources = self.taps(operator);
        let made = self.builder.add(scores, &sources).part(pairs);
        self.made(operator, made);
        Ok(())
    }

    /// Each head's product with every key, what is positive of it, and their weighted sum.
    fn index_scores(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let attended = self.builder.load.attended(Reach::Full);
        let query = self.tensor(operator.reads.first());
        let (heads, width) = (query.size(Dim::IndexHead), query.size(Dim::IndexDim));
        let shapes = [Shape::new(product([self.tokens(), heads]), width), Shape::new(self.tokens(), attended.widest)];
        let mut scores = self.named("attention.index_scores", OperatorKind::IndexScores, shapes);
        scores.matrix = Some(Shape::new(width, attended.widest));
        scores.macs = product([heads, attended.pairs, width]);
        scores.elementwise = product([3, heads, attended.pairs]);
        scores.cache_bytes_read = self.cached_bytes(operator) * attended.entries_read;
        let sources = self.taps(operator);
        let made = self.builder.add(scores, &sources).part(attended.pairs);
        self.made(operator, made);
        Ok(())
    }

    fn attending(&self, operator: &LayerOperator) -> Result<Attending, GraphError> {
        self.attending.ok_or(GraphError::NothingRead { layer: self.builder.layer, operator: operator.name })
    }

    fn softmax(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let Attending { heads, attended } = self.attending(operator)?;
        let (rows, pairs) = (product([self.tokens(), heads]), product([heads, attended.pairs]));
        let mut softmax =
            self.named("attention.softmax", OperatorKind::Softmax, [Shape::new(rows, attended.widest); 2]);
        let sinks = operator.reads.get(1).is_some();
        let logits = if sinks { pairs.saturating_add(rows) } else { pairs };
        softmax.elementwise = product([elementwise::SOFTMAX, logits]);
        self.hold_read(operator, &mut softmax)?;
        let source = self.tap(operator, 0)?;
        let made = self.builder.add(softmax, &[source]).part(pairs);
        self.made(operator, made);
        Ok(())
    }

    fn values(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let Attending { heads, attended } = self.attending(operator)?;
        let (rows, pairs) = (product([self.tokens(), heads]), product([heads, attended.pairs]));
        let width = last_size(self.tensor(operator.writes.first()));
        let shapes = [Shape::new(rows, attended.widest), Shape::new(rows, width)];
        let mut weighted = self.named("attention.values", OperatorKind::AttentionValues, shapes);
        weighted.matrix = Some(Shape::new(attended.widest, width));
        weighted.macs = product([pairs, width]);
        weighted.cache_bytes_read = self.cached_bytes(operator) * attended.entries_read;
        self.one(operator, weighted)
    }

    /// A product of each head's row with a matrix of that head. All of them lie in one tensor, of which an operator
    /// holds the part that it reads: keys or values.
    fn per_head(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let (x, y) = (self.tensor(operator.reads.first()), self.tensor(operator.writes.first()));
        let (matrix, heads) = (Shape::new(last_size(x), last_size(y)), y.size(Dim::Head));
        let is_rank = |tensor: &Described| tensor.extents.last().is_some_and(|extent| extent.dim == Dim::Rank);
        let own = if is_rank(y) { matrix.rows } else { matrix.columns };
        let all = match self.of_heads.take() {
            Some(known) => known,
            None => self.shelf.take(Role::KvUp)?,
        };
        self.of_heads = Some(all);
        let part = Tensor { outputs: product([heads, own]), ..all };
        let path = if is_rank(y) { "attention.query_absorb" } else { "attention.value_up" };
        let rows = product([self.tokens(), heads]);
        let shapes = [Shape::new(rows, matrix.rows), Shape::new(rows, matrix.columns)];
        let mut added = self.named(path, OperatorKind::Projection(part.role), shapes);
        added.matrix = Some(matrix);
        added.macs = product([rows, matrix.rows, matrix.columns]);
        hold(&mut added, Weights::whole(&part, self.builder.precision));
        self.one(operator, added)
    }

    /// Of each channel the last tokens of its user, whose inputs are kept.
    fn convolution(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let taps = self.shelf.take(Role::Convolution)?;
        let tail =
            operator.writes.iter().map(|id| self.tensor(Some(id))).find(|tensor| tensor.kind == TensorKind::State);
        let kept = tail.map_or(0, |tail| product([tail.size(Dim::Tap), tail.size(Dim::Channel)]));
        let channels = tail.map_or(0, |tail| tail.size(Dim::Channel));
        let shape = Shape::new(self.tokens(), channels);
        let mut convolution = self.named("attention.convolution", OperatorKind::Convolution, [shape; 2]);
        convolution.macs = product([self.tokens(), taps.macs()]);
        convolution.elementwise = product([elementwise::SILU, shape.elements()]);
        hold(&mut convolution, Weights::whole(&taps, self.builder.precision));
        let bytes = self.builder.precision.activations.storage(kept) * self.builder.load.users();
        (convolution.cache_bytes_read, convolution.bytes_written) = (bytes, bytes);
        self.one(operator, convolution)
    }

    /// The gated delta rule. Of a user's tokens that go through together each reads what the one before has left, so
    /// that the state is read and written once.
    fn delta_rule(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let tokens = self.tokens();
        let of = |dim: Dim, tensor: &Described| tensor.size(dim);
        let (key, result) = (self.tensor(operator.reads.first()), self.tensor(operator.writes.last()));
        let (heads, key_dim, value_dim) = (of(Dim::Head, result), of(Dim::HeadDim, key), of(Dim::HeadDim, result));
        let state = product([heads, key_dim, value_dim]);
        let results = Shape::new(product([tokens, heads]), value_dim);
        let shapes = [Shape::new(results.rows, key_dim), results];
        let mut rule = self.named("attention.delta_rule", OperatorKind::DeltaRule, shapes);
        rule.matrix = Some(Shape::new(key_dim, value_dim));
        // Read by the key, written, read by the query.
        rule.macs = product([3, tokens, state]);
        // Decay; what is missing, times its strength.
        rule.elementwise = product([tokens, state]).saturating_add(product([2, results.elements()]));
        let bytes = DataType::Fp32.storage(state) * self.builder.load.users();
        (rule.cache_bytes_read, rule.bytes_written) = (bytes, bytes);
        self.one(operator, rule)
    }

    fn choose(&mut self, operator: &LayerOperator) -> Result<(), GraphError> {
        let (scores, choice) = (self.tensor(operator.reads.first()), self.tensor(operator.writes.first()));
        let (tokens, top_k) = (self.tokens(), choice.size(Dim::Choice));
        let shapes = [Shape::new(tokens, scores.size(Dim::Expert)), Shape::new(tokens, top_k)];
        let mut chosen = self.named("feed_forward.top_k", OperatorKind::TopK, shapes);
        // Softmax of the logits, then one pass of comparisons for each choice.
        chosen.elementwise = product([elementwise::SOFTMAX.saturating_add(top_k), shapes[0].elements()]);
        self.one(operator, chosen)
    }

    /// What the chosen experts of a network are dealt out over; nothing for networks that every token uses.
    pub(super) fn slots_of(&self, operator: &LayerOperator) -> Option<(u64, u64)> {
        let graph = self.graph;
        let choice = graph.of(&operator.reads).find(|tensor| tensor.kind == TensorKind::Choice)?;
        let copies = graph.weights(operator).find_map(|tensor| match tensor.kind {
            TensorKind::Weight { copies, .. } if copies > 1 => Some(copies),
            _ => None,
        });
        Some((choice.size(Dim::Choice), copies.unwrap_or(1)))
    }

    /// The roles of the matrices that an operator reads.
    pub(super) fn roles(&self, operator: &LayerOperator) -> Vec<Role> {
        self.graph.weights(operator).filter_map(role_of).collect()
    }

    /// Who has made the choice that an operator reads.
    pub(super) fn chosen(&self, operator: &LayerOperator) -> Option<Tap> {
        let is_choice = |id: &&TensorId| self.tensor(Some(id)).kind == TensorKind::Choice;
        operator.reads.iter().find(is_choice).and_then(|id| self.at.get(id)).copied()
    }

    /// Each slot of a routed network, or the only part of another one.
    pub(super) fn slots(count: Option<Slot>) -> Vec<Option<Slot>> {
        match count {
            None => vec![None],
            Some(all) => (0..all.slots).map(|index| Some(Slot { index, ..all })).collect(),
        }
    }
}

/// The name of a product by what its matrix does.
const fn path_of(role: Role) -> &'static str {
    match role {
        Role::Query => "attention.query",
        Role::Key => "attention.key",
        Role::Value => "attention.value",
        Role::QueryDown => "attention.query_down",
        Role::QueryUp => "attention.query_up",
        Role::KvDown => "attention.kv_down",
        Role::IndexQuery => "attention.index_query",
        Role::IndexKey => "attention.index_key",
        Role::IndexWeight => "attention.index_weights",
        Role::OutputGate => "attention.output_gate_projection",
        Role::WriteStrength => "attention.write_strength",
        Role::Decay => "attention.decay",
        _ => "attention.output",
    }
}

const fn role_of(tensor: &Described) -> Option<Role> {
    match tensor.kind {
        TensorKind::Weight { role, .. } | TensorKind::Vector { role, .. } => Some(role),
        _ => None,
    }
}

fn heads_of(tensor: &Described) -> u64 {
    product([tensor.size(Dim::Head), tensor.size(Dim::KvHead), tensor.size(Dim::IndexHead)])
}

/// Size of the fastest dimension.
fn last_size(tensor: &Described) -> u64 {
    tensor.extents.last().map_or(1, |extent| extent.size)
}
