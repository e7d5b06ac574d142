//! Service levels: a quantile of what users see, and what it may be.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use wafersim_stream::ServiceOutcome;
use wafersim_stream::statistics::Summary;

use crate::error::DecideError;

/// What users see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Seconds from a request to its first token.
    FirstToken,
    /// Tokens a second of a request after its first.
    Speed,
    /// Seconds between two steps of a user that gave tokens.
    BetweenSteps,
    /// Seconds from a request to the end of its answer.
    WholeAnswer,
}

/// A quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantile {
    /// 5 % are below.
    P5,
    /// Half are.
    P50,
    /// 95 % are.
    P95,
    /// 99 % are.
    P99,
}

/// A service level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// What is looked at.
    pub metric: Metric,
    /// At which quantile.
    pub quantile: Quantile,
    /// What it may be: speeds at least, times at most, in tokens a second and seconds.
    pub bound: f64,
}

impl Metric {
    const fn name(self) -> &'static str {
        match self {
            Self::FirstToken => "ttft",
            Self::Speed => "speed",
            Self::BetweenSteps => "itl",
            Self::WholeAnswer => "e2e",
        }
    }

    fn of(self, outcome: &ServiceOutcome) -> Option<Summary> {
        match self {
            Self::FirstToken => outcome.first_token,
            Self::Speed => outcome.user_speed,
            Self::BetweenSteps => outcome.between_steps,
            Self::WholeAnswer => outcome.whole_request,
        }
    }
}

impl Quantile {
    const fn name(self) -> &'static str {
        match self {
            Self::P5 => "p5",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    const fn of(self, summary: &Summary) -> f64 {
        match self {
            Self::P5 => summary.p5,
            Self::P50 => summary.p50,
            Self::P95 => summary.p95,
            Self::P99 => summary.p99,
        }
    }
}

impl fmt::Display for Level {
    /// Its name in flags and JSON: `ttft_p95`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}", self.metric.name(), self.quantile.name())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Level {
    /// All that can be promised.
    pub const ALL: [(Metric, Quantile); 10] = [
        (Metric::FirstToken, Quantile::P50),
        (Metric::FirstToken, Quantile::P95),
        (Metric::FirstToken, Quantile::P99),
        (Metric::Speed, Quantile::P5),
        (Metric::Speed, Quantile::P50),
        (Metric::BetweenSteps, Quantile::P95),
        (Metric::BetweenSteps, Quantile::P99),
        (Metric::WholeAnswer, Quantile::P50),
        (Metric::WholeAnswer, Quantile::P95),
        (Metric::WholeAnswer, Quantile::P99),
    ];

    /// Whether a level has this name.
    pub fn is_name(name: &str) -> bool {
        Self::ALL.iter().any(|(metric, quantile)| format!("{}_{}", metric.name(), quantile.name()) == name)
    }

    /// A level by its name (`ttft_p95`, `speed_p5`), with its bound as people write it.
    ///
    /// # Errors
    /// Where there is no such level, or the bound is none.
    pub fn named(name: &str, given: &str) -> Result<Self, DecideError> {
        let wrong = |value: String, allowed: String| DecideError::Value { what: name.to_owned(), value, allowed };
        let levels = Self::ALL.map(|(metric, quantile)| Self { metric, quantile, bound: 0.0 });
        let known = levels.into_iter().find(|level| level.to_string() == name);
        let all = || levels.map(|level| level.to_string()).join(", ");
        let level = known.ok_or_else(|| wrong("no service level".into(), all()))?;
        let bound = match level.metric {
            Metric::Speed => given.trim().parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0),
            _ => given.parse().ok().map(|Seconds(seconds)| seconds),
        };
        let allowed = match level.metric {
            Metric::Speed => "a number above 0",
            _ => "a number above 0 with us, ms, s or min, for example 250ms",
        };
        let bound = bound.ok_or_else(|| wrong(format!("'{given}'"), allowed.into()))?;
        Ok(Self { bound, ..level })
    }

    /// What a run came to; nothing where nobody was served in its window.
    pub fn value(&self, outcome: &ServiceOutcome) -> Option<f64> {
        self.metric.of(outcome).map(|summary| self.quantile.of(&summary))
    }

    /// Whether a value is good enough.
    pub fn holds(&self, value: f64) -> bool {
        self.headroom(value) >= 0.0
    }

    /// How much better than needed: 0.1 is 10 % of what may be.
    pub fn headroom(&self, value: f64) -> f64 {
        match self.metric {
            Metric::Speed => value / self.bound - 1.0,
            _ => 1.0 - value / self.bound,
        }
    }

    /// The better of two values.
    pub fn better(&self, one: f64, other: f64) -> f64 {
        if self.headroom(one) >= self.headroom(other) { one } else { other }
    }
}

/// A time as people write it: `1s`, `250ms`, `0.5`; in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seconds(pub f64);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, unit) = match [("us", 1e-6), ("ms", 1e-3), ("min", 60.0), ("s", 1.0)]
            .into_iter()
            .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)))
        {
            Some((number, size)) => (number.trim(), size),
            None => (text, 1.0),
        };
        let seconds = number.parse::<f64>().map(|number| number * unit);
        match seconds {
            Ok(seconds) if seconds.is_finite() && seconds > 0.0 => Ok(Self(seconds)),
            _ => {
                Err(format!("'{text}' is no time; allowed: a number above 0 with us, ms, s or min, for example 250ms"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("1s", 1.0), ("250ms", 0.25), ("0.5", 0.5), ("2 min", 120.0), ("10us", 1e-5)] {
            assert!((text.parse::<Seconds>().unwrap().0 / seconds - 1.0).abs() < 1e-12, "{text}");
        }
        for text in ["", "s", "-1s", "0", "1 h", "nan", "inf s"] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }

    #[test]
    fn levels_have_names() {
        let level = Level::named("ttft_p95", "250ms").unwrap();
        assert_eq!(level, Level { metric: Metric::FirstToken, quantile: Quantile::P95, bound: 0.25 });
        assert!((Level::named("speed_p5", "300").unwrap().bound - 300.0).abs() < 1e-12);
        let said = |name, bound| Level::named(name, bound).unwrap_err().to_string();
        assert!(said("ttft_p5", "1s").contains("ttft_p95, "));
        assert!(said("speed_p5", "1s").contains("a number above 0"));
        assert!(said("e2e_p50", "soon").contains("250ms"));
    }

    #[test]
    fn headroom_is_above_zero_where_a_level_holds() {
        let speed = Level { metric: Metric::Speed, quantile: Quantile::P5, bound: 300.0 };
        let first = Level { metric: Metric::FirstToken, quantile: Quantile::P95, bound: 1.0 };
        assert!(speed.holds(300.0) && !speed.holds(299.0) && first.holds(1.0) && !first.holds(1.01));
        assert_eq!((speed.better(100.0, 200.0), first.better(1.0, 2.0)), (200.0, 1.0));
        assert_eq!((speed.to_string(), first.to_string()), ("speed_p5".into(), "ttft_p95".into()));
        assert!(Level::is_name("ttft_p95") && !Level::is_name("ttft"));
    }
}
