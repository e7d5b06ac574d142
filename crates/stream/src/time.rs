//! Simulated time: whole picoseconds from the start of a run. Whole numbers, so that sums do not drift and events have
//! one order; 2^64 ps are 213 days.

use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment or a duration in picoseconds. Sums saturate, differences stop at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The start of a run; no time at all.
    pub const ZERO: Self = Self(0);
    /// Later than anything.
    pub const NEVER: Self = Self(u64::MAX);

    /// The nearest whole number of picoseconds; what is no number or negative is zero.
    pub fn from_seconds(seconds: f64) -> Self {
        // A cast saturates, and makes zero of what is no number.
        Self((seconds * 1e12).round() as u64)
    }

    /// In seconds.
    pub fn seconds(self) -> f64 {
        self.0 as f64 * 1e-12
    }

    /// In nanoseconds, rounded down.
    pub const fn nanoseconds(self) -> u64 {
        self.0 / 1000
    }
}

impl Add for Time {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Time {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Time {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.seconds())
    }
}

/// The nearest whole number of picoseconds, which is the same time up to 2^51 of them, 37 minutes.
impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Self::from_seconds)
    }
}
