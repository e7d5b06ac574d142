//! The transformer as read from a Hugging Face `config.json`: layers, their tensors, and the counts that follow.
//!
//! One list of tensors per layer ([`Layer::tensors`]) is the single source of shapes: parameter counts, the operator
//! graph and the placement all come from it.

pub mod builtin;
mod checkpoint;
mod config_json;
mod count;
mod draft;
mod read;
mod tensor;

pub use checkpoint::CheckpointFormat;
use serde::Serialize;
pub use tensor::{Role, Tensor};

/// A transformer. Values of this type have been checked: all sizes are at least 1 and small enough that no product
/// of them overflows `u64`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// Name of the built-in, or the file's path.
    pub name: String,
    /// `model_type` of the config file, for example `qwen3_moe`.
    pub family: String,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Entries of the vocabulary.
    pub vocabulary: u64,
    /// Longest sequence that the model was made for, in tokens.
    pub max_positions: u64,
    /// Whether the LM head is the embedding table.
    pub tied_embeddings: bool,
    /// The layers from input to output.
    pub layers: Vec<Layer>,
    /// Layers for multi-token prediction that the checkpoint brings beside them (`num_nextn_predict_layers`): a draft
    /// model, see [`Model::next_token_predictor`].
    pub next_token_layers: u64,
    /// RMSNorm epsilon (used by the numeric reading only).
    pub norm_epsilon: f64,
    /// Base of the rotary embedding (used by the numeric reading only).
    pub rope_theta: f64,
    /// Whether checkpoints hold the gains of norms less one: `x * (1 + gain)` (Qwen3-Next; used by the numeric reading
    /// only).
    pub centred_gains: bool,
    /// What of the file is not modelled, or is taken otherwise, in words.
    #[serde(skip)]
    pub notes: Vec<String>,
    /// How the checkpoint's files store it, where they say so. A built-in model is not read from a checkpoint.
    #[serde(skip)]
    pub checkpoint: Option<CheckpointFormat>,
}

/// One transformer layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// How the layer looks back.
    pub attention: Attention,
    /// What follows the attention.
    pub feed_forward: FeedForward,
    /// RMSNorm gains of width `hidden` in this layer (2 in most families, 4 in Grok).
    pub norms: u64,
}

impl Layer {
    /// Routed experts that one token uses; 0 in a dense layer.
    pub const fn top_k(&self) -> u64 {
        match &self.feed_forward {
            FeedForward::Dense { .. } => 0,
            FeedForward::Moe(moe) => moe.top_k,
        }
    }
}

/// How far back a layer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Every earlier token.
    Full,
    /// The last `n` tokens (gpt-oss).
    Window(u64),
    /// The tokens of the current chunk of `n` (Llama 4).
    Chunk(u64),
}

impl Reach {
    /// Most tokens that one query can see with `context` tokens in the cache.
    pub fn visible(self, context: u64) -> u64 {
        match self {
            Self::Full => context,
            Self::Window(limit) | Self::Chunk(limit) => context.min(limit),
        }
    }

    /// The oldest of `tokens` tokens that the last one sees.
    pub const fn oldest(self, tokens: u64) -> u64 {
        match self {
            Self::Full => 0,
            Self::Window(limit) => tokens.saturating_sub(limit),
            Self::Chunk(limit) => {
                let limit = if limit == 0 { 1 } else { limit };
                tokens.saturating_sub(1) / limit * limit
            }
        }
    }
}

/// The attention of a layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// Multi-head, grouped-query or multi-query attention.
    Grouped(GroupedAttention),
    /// Multi-head latent attention (DeepSeek-V3).
    Latent(LatentAttention),
    /// Gated linear attention (Qwen3-Next): a state instead of a cache.
    Linear(LinearAttention),
}

/// Multi-head, grouped-query or multi-query attention.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupedAttention {
    /// Query heads.
    pub heads: u64,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u64,
    /// Width of one head.
    pub head_dim: u64,
    /// Biases on the q, k and v projections.
    pub qkv_bias: bool,
    /// Bias on the output projection.
    pub output_bias: bool,
    /// Norms of q and k with gains. Norms without (Llama 4) are none: no parameters.
    pub qk_norm: QkNorm,
    /// One learned sink logit per head (gpt-oss).
    pub sinks: bool,
    /// Whether the result is multiplied with the sigmoid of a further projection, as wide as the queries (Qwen3-Next).
    pub output_gate: bool,
    /// Whether the result of each head is multiplied with the sigmoid of a number that a further projection makes for
    /// it (Step-3.5).
    pub head_gate: bool,
    /// Leading dimensions of a head that are rotated (all of them, half in GLM; 0 in Llama 4's NoPE layers).
    pub rotary_dim: u64,
    /// How far back the layer looks.
    pub reach: Reach,
    /// Width of the compressed and normed vector that queries are made of, where they are (Step-3's multi-matrix
    /// factorisation, arXiv 2507.19427, section 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_rank: Option<u64>,
    /// Where values come from.
    #[serde(skip_serializing_if = "HeadValues::is_plain")]
    pub values: HeadValues,
}

/// Where the values of grouped attention come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadValues {
    /// From a projection of their own, as wide as keys.
    #[default]
    Plain,
    /// From a projection of their own, of another width (MiMo-V2).
    Width(u64),
    /// They are what the projection of keys makes, before its norm and rotation (Gemma 4).
    OfKeys,
}

impl HeadValues {
    /// Whether they come from a projection of their own as wide as keys.
    pub const fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }
}

impl GroupedAttention {
    /// Width of one head's value.
    pub const fn value_dim(&self) -> u64 {
        match self.values {
            HeadValues::Plain | HeadValues::OfKeys => self.head_dim,
            HeadValues::Width(width) => width,
        }
    }
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None with gains.
    None,
    /// The RMSNorm of each head, whose gains all heads share (Qwen3, GLM-4.5).
    Head,
    /// With a gain for each element of all heads: the RMSNorm of all queries together, and of all keys (OLMo 2,
    /// MiniMax-M2). Its time is taken as that of [`QkNorm::Head`]; the numeric reading does not know it.
    Whole,
}

impl QkNorm {
    /// Norms of heads, or none.
    pub const fn of_heads(is_there: bool) -> Self {
        if is_there { Self::Head } else { Self::None }
    }

    /// Whether there are any.
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// As `true` and `false` before there was a third.
impl Serialize for QkNorm {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_bool(false),
            Self::Head => serializer.serialize_bool(true),
            Self::Whole => serializer.serialize_str("whole"),
        }
    }
}

/// Multi-head latent attention (DeepSeek-V2 paper, section 2.1).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LatentAttention {
    /// Query heads.
    pub heads: u64,
    /// Width of the compressed query, where queries are compressed.
    pub query_rank: Option<u64>,
    /// Width of the compressed keys and values: what the KV cache holds.
    pub kv_rank: u64,
    /// Width of a head's part without rotation.
    pub nope_dim: u64,
    /// Width of the rotated part, shared by all heads and cached beside the latent.
    pub rope_dim: u64,
    /// Width of a head's value.
    pub value_dim: u64,
    /// What chooses the tokens that are looked at, where not all are (DeepSeek-V3.2).
    pub indexer: Option<Indexer>,
}

/// The indexer of sparse attention (DeepSeek Sparse Attention: the report of DeepSeek-V3.2-Exp, equation 1; `Indexer` of
/// its `inference/model.py`).
///
/// It scores every cached token `s` with `sum over its heads of w relu(q . k_s)`, where queries come from the compressed
/// query, the one key of a token and the weights `w` from the layer's input. Attention looks at the `top_k` best. Keys
/// are cached beside the latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Indexer {
    /// Heads with queries and weights of their own.
    pub heads: u64,
    /// Width of a query and of the key; its leading `rope_dim` dimensions are rotated.
    pub head_dim: u64,
    /// Most tokens that a query looks at.
    pub top_k: u64,
    /// Whether pairs `(2 i, 2 i + 1)` are rotated (GLM-5) and not `(i, i + rope_dim / 2)` (DeepSeek-V3.2).
    pub interleaved: bool,
}

/// Epsilon of the LayerNorm of an indexer's keys (`modeling_deepseek_v32.py`).
pub const INDEX_NORM_EPSILON: f64 = 1e-6;

/// Gated linear attention with the delta rule (Gated Delta Networks, arXiv 2412.06464, as in Qwen3-Next).
///
/// Of the tokens seen so far a user keeps, for each value head, a matrix of `key_dim` x `value_dim`, and the last
/// inputs of a short convolution. Neither grows with the context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinearAttention {
    /// Heads with queries and keys of their own.
    pub key_heads: u64,
    /// Heads with values and a state of their own; a multiple of `key_heads`, which neighbours share.
    pub value_heads: u64,
    /// Width of a head's query and key.
    pub key_dim: u64,
    /// Width of a head's value.
    pub value_dim: u64,
    /// Tokens that the causal convolution of queries, keys and values reaches over, the new one included.
    pub kernel: u64,
}

impl LinearAttention {
    /// Width of all queries, or of all keys.
    pub const fn key_width(&self) -> u64 {
        self.key_heads * self.key_dim
    }

    /// Width of all values.
    pub const fn value_width(&self) -> u64 {
        self.value_heads * self.value_dim
    }

    /// Channels of the convolution: queries, keys and values.
    pub const fn channels(&self) -> u64 {
        2 * self.key_width() + self.value_width()
    }

    /// Value heads that share a key head.
    pub const fn group(&self) -> u64 {
        match self.value_heads.checked_div(self.key_heads) {
            Some(each) => each,
            None => 0,
        }
    }

    /// Elements of the states of all heads.
    pub const fn state_elements(&self) -> u64 {
        self.value_width() * self.key_dim
    }

    /// Elements of the convolution's last inputs. The implementation keeps one token more than is read again.
    pub const fn tail_elements(&self) -> u64 {
        self.kernel.saturating_sub(1) * self.channels()
    }
}

/// What follows the attention.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedForward {
    /// A gated feed-forward network (SwiGLU or GeGLU): gate, up and down.
    Dense {
        /// Inner width.
        width: u64,
        /// Biases on all three.
        bias: bool,
    },
    /// A mixture of experts.
    Moe(Moe),
}

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moe {
    /// Routed experts.
    pub experts: u64,
    /// Routed experts that one token uses.
    pub top_k: u64,
    /// Inner width of one routed expert.
    pub width: u64,
    /// Inner width of the dense network that every token uses beside the routed experts (shared experts of GLM,
    /// DeepSeek and Llama 4 added up; Grok-2's residual MLP). 0 where there is none.
    pub shared_width: u64,
    /// Whether the sigmoid of one more product multiplies what the shared expert makes (Qwen2-MoE, Qwen3-Next).
    pub shared_gate: bool,
    /// Biases on the routed experts' matrices (gpt-oss).
    pub expert_bias: bool,
    /// A bias per expert in the router: of its logits (gpt-oss), or of the scores that are compared
    /// ([`Selection::corrected`]; DeepSeek, GLM).
    pub router_bias: bool,
    /// How the router's logits become a choice and its weights.
    pub selection: Selection,
    /// What stands between gate, up and down of the routed experts.
    pub gating: Gating,
}

/// How a router's logits become a choice of experts and their weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Selection {
    /// From logits to scores.
    pub scoring: Scoring,
    /// Whether the router's bias is added to the scores while they are compared, and not to the weights (DeepSeek-V3's
    /// "noaux_tc").
    pub corrected: bool,
    /// Groups of neighbouring experts; 1: experts are in no groups.
    pub groups: u64,
    /// Groups that may be chosen from: those with the largest sums of their two best scores.
    pub kept_groups: u64,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalise: bool,
    /// What the weights are multiplied with in the end.
    pub scale: f64,
    /// Whether a weight multiplies what an expert reads (Llama 4), not what it makes.
    pub weighs_input: bool,
}

/// From a router's logits to scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// The softmax over all experts.
    Softmax,
    /// A sigmoid of each.
    Sigmoid,
}

impl Selection {
    /// The largest of a softmax, their weights divided by their sum or not.
    pub const fn softmax(normalise: bool) -> Self {
        let scoring = Scoring::Softmax;
        Self { scoring, corrected: false, groups: 1, kept_groups: 1, normalise, scale: 1.0, weighs_input: false }
    }

    /// Whether the order of the logits is that of what is compared: then experts can be chosen by logits, also by
    /// logits that lack a common positive factor.
    pub const fn follows_logits(&self) -> bool {
        !self.corrected && self.groups <= 1
    }

    /// Whether weights follow from the logits of the chosen alone.
    pub const fn weighs_chosen_alone(&self) -> bool {
        match self.scoring {
            Scoring::Softmax => self.normalise,
            Scoring::Sigmoid => true,
        }
    }
}

/// What a gated network makes of gate and up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gating {
    /// `silu(gate) * up`.
    Silu,
    /// `gate * sigmoid(alpha gate) * (up + 1)`, gate cut off above `limit`, up at plus and minus `limit` (gpt-oss).
    Clamped {
        /// Factor in the sigmoid.
        alpha: f64,
        /// Where gate and up are cut off.
        limit: f64,
    },
}

/// Parameters of a model, counted from its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ParameterCount {
    /// Every parameter once; a tied LM head is not counted again.
    pub total: u64,
    /// Parameters that one token uses, both embedding tables counted whole.
    pub active: u64,
    /// The same without the input embedding (of which a token reads one row). With tied embeddings the table counts, as
    /// the LM head.
    pub active_without_input_embedding: u64,
}
