//! A movement between two layouts along the lines of a region, with its farthest way and its busiest link.
//!
//! Which element goes from whom to whom follows from the two layouts ([`wafersim_program::movement()`]). For the time of a
//! relayout only two numbers count: the farthest way, and the wavelets over the busiest link. Here they are found in
//! closed form for layouts whose parts lie in runs along the line; tests hold them to the enumerated movement.

use wafersim_program::{Action, Axis, BufferId, End, Node, Relayout, collective};

use crate::writer::Writer;

/// What a movement takes along a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Farthest way of any piece, in hops.
    pub hops: u64,
    /// Elements over the busiest link in one direction.
    pub elements: u64,
}

impl Writer<'_> {
    /// A relayout from one buffer to another.
    pub fn relayout(&mut self, axis: Axis, source: BufferId, target: BufferId, way: Way) -> Node {
        let wavelets = self.activations().wavelets(way.elements);
        let colors = collective::transit_colors(&mut self.program, axis);
        let hops = way.hops.min(self.region().along(axis).saturating_sub(1));
        let farthest = End::First;
        let moved = Relayout { axis, hops, wavelets, farthest, source, target, accumulate: false, colors };
        self.program.step(Action::Relayout(moved))
    }
}
