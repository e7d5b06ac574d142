//! Who goes next: the interface of the policies of continuous batching; each one is a file.

mod chunked;
mod decode_first;
mod first_come;
mod prefill_first;

pub use chunked::Chunked;
pub use decode_first::DecodeFirst;
pub use first_come::FirstCome;
pub use prefill_first::PrefillFirst;

use crate::time::Time;

/// What waits at the entry of the line. At least one of the two is not empty when a policy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Users with a token to decode.
    pub decode: u32,
    /// Since when the first of them waits.
    pub decode_since: Option<Time>,
    /// Prompts that are not all in.
    pub prefill: u32,
    /// Since when the first of them is admitted.
    pub prefill_since: Option<Time>,
    /// When the last chunk of a prompt went in.
    pub last_chunk: Option<Time>,
}

/// What goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A micro-batch of decoding users.
    Decode,
    /// A chunk of the first prompt, of at most so many tokens and never more than the machine has buffers for.
    Prefill {
        /// Most tokens.
        most: u32,
    },
}

/// A policy. It is asked whenever the line would take a pass; where it chooses what does not wait, the other goes.
pub trait Policy: std::fmt::Debug {
    /// Who goes next.
    fn choose(&mut self, waiting: &Waiting) -> Choice;
}
