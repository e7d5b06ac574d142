//! Which elements a relayout moves, from whom to whom: the consequence of two layouts.
//!
//! Along a line of the region every place gets what the target's layout says from the nearest place that holds it (the one
//! with the smaller index of two as near), or, where pieces are added up, from all that hold it. An owner sends the elements
//! that others above it want in one run up the line, and those that others below it want in one down; who passes on the way
//! takes what it wants. Which elements these are is known before the program runs.

use std::collections::{BTreeMap, BTreeSet};

use crate::buffer::BufferId;
use crate::layout::{Field, Layout, Place};
use crate::program::Program;
use crate::region::{Axis, Region};
use crate::step::Relayout;

/// Neighbouring lines of a region on which the same is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinesAlike {
    /// Index of the first line.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What is sent along each, in the order of [`Movement::pieces`].
    pub pieces: Vec<Piece>,
}

/// An element of a buffer in one place: the field, and its number among the field's elements there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Index of the field.
    pub field: u32,
    /// Number of the element, in the order in which they lie.
    pub number: u32,
}

/// What an owner sends along a line in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Index of the owner along the line.
    pub from: u64,
    /// Index of the farthest place that wants a part of it.
    pub to: u64,
    /// Elements of the source's buffer at the owner.
    pub elements: Vec<Element>,
}

/// Where an element of the target comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The element of the target.
    pub element: Element,
    /// Owners by their index along the line, in rising order, and the element at each: one, or all of them where they are
    /// added up. The place itself may be among them.
    pub from: Vec<(u64, Element)>,
}

/// A relayout along one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Movement {
    /// What is sent, in the order in which places on the way take it: up the line first, in each direction the owners nearest
    /// to where it goes first, so that each of them sends its own and then lets pass what comes from behind.
    pub pieces: Vec<Piece>,
    /// For each place of the line what its buffer will hold.
    pub wanted: Vec<Vec<Wanted>>,
}

impl Movement {
    /// Of the elements of each piece the words that cross the busiest link, in each direction: (up, down).
    pub fn busiest_link(&self, words: impl Fn(u64) -> u64) -> (u64, u64) {
        let links = self.wanted.len().saturating_sub(1);
        let (mut up, mut down) = (vec![0u64; links], vec![0u64; links]);
        for piece in &self.pieces {
            let (low, high) = (piece.from.min(piece.to) as usize, piece.from.max(piece.to) as usize);
            let crossed = if piece.to > piece.from { &mut up } else { &mut down };
            for link in crossed.iter_mut().take(high).skip(low) {
                *link += words(piece.elements.len() as u64);
            }
        }
        (up.into_iter().max().unwrap_or(0), down.into_iter().max().unwrap_or(0))
    }
}

impl Relayout {
    /// Which fields of the source serve a field of the target, by number: those of its name. Where the target has as many of
    /// that name, the one at the same place among them; where pieces are added up, all of them.
    pub fn sources<'a>(&self, source: &'a Layout, target: &Layout, field: usize) -> Vec<(u32, &'a Field)> {
        let Some(wanted) = target.fields.get(field) else { return Vec::new() };
        let of_name = (0u32..).zip(&source.fields).filter(|(_, known)| known.name == wanted.name);
        let all: Vec<(u32, &Field)> = of_name.collect();
        if self.accumulate || all.len() <= 1 {
            return all;
        }
        let before = target.fields.iter().take(field).filter(|known| known.name == wanted.name).count();
        all.get(before).copied().into_iter().collect()
    }
}

/// A row, and an element of it; which of several rows of that number in one place comes beside it.
pub(crate) type Key = (u64, u64);

/// The keys of a field's elements in a place, in the order in which they lie.
pub(crate) fn keys(field: &Field, place: Place) -> Vec<(Key, u32)> {
    let (rows, inner) = (field.rows_at(place), field.inner_at(place));
    let mut keys = Vec::with_capacity(rows.len() * inner.len());
    if rows.is_sorted_by(|one, two| one < two) {
        keys.extend(rows.iter().flat_map(|row| inner.iter().map(move |element| ((*row, *element), 0))));
        return keys;
    }
    let mut before: BTreeMap<u64, u32> = BTreeMap::new();
    for row in rows {
        let seen = before.entry(row).or_insert(0);
        keys.extend(inner.iter().map(|element| ((row, *element), *seen)));
        *seen += 1;
    }
    keys
}

struct Held {
    copy: u32,
    member: u64,
    element: Element,
}

/// The movements of a relayout along all lines of its region; nothing where one of its buffers has no layout. Lines on which
/// the layouts cannot differ are worked out once, and neighbours that move the same are put together.
///
/// # Errors
/// As [`movement`].
pub fn movements(program: &Program, region: Region, moved: &Relayout) -> Option<Result<Vec<LinesAlike>, String>> {
    let across = moved.axis.across();
    let lines = region.along(across);
    let layouts = [moved.source, moved.target].map(|buffer| program.buffer_of(buffer).layout.as_ref());
    let [Some(source), Some(target)] = layouts else { return None };
    let start = |region: Region| if across == Axis::X { region.x } else { region.y };
    // Lines where a layout begins or ends, or where it differs from line to line.
    let mut begins: BTreeSet<u64> = BTreeSet::from([0]);
    for layout in [source, target] {
        let first = start(layout.region).saturating_sub(start(region));
        let end = (start(layout.region) + layout.region.along(across)).saturating_sub(start(region));
        begins.extend([first, end]);
        if layout.fields.iter().any(|field| field.differs_along(across)) {
            begins.extend(first..end.min(lines));
        }
    }
    let begins: Vec<u64> = begins.into_iter().filter(|line| *line < lines).collect();
    let ends = begins.iter().skip(1).copied().chain([lines]);
    let mut all: Vec<LinesAlike> = Vec::new();
    let mut known_kinds: BTreeMap<Vec<usize>, Vec<Piece>> = BTreeMap::new();
    for (first, end) in begins.iter().copied().zip(ends) {
        let kind = kind_of_line(moved, [source, target], region, first);
        let pieces = match kind.as_ref().and_then(|kind| known_kinds.get(kind)) {
            Some(known) => known.clone(),
            None => match pieces_along(program, region, moved, first)? {
                Ok(pieces) => pieces,
                Err(problem) => return Some(Err(problem)),
            },
        };
        if let Some(kind) = kind {
            known_kinds.entry(kind).or_insert_with(|| pieces.clone());
        }
        match all.last_mut() {
            Some(known) if known.pieces == pieces => known.count += end - first,
            _ => all.push(LinesAlike { first, count: end - first, pieces }),
        }
    }
    Some(Ok(all))
}

/// What decides the pieces of a line where all its places have the same rows, in the source as in the target: whether the line is
/// in each layout, and how many rows of each field it has. Nothing where lines differ in another way.
fn kind_of_line(moved: &Relayout, layouts: [&Layout; 2], region: Region, line: u64) -> Option<Vec<usize>> {
    let [source, target] = layouts;
    let across = moved.axis.across();
    let start = |region: Region| if across == Axis::X { region.x } else { region.y };
    let same_lines =
        start(source.region) == start(target.region) && source.region.along(across) == target.region.along(across);
    let at = start(region) + line;
    let is_in = |layout: &Layout| at >= start(layout.region) && at < start(layout.region) + layout.region.along(across);
    let mut kind = vec![usize::from(is_in(source)), usize::from(is_in(target))];
    for (index, field) in target.fields.iter().enumerate() {
        for (_, from) in moved.sources(source, target, index) {
            if !field.differs_along(across) && !from.differs_along(across) {
                continue;
            }
            let rows = &field.rows.spread;
            let by_rows_alone = |field: &Field| {
                !field.inner.iter().any(|dimension| dimension.spread.differs_along(across))
                    && !field.shares.iter().any(|digit| digit.axis == across)
            };
            let is_alike = same_lines
                && field.rows == from.rows
                && !rows.differs_along(moved.axis)
                && by_rows_alone(field)
                && by_rows_alone(from);
            if !is_alike {
                return None;
            }
            let (x, y) = match moved.axis {
                Axis::X => (target.region.x, at),
                Axis::Y => (at, target.region.y),
            };
            kind.push(target.place(x, y).map_or(0, |place| field.rows_at(place).len()));
        }
    }
    Some(kind)
}

/// An element that a place of a line holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Holds {
    key: Key,
    member: u64,
    copy: u32,
    element: Element,
}

/// What is sent along a line: [`Movement::pieces`] without the rest. Nothing where a buffer has no layout.
///
/// # Errors
/// As [`movement`].
pub fn pieces_along(
    program: &Program,
    region: Region,
    moved: &Relayout,
    line: u64,
) -> Option<Result<Vec<Piece>, String>> {
    let layout = |buffer: BufferId| program.buffer_of(buffer).layout.as_ref();
    let (source, target) = (layout(moved.source)?, layout(moved.target)?);
    let length = region.along(moved.axis);
    let at = |index: u64| match moved.axis {
        Axis::X => (region.x + index, region.y + line),
        Axis::Y => (region.x + line, region.y + index),
    };
    let mut sent: Vec<Sent> = Vec::new();
    for (index, field) in target.fields.iter().enumerate() {
        let mut held: Vec<Holds> = Vec::new();
        let mut has_copies = false;
        for (number_of_field, from) in moved.sources(source, target, index) {
            for member in 0..length {
                let (column, row) = at(member);
                let Some(place) = source.place(column, row) else { continue };
                for (number, (key, copy)) in (0u32..).zip(keys(from, place)) {
                    has_copies |= copy > 0;
                    let element = Element { field: number_of_field, number };
                    held.push(Holds { key, member, copy, element });
                }
            }
        }
        held.sort_unstable();
        for member in 0..length {
            let (column, row) = at(member);
            let Some(place) = target.place(column, row) else { continue };
            for (key, copy) in keys(field, place) {
                let first = held.partition_point(|known| known.key < key);
                let of_key = held.get(first..).unwrap_or(&[]);
                let owners = of_key.get(..of_key.partition_point(|known| known.key <= key)).unwrap_or(&[]);
                let mut send = |from: u64, element: Element| {
                    if from != member {
                        sent.push(Sent { from, is_up: member > from, element, to: member });
                    }
                };
                if moved.accumulate {
                    owners.iter().for_each(|held| send(held.member, held.element));
                    continue;
                }
                // A row that the source has once serves every row of that number.
                let several = has_copies && owners.iter().any(|held| held.copy > 0);
                let wanted = if several { copy } else { 0 };
                let nearest = if has_copies {
                    let copies = owners.iter().filter(|held| held.copy == wanted);
                    copies.min_by_key(|held| (held.member.abs_diff(member), held.member))
                } else {
                    // The last one before the place, or the first one from it on: whichever is nearer, the former of two as near.
                    let from_it = owners.partition_point(|held| held.member < member);
                    let (before, behind) = (from_it.checked_sub(1).and_then(|at| owners.get(at)), owners.get(from_it));
                    match (before, behind) {
                        (Some(one), Some(two)) if one.member.abs_diff(member) <= two.member.abs_diff(member) => {
                            Some(one)
                        }
                        (one, two) => two.or(one),
                    }
                };
                match nearest {
                    Some(held) => send(held.member, held.element),
                    // The other way says what is missing.
                    None => return movement(program, region, moved, line).map(|known| known.map(|known| known.pieces)),
                }
            }
        }
        if moved.sources(source, target, index).is_empty() {
            return movement(program, region, moved, line).map(|known| known.map(|known| known.pieces));
        }
    }
    Some(Ok(pieces(sent)))
}

/// The movement of a relayout along a line of its region; nothing where one of its buffers has no layout.
///
/// # Errors
/// Where a place wants what nobody on its line holds.
pub fn movement(program: &Program, region: Region, moved: &Relayout, line: u64) -> Option<Result<Movement, String>> {
    let fields = |buffer: BufferId| program.buffer_of(buffer).layout.as_ref();
    let (source, target) = (fields(moved.source)?, fields(moved.target)?);
    let length = region.along(moved.axis);
    let at = |index: u64| match moved.axis {
        Axis::X => (region.x + index, region.y + line),
        Axis::Y => (region.x + line, region.y + index),
    };
    let mut wanted: Vec<Vec<Wanted>> = (0..length).map(|_| Vec::new()).collect();
    for (target_field, field) in (0u32..).zip(&target.fields) {
        let sources = moved.sources(source, target, target_field as usize);
        if sources.is_empty() {
            let names = [moved.source, moved.target].map(|buffer| &program.buffer_of(buffer).name);
            return Some(Err(format!("'{}' has no field '{}' for '{}'", names[0], field.name, names[1])));
        }
        let mut held: Vec<(Key, Held)> = Vec::new();
        for (source_field, from) in sources {
            for member in 0..length {
                let (column, row) = at(member);
                let Some(place) = source.place(column, row) else { continue };
                held.extend((0u32..).zip(keys(from, place)).map(|(number, (key, copy))| {
                    let element = Element { field: source_field, number };
                    (key, Held { copy, member, element })
                }));
            }
        }
        // Owners of an element stay in the order of the line.
        held.sort_by_key(|(key, _)| *key);
        for (member, wanted) in (0u64..).zip(&mut wanted) {
            let (column, row) = at(member);
            let Some(place) = target.place(column, row) else { continue };
            for (number, (key, copy)) in (0u32..).zip(keys(field, place)) {
                let first = held.partition_point(|(known, _)| *known < key);
                let end = held.partition_point(|(known, _)| *known <= key);
                let owners = held.get(first..end).unwrap_or(&[]);
                let from = match owners_of(owners, copy, member, moved) {
                    Some(from) => from,
                    None => {
                        return Some(Err(format!(
                            "column {column}, row {row} wants element {} of row {} for '{}', which nobody on its line \
                             holds",
                            key.1,
                            key.0,
                            program.buffer_of(moved.target).name
                        )));
                    }
                };
                wanted.push(Wanted { element: Element { field: target_field, number }, from });
            }
        }
    }
    Some(Ok(Movement { pieces: pieces(all_sent(&wanted)), wanted }))
}

fn owners_of(owners: &[(Key, Held)], copy: u32, member: u64, moved: &Relayout) -> Option<Vec<(u64, Element)>> {
    if moved.accumulate {
        let mut all: Vec<(u32, u64, Element)> =
            owners.iter().map(|(_, held)| (held.copy, held.member, held.element)).collect();
        all.sort_unstable();
        return Some(all.into_iter().map(|(_, member, element)| (member, element)).collect());
    }
    // A row that the source has once serves every row of that number.
    let several = owners.iter().any(|(_, held)| held.copy > 0);
    let copies = owners.iter().map(|(_, held)| held).filter(|held| held.copy == if several { copy } else { 0 });
    let nearest = copies.min_by_key(|held| (held.member.abs_diff(member), held.member))?;
    Some(vec![(nearest.member, nearest.element)])
}

/// An element on its way along a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    from: u64,
    is_up: bool,
    element: Element,
    to: u64,
}

fn all_sent(wanted: &[Vec<Wanted>]) -> Vec<Sent> {
    let of_member = |(member, wanted): (u64, &Vec<Wanted>)| {
        let from = wanted.iter().flat_map(|wanted| &wanted.from).filter(move |(from, _)| *from != member);
        from.map(move |(from, element)| Sent { from: *from, is_up: member > *from, element: *element, to: member })
            .collect::<Vec<_>>()
    };
    (0u64..).zip(wanted).flat_map(of_member).collect()
}

fn pieces(mut sent: Vec<Sent>) -> Vec<Piece> {
    sent.sort_unstable();
    let runs = sent.chunk_by(|one, two| (one.from, one.is_up) == (two.from, two.is_up));
    let all: Vec<Piece> = runs
        .filter_map(|run| {
            let from = run.first()?.from;
            let to = run.iter().map(|sent| sent.to).max_by_key(|to| to.abs_diff(from))?;
            let mut elements: Vec<Element> = run.iter().map(|sent| sent.element).collect();
            elements.dedup();
            Some(Piece { from, to, elements })
        })
        .collect();
    let (up, down): (Vec<Piece>, Vec<Piece>) = all.into_iter().partition(|piece| piece.to > piece.from);
    up.into_iter().rev().chain(down).collect()
}
