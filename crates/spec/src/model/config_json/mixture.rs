//! Mixtral, gpt-oss and GLM-4.5 (`modeling_mixtral.py`, `modeling_gpt_oss.py`, `modeling_glm4_moe.py`).
//!
//! The layers for multi-token prediction (`num_nextn_predict_layers`) are a draft model beside the model
//! ([`super::super::draft`]).

use super::super::{Attention, FeedForward, Gating, GroupedAttention, Layer, Moe, QkNorm, Reach, Scoring, Selection};
use super::fields::shortened;
use super::{Fields, MOST_EXPERTS, MOST_LAYERS, MOST_POSITIONS, MoeKeys, Trunk};
use super::{dense, grouped_attention, layer_types, partial_rotary, routed_experts};
use crate::error::SpecError;

pub(super) fn mixtral(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = grouped_attention(fields, trunk)?;
    let reach = fields.optional_whole("sliding_window", 1..=MOST_POSITIONS)?.map_or(Reach::Full, Reach::Window);
    let keys = MoeKeys { experts: "num_local_experts", width: "intermediate_size" };
    let layer = Layer {
        attention: Attention::Grouped(GroupedAttention { reach, ..attention }),
        feed_forward: FeedForward::Moe(routed_experts(fields, &keys)?),
        norms: 2,
    };
    Ok(vec![layer; trunk.layers as usize])
}

/// Biases everywhere, a sink per head, and a window in every other layer, beginning with the first.
pub(super) fn gpt_oss(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", true)?;
    let attention = grouped_attention(fields, trunk)?;
    let attention = GroupedAttention { qkv_bias: bias, output_bias: bias, sinks: true, ..attention };
    let keys = MoeKeys { experts: "num_local_experts", width: "intermediate_size" };
    // The factor in the sigmoid stands in no config.json.
    let limit = fields.optional_real("swiglu_limit", 0.0..=1e6)?.unwrap_or(7.0);
    let gating = Gating::Clamped { alpha: 1.702, limit };
    let moe = Moe { expert_bias: true, router_bias: true, gating, ..routed_experts(fields, &keys)? };

    let is_full: Vec<bool> = match layer_types(fields, trunk, &["full_attention", "sliding_attention"])? {
        Some(types) => types.iter().map(|name| *name == "full_attention").collect(),
        None => (0..trunk.layers).map(|layer| layer % 2 == 1).collect(),
    };
    let window = match is_full.contains(&false) {
        true => Reach::Window(fields.whole("sliding_window", 1..=MOST_POSITIONS)?),
        false => Reach::Full,
    };
    let layer = |is_full: bool| Layer {
        attention: Attention::Grouped(GroupedAttention {
            reach: if is_full { Reach::Full } else { window },
            ..attention.clone()
        }),
        feed_forward: FeedForward::Moe(moe.clone()),
        norms: 2,
    };
    Ok(is_full.into_iter().map(layer).collect())
}

/// The biases of `attention_bias` are on q, k and v only; part of a head is rotated.
pub(super) fn glm4_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = grouped_attention(fields, trunk)?;
    let rotated = partial_rotary(fields)?.unwrap_or(0.5);
    let attention = Attention::Grouped(GroupedAttention {
        qkv_bias: fields.flag_or("attention_bias", false)?,
        qk_norm: QkNorm::of_heads(fields.flag_or("use_qk_norm", false)?),
        rotary_dim: (attention.head_dim as f64 * rotated) as u64,
        ..attention
    });
    let moe = moe_with_shared_experts(fields, Selected::CORRECTED)?;
    let is_sparse = sparse_layers(fields, trunk)?;
    dense_then_sparse(fields, trunk, &attention, moe, &is_sparse)
}

/// How a family selects experts where its file does not say.
pub(super) struct Selected {
    pub groups: u64,
    pub kept_groups: u64,
    pub scale: f64,
    /// Whether the router's bias corrects the scores that are compared. Not in the file.
    pub corrected: bool,
    pub scoring: Scoring,
    /// Whether weights are divided by their sum.
    pub normalise: bool,
}

impl Selected {
    /// GLM-4.5: sigmoids, corrected, in no groups.
    pub const CORRECTED: Self =
        Self { groups: 1, kept_groups: 1, scale: 1.0, corrected: true, scoring: Scoring::Sigmoid, normalise: true };
}

pub(super) fn moe_with_shared_experts(fields: &Fields<'_>, default: Selected) -> Result<Moe, SpecError> {
    let keys = MoeKeys { experts: "n_routed_experts", width: "moe_intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    let shared = fields.optional_whole("n_shared_experts", 0..=MOST_EXPERTS)?.unwrap_or(0);
    let selection = Selection {
        scoring: scoring(fields, default.scoring)?,
        corrected: default.corrected,
        scale: fields.optional_real("routed_scaling_factor", 0.0..=1e6)?.unwrap_or(default.scale),
        ..Selection::softmax(fields.flag_or("norm_topk_prob", default.normalise)?)
    };
    let selection = groups(fields, &moe, selection, &default)?;
    Ok(Moe { shared_width: shared * moe.width, router_bias: default.corrected, selection, ..moe })
}

fn scoring(fields: &Fields<'_>, default: Scoring) -> Result<Scoring, SpecError> {
    let allowed = "sigmoid or softmax";
    match fields.optional_text("scoring_func", allowed)? {
        None => Ok(default),
        Some("sigmoid") => Ok(Scoring::Sigmoid),
        Some("softmax") => Ok(Scoring::Softmax),
        Some(other) => Err(fields.wrong("scoring_func", format!("is '{}'", shortened(other)), allowed.into())),
    }
}

/// Groups of experts of at least two each, of which enough are kept to choose from.
fn groups(fields: &Fields<'_>, moe: &Moe, selection: Selection, default: &Selected) -> Result<Selection, SpecError> {
    let given = fields.optional_whole("n_group", 1..=moe.experts)?;
    // The family's default is made for its own number of experts.
    let fits = |groups: u64| moe.experts.is_multiple_of(groups) && (groups == 1 || moe.experts / groups >= 2);
    let groups = given.unwrap_or(if fits(default.groups) { default.groups } else { 1 });
    if !fits(groups) {
        let allowed =
            format!("a divisor of n_routed_experts = {} that leaves two experts in a group, or 1", moe.experts);
        return Err(fields.wrong("n_group", format!("is {groups}"), allowed));
    }
    let least = moe.top_k.div_ceil(moe.experts / groups);
    let kept = fields.optional_whole("topk_group", least..=groups)?;
    Ok(Selection { groups, kept_groups: kept.unwrap_or(default.kept_groups.clamp(least, groups)), ..selection })
}

/// Which layers have experts: `mlp_layer_types`, else all from the first on that is not replaced by a dense one, or
/// every so many.
pub(super) fn sparse_layers(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<bool>, SpecError> {
    const KEY: &str = "mlp_layer_types";
    if let Some(types) = fields.texts(KEY)? {
        let allowed = || format!("{} names among dense, sparse", trunk.layers);
        if types.len() as u64 != trunk.layers {
            return Err(fields.wrong(KEY, format!("has {} entries", types.len()), allowed()));
        }
        if let Some(name) = types.iter().find(|name| !["dense", "sparse"].contains(*name)) {
            return Err(fields.wrong(KEY, format!("holds '{}'", shortened(name)), allowed()));
        }
        return Ok(types.into_iter().map(|name| name == "sparse").collect());
    }
    let first = fields.whole("first_k_dense_replace", 0..=trunk.layers)?;
    let step = fields.optional_whole("moe_layer_freq", 1..=MOST_LAYERS)?.unwrap_or(1);
    Ok((0..trunk.layers).map(|layer| layer >= first && layer % step == 0).collect())
}

/// Layers of one attention, with experts or dense.
pub(super) fn dense_then_sparse(
    fields: &Fields<'_>,
    trunk: &Trunk,
    attention: &Attention,
    moe: Moe,
    is_sparse: &[bool],
) -> Result<Vec<Layer>, SpecError> {
    let sparse = FeedForward::Moe(moe);
    let dense = if is_sparse.contains(&false) { Some(dense(fields, "intermediate_size")?) } else { None };
    let layer = |is_sparse: &bool| Layer {
        attention: attention.clone(),
        feed_forward: match &dense {
            Some(dense) if !is_sparse => dense.clone(),
            _ => sparse.clone(),
        },
        norms: 2,
    };
    debug_assert_eq!(is_sparse.len() as u64, trunk.layers);
    Ok(is_sparse.iter().map(layer).collect())
}
