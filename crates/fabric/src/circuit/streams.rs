//! The engine of streams: a run of wavelets passes a router as one event.
//!
//! Most streams of a wafer program meet nobody: each color has its static route and its own queues, and no two streams
//! want a link at the same time. Then the wavelets of a stream leave every queue in a run of constant period: the first
//! as soon as it has landed and (where a core takes it) that core is ready, the others behind it. This engine goes
//! through the program stage by stage, through a line's streams in the order of their dependence, and computes the
//! first wavelet's time at every router. Backpressure reaches the senders by the second pass: a wavelet cannot leave a
//! queue before the one `depth` places ahead of it has left the next queue and its credit has come back, so that
//! the last wavelet leaves point k at max over m of (first at k+m) + (n - 1 - depth(k..k+m)) period + m credit.
//!
//! This is exact, not an approximation, as long as (1) a queue's depth covers a hop and its credit
//! ([`super::Timing::queues_cover_hops`]), (2) a stream comes to a link when the last one over that link, in program
//! order, is through, and to a router when the last one of its color is, (3) backpressure does not reach a sender that
//! feeds two directions. Each is checked where it happens; the first that does not hold ends the step with
//! [`Contended`], and it is run wavelet by wavelet, from the state that the mesh had before it; together with steps
//! before it where it meets what these have sent (`window`). `tests/circuit` holds both ways to the same bytes.

mod broadcast;
mod contention;
mod joint;
mod line;
mod passed;
mod places;
mod sides;
mod window;

use std::ops::Range;

use rayon::prelude::*;

use self::contention::{Contended, Contention};
use self::joint::Joint;
use self::passed::Passed;
use super::cells::{Counts, Depths, Ticks};
use super::lowered::{Lowered, Part};
use super::outcome::{Engine, Maps, Outcome, Progress, Tally};
use super::recorder::{Plan, Sheet};
use super::route::Lines;
use super::timing::{TICKS_PER_CYCLE, Tick, Timing};

/// The program is to be run wavelet by wavelet from beginning to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CannotTell;

/// Places of a stage from which on it is worth the threads' meeting.
const WORTH_THREADS: usize = 1 << 13;
/// Steps that are run together wavelet by wavelet, and attempts to find those that contend, before the whole program
/// is.
const MOST_STEPS: usize = 64;
const MOST_ATTEMPTS: usize = 256;
/// States that are kept to go back to at most, and the bytes that they may take beyond the last one.
const MOST_KEPT: usize = 4;
const MUCH: usize = 5 << 27;

/// Times of the processing elements and links along one axis. Arrays for the y axis lie column after column, so that
/// every line is a contiguous piece.
#[derive(Clone)]
struct Links {
    /// When a link is free again: upwards, downwards.
    free: [Ticks; 2],
    used: [Counts; 2],
}

impl Links {
    fn new(elements: usize) -> Self {
        Self {
            free: std::array::from_fn(|_| Ticks::new(elements)),
            used: std::array::from_fn(|_| Counts::new(elements)),
        }
    }
}

/// One line while its streams are evaluated.
#[derive(Default, Clone)]
struct Line {
    start: Vec<Tick>,
    /// When the next operation that sends, or takes, may start.
    sends: Vec<Tick>,
    takes: Vec<Tick>,
    /// End of the fabric operations; 0 where there are none.
    end: Vec<Tick>,
    stalled: Vec<Tick>,
    /// Deepest input queue.
    queue: Vec<u16>,
    /// First wavelet sent or taken; empty where nothing is recorded.
    first: Vec<Tick>,
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

/// What a thread uses again for every line.
#[derive(Default, Clone)]
struct Workspace {
    tally: Tally,
    /// Neighbouring lines, read and written together so that columns do not cost a cache line for every place.
    block: [Line; BLOCK],
    /// The points of the streams that continue one another, from the sender on.
    points: Vec<Point>,
    last: Vec<Tick>,
    /// When the last core was through with each step of a window.
    done: Vec<Tick>,
    sheet: Option<Sheet>,
}

/// Transfers along lines, being timed.
struct Times<'a> {
    timing: &'a Timing,
    lines: &'a Lines,
    mesh: &'a Mesh,
    /// Place in the schedule.
    at: u32,
    work: &'a mut Workspace,
}

/// The mesh: what every processing element and link has come to.
#[derive(Clone)]
struct Mesh {
    columns: usize,
    rows: usize,
    /// When each core is ready for its next stage.
    ready: Ticks,
    busy: Ticks,
    stalled: Ticks,
    /// Deepest input queue.
    queue: Depths,
    /// Links along x, and along y.
    along: [Links; 2],
    passed: Passed,
}

/// A run up to a place of the schedule.
#[derive(Clone)]
struct State {
    mesh: Mesh,
    works: Vec<Workspace>,
    joint: Option<Joint>,
    /// For each step so far, when the last core was through.
    done: Vec<Tick>,
    latest: Tick,
}

/// States to go back to, in the order of the schedule.
struct Kept {
    states: Vec<State>,
    most: usize,
}

impl Kept {
    fn new(lowered: &Lowered) -> Self {
        let bytes = lowered.elements() * bytes_per_element(lowered.colors);
        Self { states: Vec::new(), most: (MUCH / bytes.max(1)).clamp(1, MOST_KEPT) }
    }

    fn keep(&mut self, state: &State) {
        if self.states.last().is_some_and(|last| last.done.len() >= state.done.len()) {
            return;
        }
        if self.states.len() >= self.most {
            self.states.remove(0);
        }
        self.states.push(state.clone());
    }

    /// The last one from which a place of the schedule is still to come.
    fn before(&mut self, at: usize) -> Option<State> {
        self.states.retain(|state| state.done.len() <= at);
        self.states.last().cloned()
    }
}

/// Runs a lowered program: as streams, but for steps that contend. These are run wavelet by wavelet, alone where
/// they meet nothing of the steps before, else together with these.
pub(super) fn run(
    lowered: &Lowered,
    plan: Option<&Plan>,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, CannotTell> {
    let schedule = &lowered.schedule;
    let new = || State::new(lowered, plan);
    let mut contention = Contention::default();
    let mut state = new();
    let mut kept = Kept::new(lowered);
    // What has been run wavelet by wavelet on the way to the present state.
    let mut windows: Vec<Range<usize>> = Vec::new();
    let mut attempts = 0;
    while state.done.len() < schedule.len() {
        let at = state.done.len();
        let steps = contention.steps(&schedule[at..]);
        let result = match steps {
            Some(steps) => {
                kept.keep(&state);
                state.window(lowered, at, steps, &mut progress)
            }
            None => state.step(lowered, plan, at),
        };
        if let Err(contended) = result {
            let end = at + steps.unwrap_or(1);
            let mut begin = match contended {
                Contended::Here => at,
                Contended::Earlier(met) => met.since(lowered, at, steps.is_none()),
                Contended::Stuck => at.saturating_sub(end - at),
            };
            // A window is never cut: what meets one becomes part of it.
            begin = windows.iter().rev().fold(
                begin,
                |begin, window| {
                    if window.end > begin { begin.min(window.start) } else { begin }
                },
            );
            attempts += 1;
            if begin == at && steps.is_some() || end - begin > MOST_STEPS || attempts > MOST_ATTEMPTS {
                return Err(CannotTell);
            }
            contention.add(&schedule[begin..end]);
            // What the attempt has written is thrown away.
            state = kept.before(begin).unwrap_or_else(new);
            windows.retain(|window| window.end <= state.done.len());
            continue;
        }
        if let Some(steps) = steps {
            kept.keep(&state);
            windows.push(at..at + steps);
        }
        if state.latest / TICKS_PER_CYCLE >= Tick::from(u32::MAX) {
            // Beyond what `Passed` can hold.
            return Err(CannotTell);
        }
        progress(state.progress(lowered));
    }
    let engine = if contention.is_empty() { Engine::Streams } else { Engine::Mixed };
    Ok(state.outcome(lowered, engine))
}

impl State {
    fn new(lowered: &Lowered, plan: Option<&Plan>) -> Self {
        let elements = lowered.elements();
        let mesh = Mesh {
            columns: lowered.columns as usize,
            rows: lowered.rows as usize,
            ready: Ticks::new(elements),
            busy: Ticks::new(elements),
            stalled: Ticks::new(elements),
            queue: Depths::new(elements),
            along: [Links::new(elements), Links::new(elements)],
            passed: Passed::new(lowered),
        };
        // More pieces than threads: none waits long for the other where the machine does something else, too.
        let pieces = if rayon::current_num_threads() > 1 { 4 * rayon::current_num_threads() } else { 1 };
        let work = || Workspace { sheet: plan.map(Plan::sheet), ..Workspace::default() };
        Self { mesh, works: (0..pieces).map(|_| work()).collect(), joint: None, done: Vec::new(), latest: 0 }
    }

    /// The step at a place of the schedule, as streams.
    fn step(&mut self, lowered: &Lowered, plan: Option<&Plan>, at: usize) -> Result<(), Contended> {
        let Some(stage) = lowered.stage(at) else { return Err(Contended::Here) };
        let (place, mesh, works) = (at as u32, &self.mesh, &mut self.works);
        let finished = match stage.parts.as_slice() {
            [Part::Busy { area, time }] => mesh.busy(place, area, *time, works),
            [Part::Meet { area, hops, before, way, after }] => {
                mesh.meet(place, area, *hops, [*before, *way, *after], works)
            }
            [Part::Carry(lines)] if lines.spread.is_some() => mesh.broadcast(place, lines, &lowered.timing, works)?,
            [Part::Carry(lines)] => mesh.alone(place, lines, &lowered.timing, works)?,
            parts => {
                let joint = self.joint.get_or_insert_with(|| Joint::new(lowered.elements(), plan.is_some()));
                mesh.side_by_side(place, parts, joint, &lowered.timing, works)?
            }
        };
        self.works[0].tally.events += 1;
        self.through(finished);
        Ok(())
    }

    fn progress(&self, lowered: &Lowered) -> Progress {
        Progress {
            cycles: super::timing::cycles(self.latest),
            steps: self.done.len() as u64,
            all_steps: lowered.schedule.len() as u64,
        }
    }

    fn through(&mut self, finished: Tick) {
        self.done.push(finished);
        self.latest = finished.max(self.latest);
    }

    fn outcome(self, lowered: &Lowered, engine: Engine) -> Outcome {
        let mut tally = Tally::default();
        let mut sheet: Option<Sheet> = None;
        for work in self.works {
            tally.add(&work.tally);
            match (&mut sheet, work.sheet) {
                (Some(all), Some(more)) => all.merge(more),
                (all, more) => *all = more,
            }
        }
        debug_assert_eq!(tally.sent, tally.delivered, "a wavelet was lost");
        Outcome::new(lowered, &self.done, tally, self.mesh.maps(), engine).with_timeline(lowered, sheet)
    }
}

/// Divides `count` things among the workspaces, and these among threads where there are `places` enough. The latest
/// end.
fn in_pieces(
    works: &mut [Workspace],
    count: usize,
    places: usize,
    each: impl Fn(&mut Workspace, Range<usize>) -> Result<Tick, Contended> + Sync,
) -> Result<Tick, Contended> {
    let pieces = works.len();
    if pieces < 2 || places < WORTH_THREADS {
        return works.first_mut().map_or(Ok(0), |work| each(work, 0..count));
    }
    let piece =
        |(index, work): (usize, &mut Workspace)| each(work, index * count / pieces..(index + 1) * count / pieces);
    // Of several that contend, the first: which one it is decides what is run together.
    let results: Vec<Result<Tick, Contended>> = works.par_iter_mut().enumerate().map(piece).collect();
    results.into_iter().try_fold(0, |latest, result| Ok(latest.max(result?)))
}

impl Mesh {
    fn alone(&self, at: u32, lines: &Lines, timing: &Timing, works: &mut [Workspace]) -> Result<Tick, Contended> {
        self.in_blocks(at, lines, timing, works, |times, number, count| times.alone(number, count))
    }

    /// Calls `each` for blocks of neighbouring lines.
    fn in_blocks(
        &self,
        at: u32,
        lines: &Lines,
        timing: &Timing,
        works: &mut [Workspace],
        each: impl Fn(&mut Times<'_>, u32, usize) -> Result<Tick, Contended> + Sync,
    ) -> Result<Tick, Contended> {
        line::check(lines, timing)?;
        let (first, end) = line::across(lines);
        let blocks = ((end - first) as usize).div_ceil(BLOCK);
        let places = lines.length() * (end - first) as usize;
        in_pieces(works, blocks, places, |work, range| {
            let mut times = Times { timing, lines, mesh: self, at, work };
            let mut latest = 0;
            for block in range {
                let number = first + (block * BLOCK) as u32;
                latest = latest.max(each(&mut times, number, BLOCK.min((end - number) as usize))?);
            }
            Ok(latest)
        })
    }

    fn deepen(&self, place: usize, words: u16) {
        if words > self.queue.get(place) {
            self.queue.set(place, words);
        }
    }

    fn maps(self) -> Maps {
        let (columns, rows) = (self.columns, self.rows);
        let transposed = |by_column: &[u32]| -> Vec<u32> {
            (0..columns * rows).map(|place| by_column[place % columns * rows + place / columns]).collect()
        };
        let [horizontal, vertical] = self.along;
        let [east, west] = horizontal.used.map(Counts::into_vec);
        let [south, north] = vertical.used.map(Counts::into_vec);
        Maps {
            links: [east, west, transposed(&south), transposed(&north)],
            busy: self.busy.into_vec(),
            stalled: self.stalled.into_vec(),
            queue: self.queue.into_vec(),
        }
    }
}

impl Line {
    /// Operations may start when their core does, which `start` says.
    fn begin(&mut self, recorded: bool) {
        let length = self.start.len();
        self.sends.clear();
        self.sends.extend_from_slice(&self.start);
        self.takes.clear();
        self.takes.extend_from_slice(&self.start);
        self.end.clear();
        self.end.resize(length, 0);
        self.stalled.clear();
        self.stalled.resize(length, 0);
        self.queue.clear();
        self.queue.resize(length, 0);
        self.first.clear();
        self.first.resize(if recorded { length } else { 0 }, Tick::MAX);
    }
}

/// Bytes that this engine keeps for a processing element and its router, for as long as the run lasts, with `colors`
/// colors.
pub const fn bytes_per_element(colors: u32) -> usize {
    let ready = size_of::<Tick>();
    let links = 4 * (size_of::<Tick>() + size_of::<u32>());
    let maps = 2 * size_of::<Tick>() + size_of::<u16>();
    // For stages of several parts.
    let joint = 3 * size_of::<Tick>();
    ready + links + maps + joint + colors as usize * size_of::<u32>()
}
