//! What a compute step means: its operands and parameters, exactly.
//!
//! [`crate::Math`] names the mathematics for people and for the closed form; a [`Formula`] is what the numeric reading
//! executes. A step whose program was written without layouts has none, and cannot be executed with numbers.

mod operands;
mod pairs;
mod weight;

pub use operands::{Causal, Chosen, Rescaled, ScorePart, Sinks, StateHeads, StateSums};
pub use pairs::{Pair, Pairs};
pub use weight::{Factor, GainName, HeadPart, Part, Scaling, Stored, Weight, WeightId};

use serde::Serialize;
use wafersim_spec::model::{Gating, Role, Selection};

use crate::buffer::BufferId;
use crate::layout::{Digit, Dimension};
use crate::region::{Axis, Region};

/// A field of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Operand {
    /// The buffer.
    pub buffer: BufferId,
    /// Number of the field in its layout.
    pub field: u32,
}

impl Operand {
    /// A field of a buffer.
    pub const fn new(buffer: BufferId, field: u32) -> Self {
        Self { buffer, field }
    }
}

/// The mathematics of a compute step over its operands. Rows are vectors or tokens; elements of a row have numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// `y = x W`, from the elements of `x` and of W that lie here: a partial sum where the inputs are shared out.
    Product {
        /// Input.
        x: Operand,
        /// The tile.
        weight: WeightId,
        /// Output.
        y: Operand,
        /// For experts, whose tile each row is multiplied with.
        chosen: Option<Chosen>,
        /// Where the weight has a bias, the accumulators of the first place along this axis start from it; for experts
        /// from the biases of all that the pairs of a row choose.
        bias: Option<Axis>,
    },
    /// The bias of a weight, in every place: `y += bias`, for experts that of each pair's.
    Bias {
        /// What it is added to.
        y: Operand,
        /// Whose bias.
        role: Role,
        /// For experts, whose bias each row gets.
        chosen: Option<Chosen>,
    },
    /// `c += a b` over the front pieces of two operands of a systolic product, which must be the same piece. The front
    /// piece of an operand is the first of the run that its ring holds here.
    TileProduct {
        /// Left operand: a ring along x shares out the elements of its rows.
        a: Operand,
        /// Right operand: a ring along y shares out its rows.
        b: Operand,
        /// Result; it starts from zero, or from the bias of a weight.
        c: Operand,
        /// The weight whose bias it starts from.
        bias: Option<Role>,
    },
    /// The transposed product of prefill attention for the keys that are here now:
    /// `partial[h, t] = sum over the dimensions here of q[h, d] k[t, h / group, d]`.
    PassingScores {
        /// Queries.
        query: Operand,
        /// Keys, passing by.
        keys: Operand,
        /// Partial sums; elements `head x cached token`.
        partial: Operand,
        /// Query heads that share a KV head.
        group: u64,
        /// Width of a head.
        head_dim: u64,
        /// Tokens in all.
        tokens: u64,
    },
    /// In the place where a rotating reduction has ended: its sums join what is there.
    Collect {
        /// Sums.
        partial: Operand,
        /// All that has been collected.
        whole: Operand,
        /// Columns of a block: the root of round `n` is the place of ring number `n mod columns` in it.
        columns: u64,
    },
    /// `output[h, d] += sum of scores[h, t] v[t, h / group, d]` over the front pieces of scores and values.
    PassingValues {
        /// Weights; a ring along x shares out the tokens.
        scores: Operand,
        /// Values; a ring along y shares out the tokens.
        values: Operand,
        /// Result.
        output: Operand,
        /// Query heads that share a KV head.
        group: u64,
        /// Width of a head.
        head_dim: u64,
    },
    /// Copy of what lies here, to where it will be moved from.
    Load {
        /// Source.
        source: Operand,
        /// Target.
        target: Operand,
    },
    /// `y[h, d] = first[d]` where `d` is below the width of `first`, else `behind[h, d - width]`: what all heads have
    /// before what each has of its own.
    Join {
        /// What all heads have.
        first: Operand,
        /// What each head has.
        behind: Operand,
        /// Both.
        y: Operand,
    },
    /// `sums[e / width] = sum of x[e]^2` over the elements that lie here.
    SumOfSquares {
        /// Input.
        x: Operand,
        /// One sum for each group of `width` elements; or several, one for each of those who share the elements, of
        /// which the one that lies here is set.
        sums: Operand,
        /// Elements of a whole vector.
        width: u64,
    },
    /// `y[e] = x[e] / sqrt(sums[e / width] / width + epsilon) * gain[e mod width]`.
    RmsScale {
        /// Input.
        x: Operand,
        /// Sums of squares.
        sums: Operand,
        /// The gain.
        gain: GainName,
        /// Output; may be the input.
        y: Operand,
        /// Elements of a whole vector.
        width: u64,
        /// Added to the mean square.
        epsilon: f64,
    },
    /// `x[e] *= gain[e mod width]` (the part of a fused norm that comes before its product).
    Gain {
        /// Input.
        x: Operand,
        /// The gain.
        gain: GainName,
        /// Output.
        y: Operand,
        /// Elements of a whole vector.
        width: u64,
    },
    /// `x = x / sqrt(sums / width + epsilon) + bias`, row by row, for some operands (the part of a fused norm that
    /// comes after its product, which could not begin with the bias). For experts [`Formula::Bias`] adds it.
    Rescale {
        /// What is scaled.
        operands: Vec<Rescaled>,
        /// Sums of squares, one a row.
        sums: Operand,
        /// Elements of a whole vector.
        width: u64,
        /// Added to the mean square.
        epsilon: f64,
    },
    /// `sums = 1 / sqrt(sums / width + epsilon)`: the scale of a norm in place of its sum of squares.
    NormScale {
        /// Sums of squares, one a row.
        sums: Operand,
        /// Elements of a whole vector.
        width: u64,
        /// Added to the mean square.
        epsilon: f64,
    },
    /// `x *= factor`, row by row, for some operands.
    Times {
        /// What is scaled.
        operands: Vec<Operand>,
        /// One factor a row.
        factors: Operand,
        /// For pairs of tokens and experts, whose factor each row takes; else row by row.
        pairs: Option<Pairs>,
    },
    /// Sums over the elements of the last dimension of `x` that lie here. `sums` may have a last dimension of its own,
    /// for several who want them: all of its elements that lie here get the sum.
    SumOfLast {
        /// Input.
        x: Operand,
        /// A sum for each combination of the other dimensions.
        sums: Operand,
    },
    /// Norms of heads whose sums of squares rode with the scores: `scores[h, t] *= scale / sqrt(query_sums[h] / width +
    /// epsilon)`; scores against the new tokens and their keys in the cache `*= 1 / sqrt(key_sums[h / group] / width +
    /// epsilon)`.
    HeadScale {
        /// Scores; elements `head x cached token`.
        scores: Operand,
        /// Keys of the cache.
        keys: Operand,
        /// Sums of squares of the queries; may have a last dimension for several who want them.
        query_sums: Operand,
        /// Sums of squares of the new keys, likewise.
        key_sums: Operand,
        /// Query heads that share a KV head.
        group: u64,
        /// Width of a head.
        width: u64,
        /// Added to mean squares.
        epsilon: f64,
        /// Number of the first new token.
        token: u64,
        /// As in `Scores`; row `r` is `r / users` tokens later.
        users: u64,
        /// What scores are multiplied with beside.
        scale: f64,
    },
    /// Rotary embedding of the leading `rotary` dimensions of heads of `head_dim` elements: pairs `(i, i + rotary /
    /// 2)`.
    Rope {
        /// What is rotated, in place.
        x: Operand,
        /// Width of a head.
        head_dim: u64,
        /// Dimensions that are rotated.
        rotary: u64,
        /// Position of row 0.
        position: u64,
        /// Rows of one position: row `r` is `r / users` tokens later.
        users: u64,
    },
    /// `scores[h, t] = sum over the dimensions here of q[h, d] k[t, h / group, d]`, for all parts of queries and keys.
    Scores {
        /// Queries and keys: one part, or the latent and the rotated one.
        parts: Vec<ScorePart>,
        /// Scores: elements `head x cached token`.
        scores: Operand,
        /// Query heads that share a KV head.
        group: u64,
        /// Users, each with a cache of its own: row `r` is of user `r mod users`, row `t users + u` of the keys is
        /// token `t` of user `u`.
        users: u64,
    },
    /// `output[h, d] = sum over the tokens here of scores[h, t] v[t, h / group, d]`.
    WeightedValues {
        /// Weights.
        scores: Operand,
        /// Values.
        values: Operand,
        /// Result.
        output: Operand,
        /// Query heads that share a KV head.
        group: u64,
        /// Width of a head.
        head_dim: u64,
        /// As in `Scores`.
        users: u64,
    },
    /// `statistic[h] = max over the tokens here of scores[h, t]`; minus infinity where there are none.
    Maximum {
        /// Scores; elements `head x cached token`.
        scores: Operand,
        /// One for each head.
        statistic: Operand,
        /// Where some keys are left out: those that a query does not see.
        causal: Option<Causal>,
        /// A logit for each head that joins, in one place of each column.
        sinks: Option<Sinks>,
    },
    /// `exponentials = exp(scale (scores - statistic))`, and `sums = sum over the tokens here`.
    ExpAndSum {
        /// Scores.
        scores: Operand,
        /// Maxima.
        statistic: Operand,
        /// Exponentials, laid out as the scores; may be the place of the scores.
        exponentials: Operand,
        /// Sums; may be the place of the maxima. They may have a last dimension, of which what lies here is set.
        sums: Operand,
        /// `1 / sqrt(head_dim)`.
        scale: f64,
        /// As in `Maximum`.
        causal: Option<Causal>,
        /// As in `Maximum`.
        sinks: Option<Sinks>,
    },
    /// Each operand times `exp(scale (own - all))` of its head: from relative to one maximum to relative to another.
    RelativeTo {
        /// Weighted values, and sums of exponentials.
        operands: [Operand; 2],
        /// Maxima that they are relative to.
        own: Operand,
        /// Maxima that they shall be relative to; none is smaller.
        all: Operand,
        /// As in `ExpAndSum`.
        scale: f64,
    },
    /// The tiles of a weight from the format that they are stored in to the one that is computed in: no number changes.
    Convert {
        /// Whose tiles.
        weight: WeightId,
    },
    /// The same for cached keys or values.
    ConvertCache,
    /// `scores /= statistic` of its head.
    Normalise {
        /// Scores.
        scores: Operand,
        /// Sums.
        statistic: Operand,
    },
    /// `gate = silu(gate) * up` or as the gating says, for experts with the router's weight of the pair.
    GatedActivation {
        /// Gate, and the result.
        gate: Operand,
        /// Up.
        up: Operand,
        /// What is made of them.
        gating: Gating,
        /// For experts: the router's weights, and the pair of each row.
        weights: Option<(Operand, Pairs)>,
        /// Whether weights multiply gate and up, as if they multiplied the input, and not the result.
        weighs_input: bool,
    },
    /// `x += y`.
    Add {
        /// Sum.
        x: Operand,
        /// What is added.
        y: Operand,
    },
    /// `x += y` for those elements of `x` that `y` holds here.
    AddHeld {
        /// Sum.
        x: Operand,
        /// What is added.
        y: Operand,
    },
    /// `scores = sigmoid(logits)`, and `corrected = scores + bias` with the router's bias.
    Score {
        /// Logits.
        logits: Operand,
        /// Scores.
        scores: Operand,
        /// What is compared, where that is not the scores.
        corrected: Option<Operand>,
    },
    /// The `top_k` largest keys of each row, largest first (the smaller number first among equals), and the values of
    /// the same numbers. Where experts are in groups, only those of the `kept_groups` groups with the largest sums of
    /// their two best keys (the smaller number first among equals).
    Choose {
        /// What is compared.
        keys: Operand,
        /// What is kept of the chosen.
        values: Operand,
        /// Numbers of the chosen.
        experts: Operand,
        /// Their values.
        chosen: Operand,
        /// How many.
        top_k: u64,
        /// Groups of neighbours.
        groups: u64,
        /// Groups that are chosen from.
        kept_groups: u64,
    },
    /// From the logits or scores of the chosen to their weights, in place.
    Weigh {
        /// The chosen's logits, or scores where these are sigmoids.
        weights: Operand,
        /// Logits of all, where weights follow from all.
        all: Option<Operand>,
        /// How.
        selection: Selection,
    },
    /// `y = x sigmoid(gate)` for the elements of `y`.
    OutputGate {
        /// What is gated.
        x: Operand,
        /// The gate, laid out as `y`.
        gate: Operand,
        /// Result.
        y: Operand,
    },
    /// `x[h, d] *= sigmoid(gate[h])`.
    HeadGate {
        /// What is gated, in place; elements `head x dimension`.
        x: Operand,
        /// A number for each head.
        gate: Operand,
    },
    /// `x *= sigmoid(number)`, row by row.
    RowGate {
        /// What is gated, in place.
        x: Operand,
        /// One number a row.
        numbers: Operand,
    },
    /// `y[t, c] = silu(sum over taps of w[c, tap] x[t - kernel + 1 + tap, c])`, where the tokens before the first are
    /// those of the tail; then the tail is the last ones. Row `r` is token `r / users` of user `r mod users`.
    Convolve {
        /// Inputs.
        x: Operand,
        /// Result; may be the inputs.
        y: Operand,
        /// Inputs of the tokens before, the oldest first.
        tail: Operand,
        /// The channel of element 0 among those of the weight.
        channel: u64,
        /// Tokens of the tail: one less than the convolution reaches over.
        tail_tokens: u64,
        /// Users.
        users: u64,
    },
    /// `strength = sigmoid(strength)`, `decay = exp(-exp(rate) softplus(decay))`, in place.
    StateGates {
        /// How strongly a token is written: a number for each head.
        strength: Operand,
        /// How much of the state stays: likewise.
        decay: Operand,
    },
    /// `x[e] *= scale / sqrt(sums[e / width] + epsilon)`: vectors to length `scale`.
    UnitScale {
        /// What is scaled, in place.
        x: Operand,
        /// Sums of squares.
        sums: Operand,
        /// Elements of a whole vector.
        width: u64,
        /// Added to the sum of squares.
        epsilon: f64,
        /// Length of the result.
        scale: f64,
    },
    /// `S[v, k] *= decay`, then `recalled[v] = sum over the keys here of S[v, k] key[k]`, for the token of the round
    /// that is running: row `round users + u` of decays and keys, row `u` of states and of what is recalled.
    Recall {
        /// States; elements `head x value x key`.
        state: Operand,
        /// How much stays.
        decay: Operand,
        /// Keys; elements `key head x key`.
        key: Operand,
        /// What the key reads: elements `head x value`.
        recalled: Operand,
        /// Where the query reads as well.
        ahead: Option<StateSums>,
        /// Sizes.
        heads: StateHeads,
        /// Users.
        users: u64,
    },
    /// `S[v, k] += strength (value[v] - recalled[v]) key[k]`, then `read[v] = sum over the keys here of S[v, k]
    /// query[k]`, for the token of the round as in `Recall`.
    Write {
        /// States.
        state: Operand,
        /// What the key has read.
        recalled: Operand,
        /// Values; elements `head x value`.
        value: Operand,
        /// How strongly the token is written.
        strength: Operand,
        /// Keys.
        key: Operand,
        /// Queries.
        query: Operand,
        /// What the query reads.
        read: Operand,
        /// Where it has read before.
        ahead: Option<StateSums>,
        /// Sizes.
        heads: StateHeads,
        /// Users.
        users: u64,
    },
    /// Row `u` of the source becomes row `round users + u` of the target.
    KeepRows {
        /// Source: a row for each user.
        source: Operand,
        /// Target: a row for each token.
        target: Operand,
        /// Users.
        users: u64,
    },
    /// `x[e] = x[e] / sqrt(sums[e / width] / width + epsilon) * gain[e mod width] * silu(gate[e])`.
    GatedNorm {
        /// What is normed, in place.
        x: Operand,
        /// Sums of squares.
        sums: Operand,
        /// The gain.
        gain: GainName,
        /// The gate, laid out as `x`.
        gate: Operand,
        /// Elements of a whole vector.
        width: u64,
        /// Added to the mean square.
        epsilon: f64,
    },
    /// `x[e] += vector[e mod width]` (the bias of a LayerNorm).
    AddVector {
        /// What it is added to, in place.
        x: Operand,
        /// The vector.
        vector: GainName,
        /// Elements of a whole vector.
        width: u64,
    },
    /// `index[t] = sum over the heads here of weights[h] max(scores[h, t], 0)` (DeepSeek Sparse Attention).
    IndexSum {
        /// Products of the indexer's queries with keys; elements `head x cached token`.
        scores: Operand,
        /// A weight for each head.
        weights: Operand,
        /// Sums; elements `cached token`.
        index: Operand,
    },
    /// How many of the tokens here reach each of some bounds: `counts[j] = number of t with key(index[t]) >= bound +
    /// (j + 1) << shift`. The key of a number are its bits in the order of numbers, the first of 32.
    CountReaching {
        /// Scores of tokens.
        index: Operand,
        /// A lower bound of the key that is looked for, in two halves a row; 0 before it is written.
        bound: Operand,
        /// Counts; as many elements as bounds are tried.
        counts: Operand,
        /// The digit of the key that is looked for.
        shift: u32,
        /// Where some tokens are left out.
        causal: Option<Causal>,
    },
    /// The digit is found: `bound += (number of j with counts[j] >= top_k) << shift`.
    Narrow {
        /// Counts over all places.
        counts: Operand,
        /// The bound.
        bound: Operand,
        /// Tokens that are wanted.
        top_k: u64,
        /// The digit.
        shift: u32,
    },
    /// The cached entries of tokens whose key reaches the bound, side by side in the places where they lie; each row of
    /// the new tokens has a cache of its own there. Places that are left are zeros, and not filled.
    Pack {
        /// Scores of tokens.
        index: Operand,
        /// The bound.
        bound: Operand,
        /// Where entries lie: latents, rotary keys.
        cache: [Operand; 2],
        /// Where they go.
        packed: [Operand; 2],
        /// 1 where there is an entry, else 0.
        filled: Operand,
        /// Users of the cache: row `t users + u` is token `t` of user `u`, row `r` of new tokens is of user `r mod
        /// users`.
        users: u64,
        /// Where some tokens are left out.
        causal: Option<Causal>,
    },
    /// `scores[h, s] =` the smallest number where place `s` of a row's own cache is not filled.
    Mask {
        /// Scores; elements `head x place`.
        scores: Operand,
        /// As in `Pack`.
        filled: Operand,
    },
    /// Rows of the embedding table in the places that hold them, zeros in the others.
    Lookup {
        /// A row for each token.
        rows: Operand,
        /// The tokens' numbers.
        tokens: Vec<u64>,
        /// Which rows of the table lie where.
        table: Dimension,
    },
    /// The largest element and its number, for each row.
    ArgMax {
        /// Scores.
        scores: Operand,
        /// (value, number).
        best: Operand,
    },
    /// The entries of a cache that leave a row for another one when the rows are levelled for one token more.
    Leave {
        /// The cache before: keys, values.
        before: BufferId,
        /// The cache after.
        after: BufferId,
        /// What leaves: keys, values.
        entry: BufferId,
    },
    /// The cache after an append: what stays, what has arrived, and the new tokens that belong here.
    Enter {
        /// The cache before: keys, values.
        before: BufferId,
        /// What has arrived, where rows are levelled.
        entry: Option<BufferId>,
        /// New keys and values, in the order of the cache's fields: a row a token.
        new: Vec<Operand>,
        /// The cache after.
        after: BufferId,
        /// The row of the cache that their first row becomes.
        row: u64,
    },
    /// The part of what lies here that the target's layout wants here.
    Select {
        /// Source.
        source: Operand,
        /// Target.
        target: Operand,
    },
}

/// A dimension shared out evenly along a whole axis of a region.
pub fn along(size: u64, axis: Axis, region: Region) -> Dimension {
    Dimension::split(size, Digit::line(axis, region.along(axis)))
}
