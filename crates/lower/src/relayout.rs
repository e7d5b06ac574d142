//! A movement between two layouts along the lines of a region, with what it takes.
//!
//! Which element goes from whom to whom follows from the two layouts ([`wafersim_program::movement()`]). For the time of a
//! relayout a few numbers count: hops and wavelets on its critical path. Here they are in closed form for the shapes of
//! movement that layers have; tests hold them to the enumerated movement and to the fabric.

use wafersim_program::{Action, Axis, BufferId, End, Joining, Node, Relayout, collective};

use crate::writer::Writer;

/// The shape of a movement along a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Any movement: the farthest way in hops, and the elements that the busiest place lets pass or takes. Never too short.
    Through {
        /// Farthest way of any piece, in hops.
        hops: u64,
        /// Elements over the busiest link in one direction.
        elements: u64,
    },
    /// The same where the wavelets have been counted piece by piece.
    Pieces {
        /// Farthest way of any piece, in hops.
        hops: u64,
        /// Wavelets that the busiest place lets pass or takes.
        wavelets: u64,
    },
    /// Owners side by side, `elements` each, whose pieces one of them (or a place next to them) takes: so many owners before
    /// it on the line and behind it.
    Gather {
        /// Owners before it.
        before: u64,
        /// Owners behind it.
        behind: u64,
        /// Elements of an owner.
        elements: u64,
    },
    /// The first `owners` of `members` places side by side have `elements` each, and all places take all.
    AllGather {
        /// Places that own something; at most all.
        owners: u64,
        /// Places.
        members: u64,
        /// Elements of an owner.
        elements: u64,
    },
}

/// Hops and wavelets of a critical path, as in [`Relayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CriticalPath {
    pub hops: u64,
    pub wavelets: u64,
    pub joining: Joining,
}

impl Way {
    /// The critical path, where `wavelets` says how many carry so many elements.
    ///
    /// A place takes what comes from before it, then what comes from behind; on each side the nearest owner's piece first
    /// (`wafersim_fabric::circuit::laid`).
    pub fn critical_path(self, wavelets: impl Fn(u64) -> u64) -> CriticalPath {
        match self {
            Self::Through { hops, elements } => {
                CriticalPath { hops, wavelets: wavelets(elements), joining: Joining::default() }
            }
            Self::Pieces { hops, wavelets } => CriticalPath { hops, wavelets, joining: Joining::default() },
            Self::Gather { before: 0, behind: 0, .. }
            | Self::AllGather { owners: 0, .. }
            | Self::AllGather { members: 0 | 1, .. } => CriticalPath::default(),
            // One side after the other; where the second one is much the longer, its farthest piece comes last in any case.
            Self::Gather { before, behind, elements } => {
                let piece = wavelets(elements);
                let (joined, after) = if behind > 2 * before { (behind - 1, before) } else { (before - 1, behind) };
                let sooner = if behind > 2 * before { after } else { 0 };
                let later = after - sooner;
                CriticalPath {
                    hops: 1,
                    wavelets: piece.saturating_mul(1 + later),
                    joining: Joining { hops: joined, wavelets: piece.saturating_mul(joined + sooner) },
                }
            }
            // Either the last place takes the first owner's piece last; or the piece of the last owner, which sets off backwards
            // when its neighbour has taken all from before, comes to the first place last.
            Self::AllGather { owners, members, elements } => {
                let piece = wavelets(elements);
                let others = owners.min(members - 1);
                let (onwards, back) = (members - others, owners - 1);
                let (hops, joined) =
                    if onwards >= back { (onwards, others - 1) } else { (back, owners.saturating_sub(2)) };
                CriticalPath {
                    hops,
                    wavelets: piece,
                    joining: Joining { hops: joined, wavelets: piece.saturating_mul(joined) },
                }
            }
        }
    }
}

impl Writer<'_> {
    /// A relayout from one buffer to another.
    pub fn relayout(&mut self, axis: Axis, source: BufferId, target: BufferId, way: Way) -> Node {
        self.moved(axis, (source, target), way, false)
    }

    /// A relayout whose pieces are added up where they arrive.
    pub fn adding(&mut self, axis: Axis, source: BufferId, target: BufferId, way: Way) -> Node {
        self.moved(axis, (source, target), way, true)
    }

    fn moved(&mut self, axis: Axis, (source, target): (BufferId, BufferId), way: Way, accumulate: bool) -> Node {
        let data_type = self.program.buffer_of(source).data_type;
        let CriticalPath { hops, wavelets, joining } = way.critical_path(|elements| data_type.wavelets(elements));
        let colors = collective::transit_colors(&mut self.program, axis);
        let farthest = End::First;
        let moved = Relayout { axis, hops, wavelets, joining, farthest, source, target, accumulate, colors };
        self.program.step(Action::Relayout(moved))
    }
}
