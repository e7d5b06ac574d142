//! How long the file of a model takes to read, from its text to a checked model: 1 ms at most is wanted.

#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use wafersim_spec::Model;
use wafersim_spec::model::builtin;

/// The file of a built-in model with more keys.
fn with(name: &str, keys: &str) -> String {
    let config = builtin::config(name).expect("a built-in model");
    config.replacen('{', &format!("{{ {keys},"), 1)
}

/// A list of modules that are not converted, each by its name, as Qwen's FP8 files have them.
fn by_name(layers: u32) -> String {
    let mut list = String::new();
    for layer in 0..layers {
        for module in
            ["self_attn.q_norm", "self_attn.k_norm", "input_layernorm", "post_attention_layernorm", "mlp.gate"]
        {
            let _ = write!(list, "\"model.layers.{layer}.{module}\", ");
        }
    }
    format!("{list} \"lm_head\"")
}

fn reading(criterion: &mut Criterion) {
    let plain = |name: &str| builtin::config(name).expect("a built-in model").to_owned();
    let fp8 = format!(
        "\"quantization_config\": {{ \"quant_method\": \"fp8\", \"modules_to_not_convert\": [{}] }}",
        by_name(94)
    );
    let patterns = "\"quantization_config\": { \"quant_method\": \"compressed-tensors\", \"ignore\": [\"lm_head\", \
                    \"re:.*self_attn.*\", \"re:.*shared_experts.*\", \"re:.*mlp\\\\.(gate|up|gate_up|down)_proj.*\"], \
                    \"config_groups\": { \"group_0\": { \"targets\": [\"Linear\"], \"weights\": \
                    { \"num_bits\": 4, \"type\": \"int\", \"group_size\": 32 } } } }";
    let files = [
        ("llama-3.1-8b", plain("llama-3.1-8b")),
        ("qwen3-235b-a22b", plain("qwen3-235b-a22b")),
        ("deepseek-v3", plain("deepseek-v3")),
        ("qwen3-235b-a22b, fp8, 471 modules by name", with("qwen3-235b-a22b", &fp8)),
        ("deepseek-v3, int4, regular expressions", with("deepseek-v3", patterns)),
    ];
    let mut group = criterion.benchmark_group("config");
    for (name, text) in &files {
        let read = |text: &str| Model::from_config_json(text, "config.json").expect("a model");
        assert!(name.contains(',') == read(text).checkpoint.is_some_and(|found| found.source.contains("quant")));
        group.bench_function(*name, |bench| bench.iter(|| read(black_box(text))));
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
