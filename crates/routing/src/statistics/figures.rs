//! Figures of how unequal counts are.

/// Gini coefficient of counts: 0 all equal, towards 1 all on one. With counts in rising order x_1 .. x_n:
/// 2 sum(i x_i) / (n sum(x_i)) - (n + 1) / n.
pub fn gini(counts: &[u64]) -> f64 {
    let mut rising = counts.to_vec();
    rising.sort_unstable();
    let total: f64 = rising.iter().map(|&count| count as f64).sum();
    let n = rising.len() as f64;
    if total <= 0.0 {
        return 0.0;
    }
    let weighted: f64 = rising.iter().enumerate().map(|(index, &count)| (index as f64 + 1.0) * count as f64).sum();
    2.0 * weighted / (n * total) - (n + 1.0) / n
}

/// Entropy of the parts that counts are of their sum, divided by the logarithm of their number: 1 all equal, 0 all on
/// one.
pub fn entropy(counts: &[u64]) -> f64 {
    let total: f64 = counts.iter().map(|&count| count as f64).sum();
    if total <= 0.0 || counts.len() < 2 {
        return 0.0;
    }
    let parts = counts.iter().filter(|count| **count > 0).map(|&count| count as f64 / total);
    -parts.map(|part| part * part.ln()).sum::<f64>() / (counts.len() as f64).ln()
}

/// Part of the sum that the largest `fraction` of the counts hold, rounded to whole counts, at least one.
pub fn top_share(counts: &[u64], fraction: f64) -> f64 {
    let falling = falling(counts);
    let total: f64 = falling.iter().map(|&count| count as f64).sum();
    let top = ((counts.len() as f64 * fraction).round() as usize).max(1);
    if total <= 0.0 { 0.0 } else { falling.iter().take(top).map(|&count| count as f64).sum::<f64>() / total }
}

/// Least-squares slope of log(count) against log(rank) over the larger half of the counts, negated; counts of 0 are
/// left out. 0 where fewer than two remain.
pub fn zipf_exponent(counts: &[u64]) -> f64 {
    let falling = falling(counts);
    let points: Vec<(f64, f64)> = falling
        .iter()
        .take(counts.len().div_ceil(2))
        .enumerate()
        .filter(|(_, count)| **count > 0)
        .map(|(index, &count)| ((index as f64 + 1.0).ln(), (count as f64).ln()))
        .collect();
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n.max(1.0);
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|point| (point.0 - x) * (point.0 - x)).sum();
    let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    if across > 0.0 { -both / across } else { 0.0 }
}

/// Sum of the busiest of `groups` contiguous runs of counts, over the mean; `None` with fewer counts than groups.
pub fn group_imbalance(counts: &[u64], groups: u32) -> Option<f64> {
    let (groups, n) = (groups as usize, counts.len());
    if groups == 0 || groups > n {
        return None;
    }
    let total: f64 = counts.iter().map(|&count| count as f64).sum();
    let sum = |group: usize| -> f64 {
        let run = counts.get(group * n / groups..(group + 1) * n / groups).unwrap_or(&[]);
        run.iter().map(|&count| count as f64).sum()
    };
    let busiest = (0..groups).map(sum).fold(0.0, f64::max);
    (total > 0.0).then(|| busiest * groups as f64 / total)
}

/// Expected distinct experts of `batch` tokens drawn at random, where a token uses each expert with these
/// probabilities.
pub fn distinct_of_random_tokens(use_of: &[f64], batch: u32) -> f64 {
    use_of.iter().map(|part| 1.0 - (1.0 - part.clamp(0.0, 1.0)).powi(batch as i32)).sum()
}

/// Pearson correlation; `None` where one of the two is constant.
pub fn correlation(one: &[u64], other: &[u64]) -> Option<f64> {
    let n = one.len().min(other.len()) as f64;
    let mean = |counts: &[u64]| counts.iter().map(|&count| count as f64).sum::<f64>() / n.max(1.0);
    let (x, y) = (mean(one), mean(other));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (&a, &b) in one.iter().zip(other) {
        let (a, b) = (a as f64 - x, b as f64 - y);
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    (xx > 0.0 && yy > 0.0).then(|| xy / (xx * yy).sqrt())
}

fn falling(counts: &[u64]) -> Vec<u64> {
    let mut falling = counts.to_vec();
    falling.sort_unstable_by(|a, b| b.cmp(a));
    falling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_counts_are_equal() {
        let counts = [5u64; 10];
        assert!(gini(&counts).abs() < 1e-12);
        assert!((entropy(&counts) - 1.0).abs() < 1e-12);
        assert!((top_share(&counts, 0.2) - 0.2).abs() < 1e-12);
        assert!(zipf_exponent(&counts).abs() < 1e-12);
        assert_eq!(group_imbalance(&counts, 5), Some(1.0));
        assert_eq!(correlation(&counts, &counts), None);
    }

    #[test]
    fn one_expert_takes_all() {
        let mut counts = vec![0; 100];
        counts[42] = 7;
        assert!((gini(&counts) - 0.99).abs() < 1e-12);
        assert!(entropy(&counts).abs() < 1e-12);
        assert_eq!(group_imbalance(&counts, 4), Some(4.0));
        assert_eq!(group_imbalance(&counts, 101), None);
    }

    #[test]
    fn a_power_law_has_its_exponent() {
        let counts: Vec<u64> = (1..=64).map(|rank| (1e12 * f64::from(rank).powf(-0.67)) as u64).collect();
        assert!((zipf_exponent(&counts) - 0.67).abs() < 1e-6);
    }

    #[test]
    fn figures_by_hand() {
        // Counts 1, 3: Gini 2 (1 + 6) / (2 * 4) - 3 / 2 = 0.25.
        assert!((gini(&[3, 1]) - 0.25).abs() < 1e-12);
        assert_eq!(correlation(&[1, 2, 3], &[2, 4, 6]), Some(1.0));
        assert!((distinct_of_random_tokens(&[0.5, 0.5], 2) - 1.5).abs() < 1e-12);
    }
}
