//! The words of the language: what one step does, over which processing elements, with what payload on which colors.

use serde::Serialize;

use crate::buffer::{BufferId, Color};
use crate::formula::Formula;
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
}

/// How a transfer is programmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// One fabric-to-fabric vector operation per processing element; wavelets stream through.
    Streaming,
    /// The vendor's collectives library: a task per word.
    Library,
}

/// A part of a line that chains do not leave: the columns of one head, or of one expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Hops from the start of a segment to that of the next.
    pub length: u64,
    /// Hops from the start of a segment to its last member. It stands for a group that the end of the segment cuts short
    /// before its root.
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

/// Data moves from one layout to another: every line carries pieces of it past processing elements that keep their part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Relayout {
    /// Direction of the lines.
    pub axis: Axis,
    /// Farthest way of any piece, in hops.
    pub hops: u64,
    /// Wavelets that cross the busiest link of a line.
    pub wavelets: u64,
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

impl ChainReduce {
    /// Longest way of a partial result: (processing elements that combine, hops), for one run.
    pub fn longest_way(&self) -> (u64, u64) {
        let stages = match self.root {
            Root::Middle => self.count / 2,
            Root::First => self.count.saturating_sub(1),
            Root::Rotating => 1,
        };
        (stages, stages * self.stride)
    }

    /// Chains that end at one root: 2 in the middle of a line of three or more, 1 of two, 0 of a single member.
    pub fn sides(&self) -> u64 {
        match self.root {
            Root::Middle => self.count.saturating_sub(1).min(2),
            Root::First | Root::Rotating => self.count.saturating_sub(1).min(1),
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
