//! The cache of attention in one processing element: which rows are whose, and what leaves and enters with a token.

use std::sync::Arc;

use wafersim_program::{BufferId, Operand, Spread};

use super::compute::Context;
use super::group::{Remembered, places};
use super::state::{PeState, Tile};

/// Where tokens of each user lie in a cache, user by user.
pub(super) struct RowsOfUsers<'t> {
    cache: &'t Tile,
    users: usize,
    known: Remembered,
}

impl<'t> RowsOfUsers<'t> {
    pub(super) fn new(cache: &'t Tile, users: u64) -> Self {
        Self { cache, users: users.max(1) as usize, known: Remembered::default() }
    }

    /// Those of some tokens.
    pub(super) fn of(&mut self, tokens: impl Iterator<Item = u32> + Clone) -> Result<Rows<'_>, String> {
        let users = self.users as u32;
        let wanted = (0..users).flat_map(|user| tokens.clone().map(move |token| token * users + user));
        let all = self.known.places(&self.cache.rows, wanted)?;
        Ok(Rows { all, users: self.users })
    }
}

/// The rows of some tokens in a cache, user by user.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'t> {
    all: &'t [usize],
    users: usize,
}

impl<'t> Rows<'t> {
    /// Those of all tokens, whoever asks.
    pub(super) const fn of_all(all: &'t [usize]) -> Self {
        Self { all, users: 1 }
    }

    /// Those for the user of a row.
    pub(super) fn for_row(self, row: u32) -> &'t [usize] {
        let each = self.all.len() / self.users;
        let user = row as usize % self.users;
        self.all.get(user * each..(user + 1) * each).unwrap_or(&[])
    }
}

/// Copies the entries that the layout after an append no longer holds here.
pub(super) fn leave(
    context: &Context<'_>,
    pe: &mut PeState,
    before: BufferId,
    after: BufferId,
    entry: BufferId,
) -> Result<(), String> {
    let index = context.index(pe);
    for field in 0..context.prepared.fields_of(after) {
        let Some((staying, _)) = context.prepared.held(Operand::new(after, field), index) else { continue };
        let (before, entry) = (Operand::new(before, field), Operand::new(entry, field));
        // What the cache forgets goes nowhere.
        let oldest = match &context.prepared.field(Operand::new(after, field))?.rows.spread {
            Spread::Cached(cached) => (cached.first * cached.users) as u32,
            _ => 0,
        };
        let known = pe.tile(before)?;
        let leaves = |token: &u32| *token >= oldest && !staying.contains(token);
        let leaving: Vec<usize> = (0..known.rows.len()).filter(|row| leaves(&known.rows[*row])).collect();
        let rows: Vec<u32> = leaving.iter().map(|row| known.rows[*row]).collect();
        let inner = Arc::clone(&known.inner);
        let mut tile = pe.of_rows(entry, &rows, &inner);
        let known = pe.tile(before)?;
        for (to, from) in leaving.into_iter().enumerate() {
            tile.row_mut(to).copy_from_slice(known.row(from));
        }
        pe.put(entry, tile);
    }
    Ok(())
}

/// What a cache after an append is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entering<'n> {
    /// The cache before.
    pub before: BufferId,
    /// What has arrived from other rows.
    pub entry: Option<BufferId>,
    /// The cache after.
    pub after: BufferId,
    /// New keys and values, field by field.
    pub new: &'n [Operand],
    /// The row of the cache that their first row becomes.
    pub first: u64,
}

/// Puts the cache after an append together.
pub(super) fn enter(
    context: &Context<'_>,
    pe: &mut PeState,
    Entering { before, entry, after, new, first }: Entering<'_>,
) -> Result<(), String> {
    let rounding = context.rounding(after);
    for (field, new) in (0..).zip(new.iter().copied()) {
        let target = Operand::new(after, field);
        let mut cache = pe.fresh(context.prepared, target, 0.0)?;
        let (rows, inner) = (Arc::clone(&cache.rows), Arc::clone(&cache.inner));
        if inner.is_empty() {
            // A column that holds no dimension of this cache: nothing enters, and nothing need have been written.
            pe.put(target, cache);
            continue;
        }
        for (row, number) in rows.iter().enumerate() {
            let stored = [Some(before), entry].into_iter().flatten().find_map(|buffer| {
                let tile = pe.tile(Operand::new(buffer, field)).ok()?;
                let at = tile.rows.iter().position(|known| known == number)?;
                (tile.inner == inner).then(|| tile.row(at))
            });
            if let Some(stored) = stored {
                cache.row_mut(row).copy_from_slice(stored);
            } else if u64::from(*number) >= first {
                let tile = pe.tile(new)?;
                let columns = places(&tile.inner, &inner)?;
                let made = tile.row((u64::from(*number) - first) as usize);
                for (value, column) in cache.row_mut(row).iter_mut().zip(columns) {
                    *value = rounding.round(made.get(column).copied().ok_or("a token enters that is not new")?);
                }
            } else {
                return Err(format!(
                    "token {number} of the cache has not arrived at column {}, row {}",
                    pe.column, pe.row
                ));
            }
        }
        pe.put(target, cache);
    }
    Ok(())
}
