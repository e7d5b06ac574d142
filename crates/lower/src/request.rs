//! What is asked of the writer, and what it refuses.

use wafersim_mapping::LayerMapping;
use wafersim_spec::Precision;
use wafersim_spec::model::Layer;

/// What of a layer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of it.
    #[default]
    Model,
    /// What the published layer rows time: no KV append, SiLU over the elements of the residual stream, the exponential with
    /// two squarings. For validation alone.
    Measured,
}

/// The expected load of a mixture of experts, from the routing model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertLoad {
    /// Token-expert pairs in all: tokens x top-k.
    pub pairs: u64,
    /// Different experts among them.
    pub distinct: u64,
    /// Pairs of the busiest expert.
    pub busiest: u64,
}

/// What is known of the experts that tokens choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// An expected load. Spread experts are chosen while the program runs; for experts in rectangles the busiest rectangle is
    /// written.
    Expected(ExpertLoad),
    /// The choice of each token: every rectangle that was chosen is written.
    Chosen(Vec<Vec<u64>>),
}

/// A layer to be written.
#[derive(Debug, Clone)]
pub struct LayerRequest<'a> {
    /// The layer.
    pub layer: &'a Layer,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Added to mean squares.
    pub norm_epsilon: f64,
    /// Every decision.
    pub mapping: &'a LayerMapping,
    /// Data types.
    pub precision: Precision,
    /// Tokens that go through together.
    pub tokens: u64,
    /// Users that they belong to, each with a cache of its own: row `r` of a tensor is token `r / users` of user `r mod users`.
    /// As many users as tokens are a micro-batch of decode; one user with several tokens is a draft, or a piece of a prompt.
    pub users: u64,
    /// Tokens that the last token of each user sees in the cache, itself included; those before it see one less each.
    pub context: u64,
    /// What is known of the routing; ignored in dense layers.
    pub routed: Routed,
    /// What of the layer is written.
    pub scope: Scope,
    /// Words that a queue of a router holds: pieces go round rings so many at a time that none stands still.
    pub queue: u64,
}

impl LayerRequest<'_> {
    /// New tokens of each user, one after the other.
    pub const fn consecutive(&self) -> u64 {
        match self.tokens.checked_div(self.users) {
            Some(tokens) => tokens,
            None => self.tokens,
        }
    }

    /// Number of the first new token of each user.
    pub const fn position(&self) -> u64 {
        self.context.saturating_sub(self.consecutive())
    }

    /// Whether a number of tokens can go through so.
    pub(crate) const fn check(&self) -> Result<(), LowerError> {
        let Self { tokens, users, context, .. } = *self;
        if tokens == 0 || users == 0 || !tokens.is_multiple_of(users) || context < tokens / users {
            return Err(LowerError::Tokens { tokens, users, context });
        }
        Ok(())
    }
}

/// Why a layer cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LowerError {
    /// The KV layout wants more columns than there are.
    #[error("the KV layout wants {wanted} columns ({blocks} blocks) of a region that has {columns}")]
    KvColumns {
        /// Columns of all blocks.
        wanted: u64,
        /// Blocks.
        blocks: u64,
        /// Columns of the region.
        columns: u64,
    },
    /// A decision that the writer does not know for this layer.
    #[error("{what} is not written for {part}; allowed: {allowed}")]
    Unknown {
        /// The decision.
        what: String,
        /// The part of the layer.
        part: &'static str,
        /// What would be allowed.
        allowed: &'static str,
    },
    /// No token, more tokens than are seen, or not as many for each user.
    #[error(
        "{tokens} tokens of {users} users that see {context}: allowed are 1 to as many as are seen, the same for each user"
    )]
    Tokens {
        /// Tokens that go through together.
        tokens: u64,
        /// Their users.
        users: u64,
        /// Tokens that each sees.
        context: u64,
    },
    /// A chosen expert that does not exist.
    #[error("expert {expert} was chosen, of {experts}")]
    Expert {
        /// Its number.
        expert: u64,
        /// How many there are.
        experts: u64,
    },
}
