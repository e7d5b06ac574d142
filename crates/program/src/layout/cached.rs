//! Where the tokens of a cache lie.

use serde::Serialize;

use super::{Digit, Place};

/// Where the tokens of a cache lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cached {
    /// The oldest token that is kept; the dimension counts tokens from the first of the sequence.
    pub first: u64,
    /// Users, who all have as many tokens: index `t users + u` of the dimension is token `t` of user `u`.
    pub users: u64,
    /// Rows of the region, which share the tokens of a group.
    pub rows: u64,
    /// Groups of columns that share the sequence; one part for each.
    pub groups: Digit,
    /// How rows share them.
    pub order: RowOrder,
}

/// How the rows of a cache share the tokens of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOrder {
    /// Evenly in runs, the oldest in the last row, and the last rows hold one more where they do not divide.
    Level,
    /// The `n`-th token of a group in row `n mod rows`.
    Dealt,
}

impl Cached {
    /// Tokens of a group: the first, and how many, `parts` apart.
    const fn of_group(&self, size: u64, group: u64) -> (u64, u64) {
        let parts = if self.groups.parts == 0 { 1 } else { self.groups.parts };
        let first = self.first + (group + parts - self.first % parts) % parts;
        if first < size { (first, (size - first).div_ceil(parts)) } else { (first, 0) }
    }

    /// The tokens in a row of a group.
    fn tokens(&self, size: u64, group: u64, row: u64) -> Vec<u64> {
        if row >= self.rows {
            return Vec::new();
        }
        let (first, count) = self.of_group(size, group);
        let parts = self.groups.parts.max(1);
        match self.order {
            RowOrder::Level => {
                let from_last = self.rows - 1 - row;
                let (each, rest) = (count / self.rows, count % self.rows);
                let begin = each * from_last + from_last.min(rest);
                let here = each + u64::from(from_last < rest);
                (begin..begin + here).map(|index| first + index * parts).collect()
            }
            RowOrder::Dealt => {
                // The number of a token in its group does not change when older ones are forgotten.
                let number = first / parts;
                let skipped = (row + self.rows - number % self.rows) % self.rows;
                (skipped..count).step_by(self.rows as usize).map(|index| first + index * parts).collect()
            }
        }
    }

    /// The tokens of all users in a row of a group, by their indices in a dimension of `size`.
    pub(super) fn indices(&self, size: u64, group: u64, row: u64) -> Vec<u64> {
        let users = self.users.max(1);
        let tokens = self.tokens(size / users, group, row);
        tokens.into_iter().flat_map(|token| token * users..(token + 1) * users).collect()
    }

    /// Most indices of a row of a group.
    pub(super) fn most(&self, size: u64) -> u64 {
        let users = self.users.max(1);
        let kept = (size / users).saturating_sub(self.first);
        kept.div_ceil(self.groups.parts.max(1)).div_ceil(self.rows.max(1)).saturating_mul(users)
    }

    /// The row that token `token` enters, and the column group.
    pub const fn row_of_new(&self, token: u64) -> u64 {
        let parts = if self.groups.parts == 0 { 1 } else { self.groups.parts };
        match self.order {
            RowOrder::Level => 0,
            RowOrder::Dealt => {
                if self.rows == 0 {
                    0
                } else {
                    token / parts % self.rows
                }
            }
        }
    }
}

pub(super) fn levelled(size: u64, rows: u64, groups: &Digit, place: Place) -> Vec<u64> {
    let Some(group) = groups.of(place) else { return Vec::new() };
    let tokens = (size + groups.parts - 1).saturating_sub(group) / groups.parts;
    if place.1 >= rows {
        return Vec::new();
    }
    let from_last = rows - 1 - place.1;
    let (each, rest) = (tokens / rows, tokens % rows);
    let first = each * from_last + from_last.min(rest);
    let count = each + u64::from(from_last < rest);
    (first..first + count).map(|index| index * groups.parts + group).collect()
}
