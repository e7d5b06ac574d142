//! How the files of a checkpoint store weights and cache, as its `config.json` and the `hf_quant_config.json` beside it
//! say: a data type for each role, and the exact bytes.
//!
//! What the keys mean follows the `transformers` library (`utils/quantization_config.py`), compressed-tensors, NVIDIA
//! ModelOpt and AMD Quark. Where layers of a model differ, a role has the format of most of them, which is said.

mod methods;
mod modules;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::methods::Said;
use self::modules::Modules;
use super::{Model, Role};
use crate::data_type::{DataType, TensorClass};
use crate::precision::{Precision, RoleGroup};
use crate::units::Bytes;

/// How the files of a checkpoint store a model.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointFormat {
    /// Data types by role; what the files do not say has the default.
    pub precision: Precision,
    /// Bytes of all weights as stored, scales of blocks included.
    pub bytes: Bytes,
    /// Which key of which file says so, in words: `quantization_config: fp8`.
    pub source: String,
    /// What could not be read, or is counted otherwise than it is.
    pub notes: Vec<String>,
    /// The same of the checkpoint's layers for multi-token prediction, both tables included, where it brings some:
    /// quantisation often leaves them out.
    pub predictor: Option<Box<CheckpointFormat>>,
}

/// What of the files is read.
pub(super) struct Files<'a> {
    /// The object that holds the sizes: the whole file, or its `text_config`.
    pub text: &'a Map<String, Value>,
    /// The whole file.
    pub outer: &'a Map<String, Value>,
    /// The `hf_quant_config.json` beside it.
    pub beside: Option<&'a Value>,
}

impl Files<'_> {
    /// The value of a key that is there and not null, of the sizes' object first.
    fn given(&self, key: &str) -> Option<&Value> {
        [self.text, self.outer].into_iter().find_map(|map| map.get(key).filter(|value| !value.is_null()))
    }
}

/// What the files say about the formats of a model; nothing where they say neither a data type nor a quantisation.
pub(super) fn read(files: &Files<'_>, model: &Model) -> Option<CheckpointFormat> {
    let plain = plain_type(files);
    let said = methods::read(files);
    if plain.is_none() && said.is_none() {
        return None;
    }
    let base = plain.map_or(DataType::Bf16, |(_, plain)| plain);
    let words = plain.map_or_else(String::new, |(key, plain)| format!("{key}: {plain}"));
    let words = match &said {
        Some(said) if words.is_empty() => said.source.clone(),
        Some(said) => format!("{}; {words}", said.source),
        None => words,
    };
    let own = of_model(model, Which::Model, (said.as_ref(), base), &words);
    let predictor = model.next_token_predictor().map(|predictor| {
        let which = Which::Predictor { after: model.layers.len() };
        Box::new(of_model(&predictor, which, (said.as_ref(), base), &words))
    });
    Some(CheckpointFormat { predictor, ..own })
}

/// Whose layers they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// The model's.
    Model,
    /// Those for multi-token prediction, which are numbered after so many layers of the model, or have names of their
    /// own.
    Predictor {
        /// Layers of the model.
        after: usize,
    },
}

/// The formats of a model's layers and tables; `source` in words.
fn of_model(model: &Model, which: Which, (said, base): (Option<&Said>, DataType), source: &str) -> CheckpointFormat {
    let mut notes: Vec<String> = said.map(|said| said.notes.clone()).unwrap_or_default();
    let layers = of_layers(model, which, (said, base), &mut notes);
    let precision = precision(model, &layers, (said, base));
    let bytes = bytes(model, &layers, &precision, base);
    if let Some(of_head) = layers.differing_head {
        notes.push(format!("the LM head is the embedding table, which stays {base}, not {of_head}"));
    }
    CheckpointFormat { precision, bytes, source: source.to_owned(), notes, predictor: None }
}

/// `dtype`, or `torch_dtype` in older files.
fn plain_type(files: &Files<'_>) -> Option<(&'static str, DataType)> {
    ["dtype", "torch_dtype"].into_iter().find_map(|key| {
        let text = files.given(key)?.as_str()?;
        let data_type = match text.strip_prefix("torch.").unwrap_or(text) {
            "bfloat16" => DataType::Bf16,
            "float16" | "half" => DataType::Fp16,
            "float32" | "float" => DataType::Fp32,
            "float8_e4m3fn" | "float8_e5m2" => DataType::Fp8,
            _ => return None,
        };
        Some((key, data_type))
    })
}

/// The formats of every layer's matrices.
struct OfLayers {
    /// By layer.
    layers: Vec<BTreeMap<Role, DataType>>,
    head: DataType,
    differing_head: Option<DataType>,
}

fn of_layers(
    model: &Model,
    which: Which,
    (said, base): (Option<&Said>, DataType),
    notes: &mut Vec<String>,
) -> OfLayers {
    let Some(said) = said else {
        return OfLayers { layers: vec![BTreeMap::new(); model.layers.len()], head: base, differing_head: None };
    };
    let mut modules = Modules::new(said, which);
    let layers = (0..model.layers.len()).map(|index| {
        let layer = model.layers.get(index);
        let tensors = layer.map(|layer| layer.tensors(model.hidden)).unwrap_or_default();
        let matrices = tensors.iter().filter(|tensor| tensor.class == TensorClass::Weights).map(|tensor| tensor.role);
        matrices.map(|role| (role, modules.format(model, index, role).unwrap_or(base))).collect()
    });
    let layers: Vec<BTreeMap<Role, DataType>> = layers.collect();
    notes.extend(differing(&layers));
    let of_head = modules.head().unwrap_or(base);
    notes.extend(modules.unread().map(|pattern| format!("the pattern '{pattern}' of modules could not be read")));
    let differing_head = (model.tied_embeddings && of_head != base).then_some(of_head);
    OfLayers { layers, head: if model.tied_embeddings { base } else { of_head }, differing_head }
}

/// Roles that some layers store otherwise than most.
fn differing(layers: &[BTreeMap<Role, DataType>]) -> Vec<String> {
    let mut of_role: BTreeMap<Role, BTreeMap<DataType, usize>> = BTreeMap::new();
    for (role, format) in layers.iter().flatten() {
        *of_role.entry(*role).or_default().entry(*format).or_default() += 1;
    }
    let mut groups: BTreeMap<(usize, usize, DataType), Vec<&str>> = BTreeMap::new();
    for (role, counts) in &of_role {
        let all = counts.values().sum();
        let most = counts.iter().max_by_key(|(format, count)| (**count, format.bits())).map(|(format, _)| *format);
        for (format, count) in counts.iter().filter(|(format, _)| Some(**format) != most) {
            groups.entry((*count, all, *format)).or_default().push(role.name());
        }
    }
    let line = |((count, all, format), roles): ((usize, usize, DataType), Vec<&str>)| {
        format!("{count} of {all} layers have {} in {format}, taken as the others have it", roles.join(", "))
    };
    groups.into_iter().map(line).collect()
}

fn precision(model: &Model, layers: &OfLayers, (said, base): (Option<&Said>, DataType)) -> Precision {
    let default = Precision::default();
    // Matrices of layers by their bytes in 16 bit: the format of most of them is that of weights.
    let mut of_role: BTreeMap<Role, BTreeMap<DataType, u64>> = BTreeMap::new();
    let mut of_all: BTreeMap<DataType, u64> = BTreeMap::new();
    for (layer, formats) in model.layers.iter().zip(&layers.layers) {
        for tensor in layer.tensors(model.hidden) {
            if let Some(format) = formats.get(&tensor.role) {
                *of_role.entry(tensor.role).or_default().entry(*format).or_default() += tensor.parameters();
                *of_all.entry(*format).or_default() += tensor.parameters();
            }
        }
    }
    let most = |counts: &BTreeMap<DataType, u64>| {
        counts.iter().max_by_key(|(format, parameters)| (**parameters, format.bits())).map(|(format, _)| *format)
    };
    let weights = most(&of_all).unwrap_or(base);
    let wide = if base.is_arithmetic() { base } else { DataType::Bf16 };
    let mut precision = Precision {
        weights,
        small_weights: wide,
        kv_cache: said.and_then(|said| said.kv_cache).unwrap_or(wide),
        activations: if wide == DataType::Fp32 { default.activations } else { wide },
        ..default
    };
    let formats: BTreeMap<Role, DataType> =
        of_role.iter().map(|(role, counts)| (*role, most(counts).unwrap_or(base))).collect();
    let outer = [(Role::Embedding, base), (Role::LmHead, layers.head)];
    for group in RoleGroup::ALL {
        let present = formats.iter().map(|(role, format)| (*role, *format)).chain(outer);
        let present: Vec<(Role, DataType)> = present.filter(|(role, _)| role.group() == Some(*group)).collect();
        match present.as_slice() {
            // Roles of a group that the model lacks are as those that it has.
            [(_, first), rest @ ..] if rest.iter().all(|(_, other)| other == first) => {
                if *first != weights {
                    precision = precision.with_group(*group, *first);
                }
            }
            several => several
                .iter()
                .filter(|(_, format)| *format != weights)
                .for_each(|(role, format)| precision.roles.set(*role, *format)),
        }
    }
    precision
}

fn bytes(model: &Model, layers: &OfLayers, precision: &Precision, base: DataType) -> Bytes {
    let small = precision.small_weights;
    let mut total = Bytes::ZERO;
    let mut add = |tensor: &super::Tensor, format: DataType| {
        let bias = if tensor.bias { small.storage(tensor.outputs) } else { Bytes::ZERO };
        total += (format.storage(tensor.inputs.saturating_mul(tensor.outputs)) + bias) * tensor.copies;
    };
    for (layer, formats) in model.layers.iter().zip(&layers.layers) {
        for tensor in layer.tensors(model.hidden) {
            let usual = if tensor.class == TensorClass::Weights { base } else { small };
            add(&tensor, formats.get(&tensor.role).copied().unwrap_or(usual));
        }
    }
    for tensor in model.outer_tensors() {
        let format = match tensor.role {
            Role::Embedding => base,
            Role::LmHead => layers.head,
            _ => small,
        };
        add(&tensor, format);
    }
    total
}

impl CheckpointFormat {
    /// In one line: where the formats come from.
    pub fn words(&self) -> String {
        let notes = if self.notes.is_empty() { String::new() } else { format!("; {}", self.notes.join("; ")) };
        format!("{}{notes}", self.source)
    }
}
