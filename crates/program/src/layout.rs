//! Which elements of a logical tensor each processing element holds.
//!
//! A [`Layout`] belongs to a buffer. It is a list of [`Field`]s that lie one after the other in memory (for example q,
//! k and v, which one reduction carries together); a field is a tensor with dimensions, and each dimension is spread
//! over the region by a [`Spread`]. Everything is a formula of the coordinate, so that a layout costs nothing on a full
//! wafer.
//!
//! The closed form and the fabric need only [`crate::Buffer::elements`]; where a buffer has a layout, that is its
//! largest count.

use std::borrow::Cow;

use serde::Serialize;

pub use self::cached::{Cached, RowOrder};
pub use self::ring::{Ring, ring_number, run_start};
pub use self::spread::Spread;
use self::spread::pair_distance;
use crate::region::{Axis, Region};
use crate::runs::{Run, Runs, even_runs};

mod cached;
mod ring;
mod spread;

/// A place of a region, counted from its north-west corner: column and row.
pub type Place = (u64, u64);

/// Which part of a line a coordinate belongs to: with `n = (coordinate - first) mod modulus`, part `n / stride` where
/// `n` is below `limit`; the other places belong to no part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Digit {
    /// The axis of the coordinate.
    pub axis: Axis,
    /// Where the first block begins.
    pub first: u64,
    /// Length of a block of the line; at least 1.
    pub modulus: u64,
    /// Places of a block that take part.
    pub limit: u64,
    /// Neighbouring places of one part; at least 1.
    pub stride: u64,
    /// Number of parts; places whose number is not below it belong to none.
    pub parts: u64,
}

impl Digit {
    /// One part for each place of a line.
    pub const fn line(axis: Axis, length: u64) -> Self {
        Self { axis, first: 0, modulus: length, limit: length, stride: 1, parts: length }
    }

    /// `parts` blocks of `width` neighbouring places; what follows them belongs to none.
    pub const fn blocks(axis: Axis, width: u64, parts: u64) -> Self {
        Self { axis, first: 0, modulus: u64::MAX, limit: u64::MAX, stride: width, parts }
    }

    /// One part for each of the `width` places of a block.
    pub const fn inside(axis: Axis, width: u64) -> Self {
        Self { axis, first: 0, modulus: width, limit: width, stride: 1, parts: width }
    }

    /// The part of a place.
    pub const fn of(&self, place: Place) -> Option<u64> {
        let coordinate = match self.axis {
            Axis::X => place.0,
            Axis::Y => place.1,
        };
        let Some(inner) = coordinate.checked_sub(self.first) else { return None };
        let inner = if self.modulus == 0 { inner } else { inner % self.modulus };
        match inner.checked_div(self.stride) {
            Some(number) if inner < self.limit && number < self.parts => Some(number),
            _ => None,
        }
    }
}

/// The elements of part `part` of a dimension that is shared out evenly (see [`Spread::Split`]).
pub fn even(size: u64, parts: u64, part: u64) -> Vec<u64> {
    even_runs(size, parts, part).indices().collect()
}

/// One dimension of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dimension {
    /// Elements of the whole tensor along it.
    pub size: u64,
    /// Which of them lie where.
    pub spread: Spread,
}

impl Dimension {
    /// All of it in every place.
    pub const fn whole(size: u64) -> Self {
        Self { size, spread: Spread::Whole }
    }

    /// Shared out evenly.
    pub const fn split(size: u64, digit: Digit) -> Self {
        Self { size, spread: Spread::Split(digit) }
    }

    /// Most indices that a place holds.
    pub fn most(&self) -> u64 {
        self.spread.most(self.size)
    }
}

/// A tensor in a buffer: a table of rows (tokens, vectors or token-expert pairs) and of what is in a row. In a
/// processing element its elements lie row by row, each in the order of the indices of the inner dimensions, the last
/// one fastest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// What it is, for messages.
    pub name: Cow<'static, str>,
    /// The rows.
    pub rows: Dimension,
    /// The dimensions of a row.
    pub inner: Vec<Dimension>,
    /// What the inner dimensions give is shared out further: of its list, in order, a place keeps the part of the first
    /// digit, of these the part of the second, and so on. Pairs of the last dimension stay together.
    pub shares: Vec<Digit>,
}

impl Field {
    /// A field that its dimensions describe.
    pub fn new(name: impl Into<Cow<'static, str>>, rows: Dimension, inner: Vec<Dimension>) -> Self {
        Self { name: name.into(), rows, inner, shares: Vec::new() }
    }

    /// The same, its inner elements shared out once more.
    #[must_use]
    pub fn shared(mut self, digit: Digit) -> Self {
        self.shares.push(digit);
        self
    }

    /// The ring along an axis that shares out the rows, or the last of the inner dimensions.
    pub fn ring(&self, axis: Axis) -> Option<Ring> {
        let of = |dimension: &Dimension| match dimension.spread {
            Spread::Ring(ring) if ring.axis == axis => Some(ring),
            _ => None,
        };
        self.inner.last().and_then(of).or_else(|| of(&self.rows))
    }

    /// The rows that a place holds.
    pub fn rows_at(&self, place: Place) -> Vec<u64> {
        self.rows.spread.indices(self.rows.size, place)
    }

    /// What a place holds of each row: numbers in the whole row (row-major over the inner dimensions), in the order in
    /// which they lie.
    pub fn inner_at(&self, place: Place) -> Vec<u64> {
        let numbers = self.first_at(place);
        match self.paired() {
            None => numbers.indices().collect(),
            Some(pairs) => numbers.indices().flat_map(|number| [number, number + pairs.distance(number)]).collect(),
        }
    }

    /// The same as runs, those of pairs in another order than they lie.
    pub fn inner_runs(&self, place: Place) -> Runs {
        let numbers = self.first_at(place);
        match self.paired() {
            None => numbers,
            Some(pairs) => {
                numbers.iter().chain(numbers.iter().map(|run| run.after(pairs.distance(run.first)))).collect()
            }
        }
    }

    /// What a place holds of each row; the first of each pair where the elements are shared out in pairs.
    fn first_at(&self, place: Place) -> Runs {
        // Pairs of the last dimension are shared out by their first halves.
        let is_paired = self.paired().is_some();
        let of = |(index, dimension): (usize, &Dimension)| {
            let runs = dimension.spread.runs(dimension.size, place);
            let halved = is_paired && index + 1 == self.inner.len();
            Along { size: dimension.size, runs: if halved { runs.leading(runs.length() / 2) } else { runs } }
        };
        let along: Vec<Along> = self.inner.iter().enumerate().map(of).collect();
        // Where in the list of all numbers those lie that are kept: most lists are far longer than what a place keeps
        // of them.
        let mut kept = Runs::whole(along.iter().map(|along| along.runs.length()).product());
        for digit in &self.shares {
            let Some(part) = digit.of(place) else { return Runs::default() };
            kept = kept.at(&even_runs(kept.length(), digit.parts, part));
        }
        let mut numbers = Runs::default();
        for positions in kept.iter() {
            numbers_at(&along, positions, &mut |run| numbers.push(run));
        }
        numbers
    }

    /// Where pairs have to be kept together while they are shared out: size of the last dimension, and how many are
    /// rotated.
    fn paired(&self) -> Option<Paired> {
        let last = self.inner.last().filter(|_| !self.shares.is_empty())?;
        Some(Paired { size: last.size, leading: last.spread.pairs(last.size)? })
    }

    /// How many elements a place holds.
    pub fn count(&self, place: Place) -> u64 {
        self.rows_at(place).len() as u64 * self.inner_at(place).len() as u64
    }

    /// Most elements of a row that a place holds: no place holds more.
    pub fn most_inner(&self) -> u64 {
        let inner = self.inner.iter().map(Dimension::most).fold(1, u64::saturating_mul);
        let own = if self.paired().is_some() { 2 } else { 1 };
        self.shares.iter().fold(inner / own, |left, digit| left.div_ceil(digit.parts.max(1))).saturating_mul(own)
    }

    /// Most elements that a place holds: no place holds more.
    pub fn most(&self) -> u64 {
        self.rows.most().saturating_mul(self.most_inner())
    }

    /// The rectangle outside of which no place holds anything, where a dimension of a row says so.
    fn rectangle(&self) -> Option<Region> {
        self.inner.iter().find_map(|dimension| match &dimension.spread {
            Spread::Within { rectangle, .. } => Some(*rectangle),
            _ => None,
        })
    }

    /// Whether places that differ only in their coordinate along an axis may hold different elements.
    pub fn differs_along(&self, axis: Axis) -> bool {
        let dimensions = std::iter::once(&self.rows).chain(&self.inner);
        dimensions.map(|dimension| &dimension.spread).any(|spread| spread.differs_along(axis))
            || self.shares.iter().any(|digit| digit.axis == axis)
    }

    /// Elements of a whole row.
    pub fn row_size(&self) -> u64 {
        self.inner.iter().map(|dimension| dimension.size).product()
    }
}

/// A last dimension that is held in rotary pairs.
#[derive(Clone, Copy)]
struct Paired {
    size: u64,
    /// How many of it are rotated.
    leading: u64,
}

impl Paired {
    /// From the first of a pair to the second.
    fn distance(self, first: u64) -> u64 {
        pair_distance(self.size, self.leading, first % self.size.max(1))
    }
}

/// What a place holds of a dimension.
struct Along {
    size: u64,
    runs: Runs,
}

/// Calls with the numbers at some positions of the list that dimensions give together, the last one fastest.
fn numbers_at(along: &[Along], positions: Run, found: &mut dyn FnMut(Run)) {
    let Some((last, outer)) = along.split_last() else { return found(positions) };
    let length = last.runs.length();
    if length == 0 || positions.length() == 0 {
        return;
    }
    let (first, end) = (positions.first / length, positions.end.div_ceil(length));
    let mut block = first;
    numbers_at(outer, Run::new(first, end), &mut |rows: Run| {
        for row in rows.first..rows.end {
            let here = Run::new(block * length, (block + 1) * length).common(positions);
            let mut start = block * length;
            for run in last.runs.iter() {
                let kept = Run::new(start, start + run.length()).common(here);
                if kept.length() > 0 {
                    let first = row * last.size + run.first + kept.first - start;
                    found(Run::new(first, first + kept.length()));
                }
                start += run.length();
            }
            block += 1;
        }
    });
}

/// Where the elements of a buffer lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The processing elements that hold it. Places are counted from its corner.
    pub region: Region,
    /// What lies one after the other.
    pub fields: Vec<Field>,
}

impl Layout {
    /// The place of a processing element of the mesh, where it belongs to the region.
    pub const fn place(&self, column: u64, row: u64) -> Option<Place> {
        self.region.seen(column, row)
    }

    /// Elements in a place.
    pub fn count(&self, place: Place) -> u64 {
        self.fields.iter().map(|field| field.count(place)).sum()
    }

    /// Elements that a buffer needs in every place: the most of each field, found without looking at the places. Of
    /// fields on rectangles that do not meet, the larger counts. No place holds more; where fields are fullest in
    /// different places, none holds as many.
    pub fn largest(&self) -> u64 {
        let sum = |fields: &mut dyn Iterator<Item = &Field>| fields.map(Field::most).fold(0, u64::saturating_add);
        let everywhere = sum(&mut self.fields.iter().filter(|field| field.rectangle().is_none()));
        let rectangles = self.fields.iter().filter_map(Field::rectangle);
        let meeting = |one: Region| {
            let here = |field: &&Field| field.rectangle().is_some_and(|other| other.meets(&one));
            sum(&mut self.fields.iter().filter(here))
        };
        everywhere.saturating_add(rectangles.map(meeting).max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::cached::levelled;
    use super::*;

    fn owners(field: &Field, columns: u64, rows: u64) -> BTreeMap<u64, u64> {
        let mut owners = BTreeMap::new();
        for row in 0..rows {
            for column in 0..columns {
                for line in field.rows_at((column, row)) {
                    for inner in field.inner_at((column, row)) {
                        *owners.entry(line * field.row_size() + inner).or_insert(0) += 1;
                    }
                }
            }
        }
        owners
    }

    proptest! {
        #[test]
        fn every_element_has_its_place(size in 0u64..60, columns in 1u64..9, rows in 1u64..9) {
            for (spread, copies) in [
                (Spread::Split(Digit::line(Axis::X, columns)), rows),
                (Spread::Split(Digit::line(Axis::Y, rows)), columns),
                (Spread::Whole, columns * rows),
                (Spread::Levelled { rows, groups: Digit::line(Axis::X, columns) }, 1),
                (Spread::Collected { columns, rows }, rows),
                (Spread::Ring(Ring { axis: Axis::X, length: columns, pieces: columns.max(rows), across: rows }), rows),
                (Spread::Ring(Ring { axis: Axis::Y, length: rows, pieces: columns.max(rows), across: columns }), columns),
            ] {
                let field = Field::new("test", Dimension::whole(1), vec![Dimension { size, spread: spread.clone() }]);
                let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
                let fullest = places.map(|place| field.count(place)).max().unwrap_or(0);
                prop_assert!(fullest <= field.most(), "{:?}: {} > {}", spread, fullest, field.most());
                // A ring's runs and its pieces may be longest in different places.
                let exact = !matches!(spread, Spread::Ring(_) | Spread::Collected { .. });
                prop_assert!(!exact || fullest == field.most(), "{:?}: {} < {}", spread, fullest, field.most());
                let owners = owners(&field, columns, rows);
                prop_assert_eq!(owners.len() as u64, size, "{:?}", spread);
                prop_assert!(owners.values().all(|times| *times == copies), "{:?} {:?}", spread, owners);
            }
        }

        #[test]
        fn levelled_rows_differ_by_one_and_an_append_moves_one_entry_a_row(tokens in 0u64..70, rows in 1u64..9) {
            let groups = Digit::line(Axis::X, 1);
            let held = |size, row| levelled(size, rows, &groups, (0, row));
            for row in 0..rows {
                let (before, after) = (held(tokens, row), held(tokens + 1, row));
                let left = before.iter().filter(|token| !after.contains(token)).count();
                let came: Vec<_> = after.iter().filter(|token| !before.contains(token)).collect();
                prop_assert!(left <= 1 && came.len() <= 1);
                if let [came] = came[..] {
                    // From the row above, its oldest; or it is the new token, which every row knows, and the rows above
                    // are empty.
                    let above = if row == 0 { None } else { held(tokens, row - 1).first().copied() };
                    prop_assert_eq!(above.unwrap_or(tokens), *came);
                }
            }
        }
    }

    #[test]
    fn rectangles_share_a_buffer() {
        let region = Region::new(0, 0, 7, 5);
        let (left, right) = (Region::new(0, 0, 3, 5), Region::new(3, 2, 4, 3));
        let on = |rectangle: Region| {
            let rows = Spread::Split(Digit::line(Axis::Y, rectangle.rows));
            let shared = Spread::Shared { spread: Box::new(rows), digit: Digit::line(Axis::X, rectangle.columns) };
            let spread = Spread::Within { rectangle, spread: Box::new(shared) };
            Field::new("x", Dimension::whole(1), vec![Dimension { size: 43, spread }])
        };
        for rectangle in [left, right] {
            let owners = owners(&on(rectangle), region.columns, region.rows);
            assert_eq!(owners.len(), 43);
            assert!(owners.values().all(|times| *times == 1));
        }
        // 9 elements a row, 3 a place; 15 a row, 4 a place; both only where they meet.
        let largest = |fields: Vec<Field>| Layout { region, fields }.largest();
        assert_eq!((largest(vec![on(left)]), largest(vec![on(right)])), (3, 4));
        assert_eq!(largest(vec![on(left), on(right)]), 4);
        assert_eq!(largest(vec![on(left), on(right), on(Region::new(2, 0, 2, 5))]), 3 + 4 + 5);
    }

    #[test]
    fn pairs_stay_together_and_blocks_leave_columns_over() {
        let dims = Dimension { size: 8, spread: Spread::Pairs(Digit::inside(Axis::X, 3)) };
        let heads = Dimension::split(2, Digit::blocks(Axis::X, 3, 2));
        let field = Field::new("k", Dimension::whole(1), vec![heads, dims]);
        assert_eq!(field.inner_at((0, 0)), [0, 3, 4, 7]);
        assert_eq!(field.inner_at((4, 5)), [9, 13]);
        assert_eq!(field.count((6, 0)), 0);
        assert_eq!(owners(&field, 7, 1).len(), 16);
    }
}
