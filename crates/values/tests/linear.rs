//! Gated linear attention as placed, against the equations in 64 bit: layouts, users, several tokens of a user in a
//! step, rewrites; and how checkpoints hold its tensors.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use std::collections::BTreeMap;

use common::{assert_as, checkpoint, file, outside, precision, tensors};
use wafersim_mapping::{Rewrite, Rewrites};
use wafersim_place::KvLayoutChoice;
use wafersim_spec::{DataType, Model};
use wafersim_values::{
    Checkpoint, Grid, Prefill, RunInput, Setup, Tensors, Tolerance, compare, plain, random_prompt, run, run_users,
};

/// A small Qwen3-Next: a layer of linear attention, one with a gate behind attention; experts with a shared one.
const TINY: &str = r#"{"model_type": "qwen3_next", "hidden_size": 24, "num_hidden_layers": 2,
    "full_attention_interval": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "partial_rotary_factor": 0.25, "rope_theta": 10000.0, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 8, "linear_value_head_dim": 6, "linear_conv_kernel_dim": 4, "intermediate_size": 20,
    "moe_intermediate_size": 10, "num_experts": 6, "num_experts_per_tok": 2, "shared_expert_intermediate_size": 14,
    "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [], "vocab_size": 41,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": false}"#;

/// A checkpoint with random weights; gains that are stored less one lie about 0.
fn tiny(seed: u64) -> Checkpoint {
    let mut all = tensors(TINY, seed);
    for (name, (_, values)) in &mut all {
        let is_behind_the_state = name.ends_with("linear_attn.norm.weight");
        if name.ends_with("norm.weight") && !is_behind_the_state {
            values.iter_mut().for_each(|gain| *gain -= 1.0);
        }
    }
    let tensors = Tensors::read(vec![("model.safetensors".into(), file(&all))]).unwrap();
    Checkpoint::new(TINY, "config.json", tensors).unwrap()
}

fn grid(columns: u64, rows: u64, split: u64) -> Grid {
    Grid { kv: KvLayoutChoice::DimensionSplit(split), ..Grid::published(columns, rows) }
}

/// Every layer by its own mapping, in fp32.
fn assert_on(grid: Grid, prefill: Prefill, tokens: u64) {
    let checkpoint = tiny(3);
    let mappings = grid.mappings(&checkpoint.model);
    let setup = Setup { mappings, prefill, precision: precision(DataType::Fp32) };
    let prompt = random_prompt(checkpoint.model.vocabulary, tokens, 7);
    let plain = plain::run(&checkpoint, &prompt, 3).unwrap();
    let placed = run(&checkpoint, &setup, RunInput::new(&prompt, 3), |_, _| ())
        .unwrap_or_else(|error| panic!("{grid:?}: {error}"));
    let comparison = compare(&placed, &plain, Tolerance::FP32);
    assert!(comparison.is_within(), "{grid:?} {prefill:?}: {}", outside(&comparison));
    assert!(comparison.deviations.iter().any(|deviation| deviation.kind == "state" && deviation.magnitude > 0.1));
}

#[test]
fn a_placed_state_is_the_equations() {
    // One column for both heads; a block of one column; groups that share values, with and without rests; more rows
    // than values.
    for (columns, rows, split) in [(1, 3, 1), (2, 5, 1), (6, 4, 3), (8, 5, 2), (9, 3, 4), (13, 14, 3), (12, 2, 6)] {
        assert_on(grid(columns, rows, split), Prefill::Tokens, 6);
    }
}

#[test]
fn several_tokens_of_a_user_go_one_after_the_other() {
    for (columns, rows, split) in [(6, 4, 3), (8, 5, 2)] {
        assert_on(grid(columns, rows, split), Prefill::Drafts(3), 8);
    }
}

#[test]
fn rewrites_change_nothing() {
    let single = Rewrite::ALL.into_iter().map(|rewrite| Rewrites::NONE.with(rewrite, true));
    for rewrites in single.chain([Rewrites::ALL]) {
        assert_on(Grid { rewrites, ..grid(8, 5, 2) }, Prefill::Tokens, 5);
    }
}

#[test]
fn users_have_states_of_their_own() {
    let checkpoint = tiny(3);
    let mappings = Grid { rewrites: Rewrites::ALL, ..grid(8, 5, 2) }.mappings(&checkpoint.model);
    let setup = Setup { mappings, prefill: Prefill::Tokens, precision: precision(DataType::Fp32) };
    let prompts: Vec<Vec<u64>> = (0..3).map(|seed| random_prompt(41, 5, seed)).collect();
    let placed = run_users(&checkpoint, &setup, &prompts, 2).unwrap();
    for (prompt, placed) in prompts.iter().zip(placed) {
        let plain = plain::run(&checkpoint, prompt, 2).unwrap();
        let comparison = compare(&placed, &plain, Tolerance::FP32);
        assert!(comparison.is_within(), "{}", outside(&comparison));
    }
}

/// The shared expert's gate alone.
#[test]
fn the_gate_of_a_shared_expert_multiplies_what_it_makes() {
    let config = r#"{"model_type": "qwen2_moe", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 20, "moe_intermediate_size": 10, "num_experts": 6,
        "num_experts_per_tok": 2, "shared_expert_intermediate_size": 14, "norm_topk_prob": false, "vocab_size": 41,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-6}"#;
    let checkpoint = checkpoint(config, 5);
    for rewrites in [Rewrites::NONE, Rewrites::ALL, Rewrites::NONE.with(Rewrite::SharedExpertBeside, true)] {
        let mapping = Grid { rewrites, ..Grid::published(6, 4) }.mappings(&checkpoint.model).remove(0);
        assert_as(Prefill::Tokens, "qwen2_moe", &checkpoint, &mapping);
    }
}

/// What checkpoints hold together is taken apart, and gains that are stored less one are made whole.
#[test]
fn packed_tensors_are_the_same_model() {
    let model = Model::from_config_json(TINY, "config.json").unwrap();
    let apart = tensors(TINY, 11);
    let mut packed: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    let mut taken: Vec<String> = Vec::new();
    let mut pack = |name: String, parts: &[(String, usize)], heads: usize| {
        let mut rows = Vec::new();
        for head in 0..heads {
            for (part, size) in parts {
                let (_, values) = &apart[part];
                rows.extend_from_slice(&values[head * size * 24..(head + 1) * size * 24]);
            }
        }
        packed.insert(name, (vec![rows.len() / 24, 24], rows));
        taken.extend(parts.iter().map(|(part, _)| part.clone()));
    };
    {
        let layer = 0;
        let name = |name: &str| format!("model.layers.{layer}.linear_attn.{name}.weight");
        let parts = [("in_proj_q", 8), ("in_proj_k", 8), ("in_proj_v", 12), ("in_proj_z", 12)];
        pack(name("in_proj_qkvz"), &parts.map(|(part, size)| (name(part), size)), 2);
        pack(name("in_proj_ba"), &[(name("in_proj_b"), 2), (name("in_proj_a"), 2)], 2);
    }
    {
        let layer = 1;
        let name = |name: &str| format!("model.layers.{layer}.self_attn.{name}.weight");
        pack(name("q_proj"), &[(name("q_proj"), 8), (name("gate_proj"), 8)], 4);
    }
    for (name, (shape, values)) in &apart {
        if !taken.contains(name) {
            let shape = if name.ends_with("conv1d.weight") { vec![shape[0], 1, shape[1]] } else { shape.clone() };
            packed.insert(name.clone(), (shape, values.clone()));
        }
    }
    let read = |tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>| {
        let tensors = Tensors::read(vec![("model.safetensors".into(), file(tensors))]).unwrap();
        Checkpoint::new(TINY, "config.json", tensors).unwrap()
    };
    let prompt = random_prompt(41, 4, 1);
    let [together, apart] = [&packed, &apart].map(|tensors| plain::run(&read(tensors), &prompt, 2).unwrap());
    assert!(model.centred_gains && together == apart);
}
