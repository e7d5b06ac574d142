//! Parameters, multiply-accumulates and bytes of whole models, held to formulas written here from the configs' numbers
//! and to numbers worked out by hand. None of them asks the model for its tensors.

#![cfg(feature = "operator-graph")]

#[path = "common/mod.rs"]
mod common;

use common::MODELS;
use wafersim_graph::{GraphError, OperatorGraph, PassLoad, Phase, expected_distinct_experts};
use wafersim_spec::model::{Attention, FeedForward, Reach, Role};
use wafersim_spec::{Bytes, DataType, Model, Precision};

fn graph(model: &Model, load: PassLoad) -> OperatorGraph {
    OperatorGraph::of_model(model, load, &Precision::default()).expect("a load that is built")
}

fn builtin(name: &str) -> Model {
    Model::builtin(name).expect("a built-in model")
}

/// Multiply-accumulates of one token with every weight matrix that it uses.
fn weight_macs(model: &Model) -> u64 {
    let hidden = model.hidden;
    let mut macs = hidden * model.vocabulary;
    for layer in &model.layers {
        macs += match &layer.attention {
            Attention::Grouped(a) => {
                let (q, kv) = (a.heads * a.head_dim, a.kv_heads * a.head_dim);
                let by_head = if a.head_gate { hidden * a.heads } else { 0 };
                let gate = if a.output_gate { hidden * q } else { by_head };
                hidden * q + hidden * kv + hidden * kv + gate + q * hidden
            }
            Attention::Latent(a) => {
                let query = a.heads * (a.nope_dim + a.rope_dim);
                let query = a.query_rank.map_or(hidden * query, |rank| hidden * rank + rank * query);
                let absorbed = a.heads * a.nope_dim * a.kv_rank + a.heads * a.kv_rank * a.value_dim;
                let index = a.indexer.map_or(0, |i| {
                    a.query_rank.unwrap_or(0) * i.heads * i.head_dim + hidden * i.head_dim + hidden * i.heads
                });
                query + hidden * (a.kv_rank + a.rope_dim) + absorbed + index + a.heads * a.value_dim * hidden
            }
            Attention::Linear(a) => {
                let (keys, values) = (a.key_heads * a.key_dim, a.value_heads * a.value_dim);
                // in_proj_qkvz, in_proj_ba, conv1d, out_proj.
                hidden * (2 * keys + 2 * values)
                    + hidden * 2 * a.value_heads
                    + (2 * keys + values) * a.kernel
                    + values * hidden
            }
        };
        macs += match &layer.feed_forward {
            FeedForward::Dense { width, .. } => 3 * hidden * width,
            FeedForward::Moe(moe) => {
                let gate = if moe.shared_gate { hidden } else { 0 };
                hidden * moe.experts + 3 * hidden * (moe.top_k * moe.width + moe.shared_width) + gate
            }
        };
    }
    macs
}

/// Multiply-accumulates of one token with the cache.
fn cache_macs(model: &Model, context: u64) -> u64 {
    let of_layer = |attention: &Attention| match attention {
        Attention::Grouped(a) => {
            let visible = match a.reach {
                Reach::Full => context,
                Reach::Window(limit) | Reach::Chunk(limit) => context.min(limit),
            };
            2 * a.heads * a.head_dim * visible
        }
        Attention::Latent(a) => {
            let index = a.indexer.map_or(0, |i| i.heads * i.head_dim * context);
            let seen = a.indexer.map_or(context, |i| context.min(i.top_k));
            a.heads * ((a.kv_rank + a.rope_dim) + a.kv_rank) * seen + index
        }
        // Read by the key, written, read by the query.
        Attention::Linear(a) => 3 * a.value_heads * a.key_dim * a.value_dim,
    };
    model.layers.iter().map(|layer| of_layer(&layer.attention)).sum()
}

#[test]
fn parameters_are_the_model_s() {
    for model in MODELS.iter() {
        let count = model.parameters();
        for load in [PassLoad::decode(1, 0), PassLoad::decode(100, 4096), PassLoad::prefill(512, 7)] {
            let graph = graph(model, load);
            assert_eq!(graph.parameters(), count.total, "{}", model.name);
            assert_eq!(graph.active_parameters(), count.active, "{}", model.name);
        }
    }
}

#[test]
fn decode_macs_follow_the_formula() {
    for model in MODELS.iter() {
        for context in [0, 1, 127, 128, 129, 8_192, 131_072] {
            let one = weight_macs(model) + cache_macs(model, context);
            assert_eq!(graph(model, PassLoad::decode(1, context)).macs(), one, "{} {context}", model.name);
            assert_eq!(graph(model, PassLoad::decode(24, context)).macs(), 24 * one, "{} {context}", model.name);
        }
    }
}

#[test]
fn prefill_macs_are_the_sum_over_the_chunk() {
    for model in MODELS.iter() {
        let logits = model.hidden * model.vocabulary;
        for (tokens, context) in [(1, 0), (7, 125), (300, 0), (300, 8_000)] {
            let cache: u64 = (1..=tokens).map(|i| cache_macs(model, context + i)).sum();
            let expected = tokens * (weight_macs(model) - logits) + logits + cache;
            assert_eq!(graph(model, PassLoad::prefill(tokens, context)).macs(), expected, "{}", model.name);
        }
    }
}

/// Worked out by hand from the published configs.
#[test]
fn known_models_by_hand() {
    // 34,541,270,528 active without the input embedding, less 62 layers of two norms of 6144 and two of 128, less the
    // final norm.
    let qwen = 34_541_270_528 - (62 * (2 * 6144 + 2 * 128) + 6144);
    assert_eq!(qwen, 34_540_486_656);
    // DeepSeek-V3: less 61 layers of norms 2 * 7168 + 1536 + 512, the final norm, 58 corrections of 256 experts.
    let deepseek = 36_625_618_432 - (61 * (2 * 7168 + 1536 + 512) + 7168) - 58 * 256;
    let cases = [
        ("qwen3-coder-480b-a35b", qwen, 62 * 2 * 96 * 128 * 131_072),
        ("deepseek-v3", deepseek, 61 * 128 * (512 + 64 + 512) * 131_072),
        // Llama-3.1-8B: 7,504,924,672 less 65 norms of 4096.
        ("llama-3.1-8b", 7_504_924_672 - 65 * 4096, 32 * 2 * 32 * 128 * 131_072),
        // gpt-oss: every other of 36 layers sees 128 tokens. Less per layer two norms of 2880, 64 sinks, biases of q,
        // k, v (5120), output (2880), router (128) and 4 experts (3 * 2880 each); less the final norm.
        (
            "gpt-oss-120b",
            5_132_849_472 - 36 * (2 * 2880 + 64 + 5120 + 2880 + 128 + 4 * 3 * 2880) - 2880,
            18 * 2 * 64 * 64 * (131_072 + 128),
        ),
        // Llama 4 Maverick: three of four of the 48 layers see a chunk of 8192; the fourth sees everything.
        ("llama-4-maverick-17b-128e", 16_150_205_440 - 97 * 5120, 2 * 40 * 128 * (12 * 131_072 + 36 * 8_192)),
        // Grok-1: tied; 64 layers of 4 norms of 6144, and the final norm.
        ("grok-1", 83_756_587_008 - 257 * 6144, 64 * 2 * 48 * 128 * 131_072),
    ];
    for (name, weights, cache) in cases {
        let model = builtin(name);
        assert_eq!(graph(&model, PassLoad::decode(1, 0)).macs(), weights, "{name}");
        assert_eq!(graph(&model, PassLoad::decode(1, 131_072)).macs(), weights + cache, "{name}");
    }
}

#[test]
fn one_token_reads_the_active_weights_and_its_cache() {
    let precision = Precision {
        weights: DataType::Bf16,
        small_weights: DataType::Bf16,
        kv_cache: DataType::Bf16,
        activations: DataType::Bf16,
        ..Precision::default()
    };
    for model in MODELS.iter() {
        let graph = OperatorGraph::of_model(model, PassLoad::decode(1, 1000), &precision).unwrap();
        let count = model.parameters();
        // Of the input embedding one row; with tied embeddings the table is read once more, as LM head.
        let embedding = count.active - count.active_without_input_embedding;
        let expected = count.active - embedding + model.hidden;
        assert_eq!(graph.weight_bytes_read(), Bytes(2 * expected), "{}", model.name);

        let cached: u64 = model
            .layers
            .iter()
            .map(|layer| match &layer.attention {
                Attention::Grouped(a) => 2 * a.kv_heads * a.head_dim * a.reach.visible(1000),
                Attention::Latent(a) => (a.kv_rank + a.rope_dim + a.kv_rank) * 1000,
                // A state in 32 bit counts twice.
                Attention::Linear(a) => {
                    let channels = 2 * a.key_heads * a.key_dim + a.value_heads * a.value_dim;
                    2 * a.value_heads * a.key_dim * a.value_dim + (a.kernel - 1) * channels
                }
            })
            .sum();
        assert_eq!(graph.cache_bytes_read(), Bytes(2 * cached), "{}", model.name);
    }
}

#[test]
fn appended_bytes_are_those_of_the_cache_in_every_precision() {
    for model in MODELS.iter() {
        for kv_cache in DataType::ALL {
            let precision = Precision { kv_cache, ..Precision::default() };
            for load in [PassLoad::decode(3, 10), PassLoad::prefill(3, 10)] {
                let graph = OperatorGraph::of_model(model, load, &precision).unwrap();
                let users = if load.phase == Phase::Decode { 3 } else { 1 };
                let expected =
                    model.kv_bytes_per_token(&precision) * 3 + model.state_bytes_per_user(&precision) * users;
                assert_eq!(graph.bytes_written(), expected, "{}", model.name);
            }
        }
    }
}

/// 160 experts, top-8: 64 tokens want 160 * (1 - 0.95^64) = 154.0 of them; 16-bit weights of 3 * 6144 * 2560.
#[test]
fn a_batch_reads_the_distinct_experts() {
    let model = builtin("qwen3-coder-480b-a35b");
    let precision = Precision { weights: DataType::Fp16, ..Precision::default() };
    let weights = |tokens| {
        let graph = OperatorGraph::of_layer(&model, 5, PassLoad::decode(tokens, 0), &precision).unwrap();
        graph.weight_bytes_read().0
    };
    let expert = 2 * 3 * 6144 * 2560;
    assert_eq!(expected_distinct_experts(160, 8, 64), 154);
    assert_eq!(weights(64) - weights(1), (154 - 8) * expert);
    assert_eq!(weights(1_000_000) - weights(1), (160 - 8) * expert);
}

#[test]
fn a_layer_is_the_model_s_layer() {
    for model in MODELS.iter() {
        let load = PassLoad::decode(4, 500);
        let whole = graph(model, load);
        for index in [0, model.layers.len() / 2, model.layers.len() - 1] {
            let alone = OperatorGraph::of_layer(model, index, load, &Precision::default()).unwrap();
            let inside: Vec<_> = whole.layer_operators(index).map(|(_, operator)| operator).collect();
            // Beside the input that stands for the layers before.
            let without_input: Vec<_> = alone.operators().skip(1).map(|(_, operator)| operator).collect();
            assert_eq!(without_input, inside, "{} layer {index}", model.name);
        }
    }
}

#[test]
fn wrong_questions_are_refused() {
    let model = builtin("qwen3-8b");
    let precision = Precision::default();
    assert_eq!(OperatorGraph::of_model(&model, PassLoad::decode(0, 10), &precision).unwrap_err(), GraphError::NoTokens);
    let error = OperatorGraph::of_layer(&model, 36, PassLoad::decode(1, 10), &precision).unwrap_err();
    assert_eq!(error.to_string(), "model 'qwen3-8b' has no layer 36: its 36 layers count from 0");
    for load in [PassLoad::decode(u64::MAX, 1), PassLoad::decode(1, u64::MAX), PassLoad::prefill(u64::MAX, u64::MAX)] {
        let error = OperatorGraph::of_model(&model, load, &precision).unwrap_err();
        assert_eq!(error, GraphError::LoadTooLarge { tokens: load.tokens, context: load.context });
    }
    let mut absurd = builtin("qwen3-30b-a3b");
    for layer in &mut absurd.layers {
        if let FeedForward::Moe(moe) = &mut layer.feed_forward {
            moe.top_k = u64::MAX / 8;
        }
    }
    let error = OperatorGraph::of_model(&absurd, PassLoad::decode(1, 0), &precision).unwrap_err();
    assert!(matches!(error, GraphError::TooManyOperators { limit: 1_000_000, .. }), "{error}");
}

/// The layer that is described once holds exactly the tensors that the model counts.
#[test]
fn a_described_layer_holds_the_tensors_of_its_model() {
    use wafersim_graph::layer::TensorKind;
    use wafersim_graph::{LayerGraph, LayerLoad, Rewrites};
    for name in wafersim_spec::model::builtin::names() {
        let Ok(model) = Model::builtin(name) else { continue };
        for layer in &model.layers {
            let load = LayerLoad { tokens: 1, context: 100 };
            for graph in
                [Rewrites::NONE, Rewrites::ALL].map(|all| LayerGraph::new(layer, model.hidden, load).rewritten(all))
            {
                let mut described: Vec<(Role, u64)> = Vec::new();
                for (_, tensor) in graph.tensors() {
                    match tensor.kind {
                        TensorKind::Weight { role, copies, .. } => described.push((role, tensor.elements() * copies)),
                        TensorKind::Vector { role, .. } => described.push((role, tensor.elements())),
                        _ => {}
                    }
                }
                described.sort_unstable();
                let mut merged: Vec<(Role, u64)> = Vec::new();
                for (role, elements) in described {
                    match merged.last_mut() {
                        Some((known, sum)) if *known == role => *sum += elements,
                        _ => merged.push((role, elements)),
                    }
                }
                let mut counted: Vec<(Role, u64)> = Vec::new();
                for tensor in layer.tensors(model.hidden) {
                    let elements = tensor.inputs * tensor.outputs * tensor.copies;
                    match counted.iter_mut().find(|(role, _)| *role == tensor.role) {
                        Some((_, sum)) => *sum += elements,
                        None => counted.push((tensor.role, elements)),
                    }
                }
                counted.sort_unstable();
                assert_eq!(merged, counted, "{name}");
                // Every operator reads what an earlier one has written, or what is there before.
                for (index, sources) in graph.dependencies().into_iter().enumerate() {
                    assert!(sources.into_iter().all(|source| source < index));
                }
            }
        }
    }
}
