//! Every number of the generative model: its value, where it comes from, and for guesses how far off it may be.
//!
//! Published figures are those of Qwen3-30B-A3B (128 experts, top-8, 48 layers; sources.md#expert-routing). The four
//! numbers of the popularity law were fitted once to its published figures together (largest error 3.8 %,
//! docs/src/routing.md).

/// The numbers of the generative model. [`RoutingParameters::QWEN3_30B`] is the only set with evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoutingParameters {
    /// Slope of log(popularity) against log(rank) among popular experts.
    pub rank_slope: f64,
    /// How far the first rank stands above the law, in log(popularity).
    pub first_rank_lift: f64,
    /// Rank, of 128, at which popularity begins to fall off.
    pub tail_rank: f64,
    /// Power with which it falls off: log(popularity) loses (rank / tail_rank)^power.
    pub tail_power: f64,
    /// Busiest expert over the mean in the first layer.
    pub first_skew: f64,
    /// The same, mean over layers.
    pub mean_skew: f64,
    /// The same in the most skewed layer.
    pub highest_skew: f64,
    /// Part of a token's experts that the token before it had chosen, in the first layer.
    pub first_overlap: f64,
    /// The same in the stickiest layer.
    pub highest_overlap: f64,
    /// Where the stickiest layer stands: 0 the first layer, 1 the last.
    pub stickiest_depth: f64,
    /// The same overlap in the last layer.
    pub last_overlap: f64,
    /// The same overlap, mean over layers.
    pub mean_overlap: f64,
    /// The same mean with coding prompts alone.
    pub mean_overlap_coding: f64,
    /// Tokens for which a user's affinity to an expert lasts, in the mean.
    pub persistence: f64,
    /// Part of the variance of ranks that kinds of work share.
    pub shared_taste: f64,
}

impl RoutingParameters {
    /// After the published figures of Qwen3-30B-A3B.
    pub const QWEN3_30B: Self = Self {
        rank_slope: 0.0417,
        first_rank_lift: 0.9293,
        tail_rank: 38.55,
        tail_power: 1.3076,
        first_skew: 3.8,
        mean_skew: 9.9,
        highest_skew: 13.2,
        first_overlap: 0.079,
        highest_overlap: 0.597,
        stickiest_depth: 7.0 / 47.0,
        last_overlap: 0.206,
        mean_overlap: 0.427,
        mean_overlap_coding: 0.407,
        persistence: 25.0,
        shared_taste: 0.085,
    };
}

/// A parameter for people.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Described {
    /// Field of [`RoutingParameters`].
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Lowest value that is believed possible; the value itself where it is published.
    pub low: f64,
    /// Highest value that is believed possible.
    pub high: f64,
    /// Where it comes from.
    pub source: &'static str,
}

const PUBLISHED: &str = "published for Qwen3-30B-A3B";
const FITTED: &str = "fitted to the published Gini, entropy, top 20 %, Zipf, independent overlap and distinct experts";

const fn published(name: &'static str, value: f64) -> Described {
    Described { name, value, low: value, high: value, source: PUBLISHED }
}

const fn estimated(name: &'static str, value: f64, low: f64, high: f64, source: &'static str) -> Described {
    Described { name, value, low, high, source }
}

const USED: RoutingParameters = RoutingParameters::QWEN3_30B;

/// All of [`RoutingParameters::QWEN3_30B`].
pub const DESCRIBED: [Described; 15] = [
    estimated("rank_slope", USED.rank_slope, 0.0, 0.2, FITTED),
    estimated("first_rank_lift", USED.first_rank_lift, 0.7, 1.1, FITTED),
    estimated("tail_rank", USED.tail_rank, 30.0, 65.0, FITTED),
    estimated("tail_power", USED.tail_power, 1.2, 2.0, FITTED),
    published("first_skew", USED.first_skew),
    published("mean_skew", USED.mean_skew),
    published("highest_skew", USED.highest_skew),
    published("first_overlap", USED.first_overlap),
    published("highest_overlap", USED.highest_overlap),
    published("stickiest_depth", USED.stickiest_depth),
    published("last_overlap", USED.last_overlap),
    published("mean_overlap", USED.mean_overlap),
    published("mean_overlap_coding", USED.mean_overlap_coding),
    estimated("persistence", USED.persistence, 12.0, 50.0, "a guess, chosen after the published LRU hit rates"),
    estimated(
        "shared_taste",
        USED.shared_taste,
        0.05,
        0.12,
        "after the published correlation 0.06 between two prompt sets",
    ),
];
