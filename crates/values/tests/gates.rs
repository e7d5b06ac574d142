//! Gates of whole heads (Step-3.5): placed against the equations in 64 bit.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{TINY, assert_as, checkpoint_with};
use wafersim_mapping::{KvMapping, LayerMapping, Rewrites};
use wafersim_spec::model::Attention;
use wafersim_values::{Checkpoint, Prefill, plain, random_prompt};

fn gated(is_gated: bool) -> Checkpoint {
    checkpoint_with(TINY, 5, |layer| {
        if let Attention::Grouped(grouped) = &mut layer.attention {
            grouped.head_gate = is_gated;
        }
    })
}

#[test]
fn gates_of_heads_are_the_equations() {
    let checkpoint = gated(true);
    for (region, [dimension_split, sequence_split, head_copies]) in
        [([4, 3], [2, 1, 1]), ([8, 3], [2, 2, 1]), ([9, 2], [1, 2, 2]), ([2, 2], [1, 1, 1])]
    {
        let columns_per_head = dimension_split * sequence_split * head_copies;
        let kv =
            KvMapping { columns_per_head, dimension_split, sequence_split, head_copies, ..KvMapping::published(1) };
        for rewrites in [Rewrites::NONE, Rewrites::ALL] {
            let mapping = LayerMapping { kv, rewrites, ..LayerMapping::published(region[0], region[1]) };
            assert_as(Prefill::Tokens, &format!("{region:?} {kv:?} {rewrites:?}"), &checkpoint, &mapping);
        }
    }
}

#[test]
fn a_gate_is_another_result() {
    let prompt = random_prompt(41, 5, 7);
    let logits =
        |checkpoint: &Checkpoint| plain::run(checkpoint, &prompt, 1).unwrap().tensors["decode.logits"].values.clone();
    assert_ne!(logits(&gated(true)), logits(&gated(false)));
}
