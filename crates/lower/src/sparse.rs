//! Sparse attention on a spread cache: an indexer's scores of all cached tokens, the choice of the best, and the cache of
//! the chosen ones (DeepSeek-V3.2; nobody has published such a kernel for a wafer: where things lie and how the best are
//! found is ours).
//!
//! Indexer keys lie with the latents of their tokens. The heads lie over the copies, like those of attention; their
//! products are summed over the columns that share a key's width, what is positive of them is weighed and summed over the
//! heads.
//!
//! The best `k` are found without moving any score: each round finds four of the bits of the `k`-th largest.
//! Every place counts which of its tokens reach each of fifteen bounds, the counts are summed over all places, and the
//! largest bound that `k` tokens reach stays. Tokens that reach the last bound are chosen: all of several equal ones,
//! where the published program takes some of them.
//!
//! Chosen tokens stay in the rows and columns where they lie, side by side, so that scores and values cost what the
//! fullest place holds. How many that are is a guess: [`wafersim_place::chosen_tokens`].

use wafersim_mapping::LineKind;
use wafersim_program::formula::ScorePart;
use wafersim_program::{Axis, Formula, GainName, Math, Node, Operand, Operation};
use wafersim_spec::DataType;
use wafersim_spec::model::{INDEX_NORM_EPSILON, Role};

use crate::attention::{Attending, Shape};
use crate::cache::Cache;
use crate::lies::KvLies;
use crate::request::LowerError;
use crate::writer::{Lines, Writer, first};

/// Bits of a score, the last ones zero where it has fewer, and how many of them a round finds.
const KEY_BITS: u32 = 32;
const DIGIT_BITS: u32 = 4;
/// A bound in halves.
const HALVES: u64 = 2;
/// Bounds that a round tries.
const BOUNDS: u64 = (1 << DIGIT_BITS) - 1;

/// Scale, gain and bias.
const LAYER_NORM_OPERATIONS: u64 = 3;

/// Attention over the chosen tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChosenTokens {
    pub attending: Attending,
    /// Which places hold a token.
    pub filled: Operand,
}

impl Writer<'_> {
    /// LayerNorm of the indexer's new key, in place. Its matrix has been centred beforehand, so that the mean is zero:
    /// `mean(W x) = (mean of the rows of W) x`.
    pub fn index_norm(&mut self, operator: &str, x: Operand, lies: KvLies) -> Vec<Node> {
        let field = self.laid(x);
        let (width, tokens, elements) = (field.row_size(), field.rows.most(), field.most());
        let sums = self.declare("index_norm.sums", vec![lies.key_statistic("sums", tokens)]);
        let mut nodes = vec![self.sum_of_squares(x, first(sums), width)];
        let lines = Lines::Segments { count: lies.of_copy(), stride: 1 };
        let region = lies.in_use(self.region());
        nodes.extend(self.within(region, |writer| writer.reduce(operator, LineKind::Head, lines, sums)));
        let work = vec![
            self.work(Operation::Divide, 1, tokens),
            self.work(Operation::SquareRoot, 1, tokens),
            self.work(Operation::Multiply, elements, LAYER_NORM_OPERATIONS),
        ];
        let gain = GainName { role: Role::IndexNorm, copy: 0 };
        let formula = Formula::RmsScale { x, sums: first(sums), gain, y: x, width, epsilon: INDEX_NORM_EPSILON };
        nodes.push(self.compute(Math::RmsScale, &[x.buffer, sums], x.buffer, work, formula));
        let vector = GainName { role: Role::IndexNorm, copy: 1 };
        let work = vec![self.work(Operation::Add, elements, 1)];
        nodes.push(self.compute(Math::Add, &[x.buffer], x.buffer, work, Formula::AddVector { x, vector, width }));
        nodes
    }

    /// The score of every cached token, in every column that holds a part of it. `lies` are those of the indexer.
    pub fn index_scores(
        &mut self,
        attending: &Attending,
        lies: KvLies,
        [query, weights]: [Operand; 2],
    ) -> Result<(Vec<Node>, Operand), LowerError> {
        const OPERATOR: &str = "attention.index_scores";
        let Attending { tokens, context, cache, .. } = *attending;
        let Some(keys) = cache.index else { return Err(crate::layer::nothing("an indexer without keys")) };
        let products = first(self.declare(OPERATOR, vec![lies.scores(tokens, context, 0)]));
        let here = lies.of_tokens("index", tokens, context).most() / tokens.max(1);
        let heads = lies.statistic("", tokens).most();
        let dims = lies.new_keys(1).most();
        let mut nodes = self.cache_conversion(dims.saturating_mul(here).saturating_mul(lies.users));
        let parts = vec![ScorePart { query, keys, head_dim: lies.key_dim }];
        let formula = Formula::Scores { parts, scores: products, group: lies.group, users: lies.users };
        let shape = Shape { outputs: here, inputs: dims, vectors: heads };
        let buffers = (query.buffer, products.buffer);
        nodes.push(self.cache_product(shape, buffers, attending.accumulators_in_place, formula));
        nodes.extend(self.over_width(OPERATOR, lies, products.buffer));
        let index = first(self.declare("attention.index", vec![lies.of_tokens("index", tokens, context)]));
        // What is positive, then weighed and added up.
        let work = vec![self.work(Operation::Multiply, here, heads), self.work(Operation::Fma, here, heads)];
        let formula = Formula::IndexSum { scores: products, weights, index };
        let reads = [products.buffer, weights.buffer];
        nodes.push(self.compute(Math::GatedActivation, &reads, index.buffer, work, formula));
        if lies.copies > 1 {
            let lines = Lines::Segments { count: lies.copies, stride: lies.of_copy() };
            let reduce = |writer: &mut Self| writer.reduce(OPERATOR, LineKind::Head, lines, index.buffer);
            nodes.extend(self.within(lies.in_use(self.region()), reduce));
        }
        Ok((nodes, index))
    }

    /// The `top_k` tokens with the best scores, and attention over their cache.
    pub fn select(
        &mut self,
        attending: &Attending,
        index: Operand,
        top_k: u64,
    ) -> Result<(Vec<Node>, ChosenTokens), LowerError> {
        const OPERATOR: &str = "attention.select";
        let Attending { lies, tokens, context, cache, .. } = *attending;
        let bits = match self.activations() {
            DataType::Fp16 | DataType::Bf16 => 16,
            DataType::Fp32 => KEY_BITS,
            _ => return Err(crate::layer::nothing("a choice of tokens by scores that are not computed with")),
        };
        let causal = attending.causal();
        let here = self.most(index) / tokens.max(1);
        let bound =
            first(self.declare_typed("attention.bound", DataType::Fp32, vec![lies.numbers("bound", tokens, HALVES)]));
        let counts = lies.numbers("counts", tokens, BOUNDS);
        let counts = first(self.declare_typed("attention.counts", DataType::Fp32, vec![counts]));
        let mut nodes = Vec::new();
        for shift in (1..=bits / DIGIT_BITS).map(|round| KEY_BITS - round * DIGIT_BITS) {
            // A comparison and a sum over the tokens here for each bound.
            let work = vec![
                self.work(Operation::Add, here, BOUNDS.saturating_mul(tokens)),
                self.work(Operation::ScalarReduce, here, BOUNDS.saturating_mul(tokens)),
            ];
            let formula = Formula::CountReaching { index, bound, counts, shift, causal };
            let reads = [index.buffer, bound.buffer];
            nodes.push(self.compute(Math::TopK, &reads, counts.buffer, work, formula));
            nodes.extend(self.reduce(OPERATOR, LineKind::Y, Lines::Whole(Axis::Y), counts.buffer));
            if lies.groups > 1 {
                let lines = Lines::Segments { count: lies.groups, stride: 1 };
                let reduce = |writer: &mut Self| writer.reduce(OPERATOR, LineKind::Sequence, lines, counts.buffer);
                nodes.extend(self.within(lies.in_use(self.region()), reduce));
            }
            let work =
                vec![self.work(Operation::Add, BOUNDS, tokens), self.work(Operation::ScalarReduce, BOUNDS, tokens)];
            let formula = Formula::Narrow { counts, bound, top_k, shift };
            nodes.push(self.compute(Math::TopK, &[counts.buffer], bound.buffer, work, formula));
        }
        let places = lies.rows.saturating_mul(lies.groups);
        let room = wafersim_place::chosen_tokens(here, places, context, top_k).max(1);
        let kept = lies.packed(tokens);
        let slots = room.saturating_mul(places);
        let stored = self.request.precision.kv_cache;
        let fields = vec![kept.keys(slots, 0), kept.values(slots, 0)];
        let elements: u64 = fields.iter().map(|field| field.most() / tokens.max(1) / room).sum();
        let packed = self.declare_typed("attention.chosen", stored, fields);
        let filled = first(self.declare("attention.filled", vec![kept.marks("filled", slots)]));
        let Some(rotary) = cache.rotary else { return Err(crate::layer::nothing("an indexer without latents")) };
        let formula = Formula::Pack {
            index,
            bound,
            cache: [cache.keys, rotary],
            packed: [Operand::new(packed, 0), Operand::new(packed, 1)],
            filled,
            users: lies.users,
            causal,
        };
        // One pass of comparisons, and a copy for each that is chosen.
        let work = vec![
            self.work(Operation::ScalarReduce, here, tokens),
            self.work(Operation::Copy, elements, room.saturating_mul(tokens)),
        ];
        let reads = [index.buffer, bound.buffer, cache.keys.buffer];
        nodes.push(self.compute(Math::TopK, &reads, packed, work, formula));
        let latents = Operand::new(packed, 0);
        let cache = Cache { keys: latents, values: latents, rotary: Some(Operand::new(packed, 1)), index: None };
        let attending = Attending { lies: kept, cache, consecutive: 1, context: slots, ..*attending };
        Ok((nodes, ChosenTokens { attending, filled }))
    }

    /// Scores of places that hold no chosen token count for nothing.
    pub fn mask(&self, scores: Operand, filled: Operand) -> Node {
        let work = vec![self.work(Operation::Add, self.most(scores), 1)];
        let formula = Formula::Mask { scores, filled };
        self.compute(Math::Add, &[filled.buffer], scores.buffer, work, formula)
    }
}
