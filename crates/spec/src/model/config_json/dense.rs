//! Families of dense layers with grouped-query attention that differ in biases, norms and windows, each after its
//! `modeling_*.py`.

use super::super::{Attention, FeedForward, GroupedAttention, Layer, QkNorm, Reach};
use super::{Fields, LARGEST_WIDTH, MOST_LAYERS, Trunk, grouped_attention, partial_rotary, reaches, window};
use crate::error::SpecError;

/// What the families differ in.
#[derive(Default)]
struct Kind {
    qkv_bias: bool,
    output_bias: bool,
    mlp_bias: bool,
    qk_norm: Option<QkNorm>,
    /// Norms of width `hidden`; 2 where it is not said.
    norms: Option<u64>,
    /// By layer; without a limit where it is not said.
    reaches: Option<Vec<Reach>>,
}

fn layers(fields: &Fields<'_>, trunk: &Trunk, kind: Kind) -> Result<Vec<Layer>, SpecError> {
    let attention = grouped_attention(fields, trunk)?;
    let rotary_dim = partial_rotary(fields)?.map(|part| (attention.head_dim as f64 * part) as u64);
    let attention = GroupedAttention {
        qkv_bias: kind.qkv_bias,
        output_bias: kind.output_bias,
        qk_norm: kind.qk_norm.unwrap_or(QkNorm::None),
        rotary_dim: rotary_dim.unwrap_or(attention.head_dim),
        ..attention
    };
    let width = fields.whole("intermediate_size", 1..=LARGEST_WIDTH)?;
    let layer = |reach: Reach| Layer {
        attention: Attention::Grouped(GroupedAttention { reach, ..attention.clone() }),
        feed_forward: FeedForward::Dense { width, bias: kind.mlp_bias },
        norms: kind.norms.unwrap_or(2),
    };
    let reaches = kind.reaches.unwrap_or_else(|| vec![Reach::Full; trunk.layers as usize]);
    Ok(reaches.into_iter().map(layer).collect())
}

/// Mistral: a window in all layers, or in none. Ministral: in those that `layer_types` names.
pub(super) fn mistral(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let reaches = Some(reaches(fields, trunk, Some(4096), |_| false)?);
    layers(fields, trunk, Kind { reaches, ..Kind::default() })
}

/// Ministral 3 and Devstral 2: as Mistral, without a window where the file names none.
pub(super) fn ministral3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let reaches = Some(reaches(fields, trunk, None, |_| false)?);
    layers(fields, trunk, Kind { reaches, ..Kind::default() })
}

/// Phi-3 and Phi-4: projections are stored packed, which changes no count.
pub(super) fn phi3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let reaches = Some(reaches(fields, trunk, None, |_| false)?);
    layers(fields, trunk, Kind { reaches, ..Kind::default() })
}

/// Granite: biases of all projections by one key. Its multipliers are no parameters.
pub(super) fn with_biases(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let mlp_bias = fields.flag_or("mlp_bias", false)?;
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, mlp_bias, ..Kind::default() })
}

/// InternLM 2 and 3: biases of all projections by keys of their own.
pub(super) fn internlm(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let mlp_bias = fields.flag_or("mlp_bias", fields.flag_or("bias", false)?)?;
    let bias = fields.flag_or("attention_bias", fields.flag_or("qkv_bias", mlp_bias)?)?;
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, mlp_bias, ..Kind::default() })
}

/// Code World Model: Llama with windows in three of four layers.
pub(super) fn cwm(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let reaches = Some(reaches(fields, trunk, Some(8192), |layer| layer.is_multiple_of(4))?);
    layers(fields, trunk, Kind { reaches, ..Kind::default() })
}

/// Norms behind attention and network instead of before them, and of all queries and keys together.
pub(super) fn olmo2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let qk_norm = Some(QkNorm::Whole);
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, qk_norm, ..Kind::default() })
}

/// OLMo 2 with windows in three of four layers.
pub(super) fn olmo3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let reaches = Some(reaches(fields, trunk, Some(4096), |layer| (layer + 1).is_multiple_of(4))?);
    let qk_norm = Some(QkNorm::Whole);
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, qk_norm, reaches, ..Kind::default() })
}

/// Norms behind, and of each head; a window in three of four layers where the file has one.
pub(super) fn exaone4(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let reaches = Some(exaone_reaches(fields, trunk)?);
    layers(fields, trunk, Kind { qk_norm: Some(QkNorm::Head), reaches, ..Kind::default() })
}

/// `sliding_window_pattern` is a number (every so many sees everything) or a text such as LLLG; the last layer sees
/// everything.
pub(super) fn exaone_reaches(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Reach>, SpecError> {
    const KEY: &str = "sliding_window_pattern";
    let last = trunk.layers.saturating_sub(1);
    let text = fields.map.get(KEY).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    match text {
        Some(pattern) => reaches(fields, trunk, None, |layer| {
            let place = usize::try_from(layer).unwrap_or(0) % pattern.len();
            layer == last || pattern.as_bytes().get(place) == Some(&b'G')
        }),
        None => {
            let step = fields.optional_whole(KEY, 1..=MOST_LAYERS)?.unwrap_or(4);
            reaches(fields, trunk, None, |layer| layer == last || (layer + 1).is_multiple_of(step))
        }
    }
}

/// GLM-4 (2024): biases on q, k and v.
pub(super) fn glm(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    layers(fields, trunk, Kind { qkv_bias: fields.flag_or("attention_bias", true)?, ..Kind::default() })
}

/// GLM-4 (2025): norms before and behind.
pub(super) fn glm4(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let qkv_bias = fields.flag_or("attention_bias", true)?;
    layers(fields, trunk, Kind { qkv_bias, norms: Some(4), ..Kind::default() })
}

/// Helium: biases on q, k and v where the file says so.
pub(super) fn helium(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    layers(fields, trunk, Kind { qkv_bias: fields.flag_or("attention_bias", false)?, ..Kind::default() })
}

pub(super) fn seed_oss(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let kind = Kind {
        qkv_bias: fields.flag_or("attention_bias", true)?,
        output_bias: fields.flag_or("attention_out_bias", false)?,
        mlp_bias: fields.flag_or("mlp_bias", false)?,
        ..Kind::default()
    };
    layers(fields, trunk, kind)
}

pub(super) fn ernie4_5(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("use_bias", false)?;
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, mlp_bias: bias, ..Kind::default() })
}

/// Hunyuan: norms of each head.
pub(super) fn hunyuan(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let qk_norm = Some(QkNorm::of_heads(fields.flag_or("use_qk_norm", true)?));
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, qk_norm, ..Kind::default() })
}

/// Attention and network read one norm, side by side.
pub(super) fn cohere(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    // Each head has gains of its own.
    let qk_norm = if fields.flag_or("use_qk_norm", false)? { QkNorm::Whole } else { QkNorm::None };
    let norms = Some(1);
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, qk_norm: Some(qk_norm), norms, ..Kind::default() })
}

/// Cohere with windows in three of four layers.
pub(super) fn cohere2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let step = fields.optional_whole("sliding_window_pattern", 1..=MOST_LAYERS)?.unwrap_or(4);
    let reaches = Some(reaches(fields, trunk, Some(4096), |layer| (layer + 1).is_multiple_of(step))?);
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, norms: Some(1), reaches, ..Kind::default() })
}

pub(super) fn gemma(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    with_biases(fields, trunk)
}

/// Norms before and behind; a window in every other layer, beginning with the first.
pub(super) fn gemma2(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let reaches = Some(reaches(fields, trunk, Some(4096), |layer| layer % 2 == 1)?);
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, norms: Some(4), reaches, ..Kind::default() })
}

/// As Gemma 2, with norms of each head; every sixth layer sees everything.
pub(super) fn gemma3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let step = fields.optional_whole("sliding_window_pattern", 1..=MOST_LAYERS)?.unwrap_or(6);
    let reaches = Some(reaches(fields, trunk, Some(4096), |layer| (layer + 1).is_multiple_of(step))?);
    let qk_norm = Some(QkNorm::Head);
    layers(
        fields,
        trunk,
        Kind { qkv_bias: bias, output_bias: bias, qk_norm, norms: Some(4), reaches, ..Kind::default() },
    )
}

/// SmolLM3: windows only where `use_sliding_window` says so.
pub(super) fn smollm3(fields: &Fields<'_>, trunk: &Trunk) -> Result<Vec<Layer>, SpecError> {
    let bias = fields.flag_or("attention_bias", false)?;
    let mlp_bias = fields.flag_or("mlp_bias", false)?;
    let reaches = match fields.flag_or("use_sliding_window", false)? && window(fields, None)?.is_some() {
        true => Some(reaches(fields, trunk, None, |_| true)?),
        false => None,
    };
    layers(fields, trunk, Kind { qkv_bias: bias, output_bias: bias, mlp_bias, reaches, ..Kind::default() })
}
