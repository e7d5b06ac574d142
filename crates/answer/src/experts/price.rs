//! What a layer takes in closed form, as a function of the load of its costliest rectangle.
//!
//! Where several experts of a rectangle are wanted, what each further one takes (its conversion, above all) is added:
//! the difference of two programs.

use std::borrow::Cow;

use wafersim_cost::{Cause, Cost, OperatorCost, ProgramCost};
use wafersim_graph::LayerGraphs;
use wafersim_lower::{ExpertLoad, PlaceLoad};
use wafersim_mapping::{ExpertMapping, LayerMapping};
use wafersim_place::experts::demand::Price;
use wafersim_place::experts::room::Room;
use wafersim_place::{CellGrid, LayerLayout};
use wafersim_spec::model::{FeedForward, Moe};

use crate::question::Question;
use crate::stage::LayerReading;
use crate::written::{self, Flow};

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
    pub mapping: &'a LayerMapping,
    pub batch: u64,
}

/// The pairs of a batch beside those of the costliest rectangle.
#[derive(Debug, Clone, Copy)]
struct Pairs {
    /// Experts of a token.
    of_a_token: u64,
    /// What the busiest column of rectangles gets.
    column: PlaceLoad,
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

    /// The layer as its mapping says, with its experts in the rectangles of a grid or spread. What cannot be written
    /// takes for ever: the way has been written once.
    fn layer(&self, grid: Option<&CellGrid>, load: ExpertLoad) -> ProgramCost {
        let mapping = self.mapping_on(grid);
        let flow = Flow::Decode { tokens: self.batch, users: self.batch, context: self.question.scenario.context };
        match written::layer(self.question, self.layout, &mapping, flow, load, &mut LayerGraphs::default()) {
            Ok(program) => self.reading.read(&program),
            Err(_) => {
                let cost = Cost::of(Cause::Compute, f64::INFINITY);
                let refused = OperatorCost { name: Cow::Borrowed("experts.refused"), cost };
                ProgramCost { operators: vec![refused], colors: 0 }
            }
        }
    }

    /// The mapping of the layer with its experts in the rectangles of a grid, or spread.
    fn mapping_on(&self, grid: Option<&CellGrid>) -> LayerMapping {
        let experts = self.layout.experts.as_ref().map_or(0, |experts| experts.experts);
        let cells = grid.map(|grid| (grid.across, grid.down, grid.most_copies_in_a_cell(experts)));
        let (across, down, room) = cells.unwrap_or((1, 1, experts));
        let experts = ExpertMapping { strategy: None, across, down, room, homes: Vec::new() };
        LayerMapping { experts: Some(experts), ..self.mapping.clone() }
    }

    /// What the busiest column of rectangles of a grid is expected to get.
    fn column(&self, grid: &CellGrid) -> PlaceLoad {
        written::expected_load(self.question, self.layout, &self.mapping_on(Some(grid)), self.batch).column
    }

    /// So many pairs, of `distinct` experts, in the costliest rectangle of all pairs of the batch.
    fn in_rectangle(&self, all: Pairs, pairs: u64, distinct: u64) -> ExpertLoad {
        let busiest = PlaceLoad { pairs, distinct, tokens: pairs.min(self.batch) };
        let load = ExpertLoad { pairs: self.batch.saturating_mul(all.of_a_token), distinct, busiest, column: busiest };
        written::beside(load, all.column)
    }

    /// Times with spread experts, by distinct experts: a price of one place that gets all pairs.
    pub fn spread(&self, top_k: u64, most_distinct: u64) -> LayerPrice {
        let pairs = self.batch.saturating_mul(top_k);
        self.price(most_distinct, |distinct| self.layer(None, ExpertLoad::spread(pairs, distinct)), None)
    }

    /// Times with experts in the rectangles of a room, by pairs and distinct experts of the costliest one.
    pub fn clustered(&self, room: &Room, top_k: u64) -> LayerPrice {
        let most = self.batch.saturating_mul(top_k.min(room.copies_in_a_cell));
        let all = Pairs { of_a_token: top_k, column: self.column(&room.grid) };
        let load = |pairs| self.in_rectangle(all, pairs, 1);
        let conversions = (1..=room.copies_in_a_cell.min(EXACT_DISTINCT))
            .map(|distinct| self.conversions(&room.grid, all, distinct))
            .collect();
        self.price(most, |pairs| self.layer(Some(&room.grid), load(pairs)), Some(conversions))
    }

    /// Cycles of the layer with so many pairs, of one expert, in the costliest rectangle of a room.
    pub fn with_busiest(&self, room: &Room, top_k: u64, busiest: u64) -> f64 {
        let all = Pairs { of_a_token: top_k, column: self.column(&room.grid) };
        self.layer(Some(&room.grid), self.in_rectangle(all, busiest.max(1), 1)).total().0
    }

    /// What `distinct` experts in one rectangle take beyond one, for as many pairs.
    fn conversions(&self, grid: &CellGrid, all: Pairs, distinct: u64) -> f64 {
        let time = |of| self.layer(Some(grid), self.in_rectangle(all, distinct, of)).total().0;
        (time(distinct) - time(1)).max(0.0)
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
