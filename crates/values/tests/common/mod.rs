//! Checkpoints with random weights, a standard setup, and the comparison of a mapping with the equations.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView, serialize};
use wafersim_mapping::LayerMapping;
use wafersim_spec::model::Layer;
use wafersim_spec::{DataType, Model, Precision};
use wafersim_values::{
    Checkpoint, Comparison, Grid, Prefill, RunInput, Setup, Tensors, Tolerance, compare, plain, random, random_prompt,
    run,
};

/// A small Qwen3-MoE: grouped heads, QK-norm, two layers of experts.
pub const TINY: &str = r#"{"model_type": "qwen3_moe", "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 41, "max_position_embeddings": 64,
    "intermediate_size": 24, "moe_intermediate_size": 12, "num_experts": 6, "num_experts_per_tok": 2,
    "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [], "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0}"#;

/// The same with dense layers.
pub const TINY_DENSE: &str = r#"{"model_type": "qwen3", "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 41, "max_position_embeddings": 64,
    "intermediate_size": 24, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "attention_bias": true}"#;

/// Runs a model in fp32 under one mapping for all layers, `tokens` tokens of a prompt and three steps, against the
/// equations in 64 bit.
pub fn under(
    checkpoint: &Checkpoint,
    mapping: &LayerMapping,
    prefill: Prefill,
    tokens: u64,
) -> Result<Comparison, String> {
    let setup = setup_of(mapping, prefill);
    let prompt = random_prompt(checkpoint.model.vocabulary, tokens, 7);
    let plain = plain::run(checkpoint, &prompt, 3).map_err(|error| error.to_string())?;
    let placed = run(checkpoint, &setup, RunInput::new(&prompt, 3), |_, _| ()).map_err(|error| error.to_string())?;
    Ok(compare(&placed, &plain, Tolerance::FP32))
}

/// One mapping for all layers, in fp32.
pub fn setup_of(mapping: &LayerMapping, prefill: Prefill) -> Setup {
    Setup { mappings: vec![mapping.clone()], prefill, precision: precision(DataType::Fp32) }
}

/// A mapping must change no result, whichever programs the prompt goes through.
pub fn assert_is_the_model(what: &str, checkpoint: &Checkpoint, mapping: &LayerMapping) {
    for prefill in [Prefill::Tokens, Prefill::Chunk] {
        assert_as(prefill, what, checkpoint, mapping);
    }
}

/// The same for prompts that go through some programs.
pub fn assert_as(prefill: Prefill, what: &str, checkpoint: &Checkpoint, mapping: &LayerMapping) {
    for tokens in [2, 9] {
        let what = format!("{what}, {tokens} tokens, {prefill:?}");
        let comparison = under(checkpoint, mapping, prefill, tokens).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(comparison.is_within(), "{what}: {}", outside(&comparison));
    }
}

/// What is not within its tolerance.
pub fn outside(comparison: &Comparison) -> String {
    let mut text = format!("missing {:?}", comparison.missing);
    for kind in comparison.deviations.iter().filter(|kind| !kind.within) {
        text += &format!("; {}: {:.1e}, allowed {:.1e}", kind.kind, kind.largest, kind.tolerance);
    }
    text
}

/// The same format for everything.
pub fn precision(data_type: DataType) -> Precision {
    Precision {
        weights: data_type,
        small_weights: data_type,
        kv_cache: data_type,
        activations: data_type,
        ..Precision::default()
    }
}

/// Published programs in fp32 on a grid.
pub fn setup(model: &Model, columns: u64, rows: u64) -> Setup {
    setup_on(model, Grid::published(columns, rows))
}

/// A setup in fp32.
pub fn setup_on(model: &Model, grid: Grid) -> Setup {
    Setup { mappings: grid.mappings(model), prefill: Prefill::Chunk, precision: precision(DataType::Fp32) }
}

/// The tensors of a config with random values: gains about 1, matrices that keep the size of what goes through them.
pub fn tensors(config: &str, seed: u64) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    random::tensors(&Model::from_config_json(config, "config.json").unwrap(), seed)
}

/// The bytes of a safetensors file.
pub fn file(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name.clone(), shape.clone(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize(views, None).unwrap()
}

/// A checkpoint with random weights.
pub fn checkpoint(config: &str, seed: u64) -> Checkpoint {
    let tensors = Tensors::read(vec![("model.safetensors".into(), file(&tensors(config, seed)))]).unwrap();
    Checkpoint::new(config, "config.json", tensors).unwrap()
}

/// A checkpoint with random weights of a model that a config describes up to some changes: parts of other families.
pub fn checkpoint_with(config: &str, seed: u64, change: impl Fn(&mut Layer)) -> Checkpoint {
    let mut model = Model::from_config_json(config, "config.json").unwrap();
    model.layers.iter_mut().for_each(change);
    Checkpoint::random(model, seed).unwrap()
}
