//! What a run found, and how it says how far it is.

use std::borrow::Cow;

use wafersim_spec::Cycles;

use super::lowered::Lowered;
use super::recorder::Sheet;
use super::timeline::Timeline;
use super::timing::{Tick, cycles};

/// Which engine gave the result. All give the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Runs of wavelets as one: nothing contended for a link.
    Streams,
    /// Steps that contend wavelet by wavelet, the others as streams.
    Mixed,
    /// Wavelet by wavelet.
    Wavelets,
}

impl Engine {
    /// Its name in tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Mixed => "mixed",
            Self::Wavelets => "wavelets",
        }
    }
}

/// Time of an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct OperatorTime {
    /// Its name in the program.
    pub name: Cow<'static, str>,
    /// By how much it moved the moment at which the last processing element was done.
    pub cycles: Cycles,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Wavelets times links crossed, however they were batched.
    pub wavelet_hops: u64,
    /// Copies on their way to a core, counted when their wavelet is dispatched: one for each receiver.
    pub sent: u64,
    /// Copies that a core has taken.
    pub delivered: u64,
    /// First wavelets of streams that found their way blocked in a queue.
    pub stalls: u64,
    /// Things that the engine did; the unit is the engine's own.
    pub events: u64,
}

/// What every engine keeps for pictures, by processing element, row after row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maps {
    /// Wavelets over the link to the east, west, south and north.
    pub links: [Vec<u32>; 4],
    /// Ticks for which the core ran vector work.
    pub busy: Vec<Tick>,
    /// Ticks for which first wavelets of streams waited in the router.
    pub stalled: Vec<Tick>,
    /// Most wavelets that had landed in one input queue from a neighbour and not left it, at any time; 1 for what
    /// passes without a wait, 0 where nothing came.
    pub queue: Vec<u16>,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.wavelet_hops = self.wavelet_hops.saturating_add(other.wavelet_hops);
        self.sent = self.sent.saturating_add(other.sent);
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.stalls = self.stalls.saturating_add(other.stalls);
        self.events = self.events.saturating_add(other.events);
    }
}

impl Maps {
    pub(super) fn new(elements: usize) -> Self {
        Self {
            links: std::array::from_fn(|_| vec![0; elements]),
            busy: vec![0; elements],
            stalled: vec![0; elements],
            queue: vec![0; elements],
        }
    }
}

/// What a run found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// From the first operation to the end of the last.
    pub cycles: Cycles,
    /// By operator, in the order of the program; they add up to `cycles`.
    pub operators: Vec<OperatorTime>,
    /// Counts.
    pub tally: Tally,
    /// For pictures.
    pub maps: Maps,
    /// Columns of the maps.
    pub columns: u32,
    /// Rows of the maps.
    pub rows: u32,
    /// Where on the wafer the maps begin: column and row.
    pub origin: (u64, u64),
    /// Colors of the router that are used.
    pub colors: u32,
    /// Who ran it.
    pub engine: Engine,
    /// The run over time, where it was recorded.
    pub timeline: Option<Timeline>,
}

impl Outcome {
    /// `done` is, for each place of the schedule, when the last processing element was through with it.
    pub(super) fn new(lowered: &Lowered, done: &[Tick], tally: Tally, maps: Maps, engine: Engine) -> Self {
        let mut times: Vec<Tick> = vec![0; lowered.operators.len()];
        let mut latest = 0;
        for (at, &moment) in done.iter().enumerate() {
            let operator = lowered.stage(at).map_or(0, |stage| stage.operator as usize);
            if let Some(time) = times.get_mut(operator) {
                *time += moment.saturating_sub(latest);
            }
            latest = latest.max(moment);
        }
        let operators = lowered.operators.iter().zip(times);
        Self {
            cycles: cycles(latest),
            operators: operators
                .map(|(name, time)| OperatorTime { name: name.clone(), cycles: cycles(time) })
                .collect(),
            tally,
            maps,
            columns: lowered.columns,
            rows: lowered.rows,
            origin: lowered.origin,
            colors: lowered.colors,
            engine,
            timeline: None,
        }
    }

    pub(super) fn with_timeline(mut self, lowered: &Lowered, sheet: Option<Sheet>) -> Self {
        self.timeline = sheet.map(|sheet| sheet.finish(lowered, &self));
        self
    }

    /// Share of the run for which each core ran vector work; 0 to 1.
    pub fn busy_share(&self) -> impl Iterator<Item = f64> {
        let all = self.cycles.0.max(f64::MIN_POSITIVE);
        self.maps.busy.iter().map(move |&ticks| cycles(ticks).0 / all)
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Simulated time so far.
    pub cycles: Cycles,
    /// Steps of the unrolled program that the slowest processing element has finished.
    pub steps: u64,
    /// Steps of the unrolled program.
    pub all_steps: u64,
}
