//! Qwen2, Qwen2-MoE, Qwen3, Qwen3-MoE, Qwen3-Next and Qwen3.5, and MiMo (`modeling_qwen2.py`, `modeling_qwen2_moe.py`,
//! `modeling_qwen3.py`, `modeling_qwen3_moe.py`, `modeling_qwen3_next.py`,
//! `modeling_qwen3_5.py`, `modeling_qwen3_5_moe.py`, `modeling_mimo.py`). Qwen3.6 has the types of Qwen3.5.
//!
//! Qwen2 has biases on q, k and v whatever the file says; Qwen3 has q and k norms instead. Qwen3-Next has linear
//! attention in most layers, and a gate behind the attention of the others.

use super::super::{Attention, FeedForward, GroupedAttention, Layer, LinearAttention, Moe, QkNorm, Reach, Selection};
use super::{Fields, LARGEST_HEAD, LARGEST_WIDTH, MOST_LAYERS, MOST_POSITIONS, MoeKeys, Trunk};
use super::{dense, grouped_attention, layer_types, named_layers, partial_rotary, routed_experts};
use crate::error::SpecError;

pub(super) fn qwen2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = grouped_attention(fields, trunk)?;
    let feed_forward = dense(fields, "intermediate_size")?;
    layers(fields, trunk, &GroupedAttention { qkv_bias: true, ..attention }, |_| feed_forward.clone())
}

/// MiMo: Qwen2 whose biases the file may leave out.
pub(super) fn mimo(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = grouped_attention(fields, trunk)?;
    let feed_forward = dense(fields, "intermediate_size")?;
    let qkv_bias = fields.flag_or("attention_bias", true)?;
    layers(fields, trunk, &GroupedAttention { qkv_bias, ..attention }, |_| feed_forward.clone())
}

pub(super) fn qwen3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let feed_forward = dense(fields, "intermediate_size")?;
    layers(fields, trunk, &qwen3_attention(fields, trunk)?, |_| feed_forward.clone())
}

pub(super) fn qwen2_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let shared_width = fields.whole("shared_expert_intermediate_size", 1..=LARGEST_WIDTH)?;
    let moe = Moe { shared_width, shared_gate: true, ..moe(fields, false)? };
    let feed_forward = sparse(fields, trunk, moe)?;
    let attention = grouped_attention(fields, trunk)?;
    let attention = GroupedAttention { qkv_bias: fields.flag_or("qkv_bias", true)?, ..attention };
    layers(fields, trunk, &attention, |layer| feed_forward[layer].clone())
}

pub(super) fn qwen3_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let moe = moe(fields, false)?;
    // Some files carry this key of Qwen2-MoE, always 0: this family has no shared expert.
    fields.optional_whole("shared_expert_intermediate_size", 0..=0)?;
    let feed_forward = sparse(fields, trunk, moe)?;
    let attention = qwen3_attention(fields, trunk)?;
    layers(fields, trunk, &attention, |layer| feed_forward[layer].clone())
}

/// Linear attention, and in every fourth layer attention whose queries bring a gate.
pub(super) fn qwen3_next(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let shared_width = fields.optional_whole("shared_expert_intermediate_size", 0..=LARGEST_WIDTH)?.unwrap_or(0);
    let moe = Moe { shared_width, shared_gate: shared_width > 0, ..moe(fields, true)? };
    let feed_forward = sparse(fields, trunk, moe)?;
    mostly_linear(fields, trunk, feed_forward)
}

/// As Qwen3-Next, with dense networks.
pub(super) fn qwen3_5(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let dense = dense(fields, "intermediate_size")?;
    mostly_linear(fields, trunk, vec![dense; trunk.layers as usize])
}

/// As Qwen3-Next; weights of experts are always divided by their sum, and no layer is dense.
pub(super) fn qwen3_5_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let shared = fields.optional_whole("shared_expert_intermediate_size", 0..=LARGEST_WIDTH)?.unwrap_or(512);
    let keys = MoeKeys { experts: "num_experts", width: "moe_intermediate_size" };
    let moe = Moe { shared_width: shared, shared_gate: shared > 0, ..routed_experts(fields, &keys)? };
    mostly_linear(fields, trunk, vec![FeedForward::Moe(moe); trunk.layers as usize])
}

fn mostly_linear(fields: &Fields<'_>, trunk: &Trunk, feed_forward: Vec<FeedForward>) -> Result<Vec<Layer>, SpecError> {
    let attention = qwen3_attention(fields, trunk)?;
    let rotated = partial_rotary(fields)?.unwrap_or(0.25);
    let rotary_dim = (attention.head_dim as f64 * rotated) as u64;
    let full = Attention::Grouped(GroupedAttention { output_gate: true, rotary_dim, ..attention });
    let linear = Attention::Linear(linear_attention(fields)?);
    let is_full: Vec<bool> = match layer_types(fields, trunk, &["full_attention", "linear_attention"])? {
        Some(types) => types.iter().map(|name| *name == "full_attention").collect(),
        None => {
            let interval = fields.optional_whole("full_attention_interval", 1..=MOST_LAYERS)?.unwrap_or(4);
            (1..=trunk.layers).map(|layer| layer % interval == 0).collect()
        }
    };
    let attentions = is_full.into_iter().map(|is_full| if is_full { full.clone() } else { linear.clone() });
    let layer = |(attention, feed_forward)| Layer { attention, feed_forward, norms: 2 };
    Ok(attentions.zip(feed_forward).map(layer).collect())
}

fn linear_attention(fields: &Fields<'_>) -> Result<LinearAttention, SpecError> {
    let key_heads = fields.whole("linear_num_key_heads", 1..=LARGEST_HEAD)?;
    let value_heads = fields.whole("linear_num_value_heads", 1..=LARGEST_HEAD)?;
    if value_heads % key_heads != 0 {
        return Err(fields.wrong(
            "linear_num_value_heads",
            format!("is {value_heads}"),
            format!("a multiple of linear_num_key_heads = {key_heads}"),
        ));
    }
    // A state has heads x key_dim x value_dim elements.
    const LARGEST_STATE_SIDE: u64 = 1 << 12;
    /// Longest convolution, in tokens.
    const LONGEST_KERNEL: u64 = 1 << 10;
    Ok(LinearAttention {
        key_heads,
        value_heads,
        key_dim: fields.whole("linear_key_head_dim", 1..=LARGEST_STATE_SIDE)?,
        value_dim: fields.whole("linear_value_head_dim", 1..=LARGEST_STATE_SIDE)?,
        kernel: fields.whole("linear_conv_kernel_dim", 1..=LONGEST_KERNEL)?,
    })
}

/// Routed experts by the names of these families. `normalise`: whether weights are divided by their sum where the file
/// does not say.
fn moe(fields: &Fields<'_>, normalise: bool) -> Result<Moe, SpecError> {
    let keys = MoeKeys { experts: "num_experts", width: "moe_intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    Ok(Moe { selection: Selection::softmax(fields.flag_or("norm_topk_prob", normalise)?), ..moe })
}

/// The network of each layer: experts, or a dense one where the file says so.
fn sparse(fields: &Fields<'_>, trunk: &Trunk, moe: Moe) -> Result<Vec<FeedForward>, SpecError> {
    let step = fields.optional_whole("decoder_sparse_step", 1..=MOST_LAYERS)?.unwrap_or(1);
    let mut is_dense =
        named_layers(trunk, &fields.wholes("mlp_only_layers", 0..=trunk.layers - 1)?.unwrap_or_default());
    for (layer, dense) in (1..).zip(&mut is_dense) {
        *dense |= layer % step != 0;
    }
    let sparse = FeedForward::Moe(moe);
    let dense = if is_dense.contains(&true) { Some(dense(fields, "intermediate_size")?) } else { None };
    let of = |is_dense: bool| match &dense {
        Some(dense) if is_dense => dense.clone(),
        _ => sparse.clone(),
    };
    Ok(is_dense.into_iter().map(of).collect())
}

fn qwen3_attention(fields: &Fields<'_>, trunk: &Trunk) -> Result<GroupedAttention, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = grouped_attention(fields, trunk)?;
    Ok(GroupedAttention { qkv_bias: bias, output_bias: bias, qk_norm: QkNorm::Head, ..attention })
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
