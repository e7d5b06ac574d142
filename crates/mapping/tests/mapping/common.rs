//! Models, wafers and loads of the tests.

use wafersim_mapping::{Inputs, Load};
use wafersim_spec::model::{Attention, FeedForward};
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
    Inputs::new(model, wafer, load())
}

/// A mixture of experts that is as small as tests with numbers use, after a dense layer.
pub fn tiny() -> Model {
    let mut model = Model::builtin("qwen3-30b-a3b").unwrap();
    model.layers.truncate(3);
    (model.name, model.hidden, model.vocabulary, model.max_positions) = ("tiny".into(), 32, 64, 4096);
    for layer in &mut model.layers {
        let Attention::Grouped(grouped) = &mut layer.attention else { continue };
        (grouped.heads, grouped.kv_heads, grouped.head_dim, grouped.rotary_dim) = (8, 2, 8, 8);
        let FeedForward::Moe(moe) = &mut layer.feed_forward else { continue };
        (moe.experts, moe.top_k, moe.width) = (8, 2, 24);
    }
    model.layers[0].feed_forward = FeedForward::Dense { width: 40, bias: false };
    model
}
