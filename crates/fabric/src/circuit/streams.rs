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
//! through, (3) backpressure does not reach a sender that feeds two directions. Each is checked where it happens; the first
//! that does not hold ends this engine with [`Contended`], and the program is run wavelet by wavelet from its beginning.
//! `tests/circuit.rs` holds the two to the same bytes.

use wafersim_program::Axis;

use super::lowered::{Lowered, Part};
use super::outcome::{Engine, Maps, Outcome, Progress, Tally};
use super::route::{Direction, Lines, Operation};
use super::timing::{Tick, Timing};

/// The program needs arbitration: it must be run wavelet by wavelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contended;

/// Times of the processing elements and links along one axis. Arrays for the y axis lie column after column, so that every
/// line is a contiguous piece.
struct Links {
    /// When a link is free again: upwards, downwards.
    free: [Vec<Tick>; 2],
    /// When the core has taken what came upwards, downwards.
    taken: [Vec<Tick>; 2],
    used: [Vec<u32>; 2],
}

impl Links {
    fn new(elements: usize) -> Self {
        Self {
            free: std::array::from_fn(|_| vec![0; elements]),
            taken: std::array::from_fn(|_| vec![0; elements]),
            used: std::array::from_fn(|_| vec![0; elements]),
        }
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
    what: Leaves,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Memory,
    /// Over the link upwards (0) or downwards (1).
    Link(u8),
    /// Over both links at once.
    BothLinks,
    /// Into the core, as the end of a receive operation; came upwards (0) or downwards (1).
    Taken(u8),
    /// Into the core, to be combined and sent on.
    Forwarded(u8),
}

struct Times<'a> {
    timing: &'a Timing,
    lines: &'a Lines,
    tally: Tally,
    points: Vec<Point>,
    last: Vec<Tick>,
}

/// Runs a lowered program.
pub(super) fn run(lowered: &Lowered, mut progress: impl FnMut(Progress)) -> Result<Outcome, Contended> {
    let (columns, rows) = (lowered.columns as usize, lowered.rows as usize);
    let elements = columns * rows;
    let mut ready: Vec<Tick> = vec![0; elements];
    let mut along = [Links::new(elements), Links::new(elements)];
    let mut maps = Maps { links: Default::default(), busy: vec![0; elements], stalled: vec![0; elements] };
    let mut done = Vec::with_capacity(lowered.schedule.len());
    let mut tally = Tally::default();
    let mut line = Line::default();
    let (mut points, mut last) = (Vec::new(), Vec::new());
    let mut latest = 0;
    // For stages of several parts only.
    let mut joint: Option<Joint> = None;
    for at in 0..lowered.schedule.len() {
        let Some(stage) = lowered.stage(at) else { break };
        let mut finished = 0;
        if let [part] = stage.parts.as_slice() {
            match part {
                Part::Busy { area, time } => {
                    for y in area.y..area.y + area.rows {
                        let from = y as usize * columns + area.x as usize;
                        let places = from..from + area.columns as usize;
                        for busy in &mut maps.busy[places.clone()] {
                            *busy += time;
                        }
                        for moment in &mut ready[places] {
                            *moment += time;
                            finished = finished.max(*moment);
                        }
                    }
                }
                Part::Meet { area, hops, before, way, after } => {
                    finished = meet(&mut ready, columns, area, *hops, [*before, *way, *after]);
                }
                Part::Carry(lines) => {
                    let mut times = Times { timing: &lowered.timing, lines, tally, points, last };
                    let result = times.single(&mut ready, columns, rows, &mut along, &mut line, &mut maps.stalled);
                    (tally, points, last) = (times.tally, times.points, times.last);
                    finished = result?;
                }
            }
        } else {
            let joint = joint.get_or_insert_with(|| Joint::new(elements));
            joint.begin(&ready);
            for part in &stage.parts {
                match part {
                    Part::Busy { area, time } => {
                        for y in area.y..area.y + area.rows {
                            for x in area.x..area.x + area.columns {
                                let place = y as usize * columns + x as usize;
                                joint.core[place] += time;
                                maps.busy[place] += time;
                            }
                        }
                    }
                    Part::Carry(lines) => {
                        let mut times = Times { timing: &lowered.timing, lines, tally, points, last };
                        let result =
                            times.beside(&ready, joint, columns, rows, &mut along, &mut line, &mut maps.stalled);
                        (tally, points, last) = (times.tally, times.points, times.last);
                        result?;
                    }
                    Part::Meet { .. } => return Err(Contended),
                }
            }
            for (place, moment) in ready.iter_mut().enumerate() {
                let end = joint.end[place];
                let fabric = if end > 0 { end + lowered.timing.completion } else { 0 };
                let after = joint.core[place].max(fabric).max(*moment);
                if after > *moment {
                    *moment = after;
                    finished = finished.max(after);
                }
            }
        }
        tally.events += 1;
        done.push(finished);
        latest = finished.max(latest);
        progress(Progress {
            cycles: super::timing::cycles(latest),
            steps: at as u64 + 1,
            all_steps: lowered.schedule.len() as u64,
        });
    }
    let [mut horizontal, mut vertical] = along;
    let transposed = |by_column: &[u32]| -> Vec<u32> {
        (0..elements).map(|place| by_column[place % columns * rows + place / columns]).collect()
    };
    let [east, west] = std::mem::take(&mut horizontal.used);
    let [south, north] = std::mem::take(&mut vertical.used);
    maps.links = [east, west, transposed(&south), transposed(&north)];
    debug_assert_eq!(tally.sent, tally.delivered, "a wavelet was lost");
    Ok(Outcome::new(lowered, &done, tally, maps, Engine::Streams))
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

fn meet(ready: &mut [Tick], columns: usize, area: &super::route::Area, hops: u32, times: [Tick; 3]) -> Tick {
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

impl Times<'_> {
    /// Numbers of the lines across the axis, and the place of a position of a line.
    fn across(&self) -> (u32, u32) {
        let area = self.lines.area;
        match self.lines.axis {
            Axis::X => (area.y, area.y + area.rows),
            Axis::Y => (area.x, area.x + area.columns),
        }
    }

    fn places(&self, number: u32, columns: usize) -> impl Iterator<Item = usize> + use<> {
        let area = self.lines.area;
        let (first, step) = match self.lines.axis {
            Axis::X => (number as usize * columns + area.x as usize, 1),
            Axis::Y => (area.y as usize * columns + number as usize, columns),
        };
        (0..self.lines.length()).map(move |index| first + index * step)
    }

    /// Where a line begins in the arrays of its axis.
    fn base(&self, number: u32, columns: usize, rows: usize) -> usize {
        let area = self.lines.area;
        match self.lines.axis {
            Axis::X => number as usize * columns + area.x as usize,
            Axis::Y => number as usize * rows + area.y as usize,
        }
    }

    /// A stage that is this part alone.
    fn single(
        &mut self,
        ready: &mut [Tick],
        columns: usize,
        rows: usize,
        along: &mut [Links; 2],
        line: &mut Line,
        stalled: &mut [Tick],
    ) -> Result<Tick, Contended> {
        self.check()?;
        let mut latest = 0;
        let (first, end) = self.across();
        for number in first..end {
            line.start.clear();
            line.start.extend(self.places(number, columns).map(|place| ready[place]));
            line.begin();
            self.line(line, self.base(number, columns, rows), along)?;
            for (index, place) in self.places(number, columns).enumerate() {
                if line.end[index] > 0 {
                    let moment = line.end[index] + self.timing.completion;
                    ready[place] = moment;
                    latest = latest.max(moment);
                }
                stalled[place] += line.stalled[index];
            }
        }
        Ok(latest)
    }

    /// A part of a stage of several.
    #[allow(clippy::too_many_arguments, reason = "the state of a run, borrowed in pieces")]
    fn beside(
        &mut self,
        ready: &[Tick],
        joint: &mut Joint,
        columns: usize,
        rows: usize,
        along: &mut [Links; 2],
        line: &mut Line,
        stalled: &mut [Tick],
    ) -> Result<(), Contended> {
        self.check()?;
        let (first, end) = self.across();
        for number in first..end {
            line.start.clear();
            line.start.extend(self.places(number, columns).map(|place| ready[place]));
            line.begin();
            for (index, place) in self.places(number, columns).enumerate() {
                line.sends[index] = joint.sends[place];
                line.takes[index] = joint.takes[place];
            }
            self.line(line, self.base(number, columns, rows), along)?;
            for (index, place) in self.places(number, columns).enumerate() {
                joint.sends[place] = line.sends[index];
                joint.takes[place] = line.takes[index];
                joint.end[place] = joint.end[place].max(line.end[index]);
                stalled[place] += line.stalled[index];
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Contended> {
        let most = self.lines.streams.iter().map(|stream| stream.wavelets).max().unwrap_or(0);
        let deep = self.timing.queues_cover_hops() || most <= self.timing.queue;
        if self.lines.ordered && deep { Ok(()) } else { Err(Contended) }
    }

    /// All streams of one line, which begins at `base` in the arrays of its axis.
    fn line(&mut self, line: &mut Line, base: usize, along: &mut [Links; 2]) -> Result<(), Contended> {
        let links = &mut along[usize::from(self.lines.axis == Axis::Y)];
        self.points.clear();
        let mut waited = None;
        for index in 0..self.lines.streams.len() {
            let stream = self.lines.streams[index];
            let source = stream.source as usize;
            let operation = self.lines.operations(source).iter().find(|operation| match operation {
                Operation::Send { stream } | Operation::Forward { send: stream, .. } => *stream == index as u32,
                Operation::Take { .. } => false,
            });
            let launch = self.lines.launch;
            let at_core = match operation {
                Some(Operation::Send { .. }) => {
                    if !self.points.is_empty() {
                        return Err(Contended);
                    }
                    let first = line.sends[source].max(line.start[source] + launch) + stream.lead;
                    self.points.push(Point { first, depth: u64::MAX, position: stream.source, what: Leaves::Memory });
                    first + self.timing.ramp_out
                }
                Some(Operation::Forward { .. }) => {
                    let Some(taken) = self.points.last() else { return Err(Contended) };
                    if taken.position != stream.source || !matches!(taken.what, Leaves::Forwarded(_)) {
                        return Err(Contended);
                    }
                    taken.first + self.timing.ramp_in + self.lines.combine + self.timing.ramp_out
                }
                _ => return Err(Contended),
            };
            // Two directions: up is walked first, down is a list of its own that must not hold the sender up.
            let (up, down) = (stream.high > stream.source, stream.low < stream.source);
            let what = match (up, down) {
                (true, true) => Leaves::BothLinks,
                (true, false) => Leaves::Link(0),
                _ => Leaves::Link(1),
            };
            for (wanted, direction) in [(up, 0), (down, 1)] {
                if wanted && at_core < links.free[direction][base + source] {
                    return Err(Contended);
                }
            }
            self.points.push(Point { first: at_core, depth: self.timing.core_queue, position: stream.source, what });
            let fork = self.points.len();
            for (wanted, direction) in [(up, 0), (down, 1)] {
                if !wanted {
                    continue;
                }
                let was_waited = waited;
                self.walk(index as u32, direction, at_core, line, base, links, &mut waited)?;
                if up && down {
                    // The points of this direction: finished here, after a look at whether they hold the sender up.
                    let n = stream.wavelets;
                    if waited.is_some() && self.last_at(fork - 1, n, stream.period) > at_core + (n - 1) * stream.period {
                        return Err(Contended);
                    }
                    self.finish(fork, index, waited, line, base, links);
                    self.points.truncate(fork);
                    waited = was_waited;
                }
            }
            if matches!(self.points.last(), Some(Point { what: Leaves::Forwarded(_), .. })) {
                continue;
            }
            self.finish(0, index, waited, line, base, links);
            self.points.clear();
            waited = None;
        }
        if self.points.is_empty() { Ok(()) } else { Err(Contended) }
    }

    /// The first wavelet's way from the sender's router in one direction.
    #[allow(clippy::too_many_arguments, reason = "the state of a line, borrowed in pieces")]
    fn walk(
        &mut self,
        index: u32,
        direction: usize,
        leaves: Tick,
        line: &mut Line,
        base: usize,
        links: &mut Links,
        waited: &mut Option<usize>,
    ) -> Result<(), Contended> {
        let stream = self.lines.streams[index as usize];
        let end = if direction == 0 { stream.high } else { stream.low };
        let mut position = stream.source;
        let mut first = leaves;
        while position != end {
            position = if direction == 0 { position + 1 } else { position - 1 };
            let place = position as usize;
            let landed = first + self.timing.hop;
            let last = position == end;
            first = landed;
            let mut what = Leaves::Link(direction as u8);
            if stream.copies || last {
                if landed < links.taken[direction][base + place] {
                    return Err(Contended);
                }
                let start = line.start[place] + self.lines.launch;
                for operation in self.lines.operations(place) {
                    match *operation {
                        Operation::Take { stream, gap } if stream == index => {
                            first = landed.max(line.takes[place].max(start) + gap);
                            if last {
                                what = Leaves::Taken(direction as u8);
                            }
                        }
                        Operation::Forward { take, .. } if take == index => {
                            first = landed.max(line.takes[place].max(line.sends[place]).max(start));
                            what = Leaves::Forwarded(direction as u8);
                        }
                        _ => {}
                    }
                }
                if first > landed {
                    line.stalled[place] += first - landed;
                    self.tally.stalls += 1;
                    *waited = Some(self.points.len());
                }
            }
            if !last && landed < links.free[direction][base + place] {
                return Err(Contended);
            }
            self.points.push(Point { first, depth: self.timing.queue, position, what });
        }
        Ok(())
    }

    /// When the last of `n` wavelets leaves a point.
    fn last_at(&self, point: usize, n: u64, period: Tick) -> Tick {
        let mut last = 0;
        let mut behind = 0;
        for (steps, after) in self.points[point..].iter().enumerate() {
            if steps > 0 {
                behind += after.depth;
            }
            if behind >= n {
                break;
            }
            last = last.max(after.first + (n - 1 - behind) * period + steps as u64 * self.timing.credit);
        }
        last
    }

    /// Writes down the ends of the points from `from` on. All streams of a list have the same wavelets and period.
    fn finish(
        &mut self,
        from: usize,
        index: usize,
        waited: Option<usize>,
        line: &mut Line,
        base: usize,
        links: &mut Links,
    ) {
        let stream = self.lines.streams[index];
        let (n, period) = (stream.wavelets, stream.period);
        let timing = self.timing;
        let run = (n - 1) * period;
        self.last.clear();
        for point in from..self.points.len() {
            let blocked = n > timing.queue && waited.is_some_and(|place| place > point);
            let last = if blocked { self.last_at(point, n, period) } else { self.points[point].first + run };
            self.last.push(last);
        }
        self.tally.events += self.last.len() as u64;
        let mut from_core = false;
        for (point, &last) in self.points[from..].iter().zip(&self.last) {
            let place = point.position as usize;
            if std::mem::take(&mut from_core) {
                // What is sent has left the core when the router has passed it on.
                line.end[place] = line.end[place].max(last);
            }
            from_core = matches!(point.what, Leaves::Memory | Leaves::Forwarded(_));
            let mut crossed = |direction: usize| {
                links.free[direction][base + place] = last + timing.wavelet;
                let used = &mut links.used[direction][base + place];
                *used = used.saturating_add(n.min(u64::from(u32::MAX)) as u32);
                self.tally.wavelet_hops += n;
            };
            match point.what {
                Leaves::Memory => line.sends[place] = last + period,
                Leaves::Link(direction) => crossed(usize::from(direction)),
                Leaves::BothLinks => {
                    crossed(0);
                    crossed(1);
                }
                Leaves::Taken(_) | Leaves::Forwarded(_) => {}
            }
            let from = match point.what {
                Leaves::Taken(from) | Leaves::Forwarded(from) => Some(from),
                // A copy taken in passing.
                Leaves::Link(direction) if stream.copies && point.position != stream.source => Some(direction),
                _ => None,
            };
            let Some(from) = from else { continue };
            self.tally.sent += n;
            self.tally.delivered += n;
            links.taken[usize::from(from)][base + place] = last + timing.wavelet;
            line.takes[place] = last + period;
            if matches!(point.what, Leaves::Forwarded(_)) {
                line.sends[place] = last + period;
            }
            line.end[place] = line.end[place].max(last + timing.ramp_in + self.lines.combine);
        }
    }
}

impl Line {
    /// Operations may start when their core does.
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

/// Bytes that this engine keeps for a processing element and its router, for as long as the run lasts.
pub const BYTES_PER_ELEMENT: usize = {
    let ready = size_of::<Tick>();
    let links = 4 * (2 * size_of::<Tick>() + size_of::<u32>());
    let maps = 2 * size_of::<Tick>();
    // A stage of several parts, and the transposed counts at the end.
    let joint = 4 * size_of::<Tick>();
    let _ = Direction::ALL;
    ready + links + maps + joint
};
