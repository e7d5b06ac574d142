//! Small models of the family of DeepSeek-V3 with random weights, placed against the equations in 64 bit: latent
//! attention with compressed queries and without, under every way to share out the cache, each rewrite alone and all
//! together.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{assert_as, checkpoint, outside, precision, setup_of};
use wafersim_mapping::{Append, KvMapping, LayerMapping, Reduction, Rewrite, Rewrites, Routes};
use wafersim_spec::{DataType, Region};
use wafersim_values::{Checkpoint, Prefill, RunInput, Setup, Tolerance, compare, plain, random_prompt, run, run_users};

/// A dense layer, then experts with a shared one, chosen in groups by sigmoids with a correction.
const COMPRESSED: &str = r#"{"model_type": "deepseek_v3", "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 6, "num_key_value_heads": 6, "q_lora_rank": 20, "kv_lora_rank": 16, "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4, "v_head_dim": 5, "vocab_size": 41, "max_position_embeddings": 64, "intermediate_size": 24,
    "moe_intermediate_size": 12, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 1, "n_group": 4,
    "topk_group": 2, "norm_topk_prob": true, "routed_scaling_factor": 1.5, "scoring_func": "sigmoid",
    "topk_method": "noaux_tc", "first_k_dense_replace": 1, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "tie_word_embeddings": false}"#;

/// Queries that are not compressed, all layers dense.
const DIRECT: &str = r#"{"model_type": "deepseek_v3", "hidden_size": 26, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": null, "kv_lora_rank": 13, "qk_nope_head_dim": 7,
    "qk_rope_head_dim": 6, "v_head_dim": 4, "vocab_size": 37, "max_position_embeddings": 64, "intermediate_size": 22,
    "moe_intermediate_size": 12, "n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 1, "n_group": 4,
    "topk_group": 2, "first_k_dense_replace": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "tie_word_embeddings": false}"#;

/// Rewrites that find something to change.
const WRITTEN: [Rewrite; 9] = [
    Rewrite::FusedNorms,
    Rewrite::DividedSoftmax,
    Rewrite::OnlineSoftmax,
    Rewrite::LocalMaximum,
    Rewrite::EarlyRouter,
    Rewrite::SharedExpertBeside,
    Rewrite::ConcatenatedExperts,
    Rewrite::InterleavedGateUp,
    Rewrite::AccumulatorsInPlace,
];

/// Splits of the cache over columns: width, sequence, copies.
fn kv([dimension_split, sequence_split, head_copies]: [u64; 3]) -> KvMapping {
    let columns_per_head = dimension_split * sequence_split * head_copies;
    KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, ..KvMapping::published(1) }
}

fn mapping([columns, rows]: [u64; 2], kv: KvMapping) -> LayerMapping {
    LayerMapping { kv, ..LayerMapping::published(columns, rows) }
}

fn models() -> [Checkpoint; 2] {
    [checkpoint(COMPRESSED, 3), checkpoint(DIRECT, 4)]
}

#[test]
fn rewrites_change_no_result() {
    for checkpoint in models() {
        let published = mapping([6, 5], kv([6, 1, 1]));
        assert_as(Prefill::Tokens, "published", &checkpoint, &published);
        for rewrite in Rewrite::ALL {
            let mapping = LayerMapping { rewrites: Rewrites::from_iter([rewrite]), ..published.clone() };
            assert_as(Prefill::Tokens, rewrite.name(), &checkpoint, &mapping);
        }
        let mut norm_elsewhere = published.clone();
        norm_elsewhere.rectangles.insert("attention.norm".into(), Region::new(1, 1, 2, 4));
        assert_as(Prefill::Tokens, "a norm in a rectangle", &checkpoint, &norm_elsewhere);
        let all = LayerMapping { rewrites: Rewrites::ALL, routes: Routes::Static, ..published };
        assert_as(Prefill::Tokens, "all of them", &checkpoint, &all);
    }
}

/// Width, sequence and heads over columns, alone and together, columns left over, more columns than there is width.
#[test]
fn kv_layouts_change_no_result() {
    for checkpoint in models() {
        for (region, splits) in [
            ([4, 3], [4, 1, 1]),
            ([4, 4], [1, 4, 1]),
            ([4, 4], [1, 1, 4]),
            ([5, 5], [2, 2, 1]),
            ([13, 3], [2, 3, 2]),
            ([13, 3], [3, 2, 2]),
            ([12, 2], [1, 3, 4]),
            ([12, 7], [3, 1, 2]),
            ([9, 4], [3, 1, 3]),
            ([30, 2], [15, 2, 1]),
            ([1, 1], [1, 1, 1]),
        ] {
            for append in [Append::Shifted, Append::RoundRobin] {
                for rewrites in [Rewrites::NONE, Rewrites::from_iter(WRITTEN)] {
                    let mapping = LayerMapping { rewrites, ..mapping(region, KvMapping { append, ..kv(splits) }) };
                    let what = format!("{region:?}, {splits:?}, {append:?}, {rewrites:?}");
                    // Programs of prefill know neither.
                    if append == Append::Shifted && rewrites == Rewrites::NONE {
                        assert_as(Prefill::Chunk, &what, &checkpoint, &mapping);
                    }
                    assert_as(Prefill::Tokens, &what, &checkpoint, &mapping);
                }
            }
        }
    }
}

/// Several tokens in a step: a draft of one user, whose tokens see each other, and users with caches of their own.
#[test]
fn tokens_that_go_through_together_change_no_result() {
    for checkpoint in models() {
        let dealt = KvMapping { append: Append::RoundRobin, ..kv([2, 2, 2]) };
        for (region, kv) in
            [([6, 2], kv([6, 1, 1])), ([8, 3], kv([1, 2, 3])), ([13, 4], kv([3, 2, 2])), ([9, 3], dealt)]
        {
            for rewrites in [Rewrites::NONE, Rewrites::from_iter(WRITTEN)] {
                let mapping = LayerMapping { rewrites, ..mapping(region, kv) };
                let what = format!("{region:?}, {kv:?}, {rewrites:?}");
                assert_as(Prefill::Drafts(3), &what, &checkpoint, &mapping);
                let setup = setup_of(&mapping, Prefill::Tokens);
                let prompts: Vec<Vec<u64>> =
                    (0..3).map(|user| random_prompt(checkpoint.model.vocabulary, 4, 20 + user)).collect();
                let records = run_users(&checkpoint, &setup, &prompts, 2).unwrap();
                for (prompt, record) in prompts.iter().zip(&records) {
                    let comparison = compare(record, &plain::run(&checkpoint, prompt, 2).unwrap(), Tolerance::FP32);
                    assert!(comparison.is_within(), "{what}, users: {}", outside(&comparison));
                }
            }
        }
    }
}

/// Reductions of every kind along all lines.
#[test]
fn reductions_change_no_result() {
    use wafersim_mapping::{Groups, Reductions, Root, Tree};
    let checkpoint = checkpoint(COMPRESSED, 8);
    let tree = |sizes: &[u64], root| Tree { groups: Groups::Sizes(sizes.to_vec()), root };
    for whole in [
        Reduction::Tree(tree(&[2, 2], Root::Middle)),
        Reduction::Tree(tree(&[3], Root::Index(5))),
        Reduction::Chain { root: Root::Middle },
        Reduction::ReduceScatter,
        Reduction::SplitRoots { roots: 2, tree: tree(&[3], Root::Middle) },
    ] {
        let segments = if matches!(whole, Reduction::SplitRoots { .. }) { &Reduction::PUBLISHED } else { &whole };
        let mut reductions = Reductions::all(&whole);
        for line in [&mut reductions.head, &mut reductions.width, &mut reductions.sequence] {
            line.clone_from(segments);
        }
        for rewrites in [Rewrites::NONE, Rewrites::from_iter(WRITTEN)] {
            let reductions = reductions.clone();
            let mapping = LayerMapping { reductions, rewrites, ..mapping([13, 7], kv([3, 2, 2])) };
            assert_as(Prefill::Tokens, &format!("{whole:?}"), &checkpoint, &mapping);
        }
    }
}

/// Weights in 8 and 4 bit, whose scales follow the parts of the heads' matrices.
#[test]
fn weights_may_be_stored_narrow() {
    for data_type in [DataType::Fp8, DataType::Int8, DataType::Fp4] {
        for checkpoint in models() {
            for (region, splits) in [([5, 4], [5, 1, 1]), ([13, 3], [2, 3, 2])] {
                let wide = precision(DataType::Fp32);
                let setup = Setup {
                    mappings: vec![mapping(region, kv(splits))],
                    prefill: Prefill::Tokens,
                    precision: wafersim_spec::Precision { weights: data_type, ..wide },
                };
                let prompt = random_prompt(checkpoint.model.vocabulary, 5, 2);
                let plain = plain::run(&checkpoint.stored_in(data_type).unwrap(), &prompt, 2).unwrap();
                let placed = run(&checkpoint, &setup, RunInput::new(&prompt, 2), |_, _| ()).unwrap();
                let comparison = compare(&placed, &plain, Tolerance::FP32);
                assert!(comparison.is_within(), "{data_type:?}, {splits:?}: {}", outside(&comparison));
            }
        }
    }
}
