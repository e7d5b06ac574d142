//! Cycles by cause.

use std::ops::{Add, AddAssign, Mul};

use serde::Serialize;
use wafersim_spec::Cycles;

/// Why time passes. The causes of a cost add up to its total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Vector and scalar work of a processing element.
    Compute,
    /// Wavelets on their way: hops times hop latency.
    Hops,
    /// Wavelets that follow the first one of a transfer.
    Payload,
    /// Ramps, set-up and task activation at every stage of a transfer.
    Stages,
    /// Routes rewritten at run time.
    #[serde(rename = "route_changes")]
    RouteChange,
    /// Between wafers.
    #[serde(rename = "wafer_links")]
    Link,
}

impl Cause {
    /// All causes in the order they are printed.
    pub const ALL: [Self; 6] = [Self::Compute, Self::Hops, Self::Payload, Self::Stages, Self::RouteChange, Self::Link];

    /// Name in JSON and CSV.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Hops => "hops",
            Self::Payload => "payload",
            Self::Stages => "stages",
            Self::RouteChange => "route_changes",
            Self::Link => "wafer_links",
        }
    }

    /// Name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Hops => "hops",
            Self::Payload => "payload",
            Self::Stages => "stages",
            Self::RouteChange => "route changes",
            Self::Link => "wafer links",
        }
    }
}

/// A duration, split by cause.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Cost {
    by_cause: [f64; 6],
}

impl Cost {
    /// No time.
    pub const ZERO: Self = Self { by_cause: [0.0; 6] };

    /// `cycles` of one cause.
    pub fn of(cause: Cause, cycles: f64) -> Self {
        let mut cost = Self::ZERO;
        cost.by_cause[cause as usize] = cycles;
        cost
    }

    /// Cycles of one cause.
    pub fn cause(&self, cause: Cause) -> Cycles {
        Cycles(self.by_cause[cause as usize])
    }

    /// Cycles in all.
    pub fn total(&self) -> Cycles {
        Cycles(self.by_cause.iter().sum())
    }

    /// The cause that takes most; the first of [`Cause::ALL`] on a tie.
    pub fn largest(&self) -> Cause {
        Cause::ALL.into_iter().fold(Cause::Compute, |best, cause| {
            if self.by_cause[cause as usize] > self.by_cause[best as usize] { cause } else { best }
        })
    }

    /// The longer of two, with its causes; the first on a tie.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        if other.total().0 > self.total().0 { other } else { self }
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.by_cause.iter_mut().zip(other.by_cause) {
            *mine += theirs;
        }
    }
}

impl Mul<f64> for Cost {
    type Output = Self;
    fn mul(mut self, times: f64) -> Self {
        for cycles in &mut self.by_cause {
            *cycles *= times;
        }
        self
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}
