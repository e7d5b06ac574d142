//! A recipe with what it leaves open as a mapping has it: on an easier question, which would have it choose otherwise,
//! it leads to the same mapping.

use wafersim_spec::Size;

use wafersim_place::wide_type;

use crate::kv::KvMapping;
use crate::mapped::Mapped;
use crate::recipe::{KvRecipe, Recipe, Stored, Width};

impl Recipe {
    /// The same with division, cache and widths as a mapping of it has them. What layers have differently stays open,
    /// and so does how many users go through a slot together.
    #[must_use]
    pub fn pinned(&self, mapped: &Mapped) -> Self {
        let placement = &mapped.placement;
        let mut pinned = self.clone();
        let division = &mut pinned.division;
        division.slots = Size::Exactly(placement.slots_per_wafer);
        if division.columns == Size::Auto {
            division.columns = Size::Divisor(placement.arrangement.across);
        }
        if division.rows == Size::Auto {
            division.rows = Size::Divisor(placement.arrangement.down);
        }
        pinned.kv = self.pinned_kv(mapped);
        pinned.stored = pinned_widths(mapped);
        pinned
    }

    /// What all layers have alike; sizes in which they differ, as where some have a window, stay open.
    fn pinned_kv(&self, mapped: &Mapped) -> KvRecipe {
        // A state in place of a cache leaves nothing to choose.
        let with_cache = mapped.placement.layouts.iter().zip(&mapped.layers);
        let with_cache = with_cache.filter(|(layout, _)| layout.kv.shape.state.is_none());
        let all: Vec<KvMapping> = with_cache.map(|(_, layer)| layer.kv).collect();
        let alike = |open: Size, of: fn(&KvMapping) -> u64| {
            let mut sizes = all.iter().map(of);
            let first = sizes.next();
            first.filter(|first| sizes.all(|other| other == *first)).map_or(open, Size::Exactly)
        };
        KvRecipe {
            heads_per_block: alike(self.kv.heads_per_block, |kv| kv.heads_per_block),
            head_copies: alike(self.kv.head_copies, |kv| kv.head_copies),
            dimension_split: alike(self.kv.dimension_split, |kv| kv.dimension_split),
            sequence_split: alike(self.kv.sequence_split, |kv| kv.sequence_split),
            append: self.kv.append,
        }
    }
}

fn pinned_widths(mapped: &Mapped) -> Stored {
    let placement = &mapped.placement;
    let precision = placement.settings.precision;
    let wide = wide_type(&precision);
    let matrices = placement.layouts.iter().flat_map(|layout| layout.all_matrices());
    let of_layers = matrices.filter(|matrix| !matrix.is_bias).map(|matrix| (matrix.role, matrix.data_type));
    let of_tables = placement.tables.iter().map(|table| (table.matrix.role, table.matrix.data_type));
    let widened = of_layers
        .chain(of_tables)
        .filter(|(role, stored)| *stored == wide && *stored != precision.stored(*role) && Stored::ROLES.contains(role));
    Stored { default: Width::Checkpoint, roles: widened.map(|(role, _)| (role, Width::Wide)).collect() }
}
