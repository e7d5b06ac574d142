//! Latent attention: DeepSeek-V2 and V3, what follows them (Kimi-K2, GLM-4.7-Flash), with an indexer DeepSeek-V3.2 and
//! GLM-5, Youtu (`modeling_deepseek_v2.py`, `modeling_deepseek_v3.py`, `modeling_deepseek_v32.py`,
//! `modeling_glm_moe_dsa.py`, `modeling_glm4_moe_lite.py`, `modeling_youtu.py`).

use super::super::{Attention, Indexer, LatentAttention, Layer, Moe, Scoring};
use super::mixture::{Selected, dense_then_sparse, moe_with_shared_experts, sparse_layers};
use super::{Fields, LARGEST_HEAD, LARGEST_WIDTH, MOST_EXPERTS, MOST_LAYERS, MOST_POSITIONS, Trunk, dense, shortened};
use crate::error::SpecError;

pub(super) fn deepseek_v3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    like_deepseek_v3(fields, trunk, &latent_attention(fields)?)
}

/// DeepSeek-V3.2: DeepSeek-V3 with an indexer in every layer.
pub(super) fn deepseek_v32(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let indexer = Indexer { heads: 64, head_dim: 128, top_k: 2048, interleaved: false };
    like_deepseek_v3(fields, trunk, &sparse_attention(fields, indexer)?)
}

/// GLM-5: DeepSeek-V3.2 with other numbers, its experts in no groups. Layers that look at what an earlier one has
/// chosen (later models of the family) are refused.
pub(super) fn glm_moe_dsa(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    own_indexers(fields, trunk)?;
    let attention = sparse_attention(fields, Indexer { heads: 32, head_dim: 128, top_k: 2048, interleaved: true })?;
    let moe = moe_with_shared_experts(fields, Selected { scale: 2.5, ..Selected::CORRECTED })?;
    dense_then_sparse(fields, trunk, &attention, moe, &sparse_layers(fields, trunk)?)
}

/// Whether every layer has an indexer of its own (`GlmMoeDsaConfig.__post_init__`).
fn own_indexers(fields: &Fields<'_>, trunk: &Trunk) -> Result<(), SpecError> {
    let refuse = |key: &str, problem: String| {
        let allowed = "an indexer in every layer: a choice of tokens that layers share is not modelled";
        Err(fields.wrong(key, problem, allowed.into()))
    };
    if let Some(types) = fields.texts("indexer_types")? {
        return match types.iter().find(|name| **name != "full") {
            Some(name) => refuse("indexer_types", format!("holds '{}'", shortened(name))),
            None => Ok(()),
        };
    }
    const PATTERN: &str = "index_topk_pattern";
    if fields.is_given(PATTERN) {
        let pattern = fields.optional_text(PATTERN, "letters F and S, one for each layer")?.unwrap_or_default();
        return match pattern.chars().find(|letter| *letter != 'F') {
            Some(letter) => refuse(PATTERN, format!("holds '{letter}'")),
            None => Ok(()),
        };
    }
    let every = fields.optional_whole("index_topk_freq", 0..=MOST_LAYERS)?.unwrap_or(1);
    let first = fields.optional_whole("index_skip_topk_offset", 0..=MOST_LAYERS)?.unwrap_or(2);
    match every > 1 && trunk.layers > first {
        true => refuse("index_topk_freq", format!("is {every}")),
        false => Ok(()),
    }
}

fn like_deepseek_v3(fields: &Fields<'_>, trunk: &Trunk, attention: &Attention) -> Result<Vec<Layer>, SpecError> {
    // The selection correction belongs to the method "noaux_tc", the family's default.
    let method = fields.optional_text("topk_method", "the name of a method, for example noaux_tc")?;
    let corrected = matches!(method, None | Some("noaux_tc"));
    let selected = Selected { groups: 8, kept_groups: 4, scale: 2.5, corrected, ..Selected::CORRECTED };
    let moe = moe_with_shared_experts(fields, selected)?;
    dense_then_sparse(fields, trunk, attention, moe, &sparse_layers(fields, trunk)?)
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

/// Mistral 4: the softmax of all experts, weights of the chosen divided by their sum; no dense layer where the file does
/// not say. Grouped shares of a softmax as in DeepSeek-V2.
pub(super) fn mistral4(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let grouped = fields.optional_whole("n_group", 1..=MOST_EXPERTS)?.unwrap_or(1) > 1;
    let scoring = if grouped { Scoring::Sigmoid } else { Scoring::Softmax };
    let moe = moe_with_shared_experts(fields, Selected { corrected: false, scoring, ..Selected::CORRECTED })?;
    let first = fields.optional_whole("first_k_dense_replace", 0..=trunk.layers)?.unwrap_or(0);
    let is_sparse: Vec<bool> = (0..trunk.layers).map(|layer| layer >= first).collect();
    dense_then_sparse(fields, trunk, &latent_attention(fields)?, moe, &is_sparse)
}

/// Sarvam's larger model: DeepSeek-V3 with its experts in no groups where the file does not say.
pub(super) fn sarvam_mla(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let moe = moe_with_shared_experts(fields, Selected { scale: 2.5, ..Selected::CORRECTED })?;
    let shared = fields.optional_whole("num_shared_experts", 0..=MOST_EXPERTS)?.unwrap_or(1);
    let shared_width = if fields.is_given("n_shared_experts") { moe.shared_width } else { shared * moe.width };
    let first = fields.optional_whole("first_k_dense_replace", 0..=trunk.layers)?.unwrap_or(1);
    let is_sparse: Vec<bool> = (0..trunk.layers).map(|layer| layer >= first).collect();
    dense_then_sparse(fields, trunk, &latent_attention(fields)?, Moe { shared_width, ..moe }, &is_sparse)
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

/// Latent attention with an indexer; `default` has the family's numbers.
fn sparse_attention(fields: &Fields<'_>, default: Indexer) -> Result<Attention, SpecError> {
    let size = |key: &str, range, default| Ok(fields.optional_whole(key, range)?.unwrap_or(default));
    let indexer = Indexer {
        heads: size("index_n_heads", 1..=LARGEST_HEAD, default.heads)?,
        head_dim: size("index_head_dim", 1..=LARGEST_HEAD, default.head_dim)?,
        top_k: size("index_topk", 1..=MOST_POSITIONS, default.top_k)?,
        interleaved: default.interleaved,
    };
    let latent = latent_sizes(fields)?;
    if latent.query_rank.is_none() {
        let allowed = "a whole number: the indexer's queries are made of compressed ones";
        return Err(fields.wrong("q_lora_rank", fields.absence("q_lora_rank").into(), allowed.into()));
    }
    if indexer.head_dim < latent.rope_dim {
        let allowed = format!("at least qk_rope_head_dim = {}", latent.rope_dim);
        return Err(fields.wrong("index_head_dim", format!("is {}", indexer.head_dim), allowed));
    }
    Ok(Attention::Latent(LatentAttention { indexer: Some(indexer), ..latent }))
}

fn latent_attention(fields: &Fields<'_>) -> Result<Attention, SpecError> {
    latent_sizes(fields).map(Attention::Latent)
}

fn latent_sizes(fields: &Fields<'_>) -> Result<LatentAttention, SpecError> {
    if fields.flag_or("attention_bias", false)? {
        let allowed = "false (biases in latent attention are not modelled; no published model has them)";
        return Err(fields.wrong("attention_bias", "is true".into(), allowed.into()));
    }
    Ok(LatentAttention {
        heads: fields.whole("num_attention_heads", 1..=LARGEST_HEAD)?,
        query_rank: fields.optional_whole("q_lora_rank", 1..=LARGEST_WIDTH)?,
        kv_rank: fields.whole("kv_lora_rank", 1..=LARGEST_WIDTH)?,
        nope_dim: fields.whole("qk_nope_head_dim", 1..=LARGEST_HEAD)?,
        rope_dim: fields.whole("qk_rope_head_dim", 1..=LARGEST_HEAD)?,
        value_dim: fields.whole("v_head_dim", 1..=LARGEST_HEAD)?,
        indexer: None,
    })
}
