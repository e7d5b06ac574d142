//! What a trace says of its experts, layer by layer: how unequal they are, how soon they come back, how many a batch
//! touches. Each figure is defined where it is declared.

mod figures;
mod reuse;

use serde::Serialize;

use crate::error::RoutingError;
use crate::header::Header;
use crate::token::TokenSource;
pub use figures::{correlation, distinct_of_random_tokens, entropy, gini, group_imbalance, top_share, zipf_exponent};
use reuse::Reuse;

/// Batch sizes at which distinct experts are counted.
pub const BATCHES: [u32; 3] = [8, 32, 128];
/// Numbers of groups on which experts are dealt in contiguous runs.
pub const GROUPS: [u32; 4] = [8, 16, 32, 64];
/// Experts that an LRU cache has room for.
pub const ROOMS: [u32; 4] = [8, 16, 32, 64];

/// Users whose tokens are followed for overlap, reuse and correlation: the first that come. Further users count for
/// popularity alone.
const FOLLOWED_USERS: u64 = 64;
/// Counters that are kept of followed users at most: users x layers x experts.
const MOST_COUNTERS: u64 = 1 << 23;

/// One layer, or the mean over layers. A figure that the trace cannot give (one user, one token) is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LayerStatistics {
    /// Choices of the most popular expert over the mean of all experts.
    pub max_over_mean: f64,
    /// Gini coefficient of choices over experts: 0 all equal, 1 all on one.
    pub gini: f64,
    /// Entropy of choices over experts, divided by that of equal choices.
    pub entropy: f64,
    /// Least-squares slope of log(choices) against log(rank) over the more popular half of the experts, negated.
    pub zipf_exponent: f64,
    /// Part of all choices that the most popular 20 % of the experts (rounded to whole experts) take.
    pub top_20_percent_share: f64,
    /// Part of a token's experts that the same user's token before it had chosen too.
    pub neighbour_overlap: Option<f64>,
    /// What two independent draws with the same popularity would share: sum of p^2 over top-k.
    pub independent_overlap: f64,
    /// Expected distinct experts among 8, 32, 128 tokens drawn at random from the whole trace: sum of 1 - (1 - p)^B.
    pub distinct_random: [f64; 3],
    /// The same among so many successive tokens of one user; absent where no user has so many.
    pub distinct_successive: [Option<f64>; 3],
    /// Choices of the busiest of 8, 16, 32, 64 contiguous groups of experts over the mean; absent with fewer experts.
    pub group_imbalance: [Option<f64>; 4],
    /// Part of a user's choices found in an LRU cache with room for 8, 16, 32, 64 experts. All experts of a token are
    /// looked up before any is moved to the front.
    pub lru_hit_rate: [Option<f64>; 4],
    /// Mean Pearson correlation of choices per expert over pairs of users.
    pub user_correlation: Option<f64>,
}

/// A trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Statistics {
    /// What it says of itself.
    pub header: Header,
    /// Users seen.
    pub users: u64,
    /// By layer.
    pub layers: Vec<LayerStatistics>,
    /// Means over layers.
    pub mean: LayerStatistics,
}

/// What is counted of one layer.
#[derive(Debug, Clone)]
struct Counts {
    choices: Vec<u64>,
    users: Vec<Reuse>,
}

/// Reads a source to its end and counts. Memory depends on the shape and the number of users, not on the length.
///
/// # Errors
/// What the source says.
pub fn inspect(source: &mut dyn TokenSource) -> Result<Statistics, RoutingError> {
    let header = source.header().clone();
    let experts = header.experts as usize;
    let per_user = u64::from(header.layers) * u64::from(header.experts);
    let followed = (MOST_COUNTERS / per_user.max(1)).clamp(1, FOLLOWED_USERS) as usize;
    let mut layers = vec![Counts { choices: vec![0; experts], users: Vec::new() }; header.layers as usize];
    let mut seen = std::collections::BTreeMap::new();
    let mut tokens = 0u64;
    while let Some(token) = source.next_token()? {
        tokens += 1;
        let coming = seen.len();
        let user = *seen.entry(token.user).or_insert(coming);
        for (layer, chosen) in layers.iter_mut().zip(token.by_layer(&header)) {
            for &expert in chosen {
                if let Some(count) = layer.choices.get_mut(usize::from(expert)) {
                    *count += 1;
                }
            }
            if user == layer.users.len() && user < followed {
                layer.users.push(Reuse::new(experts));
            }
            if let Some(reuse) = layer.users.get_mut(user) {
                reuse.token(chosen);
            }
        }
    }
    let layers: Vec<LayerStatistics> = layers.iter().map(|counts| layer_statistics(&header, tokens, counts)).collect();
    let mean = mean(&layers);
    Ok(Statistics { header, users: seen.len() as u64, layers, mean })
}

fn layer_statistics(header: &Header, tokens: u64, counts: &Counts) -> LayerStatistics {
    let choices = &counts.choices;
    let use_of: Vec<f64> = choices.iter().map(|&count| count as f64 / tokens.max(1) as f64).collect();
    let top_k = f64::from(header.top_k);
    let users: Vec<&Reuse> = counts.users.iter().filter(|user| user.tokens() > 0).collect();
    let all = reuse::Sum::of(&users);
    let mut pairs = (0.0, 0u32);
    for (index, one) in users.iter().enumerate() {
        for other in &users[index + 1..] {
            if let Some(value) = correlation(one.choices(), other.choices()) {
                pairs = (pairs.0 + value, pairs.1 + 1);
            }
        }
    }
    let most = choices.iter().copied().max().unwrap_or(0) as f64;
    LayerStatistics {
        max_over_mean: most * f64::from(header.experts) / (tokens.max(1) as f64 * top_k),
        gini: gini(choices),
        entropy: entropy(choices),
        zipf_exponent: zipf_exponent(choices),
        top_20_percent_share: top_share(choices, 0.2),
        neighbour_overlap: all.neighbour_overlap(),
        independent_overlap: use_of.iter().map(|part| part * part).sum::<f64>() / top_k,
        distinct_random: BATCHES.map(|batch| distinct_of_random_tokens(&use_of, batch)),
        distinct_successive: all.distinct_of_successive(),
        group_imbalance: GROUPS.map(|groups| group_imbalance(choices, groups)),
        lru_hit_rate: ROOMS.map(|room| all.lru_hit_rate(room)),
        user_correlation: (pairs.1 > 0).then(|| pairs.0 / f64::from(pairs.1)),
    }
}

/// Means over layers; of figures that some layers lack, over those that have them.
fn mean(layers: &[LayerStatistics]) -> LayerStatistics {
    let of =
        |figure: &dyn Fn(&LayerStatistics) -> f64| layers.iter().map(figure).sum::<f64>() / layers.len().max(1) as f64;
    let known = |figure: &dyn Fn(&LayerStatistics) -> Option<f64>| {
        let values: Vec<f64> = layers.iter().filter_map(figure).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    LayerStatistics {
        max_over_mean: of(&|layer| layer.max_over_mean),
        gini: of(&|layer| layer.gini),
        entropy: of(&|layer| layer.entropy),
        zipf_exponent: of(&|layer| layer.zipf_exponent),
        top_20_percent_share: of(&|layer| layer.top_20_percent_share),
        neighbour_overlap: known(&|layer| layer.neighbour_overlap),
        independent_overlap: of(&|layer| layer.independent_overlap),
        distinct_random: [0, 1, 2].map(|index: usize| of(&|layer| layer.distinct_random[index])),
        distinct_successive: [0, 1, 2].map(|index: usize| known(&|layer| layer.distinct_successive[index])),
        group_imbalance: [0, 1, 2, 3].map(|index: usize| known(&|layer| layer.group_imbalance[index])),
        lru_hit_rate: [0, 1, 2, 3].map(|index: usize| known(&|layer| layer.lru_hit_rate[index])),
        user_correlation: known(&|layer| layer.user_correlation),
    }
}
