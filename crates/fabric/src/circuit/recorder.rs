//! Collects the slices and counters of a run while it goes on.
//!
//! Everything that is added up is a whole number and its bins are halved in resolution as time goes on, so that the
//! result depends neither on the order in which things are noted nor on who notes them: threads have a [`Sheet`] each.

use rustc_hash::FxHashMap;

use super::lowered::{Lowered, Part};
use super::outcome::Outcome;
use super::timeline::{Counter, Record, Slice, SliceKind, Timeline, Track};
use super::timing::{TICKS_PER_CYCLE, Tick};

/// Meshes up to this side have a track for each processing element.
const SMALL: u32 = 16;

/// What one core did in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// When it came to the step.
    pub(super) start: Tick,
    /// End of its vector work; `start` without.
    pub(super) worked: Tick,
    /// Its first wavelet; [`Tick::MAX`] without fabric operations.
    pub(super) first: Tick,
    /// When it was ready for its next step.
    pub(super) end: Tick,
    /// Its place in the mesh, by which ties are broken.
    pub(super) place: u32,
}

impl Span {
    /// Whether a row shows this one rather than another.
    fn outlasts(&self, other: &Self) -> bool {
        (self.end, other.place) > (other.end, self.place)
    }
}

/// What is recorded, and of which mesh.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    record: Record,
    columns: u32,
    rows: u32,
    /// Places of the schedule from here on are not kept.
    horizon: u32,
    /// Tracks times steps beyond the horizon.
    beyond: u64,
}

impl Plan {
    pub(super) fn new(lowered: &Lowered, record: Record) -> Self {
        let mut plan = Self { record, columns: lowered.columns, rows: lowered.rows, horizon: u32::MAX, beyond: 0 };
        let of_stage: Vec<u64> = lowered
            .stages
            .iter()
            .map(|stage| {
                let area = |part: &Part| {
                    let area = part.area();
                    u64::from(area.rows) * if plan.elements() { u64::from(area.columns) } else { 1 }
                };
                stage.parts.iter().map(area).max().unwrap_or(0)
            })
            .collect();
        let mut kept = 0;
        for (at, &stage) in lowered.schedule.iter().enumerate() {
            if kept >= record.slices as u64 {
                plan.horizon = plan.horizon.min(at as u32);
                plan.beyond = plan.beyond.saturating_add(of_stage[stage as usize]);
            }
            kept = kept.saturating_add(of_stage[stage as usize]);
        }
        plan
    }

    const fn elements(&self) -> bool {
        self.columns <= SMALL && self.rows <= SMALL
    }

    fn track(&self, place: u32) -> u32 {
        if self.elements() { place } else { place / self.columns.max(1) }
    }

    pub(super) fn sheet(&self) -> Sheet {
        let most = self.record.bins.clamp(1, 1 << 20) as usize;
        Sheet {
            plan: self.clone(),
            known: FxHashMap::default(),
            spans: Vec::new(),
            width: TICKS_PER_CYCLE,
            most: most + most % 2,
            sums: std::array::from_fn(|_| Vec::new()),
            deepest: Vec::new(),
        }
    }
}

/// What is added up over time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sum {
    /// Ticks for which links were taken.
    Links,
    /// Copies sent.
    Sent,
    /// Copies taken.
    Delivered,
    /// Ticks of vector work.
    Busy,
}

/// What has been noted so far.
#[derive(Debug, Clone)]
pub(super) struct Sheet {
    plan: Plan,
    /// Where in `spans` a place of the schedule and a track are.
    known: FxHashMap<(u32, u32), u32>,
    /// In the order of their first note: sorted at the end.
    spans: Vec<((u32, u32), Span)>,
    width: Tick,
    most: usize,
    sums: [Vec<u64>; 4],
    deepest: Vec<u64>,
}

impl Sheet {
    /// Notes what a core did in the step at a place of the schedule.
    pub(super) fn span(&mut self, at: u32, span: Span) {
        if at >= self.plan.horizon {
            return;
        }
        let key = (at, self.plan.track(span.place));
        let spans = &mut self.spans;
        let index = *self.known.entry(key).or_insert_with(|| {
            spans.push((key, span));
            spans.len() as u32 - 1
        });
        let known = &mut spans[index as usize].1;
        if span.outlasts(known) {
            *known = span;
        }
    }

    fn halve(&mut self) {
        self.width *= 2;
        for sums in &mut self.sums {
            *sums = sums.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        self.deepest = self.deepest.chunks(2).map(|pair| pair.iter().copied().max().unwrap_or(0)).collect();
    }

    /// The bin of a moment.
    fn bin(&mut self, moment: Tick) -> usize {
        while moment / self.width >= self.most as u64 {
            self.halve();
        }
        (moment / self.width) as usize
    }

    /// Adds an amount evenly over a time.
    pub(super) fn spread(&mut self, sum: Sum, from: Tick, to: Tick, amount: u64) {
        let last = self.bin(to.saturating_sub(1).max(from));
        let first = self.bin(from);
        let width = self.width;
        let sums = &mut self.sums[sum as usize];
        if sums.len() <= last {
            sums.resize(last + 1, 0);
        }
        if first == last {
            sums[first] += amount;
            return;
        }
        let all = u128::from(to - from);
        let until = |moment: Tick| (u128::from(amount) * u128::from(moment.min(to) - from) / all) as u64;
        let mut before = 0;
        for (bin, sum) in sums.iter_mut().enumerate().take(last + 1).skip(first) {
            let now = until((bin as u64 + 1) * width);
            *sum += now - before;
            before = now;
        }
    }

    /// Notes how many wavelets a queue held at a moment.
    pub(super) fn depth(&mut self, moment: Tick, words: u64) {
        let bin = self.bin(moment);
        if self.deepest.len() <= bin {
            self.deepest.resize(bin + 1, 0);
        }
        self.deepest[bin] = self.deepest[bin].max(words);
    }

    /// One for the same plan in which nothing is noted.
    pub(super) fn blank(&self) -> Self {
        self.plan.sheet()
    }

    /// The same for places that lie so much further on in the mesh.
    pub(super) fn moved(mut self, places: i64) -> Self {
        for (key, span) in &mut self.spans {
            span.place = u32::try_from(i64::from(span.place) + places).unwrap_or(span.place);
            key.1 = self.plan.track(span.place);
        }
        self
    }

    /// Takes in what another one has noted.
    pub(super) fn merge(&mut self, mut other: Self) {
        while self.width < other.width {
            self.halve();
        }
        while other.width < self.width {
            other.halve();
        }
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            mine.resize(mine.len().max(theirs.len()), 0);
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
        self.deepest.resize(self.deepest.len().max(other.deepest.len()), 0);
        self.deepest.iter_mut().zip(&other.deepest).for_each(|(mine, theirs)| *mine = (*mine).max(*theirs));
        for ((at, _), span) in other.spans {
            self.span(at, span);
        }
    }

    /// The timeline of a run.
    pub(super) fn finish(mut self, lowered: &Lowered, outcome: &Outcome) -> Timeline {
        self.spans.sort_unstable_by_key(|&(key, _)| key);
        // The last cores are done after the last wavelet.
        self.bin(((outcome.cycles.0 * TICKS_PER_CYCLE as f64) as Tick).saturating_sub(1));
        let plan = &self.plan;
        let count = if plan.elements() { plan.columns * plan.rows } else { plan.rows };
        let (x, y) = lowered.origin;
        let track = |index: u32| {
            if plan.elements() {
                let place = (x + u64::from(index % plan.columns), y + u64::from(index / plan.columns));
                Track { name: format!("PE {},{}", place.0, place.1), place }
            } else {
                Track { name: format!("row {}", y + u64::from(index)), place: (x, y + u64::from(index)) }
            }
        };
        let mut timeline = Timeline {
            tracks: (0..count).map(track).collect(),
            dropped: plan.beyond,
            counters: self.counters(outcome),
            ..Timeline::default()
        };
        let mut shown = vec![0; count as usize];
        for &((at, track), span) in &self.spans {
            let operator = lowered.stage(at as usize).map_or(0, |stage| stage.operator);
            let shown = &mut shown[track as usize];
            for SpanPiece { kind, start, end } in pieces(&span, *shown) {
                if timeline.slices.len() < plan.record.slices {
                    timeline.slices.push(Slice { track, operator, kind, start, end });
                } else {
                    timeline.dropped += 1;
                }
            }
            *shown = span.end.max(*shown);
        }
        timeline
    }

    fn counters(&self, outcome: &Outcome) -> Vec<Counter> {
        let end = (outcome.cycles.0 * TICKS_PER_CYCLE as f64) as Tick;
        let bins = end.div_ceil(self.width) as usize;
        let links = {
            let (columns, rows) = (u64::from(outcome.columns), u64::from(outcome.rows));
            2 * ((columns - 1) * rows + columns * (rows - 1)).max(1)
        };
        let value = |values: &[u64], bin: usize| values.get(bin).copied().unwrap_or(0);
        let mean = |sum: Sum, over: u64| {
            let of = |bin: usize| {
                let start = bin as u64 * self.width;
                let time = self.width.min(end - start) as f64;
                (start, value(&self.sums[sum as usize], bin) as f64 / (time * over as f64))
            };
            (0..bins).map(of).collect::<Vec<_>>()
        };
        let mut flying = Vec::with_capacity(bins);
        let (mut sent, mut delivered) = (0, 0);
        for bin in 0..bins {
            sent += value(&self.sums[Sum::Sent as usize], bin);
            delivered += value(&self.sums[Sum::Delivered as usize], bin);
            flying.push((bin as u64 * self.width, sent.saturating_sub(delivered) as f64));
        }
        let deepest = (0..bins).map(|bin| (bin as u64 * self.width, value(&self.deepest, bin) as f64)).collect();
        vec![
            Counter { name: "link use", unit: "share", samples: mean(Sum::Links, links) },
            Counter { name: "deepest queue", unit: "wavelets", samples: deepest },
            Counter { name: "wavelets in flight", unit: "wavelets", samples: flying },
            Counter { name: "busy PEs", unit: "PEs", samples: mean(Sum::Busy, 1) },
        ]
    }
}

/// A part of a span of one kind.
struct SpanPiece {
    kind: SliceKind,
    start: Tick,
    end: Tick,
}

/// The slices of a span, from what its track has shown so far.
fn pieces(span: &Span, shown: Tick) -> Vec<SpanPiece> {
    let mut pieces = Vec::new();
    let mut cursor = span.start.max(shown);
    let mut until = |kind: SliceKind, end: Tick| {
        if end > cursor {
            pieces.push(SpanPiece { kind, start: cursor, end });
            cursor = end;
        }
    };
    until(SliceKind::Work, span.worked);
    if span.first < Tick::MAX {
        until(SliceKind::Stall, span.first.min(span.end));
        until(SliceKind::Transfer, span.end);
    }
    pieces
}
