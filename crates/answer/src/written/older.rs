//! TEMPORARY: the older writer behind the one kind of layer that the one writer does not have yet: latent attention in prefill.
//! With it this file goes.

use wafersim_kernels::feed_forward::ExpertLoad as OlderLoad;
use wafersim_kernels::{ExpertShape, KvShape, LayerShape, Options, decode_layer, prefill_layer};
use wafersim_lower::{ExpertLoad, LayerRequest};
use wafersim_place::PREFILL_KEY_BLOCK;
use wafersim_program::Program;
use wafersim_spec::model::Attention;

use super::Flow;

/// Whether a layer is of such a kind.
pub const fn is_needed(request: &LayerRequest<'_>, flow: Flow) -> bool {
    matches!((&request.layer.attention, flow), (Attention::Latent(_), Flow::Prefill { .. }))
}

/// Such a layer: as published where the mapping has no rewrites, else with all that the older writer knows.
pub fn layer(request: &LayerRequest<'_>, flow: Flow, load: ExpertLoad) -> Program {
    let (mapping, kv) = (request.mapping, &request.mapping.kv);
    let experts = match mapping.experts.as_ref().filter(|experts| !experts.is_spread()) {
        Some(experts) => ExpertShape::Clustered {
            columns: mapping.region.columns.div_ceil(experts.across),
            rows: mapping.region.rows.div_ceil(experts.down),
        },
        None => ExpertShape::Spread,
    };
    let shape = LayerShape {
        layer: request.layer,
        hidden: request.hidden,
        region: mapping.whole(),
        kv: KvShape {
            heads_per_block: kv.heads_per_block,
            columns_per_head: kv.columns_per_head,
            dimension_split: kv.dimension_split,
            sequence_split: kv.sequence_split,
        },
        experts,
        precision: request.precision,
        tokens: request.tokens,
        context: match flow {
            Flow::Decode { context, .. } => context,
            Flow::Prefill { before, .. } => before,
        },
        key_block: PREFILL_KEY_BLOCK,
        load: OlderLoad { pairs: load.pairs, distinct: load.distinct, busiest: load.busiest.pairs },
        options: if mapping.rewrites.iter().next().is_none() { Options::PUBLISHED } else { Options::OPTIMISED },
    };
    match flow {
        Flow::Decode { .. } => decode_layer(&shape),
        Flow::Prefill { .. } => prefill_layer(&shape),
    }
}
