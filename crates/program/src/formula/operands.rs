//! What formulas take beside plain operands: chosen experts, what a query sees, sizes of heads and states.

use serde::Serialize;
use wafersim_spec::model::{Reach, Role};

use super::{Operand, Pairs};
use crate::layout::Digit;

/// Which keys a query sees, where rows of scores are queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Causal {
    /// Position of row 0. Later keys are not seen.
    pub position: u64,
    /// Rows of one position: row `r` is `r / users` tokens later.
    pub users: u64,
    /// How far back it looks.
    pub reach: Reach,
}

impl Causal {
    /// Whether the query of a row sees a token.
    pub const fn sees(&self, row: u64, token: u64) -> bool {
        let position = self.position.saturating_add(row / if self.users == 0 { 1 } else { self.users });
        token <= position && token >= self.reach.oldest(position.saturating_add(1))
    }
}

/// Learned sink logits: one a head that joins its softmax and has no value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Sinks {
    /// Columns that share the scores of a head: the logit joins in the first part, in the first row of those that hold
    /// its statistic.
    pub columns: Digit,
    /// Logits are divided by it before they join: scores are multiplied with it later.
    pub scale: f64,
}

/// Sizes of the heads of linear attention: `group` neighbouring value heads share a key head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StateHeads {
    /// Value heads of a key head.
    pub group: u64,
    /// Width of a key.
    pub key_dim: u64,
    /// Width of a value.
    pub value_dim: u64,
}

/// A part of the width of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ScorePart {
    /// Queries: a row a token, elements `head x dimension`.
    pub query: Operand,
    /// Keys: a row a cached token, elements `KV head x dimension`.
    pub keys: Operand,
    /// Its width.
    pub head_dim: u64,
}

/// What a query reads beside the key, before the token of the key is written. Queries and keys are as they were made;
/// their lengths are known when sums have been added up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StateSums {
    /// Queries.
    pub query: Operand,
    /// What they read; after the write what they would have read of the state that is left.
    pub read: Operand,
    /// For each key head the sums of squares of the query and of the key, and the sum of their products.
    pub sums: Operand,
    /// Added to sums of squares.
    pub epsilon: f64,
    /// Length that queries are brought to; keys are brought to 1.
    pub scale: f64,
}

impl StateSums {
    /// Sums of a key head.
    pub const COUNT: u64 = 3;
}

/// An operand of a product whose norm comes afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rescaled {
    /// What is scaled.
    pub operand: Operand,
    /// The weight whose bias is added then, where it has one.
    pub bias: Option<Role>,
}

/// The experts that a product works with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chosen {
    /// Numbers of the chosen experts: a row for each token.
    pub experts: Operand,
    /// The pairs, in the order in which they are worked on.
    pub pairs: Pairs,
    /// What an expert's bias is multiplied with: the router's weights. A bias that is not weighed is added as it is.
    pub bias_weights: Option<Operand>,
}
