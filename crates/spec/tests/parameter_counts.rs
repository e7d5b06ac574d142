//! Every built-in model is counted to the last digit as `tests/data/parameter_counts.json` says, which was computed
//! apart from this program, in two ways, from the published tensor shapes.

use serde_json::Value;
use wafersim_spec::model::{Attention, FeedForward, Layer, Role, builtin};
use wafersim_spec::{DataType, Model, Precision};

fn expected() -> serde_json::Map<String, Value> {
    serde_json::from_str(include_str!("data/parameter_counts.json")).expect("the copied file is JSON")
}

/// Weights of the attention, its biases, inner norms and sinks: what the file calls `attn_params_per_layer`.
fn attention_parameters(layer: &Layer, hidden: u64) -> u64 {
    layer.attention.tensors(hidden).iter().map(|tensor| tensor.parameters()).sum()
}

fn sum_of_roles(layer: &Layer, hidden: u64, roles: &[Role]) -> u64 {
    let tensors = layer.tensors(hidden);
    tensors.iter().filter(|tensor| roles.contains(&tensor.role)).map(|tensor| tensor.parameters_of_one()).sum()
}

#[test]
fn every_built_in_model_is_counted_and_every_count_has_its_model() {
    let counted: Vec<String> = expected().keys().cloned().collect();
    let mut known: Vec<&str> = builtin::names().collect();
    assert!(known.is_sorted(), "the list of built-in models is in order of their names");
    let mut counted: Vec<&str> = counted.iter().map(String::as_str).collect();
    counted.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, counted);
}

#[test]
fn counts_agree_to_the_last_digit() {
    for (name, counts) in expected() {
        let model = Model::builtin(&name).unwrap();
        let count = model.parameters();
        let bf16 = Precision { kv_cache: DataType::Bf16, ..Precision::default() };
        let last = model.layers.last().unwrap();
        let outer = |role: Role| {
            let tensors = model.outer_tensors();
            tensors.iter().find(|tensor| tensor.role == role).map_or(0, |tensor| tensor.parameters())
        };
        let ours = |key: &str| match key {
            "total" => count.total,
            "active_incl_embedding" => count.active,
            "active_matmul_only_excl_input_embedding" => count.active_without_input_embedding,
            "kv_elems_per_token_all_layers" => model.kv_elements_per_token(),
            "kv_bytes_per_token_bf16" => model.kv_bytes_per_token(&bf16).0,
            "embed" => outer(Role::Embedding),
            "lm_head" => outer(Role::LmHead),
            "attn_params_per_layer" => attention_parameters(last, model.hidden),
            "router_params_per_layer" => sum_of_roles(last, model.hidden, &[Role::Router]),
            "expert_params" => sum_of_roles(last, model.hidden, &[Role::ExpertGate, Role::ExpertUp, Role::ExpertDown]),
            other => panic!("{name}: {other} is not compared"),
        };
        for (key, expected) in counts.as_object().unwrap() {
            if !key.starts_with("published") {
                assert_eq!(Some(ours(key)), expected.as_u64(), "{name}: {key}");
            }
        }
    }
}

#[test]
fn three_of_four_layers_of_qwen3_next_are_linear() {
    for name in ["qwen3-next-80b-a3b", "qwen3-coder-next"] {
        let model = Model::builtin(name).unwrap();
        for (index, layer) in model.layers.iter().enumerate() {
            let is_linear = matches!(layer.attention, Attention::Linear(_));
            assert_eq!(is_linear, index % 4 != 3, "{name}: {index}");
        }
        // A quarter of each head is rotated.
        let Attention::Grouped(full) = &model.layers[3].attention else { panic!("{name}") };
        assert_eq!((full.rotary_dim, full.output_gate), (64, true));
    }
}

#[test]
fn published_sizes_are_near() {
    for (name, counts) in expected() {
        let model = Model::builtin(&name).unwrap();
        let published = counts["published_total"].as_f64().unwrap();
        let ratio = model.parameters().total as f64 / published;
        assert!((0.98..=1.02).contains(&ratio), "{name}: {ratio}");
    }
}

#[test]
fn mixtures_have_experts_where_the_families_put_them() {
    let sparse_layers = |name: &str| {
        let model = Model::builtin(name).unwrap();
        let is_sparse = |layer: &&Layer| matches!(layer.feed_forward, FeedForward::Moe(_));
        model.layers.iter().filter(is_sparse).count()
    };
    for (name, layers) in [
        ("qwen3-coder-480b-a35b", 62),
        ("deepseek-v3", 58),
        ("glm-4.5", 89),
        ("llama-4-maverick-17b-128e", 24),
        ("llama-4-scout-17b-16e", 48),
        ("gpt-oss-120b", 36),
        ("llama-3.1-8b", 0),
    ] {
        assert_eq!(sparse_layers(name), layers, "{name}");
    }
}

#[test]
fn only_deepseek_is_latent() {
    for name in builtin::names() {
        let model = Model::builtin(name).unwrap();
        let latent = model.layers.iter().any(|layer| matches!(layer.attention, Attention::Latent(_)));
        assert_eq!(latent, name == "deepseek-v3", "{name}");
    }
}
