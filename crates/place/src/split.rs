//! The division of one dimension of a tensor over a line of processing elements: uneven, not padded.
//!
//! With `q = length / parts` and `r = length % parts`, index `i` holds the elements `q*i .. q*(i+1)`, and the last `r`
//! elements go one each to the `r` indices from `offset` on, around the end. So all tensors that share a dimension
//! agree on where all but its last `r` elements live, however their remainders are rotated: an input vector needs no
//! moving, except for those few elements.

use serde::Serialize;

/// A dimension over a line of processing elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Split {
    length: u64,
    parts: u64,
    offset: u64,
}

/// The elements of a dimension that one index of the line holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Piece {
    /// The first of the consecutive elements.
    pub first: u64,
    /// How many consecutive elements.
    pub length: u64,
    /// One further element, from the remainder at the end of the dimension.
    pub extra: Option<u64>,
}

impl Piece {
    /// Elements in all.
    pub const fn size(&self) -> u64 {
        self.length + if self.extra.is_some() { 1 } else { 0 }
    }

    /// The elements, in rising order.
    pub fn elements(&self) -> impl Iterator<Item = u64> + use<> {
        (self.first..self.first + self.length).chain(self.extra)
    }
}

impl Split {
    /// `length` elements over `parts` indices (at least one), the remainder starting at index 0.
    pub const fn new(length: u64, parts: u64) -> Self {
        Self { length, parts: if parts == 0 { 1 } else { parts }, offset: 0 }
    }

    /// The same with the remainder that copy number `copy` gets when the remainders of all copies are laid end to end
    /// around the line. Then any `n` consecutive copies leave `floor(n*r/parts)` or `ceil(n*r/parts)` extra elements at
    /// every index.
    #[must_use]
    pub const fn of_copy(self, copy: u64) -> Self {
        let offset = (copy as u128 * self.remainder() as u128) % self.parts as u128;
        Self { offset: offset as u64, ..self }
    }

    /// Elements in all.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Indices in all.
    pub const fn parts(&self) -> u64 {
        self.parts
    }

    /// The index that holds the first element of the remainder.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Elements that every index holds at least.
    pub const fn quotient(&self) -> u64 {
        self.length / self.parts
    }

    /// Indices that hold one more.
    pub const fn remainder(&self) -> u64 {
        self.length % self.parts
    }

    /// Elements of the index that holds most.
    pub const fn largest(&self) -> u64 {
        self.length.div_ceil(self.parts)
    }

    /// The elements of an index; none outside the line.
    pub const fn piece_at(&self, index: u64) -> Piece {
        if index >= self.parts {
            return Piece { first: self.length, length: 0, extra: None };
        }
        let (quotient, remainder) = (self.quotient(), self.remainder());
        let behind = if index >= self.offset { index - self.offset } else { index + self.parts - self.offset };
        let extra = if behind < remainder { Some(quotient * self.parts + behind) } else { None };
        Piece { first: quotient * index, length: quotient, extra }
    }

    /// Number of elements of an index.
    pub const fn size_at(&self, index: u64) -> u64 {
        self.piece_at(index).size()
    }

    /// Number of elements that the indices before this one hold.
    pub const fn size_before(&self, index: u64) -> u64 {
        let index = if index > self.parts { self.parts } else { index };
        let end = self.offset + self.remainder();
        let extras = if end <= self.parts {
            let reached = if index < end { index } else { end };
            reached.saturating_sub(self.offset)
        } else {
            let wrapped = end - self.parts;
            (if index < wrapped { index } else { wrapped }) + index.saturating_sub(self.offset)
        };
        self.quotient() * index + extras
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_element_lives_at_one_index(length in 0_u64..200, parts in 1_u64..40, copy in 0_u64..50) {
            let split = Split::new(length, parts).of_copy(copy);
            let mut elements: Vec<u64> = (0..parts).flat_map(|index| split.piece_at(index).elements()).collect();
            elements.sort_unstable();
            prop_assert_eq!(elements, (0..length).collect::<Vec<_>>());
            let mut before = 0;
            for index in 0..parts {
                prop_assert_eq!(split.size_before(index), before);
                before += split.size_at(index);
                prop_assert!(split.size_at(index) <= split.largest());
            }
            prop_assert_eq!(split.size_before(parts), length);
        }

        #[test]
        fn copies_spread_their_remainders_evenly(length in 1_u64..60, parts in 1_u64..12, first in 0_u64..9, copies in 1_u64..30) {
            let split = Split::new(length, parts);
            let bound = (copies * split.remainder()).div_ceil(parts);
            for index in 0..parts {
                let extras: u64 = (first..first + copies).map(|copy| split.of_copy(copy).size_at(index) - split.quotient()).sum();
                prop_assert!(extras == bound || extras + 1 == bound, "{extras} {bound}");
            }
        }
    }
}
