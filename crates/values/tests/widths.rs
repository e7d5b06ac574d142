//! Widths of grouped heads that families differ in, placed against the equations in 64 bit: values narrower than keys
//! (MiMo-V2), values that are what the projection of keys makes (Gemma 4), queries from a compressed vector (Step-3).

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{TINY, TINY_DENSE, assert_as, assert_is_the_model, checkpoint_with};
use wafersim_mapping::{Append, KvMapping, LayerMapping, Rewrites};
use wafersim_spec::model::{Attention, GroupedAttention, HeadValues, QkNorm};
use wafersim_values::{Checkpoint, Prefill, plain, random_prompt};

fn changed(config: &str, seed: u64, change: impl Fn(&mut GroupedAttention)) -> Checkpoint {
    checkpoint_with(config, seed, |layer| {
        if let Attention::Grouped(grouped) = &mut layer.attention {
            change(grouped);
        }
    })
}

/// Each kind, with norms of heads and without, and as Step-3 and Gemma 4 have their heads.
fn kinds() -> Vec<(&'static str, Checkpoint)> {
    let narrow = |grouped: &mut GroupedAttention| grouped.values = HeadValues::Width(6);
    let of_keys = |grouped: &mut GroupedAttention| grouped.values = HeadValues::OfKeys;
    let compressed = |grouped: &mut GroupedAttention| {
        (grouped.query_rank, grouped.qk_norm) = (Some(20), QkNorm::None);
    };
    vec![
        ("narrow values", changed(TINY, 5, narrow)),
        ("values of keys", changed(TINY, 6, of_keys)),
        (
            "values of keys, a part rotated",
            changed(TINY, 7, |grouped| {
                of_keys(grouped);
                grouped.rotary_dim = 4;
            }),
        ),
        ("compressed queries", changed(TINY, 8, compressed)),
        (
            "compressed queries, one KV head",
            changed(TINY, 9, |grouped| {
                compressed(grouped);
                grouped.kv_heads = 1;
            }),
        ),
        (
            "wide values, sinks",
            changed(TINY, 10, |grouped| {
                (grouped.values, grouped.qk_norm, grouped.sinks) = (HeadValues::Width(12), QkNorm::None, true);
            }),
        ),
    ]
}

#[test]
fn widths_of_heads_are_the_equations() {
    for (what, checkpoint) in kinds() {
        for (region, [dimension_split, sequence_split, head_copies]) in
            [([4, 3], [2, 1, 1]), ([8, 3], [2, 2, 1]), ([9, 2], [1, 2, 2]), ([2, 2], [1, 1, 1])]
        {
            let columns_per_head = dimension_split * sequence_split * head_copies;
            let kv =
                KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, ..KvMapping::published(1) };
            for append in [Append::Shifted, Append::RoundRobin] {
                for rewrites in [Rewrites::NONE, Rewrites::ALL] {
                    let kv = KvMapping { append, ..kv };
                    let mapping = LayerMapping { kv, rewrites, ..LayerMapping::published(region[0], region[1]) };
                    assert_as(Prefill::Tokens, &format!("{what}, {kv:?} {rewrites:?}"), &checkpoint, &mapping);
                }
            }
        }
    }
}

#[test]
fn chunks_of_prompts_are_the_equations() {
    let of = |values, rank| {
        changed(TINY_DENSE, 11, |grouped| {
            (grouped.values, grouped.query_rank, grouped.qk_norm) = (values, rank, QkNorm::None);
            grouped.qkv_bias = rank.is_none();
        })
    };
    for (values, rank) in [
        (HeadValues::Width(6), None),
        (HeadValues::OfKeys, None),
        (HeadValues::Plain, Some(20)),
        (HeadValues::Width(4), Some(12)),
    ] {
        for (columns, rows) in [(4, 4), (6, 3), (2, 5)] {
            let kv = KvMapping::published(columns / 2);
            let mapping = LayerMapping { kv, ..LayerMapping::published(columns, rows) };
            assert_is_the_model(&format!("{values:?}, {rank:?}, {columns} x {rows}"), &of(values, rank), &mapping);
        }
    }
}

#[test]
fn each_is_another_result() {
    let prompt = random_prompt(41, 5, 7);
    let logits =
        |checkpoint: &Checkpoint| plain::run(checkpoint, &prompt, 1).unwrap().tensors["decode.logits"].values.clone();
    let as_it_is = logits(&changed(TINY, 6, |_| ()));
    for (what, checkpoint) in kinds() {
        assert_ne!(logits(&checkpoint), as_it_is, "{what}");
    }
}
