//! Models of other shapes, with random weights: placed against the equations in 64 bit. Sizes that no grid divides,
//! more heads than columns and more columns than heads, biases, tied tables, layers with and without experts.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{checkpoint, setup_on};
use proptest::prelude::*;
use wafersim_place::KvLayoutChoice;
use wafersim_spec::scenario::ExpertPlacement;
use wafersim_values::{Grid, Prefill, RunInput, Setup, Tolerance, compare, plain, random_prompt, run};

const CONFIGS: [&str; 6] = [
    // Qwen2: biases on q, k and v, tied tables.
    r#"{"model_type": "qwen2", "hidden_size": 30, "num_hidden_layers": 2, "num_attention_heads": 5, "num_key_value_heads": 1,
        "vocab_size": 37, "max_position_embeddings": 64, "intermediate_size": 23, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": true}"#,
    // Llama 3.1: scaled rotary embedding, biases everywhere.
    r#"{"model_type": "llama", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 3,
        "head_dim": 10, "vocab_size": 53, "max_position_embeddings": 64, "intermediate_size": 41, "rms_norm_eps": 1e-6,
        "attention_bias": true, "mlp_bias": true, "rope_theta": 500.0, "rope_scaling": {"rope_type": "llama3",
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}}"#,
    // Qwen3, dense, heads wider than the hidden size.
    r#"{"model_type": "qwen3", "hidden_size": 20, "num_hidden_layers": 1, "num_attention_heads": 14,
        "num_key_value_heads": 7, "head_dim": 6, "vocab_size": 29, "max_position_embeddings": 64,
        "intermediate_size": 31, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "attention_bias": false}"#,
    // Qwen3-MoE: weights that are not normalised, a dense layer among the sparse ones, experts that divide nothing.
    r#"{"model_type": "qwen3_moe", "hidden_size": 26, "num_hidden_layers": 3, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 8, "vocab_size": 41, "max_position_embeddings": 64,
        "intermediate_size": 19, "moe_intermediate_size": 11, "num_experts": 7, "num_experts_per_tok": 3,
        "norm_topk_prob": false, "decoder_sparse_step": 1, "mlp_only_layers": [1], "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": true}"#,
    // Every second layer sparse, one expert a token, biases.
    r#"{"model_type": "qwen3_moe", "hidden_size": 18, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 12, "vocab_size": 23, "max_position_embeddings": 64,
        "intermediate_size": 13, "moe_intermediate_size": 9, "num_experts": 5, "num_experts_per_tok": 1,
        "norm_topk_prob": true, "decoder_sparse_step": 2, "mlp_only_layers": [], "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "attention_bias": true}"#,
    // More experts than processing elements of a small grid.
    r#"{"model_type": "qwen3_moe", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 9,
        "num_key_value_heads": 3, "head_dim": 4, "vocab_size": 19, "max_position_embeddings": 64,
        "intermediate_size": 13, "moe_intermediate_size": 6, "num_experts": 16, "num_experts_per_tok": 4,
        "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": [], "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0}"#,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_model_on_any_grid_is_its_equations(
        which in 0..CONFIGS.len(),
        columns in 1u64..14,
        rows in 1u64..14,
        clustered in any::<bool>(),
        sequence in any::<bool>(),
        chunk in any::<bool>(),
        tokens in 1u64..18,
        seed in 0u64..1000,
    ) {
        let checkpoint = checkpoint(CONFIGS[which], seed);
        let grid = Grid {
            experts: if clustered { ExpertPlacement::Clustered } else { ExpertPlacement::Spread },
            kv: if sequence { KvLayoutChoice::DimensionSplit(1) } else { KvLayoutChoice::WholeBlock },
            ..Grid::published(columns, rows)
        };
        let prefill = if chunk { Prefill::Chunk } else { Prefill::Tokens };
        let setup = Setup { prefill, ..setup_on(&checkpoint.model, grid) };
        let prompt = random_prompt(checkpoint.model.vocabulary, tokens, seed);
        let plain = plain::run(&checkpoint, &prompt, 3).unwrap();
        let placed = run(&checkpoint, &setup, RunInput::new(&prompt, 3), |_, _| ()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let comparison = compare(&placed, &plain, Tolerance::FP32);
        prop_assert!(comparison.is_within(), "{:#?}", comparison);
    }
}
