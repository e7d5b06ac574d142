//! Llama 2, Llama 3 and Code Llama (`modeling_llama.py`), and Llama 4 (`modeling_llama4.py`).

use super::super::{Attention, FeedForward, GroupedAttention, Layer, Moe, Reach, Scoring, Selection};
use super::{Fields, LARGEST_WIDTH, MOST_LAYERS, MOST_POSITIONS, MoeKeys, Trunk};
use super::{dense, grouped_attention, layer_types, named_layers, routed_experts};
use crate::error::SpecError;

pub(super) fn llama(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let layer = Layer {
        attention: Attention::Grouped(biased_attention(fields, trunk)?),
        feed_forward: FeedForward::Dense {
            width: fields.whole("intermediate_size", 1..=LARGEST_WIDTH)?,
            bias: fields.flag_or("mlp_bias", false)?,
        },
        norms: 2,
    };
    Ok(vec![layer; trunk.layers as usize])
}

fn biased_attention(fields: &Fields<'_>, trunk: &Trunk) -> Result<GroupedAttention, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = grouped_attention(fields, trunk)?;
    Ok(GroupedAttention { qkv_bias: bias, output_bias: bias, ..attention })
}

/// Every `interleave_moe_layer_step`-th layer is a mixture, with one shared expert of an expert's width; the others
/// are dense and wider. Every 4th layer is without rotation and sees everything; the others see a chunk. The q and k
/// norms have no gains.
pub(super) fn llama4(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = biased_attention(fields, trunk)?;
    let keys = MoeKeys { experts: "num_local_experts", width: "intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    let shared = fields.optional_whole("shared_expert_intermediate_size", 1..=LARGEST_WIDTH)?;
    // The weight of a chosen expert is the sigmoid of its logit and multiplies what the expert reads.
    let selection = Selection { scoring: Scoring::Sigmoid, weighs_input: true, ..Selection::softmax(false) };
    let moe = Moe { shared_width: shared.unwrap_or(moe.width), selection, ..moe };

    let is_moe = moe_layers(fields, trunk)?;
    let dense = if is_moe.contains(&false) { Some(dense(fields, "intermediate_size_mlp")?) } else { None };
    let is_rotated = rotated_layers(fields, trunk)?;
    let reaches = reaches(fields, trunk, &is_rotated)?;
    let layer = |index: usize| Layer {
        attention: Attention::Grouped(GroupedAttention {
            rotary_dim: if is_rotated[index] { attention.head_dim } else { 0 },
            reach: reaches[index],
            ..attention.clone()
        }),
        feed_forward: match &dense {
            Some(dense) if !is_moe[index] => dense.clone(),
            _ => FeedForward::Moe(moe.clone()),
        },
        norms: 2,
    };
    Ok((0..trunk.layers as usize).map(layer).collect())
}

fn moe_layers(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<bool>, SpecError> {
    if let Some(named) = fields.wholes("moe_layers", 0..=trunk.layers - 1)? {
        return Ok(named_layers(trunk, &named));
    }
    let step = fields.whole("interleave_moe_layer_step", 1..=MOST_LAYERS)?;
    Ok((0..trunk.layers).map(|layer| (layer + 1) % step == 0).collect())
}

/// `no_rope_layers` holds 1 for a rotated layer, despite its name; an empty list means the interval.
fn rotated_layers(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<bool>, SpecError> {
    let named = fields.wholes("no_rope_layers", 0..=1)?.unwrap_or_default();
    if named.is_empty() {
        let interval = fields.optional_whole("no_rope_layer_interval", 1..=MOST_LAYERS)?.unwrap_or(4);
        return Ok((0..trunk.layers).map(|layer| (layer + 1) % interval != 0).collect());
    }
    if named.len() as u64 != trunk.layers {
        let allowed = format!("{} numbers, 0 or 1, or none", trunk.layers);
        return Err(fields.wrong("no_rope_layers", format!("has {} entries", named.len()), allowed));
    }
    Ok(named.into_iter().map(|rotated| rotated == 1).collect())
}

fn reaches(fields: &Fields<'_>, trunk: &Trunk, is_rotated: &[bool]) -> Result<Vec<Reach>, SpecError> {
    let chunk = match fields.optional_whole("attention_chunk_size", 1..=MOST_POSITIONS)? {
        Some(size) => Reach::Chunk(size),
        None => Reach::Full,
    };
    Ok(match layer_types(fields, trunk, &["full_attention", "chunked_attention"])? {
        Some(types) => types.iter().map(|name| if *name == "full_attention" { Reach::Full } else { chunk }).collect(),
        None => is_rotated.iter().map(|rotated| if *rotated { chunk } else { Reach::Full }).collect(),
    })
}
