//! Laws that hold for every model and load.

#![cfg(feature = "operator-graph")]

#[path = "common/mod.rs"]
mod common;

use common::MODELS;
use proptest::prelude::*;
use wafersim_graph::{OperatorGraph, OperatorKind, PassLoad, Phase};
use wafersim_spec::{Model, Precision};

fn model() -> impl Strategy<Value = &'static Model> {
    (0..MODELS.len()).prop_map(|index| &MODELS[index])
}

fn load() -> impl Strategy<Value = PassLoad> {
    let phase = prop_oneof![Just(Phase::Decode), Just(Phase::Prefill)];
    (phase, 1..5_000_u64, 0..300_000_u64).prop_map(|(phase, tokens, context)| PassLoad { phase, tokens, context })
}

fn graph(model: &Model, load: PassLoad) -> OperatorGraph {
    OperatorGraph::of_model(model, load, &Precision::default()).expect("a load that is built")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn more_work_takes_more_macs(model in model(), load in load(), tokens in 1..1000_u64, context in 0..100_000_u64) {
        let base = graph(model, load);
        let more_tokens = graph(model, PassLoad { tokens: load.tokens + tokens, ..load });
        let more_context = graph(model, PassLoad { context: load.context + context, ..load });
        prop_assert!(more_tokens.macs() > base.macs());
        prop_assert!(more_tokens.bytes_written() > base.bytes_written());
        prop_assert!(more_tokens.weight_bytes_read() >= base.weight_bytes_read());
        prop_assert!(more_context.macs() >= base.macs());
        prop_assert!(more_context.cache_bytes_read() >= base.cache_bytes_read());
        prop_assert_eq!(more_context.weight_bytes_read(), base.weight_bytes_read());
        // No more than every expert once.
        prop_assert!(base.active_parameters() <= base.parameters());
    }

    #[test]
    fn products_have_matching_shapes(model in model(), load in load()) {
        for (_, operator) in graph(model, load).operators() {
            let Some(matrix) = operator.matrix else {
                // Each channel of a convolution has taps of its own.
                let taps = if operator.kind == OperatorKind::Convolution { operator.parameters * load.tokens } else { 0 };
                prop_assert_eq!(operator.macs, taps, "{}", operator.name);
                continue;
            };
            prop_assert_eq!(operator.input.columns, matrix.rows, "{}", operator.name);
            prop_assert_eq!(operator.output.columns, matrix.columns, "{}", operator.name);
            prop_assert_eq!(operator.input.rows, operator.output.rows, "{}", operator.name);
            let full = operator.input.rows * matrix.elements();
            let causal = matches!(operator.kind, OperatorKind::AttentionScores | OperatorKind::AttentionValues)
                && load.phase == Phase::Prefill;
            if operator.kind == OperatorKind::DeltaRule {
                // Read by the key, written, read by the query.
                prop_assert_eq!(operator.macs, 3 * full, "{}", operator.name);
            } else if causal {
                prop_assert!(operator.macs <= full && operator.macs > 0, "{}", operator.name);
            } else {
                prop_assert_eq!(operator.macs, full, "{}", operator.name);
            }
        }
    }

    #[test]
    fn decoding_is_prefilling_one_token(model in model(), context in 0..300_000_u64) {
        let decode = graph(model, PassLoad::decode(1, context + 1));
        let prefill = graph(model, PassLoad::prefill(1, context));
        let operators = decode.operators().zip(prefill.operators());
        prop_assert_eq!(decode.operator_count(), prefill.operator_count());
        for ((_, left), (_, right)) in operators {
            prop_assert_eq!(left, right);
        }
    }
}
