//! A placement as a line of stations that passes go through: what a discrete-event engine above needs of the closed
//! form.
//!
//! A *station* is a slot or a link between wafers; it serves one pass after the other. A *pass* is a micro-batch of
//! decoding tokens or a chunk of a prompt. Each station has two times for a pass: its *transit*, after which the pass
//! is at the next station, and its *occupancy*, after which it takes the next pass. They differ where the closed form
//! says so: parts of a table work at the same time, so a token does not wait for its second part, but the slot is busy
//! with it; a link is busy while bytes enter it, and they arrive its latency later. The transits of a pass add up to
//! the latency of [`crate::StageTimes`], and the largest occupancy of a slot is its slowest stage
//! (`tests/pipeline.rs`).
//!
//! This module owns no load, no queue and no clock.

use std::sync::Arc;

use serde::Serialize;
use wafersim_lower::ExpertLoad;
use wafersim_mapping::{Mapped, Resolved};
use wafersim_place::{Item, Placement};
use wafersim_program::Program;
use wafersim_spec::model::{FeedForward, Reach};
use wafersim_spec::scenario::{PrefillPlace, WaferCount};
use wafersim_spec::{Bytes, Cycles, Hertz};

use crate::candidates::{Way, candidates, way, with_room_for_draft};
use crate::chosen::{Chosen, Source};
use crate::decode::{DecodeTiming, DraftTime};
use crate::draft::{Drafts, wafers_used};
use crate::error::AnswerError;
use crate::first_token::{FirstTokenTime, PrefillElsewhere, external, not_there};
use crate::known::Lowered;
use crate::prefill::{Batch, PromptPrograms};
use crate::question::Question;
use crate::read::{Timed, fastest};
use crate::stage::{LayerReading, StageTimes, return_hop, slot_hop};
use crate::written::{Flow, Kept, Written};

/// A thing that serves one pass at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Station {
    /// A slot, by its index in [`Placement::slots`], and the wafer that it is on.
    Slot {
        /// Index of the slot.
        slot: u32,
        /// Its wafer.
        wafer: u32,
    },
    /// The link from a wafer to the next one.
    Link {
        /// The wafer that sends.
        wafer: u32,
    },
    /// The way of chosen tokens from the last wafer to the first.
    Return,
}

/// What a station takes for a pass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StationTime {
    /// Until the pass is at the next station.
    pub transit: Cycles,
    /// Until the station takes the next pass; never shorter than what keeps passes in order.
    pub occupancy: Cycles,
}

/// What all stations take for a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct PassTimes {
    /// By station, in order.
    pub stations: Vec<StationTime>,
    /// From the last station to the end, where the pass is a train of tokens that leave one after the other.
    pub tail: Cycles,
}

impl PassTimes {
    /// One pass through an empty pipeline.
    pub fn latency(&self) -> Cycles {
        self.stations.iter().map(|station| station.transit).sum::<Cycles>() + self.tail
    }

    /// The longest occupancy.
    pub fn slowest(&self) -> Cycles {
        self.stations.iter().fold(Cycles::ZERO, |slowest, station| slowest.max(station.occupancy))
    }
}

/// Room for keys and values in the slots, in the bytes of one processing element.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KvRoom {
    /// The different ways that layers look back; tokens are counted for each.
    #[serde(skip)]
    pub reaches: Vec<Reach>,
    /// Slots with different contents.
    pub slots: Vec<SlotRoom>,
    /// Bytes of one token in all layers that see everything, over all processing elements.
    pub bytes_per_token: Bytes,
}

/// Room of one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SlotRoom {
    /// Bytes for keys and values in its fullest processing element.
    pub room: Bytes,
    /// Its layers.
    pub layers: Vec<LayerRoom>,
}

/// What the tokens of a layer take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LayerRoom {
    /// Index into [`KvRoom::reaches`].
    pub reach: usize,
    /// Bytes in a processing element of each token that it holds a part of.
    pub bytes: Bytes,
    /// Places among which tokens are shared out.
    pub places: u64,
}

impl KvRoom {
    /// Whether so many tokens (one count for each reach) fit every slot.
    pub fn holds(&self, tokens: &[u64]) -> bool {
        self.slots.iter().all(|slot| {
            let used = slot.layers.iter().map(|layer| {
                let here = tokens.get(layer.reach).copied().unwrap_or(0).div_ceil(layer.places.max(1));
                layer.bytes * here
            });
            used.sum::<Bytes>() <= slot.room
        })
    }

    /// Most tokens of every reach at once, where all see everything: the capacity of the pipeline.
    pub fn tokens(&self) -> u64 {
        let (mut low, mut high) = (0u64, wafersim_place::UNLIMITED);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.holds(&vec![middle; self.reaches.len().max(1)]) { low = middle } else { high = middle }
        }
        low
    }
}

/// The routed experts of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    /// The layer.
    pub layer: u64,
    /// How many there are.
    pub experts: u64,
    /// How many a token uses.
    pub top_k: u64,
    /// Experts that share a rectangle, where they are clustered; nothing where they are spread over the region.
    pub rectangle: Option<u64>,
}

/// A placement with the reading of one profile.
#[derive(Debug, Clone)]
pub struct Pipeline {
    question: Question,
    source: Source,
    mapped: Mapped,
    reading: LayerReading,
    stations: Vec<Station>,
    timing: DecodeTiming,
    draft: Option<Drafter>,
    /// Tokens of a prompt that stream together.
    batch: Batch,
    /// Other wafers that compute prompts, where they are arranged for themselves.
    others: Option<Box<Self>>,
}

/// The draft model by itself, and where it lies.
#[derive(Debug, Clone)]
struct Drafter {
    question: Question,
    mapped: Mapped,
}

/// How the tokens of the scenario's prompt stream soonest, all behind its context.
fn streaming(question: &Question, mapped: &Mapped, reading: &LayerReading) -> Batch {
    let all = Batch::all(question, mapped, question.scenario.context.max(1), &mut Kept::default());
    let timed = all.into_iter().map(|(batch, written)| {
        let times = StageTimes::read(question, &mapped.placement, &written, reading);
        let further = question.scenario.prompt.max(1).div_ceil(batch.tokens) - 1;
        ((times.latency.total() + times.slowest * further as f64).0, batch)
    });
    let fastest = timed.reduce(|best, other| if other.0 < best.0 { other } else { best });
    fastest.map_or_else(|| Batch::single(mapped), |(_, batch)| batch)
}

impl Pipeline {
    /// The placement that answers a question fastest under the scenario's profile, as `simctl run` takes it; or, where
    /// a micro-batch is given, the fastest of the KV layouts for that micro-batch.
    ///
    /// # Errors
    /// Where the model does not fit, or its kernels need more colors than there are.
    pub fn new(question: Question, micro_batch: Option<u64>) -> Result<Self, AnswerError> {
        let profile = question.scenario.profile;
        let reading = LayerReading::new(&question, profile);
        let ways = match micro_batch {
            None => candidates(&question, profile)?.into_iter().flat_map(|found| found.ways).collect(),
            Some(size) => given(&question, size.clamp(1, question.scenario.users))?,
        };
        let timed = ways.iter().map(|way| Timed::new(&question, way, &reading)).collect();
        let Timed { way, timing, .. } = fastest(&question, timed)?;
        let Way { source, mapping, mapped, draft, .. } = way.clone();
        PromptPrograms::new(&question, &mapped, &mut Kept::default()).check_all(&mapping)?;
        let stations = stations(&mapped.placement);
        let batch = streaming(&question, &mapped, &reading);
        let draft = question.of_draft().zip(draft);
        let draft = draft.map(|(question, mapped)| Drafter { question, mapped });
        let others = question.prompts_there().map(|there| Self::new(there.clone(), None).map(Box::new));
        let others = others.transpose().map_err(not_there)?;
        Ok(Self { question, source, mapped, reading, stations, timing, draft, batch, others })
    }

    /// The question.
    pub const fn question(&self) -> &Question {
        &self.question
    }

    /// The mapping that it works by, with every number.
    ///
    /// # Errors
    /// Where a recipe that is built in cannot be read.
    pub fn resolved_mapping(&self) -> Result<Resolved, AnswerError> {
        Ok(Chosen::new(&self.question, self.source)?.resolved(&self.mapped))
    }

    /// The placement with every decision of its layers.
    pub const fn mapped(&self) -> &Mapped {
        &self.mapped
    }

    /// The placement.
    pub fn placement(&self) -> &Placement {
        &self.mapped.placement
    }

    /// Wafers up to the last one that holds something, a draft model included.
    pub fn wafers_used(&self) -> u32 {
        wafers_used(self.placement(), self.draft.as_ref().map(|draft| &*draft.mapped.placement))
    }

    /// Users whose tokens may go through together: the micro-batch that the placement has buffers for.
    pub const fn micro_batch(&self) -> u64 {
        self.timing.micro_batch
    }

    /// Decoding of the question's users on this placement, in closed form.
    pub const fn timing(&self) -> &DecodeTiming {
        &self.timing
    }

    /// Stations in the order of a pass.
    pub fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// The clock.
    pub fn clock(&self) -> Hertz {
        self.question.clock()
    }

    /// A micro-batch of `tokens` decoding tokens, each of which sees `context` tokens. `experts` replaces the expected
    /// load of the routed experts.
    pub fn decode(&self, tokens: u64, context: u64, experts: Option<ExpertLoad>) -> PassTimes {
        self.pass(self.decoding(tokens, context), experts)
    }

    /// So many tokens of as many users, or of fewer with the tokens of a draft each.
    fn decoding(&self, tokens: u64, context: u64) -> Flow {
        let each = self.tokens_per_pass();
        let users = if tokens.is_multiple_of(each) { tokens / each } else { tokens };
        Flow::Decode { tokens, users, context }
    }

    /// A chunk of `tokens` tokens of a prompt, after `before` tokens that are in the cache, by the prefill kernels.
    pub fn prefill_chunk(&self, tokens: u64, before: u64) -> PassTimes {
        self.pass(Flow::Prefill { tokens: tokens.max(1), before }, None)
    }

    /// The same chunk through the decode kernels: a train of tokens, or of batches of neighbours, one behind the other
    /// in the time of the slowest slot. The context in the middle of the chunk counts.
    pub fn prefill_train(&self, tokens: u64, before: u64) -> PassTimes {
        let tokens = tokens.max(1);
        let each = self.batch.tokens.min(tokens);
        let count = tokens.div_ceil(each);
        let middle = before.saturating_add((tokens / 2).saturating_sub(each / 2));
        let one = self.pass_of(&self.batch.mapped, Flow::Batch { tokens: each, before: middle }, None);
        let slots = one.stations.iter().zip(&self.stations);
        let slowest = slots.filter(|(_, station)| !matches!(station, Station::Return));
        let slowest = slowest.fold(Cycles::ZERO, |slowest, (time, _)| slowest.max(time.occupancy));
        let train = one.stations.iter().zip(&self.stations).map(|(time, station)| match station {
            // No token is chosen from a prompt but the last, and a chunk's way ends at the head.
            Station::Return => StationTime::default(),
            _ => StationTime { occupancy: time.occupancy * count as f64, ..*time },
        });
        PassTimes { stations: train.collect(), tail: slowest * (count - 1) as f64 }
    }

    /// Tokens of a user in one pass: 1, or a draft and the token after it where they are verified together.
    pub fn tokens_per_pass(&self) -> u64 {
        self.question.tokens_per_pass(self.timing.verified)
    }

    /// Passes of a step: 1, or one for each token of a draft and one more where they follow each other.
    pub const fn passes_per_step(&self) -> u64 {
        self.timing.passes
    }

    /// What the draft of a user's step takes at a context; nothing without speculation.
    pub fn draft(&self, context: u64) -> DraftTime {
        match (&self.draft, self.question.scenario.speculation.cost()) {
            _ if self.timing.verified.is_none() => DraftTime::default(),
            (Some(Drafter { question, mapped }), None) => {
                let flow = Flow::Decode { tokens: 1, users: 1, context };
                let written = Written::new(question, mapped, flow);
                let pass = StageTimes::read(question, &mapped.placement, &written, &self.reading);
                DraftTime::by_model(&self.question, &pass)
            }
            (_, cost) => DraftTime::by_cost(&self.question, cost.unwrap_or(0.0), self.latency(context)),
        }
    }

    /// One step of one user on the idle machine at a context.
    pub fn step(&self, context: u64) -> Cycles {
        let pass = self.decode(self.tokens_per_pass(), context, None);
        pass.latency() + pass.slowest() * (self.passes_per_step() - 1) as f64 + self.draft(context).latency
    }

    /// Hops of 32-bit wavelets from router to router in the layers and tables, for each output token: those of drafts
    /// that are not accepted included, ways from slot to slot left out.
    ///
    /// # Errors
    /// Where a layer cannot be written as its mapping says, or moves what it has not.
    pub fn wavelet_hops_per_token(&self) -> Result<f64, AnswerError> {
        let users = self.timing.micro_batch;
        let tokens = users.saturating_mul(self.tokens_per_pass());
        let flow = Flow::Decode { tokens, users, context: self.question.scenario.context };
        let written = Written::new(&self.question, &self.mapped, flow);
        written.check("found")?;
        let hops = |program: &Program, times: u64| {
            let hops = program.wavelet_hops(&self.question.shared.routers.movements);
            let moved = |problem: String| AnswerError::NotANumber { what: "the hops of a layer", value: problem };
            Ok::<f64, AnswerError>(hops.map_err(moved)? as f64 * times as f64)
        };
        let mut all = 0.0;
        for (layout, program) in self.placement().layouts.iter().zip(&written.layouts) {
            all += hops(program, layout.layers)?;
        }
        for program in &written.tables {
            all += hops(program, 1)?;
        }
        Ok(all * self.passes_per_step() as f64 / (users.max(1) as f64 * self.timing.tokens_per_step))
    }

    /// One token's latency at a context: what a draft's cost is a fraction of.
    pub fn latency(&self, context: u64) -> Cycles {
        self.decode(1, context, None).latency()
    }

    /// Contexts at which the time of a decoding token changes, ascending, 1 first: tokens are shared out over the
    /// places of a layer's region, and only the fullest place counts.
    pub fn context_steps(&self, longest: u64) -> Vec<u64> {
        let mut steps = vec![1];
        // The time of a layer with a state does not depend on the context.
        for layout in self.placement().layouts.iter().filter(|layout| layout.kv.shape.state.is_none()) {
            let places = layout.kv.token_places().max(1);
            let reach = layout.kv.shape.reach.visible(longest);
            steps.extend(
                (1..).map(|index: u64| index.saturating_mul(places)).take_while(|at| *at < reach).map(|at| at + 1),
            );
        }
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// The largest chunk of a prompt that fits, in tokens.
    pub fn largest_chunk(&self) -> u64 {
        self.placement().prefill_chunk_tokens()
    }

    /// The wafers that compute prompts: these, as many others that are arranged like them, or others that are arranged
    /// for themselves; nothing where no wafers do.
    pub fn of_prompts(&self) -> Option<&Self> {
        match (self.question.scenario.prefill.place, &self.others) {
            (PrefillPlace::External, _) => None,
            (PrefillPlace::OtherWafers, Some(others)) => Some(others),
            (PrefillPlace::Same | PrefillPlace::OtherWafers, _) => Some(self),
        }
    }

    /// How many wafers compute prompts beside those that decode.
    pub fn prefill_wafers(&self) -> u32 {
        let prefill = &self.question.scenario.prefill;
        match prefill.place {
            PrefillPlace::Same | PrefillPlace::External => 0,
            PrefillPlace::OtherWafers => prefill.wafers.unwrap_or(self.placement().wafers_used),
        }
    }

    /// Bytes of keys and values that cross from where prompts are computed in a second.
    pub fn kv_bytes_per_second(&self) -> f64 {
        let given = self.question.scenario.prefill.bandwidth;
        given.unwrap_or_else(|| self.reading.link_bytes_per_second())
    }

    /// The time to first token of the closed form, for the scenario's prompt.
    pub fn closed_form_first_token(&self) -> FirstTokenTime {
        let prompt = match self.of_prompts() {
            Some(Self { question, mapped, reading, .. }) => {
                let programs = PromptPrograms::new(question, mapped, &mut Kept::default());
                programs.time(question, &mapped.placement, reading)
            }
            None => external(&self.question, self.clock()),
        };
        let step = || self.step(self.question.scenario.prompt.max(1));
        FirstTokenTime::behind(&self.question, prompt, step, &self.reading)
    }

    /// What is said of it part by part, where prompts are computed elsewhere.
    pub fn prefill_elsewhere(&self, time: &FirstTokenTime) -> Option<PrefillElsewhere> {
        time.said(&self.question, self.prefill_wafers(), &self.reading)
    }

    /// The closed form of one pass on this placement.
    pub fn closed_form(&self, tokens: u64, context: u64) -> StageTimes {
        let flow = self.decoding(tokens, context);
        let written = Written::new(&self.question, &self.mapped, flow);
        StageTimes::read(&self.question, self.placement(), &written, &self.reading)
    }

    /// Room for keys and values, those of a draft model included.
    pub fn kv_room(&self) -> KvRoom {
        let placements =
            || std::iter::once(self.placement()).chain(self.draft.as_ref().map(|draft| &*draft.mapped.placement));
        let cache = self.placement().settings.precision.kv_cache;
        let mut reaches = Vec::new();
        let mut bytes_per_token = Bytes::ZERO;
        let mut slots: Vec<SlotRoom> = Vec::new();
        let placed = placements().flat_map(|placement| {
            placement.slots.iter().zip(&placement.ledger.slots).map(move |(slot, ledger)| (placement, slot, ledger))
        });
        for (placement, slot, ledger) in placed {
            let mut layers = Vec::new();
            let mut states = Bytes::ZERO;
            for item in &slot.items {
                let Item::Layer(layer) = item else { continue };
                let Some(layout) = placement.layer(*layer as usize) else { continue };
                let kv = &layout.kv;
                if kv.shape.state.is_some() {
                    // Those of the scenario's users have their room; they take none for a token.
                    states += kv.cache_bytes(&placement.settings.kv_load());
                    continue;
                }
                let reach = reaches.iter().position(|known| *known == kv.shape.reach).unwrap_or_else(|| {
                    reaches.push(kv.shape.reach);
                    reaches.len() - 1
                });
                if kv.shape.reach == Reach::Full {
                    bytes_per_token += cache.storage(kv.shape.elements_per_token());
                }
                let bytes = cache.storage(kv.elements_per_token_and_pe());
                layers.push(LayerRoom { reach, bytes, places: kv.token_places() });
            }
            let room = (ledger.spare + ledger.worst_pe.kv_cache).saturating_sub(states);
            let room = SlotRoom { room, layers };
            if !room.layers.is_empty() && !slots.contains(&room) {
                slots.push(room);
            }
        }
        KvRoom { reaches, slots, bytes_per_token }
    }

    /// The routed experts of each layer of a slot that has such.
    pub fn routed(&self, slot: usize) -> Vec<Routed> {
        let items = self.placement().slots.get(slot).map_or(&[][..], |slot| &slot.items);
        let routed = items.iter().filter_map(|item| {
            let Item::Layer(layer) = item else { return None };
            let layout = self.placement().layer(*layer as usize)?;
            let (FeedForward::Moe(moe), Some(placed)) = (&layout.layer.feed_forward, &layout.experts) else {
                return None;
            };
            let is_clustered = placed.grid.cells() > 1;
            Some(Routed {
                layer: *layer,
                experts: moe.experts,
                top_k: moe.top_k,
                rectangle: is_clustered.then(|| placed.most_in_a_cell().max(1)),
            })
        });
        routed.collect()
    }

    fn pass(&self, flow: Flow, experts: Option<ExpertLoad>) -> PassTimes {
        self.pass_of(&self.mapped, flow, experts)
    }

    /// The same by other decisions for the layers of the placement.
    fn pass_of(&self, mapped: &Mapped, flow: Flow, experts: Option<ExpertLoad>) -> PassTimes {
        let (question, placement, reading) = (&self.question, self.placement(), &self.reading);
        let written = Written::with_experts(question, mapped, flow, experts);
        let tokens = flow.tokens();
        let total = |program: &Arc<Lowered>| reading.cost_of(program).total().0;
        let layouts: Vec<f64> = written.layouts.iter().map(total).collect();
        let tables: Vec<f64> = written.tables.iter().map(total).collect();
        // Only the first part of each table counts on the way of a token.
        let first = |is_head: bool| placement.tables.iter().position(|table| table.is_head == is_head);
        let counted = [first(false), first(true)];
        let activations = question.scenario.precision.activations;
        let bytes = activations.storage(question.model.hidden.saturating_mul(tokens)).0 as f64;
        let link = |bytes: f64| StationTime {
            transit: reading.link(bytes).total(),
            occupancy: Cycles(reading.link(bytes).total().0 - reading.link(0.0).total().0),
        };
        let mut stations = Vec::with_capacity(self.stations.len());
        for (index, slot) in placement.slots.iter().enumerate() {
            let mut time = StationTime::default();
            for item in &slot.items {
                let Item::Layer(layer) = item else { continue };
                let layer = placement.layout_index(*layer as usize).and_then(|at| layouts.get(at));
                time.transit += Cycles(layer.copied().unwrap_or(0.0));
            }
            time.occupancy = time.transit;
            for (at, (table, cost)) in placement.tables.iter().zip(&tables).enumerate() {
                if table.slot == index {
                    time.occupancy += Cycles(*cost);
                    if counted.contains(&Some(at)) {
                        time.transit += Cycles(*cost);
                    }
                }
            }
            let Some(next) = placement.slots.get(index + 1) else {
                stations.push(time);
                break;
            };
            let same = slot.wafer == next.wafer;
            let hop = slot_hop(question, slot, next, tokens, reading).total();
            stations.push(StationTime { transit: time.transit + hop, occupancy: time.occupancy + hop });
            if !same {
                stations.push(link(bytes));
            }
        }
        if placement.wafers_used > 1 {
            let decodes = matches!(flow, Flow::Decode { .. });
            let back = || {
                let way = return_hop(question, placement, tokens, reading).total();
                let time = link(4.0 * tokens as f64);
                StationTime { transit: time.transit + way, ..time }
            };
            stations.push(if decodes { back() } else { StationTime::default() });
        }
        PassTimes { stations, tail: Cycles::ZERO }
    }
}

/// The ways for a micro-batch that was given, by all mappings of the profile.
fn given(question: &Question, size: u64) -> Result<Vec<Way>, AnswerError> {
    let (mut ways, mut refused) = (Vec::new(), None);
    let profile = question.scenario.profile;
    let mut asked = question.wafers();
    for source in Source::of(question, profile).iter().copied() {
        let (drafts, chosen) = (Drafts::new(question, source), Chosen::new(question, source)?);
        for verified in chosen.verified().iter().copied() {
            let (first, wafers) = match with_room_for_draft(&chosen, verified, size, asked, &drafts) {
                Ok(found) => found,
                Err(error) => {
                    refused = refused.or(Some(error));
                    continue;
                }
            };
            asked = WaferCount::Exactly(wafers);
            let placed = chosen.splits(first).into_iter();
            ways.extend(placed.filter_map(|mapped| way(&chosen, verified, mapped, wafers, &drafts)));
        }
    }
    match refused {
        Some(error) if ways.is_empty() => Err(error),
        _ => Ok(ways),
    }
}

fn stations(placement: &Placement) -> Vec<Station> {
    let mut stations = Vec::new();
    for (index, slot) in placement.slots.iter().enumerate() {
        stations.push(Station::Slot { slot: u32::try_from(index).unwrap_or(u32::MAX), wafer: slot.wafer });
        if placement.slots.get(index + 1).is_some_and(|next| next.wafer != slot.wafer) {
            stations.push(Station::Link { wafer: slot.wafer });
        }
    }
    if placement.wafers_used > 1 {
        stations.push(Station::Return);
    }
    stations
}
