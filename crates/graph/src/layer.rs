//! One transformer layer, described once: operators over named dimensions, the tensors that they read and write, and
//! the dependencies that follow. Placement, lowering, the numeric reference and the exports all read this description.
//!
//! A fusion is a [`Rewrite`] of the description: it changes operators, never what the layer computes. A layer without
//! rewrites is the order of WaferLLM's layer (OSDI 2025).
//!
//! Nothing here knows a wafer, a layout or a clock.

mod build;
mod kept;
mod own;
mod rewrite;

use serde::Serialize;
use wafersim_spec::model::{Reach, Role};

pub use build::LayerLoad;
pub use kept::LayerGraphs;
pub use own::{OwnRewrite, OwnRewrites, RewriteRefused};
pub use rewrite::{Rewrite, RewriteError, Rewrites};

/// A named dimension of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dim {
    /// Tokens that go through together.
    Token,
    /// Width of the residual stream.
    Hidden,
    /// Query heads.
    Head,
    /// Heads with keys and values of their own.
    KvHead,
    /// Width of a head.
    HeadDim,
    /// Tokens in the cache.
    Cached,
    /// Routed experts.
    Expert,
    /// Chosen experts of a token.
    Choice,
    /// Inner width of a network.
    Width,
    /// Width of a compressed vector (latent attention).
    Rank,
    /// Tokens that a convolution reaches over.
    Tap,
    /// Channels of a convolution.
    Channel,
    /// Heads of an indexer.
    IndexHead,
    /// Width of an indexer's head.
    IndexDim,
}

/// A dimension with its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Which dimension.
    pub dim: Dim,
    /// Its size.
    pub size: u64,
}

/// A tensor of a layer. Ids come from the layer that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TensorId(u32);

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorKind {
    /// The residual stream.
    Stream,
    /// Made and used within the layer.
    Activation,
    /// One number for a vector or a head: sums, maxima.
    Statistic,
    /// Keys and values, or latents, of the tokens seen so far.
    Cache,
    /// What a user keeps whatever the context: states of linear attention, last inputs of its convolution.
    State,
    /// Numbers of experts and their weights; of an indexer those of tokens.
    Choice,
    /// A matrix at rest.
    Weight {
        /// What it does.
        role: Role,
        /// Copies with different values: the experts.
        copies: u64,
        /// Whether a bias comes with it.
        bias: bool,
    },
    /// The product of two matrices (and the gain between them), formed before anything runs.
    Formed {
        /// The matrix that an input goes through last.
        outer: Role,
        /// The one before it.
        inner: Role,
    },
    /// Gains of a norm, or sink logits.
    Vector {
        /// What it does.
        role: Role,
        /// Which of several with one role.
        copy: u64,
    },
}

/// A tensor of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tensor {
    /// Its name, for example `attention.query`.
    pub name: &'static str,
    /// Its dimensions, the slowest first.
    pub extents: Vec<Extent>,
    /// What it is for.
    pub kind: TensorKind,
}

impl Tensor {
    /// Elements in all (`u64::MAX` where they leave 64 bits).
    pub fn elements(&self) -> u64 {
        self.extents.iter().fold(1, |elements, extent| elements.saturating_mul(extent.size))
    }

    /// Size of a dimension; 1 where the tensor does not have it.
    pub fn size(&self, dim: Dim) -> u64 {
        self.extents.iter().find(|extent| extent.dim == dim).map_or(1, |extent| extent.size)
    }
}

/// Which network a gated network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// The only one of its layer.
    Dense,
    /// The one that every token uses beside the routed experts.
    Shared,
    /// Routed experts.
    Experts,
}

/// How the softmax of attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SoftmaxForm {
    /// The sum of the exponentials rides with the reduction of the weighted values, which are divided afterwards.
    pub sum_rides: bool,
    /// Each column of a head computes its own part of the exponentials, not all of them.
    pub divided: bool,
    /// Exponentials are relative to the maximum of their own row of the region; that of all rows is found beside them,
    /// and what was made of them is brought to it before it is summed. Only where the sum rides.
    pub local: bool,
}

/// How experts are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ChoiceForm {
    /// One pass over the scores keeps the largest, instead of one pass for each.
    pub single_pass: bool,
    /// One processing element of a line chooses and multicasts numbers and weights, instead of all choosing alike.
    pub single_choice: bool,
}

/// What an operator computes, and in which form. Forms are set by rewrites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerOperation {
    /// RMSNorm over the rows of its input. `riding`: the gain is applied at once, the sum of squares rides with the
    /// reduction of the products that read it, and what they make is scaled afterwards.
    Norm {
        /// Whether the sum rides.
        riding: bool,
    },
    /// Products of one input with several matrices, whose partial sums one reduction carries together. Where the
    /// router's logits begin here ([`Rewrite::EarlyRouter`]), the product of the stream with the router rides as well:
    /// the stream and the router are the last that is read, the logits so far the last that is written.
    Products,
    /// Values of grouped heads that are what the projection of keys makes (Gemma 4).
    ValueOfKey,
    /// RMSNorm of each head of q and of k. `riding`: only the gains are applied here, the sums ride with the reduction
    /// of the scores, and the scale comes after them. Rotations and products are linear, so a scale for each head may
    /// wait; keys enter the cache without it and get it there.
    HeadNorm {
        /// Whether the sums ride.
        riding: bool,
    },
    /// What is left of the norms of heads when their sums have come with the scores: scores and the new keys are
    /// scaled.
    HeadScale,
    /// Rotary embedding of the leading `rotary` dimensions of each head.
    Rope {
        /// Dimensions that are rotated.
        rotary: u64,
    },
    /// LayerNorm of the indexer's new key: mean, variance, gain, bias (sparse attention).
    IndexNorm,
    /// For every cached token the weighted sum, over the indexer's heads, of what is positive of its query times the
    /// token's key.
    IndexScores,
    /// The tokens with the best of these scores, which attention looks at.
    Select {
        /// How many.
        top_k: u64,
    },
    /// New entries into the cache.
    Append,
    /// Query times every key that is seen.
    Scores {
        /// How far back the layer looks.
        reach: Reach,
    },
    /// Softmax of each row of scores, with sink logits where the layer has them.
    Softmax(SoftmaxForm),
    /// Softmax times values.
    Values {
        /// Whether the sum of the exponentials rides along and divides the result.
        sum_rides: bool,
    },
    /// Product back to the residual stream. `logits_beside`: what attention adds to the router's logits of the next
    /// network, by the matrix Wr x Wo, rides with its reduction and is added to the logits so far.
    Output {
        /// Whether the router's logits are made beside it.
        logits_beside: bool,
    },
    /// Products of each head's vector with a matrix of that head (latent attention, absorbed form).
    PerHead,
    /// The result of attention times the sigmoid of a projection.
    OutputGate,
    /// Causal convolution of each channel over the last tokens, and SiLU (linear attention).
    Convolution,
    /// From two numbers for each head to how strongly a token is written, `sigmoid(b)`, and how much of the state
    /// stays, `exp(-exp(rate) softplus(a))`.
    StateGates,
    /// Queries and keys of each head to length 1; queries times `1 / sqrt(key_dim)`. `riding`: not here, the sums ride
    /// with what is read of the state.
    UnitNorm {
        /// Whether the sums ride.
        riding: bool,
    },
    /// For one token of a user after the other: the state decays, is read by the key; what is missing to the value is
    /// written with the key; the query reads the result. `single_read`: the query reads beside the key, before the
    /// token is written, and gets its share of the token afterwards: `q (S + k d) = q S + (q k) d`. One reduction
    /// carries both, and the sums of squares.
    DeltaRule {
        /// Whether key and query read together.
        single_read: bool,
    },
    /// RMSNorm of each head's result, times SiLU of a projection.
    GatedNorm,
    /// Adds branches to the residual stream.
    Residual,
    /// Router logits.
    Router {
        /// Whether they were made beside the output projection: only the norm's scale is left.
        early: bool,
    },
    /// The best `top_k` experts and their weights.
    Choose(ChoiceForm),
    /// Gate and up of a network.
    GateUp {
        /// Whose.
        network: NetworkKind,
        /// Gate and up lie interleaved: one operation of twice the length.
        interleaved: bool,
        /// The tiles of the chosen experts are worked on in one operation a row.
        concatenated: bool,
        /// Gate and up of the shared expert are made beside, and one reduction carries all: its input and matrices are
        /// the last that is read, gate and up the last that is written.
        shared_beside: bool,
    },
    /// `silu(gate) * up`, times the router's weight for experts.
    Activation {
        /// Whose.
        network: NetworkKind,
    },
    /// Down projection.
    Down {
        /// Whose.
        network: NetworkKind,
        /// As in `GateUp`.
        concatenated: bool,
        /// The shared expert's product is added before the reduction: its inner vector and matrix are the last that is
        /// read.
        shared_beside: bool,
    },
}

/// An operator of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerOperator {
    /// Unique in its layer, for example `attention.query_key_value`. Reports and mappings name it so.
    pub name: &'static str,
    /// What it computes.
    pub operation: LayerOperation,
    /// Tensors that it reads, weights included.
    pub reads: Vec<TensorId>,
    /// Tensors that it writes.
    pub writes: Vec<TensorId>,
}

/// A layer as operators and tensors, in an order in which each operator follows those that it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerGraph {
    tensors: Vec<Tensor>,
    operators: Vec<LayerOperator>,
    /// Whether products read their accumulators in place, without zeroing and copying around them.
    pub accumulators_in_place: bool,
    /// Whether the products of one input are interleaved.
    pub interleaved_products: bool,
    /// Whether neighbouring rows share out an activation.
    pub divided_activation: bool,
    /// Whether experts are chosen while the stream is on its way.
    pub choice_beside_stream: bool,
    /// Whether a norm's sum travels while experts are chosen.
    pub norm_beside_choice: bool,
    /// Whether tiles that are stored narrow are converted and multiplied in parts.
    pub conversion_in_strips: bool,
}

impl LayerGraph {
    /// The operators in order.
    pub fn operators(&self) -> &[LayerOperator] {
        &self.operators
    }

    /// The operator of a name.
    pub fn operator(&self, name: &str) -> Option<&LayerOperator> {
        self.operators.iter().find(|operator| operator.name == name)
    }

    /// All tensors with their ids.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorId, &Tensor)> {
        (0..).map(TensorId).zip(&self.tensors)
    }

    /// A tensor. Ids of another layer give nothing.
    pub fn tensor(&self, id: TensorId) -> Option<&Tensor> {
        self.tensors.get(id.0 as usize)
    }

    /// The tensors that an operator reads or writes.
    pub fn of<'a>(&'a self, ids: &'a [TensorId]) -> impl Iterator<Item = &'a Tensor> {
        ids.iter().filter_map(|id| self.tensor(*id))
    }

    /// The weights of an operator, in the order of its reads.
    pub fn weights<'a>(&'a self, operator: &'a LayerOperator) -> impl Iterator<Item = &'a Tensor> {
        self.of(&operator.reads).filter(|tensor| matches!(tensor.kind, TensorKind::Weight { .. }))
    }

    /// The layer in Graphviz's language, under a title.
    pub fn to_dot(&self, title: &str) -> String {
        crate::export::layer::dot(self, title)
    }

    /// The layer as JSON, under a title.
    pub fn to_json(&self, title: &str) -> serde_json::Value {
        crate::export::layer::json(self, title)
    }

    /// For each operator the earlier ones whose results it reads, by index in [`Self::operators`].
    pub fn dependencies(&self) -> Vec<Vec<usize>> {
        let mut writer: Vec<Option<usize>> = vec![None; self.tensors.len()];
        let mut all = Vec::with_capacity(self.operators.len());
        for (index, operator) in self.operators.iter().enumerate() {
            let of = |id: &TensorId| writer.get(id.0 as usize).copied().flatten();
            let mut sources: Vec<usize> = operator.reads.iter().filter_map(of).collect();
            sources.sort_unstable();
            sources.dedup();
            all.push(sources);
            for id in &operator.writes {
                if let Some(place) = writer.get_mut(id.0 as usize) {
                    *place = Some(index);
                }
            }
        }
        all
    }
}
