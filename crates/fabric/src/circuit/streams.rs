//! The engine of streams: a run of wavelets passes a router as one event.
//!
//! Most streams of a wafer program meet nobody: each color has its static route and its own queues, and no two streams
//! want a link at the same time. Then the wavelets of a stream leave every queue in a run of constant period: the first
//! as soon as it has landed and (where a core takes it) that core is ready, the others behind it. This engine goes
//! through the program stage by stage, through a line's streams in the order of their dependence, and computes the first
//! wavelet's time at every router. Backpressure reaches the senders by the second pass: a wavelet cannot leave a
//! queue before the one `depth` places ahead of it has left the next queue and its credit has come back, so that
//! the last wavelet leaves point k at max over m of (first at k+m) + (n - 1 - depth(k..k+m)) period + m credit.
//!
//! This is exact, not an approximation, as long as (1) a queue's depth covers a hop and its credit
//! ([`super::Timing::queues_cover_hops`]), (2) a stream comes to a link when the last one over that link, in program order, is
//! through, and to a router when the last one of its color is, (3) backpressure does not reach a sender that feeds two directions. Each is checked where it happens; the first
//! that does not hold ends this engine with [`Contended`], and the program is run wavelet by wavelet from its beginning.
//! `tests/circuit` holds the two to the same bytes.

mod line;
mod passed;

use self::passed::Passed;
use super::lowered::{Lowered, Part};
use super::outcome::{Engine, Maps, Outcome, Progress, Tally};
use super::route::{Area, Lines};
use super::timing::{TICKS_PER_CYCLE, Tick, Timing};

/// The program needs arbitration: it must be run wavelet by wavelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contended;

/// Times of the processing elements and links along one axis. Arrays for the y axis lie column after column, so that every
/// line is a contiguous piece.
struct Links {
    /// When a link is free again: upwards, downwards.
    free: [Vec<Tick>; 2],
    used: [Vec<u32>; 2],
}

impl Links {
    fn new(elements: usize) -> Self {
        Self { free: std::array::from_fn(|_| vec![0; elements]), used: std::array::from_fn(|_| vec![0; elements]) }
    }
}

/// One line while its streams are evaluated.
#[derive(Default)]
struct Line {
    start: Vec<Tick>,
    /// When the next operation that sends, or takes, may start.
    sends: Vec<Tick>,
    takes: Vec<Tick>,
    /// End of the fabric operations; 0 where there are none.
    end: Vec<Tick>,
    stalled: Vec<Tick>,
}

/// A place that a wavelet leaves: its core (dispatch or take), or a router by a link.
#[derive(Clone, Copy)]
struct Point {
    first: Tick,
    /// Depth of the queue that it leaves; for a sender's memory without bound.
    depth: u64,
    position: u32,
    /// Color of the wavelet that leaves.
    color: u16,
    what: Leaves,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Memory,
    /// Over the link upwards (0) or downwards (1).
    Link(u8),
    /// Over both links at once.
    BothLinks,
    /// Into the core, as the end of a receive operation.
    Taken,
    /// Into the core, to be combined and sent on.
    Forwarded,
}

/// Lines read and written together: eight times of 8 bytes fill a cache line.
const BLOCK: usize = 8;

/// What is used again for every line.
#[derive(Default)]
struct Workspace {
    tally: Tally,
    /// Neighbouring lines, read and written together so that columns do not cost a cache line for every place.
    block: [Line; BLOCK],
    /// The points of the streams that continue one another, from the sender on.
    points: Vec<Point>,
    last: Vec<Tick>,
}

/// Transfers along lines, being timed.
struct Times<'a> {
    timing: &'a Timing,
    lines: &'a Lines,
    work: &'a mut Workspace,
}

/// The mesh: what every processing element and link has come to.
struct Mesh {
    columns: usize,
    rows: usize,
    /// When each core is ready for its next stage.
    ready: Vec<Tick>,
    busy: Vec<Tick>,
    stalled: Vec<Tick>,
    /// Links along x, and along y.
    along: [Links; 2],
    passed: Passed,
    /// For stages of several parts only.
    joint: Option<Joint>,
}

/// Runs a lowered program.
pub(super) fn run(lowered: &Lowered, mut progress: impl FnMut(Progress)) -> Result<Outcome, Contended> {
    let elements = lowered.elements();
    let mut mesh = Mesh {
        columns: lowered.columns as usize,
        rows: lowered.rows as usize,
        ready: vec![0; elements],
        busy: vec![0; elements],
        stalled: vec![0; elements],
        along: [Links::new(elements), Links::new(elements)],
        passed: Passed::new(lowered),
        joint: None,
    };
    let mut done = Vec::with_capacity(lowered.schedule.len());
    let mut work = Workspace::default();
    let mut latest = 0;
    for at in 0..lowered.schedule.len() {
        let Some(stage) = lowered.stage(at) else { break };
        let finished = match stage.parts.as_slice() {
            [Part::Busy { area, time }] => mesh.busy(area, *time),
            [Part::Meet { area, hops, before, way, after }] => {
                meet(&mut mesh.ready, mesh.columns, area, *hops, [*before, *way, *after])
            }
            [Part::Carry(lines)] => Times { timing: &lowered.timing, lines, work: &mut work }.alone(&mut mesh)?,
            parts => mesh.side_by_side(parts, &lowered.timing, &mut work)?,
        };
        if finished / TICKS_PER_CYCLE >= Tick::from(u32::MAX) {
            // Beyond what `Passed` can hold.
            return Err(Contended);
        }
        work.tally.events += 1;
        done.push(finished);
        latest = finished.max(latest);
        progress(Progress {
            cycles: super::timing::cycles(latest),
            steps: at as u64 + 1,
            all_steps: lowered.schedule.len() as u64,
        });
    }
    let tally = work.tally;
    debug_assert_eq!(tally.sent, tally.delivered, "a wavelet was lost");
    Ok(Outcome::new(lowered, &done, tally, mesh.maps(), Engine::Streams))
}

impl Mesh {
    fn busy(&mut self, area: &Area, time: Tick) -> Tick {
        let mut finished = 0;
        for y in area.y..area.y + area.rows {
            let from = y as usize * self.columns + area.x as usize;
            let places = from..from + area.columns as usize;
            for busy in &mut self.busy[places.clone()] {
                *busy += time;
            }
            for moment in &mut self.ready[places] {
                *moment += time;
                finished = finished.max(*moment);
            }
        }
        finished
    }

    fn side_by_side(&mut self, parts: &[Part], timing: &Timing, work: &mut Workspace) -> Result<Tick, Contended> {
        let elements = self.ready.len();
        let mut joint = self.joint.take().unwrap_or_else(|| Joint::new(elements));
        joint.begin(&self.ready);
        for part in parts {
            match part {
                Part::Busy { area, time } => {
                    for y in area.y..area.y + area.rows {
                        for x in area.x..area.x + area.columns {
                            let place = y as usize * self.columns + x as usize;
                            joint.core[place] += time;
                            self.busy[place] += time;
                        }
                    }
                }
                Part::Carry(lines) => Times { timing, lines, work }.beside(self, &mut joint)?,
                Part::Meet { .. } => return Err(Contended),
            }
        }
        let mut finished = 0;
        for (place, moment) in self.ready.iter_mut().enumerate() {
            let end = joint.end[place];
            let fabric = if end > 0 { end + timing.completion } else { 0 };
            let after = joint.core[place].max(fabric).max(*moment);
            if after > *moment {
                *moment = after;
                finished = finished.max(after);
            }
        }
        self.joint = Some(joint);
        Ok(finished)
    }

    fn maps(self) -> Maps {
        let (columns, rows) = (self.columns, self.rows);
        let transposed = |by_column: &[u32]| -> Vec<u32> {
            (0..columns * rows).map(|place| by_column[place % columns * rows + place / columns]).collect()
        };
        let [horizontal, vertical] = self.along;
        let [east, west] = horizontal.used;
        let [south, north] = vertical.used;
        Maps { links: [east, west, transposed(&south), transposed(&north)], busy: self.busy, stalled: self.stalled }
    }
}

/// State of a stage of several parts, by processing element.
struct Joint {
    core: Vec<Tick>,
    sends: Vec<Tick>,
    takes: Vec<Tick>,
    end: Vec<Tick>,
}

impl Joint {
    fn new(elements: usize) -> Self {
        Self { core: vec![0; elements], sends: vec![0; elements], takes: vec![0; elements], end: vec![0; elements] }
    }

    fn begin(&mut self, ready: &[Tick]) {
        self.core.copy_from_slice(ready);
        self.sends.copy_from_slice(ready);
        self.takes.copy_from_slice(ready);
        self.end.fill(0);
    }
}

fn meet(ready: &mut [Tick], columns: usize, area: &Area, hops: u32, times: [Tick; 3]) -> Tick {
    let [before, way, after] = times;
    let width = area.columns as usize;
    let hops = hops as usize;
    let start = |y: usize| (area.y as usize + y) * columns + area.x as usize;
    let rows = area.rows as usize;
    let mut told = vec![0; width * rows];
    for y in 0..rows {
        told[y * width..(y + 1) * width].copy_from_slice(&ready[start(y)..start(y) + width]);
    }
    let mut latest = 0;
    for y in 0..rows {
        for x in 0..width {
            let mine = y * width + x;
            let mut moment = told[mine];
            if x >= hops {
                moment = moment.max(told[mine - hops]);
            }
            if x + hops < width {
                moment = moment.max(told[mine + hops]);
            }
            if y >= hops {
                moment = moment.max(told[mine - hops * width]);
            }
            if y + hops < rows {
                moment = moment.max(told[mine + hops * width]);
            }
            let moment = moment + before + way + after;
            ready[start(y) + x] = moment;
            latest = latest.max(moment);
        }
    }
    latest
}

impl Line {
    /// Operations may start when their core does, which `start` says.
    fn begin(&mut self) {
        let length = self.start.len();
        self.sends.clear();
        self.sends.extend_from_slice(&self.start);
        self.takes.clear();
        self.takes.extend_from_slice(&self.start);
        self.end.clear();
        self.end.resize(length, 0);
        self.stalled.clear();
        self.stalled.resize(length, 0);
    }
}

/// Bytes that this engine keeps for a processing element and its router, for as long as the run lasts, with `colors` colors.
pub const fn bytes_per_element(colors: u32) -> usize {
    let ready = size_of::<Tick>();
    let links = 4 * (size_of::<Tick>() + size_of::<u32>());
    let maps = 2 * size_of::<Tick>();
    // For stages of several parts.
    let joint = 4 * size_of::<Tick>();
    ready + links + maps + joint + colors as usize * size_of::<u32>()
}
