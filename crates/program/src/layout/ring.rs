//! The runs of pieces that a systolic product rotates.

use serde::Serialize;

use super::Place;
use crate::region::Axis;
use crate::runs::even_runs;

/// The runs of pieces of one operand of Cannon's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Axis of the ring.
    pub axis: Axis,
    /// Places of a block of the line that form one ring.
    pub length: u64,
    /// Pieces of the dimension; at least as many as places.
    pub pieces: u64,
    /// Rotation: places across form a ring of this length as well, and the run of a place's line is added (0: not
    /// rotated).
    pub across: u64,
}

/// The logical number of a place of a ring folded by interleaving: data moves from a place to the one with the next
/// lower number. Physical order of the flow: 0, 2, 4, ..., 5, 3, 1 (see `Shift`).
pub const fn ring_number(length: u64, index: u64) -> u64 {
    if length == 0 {
        return 0;
    }
    let flow = if index.is_multiple_of(2) { index / 2 } else { length - index.div_ceil(2) };
    (length - flow % length) % length
}

/// First piece of the run of logical place `number` when `pieces` are shared out over `length` places.
pub const fn run_start(pieces: u64, length: u64, number: u64) -> u64 {
    if length == 0 { 0 } else { (pieces as u128 * number as u128 / length as u128) as u64 }
}

impl Ring {
    /// The pieces by which the line at coordinate `across` is rotated; below [`Self::pieces`].
    pub const fn rotation(&self, across: u64) -> u64 {
        if self.across == 0 {
            return 0;
        }
        run_start(self.pieces, self.across, ring_number(self.across, across % self.across))
    }

    /// The pieces of a place in the order in which it uses them.
    pub fn pieces_at(&self, place: Place) -> Vec<u64> {
        let (along, across) = match self.axis {
            Axis::X => place,
            Axis::Y => (place.1, place.0),
        };
        let length = self.length.max(1);
        let number = ring_number(length, along % length);
        let rotation = self.rotation(across);
        let (first, last) = (run_start(self.pieces, length, number), run_start(self.pieces, length, number + 1));
        (first..last).map(|piece| (piece + rotation) % self.pieces.max(1)).collect()
    }

    /// The elements of a piece of a dimension.
    pub fn elements_of(&self, size: u64, piece: u64) -> Vec<u64> {
        even_runs(size, self.pieces, piece).indices().collect()
    }
}
