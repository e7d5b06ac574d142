//! Which elements a relayout moves, from whom to whom: the consequence of two layouts.
//!
//! Along a line of the region every place gets what the target's layout says from the nearest place that holds it (the
//! one with the smaller index of two as near), or, where pieces are added up, from all that hold it. An owner sends the
//! elements that others above it want in one run up the line, and those that others below it want in one down; who
//! passes on the way takes what it wants. Which elements these are is known before the program runs.

use std::collections::BTreeMap;

use crate::buffer::BufferId;
use crate::layout::{Field, Layout, Place};
use crate::program::Program;
use crate::region::{Axis, Region};
use crate::step::Relayout;

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
    /// Owners by their index along the line, in rising order, and the element at each: one, or all of them where they
    /// are added up. The place itself may be among them.
    pub from: Vec<(u64, Element)>,
}

/// A relayout along one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Movement {
    /// What is sent, in the order in which places on the way take it: up the line first, in each direction the owners
    /// nearest to where it goes first, so that each of them sends its own and then lets pass what comes from behind.
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
    /// Which fields of the source serve a field of the target, by number: those of its name. Where the target has as
    /// many of that name, the one at the same place among them; where pieces are added up, all of them.
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
