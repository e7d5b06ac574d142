//! How skew and stickiness change from layer to layer.
//!
//! Published are the first layer, the extremes and the mean. The shape between is a guess: skews of the layers after
//! the first are spread evenly so that the mean holds, in random order (no order is published); overlap rises in a
//! straight line to the stickiest layer and falls to the last along 1 - depth^power, the power chosen so that the mean
//! holds.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::law::halve;
use super::parameters::RoutingParameters;

/// Random stream of the order of skews.
const SKEW_ORDER: u64 = 1;

/// What a layer should show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerTarget {
    /// Busiest expert over the mean.
    pub skew: f64,
    /// Part of a token's experts that the same user's token before it had chosen.
    pub overlap: f64,
}

/// The targets of all layers, with `mean_overlap` as the mean of the overlaps (all overlaps scale with it).
pub fn layer_targets(parameters: &RoutingParameters, layers: u32, mean_overlap: f64, seed: u64) -> Vec<LayerTarget> {
    let skews = skews(parameters, layers, seed);
    let scale = mean_overlap / parameters.mean_overlap;
    let overlaps = overlaps(parameters, layers);
    skews.into_iter().zip(overlaps).map(|(skew, overlap)| LayerTarget { skew, overlap: overlap * scale }).collect()
}

fn skews(parameters: &RoutingParameters, layers: u32, seed: u64) -> Vec<f64> {
    let RoutingParameters { first_skew, mean_skew, highest_skew, .. } = *parameters;
    if layers < 2 {
        return vec![mean_skew; layers as usize];
    }
    let others = f64::from(layers - 1);
    let mean_of_others = (mean_skew * f64::from(layers) - first_skew) / others;
    let lowest = (2.0 * mean_of_others - highest_skew).clamp(first_skew, highest_skew);
    let step = (highest_skew - lowest) / (others - 1.0).max(1.0);
    let mut rest: Vec<f64> = (0..layers - 1).map(|index| highest_skew - step * f64::from(index)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(SKEW_ORDER);
    rest.shuffle(&mut random);
    std::iter::once(first_skew).chain(rest).collect()
}

fn overlaps(parameters: &RoutingParameters, layers: u32) -> Vec<f64> {
    let RoutingParameters { first_overlap, highest_overlap, stickiest_depth, last_overlap, mean_overlap, .. } =
        *parameters;
    if layers < 2 {
        return vec![mean_overlap; layers as usize];
    }
    let last = f64::from(layers - 1);
    let peak = (stickiest_depth * last).round().max(1.0);
    let at = |power: f64| -> Vec<f64> {
        let value = |layer: u32| {
            let layer = f64::from(layer);
            if layer <= peak {
                first_overlap + (highest_overlap - first_overlap) * layer / peak
            } else {
                let fallen = ((layer - peak) / (last - peak)).powf(power);
                highest_overlap - (highest_overlap - last_overlap) * fallen
            }
        };
        (0..layers).map(value).collect()
    };
    let mean = |power: f64| at(power).iter().sum::<f64>() / f64::from(layers);
    at(halve(0.01, 20.0, |power| mean(power) < mean_overlap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_points_and_means_hold() {
        for (layers, stickiest) in [(48u32, 7), (62, 9)] {
            let targets = layer_targets(&RoutingParameters::QWEN3_30B, layers, 0.427, 1);
            let mean = |of: fn(&LayerTarget) -> f64| targets.iter().map(of).sum::<f64>() / f64::from(layers);
            assert!((mean(|target| target.skew) - 9.9).abs() < 1e-9);
            assert!((mean(|target| target.overlap) - 0.427).abs() < 1e-9);
            assert!((targets[0].skew - 3.8).abs() < 1e-12 && (targets[0].overlap - 0.079).abs() < 1e-12);
            assert!((targets[stickiest].overlap - 0.597).abs() < 1e-12);
            assert!((targets[layers as usize - 1].overlap - 0.206).abs() < 1e-12);
            let highest = targets.iter().map(|target| target.skew).fold(0.0, f64::max);
            assert!((highest - 13.2).abs() < 1e-12);
        }
    }

    #[test]
    fn few_layers_are_no_trouble() {
        for layers in 0..5 {
            assert_eq!(layer_targets(&RoutingParameters::QWEN3_30B, layers, 0.427, 1).len(), layers as usize);
        }
    }
}
