//! Vectors of gains and logits: spread along the axis of the activations that they belong to, and replicated along the
//! other, because every processing element scales its own copy of those activations.

use serde::Serialize;
use wafersim_spec::model::Role;
use wafersim_spec::{Bytes, DataType};

use crate::split::Split;

/// Which processing elements hold which elements of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorAxis {
    /// Over the columns; every row holds the same.
    AlongX,
    /// Over the rows; every column holds the same.
    AlongY,
    /// Every processing element holds `held` elements of its block of columns (sink logits of the block's heads).
    PerBlock,
    /// Each of the vectors over the rows; every column of a block of columns holds the block's share of the vectors
    /// (matrices that make a few numbers for each head).
    AlongYInBlocks,
}

/// A vector at its place in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlacedVector {
    /// What it does.
    pub role: Role,
    /// Elements of the vector.
    pub length: u64,
    /// Vectors of this shape with different values.
    pub copies: u64,
    /// Bytes of the vectors themselves.
    pub bytes: Bytes,
    /// Along which axis it lies.
    pub axis: VectorAxis,
    /// Elements of the activations along that axis: more than `length` where a gain of one head serves all heads.
    pub covered: u64,
    /// Vectors that one processing element holds at most.
    pub copies_held: u64,
    /// Elements that one processing element holds at most, of one copy.
    pub held: u64,
    /// Number format.
    pub data_type: DataType,
    /// Columns of the region.
    pub columns: u64,
    /// Rows of the region.
    pub rows: u64,
}

impl PlacedVector {
    /// Bytes that a processing element holds, all copies.
    pub fn bytes_at(&self, column: u64, row: u64) -> Bytes {
        let elements = match self.axis {
            VectorAxis::AlongX => Split::new(self.covered, self.columns).size_at(column),
            VectorAxis::AlongY => Split::new(self.covered, self.rows).size_at(row),
            VectorAxis::AlongYInBlocks => Split::new(self.length, self.rows).size_at(row),
            VectorAxis::PerBlock => self.held,
        };
        self.data_type.storage(elements.min(self.length)) * self.copies_held
    }

    /// Bytes of the processing element that holds most.
    pub fn worst_bytes(&self) -> Bytes {
        self.data_type.storage(self.held) * self.copies_held
    }

    /// Bytes over all processing elements.
    pub fn held_bytes(&self) -> Bytes {
        let (line, other) = match self.axis {
            VectorAxis::AlongX => (Split::new(self.covered, self.columns), self.rows),
            VectorAxis::AlongY => (Split::new(self.covered, self.rows), self.columns),
            VectorAxis::AlongYInBlocks => (Split::new(self.length, self.rows), self.columns),
            VectorAxis::PerBlock => return self.worst_bytes() * self.columns.saturating_mul(self.rows),
        };
        let (few, many) = (line.quotient(), line.quotient() + 1);
        let storage = |elements: u64| self.data_type.storage(elements.min(self.length));
        (storage(many) * line.remainder() + storage(few) * (line.parts() - line.remainder())) * other * self.copies_held
    }
}

/// A vector whose region is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VectorShape {
    pub role: Role,
    pub length: u64,
    pub copies: u64,
    /// Bytes of all of them, where their tensor is not stored vector by vector.
    pub bytes: Option<Bytes>,
    pub axis: VectorAxis,
    /// As [`PlacedVector::covered`]; for those of blocks the number of blocks if there are columns enough.
    pub covered: u64,
    pub data_type: DataType,
}

impl VectorShape {
    pub fn placed(&self, columns: u64, rows: u64) -> PlacedVector {
        let held = match self.axis {
            VectorAxis::AlongX => Split::new(self.covered, columns).largest(),
            VectorAxis::AlongY => Split::new(self.covered, rows).largest(),
            VectorAxis::AlongYInBlocks => Split::new(self.length, rows).largest(),
            VectorAxis::PerBlock => Split::new(self.length, self.covered.min(columns)).largest(),
        };
        let copies_held = match self.axis {
            VectorAxis::AlongYInBlocks => Split::new(self.copies, self.covered.min(columns)).largest(),
            _ => self.copies,
        };
        PlacedVector {
            role: self.role,
            length: self.length,
            copies: self.copies,
            bytes: self.bytes.unwrap_or_else(|| self.data_type.storage(self.length) * self.copies),
            axis: self.axis,
            covered: self.covered,
            copies_held,
            held: held.min(self.length),
            data_type: self.data_type,
            columns,
            rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_element_is_somewhere_and_the_sum_is_exact(
            length in 1_u64..50, repeats in 1_u64..5, copies in 1_u64..4, columns in 1_u64..9, rows in 1_u64..9,
            axis in proptest::sample::select(vec![VectorAxis::AlongX, VectorAxis::AlongY, VectorAxis::PerBlock]),
            data_type in proptest::sample::select(DataType::ALL.to_vec()),
        ) {
            let covered = if axis == VectorAxis::PerBlock { length.div_ceil(repeats) } else { length * repeats };
            let vector = VectorShape { role: Role::Sinks, length, copies, bytes: None, axis, covered, data_type }.placed(columns, rows);
            let mut sum = 0;
            for row in 0..rows {
                for column in 0..columns {
                    prop_assert!(vector.bytes_at(column, row) <= vector.worst_bytes());
                    sum += vector.bytes_at(column, row).0;
                }
            }
            prop_assert_eq!(sum, vector.held_bytes().0);
            prop_assert!(sum >= vector.bytes.0);
        }
    }
}
