//! Chunked prefill with a budget (Sarathi-Serve, OSDI 2024): between two chunks of at most `budget` tokens, every token
//! goes that waited when the first of them went in. A user's tokens wait for one chunk at most, and prompts for one
//! round of tokens.

use super::{Choice, Policy, Waiting};

/// Small chunks and rounds of tokens in turn.
#[derive(Debug, Clone, Copy)]
pub struct Chunked {
    /// Most tokens of a round: decoding tokens and the chunk.
    pub budget: u32,
}

/// Smallest chunk that is left where decoding users take most of a large budget.
const SMALLEST: u32 = 64;

impl Policy for Chunked {
    fn choose(&mut self, waiting: &Waiting) -> Choice {
        let is_behind = match (waiting.decode_since, waiting.last_chunk) {
            (Some(token), Some(chunk)) => token <= chunk,
            _ => false,
        };
        if waiting.prefill == 0 || is_behind {
            return Choice::Decode;
        }
        Choice::Prefill { most: self.budget.saturating_sub(waiting.decode).max(self.budget.min(SMALLEST)) }
    }
}
