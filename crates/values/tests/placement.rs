//! Layouts of programs against placement: dimensions are shared out as `wafersim-place` does, and heads lie in its
//! blocks.

use proptest::prelude::*;
use wafersim_place::{KvContents, KvLayout, Split};
use wafersim_program::layout::even;
use wafersim_spec::model::Reach;

proptest! {
    #[test]
    fn dimensions_are_shared_out_as_placed(size in 0u64..500, parts in 1u64..60) {
        for part in 0..parts {
            let placed: Vec<u64> = Split::new(size, parts).piece_at(part).elements().collect();
            prop_assert_eq!(even(size, parts, part), placed);
        }
    }

    #[test]
    fn blocks_of_heads_fit_their_region(kv_heads in 1u64..40, columns in 1u64..60, rows in 1u64..9) {
        let shape = KvContents { kv_heads, head_dim: 8, value_dim: 8, queries_per_head: 2, reach: Reach::Full, state: None };
        let layout = KvLayout::with_dimension_split(shape, (columns, rows), u64::MAX);
        prop_assert!(layout.blocks * layout.columns_per_head <= columns);
        prop_assert_eq!(layout.blocks, kv_heads.div_ceil(layout.heads_per_block));
        prop_assert_eq!(layout.dimension_split * layout.sequence_split, layout.columns_per_head);
    }
}
