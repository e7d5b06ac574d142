//! Traces and counts as other programs read them.

use std::io::Write;

use serde_json::json;

use crate::counts::Counts;
use crate::error::RoutingError;
use crate::token::Trace;

/// How often each expert was chosen, as SGLang (`--init-expert-location`) and EPLB take it.
///
/// # Errors
/// Where writing fails.
pub fn logical_count(counts: &Counts, output: &mut dyn Write) -> Result<(), RoutingError> {
    let value = json!({ "logical_count": counts.layers });
    writeln!(output, "{value}").map_err(|error| RoutingError::write(&error))
}

/// `[token][layer][choice]` in JSON, as vLLM returns it.
///
/// # Errors
/// Where writing fails.
pub fn routed_experts(trace: &Trace, output: &mut dyn Write) -> Result<(), RoutingError> {
    let mut write = |text: &str| output.write_all(text.as_bytes()).map_err(|error| RoutingError::write(&error));
    write("{\"routed_experts\": [")?;
    for token in 0..trace.len() {
        let layers: Vec<&[u16]> = (0..trace.header.layers).map(|layer| trace.chosen(token, layer)).collect();
        write(if token == 0 { "" } else { ",\n" })?;
        write(&json!(layers).to_string())?;
    }
    write("]}\n")
}

/// The same as a NumPy file of 16-bit integers.
///
/// # Errors
/// Where writing fails.
pub fn npy(trace: &Trace, output: &mut dyn Write) -> Result<(), RoutingError> {
    let header = &trace.header;
    let shape = format!("({}, {}, {})", trace.len(), header.layers, header.top_k);
    let words = format!("{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}");
    // Magic, version and length are 10 bytes; data begins at a multiple of 64.
    let padding = (64 - (10 + words.len() + 1) % 64) % 64;
    let length = (words.len() + padding + 1) as u16;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(words.as_bytes());
    bytes.extend(std::iter::repeat_n(b' ', padding));
    bytes.push(b'\n');
    let mut write = |bytes: &[u8]| output.write_all(bytes).map_err(|error| RoutingError::write(&error));
    write(&bytes)?;
    for token in 0..trace.len() {
        for layer in 0..header.layers {
            for expert in trace.chosen(token, layer) {
                write(&expert.to_le_bytes())?;
            }
        }
    }
    Ok(())
}
