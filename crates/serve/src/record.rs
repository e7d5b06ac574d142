//! The requests of a session as a trace, one JSON object a line, in the form of the Mooncake traces: `simctl stream`
//! and load generators read it. Times are simulated, in milliseconds from the start.

use serde_json::json;
use wafersim_stream::Time;
use wafersim_stream::request::BLOCK;

use crate::prompt::Prompt;

/// A request that was let in.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// When it came.
    pub came: Time,
    /// Its prompt.
    pub prompt: Prompt,
    /// Tokens of its answer.
    pub output: u32,
}

impl Recorded {
    /// A line of the trace.
    pub fn line(&self) -> String {
        // Mooncake's blocks are of 512 tokens, the last one perhaps not full; ours are of 128, so every fourth hash stands
        // for a block and all before.
        let is_full = self.prompt.tokens.is_multiple_of(4 * BLOCK);
        let last = (!is_full).then_some(&self.prompt.whole);
        let hashes = self.prompt.hashes.iter().skip(3).step_by(4).chain(last);
        // Numbers that readers with floating point keep.
        let hashes: Vec<u64> = hashes.map(|hash| hash >> 11).collect();
        let milliseconds = (self.came.seconds() * 1e3).round() as u64;
        let line = json!({
            "timestamp": milliseconds,
            "input_length": self.prompt.tokens,
            "output_length": self.output,
            "hash_ids": hashes,
        });
        line.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_row_of_mooncake() {
        let prompt = Prompt::new(&"x".repeat(4 * 1100), 0, 4);
        let line = Recorded { came: Time::from_seconds(1.5), prompt, output: 20 }.line();
        let row: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&row["timestamp"], &row["input_length"], &row["output_length"]),
            (&json!(1500), &json!(1100), &json!(20))
        );
        assert_eq!(row["hash_ids"].as_array().map(Vec::len), Some(3));
    }
}
