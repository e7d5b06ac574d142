//! A layer resolved, written, checked for memory and read in closed form: the inner step of every search over mappings.
//! All of it should take less than 50 us on one core.
//!
//! Each case goes round as many different mappings as there are splits of the KV columns, so that nothing is done
//! twice.

#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use wafersim_cost::{Rates, View, cost};
use wafersim_graph::LayerGraphs;
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope, decode_layer, decode_layer_with};
use wafersim_mapping::{ExpertMapping, KvMapping, LayerMapping, LayerPlace, Recipe, RegionSize};
use wafersim_spec::model::{FeedForward, Layer};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{Model, Precision, Wafer};

/// What `simctl` takes memory from.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Ways to share out the columns of a head: width, sequence.
fn splits(columns: u64, heads: u64) -> Vec<KvMapping> {
    let block = columns / heads;
    let of = |dimension_split: u64| {
        let sequence_split = (block / dimension_split).max(1);
        KvMapping { columns_per_head: block, dimension_split, sequence_split, ..KvMapping::published(1) }
    };
    (1..=block.min(64)).map(of).collect()
}

/// A layer on a region that is divided in many ways.
struct Case {
    name: &'static str,
    layer: Layer,
    hidden: u64,
    recipe: Recipe,
    region: RegionSize,
    splits: Vec<KvMapping>,
    precision: Precision,
}

impl Case {
    fn resolved(&self, number: usize) -> LayerMapping {
        let experts = match &self.layer.feed_forward {
            FeedForward::Moe(moe) => Some(ExpertMapping::spread(moe.experts)),
            FeedForward::Dense { .. } => None,
        };
        let (region, kv) = (self.region, self.splits[number % self.splits.len()]);
        let place = LayerPlace { region, kv, experts, stored: BTreeMap::new() };
        LayerMapping::resolved(&self.recipe, &self.layer, place).expect("no rectangles")
    }

    fn request<'a>(&'a self, mapping: &'a LayerMapping) -> LayerRequest<'a> {
        LayerRequest {
            layer: &self.layer,
            hidden: self.hidden,
            norm_epsilon: 1e-6,
            mapping,
            precision: self.precision,
            tokens: 1,
            users: 1,
            context: 32_768,
            routed: Routed::Expected(ExpertLoad::spread(8, 8)),
            scope: Scope::Model,
            queue: 4,
        }
    }
}

fn case(name: &'static str, model: &str, recipe: &str, region: RegionSize) -> Case {
    let model = Model::builtin(model).expect("a built-in model");
    let layer = model.layers[0].clone();
    let splits = splits(region.columns, 8);
    let recipe = Recipe::builtin(recipe).expect("a built-in recipe");
    Case { name, layer, hidden: model.hidden, recipe, region, splits, precision: Precision::default() }
}

fn layers(criterion: &mut Criterion) {
    let rates = Rates::new(&Wafer::builtin("wse3").expect("a built-in wafer"), RateSet::Silicon, View::Achieved);
    let region = RegionSize { columns: 755, rows: 292 };
    for case in [
        case("qwen3-coder, published", "qwen3-coder-480b-a35b", "published", region),
        case("qwen3-coder, best", "qwen3-coder-480b-a35b", "best", region),
        case("llama-3.1-8b, best", "llama-3.1-8b", "best", RegionSize { columns: 190, rows: 180 }),
    ] {
        let mut group = criterion.benchmark_group(case.name);
        let mut number = 0;
        let mut next = || {
            number += 1;
            number
        };
        group.bench_function("resolved", |bench| bench.iter(|| case.resolved(black_box(next()))));
        let mapping = case.resolved(7);
        let request = case.request(&mapping);
        group.bench_function("written", |bench| bench.iter(|| decode_layer(black_box(&request))));
        let mut graphs = LayerGraphs::default();
        group.bench_function("written, its graph known", |bench| {
            bench.iter(|| decode_layer_with(black_box(&request), &mut graphs));
        });
        let program = decode_layer(&request).expect("a layer that can be written");
        group.bench_function("memory", |bench| {
            bench.iter(|| black_box(&program).peak(|name| name.starts_with("kv."), |name| name == "residual"));
        });
        group.bench_function("read", |bench| bench.iter(|| cost(black_box(&program), &rates)));
        let mut all = |number: usize| {
            let mapping = case.resolved(number);
            let program = decode_layer_with(&case.request(&mapping), &mut graphs).expect("a layer that can be written");
            let peak = program.peak(|name| name.starts_with("kv."), |name| name == "residual");
            (peak.bytes, cost(&program, &rates).total())
        };
        group.bench_function("all of it", |bench| bench.iter(|| all(black_box(next()))));
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
