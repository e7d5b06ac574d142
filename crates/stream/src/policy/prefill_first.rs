//! Prompts first: the shortest time to first token, and gaps in everybody's answers.

use super::{Choice, Policy, Waiting};

/// A chunk of a prompt wherever one waits.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrefillFirst;

impl Policy for PrefillFirst {
    fn choose(&mut self, waiting: &Waiting) -> Choice {
        if waiting.prefill > 0 { Choice::Prefill { most: u32::MAX } } else { Choice::Decode }
    }
}
