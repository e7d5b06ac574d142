//! A whole small Qwen3-MoE whose matrices are stored in 8 and 4 bit with a scale for each block, against the equations
//! in 64 bit with the same stored weights. What a stored weight is, is worked out here from the formats' definitions
//! and not by the interpreter's own rounding: e4m3 and e2m1 by the list of their numbers, blocks of 128 x 128 or 32 x 1
//! from the first input and output of a matrix.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{file, outside, tensors};
use half::f16;
use wafersim_mapping::{KvMapping, LayerMapping, Rewrite, Rewrites};
use wafersim_spec::{DataType, Precision};
use wafersim_values::{
    Checkpoint, Comparison, Prefill, RunInput, Setup, Tensors, Tolerance, compare, plain, random_prompt, run,
};

/// Matrices of more than one block of 128 along inputs, outputs, or both, whose last block is a short one.
const SEVERAL_BLOCKS: &str = r#"{"model_type": "qwen3_moe", "hidden_size": 160, "num_hidden_layers": 2,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 24, "vocab_size": 150,
    "max_position_embeddings": 64, "intermediate_size": 24, "moe_intermediate_size": 136, "num_experts": 4,
    "num_experts_per_tok": 2, "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0}"#;

/// The numbers of a format from 0 up, by their codes.
fn numbers(data_type: DataType) -> Vec<f64> {
    let floats = |mantissa: i32, bias: i32, codes: i32| -> Vec<f64> {
        let value = |code: i32| {
            let (exponent, fraction) = (code >> mantissa, f64::from(code % (1 << mantissa)));
            let unit = 2f64.powi(-mantissa);
            match exponent {
                0 => fraction * unit * 2f64.powi(1 - bias),
                _ => (1.0 + fraction * unit) * 2f64.powi(exponent - bias),
            }
        };
        (0..codes).map(value).collect()
    };
    match data_type {
        // S.1111.111 is no number, so that the largest is 448.
        DataType::Fp8 => floats(3, 7, 127),
        DataType::Fp4 => floats(1, 1, 8),
        DataType::Int8 => (0..128).map(f64::from).collect(),
        other => panic!("{other} has no list"),
    }
}

/// The nearest number; of two as near the one with the even code.
fn nearest(numbers: &[f64], value: f64) -> f64 {
    let above = numbers.partition_point(|number| *number < value.abs());
    let high = above.min(numbers.len() - 1);
    let low = high.saturating_sub(1);
    let (to_low, to_high) = (value.abs() - numbers[low], numbers[high] - value.abs());
    let code = if to_low < to_high || to_low == to_high && low % 2 == 0 { low } else { high };
    numbers[code].copysign(value)
}

/// A matrix (rows of outputs) as it is after it has been stored.
fn stored(values: &[f32], width: usize, data_type: DataType) -> Vec<f32> {
    let numbers = numbers(data_type);
    let (along, across) = if data_type == DataType::Fp4 { (32, 1) } else { (128, 128) };
    let block = |index: usize| (index % width / along, index / width / across);
    let mut largest: BTreeMap<(usize, usize), f32> = BTreeMap::new();
    for (index, value) in values.iter().enumerate() {
        let most = largest.entry(block(index)).or_insert(0.0);
        *most = most.max(value.abs());
    }
    let scale = |index: usize| -> f32 {
        match (largest[&block(index)], data_type) {
            (most, DataType::Fp4) => 2f32.powi(most.log2().floor() as i32 - 2),
            (most, _) => most / *numbers.last().unwrap() as f32,
        }
    };
    let one = |(index, value): (usize, &f32)| {
        let scale = scale(index);
        (nearest(&numbers, f64::from(value / scale)) * f64::from(scale)) as f32
    };
    values.iter().enumerate().map(one).collect()
}

/// The checkpoint as it is written, and as it is when its matrices have been stored in a format, tables in 16 bit.
fn checkpoints(config: &str, data_type: DataType) -> [Checkpoint; 2] {
    let written = tensors(config, 11);
    let read = |tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>| {
        let tensors = Tensors::read(vec![("model.safetensors".into(), file(tensors))]).unwrap();
        Checkpoint::new(config, "config.json", tensors).unwrap()
    };
    let mut narrow = written.clone();
    for (name, (shape, values)) in &mut narrow {
        if name.contains("embed_tokens") {
            // Rows of the table are looked up, not multiplied: in 16 bit.
            values.iter_mut().for_each(|value| *value = f16::from_f32(*value).to_f32());
        } else if shape.len() == 2 && !name.ends_with("mlp.gate.weight") {
            *values = stored(values, shape[1], data_type);
        }
    }
    assert_ne!(written, narrow);
    [read(&written), read(&narrow)]
}

fn mapping(rewrites: impl IntoIterator<Item = Rewrite>) -> LayerMapping {
    let kv = KvMapping {
        columns_per_head: 3,
        dimension_split: 3,
        sequence_split: 1,
        head_copies: 1,
        ..KvMapping::published(1)
    };
    LayerMapping { kv, rewrites: Rewrites::from_iter(rewrites), ..LayerMapping::published(6, 5) }
}

fn compared(
    checkpoints: &[Checkpoint; 2],
    mapping: &LayerMapping,
    (weights, computed): (DataType, DataType),
    prefill: Prefill,
    tolerance: Tolerance,
) -> Comparison {
    let [written, narrow] = checkpoints;
    let precision = Precision {
        weights,
        small_weights: computed,
        kv_cache: computed,
        activations: computed,
        ..Precision::default()
    };
    let setup = Setup { mappings: vec![mapping.clone()], prefill, precision };
    let prompt = random_prompt(written.model.vocabulary, 7, 3);
    let placed = run(written, &setup, RunInput::new(&prompt, 3), |_, _| ()).unwrap();
    compare(&placed, &plain::run(narrow, &prompt, 3).unwrap(), tolerance)
}

/// Computed in 32 bit, a run differs from the equations by the order of sums alone: the tolerance of 32-bit weights
/// holds, and every expert and token is chosen alike.
#[test]
fn a_whole_model_with_narrow_weights_is_its_equations() {
    for data_type in [DataType::Fp8, DataType::Int8, DataType::Fp4] {
        for config in [common::TINY, SEVERAL_BLOCKS] {
            let checkpoints = checkpoints(config, data_type);
            for (name, mapping) in [
                ("published", mapping([])),
                ("fused", mapping([Rewrite::FusedNorms, Rewrite::InterleavedGateUp, Rewrite::AccumulatorsInPlace])),
                ("concatenated", mapping([Rewrite::ConcatenatedExperts, Rewrite::SinglePassTopK])),
            ] {
                for prefill in [Prefill::Tokens, Prefill::Chunk] {
                    let formats = (data_type, DataType::Fp32);
                    let comparison = compared(&checkpoints, &mapping, formats, prefill, Tolerance::FP32);
                    assert!(comparison.is_within(), "{data_type} {name} {prefill:?}: {}", outside(&comparison));
                }
            }
        }
    }
}

/// The stored weights are what the equations must be given: those of the checkpoint as it was written are as far away
/// as the format is coarse, which the comparison sees.
#[test]
fn weights_as_written_are_another_model() {
    for (data_type, least) in [(DataType::Fp8, 0.005), (DataType::Fp4, 0.03)] {
        let [written, again] = [0, 1].map(|_| checkpoints(common::TINY, data_type));
        let ([written, _], [again, _]) = (written, again);
        let both = [written, again];
        let formats = (data_type, DataType::Fp32);
        let comparison = compared(&both, &mapping([]), formats, Prefill::Tokens, Tolerance::FP32);
        assert!(!comparison.is_within());
        let output = comparison.of("attn_out").unwrap();
        assert!(output.relative > least, "{data_type}: {}", output.relative);
    }
}

/// In the format that machines compute in, with the tolerance of 16-bit weights.
#[test]
fn in_16_bit_it_stays_as_near_as_with_16_bit_weights() {
    for data_type in [DataType::Fp8, DataType::Fp4] {
        let checkpoints = checkpoints(common::TINY, data_type);
        for prefill in [Prefill::Tokens, Prefill::Chunk] {
            let tolerance = Tolerance::of_type(DataType::Fp16);
            let mapping = mapping([Rewrite::FusedNorms, Rewrite::OnlineSoftmax]);
            let comparison = compared(&checkpoints, &mapping, (data_type, DataType::Fp16), prefill, tolerance);
            assert!(comparison.is_within(), "{data_type} {prefill:?}: {}", outside(&comparison));
        }
    }
}
