//! Where a node is: coordinates, the size of a mesh, and the order of nodes.
//!
//! Nodes are numbered row by row, as in BookSim2: node = row x columns + column. A node has one router and one
//! source and sink of packets.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::TrafficError;

/// Longest side of a mesh, in routers.
pub const LONGEST_SIDE: u32 = 4096;

/// A node: column from the west, row from the north, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Coordinate {
    /// Column, from 0 in the west.
    pub column: u32,
    /// Row, from 0 in the north.
    pub row: u32,
}

impl Coordinate {
    /// A node.
    pub const fn new(column: u32, row: u32) -> Self {
        Self { column, row }
    }

    /// Routers that a packet from here to `other` passes, both ends included: Manhattan distance + 1.
    pub const fn hops(self, other: Self) -> u32 {
        self.column.abs_diff(other.column) + self.row.abs_diff(other.row) + 1
    }

    /// The form that packets carry.
    pub(crate) const fn packed(self) -> Place {
        Place { column: self.column as u16, row: self.row as u16 }
    }
}

/// A coordinate as packets and routers hold it: 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) column: u16,
    pub(crate) row: u16,
}

impl Place {
    pub(crate) const fn unpacked(self) -> Coordinate {
        Coordinate { column: self.column as u32, row: self.row as u32 }
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "({}, {})", self.column, self.row)
    }
}

/// Columns and rows of a mesh, checked: 1 to [`LONGEST_SIDE`] each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MeshSize {
    columns: u32,
    rows: u32,
}

impl MeshSize {
    /// A mesh of `columns` x `rows` routers.
    pub fn new(columns: u32, rows: u32) -> Result<Self, TrafficError> {
        let allowed = 1..=LONGEST_SIDE;
        if allowed.contains(&columns) && allowed.contains(&rows) {
            Ok(Self { columns, rows })
        } else {
            Err(TrafficError::Mesh { columns, rows })
        }
    }

    /// Number of columns.
    pub const fn columns(self) -> u32 {
        self.columns
    }

    /// Number of rows.
    pub const fn rows(self) -> u32 {
        self.rows
    }

    /// Number of nodes.
    pub const fn nodes(self) -> u32 {
        self.columns * self.rows
    }

    /// Whether `place` is a node of this mesh.
    pub const fn contains(self, place: Coordinate) -> bool {
        place.column < self.columns && place.row < self.rows
    }

    /// The number of a node.
    pub const fn node(self, place: Coordinate) -> u32 {
        place.row * self.columns + place.column
    }

    /// Where a node is.
    pub const fn place(self, node: u32) -> Coordinate {
        Coordinate { column: node % self.columns, row: node / self.columns }
    }
}

impl fmt::Display for MeshSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} x {}", self.columns, self.rows)
    }
}

/// The output port that a packet takes in the router at `here`: first along the row, then along the column. Without
/// branches: where packets turn cannot be predicted.
#[inline]
pub(crate) const fn route(here: Place, destination: Place) -> usize {
    let east_west = (destination.column < here.column) as usize;
    let south_north = 2 + (destination.row < here.row) as usize;
    let turned = if destination.row == here.row { super::router::LOCAL } else { south_north };
    if destination.column == here.column { turned } else { east_west }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_along_the_row_first() {
        let here = Coordinate::new(5, 5).packed();
        let towards = |column, row| route(here, Coordinate::new(column, row).packed());
        assert_eq!([towards(6, 0), towards(4095, 9), towards(0, 5)], [0, 0, 1], "east, east, west");
        assert_eq!([towards(5, 6), towards(5, 0), towards(5, 5)], [2, 3, 4], "south, north, here");
    }

    #[test]
    fn nodes_are_numbered_row_by_row() -> Result<(), TrafficError> {
        let mesh = MeshSize::new(5, 3)?;
        for node in 0..mesh.nodes() {
            assert_eq!(mesh.node(mesh.place(node)), node);
            assert_eq!(mesh.place(node).packed().unpacked(), mesh.place(node));
        }
        assert_eq!(mesh.place(7), Coordinate::new(2, 1));
        assert!(MeshSize::new(0, 4).is_err() && MeshSize::new(4, 4097).is_err() && MeshSize::new(4096, 4096).is_ok());
        Ok(())
    }
}
