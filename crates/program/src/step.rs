//! The words of the language: what one step does, over which processing elements, with what payload on which colors.

use serde::Serialize;

use crate::buffer::{BufferId, Color};
use crate::formula::Formula;
use crate::pieces::{AllGather, Pieces, Purpose, ReduceScatter};
use crate::region::{Axis, Region};
use crate::work::{Math, Work};

/// How partial values are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReduceOperator {
    /// Sum.
    Add,
    /// Maximum.
    Max,
    /// Of pairs (value, number) the one with the larger value; of equals the one with the smaller number.
    ArgMax,
}

/// Where a chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// Two chains converge on the middle member (index `count / 2`).
    Middle,
    /// One chain runs to member 0.
    First,
    /// The root moves by one member each time the step runs (the transposed product of prefill attention).
    Rotating,
    /// Two chains converge on the member of this index; of unequal ones the root takes the shorter first.
    At(u64),
    /// As [`Root::At`], each line of the region with a root of its own, so that what follows across the lines finds its
    /// sources on several of them.
    Staggered(Stagger),
}

/// Roots that differ by line: that of line `l` is at index `first + (l * step) mod roots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Stagger {
    /// The lowest index.
    pub first: u64,
    /// By how much the next line's root is further on.
    pub step: u64,
    /// How many indices there are.
    pub roots: u64,
}

impl Stagger {
    /// Index of the root of a line, counted from the region's first.
    pub const fn of(&self, line: u64) -> u64 {
        if self.roots == 0 {
            return self.first;
        }
        self.first + ((line % self.roots) * (self.step % self.roots)) % self.roots
    }
}

impl Root {
    /// Index of the root in a chain of `members` on a line of the region.
    pub const fn index(self, count: u64, members: u64, line: u64) -> u64 {
        let wanted = match self {
            Self::Middle => count / 2,
            Self::First | Self::Rotating => 0,
            Self::At(index) => index,
            Self::Staggered(stagger) => stagger.of(line),
        };
        let last = members.saturating_sub(1);
        if wanted < last { wanted } else { last }
    }

    /// Whether a root at `index` of `members` takes the chain from below before that from above. A middle root does: it
    /// is the longer one by at most a member (as published). Others take the shorter one first, while the longer is on
    /// its way.
    pub const fn takes_lower_first(self, index: u64, members: u64) -> bool {
        match self {
            Self::Middle | Self::First | Self::Rotating => true,
            Self::At(_) | Self::Staggered(_) => index <= members.saturating_sub(1).saturating_sub(index),
        }
    }
}

/// How a transfer is programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// One fabric-to-fabric vector operation per processing element; wavelets stream through.
    Streaming,
    /// The vendor's collectives library: tasks set routes up and launch an operation, whose wavelets stream through.
    Library,
}

/// A part of a line that chains do not leave: the columns of one head, or of one expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Hops from the start of a segment to that of the next.
    pub length: u64,
    /// Hops from the start of a segment to its last member. It stands for a group that the end of the segment cuts
    /// short before its root.
    pub last: u64,
}

impl Segment {
    /// The whole line.
    pub const LINE: Self = Self { length: u64::MAX, last: u64::MAX };
}

/// Chains of processing elements, `stride` hops apart, each receiving, combining and sending on, until the root of each
/// chain holds the result. A line of the region longer than one chain holds several chains side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChainReduce {
    /// Direction of the chains.
    pub axis: Axis,
    /// Members of the longest chain.
    pub count: u64,
    /// Hops between neighbouring members.
    pub stride: u64,
    /// Hops from the start of a segment to its first member (the root of the first group when group roots are reduced).
    pub offset: u64,
    /// The segments of a line; each has chains of its own.
    pub segment: Segment,
    /// Where each chain ends.
    pub root: Root,
    /// How values are combined.
    pub operator: ReduceOperator,
    /// How it is programmed.
    pub style: Style,
    /// What is reduced, in place.
    pub payload: BufferId,
    /// Two colors a direction, used in turn by even and odd members, so that no router has two sources on one color.
    pub colors: Vec<Color>,
}

/// One member of each segment of a line sends, all others receive; routers copy in passing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Multicast {
    /// Direction of the lines.
    pub axis: Axis,
    /// Index of the sender along the axis.
    pub from: u64,
    /// Length of a segment of a line, each with a sender of its own; the line's length unless the region is divided.
    pub span: u64,
    /// Hops between the members of a segment, the sender among them; those between them let the payload pass by.
    pub stride: u64,
    /// How it is programmed.
    pub style: Style,
    /// What is sent.
    pub payload: BufferId,
    /// One color for each direction.
    pub colors: Vec<Color>,
}

/// One processing element of the region sends, all others receive; routers copy in passing, those of its row into their
/// columns as well. Nobody has published a kernel that does so on a wafer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Broadcast {
    /// Column of the sender, counted from the region's first.
    pub column: u64,
    /// Its row.
    pub row: u64,
    /// What is sent.
    pub payload: BufferId,
    /// One color.
    pub colors: Vec<Color>,
}

/// Every processing element sends to its neighbour on a logical ring and receives from the other one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shift {
    /// Direction of the lines.
    pub axis: Axis,
    /// Whether the line is a ring folded by interleaving (neighbours at most two hops apart), or open (one hop).
    pub ring: bool,
    /// What moves.
    pub payload: BufferId,
    /// Two colors a direction.
    pub colors: Vec<Color>,
}

impl Shift {
    /// Hops between logical neighbours.
    pub const fn hops(&self) -> u64 {
        if self.ring { 2 } else { 1 }
    }
}

/// An end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Where positions begin: west or north.
    #[default]
    First,
    /// Where they end: east or south.
    Last,
}

/// Hops and wavelets that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Path {
    /// Hops.
    pub hops: u64,
    /// Wavelets.
    pub wavelets: u64,
}

/// Data moves from one layout to another: every line carries pieces of it past processing elements that keep their
/// part.
///
/// Where the buffers have layouts, who sends what to whom follows from these ([`crate::movement()`]).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Relayout {
    /// Direction of the lines.
    pub axis: Axis,
    /// Hops on its path.
    pub hops: u64,
    /// Wavelets on its path.
    pub wavelets: u64,
    /// Other paths, any of which may be the longest: where several owners send to one place, the farthest piece is on
    /// its way while the others are taken.
    pub others: Vec<Path>,
    /// The end from which the piece with the farthest way comes. Where the buffers have layouts, these say it.
    pub farthest: End,
    /// What is read.
    pub source: BufferId,
    /// What is written.
    pub target: BufferId,
    /// Whether pieces that arrive at one place are added (combine) rather than stored side by side (dispatch).
    pub accumulate: bool,
    /// One color a direction.
    pub colors: Vec<Color>,
}

/// Vector work of every processing element of the region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compute {
    /// The mathematics.
    pub math: Math,
    /// Buffers read.
    pub reads: Vec<BufferId>,
    /// Buffer written.
    pub writes: BufferId,
    /// The operations of the fullest processing element.
    pub work: Vec<Work>,
    /// Operands and parameters, in programs that can be executed with numbers.
    pub formula: Option<Formula>,
}

/// Routes are rewritten at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteChange {
    /// Changes one after the other.
    pub changes: u64,
}

/// Neighbours wait for each other between the steps of a systolic loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Synchronise {
    /// Hops to the neighbour waited for.
    pub hops: u64,
    /// Tasks activated by completions.
    pub completions: u64,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Chains of partial results.
    ChainReduce(ChainReduce),
    /// One to all of a line.
    Multicast(Multicast),
    /// One to all of a rectangle.
    Broadcast(Broadcast),
    /// Each owner ends with a piece of the reduced payload.
    ReduceScatter(ReduceScatter),
    /// Each owner begins with a piece, and all end with all.
    AllGather(AllGather),
    /// All to their neighbours.
    Shift(Shift),
    /// Between layouts.
    Relayout(Relayout),
    /// Vector work.
    Compute(Compute),
    /// New routes.
    RouteChange(RouteChange),
    /// Waiting for neighbours.
    Synchronise(Synchronise),
}

/// One action over a region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Who takes part.
    pub region: Region,
    /// What they do.
    pub action: Action,
}

impl Action {
    /// What it sends in pieces, and to what purpose.
    pub const fn pieces(&self) -> Option<(&Pieces, Purpose)> {
        match self {
            Self::ReduceScatter(scatter) => Some((&scatter.pieces, Purpose::Reduce)),
            Self::AllGather(gather) => Some((&gather.pieces, Purpose::Gather)),
            _ => None,
        }
    }
}

impl ChainReduce {
    /// Members of the two chains that converge on the root of a line of the region, the longer first.
    pub fn sides(&self, line: u64) -> [u64; 2] {
        let last = self.count.saturating_sub(1);
        let below = match self.root {
            Root::Rotating => return [last.min(1), 0],
            root => root.index(self.count, self.count, line),
        };
        [below.max(last - below), below.min(last - below)]
    }

    /// After how many lines the roots come again: 1 where they do not differ.
    pub const fn different_lines(&self) -> u64 {
        match self.root {
            Root::Staggered(stagger) if stagger.roots > 1 => stagger.roots,
            _ => 1,
        }
    }
}

impl Multicast {
    /// Whether the payload is for the place at `index` of a line.
    pub const fn reaches(&self, index: u64) -> bool {
        let stride = if self.stride == 0 { 1 } else { self.stride };
        let span = if self.span == 0 { 1 } else { self.span };
        (index % span) % stride == self.from % stride
    }

    /// Longest way of the payload in hops.
    pub fn longest_way(&self) -> u64 {
        self.from.max(self.span.saturating_sub(1).saturating_sub(self.from))
    }
}

impl Broadcast {
    /// Longest way of the payload in hops, over a region.
    pub fn longest_way(&self, region: Region) -> u64 {
        let far = |from: u64, length: u64| from.max(length.saturating_sub(1).saturating_sub(from));
        far(self.column, region.columns) + far(self.row, region.rows)
    }
}
