//! Prompts that are computed elsewhere, seen from the machine that decodes: what computes them, and what their keys and
//! values take to come over.
//!
//! A request has its room on the machine first, as the tokens have somewhere to go (so does NVIDIA Dynamo, whose decode
//! worker allocates blocks before it asks for a prompt). Its prompt then waits for its turn there, first come first
//! served; when the whole of it is computed, its keys and values wait for the way between, which carries those of one
//! request after the other; then the machine decodes the first token. What the machine's prefix cache has is neither
//! computed nor carried: the place that computes is taken to have it too.

use std::fmt;

use crate::costs::Costs;
use crate::kv::Ledger;
use crate::time::Time;

/// Where prompts go, as each machine has it for itself.
pub struct Elsewhere<'s> {
    /// What computes them.
    pub work: PromptWork<'s>,
    /// How long keys and values of the tokens from the first number to the second take to come over.
    pub crossing: Box<dyn Fn(u32, u32) -> Time + 's>,
}

/// What computes prompts.
pub enum PromptWork<'s> {
    /// Other wafers: a line of its own, chunk by chunk.
    Wafers {
        /// What a chunk takes at each of its stations; nothing is decoded there.
        costs: Box<dyn Costs + 's>,
        /// Room for keys and values, from a prompt's first chunk until they are over.
        room: Ledger,
    },
    /// Something that takes so many picoseconds for a token, one prompt after the other.
    Rate {
        /// Picoseconds of a token.
        token: f64,
    },
}

impl PromptWork<'_> {
    /// So many tokens a second.
    pub fn rate(tokens_per_second: f64) -> Self {
        Self::Rate { token: 1e12 / tokens_per_second }
    }

    /// Whether a prompt of so many tokens can be computed there.
    pub fn could_ever_hold(&self, tokens: u64) -> bool {
        match self {
            Self::Wafers { room, .. } => room.could_ever_hold(tokens),
            Self::Rate { .. } => true,
        }
    }
}

impl fmt::Debug for Elsewhere<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.work {
            PromptWork::Wafers { room, .. } => write!(formatter, "prompts on other wafers with {room:?}"),
            PromptWork::Rate { token } => write!(formatter, "prompts at {token} ps a token"),
        }
    }
}
