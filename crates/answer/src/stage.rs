//! The stages of the pipeline: what each slot takes for a micro-batch, and what lies between slots and wafers.

use std::borrow::Cow;
use std::sync::Arc;

use wafersim_cost::{AfterWork, Cause, Cost, OperatorCost, ProgramCost, Rates, View, cost, formula};
use wafersim_place::{Item, Placement, Slot, TableLayout};
use wafersim_program::{Axis, BufferId, End, Program, Region, Relayout};
use wafersim_spec::scenario::Profile;
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{Cycles, Hertz, Wafer};

use crate::known::Lowered;
use crate::question::Question;
use crate::written::{Flow, Written};

/// How programs are read: the rates of the machine as a profile sees it, and what lies between its wafers.
#[derive(Debug, Clone)]
pub struct LayerReading {
    /// Rates of the machine as the profile sees it.
    pub rates: Rates,
    clock: Hertz,
    link_latency_us: f64,
    link_gigabytes: f64,
    ports: Ports,
}

/// Where the words of a link come back onto the fabric: nothing is published about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ports {
    /// On the rows on which they left it.
    SameRows,
    /// On those where they are wanted, so that no way along y is left.
    AnyRows,
}

impl LayerReading {
    /// The reading of a profile.
    pub fn new(question: &Question, profile: Profile) -> Self {
        Self::of(&question.wafer, question.clock(), profile)
    }

    /// The same of a wafer at a clock.
    pub(crate) fn of(wafer: &Wafer, clock: Hertz, profile: Profile) -> Self {
        let view = if profile == Profile::Ideal { View::Physics } else { View::Achieved };
        let value = |key| wafer.value(key, RateSet::Silicon);
        Self {
            rates: Rates::new(wafer, RateSet::Silicon, view),
            clock,
            link_latency_us: value(Key::LinkLatency),
            link_gigabytes: value(Key::LinkBandwidth),
            ports: Ports::SameRows,
        }
    }

    /// The same with other ports.
    pub(crate) fn with_ports(self, ports: Ports) -> Self {
        Self { ports, ..self }
    }

    /// The same with transfers that begin another way after work.
    pub(crate) fn with_transfers(mut self, after_work: AfterWork) -> Self {
        self.rates.after_work = after_work;
        self
    }

    /// The clock that times are turned into cycles by.
    pub(crate) const fn clock(&self) -> Hertz {
        self.clock
    }

    /// What the links of a wafer carry.
    pub(crate) fn link_bytes_per_second(&self) -> f64 {
        self.link_gigabytes * 1e9
    }

    /// The way along y that is left between rows of neighbouring wafers.
    fn between_rows(&self, from: u64, to: u64) -> u64 {
        match self.ports {
            Ports::SameRows => from.abs_diff(to),
            Ports::AnyRows => 0,
        }
    }

    /// What a program takes.
    pub(crate) fn read(&self, program: &Program) -> ProgramCost {
        cost(program, &self.rates)
    }

    /// The same of a program of which something is known.
    pub(crate) fn cost_of(&self, program: &Lowered) -> Arc<ProgramCost> {
        program.cost(&self.rates)
    }

    /// One way over a link between neighbouring wafers, with `bytes` of activations.
    pub(crate) fn link(&self, bytes: f64) -> Cost {
        let seconds = self.link_latency_us * 1e-6 + bytes / self.link_bytes_per_second();
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
    /// Reads the programs of a placement.
    pub fn read(question: &Question, placement: &Placement, written: &Written, reading: &LayerReading) -> Self {
        let layouts: Vec<_> = written.layouts.iter().map(|program| reading.cost_of(program)).collect();
        Self::assemble(question, placement, written, reading, &layouts)
    }

    /// Puts a pass together from what a layer of each layout takes, however that was found; all else is read in closed
    /// form.
    pub(crate) fn assemble(
        question: &Question,
        placement: &Placement,
        written: &Written,
        reading: &LayerReading,
        layouts: &[Arc<ProgramCost>],
    ) -> Self {
        let (flow, tokens) = (written.flow, written.flow.tokens());
        let mut times = Self {
            operators: Vec::with_capacity(OPERATORS),
            latency: Cost::ZERO,
            slowest: Cycles::ZERO,
            slowest_name: String::new(),
            stages: placement.slots.len() as u64,
            colors: layouts.iter().map(|cost| cost.colors).max().unwrap_or(0),
        };
        // Parts of a table work at the same time: a token is looked up in one of them, and each part of the LM head
        // makes its own logits. They count once on the way of a token, and each in its own stage.
        let tables: Vec<(&TableLayout, Arc<ProgramCost>)> = placement
            .tables
            .iter()
            .zip(&written.tables)
            .map(|(table, program)| (table, reading.cost_of(program)))
            .collect();
        if let Some((_, part)) = tables.iter().find(|(table, _)| !table.is_head) {
            times.add(part, 1);
        }
        for (layout, cost) in placement.layouts.iter().zip(layouts) {
            times.add(cost, layout.layers);
        }
        if let Some((_, part)) = tables.iter().find(|(table, _)| table.is_head) {
            times.add(part, 1);
        }
        if written.is_refused() {
            times.latency += Cost::of(Cause::Compute, f64::INFINITY);
        }
        let totals: Vec<f64> = layouts.iter().map(|cost| cost.total().0).collect();
        let bytes =
            question.scenario.precision.activations.storage(question.model.hidden.saturating_mul(tokens)).0 as f64;
        let link = reading.link(bytes);
        let mut between = (Cost::ZERO, Cost::ZERO);
        let mut slowest_slot = None;
        // Wafers repeat, so that slots lie to the next one as others do.
        let mut known: Vec<(Neighbours, Cost)> = Vec::with_capacity(16);
        let mut hop_between = |slot: &Slot, next: &Slot| {
            let neighbours = Neighbours::of(slot, next);
            if let Some((_, hop)) = known.iter().find(|(known, _)| *known == neighbours) {
                return *hop;
            }
            let hop = slot_hop(question, slot, next, tokens, reading);
            known.push((neighbours, hop));
            hop
        };
        for (index, slot) in placement.slots.iter().enumerate() {
            let layers = slot.items.iter().filter_map(|item| match item {
                Item::Layer(layer) => placement.layout_index(*layer as usize).and_then(|at| totals.get(at)),
                Item::Embedding(_) | Item::LmHead(_) => None,
            });
            let mut stage: f64 = layers.sum();
            stage +=
                tables.iter().filter(|(table, _)| table.slot == index).map(|(_, cost)| cost.total().0).sum::<f64>();
            if let Some(next) = placement.slots.get(index + 1) {
                let hop = hop_between(slot, next);
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
        if placement.wafers_used > 1 && matches!(flow, Flow::Decode { .. }) {
            // The chosen token goes back to the first wafer: its number, 4 bytes, over one link.
            between.1 += reading.link(4.0 * tokens as f64);
            between.0 += return_hop(question, placement, tokens, reading);
        }
        times.add_operator(Cow::Borrowed("between regions"), between.0);
        if placement.wafers_used > 1 {
            times.add_operator(Cow::Borrowed("between wafers"), between.1);
        }
        times
    }

    fn add(&mut self, program: &ProgramCost, copies: u64) {
        for operator in &program.operators {
            self.add_operator(operator.name.clone(), operator.cost * copies as f64);
        }
    }

    fn add_operator(&mut self, name: Cow<'static, str>, cost: Cost) {
        self.latency += cost;
        match self.operators.iter_mut().find(|known| known.name == name) {
            Some(known) => known.cost += cost,
            None => self.operators.push(OperatorCost { name, cost }),
        }
    }
}

/// About as many operators as a pass has.
const OPERATORS: usize = 32;

/// How a slot lies to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Neighbours {
    here: Region,
    there: Region,
    is_one_wafer: bool,
}

impl Neighbours {
    fn of(slot: &Slot, next: &Slot) -> Self {
        Self { here: slot.region, there: next.region, is_one_wafer: slot.wafer == next.wafer }
    }
}

fn stage_name(index: usize, items: &[Item]) -> String {
    match items {
        [] => format!("slot {index}"),
        [only] => format!("slot {index} ({only})"),
        [first, .., last] => format!("slot {index} ({first} to {last})"),
    }
}

/// The way of the residual stream from one slot to the next: a scatter or gather along the way.
///
/// The stream lies along y and every column of a region holds it, so that on one wafer the corner moves to the next
/// corner. Between wafers it goes out through the nearer of the west and the east edge and in through the nearer one of
/// the next wafer. It starts in the slot's column next to the edge, and has to reach the farthest column of the next
/// slot and that slot's rows. A guess: nothing is published about where a link leaves the fabric. The columns kept for
/// host copies lie at these edges; ports that put words on any row would save the way along y, ports on few rows would
/// make it longer.
pub(crate) fn slot_hop(question: &Question, from: &Slot, to: &Slot, tokens: u64, reading: &LayerReading) -> Cost {
    let (here, there) = (&from.region, &to.region);
    let moved = |hops: u64, region: &Region| {
        let share = Region::new(0, 0, region.columns, region.rows).share(Axis::Y, question.model.hidden);
        way(question, hops, share.saturating_mul(tokens), reading)
    };
    if from.wafer == to.wafer {
        return moved(here.x.abs_diff(there.x) + here.y.abs_diff(there.y), here);
    }
    let along_y = reading.between_rows(here.y, there.y);
    // One hop more, onto the edge.
    moved(to_edge(question, here) + 1, here) + moved(to_edge(question, there) + there.columns + along_y, there)
}

/// The way of a chosen token's number: out of the last slot's wafer, into the first wafer and all over the first slot.
pub(crate) fn return_hop(question: &Question, placement: &Placement, tokens: u64, reading: &LayerReading) -> Cost {
    match (placement.slots.last(), placement.slots.first()) {
        (Some(last), Some(first)) if last.wafer != first.wafer => {
            let (from, to) = (&last.region, &first.region);
            let moved = |hops: u64| way(question, hops, tokens.saturating_mul(2), reading);
            moved(to_edge(question, from) + 1)
                + moved(to_edge(question, to) + to.columns + reading.between_rows(from.y, to.y))
        }
        _ => Cost::ZERO,
    }
}

/// Columns between a region and the nearer of the west and the east edge.
fn to_edge(question: &Question, region: &Region) -> u64 {
    region.x.min(question.wafer.columns().saturating_sub(region.x + region.columns))
}

/// So many elements through each row, over so many hops.
fn way(question: &Question, hops: u64, elements: u64, reading: &LayerReading) -> Cost {
    let moved = Relayout {
        axis: Axis::X,
        hops,
        wavelets: question.scenario.precision.activations.wavelets(elements),
        others: Vec::new(),
        farthest: End::First,
        source: BufferId::NONE,
        target: BufferId::NONE,
        accumulate: false,
        colors: Vec::new(),
    };
    formula::relayout(&moved, &reading.rates)
}
