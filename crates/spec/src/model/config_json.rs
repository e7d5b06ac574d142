//! Reading a Hugging Face `config.json`: what all families share, and the table of families.
//!
//! Keys that a family does not need are ignored (real files hold dozens). A needed key must be there with the right
//! type and a sane size. What a family makes of its keys follows `modeling_<family>.py` of the `transformers` library;
//! Grok follows the published release. Each family is one function in a file below this one.

mod fields;
mod grok;
mod llama;
mod mixture;
mod qwen;

use serde_json::Value;

use self::fields::Fields;
use super::{FeedForward, Gating, GroupedAttention, Layer, Model, Moe, Reach, Selection};
use crate::error::SpecError;

/// Largest width (hidden, feed-forward, low rank). The largest public one is 53,248.
const LARGEST_WIDTH: u64 = 1 << 20;
/// Largest number of heads, and largest head. With it no single tensor passes `u64`: 2^20 * 2^16 * 2^17 = 2^53.
const LARGEST_HEAD: u64 = 1 << 16;
/// Most experts of a layer: 2^16 experts of 2^20 x 2^20 are 2^56.
const MOST_EXPERTS: u64 = 1 << 16;
/// Most layers.
const MOST_LAYERS: u64 = 10_000;
/// Most entries of the vocabulary.
const LARGEST_VOCABULARY: u64 = 1 << 24;
/// Longest sequence, in tokens.
const MOST_POSITIONS: u64 = 1 << 30;
/// Most parameters of a whole model: no sum of bytes or MACs over all of them passes `u64`.
const MOST_PARAMETERS: u128 = 1_000_000_000_000_000;

/// Reads the layers of one family.
type ReadLayers = fn(&Fields<'_>, &Trunk) -> Result<Vec<Layer>, SpecError>;

/// One `model_type`.
struct Family {
    model_type: &'static str,
    read_layers: ReadLayers,
    /// What `tie_word_embeddings` is where the file does not say.
    tied_by_default: bool,
    /// Whether checkpoints hold the gains of norms less one.
    centred_gains: bool,
}

const fn family(model_type: &'static str, read_layers: ReadLayers) -> Family {
    Family { model_type, read_layers, tied_by_default: false, centred_gains: false }
}

const FAMILIES: &[Family] = &[
    family("deepseek_v3", mixture::deepseek_v3),
    family("glm4_moe", mixture::glm4_moe),
    family("gpt_oss", mixture::gpt_oss),
    Family { tied_by_default: true, ..family("grok-1", grok::grok_1) },
    family("grok-2", grok::grok_2),
    family("llama", llama::llama),
    family("llama4_text", llama::llama4),
    family("mixtral", mixture::mixtral),
    family("qwen2", qwen::qwen2),
    family("qwen3", qwen::qwen3),
    family("qwen2_moe", qwen::qwen2_moe),
    family("qwen3_moe", qwen::qwen3_moe),
    Family { centred_gains: true, ..family("qwen3_next", qwen::qwen3_next) },
];

/// What every layer is attached to.
struct Trunk {
    hidden: u64,
    layers: u64,
}

/// The model that the text of a `config.json` describes.
pub(super) fn parse(text: &str, file: &str) -> Result<Model, SpecError> {
    let syntax = |detail: String| SpecError::Syntax { file: file.into(), detail };
    let value: Value = serde_json::from_str(text).map_err(|error| syntax(format!("not valid JSON: {error}")))?;
    let Value::Object(map) = &value else {
        return Err(syntax("the text must be a JSON object, '{ ... }', from line 1 column 1".into()));
    };
    let outer = Fields { file, prefix: "", map };
    let model_type = outer.text("model_type", &supported())?;

    // A multimodal Llama 4 holds the language model in "text_config"; Grok-2 was released with the type "git".
    let is_grok_2 =
        model_type == "git" && outer.texts("architectures")?.unwrap_or_default().contains(&"Grok1ForCausalLM");
    let (fields, model_type) = match model_type {
        "llama4" => (outer.object("text_config", "text_config.")?, "llama4_text"),
        "git" if is_grok_2 => (outer, "grok-2"),
        other => (outer, other),
    };
    let family = FAMILIES
        .iter()
        .find(|family| family.model_type == model_type)
        .ok_or_else(|| refused_family(file, model_type))?;

    let trunk = Trunk {
        hidden: fields.whole("hidden_size", 1..=LARGEST_WIDTH)?,
        layers: fields.whole("num_hidden_layers", 1..=MOST_LAYERS)?,
    };
    let model = Model {
        name: file.into(),
        family: family.model_type.into(),
        hidden: trunk.hidden,
        vocabulary: fields.whole("vocab_size", 1..=LARGEST_VOCABULARY)?,
        max_positions: fields.whole("max_position_embeddings", 1..=MOST_POSITIONS)?,
        tied_embeddings: fields.flag_or("tie_word_embeddings", family.tied_by_default)?,
        layers: (family.read_layers)(&fields, &trunk)?,
        next_token_layers: fields.optional_whole("num_nextn_predict_layers", 0..=MOST_LAYERS)?.unwrap_or(0),
        norm_epsilon: fields.real("rms_norm_eps", 0.0..=1.0)?,
        rope_theta: rope_theta(&fields)?,
        centred_gains: family.centred_gains,
    };
    check_size(&model, file)?;
    Ok(model)
}

fn supported() -> String {
    let names: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
    format!("one of {}, or llama4 with a text_config", names.join(", "))
}

fn refused_family(file: &str, model_type: &str) -> SpecError {
    let hint = format!("supported is {}", supported());
    SpecError::Unsupported { file: file.into(), what: format!("model_type '{}'", fields::shortened(model_type)), hint }
}

/// The base of the rotary embedding, where newer files keep it too. Llama 2 files leave it out: 10,000.
fn rope_theta(fields: &Fields<'_>) -> Result<f64, SpecError> {
    const RANGE: std::ops::RangeInclusive<f64> = 1.0..=1e15;
    match fields.optional_real("rope_theta", RANGE)? {
        Some(theta) => Ok(theta),
        None if fields.is_given("rope_parameters") => {
            let theta = fields.object("rope_parameters", "rope_parameters.")?.optional_real("rope_theta", RANGE)?;
            Ok(theta.unwrap_or(10_000.0))
        }
        None => Ok(10_000.0),
    }
}

/// Each size is bounded where it is read, so that a single tensor fits `u64`; here the sum over the model is.
fn check_size(model: &Model, file: &str) -> Result<(), SpecError> {
    let layers = model.layers.iter().flat_map(|layer| layer.tensors(model.hidden));
    let total: u128 = layers.chain(model.outer_tensors()).map(|tensor| u128::from(tensor.parameters())).sum();
    if total <= MOST_PARAMETERS {
        return Ok(());
    }
    Err(SpecError::Field {
        file: file.into(),
        field: "num_hidden_layers".into(),
        problem: format!("all sizes together make {total} parameters"),
        allowed: format!("at most {MOST_PARAMETERS} parameters"),
    })
}

/// Where the width of a head comes from if `head_dim` is not given.
enum HeadDim {
    /// The family's default is a constant of its own: the file must say.
    Given,
    /// `hidden_size / num_attention_heads`.
    OrHiddenByHeads,
}

/// Grouped-query attention without extras, rotated whole, that sees everything.
fn grouped_attention(fields: &Fields<'_>, trunk: &Trunk, rule: HeadDim) -> Result<GroupedAttention, SpecError> {
    let heads = fields.whole("num_attention_heads", 1..=LARGEST_HEAD)?;
    let kv_heads = fields.whole("num_key_value_heads", 1..=LARGEST_HEAD)?;
    if heads % kv_heads != 0 {
        return Err(fields.wrong(
            "num_key_value_heads",
            format!("is {kv_heads}"),
            format!("a divisor of num_attention_heads = {heads}"),
        ));
    }
    let head_dim = match (fields.optional_whole("head_dim", 1..=LARGEST_HEAD)?, rule) {
        (Some(width), _) => width,
        (None, HeadDim::Given) => fields.whole("head_dim", 1..=LARGEST_HEAD)?,
        (None, HeadDim::OrHiddenByHeads) => match trunk.hidden / heads {
            width @ 1..=LARGEST_HEAD if trunk.hidden.is_multiple_of(heads) => width,
            _ => {
                let (absence, hidden) = (fields.absence("head_dim"), trunk.hidden);
                return Err(fields.wrong(
                    "head_dim",
                    format!("{absence}, and hidden_size = {hidden} makes no heads for num_attention_heads = {heads}"),
                    format!("a whole number from 1 to {LARGEST_HEAD}, or a hidden_size that the heads divide"),
                ));
            }
        },
    };
    Ok(GroupedAttention {
        heads,
        kv_heads,
        head_dim,
        qkv_bias: false,
        output_bias: false,
        qk_norm: false,
        sinks: false,
        output_gate: false,
        rotary_dim: head_dim,
        reach: Reach::Full,
    })
}

/// The names under which a family's `config.json` keeps its routed experts.
struct MoeKeys {
    experts: &'static str,
    width: &'static str,
}

/// Routed experts only, without biases, their weights normalised.
fn routed_experts(fields: &Fields<'_>, keys: &MoeKeys) -> Result<Moe, SpecError> {
    let experts = fields.whole(keys.experts, 1..=MOST_EXPERTS)?;
    Ok(Moe {
        experts,
        top_k: fields.whole("num_experts_per_tok", 1..=experts)?,
        width: fields.whole(keys.width, 1..=LARGEST_WIDTH)?,
        shared_width: 0,
        shared_gate: false,
        expert_bias: false,
        router_bias: false,
        selection: Selection::softmax(true),
        gating: Gating::Silu,
    })
}

/// A gated network without biases.
fn dense(fields: &Fields<'_>, key: &str) -> Result<FeedForward, SpecError> {
    Ok(FeedForward::Dense { width: fields.whole(key, 1..=LARGEST_WIDTH)?, bias: false })
}

/// `layer_types` of the file: one name per layer, each among `allowed`.
fn layer_types<'a>(fields: &Fields<'a>, trunk: &Trunk, allowed: &[&str]) -> Result<Option<Vec<&'a str>>, SpecError> {
    let Some(types) = fields.texts("layer_types")? else { return Ok(None) };
    let allowed_text = || format!("{} names among {}", trunk.layers, allowed.join(", "));
    if types.len() as u64 != trunk.layers {
        return Err(fields.wrong("layer_types", format!("has {} entries", types.len()), allowed_text()));
    }
    match types.iter().find(|name| !allowed.contains(*name)) {
        Some(name) => Err(fields.wrong("layer_types", format!("holds '{}'", fields::shortened(name)), allowed_text())),
        None => Ok(Some(types)),
    }
}

/// One flag per layer: whether a list of layer numbers, each below the number of layers, names it.
fn named_layers(trunk: &Trunk, named: &[u64]) -> Vec<bool> {
    let mut flags = vec![false; trunk.layers as usize];
    for layer in named {
        if let Some(flag) = flags.get_mut(*layer as usize) {
            *flag = true;
        }
    }
    flags
}
