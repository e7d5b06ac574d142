//! The course of a day: how much is asked, hour by hour.

use crate::time::Time;

/// Seconds of an hour.
const HOUR: f64 = 3600.0;

/// How fast time goes for whoever asks: a factor for each hour of the day, again every day.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct DayCurve {
    /// Factors of the hours, 0 or more, one at least above 0.
    pub hours: [f64; 24],
    /// Hour of the day at which a run begins.
    pub starts: f64,
}

impl Default for DayCurve {
    fn default() -> Self {
        Self { hours: [1.0; 24], starts: 0.0 }
    }
}

impl DayCurve {
    /// Whether every hour is like every other.
    pub fn is_flat(&self) -> bool {
        self.hours.iter().all(|hour| (hour - 1.0).abs() < f64::EPSILON)
    }

    /// The moment after `from` at which as much is asked as in `seconds` at factor 1: for a Poisson process, the
    /// inverse of its cumulative intensity (Cinlar, Introduction to Stochastic Processes, 1975, section 4.7).
    pub fn after(&self, from: Time, seconds: f64) -> Time {
        if self.is_flat() {
            return from + Time::from_seconds(seconds);
        }
        let mut left = seconds.max(0.0);
        let mut at = from.seconds() + self.starts * HOUR;
        let begin = at;
        let a_day: f64 = self.hours.iter().sum::<f64>() * HOUR;
        if a_day <= 0.0 {
            return Time::NEVER;
        }
        let days = (left / a_day).floor();
        left -= days * a_day;
        // Two days at most: what is left is less than one.
        for _ in 0..=48 {
            let hour = (at / HOUR).floor();
            let factor = self.hours.get((hour.rem_euclid(24.0)) as usize).copied().unwrap_or(1.0);
            let there = ((hour + 1.0) * HOUR - at) * factor;
            if left <= there && factor > 0.0 {
                at += left / factor;
                break;
            }
            left -= there;
            at = (hour + 1.0) * HOUR;
        }
        from + Time::from_seconds(at - begin + days * 24.0 * HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hours_pass_as_fast_as_they_say() {
        let mut hours = [1.0; 24];
        (hours[0], hours[1], hours[2]) = (0.5, 0.0, 2.0);
        let curve = DayCurve { hours, starts: 0.0 };
        let after = |from: f64, seconds: f64| curve.after(Time::from_seconds(from), seconds).seconds();
        assert!((after(0.0, 900.0) - 1800.0).abs() < 1e-6);
        assert!((after(1800.0, 900.0) - 3600.0).abs() < 1e-6, "up to the hour that is asleep");
        assert!((after(1800.0, 1000.0) - (7200.0 + 50.0)).abs() < 1e-6, "and on behind it");
        let later = DayCurve { starts: 2.0, ..curve };
        assert!((later.after(Time::ZERO, 100.0).seconds() - 50.0).abs() < 1e-6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Two steps are one of their sum; and a whole day of asking takes a day.
        #[test]
        fn steps_add_up(
            hours in prop::array::uniform24(0.01f64..3.0), from in 0.0f64..200_000.0, one in 0.0f64..90_000.0,
            two in 0.0f64..90_000.0,
        ) {
            let curve = DayCurve { hours, starts: 7.5 };
            let start = Time::from_seconds(from);
            let apart = curve.after(curve.after(start, one), two).seconds();
            let whole = curve.after(start, one + two).seconds();
            prop_assert!((apart - whole).abs() < 1e-3, "{apart} {whole}");
            let a_day = curve.after(start, hours.iter().sum::<f64>() * HOUR).seconds();
            prop_assert!((a_day - from - 86_400.0).abs() < 1e-3, "{a_day}");
        }
    }
}
