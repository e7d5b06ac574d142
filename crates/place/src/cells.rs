//! A region cut into a grid of cells, and which copy of a matrix lives in which cell. One cell for everything is the
//! case of tensors and experts that are spread over the whole region.

use serde::{Deserialize, Serialize};

use crate::arithmetic::divide_up;
use crate::split::Split;
use wafersim_spec::Region;

/// A region cut into cells. Copy `c` lives in cell `c mod cells`, spread over all of it; cells are counted west to
/// east, then north to south. Where the region does not divide evenly, the first columns and rows of cells are one
/// larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellGrid {
    /// Columns of the region.
    pub columns: u64,
    /// Rows of the region.
    pub rows: u64,
    /// Cells side by side.
    pub across: u64,
    /// Cells one below the other.
    pub down: u64,
}

impl CellGrid {
    /// The region as one cell.
    pub const fn whole(columns: u64, rows: u64) -> Self {
        Self { columns, rows, across: 1, down: 1 }
    }

    /// `across` x `down` cells, fewer where the region has not so many columns or rows.
    pub fn new(columns: u64, rows: u64, across: u64, down: u64) -> Self {
        Self { columns, rows, across: across.clamp(1, columns.max(1)), down: down.clamp(1, rows.max(1)) }
    }

    /// Number of cells.
    pub const fn cells(&self) -> u64 {
        let cells = self.across * self.down;
        if cells == 0 { 1 } else { cells }
    }

    /// Columns and rows of the smallest cell.
    pub const fn smallest_cell(&self) -> (u64, u64) {
        (Split::new(self.columns, self.across).quotient(), Split::new(self.rows, self.down).quotient())
    }

    /// The cell of a copy.
    pub const fn cell_of(&self, copy: u64) -> u64 {
        copy % self.cells()
    }

    /// How many copies with smaller numbers live in the same cell.
    pub const fn place_in_cell(&self, copy: u64) -> u64 {
        copy / self.cells()
    }

    /// Copies in the fullest cell.
    pub const fn most_copies_in_a_cell(&self, copies: u64) -> u64 {
        divide_up(copies, self.cells())
    }

    /// The rectangle of a cell, seen from the corner of the region.
    pub fn rectangle(&self, cell: u64) -> Region {
        let (across, down) = (Split::new(self.columns, self.across), Split::new(self.rows, self.down));
        let (column, row) = (cell % self.across.max(1), cell / self.across.max(1));
        Region {
            x: across.size_before(column),
            y: down.size_before(row),
            columns: across.size_at(column),
            rows: down.size_at(row),
        }
    }

    /// Processing elements in cells that hold no copy at all.
    pub fn idle_pes(&self, copies: u64) -> u64 {
        (copies.min(self.cells())..self.cells()).map(|cell| self.rectangle(cell).elements()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_tile_the_region() {
        let grid = CellGrid::new(17, 11, 5, 3);
        let mut covered = vec![0; 17 * 11];
        for cell in 0..grid.cells() {
            let rectangle = grid.rectangle(cell);
            assert!(rectangle.columns >= grid.smallest_cell().0 && rectangle.rows >= grid.smallest_cell().1);
            for y in rectangle.y..rectangle.y + rectangle.rows {
                for x in rectangle.x..rectangle.x + rectangle.columns {
                    covered[(y * 17 + x) as usize] += 1;
                }
            }
        }
        assert!(covered.iter().all(|times| *times == 1));
        assert_eq!(grid.idle_pes(15), 0);
        assert_eq!(grid.idle_pes(14), grid.rectangle(14).elements());
        assert_eq!(grid.most_copies_in_a_cell(16), 2);
    }
}
