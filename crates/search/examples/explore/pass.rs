//! One pass through the pipeline: what layers, tables, ways between regions and links between wafers take.

use wafersim_cost::{Cause, Cost, ProgramCost, Rates, formula};
use wafersim_place::{Item, Placement, Slot};
use wafersim_program::{Axis, BufferId, End, Region, Relayout};
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{Cycles, DataType, Hertz, Wafer};

/// What lies between regions, and what goes through.
#[derive(Debug, Clone, Copy)]
pub struct Between<'a> {
    /// Rates of the machine.
    pub rates: &'a Rates,
    /// The wafer.
    pub wafer: &'a Wafer,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Type of activations.
    pub activations: DataType,
    /// Tokens that go through together.
    pub tokens: u64,
}

/// A pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// All of it.
    pub latency: Cost,
    /// The slowest stage.
    pub slowest: Cycles,
    /// Ways between regions.
    pub regions: Cost,
    /// Links between wafers.
    pub links: Cost,
    /// Tables.
    pub tables: Cost,
}

impl Pass {
    /// A pass through a placement whose layouts and tables take so long.
    pub fn new(placement: &Placement, layouts: &[ProgramCost], tables: &[ProgramCost], between: Between<'_>) -> Self {
        let mut pass = Self {
            latency: Cost::ZERO,
            slowest: Cycles::ZERO,
            regions: Cost::ZERO,
            links: Cost::ZERO,
            tables: Cost::ZERO,
        };
        for (layout, cost) in placement.layouts.iter().zip(layouts) {
            pass.latency += cost.cost() * layout.layers as f64;
        }
        for is_head in [false, true] {
            if let Some((_, cost)) = placement.tables.iter().zip(tables).find(|(table, _)| table.is_head == is_head) {
                pass.tables += cost.cost();
            }
        }
        let totals: Vec<f64> = layouts.iter().map(|cost| cost.total().0).collect();
        let bytes = between.activations.storage(between.hidden.saturating_mul(between.tokens)).0 as f64;
        for (index, slot) in placement.slots.iter().enumerate() {
            let layers = slot.items.iter().filter_map(|item| match item {
                Item::Layer(layer) => placement.layout_index(*layer as usize).and_then(|at| totals.get(at)),
                Item::Embedding(_) | Item::LmHead(_) => None,
            });
            let mut stage: f64 = layers.sum();
            let here = placement.tables.iter().zip(tables).filter(|(table, _)| table.slot == index);
            stage += here.map(|(_, cost)| cost.total().0).sum::<f64>();
            if let Some(next) = placement.slots.get(index + 1) {
                let hop = between.hop(slot, next);
                pass.regions += hop;
                stage += hop.total().0;
                if slot.wafer != next.wafer {
                    pass.links += between.link(bytes);
                }
            }
            pass.slowest = pass.slowest.max(Cycles(stage));
        }
        if placement.wafers_used > 1 {
            pass.links += between.link(4.0 * between.tokens as f64);
            pass.regions += between.back(placement);
        }
        pass.latency += pass.tables + pass.regions + pass.links;
        pass
    }
}

impl Between<'_> {
    fn link(&self, bytes: f64) -> Cost {
        let value = |key| self.wafer.value(key, RateSet::Silicon);
        let seconds = value(Key::LinkLatency) * 1e-6 + bytes / (value(Key::LinkBandwidth) * 1e9);
        Cost::of(Cause::Link, Cycles::from_seconds(seconds, self.clock()).0)
    }

    fn clock(&self) -> Hertz {
        self.wafer.clock()
    }

    fn hop(&self, from: &Slot, to: &Slot) -> Cost {
        let (here, there) = (&from.region, &to.region);
        let along_y = here.y.abs_diff(there.y);
        let moved = |hops: u64, region: &Region| {
            let share = Region::new(0, 0, region.columns, region.rows).share(Axis::Y, self.hidden);
            self.way(hops, share.saturating_mul(self.tokens))
        };
        if from.wafer == to.wafer {
            return moved(here.x.abs_diff(there.x) + along_y, here);
        }
        moved(self.edge_of(here) + 1, here) + moved(self.edge_of(there) + there.columns + along_y, there)
    }

    fn back(&self, placement: &Placement) -> Cost {
        match (placement.slots.last(), placement.slots.first()) {
            (Some(last), Some(first)) if last.wafer != first.wafer => {
                let (from, to) = (&last.region, &first.region);
                let moved = |hops: u64| self.way(hops, self.tokens.saturating_mul(2));
                moved(self.edge_of(from) + 1) + moved(self.edge_of(to) + to.columns + from.y.abs_diff(to.y))
            }
            _ => Cost::ZERO,
        }
    }

    fn edge_of(&self, region: &Region) -> u64 {
        region.x.min(self.wafer.columns().saturating_sub(region.x + region.columns))
    }

    fn way(&self, hops: u64, elements: u64) -> Cost {
        let moved = Relayout {
            axis: Axis::X,
            hops,
            wavelets: self.activations.wavelets(elements),
            others: Vec::new(),
            farthest: End::First,
            source: BufferId(0),
            target: BufferId(0),
            accumulate: false,
            colors: Vec::new(),
        };
        formula::relayout(&moved, self.rates)
    }
}
