//! Mooncake FAST '25 traces: JSON Lines with hashes of the prompt's blocks of 512 tokens.

use serde::Deserialize;

use super::{Lines, shown};
use crate::error::StreamError;
use crate::request::Content;

/// Tokens of a hashed block.
const HASHED: u64 = 512;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    timestamp: f64,
    input_length: u64,
    output_length: u64,
    hash_ids: Vec<u64>,
}

pub(super) fn read(text: &str, lines: &mut Lines<'_>, most: usize) -> Result<(), StreamError> {
    const FIELDS: &str = "an object with timestamp, input_length, output_length, hash_ids";
    let numbered = text.lines().enumerate().map(|(index, line)| (index as u64 + 1, line));
    for (number, line) in numbered.filter(|(_, line)| !line.trim().is_empty()).take(most) {
        let read: Line = serde_json::from_str(line).map_err(|error| {
            let ends =
                if error.is_eof() { "the line ends too soon (truncated?)".to_owned() } else { error.to_string() };
            lines.wrong(number, format!("{ends}: '{}'", shown(line)), FIELDS)
        })?;
        let expected = read.input_length.div_ceil(HASHED);
        if read.hash_ids.len() as u64 != expected {
            let problem = format!("{} hashes for a prompt of {} tokens", read.hash_ids.len(), read.input_length);
            return Err(lines.wrong(number, problem, &format!("a hash for each block of {HASHED} tokens: {expected}")));
        }
        let content = Content::Hashed { size: HASHED as u32, hashes: read.hash_ids.into() };
        lines.push(number, read.timestamp / 1000.0, read.input_length, read.output_length, content)?;
    }
    Ok(())
}
