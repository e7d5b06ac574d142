//! The programs of this writer beside those of the kernels that were written for their cost, while both exist.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it")]

use wafersim_cost::{Rates, View, cost};
use wafersim_kernels::{ExpertShape, KvShape, LayerShape, Options, feed_forward};
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope, decode_layer};
use wafersim_mapping::{KvMapping, LayerMapping, Overlap, Rewrite, Rewrites, Routes};
use wafersim_program::Region;
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, Layer, Reach};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Model, Precision, Wafer};

fn fp16() -> Precision {
    let kind = DataType::Fp16;
    Precision { weights: kind, small_weights: kind, kv_cache: kind, activations: kind }
}

fn optimised(mapping: LayerMapping) -> LayerMapping {
    let rewrites = [
        Rewrite::FusedNorms,
        Rewrite::OnlineSoftmax,
        Rewrite::SinglePassTopK,
        Rewrite::InterleavedGateUp,
        Rewrite::AccumulatorsInPlace,
    ];
    let rewrites: Rewrites = rewrites.into_iter().collect();
    LayerMapping {
        rewrites,
        routes: Routes::Static,
        overlap: Overlap { conversion: true, independent: false },
        ..mapping
    }
}

fn old_scope(scope: Scope) -> wafersim_kernels::Scope {
    match scope {
        Scope::Model => wafersim_kernels::Scope::Model,
        Scope::Measured => wafersim_kernels::Scope::Measured,
    }
}

struct Case<'a> {
    name: String,
    layer: &'a Layer,
    hidden: u64,
    region: (u64, u64),
    kv: KvMapping,
    precision: Precision,
    context: u64,
    scope: Scope,
}

fn compare(case: &Case<'_>) -> Vec<(f64, f64)> {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let (columns, rows) = case.region;
    let mut found = Vec::new();
    let plain = LayerMapping { kv: case.kv, ..LayerMapping::published(columns, rows) };
    for (mapping, options) in [(plain.clone(), Options::PUBLISHED), (optimised(plain), Options::OPTIMISED)] {
        let load = ExpertLoad::spread(8, 8);
        let request = LayerRequest {
            layer: case.layer,
            hidden: case.hidden,
            norm_epsilon: 1e-6,
            mapping: &mapping,
            precision: case.precision,
            tokens: 1,
            users: 1,
            context: case.context,
            routed: Routed::Expected(load),
            scope: case.scope,
            queue: 4,
        };
        let new = decode_layer(&request).unwrap();
        let kv = KvShape {
            heads_per_block: case.kv.heads_per_block,
            columns_per_head: case.kv.columns_per_head,
            dimension_split: case.kv.dimension_split,
            sequence_split: case.kv.sequence_split,
        };
        let shape = LayerShape {
            layer: case.layer,
            hidden: case.hidden,
            region: Region::new(0, 0, columns, rows),
            kv,
            experts: ExpertShape::Spread,
            precision: case.precision,
            tokens: 1,
            context: case.context,
            key_block: u64::MAX,
            load: feed_forward::ExpertLoad { pairs: 8, distinct: 8, busiest: 1 },
            options,
        };
        let old = wafersim_kernels::decode_layer_for(&shape, old_scope(case.scope));
        let (old, new) = (cost(&old, &rates), cost(&new, &rates));
        println!(
            "{}: old {:.0}, new {:.0} ({:+.2} %)",
            case.name,
            old.total().0,
            new.total().0,
            (new.total().0 / old.total().0 - 1.0) * 100.0
        );
        for operator in &new.operators {
            let known = old
                .operators
                .iter()
                .find(|known| known.name == operator.name)
                .map_or(0.0, |known| known.cost.total().0);
            if (known - operator.cost.total().0).abs() > 1.0 {
                println!("    {}: {:.0} -> {:.0}", operator.name, known, operator.cost.total().0);
            }
        }
        found.push((old.total().0, new.total().0));
    }
    found
}

#[test]
fn measured_layers_are_the_same_programs() {
    for (hidden, ffn, grid, kv) in [
        (4096, 14336, 480, 4096),
        (4096, 11008, 720, 4096),
        (5120, 13824, 540, 4096),
        (8192, 28672, 660, 4096),
        (3200, 8640, 160, 1600),
    ] {
        let layer = Layer {
            attention: Attention::Grouped(GroupedAttention {
                heads: 1,
                kv_heads: 1,
                head_dim: hidden,
                qkv_bias: false,
                output_bias: false,
                qk_norm: false,
                sinks: false,
                output_gate: false,
                rotary_dim: hidden,
                reach: Reach::Full,
            }),
            feed_forward: FeedForward::Dense { width: ffn, bias: false },
            norms: 2,
        };
        let case = Case {
            name: format!("{hidden} on {grid}"),
            layer: &layer,
            hidden,
            region: (grid, grid),
            kv: KvMapping::published(grid),
            precision: fp16(),
            context: kv,
            scope: Scope::Measured,
        };
        compare(&case);
    }
}

#[test]
fn models() {
    for (name, layer, region, kv, context) in [
        ("qwen3-coder-480b-a35b", 0, (755, 292), (94, 94, 1), 32768),
        ("qwen3-coder-480b-a35b", 0, (755, 292), (88, 8, 11), 32768),
        ("llama-3.1-8b", 0, (250, 190), (31, 31, 1), 2048),
        ("llama-3.1-8b", 0, (250, 190), (31, 1, 31), 2048),
    ] {
        let model = Model::builtin(name).unwrap();
        let (pitch, dims, groups) = kv;
        let kv = KvMapping {
            heads_per_block: 1,
            columns_per_head: pitch,
            dimension_split: dims,
            sequence_split: groups,
            ..KvMapping::published(pitch)
        };
        let case = Case {
            name: format!("{name} {kv:?}"),
            layer: &model.layers[layer],
            hidden: model.hidden,
            region,
            kv,
            precision: Precision::default(),
            context,
            scope: Scope::Model,
        };
        compare(&case);
    }
}

#[test]
fn writing_and_reading_a_layer_takes_microseconds() {
    let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let mut mapping = LayerMapping::published(755, 292);
    mapping.kv = KvMapping { columns_per_head: 88, dimension_split: 8, sequence_split: 11, ..mapping.kv };
    let request = LayerRequest {
        layer: &model.layers[0],
        hidden: model.hidden,
        norm_epsilon: 1e-6,
        mapping: &mapping,
        precision: Precision::default(),
        tokens: 1,
        users: 1,
        context: 32768,
        routed: Routed::Expected(ExpertLoad::spread(8, 8)),
        scope: Scope::Model,
        queue: 4,
    };
    let start = std::time::Instant::now();
    let mut total = 0.0;
    for _ in 0..1000 {
        total += cost(&decode_layer(&request).unwrap(), &rates).total().0;
    }
    println!("{:?} a layer, {}", start.elapsed() / 1000, total / 1000.0);
}

#[test]
fn prefill() {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let dense = |hidden: u64, ffn: u64| Layer {
        attention: Attention::Grouped(GroupedAttention {
            heads: 1,
            kv_heads: 1,
            head_dim: hidden,
            qkv_bias: false,
            output_bias: false,
            qk_norm: false,
            sinks: false,
            output_gate: false,
            rotary_dim: hidden,
            reach: Reach::Full,
        }),
        feed_forward: FeedForward::Dense { width: ffn, bias: false },
        norms: 2,
    };
    let coder = Model::builtin("qwen3-coder-480b-a35b").unwrap();
    let llama = Model::builtin("llama-3.1-8b").unwrap();
    let measured = dense(4096, 14336);
    for (name, layer, hidden, region, columns_per_head, tokens, context, precision) in [
        ("measured", &measured, 4096, (480, 480), 480, 4096, 0, fp16()),
        ("llama", &llama.layers[0], 4096, (250, 190), 31, 1024, 0, Precision::default()),
        ("coder", &coder.layers[0], 6144, (755, 292), 94, 512, 0, Precision::default()),
        ("coder", &coder.layers[0], 6144, (755, 292), 94, 512, 16384, Precision::default()),
    ] {
        let kv =
            KvMapping { columns_per_head, dimension_split: columns_per_head, ..KvMapping::published(columns_per_head) };
        let mapping = LayerMapping { kv, ..LayerMapping::published(region.0, region.1) };
        let scope = if name == "measured" { Scope::Measured } else { Scope::Model };
        let request = LayerRequest {
            layer,
            hidden,
            norm_epsilon: 1e-6,
            mapping: &mapping,
            precision,
            tokens,
            users: 1,
            context: context + tokens,
            routed: Routed::Expected(ExpertLoad::spread(8 * tokens, 160)),
            scope,
            queue: 4,
        };
        let new = wafersim_lower::prefill_layer(&request, 8192).unwrap();
        let shape = LayerShape {
            layer,
            hidden,
            region: Region::new(0, 0, region.0, region.1),
            kv: KvShape { heads_per_block: 1, columns_per_head, dimension_split: columns_per_head, sequence_split: 1 },
            experts: ExpertShape::Spread,
            precision,
            tokens,
            context,
            key_block: 8192,
            load: feed_forward::ExpertLoad { pairs: 8 * tokens, distinct: 160, busiest: tokens },
            options: Options::PUBLISHED,
        };
        let old = wafersim_kernels::prefill_layer_for(&shape, old_scope(scope));
        let (old, new) = (cost(&old, &rates), cost(&new, &rates));
        println!(
            "{name}: old {:.0}, new {:.0} ({:+.2} %)",
            old.total().0,
            new.total().0,
            (new.total().0 / old.total().0 - 1.0) * 100.0
        );
        for operator in &new.operators {
            let known = old
                .operators
                .iter()
                .find(|known| known.name == operator.name)
                .map_or(0.0, |known| known.cost.total().0);
            if (known - operator.cost.total().0).abs() > 1.0 {
                println!("    {}: {:.0} -> {:.0}", operator.name, known, operator.cost.total().0);
            }
        }
    }
}

/// Experts in rectangles. Dispatch and combine differ: ways and wavelets are those of the layouts here, where the old writer
/// took the height of the region and everything over one link; the outputs that a column sends back are copied, since all columns
/// have them, where it charged a movement along x. The choice holds a division's product and the sum of its weights.
#[test]
fn experts_in_rectangles() {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
    let (columns, rows) = (755, 292);
    let kv = KvMapping { columns_per_head: 94, dimension_split: 94, ..KvMapping::published(94) };
    for (across, down) in [(16, 10), (8, 5), (20, 8)] {
        let experts = Some(wafersim_mapping::ExpertMapping {
            across,
            down,
            homes: Vec::new(),
            ..wafersim_mapping::ExpertMapping::spread(u64::MAX)
        });
        let mapping = LayerMapping { kv, experts, ..LayerMapping::published(columns, rows) };
        let one = wafersim_lower::PlaceLoad { pairs: 1, distinct: 1, tokens: 1 };
        let request = LayerRequest {
            layer: &model.layers[0],
            hidden: model.hidden,
            norm_epsilon: 1e-6,
            mapping: &mapping,
            precision: Precision::default(),
            tokens: 1,
            users: 1,
            context: 2048,
            routed: Routed::Expected(ExpertLoad { pairs: 8, distinct: 8, busiest: one, column: one }),
            scope: Scope::Model,
            queue: 4,
        };
        let new = cost(&decode_layer(&request).unwrap(), &rates);
        let shape = LayerShape {
            layer: &model.layers[0],
            hidden: model.hidden,
            region: Region::new(0, 0, columns, rows),
            kv: KvShape { heads_per_block: 1, columns_per_head: 94, dimension_split: 94, sequence_split: 1 },
            experts: ExpertShape::Clustered { columns: columns / across, rows: rows / down },
            precision: Precision::default(),
            tokens: 1,
            context: 2048,
            key_block: u64::MAX,
            load: feed_forward::ExpertLoad { pairs: 8, distinct: 8, busiest: 1 },
            options: Options::PUBLISHED,
        };
        let old = cost(&wafersim_kernels::decode_layer(&shape), &rates);
        for name in
            ["router", "experts.dispatch", "experts.gate_up", "experts.activation", "experts.down", "experts.combine"]
        {
            let of = |cost: &wafersim_cost::ProgramCost| {
                cost.operators.iter().find(|known| known.name == name).map_or(0.0, |known| known.cost.total().0)
            };
            println!("{across} x {down}, {name}: {:.0} -> {:.0}", of(&old), of(&new));
            // The old writer counts the activation with gate and up. It scales a tile once, where true tiles have a scale for each
            // row of blocks, and counts no copy out of the accumulators: up to 2.9 %.
            if name == "experts.down" {
                assert!((of(&old) / of(&new) - 1.0).abs() < 0.03, "{name}: {} {}", of(&old), of(&new));
            }
        }
    }
}

/// DeepSeek-V3's attention. The old writer has one operator for all products and norms before attention. It reduces the absorbed
/// queries of one head, where every row wants those of all (`absorbed_key`), and leaves out all turns (`query_up`, `absorbed_key`,
/// `output`). Queries go to the groups that share a sequence in a relayout over the columns of the block, which is part of its
/// `scores`, where a ring takes them here (`kv_append`). Its softmax divides once, not once for each head. It knows no copies:
/// with these it works as without.
#[test]
fn latent_attention() {
    let model = Model::builtin("deepseek-v3").unwrap();
    for (layer, region, splits, context) in [
        (0, (755, 390), [144, 5, 1], 32768),
        (0, (755, 390), [755, 1, 1], 32768),
        (0, (755, 390), [64, 11, 1], 32768),
        (0, (755, 390), [8, 11, 8], 32768),
        (0, (755, 390), [16, 11, 4], 32768),
        (0, (755, 390), [64, 1, 11], 32768),
        (0, (755, 390), [8, 5, 16], 32768),
        (0, (755, 390), [4, 5, 32], 32768),
        (0, (755, 390), [16, 1, 47], 4096),
    ] {
        let [dimension_split, sequence_split, head_copies] = splits;
        let kv = KvMapping { dimension_split, sequence_split, head_copies, ..KvMapping::published(755) };
        let case = Case {
            name: format!("deepseek-v3 {splits:?} at {context}"),
            layer: &model.layers[layer],
            hidden: model.hidden,
            region,
            kv,
            precision: Precision::default(),
            context,
            scope: Scope::Model,
        };
        compare(&case);
    }
}
