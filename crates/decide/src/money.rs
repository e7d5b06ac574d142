//! What a system costs an hour, and what that makes a token cost.
//!
//! ```text
//! USD/h of a system  = price / (life * 8760) + (power + support) * cooling * USD/kWh + other
//! USD/M tokens       = USD/h of all systems / (tokens a second * 0.0036) / occupancy
//! tokens a kWh       = tokens a second * 3600 * occupancy / (kW of all systems)
//! ```
//! Every figure has a low and a high: with all inputs at the end that makes it so, which is wider than what is likely.

use serde::Serialize;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::Key;

use crate::error::DecideError;

/// Hours of a year.
pub const HOURS: f64 = 8760.0;

/// A figure with what it could as well be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Ranged {
    /// The smallest.
    pub low: f64,
    /// As assumed.
    pub value: f64,
    /// The largest.
    pub high: f64,
}

impl Ranged {
    /// A figure that is known.
    pub const fn known(value: f64) -> Self {
        Self { low: value, value, high: value }
    }

    /// A figure of three others: at its low end, as assumed, and at its high end.
    pub fn of(at: impl Fn(End) -> f64) -> Self {
        Self { low: at(End::Low), value: at(End::Assumed), high: at(End::High) }
    }

    /// Its value at an end.
    pub const fn at(self, end: End) -> f64 {
        match end {
            End::Low => self.low,
            End::Assumed => self.value,
            End::High => self.high,
        }
    }

    /// The same so many times.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { low: self.low * factor, value: self.value * factor, high: self.high * factor }
    }
}

/// An end of what is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything so that the figure is smallest.
    Low,
    /// As assumed.
    Assumed,
    /// Everything so that the figure is largest.
    High,
}

impl End {
    /// The other end, for what makes a figure smaller as it grows.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::Assumed => Self::Assumed,
            Self::High => Self::Low,
        }
    }
}

/// What is assumed of money beside the wafer file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Economics {
    /// USD for a kWh.
    pub price_kwh: Ranged,
    /// Part of the time in which the load is there: 1 is day and night.
    pub occupancy: Ranged,
    /// Years over which a system is written off, where they are not the wafer file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub years: Option<f64>,
}

/// What electricity costs: 0.08 USD/kWh (0.05 to 0.15), a guess for large users.
pub const PRICE_KWH: Ranged = Ranged { low: 0.05, value: 0.08, high: 0.15 };
/// Part of the time that is sold: a half (0.2 to 1), a guess.
pub const OCCUPANCY: Ranged = Ranged { low: 0.2, value: 0.5, high: 1.0 };

impl Default for Economics {
    fn default() -> Self {
        Self { price_kwh: PRICE_KWH, occupancy: OCCUPANCY, years: None }
    }
}

impl Economics {
    /// With what somebody says in place of what is assumed.
    ///
    /// # Errors
    /// Where a value is outside its range.
    pub fn with(price_kwh: Option<f64>, occupancy: Option<f64>, years: Option<f64>) -> Result<Self, DecideError> {
        let checked = |what: &str, value: Option<f64>, low: f64, high: f64| match value {
            Some(value) if !(low..=high).contains(&value) => Err(DecideError::Value {
                what: what.into(),
                value: value.to_string(),
                allowed: format!("a number from {low} to {high}"),
            }),
            value => Ok(value),
        };
        let price_kwh = checked("--price-kwh", price_kwh, 0.0, 1000.0)?;
        let occupancy = checked("--occupancy", occupancy, 0.001, 1.0)?;
        Ok(Self {
            price_kwh: price_kwh.map_or(PRICE_KWH, Ranged::known),
            occupancy: occupancy.map_or(OCCUPANCY, Ranged::known),
            years: checked("--years", years, 0.1, 100.0)?,
        })
    }
}

/// What one system costs in an hour, and what it draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Hourly {
    /// Its price over its life, in USD.
    pub capital: Ranged,
    /// Electricity, in USD.
    pub electricity: Ranged,
    /// All else, in USD.
    pub other: Ranged,
    /// All of it, in USD.
    pub total: Ranged,
    /// What the facility draws for it at its rated power, in kW.
    pub facility_kw: Ranged,
    /// The same with nothing to do, in kW.
    pub floor_kw: Ranged,
}

impl Hourly {
    /// Of a system of this wafer.
    pub fn of(wafer: &Wafer, economics: &Economics) -> Self {
        let at = |key: Key, end: End| {
            let figure = wafer.figure(key);
            Ranged { low: figure.low, value: figure.value, high: figure.high }.at(end)
        };
        let years = |end| economics.years.unwrap_or_else(|| at(Key::SystemLife, end));
        let drawn = |key: Key| move |end| (at(key, end) + at(Key::SystemSupport, end)) * at(Key::SystemCooling, end);
        let capital = |end: End| at(Key::SystemPrice, end) / (years(end.other()) * HOURS);
        let electricity = |end| drawn(Key::SystemPower)(end) * economics.price_kwh.at(end);
        let other = |end| at(Key::SystemOther, end);
        Self {
            capital: Ranged::of(capital),
            electricity: Ranged::of(electricity),
            other: Ranged::of(other),
            total: Ranged::of(|end| capital(end) + electricity(end) + other(end)),
            facility_kw: Ranged::of(drawn(Key::SystemPower)),
            floor_kw: Ranged::of(drawn(Key::SystemFloor)),
        }
    }
}

/// USD for a million tokens, where so many USD an hour give so many tokens a second for a part of the time.
pub fn per_million(usd_per_hour: f64, tokens_per_second: f64, occupancy: f64) -> f64 {
    usd_per_hour / (tokens_per_second * 0.0036 * occupancy)
}

/// Tokens of a kWh.
pub fn per_kwh(tokens_per_second: f64, kw: f64, occupancy: f64) -> f64 {
    tokens_per_second * 3600.0 * occupancy / kw
}
