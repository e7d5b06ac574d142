//! Trees of chains over a line: levels of groups, their roots, where these stand, and the chains in order.

use serde::Serialize;
use thiserror::Error;

use super::Along;
use super::colors::Colors;
use crate::buffer::BufferId;
use crate::step::{ChainReduce, Root, Segment, Style};

/// The group count for a line of `length`: the one with the shortest critical path, which is near `sqrt(length)`
/// (stages = half a group + half the groups). Ties take the smaller count. At least 1.
pub fn default_groups(length: u64) -> u64 {
    ((length as f64).sqrt().round() as u64).max(1)
}

/// Members of the two levels of a line in `groups` groups, as published. Group counts outside `1..=line` are brought
/// inside.
pub fn two_level_sizes(line: u64, groups: u64) -> [u64; 2] {
    let line = line.max(1);
    let members = line.div_ceil(groups.clamp(1, line));
    [members, line.div_ceil(members)]
}

/// A level of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Members of a full group.
    pub members: u64,
    /// Which member is its root.
    pub root: Root,
}

impl Level {
    /// Index of the first of so many neighbouring roots among its members, `whole` of which can be roots.
    pub(super) fn first_root(&self, roots: u64, whole: u64) -> u64 {
        let index = self.root.index(self.members, self.members, 0);
        index.saturating_sub(roots / 2).min(whole.saturating_sub(roots))
    }
}

/// A tree over a line: chains in groups of neighbours, chains among their roots, and so on until one root is left. A
/// tree of two levels with middle roots is WaferLLM's; nobody has published a deeper one, or one whose roots lie
/// elsewhere, on a wafer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    line: u64,
    levels: Vec<Level>,
}

/// Why a line cannot be divided so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Several roots are left at the end, or none.
    #[error(
        "the levels of a tree reduce {reached} members and the line has {line}: the product of their members must reach it"
    )]
    Short {
        /// The product of the levels' members.
        reached: u64,
        /// The line's length.
        line: u64,
    },
    /// The last group of a level ends before its root.
    #[error(
        "level {level} of the tree: the line of {line} members ends before the root of its last group, and no member there \
         can stand for it; take another size or a lower root"
    )]
    NoRoot {
        /// Which level, from 0.
        level: usize,
        /// The line's length.
        line: u64,
    },
    /// Only the root of roots may differ by line: the chains above would have to begin elsewhere in each line.
    #[error("level {level} of the tree has roots that differ by line; only the last level may")]
    Staggered {
        /// Which level, from 0.
        level: usize,
    },
}

impl Tree {
    /// Two levels in `groups` groups with middle roots, as published. Group counts outside `1..=line` are brought
    /// inside.
    pub fn two_level(line: u64, groups: u64) -> Self {
        let levels = two_level_sizes(line, groups).map(|members| Level { members, root: Root::Middle });
        Self { line: line.max(1), levels: levels.to_vec() }
    }

    /// Levels from the groups of neighbours to the roots of roots.
    ///
    /// # Errors
    /// Where they leave several roots, or a group has none.
    pub fn new(line: u64, levels: Vec<Level>) -> Result<Self, TreeError> {
        let line = line.max(1);
        let reached = levels.iter().fold(1u64, |reached, level| reached.saturating_mul(level.members.max(1)));
        if reached < line {
            return Err(TreeError::Short { reached, line });
        }
        let tree = Self { line, levels };
        for (level, below) in tree.levels.iter().enumerate().rev().skip(1) {
            if matches!(below.root, Root::Staggered(_)) {
                return Err(TreeError::Staggered { level });
            }
            let (start, actual) = tree.last_root(level, 0);
            if actual != (start + tree.offset(level + 1)).min(line - 1) {
                return Err(TreeError::NoRoot { level, line });
            }
        }
        Ok(tree)
    }

    /// Levels of these many members, at most all that are left, each with its root in the middle; a last level takes
    /// the rest.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_sizes(line: u64, sizes: &[u64]) -> Result<Self, TreeError> {
        let level = |members: u64| Level { members, root: Root::Middle };
        let (mut levels, mut reached) = (Vec::new(), 1u64);
        for members in sizes {
            let members = (*members).clamp(1, line.div_ceil(reached).max(1));
            levels.push(level(members));
            reached = reached.saturating_mul(members);
        }
        if reached < line {
            levels.push(level(line.div_ceil(reached)));
        }
        Self::new(line, levels)
    }

    /// The same with the roots of roots elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_root(mut self, root: Root) -> Result<Self, TreeError> {
        if let Some(last) = self.levels.last_mut() {
            last.root = root;
        }
        Self::new(self.line, self.levels)
    }

    /// Members of the line.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// From the groups of neighbours to the roots of roots.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The same without this level and those above it.
    pub(super) fn below(&self, level: usize) -> Self {
        Self { line: self.line, levels: self.levels[..level].to_vec() }
    }

    /// Hops between the members of a level.
    pub(super) fn stride(&self, level: usize) -> u64 {
        self.levels.iter().take(level).fold(1, |stride, level| stride.saturating_mul(level.members.max(1)))
    }

    /// From the start of a group to its first member in a level: where the root of the first group below lies.
    pub(super) fn offset(&self, level: usize) -> u64 {
        let below = self.levels.iter().enumerate().take(level);
        below.map(|(index, level)| level.root.index(level.members, level.members, 0) * self.stride(index)).sum()
    }

    /// Where the last group of a level begins, and the place of its root on a line of the region.
    fn last_root(&self, level: usize, line: u64) -> (u64, u64) {
        let (stride, last) = (self.stride(level), self.line - 1);
        let Some(Level { members, root }) = self.levels.get(level).copied() else { return (0, 0) };
        let start = last / stride.saturating_mul(members.max(1)).max(1) * stride * members.max(1);
        let here = (self.line - start).div_ceil(stride);
        let index = root.index(members, here, line);
        if level > 0 && index + 1 == here {
            return (start, self.last_root(level - 1, line).1);
        }
        (start, (start + index * stride + self.offset(level)).min(last))
    }

    /// Place of the root of roots along a line of the region.
    pub fn root(&self, line: u64) -> u64 {
        self.levels.len().checked_sub(1).map_or(0, |top| self.last_root(top, line).1)
    }

    /// Its chains in order.
    pub(super) fn chains<'t>(
        &'t self,
        along: &'t Along,
        members: Members,
        colors: &'t Colors,
    ) -> impl Iterator<Item = ChainReduce> + 't {
        let Members { stride, first, segment } = members;
        let levels = self.levels.iter().enumerate().filter(|(_, level)| level.members > 1);
        levels.map(move |(index, level)| ChainReduce {
            axis: along.axis,
            count: level.members,
            stride: self.stride(index) * stride,
            offset: self.offset(index) * stride + first,
            segment,
            root: level.root,
            operator: along.operator,
            style: Style::Streaming,
            payload: along.payload,
            colors: colors.level(index),
        })
    }

    /// The places of `roots` neighbouring roots of the last level; at most as many as it has members.
    pub fn split_places(&self, roots: u64) -> RootPlaces {
        let Some((top, last)) = self.levels.iter().enumerate().next_back() else {
            return RootPlaces { first: 0, stride: 1, count: 1 };
        };
        let count = roots.clamp(1, self.whole_groups());
        let stride = self.stride(top);
        RootPlaces { first: self.offset(top) + last.first_root(count, self.whole_groups()) * stride, stride, count }
    }

    /// Members of the last level that stand where their group's root would: the end of the line may cut the last group
    /// short before it. At least one.
    pub(super) fn whole_groups(&self) -> u64 {
        let Some((top, last)) = self.levels.iter().enumerate().next_back() else { return 1 };
        let end = self.line.saturating_sub(1).saturating_sub(self.offset(top));
        (end / self.stride(top).max(1) + 1).clamp(1, last.members.max(1))
    }
}

/// The members of a tree on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Members {
    /// Hops between neighbours.
    pub(super) stride: u64,
    /// Hops from the start of a segment to its first member.
    pub(super) first: u64,
    /// The segments of a line; each has a tree of its own.
    pub(super) segment: Segment,
}

impl Members {
    /// All places of a line.
    pub(super) const LINE: Self = Self { stride: 1, first: 0, segment: Segment::LINE };
}

/// Roots of a tree that share its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitRoots {
    /// How many neighbours of the last level: its root, and those around it.
    pub roots: u64,
    /// What each ends with: its piece of the payload, as the layout says.
    pub target: BufferId,
}

/// Where the roots of a split reduction stand along their line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootPlaces {
    /// Place of the first.
    pub first: u64,
    /// Hops to the next.
    pub stride: u64,
    /// How many.
    pub count: u64,
}
