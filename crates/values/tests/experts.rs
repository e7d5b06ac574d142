//! Routers, experts, shared experts and their rewrites, spread and in rectangles, against the equations in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{TINY, checkpoint, checkpoint_with, outside, precision, setup_of, under};
use proptest::prelude::*;
use wafersim_mapping::{
    ExpertMapping, KvMapping, LayerMapping, Overlap, Reduction, Rewrite, Rewrites, Root, Routes, Tree,
};
use wafersim_spec::model::{FeedForward, Gating, Layer, Moe, Role, Scoring, Selection};
use wafersim_spec::{DataType, Precision};
use wafersim_values::{
    Checkpoint, Prefill, Record, RunInput, Setup, Tolerance, compare, plain, random_prompt, run, run_users,
};

/// Rewrites of routers and networks.
const REWRITES: [Rewrite; 11] = [
    Rewrite::FusedNorms,
    Rewrite::EarlyRouter,
    Rewrite::SingleChoice,
    Rewrite::SinglePassTopK,
    Rewrite::InterleavedGateUp,
    Rewrite::ConcatenatedExperts,
    Rewrite::SharedExpertBeside,
    Rewrite::AccumulatorsInPlace,
    Rewrite::DividedActivation,
    Rewrite::ChoiceBesideStream,
    Rewrite::NormBesideChoice,
];

fn mapping(columns: u64, rows: u64) -> LayerMapping {
    let kv = KvMapping { columns_per_head: 2, dimension_split: 2, sequence_split: 1, ..KvMapping::published(1) };
    LayerMapping { kv, ..LayerMapping::published(columns, rows) }
}

fn cells(across: u64, down: u64, homes: Vec<Vec<u16>>) -> Option<ExpertMapping> {
    Some(ExpertMapping { across, down, homes, ..ExpertMapping::spread(u64::MAX) })
}

/// Homes of six experts in cells, in the ways of the strategies.
fn clusterings() -> Vec<(&'static str, Option<ExpertMapping>)> {
    vec![
        ("spread", None),
        ("clustered", cells(3, 2, Vec::new())),
        ("one row of rectangles", cells(4, 1, Vec::new())),
        ("one column of rectangles", cells(1, 4, Vec::new())),
        ("linear", cells(2, 1, vec![vec![0], vec![0], vec![0], vec![1], vec![1], vec![1]])),
        ("round robin, two in a rectangle", cells(1, 3, Vec::new())),
        ("replicated", cells(2, 2, vec![vec![0, 3], vec![1], vec![2, 1], vec![3], vec![0], vec![2]])),
        ("all in one of four", cells(2, 2, vec![vec![2]; 6])),
    ]
}

/// What the router and the experts of different families are like.
fn families() -> Vec<(&'static str, Checkpoint)> {
    let moe = |change: fn(&mut Moe)| {
        move |layer: &mut Layer| {
            if let FeedForward::Moe(moe) = &mut layer.feed_forward {
                change(moe);
            }
        }
    };
    let with = |change: fn(&mut Moe)| checkpoint_with(TINY, 11, moe(change));
    vec![
        ("Qwen3", checkpoint(TINY, 11)),
        ("not normalised", with(|moe| moe.selection = Selection::softmax(false))),
        (
            "GLM",
            with(|moe| {
                moe.shared_width = 10;
                moe.router_bias = true;
                moe.selection =
                    Selection { scoring: Scoring::Sigmoid, corrected: true, scale: 2.5, ..Selection::softmax(true) };
            }),
        ),
        (
            "DeepSeek",
            with(|moe| {
                moe.shared_width = 7;
                moe.router_bias = true;
                moe.selection = Selection {
                    scoring: Scoring::Sigmoid,
                    corrected: true,
                    scale: 2.5,
                    groups: 3,
                    kept_groups: 2,
                    ..Selection::softmax(true)
                };
            }),
        ),
        (
            "Llama 4",
            with(|moe| {
                moe.top_k = 1;
                moe.shared_width = 12;
                moe.selection =
                    Selection { scoring: Scoring::Sigmoid, weighs_input: true, ..Selection::softmax(false) };
            }),
        ),
        (
            "gpt-oss",
            with(|moe| {
                (moe.expert_bias, moe.router_bias) = (true, true);
                moe.gating = Gating::Clamped { alpha: 1.702, limit: 0.7 };
            }),
        ),
    ]
}

/// Two tokens and three steps, which must be the model's.
fn check(what: &str, checkpoint: &Checkpoint, mapping: &LayerMapping) -> Result<(), String> {
    let comparison = under(checkpoint, mapping, Prefill::Tokens, 2).map_err(|error| format!("{what}: {error}"))?;
    if comparison.is_within() { Ok(()) } else { Err(format!("{what}: {}", outside(&comparison))) }
}

#[test]
fn every_selection_is_the_model_s() {
    for (name, checkpoint) in families() {
        for (how, experts) in clusterings() {
            let mapping = LayerMapping { experts, ..mapping(7, 5) };
            check(&format!("{name}, {how}"), &checkpoint, &mapping).unwrap();
        }
    }
}

/// A prompt as one chunk: tokens go to the experts as in decode, those of a rectangle fetch who chose them.
#[test]
fn a_prompt_s_experts_are_the_model_s() {
    for (name, checkpoint) in families() {
        for (how, experts) in clusterings() {
            for (rewrites, columns, rows) in [(Rewrites::NONE, 7, 5), (Rewrites::from_iter(REWRITES), 5, 8)] {
                let mapping = LayerMapping { experts: experts.clone(), rewrites, ..mapping(columns, rows) };
                let comparison = under(&checkpoint, &mapping, Prefill::Chunk, 9).unwrap();
                assert!(comparison.is_within(), "{name}, {how}, {rewrites:?}: {}", outside(&comparison));
            }
        }
    }
}

#[test]
fn every_rewrite_alone_is_the_model_s() {
    for (name, checkpoint) in families() {
        for rewrite in REWRITES {
            for (how, experts) in clusterings().into_iter().take(2) {
                let rewrites = Rewrites::from_iter([rewrite]);
                let mapping = LayerMapping { experts, rewrites, ..mapping(7, 5) };
                check(&format!("{name}, {how}, {rewrite}"), &checkpoint, &mapping).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any rewrites together, on grids that nothing divides, for every family and clustering.
    #[test]
    fn any_rewrites_together_are_the_model_s(
        family in 0..families().len(),
        clustering in 0..clusterings().len(),
        chosen in 0u32..256,
        columns in 4u64..14,
        rows in 4u64..14,
        sequence in 1u64..3,
        (conversion, independent, fixed) in any::<(bool, bool, bool)>(),
        reduction in 0..4usize,
    ) {
        let (name, checkpoint) = families().swap_remove(family);
        let (how, experts) = clusterings().swap_remove(clustering);
        let among = REWRITES.into_iter().zip(0..).filter(|(_, bit)| chosen >> bit & 1 == 1);
        let rewrites: Rewrites = among.map(|(rewrite, _)| rewrite).collect();
        let (columns_per_head, dimension_split) = (columns / 2, columns / 2 / sequence);
        let kv = KvMapping {
            columns_per_head,
            dimension_split,
            sequence_split: sequence,
            ..KvMapping::published(1)
        };
        let overlap = Overlap { conversion, independent };
        let routes = if fixed { Routes::Static } else { Routes::Changed };
        let mut mapping = LayerMapping { experts, rewrites, kv, overlap, routes, ..mapping(columns, rows) };
        let reduction = [
            Reduction::PUBLISHED,
            Reduction::Chain { root: Root::Index(2) },
            Reduction::ReduceScatter,
            Reduction::SplitRoots { roots: 3, tree: Tree::PUBLISHED },
        ][reduction].clone();
        let lines = &mut mapping.reductions;
        for line in [&mut lines.x, &mut lines.y, &mut lines.cell_x, &mut lines.cell_y] {
            line.clone_from(&reduction);
        }
        let what = format!("{name}, {how}, {:?}, {reduction:?}", rewrites.iter().collect::<Vec<_>>());
        check(&what, &checkpoint, &mapping).map_err(TestCaseError::fail)?;
    }
}

/// Weights in 8 and 4 bit, converted in the tiles, in fp32 otherwise: the numbers of the model that is stored so.
/// Blocks of 128 and 32 inputs begin in the middle of tiles.
#[test]
fn stored_weights_are_converted_where_they_lie() {
    for data_type in [DataType::Fp8, DataType::Int8, DataType::Fp4] {
        for (name, checkpoint) in families().into_iter().chain([("wide", wide())]) {
            let stored = checkpoint.stored_in(data_type).unwrap();
            for rewrites in [Rewrites::NONE, Rewrites::from_iter(REWRITES)] {
                for (how, experts) in clusterings().into_iter().take(2) {
                    let mut mapping = LayerMapping { experts, rewrites, ..mapping(7, 5) };
                    mapping.stored.insert(Role::ExpertDown, DataType::Fp32);
                    mapping.overlap = Overlap { conversion: true, independent: false };
                    let setup = Setup {
                        precision: Precision { weights: data_type, ..precision(DataType::Fp32) },
                        ..setup_of(&mapping, Prefill::Tokens)
                    };
                    let prompt = random_prompt(checkpoint.model.vocabulary, 2, 7);
                    let plain = plain::run(&stored, &prompt, 2).unwrap();
                    let placed = run(&stored, &setup, RunInput::new(&prompt, 2), |_, _| ()).unwrap();
                    let comparison = compare(&placed, &plain, Tolerance::FP32);
                    assert!(comparison.is_within(), "{name}, {how}, {data_type:?}: {}", outside(&comparison));
                    // The stored model is another one: the first logits tell.
                    let other = plain::run(&checkpoint, &prompt, 0).unwrap();
                    let logits = |record: &Record| record.tensors["prefill.logits"].values[0];
                    assert!((logits(&other) - logits(&plain)).abs() > 1e-4, "{name}, {data_type:?}");
                }
            }
        }
    }
}

/// Matrices wider than a block of scales.
fn wide() -> Checkpoint {
    let config = TINY
        .replace("\"hidden_size\": 32", "\"hidden_size\": 150")
        .replace("\"moe_intermediate_size\": 12", "\"moe_intermediate_size\": 140");
    checkpoint(&config, 5)
}

/// Several tokens in a step: a draft of one user, and users with caches of their own. Each chooses for itself; experts
/// that several choose, in one rectangle or in several with copies, see them all.
#[test]
fn tokens_of_a_step_choose_each_for_itself() {
    for (name, checkpoint) in families() {
        for (how, experts) in [0, 1, 6, 7].map(|index| clusterings().swap_remove(index)) {
            for rewrites in [Rewrites::NONE, Rewrites::from_iter(REWRITES)] {
                let mapping = LayerMapping { experts: experts.clone(), rewrites, ..mapping(7, 5) };
                let what = format!("{name}, {how}, {rewrites:?}");
                let drafts = under(&checkpoint, &mapping, Prefill::Drafts(3), 6).unwrap();
                assert!(drafts.is_within(), "{what}: {}", outside(&drafts));
                let prompts: Vec<Vec<u64>> =
                    (0..4).map(|user| random_prompt(checkpoint.model.vocabulary, 2, 20 + user)).collect();
                let setup = setup_of(&mapping, Prefill::Tokens);
                let records = run_users(&checkpoint, &setup, &prompts, 1).unwrap();
                for (prompt, record) in prompts.iter().zip(&records) {
                    let plain = plain::run(&checkpoint, prompt, 1).unwrap();
                    let comparison = compare(record, &plain, Tolerance::FP32);
                    assert!(comparison.is_within(), "{what}: {}", outside(&comparison));
                }
            }
        }
    }
}
