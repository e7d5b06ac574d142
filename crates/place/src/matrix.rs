//! Matrices in copies: their shape before a region is known, and their place in it. Biases are matrices with one input:
//! one processing element of a line adds the bias to its partial sum, so a bias needs no replication.

use serde::Serialize;
use wafersim_spec::model::Role;
use wafersim_spec::{Bytes, DataType};

use crate::arithmetic::{dealt, dealt_at_most};
use crate::cells::CellGrid;
use crate::split::Split;
use crate::tiling::{Orientation, Tiling, most_elements};
use wafersim_spec::Region;

/// A matrix whose region is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MatrixShape {
    pub role: Role,
    pub is_bias: bool,
    pub inputs: u64,
    pub outputs: u64,
    pub orientation: Orientation,
    pub copies: u64,
    pub data_type: DataType,
    /// Bytes of all copies. Not always `copies` times the storage of one: a part of a cut table gets its dealt share.
    pub bytes: u64,
    /// Lives in the cells of the experts rather than in the whole region.
    pub is_expert: bool,
    /// Index of its group in [`Matrices::groups`].
    group: usize,
    /// Matrices of the same group before this one.
    earlier_in_group: u64,
}

impl MatrixShape {
    pub const fn new(role: Role, (inputs, outputs): (u64, u64), orientation: Orientation, data_type: DataType) -> Self {
        Self {
            role,
            is_bias: false,
            inputs,
            outputs,
            orientation,
            copies: 1,
            data_type,
            bytes: data_type.storage(inputs.saturating_mul(outputs)).0,
            is_expert: false,
            group: 0,
            earlier_in_group: 0,
        }
    }

    /// A bias of `outputs` elements: a matrix with one input.
    pub const fn bias(role: Role, outputs: u64, orientation: Orientation, data_type: DataType) -> Self {
        Self { is_bias: true, ..Self::new(role, (1, outputs), orientation, data_type) }
    }

    /// A part of a cut table, with its dealt share of the bytes.
    pub const fn with_bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    pub fn of_experts(self, copies: u64) -> Self {
        Self { copies, bytes: self.bytes.saturating_mul(copies), is_expert: true, ..self }
    }
}

/// Matrices of equal geometry: their remainders are rotated end to end as if they were copies of one matrix, so that
/// their worst tiles do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    along: (u64, u64),
    data_type: DataType,
    copies: u64,
    is_expert: bool,
    matrices: u64,
    bytes: u64,
}

impl Group {
    /// Bytes that no processing element exceeds when every cell holds at most `1/cells` of the copies, rounded up.
    fn worst_bytes(&self, grid: &CellGrid) -> u64 {
        let (columns, rows) = grid.smallest_cell();
        let copies = grid.most_copies_in_a_cell(self.copies).saturating_mul(self.matrices);
        let most = most_elements(self.along.0, self.along.1, copies, columns, rows);
        let elements = self.along.0 * self.along.1 * self.copies;
        let each = self.bytes / self.matrices;
        // Each matrix is dealt by itself and may round up by itself.
        let rounding = if each.is_multiple_of(elements.max(1)) { 0 } else { self.matrices - 1 };
        dealt_at_most(each, most, elements).saturating_add(rounding)
    }
}

/// The matrices of a layer or a table, with their groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Matrices {
    pub shapes: Vec<MatrixShape>,
    groups: Vec<Group>,
}

impl Matrices {
    pub fn push(&mut self, shape: MatrixShape) {
        let along = shape.orientation.along(shape.inputs, shape.outputs);
        let position = self.groups.iter().position(|group| {
            (group.along, group.data_type, group.copies, group.is_expert)
                == (along, shape.data_type, shape.copies, shape.is_expert)
                && group.bytes == shape.bytes.saturating_mul(group.matrices)
        });
        let index = position.unwrap_or(self.groups.len());
        if position.is_none() {
            self.groups.push(Group {
                along,
                data_type: shape.data_type,
                copies: shape.copies,
                is_expert: shape.is_expert,
                matrices: 0,
                bytes: 0,
            });
        }
        let group = &mut self.groups[index];
        self.shapes.push(MatrixShape { group: index, earlier_in_group: group.matrices, ..shape });
        group.matrices += 1;
        group.bytes = group.bytes.saturating_add(shape.bytes);
    }

    /// Bytes of everything.
    pub fn bytes(&self) -> u64 {
        self.groups.iter().fold(0, |sum, group| sum.saturating_add(group.bytes))
    }

    /// Bytes that no processing element exceeds for what is spread over the whole region.
    pub fn worst_spread_bytes(&self, columns: u64, rows: u64) -> u64 {
        self.worst(false, &CellGrid::whole(columns, rows))
    }

    /// Bytes that no processing element exceeds for the experts in the cells of `grid`.
    pub fn worst_expert_bytes(&self, grid: &CellGrid) -> u64 {
        self.worst(true, grid)
    }

    /// Bytes of copied block scales that no processing element exceeds: see [`PlacedMatrix::copied_scales_at`].
    pub fn worst_copied_scales(&self, grid: &CellGrid) -> Bytes {
        self.shapes.iter().map(|shape| self.placed(shape, grid).worst_copied_scales()).sum()
    }

    /// Bytes of the experts, and how many there are.
    pub fn expert_bytes(&self) -> u64 {
        let experts = self.groups.iter().filter(|group| group.is_expert);
        experts.fold(0, |sum, group| sum.saturating_add(group.bytes))
    }

    fn worst(&self, is_expert: bool, grid: &CellGrid) -> u64 {
        let groups = self.groups.iter().filter(|group| group.is_expert == is_expert);
        groups.fold(0, |sum, group| sum.saturating_add(group.worst_bytes(grid)))
    }

    /// A matrix at its place: experts in the cells of `grid`, others over the whole region.
    pub fn placed(&self, shape: &MatrixShape, grid: &CellGrid) -> PlacedMatrix {
        let grid = if shape.is_expert { *grid } else { CellGrid::whole(grid.columns, grid.rows) };
        PlacedMatrix {
            role: shape.role,
            is_bias: shape.is_bias,
            inputs: shape.inputs,
            outputs: shape.outputs,
            orientation: shape.orientation,
            copies: shape.copies,
            data_type: shape.data_type,
            bytes: Bytes(shape.bytes),
            grid,
            first_rotation: shape.earlier_in_group * grid.most_copies_in_a_cell(shape.copies),
        }
    }
}

/// A matrix, or one per expert, at its place in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlacedMatrix {
    /// What it does.
    pub role: Role,
    /// Whether it is the bias of that matrix rather than the matrix; a bias has one input.
    pub is_bias: bool,
    /// Rows of the matrix.
    pub inputs: u64,
    /// Columns of the matrix.
    pub outputs: u64,
    /// Which dimension lies along which axis.
    pub orientation: Orientation,
    /// Copies with different values: the number of experts, else 1.
    pub copies: u64,
    /// Number format.
    pub data_type: DataType,
    /// Bytes of all copies, block scales included.
    pub bytes: Bytes,
    /// Where the copies live: one cell for a matrix that is spread over the whole region.
    pub grid: CellGrid,
    /// Rotation of the first copy of a cell; see [`crate::Split::of_copy`].
    pub first_rotation: u64,
}

impl PlacedMatrix {
    /// The rectangle of a copy, seen from the corner of the region.
    pub fn rectangle(&self, copy: u64) -> Region {
        self.grid.rectangle(self.grid.cell_of(copy))
    }

    /// The tiles of a copy; its columns and rows count from the corner of its rectangle.
    pub fn tiling(&self, copy: u64) -> Tiling {
        let rectangle = self.rectangle(copy);
        Tiling::new(
            (self.inputs, self.outputs),
            self.orientation,
            (rectangle.columns, rectangle.rows),
            self.data_type,
            self.first_rotation + self.grid.place_in_cell(copy),
        )
    }

    /// Elements of all copies.
    pub const fn elements(&self) -> u64 {
        self.inputs.saturating_mul(self.outputs).saturating_mul(self.copies)
    }

    /// Elements of all copies that a processing element of the region holds. Takes time proportional to `copies`.
    pub fn elements_at(&self, column: u64, row: u64) -> u64 {
        let held = |copy| {
            let rectangle = self.rectangle(copy);
            let tile = self.tiling(copy);
            match rectangle.contains(column, row) {
                true => tile.tile_at(column - rectangle.x, row - rectangle.y).elements(),
                false => 0,
            }
        };
        (0..self.copies).map(held).sum()
    }

    /// Bytes of all copies that a processing element of the region holds: its cumulative share, see [`crate::tiling`].
    /// Takes time proportional to `copies`.
    pub fn bytes_at(&self, column: u64, row: u64) -> Bytes {
        let before: u64 = (0..self.copies).map(|copy| self.elements_before(copy, column, row)).sum();
        let here = self.elements_at(column, row);
        let whole = self.elements();
        Bytes(dealt(self.bytes.0, before + here, whole) - dealt(self.bytes.0, before, whole))
    }

    /// Elements of one copy in the processing elements before this one, in row-major order of the region.
    fn elements_before(&self, copy: u64, column: u64, row: u64) -> u64 {
        let rectangle = self.rectangle(copy);
        if row < rectangle.y {
            return 0;
        }
        if row >= rectangle.y + rectangle.rows {
            return self.inputs * self.outputs;
        }
        let column = column.saturating_sub(rectangle.x).min(rectangle.columns);
        self.tiling(copy).elements_before(column, row - rectangle.y)
    }

    /// Bytes of block scales that a processing element of the region holds beyond its share of the matrix: each tile
    /// has the scales of the blocks that it lies in. Takes time proportional to `copies`.
    pub fn copied_scales_at(&self, column: u64, row: u64) -> Bytes {
        let held = |copy| {
            let rectangle = self.rectangle(copy);
            if !rectangle.contains(column, row) {
                return Bytes::ZERO;
            }
            let tile = self.tiling(copy).tile_at(column - rectangle.x, row - rectangle.y);
            self.data_type.copied_scales(tile.inputs.size(), tile.outputs.size())
        };
        if self.data_type.scale_tile().is_none() { Bytes::ZERO } else { (0..self.copies).map(held).sum() }
    }

    /// The same over all processing elements. Takes time proportional to the cells.
    pub fn copied_scales(&self) -> Bytes {
        if self.data_type.scale_tile().is_none() {
            return Bytes::ZERO;
        }
        // Copies in one cell have tiles of the same sizes.
        let cells = self.grid.cells();
        let held = |cell: u64| self.copies / cells + u64::from(cell < self.copies % cells);
        let of_a_copy = |cell: u64| self.tile_kinds(cell).map(|(bytes, count)| bytes * count).sum::<Bytes>();
        (0..cells.min(self.copies)).map(|cell| of_a_copy(cell) * held(cell)).sum()
    }

    /// Bytes of copied block scales that no processing element exceeds.
    pub fn worst_copied_scales(&self) -> Bytes {
        if self.data_type.scale_tile().is_none() {
            return Bytes::ZERO;
        }
        // Cells differ by one column or row, so that their largest tiles do too.
        let kinds = (0..self.grid.cells().min(self.copies)).flat_map(|copy| self.tile_kinds(copy));
        let most = kinds.map(|(bytes, _)| bytes).fold(Bytes::ZERO, Bytes::max);
        most * self.grid.most_copies_in_a_cell(self.copies)
    }

    /// The sizes of the tiles of a copy, at most four: bytes of copied scales, and how many tiles have that size.
    fn tile_kinds(&self, copy: u64) -> impl Iterator<Item = (Bytes, u64)> + use<> {
        let (tiling, data_type) = (self.tiling(copy), self.data_type);
        let sizes = |split: Split| {
            let (few, more) = (split.quotient(), split.remainder());
            [(few, split.parts() - more), (few + 1, more)]
        };
        sizes(tiling.across).into_iter().flat_map(move |(along_x, columns)| {
            sizes(tiling.down).into_iter().filter_map(move |(along_y, rows)| {
                let (inputs, outputs) = match tiling.orientation {
                    Orientation::InputsAlongY => (along_y, along_x),
                    Orientation::InputsAlongX => (along_x, along_y),
                };
                let count = columns * rows;
                (count > 0).then(|| (data_type.copied_scales(inputs, outputs), count))
            })
        })
    }

    /// Bytes of this matrix that no processing element exceeds.
    pub fn worst_bytes(&self) -> Bytes {
        let (columns, rows) = self.grid.smallest_cell();
        let (along_x, along_y) = self.orientation.along(self.inputs, self.outputs);
        let copies = self.grid.most_copies_in_a_cell(self.copies);
        Bytes(dealt_at_most(self.bytes.0, most_elements(along_x, along_y, copies, columns, rows), self.elements()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bytes_add_up_and_the_bound_holds(
            (hidden, width) in (1_u64..40, 1_u64..40), experts in 1_u64..9, (columns, rows) in (1_u64..10, 1_u64..10),
            (across, down) in (1_u64..5, 1_u64..5), data_type in proptest::sample::select(DataType::ALL.to_vec()),
        ) {
            let mut matrices = Matrices::default();
            let (along_y, along_x) = (Orientation::InputsAlongY, Orientation::InputsAlongX);
            matrices.push(MatrixShape::new(Role::ExpertGate, (hidden, width), along_y, data_type).of_experts(experts));
            matrices.push(MatrixShape::new(Role::ExpertUp, (hidden, width), along_y, data_type).of_experts(experts));
            matrices.push(MatrixShape::new(Role::ExpertDown, (width, hidden), along_x, data_type).of_experts(experts));
            matrices.push(MatrixShape::new(Role::Query, (hidden, width), along_y, data_type));
            matrices.push(MatrixShape::new(Role::Output, (width, hidden), along_x, data_type));
            let grid = CellGrid::new(columns, rows, across, down);
            let bound = matrices.worst_spread_bytes(columns, rows) + matrices.worst_expert_bytes(&grid);
            let placed: Vec<PlacedMatrix> = matrices.shapes.iter().map(|shape| matrices.placed(shape, &grid)).collect();
            let mut sums = vec![0; placed.len()];
            let mut scales = vec![0; placed.len()];
            let mut exact = 0;
            for row in 0..rows {
                for column in 0..columns {
                    let here: Vec<u64> = placed.iter().map(|matrix| matrix.bytes_at(column, row).0).collect();
                    for (matrix, bytes) in placed.iter().zip(&here) {
                        prop_assert!(*bytes <= matrix.worst_bytes().0);
                    }
                    for (matrix, sum) in placed.iter().zip(&mut scales) {
                        let copied = matrix.copied_scales_at(column, row);
                        prop_assert!(copied <= matrix.worst_copied_scales());
                        *sum += copied.0;
                    }
                    sums.iter_mut().zip(&here).for_each(|(sum, bytes)| *sum += bytes);
                    exact = exact.max(here.iter().sum::<u64>());
                }
            }
            for (matrix, sum) in placed.iter().zip(sums) {
                prop_assert_eq!(matrix.bytes.0, sum);
                prop_assert_eq!(data_type.storage(hidden * width).0 * matrix.copies, sum);
            }
            for (matrix, sum) in placed.iter().zip(scales) {
                prop_assert_eq!(matrix.copied_scales().0, sum);
            }
            prop_assert!(exact <= bound, "{exact} > {bound}");
        }
    }

    #[test]
    fn the_bound_is_a_few_per_cent_above_the_truth_on_a_small_grid() {
        let mut matrices = Matrices::default();
        for (role, shape, orientation) in [
            (Role::ExpertGate, (61, 26), Orientation::InputsAlongY),
            (Role::ExpertUp, (61, 26), Orientation::InputsAlongY),
            (Role::ExpertDown, (26, 61), Orientation::InputsAlongX),
        ] {
            matrices.push(MatrixShape::new(role, shape, orientation, DataType::Fp8).of_experts(16));
        }
        for grid in [CellGrid::whole(15, 12), CellGrid::new(15, 12, 2, 2), CellGrid::new(15, 12, 4, 4)] {
            let bound = matrices.worst_expert_bytes(&grid);
            let placed: Vec<PlacedMatrix> = matrices.shapes.iter().map(|shape| matrices.placed(shape, &grid)).collect();
            let at = |column, row| placed.iter().map(|matrix| matrix.bytes_at(column, row).0).sum::<u64>();
            let exact = (0..12).flat_map(|row| (0..15).map(move |column| (column, row))).map(|(x, y)| at(x, y)).max();
            let exact = exact.unwrap_or(0);
            assert!(bound >= exact && bound as f64 <= exact as f64 * 1.04, "{bound} {exact}");
        }
    }
}
