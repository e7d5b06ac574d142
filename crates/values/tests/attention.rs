//! Parts of attention that not every family has, under mappings, against the equations in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{TINY, TINY_DENSE, assert_as, checkpoint, checkpoint_with};
use wafersim_mapping::{Append, Groups, KvMapping, LayerMapping, Reduction, Reductions, Rewrite, Rewrites, Root, Tree};
use wafersim_spec::model::{Attention, GroupedAttention, Layer, Reach};
use wafersim_values::{Checkpoint, Prefill};

/// Rewrites of attention.
const OURS: [Rewrite; 5] = [
    Rewrite::FusedNorms,
    Rewrite::RidingHeadNorm,
    Rewrite::OnlineSoftmax,
    Rewrite::LocalMaximum,
    Rewrite::DividedSoftmax,
];

const APPENDS: [Append; 2] = [Append::Shifted, Append::RoundRobin];

/// Splits of a KV head over columns: width, sequence, copies.
fn kv(dimension_split: u64, sequence_split: u64, head_copies: u64, append: Append) -> KvMapping {
    let columns_per_head = dimension_split * sequence_split * head_copies;
    KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, append, ..KvMapping::published(1) }
}

fn attention(config: &str, seed: u64, change: impl Fn(&mut GroupedAttention)) -> Checkpoint {
    checkpoint_with(config, seed, |layer: &mut Layer| {
        if let Attention::Grouped(grouped) = &mut layer.attention {
            change(grouped);
        }
    })
}

/// Runs a model with few and with many columns for a head, both appends, with and without the rewrites.
fn holds(what: &str, checkpoint: &Checkpoint) {
    for (columns, rows, splits) in [(7, 3, [3, 1, 1]), (13, 4, [2, 3, 1]), (17, 2, [2, 2, 2])] {
        for append in APPENDS {
            for rewrites in [Rewrites::NONE, OURS.into_iter().collect()] {
                let [dims, groups, copies] = splits;
                let published = LayerMapping::published(columns, rows);
                let mapping = LayerMapping { kv: kv(dims, groups, copies, append), rewrites, ..published };
                let what = format!("{what}, {columns} x {rows}, {splits:?}, {append:?}, {rewrites:?}");
                for prefill in [Prefill::Tokens, Prefill::Drafts(3)] {
                    assert_as(prefill, &what, checkpoint, &mapping);
                }
            }
        }
    }
}

#[test]
fn tokens_are_shifted_or_dealt_to_the_rows() {
    holds("a whole sequence", &checkpoint(TINY, 3));
}

#[test]
fn windows_and_chunks_forget() {
    for reach in [Reach::Window(5), Reach::Window(4), Reach::Chunk(4), Reach::Window(1)] {
        holds(&format!("{reach:?}"), &attention(TINY_DENSE, 4, |grouped| grouped.reach = reach));
    }
}

#[test]
fn sinks_join_the_softmax() {
    holds("sinks", &attention(TINY_DENSE, 6, |grouped| grouped.sinks = true));
    let both = |grouped: &mut GroupedAttention| (grouped.sinks, grouped.reach) = (true, Reach::Window(6));
    holds("sinks and a window", &attention(TINY_DENSE, 7, both));
}

#[test]
fn part_of_a_head_is_rotated_or_nothing() {
    for rotary_dim in [0, 2, 4, 6] {
        holds(&format!("{rotary_dim} of 8"), &attention(TINY_DENSE, 8, |grouped| grouped.rotary_dim = rotary_dim));
    }
    let no_norm = |grouped: &mut GroupedAttention| {
        (grouped.rotary_dim, grouped.qk_norm) = (4, wafersim_spec::model::QkNorm::None)
    };
    holds("4 of 8, no norms of heads", &attention(TINY_DENSE, 9, no_norm));
}

#[test]
fn branches_are_normed_before_they_are_added() {
    for norms in [3, 4] {
        for config in [TINY, TINY_DENSE] {
            holds(&format!("{norms} norms"), &checkpoint_with(config, 10, |layer| layer.norms = norms));
        }
    }
}

/// Sums travel by deep trees, to roots anywhere, by chains, in pieces, to several roots.
#[test]
fn reductions_change_no_result() {
    let checkpoint = checkpoint(TINY, 5);
    let tree = |groups, root| Tree { groups, root };
    let (sizes, middle) = (Groups::Sizes(vec![2, 3]), Root::Middle);
    let deep = Reduction::Tree(tree(Groups::Sizes(vec![2, 2, 2]), middle));
    for (what, whole, segments) in [
        ("deep trees", deep.clone(), deep.clone()),
        ("a root at the start", Reduction::Tree(tree(sizes.clone(), Root::Index(0))), deep.clone()),
        (
            "a root elsewhere",
            Reduction::Tree(tree(sizes.clone(), Root::Index(3))),
            Reduction::Tree(tree(sizes, middle)),
        ),
        ("chains", Reduction::Chain { root: Root::Index(1) }, Reduction::Chain { root: middle }),
        ("pieces", Reduction::ReduceScatter, Reduction::ReduceScatter),
        (
            "split roots",
            Reduction::SplitRoots { roots: 2, tree: tree(Groups::Count(4), middle) },
            Reduction::ReduceScatter,
        ),
    ] {
        for (columns, rows, splits) in [(12, 8, [3, 2, 1]), (16, 8, [2, 2, 2])] {
            for rewrites in [Rewrites::NONE, OURS.into_iter().collect()] {
                let mut reductions = Reductions::all(&whole);
                for line in [&mut reductions.head, &mut reductions.width, &mut reductions.sequence] {
                    line.clone_from(&segments);
                }
                let [dims, groups, copies] = splits;
                let kv = kv(dims, groups, copies, Append::Shifted);
                let mapping = LayerMapping { kv, rewrites, reductions, ..LayerMapping::published(columns, rows) };
                assert_as(Prefill::Tokens, &format!("{what}, {splits:?}, {rewrites:?}"), &checkpoint, &mapping);
            }
        }
    }
}
