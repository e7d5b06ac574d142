//! Files of other programs: what a file is follows from its first bytes and its keys.
//!
//! | format | gives |
//! |---|---|
//! | vLLM `routed_experts`, `prompt_routed_experts` (lists, or base64 of a `.npy`) | tokens |
//! | SGLang `meta_info.routed_experts` (base64 of int32) | tokens |
//! | Megatron-Core router trace, JSON Lines with `top_indices` | tokens |
//! | llama.cpp with header `phase,token,layer,rank,expert` | tokens |
//! | `.npy`, `.npz`: integers `[token, layer, choice]` or `[layer, token, choice]` | tokens |
//! | llama.cpp pairs `layer,expert`; `layer_id,expert_ids` | counts |
//! | EPLB matrix `[layer][expert]`: JSON, CSV, `.npy` | counts |
//! | SGLang `logical_count` | counts |
//! | MoE-Infinity `.npy` `[sequence, layer, expert]` | counts |
//!
//! Layers in which nothing was chosen (dense ones, which vLLM fills with zeros) are left out and counted. What is a
//! pickle, Parquet or another format is refused by name, with what to convert it to.

mod array;
mod csv;
mod json;
mod zip;

use std::io::Read;

use crate::counts::Counts;
use crate::error::RoutingError;
use crate::header::Header;
use crate::token::{Token, Trace};

/// What is known of the model whose router chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub model: String,
    /// Layers with routed experts.
    pub layers: Option<u32>,
    /// All layers, dense ones too.
    pub all_layers: Option<u32>,
    /// Experts of a layer.
    pub experts: Option<u32>,
    /// Experts of a token.
    pub top_k: Option<u32>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Imported {
    /// Which experts each token chose.
    Tokens(Trace),
    /// How often each expert was chosen.
    Counts(Counts),
}

/// Largest file after unpacking.
const MOST_BYTES: u64 = 1 << 30;

/// Reads a file of another program.
///
/// # Errors
/// Names the format that was seen, what is wrong, and how to convert it where it cannot be read.
pub fn import(bytes: &[u8], shape: &Shape) -> Result<Imported, RoutingError> {
    match bytes {
        [0x1f, 0x8b, ..] => {
            let mut unpacked = Vec::new();
            let read = flate2::read::MultiGzDecoder::new(bytes).take(MOST_BYTES + 1).read_to_end(&mut unpacked);
            read.map_err(|error| RoutingError::import("gzip", error.to_string()))?;
            if unpacked.len() as u64 > MOST_BYTES {
                return Err(RoutingError::import("gzip", "holds more than 1 GiB"));
            }
            match unpacked.as_slice() {
                [0x1f, 0x8b, ..] => Err(RoutingError::import("gzip", "holds gzip again: unpack it once")),
                inner => import(inner, shape),
            }
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => array::npy(bytes, ".npy")?.imported(shape),
        [b'P', b'K', 3, 4, ..] => zip::imported(bytes, shape),
        [b'P', b'A', b'R', b'1', ..] => {
            let how = "convert it: pandas.read_parquet(FILE), the ids as an array [token, layer, choice], numpy.save";
            Err(RoutingError::import("Parquet", how))
        }
        [0x80, 2..=5, ..] => Err(RoutingError::import("a pickle", PICKLE)),
        [0xef, 0xbb, 0xbf, rest @ ..] => text(rest, shape),
        _ => text(bytes, shape),
    }
}

const PICKLE: &str = "is not opened, since it can run code; convert it: torch.load(FILE, weights_only=True), then \
    json.dump({'logical_count': t.tolist()}) or numpy.save";

fn text(bytes: &[u8], shape: &Shape) -> Result<Imported, RoutingError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to();
        RoutingError::import("no known format", format!("byte {place} is no text; known are {KNOWN}"))
    })?;
    if text.starts_with("version https://git-lfs") {
        return Err(RoutingError::import("a pointer of Git LFS", "the data is elsewhere: git lfs pull"));
    }
    match text.trim_start().as_bytes().first() {
        None => Err(RoutingError::import("an empty file", format!("known are {KNOWN}"))),
        Some(b'{' | b'[') => json::imported(text, shape),
        Some(_) => csv::imported(text, shape),
    }
}

/// What is known, for messages.
const KNOWN: &str = "wafersim-routing traces, vLLM routed_experts, SGLang logical_count, EPLB matrices, llama.cpp traces, \
    Megatron router traces, .npy, .npz";

/// Tokens as they are found: for each of them the experts of each layer.
struct Found {
    format: &'static str,
    /// By token, by layer.
    tokens: Vec<Vec<Vec<u64>>>,
}

impl Found {
    /// A checked trace: layers without choices left out, and rows of zeros at the end.
    fn trace(mut self, shape: &Shape) -> Result<Imported, RoutingError> {
        let wrong = |reason: String| RoutingError::import(self.format, reason);
        let layers = self.tokens.first().map_or(0, Vec::len);
        let top_k = self.tokens.first().and_then(|token| token.iter().map(Vec::len).max()).unwrap_or(0);
        for (place, token) in self.tokens.iter().enumerate() {
            if token.len() != layers {
                return Err(wrong(format!("token {place} has {} layers, the first has {layers}", token.len())));
            }
            if let Some(layer) = token.iter().position(|experts| experts.len() != top_k) {
                let found = token.get(layer).map_or(0, Vec::len);
                return Err(wrong(format!("token {place}, layer {layer}: {found} experts, others have {top_k}")));
            }
        }
        if let Some(wanted) = shape.top_k.filter(|wanted| *wanted as usize != top_k) {
            return Err(wrong(format!("tokens have {top_k} experts, and the model's choose {wanted}")));
        }
        let is_empty = |experts: &Vec<u64>| top_k > 1 && experts.iter().all(|expert| *expert == 0);
        let mut padding = 0;
        while self.tokens.last().is_some_and(|token| token.iter().all(is_empty)) {
            self.tokens.pop();
            padding += 1;
        }
        let is_dense = |layer: &usize| self.tokens.iter().all(|token| token.get(*layer).is_some_and(is_empty));
        let dense: Vec<usize> = (0..layers).filter(is_dense).collect();
        let kept: Vec<usize> = (0..layers).filter(|layer| !dense.contains(layer)).collect();
        let highest = self.tokens.iter().flatten().flatten().copied().max().unwrap_or(0);
        let least = u32::try_from(highest).unwrap_or(u32::MAX).saturating_add(1);
        let experts = shape.experts.unwrap_or(least);
        if least > experts {
            return Err(wrong(format!("expert {highest}; allowed: 0 to {} of the model", experts.saturating_sub(1))));
        }
        if let Some(wanted) = shape.layers.filter(|wanted| *wanted as usize != kept.len()) {
            return Err(wrong(format!("{} layers with choices, and the model has {wanted} with experts", kept.len())));
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let name = if shape.model.is_empty() { "imported" } else { &shape.model };
        let mut header = Header::new(name, count(kept.len()), experts, count(top_k), self.tokens.len() as u64)
            .map_err(|error| wrong(error.to_string()))?;
        let mut note = vec![self.format.to_owned()];
        if !dense.is_empty() {
            note.push(format!("{} layers without choices are left out", dense.len()));
        }
        if padding > 0 {
            note.push(format!("{padding} tokens of zeros at the end are left out"));
        }
        if shape.experts.is_none() {
            note.push(format!("{experts} experts, as high as the ids go (--model says how many there are)"));
        }
        header.note = note.join("; ");
        let mut trace = Trace::new(header);
        let mut flat = Vec::new();
        for (number, token) in self.tokens.iter().enumerate() {
            flat.clear();
            let experts = kept.iter().filter_map(|layer| token.get(*layer)).flatten();
            flat.extend(experts.map(|expert| *expert as u16));
            let one = Token { user: 0, token: number as u64, experts: &flat, weights: None };
            trace.push(&one).map_err(|error| {
                let zeros = "rows of zeros within a trace come from kernels that do not record";
                wrong(format!("token {number}: {error} ({zeros})"))
            })?;
        }
        Ok(Imported::Tokens(trace))
    }
}

/// At most 60 characters of what a file holds, for a message.
fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let clean: String = text.chars().filter(|letter| !letter.is_control()).take(MOST + 1).collect();
    match clean.char_indices().nth(MOST) {
        None => clean,
        Some((end, _)) => format!("{}...", clean.get(..end).unwrap_or_default()),
    }
}

/// Counts from numbers that may be means: scaled so that the smallest that is no 0 stays visible.
fn whole_counts(rows: Vec<Vec<f64>>, format: &'static str) -> Result<Imported, RoutingError> {
    if let Some(wrong) = rows.iter().flatten().find(|count| !(0.0..=1e18).contains(*count)) {
        return Err(RoutingError::import(format, format!("{wrong} is no count; allowed: numbers from 0 to 1e18")));
    }
    let is_whole = rows.iter().flatten().all(|count| count.fract() == 0.0);
    let most = rows.iter().flatten().copied().fold(0.0, f64::max);
    // Moving averages and shares: nine digits of them.
    let scale = if is_whole || most <= 0.0 { 1.0 } else { 1e9 / most };
    let rows = rows.into_iter().map(|row| row.into_iter().map(|count| (count * scale).round() as u64).collect());
    Counts::new(rows.collect(), format).map(Imported::Counts)
}

#[cfg(test)]
mod tests;
