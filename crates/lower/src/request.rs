//! What is asked of the writer, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};

use wafersim_mapping::{ExpertMapping, LayerMapping};
use wafersim_spec::Precision;
use wafersim_spec::model::Layer;

/// What of a layer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of it.
    #[default]
    Model,
    /// What the published layer rows time: no KV append, SiLU over the elements of the residual stream, the exponential
    /// with two squarings. For validation alone.
    Measured,
}

/// What some rectangles get of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlaceLoad {
    /// Token-expert pairs.
    pub pairs: u64,
    /// Different experts among them.
    pub distinct: u64,
    /// Different tokens among them.
    pub tokens: u64,
}

/// The load of a mixture of experts: expected, from the routing model, or counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertLoad {
    /// Token-expert pairs in all: tokens x top-k.
    pub pairs: u64,
    /// Different experts among them.
    pub distinct: u64,
    /// What the busiest rectangle gets. Not read where experts are spread.
    pub busiest: PlaceLoad,
    /// What the rectangles of the busiest column of rectangles get together. Not read where experts are spread.
    pub column: PlaceLoad,
}

impl ExpertLoad {
    /// The load of spread experts.
    pub const fn spread(pairs: u64, distinct: u64) -> Self {
        let all = PlaceLoad { pairs, distinct, tokens: pairs };
        Self { pairs, distinct, busiest: all, column: all }
    }

    /// The load of a choice: the experts of each token.
    pub fn counted(chosen: &[Vec<u64>], experts: &ExpertMapping) -> Self {
        let cells = cells_of(chosen, experts);
        let across = experts.across.max(1);
        let mut columns: BTreeMap<u64, Vec<CellPair>> = BTreeMap::new();
        for (cell, pairs) in &cells {
            columns.entry(cell % across).or_default().extend(pairs);
        }
        let busiest = |places: &BTreeMap<u64, Vec<CellPair>>| {
            let loads = places.values().map(|pairs| place_load(pairs));
            loads.max_by_key(|load| (load.pairs, load.distinct, load.tokens)).unwrap_or_default()
        };
        let all: Vec<CellPair> = cells.values().flatten().copied().collect();
        let PlaceLoad { pairs, distinct, .. } = place_load(&all);
        Self { pairs, distinct, busiest: busiest(&cells), column: busiest(&columns) }
    }
}

/// A pair of token and expert in its rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellPair {
    pub token: u64,
    /// Which of the token's choices.
    pub slot: u64,
    pub expert: u64,
}

/// The pairs of a choice by rectangle. Of the pairs of an expert in several rectangles the i-th goes to its i-th home,
/// round and round.
pub(crate) fn cells_of(chosen: &[Vec<u64>], experts: &ExpertMapping) -> BTreeMap<u64, Vec<CellPair>> {
    let mut before: BTreeMap<u64, usize> = BTreeMap::new();
    let mut cells: BTreeMap<u64, Vec<CellPair>> = BTreeMap::new();
    for (token, choices) in (0u64..).zip(chosen) {
        for (slot, &expert) in (0u64..).zip(choices) {
            let homes = experts.homes_of(expert);
            let count = before.entry(expert).or_default();
            let home = homes.get(*count % homes.len().max(1)).copied().unwrap_or(0);
            *count += 1;
            cells.entry(home).or_default().push(CellPair { token, slot, expert });
        }
    }
    cells
}

fn place_load(pairs: &[CellPair]) -> PlaceLoad {
    let different = |numbers: &mut dyn Iterator<Item = u64>| numbers.collect::<BTreeSet<u64>>().len() as u64;
    PlaceLoad {
        pairs: pairs.len() as u64,
        distinct: different(&mut pairs.iter().map(|pair| pair.expert)),
        tokens: different(&mut pairs.iter().map(|pair| pair.token)),
    }
}

/// What is known of the experts that tokens choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// An expected load. Spread experts are chosen while the program runs; for experts in rectangles the busiest
    /// rectangle is written.
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
    /// Users that they belong to, each with a cache of its own: row `r` of a tensor is token `r / users` of user `r mod
    /// users`. As many users as tokens are a micro-batch of decode; one user with several tokens is a draft, or a piece
    /// of a prompt.
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
    pub(crate) fn check(&self) -> Result<(), LowerError> {
        let Self { tokens, users, context, .. } = *self;
        if tokens == 0 || users == 0 || !tokens.is_multiple_of(users) || context < tokens / users {
            return Err(LowerError::Tokens { tokens, users, context });
        }
        Ok(())
    }
}

/// Why a layer cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    /// A reduction that its line does not have.
    #[error("the reduction of '{operator}' over {length} members: {problem}")]
    Reduction {
        /// The operator.
        operator: String,
        /// Members of the line.
        length: u64,
        /// What is wrong, and what would do.
        problem: String,
    },
    /// A kernel from outside that cannot be written.
    #[error("kernel '{kernel}' for '{operator}': {problem}")]
    Kernel {
        /// Its id.
        kernel: String,
        /// The operator.
        operator: String,
        /// Why not.
        problem: String,
    },
    /// A rewrite from outside that cannot be made.
    #[error(transparent)]
    Rewrite(#[from] wafersim_graph::RewriteRefused),
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
    /// A rectangle of experts that does not exist, or more rectangles than processing elements.
    #[error("experts want rectangle {cell} of {across} x {down} in a region of {columns} x {rows}")]
    Cell {
        /// Its number.
        cell: u64,
        /// Rectangles side by side.
        across: u64,
        /// Rectangles one below the other.
        down: u64,
        /// Columns of the region.
        columns: u64,
        /// Rows of the region.
        rows: u64,
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
