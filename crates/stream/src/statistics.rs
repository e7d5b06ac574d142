//! Averages over time, means with confidence intervals, and distributions: all of a size that does not grow with the
//! run.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// The average over time of a number that changes in steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeAverage {
    value: u64,
    since: Time,
    /// Value times picoseconds.
    area: u128,
    largest: u64,
}

impl TimeAverage {
    /// The number becomes `value`.
    pub fn set(&mut self, now: Time, value: u64) {
        self.area += u128::from(self.value) * u128::from((now - self.since).0);
        self.since = now;
        self.value = value;
        self.largest = self.largest.max(value);
    }

    /// The number grows by one.
    pub fn up(&mut self, now: Time) {
        self.set(now, self.value + 1);
    }

    /// The number shrinks by one.
    pub fn down(&mut self, now: Time) {
        self.set(now, self.value.saturating_sub(1));
    }

    /// The number.
    pub const fn value(&self) -> u64 {
        self.value
    }

    /// Forgets what was before `now`.
    pub fn reset(&mut self, now: Time) {
        *self = Self { value: self.value, since: now, area: 0, largest: self.value };
    }

    /// The average from the last reset, at `start`, to `now`; and the largest value.
    pub fn average(mut self, start: Time, now: Time) -> Average {
        self.set(now, self.value);
        let span = (now - start).0;
        Average { mean: if span == 0 { 0.0 } else { self.area as f64 / span as f64 }, largest: self.largest }
    }
}

/// A number that changed in steps, over a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// Average over time.
    pub mean: f64,
    /// The largest value.
    pub largest: u64,
}

/// A mean with the half width of its 95 % confidence interval, where there is enough to tell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Half of the width of the 95 % confidence interval from batch means; absent below [`FEWEST_BATCHES`] batches.
    pub half_width: Option<f64>,
}

/// Fewest batches that give an interval.
pub const FEWEST_BATCHES: usize = 10;
/// At so many batches, neighbours are put together.
const MOST_BATCHES: usize = 64;

/// The mean of a series by batch means (Law and Kelton, Simulation Modeling and Analysis, section 9.5.3): values that
/// follow each other hang together, so the spread of single values says too little; means of long batches nearly do not
/// hang together.
#[derive(Debug, Clone, Default)]
pub struct BatchMeans {
    /// Sums of the full batches.
    batches: Vec<f64>,
    /// Values in a full batch.
    size: u64,
    open: (f64, u64),
    all: (f64, u64),
}

impl BatchMeans {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.size = self.size.max(1);
        self.all = (self.all.0 + value, self.all.1 + 1);
        self.open = (self.open.0 + value, self.open.1 + 1);
        if self.open.1 < self.size {
            return;
        }
        self.batches.push(self.open.0);
        self.open = (0.0, 0);
        if self.batches.len() == MOST_BATCHES {
            self.batches = self.batches.chunks_exact(2).map(|pair| pair[0] + pair[1]).collect();
            self.size *= 2;
        }
    }

    /// Values so far.
    pub const fn count(&self) -> u64 {
        self.all.1
    }

    /// The mean of all values; nothing where there are none.
    pub fn estimate(&self) -> Option<Estimate> {
        if self.all.1 == 0 {
            return None;
        }
        let means: Vec<f64> = self.batches.iter().map(|sum| sum / self.size as f64).collect();
        Some(Estimate { mean: self.all.0 / self.all.1 as f64, half_width: half_width(&means) })
    }
}

/// Half of the 95 % interval of a mean of values that do not hang together.
pub fn half_width(means: &[f64]) -> Option<f64> {
    if means.len() < FEWEST_BATCHES {
        return None;
    }
    let count = means.len() as f64;
    let mean = means.iter().sum::<f64>() / count;
    let variance = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(student(count - 1.0) * (variance / count).sqrt())
}

/// The 0.975 quantile of Student's distribution: Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5), within 1e-3
/// from 9 degrees of freedom on.
fn student(freedom: f64) -> f64 {
    let z: f64 = 1.959_964;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

/// Events per second over time, with an interval: counts in bins of time that grow with the run.
#[derive(Debug, Clone)]
pub struct RateMeans {
    bins: Vec<u64>,
    width: u64,
    start: Time,
    total: u64,
}

/// Width of the first bins: 1 ms.
const FIRST_BIN: u64 = 1_000_000_000;

impl RateMeans {
    /// Counts from `start` on.
    pub const fn new(start: Time) -> Self {
        Self { bins: Vec::new(), width: FIRST_BIN, start, total: 0 }
    }

    /// Counts so many at `now`, which is not before the last one.
    pub fn add(&mut self, now: Time, count: u64) {
        self.total += count;
        let mut bin = (now - self.start).0 / self.width;
        while bin >= MOST_BATCHES as u64 {
            self.bins.resize(MOST_BATCHES, 0);
            self.bins = self.bins.chunks_exact(2).map(|pair| pair[0] + pair[1]).collect();
            self.width = self.width.saturating_mul(2);
            bin = (now - self.start).0 / self.width;
        }
        let bin = bin as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += count;
    }

    /// All that was counted.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Per second from the start to `now`.
    pub fn estimate(&self, now: Time) -> Estimate {
        let span = (now - self.start).seconds();
        let width = Time(self.width).seconds();
        // The last bin is not full.
        let full = ((now - self.start).0 / self.width) as usize;
        let mut bins: Vec<f64> = self.bins.iter().take(full).map(|count| *count as f64 / width).collect();
        bins.resize(full.min(MOST_BATCHES), 0.0);
        Estimate { mean: if span > 0.0 { self.total as f64 / span } else { 0.0 }, half_width: half_width(&bins) }
    }
}

/// How a number went over time: its value at the ends of bins that grow with the run.
#[derive(Debug, Clone)]
pub struct Course {
    bins: Vec<u64>,
    width: u64,
    start: Time,
    first: u64,
    value: u64,
}

impl Course {
    /// From `start` on, where it is `value`.
    pub const fn new(start: Time, value: u64) -> Self {
        Self { bins: Vec::new(), width: FIRST_BIN, start, first: value, value }
    }

    /// The number becomes `value` at `now`, which is not before the last one.
    pub fn set(&mut self, now: Time, value: u64) {
        let since = (now - self.start).0;
        while since / self.width >= MOST_BATCHES as u64 {
            self.bins.resize(MOST_BATCHES, self.value);
            self.bins = self.bins.chunks_exact(2).map(|pair| pair[1]).collect();
            self.width = self.width.saturating_mul(2);
        }
        let bin = (since / self.width) as usize;
        if bin > self.bins.len() {
            self.bins.resize(bin, self.value);
        }
        self.value = value;
    }

    /// Its value at most a bin before `at`.
    pub fn at(&self, at: Time) -> u64 {
        match ((at - self.start).0 / self.width) as usize {
            0 => self.first,
            bin => self.bins.get(bin - 1).copied().unwrap_or(self.value),
        }
    }
}

/// A value and how often it occurs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Count {
    /// The value.
    pub value: f64,
    /// How often.
    pub count: u64,
}

/// A distribution: an HDR histogram (three significant digits), with its exact ends and an exact mean.
#[derive(Debug, Clone)]
pub struct Distribution {
    histogram: Option<Histogram<u64>>,
    sum: u128,
    count: u64,
    least: u64,
    most: u64,
    /// What one unit of the histogram is worth.
    unit: f64,
}

/// What is said of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Values.
    pub count: u64,
    /// Exact mean.
    pub mean: f64,
    /// Exact smallest value.
    pub min: f64,
    /// 5 % are at or below; within 0.1 %, as are the others.
    pub p5: f64,
    /// Half are at or below.
    pub p50: f64,
    /// 95 % are at or below.
    pub p95: f64,
    /// 99 % are at or below.
    pub p99: f64,
    /// Exact largest value.
    pub max: f64,
}

/// Significant digits of a histogram.
const DIGITS: u8 = 3;

impl Distribution {
    /// Of whole numbers from 0 to `largest` that are worth `unit` each; larger ones count as `largest` in quantiles.
    pub fn new(largest: u64, unit: f64) -> Self {
        let histogram = Histogram::new_with_bounds(1, largest.max(2), DIGITS).ok();
        Self { histogram, sum: 0, count: 0, least: u64::MAX, most: 0, unit }
    }

    /// Adds `count` values of the same size.
    pub fn add(&mut self, value: u64, count: u64) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record_n(value, count);
        }
        self.sum += u128::from(value) * u128::from(count);
        self.count += count;
        self.least = self.least.min(value);
        self.most = self.most.max(value);
    }

    /// Every bucket that holds a value: its upper end (not beyond the largest value) and how many it holds, in rising
    /// order.
    pub fn counts(&self) -> Vec<Count> {
        let Some(histogram) = &self.histogram else { return Vec::new() };
        let buckets = histogram.iter_recorded().map(|bucket| Count {
            value: bucket.value_iterated_to().clamp(self.least, self.most) as f64 * self.unit,
            count: bucket.count_at_value(),
        });
        buckets.collect()
    }

    /// What there is to say; nothing where there are no values.
    pub fn summary(&self) -> Option<Summary> {
        let histogram = self.histogram.as_ref().filter(|_| self.count > 0)?;
        // A quantile is the upper end of its bucket: not beyond the largest value.
        let quantile = |part: f64| histogram.value_at_quantile(part).clamp(self.least, self.most) as f64 * self.unit;
        Some(Summary {
            count: self.count,
            mean: self.sum as f64 / self.count as f64 * self.unit,
            min: self.least as f64 * self.unit,
            p5: quantile(0.05),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: self.most as f64 * self.unit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_independent_values_is_the_textbook_one() {
        // 2.262 and 2.045 are the tabled quantiles for 9 and 29 degrees of freedom.
        assert!((student(9.0) - 2.262).abs() < 1e-3 && (student(29.0) - 2.045).abs() < 1e-3);
        let mut means = BatchMeans::default();
        (0..10).for_each(|value| means.add(f64::from(value)));
        let estimate = means.estimate().unwrap();
        // Standard deviation 3.0277 of 0..9.
        assert!((estimate.half_width.unwrap() - 2.262 * 3.0277 / 10f64.sqrt()).abs() < 5e-3);
    }

    #[test]
    fn batches_are_put_together_and_lose_nothing() {
        let mut means = BatchMeans::default();
        (0..100_000).for_each(|value| means.add(f64::from(value % 10)));
        assert!((32..64).contains(&means.batches.len()));
        let estimate = means.estimate().unwrap();
        assert!((estimate.mean - 4.5).abs() < 1e-9 && estimate.half_width.unwrap() < 0.01);
    }

    #[test]
    fn rates_count_everything_in_bins_that_grow() {
        let mut rate = RateMeans::new(Time::from_seconds(1.0));
        (0..10_000u64).for_each(|index| rate.add(Time::from_seconds(1.0 + index as f64 * 0.01), 2));
        let estimate = rate.estimate(Time::from_seconds(101.0));
        assert!((estimate.mean - 200.0).abs() < 1e-9 && rate.bins.len() <= 64);
        assert!(estimate.half_width.unwrap() < 1.0);
    }

    #[test]
    fn a_course_is_known_at_every_part_of_the_way() {
        let mut course = Course::new(Time::from_seconds(1.0), 5);
        (0..100_000u64).for_each(|index| course.set(Time::from_seconds(1.0 + index as f64 * 1e-3), index));
        let at = |seconds: f64| course.at(Time::from_seconds(1.0 + seconds)) as f64;
        assert!(course.bins.len() < 64 && at(0.0) == 5.0);
        assert!([25.0, 50.0, 75.0].iter().all(|seconds| (at(*seconds) - seconds * 1e3).abs() < 2100.0));
        let mut quiet = Course::new(Time::ZERO, 3);
        quiet.set(Time::from_seconds(80.0), 4);
        assert_eq!([0.0, 40.0, 90.0].map(|seconds| quiet.at(Time::from_seconds(seconds))), [3, 3, 4]);
    }

    #[test]
    fn time_averages_weigh_by_time() {
        let mut number = TimeAverage::default();
        number.set(Time(10), 4);
        number.set(Time(30), 0);
        assert_eq!(number.average(Time::ZERO, Time(40)), Average { mean: 2.0, largest: 4 });
    }

    #[test]
    fn quantiles_are_within_a_thousandth() {
        let mut distribution = Distribution::new(1 << 40, 1e-3);
        (1..=10_000u64).for_each(|value| distribution.add(value * 1000, 1));
        let summary = distribution.summary().unwrap();
        assert!((summary.p50 / 5000.0 - 1.0).abs() < 1.1e-3 && (summary.mean - 5000.5).abs() < 1e-6);
        assert!((summary.max - 10_000.0).abs() < 1e-9);
        let counts = distribution.counts();
        assert_eq!(counts.iter().map(|bucket| bucket.count).sum::<u64>(), 10_000);
        assert!(counts.windows(2).all(|pair| pair[0].value < pair[1].value));
    }
}
