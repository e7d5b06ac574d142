//! First come, first served: a token goes behind a prompt that was admitted before the token was ready, with all its
//! chunks.

use super::{Choice, Policy, Waiting};

/// In order of time; a prompt's is that of its admission.
#[derive(Debug, Clone, Copy, Default)]
pub struct FirstCome;

impl Policy for FirstCome {
    fn choose(&mut self, waiting: &Waiting) -> Choice {
        match (waiting.decode_since, waiting.prefill_since) {
            (Some(token), Some(prompt)) if prompt < token => Choice::Prefill { most: u32::MAX },
            (Some(_), _) => Choice::Decode,
            (None, _) => Choice::Prefill { most: u32::MAX },
        }
    }
}
