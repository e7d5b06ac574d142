//! How many tokens a prompt has, and which of its beginnings others share.
//!
//! There is no tokenizer: so many bytes are a token (4 for code and English; a guess, 3 to 5). Blocks of the prefix
//! cache are hashed with all before them and with the organisation, so that equal beginnings are known within one.

use std::hash::{DefaultHasher, Hasher};

use wafersim_stream::request::{BLOCK, Content};

/// A prompt as the machine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Tokens, at least 1.
    pub tokens: u32,
    /// What identifies its whole blocks.
    pub hashes: Box<[u64]>,
    /// What identifies all of it.
    pub whole: u64,
}

impl Prompt {
    /// The prompt of a text, with `bytes_per_token` bytes in a token.
    pub fn new(text: &str, organisation: u64, bytes_per_token: u32) -> Self {
        let per_token = bytes_per_token.max(1) as usize;
        let tokens = u32::try_from(text.len().div_ceil(per_token)).unwrap_or(u32::MAX).max(1);
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(organisation);
        let blocks = text.as_bytes().chunks_exact(BLOCK as usize * per_token);
        let rest = blocks.remainder();
        let hashes = blocks.map(|block| {
            hasher.write(block);
            hasher.finish()
        });
        let hashes = hashes.collect();
        hasher.write(rest);
        Self { tokens, hashes, whole: hasher.finish() }
    }

    /// The same for the engine.
    pub fn content(&self) -> Content {
        Content::Hashed { size: BLOCK, hashes: self.hashes.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_beginnings_are_equal_blocks_within_an_organisation() {
        let long = "the same words again and again, ".repeat(64);
        let prompt = |text: &str, organisation| Prompt::new(text, organisation, 4);
        let (one, other) = (prompt(&long, 1), prompt(&format!("{long}{}", "x".repeat(600)), 1));
        assert_eq!((one.tokens, one.hashes.len()), (512, 4));
        assert_eq!((other.tokens, other.hashes.len()), (662, 5));
        assert_eq!(one.hashes[..], other.hashes[..4]);
        assert!(one.hashes.iter().zip(&prompt(&long, 2).hashes).all(|(one, other)| one != other));
        let changed = prompt(&long.replacen('t', "T", 1), 1);
        assert!(one.hashes.iter().zip(&changed.hashes).all(|(one, other)| one != other));
        assert_eq!(prompt("", 1).tokens, 1);
    }
}
