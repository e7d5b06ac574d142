//! A token bucket that is refilled continuously: it holds `quota` at most and gains `quota` in a window.
//!
//! Of what is taken in any time `t`, the bucket law says: at most `quota + quota t / window`, and after a burst no more
//! than the quota in each window on the average. Arithmetic is in whole numbers (amount times picoseconds), so that the
//! law holds to the last one. What was taken can be given back; and more may be taken than there is, after the fact,
//! which leaves a debt.

use crate::time::Time;

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    quota: u64,
    window: Time,
    /// What is there, times the window in picoseconds; negative where more was taken.
    level: i128,
    at: Time,
}

impl Bucket {
    /// A full bucket at time 0. A window of no length counts as one picosecond.
    pub fn full(quota: u64, window: Time) -> Self {
        let window = window.max(Time(1));
        Self { quota, window, level: amount(quota, window), at: Time::ZERO }
    }

    /// What it holds at most, and gains in a window.
    pub const fn quota(&self) -> u64 {
        self.quota
    }

    /// The window.
    pub const fn window(&self) -> Time {
        self.window
    }

    fn level_at(&self, now: Time) -> i128 {
        let gained = i128::from((now - self.at).0).saturating_mul(i128::from(self.quota));
        self.level.saturating_add(gained).min(amount(self.quota, self.window))
    }

    /// What can be taken at `now`, in whole numbers.
    pub fn remaining(&self, now: Time) -> u64 {
        u64::try_from(self.level_at(now) / i128::from(self.window.0)).unwrap_or(0)
    }

    /// Whether so much can be taken at `now`.
    pub fn holds(&self, now: Time, wanted: u64) -> bool {
        self.level_at(now) >= amount(wanted, self.window)
    }

    /// Takes so much, whether it is there or not.
    pub fn take(&mut self, now: Time, wanted: u64) {
        self.level = self.level_at(now).saturating_sub(amount(wanted, self.window));
        self.at = self.at.max(now);
    }

    /// Gives so much back; what is more than it holds is lost.
    pub fn give_back(&mut self, now: Time, returned: u64) {
        let full = amount(self.quota, self.window);
        self.level = self.level_at(now).saturating_add(amount(returned, self.window)).min(full);
        self.at = self.at.max(now);
    }

    /// How long from `now` until so much can be taken, where nobody else takes anything; nothing where it is more than
    /// the bucket ever holds.
    pub fn wait(&self, now: Time, wanted: u64) -> Option<Time> {
        if wanted > self.quota {
            return None;
        }
        let missing = amount(wanted, self.window).saturating_sub(self.level_at(now)).max(0);
        if missing == 0 {
            return Some(Time::ZERO);
        }
        // The quota is not 0: nothing would be missing.
        let wait = missing.saturating_add(i128::from(self.quota) - 1) / i128::from(self.quota.max(1));
        Some(Time(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// How long until it is full.
    pub fn until_full(&self, now: Time) -> Time {
        self.wait(now, self.quota).unwrap_or(Time::ZERO)
    }
}

fn amount(of: u64, window: Time) -> i128 {
    i128::from(of).saturating_mul(i128::from(window.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000_000;

    proptest! {
        /// In any stretch of time, no more is taken than the bucket holds and gains in it, to the last one; and whoever
        /// waits as long as was said, and not a picosecond less, is let in.
        #[test]
        fn no_stretch_of_time_sees_more_than_a_bucket_and_its_refill(
            quota in 1u64..2000,
            asks in prop::collection::vec((0u64..40, 1u64..900), 1..80),
        ) {
            let window = Time(60 * SECOND);
            let mut bucket = Bucket::full(quota, window);
            let (mut now, mut taken) = (Time::ZERO, Vec::new());
            for (pause, wanted) in asks {
                now += Time(pause * SECOND / 3);
                if bucket.holds(now, wanted) {
                    bucket.take(now, wanted);
                    taken.push((now, wanted));
                } else if let Some(wait) = bucket.wait(now, wanted) {
                    prop_assert!(wait > Time::ZERO);
                    prop_assert!(!bucket.holds(now + (wait - Time(1)), wanted));
                    prop_assert!(bucket.holds(now + wait, wanted));
                } else {
                    prop_assert!(wanted > quota);
                }
            }
            for (first, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0u128;
                for (at, wanted) in &taken[first..] {
                    sum += u128::from(*wanted);
                    let most = u128::from(quota) * u128::from(window.0 + (*at - *from).0);
                    prop_assert!(sum * u128::from(window.0) <= most, "{sum} in {:?}", *at - *from);
                }
            }
        }

        /// What is taken and given back leaves no trace, where the bucket was not refilled to its brim in between.
        #[test]
        fn what_is_given_back_was_never_taken(quota in 100u64..1000, taken in 1u64..100, pause in 0u64..50) {
            let window = Time(1000 * SECOND);
            let mut bucket = Bucket::full(quota, window);
            bucket.take(Time::ZERO, quota);
            let mut other = bucket.clone();
            let later = Time(pause * SECOND);
            bucket.take(Time::ZERO, taken);
            bucket.give_back(later, taken);
            other.take(later, 0);
            prop_assert_eq!(bucket, other);
        }
    }
}
