//! Units as types: only the operators that mean something exist.
//!
//! Parsing (`"48KiB"`, `"1.1GHz"`) and printing live here and nowhere else.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes. Prints with binary prefixes (`KiB`, `MiB`, `GiB`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A duration in clock cycles of a processing element. Fractions are real: wavelets cost 1.125 cycles on WSE-3.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cycles(pub f64);

/// A clock frequency in hertz.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hertz(pub f64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// The difference, or zero where `other` is larger.
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Cycles {
    /// No time at all.
    pub const ZERO: Self = Self(0.0);

    /// The longer of two durations.
    pub fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// The duration in seconds at `clock`.
    pub fn seconds(self, clock: Hertz) -> f64 {
        self.0 / clock.0
    }

    /// The duration in microseconds at `clock`.
    pub fn microseconds(self, clock: Hertz) -> f64 {
        self.0 / clock.0 * 1e6
    }

    /// The number of cycles in `seconds` at `clock`.
    pub fn from_seconds(seconds: f64, clock: Hertz) -> Self {
        Self(seconds * clock.0)
    }
}

impl Hertz {
    /// A frequency given in gigahertz.
    pub fn from_gigahertz(gigahertz: f64) -> Self {
        Self(gigahertz * 1e9)
    }

    /// The frequency in gigahertz.
    pub fn gigahertz(self) -> f64 {
        self.0 / 1e9
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for Bytes {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(Self::ZERO, Add::add)
    }
}

impl Add for Cycles {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for Cycles {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for Cycles {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Mul<f64> for Cycles {
    type Output = Self;
    fn mul(self, times: f64) -> Self {
        Self(self.0 * times)
    }
}

impl Div for Cycles {
    type Output = f64;
    fn div(self, other: Self) -> f64 {
        self.0 / other.0
    }
}

impl Sum for Cycles {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        for (size, name) in STEPS {
            if self.0 >= size {
                return write!(formatter, "{:.2} {name}", self.0 as f64 / size as f64);
            }
        }
        write!(formatter, "{} B", self.0)
    }
}

impl fmt::Display for Cycles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.1} cycles", self.0)
    }
}

impl fmt::Display for Hertz {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} GHz", self.gigahertz())
    }
}

/// Text that is not a number with one of the allowed suffixes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a quantity: expected {allowed}")]
pub struct UnitError {
    /// What was written.
    pub text: String,
    /// What would have been accepted.
    pub allowed: &'static str,
}

fn split_suffix(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E').unwrap_or(text.len());
    (text[..end].trim(), text[end..].trim())
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong =
            || UnitError { text: text.into(), allowed: "a number with B, KiB, MiB, GiB, TiB, kB, MB, GB or TB" };
        let (number, suffix) = split_suffix(text.trim());
        let scale = match suffix {
            "" | "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "TB" => 1e12,
            _ => return Err(wrong()),
        };
        let value = number.parse::<f64>().map_err(|_| wrong())? * scale;
        if value.is_finite() && (0.0..9e18).contains(&value) { Ok(Self(value.round() as u64)) } else { Err(wrong()) }
    }
}

impl FromStr for Hertz {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let wrong =
            || UnitError { text: text.into(), allowed: "a number with Hz, MHz or GHz (a bare number means GHz)" };
        let (number, suffix) = split_suffix(text.trim());
        let scale = match suffix {
            "Hz" => 1.0,
            "MHz" => 1e6,
            "" | "GHz" => 1e9,
            _ => return Err(wrong()),
        };
        let value = number.parse::<f64>().map_err(|_| wrong())? * scale;
        if value.is_finite() && value > 0.0 { Ok(Self(value)) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_what_they_print() {
        for (text, value) in [("48KiB", 49_152), ("44 GB", 44_000_000_000), ("7", 7), ("1.5MiB", 1_572_864)] {
            assert_eq!(text.parse::<Bytes>(), Ok(Bytes(value)), "{text}");
        }
        for text in ["", "KiB", "-1B", "1e99", "NaN", "3 furlongs"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(Bytes(49_152).to_string(), "48.00 KiB");
    }

    #[test]
    fn clocks_read_with_and_without_a_unit() {
        for text in ["1.1", "1.1GHz", "1100 MHz", "1100000000Hz"] {
            assert!((text.parse::<Hertz>().unwrap().gigahertz() - 1.1).abs() < 1e-12, "{text}");
        }
        for text in ["0", "-1", "inf", "1 parsec"] {
            assert!(text.parse::<Hertz>().is_err(), "{text}");
        }
    }

    #[test]
    fn sums_saturate_instead_of_wrapping() {
        assert_eq!(Bytes(u64::MAX) + Bytes(1), Bytes(u64::MAX));
        assert_eq!(Bytes(u64::MAX) * 3, Bytes(u64::MAX));
    }
}
