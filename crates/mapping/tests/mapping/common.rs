//! Models, wafers and loads of the tests.

use wafersim_mapping::{Inputs, Load};
use wafersim_spec::model::{Attention, FeedForward, Gating, GroupedAttention, Layer, Moe, Reach, Scoring, Selection};
use wafersim_spec::scenario::{RoutingModel, WaferCount};
use wafersim_spec::{Model, Precision, Wafer};

pub fn load() -> Load {
    Load {
        wafers: WaferCount::Auto,
        users: 1,
        context: 4096,
        tokens_per_step: 1,
        precision: Precision::default(),
        routing: RoutingModel::Skewed,
    }
}

pub fn wse3() -> Wafer {
    Wafer::builtin("wse3").unwrap()
}

pub fn inputs<'a>(model: &'a Model, wafer: &'a Wafer) -> Inputs<'a> {
    Inputs { model, wafer, load: load() }
}

/// A mixture of experts that is as small as tests with numbers use.
pub fn tiny() -> Model {
    let attention = GroupedAttention {
        heads: 8,
        kv_heads: 2,
        head_dim: 8,
        qkv_bias: false,
        output_bias: false,
        qk_norm: true,
        sinks: false,
        rotary_dim: 8,
        reach: Reach::Full,
    };
    let moe = Moe {
        experts: 8,
        top_k: 2,
        width: 24,
        shared_width: 0,
        expert_bias: false,
        router_bias: false,
        selection: Selection {
            scoring: Scoring::Softmax,
            corrected: false,
            groups: 1,
            kept_groups: 1,
            normalise: true,
            scale: 1.0,
            weighs_input: false,
        },
        gating: Gating::Silu,
    };
    let dense = FeedForward::Dense { width: 40, bias: false };
    let layer = |feed_forward| Layer { attention: Attention::Grouped(attention.clone()), feed_forward, norms: 2 };
    Model {
        next_token_layers: 0,
        name: "tiny".into(),
        family: "qwen3_moe".into(),
        hidden: 32,
        vocabulary: 64,
        max_positions: 4096,
        tied_embeddings: false,
        layers: vec![layer(dense), layer(FeedForward::Moe(moe.clone())), layer(FeedForward::Moe(moe))],
        norm_epsilon: 1e-6,
        rope_theta: 1e4,
    }
}
