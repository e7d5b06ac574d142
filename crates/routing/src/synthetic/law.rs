//! Popularity over ranks: how often a token uses the most popular expert of a layer, the second, and so on.

use super::parameters::RoutingParameters;

/// Experts of the model that the law was fitted to.
const FITTED_EXPERTS: f64 = 128.0;
/// No expert is used by more than this part of the tokens, where more would be asked of few experts.
const MOST_USE: f64 = 0.9;
/// Steps of every search by halving.
const HALVINGS: u32 = 60;

/// Probability that a token uses each expert, by falling popularity, summing to `top_k`: the law, with all its
/// logarithms multiplied by one number so that the first is `skew` times the mean. Other numbers of experts than 128
/// take the law at the same fraction of all ranks (an extrapolation). A skew that would need a use above 0.9 is lowered
/// to it.
pub fn popularity(parameters: &RoutingParameters, experts: u32, top_k: u32, skew: f64) -> Vec<f64> {
    let mean = f64::from(top_k) / f64::from(experts.max(1));
    let first = (mean * skew).min(MOST_USE.max(mean));
    let logarithms: Vec<f64> = (0..experts).map(|index| logarithm(parameters, index, experts)).collect();
    let tempered = |temper: f64| -> Vec<f64> {
        let weights: Vec<f64> = logarithms.iter().map(|value| (temper * value).exp()).collect();
        let scale = f64::from(top_k) / weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        weights.iter().map(|weight| weight * scale).collect()
    };
    let temper = halve(0.0, 16.0, |temper| tempered(temper).first().is_none_or(|value| *value < first));
    let mut uses = tempered(temper);
    uses.iter_mut().for_each(|value| *value = value.min(1.0));
    uses
}

/// Logarithm of the law at a rank, 0 for the first.
fn logarithm(parameters: &RoutingParameters, index: u32, experts: u32) -> f64 {
    let RoutingParameters { rank_slope, first_rank_lift, tail_rank, tail_power, .. } = *parameters;
    if index == 0 {
        return 0.0;
    }
    let law = |rank: f64| -rank_slope * rank.ln() - (rank / tail_rank).powf(tail_power);
    let rank = 1.0 + f64::from(index) * FITTED_EXPERTS / f64::from(experts);
    law(rank) - law(1.0) - first_rank_lift
}

/// The same uses with a flatter tail below the first, so that two independent draws share at most `overlap` of their
/// experts; unchanged where they share no more. What is flattened stays below the first.
pub fn flattened(uses: Vec<f64>, top_k: u32, overlap: f64) -> Vec<f64> {
    if independent_overlap(&uses, top_k) <= overlap {
        return uses;
    }
    let Some((&first, tail)) = uses.split_first() else { return uses };
    let at = |power: f64| -> Vec<f64> {
        let weights: Vec<f64> = tail.iter().map(|value| value.max(f64::MIN_POSITIVE).powf(power)).collect();
        let scale = (f64::from(top_k) - first) / weights.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        std::iter::once(first).chain(weights.iter().map(|weight| (weight * scale).min(first))).collect()
    };
    at(halve(0.0, 1.0, |power| independent_overlap(&at(power), top_k) < overlap))
}

/// Part of their experts that two independent draws share: sum of p^2 over top-k.
pub fn independent_overlap(uses: &[f64], top_k: u32) -> f64 {
    uses.iter().map(|value| value * value).sum::<f64>() / f64::from(top_k.max(1))
}

/// The point between `low` and `high` up to which something holds.
pub fn halve(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_add_up_to_top_k_and_fall() {
        for (experts, top_k, skew) in
            [(128, 8, 9.9), (128, 8, 3.8), (160, 8, 13.2), (8, 2, 9.9), (256, 8, 9.9), (1, 1, 9.9)]
        {
            let uses = popularity(&RoutingParameters::QWEN3_30B, experts, top_k, skew);
            assert!(
                (uses.iter().sum::<f64>() - f64::from(top_k)).abs() < 1e-3,
                "{experts}: {}",
                uses.iter().sum::<f64>()
            );
            assert!(uses.windows(2).all(|pair| pair[0] >= pair[1]));
            let wanted = (skew * f64::from(top_k) / f64::from(experts)).min(if experts == 1 { 1.0 } else { 0.9 });
            assert!((uses[0] - wanted).abs() < 1e-6, "{experts}: {} against {wanted}", uses[0]);
        }
    }

    #[test]
    fn flattening_meets_the_overlap_and_keeps_the_first() {
        let uses = popularity(&RoutingParameters::QWEN3_30B, 128, 8, 3.8);
        let flat = flattened(uses.clone(), 8, 0.079);
        assert!((independent_overlap(&flat, 8) - 0.079).abs() < 1e-6);
        assert!((flat[0] - uses[0]).abs() < 1e-12);
        assert!((flat.iter().sum::<f64>() - 8.0).abs() < 1e-9);
        assert_eq!(flattened(uses.clone(), 8, 0.5), uses);
    }
}
