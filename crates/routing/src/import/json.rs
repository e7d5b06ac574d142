//! JSON of vLLM, SGLang and EPLB, and Megatron's JSON Lines.

use std::collections::BTreeMap;

use serde_json::Value;

use super::array::{Array, npy, numbers};
use super::{Found, Imported, KNOWN, Shape, shortened, whole_counts};
use crate::error::RoutingError;

const VLLM: &str = "vLLM routed_experts";
const SGLANG: &str = "SGLang routed_experts";
const COUNT: &str = "SGLang logical_count";
const MATRIX: &str = "a matrix of counts [layer][expert] (EPLB)";
const MEGATRON: &str = "a router trace of Megatron-Core";
const LISTS: &str = "lists [token][layer][choice]";

pub fn imported(text: &str, shape: &Shape) -> Result<Imported, RoutingError> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let first = match values.next() {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(RoutingError::import("JSON", error.to_string())),
        None => return Err(RoutingError::import("an empty file", format!("known are {KNOWN}"))),
    };
    if first.get("top_indices").is_some() {
        let rest = values.map(|value| value.map_err(|error| RoutingError::import(MEGATRON, error.to_string())));
        return megatron(std::iter::once(Ok(first)).chain(rest), shape);
    }
    if first.get("format").is_some_and(|format| format == crate::header::FORMAT) {
        return Err(RoutingError::import("a wafersim-routing trace", "it is read as such, not imported"));
    }
    match &first {
        Value::Object(map) => {
            if let Some(counts) = map.get("logical_count") {
                return counted(counts, COUNT);
            }
            if map.contains_key("physical_to_logical_map") {
                let reason = "a placement of experts, which says nothing of their load; name a file with logical_count";
                return Err(RoutingError::import("SGLang physical_to_logical_map", reason));
            }
            if let Some(info) = map.get("meta_info").filter(|info| info.get("routed_experts").is_some()) {
                let kind = info.get("routed_experts_dtype").and_then(Value::as_str).unwrap_or("int32");
                return packed(info.get("routed_experts").unwrap_or(&Value::Null), kind, shape);
            }
            of_vllm(&first, shape)
        }
        Value::Array(_) => match depth(&first) {
            2 => counted(&first, MATRIX),
            3 if is_ids(&first, shape) => Found { format: LISTS, tokens: ids(&first, LISTS)? }.trace(shape),
            3 => counted(&first, "lists of counts [step][layer][expert]"),
            other => Err(RoutingError::import("lists", format!("{other} deep; known are {KNOWN}"))),
        },
        _ => Err(RoutingError::import("JSON", format!("known are {KNOWN}"))),
    }
}

/// How deep lists are nested, by their first elements.
fn depth(value: &Value) -> usize {
    let (mut depth, mut at) = (0, value);
    while let Value::Array(items) = at {
        depth += 1;
        match items.first() {
            Some(first) => at = first,
            None => break,
        }
    }
    depth
}

/// Whether the innermost lists are experts that a token has chosen: whole numbers, all different, not as many as there
/// are experts.
fn is_ids(value: &Value, shape: &Shape) -> bool {
    let rows = || value.as_array().into_iter().flatten().filter_map(Value::as_array).flatten();
    let width = rows().next().and_then(Value::as_array).map_or(0, Vec::len);
    if let Some(top_k) = shape.top_k {
        return width == top_k as usize;
    }
    let differ = |row: &Value| {
        row.as_array().is_some_and(|row| {
            let zeros = row.iter().all(|value| value.as_u64() == Some(0));
            zeros || row.iter().enumerate().all(|(place, value)| value.is_u64() && !row[..place].contains(value))
        })
    };
    rows().all(differ)
}

fn ids(value: &Value, format: &'static str) -> Result<Vec<Vec<Vec<u64>>>, RoutingError> {
    let wrong = |token: usize, what: &Value| {
        RoutingError::import(format, format!("token {token}: '{}' is no list of experts", shortened(&what.to_string())))
    };
    let tokens = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut all = Vec::with_capacity(tokens.len());
    for (number, token) in tokens.iter().enumerate() {
        let layers = token.as_array().ok_or_else(|| wrong(number, token))?;
        let experts = |layer: &Value| {
            let row = layer.as_array().and_then(|row| row.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>());
            row.ok_or_else(|| wrong(number, layer))
        };
        all.push(layers.iter().map(experts).collect::<Result<Vec<_>, _>>()?);
    }
    Ok(all)
}

/// Lists of lists of numbers; of three levels the first is summed.
fn counted(value: &Value, format: &'static str) -> Result<Imported, RoutingError> {
    let wrong = |what: &Value| {
        RoutingError::import(format, format!("'{}' is no list of numbers", shortened(&what.to_string())))
    };
    let row = |row: &Value| {
        let numbers = row.as_array().and_then(|row| row.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        numbers.ok_or_else(|| wrong(row))
    };
    let matrix = |matrix: &Value| {
        let rows = matrix.as_array().ok_or_else(|| wrong(matrix))?;
        rows.iter().map(row).collect::<Result<Vec<_>, _>>()
    };
    if depth(value) < 3 {
        return whole_counts(matrix(value)?, format);
    }
    let mut sum: Vec<Vec<f64>> = Vec::new();
    for step in value.as_array().into_iter().flatten() {
        let step = matrix(step)?;
        if sum.is_empty() {
            sum = step;
            continue;
        }
        let alike = step.len() == sum.len() && step.iter().zip(&sum).all(|(one, other)| one.len() == other.len());
        if !alike {
            return Err(RoutingError::import(format, "steps have different numbers of layers or experts"));
        }
        for (sum, counts) in sum.iter_mut().zip(&step) {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    whole_counts(sum, format)
}

/// The prompt's tokens, then the answer's.
fn of_vllm(response: &Value, shape: &Shape) -> Result<Imported, RoutingError> {
    const KEY: &str = "routed_experts";
    let choice = response.get("choices").and_then(|choices| choices.get(0));
    let of = |value: Option<&Value>, key: &str| {
        value.and_then(|value| value.get(key)).filter(|value| !value.is_null()).cloned()
    };
    let parts = [
        of(Some(response), "prompt_routed_experts").or_else(|| of(choice, "prompt_routed_experts")),
        of(Some(response), KEY).or_else(|| of(choice, KEY)),
    ];
    let mut tokens = Vec::new();
    for part in parts.into_iter().flatten() {
        match &part {
            Value::String(_) | Value::Object(_) => return packed(&part, "int32", shape),
            _ => tokens.extend(ids(&part, VLLM)?),
        }
    }
    if tokens.is_empty() {
        let keys: Vec<&str> = response.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let reason = format!("keys {}; known are {KNOWN}", shortened(&keys.join(", ")));
        return Err(RoutingError::import("a JSON object", reason));
    }
    Found { format: VLLM, tokens }.trace(shape)
}

/// Base64: of a `.npy`, of numbers with their shape beside them, or of bare numbers whose shape the model says.
fn packed(value: &Value, kind: &str, shape: &Shape) -> Result<Imported, RoutingError> {
    let wrong = |reason: &str| RoutingError::import(SGLANG, reason);
    let (text, own, kind) = match value {
        Value::String(text) => (text.as_str(), None, kind.to_owned()),
        other => {
            let text = other.get("data").and_then(Value::as_str).ok_or_else(|| wrong("has no text in 'data'"))?;
            let own = other.get("shape").and_then(Value::as_array);
            let own =
                own.map(|sizes| sizes.iter().filter_map(Value::as_u64).map(|size| size as usize).collect::<Vec<_>>());
            (text, own, other.get("dtype").and_then(Value::as_str).unwrap_or(kind).to_owned())
        }
    };
    if text.starts_with("nrlre1:") {
        return Err(RoutingError::import("an envelope of NeMo RL", "decode it, and save the array with numpy.save"));
    }
    let bytes = base64(text).ok_or_else(|| wrong("is no base64"))?;
    if bytes.starts_with(b"\x93NUMPY") {
        return npy(&bytes, VLLM)?.imported(shape);
    }
    let (descr, size) = match kind.as_str() {
        "uint8" => ("u1", 1),
        "int16" => ("i2", 2),
        "uint16" => ("u2", 2),
        "int64" => ("i8", 8),
        _ => ("i4", 4),
    };
    let count = bytes.len() / size;
    let sizes = match (own, shape.all_layers.or(shape.layers), shape.top_k) {
        (Some(sizes), _, _) => sizes,
        (None, Some(layers), Some(top_k)) => {
            let each = (layers as usize) * (top_k as usize);
            vec![count / each.max(1), layers as usize, top_k as usize]
        }
        _ => return Err(wrong("has no shape: --model says how many layers and experts of a token there are")),
    };
    let product = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    if product != Some(count) {
        return Err(wrong(&format!("{count} numbers do not fill {sizes:?}")));
    }
    let (values, integers) = numbers(&bytes, descr, count).ok_or_else(|| wrong("ends too soon"))?;
    Array { format: SGLANG, shape: sizes, integers, values }.imported(shape)
}

/// RFC 4648, with or without line breaks and padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0);
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace() && *letter != b'=') {
        held = held << 6 | u32::from(digit(letter)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// Experts of the tokens of a batch, by layer.
type BatchLayers = BTreeMap<u64, Vec<Vec<u64>>>;

/// A line for each step, block and layer; tokens keep the order of their batch.
fn megatron(lines: impl Iterator<Item = Result<Value, RoutingError>>, shape: &Shape) -> Result<Imported, RoutingError> {
    let mut steps: BTreeMap<(u64, u64), BatchLayers> = BTreeMap::new();
    for (number, line) in (1_u64..).zip(lines) {
        let line = line?;
        let wrong = |reason: &str| RoutingError::import(MEGATRON, format!("line {number}: {reason}"));
        if line.get("mtp_idx").is_some_and(|index| !index.is_null()) {
            continue;
        }
        let whole = |key: &str| line.get(key).and_then(Value::as_u64);
        let layer = whole("layer").ok_or_else(|| wrong("has no layer"))?;
        let rows = line.get("top_indices").and_then(Value::as_array).ok_or_else(|| wrong("has no top_indices"))?;
        let row =
            |row: &Value| row.as_array().and_then(|row| row.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>());
        let rows: Option<Vec<Vec<u64>>> = rows.iter().map(row).collect();
        let rows = rows.ok_or_else(|| wrong("top_indices is no list of lists of experts"))?;
        let key = (whole("step").unwrap_or(0), whole("rank").unwrap_or(0));
        steps.entry(key).or_default().entry(layer).or_default().extend(rows);
    }
    let mut tokens = Vec::new();
    for layers in steps.into_values() {
        let count = layers.values().map(Vec::len).max().unwrap_or(0);
        for token in 0..count {
            tokens.push(layers.values().map(|rows| rows.get(token).cloned().unwrap_or_default()).collect());
        }
    }
    Found { format: MEGATRON, tokens }.trace(shape)
}
