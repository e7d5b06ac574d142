//! Rectangles of processing elements and the two axes.

use serde::{Deserialize, Serialize};

/// A direction of the mesh. Reducing along `X` sends east and west; along `Y` north and south.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// Along a row.
    X,
    /// Along a column.
    Y,
}

impl Axis {
    /// The other axis.
    pub const fn across(self) -> Self {
        match self {
            Self::X => Self::Y,
            Self::Y => Self::X,
        }
    }
}

/// A rectangle of processing elements: north-west corner and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// First column.
    pub x: u64,
    /// First row.
    pub y: u64,
    /// Number of columns; at least 1.
    pub columns: u64,
    /// Number of rows; at least 1.
    pub rows: u64,
}

impl Region {
    /// A rectangle; sizes below 1 become 1.
    pub const fn new(x: u64, y: u64, columns: u64, rows: u64) -> Self {
        Self { x, y, columns: if columns == 0 { 1 } else { columns }, rows: if rows == 0 { 1 } else { rows } }
    }

    /// Processing elements along an axis.
    pub const fn along(&self, axis: Axis) -> u64 {
        match axis {
            Axis::X => self.columns,
            Axis::Y => self.rows,
        }
    }

    /// Processing elements in all.
    pub const fn elements(&self) -> u64 {
        self.columns * self.rows
    }

    /// A processing element as column and row from the corner, where it belongs to the rectangle.
    pub const fn seen(&self, column: u64, row: u64) -> Option<(u64, u64)> {
        let Self { x, y, columns, rows } = *self;
        if column >= x && row >= y && column - x < columns && row - y < rows {
            Some((column - x, row - y))
        } else {
            None
        }
    }

    /// Whether two rectangles share a processing element.
    pub const fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.columns
            && other.x < self.x + self.columns
            && self.y < other.y + other.rows
            && other.y < self.y + self.rows
    }

    /// Whether all of another rectangle lies in this one.
    pub const fn covers(&self, other: &Self) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && other.x + other.columns <= self.x + self.columns
            && other.y + other.rows <= self.y + self.rows
    }

    /// The smallest rectangle that holds both.
    #[must_use]
    pub fn around(&self, other: &Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        let columns = (self.x + self.columns).max(other.x + other.columns) - x;
        let rows = (self.y + self.rows).max(other.y + other.rows) - y;
        Self { x, y, columns, rows }
    }

    /// Elements of a dimension of `size` that the fullest processing element along `axis` holds.
    pub const fn share(&self, axis: Axis, size: u64) -> u64 {
        size.div_ceil(self.along(axis))
    }
}
