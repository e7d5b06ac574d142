//! Reduce-scatter and all-gather: a payload in pieces, each of which has an owner on its line.
//!
//! A core takes one stream at a time, so what counts is how many words it has to take. In a reduce-scatter over `n`
//! members every piece takes `n - 1` combinations, each with a word that some core takes: `n - 1` pieces a member at
//! least. Chains of neighbours that converge on the owners reach it in the mean, but their two directions follow one
//! another in every member: the inner ones take `n + 1` pieces while the ends wait. A ring takes `n - 1` pieces
//! everywhere and at the same time. So where all members own a piece, pieces go round ([`Owners::All`]); where a few
//! neighbours do, chains converge on them ([`Owners::Neighbours`]), and what they own goes back by multicast.
//!
//! Nobody has published such kernels on a wafer: all of this is ours.

use serde::Serialize;

use crate::buffer::{BufferId, Color};
use crate::layout::{Field, Layout, Place};
use crate::movement::{Element, Key, keys};
use crate::program::Program;
use crate::region::{Axis, Region};
use crate::step::ReduceOperator;

/// Wavelets of a piece that go round at a time on a machine whose routers have queues of `queue` words. Each member
/// sends so many before it takes the first, so that ramp and queues between two neighbours must hold them: else the
/// ring stands still. A piece of more goes round in several turns. As the fabric has it, they hold 10 on WSE-2 and 20
/// on WSE-3; and a ring is busy all the time from 6 and 12 on. Silicon has not been asked.
pub const fn ring_words(queue: u64) -> u64 {
    let words = 4 * queue;
    if words == 0 { 1 } else { words }
}

/// Who owns the pieces of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Owners {
    /// Every member one. Pieces go round: each member sends to the next, and the last one back to the first.
    All {
        /// Wavelets of a piece that go round at a time; see [`ring_words`].
        words: u64,
    },
    /// Neighbouring members, one each.
    Neighbours {
        /// Index of the first of them.
        first: u64,
        /// How many.
        count: u64,
    },
}

/// A payload in pieces along the lines of a region, in segments of `count` members side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pieces {
    /// Direction of the lines.
    pub axis: Axis,
    /// Members of a segment.
    pub count: u64,
    /// Hops between neighbouring members.
    pub stride: u64,
    /// Hops from the start of a line to its first member.
    pub offset: u64,
    /// Who owns a piece.
    pub owners: Owners,
    /// What is read: all of the payload in a reduce-scatter, a piece in an all-gather. It stays as it is.
    pub source: BufferId,
    /// What is written: a piece, or all of it. Which elements a piece has, the owner's layout says.
    pub target: BufferId,
    /// Of a ring: two for the way to the next member, in turn, and one for the way back. Of chains: two a direction. Of
    /// multicasts: one for each owner.
    pub colors: Vec<Color>,
}

/// Each member of a segment has partial results of the whole payload; its owner ends with the result of a piece.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReduceScatter {
    /// What travels between whom.
    pub pieces: Pieces,
    /// How values are combined.
    pub operator: ReduceOperator,
}

/// Each owner begins with a piece; all members of its segment end with all pieces.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AllGather {
    /// What travels between whom.
    pub pieces: Pieces,
}

/// Who takes part in a segment, by their places along the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parties {
    /// Those who own a piece.
    pub owners: Vec<u64>,
    /// Those who hold, or get, the whole payload: of a multicast all whom it passes.
    pub members: Vec<u64>,
}

/// What a piece does along a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It gathers what the members hold of it, and ends at its owner.
    Reduce,
    /// It begins at its owner and is left with everybody.
    Gather,
}

/// Words of a piece on their way along a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Place of the owner along the line.
    pub owner: u64,
    /// Places of the cores that handle it, in order; of a multicast the owner's alone.
    pub path: Vec<u64>,
    /// The color from each of them to the next one.
    pub colors: Vec<Color>,
    /// First and last place that a multicast reaches.
    pub reaches: Option<(u64, u64)>,
    /// Each core handles the flows in the order of their turn, and in one turn in the order of its place in their
    /// paths.
    pub turn: u64,
    /// First of the piece's words.
    pub first: u64,
    /// How many.
    pub words: u64,
}

impl Flow {
    /// How many streams carry it.
    pub fn streams(&self) -> usize {
        if self.reaches.is_some() { 1 } else { self.path.len().saturating_sub(1) }
    }
}

impl Pieces {
    /// From the start of a segment to that of the next, in hops.
    fn period(&self) -> u64 {
        self.count.max(1).saturating_mul(self.stride.max(1))
    }

    /// The segments of a line.
    pub fn segments(&self, line: u64, purpose: Purpose) -> Vec<Parties> {
        (0..line.div_ceil(self.period())).map(|segment| self.segment(segment, line, purpose)).collect()
    }

    /// A segment of a line by its number. The first one is never cut short where another follows.
    pub fn segment(&self, number: u64, line: u64, purpose: Purpose) -> Parties {
        let (count, stride, start) = (self.count.max(1), self.stride.max(1), number * self.period());
        let places = (0..count).map(|member| start + self.offset + member * stride);
        let mut members: Vec<u64> = places.take_while(|place| *place < line).collect();
        // The root of a group that the end of the line cuts short before it is its last member, as in chains.
        let is_short = (members.len() as u64) < count && start + (members.len() as u64) * stride < line;
        if is_short && matches!(self.owners, Owners::Neighbours { .. }) && purpose == Purpose::Reduce {
            members.push(line - 1);
        }
        let owners = match self.owners {
            Owners::All { .. } => return Parties { owners: members.clone(), members },
            Owners::Neighbours { first, count } => members.iter().skip(first as usize).take(count as usize).copied(),
        };
        match purpose {
            Purpose::Reduce => Parties { owners: owners.collect(), members },
            Purpose::Gather => {
                Parties { owners: owners.collect(), members: (start..line.min(start + self.period())).collect() }
            }
        }
    }

    fn color(&self, index: usize) -> Color {
        self.colors.get(index % self.colors.len().max(1)).copied().unwrap_or(Color(0))
    }

    /// All flows of a line, for pieces of `words`. Those of a reduce-scatter to neighbours come in an order in which
    /// each core begins what it does; those of a ring wait for one another in a circle, and have none.
    pub fn flows(&self, line: u64, purpose: Purpose, words: u64) -> Vec<Flow> {
        let mut flows = Vec::new();
        for parties in self.segments(line, purpose).iter().filter(|parties| parties.members.len() > 1) {
            match (self.owners, purpose) {
                (Owners::All { words: most }, _) => {
                    self.ring(&parties.members, purpose, [words, most.max(1)], &mut flows);
                }
                (Owners::Neighbours { .. }, Purpose::Reduce) => self.chains(parties, words, &mut flows),
                (Owners::Neighbours { .. }, Purpose::Gather) => self.multicasts(parties, words, &mut flows),
            }
        }
        flows
    }

    /// As many of the flows as go all the ways that they go, for who asks for ways alone: a ring goes round for every
    /// piece.
    pub fn ways(&self, line: u64, purpose: Purpose) -> Vec<Flow> {
        let mut flows = Vec::new();
        for Parties { owners, members } in self.segments(line, purpose).iter().filter(|all| all.members.len() > 1) {
            match (self.owners, purpose) {
                (Owners::All { .. }, _) => {
                    // All but the last edge before its owner, which is on the way of the next piece.
                    flows.extend([0, 1].map(|owner| self.around(members, owner, purpose)));
                }
                (Owners::Neighbours { .. }, Purpose::Reduce) => {
                    let (first, last) = (owners.first(), owners.last());
                    let down = first.and_then(|first| self.chain(members, *first, true));
                    let up = last.and_then(|last| self.chain(members, *last, false));
                    flows.extend(down.into_iter().chain(up));
                }
                (Owners::Neighbours { .. }, Purpose::Gather) => {
                    self.multicasts(&Parties { owners: owners.clone(), members: members.clone() }, 1, &mut flows);
                }
            }
        }
        flows
    }

    /// The piece of member `k` begins at `k + 1` and ends at `k` (reduce), or begins at `k` and ends at `k - 1`
    /// (gather).
    fn around(&self, members: &[u64], k: usize, purpose: Purpose) -> Flow {
        let length = members.len();
        let begin = match purpose {
            Purpose::Reduce => k + 1,
            Purpose::Gather => k,
        };
        let path = (begin..begin + length).map(|index| index % length);
        let color = |from: usize| if from + 1 == length { self.color(2) } else { self.color(from % 2) };
        Flow {
            owner: members.get(k).copied().unwrap_or(0),
            colors: path.clone().take(length - 1).map(color).collect(),
            path: path.filter_map(|index| members.get(index).copied()).collect(),
            reaches: None,
            turn: 0,
            first: 0,
            words: 1,
        }
    }

    /// All pieces of a ring, in its turns.
    fn ring(&self, members: &[u64], purpose: Purpose, [words, most]: [u64; 2], flows: &mut Vec<Flow>) {
        let turns = words.div_ceil(most).max(1);
        for turn in 0..turns {
            let [first, end] = [turn, turn + 1].map(|turn| words * turn / turns);
            let all = (0..members.len()).map(|k| self.around(members, k, purpose));
            flows.extend(all.map(|flow| Flow { turn, first, words: end - first, ..flow }));
        }
    }

    /// Downwards the farthest owner's piece first, then upwards the nearest one's: in this order each core that does
    /// both is never without what it takes next, and nobody waits in a circle.
    fn chains(&self, Parties { owners, members }: &Parties, words: u64, flows: &mut Vec<Flow>) {
        for downwards in [true, false] {
            for (number, owner) in owners.iter().enumerate() {
                let Some(chain) = self.chain(members, *owner, downwards) else { continue };
                let turn = (number + if downwards { 0 } else { owners.len() }) as u64;
                flows.push(Flow { turn, words, ..chain });
            }
        }
    }

    /// The way to an owner from the last member downwards, or from the first one upwards; nothing where it is that one.
    fn chain(&self, members: &[u64], owner: u64, downwards: bool) -> Option<Flow> {
        let along = members.iter().copied().enumerate();
        let on_way = along.filter(|(_, place)| if downwards { *place >= owner } else { *place <= owner });
        let mut path: Vec<(usize, u64)> = on_way.collect();
        if downwards {
            path.reverse();
        }
        if path.len() < 2 {
            return None;
        }
        let color = |(index, _): &(usize, u64)| self.color(if downwards { 2 + index % 2 } else { index % 2 });
        Some(Flow {
            owner,
            colors: path.iter().take(path.len() - 1).map(color).collect(),
            path: path.into_iter().map(|(_, place)| place).collect(),
            reaches: None,
            turn: 0,
            first: 0,
            words: 1,
        })
    }

    fn multicasts(&self, Parties { owners, members }: &Parties, words: u64, flows: &mut Vec<Flow>) {
        let (Some(low), Some(high)) = (members.first(), members.last()) else { return };
        for (number, owner) in owners.iter().enumerate() {
            flows.push(Flow {
                owner: *owner,
                path: vec![*owner],
                colors: vec![self.color(number)],
                reaches: Some((*low, *high)),
                turn: number as u64,
                first: 0,
                words,
            });
        }
    }
}

/// The elements of a piece, and where each member of its segment has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// Place of the owner along the line.
    pub owner: u64,
    /// Elements of the piece at its owner: of the target in a reduce-scatter, of the source in an all-gather.
    pub piece: Vec<Element>,
    /// For each member by its place, the same elements of the whole payload there; an all-gather may leave out some.
    pub whole: Vec<(u64, Vec<Option<Element>>)>,
}

/// What the layouts say of the pieces along a line of a region; nothing where one of the buffers has none.
///
/// # Errors
/// Where a member has no partial result of an element, or wants one that nobody owns.
pub fn shares(
    program: &Program,
    region: Region,
    pieces: &Pieces,
    purpose: Purpose,
    line: u64,
) -> Option<Result<Vec<Share>, String>> {
    let layout = |buffer: BufferId| program.buffer_of(buffer).layout.as_ref();
    let (piece, whole) = match purpose {
        Purpose::Reduce => (pieces.target, pieces.source),
        Purpose::Gather => (pieces.source, pieces.target),
    };
    let lying = Lying { region, axis: pieces.axis, line, piece: layout(piece)?, whole: layout(whole)? };
    let name = &program.buffer_of(whole).name;
    let segments = pieces.segments(region.along(pieces.axis), purpose);
    let shares = segments.iter().map(|Parties { owners, members }| {
        let shares: Vec<Share> = owners.iter().map(|owner| lying.share(*owner, members)).collect();
        lying.check(members, &shares, purpose).map_err(|problem| format!("'{name}': {problem}"))?;
        Ok(shares)
    });
    Some(shares.collect::<Result<Vec<_>, String>>().map(|shares| shares.concat()))
}

/// How a piece and the whole payload lie along a line.
struct Lying<'a> {
    region: Region,
    axis: Axis,
    line: u64,
    piece: &'a Layout,
    whole: &'a Layout,
}

impl Lying<'_> {
    fn place(&self, layout: &Layout, index: u64) -> Option<Place> {
        match self.axis {
            Axis::X => layout.place(self.region.x + index, self.region.y + self.line),
            Axis::Y => layout.place(self.region.x + self.line, self.region.y + index),
        }
    }

    /// The elements of a field in a place, and the name of each.
    fn elements(&self, layout: &Layout, field: (u32, &Field), index: u64) -> Vec<(Element, (Key, u32))> {
        let Some(place) = self.place(layout, index) else { return Vec::new() };
        let numbered = (0u32..).zip(keys(field.1, place));
        numbered.map(|(number, key)| (Element { field: field.0, number }, key)).collect()
    }

    fn share(&self, owner: u64, members: &[u64]) -> Share {
        let mut share =
            Share { owner, piece: Vec::new(), whole: members.iter().map(|member| (*member, Vec::new())).collect() };
        for (number, field) in (0u32..).zip(&self.piece.fields) {
            let piece = self.elements(self.piece, (number, field), owner);
            let of_name = (0u32..).zip(&self.whole.fields).find(|(_, whole)| whole.name == field.name);
            for (member, whole) in &mut share.whole {
                let mut here = of_name.map_or_else(Vec::new, |field| self.elements(self.whole, field, *member));
                here.sort_unstable_by_key(|(_, key)| *key);
                let find = |key: &(Key, u32)| {
                    let at = here.binary_search_by_key(key, |(_, key)| *key).ok()?;
                    here.get(at).map(|(element, _)| *element)
                };
                whole.extend(piece.iter().map(|(_, key)| find(key)));
            }
            share.piece.extend(piece.into_iter().map(|(element, _)| element));
        }
        share
    }

    fn check(&self, members: &[u64], shares: &[Share], purpose: Purpose) -> Result<(), String> {
        for member in members {
            let here = || shares.iter().flat_map(|share| share.whole.iter().filter(|(place, _)| place == member));
            let found = here().flat_map(|(_, elements)| elements).filter(|element| element.is_some()).count() as u64;
            let [wanted, what] = match purpose {
                Purpose::Reduce => [here().map(|(_, elements)| elements.len() as u64).sum(), 0],
                Purpose::Gather => [self.place(self.whole, *member).map_or(0, |place| self.whole.count(place)), 1],
            };
            if found != wanted {
                let problem = ["has no partial result of", "wants from the pieces, which do not hold them once each,"];
                return Err(format!(
                    "the member at {member} along the line {} {} elements",
                    problem[what as usize],
                    wanted.abs_diff(found)
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn pieces(count: u64, owners: Owners) -> Pieces {
        let colors = (0..8).map(Color).collect();
        let (source, target) = (BufferId::NONE, BufferId::NONE);
        Pieces { axis: Axis::X, count, stride: 1, offset: 0, owners, source, target, colors }
    }

    /// Every piece meets every member of its segment once on its way to its owner.
    #[test]
    fn pieces_meet_every_member_once() {
        for line in [2, 5, 12, 17] {
            for owners in [Owners::All { words: 4 }, Owners::Neighbours { first: 2, count: 3 }] {
                for count in [2, 4, 5, 12] {
                    let pieces = pieces(count, owners);
                    let mut met: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
                    for flow in pieces.flows(line, Purpose::Reduce, 10) {
                        assert_eq!(flow.path.last(), Some(&flow.owner));
                        assert_eq!(flow.colors.len() + 1, flow.path.len());
                        met.entry((flow.owner, flow.first)).or_default().extend(&flow.path[..flow.path.len() - 1]);
                    }
                    for Parties { owners: of, members } in pieces.segments(line, Purpose::Reduce) {
                        for owner in of.iter().filter(|_| members.len() > 1) {
                            let mut others = met[&(*owner, 0)].clone();
                            others.push(*owner);
                            others.sort_unstable();
                            assert_eq!(others, members, "{owners:?}, {count} of {line}");
                        }
                    }
                }
            }
        }
    }

    /// [`Pieces::ways`] goes from the same places to the same places on the same colors as all flows.
    #[test]
    fn ways_are_those_of_all_flows() {
        let edges = |flows: Vec<Flow>| -> BTreeSet<(u64, u64, Color)> {
            let edges = flows.iter().flat_map(|flow| match flow.reaches {
                Some((low, high)) => vec![(low, high, flow.colors[0])],
                None => {
                    flow.path.windows(2).zip(&flow.colors).map(|(edge, color)| (edge[0], edge[1], *color)).collect()
                }
            });
            edges.collect()
        };
        for line in [2, 5, 12, 17] {
            for owners in [Owners::All { words: 4 }, Owners::Neighbours { first: 2, count: 3 }] {
                for (count, purpose) in
                    [2, 4, 5, 12].into_iter().flat_map(|count| [(count, Purpose::Reduce), (count, Purpose::Gather)])
                {
                    let pieces = pieces(count, owners);
                    let all = pieces.flows(line, purpose, 10);
                    assert_eq!(edges(pieces.ways(line, purpose)), edges(all), "{owners:?}, {count} of {line}");
                }
            }
        }
    }

    #[test]
    fn the_turns_of_a_ring_carry_a_piece_once() {
        let flows = pieces(5, Owners::All { words: 4 }).flows(5, Purpose::Gather, 10);
        let of_first: Vec<(u64, u64)> =
            flows.iter().filter(|flow| flow.owner == 0).map(|flow| (flow.first, flow.words)).collect();
        assert_eq!(of_first, [(0, 3), (3, 3), (6, 4)]);
        assert!(flows.iter().all(|flow| flow.path.len() == 5 && flow.path[0] == flow.owner));
    }
}
