//! How much a search tries.

use serde::Serialize;

/// How much a search may try, counted in mappings judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// What an answer can wait for.
    #[default]
    Quick,
    /// A few times that.
    Normal,
    /// As long as it takes.
    Thorough,
}

impl Effort {
    /// Mappings that are judged to refine a division to the end, at most.
    pub const fn evaluations(self) -> u64 {
        match self {
            Self::Quick => 3_500,
            Self::Normal => 12_000,
            Self::Thorough => 150_000,
        }
    }

    /// Divisions in the first heat.
    pub(crate) const fn divisions(self) -> usize {
        match self {
            Self::Quick => 6,
            Self::Normal => 12,
            Self::Thorough => 24,
        }
    }

    /// Mappings for which routers may have too few colors before none is asked for any more: asking takes up to
    /// seconds.
    pub(crate) const fn router_failures(self) -> u64 {
        match self {
            Self::Quick => 20,
            Self::Normal => 48,
            Self::Thorough => 500,
        }
    }

    /// Further starts.
    pub(crate) const fn restarts(self) -> u64 {
        match self {
            Self::Quick => 0,
            Self::Normal => 2,
            Self::Thorough => 24,
        }
    }
}
