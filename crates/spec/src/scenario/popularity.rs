//! How popular experts are, counted by somebody else's program.

use std::sync::Arc;

use serde::Serialize;

/// The part of all choices that each expert of a layer takes, the most popular first: the mean over layers.
///
/// Which experts these are, and which are chosen together, it does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Popularity {
    shares: Arc<Vec<f64>>,
    /// What was counted, for people.
    source: String,
}

/// In few words, with a hash of all shares (FNV-1a over their bits).
impl Serialize for Popularity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.shares.iter().flat_map(|share| share.to_bits().to_le_bytes());
        let hash =
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let (experts, busiest) = (self.shares.len(), self.max_over_mean());
        serializer.collect_str(&format_args!("{experts} experts, the busiest {busiest:.2} times the mean, {hash:016x}"))
    }
}

impl Popularity {
    /// From how often each expert of each layer was chosen. `None` where no layer has a choice, or layers have
    /// different numbers of experts.
    pub fn counted(layers: &[Vec<u64>], source: impl Into<String>) -> Option<Self> {
        let experts = layers.first()?.len();
        let mut shares = vec![0.0; experts];
        let mut with_choices = 0.0;
        for layer in layers {
            let all: f64 = layer.iter().map(|count| *count as f64).sum();
            if layer.len() != experts {
                return None;
            }
            if all <= 0.0 {
                continue;
            }
            let mut counts = layer.clone();
            counts.sort_unstable_by(|one, other| other.cmp(one));
            shares.iter_mut().zip(counts).for_each(|(share, count)| *share += count as f64 / all);
            with_choices += 1.0;
        }
        if with_choices == 0.0 {
            return None;
        }
        shares.iter_mut().for_each(|share| *share /= with_choices);
        Some(Self { shares: Arc::new(shares), source: source.into() })
    }

    /// Parts of all choices, the largest first; they sum to 1.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// What was counted.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The most popular expert over the mean of all.
    pub fn max_over_mean(&self) -> f64 {
        self.shares.first().map_or(0.0, |largest| largest * self.shares.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_averaged_over_layers() {
        let counted = Popularity::counted(&[vec![1, 6, 3], vec![0; 3], vec![50, 20, 30]], "a test").unwrap();
        for (share, expected) in counted.shares().iter().zip([0.55, 0.3, 0.15]) {
            assert!((share - expected).abs() < 1e-12);
        }
        assert!((counted.max_over_mean() - 1.65).abs() < 1e-12);
        assert_eq!(Popularity::counted(&[vec![0, 0]], ""), None);
        assert_eq!(Popularity::counted(&[vec![1], vec![1, 2]], ""), None);
    }
}
