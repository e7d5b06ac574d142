//! What a layer takes in closed form, as a function of the load of its costliest rectangle.
//!
//! The program of clustered experts counts the conversion of one expert's stored weights. Where several experts of a rectangle
//! are wanted, the conversion of each further one is added: the difference of two programs of the rectangle alone.

use std::borrow::Cow;

use wafersim_cost::{Cause, Cost, OperatorCost, ProgramCost};
use wafersim_kernels::context::Kernel;
use wafersim_kernels::feed_forward::{self, ExpertLoad, NetworkSize};
use wafersim_kernels::overlap::hide_conversions;
use wafersim_kernels::{ExpertShape, KvShape, LayerShape, Options, decode_layer};
use wafersim_lower::{ExpertLoad as LoweredLoad, PlaceLoad};
use wafersim_mapping::{ExpertMapping, LayerMapping};
use wafersim_place::experts::demand::Price;
use wafersim_place::experts::room::Room;
use wafersim_place::{CellGrid, LayerLayout, PREFILL_KEY_BLOCK};
use wafersim_program::{Program, Region};
use wafersim_spec::model::{FeedForward, Moe};

use crate::chosen::OfLayout;
use crate::question::Question;
use crate::stage::LayerReading;
use crate::written::mapped::layer_under;
use crate::written::{Flow, Variants};

/// Pairs up to which every load is read; above, so many points and straight lines between them.
const EXACT_PAIRS: u64 = 24;
/// By what the points lie apart, above.
const RATIO: f64 = 1.15;
/// Distinct experts up to which conversions are read; beyond, they go on in a straight line.
const EXACT_DISTINCT: u64 = 8;

/// Reads the layers of one layout.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    pub question: &'a Question,
    pub layout: &'a LayerLayout,
    pub reading: &'a LayerReading,
    pub kernels: OfLayout<'a>,
    pub batch: u64,
}

/// Times of a layer, in cycles, by the load of the costliest rectangle.
#[derive(Debug, Clone)]
pub struct LayerPrice {
    /// The whole layer.
    pub whole: Price,
    /// The routed experts, dispatch and combine included.
    pub experts: Price,
    /// Dispatch and combine.
    pub moving: Price,
    /// Colors of the program that uses most.
    pub colors: u32,
}

impl Reader<'_> {
    /// The routed experts of the layer.
    pub const fn moe(&self) -> Option<&Moe> {
        match &self.layout.layer.feed_forward {
            FeedForward::Moe(moe) => Some(moe),
            FeedForward::Dense { .. } => None,
        }
    }

    /// The layer with a load.
    fn layer(&self, grid: Option<&CellGrid>, load: ExpertLoad) -> ProgramCost {
        if let OfLayout::Mapped(mapping) = self.kernels {
            return self.mapped_layer(mapping, grid, load);
        }
        // The first rectangle is a largest one.
        let experts = grid.map_or(ExpertShape::Spread, |grid| {
            let cell = grid.rectangle(0);
            ExpertShape::Clustered { columns: cell.columns, rows: cell.rows }
        });
        let kv = &self.layout.kv;
        let write = |options: Options| {
            decode_layer(&LayerShape {
                layer: &self.layout.layer,
                hidden: self.layout.hidden,
                region: Region::new(0, 0, self.layout.columns, self.layout.rows),
                kv: KvShape {
                    heads_per_block: kv.heads_per_block,
                    columns_per_head: kv.columns_per_head,
                    dimension_split: kv.dimension_split,
                    sequence_split: kv.sequence_split,
                },
                experts,
                precision: self.question.scenario.precision,
                tokens: self.batch,
                context: self.question.scenario.context,
                key_block: PREFILL_KEY_BLOCK,
                load,
                options,
            })
        };
        self.fastest(&write)
    }

    /// The layer as a mapping says, but for its experts. What cannot be written takes for ever: the way has been written once.
    fn mapped_layer(&self, mapping: &LayerMapping, grid: Option<&CellGrid>, load: ExpertLoad) -> ProgramCost {
        let experts = self.layout.experts.as_ref().map_or(0, |experts| experts.experts);
        let cells = grid.map(|grid| (grid.across, grid.down, grid.most_copies_in_a_cell(experts)));
        let (across, down, room) = cells.unwrap_or((1, 1, experts));
        let experts = ExpertMapping { strategy: None, across, down, room, homes: Vec::new() };
        let mapping = LayerMapping { experts: Some(experts), ..mapping.clone() };
        let busiest = PlaceLoad { pairs: load.busiest, distinct: load.distinct, tokens: load.busiest.min(self.batch) };
        let lowered = match grid {
            Some(_) => LoweredLoad { pairs: load.pairs, distinct: load.distinct, busiest, column: busiest },
            None => LoweredLoad::spread(load.pairs, load.distinct),
        };
        let flow = Flow::Decode { tokens: self.batch, users: self.batch, context: self.question.scenario.context };
        match layer_under(self.question, self.layout, &mapping, flow, lowered) {
            Ok(published) => self.reading.fastest(&Variants { published, best: None }),
            Err(_) => {
                let cost = Cost::of(Cause::Compute, f64::INFINITY);
                let refused = OperatorCost { name: Cow::Borrowed("experts.refused"), cost };
                ProgramCost { operators: vec![refused], colors: 0 }
            }
        }
    }

    fn fastest(&self, write: &dyn Fn(Options) -> Program) -> ProgramCost {
        let best = self.reading.hypothetical.then(|| write(Options::OPTIMISED));
        self.reading.fastest(&Variants { published: write(Options::PUBLISHED), best })
    }

    /// Times with spread experts, by distinct experts: a price of one place that gets all pairs.
    pub fn spread(&self, top_k: u64, most_distinct: u64) -> LayerPrice {
        let pairs = self.batch.saturating_mul(top_k);
        let load = |distinct| ExpertLoad { pairs, distinct, busiest: self.batch };
        self.price(most_distinct, |distinct| self.layer(None, load(distinct)), None)
    }

    /// Times with experts in the rectangles of a room, by pairs and distinct experts of the costliest one.
    pub fn clustered(&self, room: &Room, top_k: u64) -> LayerPrice {
        let pairs = self.batch.saturating_mul(top_k);
        let most = self.batch.saturating_mul(top_k.min(room.copies_in_a_cell));
        let load = |busiest| ExpertLoad { pairs, distinct: 1, busiest };
        let conversions = (1..=room.copies_in_a_cell.min(EXACT_DISTINCT))
            .map(|distinct| self.conversions(&room.grid, distinct))
            .collect();
        self.price(most, |busiest| self.layer(Some(&room.grid), load(busiest)), Some(conversions))
    }

    /// Cycles of the layer with so many pairs, of one expert, in the costliest rectangle of a room.
    pub fn with_busiest(&self, room: &Room, top_k: u64, busiest: u64) -> f64 {
        let pairs = self.batch.saturating_mul(top_k);
        self.layer(Some(&room.grid), ExpertLoad { pairs, distinct: 1, busiest: busiest.max(1) }).total().0
    }

    /// What `distinct` experts in one rectangle take beyond one, for as many pairs.
    fn conversions(&self, grid: &CellGrid, distinct: u64) -> f64 {
        if matches!(self.kernels, OfLayout::Mapped(_)) {
            let load = |of: u64| ExpertLoad { pairs: distinct, distinct: of, busiest: distinct };
            let time = |of| self.layer(Some(grid), load(of)).total().0;
            return (time(distinct) - time(1)).max(0.0);
        }
        let Some(moe) = self.moe() else { return 0.0 };
        let cell = grid.rectangle(0);
        let rectangle = Region::new(0, 0, cell.columns, cell.rows);
        let write = |distinct_tiles: u64| {
            move |options: Options| {
                let mut kernel = Kernel::new("experts", rectangle, self.question.scenario.precision, options);
                let x = kernel.buffer("expert.input", rectangle.share(wafersim_program::Axis::Y, self.layout.hidden));
                let size = NetworkSize { hidden: self.layout.hidden, width: moe.width, vectors: distinct };
                let load = ExpertLoad { pairs: distinct, distinct: distinct_tiles, busiest: distinct };
                let network = feed_forward::Network::dense(false, distinct);
                let (parts, _) = feed_forward::spread(&mut kernel, size, load, 0, x, &network);
                for part in parts {
                    kernel.program.push("experts", part);
                }
                if options.overlapped_conversion {
                    hide_conversions(&mut kernel.program);
                }
                kernel.program
            }
        };
        (self.fastest(&write(distinct)).total().0 - self.fastest(&write(1)).total().0).max(0.0)
    }

    fn price(&self, most: u64, read: impl Fn(u64) -> ProgramCost, conversions: Option<Vec<f64>>) -> LayerPrice {
        let mut points: Vec<(u64, [f64; 3])> = Vec::new();
        let mut colors = 0;
        let mut next = 1;
        while next <= most.max(1) {
            let cost = read(next);
            colors = colors.max(cost.colors);
            let part = |wanted: &dyn Fn(&str) -> bool| {
                cost.operators
                    .iter()
                    .filter(|operator| wanted(&operator.name))
                    .map(|operator| operator.cost.total().0)
                    .sum()
            };
            let moving = part(&|name| matches!(name, "experts.dispatch" | "experts.combine"));
            points.push((next, [cost.total().0, part(&|name| name.starts_with("experts.")), moving]));
            let step = if next < EXACT_PAIRS { next + 1 } else { (next as f64 * RATIO).ceil() as u64 };
            next = if next < most && step > most { most } else { step };
        }
        let table = |index: usize| {
            let mut values = vec![0.0; most.max(1) as usize + 1];
            for pair in points.windows(2) {
                let ((from, low), (to, high)) = (pair[0], pair[1]);
                for at in from..=to {
                    let part = (at - from) as f64 / (to - from) as f64;
                    values[at as usize] = low[index] + part * (high[index] - low[index]);
                }
            }
            if let [(at, only)] = points.as_slice() {
                values[*at as usize] = only[index];
            }
            values
        };
        // Nothing, then one expert, which the layer's program has; then the further ones.
        let more: Vec<f64> = std::iter::once(0.0).chain(conversions.unwrap_or_default()).collect();
        LayerPrice {
            whole: Price::new(table(0), more.clone()),
            experts: Price::new(table(1), more),
            moving: Price::new(table(2), Vec::new()),
            colors,
        }
    }
}
