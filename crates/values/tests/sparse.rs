//! Small models of the family of DeepSeek-V3.2 and GLM-5 with random weights: the indexer, the choice of tokens and
//! attention over them, placed against the equations in 64 bit; and against what the `transformers` package (5.24, in
//! 64 bit) makes of the same weights (`tests/fixtures`: one dense layer, 4 of up to 15 tokens looked at).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{assert_as, checkpoint, outside, setup_of};
use wafersim_mapping::{Append, KvMapping, LayerMapping, Rewrite, Rewrites};
use wafersim_values::{
    Checkpoint, Prefill, RunInput, Tensors, Tolerance, compare, plain, random_prompt, run, run_users,
};

/// Of nine tokens and three steps each looks at `top_k`.
fn config(family: &str, top_k: u64) -> String {
    format!(
        r#"{{"model_type": "{family}", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 6,
        "num_key_value_heads": 6, "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 6, "qk_rope_head_dim": 4,
        "v_head_dim": 5, "vocab_size": 41, "max_position_embeddings": 64, "intermediate_size": 24,
        "moe_intermediate_size": 12, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 1,
        "n_group": 1, "topk_group": 1, "norm_topk_prob": true, "routed_scaling_factor": 1.5, "first_k_dense_replace": 1,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": false, "index_n_heads": 7,
        "index_head_dim": 10, "index_topk": {top_k}}}"#
    )
}

fn models() -> [Checkpoint; 2] {
    [checkpoint(&config("deepseek_v32", 4), 3), checkpoint(&config("glm_moe_dsa", 6), 4)]
}

/// Splits of the cache over columns: width, sequence, copies.
fn kv([dimension_split, sequence_split, head_copies]: [u64; 3]) -> KvMapping {
    let columns_per_head = dimension_split * sequence_split * head_copies;
    KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, ..KvMapping::published(1) }
}

fn mapping([columns, rows]: [u64; 2], kv: KvMapping) -> LayerMapping {
    LayerMapping { kv, ..LayerMapping::published(columns, rows) }
}

#[test]
fn layouts_and_rewrites_change_no_result() {
    for checkpoint in models() {
        for (region, splits) in [
            ([4, 3], [4, 1, 1]),
            ([4, 4], [1, 4, 1]),
            ([4, 4], [1, 1, 4]),
            ([13, 3], [2, 3, 2]),
            ([9, 4], [3, 1, 3]),
            ([1, 1], [1, 1, 1]),
        ] {
            for append in [Append::Shifted, Append::RoundRobin] {
                for rewrites in [Rewrites::NONE, Rewrites::ALL] {
                    let mapping = LayerMapping { rewrites, ..mapping(region, KvMapping { append, ..kv(splits) }) };
                    let what = format!("{region:?}, {splits:?}, {append:?}, {rewrites:?}");
                    assert_as(Prefill::Tokens, &what, &checkpoint, &mapping);
                }
            }
        }
    }
}

#[test]
fn each_rewrite_alone_changes_no_result() {
    let [checkpoint, _] = models();
    for rewrite in Rewrite::ALL {
        let mapping = LayerMapping { rewrites: Rewrites::from_iter([rewrite]), ..mapping([6, 5], kv([6, 1, 1])) };
        assert_as(Prefill::Tokens, rewrite.name(), &checkpoint, &mapping);
    }
}

/// Tokens of a draft choose for themselves and do not see later ones; users choose among their own.
#[test]
fn tokens_that_go_through_together_change_no_result() {
    for checkpoint in models() {
        for (region, kv) in [([6, 2], kv([6, 1, 1])), ([8, 3], kv([1, 2, 3])), ([13, 4], kv([3, 2, 2]))] {
            let mapping = mapping(region, kv);
            let what = format!("{region:?}, {kv:?}");
            assert_as(Prefill::Drafts(3), &what, &checkpoint, &mapping);
            let prompts: Vec<Vec<u64>> =
                (0..3).map(|user| random_prompt(checkpoint.model.vocabulary, 7, 20 + user)).collect();
            let records = run_users(&checkpoint, &setup_of(&mapping, Prefill::Tokens), &prompts, 2).unwrap();
            for (prompt, record) in prompts.iter().zip(&records) {
                let comparison = compare(record, &plain::run(&checkpoint, prompt, 2).unwrap(), Tolerance::FP32);
                assert!(comparison.is_within(), "{what}, users: {}", outside(&comparison));
            }
        }
    }
}

/// The choice matters: with as many tokens as there are the model says something else.
#[test]
fn fewer_tokens_are_another_result() {
    let prompt = random_prompt(41, 12, 7);
    let logits = |top_k: u64| {
        let record = plain::run(&checkpoint(&config("deepseek_v32", top_k), 3), &prompt, 1).unwrap();
        record.tensors["decode.logits"].values.clone()
    };
    assert_ne!(logits(4), logits(12));
    assert_eq!(logits(13), logits(40));
}

/// The programs of a prompt in one chunk have no indexer, and say so.
#[test]
fn a_prompt_in_one_chunk_is_refused() {
    let [checkpoint, _] = models();
    let setup = setup_of(&mapping([6, 5], kv([6, 1, 1])), Prefill::Chunk);
    let error = run(&checkpoint, &setup, RunInput::new(&[1, 2, 3], 1), |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("no indexer"), "{error}");
}

/// Logits after the prompt, and what is generated, are those of the package's own model.
#[test]
fn the_package_computes_the_same() {
    #[derive(serde::Deserialize)]
    struct Reference {
        ids: Vec<u64>,
        logits: Vec<f64>,
        #[serde(rename = "gen")]
        generated: Vec<u64>,
    }
    for (config, weights, reference) in [
        (
            include_str!("fixtures/tiny_deepseek_v32/config.json"),
            include_bytes!("fixtures/tiny_deepseek_v32/model.safetensors").as_slice(),
            include_str!("fixtures/tiny_deepseek_v32/reference.json"),
        ),
        (
            include_str!("fixtures/tiny_glm_moe_dsa/config.json"),
            include_bytes!("fixtures/tiny_glm_moe_dsa/model.safetensors").as_slice(),
            include_str!("fixtures/tiny_glm_moe_dsa/reference.json"),
        ),
    ] {
        let tensors = Tensors::read(vec![("model.safetensors".into(), weights.to_vec())]).unwrap();
        let checkpoint = Checkpoint::new(config, "config.json", tensors).unwrap();
        let reference: Reference = serde_json::from_str(reference).unwrap();
        let setup = setup_of(&mapping([5, 3], kv([5, 1, 1])), Prefill::Tokens);
        let steps = reference.generated.len() as u64;
        let placed = run(&checkpoint, &setup, RunInput::new(&reference.ids, steps), |_, _| ()).unwrap();
        for record in [placed, plain::run(&checkpoint, &reference.ids, steps).unwrap()] {
            assert_eq!(record.generated, reference.generated);
            let logits = &record.tensors["prefill.logits"].values;
            let last = &logits[logits.len() - reference.logits.len()..];
            for (ours, theirs) in last.iter().zip(&reference.logits) {
                assert!((ours - theirs).abs() < 1e-4, "{ours} {theirs}");
            }
        }
    }
}
