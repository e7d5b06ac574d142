//! Reductions over lines of processing elements, written in the language.
//!
//! Two-level (K-tree, K = 2) reduce as published with WaferLLM (OSDI 2025): inside every group two chains converge on the
//! group's middle member; the group roots do the same among themselves over routes that pass straight through the others;
//! the middle root multicasts the result.

use crate::buffer::{BufferId, Color};
use crate::program::{Node, Program};
use crate::region::Axis;
use crate::step::{Action, ChainReduce, Multicast, ReduceOperator, Root, Segment, Style};

/// Colors of a reduction along one axis: reused by all reductions along it, since they never run at the same time.
#[derive(Debug, Clone)]
struct Colors {
    groups: Vec<Color>,
    roots: Vec<Color>,
    multicast: Vec<Color>,
}

/// Both axes need 4 + 4 + 2 colors each: 20 in all, as the published decode kernel for WSE-2 holds them.
fn colors(program: &mut Program, axis: Axis) -> Colors {
    while program.color_count() < 20 {
        program.new_colors(1);
    }
    let first = if axis == Axis::X { 0 } else { 10 };
    let range = |from: u32, to: u32| (from..to).map(Color).collect();
    Colors {
        groups: range(first, first + 4),
        roots: range(first + 4, first + 8),
        multicast: range(first + 8, first + 10),
    }
}

/// Colors of scatters and gathers along an axis: one for each direction, beside those of the reductions.
pub fn transit_colors(program: &mut Program, axis: Axis) -> Vec<Color> {
    let first = if axis == Axis::X { 20 } else { 22 };
    while program.color_count() < first + 2 {
        program.new_colors(1);
    }
    (first..first + 2).map(Color).collect()
}

/// The group count for a line of `length`: the one with the shortest critical path, which is near `sqrt(length)`
/// (stages = half a group + half the groups). Ties take the smaller count. At least 1.
pub fn default_groups(length: u64) -> u64 {
    ((length as f64).sqrt().round() as u64).max(1)
}

/// The geometry of a two-level reduction of `line` members in `groups` groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoLevel {
    /// Number of groups, at least 1 and at most the line's length.
    pub groups: u64,
    /// Members of the largest group.
    pub group_size: u64,
    /// Index of the root of roots along the line.
    pub root: u64,
}

impl TwoLevel {
    /// Divides a line. Group counts outside `1..=line` are brought inside.
    pub fn new(line: u64, groups: u64) -> Self {
        let line = line.max(1);
        let group_size = line.div_ceil(groups.clamp(1, line));
        let groups = line.div_ceil(group_size);
        let root = (groups / 2 * group_size + group_size / 2).min(line - 1);
        Self { groups, group_size, root }
    }
}

/// The chains of a two-level reduction whose members are `stride` hops apart and begin `first` hops from the start of
/// their segment: those in the groups, then that of the roots.
fn chains(
    program: &Program,
    axis: Axis,
    tree: TwoLevel,
    (stride, first, segment): (u64, u64, Segment),
    colors: &Colors,
    (payload, operator): (BufferId, ReduceOperator),
) -> Vec<Node> {
    let in_groups = (tree.group_size, stride, first, &colors.groups);
    let of_roots = (tree.groups, tree.group_size * stride, tree.group_size / 2 * stride + first, &colors.roots);
    [in_groups, of_roots]
        .into_iter()
        .filter(|(count, ..)| *count > 1)
        .map(|(count, stride, offset, colors)| {
            program.step(Action::ChainReduce(ChainReduce {
                axis,
                count,
                stride,
                offset,
                segment,
                root: Root::Middle,
                operator,
                style: Style::Streaming,
                payload,
                colors: colors.clone(),
            }))
        })
        .collect()
}

/// Reduces `payload` along `axis` of the program's region to the root of roots, in `groups` groups.
pub fn group_reduce(
    program: &mut Program,
    axis: Axis,
    groups: u64,
    payload: BufferId,
    operator: ReduceOperator,
) -> Vec<Node> {
    let tree = TwoLevel::new(program.region.along(axis), groups);
    let colors = colors(program, axis);
    chains(program, axis, tree, (1, 0, Segment::LINE), &colors, (payload, operator))
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
        let from = TwoLevel::new(program.region.along(axis), groups).root;
        steps.push(multicast(program, axis, from, payload));
    }
    steps
}

/// Sends `payload` from the member at index `from` to the whole line.
pub fn multicast(program: &mut Program, axis: Axis, from: u64, payload: BufferId) -> Node {
    let colors = colors(program, axis).multicast;
    let span = program.region.along(axis);
    program.step(Action::Multicast(Multicast { axis, from, span, stride: 1, style: Style::Streaming, payload, colors }))
}

/// Reduce and multicast over segments of `segment` members of each line, `stride` hops apart (the columns of one head, or
/// the places that share its sequence). Where members are more than a hop apart, others lie between them with reductions of
/// their own along the same links and colors: these run in turn, one for each of the `stride` positions.
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
    let tree = TwoLevel::new(segment, default_groups(segment));
    let colors = colors(program, axis);
    let mut steps = Vec::new();
    for first in 0..stride.max(1) {
        let within = Segment { length: segment * stride, last: (segment - 1) * stride + first };
        steps.extend(chains(program, axis, tree, (stride, first, within), &colors, (payload, operator)));
        steps.push(program.step(Action::Multicast(Multicast {
            axis,
            from: tree.root * stride + first,
            span: segment * stride,
            stride,
            style: Style::Streaming,
            payload,
            colors: colors.multicast.clone(),
        })));
    }
    steps
}

/// The vendor library's all-reduce: one chain to the first member, then a broadcast, both by tasks.
pub fn library_all_reduce(program: &mut Program, axis: Axis, payload: BufferId, operator: ReduceOperator) -> Vec<Node> {
    let count = program.region.along(axis);
    if count <= 1 {
        return Vec::new();
    }
    let colors = colors(program, axis);
    let reduce = Action::ChainReduce(ChainReduce {
        axis,
        count,
        stride: 1,
        offset: 0,
        segment: Segment::LINE,
        root: Root::First,
        operator,
        style: Style::Library,
        payload,
        colors: colors.groups,
    });
    let broadcast = Action::Multicast(Multicast {
        axis,
        from: 0,
        span: count,
        stride: 1,
        style: Style::Library,
        payload,
        colors: colors.multicast,
    });
    vec![program.step(reduce), program.step(broadcast)]
}

/// A plain chain to the first member of each segment of `segment` members, and a multicast back (WaferLLM's prefill norms
/// and softmax).
pub fn chain_all_reduce(
    program: &mut Program,
    axis: Axis,
    segment: u64,
    payload: BufferId,
    operator: ReduceOperator,
) -> Vec<Node> {
    if segment <= 1 {
        return Vec::new();
    }
    let colors = colors(program, axis);
    let reduce = Action::ChainReduce(ChainReduce {
        axis,
        count: segment,
        stride: 1,
        offset: 0,
        segment: Segment::LINE,
        root: Root::First,
        operator,
        style: Style::Streaming,
        payload,
        colors: colors.groups,
    });
    let cast = Multicast {
        axis,
        from: 0,
        span: segment,
        stride: 1,
        style: Style::Streaming,
        payload,
        colors: colors.multicast,
    };
    vec![program.step(reduce), program.step(Action::Multicast(cast))]
}
