//! Which elements of a logical tensor each processing element holds.
//!
//! A [`Layout`] belongs to a buffer. It is a list of [`Field`]s that lie one after the other in memory (for example q, k and v,
//! which one reduction carries together); a field is a tensor with dimensions, and each dimension is spread over the
//! region by a [`Spread`]. Everything is a formula of the coordinate, so that a layout costs nothing on a full wafer.
//!
//! The closed form and the fabric need only [`crate::Buffer::elements`]; where a buffer has a layout, that is its largest count.

use std::borrow::Cow;

use serde::Serialize;

use crate::region::{Axis, Region};

/// A place of a region, counted from its north-west corner: column and row.
pub type Place = (u64, u64);

/// Which part of a line a coordinate belongs to: with `n = (coordinate - first) mod modulus`, part `n / stride` where `n` is below
/// `limit`; the other places belong to no part.
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

/// How one dimension lies on a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// All of it in every place.
    Whole,
    /// Shared out evenly: part `i` of `parts` holds `q i .. q (i + 1)`, and the last `size mod parts` elements go one each to
    /// the first parts. This is the division of `wafersim-place`.
    Split(Digit),
    /// Shared out evenly in pairs `(i, i + size / 2)`, which rotary embeddings combine: both of a pair lie in one place.
    Pairs(Digit),
    /// The same where only the `leading` ones are rotated: pairs `(i, i + leading / 2)` of those, and likewise of the others.
    LeadingPairs {
        /// Which part a place belongs to.
        digit: Digit,
        /// How many are rotated; even, like the size of the dimension.
        leading: u64,
    },
    /// All of it in the places of one part, nothing elsewhere.
    At {
        /// Which part a place belongs to.
        digit: Digit,
        /// The part that holds it.
        number: u64,
    },
    /// These indices, in this order and perhaps more than once, in every place (tokens of token-expert pairs).
    Listed(Vec<u64>),
    /// Tokens of a cache whose rows are kept level: token `t` belongs to group `t mod groups`; inside a group the rows share
    /// the tokens evenly, the oldest in the last row, and the last rows hold one more where they do not divide.
    Levelled {
        /// Rows of the region.
        rows: u64,
        /// Groups of columns that share the sequence; one part for each.
        groups: Digit,
    },
    /// The same tokens for all groups of columns together: what a row of the region holds of such a cache.
    LevelledRows {
        /// Rows of the region.
        rows: u64,
        /// Groups of columns that share the sequence.
        groups: u64,
    },
    /// Tokens of a cache, `first` and those after it: token `t` belongs to group `t mod groups`.
    Cached(Cached),
    /// The same tokens for all groups of columns together: what a row of the region holds of such a cache.
    CachedRows(Cached),
    /// Two dimensions one after the other: the first `size` elements as one spread says, those behind them as another.
    Beside {
        /// Elements of the first.
        size: u64,
        /// How they lie.
        first: Box<Spread>,
        /// How those behind them lie.
        behind: Box<Spread>,
    },
    /// What lies in all of several spreads.
    Meet(Vec<Spread>),
    /// As a spread says on a rectangle of the region, whose places are counted from its own corner; nothing outside.
    Within {
        /// The rectangle, seen from the corner of the region.
        rectangle: Region,
        /// How the dimension lies on it.
        spread: Box<Spread>,
    },
    /// What a spread gives, shared out once more: of its list, in order, a place keeps the part of its digit.
    Shared {
        /// What is shared out.
        spread: Box<Spread>,
        /// The part of a place.
        digit: Digit,
    },
    /// What a reduction with a rotating root leaves while the pieces of a ring along y pass by: a place of ring number `c`
    /// along x and `n` along y is root in the rounds `c`, `c + columns`, ..., in which piece `n + round` is here.
    Collected {
        /// Places of a block of the line along x.
        columns: u64,
        /// Places of the ring along y, one piece each; as many rounds.
        rows: u64,
    },
    /// Pieces of a systolic product: `size` is cut evenly into `pieces`; a place of a ring that is folded by interleaving
    /// holds a run of them, rotated by the run of its line.
    Ring(Ring),
}

/// Where the tokens of a cache lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cached {
    /// The oldest token that is kept; the dimension counts tokens from the first of the sequence.
    pub first: u64,
    /// Users, who all have as many tokens: index `t users + u` of the dimension is token `t` of user `u`.
    pub users: u64,
    /// Rows of the region, which share the tokens of a group.
    pub rows: u64,
    /// Groups of columns that share the sequence; one part for each.
    pub groups: Digit,
    /// How rows share them.
    pub order: RowOrder,
}

/// How the rows of a cache share the tokens of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RowOrder {
    /// Evenly in runs, the oldest in the last row, and the last rows hold one more where they do not divide.
    Level,
    /// The `n`-th token of a group in row `n mod rows`.
    Dealt,
}

impl Cached {
    /// Tokens of a group: the first, and how many, `parts` apart.
    const fn of_group(&self, size: u64, group: u64) -> (u64, u64) {
        let parts = if self.groups.parts == 0 { 1 } else { self.groups.parts };
        let first = self.first + (group + parts - self.first % parts) % parts;
        if first < size { (first, (size - first).div_ceil(parts)) } else { (first, 0) }
    }

    /// The tokens in a row of a group.
    fn tokens(&self, size: u64, group: u64, row: u64) -> Vec<u64> {
        if row >= self.rows {
            return Vec::new();
        }
        let (first, count) = self.of_group(size, group);
        let parts = self.groups.parts.max(1);
        match self.order {
            RowOrder::Level => {
                let from_last = self.rows - 1 - row;
                let (each, rest) = (count / self.rows, count % self.rows);
                let begin = each * from_last + from_last.min(rest);
                let here = each + u64::from(from_last < rest);
                (begin..begin + here).map(|index| first + index * parts).collect()
            }
            RowOrder::Dealt => {
                // The number of a token in its group does not change when older ones are forgotten.
                let number = first / parts;
                let skipped = (row + self.rows - number % self.rows) % self.rows;
                (skipped..count).step_by(self.rows as usize).map(|index| first + index * parts).collect()
            }
        }
    }

    /// The tokens of all users in a row of a group, by their indices in a dimension of `size`.
    fn indices(&self, size: u64, group: u64, row: u64) -> Vec<u64> {
        let users = self.users.max(1);
        let tokens = self.tokens(size / users, group, row);
        tokens.into_iter().flat_map(|token| token * users..(token + 1) * users).collect()
    }

    /// Most indices of a row of a group.
    fn most(&self, size: u64) -> u64 {
        let users = self.users.max(1);
        let kept = (size / users).saturating_sub(self.first);
        kept.div_ceil(self.groups.parts.max(1)).div_ceil(self.rows.max(1)).saturating_mul(users)
    }

    /// The row that token `token` enters, and the column group.
    pub const fn row_of_new(&self, token: u64) -> u64 {
        let parts = if self.groups.parts == 0 { 1 } else { self.groups.parts };
        match self.order {
            RowOrder::Level => 0,
            RowOrder::Dealt => {
                if self.rows == 0 {
                    0
                } else {
                    token / parts % self.rows
                }
            }
        }
    }
}

/// The runs of pieces of one operand of Cannon's algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Axis of the ring.
    pub axis: Axis,
    /// Places of a block of the line that form one ring.
    pub length: u64,
    /// Pieces of the dimension; at least as many as places.
    pub pieces: u64,
    /// Rotation: places across form a ring of this length as well, and the run of a place's line is added (0: not rotated).
    pub across: u64,
}

/// The logical number of a place of a ring folded by interleaving: data moves from a place to the one with the next lower
/// number. Physical order of the flow: 0, 2, 4, ..., 5, 3, 1 (see `Shift`).
pub const fn ring_number(length: u64, index: u64) -> u64 {
    if length == 0 {
        return 0;
    }
    let flow = if index.is_multiple_of(2) { index / 2 } else { length - index.div_ceil(2) };
    (length - flow % length) % length
}

/// First piece of the run of logical place `number` when `pieces` are shared out over `length` places.
pub const fn run_start(pieces: u64, length: u64, number: u64) -> u64 {
    if length == 0 { 0 } else { (pieces as u128 * number as u128 / length as u128) as u64 }
}

impl Ring {
    /// The pieces by which the line at coordinate `across` is rotated; below [`Self::pieces`].
    pub const fn rotation(&self, across: u64) -> u64 {
        if self.across == 0 {
            return 0;
        }
        run_start(self.pieces, self.across, ring_number(self.across, across % self.across))
    }

    /// The pieces of a place in the order in which it uses them.
    pub fn pieces_at(&self, place: Place) -> Vec<u64> {
        let (along, across) = match self.axis {
            Axis::X => place,
            Axis::Y => (place.1, place.0),
        };
        let length = self.length.max(1);
        let number = ring_number(length, along % length);
        let rotation = self.rotation(across);
        let (first, last) = (run_start(self.pieces, length, number), run_start(self.pieces, length, number + 1));
        (first..last).map(|piece| (piece + rotation) % self.pieces.max(1)).collect()
    }

    /// The elements of a piece of a dimension.
    pub fn elements_of(&self, size: u64, piece: u64) -> Vec<u64> {
        even(size, self.pieces, piece)
    }
}

/// From the first of a rotary pair to the second, in a dimension of `size` of which the `leading` ones are rotated.
const fn pair_distance(size: u64, leading: u64, lower: u64) -> u64 {
    if lower < leading { leading / 2 } else { size.saturating_sub(leading) / 2 }
}

/// The elements of part `part` of a dimension that is shared out evenly (see [`Spread::Split`]).
pub fn even(size: u64, parts: u64, part: u64) -> Vec<u64> {
    let parts = parts.max(1);
    if part >= parts {
        return Vec::new();
    }
    let (each, rest) = (size / parts, size % parts);
    let mut elements: Vec<u64> = (each * part..each * (part + 1)).collect();
    if part < rest {
        elements.push(each * parts + part);
    }
    elements
}

impl Spread {
    /// The indices of a dimension of `size` that a place holds.
    pub fn indices(&self, size: u64, place: Place) -> Vec<u64> {
        match self {
            Self::Whole => (0..size).collect(),
            Self::Split(digit) => digit.of(place).map_or_else(Vec::new, |part| even(size, digit.parts, part)),
            Self::Pairs(digit) => {
                let half = size / 2;
                let lower = digit.of(place).map_or_else(Vec::new, |part| even(half, digit.parts, part));
                let upper: Vec<u64> = lower.iter().map(|index| index + half).collect();
                [lower, upper].concat()
            }
            Self::LeadingPairs { digit, leading } => {
                let pairs = digit.of(place).map_or_else(Vec::new, |part| even(size / 2, digit.parts, part));
                let lower = |pair: &u64| if *pair < leading / 2 { *pair } else { pair + leading / 2 };
                let partner = |pair: &u64| lower(pair) + pair_distance(size, *leading, lower(pair));
                pairs.iter().map(lower).chain(pairs.iter().map(partner)).collect()
            }
            Self::At { digit, number } => {
                if digit.of(place) == Some(*number) {
                    (0..size).collect()
                } else {
                    Vec::new()
                }
            }
            Self::Listed(indices) => indices.clone(),
            Self::Levelled { rows, groups } => levelled(size, *rows, groups, place),
            Self::LevelledRows { rows, groups } => {
                let groups = (*groups).max(1);
                let group = |number: u64| {
                    let one = Digit { axis: Axis::X, first: 0, modulus: 0, limit: u64::MAX, stride: 1, parts: groups };
                    levelled(size, *rows, &one, (number, place.1))
                };
                let mut tokens: Vec<u64> = (0..groups).flat_map(group).collect();
                tokens.sort_unstable();
                tokens
            }
            Self::Cached(cached) => {
                cached.groups.of(place).map_or_else(Vec::new, |group| cached.indices(size, group, place.1))
            }
            Self::CachedRows(cached) => {
                let groups = 0..cached.groups.parts.max(1);
                let mut tokens: Vec<u64> = groups.flat_map(|group| cached.indices(size, group, place.1)).collect();
                tokens.sort_unstable();
                tokens
            }
            Self::Beside { size: leading, first, behind } => {
                let mut indices = first.indices(*leading, place);
                let rest = behind.indices(size.saturating_sub(*leading), place);
                indices.extend(rest.into_iter().map(|index| index + leading));
                indices
            }
            Self::Meet(spreads) => {
                let mut spreads = spreads.iter().map(|spread| spread.indices(size, place));
                let first = spreads.next().unwrap_or_default();
                spreads.fold(first, |common, other| common.into_iter().filter(|index| other.contains(index)).collect())
            }
            Self::Within { rectangle, spread } => {
                rectangle.seen(place.0, place.1).map_or_else(Vec::new, |place| spread.indices(size, place))
            }
            Self::Shared { spread, digit } => digit.of(place).map_or_else(Vec::new, |part| {
                let all = spread.indices(size, place);
                let kept = even(all.len() as u64, digit.parts, part);
                kept.into_iter().filter_map(|at| all.get(at as usize).copied()).collect()
            }),
            Self::Collected { columns, rows } => {
                let (columns, rows) = ((*columns).max(1), (*rows).max(1));
                let (c, n) = (ring_number(columns, place.0 % columns), ring_number(rows, place.1 % rows));
                (c..rows).step_by(columns as usize).flat_map(|round| even(size, rows, (n + round) % rows)).collect()
            }
            Self::Ring(ring) => {
                ring.pieces_at(place).into_iter().flat_map(|piece| ring.elements_of(size, piece)).collect()
            }
        }
    }
}

impl Spread {
    /// Most indices of a dimension of `size` in any place, without looking at the places: exact for one dimension.
    pub fn most(&self, size: u64) -> u64 {
        match self {
            Self::Whole | Self::At { .. } => size,
            Self::Split(digit) => size.div_ceil(digit.parts.max(1)),
            Self::Pairs(digit) | Self::LeadingPairs { digit, .. } => {
                (size / 2).div_ceil(digit.parts.max(1)).saturating_mul(2)
            }
            Self::Listed(indices) => indices.len() as u64,
            Self::Levelled { rows, groups } => size.div_ceil(groups.parts.max(1)).div_ceil((*rows).max(1)),
            Self::LevelledRows { rows, groups } => {
                // Tokens `g`, `g + groups`, ... belong to group `g`: the first `size mod groups` hold one more.
                let (rows, groups) = ((*rows).max(1), (*groups).max(1));
                let (each, longer) = (size / groups, size % groups);
                longer * (each + 1).div_ceil(rows) + (groups - longer) * each.div_ceil(rows)
            }
            Self::Cached(cached) => cached.most(size),
            Self::CachedRows(cached) => cached.most(size).saturating_mul(cached.groups.parts.max(1)),
            Self::Beside { size: leading, first, behind } => {
                first.most(*leading).saturating_add(behind.most(size.saturating_sub(*leading)))
            }
            Self::Meet(spreads) => spreads.iter().map(|spread| spread.most(size)).min().unwrap_or(0),
            Self::Within { spread, .. } => spread.most(size),
            Self::Shared { spread, digit } => spread.most(size).div_ceil(digit.parts.max(1)),
            Self::Collected { columns, rows } => {
                let rows = (*rows).max(1);
                rows.div_ceil((*columns).max(1)).saturating_mul(size.div_ceil(rows)).min(size)
            }
            Self::Ring(ring) => {
                let pieces = ring.pieces.max(1);
                pieces.div_ceil(ring.length.max(1)).saturating_mul(size.div_ceil(pieces)).min(size)
            }
        }
    }
}

impl Spread {
    /// Where what a place holds comes in pairs, all first halves before all second ones: how many are rotated of a dimension of
    /// `size`.
    const fn pairs(&self, size: u64) -> Option<u64> {
        match self {
            Self::Pairs(_) => Some(size),
            Self::LeadingPairs { leading, .. } => Some(*leading),
            _ => None,
        }
    }

    /// Whether places that differ only in their coordinate along an axis may hold different indices.
    pub fn differs_along(&self, axis: Axis) -> bool {
        match self {
            Self::Whole | Self::Listed(_) => false,
            Self::Split(digit) | Self::Pairs(digit) | Self::LeadingPairs { digit, .. } | Self::At { digit, .. } => {
                digit.axis == axis
            }
            Self::Levelled { groups, .. } | Self::Cached(Cached { groups, .. }) => {
                axis == Axis::Y || groups.axis == axis && groups.parts > 1
            }
            Self::LevelledRows { .. } | Self::CachedRows(_) => axis == Axis::Y,
            Self::Beside { first, behind, .. } => first.differs_along(axis) || behind.differs_along(axis),
            Self::Meet(spreads) => spreads.iter().any(|spread| spread.differs_along(axis)),
            // A rectangle begins and ends.
            Self::Within { .. } => true,
            Self::Shared { spread, digit } => digit.axis == axis || spread.differs_along(axis),
            Self::Collected { .. } | Self::Ring(_) => true,
        }
    }
}

fn levelled(size: u64, rows: u64, groups: &Digit, place: Place) -> Vec<u64> {
    let Some(group) = groups.of(place) else { return Vec::new() };
    let tokens = (size + groups.parts - 1).saturating_sub(group) / groups.parts;
    if place.1 >= rows {
        return Vec::new();
    }
    let from_last = rows - 1 - place.1;
    let (each, rest) = (tokens / rows, tokens % rows);
    let first = each * from_last + from_last.min(rest);
    let count = each + u64::from(from_last < rest);
    (first..first + count).map(|index| index * groups.parts + group).collect()
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

/// A tensor in a buffer: a table of rows (tokens, vectors or token-expert pairs) and of what is in a row. In a processing
/// element its elements lie row by row, each in the order of the indices of the inner dimensions, the last one fastest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Field {
    /// What it is, for messages.
    pub name: Cow<'static, str>,
    /// The rows.
    pub rows: Dimension,
    /// The dimensions of a row.
    pub inner: Vec<Dimension>,
    /// What the inner dimensions give is shared out further: of its list, in order, a place keeps the part of the first digit,
    /// of these the part of the second, and so on. Pairs of the last dimension stay together.
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

    /// What a place holds of each row: numbers in the whole row (row-major over the inner dimensions).
    pub fn inner_at(&self, place: Place) -> Vec<u64> {
        // Pairs of the last dimension are shared out by their first halves.
        let pairs = self.paired();
        let mut lists: Vec<(u64, Vec<u64>)> = Vec::with_capacity(self.inner.len());
        for (index, dimension) in self.inner.iter().enumerate() {
            let mut indices = dimension.spread.indices(dimension.size, place);
            if pairs.is_some() && index + 1 == self.inner.len() {
                indices.truncate(indices.len() / 2);
            }
            lists.push((dimension.size, indices));
        }
        // Where in the list of all numbers those lie that are kept: most lists are far longer than what a place keeps of them.
        let all: u64 = lists.iter().map(|(_, indices)| indices.len() as u64).product();
        let mut kept: Option<Vec<u64>> = None;
        for digit in &self.shares {
            let Some(part) = digit.of(place) else { return Vec::new() };
            let of = |length: u64| even(length, digit.parts, part);
            kept = Some(match kept {
                None => of(all),
                Some(before) => {
                    let places = of(before.len() as u64).into_iter();
                    places.filter_map(|at| before.get(at as usize).copied()).collect()
                }
            });
        }
        let number_at = |position: u64| {
            let (mut number, mut stride, mut left) = (0, 1, position);
            for (size, indices) in lists.iter().rev() {
                let length = (indices.len() as u64).max(1);
                number += indices.get((left % length) as usize).copied().unwrap_or(0) * stride;
                (left, stride) = (left / length, stride * size);
            }
            number
        };
        let numbers: Vec<u64> = match kept {
            Some(kept) => kept.into_iter().map(number_at).collect(),
            None => lists.iter().fold(vec![0], |numbers, (size, indices)| {
                numbers.iter().flat_map(|number| indices.iter().map(move |index| number * size + index)).collect()
            }),
        };
        let Some((size, leading)) = pairs else { return numbers };
        let partner = |number: u64| number + pair_distance(size, leading, number % size.max(1));
        numbers.into_iter().flat_map(|number| [number, partner(number)]).collect()
    }

    /// Where pairs have to be kept together while they are shared out: size of the last dimension, and how many are rotated.
    fn paired(&self) -> Option<(u64, u64)> {
        let last = self.inner.last().filter(|_| !self.shares.is_empty())?;
        Some((last.size, last.spread.pairs(last.size)?))
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

    /// Elements that a buffer needs in every place: the most of each field, found without looking at the places. Of fields
    /// on rectangles that do not meet, the larger counts. No place holds more; where fields are fullest in different places,
    /// none holds as many.
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
                    // From the row above, its oldest; or it is the new token, which every row knows, and the rows above are empty.
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
