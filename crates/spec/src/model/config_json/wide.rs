//! Families whose grouped attention differs in widths: values narrower than keys (MiMo-V2), queries from a compressed
//! vector (Step-3), keys that are values and layers with heads of their own widths (Gemma 4).
//!
//! After `modeling_mimo_v2_flash.py` and `modeling_gemma4.py` of `transformers`; Step-3 after the code beside its
//! checkpoint (`modeling_step3.py`: `Step3vAttention`, `Step3vMoEMLP`).

use super::super::{
    Attention, FeedForward, GroupedAttention, HeadValues, Layer, Moe, QkNorm, Reach, Scoring, Selection,
};
use super::mixture::{Selected, dense_then_sparse, moe_with_shared_experts, sparse_layers};
use super::sparse::layers_named;
use super::{
    Fields, LARGEST_HEAD, LARGEST_WIDTH, MOST_EXPERTS, MOST_POSITIONS, MoeKeys, Trunk, dense, expert_count,
    grouped_attention, layer_types, partial_rotary, rotary_of_full, routed_experts, window,
};
use crate::error::SpecError;

/// MiMo-V2-Flash: values narrower than keys; windows with sinks and KV heads of their own in five of six layers. The
/// factor of values is part of their matrix.
pub(super) fn mimo_v2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let full = grouped_attention(fields, trunk)?;
    let value_dim = |key: &str, default: u64| Ok(fields.optional_whole(key, 1..=LARGEST_HEAD)?.unwrap_or(default));
    let head = |key: &str, default: u64| value_dim(key, default);
    let of_full = value_dim("v_head_dim", 128)?;
    let rotated = rotary_of_full(fields)?.unwrap_or(0.334);
    let attention = |heads: u64, kv_heads: u64, head_dim: u64, value_dim: u64| GroupedAttention {
        heads,
        kv_heads,
        head_dim,
        rotary_dim: (head_dim as f64 * rotated) as u64 / 2 * 2,
        values: if value_dim == head_dim { HeadValues::Plain } else { HeadValues::Width(value_dim) },
        ..full.clone()
    };
    let bias = fields.flag_or("attention_bias", false)?;
    let narrow = GroupedAttention {
        qkv_bias: bias,
        sinks: fields.flag_or("add_full_attention_sink_bias", false)?,
        ..attention(full.heads, full.kv_heads, full.head_dim, of_full)
    };
    let heads = head("swa_num_attention_heads", full.heads)?;
    let kv_heads = head("swa_num_key_value_heads", 2 * full.kv_heads)?;
    if !heads.is_multiple_of(kv_heads) {
        let allowed = format!("a divisor of {heads} query heads of layers with a window");
        return Err(fields.wrong("swa_num_key_value_heads", format!("is {kv_heads}"), allowed));
    }
    // The token itself is seen beside so many.
    let window = match fields.optional_whole("sliding_window_size", 1..=MOST_POSITIONS)? {
        Some(before) => Some(before + 1),
        None => window(fields, Some(129))?,
    };
    let windowed = GroupedAttention {
        qkv_bias: bias,
        sinks: fields.flag_or("add_swa_attention_sink_bias", true)?,
        reach: window.map_or(Reach::Full, Reach::Window),
        ..attention(heads, kv_heads, head("swa_head_dim", full.head_dim)?, value_dim("swa_v_head_dim", of_full)?)
    };
    let is_windowed: Vec<bool> = match layer_types(fields, trunk, &["full_attention", "sliding_attention"])? {
        Some(types) => types.iter().map(|name| *name == "sliding_attention").collect(),
        None => marks(fields, trunk, "hybrid_layer_pattern")?
            .unwrap_or_else(|| (0..trunk.layers).map(|layer| layer > 0 && (layer + 1) % 6 != 0).collect()),
    };
    let is_sparse = match marks(fields, trunk, "moe_layer_freq")? {
        Some(marks) => marks,
        None if fields.is_given("mlp_layer_types") => sparse_layers(fields, trunk)?,
        None => (0..trunk.layers).map(|layer| layer > 0).collect(),
    };
    let moe = moe_with_shared_experts(fields, Selected::CORRECTED)?;
    let layers = dense_then_sparse(fields, trunk, &Attention::Grouped(narrow), moe, &is_sparse)?;
    let with = |(layer, is_windowed): (Layer, bool)| match is_windowed {
        true => Layer { attention: Attention::Grouped(windowed.clone()), ..layer },
        false => layer,
    };
    Ok(layers.into_iter().zip(is_windowed).map(with).collect())
}

/// A list of 0 and 1, one for each layer, where the key holds a list.
fn marks(fields: &Fields<'_>, trunk: &Trunk, key: &str) -> Result<Option<Vec<bool>>, SpecError> {
    if !fields.map.get(key).is_some_and(serde_json::Value::is_array) {
        return Ok(None);
    }
    let Some(list) = fields.wholes(key, 0..=1)? else { return Ok(None) };
    if list.len() as u64 != trunk.layers {
        let allowed = format!("{} numbers, 0 or 1", trunk.layers);
        return Err(fields.wrong(key, format!("has {} entries", list.len()), allowed));
    }
    Ok(Some(list.into_iter().map(|mark| mark == 1).collect()))
}

/// Step-3: queries from a compressed and normed vector (multi-matrix factorisation), a few KV heads of 256.
pub(super) fn step3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let heads = fields.whole("num_attention_heads", 1..=LARGEST_HEAD)?;
    let groups = match fields.is_given("num_attention_groups") {
        true => fields.whole("num_attention_groups", 1..=LARGEST_HEAD)?,
        false => fields.optional_whole("num_key_value_heads", 1..=LARGEST_HEAD)?.unwrap_or(1),
    };
    if !heads.is_multiple_of(groups) {
        let allowed = format!("a divisor of num_attention_heads = {heads}");
        return Err(fields.wrong("num_attention_groups", format!("is {groups}"), allowed));
    }
    let attention = grouped_attention(fields, trunk)?;
    let attention = Attention::Grouped(GroupedAttention {
        kv_heads: groups,
        query_rank: Some(fields.optional_whole("share_q_dim", 1..=LARGEST_WIDTH)?.unwrap_or(2048)),
        ..attention
    });
    let experts = expert_count(fields, "moe_num_experts")?;
    let top_k = if fields.is_given("moe_top_k") { "moe_top_k" } else { "num_experts_per_tok" };
    let width = fields.whole("moe_intermediate_size", 1..=LARGEST_WIDTH)?;
    let moe = Moe {
        experts,
        top_k: fields.whole(top_k, 1..=experts)?,
        width,
        shared_width: fields.optional_whole("share_expert_dim", 0..=LARGEST_WIDTH)?.unwrap_or(width),
        shared_gate: false,
        expert_bias: false,
        router_bias: false,
        selection: Selection::softmax(fields.flag_or("norm_expert_weight", false)?),
        gating: super::Gating::Silu,
    };
    // All but the first where nothing is said.
    let is_sparse = match layers_named(fields, trunk, "moe_layers_enum")? {
        Some(named) => named,
        None => (0..trunk.layers).map(|layer| layer > 0).collect(),
    };
    dense_then_sparse(fields, trunk, &attention, moe, &is_sparse)
}

/// Gemma 4 without embeddings for each layer: norms before and behind; every sixth layer sees everything, with heads of
/// its own width, and values that are its keys where the file says so. Experts stand beside the dense network, which is
/// taken as a shared expert; the factor of each expert's weight counts as the router's bias, the router's gain and the
/// norms of both branches as further norms.
pub(super) fn gemma4(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let refused = [
        ("hidden_size_per_layer_input", 256, "embeddings for each layer (Gemma 4 E2B, E4B) are not modelled"),
        ("num_kv_shared_layers", 0, "keys and values that layers share are not modelled"),
    ];
    for (key, default, allowed) in refused {
        let given = fields.optional_whole(key, 0..=LARGEST_WIDTH)?;
        // null is none; a missing key has the family's default.
        let number = given.unwrap_or(if fields.map.contains_key(key) { 0 } else { default });
        if number > 0 {
            return Err(fields.wrong(key, format!("is {number}"), format!("0 ({allowed})")));
        }
    }
    let bias = fields.flag_or("attention_bias", false)?;
    let windowed = GroupedAttention {
        qkv_bias: bias,
        output_bias: bias,
        qk_norm: QkNorm::Head,
        reach: window(fields, Some(512))?.map_or(Reach::Full, Reach::Window),
        ..grouped_attention(fields, trunk)?
    };
    let head_dim = fields.optional_whole("global_head_dim", 1..=LARGEST_HEAD)?.unwrap_or(512);
    let of_keys = fields.flag_or("attention_k_eq_v", false)?;
    let kv_heads = match of_keys {
        true => fields.optional_whole("num_global_key_value_heads", 1..=LARGEST_HEAD)?,
        false => None,
    };
    let mut full = (head_dim, kv_heads.unwrap_or(windowed.kv_heads));
    if let Some(said) = of_layers(fields, trunk)? {
        full = (said.0.unwrap_or(windowed.head_dim), said.1.unwrap_or(windowed.kv_heads));
    }
    let (head_dim, kv_heads) = full;
    if !windowed.heads.is_multiple_of(kv_heads) {
        let allowed = format!("a divisor of num_attention_heads = {}", windowed.heads);
        return Err(fields.wrong("num_global_key_value_heads", format!("is {kv_heads}"), allowed));
    }
    let rotated = rotary_of_full(fields)?.or(partial_rotary(fields)?).unwrap_or(0.25);
    let full = GroupedAttention {
        kv_heads,
        head_dim,
        rotary_dim: (head_dim as f64 * rotated) as u64 / 2 * 2,
        reach: Reach::Full,
        values: if of_keys { HeadValues::OfKeys } else { HeadValues::Plain },
        ..windowed.clone()
    };
    let (feed_forward, norms) = match fields.flag_or("enable_moe_block", false)? {
        false => (dense(fields, "intermediate_size")?, 4),
        true => {
            let experts = fields.whole("num_experts", 1..=MOST_EXPERTS)?;
            let moe = Moe {
                experts,
                top_k: fields.whole("top_k_experts", 1..=experts)?,
                width: fields.whole("moe_intermediate_size", 1..=LARGEST_WIDTH)?,
                shared_width: fields.whole("intermediate_size", 1..=LARGEST_WIDTH)?,
                shared_gate: false,
                expert_bias: false,
                router_bias: true,
                selection: Selection::softmax(true),
                gating: super::Gating::Silu,
            };
            (FeedForward::Moe(moe), 8)
        }
    };
    let types = layer_types(fields, trunk, &["full_attention", "sliding_attention"])?;
    let is_full = |layer: u64| match types.as_ref().and_then(|types| types.get(layer as usize)) {
        // The last layer sees everything whatever the file says.
        _ if layer + 1 == trunk.layers => true,
        Some(name) => *name == "full_attention",
        None => (layer + 1).is_multiple_of(6),
    };
    let layer = |layer: u64| Layer {
        attention: Attention::Grouped(if is_full(layer) { full.clone() } else { windowed.clone() }),
        feed_forward: feed_forward.clone(),
        norms,
    };
    Ok((0..trunk.layers).map(layer).collect())
}

/// Width of heads and KV heads, where they are said.
type Sizes = (Option<u64>, Option<u64>);

/// Width of heads and KV heads of the layers that see everything, as newer versions of the package write them: an
/// object for each of these layers, all alike.
fn of_layers(fields: &Fields<'_>, trunk: &Trunk) -> Result<Option<Sizes>, SpecError> {
    const KEY: &str = "per_layer_config";
    if !fields.is_given(KEY) {
        return Ok(None);
    }
    let layers = fields.object(KEY, "per_layer_config.")?;
    let mut said = None;
    for number in (0..trunk.layers).map(|layer| layer.to_string()).filter(|number| layers.is_given(number)) {
        let layer = layers.object(&number, "per_layer_config.*.")?;
        let size = |key: &str| layer.optional_whole(key, 1..=LARGEST_HEAD);
        let sizes = (size("head_dim")?, size("num_key_value_heads")?);
        if said.is_some_and(|before| before != sizes) {
            let allowed = "the same sizes in every layer that is named".into();
            return Err(fields.wrong(KEY, format!("differs at layer {number}"), allowed));
        }
        said = Some(sizes);
    }
    Ok(said)
}

/// Hy3: norms of each head, sigmoids corrected by a bias, a shared expert; the first layer dense.
pub(super) fn hy_v3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let attention = GroupedAttention {
        qkv_bias: bias,
        output_bias: bias,
        qk_norm: QkNorm::Head,
        ..grouped_attention(fields, trunk)?
    };
    let keys = MoeKeys { experts: "num_experts", width: "moe_intermediate_size" };
    let moe = routed_experts(fields, &keys)?;
    let shared = fields.optional_whole("num_shared_experts", 0..=MOST_EXPERTS)?.unwrap_or(1);
    let selection = Selection {
        scoring: Scoring::Sigmoid,
        corrected: true,
        scale: fields.optional_real("router_scaling_factor", 0.0..=1e6)?.unwrap_or(2.826),
        ..Selection::softmax(true)
    };
    let moe = Moe { shared_width: shared * moe.width, router_bias: true, selection, ..moe };
    let is_sparse = match ["mlp_layer_types", "first_k_dense_replace"].iter().any(|key| fields.is_given(key)) {
        true => sparse_layers(fields, trunk)?,
        false => (0..trunk.layers).map(|layer| layer > 0).collect(),
    };
    dense_then_sparse(fields, trunk, &Attention::Grouped(attention), moe, &is_sparse)
}
