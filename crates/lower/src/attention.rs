//! Decode attention over a cache that is spread over rows and column blocks (WaferLLM, OSDI 2025, section 4: scores reduced
//! along x, softmax statistics and scores x V along y; there one head is as wide as the hidden size). Grouped heads, blocks
//! of columns and copies are ours.

use wafersim_graph::layer::SoftmaxForm;
use wafersim_mapping::LineKind;
use wafersim_program::{Axis, BufferId, Formula, Math, Node, Operand, Operation, ReduceOperator};

use crate::cache::Cache;
use crate::lies::KvLies;
use crate::writer::{Lines, Writer, first};

/// Vector operations of the softmax beside exponentials and scalar reductions, over the scores: (1552 - 1072 - 45 - 48 -
/// 180 - 50) / (16 + 12 / 4) is about eight (per-operation run of the vendor's simulator, 12 scores).
const SOFTMAX_OPERATIONS: u64 = 8;

/// Fewest that do the same in one pass: subtract the maximum, scale.
const LEAN_SOFTMAX_OPERATIONS: u64 = 2;

/// Attention of one layer while it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attending {
    pub lies: KvLies,
    pub cache: Cache,
    pub tokens: u64,
    /// Cached tokens that each sees.
    pub visible: u64,
    pub accumulators_in_place: bool,
}

/// Scores and their statistics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scored {
    pub scores: Operand,
}

impl Writer<'_> {
    /// Where the query is wanted: in the columns whose keys it meets.
    pub fn query_where_keys_are(&mut self, attending: &Attending, query: Operand) -> (Vec<Node>, Operand) {
        let lies = attending.lies;
        if lies.every_column_has_its_own() {
            return (Vec::new(), query);
        }
        let target = self.declare("attention.query_spread", vec![lies.query("q", attending.tokens)]);
        let heads = lies.kv_heads.saturating_mul(lies.group);
        let mut way = self.heads_to_blocks(lies, heads, lies.key_dim, 1);
        way.elements = way.elements.saturating_mul(attending.tokens);
        let node = self.relayout(Axis::X, query.buffer, target, way);
        (vec![node], first(target))
    }

    /// Conversion of cached keys or values that are stored narrow.
    fn cache_conversion(&mut self, elements: u64) -> Vec<Node> {
        if self.request.precision.kv_cache.is_arithmetic() || elements == 0 {
            return Vec::new();
        }
        let converted = self.program.buffer("kv.converted", elements, self.activations());
        let work = vec![self.work(Operation::Convert, elements, 1)];
        vec![self.compute(Math::Dequantise, &[converted], converted, work, Formula::ConvertCache)]
    }

    fn cache_product(
        &self,
        (outputs, inputs, vectors): (u64, u64, u64),
        (x, y): (BufferId, BufferId),
        in_place: bool,
        formula: Formula,
    ) -> Node {
        let mut work = vec![
            self.work(Operation::Setup, 1, vectors.min(1)),
            self.work(Operation::MappedFma, outputs, inputs.saturating_mul(vectors)),
        ];
        if !in_place {
            work.push(self.work(
                Operation::Add,
                outputs.saturating_mul(vectors),
                crate::product::ACCUMULATOR_OPERATIONS,
            ));
        }
        self.compute(Math::MatVec, &[x], y, work, formula)
    }

    /// Query times keys, reduced over the columns that share a head's width.
    pub fn scores(&mut self, attending: &Attending, query: Operand) -> (Vec<Node>, Scored) {
        let Attending { lies, cache, tokens, visible, .. } = *attending;
        let scores = self.declare("attention.scores", vec![lies.scores(tokens, visible)]);
        let (mut nodes, query) = self.query_where_keys_are(attending, query);
        let (heads, seen, dims) = sizes(attending, lies.key_dim);
        nodes.extend(self.cache_conversion(dims.saturating_mul(seen).saturating_mul(heads_kept(attending))));
        let formula = Formula::Scores {
            query,
            keys: cache.keys,
            scores: first(scores),
            group: lies.group,
            head_dim: lies.key_dim,
        };
        let in_place = attending.accumulators_in_place;
        nodes.push(self.cache_product((seen, dims, heads), (query.buffer, scores), in_place, formula));
        nodes.extend(self.over_width("attention.scores", lies, scores));
        (nodes, Scored { scores: first(scores) })
    }

    /// A reduction over the columns that share a head's width.
    fn over_width(&mut self, operator: &str, lies: KvLies, payload: BufferId) -> Vec<Node> {
        let region = self.region();
        if lies.dims >= region.columns {
            return self.reduce(operator, LineKind::Width, Lines::Whole(Axis::X), payload);
        }
        let lines = Lines::Segments { count: lies.dims, stride: lies.groups };
        self.within(lies.in_use(region), |writer| writer.reduce(operator, LineKind::Width, lines, payload))
    }

    /// A reduction over all places that hold tokens of a head: the rows, and the groups of columns that share the sequence.
    fn over_tokens(&mut self, operator: &str, lies: KvLies, payload: BufferId, combine: ReduceOperator) -> Vec<Node> {
        let region = self.region();
        let mut nodes = self.reduce_by(operator, LineKind::Y, Lines::Whole(Axis::Y), payload, combine);
        if lies.groups > 1 {
            let lines = Lines::Segments { count: lies.groups, stride: 1 };
            nodes.extend(self.within(lies.in_use(region), |writer| {
                writer.reduce_by(operator, LineKind::Sequence, lines, payload, combine)
            }));
        }
        nodes
    }

    /// The softmax over all tokens, in place. Where its sum rides with the values, the sums are left in `sums` and nothing is
    /// divided yet.
    pub fn softmax(
        &mut self,
        attending: &Attending,
        scored: Scored,
        form: SoftmaxForm,
        sums: Option<Operand>,
    ) -> Vec<Node> {
        let Attending { lies, tokens, .. } = *attending;
        let scores = scored.scores;
        let (heads, seen, _) = sizes(attending, lies.key_dim);
        let here = heads.saturating_mul(seen);
        let statistic = self.declare("attention.statistic", vec![lies.statistic("statistic", tokens)]);
        let scale = 1.0 / (lies.key_dim as f64).sqrt();
        let scan = self.work(Operation::ScalarReduce, seen, heads);
        let formula = Formula::Maximum { scores, statistic: first(statistic), causal: None };
        let mut nodes = vec![self.compute(Math::Maximum, &[scores.buffer], statistic, vec![scan], formula)];
        nodes.extend(self.over_tokens("attention.softmax", lies, statistic, ReduceOperator::Max));
        let operations = if form.sum_rides { LEAN_SOFTMAX_OPERATIONS } else { SOFTMAX_OPERATIONS };
        let work = vec![
            self.work(Operation::ScalarReduce, seen, heads),
            self.work(Operation::Multiply, here, operations),
            self.exponential(here, 1),
        ];
        let sums = sums.unwrap_or(first(statistic));
        let formula = Formula::ExpAndSum { scores, statistic: first(statistic), sums, scale, causal: None };
        nodes.push(self.compute(Math::ExpAndSum, &[scores.buffer, statistic], sums.buffer, work, formula));
        if !form.sum_rides {
            nodes.extend(self.over_tokens("attention.softmax", lies, statistic, ReduceOperator::Add));
            let divide = self.work(Operation::Divide, 1, heads);
            let scaled = self.work(Operation::Multiply, seen, heads);
            let formula = Formula::Normalise { scores, statistic: first(statistic) };
            let reads = [scores.buffer, statistic];
            nodes.push(self.compute(Math::Normalise, &reads, scores.buffer, vec![divide, scaled], formula));
        }
        nodes
    }

    /// The buffer of what attention makes; with a field for the sums of the exponentials where they ride along.
    pub fn result_buffer(&mut self, attending: &Attending, sum_rides: bool) -> (Operand, Option<Operand>) {
        let Attending { lies, tokens, .. } = *attending;
        let mut fields = vec![lies.result(tokens)];
        if sum_rides {
            fields.push(lies.statistic("sums", tokens));
        }
        let result = self.declare("attention.result", fields);
        (first(result), sum_rides.then(|| Operand::new(result, 1)))
    }

    /// Scores times values, reduced over the tokens; divided by the sums that rode along.
    pub fn values(
        &mut self,
        attending: &Attending,
        scored: Scored,
        result: Operand,
        sums: Option<Operand>,
    ) -> Vec<Node> {
        let Attending { lies, cache, .. } = *attending;
        let scores = scored.scores;
        let (heads, seen, dims) = sizes(attending, lies.value_dim);
        let mut nodes = self.cache_conversion(dims.saturating_mul(seen).saturating_mul(heads_kept(attending)));
        let formula = Formula::WeightedValues {
            scores,
            values: cache.values,
            output: result,
            group: lies.group,
            head_dim: lies.value_dim,
        };
        let in_place = attending.accumulators_in_place;
        nodes.push(self.cache_product((dims, seen, heads), (scores.buffer, result.buffer), in_place, formula));
        nodes.extend(self.over_tokens("attention.values", lies, result.buffer, ReduceOperator::Add));
        if let Some(sums) = sums {
            let work = vec![self.work(Operation::Divide, 1, heads), self.work(Operation::Multiply, dims, heads)];
            let formula = Formula::Normalise { scores: result, statistic: sums };
            nodes.push(self.compute(Math::Normalise, &[result.buffer], result.buffer, work, formula));
        }
        nodes
    }
}

/// In the fullest processing element: rows of scores (heads times tokens), cached tokens, and parts of a width.
fn sizes(attending: &Attending, width: u64) -> (u64, u64, u64) {
    let lies = attending.lies;
    let scores = lies.statistic("", attending.tokens);
    let heads = scores.most();
    let seen = lies.scores(1, attending.visible).inner.last().map_or(0, wafersim_program::Dimension::most);
    let dims = lies.entry("", 1, width).inner.last().map_or(0, wafersim_program::Dimension::most);
    (heads, seen, dims)
}

/// KV heads of a column.
fn heads_kept(attending: &Attending) -> u64 {
    attending.lies.kv_heads.div_ceil(attending.lies.blocks.max(1))
}
