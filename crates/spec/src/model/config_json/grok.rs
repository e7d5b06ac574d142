//! Grok-1 (github.com/xai-org/grok-1, `model.py`) and Grok-2 (its Hugging Face release, and sglang's `grok.py`).
//!
//! Both have four norms per layer, before and after the attention and the mixture, and capped attention logits (no
//! parameters).

use super::super::{Attention, FeedForward, Layer, Moe, Selection};
use super::{Fields, LARGEST_WIDTH, MoeKeys, Trunk, grouped_attention, routed_experts};
use crate::error::SpecError;

pub(super) fn grok_1(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let keys = MoeKeys { experts: "num_experts", width: "intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    layers(fields, trunk, moe)
}

/// Beside the experts every token passes a dense network of `intermediate_size` (`residual_moe`).
pub(super) fn grok_2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let keys = MoeKeys { experts: "num_local_experts", width: "moe_intermediate_size" };
    let mut moe = routed_experts(fields, &keys)?;
    if fields.flag_or("residual_moe", false)? {
        moe.shared_width = fields.whole("intermediate_size", 1..=LARGEST_WIDTH)?;
    }
    layers(fields, trunk, moe)
}

fn layers(fields: &Fields<'_>, trunk: &Trunk, moe: Moe) -> Result<Vec<Layer>, SpecError> {
    let selection = Selection::softmax(fields.flag_or("norm_topk_prob", false)?);
    let layer = Layer {
        attention: Attention::Grouped(grouped_attention(fields, trunk)?),
        feed_forward: FeedForward::Moe(Moe { selection, ..moe }),
        norms: 4,
    };
    Ok(vec![layer; trunk.layers as usize])
}
