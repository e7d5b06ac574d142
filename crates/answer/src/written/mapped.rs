//! The programs of a placement as a mapping says: those of the one writer.

use wafersim_kernels::feed_forward::ExpertLoad as GivenLoad;
use wafersim_lower::{EndRequest, ExpertLoad, LayerRequest, LowerError, PlaceLoad, Routed, Scope};
use wafersim_mapping::{LayerMapping, dealing};
use wafersim_place::{LayerLayout, PREFILL_KEY_BLOCK, Placement, TableLayout};
use wafersim_program::Program;
use wafersim_spec::Precision;
use wafersim_spec::model::FeedForward;
use wafersim_spec::wafer::Key;

use super::{Flow, Variants, Written};
use crate::expert_load::expert_load;
use crate::question::Question;

/// Decisions by layout and by table.
#[derive(Clone, Copy)]
pub(super) struct Mappings<'a> {
    pub layers: &'a [LayerMapping],
    pub tables: &'a [LayerMapping],
}

/// The programs of a placement.
pub(super) fn written(
    question: &Question,
    placement: &Placement,
    mappings: Mappings<'_>,
    flow: Flow,
    experts: Option<GivenLoad>,
) -> Written {
    let mut refused = None;
    let alone = |published| Variants { published, best: None };
    let layers = placement.layouts.iter().zip(mappings.layers).map(|(layout, mapping)| {
        let program = layer(question, layout, mapping, flow, experts.filter(|_| layout.experts.is_some()));
        program.unwrap_or_else(|error| {
            refused.get_or_insert(error);
            Program::new("refused", mapping.whole())
        })
    });
    let layouts = layers.map(alone).collect();
    let tables = placement.tables.iter().zip(mappings.tables);
    let tables = tables.map(|(placed, mapping)| alone(table(question, placed, mapping, flow))).collect();
    Written { flow, layouts, tables, refused }
}

fn layer(
    question: &Question,
    layout: &LayerLayout,
    mapping: &LayerMapping,
    flow: Flow,
    given: Option<GivenLoad>,
) -> Result<Program, LowerError> {
    let load = load(question, layout, mapping, flow.tokens(), given);
    layer_under(question, layout, mapping, flow, load)
}

/// A layer under a load of its experts.
pub fn layer_under(
    question: &Question,
    layout: &LayerLayout,
    mapping: &LayerMapping,
    flow: Flow,
    load: ExpertLoad,
) -> Result<Program, LowerError> {
    let (tokens, users, context) = match flow {
        Flow::Decode { tokens, users, context } => (tokens, users, context.max(tokens / users.max(1))),
        Flow::Prefill { tokens, before } => (tokens, 1, before.saturating_add(tokens)),
    };
    let request = LayerRequest {
        layer: &layout.layer,
        hidden: layout.hidden,
        norm_epsilon: question.model.norm_epsilon,
        mapping,
        precision: question.scenario.precision,
        tokens,
        users,
        context,
        routed: Routed::Expected(load),
        scope: Scope::Model,
        queue: question.wafer.figure(Key::InputQueue).value as u64,
    };
    match flow {
        Flow::Decode { .. } => wafersim_lower::decode_layer(&request),
        Flow::Prefill { .. } => wafersim_lower::prefill_layer(&request, PREFILL_KEY_BLOCK),
    }
}

/// The expected load of the experts; of experts in rectangles that of batches that are drawn from the routing of the scenario.
fn load(
    question: &Question,
    layout: &LayerLayout,
    mapping: &LayerMapping,
    tokens: u64,
    given: Option<GivenLoad>,
) -> ExpertLoad {
    let FeedForward::Moe(moe) = &layout.layer.feed_forward else { return ExpertLoad::spread(tokens, 1) };
    let routing = question.scenario.routing;
    if let Some(given) = given {
        let busiest = PlaceLoad { pairs: given.busiest, distinct: 1, tokens: given.busiest };
        return ExpertLoad { pairs: given.pairs, distinct: given.distinct, busiest, column: busiest };
    }
    let expected = expert_load(moe, tokens, routing);
    let spread = ExpertLoad::spread(expected.pairs, expected.distinct);
    let Some(experts) = mapping.experts.as_ref().filter(|experts| !experts.is_spread()) else { return spread };
    let drawn = dealing::draw(moe, tokens, routing);
    let mut sums = [0_u64; 6];
    for chosen in &drawn {
        let counted = ExpertLoad::counted(chosen, experts);
        let (busiest, column) = (counted.busiest, counted.column);
        let parts = [busiest.pairs, busiest.distinct, busiest.tokens, column.pairs, column.distinct, column.tokens];
        sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    }
    let [pairs, distinct, tokens, of_column @ ..] = sums.map(|sum| sum.div_ceil(drawn.len().max(1) as u64).max(1));
    let [column_pairs, column_distinct, column_tokens] = of_column;
    ExpertLoad {
        busiest: PlaceLoad { pairs, distinct, tokens },
        column: PlaceLoad { pairs: column_pairs, distinct: column_distinct, tokens: column_tokens },
        ..spread
    }
}

/// Lookup, or final norm, logits and sampling. Logits are wanted for every decoding token, and for the last token of a
/// prompt only.
fn table(question: &Question, table: &TableLayout, mapping: &LayerMapping, flow: Flow) -> Program {
    let precision = Precision { weights: table.matrix.data_type, ..question.scenario.precision };
    let request = EndRequest {
        hidden: question.model.hidden,
        vocabulary: table.part.entries,
        norm_epsilon: question.model.norm_epsilon,
        mapping,
        precision,
    };
    let any = |tokens: u64| vec![0; usize::try_from(tokens).unwrap_or(usize::MAX).max(1)];
    match (table.is_head, flow) {
        (true, Flow::Decode { tokens, .. }) => wafersim_lower::lm_head(&request, tokens.max(1)),
        (true, Flow::Prefill { .. }) => wafersim_lower::lm_head(&request, 1),
        (false, Flow::Decode { tokens, .. }) => wafersim_lower::embedding(&request, &any(tokens)),
        (false, Flow::Prefill { tokens, .. }) => wafersim_lower::prefill_embedding(&request, &any(tokens)),
    }
}
