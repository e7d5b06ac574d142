//! Written layers run on the fabric, and take what the closed form says.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it")]

use wafersim_cost::{ProgramCost, Rates, View, cost, formula};
use wafersim_fabric::circuit::{self, Outcome};
use wafersim_lower::{ExpertLoad, LayerRequest, Routed, Scope, decode_layer};
use wafersim_mapping::{Append, KvMapping, LayerMapping, Rewrite, Rewrites, Routes};
use wafersim_program::Program;
use wafersim_spec::model::{Attention, FeedForward, GroupedAttention, Layer, Reach};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Precision, Wafer};

/// How far closed form and fabric may be apart.
const LIMIT: f64 = 0.03;

fn layer() -> Layer {
    Layer {
        attention: Attention::Grouped(GroupedAttention {
            heads: 16,
            kv_heads: 2,
            head_dim: 64,
            qkv_bias: false,
            output_bias: false,
            qk_norm: true,
            sinks: false,
            rotary_dim: 64,
            reach: Reach::Full,
        }),
        feed_forward: FeedForward::Dense { width: 1024, bias: false },
        norms: 2,
    }
}

fn kv(dimension_split: u64, sequence_split: u64, head_copies: u64) -> KvMapping {
    let columns_per_head = dimension_split * sequence_split * head_copies;
    KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, ..KvMapping::published(1) }
}

fn written(layer: &Layer, mapping: &LayerMapping, context: u64) -> Program {
    let kind = DataType::Fp16;
    let request = LayerRequest {
        layer,
        hidden: 512,
        norm_epsilon: 1e-6,
        mapping,
        precision: Precision { weights: kind, small_weights: kind, kv_cache: kind, activations: kind },
        tokens: 1,
        users: 1,
        context,
        routed: Routed::Expected(ExpertLoad::spread(1, 1)),
        scope: Scope::Model,
        queue: 4,
    };
    decode_layer(&request).unwrap()
}

fn read(program: &Program) -> (ProgramCost, Outcome) {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let lowered = circuit::lower(program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap();
    (cost(program, &rates), circuit::run(&lowered, |_| ()).unwrap())
}

fn compare(what: &str, program: &Program) -> f64 {
    let (closed, fabric) = read(program);
    let off = closed.total().0 / fabric.cycles.0 - 1.0;
    println!(
        "{what}: closed form {:.0}, fabric {:.0} ({:+.1} %), {} colors",
        closed.total().0,
        fabric.cycles.0,
        off * 100.0,
        fabric.colors
    );
    for operator in &fabric.operators {
        let known = closed.operators.iter().find(|known| known.name == operator.name);
        let known = known.map_or(0.0, |known| known.cost.total().0);
        if (known - operator.cycles.0).abs() > 0.02 * fabric.cycles.0.min(known * 1.5) {
            println!("    {}: {:.0}, {:.0}", operator.name, known, operator.cycles.0);
        }
    }
    off
}

#[test]
fn closed_form_and_fabric_agree() {
    let layer = layer();
    let ours = Rewrites::from_iter([
        Rewrite::FusedNorms,
        Rewrite::RidingHeadNorm,
        Rewrite::OnlineSoftmax,
        Rewrite::DividedSoftmax,
        Rewrite::InterleavedGateUp,
        Rewrite::AccumulatorsInPlace,
    ]);
    let mut worst: f64 = 0.0;
    for (columns, rows, kv) in [
        (32, 24, kv(16, 1, 1)),
        (32, 24, kv(1, 16, 1)),
        (34, 24, kv(4, 4, 1)),
        (34, 24, kv(4, 1, 4)),
        (36, 20, kv(3, 3, 2)),
        (40, 20, kv(5, 2, 2)),
    ] {
        for append in [Append::Shifted, Append::RoundRobin] {
            for rewrites in [Rewrites::NONE, ours] {
                let kv = KvMapping { append, ..kv };
                let routes = if rewrites == ours { Routes::Static } else { Routes::Changed };
                let mapping = LayerMapping { kv, rewrites, routes, ..LayerMapping::published(columns, rows) };
                let what = format!(
                    "{columns} x {rows}, {} x {} x {}, {append:?}, {}",
                    kv.dimension_split,
                    kv.sequence_split,
                    kv.head_copies,
                    rewrites == ours
                );
                worst = worst.max(compare(&what, &written(&layer, &mapping, 700)).abs());
            }
        }
    }
    assert!(worst < LIMIT, "{worst}");
}
