//! Latent attention: programs on the fabric take what the closed form says, and their multiply-accumulates are those of
//! the model's sizes.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it")]

mod common;

use wafersim_cost::{ProgramCost, Rates, View, cost, formula};
use wafersim_fabric::circuit::{self, Outcome};
use wafersim_lower::{ExpertLoad, LayerRequest, PlaceLoad, Routed, Scope, decode_layer, prefill_layer};
use wafersim_mapping::{
    Append, Inputs, KvMapping, LayerMapping, Load as MappedLoad, Recipe, Reduction, Reductions, Rewrite, Rewrites,
    Routes, builtin, resolve,
};
use wafersim_program::Program;
use wafersim_spec::model::{Attention, FeedForward, Indexer, LatentAttention, Layer};
use wafersim_spec::scenario::{RoutingModel, WaferCount};
use wafersim_spec::wafer::RateSet;
use wafersim_spec::{DataType, Model, Precision, Wafer};

/// How far closed form and fabric may be apart.
const LIMIT: f64 = 0.03;

fn layer(query_rank: Option<u64>) -> Layer {
    Layer {
        attention: Attention::Latent(LatentAttention {
            heads: 16,
            query_rank,
            kv_rank: 128,
            nope_dim: 32,
            rope_dim: 64,
            value_dim: 32,
            indexer: None,
        }),
        feed_forward: FeedForward::Dense { width: 1024, bias: false },
        norms: 2,
    }
}

/// The same with an indexer that chooses `top_k` tokens.
fn sparse(top_k: u64) -> Layer {
    let mut layer = layer(Some(192));
    if let Attention::Latent(latent) = &mut layer.attention {
        latent.indexer = Some(Indexer { heads: 16, head_dim: 96, top_k, interleaved: false });
    }
    layer
}

fn kv([dimension_split, sequence_split, head_copies]: [u64; 3]) -> KvMapping {
    let columns_per_head = dimension_split * sequence_split * head_copies;
    KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, ..KvMapping::published(1) }
}

/// Rewrites of attention, and those that leave nothing but it to be seen.
fn ours() -> Rewrites {
    Rewrites::from_iter([
        Rewrite::FusedNorms,
        Rewrite::OnlineSoftmax,
        Rewrite::LocalMaximum,
        Rewrite::DividedSoftmax,
        Rewrite::InterleavedGateUp,
        Rewrite::AccumulatorsInPlace,
    ])
}

/// Tokens of a step, their users, and what the last of them sees.
#[derive(Clone, Copy)]
struct Load {
    tokens: u64,
    users: u64,
    context: u64,
}

const ONE: Load = Load { tokens: 1, users: 1, context: 700 };

fn written(layer: &Layer, mapping: &LayerMapping, load: Load) -> Program {
    decode_layer(&request(layer, mapping, load)).unwrap()
}

fn request<'a>(layer: &'a Layer, mapping: &'a LayerMapping, load: Load) -> LayerRequest<'a> {
    let kind = DataType::Fp16;
    let Load { tokens, users, context } = load;
    LayerRequest {
        layer,
        hidden: 512,
        norm_epsilon: 1e-6,
        mapping,
        precision: Precision {
            weights: kind,
            small_weights: kind,
            kv_cache: kind,
            activations: kind,
            ..Precision::default()
        },
        tokens,
        users,
        context,
        routed: Routed::Expected(ExpertLoad::spread(1, 1)),
        scope: Scope::Model,
        queue: 4,
    }
}

fn read(program: &Program) -> (ProgramCost, Outcome) {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let lowered = circuit::lower(program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap();
    (cost(program, &rates), circuit::run(&lowered, |_| ()).unwrap())
}

fn agree(what: &str, program: &Program) {
    common::lines_move_as_by_themselves(program);
    let (closed, fabric) = read(program);
    let (closed_total, run) = (closed.total().0, fabric.cycles.0);
    let off = closed_total / run - 1.0;
    println!("{what}: closed form {closed_total:.0}, fabric {run:.0} ({:+.1} %)", off * 100.0);
    for operator in &fabric.operators {
        let known = closed.operators.iter().find(|known| known.name == operator.name);
        let known = known.map_or(0.0, |known| known.cost.total().0);
        if (known - operator.cycles.0).abs() > 0.005 * run {
            println!("    {}: {known:.0}, {:.0}", operator.name, operator.cycles.0);
        }
    }
    assert!(off.abs() < LIMIT, "{what}: {:.1} %", off * 100.0);
}

fn mapping([columns, rows]: [u64; 2], kv: KvMapping, rewrites: Rewrites) -> LayerMapping {
    let routes = if rewrites == Rewrites::NONE { Routes::Changed } else { Routes::Static };
    let reductions = Reductions::all(&Reduction::PUBLISHED);
    LayerMapping { kv, rewrites, routes, reductions, ..LayerMapping::published(columns, rows) }
}

#[test]
fn kv_layouts_and_rewrites() {
    let layer = layer(Some(192));
    for (region, splits) in [
        ([32, 24], [32, 1, 1]),
        ([32, 24], [1, 32, 1]),
        ([34, 24], [4, 8, 1]),
        ([34, 24], [4, 1, 8]),
        ([36, 20], [3, 3, 4]),
        ([40, 20], [5, 4, 2]),
        ([40, 28], [2, 1, 16]),
    ] {
        for append in [Append::Shifted, Append::RoundRobin] {
            for rewrites in [Rewrites::NONE, ours()] {
                let kv = KvMapping { append, ..kv(splits) };
                let what = format!("{region:?}, {splits:?}, {append:?}, {} rewrites", rewrites.iter().count());
                agree(&what, &written(&layer, &mapping(region, kv, rewrites), ONE));
            }
        }
    }
}

#[test]
fn queries_that_are_not_compressed_and_several_tokens() {
    for (query_rank, load) in [
        (None, ONE),
        (None, Load { tokens: 3, users: 3, context: 400 }),
        (Some(192), Load { tokens: 4, users: 2, context: 400 }),
    ] {
        for rewrites in [Rewrites::NONE, ours()] {
            let layer = layer(query_rank);
            let mapping = mapping([34, 24], kv([4, 2, 4]), rewrites);
            agree(&format!("{query_rank:?}, {} tokens", load.tokens), &written(&layer, &mapping, load));
        }
    }
}

/// Scores of an indexer, the choice and attention over the chosen tokens take on the fabric what they take in closed
/// form.
#[test]
fn an_indexer_and_what_it_chooses() {
    for (region, splits) in
        [([32, 24], [32, 1, 1]), ([34, 24], [4, 8, 1]), ([34, 24], [4, 1, 8]), ([40, 20], [5, 4, 2])]
    {
        for (rewrites, load) in
            [(Rewrites::NONE, ONE), (ours(), ONE), (ours(), Load { tokens: 4, users: 2, context: 400 })]
        {
            let program = written(&sparse(100), &mapping(region, kv(splits), rewrites), load);
            agree(&format!("{region:?}, {splits:?}, {} rewrites", rewrites.iter().count()), &program);
        }
    }
}

/// Chosen tokens make attention shorter where places hold many tokens, and an indexer is never free.
#[test]
fn a_choice_pays_where_contexts_are_long() {
    let cycles = |layer: &Layer, context: u64| {
        let program = written(layer, &mapping([34, 24], kv([4, 2, 4]), ours()), Load { context, ..ONE });
        let wafer = Wafer::builtin("wse3").unwrap();
        cost(&program, &Rates::new(&wafer, RateSet::Silicon, View::Achieved)).total().0
    };
    // Many heads, as in DeepSeek-V3.2, and few of the indexer.
    let [dense, sparse] =
        [None, Some(Indexer { heads: 8, head_dim: 64, top_k: 64, interleaved: false })].map(|indexer| {
            let mut layer = layer(Some(192));
            if let Attention::Latent(latent) = &mut layer.attention {
                (latent.heads, latent.indexer) = (64, indexer);
            }
            layer
        });
    let [short, long] = [64, 16_384].map(|context| [&dense, &sparse].map(|layer| cycles(layer, context)));
    println!("dense and sparse: {short:?} cycles with 64 tokens, {long:?} with 16,384");
    assert!(short[1] > short[0] && long[1] < long[0], "{short:?} {long:?}");
}

/// On grids that every dimension divides, the work of one processing element times their number is the work of the
/// layer.
#[test]
fn multiply_accumulates_are_those_of_the_sizes() {
    for query_rank in [None, Some(256)] {
        let layer = layer(query_rank);
        let Attention::Latent(latent) = &layer.attention else { panic!("latent") };
        let (heads, query) = (latent.heads, latent.heads * (latent.nope_dim + latent.rope_dim));
        let cached = latent.kv_rank + latent.rope_dim;
        let queries = latent.query_rank.map_or(512 * query, |rank| 512 * rank + rank * query);
        let values = heads * latent.value_dim;
        let absorbed = latent.kv_rank * heads * (latent.nope_dim + latent.value_dim);
        for (region, splits) in [
            ([32, 32], [32, 1, 1]),
            ([32, 32], [8, 1, 4]),
            ([32, 16], [4, 2, 4]),
            ([16, 32], [8, 2, 1]),
            ([8, 8], [2, 2, 2]),
        ] {
            // Each copy of the cache makes its new entries itself.
            let weights = queries + splits[2] * 512 * cached + absorbed + values * 512 + 3 * 512 * 1024;
            for (rewrites, tokens) in [(Rewrites::NONE, 1), (ours(), 2)] {
                let load = Load { tokens, users: tokens, context: 4096 };
                let program = written(&layer, &mapping(region, kv(splits), rewrites), load);
                let scored = heads * load.context * (cached + latent.kv_rank);
                let made = program.macs_per_element() * region[0] * region[1];
                assert_eq!(made, tokens * (weights + scored), "{region:?}, {splits:?}, {query_rank:?}");
            }
        }
    }
}

/// A chunk of a prompt, alone and with others before it. Keys and values of all that is seen are made of latents.
#[test]
fn chunks_of_prompts() {
    for query_rank in [None, Some(256)] {
        let layer = layer(query_rank);
        let Attention::Latent(latent) = &layer.attention else { panic!("latent") };
        let (heads, query) = (latent.heads, latent.heads * (latent.nope_dim + latent.rope_dim));
        let queries = latent.query_rank.map_or(512 * query, |rank| 512 * rank + rank * query);
        let values = heads * latent.value_dim;
        let weights = queries + 512 * (latent.kv_rank + latent.rope_dim) + values * 512 + 3 * 512 * 1024;
        let expanded = latent.kv_rank * heads * (latent.nope_dim + latent.value_dim);
        for (region, tokens, context) in [([16, 8], 16, 16), ([32, 16], 64, 64), ([32, 32], 128, 512)] {
            let mapping = mapping(region, kv([4, 1, 4]), Rewrites::NONE);
            let program = prefill_layer(&request(&layer, &mapping, Load { tokens, users: 1, context }), 256).unwrap();
            let pair = heads * (latent.nope_dim + latent.rope_dim + latent.value_dim);
            let expected = tokens * weights + context * expanded + tokens * context * pair;
            assert_eq!(program.macs_per_element() * region[0] * region[1], expected, "{region:?}, {query_rank:?}");
            if tokens == 16 {
                agree(&format!("chunk, {region:?}, {query_rank:?}"), &program);
            }
        }
    }
}

/// Every built-in recipe on DeepSeek-V3, alone and with the cache in eight copies: resolved, and each kind of layer
/// written.
#[test]
fn built_in_recipes_write_deepseek_v3() {
    let (model, wafer) = (Model::builtin("deepseek-v3").unwrap(), Wafer::builtin("wse3").unwrap());
    let precision = Precision::default();
    for name in builtin::names() {
        for copies in [None, Some(8)] {
            let mut recipe = Recipe::builtin(name).unwrap();
            if let Some(copies) = copies {
                recipe.kv.head_copies = wafersim_spec::Size::Exactly(copies);
            }
            let load = MappedLoad {
                wafers: WaferCount::Auto,
                users: 1,
                context: 32_768,
                tokens_per_step: 1,
                precision,
                routing: RoutingModel::Skewed,
            };
            let resolved = resolve(&recipe, Inputs::new(&model, &wafer, load)).unwrap();
            assert_eq!(resolved.kinds.len(), 2, "{name}");
            for kind in &resolved.kinds {
                assert_eq!(kind.mapping.kv.head_copies, copies.unwrap_or(1), "{name}");
                let layer = &model.layers[kind.layers[0].first as usize];
                let one = PlaceLoad { pairs: 1, distinct: 1, tokens: 1 };
                let experts = ExpertLoad { pairs: 8, distinct: 8, busiest: one, column: one };
                let one = Load { tokens: 1, users: 1, context: load.context };
                let request = LayerRequest {
                    hidden: model.hidden,
                    precision,
                    routed: Routed::Expected(experts),
                    ..request(layer, &kind.mapping, one)
                };
                let program = decode_layer(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
                println!("{name}, copies {copies:?}, {}: {} color names", kind.mapping.region, program.color_count());
                let chunk = LayerRequest { tokens: 512, context: 512, ..request };
                prefill_layer(&chunk, 8192).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}
