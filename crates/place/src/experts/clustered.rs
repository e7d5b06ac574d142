//! Few experts in each cell: short reductions, but only the chosen experts' cells work.

use super::ExpertMatrices;
use crate::arithmetic::divide_up;
use crate::cells::CellGrid;

/// A grid with a cell for each of `wanted` groups of experts. Of all grids with at least so many cells, the one whose
/// worst processing element holds the fewest bytes; of those the cell with the shortest perimeter; of those the fewest
/// columns of cells. In a region with fewer processing elements than that, more experts share cells.
pub(super) fn grid(experts: &ExpertMatrices<'_>, wanted: u64, columns: u64, rows: u64) -> CellGrid {
    let wanted = wanted.max(1);
    let least = experts.bytes().0 / experts.count().max(1);
    let mut best: Option<((u64, u64), CellGrid)> = None;
    for across in 1..=wanted.min(columns) {
        let down = divide_up(wanted, across);
        if down > rows {
            continue;
        }
        let grid = CellGrid::new(columns, rows, across, down);
        let (cell_columns, cell_rows) = grid.smallest_cell();
        // An expert's bytes over its cell's processing elements: no grid can do better than that.
        let hopeless = |(bytes, _): (u64, u64)| divide_up(least, cell_columns * cell_rows) > bytes;
        if best.is_some_and(|(score, _)| hopeless(score)) {
            continue;
        }
        let score = (experts.worst_bytes(&grid).0, cell_columns + cell_rows);
        if best.is_none_or(|(known, _)| score < known) {
            best = Some((score, grid));
        }
    }
    best.map_or_else(|| CellGrid::new(columns, rows, columns, divide_up(wanted, columns)), |(_, grid)| grid)
}

#[cfg(test)]
mod tests {
    use wafersim_spec::DataType;

    use super::super::gated_experts;
    use super::*;

    #[test]
    fn the_choice_is_the_best_of_all_grids() {
        for (count, hidden, width, columns, rows) in
            [(160, 6144, 2560, 755, 234), (8, 64, 48, 20, 30), (5, 33, 21, 7, 9), (128, 2880, 2880, 300, 200)]
        {
            let matrices = gated_experts(count, hidden, width, DataType::Fp8);
            let experts = ExpertMatrices::new(count, 1, &matrices);
            let chosen = grid(&experts, count, columns, rows);
            assert!(chosen.cells() >= count);
            let best = (1..=count.min(columns))
                .filter(|across| count.div_ceil(*across) <= rows)
                .map(|across| CellGrid::new(columns, rows, across, count.div_ceil(across)))
                .map(|grid| (experts.worst_bytes(&grid).0, grid.smallest_cell().0 + grid.smallest_cell().1))
                .min();
            let size = chosen.smallest_cell();
            assert_eq!(Some((experts.worst_bytes(&chosen).0, size.0 + size.1)), best);
        }
    }

    #[test]
    fn more_experts_than_processing_elements_share() {
        let matrices = gated_experts(30, 4, 4, DataType::Fp16);
        let grid = grid(&ExpertMatrices::new(30, 1, &matrices), 30, 3, 4);
        assert_eq!((grid.cells(), grid.most_copies_in_a_cell(30)), (12, 3));
    }
}
