//! A set of things to do, visited in ascending order: neighbours in the mesh are near one another in memory.
//!
//! One bit per index, and one byte per 4,096 of them that says whether to look there at all.

use std::ops::Range;

/// Words of a block.
const BLOCK: usize = 64;

/// A set of indices below a fixed bound.
#[derive(Debug, Clone)]
pub(crate) struct Worklist {
    words: Vec<u64>,
    /// Blocks that may have a member.
    filled: Vec<u8>,
}

impl Worklist {
    pub(crate) fn new(bound: usize) -> Self {
        let blocks = bound.div_ceil(64 * BLOCK);
        Self { words: vec![0; blocks * BLOCK], filled: vec![0; blocks] }
    }

    /// The set for an inner loop that adds to it.
    pub(crate) fn members(&mut self) -> Members<'_> {
        Members { words: &mut self.words, filled: &mut self.filled }
    }

    #[inline]
    pub(crate) fn insert(&mut self, index: usize) {
        self.words[index >> 6] |= 1 << (index & 63);
        self.filled[index >> 12] = 1;
    }

    #[inline]
    pub(crate) fn remove(&mut self, index: usize) {
        self.words[index >> 6] &= !(1 << (index & 63));
    }

    #[inline]
    pub(crate) fn contains(&self, index: usize) -> bool {
        self.words[index >> 6] >> (index & 63) & 1 == 1
    }

    /// Word `word` of the set: indices 64 x `word` to 64 x `word` + 63.
    #[inline]
    pub(crate) fn word(&self, word: usize) -> u64 {
        self.words[word]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Visits the members of a range in ascending order and removes them. The range begins at a multiple of 4,096, and
    /// ends at one or at the end.
    #[inline]
    pub(crate) fn drain(&mut self, range: Range<usize>, mut visit: impl FnMut(usize)) {
        let blocks = range.start / (64 * BLOCK)..range.end.div_ceil(64 * BLOCK);
        let filled = &mut self.filled[blocks.clone()];
        let words = self.words[blocks.start * BLOCK..blocks.end * BLOCK].chunks_exact_mut(BLOCK);
        for ((filled, words), block) in filled.iter_mut().zip(words).zip(blocks) {
            if std::mem::take(filled) == 0 {
                continue;
            }
            for (word, members) in words.iter_mut().enumerate() {
                let mut left = std::mem::take(members);
                while left != 0 {
                    visit((block * BLOCK + word) << 6 | left.trailing_zeros() as usize);
                    left &= left - 1;
                }
            }
        }
    }

    /// Visits every member in ascending order and keeps those for which `visit` says so.
    pub(crate) fn retain(&mut self, mut visit: impl FnMut(usize) -> bool) {
        for (block, (filled, words)) in self.filled.iter_mut().zip(self.words.chunks_exact_mut(BLOCK)).enumerate() {
            if std::mem::take(filled) == 0 {
                continue;
            }
            for (word, members) in words.iter_mut().enumerate() {
                let mut left = *members;
                while left != 0 {
                    let bit = left & left.wrapping_neg();
                    left ^= bit;
                    if visit((block * BLOCK + word) << 6 | bit.trailing_zeros() as usize) {
                        *filled = 1;
                    } else {
                        *members &= !bit;
                    }
                }
            }
        }
    }

    /// The members, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let filled =
            self.filled.iter().zip(self.words.chunks_exact(BLOCK)).enumerate().filter(|(_, (filled, _))| **filled != 0);
        filled.flat_map(|(block, (_, words))| {
            words.iter().enumerate().flat_map(move |(word, &members)| {
                (0..64).filter(move |bit| members >> bit & 1 == 1).map(move |bit| (block * BLOCK + word) << 6 | bit)
            })
        })
    }

    /// Bytes that the set holds.
    pub(crate) const fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>() + self.filled.capacity()
    }
}

/// A set that can only be added to, with its ends known.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    words: &'a mut [u64],
    filled: &'a mut [u8],
}

impl Members<'_> {
    /// Adds `index`.
    #[inline]
    pub(crate) fn insert(&mut self, index: usize) {
        self.words[index >> 6] |= 1 << (index & 63);
        self.filled[index >> 12] = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_in_order_and_keeps_what_it_is_told() {
        let mut list = Worklist::new(10_000);
        for index in [9_999, 5, 64, 63, 4_096, 4_095] {
            list.insert(index);
        }
        let mut seen = Vec::new();
        list.retain(|index| {
            seen.push(index);
            index % 2 == 0
        });
        assert_eq!(seen, [5, 63, 64, 4_095, 4_096, 9_999]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [64, 4_096]);
        assert!(list.contains(64) && !list.contains(63) && !list.is_empty());
        list.remove(64);
        let mut drained = Vec::new();
        list.insert(9_000);
        list.drain(0..8_192, |index| drained.push(index));
        assert_eq!(drained, [4_096]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [9_000]);
        list.drain(8_192..10_000, |_| ());
        assert!(list.is_empty());
    }
}
