//! Rectangles for experts in a layer's region: the divisions there are, and what each takes with so many copies in
//! each.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wafersim_spec::Bytes;
use wafersim_spec::scenario::ExpertPlacement;

use crate::arithmetic::divide_up;
use crate::blueprint::{LayerBlueprint, LayerWeights, in_use};
use crate::cells::CellGrid;
use crate::choices::{ExpertChoice, LayerChoices};
use crate::item::Item;
use crate::layout::LayerLayout;
use crate::matrix::Matrices;
use crate::placement::Placement;
use crate::request::Settings;

/// A layer's region divided into rectangles for experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Room {
    /// The rectangles; there may be a few more than hold experts, which stay empty.
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

/// Ways to cut a region of `columns` x `rows` into at least `cells` rectangles without a whole row or column of them to
/// spare: (across, down), the shortest perimeter of a rectangle first.
pub fn shapes(columns: u64, rows: u64, cells: u64) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = (1..=cells.min(columns))
        .map(|across| (across, divide_up(cells, across)))
        .filter(|&(across, down)| across > 0 && down > 0 && down <= rows && divide_up(cells, down) == across)
        .collect();
    found.sort_by_key(|&(across, down)| (columns / across + rows / down, across));
    found
}

/// A layer's region cut into `across` x `down` rectangles, of which `cells` hold up to `copies` experts each. `None`
/// for a layer without experts, or where there are fewer rectangles or processing elements than that. Whether the bytes
/// fit is the caller's to judge: see [`Placement::has_room`].
pub fn room(
    layout: &LayerLayout,
    settings: &Settings,
    (across, down): (u64, u64),
    cells: u64,
    copies: u64,
) -> Option<Room> {
    let choices = LayerChoices { experts: ExpertChoice::from(ExpertPlacement::Clustered), ..layout.choices };
    let (layer, hidden) = (&layout.layer, layout.hidden);
    let held = LayerWeights::new(layer, hidden, &settings.precision, choices.wide);
    let grid = CellGrid::new(layout.columns, layout.rows, across, down);
    if held.experts == 0 || cells == 0 || copies == 0 || (grid.across, grid.down) != (across, down) {
        return None;
    }
    if grid.cells() < cells {
        return None;
    }
    let matrices = with_copies(&held.matrices, &grid, copies)?;
    let held = held.with_matrices(matrices);
    let weights = held.worst(&grid, &choices.experts);
    let blueprint = LayerBlueprint { layer, hidden, weights: Arc::new(held), choices };
    let (_, worst) = in_use(&blueprint, weights, &grid, settings);
    let more = worst.sum().saturating_sub(layout.worst_pe.sum());
    Some(Room { grid, cells, copies_in_a_cell: copies, worst_pe: worst.sum(), more })
}

/// The matrices of a layer, with experts enough to fill every rectangle of a grid.
pub(crate) fn with_copies(matrices: &Matrices, grid: &CellGrid, copies: u64) -> Option<Matrices> {
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
