//! From what a layer should show to the weights that show it.
//!
//! Drawing without replacement in proportion to weights w is a race of exponential clocks: with the finishing time
//! scaled into the weights, an expert is among the first k with probability 1 - exp(-w). (The finishing time is taken
//! as fixed; it varies little where k of many experts finish.) With the affinities' distribution that gives the use of
//! an expert of base b under spread s, u = E[1 - exp(-exp(b + s z))], and the overlap of neighbours, (sum of h E[(1 -
//! exp(-w))^2] + (1 - h) u^2) / k, where h = 1 - 1 / persistence is the chance that an affinity lasts for a token.
//! Bases follow from uses for any spread; the spread is the one whose overlap is the wanted one.

use super::law::{flattened, popularity};
use super::parameters::RoutingParameters;
use super::profile::LayerTarget;

/// Affinities are one of so many equally likely levels.
pub const LEVELS: usize = 32;
/// Largest spread; beyond it affinities decide everything.
const WIDEST: f64 = 12.0;
/// Bases are sought within this distance of 0.
const FARTHEST_BASE: f64 = 60.0;
/// Largest logarithm of a weight: an expert with more is chosen with certainty anyway.
const LARGEST_LOG: f64 = 4.5;

/// The level of an affinity: the middle of its part of a uniform distribution with mean 0 and variance 1.
fn affinity(level: usize) -> f64 {
    12f64.sqrt() * ((level as f64 + 0.5) / LEVELS as f64 - 0.5)
}

/// What a layer's router does: uses and weights by rank.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerLaw {
    /// Probability that a token uses the expert of each rank.
    pub uses: Vec<f64>,
    /// How much affinities count.
    pub spread: f64,
    /// Whole-number weights: [`LEVELS`] for each rank. All ranks' largest add up to less than 2^32.
    pub weights: Vec<u32>,
}

impl LayerLaw {
    /// The law of a layer.
    pub fn new(parameters: &RoutingParameters, experts: u32, top_k: u32, target: &LayerTarget) -> Self {
        let uses = flattened(popularity(parameters, experts, top_k, target.skew), top_k, target.overlap);
        let lasting = (1.0 - 1.0 / parameters.persistence.max(1.0)).max(0.0);
        let (spread, bases) = spread(&uses, top_k, target.overlap, lasting);
        let scale = (f64::from(u32::MAX) / f64::from(experts.max(1))).floor() / LARGEST_LOG.exp();
        let weight = |base: f64, level: usize| {
            let logarithm = (base + spread * affinity(level)).min(LARGEST_LOG);
            ((logarithm.exp() * scale).floor() as u32).max(1)
        };
        let weights = bases.iter().flat_map(|&base| (0..LEVELS).map(move |level| weight(base, level))).collect();
        Self { uses, spread, weights }
    }
}

/// The spread with which neighbours overlap as wanted, and the bases with it.
fn spread(uses: &[f64], top_k: u32, overlap: f64, lasting: f64) -> (f64, Vec<f64>) {
    let mut bases: Vec<f64> = uses.iter().map(|value| (-(1.0 - value.min(0.999_999)).ln()).max(1e-30).ln()).collect();
    let none = bases.clone();
    let mut above = |spread: f64| {
        for (base, &wanted) in bases.iter_mut().zip(uses) {
            *base = base_of(wanted, spread, *base);
        }
        let both: f64 = bases.iter().zip(uses).map(|(&base, &value)| shared(base, spread, lasting, value)).sum();
        (both / f64::from(top_k.max(1)) - overlap, bases.clone())
    };
    let (mut low, mut high) = ((0.0, above(0.0).0), (WIDEST, 0.0));
    if low.1 >= -1e-6 {
        return (0.0, none);
    }
    let (difference, found) = above(WIDEST);
    high.1 = difference;
    if high.1 <= 0.0 {
        return (WIDEST, found);
    }
    // False position, the end that stays counted half (Illinois).
    let mut side = 0;
    for _ in 0..40 {
        let middle = (low.0 * high.1 - high.0 * low.1) / (high.1 - low.1);
        let (difference, found) = above(middle);
        if difference.abs() < 1e-5 {
            return (middle, found);
        }
        if difference < 0.0 {
            low = (middle, difference);
            high.1 *= if side < 0 { 0.5 } else { 1.0 };
            side = -1;
        } else {
            high = (middle, difference);
            low.1 *= if side > 0 { 0.5 } else { 1.0 };
            side = 1;
        }
    }
    let middle = 0.5 * (low.0 + high.0);
    let (_, found) = above(middle);
    (middle, found)
}

/// E[1 - exp(-exp(base + spread z))] and its slope in the base.
fn use_of(base: f64, spread: f64) -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for level in 0..LEVELS {
        let weight = (base + spread * affinity(level)).min(LARGEST_LOG).exp();
        let missed = (-weight).exp();
        sum = (sum.0 + 1.0 - missed, sum.1 + weight * missed);
    }
    (sum.0 / LEVELS as f64, sum.1 / LEVELS as f64)
}

/// The base with a wanted use: Newton's steps, kept within a bracket.
fn base_of(wanted: f64, spread: f64, start: f64) -> f64 {
    let (mut low, mut high, mut base) = (-FARTHEST_BASE, FARTHEST_BASE, start);
    for _ in 0..60 {
        let (value, slope) = use_of(base, spread);
        if (value - wanted).abs() < 1e-7 {
            break;
        }
        if value < wanted {
            low = base
        } else {
            high = base
        }
        let step = base - (value - wanted) / slope;
        base = if slope > 1e-12 && step > low && step < high { step } else { 0.5 * (low + high) };
    }
    base
}

/// Probability that both of two neighbouring tokens use an expert.
fn shared(base: f64, spread: f64, lasting: f64, value: f64) -> f64 {
    let squares = (0..LEVELS).map(|level| {
        let chosen = 1.0 - (-(base + spread * affinity(level)).min(LARGEST_LOG).exp()).exp();
        chosen * chosen
    });
    lasting * squares.sum::<f64>() / LEVELS as f64 + (1.0 - lasting) * value * value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_give_their_uses() {
        for spread in [0.0, 0.7, 2.5, 8.0] {
            for wanted in [0.001, 0.05, 0.3, 0.8] {
                let (value, _) = use_of(base_of(wanted, spread, 0.0), spread);
                assert!((value - wanted).abs() < 1e-6, "{spread}: {value} against {wanted}");
            }
        }
    }

    #[test]
    fn a_sticky_layer_has_a_wider_spread() {
        let law = |overlap: f64| {
            LayerLaw::new(&RoutingParameters::QWEN3_30B, 128, 8, &LayerTarget { skew: 9.9, overlap }).spread
        };
        assert!(law(0.1) < 1e-12);
        assert!(law(0.3) > 0.5 && law(0.5) > law(0.3) + 0.5 && law(0.5) < WIDEST);
    }

    #[test]
    fn the_largest_weights_add_up_to_less_than_two_to_the_32() {
        for experts in [1u32, 8, 128, 1000] {
            let target = LayerTarget { skew: 13.2, overlap: 0.6 };
            let law = LayerLaw::new(&RoutingParameters::QWEN3_30B, experts, 8.min(experts), &target);
            let sum: u64 = law.weights.chunks(LEVELS).map(|of| u64::from(of.iter().copied().max().unwrap())).sum();
            assert!(sum < 1 << 32 && law.weights.iter().all(|weight| *weight > 0));
        }
    }
}
