//! Where the routed experts of a layer live: the grid of cells, and what follows from it.
//!
//! A choice ([`crate::ExpertChoice`]) gives a grid of cells ([`CellGrid`]); expert `e` lives in cell `e mod cells`,
//! spread over all of it. Everything else (rectangles, tiles, bytes, idle processing elements) follows from the grid
//! and is computed here.
//!
//! Which expert goes into which cell may depend on what tokens want: [`strategies`] deal experts to the
//! rectangles of a [`room`] after a [`demand`], with copies where there is room; [`annealed`] improves any assignment.

pub mod annealed;
mod apart;
pub mod assignment;
mod clustered;
pub mod demand;
mod hybrid;
mod linear;
mod replicated;
pub mod room;
mod round_robin;
pub mod strategies;

use serde::Serialize;
use wafersim_spec::Bytes;
use wafersim_spec::model::Role;
use wafersim_spec::scenario::ExpertPlacement;

use crate::arithmetic::divide_up;
use crate::cells::CellGrid;
use crate::choices::ExpertChoice;
use crate::matrix::{Matrices, PlacedMatrix};
use crate::tiling::Tiling;
use wafersim_spec::Region;

/// The grid of cells for the experts of a layer over a region of `columns` x `rows`: as chosen, or what takes the
/// fewest bytes.
pub fn grid(choice: &ExpertChoice, experts: &ExpertMatrices<'_>, columns: u64, rows: u64) -> CellGrid {
    if let Some((across, down)) = choice.grid {
        return CellGrid::new(columns, rows, across, down);
    }
    match choice.placement {
        ExpertPlacement::Spread => CellGrid::whole(columns, rows),
        other => {
            let usual = if other == ExpertPlacement::Clustered { 1 } else { experts.top_k };
            let sharing = choice.sharing.of(experts.count()).unwrap_or(usual).max(1);
            clustered::grid(experts, divide_up(experts.count(), sharing), columns, rows)
        }
    }
}

/// What a strategy may ask about the experts.
#[derive(Debug, Clone, Copy)]
pub struct ExpertMatrices<'a> {
    count: u64,
    top_k: u64,
    matrices: &'a Matrices,
}

impl<'a> ExpertMatrices<'a> {
    pub(crate) const fn new(count: u64, top_k: u64, matrices: &'a Matrices) -> Self {
        Self { count, top_k, matrices }
    }

    /// Routed experts of the layer.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of all experts together.
    pub fn bytes(&self) -> Bytes {
        Bytes(self.matrices.expert_bytes())
    }

    /// Bytes of experts that no processing element exceeds with this grid.
    pub fn worst_bytes(&self, grid: &CellGrid) -> Bytes {
        Bytes(self.matrices.worst_expert_bytes(grid))
    }
}

/// The experts of a layer at their places.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExpertLayout {
    /// The strategy that chose the grid.
    pub placement: ExpertPlacement,
    /// Routed experts.
    pub experts: u64,
    /// The cells that they live in.
    pub grid: CellGrid,
    /// Gate, up and down projections and their biases.
    pub matrices: Vec<PlacedMatrix>,
    /// Bytes of experts that no processing element exceeds.
    pub worst_bytes: Bytes,
}

impl ExpertLayout {
    pub(crate) fn new(placement: ExpertPlacement, experts: u64, matrices: &Matrices, grid: CellGrid) -> Self {
        let shapes = matrices.shapes.iter().filter(|shape| shape.is_expert);
        Self {
            placement,
            experts,
            grid,
            matrices: shapes.map(|shape| matrices.placed(shape, &grid)).collect(),
            worst_bytes: Bytes(matrices.worst_expert_bytes(&grid)),
        }
    }

    /// The rectangle of an expert, seen from the corner of the region.
    pub fn rectangle(&self, expert: u64) -> Region {
        self.grid.rectangle(self.grid.cell_of(expert))
    }

    /// The tiles of an expert's matrix ([`Role::ExpertGate`], `ExpertUp` or `ExpertDown`), seen from the corner of the
    /// expert's rectangle.
    pub fn tiling(&self, role: Role, expert: u64) -> Option<Tiling> {
        self.matrices.iter().find(|matrix| matrix.role == role && !matrix.is_bias).map(|matrix| matrix.tiling(expert))
    }

    /// Bytes of experts that a processing element of the region holds. Takes time proportional to the experts.
    pub fn bytes_at(&self, column: u64, row: u64) -> Bytes {
        self.matrices.iter().map(|matrix| matrix.bytes_at(column, row)).sum()
    }

    /// Processing elements of the region in cells without any expert.
    pub fn idle_pes(&self) -> u64 {
        self.grid.idle_pes(self.experts)
    }

    /// Experts that share the fullest cell.
    pub fn most_in_a_cell(&self) -> u64 {
        self.grid.most_copies_in_a_cell(self.experts)
    }
}

/// The matrix shapes of gated experts, for tests of strategies.
#[cfg(test)]
pub(crate) fn gated_experts(count: u64, hidden: u64, width: u64, data_type: wafersim_spec::DataType) -> Matrices {
    use crate::matrix::MatrixShape;
    use crate::tiling::Orientation;
    let mut matrices = Matrices::default();
    for (role, shape, orientation) in [
        (Role::ExpertGate, (hidden, width), Orientation::InputsAlongY),
        (Role::ExpertUp, (hidden, width), Orientation::InputsAlongY),
        (Role::ExpertDown, (width, hidden), Orientation::InputsAlongX),
    ] {
        matrices.push(MatrixShape::new(role, shape, orientation, data_type).of_experts(count));
    }
    matrices
}
