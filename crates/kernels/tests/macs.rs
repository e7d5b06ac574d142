//! The multiply-accumulates of the programs against the formulas of the model: on grids that every dimension divides, the
//! work of one processing element times their number is the work of the layer, to the last product.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::{ExpertShape, KvShape, LayerShape, Options, decode_layer, prefill_layer};
use wafersim_program::Region;
use wafersim_spec::model::{Attention, FeedForward, Layer, Reach};
use wafersim_spec::{DataType, Model, Precision};

/// A model file with sizes that powers of two divide.
fn model(experts: u64) -> Model {
    let text = format!(
        r#"{{"model_type": "qwen3_moe", "hidden_size": 1024, "num_hidden_layers": 2, "num_attention_heads": 16,
        "num_key_value_heads": 4, "head_dim": 64, "vocab_size": 4096, "max_position_embeddings": 8192,
        "intermediate_size": 2048, "moe_intermediate_size": 512, "num_experts": {experts}, "num_experts_per_tok": 4,
        "decoder_sparse_step": 1, "mlp_only_layers": [1], "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "norm_topk_prob": true, "tie_word_embeddings": false, "attention_bias": false}}"#
    );
    Model::from_config_json(&text, "test").unwrap()
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

fn shape(layer: &Layer, columns: u64, rows: u64, tokens: u64, context: u64, options: Options) -> LayerShape<'_> {
    let head_columns = columns / 4;
    LayerShape {
        layer,
        hidden: 1024,
        region: Region::new(0, 0, columns, rows),
        kv: KvShape {
            heads_per_block: 1,
            columns_per_head: head_columns,
            dimension_split: head_columns / 2,
            sequence_split: 2,
        },
        experts: ExpertShape::Spread,
        precision: Precision::default(),
        tokens,
        context,
        key_block: u64::MAX,
        load: ExpertLoad { pairs: 4 * tokens, distinct: 4, busiest: tokens },
        options,
    }
}

#[test]
fn decode_does_the_products_of_the_layer() {
    let model = model(64);
    for (columns, rows) in [(8, 8), (16, 8), (32, 64), (64, 16)] {
        for layer in &model.layers {
            for (tokens, options) in [(1, Options::PUBLISHED), (3, Options::OPTIMISED), (8, Options::PUBLISHED)] {
                let context = 4096;
                let program = decode_layer(&shape(layer, columns, rows, tokens, context, options));
                let expected = tokens * (weights_of_a_token(layer) + 2 * 16 * 64 * context);
                assert_eq!(
                    program.macs_per_element() * columns * rows,
                    expected,
                    "{columns} x {rows}, {tokens} tokens"
                );
            }
        }
    }
}

#[test]
fn prefill_does_the_products_of_the_layer() {
    let model = model(64);
    let dense = &model.layers[1];
    for (columns, rows) in [(16, 16), (32, 32), (64, 32)] {
        let (tokens, context) = (512, 1536);
        let program = prefill_layer(&shape(dense, columns, rows, tokens, context, Options::PUBLISHED));
        // The rectangle of queries and keys is computed whole, without leaving out what the causal mask hides.
        let expected = tokens * (weights_of_a_token(dense) + 2 * 16 * 64 * (context + tokens));
        assert_eq!(program.macs_per_element() * columns * rows, expected, "{columns} x {rows}");
    }
}

#[test]
fn key_blocks_change_no_product() {
    let model = model(64);
    let whole = shape(&model.layers[1], 32, 32, 512, 1536, Options::PUBLISHED);
    let blocks = LayerShape { key_block: 512, ..whole.clone() };
    assert_eq!(prefill_layer(&whole).macs_per_element(), prefill_layer(&blocks).macs_per_element());
}

#[test]
fn windows_limit_what_is_read() {
    let model = model(64);
    let mut layer = model.layers[1].clone();
    let full = decode_layer(&shape(&layer, 16, 16, 1, 4096, Options::PUBLISHED)).macs_per_element();
    if let Attention::Grouped(attention) = &mut layer.attention {
        attention.reach = Reach::Window(128);
    }
    let window = decode_layer(&shape(&layer, 16, 16, 1, 4096, Options::PUBLISHED)).macs_per_element();
    assert_eq!(full - window, 2 * 16 * 64 * (4096 - 128) / 256);
}

#[test]
fn clustered_experts_do_the_work_of_the_busiest_rectangle() {
    let model = model(64);
    let mut clustered = shape(&model.layers[0], 32, 32, 1, 1024, Options::PUBLISHED);
    let spread = decode_layer(&clustered).macs_per_element();
    clustered.experts = ExpertShape::Clustered { columns: 4, rows: 4 };
    let program = decode_layer(&clustered);
    // One expert on 16 of 1024 processing elements, instead of four experts on all.
    let difference = 3 * 1024 * 512 / 16 - 4 * 3 * 1024 * 512 / 1024;
    assert_eq!(program.macs_per_element(), spread + difference);
}

#[test]
fn optimised_programs_hold_fewer_steps_and_no_route_changes() {
    use wafersim_program::Action;
    let model = model(64);
    for layer in &model.layers {
        let count = |options| {
            let program = decode_layer(&shape(layer, 32, 32, 1, 1024, options));
            let changes = program.steps().filter(|step| matches!(step.action, Action::RouteChange(_))).count();
            (program.steps().count(), changes)
        };
        let (published, optimised) = (count(Options::PUBLISHED), count(Options::OPTIMISED));
        assert!(optimised.0 < published.0, "{optimised:?} {published:?}");
        assert_eq!(optimised.1, 0);
        // Six in the published layer on WSE-3 (sources.md#wse-3-characterisation-notes); the router's gather along x adds two.
        let moe = matches!(layer.feed_forward, FeedForward::Moe(_));
        assert_eq!(published.1, if moe { 8 } else { 6 });
    }
}

#[test]
fn all_programs_keep_to_24_colors() {
    let model = model(64);
    for layer in &model.layers {
        for options in [Options::PUBLISHED, Options::OPTIMISED] {
            let shape = shape(layer, 32, 32, 4, 1024, options);
            assert!(decode_layer(&shape).color_count() <= 24);
            assert!(prefill_layer(&shape).color_count() <= 24);
        }
    }
}

#[test]
fn narrow_weights_are_converted_once_for_each_tile() {
    use wafersim_program::{Action, Math};
    let model = model(64);
    let conversions = |weights: DataType| {
        let mut shape = shape(&model.layers[0], 32, 32, 1, 1024, Options::PUBLISHED);
        shape.precision.weights = weights;
        let elements = |step: &wafersim_program::Step| match &step.action {
            Action::Compute(compute) if compute.math == Math::Dequantise => {
                compute.work.iter().map(|work| work.length * work.count).sum()
            }
            _ => 0u64,
        };
        decode_layer(&shape).steps().map(elements).sum::<u64>()
    };
    assert_eq!(conversions(DataType::Fp16), 0);
    // Every stored weight of the token's way, the router (16 bit) aside, over 1024 processing elements.
    let stored = weights_of_a_token(&model.layers[0]) - 1024 * 64;
    assert_eq!(conversions(DataType::Fp8) * 1024, stored);
}
