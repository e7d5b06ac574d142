//! Colors as the machine has them: a router holds one route of a color at a time, and has a fixed number of colors.
//!
//! A program names colors freely. Over its whole text each router is asked for a set of pairs (color, route); two names
//! may be one physical color where they do not meet, or meet with the same route. [`count`] says how many pairs the
//! busiest router has, gives the names physical colors greedily, and lists where a color has another route in a later
//! step, which the program must change and pay for. Lines of a step are alike, so routers fall into few classes by
//! column and row.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use rustc_hash::{FxHashMap, FxHashSet};
use wafersim_program::Axis;

use super::lower::Detail;
use super::lowered::{Lowered, Part};
use super::route::{Area, Direction, Lines, Stream};

/// Input and outputs of a color in a router: the input in the upper bits, the outputs as bits.
type Route = u16;

/// Some route that is not known: it differs from every other.
const ANY: Route = Route::MAX;

/// Parts that are remembered, to find those that go the same ways.
const MOST_KNOWN: usize = 64;

/// The core among the ports of a router, after the directions.
const CORE: u16 = 4;

/// The router with the most pairs of color and route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Busiest {
    /// Column on the wafer of the first such router.
    pub column: u64,
    /// Row.
    pub row: u64,
    /// Pairs of color and route in it, over the whole program.
    pub pairs: u32,
    /// Names of colors in it.
    pub names: u32,
}

/// A color that has another route in a later step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerouted {
    /// The color's name: its index among those that the program uses.
    pub name: u16,
    /// The operator of the later step.
    pub operator: String,
    /// Place of the later step in the schedule, where it first runs.
    pub at: u32,
    /// In how many routers.
    pub routers: u64,
    /// Column on the wafer of the first of them.
    pub column: u64,
    /// Row.
    pub row: u64,
}

/// The colors of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColorUse {
    /// The physical color of each name.
    pub given: Given,
    /// The router with the most pairs of color and route.
    pub busiest: Busiest,
    /// Route changes, in the order of the steps that need them. Streams of one step that take turns on a color are
    /// none: switch positions do that.
    pub rerouted: Vec<Rerouted>,
}

/// Physical colors of the names of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Names that its steps use.
    pub names: u32,
    /// Physical colors that suffice, as a greedy choice finds: names that meet in a router with different routes, or in
    /// one step on the same processing elements, differ.
    pub physical: u32,
    /// The physical color of each name.
    pub colors: Vec<u16>,
}

impl Given {
    /// The same program on the physical colors that its names were given.
    #[must_use]
    pub fn renamed(&self, mut lowered: Lowered) -> Lowered {
        for part in lowered.stages.iter_mut().flat_map(|stage| &mut stage.parts) {
            let Part::Carry(lines) = part else { continue };
            for stream in &mut lines.streams {
                stream.color = self.colors.get(usize::from(stream.color)).copied().unwrap_or(0);
            }
        }
        Lowered { colors: self.physical, ..lowered }
    }
}

/// Counts the colors of a lowered program, whose colors are names ([`super::lower_names`]).
pub fn count(lowered: &Lowered) -> ColorUse {
    let uses = Uses::new(lowered, Detail::Full);
    let mut busiest = Busiest::default();
    let mut rerouted: BTreeMap<(u32, u16), Rerouted> = BTreeMap::new();
    let (columns, rows) = (uses.alike(lowered.columns, Axis::X), uses.alike(lowered.rows, Axis::Y));
    for of_row in &rows {
        for of_column in &columns {
            let held = both(&of_column.held, &of_row.held);
            let pairs = uses.pairs(&held);
            let (column, row) =
                (lowered.origin.0 + u64::from(of_column.first), lowered.origin.1 + u64::from(of_row.first));
            let here = pairs.chunk_by(|one, other| one.0 == other.0).count() as u32;
            let count = pairs.len() as u32;
            if count > busiest.pairs {
                busiest = Busiest { column, row, pairs: count, names: here };
            }
            // Where each color has one route, none changes.
            let changes = if count > here { uses.changes(&held) } else { Vec::new() };
            for (at, name) in changes {
                let change = Rerouted { name, operator: operator(lowered, at), at, routers: 0, column, row };
                rerouted.entry((at, name)).or_insert(change).routers += of_row.count * of_column.count;
            }
        }
    }
    ColorUse { given: uses.given(lowered.colors), busiest, rerouted: rerouted.into_values().collect() }
}

/// Physical colors for the names of a lowered program.
pub(super) fn given(lowered: &Lowered, detail: Detail) -> Given {
    Uses::new(lowered, detail).given(lowered.colors)
}

fn operator(lowered: &Lowered, at: u32) -> String {
    let stage = lowered.stage(at as usize);
    let name = stage.and_then(|stage| lowered.operators.get(stage.operator as usize));
    name.map_or_else(String::new, |name| name.clone().into_owned())
}

/// Streams along the lines of an area, as routes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shape {
    /// First column and row, columns and rows.
    area: [u32; 4],
    vertical: bool,
    /// For each place of a line, which set of pairs the routers there hold.
    sets: Vec<u32>,
}

impl Shape {
    fn area(&self) -> Area {
        let [x, y, columns, rows] = self.area;
        Area { x, y, columns, rows }
    }

    /// The places of its lines that lie in a part of its area: the first, and how many.
    fn along(&self, part: &Area) -> (u32, u32) {
        let [x, y, ..] = self.area;
        if self.vertical { (part.y - y, part.rows) } else { (part.x - x, part.columns) }
    }

    /// The sets at these places, in their order or each once.
    fn distinct(&self, (first, count): (u32, u32), in_order: bool) -> Vec<u32> {
        let mut sets: Vec<u32> = self.sets.iter().skip(first as usize).take(count as usize).copied().collect();
        if !in_order {
            sets.sort_unstable();
            sets.dedup();
        }
        sets
    }
}

struct Uses {
    shapes: Vec<Shape>,
    /// Steps by their place in the schedule, where they first run, and which shapes they have.
    steps: Vec<(u32, u32)>,
    /// Sets of pairs: color and route.
    sets: Vec<Vec<(u16, Route)>>,
}

/// What the routers of a column, or of a row, hold: shapes, and of those whose lines cross it there the set.
type Held = Vec<(u32, u32)>;

/// Columns, or rows, that hold the same.
struct Alike {
    held: Held,
    /// How many.
    count: u64,
    first: u32,
}

/// Numbers for what comes again, in the order in which it first came.
struct Numbers<T>(FxHashMap<T, u32>);

impl<T: Hash + Eq> Numbers<T> {
    fn new() -> Self {
        Self(FxHashMap::default())
    }

    fn of(&mut self, thing: T) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(thing).or_insert(next)
    }

    fn into_things(self) -> Vec<T> {
        let mut things: Vec<(u32, T)> = self.0.into_iter().map(|(thing, number)| (number, thing)).collect();
        things.sort_unstable_by_key(|(number, _)| *number);
        things.into_iter().map(|(_, thing)| thing).collect()
    }
}

impl<T: Hash + Eq + Clone> Numbers<Vec<T>> {
    /// As [`Self::of`], without a copy of what is known.
    fn of_slice(&mut self, things: &[T]) -> u32 {
        let known = self.0.get(things).copied();
        known.unwrap_or_else(|| self.of(things.to_vec()))
    }
}

impl Uses {
    fn new(lowered: &Lowered, detail: Detail) -> Self {
        let (mut shapes, mut sets) = (Numbers::new(), Numbers::new());
        let mut steps = Vec::new();
        let mut seen = BTreeSet::new();
        // Most steps of a program go the ways of earlier ones.
        let mut known: Vec<(&Lines, Vec<u32>)> = Vec::new();
        for (at, index) in (0u32..).zip(&lowered.schedule).filter(|(_, index)| seen.insert(**index)) {
            for part in lowered.stages.get(*index as usize).into_iter().flat_map(|stage| &stage.parts) {
                let Part::Carry(lines) = part else { continue };
                if let Some((_, numbers)) = known.iter().find(|(known, _)| same_ways(known, lines)) {
                    steps.extend(numbers.iter().map(|number| (at, *number)));
                    continue;
                }
                let mut numbers = Vec::new();
                for (area, axis, places) in straight(lines) {
                    let is_outline = detail == Detail::Outline && lines.switched;
                    let mut held: Vec<(u16, Route)> = Vec::new();
                    let number = |pairs: &[(u16, Route)]| {
                        held.clear();
                        let held_as = |route: Route| if is_outline { ANY } else { route };
                        held.extend(pairs.iter().map(|(color, route)| (*color, held_as(*route))));
                        held.sort_unstable();
                        held.dedup();
                        sets.of_slice(&held)
                    };
                    let sets = places.iter().map(number).collect();
                    let Area { x, y, columns, rows } = area;
                    let shape = Shape { area: [x, y, columns, rows], vertical: axis == Axis::Y, sets };
                    numbers.push(shapes.of(shape));
                }
                steps.extend(numbers.iter().map(|number| (at, *number)));
                if known.len() < MOST_KNOWN {
                    known.push((lines, numbers));
                }
            }
        }
        Self { shapes: shapes.into_things(), steps, sets: sets.into_things() }
    }

    fn given(&self, most_names: u32) -> Given {
        let names = self.names();
        let mut differ = Conflicts::new(most_names as usize);
        for (one, other) in self.in_one_step() {
            differ.add(one, other);
        }
        self.meet(&mut differ);
        let colors = differ.given(&names);
        let physical = names.iter().filter_map(|name| colors.get(usize::from(*name))).max().map_or(0, |most| most + 1);
        Given { names: names.len() as u32, physical: u32::from(physical), colors }
    }

    /// Names that meet in a router with different routes: where two shapes cross, every set along the one meets every
    /// set along the other; where they lie along each other, those at the same place.
    fn meet(&self, differ: &mut Conflicts) {
        let all = self.sets.len();
        let mut met = vec![false; all * all];
        let mut meet = |one: u32, other: u32| {
            let pair = met.get_mut(one.min(other) as usize * all + one.max(other) as usize);
            match pair {
                Some(met) if !*met => *met = true,
                _ => return,
            }
            let pairs = |set: u32| self.sets.get(set as usize).map_or(&[][..], Vec::as_slice);
            for (name, route) in pairs(one) {
                let different =
                    pairs(other).iter().filter(|(other, another)| name != other && (route != another || *route == ANY));
                different.for_each(|(other, _)| differ.add(*name, *other));
            }
        };
        // Most shapes have the sets of another one.
        let mut numbers = Numbers::new();
        let patterns: Vec<u32> = self.shapes.iter().map(|shape| numbers.of(shape.sets.as_slice())).collect();
        let mut known: FxHashSet<[u32; 6]> = FxHashSet::default();
        for (index, (one, pattern)) in self.shapes.iter().zip(&patterns).enumerate() {
            for (other, another) in self.shapes.iter().zip(&patterns).skip(index) {
                let Some(common) = one.area().common(&other.area()) else { continue };
                let (here, there) = (one.along(&common), other.along(&common));
                let is_along = u32::from(one.vertical == other.vertical);
                let key = [*pattern, here.0, here.1, *another, there.0, there.1 << 1 | is_along];
                if !known.insert(key) {
                    continue;
                }
                let (these, those) = (one.distinct(here, is_along > 0), other.distinct(there, is_along > 0));
                match is_along > 0 {
                    true => these.iter().zip(&those).for_each(|(one, other)| meet(*one, *other)),
                    false => these.iter().for_each(|one| those.iter().for_each(|other| meet(*one, *other))),
                }
            }
        }
    }

    fn names_of(&self, shape: &Shape) -> BTreeSet<u16> {
        let sets = shape.distinct((0, shape.sets.len() as u32), false);
        sets.iter().filter_map(|set| self.sets.get(*set as usize)).flatten().map(|(color, _)| *color).collect()
    }

    /// Names in order.
    fn names(&self) -> Vec<u16> {
        self.shapes.iter().flat_map(|shape| self.names_of(shape)).collect::<BTreeSet<u16>>().into_iter().collect()
    }

    /// Names that one step uses on processing elements that its parts share.
    fn in_one_step(&self) -> BTreeSet<(u16, u16)> {
        let names: Vec<BTreeSet<u16>> = self.shapes.iter().map(|shape| self.names_of(shape)).collect();
        let mut pairs = BTreeSet::new();
        let mut known: BTreeSet<(&BTreeSet<u16>, &BTreeSet<u16>)> = BTreeSet::new();
        for step in self.steps.chunk_by(|one, other| one.0 == other.0) {
            for (index, (_, one)) in step.iter().enumerate() {
                for (_, other) in step.iter().skip(index) {
                    let shape = |number: &u32| self.shapes.get(*number as usize).map(Shape::area);
                    let (Some(here), Some(there)) = (shape(one), shape(other)) else { continue };
                    let (Some(these), Some(those)) = (names.get(*one as usize), names.get(*other as usize)) else {
                        continue;
                    };
                    if known.contains(&(these, those)) || !here.overlaps(&there) {
                        continue;
                    }
                    known.insert((these, those));
                    for one in these {
                        pairs.extend(those.iter().filter(|other| one != *other).map(|other| (*one, *other)));
                    }
                }
            }
        }
        pairs
    }

    /// Columns (or rows) that hold the same.
    fn alike(&self, length: u32, axis: Axis) -> Vec<Alike> {
        let mut held: Vec<Held> = vec![Vec::new(); length as usize];
        for (index, shape) in (0u32..).zip(&self.shapes) {
            let area = shape.area();
            let first = if axis == Axis::X { area.x } else { area.y };
            let along = shape.vertical == (axis == Axis::Y);
            for offset in 0..area.along(axis) {
                let set = if along { shape.sets.get(offset as usize).copied() } else { Some(u32::MAX) };
                if let (Some(place), Some(set)) = (held.get_mut((first + offset) as usize), set) {
                    place.push((index, set));
                }
            }
        }
        let mut groups: BTreeMap<Held, (u64, u32)> = BTreeMap::new();
        for (position, held) in (0u32..).zip(held) {
            groups.entry(held).or_insert((0, position)).0 += 1;
        }
        let alike = |(held, (count, first))| Alike { held, count, first };
        let mut groups: Vec<Alike> = groups.into_iter().map(alike).collect();
        groups.sort_by_key(|group| group.first);
        groups
    }

    /// Colors and their routes in a router.
    fn pairs(&self, held: &Held) -> Vec<(u16, Route)> {
        let mut pairs = Vec::with_capacity(2 * held.len());
        for (_, set) in held {
            pairs.extend_from_slice(self.sets.get(*set as usize).map_or(&[], Vec::as_slice));
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Steps that find another route of a color in a router than the last step has left.
    fn changes(&self, held: &Held) -> Vec<(u32, u16)> {
        let mut left: BTreeMap<u16, (u32, Vec<Route>)> = BTreeMap::new();
        let mut changes = Vec::new();
        for (at, shape) in &self.steps {
            let Ok(place) = held.binary_search_by_key(shape, |(shape, _)| *shape) else { continue };
            let set = held.get(place).and_then(|(_, set)| self.sets.get(*set as usize));
            for pairs in set.map_or(&[][..], Vec::as_slice).chunk_by(|one, other| one.0 == other.0) {
                let Some((color, _)) = pairs.first() else { continue };
                let routes: Vec<Route> = pairs.iter().map(|(_, route)| *route).collect();
                let known = left.insert(*color, (*at, routes.clone()));
                if known.is_some_and(|(before, known)| before != *at && known != routes) {
                    changes.push((*at, *color));
                }
            }
        }
        changes
    }
}

/// Whether two parts send along the same ways on the same colors.
fn same_ways(one: &Lines, other: &Lines) -> bool {
    let way = |stream: &Stream| (stream.color, stream.source, stream.low, stream.high, stream.copies);
    (one.area, one.axis, one.spread) == (other.area, other.axis, other.spread)
        && one.streams.len() == other.streams.len()
        && one.streams.iter().map(way).eq(other.streams.iter().map(way))
}

/// Pairs of color and route for each place of a line of an area.
type Along = (Area, Axis, Places);

/// Pairs of color and route by their place along a line.
struct Places {
    pairs: Vec<(u16, Route)>,
    /// Where those of each place begin, and the end.
    first: Vec<u32>,
}

impl Places {
    /// Those of streams along a line of so many places.
    fn new(streams: &[Stream], axis: Axis, length: usize) -> Self {
        let mut first = vec![0_u32; length + 1];
        for place in streams.iter().flat_map(|stream| stream.low..=stream.high) {
            if let Some(count) = first.get_mut(place as usize + 1) {
                *count += 1;
            }
        }
        for place in 0..length {
            first[place + 1] += first[place];
        }
        let mut pairs = vec![(0, 0); first.last().map_or(0, |all| *all as usize)];
        let mut next = first.clone();
        for stream in streams {
            for position in stream.low..=stream.high {
                let Some(at) = next.get_mut(position as usize) else { continue };
                if let Some(pair) = pairs.get_mut(*at as usize) {
                    *pair = (stream.color, route(stream, axis, position));
                }
                *at += 1;
            }
        }
        Self { pairs, first }
    }

    /// One pair in each place.
    fn of(pairs: impl Iterator<Item = (u16, Route)>) -> Self {
        let pairs: Vec<(u16, Route)> = pairs.collect();
        Self { first: (0..=pairs.len() as u32).collect(), pairs }
    }

    fn iter(&self) -> impl Iterator<Item = &[(u16, Route)]> {
        self.first.windows(2).map(|ends| self.pairs.get(ends[0] as usize..ends[1] as usize).unwrap_or(&[]))
    }
}

/// The pairs of a part along lines that are alike. A broadcast goes along the sender's row, whose routers turn it into
/// all columns; above and below, the columns are alike.
fn straight(lines: &Lines) -> Vec<Along> {
    let Some(row) = lines.spread else {
        return vec![(lines.area, lines.axis, Places::new(&lines.streams, lines.axis, lines.length()))];
    };
    let (Some(along), Area { x, y, columns, rows }) = (lines.streams.first(), lines.area) else { return Vec::new() };
    let down = Stream { source: row, low: 0, high: rows - 1, ..*along };
    let turn = route(&down, Axis::Y, row) & ((1 << CORE) - 1);
    let through = |position: u32| (along.color, route(along, Axis::X, position) | turn);
    let column = |position: u32| (along.color, route(&down, Axis::Y, position));
    let (above, below) = ((0..row).map(column), (row + 1..rows).map(column));
    let parts = [
        (Area { x, y: y + row, columns, rows: 1 }, Axis::X, Places::of((0..columns).map(through))),
        (Area { x, y, columns, rows: row }, Axis::Y, Places::of(above)),
        (Area { x, y: y + row + 1, columns, rows: rows - row - 1 }, Axis::Y, Places::of(below)),
    ];
    parts.into_iter().filter(|(area, ..)| area.rows > 0).collect()
}

/// What a router holds of what its column and its row do: the parts that both lie in.
fn both(of_column: &Held, of_row: &Held) -> Held {
    let (mut column, mut row) = (of_column.iter().peekable(), of_row.iter().peekable());
    let mut held = Vec::new();
    while let (Some(one), Some(other)) = (column.peek(), row.peek()) {
        match one.0.cmp(&other.0) {
            std::cmp::Ordering::Less => {
                column.next();
            }
            std::cmp::Ordering::Greater => {
                row.next();
            }
            std::cmp::Ordering::Equal => {
                held.push((one.0, one.1.min(other.1)));
                column.next();
                row.next();
            }
        }
    }
    held
}

/// The route of a stream in the router at a position of its line.
fn route(stream: &Stream, axis: Axis, position: u32) -> Route {
    let port = |up: bool| Direction::along(axis, up) as u16;
    // What travels up comes in from below.
    let input = match position.cmp(&stream.source) {
        std::cmp::Ordering::Equal => CORE,
        std::cmp::Ordering::Greater => port(false),
        std::cmp::Ordering::Less => port(true),
    };
    let up = position >= stream.source && position < stream.high;
    let down = position <= stream.source && position > stream.low;
    let bit = |set: bool, port: u16| u16::from(set) << port;
    input << 8 | bit(up, port(true)) | bit(down, port(false)) | bit(stream.delivers_at(position), CORE)
}

/// Which names must differ.
struct Conflicts {
    names: usize,
    differ: Vec<bool>,
}

impl Conflicts {
    fn new(names: usize) -> Self {
        Self { names, differ: vec![false; names * names] }
    }

    fn add(&mut self, one: u16, other: u16) {
        for (one, other) in [(one, other), (other, one)] {
            if let Some(place) = self.differ.get_mut(usize::from(one) * self.names + usize::from(other)) {
                *place = true;
            }
        }
    }

    fn of(&self, name: u16) -> impl Iterator<Item = usize> + '_ {
        let row = self.differ.get(usize::from(name) * self.names..(usize::from(name) + 1) * self.names);
        row.unwrap_or(&[]).iter().enumerate().filter(|(_, differ)| **differ).map(|(other, _)| other)
    }

    /// A physical color for each name: the one with the fewest colors left first, of those the one that meets most
    /// others, of those the first. Names that are not used get 0.
    fn given(&self, names: &[u16]) -> Vec<u16> {
        let mut given = vec![0; self.names];
        // For each name the colors of those that it meets.
        let mut taken: Vec<Vec<u16>> = vec![Vec::new(); self.names];
        let mut left: Vec<(u16, usize)> = names.iter().map(|name| (*name, self.of(*name).count())).collect();
        while !left.is_empty() {
            let colors = |name: u16| taken.get(usize::from(name)).map_or(&[][..], Vec::as_slice);
            let rank = |(name, meets): (u16, usize)| (colors(name).len(), meets, std::cmp::Reverse(name));
            let ranked = left.iter().copied().enumerate().max_by_key(|(_, name)| rank(*name));
            let Some((at, (name, _))) = ranked else { break };
            let color = (0..=u16::MAX).find(|color| !colors(name).contains(color)).unwrap_or(u16::MAX);
            if let Some(place) = given.get_mut(usize::from(name)) {
                *place = color;
            }
            for other in self.of(name) {
                if let Some(colors) = taken.get_mut(other).filter(|colors| !colors.contains(&color)) {
                    colors.push(color);
                }
            }
            left.swap_remove(at);
        }
        given
    }
}
