//! How keys and values lie in the region of a layer.

use serde::{Deserialize, Serialize};

/// Where a new token's keys and values go, so that rows stay level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Append {
    /// Into the last row; older entries move up by a row where needed (published).
    #[default]
    Shifted,
    /// Token i goes to row i mod rows: nothing moves.
    RoundRobin,
}

/// The layout of a KV cache, every number. Columns are divided into blocks, one for each group of `heads_per_block` KV
/// heads and each copy of it; rows share the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KvMapping {
    /// KV heads on one block of columns: 1, or more where there are fewer columns than heads.
    pub heads_per_block: u64,
    /// Columns of a block.
    pub columns_per_head: u64,
    /// Neighbouring columns that share the width of a head.
    pub dimension_split: u64,
    /// Groups of `dimension_split` columns that share the sequence, beside the rows.
    pub sequence_split: u64,
    /// Copies of keys and values, each in a group of `dimension_split * sequence_split` columns of its own: the query
    /// heads of a KV head are shared out among them. `dimension_split * sequence_split * head_copies <=
    /// columns_per_head`.
    pub head_copies: u64,
    /// Where new tokens go.
    pub append: Append,
}

impl KvMapping {
    /// The published layout: one head over all columns.
    pub const fn published(columns: u64) -> Self {
        Self {
            heads_per_block: 1,
            columns_per_head: columns,
            dimension_split: columns,
            sequence_split: 1,
            head_copies: 1,
            append: Append::Shifted,
        }
    }

    /// Columns of a block that hold keys and values; the rest of the block holds none.
    pub const fn columns_in_use(&self) -> u64 {
        self.dimension_split.saturating_mul(self.sequence_split).saturating_mul(self.head_copies)
    }
}
