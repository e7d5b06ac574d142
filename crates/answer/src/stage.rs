//! The stages of the pipeline: what each slot takes for a micro-batch, and what lies between slots and wafers.

use wafersim_cost::{Cause, Cost, OperatorCost, ProgramCost, Rates, cost, formula};
use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::{ExpertShape, KvShape, LayerShape, Options, decode_layer, head, prefill_layer};
use wafersim_place::{ExpertLayout, Item, LayerLayout, PREFILL_KEY_BLOCK, Placement, TableLayout};
use wafersim_program::{Axis, BufferId, Program, Region, Relayout};
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::{Profile, Routing};
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{Cycles, Hertz};

use crate::question::Question;
use crate::routing::expert_load;

/// What goes through the pipeline together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// A micro-batch of decoding tokens.
    Decode {
        /// Tokens in it.
        tokens: u64,
        /// Tokens in the cache that each sees.
        context: u64,
    },
    /// A chunk of a prompt.
    Prefill {
        /// Tokens in it.
        tokens: u64,
        /// Tokens of the prompt before it.
        before: u64,
    },
}

impl Flow {
    const fn tokens(self) -> u64 {
        match self {
            Self::Decode { tokens, .. } | Self::Prefill { tokens, .. } => tokens,
        }
    }
}

/// How a wafer's kernels are read: the rates, and the programs among which the fastest counts.
#[derive(Debug, Clone)]
pub struct LayerReading {
    /// Rates of the machine as the profile sees it.
    pub rates: Rates,
    /// Kernel variants; the hypothetical profiles may always fall back on the published kernels.
    pub variants: Vec<Options>,
    clock: Hertz,
    link_latency_us: f64,
    link_gigabytes: f64,
}

impl LayerReading {
    /// The reading of a profile.
    pub fn new(question: &Question, profile: Profile) -> Self {
        use wafersim_cost::View;
        let view = if profile == Profile::Bound { View::Physics } else { View::Achieved };
        let published = Options::of(Profile::Waferllm);
        let variants = match profile {
            Profile::Waferllm => vec![published],
            Profile::Optimised | Profile::Bound => vec![Options::of(profile), published],
        };
        let value = |key| question.wafer.value(key, RateSet::Silicon);
        Self {
            rates: Rates::new(&question.wafer, RateSet::Silicon, view),
            variants,
            clock: question.clock(),
            link_latency_us: value(Key::LinkLatency),
            link_gigabytes: value(Key::LinkBandwidth),
        }
    }

    /// The fastest variant of a program; the first on a tie.
    fn fastest(&self, write: impl Fn(Options) -> Program) -> ProgramCost {
        let mut best: Option<ProgramCost> = None;
        for &options in &self.variants {
            let candidate = cost(&write(options), &self.rates);
            if best.as_ref().is_none_or(|known| candidate.total().0 < known.total().0) {
                best = Some(candidate);
            }
        }
        best.unwrap_or_default()
    }

    /// One way over a link between neighbouring wafers, with `bytes` of activations.
    fn link(&self, bytes: f64) -> Cost {
        let seconds = self.link_latency_us * 1e-6 + bytes / (self.link_gigabytes * 1e9);
        Cost::of(Cause::Link, Cycles::from_seconds(seconds, self.clock).0)
    }
}

/// What the pipeline takes for one micro-batch or chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct StageTimes {
    /// One pass through the whole pipeline, by operator over all layers, in order of first use.
    pub operators: Vec<OperatorCost>,
    /// The pass in all.
    pub latency: Cost,
    /// The stage that takes longest: it sets how fast micro-batches can follow each other.
    pub slowest: Cycles,
    /// Name of that stage.
    pub slowest_name: String,
    /// Stages: slots that hold something.
    pub stages: u64,
    /// Colors of the program that uses most.
    pub colors: u32,
}

impl StageTimes {
    /// Reads a placement for what flows through it.
    pub fn new(question: &Question, placement: &Placement, reading: &LayerReading, flow: Flow) -> Self {
        let tokens = flow.tokens();
        let layouts: Vec<ProgramCost> =
            placement.layouts.iter().map(|layout| layer_cost(question, layout, reading, flow)).collect();
        let mut times = Self {
            operators: Vec::new(),
            latency: Cost::ZERO,
            slowest: Cycles::ZERO,
            slowest_name: String::new(),
            stages: placement.slots.len() as u64,
            colors: layouts.iter().map(|cost| cost.colors).max().unwrap_or(0),
        };
        // Parts of a table work at the same time: a token is looked up in one of them, and each part of the LM head makes
        // its own logits. They count once on the way of a token, and each in its own stage.
        let tables: Vec<(&TableLayout, ProgramCost)> =
            placement.tables.iter().map(|table| (table, table_cost(question, table, reading, flow))).collect();
        if let Some((_, part)) = tables.iter().find(|(table, _)| !table.is_head) {
            times.add(part, 1);
        }
        for (layout, cost) in placement.layouts.iter().zip(&layouts) {
            times.add(cost, layout.layers);
        }
        if let Some((_, part)) = tables.iter().find(|(table, _)| table.is_head) {
            times.add(part, 1);
        }
        let totals: Vec<f64> = layouts.iter().map(|cost| cost.total().0).collect();
        let bytes =
            question.scenario.precision.activations.storage(question.model.hidden.saturating_mul(tokens)).0 as f64;
        let link = reading.link(bytes);
        let mut between = (Cost::ZERO, Cost::ZERO);
        let mut slowest_slot = None;
        for (index, slot) in placement.slots.iter().enumerate() {
            let layers = slot.items.iter().filter_map(|item| match item {
                Item::Layer(layer) => placement.layout_index(*layer as usize).and_then(|at| totals.get(at)),
                Item::Embedding(_) | Item::LmHead(_) => None,
            });
            let mut stage: f64 = layers.sum();
            stage +=
                tables.iter().filter(|(table, _)| table.slot == index).map(|(_, cost)| cost.total().0).sum::<f64>();
            if let Some(next) = placement.slots.get(index + 1) {
                let hop = region_hop(question, &slot.region, &next.region, slot.wafer == next.wafer, tokens, reading);
                between.0 += hop;
                stage += hop.total().0;
                if slot.wafer != next.wafer {
                    between.1 += link;
                }
            }
            if stage > times.slowest.0 {
                times.slowest = Cycles(stage);
                slowest_slot = Some((index, slot));
            }
        }
        times.slowest_name = slowest_slot.map_or_else(String::new, |(index, slot)| stage_name(index, &slot.items));
        times.add_operator("between regions", between.0);
        if placement.wafers_used > 1 && matches!(flow, Flow::Decode { .. }) {
            // The chosen token goes back to the first wafer: its number, 4 bytes, over one link.
            between.1 += reading.link(4.0 * tokens as f64);
        }
        if placement.wafers_used > 1 {
            times.add_operator("between wafers", between.1);
        }
        times
    }

    fn add(&mut self, program: &ProgramCost, copies: u64) {
        for operator in &program.operators {
            self.add_operator(&operator.name, operator.cost * copies as f64);
        }
    }

    fn add_operator(&mut self, name: &str, cost: Cost) {
        self.latency += cost;
        match self.operators.iter_mut().find(|known| known.name == name) {
            Some(known) => known.cost += cost,
            None => self.operators.push(OperatorCost { name: name.to_owned().into(), cost }),
        }
    }
}

fn stage_name(index: usize, items: &[Item]) -> String {
    match items {
        [] => format!("slot {index}"),
        [only] => format!("slot {index} ({only})"),
        [first, .., last] => format!("slot {index} ({first} to {last})"),
    }
}

fn region(columns: u64, rows: u64) -> Region {
    Region::new(0, 0, columns, rows)
}

fn expert_shape(experts: Option<&ExpertLayout>) -> ExpertShape {
    match experts {
        Some(layout) if layout.placement == wafersim_spec::scenario::ExpertPlacement::Clustered => {
            let cell = layout.rectangle(0);
            ExpertShape::Clustered { columns: cell.columns, rows: cell.rows }
        }
        _ => ExpertShape::Spread,
    }
}

fn layer_load(layout: &LayerLayout, tokens: u64, routing: Routing) -> ExpertLoad {
    match &layout.layer.feed_forward {
        FeedForward::Dense { .. } => ExpertLoad { pairs: tokens, distinct: 1, busiest: tokens },
        FeedForward::Moe(moe) => {
            let mut load = expert_load(moe, tokens, routing);
            // Experts that share a rectangle work one after the other.
            if let Some(experts) = layout.experts.as_ref().filter(|experts| experts.most_in_a_cell() > 1) {
                load.busiest = load.busiest.saturating_mul(experts.most_in_a_cell()).min(load.pairs);
            }
            load
        }
    }
}

/// The cost of one layer in its region.
fn layer_cost(question: &Question, layout: &LayerLayout, reading: &LayerReading, flow: Flow) -> ProgramCost {
    let scenario = &question.scenario;
    let (tokens, context) = match flow {
        Flow::Decode { tokens, context } => (tokens, context),
        Flow::Prefill { tokens, before } => (tokens, before),
    };
    let kv = KvShape {
        heads_per_block: layout.kv.heads_per_block,
        columns_per_head: layout.kv.columns_per_head,
        dimension_split: layout.kv.dimension_split,
        sequence_split: layout.kv.sequence_split,
    };
    let load = layer_load(layout, tokens, scenario.routing);
    reading.fastest(|options| {
        let shape = LayerShape {
            layer: &layout.layer,
            hidden: layout.hidden,
            region: region(layout.columns, layout.rows),
            kv,
            experts: expert_shape(layout.experts.as_ref()),
            precision: scenario.precision,
            tokens,
            context,
            key_block: PREFILL_KEY_BLOCK,
            load,
            options,
        };
        match flow {
            Flow::Decode { .. } => decode_layer(&shape),
            Flow::Prefill { .. } => prefill_layer(&shape),
        }
    })
}

/// Lookup, or final norm, logits and sampling. Logits are wanted for every decoding token, and for the last token of a
/// prompt only.
fn table_cost(question: &Question, table: &TableLayout, reading: &LayerReading, flow: Flow) -> ProgramCost {
    let (here, hidden) = (region(table.columns, table.rows), question.model.hidden);
    let precision = question.scenario.precision;
    let rows = match flow {
        Flow::Decode { tokens, .. } => tokens,
        Flow::Prefill { .. } => 1,
    };
    reading.fastest(|options| {
        if table.is_head {
            head::lm_head(here, hidden, table.part.entries, rows, precision, options)
        } else {
            head::embedding(here, hidden, flow.tokens(), precision, options)
        }
    })
}

/// The way of the residual stream from one region to the next: a scatter or gather along the way. On one wafer from
/// corner to corner; to another wafer across the rest of this one and the start of the next, at most one side of each.
fn region_hop(
    question: &Question,
    from: &wafersim_place::Rectangle,
    to: &wafersim_place::Rectangle,
    same_wafer: bool,
    tokens: u64,
    reading: &LayerReading,
) -> Cost {
    let across = |a: u64, b: u64| a.abs_diff(b);
    let hops = if same_wafer {
        across(from.x, to.x) + across(from.y, to.y)
    } else {
        from.columns.max(from.rows) + to.columns.max(to.rows)
    };
    let share = region(from.columns, from.rows).share(Axis::Y, question.model.hidden).saturating_mul(tokens);
    let moved = Relayout {
        axis: Axis::X,
        hops,
        wavelets: question.scenario.precision.activations.wavelets(share),
        source: BufferId(0),
        target: BufferId(0),
        accumulate: false,
        colors: Vec::new(),
    };
    formula::relayout(&moved, &reading.rates)
}
