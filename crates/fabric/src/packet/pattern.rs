//! Where packets go: the traffic patterns of BookSim2 (`traffic.cpp`), and hot spots.
//!
//! BookSim2 refuses transpose and bit-complement on meshes whose number of nodes is no power of two; here they are what
//! they are on those: the exchange of row and column, and the last node for the first, the last but one for the second.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::coordinate::{Coordinate, MeshSize};
use super::error::TrafficError;
use super::random::Destinations;

/// The names of the patterns.
pub const NAMES: [&str; 6] = ["uniform", "transpose", "bitcomp", "neighbor", "tornado", "hotspot"];

/// Where the packets of a source go. With K nodes in a row or column:
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Any node, itself included, equally likely.
    #[default]
    Uniform,
    /// From (column, row) to (row, column). Square meshes only.
    Transpose,
    /// From node i to node nodes - 1 - i: (K - 1 - column, K - 1 - row).
    #[serde(rename = "bitcomp")]
    BitComplement,
    /// One further in both directions, from the last to the first: ((column + 1) mod K, (row + 1) mod K).
    Neighbor,
    /// Nearly half of the way round in both directions: + ceil(K / 2) - 1, modulo K.
    Tornado,
    /// Some nodes are asked more often than the others.
    Hotspot(Hotspot),
}

/// Hot spots over a uniform background. BookSim2's `hotspot` has no background: that is a share of 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hotspot {
    /// The hot nodes, equally likely. None means the one in the middle of the mesh.
    pub places: Vec<Coordinate>,
    /// Part of the packets that goes to them, 0 to 1. The others go anywhere, hot nodes included.
    pub share: f64,
}

impl Default for Hotspot {
    /// A tenth of all packets goes to the middle of the mesh.
    fn default() -> Self {
        Self { places: Vec::new(), share: 0.1 }
    }
}

impl Pattern {
    /// The name, as it is parsed.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Transpose => "transpose",
            Self::BitComplement => "bitcomp",
            Self::Neighbor => "neighbor",
            Self::Tornado => "tornado",
            Self::Hotspot(_) => "hotspot",
        }
    }

    /// Whether the pattern makes sense on a mesh.
    pub fn check(&self, size: MeshSize) -> Result<(), TrafficError> {
        let (columns, rows) = (size.columns(), size.rows());
        match self {
            Self::Transpose if columns != rows => Err(TrafficError::NotSquare { columns, rows }),
            Self::Hotspot(Hotspot { share, .. }) if !(0.0..=1.0).contains(share) => {
                Err(TrafficError::Range { field: "share", value: share.to_string(), allowed: "0 to 1" })
            }
            Self::Hotspot(Hotspot { places, .. }) => places
                .iter()
                .enumerate()
                .find(|(_, place)| !size.contains(**place))
                .map_or(Ok(()), |(index, &place)| {
                    Err(TrafficError::Outside { what: format!("hot spot {index}"), place, columns, rows })
                }),
            _ => Ok(()),
        }
    }

    /// Where the next packet from `source` goes.
    pub(crate) fn destination(&self, source: Coordinate, size: MeshSize, random: &mut Destinations) -> Coordinate {
        let Coordinate { column, row } = source;
        let (columns, rows) = (size.columns(), size.rows());
        match self {
            Self::Uniform => size.place(random.below(size.nodes())),
            Self::Transpose => Coordinate::new(row, column),
            Self::BitComplement => Coordinate::new(columns - 1 - column, rows - 1 - row),
            Self::Neighbor => Coordinate::new((column + 1) % columns, (row + 1) % rows),
            Self::Tornado => {
                let ahead = |from, sides: u32| (from + sides.div_ceil(2) - 1) % sides;
                Coordinate::new(ahead(column, columns), ahead(row, rows))
            }
            Self::Hotspot(Hotspot { places, share }) => {
                let range = 1 << 30;
                if *share < 1.0 && f64::from(random.below(range)) >= share * f64::from(range) {
                    return size.place(random.below(size.nodes()));
                }
                match places.as_slice() {
                    [] => Coordinate::new(columns / 2, rows / 2),
                    [only] => *only,
                    places => places[random.below(places.len() as u32) as usize],
                }
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Pattern {
    type Err = TrafficError;

    /// The pattern of a name, [`Hotspot::default`] for hot spots.
    fn from_str(name: &str) -> Result<Self, TrafficError> {
        Ok(match name {
            "uniform" => Self::Uniform,
            "transpose" => Self::Transpose,
            "bitcomp" => Self::BitComplement,
            "neighbor" => Self::Neighbor,
            "tornado" => Self::Tornado,
            "hotspot" => Self::Hotspot(Hotspot::default()),
            _ => return Err(TrafficError::UnknownPattern { name: name.into() }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pattern: &Pattern, columns: u32, rows: u32) -> Vec<u32> {
        let size = MeshSize::new(columns, rows).expect("a mesh");
        pattern.check(size).expect("a pattern for it");
        let mut random = Destinations::new(1);
        (0..size.nodes()).map(|source| size.node(pattern.destination(size.place(source), size, &mut random))).collect()
    }

    /// The definitions of `traffic.cpp`, on node numbers, where it allows them.
    #[test]
    fn permutations_are_those_of_booksim2() {
        for shift in 1..=3 {
            let side = 1 << shift;
            let nodes = side * side;
            let transpose = |node: u32| node >> shift & (side - 1) | node << shift & (side - 1) << shift;
            assert_eq!(all(&Pattern::Transpose, side, side), (0..nodes).map(transpose).collect::<Vec<_>>());
            let complement = |node: u32| !node & (nodes - 1);
            assert_eq!(all(&Pattern::BitComplement, side, side), (0..nodes).map(complement).collect::<Vec<_>>());
        }
        for side in 1..=9 {
            let digits = |node: u32, step: u32| (node % side + step) % side + side * ((node / side + step) % side);
            let neighbor = (0..side * side).map(|node| digits(node, 1)).collect::<Vec<_>>();
            assert_eq!(all(&Pattern::Neighbor, side, side), neighbor);
            let tornado = (0..side * side).map(|node| digits(node, side.div_ceil(2) - 1)).collect::<Vec<_>>();
            assert_eq!(all(&Pattern::Tornado, side, side), tornado);
        }
    }

    #[test]
    fn permutations_are_permutations_on_oblong_meshes() {
        for pattern in [Pattern::BitComplement, Pattern::Neighbor, Pattern::Tornado] {
            let mut nodes = all(&pattern, 7, 4);
            nodes.sort_unstable();
            assert_eq!(nodes, (0..28).collect::<Vec<_>>(), "{pattern}");
        }
        let oblong = MeshSize::new(7, 4).expect("a mesh");
        assert_eq!(Pattern::Transpose.check(oblong), Err(TrafficError::NotSquare { columns: 7, rows: 4 }));
    }

    #[test]
    fn hot_spots_get_their_share_and_the_others_the_rest() {
        let size = MeshSize::new(4, 4).expect("a mesh");
        let places = vec![Coordinate::new(0, 0), Coordinate::new(3, 3)];
        let pattern = Pattern::Hotspot(Hotspot { places, share: 0.5 });
        let mut random = Destinations::new(3);
        let mut counts = [0_u32; 16];
        for _ in 0..32_000 {
            counts[size.node(pattern.destination(size.place(5), size, &mut random)) as usize] += 1;
        }
        for (node, count) in counts.into_iter().enumerate() {
            let expected = if node == 0 || node == 15 { 9_000.0 } else { 1_000.0 };
            assert!((f64::from(count) / expected - 1.0).abs() < 0.12, "node {node}: {count}, expected {expected}");
        }
        let outside = Pattern::Hotspot(Hotspot { places: vec![Coordinate::new(4, 0)], share: 0.5 });
        assert!(matches!(outside.check(size), Err(TrafficError::Outside { .. })));
        assert!(Pattern::Hotspot(Hotspot { places: vec![], share: f64::NAN }).check(size).is_err());
    }

    #[test]
    fn names_are_parsed_and_printed() {
        for name in NAMES {
            assert_eq!(name.parse::<Pattern>().map(|pattern| pattern.to_string()), Ok(name.to_string()));
        }
        let error = "unifrom".parse::<Pattern>().expect_err("no such pattern").to_string();
        assert!(error.contains("'unifrom'") && error.contains("tornado"), "{error}");
    }
}
