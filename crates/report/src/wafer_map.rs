//! Placements and strategies for experts as wafer maps: rectangles, names, loads, memory. The drawing is
//! [`wafersim_picture::wafer_map`]'s.

use wafersim_answer::experts::{Geometry, HeldRegion, StrategyOutcome};
use wafersim_picture::wafer_map::{DrawnRegion, ExpertArea, MOST_WAFERS, MemoryShares, Place, WaferMap};
use wafersim_place::experts::assignment::Assignment;
use wafersim_place::experts::demand::Demand;
use wafersim_place::{Item, Placement};
use wafersim_spec::Bytes;
use wafersim_spec::Region;
use wafersim_spec::model::FeedForward;

use crate::number::{figure, plural, whole};

/// Names of groups of regions, in the order of their colors.
const GROUPS: [&str; 5] = [
    "layers with routed experts",
    "dense layers",
    "embedding or a part of it",
    "LM head or a part of it",
    "layers and a table",
];

/// What a strategy is compared with and by, for the words of its picture.
#[derive(Debug, Clone, Copy)]
pub struct StrategyCaption<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// Name of the wafer.
    pub wafer: &'a str,
    /// Tokens that go through each layer together.
    pub batch: u64,
    /// Time per output token with spread experts, in microseconds, where that was asked for.
    pub spread_us: Option<f64>,
    /// Where the demand comes from.
    pub routing: &'a str,
}

/// A strategy's wafers, with each rectangle of experts shaded by the pairs of token and expert that it gets from a
/// batch of `demands` (one for each layer with experts), and the most uneven layer enlarged.
pub fn of_strategy(outcome: &StrategyOutcome, demands: &[Demand], words: &StrategyCaption<'_>) -> WaferMap {
    let geometry = &outcome.geometry;
    let layers: Vec<LayerLoad<'_>> = geometry
        .homes
        .iter()
        .zip(demands)
        .map(|((&layer, assignment), demand)| LayerLoad {
            layer,
            assignment,
            demand,
            pairs: assignment.mean_pairs(demand),
        })
        .collect();
    let mut map = WaferMap {
        title: format!("Experts '{}', batch {}: {} on {}", outcome.strategy, words.batch, words.model, words.wafer),
        caption: strategy_caption(outcome, words),
        wafer_size: (narrow(geometry.wafer_size.0), narrow(geometry.wafer_size.1)),
        wafers: geometry.wafers.clamp(1, MOST_WAFERS),
        groups: GROUPS.map(str::to_owned).to_vec(),
        regions: Vec::new(),
        experts: Vec::new(),
        load_name: format!(
            "pairs of token and expert that a rectangle gets from a batch of {}, on average",
            words.batch
        ),
        highest_load: None,
        detail: None,
    };
    let (mut most_uneven, mut highest) = (0.0, 0.0f64);
    let mut shares_rectangles = false;
    for region in geometry.regions.iter().filter(|region| region.wafer < MOST_WAFERS) {
        let (name, short_name) = names(&region.holds);
        let tables = region.holds.len().saturating_sub(region.layers.len());
        // Regions are asked for in a comparison of strategies for experts: a layer without a room is spread or dense.
        let group = match (region.layers.is_empty(), tables, region.holds.first()) {
            (true, _, Some(first)) if first.starts_with("embedding") => 2,
            (true, _, _) => 3,
            (false, 0, _) if holds_experts(geometry, region) => 0,
            (false, 0, _) => 1,
            (false, _, _) => 4,
        };
        map.regions.push(DrawnRegion {
            place: place(region.wafer, &region.rectangle, (0, 0)),
            name,
            short_name,
            group,
            memory: strategy_memory(geometry, region),
        });
        let mut here = region.layers.iter().filter_map(|(layer, layout)| {
            let load = layers.iter().find(|load| load.layer == *layer)?;
            Some((load, geometry.rooms.get(layout)?))
        });
        let Some((load, room)) = here.next() else { continue };
        shares_rectangles |= here.next().is_some();
        let mean = load.pairs.iter().sum::<f64>() / load.pairs.len().max(1) as f64;
        // Rectangles with an even load have the color of the middle, not that of the hottest.
        highest = load.pairs.iter().copied().fold(highest.max(2.0 * mean), f64::max);
        let uneven = load.pairs.iter().copied().fold(0.0, f64::max) / mean.max(f64::MIN_POSITIVE);
        if uneven > most_uneven {
            most_uneven = uneven;
            map.detail = Some(map.regions.len() - 1);
        }
        let experts = load.experts_of_cells(room.grid.cells());
        for (cell, experts) in (0u64..).zip(experts) {
            let inside = room.grid.rectangle(cell);
            map.experts.push(ExpertArea {
                place: place(region.wafer, &inside, (region.rectangle.x, region.rectangle.y)),
                has_copies: experts.iter().any(|expert| load.copies(*expert) > 1),
                load: Some(load.pairs.get(cell as usize).copied().unwrap_or(0.0)),
                experts,
            });
        }
    }
    map.highest_load = (highest > 0.0).then_some(highest);
    if map.detail.is_some() {
        map.caption.push(
            "Numbers on white are layers. The layer with the hottest rectangle for its mean is enlarged: its experts, the most wanted \
             first, and in the lower right corner the pairs that a rectangle gets."
                .into(),
        );
    }
    if shares_rectangles {
        map.caption
            .push("Where layers share a region, the rectangles are shown as the first of them uses them.".into());
    }
    left_out(&mut map, geometry.wafers);
    map
}

/// Whether any layer of a region has routed experts; in a spread placement nothing says which, and all are taken to
/// have.
fn holds_experts(geometry: &Geometry, region: &HeldRegion) -> bool {
    geometry.homes.is_empty() || region.layers.iter().any(|(layer, _)| geometry.homes.contains_key(layer))
}

/// What a layer's rectangles get.
struct LayerLoad<'a> {
    layer: u64,
    assignment: &'a Assignment,
    demand: &'a Demand,
    pairs: Vec<f64>,
}

impl LayerLoad<'_> {
    fn copies(&self, expert: u64) -> usize {
        self.assignment.homes.get(expert as usize).map_or(0, Vec::len)
    }

    /// The experts of each rectangle, the most wanted first.
    fn experts_of_cells(&self, cells: u64) -> Vec<Vec<u64>> {
        let mut found = vec![Vec::new(); cells as usize];
        for expert in self.demand.hottest_first() {
            for &home in self.assignment.homes.get(expert).map_or(&[][..], Vec::as_slice) {
                if let Some(cell) = found.get_mut(usize::from(home)) {
                    cell.push(expert as u64);
                }
            }
        }
        found
    }
}

fn strategy_caption(outcome: &StrategyOutcome, words: &StrategyCaption<'_>) -> Vec<String> {
    let against = words.spread_us.map_or_else(String::new, |spread| {
        format!(" ({:+.1} % against spread)", 100.0 * (outcome.time_per_output_token_us / spread - 1.0))
    });
    let time = format!(
        "{} us per output token{against}, {} us of it in routed experts, of which dispatch and combine {} us.",
        figure(outcome.time_per_output_token_us),
        figure(outcome.experts_us),
        figure(outcome.dispatch_combine_us)
    );
    let shape = if outcome.geometry.homes.is_empty() {
        format!(
            "Every expert is spread over the whole region of its layer, {} x {} PEs.",
            outcome.rectangle.0, outcome.rectangle.1
        )
    } else {
        format!(
            "{} of at most {} x {} PEs in a layer, {} each at most, {} copies; the busiest gets {:.1} pairs, {:.2} times the mean.",
            plural(outcome.rectangles, "rectangle"),
            outcome.rectangle.0,
            outcome.rectangle.1,
            plural(outcome.experts_in_a_rectangle, "expert"),
            format!("{:.1}", outcome.copies).trim_end_matches(".0"),
            outcome.busiest_pairs,
            outcome.imbalance
        )
    };
    let rest = format!(
        "{} in which nothing lives; {} of a layer's rectangles without experts; {} route colors.",
        outcome.idle_bytes,
        plural(outcome.idle_pes, "PE"),
        outcome.colors
    );
    vec![time, shape, rest, format!("Routing: {}.", words.routing.trim_end_matches('.'))]
}

fn strategy_memory(geometry: &Geometry, region: &HeldRegion) -> Option<MemoryShares> {
    // What a division takes more than the placement's own is weights of experts for the most part, and counted as such.
    // Where it takes less, nothing says of what: the shares are then those of the placement's own division, an upper
    // bound.
    let more: Bytes =
        region.layers.iter().filter_map(|(_, layout)| geometry.rooms.get(layout)).map(|room| room.more).sum();
    let spare = region.spare_bytes.saturating_sub(more);
    let weights = region.weight_bytes + more;
    let working = geometry.pe_memory.saturating_sub(weights + region.kv_bytes + spare);
    shares(weights, region.kv_bytes, working, geometry.pe_memory)
}

fn shares(weights: Bytes, kv_cache: Bytes, working: Bytes, limit: Bytes) -> Option<MemoryShares> {
    let part = |bytes: Bytes| bytes.0 as f64 / limit.0 as f64;
    let fits = limit.0 > 0 && (weights + kv_cache + working).0 <= limit.0;
    fits.then(|| MemoryShares { weights: part(weights), kv_cache: part(kv_cache), working: part(working) })
}

/// A placement's wafers: regions with what they hold, and the rectangles of clustered experts, whose load is not known.
pub fn of_placement(placement: &Placement, title: String, mut caption: Vec<String>) -> WaferMap {
    let machine = &placement.settings.machine;
    let worst = &placement.ledger.worst;
    let bytes = &worst.worst_pe;
    let fullest = placement.slots.get(worst.slot).map_or_else(String::new, |slot| {
        let holds: Vec<String> = slot.items.iter().map(ToString::to_string).collect();
        format!(" ({})", names(&holds).0)
    });
    caption.push(format!(
        "Fullest PE{fullest}: weights {}, KV cache {}, activations and buffers {}, code and runtime {}, free {}, of {}.",
        bytes.weights + bytes.replicated,
        bytes.kv_cache,
        bytes.passing(),
        bytes.code_and_runtime,
        worst.spare,
        placement.ledger.limit
    ));
    let used: u64 = placement.slots.iter().map(|slot| slot.region.elements()).sum();
    let all = machine.pes().saturating_mul(u64::from(placement.wafers));
    caption.push(format!(
        "{} on {} of {}; {} of {} belong to no region. Bars: memory of the fullest PE of a region.",
        plural(placement.slots.len() as u64, "region"),
        placement.wafers_used,
        plural(u64::from(placement.wafers), "wafer"),
        whole(all.saturating_sub(used)),
        plural(all, "PE"),
    ));
    let mut map = WaferMap {
        title,
        caption,
        wafer_size: (narrow(machine.columns), narrow(machine.rows)),
        wafers: placement.wafers.clamp(1, MOST_WAFERS),
        groups: GROUPS.map(str::to_owned).to_vec(),
        regions: Vec::new(),
        experts: Vec::new(),
        load_name: String::new(),
        highest_load: None,
        detail: None,
    };
    let slots = placement.slots.iter().zip(&placement.ledger.slots).filter(|(slot, _)| slot.wafer < MOST_WAFERS);
    for (slot, ledger) in slots {
        let holds: Vec<String> = slot.items.iter().map(ToString::to_string).collect();
        let (name, short_name) = names(&holds);
        let layouts: Vec<_> = slot
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Layer(layer) => placement.layer(*layer as usize),
                Item::Embedding(_) | Item::LmHead(_) => None,
            })
            .collect();
        let is_moe = layouts.iter().any(|layout| matches!(layout.layer.feed_forward, FeedForward::Moe(_)));
        let group = match (layouts.len(), slot.items.first()) {
            (0, Some(Item::Embedding(_))) => 2,
            (0, _) => 3,
            (count, _) if count < slot.items.len() => 4,
            _ if is_moe => 0,
            _ => 1,
        };
        let bytes = &ledger.worst_pe;
        map.regions.push(DrawnRegion {
            place: place(slot.wafer, &slot.region, (0, 0)),
            name,
            short_name,
            group,
            memory: shares(
                bytes.weights + bytes.replicated,
                bytes.kv_cache,
                bytes.passing() + bytes.code_and_runtime,
                placement.ledger.limit,
            ),
        });
        // A single rectangle is the region itself.
        let clustered =
            layouts.iter().filter_map(|layout| layout.experts.as_ref()).find(|experts| experts.grid.cells() > 1);
        let Some(experts) = clustered else { continue };
        if map.detail.is_none() {
            map.detail = Some(map.regions.len() - 1);
        }
        let cells = experts.grid.cells();
        for cell in 0..cells {
            map.experts.push(ExpertArea {
                place: place(slot.wafer, &experts.grid.rectangle(cell), (slot.region.x, slot.region.y)),
                experts: (cell..experts.experts).step_by(cells as usize).collect(),
                has_copies: false,
                load: None,
            });
        }
    }
    left_out(&mut map, placement.wafers);
    map
}

/// Says how many wafers are not shown.
fn left_out(map: &mut WaferMap, wafers: u32) {
    if wafers > map.wafers {
        let more = whole(u64::from(wafers - map.wafers));
        map.caption.push(format!("The first {} wafers are shown; {more} more are not.", map.wafers));
    }
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A rectangle on its wafer; `corner` is that of the region it is seen from.
fn place(wafer: u32, rectangle: &Region, corner: (u64, u64)) -> Place {
    let moved = rectangle.moved(corner.0, corner.1);
    Place { wafer, x: narrow(moved.x), y: narrow(moved.y), columns: narrow(moved.columns), rows: narrow(moved.rows) }
}

/// The names of a region, long and short: consecutive layers as one.
fn names(holds: &[String]) -> (String, String) {
    let layers: Vec<&str> = holds.iter().filter_map(|name| name.strip_prefix("layer ")).collect();
    let (long_layers, short_layers) = match layers.as_slice() {
        [] => (None, None),
        [only] => (Some(format!("layer {only}")), Some((*only).to_owned())),
        [first, .., last] => (Some(format!("layers {first} to {last}")), Some(format!("{first}-{last}"))),
    };
    let tables = |short: bool, wanted: &'static str| {
        let name = holds.iter().find(move |name| name.starts_with(wanted))?;
        Some(match (short, wanted) {
            (true, "embedding") => "emb".to_owned(),
            (true, _) => "head".to_owned(),
            (false, _) => name.clone(),
        })
    };
    let joined = |parts: [Option<String>; 3], between| parts.into_iter().flatten().collect::<Vec<_>>().join(between);
    (
        joined([tables(false, "embedding"), long_layers, tables(false, "LM head")], ", "),
        joined([tables(true, "embedding"), short_layers, tables(true, "LM head")], " "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_layers_are_one_name() {
        let names = |holds: &[&str]| names(&holds.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["layer 7"]), ("layer 7".into(), "7".into()));
        let all = ["embedding", "layer 0", "layer 1", "layer 2", "LM head"];
        assert_eq!(names(&all), ("embedding, layers 0 to 2, LM head".into(), "emb 0-2 head".into()));
        assert_eq!(names(&["LM head part 2 of 3"]), ("LM head part 2 of 3".into(), "head".into()));
    }
}
