//! Decoding tokens first: prompts only where no token waits.

use super::{Choice, Policy, Waiting};

/// A decoding token wherever one waits.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecodeFirst;

impl Policy for DecodeFirst {
    fn choose(&mut self, waiting: &Waiting) -> Choice {
        if waiting.decode > 0 { Choice::Decode } else { Choice::Prefill { most: u32::MAX } }
    }
}
