//! Reductions over lines of processing elements, written in the language.
//!
//! Two-level (K-tree, K = 2) reduce as published with WaferLLM (OSDI 2025): inside every group two chains converge on
//! the group's middle member; the group roots do the same among themselves over routes that pass straight through the
//! others; the middle root multicasts the result.

use serde::Serialize;
use thiserror::Error;

use crate::buffer::{BufferId, Color};
use crate::layout::Place;
use crate::pieces::{AllGather, Owners, Pieces, ReduceScatter};
use crate::program::{ColorPurpose, Node, Program};
use crate::region::{Axis, Region};
use crate::step::{Action, Broadcast, ChainReduce, Multicast, ReduceOperator, Root, Segment, Step, Style};

/// Colors of a reduction along one axis: reused by all reductions along it, since they never run at the same time.
#[derive(Debug, Clone)]
struct Colors {
    /// Four of the groups, four of their roots, two of multicasts, one after the other.
    first: u32,
    /// Four for each level beyond the second.
    deeper: Vec<Vec<Color>>,
}

/// Colors one after the other.
fn range(first: u32, count: u32) -> Vec<Color> {
    (first..first + count).map(Color).collect()
}

impl Colors {
    fn groups(&self) -> Vec<Color> {
        range(self.first, 4)
    }

    fn roots(&self) -> Vec<Color> {
        range(self.first + 4, 4)
    }

    fn multicast(&self) -> Vec<Color> {
        range(self.first + 8, 2)
    }

    fn level(&self, level: usize) -> Vec<Color> {
        match level {
            0 => self.groups(),
            1 => self.roots(),
            more => self.deeper.get(more - 2).cloned().unwrap_or_default(),
        }
    }
}

/// Both axes need 4 + 4 + 2 colors each: 20 in all, as the published decode kernel for WSE-2 holds them.
fn colors(program: &mut Program, axis: Axis) -> Colors {
    named(program, 20);
    Colors { first: if axis == Axis::X { 0 } else { 10 }, deeper: Vec::new() }
}

/// Names of the colors of two levels along both axes, and of transits ([`transit_colors`]); other purposes come behind
/// them.
const FIXED: u32 = 24;

/// The same for a tree of more levels.
fn colors_of_levels(program: &mut Program, axis: Axis, levels: usize) -> Colors {
    let mut all = colors(program, axis);
    for level in 2..levels as u32 {
        all.deeper.push(more_colors(program, ColorPurpose::Level(axis, level), 4));
    }
    all
}

fn more_colors(program: &mut Program, purpose: ColorPurpose, count: u32) -> Vec<Color> {
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
fn transits(program: &mut Program, axis: Axis) -> u32 {
    let first = if axis == Axis::X { 20 } else { 22 };
    named(program, first + 2);
    first
}

/// The group count for a line of `length`: the one with the shortest critical path, which is near `sqrt(length)`
/// (stages = half a group + half the groups). Ties take the smaller count. At least 1.
pub fn default_groups(length: u64) -> u64 {
    ((length as f64).sqrt().round() as u64).max(1)
}

/// Members of the two levels of a line in `groups` groups, as published. Group counts outside `1..=line` are brought
/// inside.
pub fn two_level_sizes(line: u64, groups: u64) -> [u64; 2] {
    let line = line.max(1);
    let members = line.div_ceil(groups.clamp(1, line));
    [members, line.div_ceil(members)]
}

/// A level of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Members of a full group.
    pub members: u64,
    /// Which member is its root.
    pub root: Root,
}

/// A tree over a line: chains in groups of neighbours, chains among their roots, and so on until one root is left. A
/// tree of two levels with middle roots is WaferLLM's; nobody has published a deeper one, or one whose roots lie
/// elsewhere, on a wafer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tree {
    line: u64,
    levels: Vec<Level>,
}

/// Why a line cannot be divided so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TreeError {
    /// Several roots are left at the end, or none.
    #[error(
        "the levels of a tree reduce {reached} members and the line has {line}: the product of their members must reach it"
    )]
    Short {
        /// The product of the levels' members.
        reached: u64,
        /// The line's length.
        line: u64,
    },
    /// The last group of a level ends before its root.
    #[error(
        "level {level} of the tree: the line of {line} members ends before the root of its last group, and no member there \
         can stand for it; take another size or a lower root"
    )]
    NoRoot {
        /// Which level, from 0.
        level: usize,
        /// The line's length.
        line: u64,
    },
    /// Only the root of roots may differ by line: the chains above would have to begin elsewhere in each line.
    #[error("level {level} of the tree has roots that differ by line; only the last level may")]
    Staggered {
        /// Which level, from 0.
        level: usize,
    },
}

impl Tree {
    /// Two levels in `groups` groups with middle roots, as published. Group counts outside `1..=line` are brought
    /// inside.
    pub fn two_level(line: u64, groups: u64) -> Self {
        let levels = two_level_sizes(line, groups).map(|members| Level { members, root: Root::Middle });
        Self { line: line.max(1), levels: levels.to_vec() }
    }

    /// Levels from the groups of neighbours to the roots of roots.
    ///
    /// # Errors
    /// Where they leave several roots, or a group has none.
    pub fn new(line: u64, levels: Vec<Level>) -> Result<Self, TreeError> {
        let line = line.max(1);
        let reached = levels.iter().fold(1u64, |reached, level| reached.saturating_mul(level.members.max(1)));
        if reached < line {
            return Err(TreeError::Short { reached, line });
        }
        let tree = Self { line, levels };
        for (level, below) in tree.levels.iter().enumerate().rev().skip(1) {
            if matches!(below.root, Root::Staggered(_)) {
                return Err(TreeError::Staggered { level });
            }
            let (start, actual) = tree.last_root(level, 0);
            if actual != (start + tree.offset(level + 1)).min(line - 1) {
                return Err(TreeError::NoRoot { level, line });
            }
        }
        Ok(tree)
    }

    /// Levels of these many members, at most all that are left, each with its root in the middle; a last level takes
    /// the rest.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_sizes(line: u64, sizes: &[u64]) -> Result<Self, TreeError> {
        let level = |members: u64| Level { members, root: Root::Middle };
        let (mut levels, mut reached) = (Vec::new(), 1u64);
        for members in sizes {
            let members = (*members).clamp(1, line.div_ceil(reached).max(1));
            levels.push(level(members));
            reached = reached.saturating_mul(members);
        }
        if reached < line {
            levels.push(level(line.div_ceil(reached)));
        }
        Self::new(line, levels)
    }

    /// The same with the roots of roots elsewhere.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_root(mut self, root: Root) -> Result<Self, TreeError> {
        if let Some(last) = self.levels.last_mut() {
            last.root = root;
        }
        Self::new(self.line, self.levels)
    }

    /// Members of the line.
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// From the groups of neighbours to the roots of roots.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Hops between the members of a level.
    fn stride(&self, level: usize) -> u64 {
        self.levels.iter().take(level).fold(1, |stride, level| stride.saturating_mul(level.members.max(1)))
    }

    /// From the start of a group to its first member in a level: where the root of the first group below lies.
    fn offset(&self, level: usize) -> u64 {
        let below = self.levels.iter().enumerate().take(level);
        below.map(|(index, level)| level.root.index(level.members, level.members, 0) * self.stride(index)).sum()
    }

    /// Where the last group of a level begins, and the place of its root on a line of the region.
    fn last_root(&self, level: usize, line: u64) -> (u64, u64) {
        let (stride, last) = (self.stride(level), self.line - 1);
        let Some(Level { members, root }) = self.levels.get(level).copied() else { return (0, 0) };
        let start = last / stride.saturating_mul(members.max(1)).max(1) * stride * members.max(1);
        let here = (self.line - start).div_ceil(stride);
        let index = root.index(members, here, line);
        if level > 0 && index + 1 == here {
            return (start, self.last_root(level - 1, line).1);
        }
        (start, (start + index * stride + self.offset(level)).min(last))
    }

    /// Place of the root of roots along a line of the region.
    pub fn root(&self, line: u64) -> u64 {
        self.levels.len().checked_sub(1).map_or(0, |top| self.last_root(top, line).1)
    }

    /// Its chains in order.
    fn chains<'t>(
        &'t self,
        along: &'t Along,
        members: Members,
        colors: &'t Colors,
    ) -> impl Iterator<Item = ChainReduce> + 't {
        let Members { stride, first, segment } = members;
        let levels = self.levels.iter().enumerate().filter(|(_, level)| level.members > 1);
        levels.map(move |(index, level)| ChainReduce {
            axis: along.axis,
            count: level.members,
            stride: self.stride(index) * stride,
            offset: self.offset(index) * stride + first,
            segment,
            root: level.root,
            operator: along.operator,
            style: Style::Streaming,
            payload: along.payload,
            colors: colors.level(index),
        })
    }
}

/// The members of a tree on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Members {
    /// Hops between neighbours.
    stride: u64,
    /// Hops from the start of a segment to its first member.
    first: u64,
    /// The segments of a line; each has a tree of its own.
    segment: Segment,
}

impl Members {
    /// All places of a line.
    const LINE: Self = Self { stride: 1, first: 0, segment: Segment::LINE };
}

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
    let colors = colors_of_levels(program, along.axis, tree.levels.len());
    // Whoever reduces sends the sum back in one step more.
    let mut nodes = Vec::with_capacity(tree.levels.len() + 1);
    let chains = tree.chains(&along, Members::LINE, &colors);
    nodes.extend(chains.map(|chain| Node::Step(Step { region, action: Action::ChainReduce(chain) })));
    nodes
}

/// Roots of a tree that share its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitRoots {
    /// How many neighbours of the last level: its root, and those around it.
    pub roots: u64,
    /// What each ends with: its piece of the payload, as the layout says.
    pub target: BufferId,
}

/// Where the roots of a split reduction stand along their line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootPlaces {
    /// Place of the first.
    pub first: u64,
    /// Hops to the next.
    pub stride: u64,
    /// How many.
    pub count: u64,
}

impl Tree {
    /// The places of `roots` neighbouring roots of the last level; at most as many as it has members.
    pub fn split_places(&self, roots: u64) -> RootPlaces {
        let Some((top, last)) = self.levels.iter().enumerate().next_back() else {
            return RootPlaces { first: 0, stride: 1, count: 1 };
        };
        let count = roots.clamp(1, self.whole_groups());
        let split = SplitRoots { roots: count, target: BufferId(0) };
        let stride = self.stride(top);
        RootPlaces { first: self.offset(top) + split.first(last, self.whole_groups()) * stride, stride, count }
    }

    /// Members of the last level that stand where their group's root would: the end of the line may cut the last group
    /// short before it. At least one.
    fn whole_groups(&self) -> u64 {
        let Some((top, last)) = self.levels.iter().enumerate().next_back() else { return 1 };
        let end = self.line.saturating_sub(1).saturating_sub(self.offset(top));
        (end / self.stride(top).max(1) + 1).clamp(1, last.members.max(1))
    }
}

impl SplitRoots {
    /// Index of the first root among the members of the last level, `whole` of which can be roots.
    fn first(&self, level: &Level, whole: u64) -> u64 {
        let index = level.root.index(level.members, level.members, 0);
        index.saturating_sub(self.roots / 2).min(whole.saturating_sub(self.roots))
    }
}

/// Reduces along the lines of a rectangle to neighbouring roots of the last level of a tree, each of which ends with a
/// piece.
pub fn split_reduce(program: &mut Program, region: Region, tree: &Tree, along: Along, split: SplitRoots) -> Vec<Node> {
    let colors = colors_of_levels(program, along.axis, tree.levels.len());
    let Some((top, last)) = tree.levels.iter().enumerate().next_back() else { return Vec::new() };
    let below = Tree { line: tree.line, levels: tree.levels[..top].to_vec() };
    let mut nodes = Vec::with_capacity(tree.levels.len() + 1);
    let step = |action: Action| Node::Step(Step { region, action });
    nodes.extend(below.chains(&along, Members::LINE, &colors).map(|chain| step(Action::ChainReduce(chain))));
    let pieces = Pieces {
        axis: along.axis,
        count: last.members,
        stride: tree.stride(top),
        offset: tree.offset(top),
        owners: Owners::Neighbours { first: split.first(last, tree.whole_groups()), count: split.roots },
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
    let colors = colors_of_levels(program, along.axis, tree.levels.len());
    let mut steps = Vec::with_capacity(stride as usize * (tree.levels.len() + 1));
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
        colors: colors.groups(),
    });
    let broadcast = Action::Multicast(Multicast {
        axis,
        from: 0,
        span: count,
        stride: 1,
        style: Style::Library,
        payload,
        colors: colors.multicast(),
    });
    vec![program.step(reduce), program.step(broadcast)]
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
        colors: colors.groups(),
    });
    let cast = Multicast {
        axis,
        from: 0,
        span: segment,
        stride: 1,
        style: Style::Streaming,
        payload,
        colors: colors.multicast(),
    };
    vec![program.step(reduce), program.step(Action::Multicast(cast))]
}
