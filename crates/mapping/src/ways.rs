//! All ways that a recipe leaves, for who judges them by time: shapes of slots, KV layouts, micro-batches, divisions
//! that leave some of the wafers idle, and everything wide where that takes another division.

use wafersim_place::{Arrangement, Placement, Request, fits};
use wafersim_spec::Size;
use wafersim_spec::model::{Attention, Layer};
use wafersim_spec::scenario::{Verification, WaferCount};

use crate::error::MappingError;
use crate::mapped::{CacheWay, Mapped, Mapper, Way};
use crate::recipe::Width;

/// Columns that may share a head's width, tried beside the layout of fewest bytes: few columns mean that the softmax is
/// computed less often and scores travel less far, many mean less memory for queries.
const DIMENSION_SPLITS: [Size; 6] =
    [Size::Exactly(1), Size::Exactly(2), Size::Exactly(4), Size::Exactly(8), Size::Exactly(16), Size::Share(10_000)];

/// The same with copies for latents, which serve all query heads: with so many copies a place scores that part of the
/// heads. (Columns, copies), fewest copies first.
const LATENT_LAYOUTS: [(u64, u64); 6] = [(64, 4), (16, 4), (16, 8), (8, 8), (8, 16), (4, 32)];

/// Most shapes of slots that are tried: the shortest ways first.
const MOST_SHAPES: usize = 3;

/// Most other divisions of the wafers that are tried when more wafers are given than the model needs.
const OTHER_DIVISIONS: usize = 2;

impl Mapper<'_> {
    /// The mapping for passes of so many users in the layout of fewest bytes, with a draft verified so.
    ///
    /// # Errors
    /// Where the model does not fit, or a decision cannot be kept.
    pub fn smallest(&self, wafers: WaferCount, draft: Verification, users: u64) -> Result<Mapped, MappingError> {
        self.mapped(Way { micro_batch: Some(users), ..Way::on(wafers, draft) })
    }

    /// A mapping, and the same for as many users with the other KV layouts worth trying.
    pub fn splits(&self, first: Mapped) -> Vec<Mapped> {
        let splits = self.cache_ways(&DIMENSION_SPLITS[1..5]);
        let same = Way {
            micro_batch: Some(first.micro_batch),
            ..Way::on(WaferCount::Exactly(first.placement.wafers), first.draft)
        };
        // What does not fit is not considered.
        let others = splits.into_iter().filter_map(|cache| self.mapped(Way { cache: Some(cache), ..same }).ok());
        let others: Vec<Mapped> = others.collect();
        std::iter::once(first).chain(others).collect()
    }

    /// The ways to lay a cache that the recipe leaves: over so many columns, and of latents in copies.
    fn cache_ways(&self, splits: &[Size]) -> Vec<CacheWay> {
        let kv = &self.recipe.kv;
        if kv.dimension_split != Size::Auto {
            return Vec::new();
        }
        let alone = splits.iter().map(|split| CacheWay { dimension_split: *split, head_copies: None });
        let is_latent = |layer: &Layer| matches!(layer.attention, Attention::Latent(_));
        let latent = kv.head_copies == Size::Auto && self.inputs.model.layers.iter().all(is_latent);
        let copied = LATENT_LAYOUTS.iter().filter(|_| latent).map(|(columns, copies)| CacheWay {
            dimension_split: Size::Exactly(*columns),
            head_copies: Some(Size::Exactly(*copies)),
        });
        alone.chain(copied).collect()
    }

    /// A mapping in the layout of fewest bytes, and the other ways of working on slots of the same number: in other
    /// shapes, with other KV layouts, for other micro-batches.
    pub fn ways(&self, first: Mapped) -> Vec<Mapped> {
        let sizes = self.micro_batches(first.placement.slots.len() as u64, first.draft);
        self.in_shapes(first, &sizes)
    }

    /// A mapping, and the same for as many users in slots of other shapes and with other KV layouts.
    pub fn shapes(&self, first: Mapped) -> Vec<Mapped> {
        let sizes = [first.micro_batch];
        self.in_shapes(first, &sizes)
    }

    fn in_shapes(&self, first: Mapped, sizes: &[u64]) -> Vec<Mapped> {
        let placement = &first.placement;
        let (same, chosen, draft) = (WaferCount::Exactly(placement.wafers), placement.arrangement, first.draft);
        let mut shapes: Vec<Arrangement> = Arrangement::of_slots(placement.slots_per_wafer, &self.machine).collect();
        shapes.sort_by_key(|shape| {
            let (columns, rows) = shape.slot_size(&self.machine);
            (*shape != chosen, columns + rows)
        });
        shapes.truncate(MOST_SHAPES);
        let caches: Vec<Option<CacheWay>> =
            std::iter::once(None).chain(self.cache_ways(&DIMENSION_SPLITS).into_iter().map(Some)).collect();
        let all_wide = first.all_wide;
        let mut ways = vec![first];
        for shape in shapes {
            for &micro_batch in sizes {
                for &cache in &caches {
                    if (shape, micro_batch, cache) == (chosen, ways[0].micro_batch, None) {
                        // The first one.
                        continue;
                    }
                    let other = Way {
                        arrangement: Some(shape),
                        micro_batch: Some(micro_batch),
                        cache,
                        all_wide,
                        ..Way::on(same, draft)
                    };
                    // What does not fit is not considered.
                    if let Ok(mapped) = self.mapped(other) {
                        // Layouts of the same split are the same way.
                        let is_same = |known: &Mapped| {
                            (known.micro_batch, known.placement.arrangement) == (micro_batch, shape)
                                && same_cache(&known.placement, &mapped.placement)
                        };
                        if !ways.iter().any(is_same) {
                            ways.push(mapped);
                        }
                    }
                }
            }
        }
        ways
    }

    /// Mappings on fewer wafers than `wafers`, where these are more than the model needs: regions that are larger than
    /// need be make longer ways. The slots of the fewest wafers are dealt out with fewer on each; the fewest itself
    /// comes first.
    pub fn on_fewer(&self, wafers: u32, draft: Verification) -> Vec<Mapped> {
        let Ok(fewest) = self.smallest(WaferCount::Auto, draft, 1) else { return Vec::new() };
        let slots = fewest.placement.slots.len() as u64;
        let mut counts: Vec<u32> = (1..=fewest.placement.slots_per_wafer)
            .rev()
            .filter_map(|per_wafer| u32::try_from(slots.div_ceil(per_wafer)).ok())
            .filter(|count| *count < wafers)
            .collect();
        counts.dedup();
        counts.truncate(OTHER_DIVISIONS);
        counts.into_iter().filter_map(|count| self.smallest(WaferCount::Exactly(count), draft, 1).ok()).collect()
    }

    /// The mapping with everything stored wide that may be, on the same wafers, where `first` leaves some of it narrow
    /// and another division has room for it.
    pub fn wider(&self, first: &Mapped) -> Option<Mapped> {
        let stored = &self.recipe.stored;
        let mut matrices = first.placement.layouts.iter().flat_map(|layout| layout.all_matrices());
        let leaves = matrices
            .any(|matrix| !matrix.is_bias && !matrix.data_type.is_arithmetic() && stored.of(matrix.role) == Width::Fit);
        let same = WaferCount::Exactly(first.placement.wafers);
        let way = Way { micro_batch: Some(1), all_wide: true, ..Way::on(same, first.draft) };
        if leaves { self.mapped(way).ok() } else { None }
    }

    /// Whether so many wafers hold so many users in any arrangement that the recipe leaves.
    pub fn holds(&self, users: u64, wafers: u32, draft: Verification) -> bool {
        let way = Way::on(WaferCount::Exactly(wafers), draft);
        let Ok(layers) = self.narrowest(way) else { return false };
        fits(&Request { users, layers: layers.as_choices(), ..self.narrowest_request(way) })
    }
}

fn same_cache(one: &Placement, other: &Placement) -> bool {
    one.layouts.len() == other.layouts.len()
        && one.layouts.iter().zip(&other.layouts).all(|(one, other)| one.kv == other.kv)
}
