//! Methods of quantisation: what each key says about which modules, in which format.

use serde_json::{Map, Value};

use super::Files;
use crate::data_type::DataType;
use crate::model::config_json::shortened;

/// What the files say about quantisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// In words.
    pub source: String,
    /// Which modules have which format; the first rule that names a module holds.
    pub rules: Vec<Rule>,
    /// Patterns of modules that no rule holds for.
    pub excluded: Vec<String>,
    /// Whether rules for all linear layers hold for the LM head too, where no pattern excludes it.
    pub covers_head: bool,
    pub kv_cache: Option<DataType>,
    pub notes: Vec<String>,
}

/// Modules and their format; `None`: as without quantisation.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub targets: Targets,
    pub format: Option<DataType>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Every linear layer but the router.
    Linear,
    /// Routed experts.
    Experts,
    /// Those that one of the patterns names.
    Named(Vec<String>),
}

type Object = Map<String, Value>;

/// What `quantization_config`, or else `hf_quant_config.json`, says.
pub fn read(files: &Files<'_>) -> Option<Said> {
    let beside = files.beside.and_then(|value| value.get("quantization")).and_then(Value::as_object);
    let of_modelopt = beside.map(|object| modelopt(object, "hf_quant_config.json: "));
    let given = ["quantization_config", "compression_config", "quantization"].into_iter();
    let Some(object) = given.filter_map(|key| files.given(key)).find_map(Value::as_object) else {
        return of_modelopt;
    };
    let method = text(object, &["quant_method"]).map(str::to_ascii_lowercase);
    let mut said = match method.as_deref() {
        Some("modelopt" | "modelopt_fp4") => modelopt(object, "quantization_config: "),
        None if text(object, &["quant_algo"]).is_some() => modelopt(object, "quantization_config: "),
        Some("compressed-tensors") => compressed_tensors(object),
        None if object.contains_key("config_groups") => compressed_tensors(object),
        Some("fp8" | "fbgemm_fp8" | "finegrained_fp8") => fp8(object),
        Some("mxfp4") => mxfp4(object),
        Some("awq" | "gptq" | "gptqmodel" | "auto-round" | "intel/auto-round" | "auto_round") => {
            groups_of_integers(object)
        }
        Some("bitsandbytes") => bitsandbytes(object),
        None if ["load_in_4bit", "load_in_8bit"].iter().any(|key| flag(object, key)) => bitsandbytes(object),
        Some("quark") => quark(object),
        other => by_its_words(object, other).unwrap_or_else(|| unknown(object, other)),
    };
    if said.kv_cache.is_none() {
        let of_scheme = object.get("kv_cache_scheme").filter(|value| !value.is_null()).and_then(format_of_cache);
        said.kv_cache = of_scheme.or_else(|| of_modelopt.as_ref().and_then(|other| other.kv_cache));
    }
    Some(said)
}

impl Said {
    fn new(source: String, format: Option<DataType>, excluded: Vec<String>) -> Self {
        let rules = vec![Rule { targets: Targets::Linear, format }];
        Self { source, rules, excluded, covers_head: false, kv_cache: None, notes: Vec::new() }
    }

    fn noting(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

const EXCLUDED: &[&str] =
    &["modules_to_not_convert", "ignored_layers", "ignore", "exclude_modules", "exclude", "llm_int8_skip_modules"];

/// Eight-bit floating point with a scale for each block, row or tensor.
fn fp8(object: &Object) -> Said {
    let block = object.get("weight_block_size").and_then(Value::as_array).map(|sizes| {
        sizes.iter().filter_map(Value::as_u64).map(|size| size.to_string()).collect::<Vec<_>>().join(" x ")
    });
    let is_usual = block.as_deref() == Some("128 x 128");
    let words = block.map_or_else(String::new, |block| format!(" in blocks of {}", shortened(&block)));
    let said = Said::new(format!("quantization_config: fp8{words}"), Some(DataType::Fp8), texts(object, EXCLUDED));
    match is_usual {
        true => said,
        false => said.noting("scales are counted as those of blocks of 128 x 128"),
    }
}

/// Of models with experts these alone (`integrations/mxfp4.py` replaces no other module).
fn mxfp4(object: &Object) -> Said {
    let experts = Rule { targets: Targets::Experts, format: Some(DataType::Fp4) };
    let excluded = texts(object, EXCLUDED);
    let said = Said::new("quantization_config: mxfp4".into(), None, excluded);
    Said { rules: vec![experts], ..said }
}

/// AWQ, GPTQ and AutoRound: integers in groups along the inputs.
fn groups_of_integers(object: &Object) -> Said {
    let method = text(object, &["quant_method"]).unwrap_or("gptq");
    let bits = whole(object, &["bits", "w_bit"]).unwrap_or(4);
    let group = object.get("group_size").or_else(|| object.get("q_group_size")).and_then(Value::as_i64).unwrap_or(128);
    let (format, note) = integer(bits, group);
    let mut excluded = texts(object, EXCLUDED);
    // GPTQModel: "-:" before a regular expression leaves modules out.
    if let Some(dynamic) = object.get("dynamic").and_then(Value::as_object) {
        excluded.extend(dynamic.keys().filter_map(|key| key.strip_prefix("-:")).map(|key| format!("re:{key}")));
    }
    let of_group = if group > 0 { format!(" in groups of {group}") } else { " by channel".into() };
    let source = format!("quantization_config: {}, {bits} bit{of_group}", shortened(method));
    let mut said = Said::new(source, Some(format), excluded);
    said.covers_head = flag(object, "lm_head");
    said.notes.extend(note);
    // Modules with bits of their own: GPTQModel's regular expressions, AutoRound's names. The first that fits holds.
    let own = ["dynamic", "extra_config"].into_iter().filter_map(|key| object.get(key)?.as_object()).flatten();
    let own = own.filter(|(name, _)| !name.starts_with("-:")).filter_map(|(name, module)| {
        let module = module.as_object()?;
        let of_module = module.get("group_size").and_then(Value::as_i64).unwrap_or(group);
        let format = match whole(module, &["bits"])? {
            16.. => None,
            bits => Some(integer(bits, of_module).0),
        };
        let pattern = name.strip_prefix("+:").map(|pattern| format!("re:{pattern}"));
        Some(Rule { targets: Targets::Named(vec![pattern.unwrap_or_else(|| name.clone())]), format })
    });
    said.rules.splice(0..0, own.collect::<Vec<_>>());
    if bits == 4 && method != "auto-round" {
        said.notes.push("zero points of groups are not counted".into());
    }
    said
}

/// The format of integers in groups; what is said where there is none that fits.
fn integer(bits: u64, group: i64) -> (DataType, Option<String>) {
    match (bits, group) {
        (4, 1..=32) => (DataType::Int4Group32, (group < 32).then(|| "counted in groups of 32".to_owned())),
        (4, 33..=64) => (DataType::Int4Group64, None),
        (4, _) => (DataType::Int4, (group != 128).then(|| "counted in groups of 128".to_owned())),
        (8, _) => (DataType::Int8, Some("scales are counted as those of blocks of 128 x 128".into())),
        (0..4, _) => (DataType::Int4, Some(format!("{bits} bits are counted as 4"))),
        _ => (DataType::Int8, Some(format!("{bits} bits are counted as 8"))),
    }
}

/// NF4 and FP4 have a scale of 32 bits for 64 elements, as many bits as one of 16 for 32; quantised twice, one of about
/// 8 bits for 64, as one of 16 for 128.
fn bitsandbytes(object: &Object) -> Said {
    let excluded = texts(object, EXCLUDED);
    if flag(object, "load_in_8bit") || flag(object, "_load_in_8bit") {
        let said = Said::new("quantization_config: bitsandbytes, 8 bit".into(), Some(DataType::Int8), excluded);
        return said.noting("scales of rows are counted as those of blocks of 128 x 128");
    }
    let kind = text(object, &["bnb_4bit_quant_type"]).unwrap_or("fp4");
    let format = match flag(object, "bnb_4bit_use_double_quant") {
        true => DataType::Int4,
        false => DataType::Int4Group32,
    };
    let source = format!("quantization_config: bitsandbytes, {}", shortened(kind));
    Said::new(source, Some(format), excluded).noting(format!("counted as {format}, which has as many bits"))
}

/// NVIDIA ModelOpt, in `hf_quant_config.json` and in newer `config.json`.
fn modelopt(object: &Object, file: &str) -> Said {
    let algorithm = text(object, &["quant_algo"]);
    let group = object.get("group_size").and_then(Value::as_i64);
    let kv_cache = ["kv_cache_quant_algo", "kv_cache_scheme"]
        .into_iter()
        .find_map(|key| object.get(key).filter(|value| !value.is_null()).and_then(format_of_cache));
    let (format, mut notes) = match algorithm {
        None => (None, Vec::new()),
        Some("MIXED_PRECISION") => (None, Vec::new()),
        Some(name) => of_algorithm(name, group),
    };
    let mut rules = Vec::new();
    if let Some(layers) = object.get("quantized_layers").and_then(Value::as_object) {
        for (name, layer) in layers {
            let of_layer = layer.as_object().and_then(|layer| text(layer, &["quant_algo"]));
            let group = layer.get("group_size").and_then(Value::as_i64).or(group);
            let (format, more) = of_layer.map_or((None, Vec::new()), |name| of_algorithm(name, group));
            rules.push(Rule { targets: Targets::Named(vec![name.clone()]), format });
            notes.extend(more);
        }
    }
    notes.sort();
    notes.dedup();
    rules.push(Rule { targets: Targets::Linear, format });
    let cache = kv_cache.map_or_else(String::new, |kv_cache| format!(", KV cache {kv_cache}"));
    let source = format!("{file}{}{cache}", shortened(algorithm.unwrap_or("no algorithm")));
    Said { source, rules, excluded: texts(object, EXCLUDED), covers_head: true, kv_cache, notes }
}

fn of_algorithm(name: &str, group: Option<i64>) -> (Option<DataType>, Vec<String>) {
    let upper = name.to_ascii_uppercase();
    let format = match upper.as_str() {
        _ if upper.contains("NVFP4") => DataType::Nvfp4,
        _ if upper.contains("MXFP4") || upper == "FP4" => DataType::Fp4,
        _ if upper.contains("W4A") || upper.contains("INT4") => {
            let (format, note) = integer(4, group.unwrap_or(128));
            return (Some(format), note.into_iter().collect());
        }
        _ if upper.contains("FP8") => DataType::Fp8,
        _ if upper.contains("W8A8") || upper.contains("INT8") => DataType::Int8,
        _ => {
            let note = format!("the algorithm '{}' is not known: read as not quantised", shortened(name));
            return (None, vec![note]);
        }
    };
    (Some(format), Vec::new())
}

/// The format of keys and values: the name of an algorithm, or bits and type.
fn format_of_cache(value: &Value) -> Option<DataType> {
    if let Some(name) = value.as_str() {
        return of_algorithm(name, None).0;
    }
    of_numbers(value.as_object()?).0
}

/// Groups of modules, each with its numbers.
fn compressed_tensors(object: &Object) -> Said {
    let mut rules = Vec::new();
    let mut notes = Vec::new();
    let groups = object.get("config_groups").and_then(Value::as_object);
    // Schemes by name, with their modules: {"W4A16": ["Linear"]}.
    for (scheme, _) in groups.into_iter().flatten().filter(|(_, targets)| targets.is_array()) {
        let (format, more) = of_algorithm(scheme, Some(128));
        notes.extend(more);
        rules.push(Rule { targets: Targets::Linear, format });
    }
    for group in groups.into_iter().flat_map(Map::values).filter_map(Value::as_object) {
        let (format, more) = group.get("weights").and_then(Value::as_object).map_or((None, Vec::new()), of_numbers);
        notes.extend(more);
        let named = texts(group, &["targets"]);
        let is_class = |target: &String| !target.starts_with("re:") && !target.contains('.') && target != "lm_head";
        let targets =
            if named.iter().any(is_class) || named.is_empty() { Targets::Linear } else { Targets::Named(named) };
        rules.push(Rule { targets, format });
    }
    // Those with names first: they are exceptions from a class.
    rules.sort_by_key(|rule| rule.targets == Targets::Linear);
    notes.sort();
    notes.dedup();
    let packed = text(object, &["format"]).map_or_else(String::new, |format| format!(", {}", shortened(format)));
    let source = format!("quantization_config: compressed-tensors{packed}");
    Said { source, rules, excluded: texts(object, EXCLUDED), covers_head: true, kv_cache: None, notes }
}

/// The format of `num_bits`, `type` and `group_size`.
fn of_numbers(numbers: &Object) -> (Option<DataType>, Vec<String>) {
    let bits = whole(numbers, &["num_bits"]).unwrap_or(8);
    let group = numbers.get("group_size").and_then(Value::as_i64).unwrap_or(0);
    match (text(numbers, &["type"]).unwrap_or("int"), bits) {
        ("float", 4) if group == 16 => (Some(DataType::Nvfp4), Vec::new()),
        ("float", 4) => (Some(DataType::Fp4), Vec::new()),
        ("float", 8) => (Some(DataType::Fp8), Vec::new()),
        ("float", 16) => (None, Vec::new()),
        _ => {
            let (format, note) = integer(bits, group);
            (Some(format), note.into_iter().collect())
        }
    }
}

/// AMD Quark: one format for all, others for named layers.
fn quark(object: &Object) -> Said {
    let of_config = |config: &Object| {
        let weight = config.get("weight").and_then(|weight| match weight {
            Value::Array(several) => several.first().and_then(Value::as_object),
            other => other.as_object(),
        })?;
        let group = weight.get("group_size").and_then(Value::as_i64).unwrap_or(0);
        match text(weight, &["dtype"])? {
            "fp4" => Some(if group == 16 { DataType::Nvfp4 } else { DataType::Fp4 }),
            "fp8_e4m3" | "fp8_e5m2" | "fp8" => Some(DataType::Fp8),
            "int8" | "uint8" => Some(DataType::Int8),
            "int4" | "uint4" => Some(integer(4, group).0),
            _ => None,
        }
    };
    let format = object.get("global_quant_config").and_then(Value::as_object).and_then(of_config);
    let named = object.get("layer_quant_config").and_then(Value::as_object);
    let mut rules: Vec<Rule> = named
        .into_iter()
        .flatten()
        .filter_map(|(name, config)| {
            let format = of_config(config.as_object()?);
            Some(Rule { targets: Targets::Named(vec![name.clone()]), format })
        })
        .collect();
    rules.push(Rule { targets: Targets::Linear, format });
    let said = Said::new("quantization_config: quark".into(), format, texts(object, EXCLUDED));
    let said = Said { rules, covers_head: true, ..said };
    match format {
        Some(_) => said,
        None => said.noting("the format of its weights is not known: read as not quantised"),
    }
}

/// Methods whose settings name a format: Quanto, EETQ, TorchAO, HQQ, MXFP8, FP-Quant.
fn by_its_words(object: &Object, method: Option<&str>) -> Option<Said> {
    let method = method?;
    let words = match method {
        "quanto" => text(object, &["weights"])?.to_owned(),
        "eetq" => text(object, &["weights"]).unwrap_or("int8").to_owned(),
        "torchao" => object.get("quant_type")?.to_string(),
        "fp_quant" => text(object, &["forward_dtype"]).unwrap_or("mxfp4").to_owned(),
        "mxfp8" => "fp8".into(),
        "hqq" => {
            let parameters = object.get("quant_config")?.get("weight_quant_params")?.as_object()?;
            let group = parameters.get("group_size").and_then(Value::as_i64).unwrap_or(64);
            let (format, note) = integer(whole(parameters, &["nbits"])?, group);
            let said = Said::new("quantization_config: hqq".into(), Some(format), texts(object, EXCLUDED));
            let said = said.noting("zero points of groups are not counted");
            return Some(note.into_iter().fold(said, Said::noting));
        }
        _ => return None,
    };
    let lower = words.to_ascii_lowercase();
    let format = [
        (DataType::Nvfp4, "nvfp4"),
        (DataType::Fp4, "mxfp4"),
        (DataType::Int4, "int4"),
        (DataType::Int4, "4bit"),
        (DataType::Int8, "int8"),
        (DataType::Fp8, "float8"),
        (DataType::Fp8, "fp8"),
    ];
    let (format, _) = format.into_iter().find(|(_, word)| lower.contains(word))?;
    let said = Said::new(format!("quantization_config: {method}"), Some(format), texts(object, EXCLUDED));
    Some(said.noting(format!("counted as {format}")))
}

/// By its bits, where it says how many.
fn unknown(object: &Object, method: Option<&str>) -> Said {
    let name = shortened(method.unwrap_or("without quant_method"));
    let bits = whole(object, &["bits", "w_bit", "nbits", "num_bits", "weight_bits"]);
    let format = bits.map(|bits| integer(bits, 128).0);
    let note = match format {
        Some(format) => format!("the method '{name}' is not known: read by its bits, as {format}"),
        None => format!("the method '{name}' is not known: read as not quantised; say otherwise with --weights"),
    };
    Said::new(format!("quantization_config: {name}"), format, texts(object, EXCLUDED)).noting(note)
}

fn text<'a>(object: &'a Object, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| object.get(*key)?.as_str())
}

fn whole(object: &Object, keys: &[&str]) -> Option<u64> {
    keys.iter().find_map(|key| object.get(*key)?.as_u64())
}

fn flag(object: &Object, key: &str) -> bool {
    object.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// All texts of lists under these keys.
fn texts(object: &Object, keys: &[&str]) -> Vec<String> {
    let lists = keys.iter().filter_map(|key| object.get(*key)?.as_array());
    lists.flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
