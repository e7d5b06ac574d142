//! How many experts a micro-batch touches, and how busy the busiest is: expectations under a named routing model, or
//! under a popularity that was counted.
//!
//! *Uniform*: a token uses each expert with probability k / E; distinct experts of T tokens are E (1 - (1 - k/E)^T)
//! (sources.md#expert-routing). *Skewed*: popularity falls with rank as r^-0.67, measured on Qwen3-30B-A3B with coding
//! prompts, where the busiest of 128 experts takes 9.9 times the mean (the exponent alone gives 9.9 as well). Tokens
//! are independent in all of them; stickiness between neighbouring tokens of one user is left out.

use wafersim_lower::{ExpertLoad, PlaceLoad};
use wafersim_mapping::ExpertUse;
use wafersim_spec::model::Moe;

/// Probability that a token uses each expert, by rank, summing to `top_k`. No expert is used with more than certainty:
/// what would be above is dealt to the others.
pub fn use_probabilities<'a>(experts: u64, top_k: u64, routing: impl Into<ExpertUse<'a>>) -> Vec<f64> {
    let weights = routing.into().weights(experts.max(1), top_k);
    let mut probabilities = vec![0.0; weights.len()];
    let mut certain = 0usize;
    loop {
        let rest: f64 = weights[certain..].iter().sum();
        let share = (top_k as f64 - certain as f64).max(0.0) / rest.max(f64::MIN_POSITIVE);
        for (probability, weight) in probabilities[certain..].iter_mut().zip(&weights[certain..]) {
            *probability = (weight * share).min(1.0);
        }
        if certain + 1 >= weights.len() || weights[certain] * share <= 1.0 {
            return probabilities;
        }
        certain += 1;
    }
}

/// Expected number of distinct experts that `tokens` tokens use.
pub fn distinct_experts(probabilities: &[f64], tokens: u64) -> f64 {
    probabilities.iter().map(|probability| 1.0 - (1.0 - probability).powf(tokens as f64)).sum()
}

/// Above so many tokens, binomials are taken as normal.
const EXACT_UP_TO: u64 = 256;

/// Expected number of tokens of the busiest expert among `tokens`: the integral over m of the probability that some
/// expert has more than m, experts taken as independent binomials (as normal distributions for more than 256 tokens).
pub fn busiest_expert(probabilities: &[f64], tokens: u64) -> f64 {
    if probabilities.is_empty() || tokens <= 1 {
        return if probabilities.is_empty() { 0.0 } else { tokens as f64 };
    }
    let largest = probabilities.iter().copied().fold(0.0, f64::max);
    let mean = largest * tokens as f64;
    let busiest = if tokens <= EXACT_UP_TO {
        exact_busiest(probabilities, tokens, mean)
    } else {
        normal_busiest(probabilities, tokens)
    };
    busiest.max(mean).clamp(1.0, tokens as f64)
}

fn exact_busiest(probabilities: &[f64], tokens: u64, mean: f64) -> f64 {
    // Ten standard deviations above the most popular expert's mean nothing is left.
    let end = (mean + 10.0 * mean.max(1.0).sqrt() + 10.0).min(tokens as f64).ceil() as usize;
    let mut below = vec![1.0f64; end];
    for &probability in probabilities {
        multiply_by_cumulative(&mut below, probability, tokens);
    }
    // below[m] is the probability that no expert has more than m tokens.
    below.iter().map(|none| 1.0 - none).sum()
}

/// Multiplies `below[m]` with the probability that a binomial variable is at most m.
fn multiply_by_cumulative(below: &mut [f64], probability: f64, tokens: u64) {
    if probability >= 1.0 {
        // Certain use: never fewer than all tokens.
        below.iter_mut().take(tokens as usize).for_each(|value| *value = 0.0);
        return;
    }
    let odds = probability / (1.0 - probability);
    let mut term = (1.0 - probability).powf(tokens as f64);
    let mut cumulative = 0.0;
    for (most, value) in below.iter_mut().enumerate() {
        cumulative += term;
        *value *= cumulative.min(1.0);
        term *= odds * tokens.saturating_sub(most as u64) as f64 / (most as f64 + 1.0);
    }
}

/// The same with normal distributions, by the rectangle rule over twelve standard deviations of the most popular
/// expert.
fn normal_busiest(probabilities: &[f64], tokens: u64) -> f64 {
    const STEPS: u32 = 48;
    let tokens = tokens as f64;
    let moments =
        |probability: f64| (probability * tokens, (probability * (1.0 - probability) * tokens).sqrt().max(1e-9));
    let (mean, deviation) = moments(probabilities.iter().copied().fold(0.0, f64::max));
    let start = mean - 4.0 * deviation;
    let width = 12.0 * deviation / f64::from(STEPS);
    let mut expected = start;
    for step in 0..STEPS {
        let most = start + (f64::from(step) + 0.5) * width;
        let mut none = 1.0;
        for &probability in probabilities {
            let (mean, deviation) = moments(probability);
            if most - mean > 6.0 * deviation {
                // Nor can less popular experts reach so far: they come in order of popularity.
                break;
            }
            none *= normal_cumulative((most - mean) / deviation);
        }
        expected += (1.0 - none) * width;
    }
    expected
}

/// Cumulative normal distribution, by the logistic approximation of Bowling et al. (2009): error below 1.4e-4.
fn normal_cumulative(x: f64) -> f64 {
    1.0 / (1.0 + (-1.5976 * x - 0.070_56 * x.powi(3)).exp())
}

/// The expected load of a layer's experts for a micro-batch, rounded up to whole experts and tokens. The busiest place
/// has one expert.
pub fn expert_load<'a>(moe: &Moe, tokens: u64, routing: impl Into<ExpertUse<'a>>) -> ExpertLoad {
    let probabilities = use_probabilities(moe.experts, moe.top_k, routing);
    let pairs = tokens.saturating_mul(moe.top_k);
    let distinct = (distinct_experts(&probabilities, tokens).ceil() as u64).clamp(moe.top_k.min(pairs), moe.experts);
    let busiest = (busiest_expert(&probabilities, tokens).ceil() as u64).clamp(1, tokens.max(1));
    let busiest = PlaceLoad { pairs: busiest, distinct: 1, tokens: busiest };
    ExpertLoad { pairs, distinct: distinct.min(pairs.max(1)), busiest, column: busiest }
}

#[cfg(test)]
mod tests {
    use wafersim_spec::scenario::RoutingModel;

    use super::*;

    #[test]
    fn uniform_distinct_experts_match_the_published_formula() {
        let probabilities = use_probabilities(160, 8, RoutingModel::Uniform);
        for tokens in [1u64, 8, 32, 128] {
            let published = 160.0 * (1.0 - (1.0f64 - 8.0 / 160.0).powf(tokens as f64));
            assert!((distinct_experts(&probabilities, tokens) - published).abs() < 1e-9);
        }
    }

    #[test]
    fn skew_meets_the_measured_figures_of_qwen3_30b() {
        let probabilities = use_probabilities(128, 8, RoutingModel::Skewed);
        assert!((probabilities.iter().sum::<f64>() - 8.0).abs() < 1e-9);
        let busiest_over_mean = probabilities[0] / (8.0 / 128.0);
        assert!((busiest_over_mean - 9.9).abs() < 0.3, "measured 9.9, got {busiest_over_mean}");
        // Measured: 40/77/100 of 128 for 8/32/128 tokens. Independent draws touch more, since real neighbours overlap.
        for (tokens, measured) in [(8, 40.0), (32, 77.0), (128, 100.0)] {
            let distinct = distinct_experts(&probabilities, tokens);
            assert!(
                distinct >= measured * 0.98 && distinct <= measured * 1.3,
                "{tokens}: {distinct} against {measured}"
            );
        }
    }

    #[test]
    fn the_busiest_expert_is_between_its_mean_and_everything() {
        for routing in [RoutingModel::Uniform, RoutingModel::Skewed] {
            for (experts, top_k) in [(8, 2), (128, 8), (160, 8), (16, 1), (4, 4)] {
                let probabilities = use_probabilities(experts, top_k, routing);
                let mut last = 0.0;
                for tokens in [1, 2, 7, 64, 1000, 8192] {
                    let busiest = busiest_expert(&probabilities, tokens);
                    let mean = probabilities[0] * tokens as f64;
                    assert!(
                        busiest + 1e-6 >= mean && busiest <= tokens as f64 + 1e-6,
                        "{experts} {tokens} {busiest} {mean}"
                    );
                    assert!(busiest >= last);
                    last = busiest;
                }
            }
        }
    }

    #[test]
    fn both_ways_of_finding_the_busiest_agree_where_they_meet() {
        for routing in [RoutingModel::Uniform, RoutingModel::Skewed] {
            for (experts, top_k) in [(8, 2), (128, 8), (160, 8)] {
                let probabilities = use_probabilities(experts, top_k, routing);
                let mean = probabilities[0] * EXACT_UP_TO as f64;
                let exact = exact_busiest(&probabilities, EXACT_UP_TO, mean);
                let normal = normal_busiest(&probabilities, EXACT_UP_TO);
                assert!((normal / exact - 1.0).abs() < 0.05, "{experts} {routing}: {normal} against {exact}");
            }
        }
    }

    #[test]
    fn the_busiest_of_two_dice_is_exact() {
        // Two experts, one used per token, two tokens, independent binomials with p = 1/2:
        // P(max >= 1) = 1 - (1/4)^2, P(max >= 2) = 1 - (3/4)^2.
        let expected = (1.0 - 1.0 / 16.0) + (1.0 - 9.0 / 16.0);
        assert!((busiest_expert(&[0.5, 0.5], 2) - expected).abs() < 1e-12);
    }
}
