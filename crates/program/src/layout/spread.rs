//! How one dimension lies on a region.

use serde::Serialize;

use super::cached::levelled;
use super::{Cached, Digit, Place, Ring, ring_number};
use crate::region::{Axis, Region};
use crate::runs::{Run, Runs, even_runs};

/// How one dimension lies on a region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// All of it in every place.
    Whole,
    /// Shared out evenly: part `i` of `parts` holds `q i .. q (i + 1)`, and the last `size mod parts` elements go one
    /// each to the first parts. This is the division of `wafersim-place`.
    Split(Digit),
    /// Shared out evenly in pairs `(i, i + size / 2)`, which rotary embeddings combine: both of a pair lie in one
    /// place.
    Pairs(Digit),
    /// The same where only the `leading` ones are rotated: pairs `(i, i + leading / 2)` of those, and likewise of the
    /// others.
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
    /// Tokens of a cache whose rows are kept level: token `t` belongs to group `t mod groups`; inside a group the rows
    /// share the tokens evenly, the oldest in the last row, and the last rows hold one more where they do not divide.
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
    /// What a reduction with a rotating root leaves while the pieces of a ring along y pass by: a place of ring number
    /// `c` along x and `n` along y is root in the rounds `c`, `c + columns`, ..., in which piece `n + round` is here.
    Collected {
        /// Places of a block of the line along x.
        columns: u64,
        /// Places of the ring along y, one piece each; as many rounds.
        rows: u64,
    },
    /// Pieces of a systolic product: `size` is cut evenly into `pieces`; a place of a ring that is folded by
    /// interleaving holds a run of them, rotated by the run of its line.
    Ring(Ring),
}

impl Spread {
    /// The indices of a dimension of `size` that a place holds, in the order in which they lie.
    pub fn indices(&self, size: u64, place: Place) -> Vec<u64> {
        self.runs(size, place).indices().collect()
    }

    /// The same as runs.
    pub fn runs(&self, size: u64, place: Place) -> Runs {
        let of = |digit: &Digit, size: u64| {
            digit.of(place).map_or_else(Runs::default, |part| even_runs(size, digit.parts, part))
        };
        match self {
            Self::Whole => Runs::whole(size),
            Self::Split(digit) => of(digit, size),
            Self::Pairs(digit) => {
                let (half, lower) = (size / 2, of(digit, size / 2));
                lower.iter().chain(lower.iter().map(|run| run.after(half))).collect()
            }
            Self::LeadingPairs { digit, leading } => {
                let (rotated, pairs) = (leading / 2, of(digit, size / 2));
                let (first, others) = (Run::new(0, rotated), Run::new(rotated, u64::MAX));
                let lower: Runs =
                    pairs.iter().flat_map(|run| [run.common(first), run.common(others).after(rotated)]).collect();
                let partner = |run: Run| run.after(pair_distance(size, *leading, run.first));
                lower.iter().chain(lower.iter().map(partner)).collect()
            }
            Self::At { digit, number } => {
                if digit.of(place) == Some(*number) {
                    Runs::whole(size)
                } else {
                    Runs::default()
                }
            }
            Self::Listed(indices) => indices.iter().copied().collect(),
            Self::Levelled { rows, groups } => levelled(size, *rows, groups, place).into_iter().collect(),
            Self::LevelledRows { rows, groups } => {
                let groups = (*groups).max(1);
                let group = |number: u64| {
                    let one = Digit { axis: Axis::X, first: 0, modulus: 0, limit: u64::MAX, stride: 1, parts: groups };
                    levelled(size, *rows, &one, (number, place.1))
                };
                let mut tokens: Vec<u64> = (0..groups).flat_map(group).collect();
                tokens.sort_unstable();
                tokens.into_iter().collect()
            }
            Self::Cached(cached) => {
                let group = cached.groups.of(place);
                group.map_or_else(Runs::default, |group| cached.indices(size, group, place.1).into_iter().collect())
            }
            Self::CachedRows(cached) => {
                let groups = 0..cached.groups.parts.max(1);
                let mut tokens: Vec<u64> = groups.flat_map(|group| cached.indices(size, group, place.1)).collect();
                tokens.sort_unstable();
                tokens.into_iter().collect()
            }
            Self::Beside { size: leading, first, behind } => {
                let rest = behind.runs(size.saturating_sub(*leading), place);
                first.runs(*leading, place).iter().chain(rest.iter().map(|run| run.after(*leading))).collect()
            }
            Self::Meet(spreads) => {
                let mut spreads = spreads.iter().map(|spread| spread.runs(size, place));
                let first = spreads.next().unwrap_or_default();
                spreads.fold(first, |common, other| common.common(&other))
            }
            Self::Within { rectangle, spread } => {
                let place = rectangle.seen(place.0, place.1);
                place.map_or_else(Runs::default, |place| spread.runs(size, place))
            }
            Self::Shared { spread, digit } => {
                let all = spread.runs(size, place);
                all.at(&of(digit, all.length()))
            }
            Self::Collected { columns, rows } => {
                let (columns, rows) = ((*columns).max(1), (*rows).max(1));
                let (c, n) = (ring_number(columns, place.0 % columns), ring_number(rows, place.1 % rows));
                let rounds = (c..rows).step_by(columns as usize).map(|round| even_runs(size, rows, (n + round) % rows));
                rounds.flat_map(|runs| runs.iter().collect::<Vec<_>>()).collect()
            }
            Self::Ring(ring) => {
                let pieces = ring.pieces_at(place).into_iter().map(|piece| even_runs(size, ring.pieces, piece));
                pieces.flat_map(|runs| runs.iter().collect::<Vec<_>>()).collect()
            }
        }
    }
}

/// From the first of a rotary pair to the second, in a dimension of `size` of which the `leading` ones are rotated.
pub(super) const fn pair_distance(size: u64, leading: u64, lower: u64) -> u64 {
    if lower < leading { leading / 2 } else { size.saturating_sub(leading) / 2 }
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
    /// Where what a place holds comes in pairs, all first halves before all second ones: how many are rotated of a
    /// dimension of `size`.
    pub(super) const fn pairs(&self, size: u64) -> Option<u64> {
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
