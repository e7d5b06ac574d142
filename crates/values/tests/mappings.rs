//! A small Qwen3-MoE and a dense model under mappings: each decision alone, and several together, against the equations
//! in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{TINY, TINY_DENSE, assert_as, assert_is_the_model, checkpoint, outside, setup_of};
use wafersim_mapping::{Append, KvMapping, LayerMapping, Rewrite, Rewrites, Routes};
use wafersim_values::{Prefill, Tolerance, compare, plain, random_prompt, run_users};

/// Rewrites that decode layers are written with.
const WRITTEN: [Rewrite; 11] = [
    Rewrite::FusedNorms,
    Rewrite::RidingHeadNorm,
    Rewrite::DividedSoftmax,
    Rewrite::OnlineSoftmax,
    Rewrite::LocalMaximum,
    Rewrite::ConversionInStrips,
    Rewrite::InterleavedGateUp,
    Rewrite::AccumulatorsInPlace,
    Rewrite::SinglePassTopK,
    Rewrite::InterleavedQueryKeyValue,
    Rewrite::DividedActivation,
];

/// Splits of a KV head over columns: width, sequence, copies.
fn kv(dimension_split: u64, sequence_split: u64, head_copies: u64) -> KvMapping {
    let columns_per_head = dimension_split * sequence_split * head_copies;
    KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, ..KvMapping::published(1) }
}

fn mapping(columns: u64, rows: u64, kv: KvMapping) -> LayerMapping {
    LayerMapping { kv, ..LayerMapping::published(columns, rows) }
}

#[test]
fn rewrites_change_no_result() {
    for config in [TINY, TINY_DENSE] {
        let checkpoint = checkpoint(config, 3);
        let published = mapping(6, 5, kv(3, 1, 1));
        assert_is_the_model("published", &checkpoint, &published);
        for rewrite in WRITTEN {
            let mapping = LayerMapping { rewrites: Rewrites::from_iter([rewrite]), ..published.clone() };
            assert_is_the_model(rewrite.name(), &checkpoint, &mapping);
        }
        let all = LayerMapping { rewrites: Rewrites::from_iter(WRITTEN), routes: Routes::Static, ..published };
        assert_is_the_model("all of them", &checkpoint, &all);
    }
}

/// Every way to share out the columns of a head: a part alone, both, with copies; heads that lie in one column
/// together; columns left over.
#[test]
fn kv_layouts_change_no_result() {
    let checkpoint = checkpoint(TINY, 5);
    let together = KvMapping { heads_per_block: 2, ..kv(2, 3, 2) };
    for (columns, rows, kv) in [
        (8, 3, kv(4, 1, 1)),
        (8, 4, kv(1, 4, 1)),
        (8, 4, kv(1, 1, 4)),
        (8, 5, kv(2, 2, 1)),
        (13, 3, kv(2, 3, 1)),
        (13, 3, kv(3, 2, 1)),
        (12, 2, kv(1, 3, 2)),
        (12, 7, kv(3, 1, 2)),
        (17, 4, kv(2, 2, 2)),
        (14, 3, kv(7, 1, 1)),
        (14, 3, kv(1, 7, 1)),
        (15, 2, together),
        (2, 9, kv(1, 1, 1)),
        (1, 1, KvMapping { heads_per_block: 2, ..kv(1, 1, 1) }),
    ] {
        let alone = [Rewrites::NONE, Rewrites::from_iter(WRITTEN)];
        let alone = alone.into_iter().chain(WRITTEN[1..4].iter().map(|rewrite| Rewrites::from_iter([*rewrite])));
        for rewrites in alone {
            let mapping = LayerMapping { rewrites, ..mapping(columns, rows, kv) };
            let what = format!("{columns} x {rows}, {kv:?}, {rewrites:?}");
            assert_is_the_model(&what, &checkpoint, &mapping);
        }
    }
}

/// Several tokens in a step: a draft of one user, whose tokens see each other, and users with caches of their own.
#[test]
fn tokens_that_go_through_together_change_no_result() {
    let checkpoint = checkpoint(TINY, 9);
    let dealt = KvMapping { append: Append::RoundRobin, ..kv(2, 2, 1) };
    for (columns, rows, kv) in
        [(6, 2, kv(3, 1, 1)), (8, 3, kv(1, 4, 1)), (13, 4, kv(3, 2, 1)), (17, 2, kv(2, 2, 2)), (9, 3, dealt)]
    {
        for rewrites in [Rewrites::NONE, Rewrites::from_iter(WRITTEN)] {
            let mapping = LayerMapping { rewrites, ..mapping(columns, rows, kv) };
            let what = format!("{columns} x {rows}, {kv:?}, {rewrites:?}");
            for tokens in [2, 5] {
                assert_as(Prefill::Drafts(tokens), &what, &checkpoint, &mapping);
            }
            let setup = setup_of(&mapping, Prefill::Tokens);
            let prompts: Vec<Vec<u64>> =
                (0..3).map(|user| random_prompt(checkpoint.model.vocabulary, 5, 20 + user)).collect();
            let records = run_users(&checkpoint, &setup, &prompts, 2).unwrap_or_else(|error| panic!("{what}: {error}"));
            for (prompt, record) in prompts.iter().zip(&records) {
                let comparison = compare(record, &plain::run(&checkpoint, prompt, 2).unwrap(), Tolerance::FP32);
                assert!(comparison.is_within(), "{what}, users: {}", outside(&comparison));
            }
        }
    }
}
