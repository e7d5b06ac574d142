//! Every expert over the whole region: all processing elements work on every chosen expert.

use super::{ExpertMatrices, ExpertStrategy};
use crate::cells::CellGrid;

/// Every expert over the whole region.
#[derive(Debug, Clone, Copy)]
pub struct Spread;

impl ExpertStrategy for Spread {
    fn grid(&self, _experts: &ExpertMatrices<'_>, columns: u64, rows: u64) -> CellGrid {
        CellGrid::whole(columns, rows)
    }
}
