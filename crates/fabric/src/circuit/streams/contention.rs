//! What tells which steps are to be run together, wavelet by wavelet.

use wafersim_program::Axis;

use crate::circuit::lowered::{Lowered, Part};
use crate::circuit::route::{Lines, Stream};

/// Streams want the same link, color or core at the same time: that needs arbitration, wavelet by wavelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contended {
    /// Within what is being run.
    Here,
    /// With what streams before have left.
    Earlier(Met),
    /// What is run by itself does not come to its end.
    Stuck,
}

/// What is still in use, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) what: Used,
    /// Column and row.
    pub(super) place: (u32, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// By its index.
    Link(usize),
    Color(u16),
}

impl Contended {
    pub(super) const fn on_link(direction: usize, place: (u32, u32)) -> Self {
        Self::Earlier(Met { what: Used::Link(direction), place })
    }

    pub(super) const fn on_color(color: u16, place: (u32, u32)) -> Self {
        Self::Earlier(Met { what: Used::Color(color), place })
    }
}

impl Met {
    /// How many streams of a step use it.
    fn uses(&self, lowered: &Lowered, at: usize) -> usize {
        let (x, y) = self.place;
        let of_lines = |lines: &Lines| {
            if !lines.area.contains(x, y) {
                return 0;
            }
            let used = |stream: &&Stream| match self.what {
                Used::Color(color) => {
                    let here = || (stream.low..=stream.high).contains(&lines.position(x, y));
                    stream.color == color && (lines.spread.is_some() || here())
                }
                // Of a broadcast, any: one step more in a window changes nothing but the time that it takes.
                Used::Link(_) if lines.spread.is_some() => true,
                Used::Link(direction) => {
                    let position = lines.position(x, y);
                    let crossed = if direction & 1 == 0 {
                        (stream.source..stream.high).contains(&position)
                    } else {
                        stream.low < position && position <= stream.source
                    };
                    (lines.axis == Axis::Y) == (direction >= 2) && crossed
                }
            };
            lines.streams.iter().filter(used).count()
        };
        let parts = lowered.stage(at).map_or(&[][..], |stage| &stage.parts);
        let uses = parts.iter().map(|part| if let Part::Carry(lines) = part { of_lines(lines) } else { 0 });
        uses.sum()
    }

    /// The step that has used it last, as one at a place of the schedule comes to it: that one itself where it is
    /// `within` it and does so more than once.
    pub(super) fn since(&self, lowered: &Lowered, at: usize, within: bool) -> usize {
        if within && self.uses(lowered, at) > 1 {
            return at;
        }
        (0..at).rev().find(|&before| self.uses(lowered, before) > 0).unwrap_or(0)
    }
}

/// Steps that contend, wherever the schedule holds them one after the other: they are run wavelet by wavelet.
#[derive(Default)]
pub(super) struct Contention(Vec<Vec<u32>>);

impl Contention {
    /// How many steps from a place of the schedule on are to be run wavelet by wavelet; nothing where none.
    pub(super) fn steps(&self, schedule: &[u32]) -> Option<usize> {
        self.0.iter().filter(|known| schedule.starts_with(known)).map(Vec::len).max()
    }

    pub(super) fn add(&mut self, steps: &[u32]) {
        self.0.push(steps.to_vec());
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
