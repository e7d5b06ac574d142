//! How often each expert of each layer was chosen, without which token chose which: what that says, and tokens drawn
//! from it.

use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::error::RoutingError;
use crate::header::Header;
use crate::statistics::{GROUPS, entropy, gini, group_imbalance, top_share, zipf_exponent};
use crate::token::{Token, Trace};

/// Random stream of tokens that are drawn from counts.
const DRAWN: u64 = 6 << 48;
/// Users that drawn tokens are dealt to.
const USERS: u32 = 64;

/// How often each expert was chosen, by layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Experts of each layer.
    pub experts: u32,
    /// By layer and expert. Every layer has at least one choice.
    pub layers: Vec<Vec<u64>>,
    /// Where they come from, for people.
    pub note: String,
}

/// What counts say of a layer. The figures are those of [`crate::statistics::LayerStatistics`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CountStatistics {
    /// Choices.
    pub choices: u64,
    /// Experts that were never chosen.
    pub never: u64,
    /// Choices of the most popular expert over the mean of all experts.
    pub max_over_mean: f64,
    /// Gini coefficient.
    pub gini: f64,
    /// Entropy over that of equal choices.
    pub entropy: f64,
    /// Slope over the more popular half.
    pub zipf_exponent: f64,
    /// Part of all choices that the most popular 20 % take.
    pub top_20_percent_share: f64,
    /// Choices of the busiest of 8, 16, 32, 64 contiguous groups over the mean.
    pub group_imbalance: [Option<f64>; 4],
}

impl Counts {
    /// Checked counts; layers without any choice (dense ones) are left out, which the note says.
    ///
    /// # Errors
    /// Where rows differ in length, or there is no choice at all.
    pub fn new(rows: Vec<Vec<u64>>, format: &'static str) -> Result<Self, RoutingError> {
        let all = rows.len();
        let width = rows.first().map_or(0, Vec::len);
        if let Some(place) = rows.iter().position(|row| row.len() != width) {
            let found = rows.get(place).map_or(0, Vec::len);
            let reason = format!("row {} has {found} numbers, the first has {width}", place + 1);
            return Err(RoutingError::import(format, reason));
        }
        let layers: Vec<Vec<u64>> = rows.into_iter().filter(|row| row.iter().any(|count| *count > 0)).collect();
        let experts = u32::try_from(width).unwrap_or(u32::MAX);
        if layers.is_empty() {
            return Err(RoutingError::import(format, "no expert was chosen in any layer"));
        }
        // The limits of a header are those of counts too.
        Header::new("counts", u32::try_from(layers.len()).unwrap_or(u32::MAX), experts, 1, 1)?;
        let dense = all - layers.len();
        let left = if dense > 0 { format!("; {dense} layers without choices are left out") } else { String::new() };
        Ok(Self { experts, layers, note: format!("{format}{left}") })
    }

    /// Sums the choices of a trace.
    pub fn of(trace: &Trace) -> Self {
        let header = &trace.header;
        let mut layers = vec![vec![0; header.experts as usize]; header.layers as usize];
        for token in 0..trace.len() {
            for (layer, row) in (0..).zip(&mut layers) {
                for expert in trace.chosen(token, layer) {
                    if let Some(count) = row.get_mut(usize::from(*expert)) {
                        *count += 1;
                    }
                }
            }
        }
        Self { experts: header.experts, layers, note: header.note.clone() }
    }

    /// What they say, by layer.
    pub fn statistics(&self) -> Vec<CountStatistics> {
        let of = |counts: &Vec<u64>| {
            let choices: u64 = counts.iter().sum();
            let most = counts.iter().copied().max().unwrap_or(0) as f64;
            CountStatistics {
                choices,
                never: counts.iter().filter(|count| **count == 0).count() as u64,
                max_over_mean: most * f64::from(self.experts) / choices.max(1) as f64,
                gini: gini(counts),
                entropy: entropy(counts),
                zipf_exponent: zipf_exponent(counts),
                top_20_percent_share: top_share(counts, 0.2),
                group_imbalance: GROUPS.map(|groups| group_imbalance(counts, groups)),
            }
        };
        self.layers.iter().map(of).collect()
    }

    /// Tokens that choose `top_k` different experts of each layer, each expert as often as counted, layers and tokens
    /// independent of each other: systematic sampling in random order, which keeps every share exactly (Madow 1949).
    /// An expert with more than 1 / `top_k` of the choices is in every token.
    ///
    /// # Errors
    /// Where a layer has fewer experts than a token chooses.
    pub fn draw(&self, top_k: u32, tokens: u64, seed: u64) -> Result<Trace, RoutingError> {
        let layers = self.layers.len() as u32;
        let mut header = Header::new("counts", layers, self.experts, top_k, tokens)?;
        header.note = format!(
            "{}; tokens are drawn from counts, each by itself: which experts go together, and what a user's next token \
             chooses, is not known",
            self.note
        );
        let shares: Vec<Vec<f64>> = self.layers.iter().map(|counts| inclusion(counts, top_k)).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(DRAWN);
        let mut order: Vec<u16> = (0..self.experts).map(|expert| expert as u16).collect();
        let mut trace = Trace::new(header);
        let mut experts = Vec::new();
        for token in 0..tokens {
            experts.clear();
            for shares in &shares {
                order.shuffle(&mut random);
                systematic(&order, shares, (top_k, random.random::<f64>()), &mut experts);
            }
            let (user, number) = ((token % u64::from(USERS)) as u32, token / u64::from(USERS));
            trace.push(&Token { user, token: number, experts: &experts, weights: None })?;
        }
        Ok(trace)
    }
}

/// Probabilities that a token has each expert: proportional to counts, none above 1, `top_k` together.
fn inclusion(counts: &[u64], top_k: u32) -> Vec<f64> {
    let mut shares = vec![0.0; counts.len()];
    let mut certain = vec![false; counts.len()];
    loop {
        let free: f64 = counts.iter().zip(&certain).filter(|(_, sure)| !**sure).map(|(count, _)| *count as f64).sum();
        let left = f64::from(top_k) - certain.iter().filter(|sure| **sure).count() as f64;
        let open = certain.iter().filter(|sure| !**sure).count() as f64;
        let mut more = false;
        for ((share, sure), count) in shares.iter_mut().zip(&mut certain).zip(counts) {
            if *sure {
                *share = 1.0;
                continue;
            }
            // Where fewer experts were ever chosen than a token needs, the others share what is left.
            *share = if free > 0.0 { left * *count as f64 / free } else { left / open.max(1.0) };
            if *share >= 1.0 {
                (*share, *sure, more) = (1.0, true, true);
            }
        }
        if !more {
            return shares;
        }
    }
}

fn systematic(order: &[u16], shares: &[f64], (top_k, start): (u32, f64), chosen: &mut Vec<u16>) {
    let first = chosen.len();
    let (mut reached, mut next) = (0.0, start);
    for expert in order {
        reached += shares.get(usize::from(*expert)).copied().unwrap_or(0.0);
        if reached > next && chosen.len() - first < top_k as usize {
            chosen.push(*expert);
            next += 1.0;
        }
    }
    // The last one may be missed by rounding.
    for expert in order {
        if chosen.len() - first == top_k as usize {
            break;
        }
        if !chosen.get(first..).unwrap_or_default().contains(expert) {
            chosen.push(*expert);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_the_shares_that_were_counted() {
        let counts = Counts::new(vec![vec![90, 132, 40, 61], vec![0; 4], vec![20, 107, 104, 64]], "a test").unwrap();
        assert_eq!(counts.layers.len(), 2);
        assert!(counts.note.contains("1 layers without choices"), "{}", counts.note);
        let trace = counts.draw(2, 20_000, 1).unwrap();
        assert_eq!(trace, counts.draw(2, 20_000, 1).unwrap());
        for (drawn, counted) in Counts::of(&trace).layers.iter().zip(&counts.layers) {
            let (all, total) = (drawn.iter().sum::<u64>() as f64, counted.iter().sum::<u64>() as f64);
            for (drawn, counted) in drawn.iter().zip(counted) {
                assert!((*drawn as f64 / all - *counted as f64 / total).abs() < 0.01, "{drawn} {counted}");
            }
        }
    }

    #[test]
    fn an_expert_that_all_want_is_in_every_token() {
        assert_eq!(inclusion(&[100, 0, 1, 1], 2), vec![1.0, 0.0, 0.5, 0.5]);
        let sum: f64 = inclusion(&[100, 0, 0, 0], 3).iter().sum();
        assert!((sum - 3.0).abs() < 1e-12);
        let counts = Counts::new(vec![vec![7, 0, 0]], "a test").unwrap();
        let trace = counts.draw(2, 10, 1).unwrap();
        assert!((0..10).all(|token| trace.chosen(token, 0).contains(&0)));
    }
}
