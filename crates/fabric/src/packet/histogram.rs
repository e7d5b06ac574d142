//! A histogram of latencies: exact below 4,096 cycles, within 1 part in 2,048 above, in at most 0.6 MB.

const EXACT: u64 = 4096;
const STEPS: u64 = 2048;

/// Counts of latencies in cycles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    samples: u64,
    sum: u128,
}

impl Histogram {
    #[inline]
    pub(crate) fn add(&mut self, latency: u64) {
        let bucket = bucket(latency);
        if bucket >= self.counts.len() {
            self.counts.resize((bucket + 1).next_power_of_two(), 0);
        }
        self.counts[bucket] += 1;
        self.samples += 1;
        self.sum += u128::from(latency);
    }

    pub(crate) const fn samples(&self) -> u64 {
        self.samples
    }

    /// The mean, or nothing where there are no samples.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.samples > 0).then(|| self.sum as f64 / self.samples as f64)
    }

    /// The smallest latency that at least `part` of the samples do not exceed.
    pub(crate) fn quantile(&self, part: f64) -> u64 {
        let wanted = ((part * self.samples as f64).ceil() as u64).clamp(1, self.samples.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return smallest(bucket);
            }
        }
        0
    }
}

fn bucket(latency: u64) -> usize {
    if latency < EXACT {
        return latency as usize;
    }
    let octave = u64::from(latency.ilog2() - EXACT.ilog2());
    let step = (latency >> (octave + 1)) - STEPS;
    (EXACT + octave * STEPS + step) as usize
}

fn smallest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let (octave, step) = ((bucket - EXACT) / STEPS, (bucket - EXACT) % STEPS);
    (STEPS + step) << (octave + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_say() {
        for latency in (0..10_000).chain([123_456, 1 << 20, (1 << 32) - 1, 1 << 40, u64::MAX]) {
            let low = smallest(bucket(latency));
            assert!(low <= latency && latency - low <= latency / STEPS, "{latency} in the bucket of {low}");
            assert_eq!(bucket(low), bucket(latency));
            assert!(latency >= EXACT || low == latency);
        }
    }

    #[test]
    fn quantiles_and_mean() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.mean(), histogram.quantile(0.5)), (None, 0));
        (1..=100).for_each(|latency| histogram.add(latency));
        assert_eq!(histogram.mean(), Some(50.5));
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|part| histogram.quantile(part)), [1, 50, 99, 100]);
    }
}
