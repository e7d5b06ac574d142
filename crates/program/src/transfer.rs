//! Who sends what to whom: the transfers of a step, enumerated.
//!
//! What the fabric engine lowers and what the tests check against: every partial sum reaches its root exactly once,
//! and no router has two sources on one color.

use crate::buffer::{BufferId, Color};
use crate::region::{Axis, Region};
use crate::step::{Action, ChainReduce, Multicast, Root, Shift, Step};

/// One message: the payload of a buffer from one processing element to another, straight along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transfer {
    /// Column and row of the sender.
    pub from: (u64, u64),
    /// Column and row of the receiver.
    pub to: (u64, u64),
    /// Color that carries it.
    pub color: Color,
    /// What is sent.
    pub payload: BufferId,
}

impl Step {
    /// The transfers of one run of the step; none for compute, route changes and synchronisation. A relayout is not
    /// enumerated: its pieces depend on both layouts, and it carries its busiest link and farthest way instead. Nor are
    /// reduce-scatter and all-gather, whose pieces [`crate::pieces`] lists, and broadcasts, which go round a corner.
    /// A rotating chain is enumerated for the root at member 0. The transfers of a chain come in the order of their
    /// dependence: from its outermost member to the root, and of two sides that one first which the root takes first.
    pub fn transfers(&self) -> Vec<Transfer> {
        let (axis, payload) = match &self.action {
            Action::ChainReduce(chain) => (chain.axis, chain.payload),
            Action::Multicast(cast) => (cast.axis, cast.payload),
            Action::Shift(shift) => (shift.axis, shift.payload),
            Action::Broadcast(_)
            | Action::ReduceScatter(_)
            | Action::AllGather(_)
            | Action::Relayout(_)
            | Action::Compute(_)
            | Action::RouteChange(_)
            | Action::Synchronise(_) => {
                return Vec::new();
            }
        };
        let length = self.region.along(axis);
        let sends = |line: u64| match &self.action {
            Action::ChainReduce(chain) => chain_sends(chain, length, line),
            Action::Multicast(cast) => multicast_sends(cast, length),
            Action::Shift(shift) => shift_sends(shift, length),
            _ => Vec::new(),
        };
        let differ = matches!(&self.action, Action::ChainReduce(ChainReduce { root: Root::Staggered(_), .. }));
        let alike = if differ { Vec::new() } else { sends(0) };
        let place = |line: u64, index: u64| place(&self.region, axis, line, index);
        let lines = 0..self.region.along(axis.across());
        lines
            .flat_map(|line| {
                let sends = if differ { sends(line) } else { alike.clone() };
                sends.into_iter().map(move |LineSend { from, to, color }| Transfer {
                    from: place(line, from),
                    to: place(line, to),
                    color,
                    payload,
                })
            })
            .collect()
    }
}

impl Step {
    /// Hops of a single wavelet of every transfer of a chain reduce, a multicast or a shift, over all lines; of a
    /// multicast every link counts once. 0 for other steps.
    pub(crate) fn hops_along_lines(&self) -> u64 {
        let of = |axis: Axis, hops: &dyn Fn(u64, u64) -> u64| {
            let (length, lines) = (self.region.along(axis), self.region.along(axis.across()));
            (0..lines).map(|line| hops(length, line)).sum::<u64>()
        };
        let ways = |sends: Vec<LineSend>| sends.iter().map(|send| send.from.abs_diff(send.to)).sum::<u64>();
        let alike = |axis: Axis, hops: u64| hops.saturating_mul(self.region.along(axis.across()));
        match &self.action {
            Action::ChainReduce(chain) => match chain.different_lines() {
                1 => alike(chain.axis, ways(chain_sends(chain, self.region.along(chain.axis), 0))),
                _ => of(chain.axis, &|length, line| ways(chain_sends(chain, length, line))),
            },
            Action::Shift(shift) => alike(shift.axis, ways(shift_sends(shift, self.region.along(shift.axis)))),
            Action::Multicast(cast) => {
                let sends = multicast_sends(cast, self.region.along(cast.axis));
                let of_sender = sends.chunk_by(|one, other| one.from == other.from).map(|sends| {
                    let from = sends.first().map_or(0, |send| send.from);
                    let farthest = |reach: (u64, u64), send: &LineSend| (reach.0.min(send.to), reach.1.max(send.to));
                    let (low, high) = sends.iter().fold((from, from), farthest);
                    high - low
                });
                alike(cast.axis, of_sender.sum())
            }
            _ => 0,
        }
    }
}

fn place(region: &Region, axis: Axis, line: u64, index: u64) -> (u64, u64) {
    match axis {
        Axis::X => (region.x + index, region.y + line),
        Axis::Y => (region.x + line, region.y + index),
    }
}

fn color(colors: &[Color], index: usize) -> Color {
    colors.get(index % colors.len().max(1)).copied().unwrap_or(Color(0))
}

/// The members of each chain of a line: positions along the axis, the last chain of a segment cut short by its end. A
/// member that stands for a group which is cut short is its last one.
fn chains(chain: &ChainReduce, line: u64) -> Vec<Vec<u64>> {
    let length = chain.segment.length.clamp(1, line.max(1));
    let period = (chain.count * chain.stride).max(1);
    let of_segment = |segment: u64| {
        let start = segment * length;
        let end = (start + length).min(line);
        let last = start.saturating_add(chain.segment.last).min(end - 1);
        (start..end).step_by(period as usize).map(move |group| {
            let groups = (0..chain.count).map(|member| group + member * chain.stride).filter(|place| *place < end);
            let mut members: Vec<u64> = groups.map(|place| (place + chain.offset).min(last)).collect();
            members.dedup();
            members
        })
    };
    (0..line.div_ceil(length)).flat_map(of_segment).collect()
}

/// A send between two places of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LineSend {
    from: u64,
    to: u64,
    color: Color,
}

/// The sends of the chains on a line of `length` with the number `line` across it.
fn chain_sends(chain: &ChainReduce, length: u64, line: u64) -> Vec<LineSend> {
    let mut sends = Vec::new();
    for members in chains(chain, length) {
        let count = members.len() as u64;
        let root = chain.root.index(chain.count, count, line);
        let lower_first = chain.root.takes_lower_first(root, count);
        let root = root as usize;
        let send = |from: usize, to: usize, first: usize| {
            let color = color(&chain.colors, first + from % 2);
            LineSend { from: members[from], to: members[to], color }
        };
        let below = (0..root).map(|index| send(index, index + 1, 0));
        let above = (root + 1..members.len()).rev().map(|index| send(index, index - 1, 2));
        if lower_first {
            sends.extend(below.chain(above));
        } else {
            sends.extend(above.chain(below));
        }
    }
    sends
}

fn multicast_sends(cast: &Multicast, line: u64) -> Vec<LineSend> {
    let span = cast.span.max(1);
    let mut sends = Vec::new();
    for start in (0..line).step_by(span as usize) {
        let from = (start + cast.from).min(line - 1);
        for to in start..(start + span).min(line) {
            if to != from && cast.reaches(to) {
                sends.push(LineSend { from, to, color: color(&cast.colors, usize::from(to > from)) });
            }
        }
    }
    sends
}

/// Even members send two up and odd members two down; the ends turn round (sources.md#waferllm, MeshGEMM).
fn shift_sends(shift: &Shift, line: u64) -> Vec<LineSend> {
    let last = line - 1;
    (0..line)
        .filter_map(|index| {
            if !shift.ring {
                let color = color(&shift.colors, (index % 2) as usize);
                return (index < last).then_some(LineSend { from: index, to: index + 1, color });
            }
            let (to, direction) = if index % 2 == 0 {
                if index + 2 <= last {
                    (index + 2, 0)
                } else {
                    (if index == last { last.saturating_sub(1) } else { last }, 0)
                }
            } else if index >= 2 {
                (index - 2, 2)
            } else {
                (0, 2)
            };
            let to = if index % 2 == 0 && index == last && last > 0 { last - 1 } else { to };
            let color = color(&shift.colors, direction + (index / 2 % 2) as usize);
            (to != index).then_some(LineSend { from: index, to, color })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use wafersim_spec::DataType;

    use super::*;
    use crate::collective::{Level, Tree, TreeError};
    use crate::program::{Node, Program};
    use crate::step::{ReduceOperator, Stagger};
    use crate::{collective, step};

    /// Which members' values each member of a line ends with, of those that end with any; lines lie along x.
    fn gathered(region: Region, nodes: &[Node], line: u64) -> BTreeMap<u64, BTreeSet<u64>> {
        let mut gathered: BTreeMap<u64, Vec<u64>> = (0..region.columns).map(|member| (member, vec![member])).collect();
        for node in nodes {
            let Node::Step(step) = node else { panic!("a reduction is made of steps") };
            for send in step.transfers().into_iter().filter(|send| send.from.1 == line) {
                let moved = gathered.insert(send.from.0, Vec::new()).unwrap_or_default();
                gathered.entry(send.to.0).or_default().extend(moved);
            }
        }
        gathered
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(member, values)| {
                let set: BTreeSet<u64> = values.iter().copied().collect();
                assert_eq!(set.len(), values.len(), "no value is counted twice");
                (member, set)
            })
            .collect()
    }

    fn tree_gathers(region: Region, tree: &Tree, line: u64) {
        let mut program = Program::new("test", region);
        let payload = program.buffer("payload", 1, DataType::Fp16);
        let along = collective::Along { axis: Axis::X, payload, operator: ReduceOperator::Add };
        let nodes = collective::tree_reduce(&mut program, region, tree, along);
        let roots = gathered(region, &nodes, line);
        assert_eq!(roots.keys().copied().collect::<Vec<_>>(), vec![tree.root(line)], "{tree:?}, line {line}");
        assert_eq!(roots[&tree.root(line)].len() as u64, region.columns);
    }

    #[test]
    fn every_partial_sum_reaches_the_root_once() {
        for (line, groups) in [(1, 1), (2, 1), (7, 3), (16, 4), (17, 4), (23, 5), (64, 8), (100, 10), (151, 12)] {
            tree_gathers(Region::new(0, 0, line, 1), &Tree::two_level(line, groups), 0);
        }
        let tree = Tree::of_sizes(755, &[8, 5]).unwrap();
        assert_eq!(tree.levels().iter().map(|level| level.members).collect::<Vec<_>>(), [8, 5, 19]);
        tree_gathers(Region::new(0, 0, 755, 1), &tree, 0);
        assert_eq!(tree.root(0), 9 * 40 + 2 * 8 + 4);
    }

    #[test]
    fn trees_that_lose_a_root_are_refused() {
        assert_eq!(Tree::of_sizes(16, &[4, 3]).unwrap_err(), TreeError::NoRoot { level: 1, line: 16 });
        let level = |members, root| Level { members, root };
        let short = Tree::new(16, vec![level(4, Root::Middle), level(3, Root::Middle)]);
        assert_eq!(short.unwrap_err(), TreeError::Short { reached: 12, line: 16 });
        let stagger = Root::Staggered(Stagger { first: 0, step: 1, roots: 2 });
        let below = Tree::new(16, vec![level(4, stagger), level(4, Root::Middle)]);
        assert_eq!(below.unwrap_err(), TreeError::Staggered { level: 0 });
    }

    proptest::proptest! {
        /// Any tree that is accepted brings every value to one root, whichever that is.
        #[test]
        fn trees_of_any_depth_gather_all(
            line in 1u64..200, sizes in proptest::collection::vec(1u64..9, 0..4), roots in proptest::collection::vec(0u64..9, 5),
            step in 0u64..5,
        ) {
            let Ok(tree) = Tree::of_sizes(line, &sizes) else { return Ok(()) };
            tree_gathers(Region::new(0, 0, line, 1), &tree, 0);
            let at = |(level, root): (&Level, &u64)| Level { root: Root::At(root % level.members), ..*level };
            let levels = tree.levels().iter().zip(&roots).map(at).collect();
            if let Ok(tree) = Tree::new(line, levels) {
                tree_gathers(Region::new(0, 0, line, 1), &tree, 0);
                let top = tree.levels().last().map_or(1, |level| level.members);
                let stagger = Stagger { first: roots[0] % top, step, roots: 1 + roots[1] % (top - roots[0] % top) };
                let tree = tree.with_root(Root::Staggered(stagger)).unwrap();
                for row in 0..6 {
                    tree_gathers(Region::new(0, 0, line, 6), &tree, row);
                }
            }
        }
    }

    #[test]
    fn every_member_of_a_line_receives_the_multicast() {
        let cast = Multicast {
            axis: Axis::X,
            from: 5,
            span: 12,
            stride: 1,
            style: step::Style::Streaming,
            payload: BufferId::NONE,
            colors: vec![Color(0), Color(1)],
        };
        let receivers: BTreeSet<u64> = multicast_sends(&cast, 12).into_iter().map(|send| send.to).collect();
        assert_eq!(receivers.len(), 11);
        assert_eq!(cast.longest_way(), 6);
    }

    #[test]
    fn an_interleaved_ring_is_one_cycle_of_at_most_two_hops() {
        for line in 2..40u64 {
            let shift =
                Shift { axis: Axis::X, ring: true, payload: BufferId::NONE, colors: (0..4).map(Color).collect() };
            let next: BTreeMap<u64, u64> =
                shift_sends(&shift, line).into_iter().map(|send| (send.from, send.to)).collect();
            assert_eq!(next.len() as u64, line, "everybody sends, line {line}");
            let (mut member, mut steps) = (0, 0);
            loop {
                assert!(next[&member].abs_diff(member) <= 2);
                member = next[&member];
                steps += 1;
                if member == 0 {
                    break;
                }
                assert!(steps <= line);
            }
            assert_eq!(steps, line, "one ring through all, line {line}");
        }
    }
}
