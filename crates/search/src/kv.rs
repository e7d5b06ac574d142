//! How the cache may lie on the columns of a region.

use std::collections::BTreeSet;

use wafersim_mapping::{KvMapping, KvRecipe, LayerMapping};
use wafersim_spec::model::Attention;
use wafersim_spec::{Model, Size};

/// Columns that may share a head's width.
const DIMENSION_SPLITS: [u64; 22] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 24, 28, 32, 48, 64];

/// How a cache may lie on the columns of a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvLayout {
    copies: u64,
    /// Columns that share a head's width.
    split: u64,
    /// Groups of those that share the sequence, and the most that there is room for.
    sequence: u64,
    most: u64,
}

impl KvLayout {
    /// All on a region of so many columns.
    pub(crate) fn all(model: &Model, columns: u64) -> Vec<Self> {
        let mut heads: BTreeSet<(u64, u64, u64)> = BTreeSet::new();
        for layer in &model.layers {
            heads.extend(match &layer.attention {
                Attention::Grouped(grouped) => {
                    Some((grouped.kv_heads, grouped.heads / grouped.kv_heads.max(1), grouped.head_dim))
                }
                Attention::Latent(latent) => Some((1, latent.heads, layer.attention.kv_width())),
                // A state in place of a cache.
                Attention::Linear(_) => None,
            });
        }
        // Layers that differ in their heads share a recipe: sizes that hold for the first may not for others.
        let Some((kv_heads, group, width)) = heads.first().copied() else { return Vec::new() };
        let of_head = columns / kv_heads.max(1);
        let mut all = Vec::new();
        for copies in (1..=group).filter(|copies| group.is_multiple_of(*copies) && *copies <= of_head) {
            let of_copy = of_head / copies;
            for split in DIMENSION_SPLITS.into_iter().filter(|split| *split <= of_copy.min(width)) {
                let most = of_copy / split;
                let mut groups = vec![most, most.saturating_sub(1), most.div_ceil(2), 1];
                groups.retain(|groups| *groups > 0);
                groups.dedup();
                all.extend(groups.into_iter().map(|sequence| Self { copies, split, sequence, most }));
            }
        }
        all
    }

    pub(crate) fn recipe(self, now: &KvRecipe) -> KvRecipe {
        KvRecipe {
            heads_per_block: Size::Auto,
            head_copies: Size::Exactly(self.copies),
            dimension_split: Size::Exactly(self.split),
            sequence_split: Size::Exactly(self.sequence),
            append: now.append,
        }
    }

    /// Whether it leaves no more than a tenth of so many columns unused.
    pub(crate) fn fills(self, columns: u64, now: &LayerMapping) -> bool {
        let blocks = (now.region.columns / now.kv.columns_per_head.max(1)).max(1);
        self.copies * self.split * self.sequence * 10 >= (columns / blocks) * 9
    }

    /// Whether it is like the present one, but for the groups that share the sequence.
    pub(crate) fn is_like(self, now: &KvMapping) -> bool {
        (self.copies, self.split) == (now.head_copies, now.dimension_split)
    }

    /// Whether it has about as many copies as the present one, and columns that share a head's width.
    pub(crate) fn is_near(self, now: &KvMapping) -> bool {
        let near = |one: u64, other: u64| one <= other.saturating_mul(2) && other <= one.saturating_mul(2);
        near(self.copies, now.head_copies) && near(self.split, now.dimension_split)
    }

    /// Whether all columns that there are share the sequence.
    pub(crate) const fn is_widest(self) -> bool {
        self.sequence == self.most
    }
}
