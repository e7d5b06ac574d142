//! Times from the closed form, computed when they are first wanted and kept.
//!
//! Decode: one table for each micro-batch and step of the context, exact. Prefill: one for each length of a chunk
//! (rounded up to 8 tokens below 64, to 64 above) and each multiple of [`PREFILL_NODE`] tokens before it; between two
//! of these linear, which prefill attention is up to the rounding of tiles. Whether a prompt goes by the prefill
//! kernels or token by token is decided for each prompt ([`PromptRule`]); prompts of about one length (512 tokens)
//! behind about as many tokens (2048) share the decision. The tables are bounded by the longest context, the largest
//! micro-batch and the largest chunk, not by the length of a run.

use rustc_hash::FxHashMap;
use wafersim_answer::Pipeline;
use wafersim_answer::pipeline::{PassTimes as CycleTimes, Station};
use wafersim_spec::{Cycles, Hertz};

use crate::costs::{Costs, DraftTime, PassTimes, StationKind, Way};
use crate::time::Time;

/// Tokens between two nodes of the prefill tables.
pub const PREFILL_NODE: u32 = 2048;

/// By what the way of a prompt is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptRule {
    /// What gives the first token sooner on an idle machine, as the closed form does.
    #[default]
    Soonest,
    /// What keeps the slowest station busy for less: better for everybody else on a busy machine.
    LeastWork,
}

/// The closed form as [`Costs`].
#[derive(Debug)]
pub struct ClosedForm<'a> {
    pipeline: &'a Pipeline,
    stations: Vec<StationKind>,
    /// Contexts at which a step begins.
    steps: Vec<u32>,
    /// By users - 1, then by step.
    decode: Vec<Vec<Option<Box<PassTimes>>>>,
    prefill: FxHashMap<(u32, u32, Way), Box<PassTimes>>,
    drafts: Vec<Option<DraftTime>>,
    ways: FxHashMap<(u32, u32, u32), Way>,
    prompts: PromptRule,
    scratch: PassTimes,
    /// Tables that were made.
    made: u32,
    tokens_per_pass: u64,
    largest_chunk: u32,
}

impl<'a> ClosedForm<'a> {
    /// Tables for contexts up to `longest` tokens.
    pub fn new(pipeline: &'a Pipeline, longest: u32, prompts: PromptRule) -> Self {
        let stations = pipeline.stations().iter().map(|station| match *station {
            Station::Slot { slot, wafer } => StationKind::Slot { slot, wafer },
            Station::Link { wafer } => StationKind::Link { wafer },
            Station::Return => StationKind::Return,
        });
        let steps = pipeline.context_steps(u64::from(longest));
        let steps: Vec<u32> = steps.into_iter().map(|step| u32::try_from(step).unwrap_or(u32::MAX)).collect();
        Self {
            pipeline,
            stations: stations.collect(),
            drafts: vec![None; steps.len()],
            ways: FxHashMap::default(),
            prompts,
            steps,
            decode: Vec::new(),
            prefill: FxHashMap::default(),
            scratch: PassTimes::default(),
            made: 0,
            tokens_per_pass: pipeline.tokens_per_pass(),
            largest_chunk: u32::try_from(pipeline.largest_chunk()).unwrap_or(u32::MAX).max(1),
        }
    }

    fn compute_decode(&mut self, users: u32, step: usize) {
        let row = users.saturating_sub(1) as usize;
        if self.decode.len() <= row {
            self.decode.resize(row + 1, Vec::new());
        }
        let table = &mut self.decode[row];
        if table.is_empty() {
            table.resize(self.steps.len(), None);
        }
        if let Some(place @ None) = table.get_mut(step) {
            let tokens = u64::from(users.max(1)).saturating_mul(self.tokens_per_pass);
            let times = self.pipeline.decode(tokens, u64::from(self.steps[step]), None);
            *place = Some(Box::new(picoseconds(&times, self.pipeline.clock()).numbered(self.made)));
            self.made += 1;
        }
    }

    fn decode_node(&self, users: u32, step: usize) -> Option<&PassTimes> {
        self.decode.get(users.saturating_sub(1) as usize)?.get(step)?.as_deref()
    }

    fn compute_prefill(&mut self, tokens: u32, node: u32, way: Way) {
        let (pipeline, clock, made) = (self.pipeline, self.pipeline.clock(), &mut self.made);
        self.prefill.entry((tokens, node, way)).or_insert_with(|| {
            let (tokens, before) = (u64::from(tokens), u64::from(node) * u64::from(PREFILL_NODE));
            let times = match way {
                Way::Chunks => pipeline.prefill_chunk(tokens, before),
                Way::Trains => pipeline.prefill_train(tokens, before),
            };
            *made += 1;
            Box::new(picoseconds(&times, clock).numbered(*made - 1))
        });
    }
}

/// What a prompt takes one way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PromptTime {
    /// Cycles until its last chunk is through an idle line: the last chunk's way, and the slowest station's time for
    /// every chunk before it, taken as the mean of the first and the last (as `wafersim_answer` takes it).
    pub soonest: f64,
    /// Cycles that the slowest station works for it.
    pub work: f64,
}

/// What the tokens of a prompt from `before` to `target` take in chunks of `chunk`, by the prefill kernels and in
/// trains.
pub fn prompt_times(pipeline: &Pipeline, before: u64, target: u64, chunk: u64) -> [PromptTime; 2] {
    let all = target.saturating_sub(before).max(1);
    let tokens = chunk.clamp(1, all);
    let count = all.div_ceil(tokens);
    let time = |first: &CycleTimes, last: &CycleTimes| {
        let mean = 0.5 * (first.slowest().0 + last.slowest().0);
        PromptTime { soonest: last.latency().0 + mean * (count - 1) as f64, work: mean * count as f64 }
    };
    let last = target.saturating_sub(tokens);
    [
        time(&pipeline.prefill_chunk(tokens, before), &pipeline.prefill_chunk(tokens, last)),
        time(&pipeline.prefill_train(tokens, before), &pipeline.prefill_train(tokens, last)),
    ]
}

impl Costs for ClosedForm<'_> {
    fn stations(&self) -> &[StationKind] {
        &self.stations
    }

    fn step_of(&self, context: u32) -> u32 {
        let after = self.steps.partition_point(|step| *step <= context);
        after.saturating_sub(1) as u32
    }

    fn decode(&mut self, users: u32, steps: u64) -> &PassTimes {
        let users = users.max(1);
        let last = self.steps.len().saturating_sub(1);
        let low = usize::try_from(steps / u64::from(users)).unwrap_or(last).min(last);
        let part = steps % u64::from(users);
        self.compute_decode(users, low);
        if part > 0 && low < last {
            self.compute_decode(users, low + 1);
            let mut scratch = std::mem::take(&mut self.scratch);
            if let (Some(one), Some(other)) = (self.decode_node(users, low), self.decode_node(users, low + 1)) {
                scratch.set_between(one, other, part, u64::from(users));
            }
            self.scratch = scratch;
            return &self.scratch;
        }
        match self.decode.get(users as usize - 1).and_then(|table| table.get(low)?.as_deref()) {
            Some(times) => times,
            None => &self.scratch,
        }
    }

    fn way(&mut self, before: u32, target: u32, chunk: u32) -> Way {
        let quarter = PREFILL_NODE / 4;
        let size = target.saturating_sub(before).div_ceil(quarter).max(1).saturating_mul(quarter);
        let node = before / PREFILL_NODE;
        let (pipeline, prompts) = (self.pipeline, self.prompts);
        *self.ways.entry((node, size, chunk)).or_insert_with(|| {
            let before = u64::from(node) * u64::from(PREFILL_NODE);
            let [chunks, trains] = prompt_times(pipeline, before, before + u64::from(size), chunk.into());
            let of = |time: PromptTime| match prompts {
                PromptRule::Soonest => time.soonest,
                PromptRule::LeastWork => time.work,
            };
            if of(trains) <= of(chunks) { Way::Trains } else { Way::Chunks }
        })
    }

    fn prefill(&mut self, tokens: u32, before: u32, way: Way) -> &PassTimes {
        let quantum = if tokens <= 64 { 8 } else { 64 };
        let tokens = tokens.div_ceil(quantum).saturating_mul(quantum).min(self.largest_chunk.max(tokens));
        let (node, part) = (before / PREFILL_NODE, before % PREFILL_NODE);
        self.compute_prefill(tokens, node, way);
        if part > 0 {
            self.compute_prefill(tokens, node + 1, way);
            let nodes = (self.prefill.get(&(tokens, node, way)), self.prefill.get(&(tokens, node + 1, way)));
            if let (Some(low), Some(high)) = nodes {
                self.scratch.set_between(low, high, u64::from(part), u64::from(PREFILL_NODE));
            }
            return &self.scratch;
        }
        match self.prefill.get(&(tokens, node, way)) {
            Some(times) => times,
            None => &self.scratch,
        }
    }

    fn draft(&mut self, step: u32) -> DraftTime {
        let (pipeline, steps) = (self.pipeline, &self.steps);
        let Some(place) = self.drafts.get_mut(step as usize) else { return DraftTime::default() };
        *place.get_or_insert_with(|| {
            let draft = pipeline.draft(u64::from(steps.get(step as usize).copied().unwrap_or(1)));
            let time = |cycles: Cycles| Time::from_seconds(cycles.seconds(pipeline.clock()));
            DraftTime { latency: time(draft.latency), occupancy: time(draft.occupancy) }
        })
    }
}

fn picoseconds(times: &CycleTimes, clock: Hertz) -> PassTimes {
    let whole = |cycles: Cycles| Time::from_seconds(cycles.seconds(clock)).0;
    let stations: Vec<(u64, u64)> =
        times.stations.iter().map(|time| (whole(time.transit), whole(time.occupancy))).collect();
    PassTimes::new(&stations, whole(times.tail))
}
