//! One layer written by its mapping and read in closed form: the inner step of every search over mappings. It should take at
//! most 50 us.

#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wafersim_cost::{Rates, View, cost};
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope, decode_layer};
use wafersim_mapping::{KvMapping, LayerMapping, Rewrite, Rewrites};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{Model, Precision, Wafer};

/// Those of the optimised profile.
const REWRITES: [Rewrite; 5] = [
    Rewrite::FusedNorms,
    Rewrite::OnlineSoftmax,
    Rewrite::SinglePassTopK,
    Rewrite::InterleavedGateUp,
    Rewrite::AccumulatorsInPlace,
];

fn layers(criterion: &mut Criterion) {
    let model = Model::builtin("qwen3-coder-480b-a35b").expect("a built-in model");
    let rates = Rates::new(&Wafer::builtin("wse3").expect("a built-in wafer"), RateSet::Silicon, View::Achieved);
    let kv = |dimension_split: u64, sequence_split: u64| KvMapping {
        columns_per_head: dimension_split * sequence_split,
        dimension_split,
        sequence_split,
        ..KvMapping::published(1)
    };
    let mut group = criterion.benchmark_group("layer of qwen3-coder");
    for (name, kv, rewrites) in [
        ("published", kv(94, 1), Rewrites::NONE),
        ("both splits", kv(8, 11), Rewrites::NONE),
        ("both splits, rewrites", kv(8, 11), REWRITES.into_iter().collect()),
    ] {
        let mapping = LayerMapping { kv, rewrites, ..LayerMapping::published(755, 292) };
        let request = LayerRequest {
            layer: &model.layers[0],
            hidden: model.hidden,
            norm_epsilon: model.norm_epsilon,
            mapping: &mapping,
            precision: Precision::default(),
            tokens: 1,
            users: 1,
            context: 32_768,
            routed: Routed::Expected(ExpertLoad::spread(8, 8)),
            scope: Scope::Model,
            queue: 4,
        };
        group.bench_function(format!("{name}, written"), |bench| bench.iter(|| decode_layer(black_box(&request))));
        group.bench_function(format!("{name}, written and read"), |bench| {
            bench.iter(|| decode_layer(black_box(&request)).map(|program| cost(&program, &rates)));
        });
    }
    group.finish();
}

criterion_group!(benches, layers);
criterion_main!(benches);
