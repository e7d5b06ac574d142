//! The stages of the pipeline: what each slot takes for a micro-batch, and what lies between slots and wafers.

use wafersim_cost::{Cause, Cost, OperatorCost, ProgramCost, Rates, cost};
use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::{ExpertShape, KvShape, LayerShape, Options, decode_layer, head, prefill_layer};
use wafersim_place::{ExpertLayout, Item, LayerLayout, PREFILL_KEY_BLOCK, Placement, TableLayout};
use wafersim_program::{Action, Axis, Program, Region, Relayout};
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::{Profile, Routing};
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{Cycles, Hertz, Precision};

use crate::question::Question;
use crate::routing::expert_load;

/// What goes through the pipeline together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// A micro-batch of decoding tokens.
    Decode {
        /// Tokens in it.
        tokens: u64,
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
            Self::Decode { tokens } | Self::Prefill { tokens, .. } => tokens,
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
        };
        let hidden = question.model.hidden;
        let bytes = question.scenario.precision.activations.storage(hidden.saturating_mul(tokens)).0 as f64;
        let mut head_done = false;
        for (index, slot) in placement.slots.iter().enumerate() {
            let mut stage = Cost::ZERO;
            for item in &slot.items {
                let table = |is_head: bool| {
                    placement.tables.iter().find(|table| table.slot == index && table.is_head == is_head)
                };
                let item_cost = match item {
                    Item::Layer(layer) => {
                        placement.layout_index(*layer as usize).and_then(|at| layouts.get(at)).cloned()
                    }
                    Item::Embedding(_) => table(false).map(|table| embedding_cost(question, table, reading, tokens)),
                    Item::LmHead(_) => table(true).map(|table| head_cost(question, table, reading, flow)),
                }
                .unwrap_or_default();
                // Parts of a table work at the same time: one token is looked up in one of them, and each part of the LM
                // head makes its own logits. They count once on the way of a token, and each in its own stage.
                let counted = match item {
                    Item::Embedding(part) => part.part == 0,
                    Item::LmHead(_) => !std::mem::replace(&mut head_done, true),
                    Item::Layer(_) => true,
                };
                if counted {
                    times.add(&item_cost.operators);
                }
                stage += item_cost.cost();
            }
            if let Some(next) = placement.slots.get(index + 1) {
                let hop = region_hop(question, &slot.region, &next.region, slot.wafer == next.wafer, tokens, reading);
                times.add(&[OperatorCost { name: "between regions".into(), cost: hop }]);
                stage += hop;
                if slot.wafer != next.wafer {
                    let link = reading.link(bytes);
                    times.add(&[OperatorCost { name: "between wafers".into(), cost: link }]);
                }
            }
            if stage.total().0 > times.slowest.0 {
                times.slowest = stage.total();
                times.slowest_name = stage_name(index, slot.items.first(), slot.items.last());
            }
        }
        if placement.wafers_used > 1 && matches!(flow, Flow::Decode { .. }) {
            // The chosen token goes back to the first wafer: its number, 4 bytes, over one link.
            let back = reading.link(4.0 * tokens as f64);
            times.add(&[OperatorCost { name: "between wafers".into(), cost: back }]);
        }
        times
    }

    fn add(&mut self, operators: &[OperatorCost]) {
        for operator in operators {
            self.latency += operator.cost;
            match self.operators.iter_mut().find(|known| known.name == operator.name) {
                Some(known) => known.cost += operator.cost,
                None => self.operators.push(operator.clone()),
            }
        }
    }
}

fn stage_name(index: usize, first: Option<&Item>, last: Option<&Item>) -> String {
    match (first, last) {
        (Some(first), Some(last)) if first != last => format!("slot {index} ({first} to {last})"),
        (Some(only), _) => format!("slot {index} ({only})"),
        _ => format!("slot {index}"),
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
        Flow::Decode { tokens } => (tokens, scenario.context),
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

fn embedding_cost(question: &Question, table: &TableLayout, reading: &LayerReading, tokens: u64) -> ProgramCost {
    let precision = table_precision(question);
    reading.fastest(|options| {
        head::embedding(region(table.columns, table.rows), question.model.hidden, tokens, precision, options)
    })
}

/// Logits are wanted for every decoding token, and for the last token of a prompt only.
fn head_cost(question: &Question, table: &TableLayout, reading: &LayerReading, flow: Flow) -> ProgramCost {
    let rows = match flow {
        Flow::Decode { tokens } => tokens,
        Flow::Prefill { .. } => 1,
    };
    let precision = table_precision(question);
    reading.fastest(|options| {
        let here = region(table.columns, table.rows);
        head::lm_head(here, question.model.hidden, table.part.entries, rows, precision, options)
    })
}

const fn table_precision(question: &Question) -> Precision {
    question.scenario.precision
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
    let mut program = Program::new("between regions", region(from.columns, from.rows));
    let share = program.region.share(Axis::Y, question.model.hidden).saturating_mul(tokens);
    let source = program.buffer("residual", share, question.scenario.precision.activations);
    let wavelets = program.buffer_of(source).wavelets();
    let action = Action::Relayout(Relayout {
        axis: Axis::X,
        hops,
        wavelets,
        source,
        target: source,
        accumulate: false,
        colors: Vec::new(),
    });
    let node = program.step(action);
    program.push("between regions", vec![node]);
    cost(&program, &reading.rates).cost()
}
