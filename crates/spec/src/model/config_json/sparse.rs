//! Families of experts with grouped-query attention that differ in names, biases, norms and shared experts, each after
//! its `modeling_*.py`; Ling after the code beside its checkpoints.

use super::super::{Attention, FeedForward, GroupedAttention, Layer, Moe, QkNorm, Scoring, Selection};
use super::dense::exaone_reaches;
use super::mixture::{Selected, dense_then_sparse, moe_with_shared_experts, sparse_layers};
use super::{
    Fields, LARGEST_HEAD, LARGEST_WIDTH, MOST_EXPERTS, MOST_LAYERS, MoeKeys, Trunk, grouped_attention, partial_rotary,
    reaches, routed_experts,
};
use crate::error::SpecError;

/// Attention without biases, part of it rotated.
fn attention(fields: &Fields<'_>, trunk: &Trunk) -> Result<GroupedAttention, SpecError> {
    let attention = grouped_attention(fields, trunk)?;
    let rotary_dim = partial_rotary(fields)?.map(|part| (attention.head_dim as f64 * part) as u64);
    Ok(GroupedAttention { rotary_dim: rotary_dim.unwrap_or(attention.head_dim), ..attention })
}

fn all_sparse(trunk: &Trunk, attention: GroupedAttention, moe: Moe) -> Vec<Layer> {
    let layer = Layer { attention: Attention::Grouped(attention), feed_forward: FeedForward::Moe(moe), norms: 2 };
    vec![layer; trunk.layers as usize]
}

/// Sigmoids corrected by a bias; norms of all queries and of all keys.
pub(super) fn minimax_m2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = attention(fields, trunk)?;
    let allowed = "per_layer (others are not modelled)";
    let qk_norm = match fields.optional_text("qk_norm_type", allowed)? {
        _ if !fields.flag_or("use_qk_norm", true)? => QkNorm::None,
        None | Some("per_layer") => QkNorm::Whole,
        Some(other) => {
            return Err(fields.wrong("qk_norm_type", format!("is '{}'", super::shortened(other)), allowed.into()));
        }
    };
    let rotary_dim = fields.optional_whole("rotary_dim", 0..=attention.head_dim)?.unwrap_or(attention.rotary_dim);
    let attention = GroupedAttention { qk_norm, rotary_dim, ..attention };
    let keys = MoeKeys { experts: "num_local_experts", width: "intermediate_size" };
    let corrected = fields.flag_or("use_routing_bias", true)?;
    let selection = Selection { scoring: Scoring::Sigmoid, corrected, ..Selection::softmax(true) };
    let shared_width = fields.optional_whole("shared_intermediate_size", 0..=LARGEST_WIDTH)?.unwrap_or(0);
    let moe = Moe { router_bias: corrected, selection, shared_width, ..routed_experts(fields, &keys)? };
    Ok(all_sparse(trunk, attention, moe))
}

/// Norms of all queries and of all keys. `norms`: OLMoE has them before attention and network, FlexOLMo behind.
pub(super) fn olmoe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention =
        GroupedAttention { qkv_bias: bias, output_bias: bias, qk_norm: QkNorm::Whole, ..attention(fields, trunk)? };
    let keys = MoeKeys { experts: "num_experts", width: "intermediate_size" };
    let selection = Selection::softmax(fields.flag_or("norm_topk_prob", false)?);
    Ok(all_sparse(trunk, attention, Moe { selection, ..routed_experts(fields, &keys)? }))
}

/// The softmax, corrected by a bias while experts are compared: taken as sigmoids, since the writer of layers corrects no
/// shares. Dense layers before and behind.
pub(super) fn ernie4_5_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("use_bias", false)?;
    if bias {
        let allowed = "false (biases of experts are not modelled for this family; no published model has them)";
        return Err(fields.wrong("use_bias", "is true".into(), allowed.into()));
    }
    let experts = fields.whole("moe_num_experts", 1..=MOST_EXPERTS)?;
    // In models for pictures too, lists: text first.
    let width = first_or_number(fields, "moe_intermediate_size", LARGEST_WIDTH)?;
    let shared = fields.optional_whole("moe_num_shared_experts", 0..=MOST_EXPERTS)?.unwrap_or(0);
    let selection = Selection { scoring: Scoring::Sigmoid, corrected: true, ..Selection::softmax(true) };
    let moe = Moe {
        experts,
        top_k: fields.whole("moe_k", 1..=experts)?,
        width,
        shared_width: shared * width,
        shared_gate: false,
        expert_bias: false,
        router_bias: fields.flag_or("moe_use_aux_free", true)?,
        selection,
        gating: super::Gating::Silu,
    };
    let first = fields.optional_whole("moe_layer_start_index", 0..=MOST_LAYERS)?.unwrap_or(1);
    // -1: to the last.
    let last = fields.map.get("moe_layer_end_index").and_then(serde_json::Value::as_u64).unwrap_or(trunk.layers);
    let step = fields.optional_whole("moe_layer_interval", 1..=MOST_LAYERS)?.unwrap_or(1);
    let is_sparse = |layer: u64| (layer + 1).is_multiple_of(step) && layer >= first && layer <= last;
    let is_sparse: Vec<bool> = (0..trunk.layers).map(is_sparse).collect();
    let attention = Attention::Grouped(attention(fields, trunk)?);
    dense_then_sparse(fields, trunk, &attention, moe, &is_sparse)
}

/// A number, or the first of a list of them: what all layers, or the text, have.
fn first_or_number(fields: &Fields<'_>, key: &str, most: u64) -> Result<u64, SpecError> {
    let list = fields.map.get(key).is_some_and(serde_json::Value::is_array);
    let listed = if list { fields.wholes(key, 1..=most)? } else { None };
    match listed.as_deref() {
        Some([first, ..]) => Ok(*first),
        _ => fields.whole(key, 1..=most),
    }
}

/// A number that all layers have alike, or a list of one for each layer that are equal.
fn same_in_all(fields: &Fields<'_>, key: &str, most: u64) -> Result<u64, SpecError> {
    let first = first_or_number(fields, key, most)?;
    if fields.map.get(key).is_some_and(serde_json::Value::is_array)
        && let Some(all) = fields.wholes(key, 1..=most)?
        && all.iter().any(|other| *other != first)
    {
        let allowed = "one number, or the same for every layer".into();
        return Err(fields.wrong(key, "differs between layers".into(), allowed));
    }
    Ok(first)
}

/// Granite's experts; in newer files with a shared one. The softmax of the chosen logits.
pub(super) fn granite_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = GroupedAttention { qkv_bias: bias, output_bias: bias, ..attention(fields, trunk)? };
    let shared_width = fields.optional_whole("shared_intermediate_size", 0..=LARGEST_WIDTH)?.unwrap_or(0);
    let keys = MoeKeys { experts: "num_local_experts", width: "intermediate_size" };
    let moe = Moe { shared_width, ..routed_experts(fields, &keys)? };
    Ok(all_sparse(trunk, attention, moe))
}

/// Granite 4: as Granite's experts, or dense, as far as no layer has a state space.
pub(super) fn granite_hybrid(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let types = fields.texts("layer_types")?.unwrap_or_default();
    let attention_alone = !types.is_empty() && types.iter().all(|name| matches!(*name, "attention" | "full_attention"));
    if !attention_alone {
        return Err(SpecError::Unsupported {
            file: fields.file.into(),
            what: "granitemoehybrid with layers of 'mamba'".into(),
            hint: super::families::STATE_SPACE.into(),
        });
    }
    if fields.optional_whole("num_local_experts", 0..=MOST_EXPERTS)?.unwrap_or(0) > 0 {
        return granite_moe(fields, trunk);
    }
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = GroupedAttention { qkv_bias: bias, output_bias: bias, ..attention(fields, trunk)? };
    let width = fields.whole("shared_intermediate_size", 1..=LARGEST_WIDTH)?;
    let feed_forward = FeedForward::Dense { width, bias: false };
    Ok(vec![Layer { attention: Attention::Grouped(attention), feed_forward, norms: 2 }; trunk.layers as usize])
}

/// Numbers may stand in a list, one for each layer.
pub(super) fn hunyuan_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    if fields.flag_or("use_cla", false)? {
        let allowed = "false (keys and values that layers share are not modelled)";
        return Err(fields.wrong("use_cla", "is true".into(), allowed.into()));
    }
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = GroupedAttention {
        qkv_bias: bias,
        output_bias: bias,
        qk_norm: QkNorm::of_heads(fields.flag_or("use_qk_norm", true)?),
        ..attention(fields, trunk)?
    };
    let experts = same_in_all(fields, "num_experts", MOST_EXPERTS)?;
    let width = match fields.is_given("moe_intermediate_size") {
        true => same_in_all(fields, "moe_intermediate_size", LARGEST_WIDTH)?,
        false => fields.whole("intermediate_size", 1..=LARGEST_WIDTH)?,
    };
    let shared = match fields.is_given("num_shared_expert") {
        true => same_in_all(fields, "num_shared_expert", MOST_EXPERTS)?,
        false => 1,
    };
    let mixed = fields.flag_or("use_mixed_mlp_moe", true)?;
    let shared_width = if mixed { shared * width } else { 0 };
    let moe = Moe {
        experts,
        top_k: same_in_all(fields, "moe_topk", experts)?,
        width,
        shared_width,
        shared_gate: false,
        expert_bias: false,
        router_bias: false,
        selection: Selection::softmax(true),
        gating: super::Gating::Silu,
    };
    Ok(all_sparse(trunk, attention, moe))
}

/// Ling and Ring. The second version has norms of each head and a corrected choice in groups; both go by one type.
pub(super) fn bailing_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let second = fields.texts("architectures")?.unwrap_or_default().iter().any(|name| name.contains("V2"))
        || fields.map.get("model_type").and_then(serde_json::Value::as_str) == Some("bailing_moe_v2");
    let attention = GroupedAttention {
        qkv_bias: fields.flag_or("use_qkv_bias", false)?,
        output_bias: fields.flag_or("use_bias", false)?,
        qk_norm: QkNorm::of_heads(fields.flag_or("use_qk_norm", second)?),
        ..attention(fields, trunk)?
    };
    let keys = MoeKeys { experts: "num_experts", width: "moe_intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    let shared = fields.optional_whole("num_shared_experts", 0..=MOST_EXPERTS)?.unwrap_or(0);
    let shared_each = fields.optional_whole("moe_shared_expert_intermediate_size", 1..=LARGEST_WIDTH)?;
    let corrected = fields.flag_or("moe_router_enable_expert_bias", second)?;
    let groups = fields.optional_whole("n_group", 1..=moe.experts)?.unwrap_or(1);
    let selection = Selection {
        scoring: if second { Scoring::Sigmoid } else { Scoring::Softmax },
        corrected,
        groups,
        kept_groups: fields.optional_whole("topk_group", 1..=groups)?.unwrap_or(groups),
        scale: fields.optional_real("routed_scaling_factor", 0.0..=1e6)?.unwrap_or(1.0),
        ..Selection::softmax(fields.flag_or("norm_topk_prob", true)?)
    };
    let shared_width = shared * shared_each.unwrap_or(moe.width);
    let moe = Moe { shared_width, router_bias: corrected, selection, ..moe };
    let first = fields.optional_whole("first_k_dense_replace", 0..=trunk.layers)?.unwrap_or(0);
    let is_sparse: Vec<bool> = (0..trunk.layers).map(|layer| layer >= first).collect();
    dense_then_sparse(fields, trunk, &Attention::Grouped(attention), moe, &is_sparse)
}

/// Sigmoids corrected by a bias, a shared expert, no dense layer.
pub(super) fn solar_open(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = GroupedAttention {
        qkv_bias: fields.flag_or("attention_bias", false)?,
        qk_norm: QkNorm::of_heads(fields.flag_or("use_qk_norm", false)?),
        ..attention(fields, trunk)?
    };
    Ok(all_sparse(trunk, attention, moe_with_shared_experts(fields, Selected::CORRECTED)?))
}

/// Sarvam: as GLM-4.5, its heads rotated whole.
pub(super) fn sarvam_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", fields.flag_or("use_qkv_bias", false)?)?;
    let attention = GroupedAttention {
        qkv_bias: bias,
        qk_norm: QkNorm::of_heads(fields.flag_or("use_qk_norm", true)?),
        ..attention(fields, trunk)?
    };
    let moe = moe_with_shared_experts(fields, Selected { scale: 2.5, ..Selected::CORRECTED })?;
    let shared = fields.optional_whole("num_shared_experts", 0..=MOST_EXPERTS)?;
    // The first published files call it so; the package's default is one.
    let shared = if fields.is_given("n_shared_experts") { None } else { Some(shared.unwrap_or(1)) };
    let moe = Moe { shared_width: shared.map_or(moe.shared_width, |shared| shared * moe.width), ..moe };
    let is_sparse = match ["mlp_layer_types", "first_k_dense_replace"].iter().any(|key| fields.is_given(key)) {
        true => sparse_layers(fields, trunk)?,
        false => (0..trunk.layers).map(|layer| layer >= 1).collect(),
    };
    dense_then_sparse(fields, trunk, &Attention::Grouped(attention), moe, &is_sparse)
}

/// Mellum: norms of each head, windows in the layers that `layer_types` names, dense ones where `mlp_layer_types` does.
pub(super) fn mellum(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention =
        GroupedAttention { qkv_bias: bias, output_bias: bias, qk_norm: QkNorm::Head, ..attention(fields, trunk)? };
    let keys = MoeKeys { experts: "num_local_experts", width: "moe_intermediate_size" };
    let selection = Selection::softmax(fields.flag_or("norm_topk_prob", true)?);
    let moe = Moe { selection, ..routed_experts(fields, &keys)? };
    let is_sparse = match fields.is_given("mlp_layer_types") {
        true => sparse_layers(fields, trunk)?,
        false => vec![true; trunk.layers as usize],
    };
    let layers = dense_then_sparse(fields, trunk, &Attention::Grouped(attention), moe, &is_sparse)?;
    with_reaches(layers, reaches(fields, trunk, Some(1024), |_| true)?)
}

/// DeepSeek-MoE of 2024: grouped heads, the softmax of all experts, their weights as they are.
pub(super) fn deepseek(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = GroupedAttention { qkv_bias: bias, output_bias: bias, ..attention(fields, trunk)? };
    let selected = Selected { corrected: false, scoring: Scoring::Softmax, normalise: false, ..Selected::CORRECTED };
    let moe = moe_with_shared_experts(fields, selected)?;
    dense_then_sparse(fields, trunk, &Attention::Grouped(attention), moe, &sparse_layers(fields, trunk)?)
}

/// Norms of each head, no groups.
pub(super) fn dots1(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention =
        GroupedAttention { qkv_bias: bias, output_bias: bias, qk_norm: QkNorm::Head, ..attention(fields, trunk)? };
    let moe = moe_with_shared_experts(fields, Selected { normalise: false, ..Selected::CORRECTED })?;
    let attention = Attention::Grouped(attention);
    let layers = dense_then_sparse(fields, trunk, &attention, moe, &sparse_layers(fields, trunk)?)?;
    with_reaches(layers, reaches(fields, trunk, None, |_| true)?)
}

fn with_reaches(layers: Vec<Layer>, reaches: Vec<super::Reach>) -> Result<Vec<Layer>, SpecError> {
    let with = |(layer, reach): (Layer, super::Reach)| match layer.attention {
        Attention::Grouped(grouped) => {
            Layer { attention: Attention::Grouped(GroupedAttention { reach, ..grouped }), ..layer }
        }
        Attention::Latent(_) | Attention::Linear(_) => layer,
    };
    Ok(layers.into_iter().zip(reaches).map(with).collect())
}

/// Norms of each head; windows in three of four layers where the file has one.
pub(super) fn exaone_moe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = GroupedAttention { qk_norm: QkNorm::Head, ..attention(fields, trunk)? };
    let keys = MoeKeys { experts: "num_experts", width: "moe_intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    let shared = fields.optional_whole("num_shared_experts", 0..=MOST_EXPERTS)?.unwrap_or(1);
    let selection = Selection {
        scoring: Scoring::Sigmoid,
        corrected: true,
        scale: fields.optional_real("routed_scaling_factor", 0.0..=1e6)?.unwrap_or(2.5),
        ..Selection::softmax(fields.flag_or("norm_topk_prob", true)?)
    };
    let moe = Moe { shared_width: shared * moe.width, router_bias: true, selection, ..moe };
    let attention = Attention::Grouped(attention);
    let layers = dense_then_sparse(fields, trunk, &attention, moe, &sparse_layers(fields, trunk)?)?;
    with_reaches(layers, exaone_reaches(fields, trunk)?)
}

/// Norms of each head, a gate behind the attention, norms before and behind; windows in three of four layers.
pub(super) fn afmoe(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let attention = GroupedAttention { qk_norm: QkNorm::Head, output_gate: true, ..attention(fields, trunk)? };
    let keys = MoeKeys { experts: "num_experts", width: "moe_intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    let shared = fields.optional_whole("num_shared_experts", 0..=MOST_EXPERTS)?.unwrap_or(0);
    let selection = Selection {
        scoring: Scoring::Sigmoid,
        corrected: true,
        scale: fields.optional_real("route_scale", 0.0..=1e6)?.unwrap_or(1.0),
        ..Selection::softmax(fields.flag_or("route_norm", true)?)
    };
    let moe = Moe { shared_width: shared * moe.width, router_bias: true, selection, ..moe };
    let first = fields.optional_whole("num_dense_layers", 0..=trunk.layers)?.unwrap_or(1);
    let is_sparse: Vec<bool> = (0..trunk.layers).map(|layer| layer >= first).collect();
    let step = fields.optional_whole("global_attn_every_n_layers", 1..=MOST_LAYERS)?.unwrap_or(4);
    let layers = dense_then_sparse(fields, trunk, &Attention::Grouped(attention), moe, &is_sparse)?;
    let layers = with_reaches(layers, reaches(fields, trunk, Some(1024), |layer| (layer + 1).is_multiple_of(step))?)?;
    Ok(layers.into_iter().map(|layer| Layer { norms: 4, ..layer }).collect())
}

/// Step-3.5 and what follows it (`modeling_step3p7.py`): norms and gates of each head, windows in some layers, which may
/// have more query heads; the first three layers dense. Limits of gate and up in single layers move no time.
pub(super) fn step(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let windowed = match fields.optional_whole("num_sliding_attention_heads", 1..=LARGEST_HEAD)? {
        None if fields.is_given("attention_other_setting") => {
            let other = fields.object("attention_other_setting", "attention_other_setting.")?;
            other.optional_whole("num_attention_heads", 1..=LARGEST_HEAD)?
        }
        heads => heads,
    };
    let groups = fields.optional_whole("num_attention_groups", 1..=LARGEST_HEAD)?;
    let full = attention(fields, trunk)?;
    let kv_heads = groups.filter(|_| !fields.is_given("num_key_value_heads")).unwrap_or(full.kv_heads);
    let full = GroupedAttention { kv_heads, qk_norm: QkNorm::Head, head_gate: true, ..full };
    for heads in [Some(full.heads), windowed].into_iter().flatten() {
        if !heads.is_multiple_of(full.kv_heads) {
            let allowed = format!("a divisor of {heads} query heads");
            return Err(fields.wrong("num_attention_groups", format!("is {kv_heads}"), allowed));
        }
    }
    let keys = MoeKeys { experts: "n_routed_experts", width: "moe_intermediate_size" };
    let top_k = if fields.is_given("num_experts_per_tok") { "num_experts_per_tok" } else { "moe_top_k" };
    let experts = super::expert_count(fields, keys.experts)?;
    let shared = match fields.is_given("share_expert_dim") {
        true => fields.whole("share_expert_dim", 1..=LARGEST_WIDTH)?,
        false => fields.optional_whole("share_expert_dims", 1..=LARGEST_WIDTH)?.unwrap_or(1280),
    };
    let moe = Moe {
        experts,
        top_k: fields.whole(top_k, 1..=experts)?,
        width: fields.whole(keys.width, 1..=LARGEST_WIDTH)?,
        shared_width: shared,
        shared_gate: false,
        expert_bias: false,
        router_bias: true,
        selection: Selection {
            scoring: Scoring::Sigmoid,
            corrected: true,
            scale: fields.optional_real("moe_router_scaling_factor", 0.0..=1e6)?.unwrap_or(1.0),
            ..Selection::softmax(true)
        },
        gating: super::Gating::Silu,
    };
    // Lists of newer files go on with the layers for multi-token prediction.
    let types = fields.texts("layer_types")?.unwrap_or_default();
    let wanted = trunk.layers as usize;
    if !types.is_empty() && types.len() < wanted {
        let allowed = format!("{wanted} names, and those of layers for multi-token prediction behind them");
        return Err(fields.wrong("layer_types", format!("has {} entries", types.len()), allowed));
    }
    let allowed = ["full_attention", "sliding_attention"];
    if let Some(name) = types.iter().find(|name| !allowed.contains(*name)) {
        let problem = format!("holds '{}'", super::shortened(name));
        return Err(fields.wrong("layer_types", problem, allowed.join(", ")));
    }
    let window = super::window(fields, None)?.map_or(super::Reach::Full, super::Reach::Window);
    let is_sparse = sparse_of_step(fields, trunk)?;
    let layers = dense_then_sparse(fields, trunk, &Attention::Grouped(full.clone()), moe, &is_sparse)?;
    let with = |(index, layer): (usize, Layer)| match types.get(index) {
        Some(&"sliding_attention") => {
            let heads = windowed.unwrap_or(full.heads);
            Layer { attention: Attention::Grouped(GroupedAttention { heads, reach: window, ..full.clone() }), ..layer }
        }
        _ => layer,
    };
    Ok(layers.into_iter().enumerate().map(with).collect())
}

/// `mlp_layer_types`, else the layers that `moe_layers_enum` lists, else all but three.
fn sparse_of_step(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<bool>, SpecError> {
    if fields.is_given("mlp_layer_types") {
        return sparse_layers(fields, trunk);
    }
    let named = layers_named(fields, trunk, "moe_layers_enum")?;
    Ok(named.unwrap_or_else(|| (0..trunk.layers).map(|layer| layer >= 3).collect()))
}

/// The layers whose numbers a text lists, where there is one.
pub(super) fn layers_named(
    fields: &Fields<'_>,
    trunk: &Trunk,
    key: &'static str,
) -> Result<Option<Vec<bool>>, SpecError> {
    if !fields.is_given(key) {
        return Ok(None);
    }
    let allowed = || "numbers of layers, separated by commas".to_owned();
    let text = fields.optional_text(key, &allowed())?.unwrap_or_default();
    let numbers: Result<Vec<u64>, _> =
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::parse::<u64>).collect();
    let numbers = numbers.map_err(|_| fields.wrong(key, format!("is '{}'", super::shortened(text)), allowed()))?;
    Ok(Some(super::named_layers(trunk, &numbers)))
}
