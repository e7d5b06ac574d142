//! Weight tensors: what they do in their layer, and their shapes.

use serde::{Deserialize, Serialize};

use crate::data_type::TensorClass;
use crate::precision::{Precision, RoleGroup};
use crate::units::Bytes;

/// What a tensor does in its layer. The order is the order of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Token embedding table (vocabulary x hidden).
    Embedding,
    /// Gain of the RMSNorm before attention.
    AttentionNorm,
    /// Query projection (`heads * head_dim` outputs).
    Query,
    /// Key projection.
    Key,
    /// Value projection.
    Value,
    /// Projection whose sigmoid (of grouped attention; by element or by head) or SiLU (of linear attention) multiplies
    /// what attention makes.
    OutputGate,
    /// Linear attention: how strongly a token is written into the state, a number for each head.
    WriteStrength,
    /// Linear attention: how much of the state decays, a number for each head; its bias is that of the time step.
    Decay,
    /// Linear attention: causal convolution of each channel of queries, keys and values.
    Convolution,
    /// Linear attention: the logarithm of each head's rate of decay.
    DecayRate,
    /// MLA: hidden to compressed query.
    QueryDown,
    /// MLA: compressed query to heads.
    QueryUp,
    /// MLA: hidden to latent and rotary key.
    KvDown,
    /// MLA: latent to the heads' keys and values.
    KvUp,
    /// Sparse attention: compressed query to the indexer's queries.
    IndexQuery,
    /// Sparse attention: hidden to the indexer's key.
    IndexKey,
    /// Sparse attention: gain and bias of the LayerNorm of the indexer's key.
    IndexNorm,
    /// Sparse attention: hidden to the weights of the indexer's heads.
    IndexWeight,
    /// Gains of norms inside the attention (q and k norm; MLA's norms of the compressed vectors).
    AttentionInnerNorm,
    /// Learned sink logits.
    Sinks,
    /// Output projection.
    Output,
    /// Gain of the RMSNorm before the feed-forward network, and any further ones of width `hidden`.
    FeedForwardNorm,
    /// Router logits of the experts.
    Router,
    /// Gate projection of a dense network.
    Gate,
    /// Up projection of a dense network.
    Up,
    /// Down projection of a dense network.
    Down,
    /// Gate projection of the shared expert.
    SharedGate,
    /// Up projection of the shared expert.
    SharedUp,
    /// Down projection of the shared expert.
    SharedDown,
    /// The product whose sigmoid multiplies what the shared expert makes.
    SharedOutputGate,
    /// Gate projection of a routed expert.
    ExpertGate,
    /// Up projection of a routed expert.
    ExpertUp,
    /// Down projection of a routed expert.
    ExpertDown,
    /// Gain of the last RMSNorm.
    FinalNorm,
    /// LM head (hidden to vocabulary).
    LmHead,
}

impl Role {
    /// All roles, in the order of use.
    pub const ALL: [Self; 35] = [
        Self::Embedding,
        Self::AttentionNorm,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::OutputGate,
        Self::WriteStrength,
        Self::Decay,
        Self::Convolution,
        Self::DecayRate,
        Self::QueryDown,
        Self::QueryUp,
        Self::KvDown,
        Self::KvUp,
        Self::IndexQuery,
        Self::IndexKey,
        Self::IndexNorm,
        Self::IndexWeight,
        Self::AttentionInnerNorm,
        Self::Sinks,
        Self::Output,
        Self::FeedForwardNorm,
        Self::Router,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::SharedGate,
        Self::SharedUp,
        Self::SharedDown,
        Self::SharedOutputGate,
        Self::ExpertGate,
        Self::ExpertUp,
        Self::ExpertDown,
        Self::FinalNorm,
        Self::LmHead,
    ];

    /// Matrix, or small weight: gains, biases, the router, and what makes a few numbers for each head, which quantised
    /// checkpoints keep in 16 bit.
    pub const fn class(self) -> TensorClass {
        match self {
            Self::AttentionNorm
            | Self::WriteStrength
            | Self::Decay
            | Self::Convolution
            | Self::DecayRate
            | Self::IndexNorm
            | Self::IndexWeight
            | Self::AttentionInnerNorm
            | Self::Sinks
            | Self::FeedForwardNorm
            | Self::Router
            | Self::SharedOutputGate
            | Self::FinalNorm => TensorClass::SmallWeights,
            _ => TensorClass::Weights,
        }
    }

    /// The group that settings of precision name it with; none of what is always stored as small weights.
    pub const fn group(self) -> Option<RoleGroup> {
        match self {
            Self::Query
            | Self::Key
            | Self::Value
            | Self::OutputGate
            | Self::QueryDown
            | Self::QueryUp
            | Self::KvDown
            | Self::KvUp
            | Self::IndexQuery
            | Self::IndexKey
            | Self::Output => Some(RoleGroup::Attention),
            Self::Gate | Self::Up | Self::Down => Some(RoleGroup::Dense),
            Self::ExpertGate | Self::ExpertUp | Self::ExpertDown => Some(RoleGroup::Experts),
            Self::SharedGate | Self::SharedUp | Self::SharedDown => Some(RoleGroup::SharedExperts),
            Self::Router => Some(RoleGroup::Router),
            Self::Embedding => Some(RoleGroup::Embedding),
            Self::LmHead => Some(RoleGroup::Head),
            _ => None,
        }
    }

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::AttentionNorm => "attention_norm",
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::OutputGate => "output_gate",
            Self::WriteStrength => "write_strength",
            Self::Decay => "decay",
            Self::Convolution => "convolution",
            Self::DecayRate => "decay_rate",
            Self::QueryDown => "query_down",
            Self::QueryUp => "query_up",
            Self::KvDown => "kv_down",
            Self::KvUp => "kv_up",
            Self::IndexQuery => "index_query",
            Self::IndexKey => "index_key",
            Self::IndexNorm => "index_norm",
            Self::IndexWeight => "index_weight",
            Self::AttentionInnerNorm => "attention_inner_norm",
            Self::Sinks => "sinks",
            Self::Output => "output",
            Self::FeedForwardNorm => "feed_forward_norm",
            Self::Router => "router",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
            Self::SharedGate => "shared_gate",
            Self::SharedUp => "shared_up",
            Self::SharedDown => "shared_down",
            Self::SharedOutputGate => "shared_output_gate",
            Self::ExpertGate => "expert_gate",
            Self::ExpertUp => "expert_up",
            Self::ExpertDown => "expert_down",
            Self::FinalNorm => "final_norm",
            Self::LmHead => "lm_head",
        }
    }
}

/// The shape of a weight tensor: `y[outputs] = x[inputs] W (+ bias)`, in `copies` copies (one per expert). Of a
/// convolution the inputs are the tokens that it reaches over, and each output has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tensor {
    /// What it does.
    pub role: Role,
    /// Rows of W; 1 for a vector (norm gains, sinks).
    pub inputs: u64,
    /// Columns of W.
    pub outputs: u64,
    /// Whether a bias of `outputs` elements comes with it.
    pub bias: bool,
    /// Copies with different values: the number of experts, 2 for the gains of q and k norm, the number of further
    /// norms for [`Role::FeedForwardNorm`], else 1.
    pub copies: u64,
    /// Of the copies, how many one token uses.
    pub active: u64,
    /// Which precision it is stored in.
    pub class: TensorClass,
}

impl Tensor {
    /// Parameters of all copies, biases included.
    pub fn parameters(&self) -> u64 {
        self.copies * self.parameters_of_one()
    }

    /// Parameters of one copy, bias included.
    pub fn parameters_of_one(&self) -> u64 {
        self.inputs * self.outputs + if self.bias { self.outputs } else { 0 }
    }

    /// Parameters that one token uses.
    pub fn active_parameters(&self) -> u64 {
        self.active * self.parameters_of_one()
    }

    /// Multiply-accumulates that one token needs. Vectors (`inputs == 1`: gains, sinks) are no products, and of the
    /// embedding table a token only reads a row.
    pub fn macs(&self) -> u64 {
        let is_product = self.inputs > 1 && self.role != Role::Embedding;
        if is_product { self.active * self.inputs * self.outputs } else { 0 }
    }

    /// Bytes of all copies. The bias is stored in the precision of small weights.
    pub fn bytes(&self, precision: &Precision) -> Bytes {
        let matrix = precision.stored(self.role).storage(self.inputs * self.outputs);
        let bias = if self.bias { precision.small_weights.storage(self.outputs) } else { Bytes::ZERO };
        (matrix + bias) * self.copies
    }
}
