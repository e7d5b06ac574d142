//! The products of a model as a chain of stages, each of which waits for all of the one before.
//!
//! Which sets of products do that follows from the mathematics of a layer alone. Each product is formed once, with complete
//! elements of its vector:
//!
//! * an element of q, k or v needs *one* element of the layer's input; a product of the scores needs a whole element of q,
//!   and so *every* element of that input, and so every product of the network before, down included;
//! * a product of gate or up needs one element of the stream after attention, and so all heads: every q, k and v product,
//!   every score and every value. It does not need the whole output projection: only one row of it;
//! * a product of down needs an element of gate and up, and so every element of the stream after attention;
//! * a product of the LM head needs one element of the last stream: all of gate and up, one row of down;
//! * the next token's first products need the token, and so every logit.
//!
//! So attention without its output projection and the network take turns, and between a layer and the next either down
//! or q, k and v belongs to its stage, not both: a row of down may be followed at once by the column of q that reads what it
//! makes. [`chain`] chooses for each edge what takes longer. Left out is what a rewrite forms away or what stands aside of
//! the chain: the router (its logits can be formed beside the output projection), gains, the output projection, embedding.

use serde::Serialize;
use wafersim_spec::model::{Attention, Layer, Role, Tensor};
use wafersim_spec::{Bytes, Model, Precision};

use crate::Load;

/// A set of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Products {
    /// Projections of the layer's input, scores, values: attention without its output projection.
    Attention,
    /// Scores and values or products with a state, and what makes heads of a compressed query: attention without what reads
    /// the layer's input.
    Heads,
    /// The compression of the layer's input to a query of all heads.
    Compression,
    /// Gate and up.
    GateUp,
    /// Gate, up and down.
    Network,
    /// The LM head.
    Head,
}

impl Products {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attention => "projections, heads",
            Self::Heads => "heads",
            Self::Compression => "compression of the query",
            Self::GateUp => "gate, up",
            Self::Network => "gate, up, down",
            Self::Head => "LM head",
        }
    }
}

/// A set of products that waits for all of the set before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Which products.
    pub products: Products,
    /// Multiply-accumulates of one token.
    pub macs: u64,
    /// Weights and cache that one token works with there.
    pub bytes: Bytes,
}

/// Multiply-accumulates with the bytes that they read.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    macs: u64,
    bytes: Bytes,
}

impl Count {
    fn and(self, other: Self) -> Self {
        Self { macs: self.macs.saturating_add(other.macs), bytes: self.bytes + other.bytes }
    }

    fn stage(self, products: Products) -> Stage {
        Stage { products, macs: self.macs, bytes: self.bytes }
    }
}

/// The parts of a layer that stages are made of.
#[derive(Debug, Clone, Copy)]
struct Parts {
    /// Products with the layer's input.
    reads_input: Count,
    /// Products of the heads: scores, values, products with compressed vectors or with a state.
    heads: Count,
    gate_up: Count,
    down: Count,
    /// Of `reads_input`, the compression of the query, and of `heads`, scores and values: these need all of that. Where
    /// queries are not compressed, a head's scores wait for that head's query alone.
    compressed: Option<(Count, Count)>,
}

impl Parts {
    fn new(model: &Model, layer: &Layer, load: &Load) -> Self {
        let mut parts = Self {
            reads_input: Count::default(),
            heads: cached(&layer.attention, load),
            gate_up: Count::default(),
            down: Count::default(),
            compressed: None,
        };
        let with_cache = parts.heads;
        for tensor in layer.tensors(model.hidden) {
            let count = active(&tensor, &load.precision);
            match tensor.role {
                Role::QueryDown => {
                    parts.compressed = Some((count, with_cache));
                    parts.reads_input = parts.reads_input.and(count);
                }
                Role::QueryUp | Role::KvUp => parts.heads = parts.heads.and(count),
                Role::Gate | Role::Up | Role::SharedGate | Role::SharedUp | Role::ExpertGate | Role::ExpertUp => {
                    parts.gate_up = parts.gate_up.and(count);
                }
                Role::Down | Role::SharedDown | Role::ExpertDown => parts.down = parts.down.and(count),
                Role::Query
                | Role::Key
                | Role::Value
                | Role::KvDown
                | Role::OutputGate
                | Role::WriteStrength
                | Role::Decay => parts.reads_input = parts.reads_input.and(count),
                // Left out: see above. A convolution has products with earlier tokens, which wait for nothing.
                _ => {}
            }
        }
        parts
    }

    /// The attention's stages: what may follow a network whose down belongs to its stage, or any.
    fn attention(&self, after_down: bool) -> Vec<Vec<Stage>> {
        if after_down {
            return vec![vec![self.heads.stage(Products::Heads)]];
        }
        let mut ways = vec![vec![self.reads_input.and(self.heads).stage(Products::Attention)]];
        if let Some((compression, heads)) = self.compressed {
            ways.push(vec![compression.stage(Products::Compression), heads.stage(Products::Heads)]);
        }
        ways
    }

    fn network(&self, with_down: bool) -> Stage {
        if with_down {
            return self.gate_up.and(self.down).stage(Products::Network);
        }
        self.gate_up.stage(Products::GateUp)
    }
}

/// What one token reads of a tensor.
fn active(tensor: &Tensor, precision: &Precision) -> Count {
    if tensor.inputs <= 1 {
        return Count::default();
    }
    let bytes = precision.of(tensor.class).storage(tensor.inputs * tensor.outputs) * tensor.active;
    Count { macs: tensor.macs(), bytes }
}

/// Products with what is remembered of earlier tokens. A kind of attention that is new has its line here, and in
/// [`remembered`].
fn cached(attention: &Attention, load: &Load) -> Count {
    let seen = attention.reach().visible(load.context);
    let macs = match attention {
        Attention::Grouped(grouped) => {
            grouped.heads.saturating_mul(grouped.head_dim).saturating_mul(2).saturating_mul(seen)
        }
        Attention::Latent(latent) => {
            // Keys and values of all heads, or the latent for all heads: whichever takes less, wherever it is kept.
            let expanded = latent.nope_dim + latent.rope_dim + latent.value_dim;
            let absorbed = latent.kv_rank + latent.rope_dim + latent.kv_rank;
            latent.heads.saturating_mul(expanded.min(absorbed)).saturating_mul(seen)
        }
        // The state times the key and times the query. What the token adds to the state may follow later: the result needs
        // only the product of key and query for it.
        Attention::Linear(linear) => linear.state_elements().saturating_mul(2),
    };
    Count { macs, bytes: remembered(attention, load) }
}

/// Bytes that one user's earlier tokens take in a layer.
fn remembered(attention: &Attention, load: &Load) -> Bytes {
    let seen = attention.reach().visible(load.context);
    let cache = load.precision.kv_cache.storage(attention.kv_width().saturating_mul(seen));
    cache + attention.state_bytes(load.precision.activations)
}

/// The chain of stages of one token, from the first layer to the LM head, that takes longest; `cycles` says how long a stage
/// takes at least.
pub(crate) fn chain(model: &Model, load: &Load, cycles: impl Fn(&Stage) -> f64) -> Vec<Stage> {
    // The best chains so far: whose last stage is without down, and with it.
    let mut best = [Some(Chain::default()), None];
    for layer in &model.layers {
        let parts = Parts::new(model, layer, load);
        let attended = best.iter().enumerate().filter_map(|(after_down, before)| {
            let before = before.as_ref()?;
            let ways = parts.attention(after_down == 1).into_iter();
            ways.map(|way| before.with(&way, &cycles)).reduce(Chain::longer)
        });
        // Whether down belongs to this stage is the next layer's matter: what came before is the same for both.
        let attended = attended.reduce(Chain::longer).unwrap_or_default();
        best = [false, true].map(|with_down| Some(attended.with(&[parts.network(with_down)], &cycles)));
    }
    let [without, with] = best;
    let head = active(&model.lm_head(), &load.precision).stage(Products::Head);
    let ended = without.map(|chain| chain.with(&[head], &cycles));
    ended.into_iter().chain(with).reduce(Chain::longer).map_or_else(Vec::new, |chain| chain.stages)
}

#[derive(Debug, Clone, Default)]
struct Chain {
    stages: Vec<Stage>,
    cycles: f64,
}

impl Chain {
    fn with(&self, stages: &[Stage], cycles: impl Fn(&Stage) -> f64) -> Self {
        let mut chain = self.clone();
        chain.cycles += stages.iter().map(cycles).sum::<f64>();
        chain.stages.extend(stages);
        chain
    }

    /// The first of two of the same length.
    fn longer(self, other: Self) -> Self {
        if other.cycles > self.cycles { other } else { self }
    }
}

/// All multiply-accumulates of one token that no rewrite forms away.
pub(crate) fn all_macs(model: &Model, load: &Load) -> u64 {
    let layers = model.layers.iter().map(|layer| {
        let products = layer.tensors(model.hidden).into_iter().filter(|tensor| tensor.role != Role::Router);
        let products = products.fold(0_u64, |sum, tensor| sum.saturating_add(tensor.macs()));
        products.saturating_add(cached(&layer.attention, load).macs)
    });
    layers.fold(model.lm_head().macs(), u64::saturating_add)
}

/// Bytes that a token's way leads past: every matrix of a product, and what its user's earlier tokens take. Those of other
/// users may lie elsewhere, with copies of the weights. The table of the embedding only where it is the LM head too: a token
/// may arrive as its row.
pub(crate) fn held_bytes(model: &Model, load: &Load) -> Bytes {
    let weights: Bytes = model
        .layers
        .iter()
        .flat_map(|layer| layer.tensors(model.hidden))
        .chain([model.lm_head()])
        .filter(|tensor| tensor.inputs > 1)
        .map(|tensor| load.precision.of(tensor.class).storage(tensor.inputs * tensor.outputs) * tensor.copies)
        .sum();
    let caches: Bytes = model.layers.iter().map(|layer| remembered(&layer.attention, load)).sum();
    weights + caches
}
