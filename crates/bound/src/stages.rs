//! The products of a model as a chain of stages, each of which waits for all of the one before.
//!
//! Which sets of products do that follows from the mathematics of a layer alone. Each product is formed once, with
//! complete elements of its vector:
//!
//! * an element of q, k or v needs *one* element of the layer's input; a product of the scores needs a whole element of
//!   q, and so *every* element of that input, and so every product of the network before, down included;
//! * a product of gate or up needs one element of the stream after attention, and so all heads: every q, k and v
//!   product, every score and every value. It does not need the whole output projection: only one row of it;
//! * a product of down needs an element of gate and up, and so every element of the stream after attention;
//! * a product of the LM head needs one element of the last stream: all of gate and up, one row of down;
//! * the next token's first products need the token, and so every logit.
//!
//! So attention without its output projection and the network take turns, and between a layer and the next either down
//! or q, k and v belongs to its stage, not both: a row of down may be followed at once by the column of q that reads
//! what it makes. Each choice makes a chain, and every chain a bound; the largest of them holds. Left out is what a
//! rewrite forms away or what stands aside of the chain: the router (its logits can be formed beside the output
//! projection), gains, the output projection, embedding.

use serde::Serialize;
use wafersim_spec::model::{Attention, Layer, Role, Tensor};
use wafersim_spec::{Bytes, Model, Precision};

use crate::BoundLoad;

/// A set of products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Products {
    /// Projections of the layer's input, scores, values: attention without its output projection.
    Attention,
    /// Scores and values or products with a state, and what makes heads of a compressed query: attention without what
    /// reads the layer's input.
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
#[non_exhaustive]
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
    fn new(model: &Model, layer: &Layer, load: &BoundLoad) -> Self {
        let mut parts = Self {
            reads_input: Count::default(),
            heads: cached(&layer.attention, load),
            gate_up: Count::default(),
            down: Count::default(),
            compressed: None,
        };
        let with_cache = parts.heads;
        let chooses = chooses(&layer.attention, load);
        for tensor in layer.tensors(model.hidden) {
            let count = active(&tensor, &load.precision);
            match tensor.role {
                Role::QueryDown => {
                    parts.compressed = Some((count, with_cache));
                    parts.reads_input = parts.reads_input.and(count);
                }
                Role::QueryUp | Role::KvUp => parts.heads = parts.heads.and(count),
                Role::IndexQuery if chooses => parts.heads = parts.heads.and(count),
                Role::IndexWeight if chooses => parts.reads_input = parts.reads_input.and(count),
                Role::Gate | Role::Up | Role::SharedGate | Role::SharedUp | Role::ExpertGate | Role::ExpertUp => {
                    parts.gate_up = parts.gate_up.and(count);
                }
                Role::Down | Role::SharedDown | Role::ExpertDown => parts.down = parts.down.and(count),
                Role::Query
                | Role::Key
                | Role::Value
                | Role::KvDown
                | Role::IndexKey
                | Role::OutputGate
                | Role::WriteStrength
                | Role::Decay => parts.reads_input = parts.reads_input.and(count),
                // Left out: see above. A convolution has products with earlier tokens, which wait for nothing.
                _ => {}
            }
        }
        parts
    }

    /// The attention's stages: after a network whose down belongs to its stage, or after any; with the compression of
    /// its query as a stage of its own where it has one and that is wanted.
    fn attention(&self, after_down: bool, compression_apart: bool) -> Vec<Stage> {
        match self.compressed {
            _ if after_down => vec![self.heads.stage(Products::Heads)],
            Some((compression, heads)) if compression_apart => {
                vec![compression.stage(Products::Compression), heads.stage(Products::Heads)]
            }
            _ => vec![self.reads_input.and(self.heads).stage(Products::Attention)],
        }
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
    let bytes = precision.stored(tensor.role).storage(tensor.inputs * tensor.outputs) * tensor.active;
    Count { macs: tensor.macs(), bytes }
}

/// Whether some tokens are left out by an indexer. Where all are looked at, nobody need score them.
fn chooses(attention: &Attention, load: &BoundLoad) -> bool {
    match attention {
        Attention::Latent(latent) => latent.indexer.is_some_and(|indexer| indexer.top_k < load.context),
        Attention::Grouped(_) | Attention::Linear(_) => false,
    }
}

/// Products with what is remembered of earlier tokens. A kind of attention that is new has its line here, and in
/// [`remembered`].
fn cached(attention: &Attention, load: &BoundLoad) -> Count {
    let seen = attention.reach().visible(load.context);
    let macs = match attention {
        Attention::Grouped(grouped) => {
            grouped.heads.saturating_mul(grouped.head_dim + grouped.value_dim()).saturating_mul(seen)
        }
        Attention::Latent(latent) => {
            // Keys and values of all heads, or the latent for all heads: whichever takes less, wherever it is kept.
            let expanded = latent.nope_dim + latent.rope_dim + latent.value_dim;
            let absorbed = latent.kv_rank + latent.rope_dim + latent.kv_rank;
            let attended = latent.heads.saturating_mul(expanded.min(absorbed)).saturating_mul(latent.seen(seen));
            // Every token is scored before some are chosen.
            let indexer = latent.indexer.filter(|_| chooses(attention, load));
            let of_index = indexer.map_or(0, |indexer| indexer.heads.saturating_mul(indexer.head_dim));
            attended.saturating_add(of_index.saturating_mul(seen))
        }
        // The state times the key and times the query. What the token adds to the state may follow later: the result
        // needs only the product of key and query for it.
        Attention::Linear(linear) => linear.state_elements().saturating_mul(2),
    };
    Count { macs, bytes: remembered(attention, load) }
}

/// Bytes of one user's earlier tokens in a layer that a token reads.
fn remembered(attention: &Attention, load: &BoundLoad) -> Bytes {
    let seen = attention.reach().visible(load.context);
    let elements = match attention {
        // Of tokens that are not chosen only the indexer's key is read.
        Attention::Latent(latent) => (latent.kv_rank + latent.rope_dim)
            .saturating_mul(latent.seen(seen))
            .saturating_add(latent.index_width().saturating_mul(seen)),
        _ => attention.kv_width().saturating_mul(seen),
    };
    let cache = load.precision.kv_cache.storage(elements);
    cache + attention.state_bytes(load.precision.activations)
}

/// The chains of stages of one token, from the first layer to the LM head, that its products allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chains {
    /// The stages that chains are made of, each once.
    pub stages: Vec<Stage>,
    /// Each chain as places in `stages`.
    pub chains: Vec<Vec<usize>>,
}

/// Choices that are made apart from each other; further ones follow the last of these. Models have two to five.
const MOST_CHOICES: usize = 6;

/// The layers of a model, alike ones as one kind.
#[derive(Debug)]
pub(crate) struct Layers<'m> {
    model: &'m Model,
    /// The first layer of each kind.
    kinds: Vec<&'m Layer>,
    /// The kind of each layer.
    of_layer: Vec<usize>,
}

impl<'m> Layers<'m> {
    pub fn new(model: &'m Model) -> Self {
        let mut kinds: Vec<&Layer> = Vec::new();
        let mut kind = |layer: &'m Layer| {
            kinds.iter().position(|kind| *kind == layer).unwrap_or_else(|| {
                kinds.push(layer);
                kinds.len() - 1
            })
        };
        let of_layer = model.layers.iter().map(&mut kind).collect();
        Self { model, kinds, of_layer }
    }

    /// The sum over all layers of something that each kind has.
    fn sum(&self, of_kind: impl Fn(&Layer) -> u64) -> u64 {
        let of_kinds = self.kinds.iter().map(|layer| of_kind(layer)).enumerate();
        let of_all = of_kinds.map(|(kind, each)| {
            let layers = self.of_layer.iter().filter(|of_layer| **of_layer == kind).count() as u64;
            each.saturating_mul(layers)
        });
        of_all.fold(0, u64::saturating_add)
    }

    /// All multiply-accumulates of one token that no rewrite forms away.
    pub fn all_macs(&self, load: &BoundLoad) -> u64 {
        let of_layers = self.sum(|layer| {
            let products = layer.tensors(self.model.hidden).into_iter().filter(|tensor| tensor.role != Role::Router);
            let products = products.fold(0_u64, |sum, tensor| sum.saturating_add(tensor.macs()));
            products.saturating_add(cached(&layer.attention, load).macs)
        });
        self.model.lm_head().macs().saturating_add(of_layers)
    }

    /// Bytes that a token's way leads past: every matrix of a product, and what its user's earlier tokens take. Those
    /// of other users may lie elsewhere, with copies of the weights. The table of the embedding only where it is the LM
    /// head too: a token may arrive as its row.
    pub fn held_bytes(&self, load: &BoundLoad) -> Bytes {
        let stored = |tensor: &Tensor| {
            let elements = tensor.inputs * tensor.outputs;
            if tensor.inputs > 1 {
                load.precision.stored(tensor.role).storage(elements) * tensor.copies
            } else {
                Bytes::ZERO
            }
        };
        let of_layers = self.sum(|layer| {
            let weights: Bytes = layer.tensors(self.model.hidden).iter().map(stored).sum();
            (weights + remembered(&layer.attention, load)).0
        });
        Bytes(of_layers) + stored(&self.model.lm_head())
    }
}

/// Every chain in which layers that are alike, before layers that are alike, choose alike. Which chains there are
/// follows from the model alone, never from what is asked of it.
pub(crate) fn chains(all: &Layers<'_>, load: &BoundLoad) -> Chains {
    let Layers { model, kinds, of_layer: layers } = all;
    let parts: Vec<Parts> = kinds.iter().map(|layer| Parts::new(model, layer, load)).collect();
    // What is chosen: for a pair of neighbours whether down belongs to the stage of the first, for a kind of attention
    // whether the compression of its query stands apart.
    let mut pairs: Vec<(usize, Option<usize>)> = Vec::new();
    for (index, kind) in layers.iter().enumerate() {
        let pair = (*kind, layers.get(index + 1).copied());
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    let compressed: Vec<usize> = (0..parts.len()).filter(|kind| parts[*kind].compressed.is_some()).collect();
    let choices = (pairs.len() + compressed.len()).min(MOST_CHOICES);
    let head = active(&model.lm_head(), &load.precision).stage(Products::Head);

    let mut found = Chains { stages: Vec::new(), chains: Vec::new() };
    for chosen in 0..1_usize << choices {
        let is_chosen = |choice: usize| chosen >> choice.min(choices - 1) & 1 == 1;
        let place = |place: Option<usize>| place.is_some_and(is_chosen);
        let mut chain = Vec::new();
        let mut after_down = false;
        for (index, kind) in layers.iter().enumerate() {
            let apart = compressed.iter().position(|compressed| compressed == kind);
            let attention = parts[*kind].attention(after_down, place(apart.map(|apart| pairs.len() + apart)));
            let pair = (*kind, layers.get(index + 1).copied());
            after_down = place(pairs.iter().position(|known| *known == pair));
            chain.extend(attention);
            chain.push(parts[*kind].network(after_down));
        }
        if !after_down {
            chain.push(head);
        }
        let chain = chain.into_iter().map(|stage| found.place(stage)).collect();
        if !found.chains.contains(&chain) {
            found.chains.push(chain);
        }
    }
    found
}

impl Chains {
    fn place(&mut self, stage: Stage) -> usize {
        self.stages.iter().position(|known| *known == stage).unwrap_or_else(|| {
            self.stages.push(stage);
            self.stages.len() - 1
        })
    }
}
