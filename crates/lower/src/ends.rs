//! The ends of a model: embedding lookup, final norm, LM head and sampling. Ours, of the parts of a layer; not part of
//! the published layer rows.

use wafersim_mapping::{LayerMapping, LineKind, Rewrite};
use wafersim_program::{
    Axis, BufferId, Field, Formula, GainName, Math, Node, Operand, Operation, Program, ReduceOperator, Rescaled,
    collective,
};
use wafersim_spec::Precision;
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, HeadValues, Layer, Reach, Role};

use crate::gemm::Rings;
use crate::norm::{NormOf, riding_sums};
use crate::product::Product;
use crate::relayout::{Turned, Way, turn};
use crate::request::{LayerRequest, LowerError, Routed, Scope};
use crate::writer::{Lines, Writer, along, everywhere, first, table};

/// The tables of a model on a region of their own.
#[derive(Debug, Clone, Copy)]
pub struct EndRequest<'a> {
    /// Width of the residual stream.
    pub hidden: u64,
    /// Rows of the embedding table.
    pub vocabulary: u64,
    /// Added to mean squares.
    pub norm_epsilon: f64,
    /// Region, reductions, and the rewrites that concern norms and products.
    pub mapping: &'a LayerMapping,
    /// Data types.
    pub precision: Precision,
}

/// The writer takes what it needs of a layer from a request; the ends have none.
const NO_LAYER: Layer = Layer {
    attention: Attention::Grouped(GroupedAttention {
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        qkv_bias: false,
        output_bias: false,
        qk_norm: wafersim_spec::model::QkNorm::None,
        sinks: false,
        output_gate: false,
        head_gate: false,
        rotary_dim: 0,
        reach: Reach::Full,
        query_rank: None,
        values: HeadValues::Plain,
    }),
    feed_forward: FeedForward::Dense { width: 0, bias: false },
    norms: 0,
};

/// Whether two mappings say the same of the ends: programs of one are those of the other.
pub fn is_same_for_ends(one: &LayerMapping, other: &LayerMapping) -> bool {
    let alike = |rewrite: Rewrite| one.has(rewrite) == other.has(rewrite);
    let (sums, others) = (&one.reductions, &other.reductions);
    one.region == other.region
        && one.routes == other.routes
        && alike(Rewrite::FusedNorms)
        && alike(Rewrite::AccumulatorsInPlace)
        && alike(Rewrite::ConversionInStrips)
        && (&sums.x, &sums.y, &sums.operators) == (&others.x, &others.y, &others.operators)
        && one.stored == other.stored
}

impl<'a> EndRequest<'a> {
    fn of_writer(&self, tokens: u64) -> LayerRequest<'a> {
        LayerRequest {
            layer: &NO_LAYER,
            hidden: self.hidden,
            norm_epsilon: self.norm_epsilon,
            mapping: self.mapping,
            precision: self.precision,
            tokens,
            users: tokens.max(1),
            context: 1,
            routed: Routed::Chosen(Vec::new()),
            scope: Scope::Model,
            queue: 0,
        }
    }
}

/// Rows of the embedding table: they are shared out over the columns, the width over the rows of the region. A single
/// token's row is multicast by the column that holds it; of several tokens each column looks up what it holds, and the
/// sum along x is the whole. Where no token is known, token 0 stands for it: its column is as far from the others as
/// any. The output is the buffer `embedding.row`.
///
/// # Errors
/// Where a reduction of the mapping does not fit its line, or one from outside refuses.
pub fn embedding(request: &EndRequest<'_>, tokens: &[u64]) -> Result<Program, LowerError> {
    let inner = request.of_writer(tokens.len() as u64);
    let mut writer = Writer::new("embedding", &inner);
    let (nodes, _) = looked_up(&mut writer, request, tokens, "row");
    writer.program.push("embedding", nodes);
    written(writer)
}

/// The same for a prompt, whose tokens lie along y and widths along x in prefill (the buffer `residual`): each row of
/// the region keeps its tokens.
///
/// # Errors
/// As [`embedding`].
pub fn prefill_embedding(request: &EndRequest<'_>, prompt: &[u64]) -> Result<Program, LowerError> {
    let inner = request.of_writer(prompt.len() as u64);
    let mut writer = Writer::new("prefill embedding", &inner);
    let (mut nodes, rows) = looked_up(&mut writer, request, prompt, "residual");
    let target = writer.declare("residual", vec![of_prefill(&writer, request.hidden)]);
    let way = Way::Through { hops: writer.region().rows, elements: writer.program.buffer_of(target).elements };
    nodes.push(writer.relayout(Axis::Y, rows, target, way));
    writer.program.push("embedding", nodes);
    written(writer)
}

/// The program, unless a reduction has been refused.
fn written(writer: Writer<'_>) -> Result<Program, LowerError> {
    match writer.refused {
        Some(refused) => Err(refused),
        None => Ok(writer.program),
    }
}

fn looked_up(
    writer: &mut Writer<'_>,
    request: &EndRequest<'_>,
    tokens: &[u64],
    name: &'static str,
) -> (Vec<Node>, BufferId) {
    let region = writer.region();
    let owners = along(request.vocabulary, Axis::X, region);
    let field = table(name, tokens.len() as u64, request.hidden, Axis::Y, region);
    let row = writer.declare("embedding.row", vec![field]);
    let work = vec![writer.work(Operation::Copy, writer.most(first(row)), 1)];
    let formula = Formula::Lookup { rows: first(row), tokens: tokens.to_vec(), table: owners.clone() };
    let mut nodes = vec![writer.compute(Math::Lookup, &[row], row, work, formula)];
    match tokens {
        [token] if region.columns > 1 => {
            let owns = |column: &u64| owners.spread.indices(owners.size, (*column, 0)).contains(token);
            let from = (0..region.columns).find(owns).unwrap_or(0);
            nodes.push(collective::multicast(&mut writer.program, Axis::X, from, row));
        }
        [_] => {}
        _ => nodes.extend(writer.reduce("embedding", LineKind::X, Lines::Whole(Axis::X), row)),
    }
    (nodes, row)
}

fn of_prefill(writer: &Writer<'_>, hidden: u64) -> Field {
    let rings = Rings::new(writer.region());
    Field::new("residual", rings.rows(writer.request.tokens), vec![rings.inner(hidden, false)])
}

/// The residual stream of a chunk of a prompt (`residual`) to that of decode (`head.x`), for the LM head.
pub fn turn_to_head(request: &EndRequest<'_>, tokens: u64) -> Program {
    let inner = request.of_writer(tokens);
    let mut writer = Writer::new("turn", &inner);
    let (region, width) = (writer.region(), request.hidden);
    let source = first(writer.declare("residual", vec![of_prefill(&writer, width)]));
    let target = writer.declare("head.x", vec![table("residual", tokens, width, Axis::Y, region)]);
    let nodes = turn(&mut writer, source, target, Turned { tokens, width, region });
    writer.program.push("turn", nodes);
    writer.program
}

/// Final norm, logits and the choice of the next token of each row of `head.x`. Greedy: the largest logit of each
/// processing element, then a reduction of (value, index) along x. The outputs are `head.logits` and `sampling.best`.
///
/// # Errors
/// As [`embedding`].
pub fn lm_head(request: &EndRequest<'_>, tokens: u64) -> Result<Program, LowerError> {
    let inner = request.of_writer(tokens);
    let mut writer = Writer::new("LM head", &inner);
    let region = writer.region();
    let x = first(writer.declare("head.x", vec![table("x", tokens, request.hidden, Axis::Y, region)]));
    let y = first(writer.declare("head.normed", vec![table("normed", tokens, request.hidden, Axis::Y, region)]));
    let norm = NormOf {
        operator: "final_norm",
        x,
        y,
        gain: GainName::first(Role::FinalNorm),
        line: LineKind::Y,
        axis: Axis::Y,
    };
    let (nodes, riding) = if request.mapping.has(Rewrite::FusedNorms) {
        let (nodes, riding) = writer.gain(norm);
        (nodes, Some(riding))
    } else {
        (writer.norm(norm), None)
    };
    writer.program.push("final_norm", nodes);

    let mut fields = vec![table("logits", tokens, request.vocabulary, Axis::X, region)];
    fields.extend(riding.map(|_| riding_sums(tokens)));
    let logits = writer.declare("head.logits", fields);
    let sums = Operand::new(logits, 1);
    let mut nodes = writer.ride(riding, sums);
    let product = Product::plain(&writer, Role::LmHead, y, first(logits));
    nodes.extend(writer.product(product, request.mapping.has(Rewrite::AccumulatorsInPlace)));
    nodes.extend(writer.reduce("lm_head", LineKind::Y, Lines::Whole(Axis::Y), logits));
    nodes.extend(writer.scale(riding, sums, vec![Rescaled { operand: first(logits), bias: None }]));
    writer.program.push("lm_head", nodes);

    let best = writer.declare("sampling.best", vec![everywhere("best", tokens, 2)]);
    let scan = writer.work(Operation::ScalarReduce, writer.laid(first(logits)).most_inner(), tokens);
    let formula = Formula::ArgMax { scores: first(logits), best: first(best) };
    let mut nodes = vec![writer.compute(Math::ArgMax, &[logits], best, vec![scan], formula)];
    nodes.extend(writer.reduce_by("sampling", LineKind::X, Lines::Whole(Axis::X), best, ReduceOperator::ArgMax));
    writer.program.push("sampling", nodes);
    if request.mapping.has(Rewrite::ConversionInStrips) {
        crate::strips::cut(&mut writer.program, crate::strips::OF_TABLES);
    }
    written(writer)
}
