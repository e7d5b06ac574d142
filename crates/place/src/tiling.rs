//! One matrix over a rectangle of processing elements: which elements and how many bytes each of them holds, exactly.
//!
//! Orientation follows the published decode kernels (sources.md#waferllm): the product that takes `hidden` reduces
//! along y, the next one along x, so that a result lies where the next product wants it and nothing is transposed.
//!
//! **Bytes of formats with fractions.** 4-bit elements and block scales are no whole number of bytes per element. The
//! bytes of a tensor are dealt to the processing elements in row-major order in proportion to the elements they hold
//! (cumulative shares, rounded down). So the sum over all processing elements is the tensor's bytes exactly, a
//! processing element is at most one byte away from its exact share, and 16- and 32-bit formats come out as elements
//! times size.
//!
//! A block of a weight that lies over several processing elements has its scale in each of them, since each scales its
//! own partial products. What these copies take beyond the share above counts as replicated, for tiles that are cut
//! along the blocks: a tile that straddles blocks would need up to four scales (8 bit) or twice as many (4 bit).

use serde::Serialize;
use wafersim_spec::{Bytes, DataType};

use crate::arithmetic::{dealt, dealt_at_most};
use crate::split::{Piece, Split};

/// Which dimension of a matrix lies along which axis of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// Inputs over the rows, outputs over the columns: the product is reduced along y.
    InputsAlongY,
    /// Inputs over the columns, outputs over the rows: the product is reduced along x.
    InputsAlongX,
}

impl Orientation {
    /// (elements along x, elements along y) of a matrix.
    pub const fn along(self, inputs: u64, outputs: u64) -> (u64, u64) {
        match self {
            Self::InputsAlongY => (outputs, inputs),
            Self::InputsAlongX => (inputs, outputs),
        }
    }
}

/// What one processing element holds of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MatrixTile {
    /// Rows of the matrix.
    pub inputs: Piece,
    /// Columns of the matrix.
    pub outputs: Piece,
}

impl MatrixTile {
    /// Elements.
    pub const fn elements(&self) -> u64 {
        self.inputs.size() * self.outputs.size()
    }
}

/// One matrix over a rectangle of processing elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tiling {
    /// Which dimension lies along which axis.
    pub orientation: Orientation,
    /// The dimension along x, over the columns.
    pub across: Split,
    /// The dimension along y, over the rows.
    pub down: Split,
    /// Number format of the elements.
    pub data_type: DataType,
}

impl Tiling {
    /// A matrix over `columns` x `rows` processing elements, its remainders rotated as copy number `copy` of its kind.
    pub const fn new(
        (inputs, outputs): (u64, u64),
        orientation: Orientation,
        (columns, rows): (u64, u64),
        data_type: DataType,
        copy: u64,
    ) -> Self {
        let (along_x, along_y) = orientation.along(inputs, outputs);
        let across = Split::new(along_x, columns).of_copy(copy);
        let down = Split::new(along_y, rows).of_copy(copy);
        Self { orientation, across, down, data_type }
    }

    /// What a processing element holds; columns and rows count from the corner of the rectangle.
    pub const fn tile_at(&self, column: u64, row: u64) -> MatrixTile {
        let (along_x, along_y) = (self.across.piece_at(column), self.down.piece_at(row));
        match self.orientation {
            Orientation::InputsAlongY => MatrixTile { inputs: along_y, outputs: along_x },
            Orientation::InputsAlongX => MatrixTile { inputs: along_x, outputs: along_y },
        }
    }

    /// (inputs, outputs) of the largest tile.
    pub const fn worst_tile(&self) -> (u64, u64) {
        match self.orientation {
            Orientation::InputsAlongY => (self.down.largest(), self.across.largest()),
            Orientation::InputsAlongX => (self.across.largest(), self.down.largest()),
        }
    }

    /// Elements of the matrix.
    pub const fn elements(&self) -> u64 {
        self.across.length().saturating_mul(self.down.length())
    }

    /// Bytes of the matrix, block scales included.
    pub const fn total_bytes(&self) -> Bytes {
        self.data_type.storage(self.elements())
    }

    /// Bytes that a processing element holds.
    pub const fn bytes_at(&self, column: u64, row: u64) -> Bytes {
        let (total, whole) = (self.total_bytes().0, self.elements());
        let before = self.elements_before(column, row);
        let here = self.across.size_at(column) * self.down.size_at(row);
        Bytes(dealt(total, before + here, whole) - dealt(total, before, whole))
    }

    /// Bytes of the largest tile; no processing element holds more.
    pub const fn worst_bytes(&self) -> Bytes {
        let (inputs, outputs) = self.worst_tile();
        Bytes(dealt_at_most(self.total_bytes().0, inputs * outputs, self.elements()))
    }

    /// Elements that the processing elements before this one hold, in row-major order.
    pub(crate) const fn elements_before(&self, column: u64, row: u64) -> u64 {
        self.down.size_before(row) * self.across.length() + self.down.size_at(row) * self.across.size_before(column)
    }
}

/// Most elements that one processing element can hold of `copies` matrices of `along_x` x `along_y` elements over
/// `columns` x `rows`, whose remainders are laid end to end ([`Split::of_copy`]).
///
/// A processing element holds the sum over copies of `(a + x)(b + y)`, where `a`, `b` are the quotients and `x`, `y`
/// are 0 or 1. The sum of `x` is at most `ceil(copies * r_x / columns)`, that of `y` likewise, and that of `x*y` is at
/// most the smaller of the two. It never falls below the truth, is exact for one copy and where a remainder is zero,
/// and does not rise when a side of the rectangle grows.
pub const fn most_elements(along_x: u64, along_y: u64, copies: u64, columns: u64, rows: u64) -> u64 {
    let (across, down) = (Split::new(along_x, columns), Split::new(along_y, rows));
    let (a, b) = (across.quotient(), down.quotient());
    let xs = copies.saturating_mul(across.remainder()).div_ceil(across.parts());
    let ys = copies.saturating_mul(down.remainder()).div_ceil(down.parts());
    let both = if xs < ys { xs } else { ys };
    copies
        .saturating_mul(a.saturating_mul(b))
        .saturating_add(a.saturating_mul(ys))
        .saturating_add(b.saturating_mul(xs))
        .saturating_add(both)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_type() -> impl Strategy<Value = DataType> {
        proptest::sample::select(DataType::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn bytes_add_up_and_none_is_above_the_worst(
            inputs in 1_u64..70, outputs in 1_u64..70, columns in 1_u64..9, rows in 1_u64..9, copy in 0_u64..20,
            data_type in any_type(), along_x in any::<bool>(),
        ) {
            let orientation = if along_x { Orientation::InputsAlongX } else { Orientation::InputsAlongY };
            let tiling = Tiling::new((inputs, outputs), orientation, (columns, rows), data_type, copy);
            let (mut bytes, mut elements) = (0, 0);
            for row in 0..rows {
                for column in 0..columns {
                    prop_assert_eq!(tiling.elements_before(column, row), elements);
                    let (here, tile) = (tiling.bytes_at(column, row), tiling.tile_at(column, row));
                    prop_assert!(here <= tiling.worst_bytes());
                    if data_type.scale_block().is_none() {
                        prop_assert_eq!(here, data_type.storage(tile.elements()));
                    }
                    bytes += here.0;
                    elements += tile.elements();
                }
            }
            prop_assert_eq!(elements, inputs * outputs);
            prop_assert_eq!(Bytes(bytes), data_type.storage(inputs * outputs));
        }

        #[test]
        fn the_bound_holds_and_is_near(
            along_x in 1_u64..60, along_y in 1_u64..60, copies in 1_u64..40, columns in 1_u64..9, rows in 1_u64..9,
        ) {
            let bound = most_elements(along_x, along_y, copies, columns, rows);
            let mut exact = 0;
            for row in 0..rows {
                for column in 0..columns {
                    let sum: u64 = (0..copies)
                        .map(|copy| {
                            let across = Split::new(along_x, columns).of_copy(copy);
                            let down = Split::new(along_y, rows).of_copy(copy);
                            across.size_at(column) * down.size_at(row)
                        })
                        .sum();
                    exact = exact.max(sum);
                }
            }
            prop_assert!(bound >= exact, "{bound} < {exact}");
            if copies == 1 || along_x % columns == 0 || along_y % rows == 0 {
                prop_assert_eq!(bound, exact);
            }
            // The sums of x and of y may reach their limits in different places, and x*y below its own.
            let (a, b) = (along_x / columns, along_y / rows);
            let (xs, ys) = ((copies * (along_x % columns)).div_ceil(columns), (copies * (along_y % rows)).div_ceil(rows));
            prop_assert!(bound <= exact + a + b + xs.min(ys), "{bound} >> {exact}");
            prop_assert!(most_elements(along_x, along_y, copies, columns + 1, rows) <= bound);
            prop_assert!(most_elements(along_x, along_y, copies, columns, rows + 1) <= bound);
        }
    }

    #[test]
    fn the_bound_is_tight_for_the_experts_of_qwen3_coder() {
        // 160 experts of 3 matrices 2560 x 6144 over 755 x 234: 42,733 elements on average.
        let bound = most_elements(2560, 6144, 480, 755, 234);
        assert_eq!(bound, 480 * 3 * 26 + 3 * 124 + 26 * 188 + 124);
        let mean = 480.0 * 2560.0 * 6144.0 / (755.0 * 234.0);
        assert!((bound as f64) < mean * 1.003, "{bound} {mean}");
    }
}
