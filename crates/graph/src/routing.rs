//! How many experts several tokens want together, and how a number is dealt out over expert slots.
//!
//! It knows uniform, independent routing only (sources.md#expert-routing). Real routing is skewed and wants
//! fewer distinct experts (100 instead of 128 of 128 for 128 tokens); that is the business of the stream of tokens.

/// Expected number of distinct experts that `tokens` tokens choose, rounded to the nearest whole one, when each
/// token draws `top_k` different experts of `experts` uniformly and independently of the others:
/// `experts * (1 - (1 - top_k / experts)^tokens)`. Exactly `top_k` for one token.
///
/// ```
/// # use wafersim_graph::expected_distinct_experts;
/// assert_eq!(expected_distinct_experts(128, 8, 1), 8);
/// assert_eq!(expected_distinct_experts(128, 8, 8), 52);
/// assert_eq!(expected_distinct_experts(128, 8, 32), 112);
/// ```
pub fn expected_distinct_experts(experts: u64, top_k: u64, tokens: u64) -> u64 {
    if top_k >= experts || tokens == 0 {
        return if tokens == 0 { 0 } else { experts };
    }
    let missed_by_one = 1.0 - top_k as f64 / experts as f64;
    let chosen = experts as f64 * (1.0 - power(missed_by_one, tokens));
    (chosen.round() as u64).clamp(top_k, experts.min(top_k.saturating_mul(tokens)))
}

/// `base` to the power of `exponent` by squaring: multiplications only, hence the same bits on every machine (the
/// standard `powi` and `powf` promise no precision).
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut result = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    result
}

#[cfg(feature = "operator-graph")]
/// The part of `total` that belongs to slot `slot` of `slots`: shares differ by at most one and add up to `total`.
pub(crate) fn share(total: u64, slots: u64, slot: u64) -> u64 {
    let until = |end: u64| (u128::from(total) * u128::from(end)).checked_div(u128::from(slots)).unwrap_or(0) as u64;
    until(slot.saturating_add(1)).saturating_sub(until(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_wants_its_own_experts() {
        for (experts, top_k) in [(160, 8), (128, 8), (256, 8), (16, 1), (128, 4), (8, 2), (8, 8), (3, 2)] {
            assert_eq!(expected_distinct_experts(experts, top_k, 1), top_k);
        }
    }

    #[test]
    fn batches_agree_with_the_published_uniform_numbers() {
        for (tokens, distinct) in [(8, 52), (32, 112), (128, 128), (u64::MAX, 128)] {
            assert_eq!(expected_distinct_experts(128, 8, tokens), distinct);
        }
        assert_eq!(expected_distinct_experts(128, 8, 0), 0);
    }

    /// Against the exact expectation of drawing without replacement, by enumeration: 4 experts, top-2, 2 tokens.
    /// The second token's pair overlaps the first by 2, 1 or 0 experts in 1, 4 and 1 of 6 cases: 2/6 + 12/6 + 4/6 = 3.
    #[test]
    fn small_case_by_enumeration() {
        assert_eq!(expected_distinct_experts(4, 2, 2), 3);
    }

    #[test]
    fn shares_are_level_and_complete() {
        for (total, slots) in [(160, 8), (52, 8), (7, 3), (2, 5), (0, 4), (u64::MAX, 7)] {
            let shares: Vec<u64> = (0..slots).map(|slot| share(total, slots, slot)).collect();
            assert_eq!(shares.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(total));
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
