//! Which color names collectives take: those of an axis are reused by all reductions along it, since they never run at
//! the same time.

use crate::buffer::Color;
use crate::program::{ColorPurpose, Program};
use crate::region::Axis;

/// Colors of a reduction along one axis: reused by all reductions along it, since they never run at the same time.
#[derive(Debug, Clone)]
pub(super) struct Colors {
    /// Four of the groups, four of their roots, two of multicasts, one after the other.
    pub(super) first: u32,
    /// Four for each level beyond the second.
    deeper: Vec<Vec<Color>>,
}

/// Colors one after the other.
fn range(first: u32, count: u32) -> Vec<Color> {
    (first..first + count).map(Color).collect()
}

impl Colors {
    pub(super) fn groups(&self) -> Vec<Color> {
        range(self.first, 4)
    }

    pub(super) fn roots(&self) -> Vec<Color> {
        range(self.first + 4, 4)
    }

    pub(super) fn multicast(&self) -> Vec<Color> {
        range(self.first + 8, 2)
    }

    pub(super) fn level(&self, level: usize) -> Vec<Color> {
        match level {
            0 => self.groups(),
            1 => self.roots(),
            more => self.deeper.get(more - 2).cloned().unwrap_or_default(),
        }
    }
}

/// Both axes need 4 + 4 + 2 colors each: 20 in all, as the published decode kernel for WSE-2 holds them.
pub(super) fn colors(program: &mut Program, axis: Axis) -> Colors {
    named(program, 20);
    Colors { first: if axis == Axis::X { 0 } else { 10 }, deeper: Vec::new() }
}

/// Names of the colors of two levels along both axes, and of transits ([`transit_colors`]); other purposes come behind
/// them.
const FIXED: u32 = 24;

/// The same for a tree of more levels.
pub(super) fn colors_of_levels(program: &mut Program, axis: Axis, levels: usize) -> Colors {
    let mut all = colors(program, axis);
    for level in 2..levels as u32 {
        all.deeper.push(more_colors(program, ColorPurpose::Level(axis, level), 4));
    }
    all
}

pub(super) fn more_colors(program: &mut Program, purpose: ColorPurpose, count: u32) -> Vec<Color> {
    named(program, FIXED);
    program.colors_for(purpose, count)
}

/// Makes the program know color names up to here.
fn named(program: &mut Program, end: u32) {
    let known = program.color_count();
    if known < end {
        program.name_colors(end - known);
    }
}

/// Colors of scatters and gathers along an axis: one for each direction, beside those of the reductions.
pub fn transit_colors(program: &mut Program, axis: Axis) -> Vec<Color> {
    range(transits(program, axis), 2)
}

/// The first of them.
pub(super) fn transits(program: &mut Program, axis: Axis) -> u32 {
    let first = if axis == Axis::X { 20 } else { 22 };
    named(program, first + 2);
    first
}
