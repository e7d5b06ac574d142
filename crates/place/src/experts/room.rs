//! Rectangles for experts in a layer's region: which division holds so many copies in each, and what it takes.

use serde::Serialize;
use wafersim_spec::Bytes;

use crate::arithmetic::divide_up;
use crate::blueprint::{LayerBlueprint, in_use};
use crate::cells::CellGrid;
use crate::item::Item;
use crate::layout::LayerLayout;
use crate::matrix::Matrices;
use crate::placement::Placement;
use crate::request::Settings;

/// A layer's region divided into rectangles for experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Room {
    /// The rectangles; there may be a few more than were asked for, which stay empty.
    pub grid: CellGrid,
    /// Rectangles that hold experts.
    pub cells: u64,
    /// Copies that each holds at most.
    pub copies_in_a_cell: u64,
    /// Bytes of the worst processing element of the layer, code and runtime aside, where every rectangle is full.
    pub worst_pe: Bytes,
    /// What that is more than in the layout's own division.
    pub more: Bytes,
}

/// The division of a layer's region into at least `cells` rectangles, each with room for `copies` experts: of all grids the
/// one whose worst processing element holds the fewest bytes, of those the rectangle with the shortest perimeter, of those the
/// fewest columns of rectangles. `None` for a layer without experts, or with fewer processing elements than rectangles.
/// Whether the bytes fit is the caller's to judge: see [`crate::Placement::has_room`].
pub fn room(layout: &LayerLayout, settings: &Settings, cells: u64, copies: u64) -> Option<Room> {
    let mut blueprint = LayerBlueprint::new(&layout.layer, layout.hidden, &settings.precision);
    if blueprint.experts == 0 || cells == 0 || copies == 0 {
        return None;
    }
    let spread = std::mem::take(&mut blueprint.matrices);
    let (columns, rows) = (layout.columns, layout.rows);
    let mut best: Option<((u64, u64), CellGrid)> = None;
    for across in 1..=cells.min(columns) {
        let down = divide_up(cells, across);
        // A column of rectangles more than needed would stay empty as a whole.
        if down > rows || divide_up(cells, down) < across {
            continue;
        }
        let grid = CellGrid::new(columns, rows, across, down);
        let (cell_columns, cell_rows) = grid.smallest_cell();
        let score = (with_copies(&spread, &grid, copies)?.worst_expert_bytes(&grid), cell_columns + cell_rows);
        if best.is_none_or(|(known, _)| score < known) {
            best = Some((score, grid));
        }
    }
    let (_, grid) = best?;
    blueprint.matrices = with_copies(&spread, &grid, copies)?;
    let weights = blueprint.weights(&grid);
    let (_, worst) = in_use(&layout.layer, layout.hidden, weights, &grid, settings);
    let more = worst.sum().saturating_sub(layout.worst_pe.sum());
    Some(Room { grid, cells, copies_in_a_cell: copies, worst_pe: worst.sum(), more })
}

/// The matrices of a layer, with experts enough to fill every rectangle of a grid.
fn with_copies(matrices: &Matrices, grid: &CellGrid, copies: u64) -> Option<Matrices> {
    let all = grid.cells().checked_mul(copies)?;
    let mut full = Matrices::default();
    for shape in &matrices.shapes {
        if shape.is_expert {
            let bytes = shape.bytes.checked_div(shape.copies)?.checked_mul(all)?;
            let mut copied = *shape;
            (copied.copies, copied.bytes) = (all, bytes);
            full.push(copied);
        } else {
            full.push(*shape);
        }
    }
    Some(full)
}

impl Placement {
    /// Whether every slot has `more` bytes to spare for each layer of a layout that it holds.
    pub fn has_room(&self, layout: usize, more: Bytes) -> bool {
        self.slots.iter().zip(&self.ledger.slots).all(|(slot, ledger)| {
            let is_here = |item: &&Item| match item {
                Item::Layer(layer) => self.layout_index(*layer as usize) == Some(layout),
                Item::Embedding(_) | Item::LmHead(_) => false,
            };
            let layers = slot.items.iter().filter(is_here).count() as u64;
            more.0.saturating_mul(layers) <= ledger.spare.0
        })
    }
}
