//! Routing, weights, tables, stores.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use wafersim_check::measurements::read_table;
use wafersim_check::production::read_production;
use wafersim_check::validate::validate;
use wafersim_fabric::packet::{MeshSize, read_trace};
use wafersim_routing::import::{Imported, Shape, import};
use wafersim_routing::statistics::inspect;
use wafersim_routing::{RoutingError, TokenSource, Trace, binary, jsonl};
use wafersim_spec::Wafer;
use wafersim_values::tensors::files_of_index;
use wafersim_values::{Checkpoint, Tensors};

use crate::inputs::{FILE, naming_file, text};
use crate::target::Outcome;

/// Written and read again, a trace is the same; and its statistics can be taken.
fn whole(source: &mut dyn TokenSource) -> Result<(), RoutingError> {
    let trace = Trace::read(source)?;
    assert_eq!(trace.len() as u64, trace.header.tokens, "tokens that the header does not count");
    let mut lines = Vec::new();
    jsonl::write(&mut trace.source(), &mut lines)?;
    let again = Trace::read(&mut jsonl::JsonLines::open(lines.as_slice())?)?;
    assert!(again == trace, "written and read again, another trace");
    inspect(&mut trace.source()).map(drop)
}

pub fn routing_jsonl(bytes: &[u8]) -> Outcome {
    Outcome::of(jsonl::JsonLines::open(bytes).and_then(|mut source| whole(&mut source)))
}

/// As it stands, and with every checksum made right: behind it anything may stand.
pub fn routing_binary(bytes: &[u8]) -> Outcome {
    let read = |bytes: &[u8]| Outcome::of(binary::Binary::open(bytes).and_then(|mut source| whole(&mut source)));
    let _torn = read(bytes);
    read(&repaired(bytes))
}

/// Magic, schema, then sections: length, checksum, bytes.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    const HEAD: usize = 12;
    let mut bytes = bytes.to_vec();
    let Some(head) = bytes.get_mut(..HEAD) else { return bytes };
    head[..8].copy_from_slice(&binary::MAGIC);
    head[8..].copy_from_slice(&binary::SCHEMA.to_le_bytes());
    let mut at = HEAD;
    while let Some(length) = bytes.get(at..at + 4).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes) {
        let start = at + 8;
        let end = start.saturating_add(length as usize).min(bytes.len());
        let Some(section) = bytes.get(start..end) else { break };
        let checksum = if section.is_empty() { 0 } else { crc32fast::hash(section) };
        // A section that is longer than what is left is made shorter.
        let length = (section.len() as u32).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&length);
        bytes[at + 4..start].copy_from_slice(&checksum.to_le_bytes());
        at = end;
    }
    bytes
}

/// Without a word of the model, and with its shape.
pub fn routing_import(bytes: &[u8]) -> Outcome {
    let shape = Shape { model: "given".into(), layers: Some(2), all_layers: None, experts: Some(8), top_k: Some(2) };
    let read = |shape: &Shape| {
        Outcome::of(import(bytes, shape).and_then(|imported| match imported {
            Imported::Tokens(trace) => whole(&mut trace.source()),
            Imported::Counts(_) => Ok(()),
        }))
    };
    let _shapeless = read(&Shape::default());
    read(&shape)
}

/// The config of the tensors in the corpus.
const CONFIG: &str = include_str!("../../values/tests/fixtures/tiny_qwen3_moe/config.json");

/// Tensors, as values and as a checkpoint's; and the index of a checkpoint in several files.
pub fn safetensors(bytes: &[u8]) -> Outcome {
    if let Ok(text) = text(bytes) {
        let _index = files_of_index(text, FILE);
    }
    let tensors = match Tensors::read(vec![(FILE.into(), bytes.to_vec())]) {
        Ok(tensors) => tensors,
        Err(error) => return naming_file(Outcome::Refused(error.to_string())),
    };
    for tensor in tensors.names().filter_map(|name| tensors.get(name)) {
        assert_eq!(tensor.values().len(), tensor.len(), "values that the shape does not count");
    }
    let _checkpoint = Checkpoint::new(CONFIG, FILE, tensors);
    Outcome::Read
}

static WAFERS: LazyLock<BTreeMap<String, Wafer>> = LazyLock::new(|| {
    ["wse2", "wse3"].into_iter().filter_map(|name| Some((name.to_owned(), Wafer::builtin(name).ok()?))).collect()
});

/// A table, and what is predicted for its rows.
pub fn measurements(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(read_table(text, FILE).map(|rows| {
        let validation = validate(&rows, &WAFERS);
        assert!(validation.predictions.len() <= rows.len(), "more predictions than rows");
    })))
}

pub fn production(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    naming_file(Outcome::of(read_production(text, FILE)))
}

/// Rows of a long run.
pub fn store(bytes: &[u8]) -> Outcome {
    let written = tempfile::Builder::new().prefix(FILE).suffix(".jsonl").tempfile().and_then(|mut file| {
        std::io::Write::write_all(&mut file, bytes)?;
        Ok(file)
    });
    match written {
        Ok(file) => naming_file(Outcome::of(wafersim_store::read(file.path()))),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

pub fn packet_trace(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let Ok(size) = MeshSize::new(8, 8) else { return Outcome::Refused("no mesh".into()) };
    naming_file(Outcome::of(read_trace(text, FILE, size)))
}
