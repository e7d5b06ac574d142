//! All ways that a recipe leaves, for who judges them by time: shapes of slots, KV layouts, micro-batches, divisions
//! that leave some of the wafers idle, and everything wide where that takes another division.

use wafersim_place::{Arrangement, Placement, Request, UNLIMITED, fits};
use wafersim_spec::Size;
use wafersim_spec::scenario::WaferCount;

use crate::error::MappingError;
use crate::inputs::Inputs;
use crate::mapped::{Mapped, Resolver, Way};
use crate::recipe::{Recipe, Width};

/// Columns that may share a head's width, tried beside the layout of fewest bytes: few columns mean that the softmax is
/// computed less often and scores travel less far, many mean less memory for queries.
const DIMENSION_SPLITS: [Size; 6] =
    [Size::Exactly(1), Size::Exactly(2), Size::Exactly(4), Size::Exactly(8), Size::Exactly(16), Size::Share(10_000)];

/// Most shapes of slots that are tried: the shortest ways first.
const MOST_SHAPES: usize = 3;

/// Most other divisions of the wafers that are tried when more wafers are given than the model needs.
const OTHER_DIVISIONS: usize = 2;

/// The ways that a recipe leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Ways {
    /// The ways. The first is for single tokens, in the layout of fewest bytes.
    pub ways: Vec<Mapped>,
    /// Wafers that were asked for, or the fewest.
    pub wafers: u32,
    /// Users that these wafers hold in any arrangement.
    pub max_users: u64,
}

/// The ways that a recipe leaves: the model for single tokens in the smallest layout on the wafers of the load; then
/// for the micro-batches and with the KV layouts worth trying, as far as they fit. Where more wafers are given than the
/// fewest, divisions that leave some of them idle are tried too: regions that are larger than need be make longer ways.
///
/// # Errors
/// Where the model does not fit, or a decision cannot be kept.
pub fn ways(recipe: &Recipe, inputs: Inputs<'_>) -> Result<Ways, MappingError> {
    let resolver = Resolver::new(recipe, inputs);
    let single = Way { micro_batch: Some(1), ..Way::default() };
    let first = resolver.mapped(single)?;
    let wafers = first.placement.wafers;
    let max_users = resolver.most_users(wafers, first.placement.max_users(inputs.load.context));
    let mut ways = resolver.ways_on(first, single);
    if matches!(inputs.load.wafers, WaferCount::Exactly(_)) {
        for fewer in resolver.divisions(wafers) {
            let way = Way { wafers: Some(WaferCount::Exactly(fewer)), ..single };
            if let Ok(mapped) = resolver.mapped(way) {
                ways.extend(resolver.ways_on(mapped, way));
            }
        }
    }
    if resolver.may_be_wider(&ways[0]) {
        let way = Way { wafers: Some(WaferCount::Exactly(wafers)), all_wide: true, ..single };
        if let Ok(mapped) = resolver.mapped(way) {
            ways.extend(resolver.ways_on(mapped, way));
        }
    }
    Ok(Ways { ways, wafers, max_users })
}

impl Resolver<'_> {
    /// A mapping in the layout of fewest bytes, and the other ways of working on slots of the same number: in other
    /// shapes, with other KV layouts, for other micro-batches.
    fn ways_on(&self, first: Mapped, way: Way) -> Vec<Mapped> {
        let (placement, machine) = (&first.placement, self.machine);
        let wafers = WaferCount::Exactly(placement.wafers);
        let chosen = placement.arrangement;
        let mut shapes: Vec<Arrangement> = Arrangement::of_slots(placement.slots_per_wafer, &machine).collect();
        shapes.sort_by_key(|shape| {
            let (columns, rows) = shape.slot_size(&machine);
            (*shape != chosen, columns + rows)
        });
        shapes.truncate(MOST_SHAPES);
        let sizes = self.micro_batches(placement.slots.len() as u64);
        let splits: Vec<Option<Size>> = if self.recipe.kv.dimension_split == Size::Auto {
            std::iter::once(None).chain(DIMENSION_SPLITS.map(Some)).collect()
        } else {
            vec![None]
        };
        let mut ways = vec![first];
        for shape in shapes {
            for &micro_batch in &sizes {
                for &dimension_split in &splits {
                    if (shape, micro_batch, dimension_split) == (chosen, ways[0].micro_batch, None) {
                        // The first one.
                        continue;
                    }
                    let other = Way {
                        wafers: Some(wafers),
                        arrangement: Some(shape),
                        micro_batch: Some(micro_batch),
                        dimension_split,
                        ..way
                    };
                    // What does not fit is not considered.
                    if let Ok(mapped) = self.mapped(other) {
                        // Layouts of the same split are the same way.
                        let same = |known: &Mapped| {
                            (known.micro_batch, known.placement.arrangement) == (micro_batch, shape)
                                && same_cache(&known.placement, &mapped.placement)
                        };
                        if !ways.iter().any(same) {
                            ways.push(mapped);
                        }
                    }
                }
            }
        }
        ways
    }

    /// Wafer counts below `wafers` at which the slots of the fewest wafers can be dealt out with fewer slots on each:
    /// the fewest itself first.
    fn divisions(&self, wafers: u32) -> Vec<u32> {
        let way = Way { wafers: Some(WaferCount::Auto), micro_batch: Some(1), ..Way::default() };
        let Ok(fewest) = self.mapped(way) else { return Vec::new() };
        let slots = fewest.placement.slots.len() as u64;
        let mut counts: Vec<u32> = (1..=fewest.placement.slots_per_wafer)
            .rev()
            .filter_map(|per_wafer| u32::try_from(slots.div_ceil(per_wafer)).ok())
            .filter(|count| *count < wafers)
            .collect();
        counts.dedup();
        counts.truncate(OTHER_DIVISIONS);
        counts
    }

    /// Most users with the context of the load that so many wafers hold in any arrangement. `known` users are known to
    /// fit.
    fn most_users(&self, wafers: u32, known: u64) -> u64 {
        let way = Way { wafers: Some(WaferCount::Exactly(wafers)), ..Way::default() };
        let Ok(layers) = self.narrowest(way) else { return known };
        let request = Request { layers: &layers, ..self.narrowest_request(way) };
        let fits = |users: u64| fits(&Request { users, ..request.clone() });
        let (mut low, mut high) = (known.max(1), known.max(1).saturating_mul(2));
        while high < UNLIMITED && fits(high) {
            (low, high) = (high, high.saturating_mul(2));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        low
    }

    /// Whether a way leaves narrow what may be stored wide.
    fn may_be_wider(&self, mapped: &Mapped) -> bool {
        let stored = &self.recipe.stored;
        mapped.placement.layouts.iter().any(|layout| {
            layout.all_matrices().any(|matrix| {
                !matrix.is_bias && !matrix.data_type.is_arithmetic() && stored.of(matrix.role) == Width::Fit
            })
        })
    }
}

fn same_cache(one: &Placement, other: &Placement) -> bool {
    one.layouts.len() == other.layouts.len()
        && one.layouts.iter().zip(&other.layouts).all(|(one, other)| one.kv == other.kv)
}
