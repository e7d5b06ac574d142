//! Parts of a layer in rectangles of their own, against the equations in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{TINY, TINY_DENSE, checkpoint, checkpoint_with, outside, under};
use wafersim_mapping::{
    KvMapping, LayerMapping, Overlap, PARTS, Part, Reduction, Reductions, Rewrite, Rewrites, Routes,
};
use wafersim_program::Region;
use wafersim_spec::model::FeedForward;
use wafersim_values::{Checkpoint, Prefill};

/// The rewrites that go with every rectangle.
const REWRITES: [Rewrite; 7] = [
    Rewrite::FusedNorms,
    Rewrite::RidingHeadNorm,
    Rewrite::OnlineSoftmax,
    Rewrite::SingleChoice,
    Rewrite::SinglePassTopK,
    Rewrite::InterleavedGateUp,
    Rewrite::ConcatenatedExperts,
];

fn models() -> Vec<(&'static str, Checkpoint)> {
    let shared = checkpoint_with(TINY, 3, |layer| {
        if let FeedForward::Moe(moe) = &mut layer.feed_forward {
            moe.shared_width = 10;
        }
    });
    vec![("dense", checkpoint(TINY_DENSE, 3)), ("experts", checkpoint(TINY, 3)), ("a shared expert", shared)]
}

fn mapping(columns: u64, rows: u64, sequence_split: u64) -> LayerMapping {
    let kv = KvMapping {
        columns_per_head: 2 * sequence_split,
        dimension_split: 2,
        sequence_split,
        ..KvMapping::published(1)
    };
    LayerMapping { kv, ..LayerMapping::published(columns, rows) }
}

fn check(what: &str, checkpoint: &Checkpoint, mapping: &LayerMapping) {
    for (prefill, tokens) in [(Prefill::Drafts(3), 5), (Prefill::Chunk, 9)] {
        let what = format!("{what}, {prefill:?}");
        let comparison = under(checkpoint, mapping, prefill, tokens).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(comparison.is_within(), "{what}: {}", outside(&comparison));
    }
}

#[test]
fn each_part_alone_changes_no_result() {
    for (name, checkpoint) in models() {
        let has = |part: &&Part| match part.name {
            "feed_forward" => name == "dense",
            "router" | "experts" => name != "dense",
            "shared_expert" => name == "a shared expert",
            _ => true,
        };
        for part in PARTS.iter().filter(has) {
            for (number, (x, y, columns, rows)) in
                [(0, 0, 3, 5), (2, 1, 5, 3), (6, 4, 1, 1), (0, 2, 9, 2)].into_iter().enumerate()
            {
                let mut mapping = mapping(9, 5, 1 + number as u64 % 2);
                mapping.rectangles.insert(part.name.into(), Region::new(x, y, columns, rows));
                if number % 2 == 1 {
                    mapping.rewrites = Rewrites::from_iter(REWRITES);
                    mapping.routes = Routes::Static;
                }
                check(&format!("{name}, {} in {columns} x {rows} at ({x}, {y})", part.name), &checkpoint, &mapping);
            }
        }
    }
}

/// Side by side and over each other, with every kind of reduction, each processing element in its own order.
#[test]
fn all_parts_together_change_no_result() {
    for (name, checkpoint) in models() {
        for reduction in [Reduction::PUBLISHED, Reduction::ReduceScatter] {
            for rewrites in [Rewrites::NONE, Rewrites::from_iter(REWRITES)] {
                let mut mapping = mapping(12, 6, 2);
                mapping.reductions = Reductions::all(&reduction);
                (mapping.rewrites, mapping.overlap) = (rewrites, Overlap { conversion: true, independent: true });
                for (part, (x, y, columns, rows)) in [
                    ("attention.norm", (3, 0, 7, 6)),
                    ("attention.query_key_value", (0, 0, 7, 6)),
                    ("attention.key_value", (7, 0, 5, 4)),
                    ("feed_forward.norm", (0, 0, 7, 6)),
                    ("feed_forward", (1, 1, 9, 4)),
                    ("router", (0, 0, 7, 6)),
                    ("experts", (0, 0, 7, 6)),
                    ("shared_expert", (7, 1, 5, 5)),
                ] {
                    mapping.rectangles.insert(part.into(), Region::new(x, y, columns, rows));
                }
                check(&format!("{name}, {reduction:?}, {rewrites:?}"), &checkpoint, &mapping);
            }
        }
    }
}
