//! Where the routed experts of a layer live.

use serde::{Deserialize, Serialize};

/// Who has chosen where experts live.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertStrategy {
    /// Every expert over the whole region.
    Spread,
    /// Every expert in a rectangle of its own.
    Clustered,
    /// Neighbouring experts share a rectangle.
    Linear,
    /// Experts dealt to rectangles in turn.
    RoundRobin,
    /// Hot experts share rectangles with cold ones.
    Hybrid,
    /// Experts that are wanted together lie apart.
    Apart,
    /// Spare memory holds copies of the hottest experts.
    Replicated,
    /// The best of those, improved by simulated annealing.
    Annealed,
    /// Somebody else: a file of assignments.
    File,
}

/// The experts of one kind of layer, every number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertMapping {
    /// Who has chosen.
    pub strategy: ExpertStrategy,
    /// Rectangles side by side that the region is cut into. 1 x 1: every expert over the whole region.
    pub across: u64,
    /// Rectangles one below the other. Rectangles are counted west to east, then north to south.
    pub down: u64,
    /// For each expert the rectangles that hold it. Empty: expert `e` lives in rectangle `e mod (across * down)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homes: Vec<Vec<u16>>,
}

impl ExpertMapping {
    /// Every expert over the whole region.
    pub const SPREAD: Self = Self { strategy: ExpertStrategy::Spread, across: 1, down: 1, homes: Vec::new() };

    /// Rectangles.
    pub const fn cells(&self) -> u64 {
        self.across.saturating_mul(self.down)
    }

    /// Whether every expert lies over the whole region.
    pub const fn is_spread(&self) -> bool {
        self.cells() == 1
    }

    /// The rectangles that hold an expert.
    pub fn homes_of(&self, expert: u64) -> Vec<u64> {
        let listed = usize::try_from(expert).ok().and_then(|expert| self.homes.get(expert));
        match listed {
            Some(homes) => homes.iter().copied().map(u64::from).collect(),
            None => vec![expert % self.cells().max(1)],
        }
    }
}
