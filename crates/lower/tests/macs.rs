//! The multiply-accumulates of the programs against the formulas of the model: on grids that every dimension divides,
//! the work of one processing element times their number is the work of the layer, to the last product.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use wafersim_lower::{ExpertLoad, LayerRequest, PlaceLoad, Routed, Scope, decode_layer, prefill_layer};
use wafersim_mapping::{ExpertMapping, KvMapping, LayerMapping, Overlap, Rewrite, Rewrites, Routes};
use wafersim_program::{Action, Math, Program, Step};
use wafersim_spec::model::{Attention, FeedForward, Layer, Reach};
use wafersim_spec::{DataType, Model, Precision};

/// A model file with sizes that powers of two divide.
fn model() -> Model {
    let text = r#"{"model_type": "qwen3_moe", "hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16,
        "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 4096, "max_position_embeddings": 8192,
        "intermediate_size": 2048, "moe_intermediate_size": 512, "num_experts": 64, "num_experts_per_tok": 4,
        "decoder_sparse_step": 1, "mlp_only_layers": [1], "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "norm_topk_prob": true, "tie_word_embeddings": false, "attention_bias": false}"#;
    Model::from_config_json(text, "test").unwrap()
}

fn weights_of_a_token(layer: &Layer) -> u64 {
    let Attention::Grouped(attention) = &layer.attention else { panic!("grouped") };
    let (query, key) = (attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim);
    let projections = 1024 * (query + 2 * key) + query * 1024;
    projections
        + match &layer.feed_forward {
            FeedForward::Dense { width, .. } => 3 * 1024 * width,
            FeedForward::Moe(moe) => 1024 * moe.experts + moe.top_k * 3 * 1024 * moe.width,
        }
}

/// As published, each KV head on its columns.
fn published(columns: u64, rows: u64) -> LayerMapping {
    let columns_per_head = columns / 4;
    let kv = KvMapping {
        dimension_split: columns_per_head / 2,
        sequence_split: 2,
        ..KvMapping::published(columns_per_head)
    };
    LayerMapping { kv, ..LayerMapping::published(columns, rows) }
}

/// With what takes work away and adds no products.
fn fused(columns: u64, rows: u64) -> LayerMapping {
    let rewrites = [
        Rewrite::FusedNorms,
        Rewrite::OnlineSoftmax,
        Rewrite::SinglePassTopK,
        Rewrite::InterleavedGateUp,
        Rewrite::AccumulatorsInPlace,
    ];
    LayerMapping {
        rewrites: rewrites.into_iter().collect::<Rewrites>(),
        routes: Routes::Static,
        overlap: Overlap { conversion: true, independent: false },
        ..published(columns, rows)
    }
}

fn request<'a>(layer: &'a Layer, mapping: &'a LayerMapping, tokens: u64, context: u64) -> LayerRequest<'a> {
    LayerRequest {
        layer,
        hidden: 1024,
        norm_epsilon: 1e-6,
        mapping,
        precision: Precision::default(),
        tokens,
        users: tokens,
        context,
        routed: Routed::Expected(ExpertLoad::spread(4 * tokens, 4)),
        scope: Scope::Model,
        queue: 4,
    }
}

fn decode(layer: &Layer, mapping: &LayerMapping, tokens: u64, context: u64) -> Program {
    decode_layer(&request(layer, mapping, tokens, context)).unwrap()
}

fn prefill(layer: &Layer, mapping: &LayerMapping, tokens: u64, before: u64, key_block: u64) -> Program {
    let request = LayerRequest { users: 1, ..request(layer, mapping, tokens, before + tokens) };
    prefill_layer(&request, key_block).unwrap()
}

#[test]
fn decode_does_the_products_of_the_layer() {
    let model = model();
    for (columns, rows) in [(8, 8), (16, 8), (32, 64), (64, 16)] {
        for layer in &model.layers {
            for (tokens, mapping) in
                [(1, published(columns, rows)), (3, fused(columns, rows)), (8, published(columns, rows))]
            {
                let context = 4096;
                let program = decode(layer, &mapping, tokens, context);
                let expected = tokens * (weights_of_a_token(layer) + 2 * 16 * 64 * context);
                let macs = program.macs_per_element() * columns * rows;
                assert_eq!(macs, expected, "{columns} x {rows}, {tokens} tokens");
            }
        }
    }
}

#[test]
fn prefill_does_the_products_of_the_layer() {
    let model = model();
    let dense = &model.layers[1];
    for (columns, rows) in [(16, 16), (32, 32), (64, 32)] {
        let (tokens, before) = (512, 1536);
        let program = prefill(dense, &published(columns, rows), tokens, before, u64::MAX);
        // The rectangle of queries and keys is computed whole, without leaving out what the causal mask hides.
        let expected = tokens * (weights_of_a_token(dense) + 2 * 16 * 64 * (before + tokens));
        assert_eq!(program.macs_per_element() * columns * rows, expected, "{columns} x {rows}");
    }
}

#[test]
fn key_blocks_change_no_product() {
    let (model, mapping) = (model(), published(32, 32));
    let macs = |key_block| prefill(&model.layers[1], &mapping, 512, 1536, key_block).macs_per_element();
    assert_eq!(macs(u64::MAX), macs(512));
}

#[test]
fn windows_limit_what_is_read() {
    let (model, mapping) = (model(), published(16, 16));
    let mut layer = model.layers[1].clone();
    let full = decode(&layer, &mapping, 1, 4096).macs_per_element();
    if let Attention::Grouped(attention) = &mut layer.attention {
        attention.reach = Reach::Window(128);
    }
    let window = decode(&layer, &mapping, 1, 4096).macs_per_element();
    assert_eq!(full - window, 2 * 16 * 64 * (4096 - 128) / 256);
}

#[test]
fn clustered_experts_do_the_work_of_the_busiest_rectangle() {
    let (model, spread) = (model(), published(32, 32));
    let experts = ExpertMapping { strategy: None, across: 8, down: 8, room: 1, homes: Vec::new() };
    let clustered = LayerMapping { experts: Some(experts), ..spread.clone() };
    let one = PlaceLoad { pairs: 1, distinct: 1, tokens: 1 };
    let load = ExpertLoad { busiest: one, column: one, ..ExpertLoad::spread(4, 4) };
    let on_all = decode(&model.layers[0], &spread, 1, 1024).macs_per_element();
    let request = request(&model.layers[0], &clustered, 1, 1024);
    let program = decode_layer(&LayerRequest { routed: Routed::Expected(load), ..request }).unwrap();
    // One expert on 16 of 1024 processing elements, instead of four experts on all.
    let difference = 3 * 1024 * 512 / 16 - 4 * 3 * 1024 * 512 / 1024;
    assert_eq!(program.macs_per_element(), on_all + difference);
}

#[test]
fn fused_programs_hold_fewer_steps_and_no_route_changes() {
    let model = model();
    for layer in &model.layers {
        let count = |mapping: &LayerMapping| {
            let program = decode(layer, mapping, 1, 1024);
            let changes = program.steps().filter(|step| matches!(step.action, Action::RouteChange(_))).count();
            (program.steps().count(), changes)
        };
        let (as_published, fused) = (count(&published(32, 32)), count(&fused(32, 32)));
        assert!(fused.0 < as_published.0, "{fused:?} {as_published:?}");
        assert_eq!(fused.1, 0);
        // Six in the published layer on WSE-3 (sources.md#wse-3-characterisation-notes); the router's gather along x
        // adds two.
        let moe = matches!(layer.feed_forward, FeedForward::Moe(_));
        assert_eq!(as_published.1, if moe { 8 } else { 6 });
    }
}

#[test]
fn narrow_weights_are_converted_once_for_each_tile() {
    let (model, mapping) = (model(), published(32, 32));
    let conversions = |weights: DataType| {
        let mut request = request(&model.layers[0], &mapping, 1, 1024);
        request.precision.weights = weights;
        let elements = |step: &Step| match &step.action {
            Action::Compute(compute) if compute.math == Math::Dequantise => {
                compute.work.iter().map(|work| work.length * work.count).sum()
            }
            _ => 0u64,
        };
        decode_layer(&request).unwrap().steps().map(elements).sum::<u64>()
    };
    assert_eq!(conversions(DataType::Fp16), 0);
    // Every stored weight of the token's way, the router (16 bit) aside, over 1024 processing elements.
    let stored = weights_of_a_token(&model.layers[0]) - 1024 * 64;
    assert_eq!(conversions(DataType::Fp8) * 1024, stored);
}
