//! Reading a Hugging Face `config.json`: what all families share. The table of families is [`families`]'s.
//!
//! Keys that a family does not need are ignored (real files hold dozens). A needed key must be there with the right
//! type and a sane size. What a family makes of its keys follows `modeling_<family>.py` of the `transformers` library;
//! Grok follows the published release. Each family is one function in a file below this one.

mod deepseek;
mod dense;
mod families;
mod fields;
mod grok;
mod llama;
mod mixture;
mod python;
mod qwen;
mod sparse;
mod wide;

use serde_json::Value;

use self::families::Defaults;
use self::fields::Fields;
pub(in crate::model) use self::fields::shortened;
use super::checkpoint::{self, Files};
use super::{FeedForward, Gating, GroupedAttention, HeadValues, Layer, Model, Moe, QkNorm, Reach, Selection};
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

/// What every layer is attached to.
struct Trunk {
    hidden: u64,
    layers: u64,
    defaults: Defaults,
}

/// The model that the text of a `config.json` describes. `beside`: the text of the `hf_quant_config.json` beside it,
/// with its name.
pub(super) fn parse(text: &str, file: &str, beside: Option<(&str, &str)>) -> Result<Model, SpecError> {
    let value = python::json(text, file)?;
    let Value::Object(map) = &value else {
        let counts = value.get(0).is_some_and(|row| row.is_array());
        let seen =
            if counts { ": this is a list of lists, as EPLB counts loads of experts (simctl routing)" } else { "" };
        let detail = format!("the text must be a JSON object, '{{ ... }}', from line 1 column 1{seen}");
        return Err(SpecError::Syntax { file: file.into(), detail });
    };
    let outer = Fields { file, prefix: "", map };
    let (fields, family) = families::find(&outer)?;
    let trunk = Trunk {
        hidden: fields.whole("hidden_size", 1..=LARGEST_WIDTH)?,
        layers: fields.whole("num_hidden_layers", 1..=MOST_LAYERS)?,
        defaults: family.defaults,
    };
    let defaults = &trunk.defaults;
    let mut notes: Vec<String> = family.notes.iter().map(|note| (*note).to_owned()).collect();
    let others = ["vision_config", "vit_config", "vision_tower_config", "audio_config", "thinker_config"];
    if others.iter().any(|key| outer.is_given(key)) {
        notes.push("the language model alone: parts for pictures and sound are not counted".into());
    }
    // A file around a text_config says there, or beside it, whether tables are one.
    let tied = match fields.is_given("tie_word_embeddings") {
        true => fields.flag_or("tie_word_embeddings", family.tied_by_default)?,
        false => outer.flag_or("tie_word_embeddings", family.tied_by_default)?,
    };
    let mut model = Model {
        name: file.into(),
        family: family.model_type.into(),
        hidden: trunk.hidden,
        vocabulary: fields.whole("vocab_size", 1..=LARGEST_VOCABULARY)?,
        max_positions: max_positions(&fields, defaults)?,
        tied_embeddings: tied,
        layers: (family.read_layers)(&fields, &trunk)?,
        next_token_layers: next_token_layers(&fields)?,
        norm_epsilon: norm_epsilon(&fields, defaults)?,
        rope_theta: rope_theta(&fields, defaults)?,
        centred_gains: family.centred_gains,
        notes,
        checkpoint: None,
    };
    check_size(&model, file)?;
    let beside = beside.map(|(text, file)| python::json(text, file)).transpose()?;
    let files = Files { text: fields.map, outer: map, beside: beside.as_ref() };
    model.checkpoint = checkpoint::read(&files, &model);
    Ok(model)
}

/// The longest sequence, under the names that families have for it.
fn max_positions(fields: &Fields<'_>, defaults: &Defaults) -> Result<u64, SpecError> {
    for key in ["max_position_embeddings", "max_position_embedding", "max_seq_len"] {
        if let Some(positions) = fields.optional_whole(key, 1..=MOST_POSITIONS)? {
            return Ok(positions);
        }
    }
    Ok(defaults.positions)
}

/// Layers for multi-token prediction, under the names that families have for them.
fn next_token_layers(fields: &Fields<'_>) -> Result<u64, SpecError> {
    let count = |key| Ok(fields.optional_whole(key, 0..=MOST_LAYERS)?.unwrap_or(0));
    let modules = match fields.flag_or("use_mtp", true)? {
        true => count("num_mtp_modules")?,
        false => 0,
    };
    for key in [
        "num_nextn_predict_layers",
        "mtp_num_hidden_layers",
        "mtp_num_layers",
        "num_mtp_layers",
        "_num_mtp_layers",
        "n_predict",
    ] {
        let layers = count(key)?;
        if layers > 0 {
            return Ok(layers);
        }
    }
    Ok(modules)
}

/// The epsilon of norms, under the names that families have for it.
fn norm_epsilon(fields: &Fields<'_>, defaults: &Defaults) -> Result<f64, SpecError> {
    for key in ["rms_norm_eps", "layer_norm_eps", "norm_eps", "norm_epsilon", "layer_norm_epsilon", "layernorm_epsilon"]
    {
        if let Some(epsilon) = fields.optional_real(key, 0.0..=1.0)? {
            return Ok(epsilon);
        }
    }
    Ok(defaults.epsilon)
}

/// The base of the rotary embedding. Newer files keep it with the rotary parameters, for some families by kind of layer:
/// then that of layers that see everything.
fn rope_theta(fields: &Fields<'_>, defaults: &Defaults) -> Result<f64, SpecError> {
    const RANGE: std::ops::RangeInclusive<f64> = 1.0..=1e15;
    const KEY: &str = "rope_parameters";
    if let Some(theta) = fields.optional_real("rope_theta", RANGE)? {
        return Ok(theta);
    }
    if !fields.is_given(KEY) {
        return Ok(defaults.theta);
    }
    let parameters = fields.object(KEY, "rope_parameters.")?;
    let theta = match parameters.is_given("full_attention") {
        true => parameters
            .object("full_attention", "rope_parameters.full_attention.")?
            .optional_real("rope_theta", RANGE)?,
        false => parameters.optional_real("rope_theta", RANGE)?,
    };
    Ok(theta.unwrap_or(defaults.theta))
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

/// Grouped-query attention without extras, rotated whole, that sees everything. What is missing has the default of the
/// family; what is null, or has none, follows from the heads.
fn grouped_attention(fields: &Fields<'_>, trunk: &Trunk) -> Result<GroupedAttention, SpecError> {
    let heads = fields.whole("num_attention_heads", 1..=LARGEST_HEAD)?;
    let of_family = |default: Option<u64>, key: &str| default.filter(|_| !fields.map.contains_key(key));
    let default =
        of_family(trunk.defaults.kv_heads, "num_key_value_heads").filter(|count| heads.is_multiple_of(*count));
    let given = fields.optional_whole("num_key_value_heads", 1..=LARGEST_HEAD)?;
    let kv_heads = given.or(default).unwrap_or(heads);
    if heads % kv_heads != 0 {
        return Err(fields.wrong(
            "num_key_value_heads",
            format!("is {kv_heads}"),
            format!("a divisor of num_attention_heads = {heads}"),
        ));
    }
    let default = of_family(trunk.defaults.head_dim, "head_dim");
    let head_dim = match fields.optional_whole("head_dim", 1..=LARGEST_HEAD)?.or(default) {
        Some(width) => width,
        None => match trunk.hidden / heads {
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
        qk_norm: QkNorm::None,
        sinks: false,
        output_gate: false,
        head_gate: false,
        rotary_dim: head_dim,
        reach: Reach::Full,
        query_rank: None,
        values: HeadValues::Plain,
    })
}

/// The names under which a family's `config.json` keeps its routed experts.
struct MoeKeys {
    experts: &'static str,
    width: &'static str,
}

/// Routed experts only, without biases, their weights normalised.
fn routed_experts(fields: &Fields<'_>, keys: &MoeKeys) -> Result<Moe, SpecError> {
    let experts = expert_count(fields, keys.experts)?;
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

/// The number of routed experts, under the family's own name or those that newer versions of `transformers` write.
fn expert_count(fields: &Fields<'_>, key: &'static str) -> Result<u64, SpecError> {
    let others = ["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"];
    let key = match fields.is_given(key) {
        true => key,
        false => others.into_iter().find(|other| fields.is_given(other)).unwrap_or(key),
    };
    fields.whole(key, 1..=MOST_EXPERTS)
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
        Some(name) => Err(fields.wrong("layer_types", format!("holds '{}'", shortened(name)), allowed_text())),
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

/// The window of layers that have one; where the key is missing that of the family, where it is null or 0 none.
fn window(fields: &Fields<'_>, default: Option<u64>) -> Result<Option<u64>, SpecError> {
    const KEY: &str = "sliding_window";
    let given = fields.optional_whole(KEY, 0..=MOST_POSITIONS)?;
    let missing = !fields.map.contains_key(KEY);
    Ok(given.or(default.filter(|_| missing)).filter(|window| *window > 0))
}

/// How far back each layer looks: as `layer_types` says, else as `is_full` says of the layer's number.
fn reaches(
    fields: &Fields<'_>,
    trunk: &Trunk,
    default: Option<u64>,
    is_full: impl Fn(u64) -> bool,
) -> Result<Vec<Reach>, SpecError> {
    let types = layer_types(fields, trunk, &["full_attention", "sliding_attention"])?;
    let is_full: Vec<bool> = match types {
        Some(types) => types.iter().map(|name| *name == "full_attention").collect(),
        None => (0..trunk.layers).map(is_full).collect(),
    };
    let limited = window(fields, default)?.map_or(Reach::Full, Reach::Window);
    Ok(is_full.into_iter().map(|is_full| if is_full { Reach::Full } else { limited }).collect())
}

/// The part of a head that is rotated in layers that see everything, where the file says it of these.
fn rotary_of_full(fields: &Fields<'_>) -> Result<Option<f64>, SpecError> {
    const KEY: &str = "partial_rotary_factor";
    if fields.is_given("rope_parameters") {
        let parameters = fields.object("rope_parameters", "rope_parameters.")?;
        if parameters.is_given("full_attention") {
            let full = parameters.object("full_attention", "rope_parameters.full_attention.")?;
            return full.optional_real(KEY, 0.0..=1.0);
        }
    }
    partial_rotary(fields)
}

/// The part of a head that is rotated; newer files keep it with the rotary parameters.
fn partial_rotary(fields: &Fields<'_>) -> Result<Option<f64>, SpecError> {
    const KEY: &str = "partial_rotary_factor";
    match fields.optional_real(KEY, 0.0..=1.0)? {
        None if fields.is_given("rope_parameters") => {
            fields.object("rope_parameters", "rope_parameters.")?.optional_real(KEY, 0.0..=1.0)
        }
        factor => Ok(factor),
    }
}
