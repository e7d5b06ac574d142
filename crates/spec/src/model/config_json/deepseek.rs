//! Latent attention: DeepSeek-V2 and V3, what follows them (Kimi-K2, GLM-4.7-Flash), Youtu
//! (`modeling_deepseek_v2.py`, `modeling_deepseek_v3.py`, `modeling_glm4_moe_lite.py`, `modeling_youtu.py`).

use super::super::{Attention, LatentAttention, Layer, Scoring};
use super::mixture::{Selected, dense_then_sparse, moe_with_shared_experts, sparse_layers};
use super::{Fields, LARGEST_HEAD, LARGEST_WIDTH, MOST_EXPERTS, Trunk, dense};
use crate::error::SpecError;

pub(super) fn deepseek_v3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = latent_attention(fields)?;
    // The selection correction belongs to the method "noaux_tc", the family's default.
    let method = fields.optional_text("topk_method", "the name of a method, for example noaux_tc")?;
    let corrected = matches!(method, None | Some("noaux_tc"));
    let selected = Selected { groups: 8, kept_groups: 4, scale: 2.5, corrected, ..Selected::CORRECTED };
    let moe = moe_with_shared_experts(fields, selected)?;
    dense_then_sparse(fields, trunk, &attention, moe, &sparse_layers(fields, trunk)?)
}

/// The softmax of all experts, their weights as they are. Groups are chosen by their best expert
/// ("group_limited_greedy"): taken as by their two best, and as sigmoids, since the writer of layers groups no shares.
pub(super) fn deepseek_v2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = latent_attention(fields)?;
    let method = fields.optional_text("topk_method", "the name of a method, for example greedy")?;
    let corrected = method == Some("noaux_tc");
    let grouped = fields.optional_whole("n_group", 1..=MOST_EXPERTS)?.unwrap_or(1) > 1 && method != Some("greedy");
    let scoring = if grouped || corrected { Scoring::Sigmoid } else { Scoring::Softmax };
    let selected = Selected { corrected, scoring, normalise: false, ..Selected::CORRECTED };
    let mut moe = moe_with_shared_experts(fields, selected)?;
    match grouped {
        // Its file says "softmax", which the groups above stand for.
        true => moe.selection.scoring = Scoring::Sigmoid,
        false => (moe.selection.groups, moe.selection.kept_groups) = (1, 1),
    }
    dense_then_sparse(fields, trunk, &attention, moe, &sparse_layers(fields, trunk)?)
}

/// GLM-4.7-Flash: DeepSeek-V3 without groups.
pub(super) fn glm4_moe_lite(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let moe = moe_with_shared_experts(fields, Selected { scale: 1.8, ..Selected::CORRECTED })?;
    dense_then_sparse(fields, trunk, &latent_attention(fields)?, moe, &sparse_layers(fields, trunk)?)
}

/// Youtu: latent attention, dense networks.
pub(super) fn youtu(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let feed_forward = dense(fields, "intermediate_size")?;
    let layer = Layer { attention: latent_attention(fields)?, feed_forward, norms: 2 };
    Ok(vec![layer; trunk.layers as usize])
}

fn latent_attention(fields: &Fields<'_>) -> Result<Attention, SpecError> {
    if fields.flag_or("attention_bias", false)? {
        let allowed = "false (biases in latent attention are not modelled; no published model has them)";
        return Err(fields.wrong("attention_bias", "is true".into(), allowed.into()));
    }
    Ok(Attention::Latent(LatentAttention {
        heads: fields.whole("num_attention_heads", 1..=LARGEST_HEAD)?,
        query_rank: fields.optional_whole("q_lora_rank", 1..=LARGEST_WIDTH)?,
        kv_rank: fields.whole("kv_lora_rank", 1..=LARGEST_WIDTH)?,
        nope_dim: fields.whole("qk_nope_head_dim", 1..=LARGEST_HEAD)?,
        rope_dim: fields.whole("qk_rope_head_dim", 1..=LARGEST_HEAD)?,
        value_dim: fields.whole("v_head_dim", 1..=LARGEST_HEAD)?,
    }))
}
