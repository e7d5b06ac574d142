//! Routers and networks as programs: what rewrites do to them, the expected load beside a counted one, and the closed
//! form beside the fabric.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it")]

use wafersim_cost::{ProgramCost, Rates, View, cost, formula};
use wafersim_fabric::circuit::{self, Outcome};
use wafersim_lower::{ExpertLoad, LayerRequest, LowerError, Routed, Scope, decode_layer, prefill_layer};
use wafersim_mapping::{ExpertMapping, KvMapping, LayerMapping, Rewrite, Rewrites, Routes};
use wafersim_program::{Action, Axis, Formula, Program, Region, movement};
use wafersim_spec::model::{
    Attention, FeedForward, Gating, GroupedAttention, HeadValues, Layer, Moe, Reach, Role, Scoring, Selection,
};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Model, Precision, Wafer};

/// How far closed form and fabric may be apart.
const LIMIT: f64 = 0.03;

const OURS: [Rewrite; 10] = [
    Rewrite::FusedNorms,
    Rewrite::EarlyRouter,
    Rewrite::SingleChoice,
    Rewrite::SinglePassTopK,
    Rewrite::InterleavedGateUp,
    Rewrite::ConcatenatedExperts,
    Rewrite::SharedExpertBeside,
    Rewrite::AccumulatorsInPlace,
    Rewrite::DividedActivation,
    Rewrite::ChoiceBesideStream,
];

fn layer(shared_width: u64, selection: Selection) -> Layer {
    Layer {
        attention: Attention::Grouped(GroupedAttention {
            heads: 16,
            kv_heads: 2,
            head_dim: 64,
            qkv_bias: false,
            output_bias: false,
            qk_norm: wafersim_spec::model::QkNorm::Head,
            sinks: false,
            output_gate: false,
            head_gate: false,
            rotary_dim: 64,
            reach: Reach::Full,
            query_rank: None,
            values: HeadValues::Plain,
        }),
        feed_forward: FeedForward::Moe(Moe {
            experts: 48,
            top_k: 4,
            width: 256,
            shared_width,
            shared_gate: false,
            expert_bias: false,
            router_bias: selection.corrected,
            selection,
            gating: Gating::Silu,
        }),
        norms: 2,
    }
}

fn glm() -> Selection {
    Selection { scoring: Scoring::Sigmoid, corrected: true, scale: 2.5, ..Selection::softmax(true) }
}

fn mapping(columns: u64, rows: u64, rewrites: impl IntoIterator<Item = Rewrite>) -> LayerMapping {
    let kv = KvMapping { columns_per_head: 16, dimension_split: 16, sequence_split: 1, ..KvMapping::published(16) };
    let rewrites: Rewrites = rewrites.into_iter().collect();
    let routes = if rewrites == Rewrites::NONE { Routes::Changed } else { Routes::Static };
    LayerMapping { kv, rewrites, routes, ..LayerMapping::published(columns, rows) }
}

fn cells(across: u64, down: u64) -> Option<ExpertMapping> {
    Some(ExpertMapping { across, down, homes: Vec::new(), ..ExpertMapping::spread(u64::MAX) })
}

fn request<'a>(layer: &'a Layer, mapping: &'a LayerMapping, weights: DataType, routed: Routed) -> LayerRequest<'a> {
    let kind = DataType::Fp16;
    let tokens = match &routed {
        Routed::Chosen(chosen) => chosen.len() as u64,
        Routed::Expected(_) => 1,
    };
    LayerRequest {
        layer,
        hidden: 512,
        norm_epsilon: 1e-6,
        mapping,
        precision: Precision {
            weights,
            small_weights: kind,
            kv_cache: kind,
            activations: kind,
            ..Precision::default()
        },
        tokens,
        users: tokens,
        context: 600,
        routed,
        scope: Scope::Model,
        queue: 4,
    }
}

fn one_token() -> Routed {
    Routed::Expected(ExpertLoad::spread(4, 4))
}

fn read(program: &Program) -> (ProgramCost, Outcome) {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let lowered = circuit::lower(program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap();
    (cost(program, &rates), circuit::run(&lowered, |_| ()).unwrap())
}

fn total(program: &Program) -> f64 {
    let rates = Rates::new(&Wafer::builtin("wse3").unwrap(), RateSet::Silicon, View::Achieved);
    cost(program, &rates).total().0
}

fn compare(what: &str, program: &Program) -> f64 {
    let (closed, fabric) = read(program);
    let off = closed.total().0 / fabric.cycles.0 - 1.0;
    println!("{what}: closed form {:.0}, fabric {:.0} ({:+.1} %)", closed.total().0, fabric.cycles.0, off * 100.0);
    for operator in &fabric.operators {
        let known = closed.operators.iter().find(|known| known.name == operator.name);
        let known = known.map_or(0.0, |known| known.cost.total().0);
        if (known - operator.cycles.0).abs() > 0.01 * fabric.cycles.0 {
            println!("    {}: {:.0}, {:.0}", operator.name, known, operator.cycles.0);
        }
    }
    off
}

#[test]
fn closed_form_and_fabric_agree() {
    let mut worst: f64 = 0.0;
    let layers = [("Qwen", layer(0, Selection::softmax(true))), ("GLM", layer(192, glm()))];
    for (family, layer) in &layers {
        let sets: [&[Rewrite]; 6] = [
            &[],
            &[Rewrite::EarlyRouter],
            &[Rewrite::SingleChoice, Rewrite::SinglePassTopK],
            &[Rewrite::ConcatenatedExperts, Rewrite::InterleavedGateUp],
            &[Rewrite::FusedNorms, Rewrite::SingleChoice, Rewrite::SharedExpertBeside],
            &OURS,
        ];
        for rewrites in sets {
            for weights in [DataType::Fp16, DataType::Fp8] {
                let mapping = mapping(36, 24, rewrites.iter().copied());
                let program = decode_layer(&request(layer, &mapping, weights, one_token())).unwrap();
                let names: Vec<&str> = rewrites.iter().map(|rewrite| rewrite.name()).collect();
                worst = worst.max(compare(&format!("{family}, {weights:?}, {names:?}"), &program).abs());
            }
        }
    }
    assert!(worst < LIMIT, "{worst}");
}

/// Rectangles of one token, chosen and expected, on grids that divide and on others.
#[test]
fn rectangles_agree_with_the_fabric() {
    let layer = layer(0, Selection::softmax(true));
    let mut worst: f64 = 0.0;
    for (columns, rows, across, down) in
        [(48, 32, 8, 6), (48, 30, 6, 4), (35, 23, 5, 3), (40, 24, 1, 6), (40, 24, 10, 1)]
    {
        for rewrites in [&[][..], &OURS] {
            let mapping =
                LayerMapping { experts: cells(across, down), ..mapping(columns, rows, rewrites.iter().copied()) };
            let chosen = vec![vec![3, 47, 11, 20]];
            let load = ExpertLoad::counted(&chosen, mapping.experts.as_ref().unwrap());
            for routed in [Routed::Expected(load), Routed::Chosen(chosen)] {
                let what = format!("{columns} x {rows} in {across} x {down}, {} rewrites, {routed:?}", rewrites.len());
                let program = decode_layer(&request(&layer, &mapping, DataType::Fp16, routed)).unwrap();
                worst = worst.max(compare(&what, &program).abs());
            }
        }
    }
    assert!(worst < LIMIT, "{worst}");
}

/// Rectangles in prefill: tokens along y, turned, fetched and sent back.
#[test]
fn rectangles_of_a_prompt_agree_with_the_fabric() {
    let layer = layer(0, Selection::softmax(true));
    let mut worst: f64 = 0.0;
    let tokens = 16;
    for (columns, rows, across, down) in [(16, 12, 4, 3), (13, 14, 1, 4)] {
        for rewrites in [&[][..], &[Rewrite::InterleavedGateUp, Rewrite::ConcatenatedExperts]] {
            let mut mapping =
                LayerMapping { experts: cells(across, down), ..mapping(columns, rows, rewrites.iter().copied()) };
            mapping.kv = KvMapping { columns_per_head: columns / 2, dimension_split: columns / 2, ..mapping.kv };
            let chosen: Vec<Vec<u64>> =
                (0..tokens).map(|token| (0..4).map(|slot| (token * 7 + slot * 11) % 48).collect()).collect();
            let load = ExpertLoad::counted(&chosen, mapping.experts.as_ref().unwrap());
            for routed in [Routed::Expected(load), Routed::Chosen(chosen)] {
                let what = format!(
                    "prompt, {columns} x {rows} in {across} x {down}, {} rewrites, {}",
                    rewrites.len(),
                    matches!(routed, Routed::Chosen(_))
                );
                let request = LayerRequest { tokens, users: 1, ..request(&layer, &mapping, DataType::Fp16, routed) };
                let program = prefill_layer(&LayerRequest { context: tokens, ..request }, u64::MAX).unwrap();
                worst = worst.max(compare(&what, &program).abs());
            }
        }
    }
    assert!(worst < LIMIT, "{worst}");
}

/// The shared expert beside the routed ones, keys and values beside queries, the router in a corner: in order and each
/// processing element in its own.
#[test]
fn parts_in_rectangles_agree_with_the_fabric() {
    let layer = layer(192, glm());
    let mut worst: f64 = 0.0;
    let of = |parts: &[(&str, Region)]| parts.iter().map(|(part, region)| ((*part).to_owned(), *region)).collect();
    let (left, right) = (Region::new(0, 0, 28, 24), Region::new(28, 0, 8, 24));
    for (what, rectangles) in [
        ("whole", of(&[])),
        ("shared beside", of(&[("experts", left), ("router", left), ("shared_expert", right)])),
        ("key and value beside", of(&[("attention.query_key_value", left), ("attention.key_value", right)])),
        (
            "corners",
            of(&[
                ("router", Region::new(0, 0, 20, 10)),
                ("shared_expert", Region::new(20, 12, 16, 12)),
                ("attention.key_value", Region::new(3, 2, 9, 20)),
                ("feed_forward.norm", Region::new(5, 5, 12, 12)),
            ]),
        ),
    ] {
        for rewrites in [&[][..], &[Rewrite::SingleChoice, Rewrite::InterleavedGateUp][..]] {
            for independent in [false, true] {
                let mut mapping = mapping(36, 24, rewrites.iter().copied());
                mapping.rectangles.clone_from(&rectangles);
                mapping.routes = Routes::Static;
                mapping.overlap.independent = independent;
                let program = decode_layer(&request(&layer, &mapping, DataType::Fp16, one_token())).unwrap();
                let what = format!("{what}, {} rewrites, independent {independent}", rewrites.len());
                let off = compare(&what, &program);
                // The closed form adds up what the mapping does not overlap; the fabric holds no core back that has
                // nothing to wait for.
                let is_sum = !independent && !mapping.rectangles.is_empty();
                worst = worst.max(if is_sum { -off } else { off.abs() });
            }
        }
    }
    assert!(worst < LIMIT, "{worst}");
}

/// An expected load costs what the choice costs that it was counted from, where the busiest rectangle lies in the
/// corner that is written for an expected one; elsewhere the choice has shorter ways.
#[test]
fn an_expected_load_costs_what_the_counted_choice_costs() {
    let layer = layer(0, Selection::softmax(true));
    for (across, down, homes) in [(8, 6, Vec::new()), (4, 2, Vec::new()), (2, 3, vec![vec![5, 2]; 48])] {
        let experts = Some(ExpertMapping { homes, ..cells(across, down).unwrap() });
        let mapping = LayerMapping { experts: experts.clone(), ..mapping(48, 30, []) };
        let cells = across * down;
        let last = cells - 1;
        for (corner, chosen) in [
            (true, vec![vec![last, last % across + across, 0, 1]]),
            (true, vec![vec![last, 0, 1, 2], vec![3, last, 4, 0]]),
            (false, vec![vec![0, 1, 2, 3], vec![0, 4, 5, 6]]),
        ] {
            let load = ExpertLoad::counted(&chosen, experts.as_ref().unwrap());
            let counted =
                decode_layer(&request(&layer, &mapping, DataType::Fp16, Routed::Chosen(chosen.clone()))).unwrap();
            let of_load = LayerRequest {
                tokens: chosen.len() as u64,
                users: chosen.len() as u64,
                ..request(&layer, &mapping, DataType::Fp16, Routed::Expected(load))
            };
            let (counted, expected) = (total(&counted), total(&decode_layer(&of_load).unwrap()));
            println!("{across} x {down}, {chosen:?}: chosen {counted:.0}, expected {expected:.0}");
            assert!(counted <= expected * 1.0001, "{across} x {down}, {chosen:?}: {counted} {expected}");
            let apart = if corner { 0.002 } else { 0.05 };
            assert!(counted >= expected * (1.0 - apart), "{across} x {down}, {chosen:?}: {counted} {expected}");
        }
    }
}

#[test]
fn a_choice_or_a_home_that_does_not_exist_is_refused() {
    let layer = layer(0, Selection::softmax(true));
    let mapping = LayerMapping { experts: cells(2, 2), ..mapping(48, 30, []) };
    let refused = decode_layer(&request(&layer, &mapping, DataType::Fp16, Routed::Chosen(vec![vec![48]]))).unwrap_err();
    assert_eq!(refused, LowerError::Expert { expert: 48, experts: 48 });
    let homes = vec![vec![4]; 48];
    let mapping = LayerMapping { experts: Some(ExpertMapping { homes, ..cells(2, 2).unwrap() }), ..mapping };
    let refused = decode_layer(&request(&layer, &mapping, DataType::Fp16, Routed::Chosen(vec![vec![1]]))).unwrap_err();
    assert!(matches!(refused, LowerError::Cell { cell: 4, .. }), "{refused}");
}

/// The ways of dispatch and combine beside the movements that follow from the layouts.
#[test]
fn ways_are_those_of_the_layouts() {
    let layer = layer(0, Selection::softmax(true));
    for (columns, rows, across, down) in [(48, 32, 8, 6), (35, 23, 5, 3), (36, 40, 3, 5), (40, 24, 1, 6)] {
        let mapping = LayerMapping { experts: cells(across, down), ..mapping(columns, rows, []) };
        for chosen in [vec![vec![0, 1, 2, 3]], vec![vec![7, 1, 30, 13], vec![7, 2, 9, 30], vec![21, 7, 8, 9]]] {
            let program = decode_layer(&request(&layer, &mapping, DataType::Fp16, Routed::Chosen(chosen))).unwrap();
            let mut seen = 0;
            for step in program.steps() {
                let Action::Relayout(moved) = &step.action else { continue };
                let name = &program.buffer_of(moved.target).name;
                if !matches!(name.as_ref(), "expert.fetched" | "expert.output") {
                    continue;
                }
                seen += 1;
                let (mut hops, mut wavelets) = (0, 0);
                for line in 0..step.region.along(Axis::X) {
                    let known = movement(&program, step.region, moved, line).unwrap().unwrap();
                    let mut places = vec![0; step.region.along(Axis::Y) as usize];
                    for piece in &known.pieces {
                        hops = hops.max(piece.from.abs_diff(piece.to));
                        let words = DataType::Fp16.wavelets(piece.elements.len() as u64);
                        let (low, high) = (piece.from.min(piece.to) as usize, piece.from.max(piece.to) as usize);
                        places[low..=high].iter_mut().for_each(|place| *place += words);
                    }
                    wavelets = wavelets.max(places.into_iter().max().unwrap_or(0));
                }
                assert!(moved.hops >= hops && moved.hops <= hops + 1, "{name}: {} {hops}", moved.hops);
                let apart = moved.wavelets.abs_diff(wavelets);
                assert!(apart <= 2 + wavelets / 10, "{columns} x {rows}, {name}: {} {wavelets}", moved.wavelets);
            }
            assert_eq!(seen, 2);
        }
    }
}

/// Each rewrite does what it says: fewer cycles, and the steps that it is about.
#[test]
fn each_rewrite_changes_what_it_is_about() {
    let shared = layer(192, glm());
    let plain = layer(0, Selection::softmax(true));
    let written = |layer: &Layer, rewrites: &[Rewrite]| {
        let mapping = mapping(36, 24, rewrites.iter().copied());
        decode_layer(&request(layer, &mapping, DataType::Fp8, one_token())).unwrap()
    };
    let count = |program: &Program, is: &dyn Fn(&Formula) -> bool| {
        let formulas = program.steps().filter_map(|step| match &step.action {
            Action::Compute(compute) => compute.formula.as_ref(),
            _ => None,
        });
        formulas.filter(|formula| is(formula)).count()
    };
    let static_routes = |layer: &Layer| {
        let mapping = LayerMapping { routes: Routes::Static, ..mapping(36, 24, []) };
        total(&decode_layer(&request(layer, &mapping, DataType::Fp8, one_token())).unwrap())
    };
    for rewrite in OURS.into_iter().filter(|rewrite| *rewrite != Rewrite::ChoiceBesideStream) {
        for layer in [&plain, &shared] {
            let (with, without) = (total(&written(layer, &[rewrite])), static_routes(layer));
            println!("{rewrite}: {without:.0} -> {with:.0}");
            let idle = rewrite == Rewrite::SharedExpertBeside && std::ptr::eq(layer, &plain);
            // What is made early costs a product more, which on so small a grid is worth no reduction.
            let may_lose = rewrite == Rewrite::EarlyRouter;
            assert!(if idle { with == without } else { with < without || may_lose }, "{rewrite}: {with} {without}");
        }
    }
    // It needs logits that are complete at the end of a reduction.
    let early = [Rewrite::FusedNorms, Rewrite::EarlyRouter, Rewrite::SingleChoice];
    let beside = [early.as_slice(), &[Rewrite::ChoiceBesideStream]].concat();
    assert!(total(&written(&plain, &beside)) < total(&written(&plain, &early)));
    // It needs a norm that would ride with gate and up; then a reduction more takes no time.
    let own = [beside.as_slice(), &[Rewrite::NormBesideChoice]].concat();
    assert!(total(&written(&plain, &own)) < total(&written(&plain, &beside)));
    let alone = [early[1], Rewrite::NormBesideChoice];
    assert_eq!(total(&written(&plain, &alone)), total(&written(&plain, &alone[..1])));
    let formed = |program: &Program| program.weights.iter().filter(|weight| !weight.behind.is_empty()).count();
    assert_eq!((formed(&written(&plain, &[])), formed(&written(&plain, &[Rewrite::EarlyRouter]))), (0, 2));
    let choosing = |program: &Program| {
        let step = program.steps().find(|step| match &step.action {
            Action::Compute(compute) => matches!(compute.formula, Some(Formula::Choose { .. })),
            _ => false,
        });
        step.map(|step| step.region.elements())
    };
    assert_eq!(choosing(&written(&plain, &[])), Some(36 * 24));
    assert_eq!(choosing(&written(&plain, &[Rewrite::SingleChoice])), Some(1));
    let sums = |program: &Program| count(program, &|formula| matches!(formula, Formula::Add { .. }));
    assert_eq!((sums(&written(&shared, &[])), sums(&written(&shared, &[Rewrite::SharedExpertBeside]))), (3, 3));
    let reductions =
        |program: &Program| program.steps().filter(|step| matches!(step.action, Action::ChainReduce(_))).count();
    assert_eq!(
        reductions(&written(&shared, &[])) - reductions(&written(&shared, &[Rewrite::SharedExpertBeside])),
        4,
        "two levels of two reductions"
    );
}

/// Weights in 8 bit are stored so in every tile but the router's, unless the mapping stores a role wide.
#[test]
fn roles_are_stored_as_the_mapping_says() {
    let layer = layer(192, glm());
    let mut mapping = mapping(36, 24, []);
    mapping.stored.insert(Role::SharedDown, DataType::Fp16);
    let program = decode_layer(&request(&layer, &mapping, DataType::Fp8, one_token())).unwrap();
    for weight in &program.weights {
        let narrow = !matches!(weight.role, Role::Router | Role::SharedDown);
        assert_eq!(weight.stored.unwrap().data_type == DataType::Fp8, narrow, "{:?}", weight.role);
    }
}

/// The default layer: what each rewrite of router and network is worth, one after the other.
#[test]
fn full_size_figures() {
    let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
    let mut chosen: Vec<Rewrite> = Vec::new();
    let mut before = 0.0;
    for rewrite in [None].into_iter().chain(OURS.map(Some)) {
        chosen.extend(rewrite);
        let kv = KvMapping { columns_per_head: 94, dimension_split: 94, sequence_split: 1, ..KvMapping::published(94) };
        let mapping = LayerMapping {
            kv,
            rewrites: chosen.iter().copied().collect(),
            routes: Routes::Static,
            ..LayerMapping::published(755, 292)
        };
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
        let program = decode_layer(&request).unwrap();
        let took = start.elapsed();
        let now = total(&program);
        println!("{}: {now:.0} ({:+.0}), written in {took:?}", rewrite.map_or("none", Rewrite::name), now - before);
        before = now;
    }
}
