//! Where the experts of each layer should live: strategies compared end to end, in time per output token under a
//! demand.
//!
//! A batch of tokens goes through the pipeline together, one batch in flight. Attention, tables, links and everything
//! else take what the closed form says; each layer with experts takes the mean, over batches of the demand, of its
//! closed form with the load of the costliest rectangle. Strategies learn from one part of a trace and are judged by
//! another.

mod compare;
mod price;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wafersim_mapping::experts::Dealt;
use wafersim_mapping::{Experts, MappingError, Resolved};
use wafersim_place::experts::annealed::Annealing;
use wafersim_place::experts::assignment::Assignment;
use wafersim_place::experts::demand::Demand;
use wafersim_place::experts::room::Room;
use wafersim_place::experts::strategies::Strategy;
use wafersim_spec::Bytes;
use wafersim_spec::Region;
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};

pub use compare::compare;

/// The mapping of a strategy with every number: the decisions by which its question works, with the experts dealt as
/// the strategy has dealt them.
///
/// # Errors
/// Where layers are divided into different rectangles, or it does not fit.
pub fn resolved_mapping(question: &Question, outcome: &StrategyOutcome) -> Result<Resolved, AnswerError> {
    let chosen = Chosen::new(question, Source::main(question, question.scenario.profile))?;
    let mut recipe = chosen.recipe().clone();
    let geometry = &outcome.geometry;
    let mut grids = geometry.rooms.values().map(|room| (room.grid.across, room.grid.down));
    let Some((across, down)) = grids.next() else {
        recipe.pin_experts(ExpertPlacement::Spread);
        return Ok(wafersim_mapping::resolve(&recipe, question.inputs())?);
    };
    if let Some(other) = grids.find(|other| *other != (across, down)) {
        return Err(MappingError::Decision {
            mapping: recipe.name,
            field: "experts.file".into(),
            value: format!("{across} x {down} rectangles in some layers and {} x {} in others", other.0, other.1),
            allowed: "the same in all layers with experts".into(),
        }
        .into());
    }
    let layers = geometry.homes.iter().map(|(layer, dealt)| (layer.to_string(), dealt.homes.clone()));
    let homes = geometry.homes.values().next().map(|dealt| dealt.homes.clone()).unwrap_or_default();
    let dealt = Dealt { across, down, homes, layers: layers.collect() };
    recipe.experts = Experts::File { file: format!("strategy {}", outcome.strategy), dealt: Some(dealt) };
    let mut inputs = question.inputs();
    inputs.load.wafers = WaferCount::Exactly(geometry.wafers);
    Ok(wafersim_mapping::resolve(&recipe, inputs)?)
}

use crate::chosen::{Chosen, Source};
use crate::error::AnswerError;
use crate::question::Question;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Comparison<'a> {
    /// Tokens that go through each layer together.
    pub batch: u64,
    /// For each layer with experts, what strategies learn from.
    pub past: &'a [Demand],
    /// For each layer with experts, what they are judged by.
    pub future: &'a [Demand],
    /// Names of strategies, in the order of the result; see [`NAMES`].
    pub strategies: &'a [&'a str],
    /// Strategies from outside, which come after those. The optimiser starts from the best of all.
    pub own: &'a [Arc<dyn Strategy>],
    /// Experts of a rectangle that are tried.
    pub sharing: &'a [u64],
    /// How long the optimiser searches in each layer.
    pub annealing: Annealing,
}

/// Names of all strategies: two that need no demand, five that deal experts to rectangles, and the optimiser, which
/// starts from the best of the others.
pub const NAMES: [&str; 8] =
    ["spread", "clustered", "linear", "round-robin", "hybrid", "apart", "replicated", "annealed"];

/// A strategy at its best: in the division of the wafer and of the regions in which it is fastest on the demand that it
/// learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyOutcome {
    /// The strategy.
    pub strategy: StrategyName,
    /// Mean time per output token, in microseconds.
    pub time_per_output_token_us: f64,
    /// The same on the demand that it learned from.
    pub learned_time_us: f64,
    /// Of it: routed experts, dispatch and combine included.
    pub experts_us: f64,
    /// Of it: dispatch and combine; 0 for spread experts.
    pub dispatch_combine_us: f64,
    /// Pairs of the busiest rectangle, mean over layers and batches.
    pub busiest_pairs: f64,
    /// The same over the mean of all rectangles.
    pub imbalance: f64,
    /// Distinct experts of a batch, mean over layers.
    pub distinct: f64,
    /// Rectangles of a layer that hold experts.
    pub rectangles: u64,
    /// Experts that a rectangle holds at most, copies included.
    pub experts_in_a_rectangle: u64,
    /// Columns and rows of the largest rectangle.
    pub rectangle: (u64, u64),
    /// Copies of experts in a layer beyond the first, mean over layers.
    pub copies: f64,
    /// Bytes of all wafers' processing elements that hold nothing lasting and no working buffers.
    pub idle_bytes: Bytes,
    /// Processing elements of a layer in rectangles without any expert.
    pub idle_pes: u64,
    /// Colors of the layer's program. (Relayouts' transit colors included.)
    pub colors: u32,
    /// Where everything lies.
    pub geometry: Geometry,
}

/// One of [`NAMES`], or the id of a strategy from outside.
pub type StrategyName = Cow<'static, str>;

/// Where everything lies: plain rectangles, for pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// Wafers used.
    pub wafers: u32,
    /// Columns and rows of a wafer.
    pub wafer_size: (u64, u64),
    /// Memory of a processing element.
    pub pe_memory: Bytes,
    /// Regions in order of the pipeline.
    pub regions: Vec<HeldRegion>,
    /// By index of the layer's layout: how its region is divided.
    pub rooms: BTreeMap<usize, Room>,
    /// By layer with experts (its number in the model): which rectangles of its room hold each expert.
    pub homes: BTreeMap<u64, Assignment>,
}

/// A region of a wafer and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldRegion {
    /// Wafer, from 0.
    pub wafer: u32,
    /// Processing elements.
    pub rectangle: Region,
    /// What it holds, in words.
    pub holds: Vec<String>,
    /// The layers among it, by their number in the model, with their layout.
    pub layers: Vec<(u64, usize)>,
    /// Bytes of weights in the worst processing element, before copies.
    pub weight_bytes: Bytes,
    /// Bytes of keys and values in the worst processing element.
    pub kv_bytes: Bytes,
    /// Bytes to spare in the worst processing element, before copies.
    pub spare_bytes: Bytes,
}
