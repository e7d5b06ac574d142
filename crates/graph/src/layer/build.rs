//! A layer written out, without any rewrite: the only place that says what a transformer layer is made of.

use wafersim_spec::model::{
    Attention, FeedForward, GroupedAttention, HeadValues, Indexer, LatentAttention, Layer, LinearAttention, Moe, Role,
};

use super::{
    ChoiceForm, Dim, Extent, LayerGraph, LayerOperation, LayerOperator, NetworkKind, SoftmaxForm, Tensor, TensorId,
    TensorKind,
};

/// What goes through a layer together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerLoad {
    /// Tokens that go through together.
    pub tokens: u64,
    /// Tokens that each sees in the cache, itself included.
    pub context: u64,
}

impl LayerGraph {
    /// A layer of a model whose residual stream is `hidden` wide.
    pub fn new(layer: &Layer, hidden: u64, load: LayerLoad) -> Self {
        let mut builder = Builder {
            graph: Self {
                tensors: Vec::new(),
                operators: Vec::new(),
                accumulators_in_place: false,
                interleaved_products: false,
                divided_activation: false,
                conversion_in_strips: false,
                choice_beside_stream: false,
                norm_beside_choice: false,
            },
            hidden,
            load,
        };
        builder.layer(layer);
        builder.graph
    }
}

struct Builder {
    graph: LayerGraph,
    hidden: u64,
    load: LayerLoad,
}

const FEED_FORWARD_OUTPUT_NORM: &str = "feed_forward.output_norm";

const ACTIVATION: TensorKind = TensorKind::Activation;

impl Builder {
    fn tensor(&mut self, name: &'static str, kind: TensorKind, extents: &[(Dim, u64)]) -> TensorId {
        let extents = extents.iter().map(|(dim, size)| Extent { dim: *dim, size: *size }).collect();
        let id = TensorId(self.graph.tensors.len() as u32);
        self.graph.tensors.push(Tensor { name, extents, kind });
        id
    }

    fn weight(&mut self, name: &'static str, role: Role, bias: bool, extents: &[(Dim, u64)]) -> TensorId {
        self.tensor(name, TensorKind::Weight { role, copies: 1, bias }, extents)
    }

    fn vector(&mut self, name: &'static str, role: Role, copy: u64, extents: &[(Dim, u64)]) -> TensorId {
        self.tensor(name, TensorKind::Vector { role, copy }, extents)
    }

    fn push(&mut self, name: &'static str, operation: LayerOperation, reads: &[TensorId], writes: &[TensorId]) {
        let operator = LayerOperator { name, operation, reads: reads.to_vec(), writes: writes.to_vec() };
        self.graph.operators.push(operator);
    }

    fn layer(&mut self, layer: &Layer) {
        let token = (Dim::Token, self.load.tokens);
        let hidden = (Dim::Hidden, self.hidden);
        let stream = self.tensor("residual", TensorKind::Stream, &[token, hidden]);

        let gain = self.vector("attention.norm_gain", Role::AttentionNorm, 0, &[hidden]);
        let normed = self.tensor("attention.normed", ACTIVATION, &[token, hidden]);
        self.push("attention.norm", LayerOperation::Norm { riding: false }, &[stream, gain], &[normed]);
        let projected = match &layer.attention {
            Attention::Grouped(grouped) => self.grouped(grouped, normed),
            Attention::Latent(latent) => self.latent(latent, normed),
            Attention::Linear(linear) => self.linear(linear, normed),
        };
        self.output_norm("attention.output_norm", layer, 1, projected);
        self.push("attention.residual", LayerOperation::Residual, &[stream, projected], &[stream]);

        // With a single norm, attention and network read the same (Cohere).
        let normed = match layer.norms {
            0 | 1 => normed,
            _ => {
                let gain = self.vector("feed_forward.norm_gain", Role::FeedForwardNorm, 0, &[hidden]);
                let normed = self.tensor("feed_forward.normed", ACTIVATION, &[token, hidden]);
                self.push("feed_forward.norm", LayerOperation::Norm { riding: false }, &[stream, gain], &[normed]);
                normed
            }
        };
        match &layer.feed_forward {
            FeedForward::Dense { width, bias } => {
                let (kind, width, bias) = (NetworkKind::Dense, *width, *bias);
                let parts = Network { kind, width, bias, choice: None, output_gate: false };
                let output = self.network(parts, normed);
                self.output_norm(FEED_FORWARD_OUTPUT_NORM, layer, 2, output);
                self.push("feed_forward.residual", LayerOperation::Residual, &[stream, output], &[stream]);
            }
            FeedForward::Moe(moe) => self.experts(layer, moe, stream, normed),
        }
    }

    /// Layers with more than two norms have one of what a branch adds to the stream, before it is added: the third
    /// after attention, the fourth after the network (Grok-1's `model.py`: `h_attn = layer_norm(h_attn)`, `h_dense =
    /// layer_norm(h_dense)`; `post_attn_norm` and `post_moe_norm` in checkpoints of Grok-2).
    fn output_norm(&mut self, name: &'static str, layer: &Layer, copy: u64, branch: TensorId) {
        if layer.norms <= 1 + copy {
            return;
        }
        let hidden = (Dim::Hidden, self.hidden);
        let gain = self.vector("output.norm_gain", Role::FeedForwardNorm, copy, &[hidden]);
        self.push(name, LayerOperation::Norm { riding: false }, &[branch, gain], &[branch]);
    }

    fn grouped(&mut self, grouped: &GroupedAttention, normed: TensorId) -> TensorId {
        let token = (Dim::Token, self.load.tokens);
        let hidden = (Dim::Hidden, self.hidden);
        let (heads, kv_heads) = ((Dim::Head, grouped.heads), (Dim::KvHead, grouped.kv_heads));
        let (width, value_width) = ((Dim::HeadDim, grouped.head_dim), (Dim::HeadDim, grouped.value_dim()));
        let bias = grouped.qkv_bias;
        let gate_weight = grouped.output_gate.then(|| {
            self.weight("attention.output_gate_weight", Role::OutputGate, bias, &[hidden, heads, value_width])
        });
        let compressed = grouped.query_rank.map(|rank| {
            let rank = (Dim::Rank, rank);
            let down = self.weight("attention.query_down_weight", Role::QueryDown, bias, &[hidden, rank]);
            (rank, down, self.tensor("attention.compressed", ACTIVATION, &[token, rank]))
        });
        let wq = match compressed {
            Some((_, down, _)) => down,
            None => self.weight("attention.query_weight", Role::Query, bias, &[hidden, heads, width]),
        };
        let wk = self.weight("attention.key_weight", Role::Key, bias, &[hidden, kv_heads, width]);
        let wv = (grouped.values != HeadValues::OfKeys)
            .then(|| self.weight("attention.value_weight", Role::Value, bias, &[hidden, kv_heads, value_width]));
        let query = self.tensor("attention.query", ACTIVATION, &[token, heads, width]);
        let key = self.tensor("attention.key", ACTIVATION, &[token, kv_heads, width]);
        let value = self.tensor("attention.value", ACTIVATION, &[token, kv_heads, value_width]);
        let by_head = grouped
            .head_gate
            .then(|| self.weight("attention.output_gate_weight", Role::OutputGate, false, &[hidden, heads]));
        let gate = match (gate_weight, by_head) {
            (Some(weight), _) => {
                Some((weight, self.tensor("attention.output_gate", ACTIVATION, &[token, heads, value_width])))
            }
            (None, Some(weight)) => Some((weight, self.tensor("attention.head_gate", ACTIVATION, &[token, heads]))),
            (None, None) => None,
        };
        let (mut reads, mut writes) = (vec![normed, wq, wk], vec![compressed.map_or(query, |(.., x)| x), key]);
        if let Some(wv) = wv {
            reads.push(wv);
            writes.push(value);
        }
        if let Some((weight, gate)) = gate {
            reads.push(weight);
            writes.push(gate);
        }
        self.push("attention.query_key_value", LayerOperation::Products, &reads, &writes);
        if let Some((rank, _, compressed)) = compressed {
            let gain = self.vector("attention.query_gain", Role::AttentionInnerNorm, 0, &[rank]);
            let norm = LayerOperation::Norm { riding: false };
            self.push("attention.query_norm", norm, &[compressed, gain], &[compressed]);
            let up = self.weight("attention.query_up_weight", Role::QueryUp, false, &[rank, heads, width]);
            self.push("attention.query_up", LayerOperation::Products, &[compressed, up], &[query]);
        }
        if wv.is_none() {
            self.push("attention.value_of_key", LayerOperation::ValueOfKey, &[key], &[value]);
        }
        if grouped.qk_norm.is_some() {
            let gains = [("attention.query_gain", 0), ("attention.key_gain", 1)]
                .map(|(name, copy)| self.vector(name, Role::AttentionInnerNorm, copy, &[width]));
            let norm = LayerOperation::HeadNorm { riding: false };
            self.push("attention.head_norm", norm, &[query, key, gains[0], gains[1]], &[query, key]);
        }
        if grouped.rotary_dim > 0 {
            let rope = LayerOperation::Rope { rotary: grouped.rotary_dim };
            self.push("attention.rope", rope, &[query, key], &[query, key]);
        }
        let cached = (Dim::Cached, self.load.context);
        let keys = self.tensor("attention.keys", TensorKind::Cache, &[cached, kv_heads, width]);
        let values = self.tensor("attention.cached_values", TensorKind::Cache, &[cached, kv_heads, value_width]);
        self.push("attention.kv_append", LayerOperation::Append, &[key, value, keys, values], &[keys, values]);
        let seen = (Dim::Cached, grouped.reach.visible(self.load.context));
        let scores = self.tensor("attention.scores", ACTIVATION, &[token, heads, seen]);
        let reach = grouped.reach;
        self.push("attention.scores", LayerOperation::Scores { reach }, &[query, keys], &[scores]);
        let mut reads = vec![scores];
        if grouped.sinks {
            reads.push(self.vector("attention.sinks", Role::Sinks, 0, &[heads]));
        }
        self.push("attention.softmax", SOFTMAX, &reads, &[scores]);
        let result = self.tensor("attention.result", ACTIVATION, &[token, heads, value_width]);
        self.push("attention.values", LayerOperation::Values { sum_rides: false }, &[scores, values], &[result]);
        if let Some((_, gate)) = gate {
            self.push("attention.output_gate", LayerOperation::OutputGate, &[result, gate], &[result]);
        }
        let wo =
            self.weight("attention.output_weight", Role::Output, grouped.output_bias, &[heads, value_width, hidden]);
        let projected = self.tensor("attention.projected", ACTIVATION, &[token, hidden]);
        self.push("attention.output", LayerOperation::Output { logits_beside: false }, &[result, wo], &[projected]);
        projected
    }

    /// MLA in the absorbed form: the cache holds one latent for all heads, queries are brought into its space and
    /// results out of it (DeepSeek-V2, section 2.1.2). Queries and keys are in two parts, one that is compressed and
    /// one that is rotated.
    fn latent(&mut self, latent: &LatentAttention, normed: TensorId) -> TensorId {
        let token = (Dim::Token, self.load.tokens);
        let (hidden, heads) = ((Dim::Hidden, self.hidden), (Dim::Head, latent.heads));
        let query_width = (Dim::HeadDim, latent.nope_dim + latent.rope_dim);
        let (nope, rope) = ((Dim::HeadDim, latent.nope_dim), (Dim::HeadDim, latent.rope_dim));
        let rank = (Dim::Rank, latent.kv_rank);
        let queries = [("attention.query", nope), ("attention.rotary_query", rope)]
            .map(|(name, width)| self.tensor(name, ACTIVATION, &[token, heads, width]));
        let entry = [("attention.latent", rank), ("attention.rotary_key", rope)]
            .map(|(name, width)| self.tensor(name, ACTIVATION, &[token, width]));
        let compressed = latent.query_rank.map(|rank| {
            let rank = (Dim::Rank, rank);
            let down = self.weight("attention.query_down_weight", Role::QueryDown, false, &[hidden, rank]);
            (rank, down, self.tensor("attention.compressed", ACTIVATION, &[token, rank]))
        });
        let (first, mut made) = match compressed {
            Some((_, down, compressed)) => (down, vec![compressed]),
            None => {
                let direct = self.weight("attention.query_weight", Role::Query, false, &[hidden, heads, query_width]);
                (direct, queries.to_vec())
            }
        };
        let cached_width = (Dim::Rank, latent.kv_rank + latent.rope_dim);
        let down = self.weight("attention.kv_down_weight", Role::KvDown, false, &[hidden, cached_width]);
        made.extend(entry);
        let mut reads = vec![normed, first, down];
        let indexer = latent.indexer.map(|indexer| self.indexer(indexer, latent.query_rank));
        if let Some(indexing) = &indexer {
            reads.extend([indexing.key_weight, indexing.weights_weight]);
            made.extend([indexing.key, indexing.weights]);
        }
        self.push("attention.query_key_value", LayerOperation::Products, &reads, &made);
        let norm = LayerOperation::Norm { riding: false };
        if let Some((rank, _, compressed)) = compressed {
            let gain = self.vector("attention.query_gain", Role::AttentionInnerNorm, 0, &[rank]);
            self.push("attention.query_norm", norm.clone(), &[compressed, gain], &[compressed]);
        }
        let copy = u64::from(compressed.is_some());
        let gain = self.vector("attention.latent_gain", Role::AttentionInnerNorm, copy, &[rank]);
        self.push("attention.latent_norm", norm, &[entry[0], gain], &[entry[0]]);
        if let Some((rank, _, compressed)) = compressed {
            let up = self.weight("attention.query_up_weight", Role::QueryUp, false, &[rank, heads, query_width]);
            let (mut reads, mut made) = (vec![compressed, up], queries.to_vec());
            if let Some(indexing) = &indexer {
                reads.push(indexing.query_weight);
                made.push(indexing.query);
            }
            self.push("attention.query_up", LayerOperation::Products, &reads, &made);
        }
        let rotation = LayerOperation::Rope { rotary: latent.rope_dim };
        let rotated = [queries[1], entry[1]];
        self.push("attention.rope", rotation.clone(), &rotated, &rotated);
        if let Some(indexing) = &indexer {
            let reads = [indexing.key, indexing.gain, indexing.bias];
            self.push("attention.index_norm", LayerOperation::IndexNorm, &reads, &[indexing.key]);
            let rotated = [indexing.query, indexing.key];
            self.push("attention.index_rope", rotation, &rotated, &rotated);
        }
        let both = (Dim::HeadDim, latent.nope_dim + latent.value_dim);
        let up = self.weight("attention.kv_up_weight", Role::KvUp, false, &[rank, heads, both]);
        let absorbed = self.tensor("attention.absorbed", ACTIVATION, &[token, heads, rank]);
        self.push("attention.absorbed_key", LayerOperation::PerHead, &[queries[0], up], &[absorbed]);
        let cached = (Dim::Cached, self.load.context);
        let latents = self.tensor("attention.latents", TensorKind::Cache, &[cached, rank]);
        let keys = self.tensor("attention.rotary_keys", TensorKind::Cache, &[cached, rope]);
        let (mut news, mut caches) = (entry.to_vec(), vec![latents, keys]);
        if let Some(indexing) = &indexer {
            news.push(indexing.key);
            caches.push(indexing.keys);
        }
        self.push("attention.kv_append", LayerOperation::Append, &[news.as_slice(), &caches].concat(), &caches);
        let mut reads = vec![absorbed, latents, queries[1], keys];
        if let (Some(indexing), Some(indexer)) = (&indexer, latent.indexer) {
            let scores = self.tensor("attention.index_scores", ACTIVATION, &[token, cached]);
            let of = [indexing.query, indexing.keys, indexing.weights];
            self.push("attention.index_scores", LayerOperation::IndexScores, &of, &[scores]);
            let choices = (Dim::Choice, latent.seen(self.load.context));
            let chosen = self.tensor("attention.chosen", TensorKind::Choice, &[token, choices]);
            self.push("attention.select", LayerOperation::Select { top_k: indexer.top_k }, &[scores], &[chosen]);
            reads.push(chosen);
        }
        let seen = (Dim::Cached, latent.seen(self.load.context));
        let scores = self.tensor("attention.scores", ACTIVATION, &[token, heads, seen]);
        let reach = wafersim_spec::model::Reach::Full;
        self.push("attention.scores", LayerOperation::Scores { reach }, &reads, &[scores]);
        self.push("attention.softmax", SOFTMAX, &[scores], &[scores]);
        let mixed = self.tensor("attention.mixed", ACTIVATION, &[token, heads, rank]);
        self.push("attention.values", LayerOperation::Values { sum_rides: false }, &[scores, latents], &[mixed]);
        let value_width = (Dim::HeadDim, latent.value_dim);
        let result = self.tensor("attention.result", ACTIVATION, &[token, heads, value_width]);
        self.push("attention.absorbed_value", LayerOperation::PerHead, &[mixed, up], &[result]);
        let wo = self.weight("attention.output_weight", Role::Output, false, &[heads, value_width, hidden]);
        let projected = self.tensor("attention.projected", ACTIVATION, &[token, hidden]);
        self.push("attention.output", LayerOperation::Output { logits_beside: false }, &[result, wo], &[projected]);
        projected
    }

    /// Tensors of an indexer (`DeepseekV32Indexer` of `transformers`).
    fn indexer(&mut self, indexer: Indexer, query_rank: Option<u64>) -> Indexing {
        let (token, hidden) = ((Dim::Token, self.load.tokens), (Dim::Hidden, self.hidden));
        let (heads, width) = ((Dim::IndexHead, indexer.heads), (Dim::IndexDim, indexer.head_dim));
        let rank = (Dim::Rank, query_rank.unwrap_or(1));
        let cached = (Dim::Cached, self.load.context);
        let mut weight =
            |name: &'static str, role: Role, extents: &[(Dim, u64)]| self.weight(name, role, false, extents);
        let query_weight = weight("attention.index_query_weight", Role::IndexQuery, &[rank, heads, width]);
        let key_weight = weight("attention.index_key_weight", Role::IndexKey, &[hidden, width]);
        let weights_weight = weight("attention.index_weights_weight", Role::IndexWeight, &[hidden, heads]);
        Indexing {
            query_weight,
            key_weight,
            weights_weight,
            gain: self.vector("attention.index_gain", Role::IndexNorm, 0, &[width]),
            bias: self.vector("attention.index_bias", Role::IndexNorm, 1, &[width]),
            query: self.tensor("attention.index_query", ACTIVATION, &[token, heads, width]),
            key: self.tensor("attention.index_key", ACTIVATION, &[token, width]),
            weights: self.tensor("attention.index_weights", ACTIVATION, &[token, heads]),
            keys: self.tensor("attention.index_keys", TensorKind::Cache, &[cached, width]),
        }
    }

    /// The gated delta rule (`Qwen3NextGatedDeltaNet` of `transformers`).
    fn linear(&mut self, linear: &LinearAttention, normed: TensorId) -> TensorId {
        let token = (Dim::Token, self.load.tokens);
        let hidden = (Dim::Hidden, self.hidden);
        let (heads, key_heads) = ((Dim::Head, linear.value_heads), (Dim::KvHead, linear.key_heads));
        let (key_dim, value_dim) = ((Dim::HeadDim, linear.key_dim), (Dim::HeadDim, linear.value_dim));
        let mut made = |names: [&'static str; 2], role: Role, bias: bool, inner: &[(Dim, u64)]| {
            let weight = self.weight(names[0], role, bias, &[&[hidden], inner].concat());
            (weight, self.tensor(names[1], ACTIVATION, &[&[token], inner].concat()))
        };
        let query = made(["attention.query_weight", "attention.query"], Role::Query, false, &[key_heads, key_dim]);
        let key = made(["attention.key_weight", "attention.key"], Role::Key, false, &[key_heads, key_dim]);
        let value = made(["attention.value_weight", "attention.value"], Role::Value, false, &[heads, value_dim]);
        let names = ["attention.output_gate_weight", "attention.output_gate"];
        let gate = made(names, Role::OutputGate, false, &[heads, value_dim]);
        let names = ["attention.write_strength_weight", "attention.write_strength"];
        let strength = made(names, Role::WriteStrength, false, &[heads]);
        let decay = made(["attention.decay_weight", "attention.decay"], Role::Decay, true, &[heads]);
        let all = [query, key, value, gate, strength, decay];
        let (weights, tensors): (Vec<TensorId>, Vec<TensorId>) = all.into_iter().unzip();
        self.push(
            "attention.query_key_value",
            LayerOperation::Products,
            &[&[normed], weights.as_slice()].concat(),
            &tensors,
        );
        let [(_, query), (_, key), (_, value), (_, gate), (_, strength), (_, decay)] = all;

        let channels = (Dim::Channel, linear.channels());
        let extents = [(Dim::Tap, linear.kernel), channels];
        let weight = self.weight("attention.convolution_weight", Role::Convolution, false, &extents);
        let extents = [(Dim::Tap, linear.kernel.saturating_sub(1)), token, channels];
        let tail = self.tensor("attention.tail", TensorKind::State, &extents);
        let convolved = [query, key, value, tail];
        let reads = [query, key, value, weight, tail];
        self.push("attention.convolution", LayerOperation::Convolution, &reads, &convolved);
        let rate = self.vector("attention.decay_rate", Role::DecayRate, 0, &[heads]);
        self.push("attention.state_gates", LayerOperation::StateGates, &[strength, decay, rate], &[strength, decay]);
        self.push("attention.unit_norm", LayerOperation::UnitNorm { riding: false }, &[query, key], &[query, key]);
        let state = self.tensor("attention.state", TensorKind::State, &[token, heads, value_dim, key_dim]);
        let result = self.tensor("attention.result", ACTIVATION, &[token, heads, value_dim]);
        let reads = [query, key, value, strength, decay, state];
        let rule = LayerOperation::DeltaRule { single_read: false };
        self.push("attention.delta_rule", rule, &reads, &[state, result]);
        let gain = self.vector("attention.result_gain", Role::AttentionInnerNorm, 0, &[value_dim]);
        self.push("attention.gated_norm", LayerOperation::GatedNorm, &[result, gate, gain], &[result]);
        let wo = self.weight("attention.output_weight", Role::Output, false, &[heads, value_dim, hidden]);
        let projected = self.tensor("attention.projected", ACTIVATION, &[token, hidden]);
        self.push("attention.output", LayerOperation::Output { logits_beside: false }, &[result, wo], &[projected]);
        projected
    }

    fn experts(&mut self, layer: &Layer, moe: &Moe, stream: TensorId, normed: TensorId) {
        let token = (Dim::Token, self.load.tokens);
        let (hidden, experts) = ((Dim::Hidden, self.hidden), (Dim::Expert, moe.experts));
        let router = self.weight("router.weight", Role::Router, moe.router_bias, &[hidden, experts]);
        let logits = self.tensor("router.scores", ACTIVATION, &[token, experts]);
        self.push("router", LayerOperation::Router { early: false }, &[normed, router], &[logits]);
        let choice = self.tensor("router.choice", TensorKind::Choice, &[token, (Dim::Choice, moe.top_k)]);
        let form = ChoiceForm { single_pass: false, single_choice: false };
        self.push("router.choice", LayerOperation::Choose(form), &[logits], &[choice]);
        let routed = Network {
            kind: NetworkKind::Experts,
            width: moe.width,
            bias: moe.expert_bias,
            choice: Some((choice, moe.experts)),
            output_gate: false,
        };
        let output = self.network(routed, normed);
        // A norm of what all of them add needs their sum.
        let sums = layer.norms > 3;
        let branch = if sums { output } else { stream };
        if !sums {
            self.push("experts.residual", LayerOperation::Residual, &[stream, output], &[stream]);
        }
        if moe.shared_width > 0 {
            let (kind, width, output_gate) = (NetworkKind::Shared, moe.shared_width, moe.shared_gate);
            let shared = Network { kind, width, bias: false, choice: None, output_gate };
            let output = self.network(shared, normed);
            self.push("shared_expert.residual", LayerOperation::Residual, &[branch, output], &[branch]);
        }
        if sums {
            self.output_norm(FEED_FORWARD_OUTPUT_NORM, layer, 2, output);
            self.push("experts.residual", LayerOperation::Residual, &[stream, output], &[stream]);
        }
    }

    fn network(&mut self, network: Network, normed: TensorId) -> TensorId {
        let Network { kind, width, bias, choice, output_gate } = network;
        let token = (Dim::Token, self.load.tokens);
        let (hidden, width) = ((Dim::Hidden, self.hidden), (Dim::Width, width));
        let copies = choice.map_or(1, |(_, experts)| experts);
        let names = names(kind);
        let mut matrix = |name: &'static str, role: Role, extents: &[(Dim, u64)]| {
            self.tensor(name, TensorKind::Weight { role, copies, bias }, extents)
        };
        let [gate_role, up_role, down_role] = names.roles;
        let gate_weight = matrix(names.weights[0], gate_role, &[hidden, width]);
        let up_weight = matrix(names.weights[1], up_role, &[hidden, width]);
        let down_weight = matrix(names.weights[2], down_role, &[width, hidden]);
        let choice = choice.map(|(choice, _)| choice);
        let rows: Vec<(Dim, u64)> = match choice.and_then(|choice| self.graph.tensor(choice)) {
            Some(chosen) => vec![token, (Dim::Choice, chosen.size(Dim::Choice))],
            None => vec![token],
        };
        let gate = self.tensor(names.tensors[0], ACTIVATION, &[rows.as_slice(), &[width]].concat());
        let up = self.tensor(names.tensors[1], ACTIVATION, &[rows.as_slice(), &[width]].concat());
        let output = self.tensor(names.tensors[2], ACTIVATION, &[token, hidden]);
        let gate_up =
            LayerOperation::GateUp { network: kind, interleaved: false, concatenated: false, shared_beside: false };
        let with_choice = |ids: &[TensorId]| [ids, choice.as_slice()].concat();
        // One number for each token, whose sigmoid multiplies the inner vector: down is linear, so that it could as
        // well be what down makes.
        let extents = [hidden, (Dim::Width, 1)];
        let switch = output_gate.then(|| {
            let weight = self.weight("shared_expert.output_gate_weight", Role::SharedOutputGate, false, &extents);
            (weight, self.tensor("shared_expert.output_gate", TensorKind::Statistic, &[token]))
        });
        let mut reads = vec![normed, gate_weight, up_weight];
        let mut writes = vec![gate, up];
        if let Some((weight, number)) = switch {
            reads.push(weight);
            writes.push(number);
        }
        self.push(names.operators[0], gate_up, &with_choice(&reads), &writes);
        let activation = LayerOperation::Activation { network: kind };
        self.push(names.operators[1], activation, &with_choice(&writes), &[gate]);
        let down = LayerOperation::Down { network: kind, concatenated: false, shared_beside: false };
        self.push(names.operators[2], down, &with_choice(&[gate, down_weight]), &[output]);
        output
    }
}

const SOFTMAX: LayerOperation = LayerOperation::Softmax(SoftmaxForm { sum_rides: false, divided: false, local: false });

/// Tensors of an indexer.
struct Indexing {
    query_weight: TensorId,
    key_weight: TensorId,
    weights_weight: TensorId,
    gain: TensorId,
    bias: TensorId,
    query: TensorId,
    key: TensorId,
    weights: TensorId,
    keys: TensorId,
}

struct Network {
    kind: NetworkKind,
    width: u64,
    bias: bool,
    /// The choice, and of how many experts.
    choice: Option<(TensorId, u64)>,
    /// Whether the sigmoid of a product multiplies what it makes.
    output_gate: bool,
}

/// Names of a network's operators, tensors and weights, and the roles of its matrices.
struct Names {
    operators: [&'static str; 3],
    tensors: [&'static str; 3],
    weights: [&'static str; 3],
    roles: [Role; 3],
}

const fn names(kind: NetworkKind) -> Names {
    match kind {
        NetworkKind::Dense => Names {
            operators: ["feed_forward.gate_up", "feed_forward.activation", "feed_forward.down"],
            tensors: ["feed_forward.gate", "feed_forward.up", "feed_forward.output"],
            weights: ["feed_forward.gate_weight", "feed_forward.up_weight", "feed_forward.down_weight"],
            roles: [Role::Gate, Role::Up, Role::Down],
        },
        NetworkKind::Shared => Names {
            operators: ["shared_expert.gate_up", "shared_expert.activation", "shared_expert.down"],
            tensors: ["shared_expert.gate", "shared_expert.up", "shared_expert.output"],
            weights: ["shared_expert.gate_weight", "shared_expert.up_weight", "shared_expert.down_weight"],
            roles: [Role::SharedGate, Role::SharedUp, Role::SharedDown],
        },
        NetworkKind::Experts => Names {
            operators: ["experts.gate_up", "experts.activation", "experts.down"],
            tensors: ["experts.gate", "experts.up", "experts.output"],
            weights: ["experts.gate_weight", "experts.up_weight", "experts.down_weight"],
            roles: [Role::ExpertGate, Role::ExpertUp, Role::ExpertDown],
        },
    }
}
