//! Reductions over lines of processing elements, written in the language.
//!
//! Two-level (K-tree, K = 2) reduce as published with WaferLLM (OSDI 2025): inside every group two chains converge on
//! the group's middle member; the group roots do the same among themselves over routes that pass straight through the
//! others; the middle root multicasts the result.

mod colors;
mod tree;

pub use colors::transit_colors;
pub use tree::{Level, RootPlaces, SplitRoots, Tree, TreeError, default_groups, two_level_sizes};

use self::colors::{colors, colors_of_levels, more_colors, transits};
use self::tree::Members;
use crate::buffer::{BufferId, Color};
use crate::layout::Place;
use crate::pieces::{AllGather, Owners, Pieces, ReduceScatter};
use crate::program::{ColorPurpose, Node, Program};
use crate::region::{Axis, Region};
use crate::step::{Action, Broadcast, ChainReduce, Multicast, ReduceOperator, Root, Segment, Step, Style};

/// What is reduced along which axis, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Along {
    /// Direction of the lines.
    pub axis: Axis,
    /// What is reduced, in place.
    pub payload: BufferId,
    /// How values are combined.
    pub operator: ReduceOperator,
}

/// Reduces along the lines of a rectangle to the roots of a tree.
pub fn tree_reduce(program: &mut Program, region: Region, tree: &Tree, along: Along) -> Vec<Node> {
    let colors = colors_of_levels(program, along.axis, tree.levels().len());
    // Whoever reduces sends the sum back in one step more.
    let mut nodes = Vec::with_capacity(tree.levels().len() + 1);
    let chains = tree.chains(&along, Members::LINE, &colors);
    nodes.extend(chains.map(|chain| Node::Step(Step { region, action: Action::ChainReduce(chain) })));
    nodes
}

/// Reduces along the lines of a rectangle to neighbouring roots of the last level of a tree, each of which ends with a
/// piece.
pub fn split_reduce(program: &mut Program, region: Region, tree: &Tree, along: Along, split: SplitRoots) -> Vec<Node> {
    let colors = colors_of_levels(program, along.axis, tree.levels().len());
    let Some((top, last)) = tree.levels().iter().enumerate().next_back() else { return Vec::new() };
    let below = tree.below(top);
    let mut nodes = Vec::with_capacity(tree.levels().len() + 1);
    let step = |action: Action| Node::Step(Step { region, action });
    nodes.extend(below.chains(&along, Members::LINE, &colors).map(|chain| step(Action::ChainReduce(chain))));
    let pieces = Pieces {
        axis: along.axis,
        count: last.members,
        stride: tree.stride(top),
        offset: tree.offset(top),
        owners: Owners::Neighbours { first: last.first_root(split.roots, tree.whole_groups()), count: split.roots },
        source: along.payload,
        target: split.target,
        colors: colors.level(top),
    };
    nodes.push(step(Action::ReduceScatter(ReduceScatter { pieces, operator: along.operator })));
    nodes
}

/// A payload that the members of a segment share out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Direction of the lines.
    pub axis: Axis,
    /// Members of a sharing.
    pub count: u64,
    /// Hops between them. Where it is more than one, others lie between them with segments of their own: some run at
    /// the same time ([`RINGS_BESIDE`]), the others follow.
    pub stride: u64,
    /// Wavelets of a piece that go round at a time: [`crate::pieces::ring_words`] of the machine.
    pub words: u64,
    /// What is read.
    pub source: BufferId,
    /// What is written.
    pub target: BufferId,
}

/// Rings whose members lie between each other's that run at the same time: as many as an axis has colors for, three
/// each. In turn they would need no fewer routes: a router on the way of two of them has two.
pub const RINGS_BESIDE: u64 = 4;

impl Sharing {
    /// Its rings, some beside each other: two colors for the way round, in turn, and one for the way back.
    fn rings(&self, program: &mut Program, region: Region, action: impl Fn(Pieces) -> Action) -> Vec<Node> {
        let (first, transit) = (colors(program, self.axis).first, transits(program, self.axis));
        // Ways by the colors of groups and roots; back by those of multicasts, then of transits.
        let back = [first + 9, first + 8, transit, transit + 1];
        let (stride, beside) = (self.stride.max(1), self.stride.clamp(1, RINGS_BESIDE));
        let ring = |(offset, (way, back)): (u64, (u32, u32))| {
            let pieces = Pieces {
                axis: self.axis,
                count: self.count,
                stride,
                offset,
                owners: Owners::All { words: self.words },
                source: self.source,
                target: self.target,
                colors: vec![Color(way), Color(way + 1), Color(back)],
            };
            Node::Step(Step { region, action: action(pieces) })
        };
        let mut nodes = Vec::with_capacity(stride.div_ceil(beside) as usize);
        for offset in (0..stride).step_by(beside as usize) {
            let sets = (first..).step_by(2).zip(back);
            let mut rings: Vec<Node> = (offset..stride).zip(sets).map(ring).collect();
            nodes.push(if rings.len() > 1 { Node::Parallel(rings) } else { rings.remove(0) });
        }
        nodes
    }
}

/// Each member of a segment ends with its piece of the reduced payload.
pub fn reduce_scatter(program: &mut Program, region: Region, sharing: Sharing, operator: ReduceOperator) -> Vec<Node> {
    sharing.rings(program, region, |pieces| Action::ReduceScatter(ReduceScatter { pieces, operator }))
}

/// Each member of a segment begins with a piece, and ends with all of its segment.
pub fn all_gather(program: &mut Program, region: Region, sharing: Sharing) -> Vec<Node> {
    sharing.rings(program, region, |pieces| Action::AllGather(AllGather { pieces }))
}

/// Neighbouring owners of pieces on each line, which all members of the line get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbours {
    /// Direction of the lines.
    pub axis: Axis,
    /// Index of the first owner along the axis.
    pub first: u64,
    /// Hops between owners.
    pub stride: u64,
    /// How many.
    pub count: u64,
    /// A piece.
    pub source: BufferId,
    /// All of them.
    pub target: BufferId,
}

/// The owners send their pieces to all of their line, each by a multicast on a color of its own.
pub fn gather(program: &mut Program, region: Region, owners: Neighbours) -> Node {
    let stride = owners.stride.max(1);
    // One color for each owner, two of them those of multicasts.
    let mut colors = colors(program, owners.axis).multicast();
    let more = owners.count.min(region.along(owners.axis)).saturating_sub(colors.len() as u64);
    if more > 0 {
        colors.extend(more_colors(program, ColorPurpose::Owners(owners.axis), more as u32));
    }
    let pieces = Pieces {
        axis: owners.axis,
        count: region.along(owners.axis).div_ceil(stride),
        stride,
        offset: owners.first % stride,
        owners: Owners::Neighbours { first: owners.first / stride, count: owners.count },
        source: owners.source,
        target: owners.target,
        colors,
    };
    Node::Step(Step { region, action: Action::AllGather(AllGather { pieces }) })
}

/// Reduces `payload` along `axis` of the program's region to the root of roots, in `groups` groups.
pub fn group_reduce(
    program: &mut Program,
    axis: Axis,
    groups: u64,
    payload: BufferId,
    operator: ReduceOperator,
) -> Vec<Node> {
    let tree = Tree::two_level(program.region.along(axis), groups);
    let region = program.region;
    tree_reduce(program, region, &tree, Along { axis, payload, operator })
}

/// Reduces `payload` along `axis` and gives the result to every member of the line.
pub fn all_reduce(
    program: &mut Program,
    axis: Axis,
    groups: u64,
    payload: BufferId,
    operator: ReduceOperator,
) -> Vec<Node> {
    let mut steps = group_reduce(program, axis, groups, payload, operator);
    if program.region.along(axis) > 1 {
        let from = Tree::two_level(program.region.along(axis), groups).root(0);
        steps.push(multicast(program, axis, from, payload));
    }
    steps
}

/// Sends `payload` from the processing element at `(column, row)` of a rectangle to all of it.
pub fn broadcast(program: &mut Program, region: Region, (column, row): Place, payload: BufferId) -> Node {
    let colors = more_colors(program, ColorPurpose::Broadcast, 1);
    Node::Step(Step { region, action: Action::Broadcast(Broadcast { column, row, payload, colors }) })
}

/// Sends `payload` from the member at index `from` to the whole line.
pub fn multicast(program: &mut Program, axis: Axis, from: u64, payload: BufferId) -> Node {
    let colors = colors(program, axis).multicast();
    let span = program.region.along(axis);
    program.step(Action::Multicast(Multicast { axis, from, span, stride: 1, style: Style::Streaming, payload, colors }))
}

/// Reduce and multicast over segments of `segment` members of each line, `stride` hops apart (the columns of one head,
/// or the places that share its sequence). Where members are more than a hop apart, others lie between them with
/// reductions of their own along the same links and colors: these run in turn, one for each of the `stride` positions.
pub fn segment_all_reduce(
    program: &mut Program,
    axis: Axis,
    segment: u64,
    stride: u64,
    payload: BufferId,
    operator: ReduceOperator,
) -> Vec<Node> {
    if segment <= 1 {
        return Vec::new();
    }
    let tree = Tree::two_level(segment, default_groups(segment));
    segment_tree_all_reduce(program, &tree, stride, Along { axis, payload, operator })
}

/// The same by a tree over the members of a segment.
pub fn segment_tree_all_reduce(program: &mut Program, tree: &Tree, stride: u64, along: Along) -> Vec<Node> {
    let (segment, stride) = (tree.line(), stride.max(1));
    if segment <= 1 {
        return Vec::new();
    }
    let colors = colors_of_levels(program, along.axis, tree.levels().len());
    let mut steps = Vec::with_capacity(stride as usize * (tree.levels().len() + 1));
    for first in 0..stride {
        let within = Segment { length: segment * stride, last: (segment - 1) * stride + first };
        let chains = tree.chains(&along, Members { stride, first, segment: within }, &colors);
        steps.extend(chains.map(|chain| program.step(Action::ChainReduce(chain))));
        steps.push(program.step(Action::Multicast(Multicast {
            axis: along.axis,
            from: tree.root(0) * stride + first,
            span: segment * stride,
            stride,
            style: Style::Streaming,
            payload: along.payload,
            colors: colors.multicast(),
        })));
    }
    steps
}

/// The vendor library's all-reduce: one chain to the first member, then a broadcast, both by tasks.
pub fn library_all_reduce(program: &mut Program, axis: Axis, payload: BufferId, operator: ReduceOperator) -> Vec<Node> {
    let line = program.region.along(axis);
    first_all_reduce(program, line, Style::Library, Along { axis, payload, operator })
}

/// A plain chain to the first member of each segment of `segment` members, and a multicast back (WaferLLM's prefill
/// norms and softmax).
pub fn chain_all_reduce(
    program: &mut Program,
    axis: Axis,
    segment: u64,
    payload: BufferId,
    operator: ReduceOperator,
) -> Vec<Node> {
    first_all_reduce(program, segment, Style::Streaming, Along { axis, payload, operator })
}

/// One chain to the first of so many members, and back from it.
fn first_all_reduce(program: &mut Program, members: u64, style: Style, along: Along) -> Vec<Node> {
    let Along { axis, payload, operator } = along;
    if members <= 1 {
        return Vec::new();
    }
    let colors = colors(program, axis);
    let reduce = Action::ChainReduce(ChainReduce {
        axis,
        count: members,
        stride: 1,
        offset: 0,
        segment: Segment::LINE,
        root: Root::First,
        operator,
        style,
        payload,
        colors: colors.groups(),
    });
    let back = Action::Multicast(Multicast {
        axis,
        from: 0,
        span: members,
        stride: 1,
        style,
        payload,
        colors: colors.multicast(),
    });
    vec![program.step(reduce), program.step(back)]
}
