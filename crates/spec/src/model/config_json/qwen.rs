//! Qwen2, Qwen3 and Qwen3-MoE (`modeling_qwen2.py`, `modeling_qwen3.py`, `modeling_qwen3_moe.py`).
//!
//! Qwen2 has biases on q, k and v whatever the file says; Qwen3 has q and k norms instead.

use super::super::{Attention, FeedForward, GroupedAttention, Layer, Reach, Selection};
use super::{Fields, HeadDim, MOST_LAYERS, MOST_POSITIONS, MoeKeys, Trunk};
use super::{dense, grouped_attention, layer_types, named_layers, routed_experts};
use crate::error::SpecError;

pub(super) fn qwen2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = grouped_attention(fields, trunk, HeadDim::OrHiddenByHeads)?;
    let feed_forward = dense(fields, "intermediate_size")?;
    layers(fields, trunk, &GroupedAttention { qkv_bias: true, ..attention }, |_| feed_forward.clone())
}

pub(super) fn qwen3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let feed_forward = dense(fields, "intermediate_size")?;
    layers(fields, trunk, &qwen3_attention(fields, trunk)?, |_| feed_forward.clone())
}

pub(super) fn qwen3_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let keys = MoeKeys { experts: "num_experts", width: "moe_intermediate_size" };
    let mut moe = routed_experts(fields, &keys)?;
    moe.selection = Selection::softmax(fields.flag_or("norm_topk_prob", false)?);
    // Some files carry this key of Qwen2-MoE, always 0: this family has no shared expert.
    fields.optional_whole("shared_expert_intermediate_size", 0..=0)?;

    let step = fields.optional_whole("decoder_sparse_step", 1..=MOST_LAYERS)?.unwrap_or(1);
    let mut is_dense =
        named_layers(trunk, &fields.wholes("mlp_only_layers", 0..=trunk.layers - 1)?.unwrap_or_default());
    for (layer, dense) in (1..).zip(&mut is_dense) {
        *dense |= layer % step != 0;
    }
    let sparse = FeedForward::Moe(moe);
    let dense = if is_dense.contains(&true) { Some(dense(fields, "intermediate_size")?) } else { None };
    let attention = qwen3_attention(fields, trunk)?;
    layers(fields, trunk, &attention, |layer| match &dense {
        Some(dense) if is_dense[layer] => dense.clone(),
        _ => sparse.clone(),
    })
}

fn qwen3_attention(fields: &Fields<'_>, trunk: &Trunk) -> Result<GroupedAttention, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = grouped_attention(fields, trunk, HeadDim::Given)?;
    Ok(GroupedAttention { qkv_bias: bias, output_bias: bias, qk_norm: true, ..attention })
}

fn layers(
    fields: &Fields<'_>,
    trunk: &Trunk,
    attention: &GroupedAttention,
    feed_forward: impl Fn(usize) -> FeedForward,
) -> Result<Vec<Layer>, SpecError> {
    let layer = |(index, reach): (usize, Reach)| Layer {
        attention: Attention::Grouped(GroupedAttention { reach, ..attention.clone() }),
        feed_forward: feed_forward(index),
        norms: 2,
    };
    Ok(reaches(fields, trunk)?.into_iter().enumerate().map(layer).collect())
}

/// With `use_sliding_window`, the layers named in `layer_types`, else those from `max_window_layers` on, see a window.
fn reaches(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Reach>, SpecError> {
    if !fields.flag_or("use_sliding_window", false)? {
        return Ok(vec![Reach::Full; trunk.layers as usize]);
    }
    let window = Reach::Window(fields.whole("sliding_window", 1..=MOST_POSITIONS)?);
    if let Some(types) = layer_types(fields, trunk, &["full_attention", "sliding_attention"])? {
        return Ok(types.iter().map(|name| if *name == "full_attention" { Reach::Full } else { window }).collect());
    }
    let full_layers = fields.whole("max_window_layers", 0..=MOST_LAYERS)?;
    Ok((0..trunk.layers).map(|layer| if layer < full_layers { Reach::Full } else { window }).collect())
}
