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
    /// enumerated: its pieces depend on both layouts, and it carries its busiest link and farthest way instead.
    /// A rotating chain is enumerated for the root at member 0.
    pub fn transfers(&self) -> Vec<Transfer> {
        let (axis, payload, line_sends) = match &self.action {
            Action::ChainReduce(chain) => {
                (chain.axis, chain.payload, chain_sends(chain, self.region.along(chain.axis)))
            }
            Action::Multicast(cast) => (cast.axis, cast.payload, multicast_sends(cast, self.region.along(cast.axis))),
            Action::Shift(shift) => (shift.axis, shift.payload, shift_sends(shift, self.region.along(shift.axis))),
            Action::Relayout(_) | Action::Compute(_) | Action::RouteChange(_) | Action::Synchronise(_) => {
                return Vec::new();
            }
        };
        let place = |line: u64, index: u64| place(&self.region, axis, line, index);
        (0..self.region.along(axis.across()))
            .flat_map(|line| {
                line_sends.iter().map(move |&(from, to, color)| Transfer {
                    from: place(line, from),
                    to: place(line, to),
                    color,
                    payload,
                })
            })
            .collect()
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

/// The members of each chain of a line: positions along the axis, the last chain cut short by the line's end.
fn chains(chain: &ChainReduce, line: u64) -> Vec<Vec<u64>> {
    let period = (chain.count * chain.stride).max(1);
    (0..line.div_ceil(period))
        .map(|segment| {
            let start = segment * period;
            let mut members: Vec<u64> =
                (0..chain.count).map(|member| (start + chain.offset + member * chain.stride).min(line - 1)).collect();
            members.dedup();
            members
        })
        .collect()
}

fn chain_sends(chain: &ChainReduce, line: u64) -> Vec<(u64, u64, Color)> {
    let mut sends = Vec::new();
    for members in chains(chain, line) {
        let root = match chain.root {
            Root::Middle => (chain.count / 2).min(members.len().saturating_sub(1) as u64) as usize,
            Root::First | Root::Rotating => 0,
        };
        for index in 0..members.len() {
            if index < root {
                sends.push((members[index], members[index + 1], color(&chain.colors, index % 2)));
            } else if index > root {
                sends.push((members[index], members[index - 1], color(&chain.colors, 2 + index % 2)));
            }
        }
    }
    sends
}

fn multicast_sends(cast: &Multicast, line: u64) -> Vec<(u64, u64, Color)> {
    let span = cast.span.max(1);
    let mut sends = Vec::new();
    for start in (0..line).step_by(span as usize) {
        let from = (start + cast.from).min(line - 1);
        for to in start..(start + span).min(line) {
            if to != from {
                sends.push((from, to, color(&cast.colors, usize::from(to > from))));
            }
        }
    }
    sends
}

/// Even members send two up and odd members two down; the ends turn round (sources.md#waferllm, MeshGEMM).
fn shift_sends(shift: &Shift, line: u64) -> Vec<(u64, u64, Color)> {
    let last = line - 1;
    (0..line)
        .filter_map(|index| {
            if !shift.ring {
                return (index < last).then(|| (index, index + 1, color(&shift.colors, (index % 2) as usize)));
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
            (to != index).then(|| (index, to, color(&shift.colors, direction + (index / 2 % 2) as usize)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use wafersim_spec::DataType;

    use super::*;
    use crate::program::{Node, Program};
    use crate::step::ReduceOperator;
    use crate::{collective, step};

    fn reduce_to_roots(line: u64, groups: u64) -> BTreeMap<u64, BTreeSet<u64>> {
        let mut program = Program::new("test", Region::new(0, 0, line, 1));
        let payload = program.buffer("payload", 1, DataType::Fp16);
        let nodes = collective::group_reduce(&mut program, Axis::X, groups, payload, ReduceOperator::Add);
        // Which members' values each member has gathered; a chain delivers outermost members first.
        let mut gathered: BTreeMap<u64, Vec<u64>> = (0..line).map(|member| (member, vec![member])).collect();
        for node in nodes {
            let Node::Step(step) = node else { panic!("a reduction is made of steps") };
            let mut sends = step.transfers();
            sends.sort_by_key(|send| {
                let (from, to) = (send.from.0, send.to.0);
                if to > from { from as i64 } else { -(from as i64) }
            });
            for send in sends {
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

    #[test]
    fn every_partial_sum_reaches_the_root_once() {
        for (line, groups) in [(1, 1), (2, 1), (7, 3), (16, 4), (17, 4), (23, 5), (64, 8), (100, 10), (151, 12)] {
            let roots = reduce_to_roots(line, groups);
            let tree = collective::TwoLevel::new(line, groups);
            assert_eq!(roots.keys().copied().collect::<Vec<_>>(), vec![tree.root], "line {line}, {groups} groups");
            assert_eq!(roots[&tree.root].len() as u64, line);
        }
    }

    #[test]
    fn every_member_of_a_line_receives_the_multicast() {
        let cast = Multicast {
            axis: Axis::X,
            from: 5,
            span: 12,
            style: step::Style::Streaming,
            payload: BufferId(0),
            colors: vec![Color(0), Color(1)],
        };
        let receivers: BTreeSet<u64> = multicast_sends(&cast, 12).into_iter().map(|(_, to, _)| to).collect();
        assert_eq!(receivers.len(), 11);
        assert_eq!(cast.longest_way(), 6);
    }

    #[test]
    fn an_interleaved_ring_is_one_cycle_of_at_most_two_hops() {
        for line in 2..40u64 {
            let shift = Shift { axis: Axis::X, ring: true, payload: BufferId(0), colors: (0..4).map(Color).collect() };
            let next: BTreeMap<u64, u64> =
                shift_sends(&shift, line).into_iter().map(|(from, to, _)| (from, to)).collect();
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
