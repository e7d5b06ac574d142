//! Decode attention over a cache that is spread over rows and column blocks (WaferLLM, OSDI 2025, section 4: scores
//! reduced along x, softmax statistics and scores x V along y; there one head is as wide as the hidden size). Grouped
//! heads, blocks of columns, copies and the rewrites are ours.

use wafersim_graph::layer::SoftmaxForm;
use wafersim_mapping::LineKind;
use wafersim_program::formula::{Causal, ScorePart, Sinks};
use wafersim_program::{
    Axis, BufferId, Dimension, Field, Formula, Math, Node, Operand, Operation, ReduceOperator, Spread, collective,
};

use crate::cache::Cache;
use crate::lies::KvLies;
use crate::overlap::is_transfer;
use crate::writer::{Lines, Writer, first};

/// Vector operations of the softmax beside exponentials and scalar reductions, over the scores: (1552 - 1072 - 45 - 48
/// - 180 - 50) / (16 + 12 / 4) is about eight (per-operation run of the vendor's simulator, 12 scores).
const SOFTMAX_OPERATIONS: u64 = 8;

/// Fewest that do the same in one pass: subtract the maximum, scale.
const LEAN_SOFTMAX_OPERATIONS: u64 = 2;

/// Attention of one layer while it is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attending {
    pub lies: KvLies,
    pub cache: Cache,
    /// New tokens of all users.
    pub tokens: u64,
    /// Those of one user, one after the other.
    pub consecutive: u64,
    /// All tokens of the sequence, new ones included.
    pub context: u64,
    pub sinks: bool,
    /// Width of a key as it is without absorption, which scales scores.
    pub score_width: u64,
    pub accumulators_in_place: bool,
}

/// Queries in the columns whose keys they meet: of keys, or of latents and of the rotary keys beside them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queries {
    pub query: Operand,
    pub rotary: Option<Operand>,
    /// Sums of squares of queries and keys that ride along.
    pub squares: Option<[Operand; 2]>,
}

/// Scores and what came with them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scored {
    pub scores: Operand,
    /// Sums of squares of queries and keys that rode along.
    pub squares: Option<[Operand; 2]>,
    /// Whether the columns of a head share the scores out.
    pub divided: bool,
    /// Whether they have been multiplied with `1 / sqrt(head_dim)`.
    pub scaled: bool,
}

/// A softmax relative to the maxima of single rows of the region: what is left to do.
#[derive(Debug, Clone)]
pub(crate) struct Relative {
    /// Maxima of the own row.
    own: Operand,
    /// Those of all rows, once they have arrived.
    all: Operand,
    scale: f64,
    /// The last transfer of those maxima.
    arrival: Vec<Node>,
}

/// A softmax as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Softmax {
    pub nodes: Vec<Node>,
    pub scored: Scored,
    /// What is left to do where it is relative to the maxima of single rows.
    pub relative: Option<Relative>,
}

/// What attention makes, and the sums of exponentials where they ride along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Made {
    pub result: Operand,
    pub sums: Option<Operand>,
}

impl Attending {
    /// What scores are multiplied with before the softmax.
    pub fn score_scale(&self) -> f64 {
        1.0 / (self.score_width as f64).sqrt()
    }

    /// The oldest token that any of the new ones sees.
    fn oldest(&self) -> u64 {
        self.lies.oldest(self.context + 1 - self.consecutive)
    }

    fn scores(&self) -> Field {
        self.lies.scores(self.tokens, self.context, self.oldest())
    }

    /// Where not every new token sees all that is kept.
    pub fn causal(&self) -> Option<Causal> {
        let Self { lies, consecutive, context, .. } = *self;
        let causal = Causal { position: context - consecutive, users: lies.users, reach: lies.reach };
        (consecutive > 1).then_some(causal)
    }
}

impl Writer<'_> {
    /// Conversion of cached keys or values that are stored narrow.
    pub fn cache_conversion(&mut self, elements: u64) -> Vec<Node> {
        if self.request.precision.kv_cache.is_arithmetic() || elements == 0 {
            return Vec::new();
        }
        let converted = self.program.buffer("kv.converted", elements, self.activations());
        let work = vec![self.work(Operation::Convert, elements, 1)];
        vec![self.compute(Math::Dequantise, &[converted], converted, work, Formula::ConvertCache)]
    }

    pub fn cache_product(&self, shape: Shape, (x, y): (BufferId, BufferId), in_place: bool, formula: Formula) -> Node {
        let Shape { outputs, inputs, vectors } = shape;
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

    /// Query times keys, reduced over the columns that share a head's width; where the softmax is `divided`, each of
    /// them is left with a part of the scores.
    pub fn scores(&mut self, attending: &Attending, queries: Queries, divided: bool) -> (Vec<Node>, Scored) {
        let lies = attending.lies;
        let Queries { query, rotary, squares } = queries;
        let divided = divided && lies.dims > 1;
        let mut fields = vec![attending.scores()];
        if let Some(squares) = squares {
            fields.extend(self.summed_squares(lies, squares, divided, false));
        }
        let scores = self.declare("attention.scores", fields);
        let mut sizes = Sizes::new(attending, lies.new_keys(1));
        let mut parts = vec![ScorePart { query, keys: attending.cache.keys, head_dim: lies.key_dim }];
        if let (Some(query), Some(keys)) = (rotary, attending.cache.rotary) {
            parts.push(ScorePart { query, keys, head_dim: lies.rotary() });
            sizes.dims += lies.rotated_width().most();
        }
        let mut nodes = self.cache_conversion(sizes.dims.saturating_mul(sizes.seen).saturating_mul(sizes.kv_heads));
        let formula = Formula::Scores { parts, scores: first(scores), group: lies.group, users: lies.users };
        let shape = Shape { outputs: sizes.seen, inputs: sizes.dims, vectors: sizes.heads };
        nodes.push(self.cache_product(shape, (query.buffer, scores), attending.accumulators_in_place, formula));
        for (x, field) in squares.into_iter().flatten().zip(1..) {
            let sums = Operand::new(scores, field);
            let work = vec![self.work(Operation::ScalarReduce, self.most(x), 1)];
            nodes.push(self.compute(Math::Add, &[x.buffer], scores, work, Formula::SumOfLast { x, sums }));
        }
        let buffer = if divided {
            let mut fields = vec![attending.scores().shared(lies.dims_digit())];
            if let Some(squares) = squares {
                fields.extend(self.summed_squares(lies, squares, true, true));
            }
            let share = self.declare("attention.scores_share", fields);
            let segment = self.segment(lies.dims, lies.groups, scores, share);
            let region = lies.in_use(self.region());
            nodes.extend(collective::reduce_scatter(&mut self.program, region, segment, ReduceOperator::Add));
            share
        } else {
            nodes.extend(self.over_width("attention.scores", lies, scores));
            scores
        };
        let squares = squares.map(|_| [Operand::new(buffer, 1), Operand::new(buffer, 2)]);
        (nodes, Scored { scores: first(buffer), squares, divided, scaled: false })
    }

    /// Sums of squares as they ride with the scores. Where the scores are shared out, each of the columns that do gets
    /// one of as many copies.
    fn summed_squares(&self, lies: KvLies, squares: [Operand; 2], divided: bool, own: bool) -> [Field; 2] {
        squares.map(|operand| {
            let mut field = self.field(operand);
            field.inner.pop();
            if divided {
                let spread = if own { Spread::Split(lies.dims_digit()) } else { Spread::Whole };
                field.inner.push(Dimension { size: lies.dims, spread });
            }
            field
        })
    }

    /// A reduction over the columns that share a head's width.
    pub fn over_width(&mut self, operator: &str, lies: KvLies, payload: BufferId) -> Vec<Node> {
        let region = self.region();
        if lies.dims >= region.columns {
            return self.reduce(operator, LineKind::Width, Lines::Whole(Axis::X), payload);
        }
        let lines = Lines::Segments { count: lies.dims, stride: lies.groups };
        self.within(lies.in_use(region), |writer| writer.reduce(operator, LineKind::Width, lines, payload))
    }

    /// A reduction over all places that hold scores of a head: the rows, and the groups of columns that share the
    /// sequence, or all columns of a head where they share the scores out.
    fn over_tokens(
        &mut self,
        operator: &str,
        scored: Scored,
        lies: KvLies,
        (payload, combine): (BufferId, ReduceOperator),
    ) -> Vec<Node> {
        let mut nodes = self.reduce_by(operator, LineKind::Y, Lines::Whole(Axis::Y), payload, combine);
        nodes.extend(self.over_columns(operator, scored, lies, (payload, combine)));
        nodes
    }

    /// The part of it within a row.
    fn over_columns(
        &mut self,
        operator: &str,
        scored: Scored,
        lies: KvLies,
        (payload, combine): (BufferId, ReduceOperator),
    ) -> Vec<Node> {
        let region = self.region();
        let (count, line) =
            if scored.divided { (lies.of_copy(), LineKind::Head) } else { (lies.groups, LineKind::Sequence) };
        if count <= 1 {
            return Vec::new();
        }
        let lines = Lines::Segments { count, stride: 1 };
        self.within(lies.in_use(region), |writer| writer.reduce_by(operator, line, lines, payload, combine))
    }

    /// The softmax over all tokens, in place. Where its sum rides with the values, the sums are left with the result
    /// and nothing is divided yet. Scores that were shared out are with all columns of a head again when it ends. Where
    /// it is relative to the maxima of single rows, what is left to do comes back as well.
    pub fn softmax(&mut self, attending: &Attending, scored: Scored, form: SoftmaxForm, made: Made) -> Softmax {
        let Attending { lies, tokens, .. } = *attending;
        let Scored { scores, divided, .. } = scored;
        let scale = if scored.scaled { 1.0 } else { attending.score_scale() };
        let here = self.most(scores);
        let statistic = self.declare("attention.statistic", vec![lies.statistic("statistic", tokens)]);
        let heads = self.most(first(statistic));
        let causal = attending.causal();
        let columns = if divided { lies.copy_digit() } else { lies.groups_digit() };
        let sinks = attending.sinks.then_some(Sinks { columns, scale });
        let sink_work = |operation: Operation| attending.sinks.then(|| self.work(operation, heads, 1));
        let mut work = vec![self.work(Operation::ScalarReduce, here, 1)];
        work.extend(sink_work(Operation::Multiply));
        let mut exponentials = vec![self.work(Operation::ScalarReduce, here, 1)];
        let mut operations = if form.sum_rides { LEAN_SOFTMAX_OPERATIONS } else { SOFTMAX_OPERATIONS };
        if scored.scaled {
            operations -= 1;
        }
        exponentials.push(self.work(Operation::Multiply, here, operations));
        exponentials.push(self.work(self.exponential(), here, 1));
        exponentials.extend(sink_work(self.exponential()));
        let formula = Formula::Maximum { scores, statistic: first(statistic), causal, sinks };
        let mut nodes = vec![self.compute(Math::Maximum, &[scores.buffer], statistic, work, formula)];
        let maximum = (statistic, ReduceOperator::Max);
        let mut late = None;
        if form.local && form.sum_rides {
            nodes.extend(self.over_columns("attention.softmax", scored, lies, maximum));
            let all = self.declare("attention.maximum", vec![lies.statistic("statistic", tokens)]);
            let (source, target) = (first(statistic), first(all));
            let work = vec![self.work(Operation::Copy, heads, 1)];
            nodes.push(self.compute(Math::Copy, &[statistic], all, work, Formula::Load { source, target }));
            let max = ReduceOperator::Max;
            let mut ways = self.reduce_by("attention.softmax", LineKind::Y, Lines::Whole(Axis::Y), all, max);
            let arrival = ways.split_off(ways.len().saturating_sub(1));
            late = Some((ways, Relative { own: source, all: target, scale, arrival }));
        } else {
            nodes.extend(self.over_tokens("attention.softmax", scored, lies, maximum));
        }
        // Sums of what lies here: where the scores are shared out, they go back with them.
        let own_sums = form.sum_rides && divided;
        let gathered = scored.divided.then(|| {
            let part = |spread: Spread| {
                let mut field = lies.statistic("sums", tokens);
                field.inner.push(Dimension { size: lies.dims, spread });
                field
            };
            let mut fields = vec![attending.scores()];
            fields.extend(own_sums.then(|| part(Spread::Whole)));
            let share = own_sums.then(|| part(Spread::Split(lies.dims_digit())));
            (fields, share)
        });
        let source = match &gathered {
            // The exponentials and their sums leave together.
            Some((_, Some(share))) => {
                let field = self.field(scores);
                Some(self.declare("attention.exponentials_share", vec![field, share.clone()]))
            }
            _ => None,
        };
        let sums = match (source, made.sums) {
            (Some(source), _) => Operand::new(source, 1),
            (None, Some(sums)) => sums,
            (None, None) => first(statistic),
        };
        let exponentials_of = source.map_or(scores, first);
        let formula = Formula::ExpAndSum {
            scores,
            statistic: first(statistic),
            exponentials: exponentials_of,
            sums,
            scale,
            causal,
            sinks,
        };
        let exponentials =
            self.compute(Math::ExpAndSum, &[scores.buffer, statistic], sums.buffer, exponentials, formula);
        let relative = match late {
            Some((ways, relative)) => {
                nodes.extend(beside_last(ways, exponentials));
                Some(relative)
            }
            None => {
                nodes.push(exponentials);
                None
            }
        };
        if !form.sum_rides {
            nodes.extend(self.over_tokens("attention.softmax", scored, lies, (statistic, ReduceOperator::Add)));
            let work = vec![
                self.work(Operation::Divide, 1, heads),
                self.work(Operation::Multiply, here.div_ceil(heads), heads),
            ];
            let formula = Formula::Normalise { scores, statistic: first(statistic) };
            let reads = [scores.buffer, statistic];
            nodes.push(self.compute(Math::Normalise, &reads, scores.buffer, work, formula));
        }
        let Some((fields, _)) = gathered else { return Softmax { nodes, scored, relative } };
        let whole = self.declare("attention.exponentials", fields);
        let segment = self.segment(lies.dims, lies.groups, exponentials_of.buffer, whole);
        let region = lies.in_use(self.region());
        nodes.extend(collective::all_gather(&mut self.program, region, segment));
        if let (true, Some(sums)) = (own_sums, made.sums) {
            let x = Operand::new(whole, 1);
            let work = vec![self.work(Operation::ScalarReduce, self.most(x), 1)];
            nodes.push(self.compute(Math::Add, &[whole], sums.buffer, work, Formula::SumOfLast { x, sums }));
        }
        Softmax { nodes, scored: Scored { scores: first(whole), divided: false, ..scored }, relative }
    }

    /// The buffer of what attention makes; with a field for the sums of the exponentials where they ride along.
    pub fn result_buffer(&mut self, attending: &Attending, sum_rides: bool) -> Made {
        let Attending { lies, tokens, .. } = *attending;
        let mut fields = vec![lies.result(tokens)];
        if sum_rides {
            fields.push(lies.statistic("sums", tokens));
        }
        let result = self.declare("attention.result", fields);
        Made { result: first(result), sums: sum_rides.then(|| Operand::new(result, 1)) }
    }

    /// Scores times values, reduced over the tokens; divided by the sums that rode along. Where they are `relative` to
    /// the maxima of single rows, those of all rows arrive beside the product.
    pub fn values(
        &mut self,
        attending: &Attending,
        scored: Scored,
        made: Made,
        relative: Option<Relative>,
    ) -> Vec<Node> {
        let lies = attending.lies;
        let Made { result, sums } = made;
        let scores = scored.scores;
        let sizes = Sizes::new(attending, lies.result(1));
        let mut nodes = self.cache_conversion(sizes.dims.saturating_mul(sizes.seen).saturating_mul(sizes.kv_heads));
        let formula = Formula::WeightedValues {
            scores,
            values: attending.cache.values,
            output: result,
            group: lies.group,
            head_dim: lies.value_dim,
            users: lies.users,
        };
        let in_place = attending.accumulators_in_place;
        let shape = Shape { outputs: sizes.dims, inputs: sizes.seen, vectors: sizes.heads };
        let product = self.cache_product(shape, (scores.buffer, result.buffer), in_place, formula);
        match (relative, sums) {
            (Some(Relative { own, all, scale, arrival }), Some(sums)) => {
                nodes.extend(beside_last(arrival, product));
                let work = vec![
                    self.work(Operation::Multiply, sizes.heads, 2),
                    self.work(self.exponential(), sizes.heads, 1),
                    self.work(Operation::Multiply, sizes.dims, sizes.heads),
                ];
                let formula = Formula::RelativeTo { operands: [result, sums], own, all, scale };
                let reads = [result.buffer, own.buffer, all.buffer];
                nodes.push(self.compute(Math::Normalise, &reads, result.buffer, work, formula));
            }
            _ => nodes.push(product),
        }
        nodes.extend(self.over_tokens("attention.values", scored, lies, (result.buffer, ReduceOperator::Add)));
        if let Some(sums) = sums {
            let work = vec![
                self.work(Operation::Divide, 1, sizes.heads),
                self.work(Operation::Multiply, sizes.dims, sizes.heads),
            ];
            let formula = Formula::Normalise { scores: result, statistic: sums };
            nodes.push(self.compute(Math::Normalise, &[result.buffer], result.buffer, work, formula));
        }
        nodes
    }
}

/// Transfers, and what the cores do while the last of them runs: a core is free while a reduction or a multicast runs
/// in a microthread (sources.md#wse-3-characterisation-notes).
fn beside_last(mut transfers: Vec<Node>, work: Node) -> Vec<Node> {
    match transfers.pop() {
        Some(last) if is_transfer(&last) => transfers.push(Node::Parallel(vec![last, work])),
        last => transfers.extend(last.into_iter().chain([work])),
    }
    transfers
}

/// A product of several vectors with one matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub outputs: u64,
    pub inputs: u64,
    pub vectors: u64,
}

/// What lies in the fullest processing element.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Rows of scores: query heads times tokens.
    heads: u64,
    /// KV heads times users.
    kv_heads: u64,
    /// Cached tokens of one user.
    seen: u64,
    /// Parts of the width of a key or value.
    dims: u64,
}

impl Sizes {
    fn new(attending: &Attending, entry: Field) -> Self {
        let last = |field: &Field| field.inner.last().map_or(0, Dimension::most);
        Self {
            heads: attending.lies.statistic("", attending.tokens).most(),
            kv_heads: attending.lies.key_statistic("", attending.lies.users).most(),
            seen: last(&attending.scores()),
            dims: last(&entry),
        }
    }
}
