//! A recipe with what it leaves open as a mapping has it: on an easier question, which would have it choose otherwise,
//! it leads to the same mapping.

use wafersim_spec::Size;

use wafersim_place::wide_type;

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

    fn pinned_kv(&self, mapped: &Mapped) -> KvRecipe {
        // A state in place of a cache leaves nothing to choose.
        let with_cache = mapped.placement.layouts.iter().zip(&mapped.layers);
        let mut all = with_cache.filter(|(layout, _)| layout.kv.shape.state.is_none()).map(|(_, layer)| KvRecipe {
            heads_per_block: Size::Exactly(layer.kv.heads_per_block),
            head_copies: Size::Exactly(layer.kv.head_copies),
            dimension_split: Size::Exactly(layer.kv.dimension_split),
            sequence_split: Size::Exactly(layer.kv.sequence_split),
            append: self.kv.append,
        });
        match all.next() {
            Some(first) if all.all(|other| other == first) => first,
            _ => self.kv,
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
        .filter(|(role, stored)| *stored == wide && *stored != precision.weights && Stored::ROLES.contains(role));
    Stored { default: Width::Checkpoint, roles: widened.map(|(role, _)| (role, Width::Wide)).collect() }
}
