//! The engine of wavelets: every wavelet through every router, in the order of time.
//!
//! A router moves, at a tick, each landed head of its queues whose links are free, whose next queues have a place that the
//! router knows of, and whose core (where it delivers) runs the operation that takes it; a multicast leaves over all its
//! outputs at once. Where several colors want a link, it goes to the next one after the last color served, round-robin.
//! Places in queues come back as credits after a hop, so what happens at a tick depends on earlier ticks only and
//! the order in which routers are looked at does not matter.
//!
//! Nothing is polled: a router is looked at when a wavelet lands, a link becomes free, a credit comes back or its core
//! goes on. When nothing of that is outstanding and the program has not ended, it never will: that is a deadlock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wafersim_program::Axis;

use super::error::{CircuitError, Deadlock, Waiter, Waiting, Wants};
use super::lowered::{Lowered, Part, Stage};
use super::outcome::{Engine, Maps, Outcome, Progress, Tally};
use super::queue::{FROM_CORE, NONE, Queue, Wavelet};
use super::route::{Direction, Lines, Operation, Stream};
use super::timing::{Tick, cycles};

/// How many of those that wait a deadlock names.
const NAMED: usize = 16;
/// Events between reports of progress.
const REPORT: u64 = 1 << 20;
const NEVER: Tick = Tick::MAX;

/// A processing element with its router.
#[derive(Debug, Clone)]
struct Element {
    /// Place in the schedule.
    at: u32,
    /// Whether it is inside that stage.
    inside: bool,
    /// Whether the stage holds fabric operations for it.
    fabric: bool,
    /// Index of its present operation that sends, and of that which takes, among those of the stage.
    sending: u16,
    taking: u16,
    /// Wavelets left of each.
    sends_left: u32,
    takes_left: u32,
    /// Wavelets that it has dispatched and its router has not yet passed on.
    leaving: u32,
    /// When the next wavelet may be sent, or taken; never where no operation is under way.
    next_send: Tick,
    next_take: Tick,
    /// When the core is ready for its next stage, or its vector work of this one ends.
    core: Tick,
    start: Tick,
    end: Tick,
    /// When links are free: east, west, south, north.
    free: [Tick; 4],
    /// Last color served on each.
    served: [u16; 4],
    /// First of its queues.
    queues: u32,
    /// In a meeting: when the last of those heard so far came, and how many are missing.
    heard: Tick,
    missing: u8,
    /// The moment of the last wake, so that it is not asked for twice.
    woken: Tick,
}

/// Bytes of an idle processing element with its router in this engine, without maps.
pub const BYTES_PER_IDLE_ELEMENT: usize = size_of::<Element>();

struct Mesh<'a> {
    lowered: &'a Lowered,
    elements: Vec<Element>,
    queues: Vec<Queue>,
    wakes: BinaryHeap<Reverse<(Tick, u32)>>,
    maps: Maps,
    tally: Tally,
    done: Vec<Tick>,
    now: Tick,
}

/// Runs a lowered program wavelet by wavelet.
pub(super) fn run(lowered: &Lowered, mut progress: impl FnMut(Progress)) -> Result<Outcome, CircuitError> {
    let idle = Element {
        at: 0,
        inside: false,
        fabric: false,
        sending: 0,
        taking: 0,
        sends_left: 0,
        takes_left: 0,
        leaving: 0,
        next_send: NEVER,
        next_take: NEVER,
        core: 0,
        start: 0,
        end: 0,
        free: [0; 4],
        served: [0; 4],
        queues: NONE,
        heard: 0,
        missing: 0,
        woken: NEVER,
    };
    let elements = lowered.elements();
    let mut mesh = Mesh {
        lowered,
        elements: vec![idle; elements],
        queues: Vec::new(),
        wakes: BinaryHeap::new(),
        maps: Maps::new(elements),
        tally: Tally::default(),
        done: vec![0; lowered.schedule.len()],
        now: 0,
    };
    for place in 0..elements {
        mesh.wake(place, 0);
    }
    while let Some(Reverse((now, place))) = mesh.wakes.pop() {
        let place = place as usize;
        mesh.now = now;
        if mesh.elements[place].woken == now {
            mesh.elements[place].woken = NEVER;
        }
        mesh.tally.events += 1;
        mesh.look(place)?;
        if mesh.tally.events.is_multiple_of(REPORT) {
            if cfg!(debug_assertions) {
                mesh.check_conservation()?;
            }
            let steps = mesh.elements.iter().map(|element| element.at).min().unwrap_or(0);
            progress(Progress {
                cycles: cycles(now),
                steps: u64::from(steps),
                all_steps: lowered.schedule.len() as u64,
            });
        }
    }
    mesh.check_conservation()?;
    let through = |element: &Element| !element.inside && element.at as usize >= lowered.schedule.len();
    if !mesh.elements.iter().all(through) || mesh.in_flight() > 0 {
        return Err(CircuitError::Deadlock(Box::new(mesh.deadlock())));
    }
    Ok(Outcome::new(lowered, &mesh.done, mesh.tally, mesh.maps, Engine::Wavelets))
}

/// The operations of a place in a stage: their part, its lines, the place's position, and the operation.
fn operation(stage: &Stage, x: u32, y: u32, mut index: usize) -> Option<(u16, &Lines, Operation)> {
    for (part, lines) in carried(stage, x, y) {
        let operations = lines.operations(lines.position(x, y) as usize);
        if let Some(operation) = operations.get(index) {
            return Some((part, lines, *operation));
        }
        index -= operations.len();
    }
    None
}

fn carried(stage: &Stage, x: u32, y: u32) -> impl Iterator<Item = (u16, &Lines)> {
    stage.parts.iter().enumerate().filter_map(move |(index, part)| match part {
        Part::Carry(lines) if lines.area.contains(x, y) => Some((index as u16, lines)),
        _ => None,
    })
}

/// Where a wavelet wants to go from a position of its line.
#[derive(Clone, Copy)]
struct Ways {
    links: [bool; 4],
    core: bool,
}

fn ways(stream: &Stream, axis: Axis, position: u32, travels: u8) -> Ways {
    let from_core = travels == FROM_CORE;
    let upwards = travels == Direction::along(axis, true) as u8;
    let up = (from_core || upwards) && position < stream.high;
    let down = (from_core || !upwards) && position > stream.low;
    let mut links = [false; 4];
    links[Direction::along(axis, true) as usize] = up;
    links[Direction::along(axis, false) as usize] = down;
    Ways { links, core: !from_core && (stream.copies || !(up || down)) }
}

impl Mesh<'_> {
    fn coordinates(&self, place: usize) -> (u32, u32) {
        let columns = self.lowered.columns as usize;
        ((place % columns) as u32, (place / columns) as u32)
    }

    fn neighbour(&self, place: usize, direction: usize) -> usize {
        let columns = self.lowered.columns as usize;
        match direction {
            0 => place + 1,
            1 => place.wrapping_sub(1),
            2 => place + columns,
            _ => place.wrapping_sub(columns),
        }
    }

    fn wake(&mut self, place: usize, moment: Tick) {
        let Some(element) = self.elements.get_mut(place) else { return };
        if moment == NEVER || moment == element.woken {
            return;
        }
        let moment = moment.max(self.now);
        element.woken = moment;
        self.wakes.push(Reverse((moment, place as u32)));
    }

    fn stage(&self, at: u32) -> Option<&Stage> {
        self.lowered.stage(at as usize)
    }

    /// Everything that a processing element and its router can do now.
    fn look(&mut self, place: usize) -> Result<(), CircuitError> {
        loop {
            let mut moved = self.enter(place);
            moved |= self.send(place)?;
            moved |= self.route(place)?;
            moved |= self.leave(place);
            if !moved {
                return Ok(());
            }
        }
    }

    /// Enters the next stage that concerns this place, when its core is ready.
    fn enter(&mut self, place: usize) -> bool {
        let (x, y) = self.coordinates(place);
        let element = &self.elements[place];
        if element.inside || element.core > self.now || element.at as usize >= self.lowered.schedule.len() {
            return false;
        }
        let mut at = element.at;
        while self.stage(at).is_some_and(|stage| !stage.parts.iter().any(|part| part.area().contains(x, y))) {
            at += 1;
        }
        let start = self.elements[place].core;
        self.elements[place].at = at;
        let lowered = self.lowered;
        let Some(stage) = lowered.stage(at as usize) else {
            return false;
        };
        let element = &mut self.elements[place];
        element.inside = true;
        element.start = start;
        element.end = 0;
        (element.sending, element.taking) = (0, 0);
        (element.next_send, element.next_take) = (NEVER, NEVER);
        for part in &stage.parts {
            match part {
                Part::Busy { area, time } if area.contains(x, y) => {
                    element.core += time;
                    self.maps.busy[place] += time;
                }
                Part::Meet { .. } => {
                    element.core = NEVER;
                    element.heard = start;
                    self.meet(place, start);
                    return true;
                }
                _ => {}
            }
        }
        let element = &mut self.elements[place];
        element.fabric = operation(stage, x, y, 0).is_some();
        let core = element.core;
        self.begin_send(place, start);
        self.begin_take(place, start);
        self.wake(place, core);
        true
    }

    /// Comes to a meeting: hears those neighbours that are there, and is heard by them. None of them can have gone on
    /// before.
    fn meet(&mut self, place: usize, came: Tick) {
        let (x, y) = self.coordinates(place);
        let lowered = self.lowered;
        let at = self.elements[place].at;
        let Some(Part::Meet { area, hops, .. }) = lowered.stage(at as usize).and_then(|stage| stage.parts.first()) else {
            return;
        };
        let (mut heard, mut missing) = (came, 0);
        let hops = i64::from(*hops);
        let ways = if hops > 0 { vec![(hops, 0), (-hops, 0), (0, hops), (0, -hops)] } else { Vec::new() };
        for (dx, dy) in ways {
            let (other_x, other_y) = (i64::from(x) + dx, i64::from(y) + dy);
            if other_x < 0 || other_y < 0 || !area.contains(other_x as u32, other_y as u32) {
                continue;
            }
            let other = (other_y * i64::from(lowered.columns) + other_x) as usize;
            let there = &mut self.elements[other];
            if there.inside && there.at == at && there.core == NEVER {
                heard = heard.max(there.start);
                there.heard = there.heard.max(came);
                there.missing -= 1;
                if there.missing == 0 {
                    self.go_on(other);
                }
            } else {
                missing += 1;
            }
        }
        let element = &mut self.elements[place];
        (element.heard, element.missing) = (heard, missing);
        if missing == 0 {
            self.go_on(place);
        }
    }

    /// All neighbours of a meeting have come.
    fn go_on(&mut self, place: usize) {
        let element = &mut self.elements[place];
        let stage = self.lowered.stage(element.at as usize);
        let Some(Part::Meet { before, way, after, .. }) = stage.and_then(|stage| stage.parts.first()) else { return };
        element.core = element.heard + before + way + after;
        let core = element.core;
        self.wake(place, core.max(self.now));
    }

    /// Makes the next operation that sends ready, from `earliest`.
    fn begin_send(&mut self, place: usize, earliest: Tick) {
        let (x, y) = self.coordinates(place);
        let lowered = self.lowered;
        let Some(stage) = lowered.stage(self.elements[place].at as usize) else { return };
        let element = &mut self.elements[place];
        loop {
            let Some((_, lines, found)) = operation(stage, x, y, element.sending as usize) else {
                element.next_send = NEVER;
                return;
            };
            match found {
                Operation::Take { .. } => element.sending += 1,
                Operation::Send { stream } => {
                    let stream = &lines.streams[stream as usize];
                    element.next_send = earliest.max(element.start + lines.launch) + stream.lead;
                    element.sends_left = stream.wavelets.min(u64::from(u32::MAX)) as u32;
                    let moment = element.next_send;
                    self.wake(place, moment);
                    return;
                }
                Operation::Forward { .. } => {
                    // Starts with the operation that takes, when that has come as far; `next_send` is when sends are free.
                    element.next_send = earliest;
                    element.sends_left = 0;
                    self.begin_forward(place);
                    return;
                }
            }
        }
    }

    fn begin_take(&mut self, place: usize, earliest: Tick) {
        let (x, y) = self.coordinates(place);
        let lowered = self.lowered;
        let Some(stage) = lowered.stage(self.elements[place].at as usize) else { return };
        let element = &mut self.elements[place];
        loop {
            let Some((_, lines, found)) = operation(stage, x, y, element.taking as usize) else {
                element.next_take = NEVER;
                return;
            };
            match found {
                Operation::Send { .. } => element.taking += 1,
                Operation::Take { stream, gap } => {
                    element.next_take = earliest.max(element.start + lines.launch) + gap;
                    element.takes_left = lines.streams[stream as usize].wavelets.min(u64::from(u32::MAX)) as u32;
                    let moment = element.next_take;
                    self.wake(place, moment);
                    return;
                }
                Operation::Forward { .. } => {
                    element.next_take = earliest;
                    element.takes_left = 0;
                    self.begin_forward(place);
                    return;
                }
            }
        }
    }

    /// A forward begins when both the sends and the receives before it are through.
    fn begin_forward(&mut self, place: usize) {
        let (x, y) = self.coordinates(place);
        let lowered = self.lowered;
        let Some(stage) = lowered.stage(self.elements[place].at as usize) else { return };
        let element = &mut self.elements[place];
        if element.sending != element.taking || element.next_send == NEVER || element.next_take == NEVER {
            return;
        }
        let Some((_, lines, Operation::Forward { take, .. })) = operation(stage, x, y, element.taking as usize) else {
            return;
        };
        element.next_take = element.next_take.max(element.next_send).max(element.start + lines.launch);
        element.takes_left = lines.streams[take as usize].wavelets.min(u64::from(u32::MAX)) as u32;
        let moment = element.next_take;
        self.wake(place, moment);
    }

    /// The queue of a color and input, made where there is none yet.
    fn queue(&mut self, place: usize, travels: u8, color: u16) -> usize {
        let mut index = self.elements[place].queues;
        while index != NONE {
            let queue = &self.queues[index as usize];
            if queue.travels == travels && queue.color == color {
                return index as usize;
            }
            index = queue.next;
        }
        self.queues.push(Queue::new(color, travels, self.elements[place].queues));
        self.elements[place].queues = self.queues.len() as u32 - 1;
        self.queues.len() - 1
    }

    /// Whether a queue at `place` has room that its source (at `source`) knows of.
    fn place_in(&mut self, queue: usize, depth: u64, source: usize) -> bool {
        match self.queues[queue].place(self.now, depth) {
            Ok(()) => true,
            Err(heard) => {
                if let Some(moment) = heard {
                    self.wake(source, moment);
                }
                false
            }
        }
    }

    /// Dispatches one wavelet from memory.
    fn send(&mut self, place: usize) -> Result<bool, CircuitError> {
        let element = &self.elements[place];
        if !element.inside || element.next_send > self.now || element.sends_left == 0 {
            return Ok(false);
        }
        let (x, y) = self.coordinates(place);
        let at = element.at;
        let lowered = self.lowered;
        let found = lowered.stage(at as usize).and_then(|stage| operation(stage, x, y, element.sending as usize));
        let Some((part, lines, Operation::Send { stream: number })) = found else {
            return Err(CircuitError::Bug("a send without its operation".into()));
        };
        let stream = lines.streams[number as usize];
        let queue = self.queue(place, FROM_CORE, stream.color);
        if !self.place_in(queue, lowered.timing.core_queue, place) {
            return Ok(false);
        }
        let lands = self.now + lowered.timing.ramp_out;
        let first = u64::from(self.elements[place].sends_left) == stream.wavelets;
        self.queues[queue].wavelets.push_back(Wavelet { lands, at, part, stream: number, first });
        self.tally.sent += stream.receivers();
        let element = &mut self.elements[place];
        element.sends_left -= 1;
        element.next_send = self.now + stream.period;
        element.leaving += 1;
        let (next, left) = (element.next_send, element.sends_left);
        self.wake(place, lands);
        if left > 0 {
            self.wake(place, next);
        } else {
            self.elements[place].sending += 1;
            self.begin_send(place, next);
        }
        Ok(true)
    }

    /// Whether the core runs the operation that takes this wavelet, and has room for it; for a forward with the stream that
    /// it sends and the queue.
    fn core_takes(
        &mut self,
        place: usize,
        wavelet: Wavelet,
    ) -> Option<(Operation, Option<(u32, usize)>)> {
        let element = &self.elements[place];
        if !element.inside || element.at != wavelet.at || element.next_take > self.now || element.takes_left == 0 {
            return None;
        }
        let (x, y) = self.coordinates(place);
        let lowered = self.lowered;
        let stage = lowered.stage(wavelet.at as usize)?;
        let (part, lines, found) = operation(stage, x, y, element.taking as usize)?;
        match found {
            Operation::Take { stream, .. } if part == wavelet.part && stream == wavelet.stream => Some((found, None)),
            Operation::Forward { take, send } if part == wavelet.part && take == wavelet.stream => {
                let queue = self.queue(place, FROM_CORE, lines.streams[send as usize].color);
                self.place_in(queue, lowered.timing.core_queue, place).then_some((found, Some((send, queue))))
            }
            _ => None,
        }
    }

    /// Moves wavelets out of the queues of a router: every link to one color, then those that only the core takes.
    fn route(&mut self, place: usize) -> Result<bool, CircuitError> {
        let mut moved = false;
        for direction in 0..4 {
            let served = self.elements[place].served[direction];
            let mut best: Option<(u16, usize)> = None;
            let mut index = self.elements[place].queues;
            while index != NONE {
                let queue = index as usize;
                index = self.queues[queue].next;
                let rank = (self.queues[queue].color * 8 + u16::from(self.queues[queue].travels)).wrapping_sub(served + 1);
                if best.is_none_or(|(known, _)| rank < known) && self.can_leave(place, queue, Some(direction)) {
                    best = Some((rank, queue));
                }
            }
            if let Some((_, queue)) = best {
                self.depart(place, queue)?;
                moved = true;
            }
        }
        let mut index = self.elements[place].queues;
        while index != NONE {
            let queue = index as usize;
            index = self.queues[queue].next;
            if self.can_leave(place, queue, None) {
                self.depart(place, queue)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    fn ways(&self, place: usize, wavelet: Wavelet, travels: u8) -> Option<(Ways, Stream)> {
        let (x, y) = self.coordinates(place);
        let Some(Part::Carry(lines)) = self.stage(wavelet.at)?.parts.get(wavelet.part as usize) else { return None };
        let stream = *lines.streams.get(wavelet.stream as usize)?;
        Some((ways(&stream, lines.axis, lines.position(x, y), travels), stream))
    }

    /// Whether the head of a queue can leave now, over the wanted link and all its other outputs; `None` wants those that only
    /// the core takes.
    fn can_leave(&mut self, place: usize, queue: usize, wanted: Option<usize>) -> bool {
        let Some(wavelet) = self.queues[queue].head(self.now) else { return false };
        let (color, travels) = (self.queues[queue].color, self.queues[queue].travels);
        let Some((ways, _)) = self.ways(place, wavelet, travels) else { return false };
        let suits = match wanted {
            Some(direction) => ways.links[direction],
            None => !ways.links.contains(&true),
        };
        if !suits {
            return false;
        }
        for direction in 0..4 {
            if !ways.links[direction] {
                continue;
            }
            let free = self.elements[place].free[direction];
            if free > self.now {
                self.wake(place, free);
                return false;
            }
            let next = self.neighbour(place, direction);
            let next_queue = self.queue(next, direction as u8, color);
            if !self.place_in(next_queue, self.lowered.timing.queue, place) {
                return false;
            }
        }
        !ways.core || self.core_takes(place, wavelet).is_some()
    }

    /// Moves the head of a queue, which [`Self::can_leave`] has allowed.
    fn depart(&mut self, place: usize, queue: usize) -> Result<(), CircuitError> {
        let timing = self.lowered.timing;
        let (color, travels) = (self.queues[queue].color, self.queues[queue].travels);
        let Some(wavelet) = self.queues[queue].head(self.now) else { return Ok(()) };
        let Some((ways, stream)) = self.ways(place, wavelet, travels) else { return Ok(()) };
        if wavelet.first && wavelet.lands < self.now {
            self.tally.stalls += 1;
            self.maps.stalled[place] += self.now - wavelet.lands;
        }
        self.queues[queue].leave(self.now, timing.credit);
        if travels == FROM_CORE {
            let element = &mut self.elements[place];
            element.leaving -= 1;
            element.end = element.end.max(self.now);
        }
        if self.queues[queue].wanted {
            self.queues[queue].wanted = false;
            let source = match travels {
                FROM_CORE => place,
                direction => self.neighbour(place, usize::from(direction ^ 1)),
            };
            self.wake(source, self.now + timing.credit);
        }
        if let Some(next) = self.queues[queue].wavelets.front() {
            let lands = next.lands;
            self.wake(place, lands.max(self.now + 1));
        }
        for direction in 0..4 {
            if !ways.links[direction] {
                continue;
            }
            let lands = self.now + timing.hop;
            let next = self.neighbour(place, direction);
            let next_queue = self.queue(next, direction as u8, color);
            self.queues[next_queue].wavelets.push_back(Wavelet { lands, ..wavelet });
            self.wake(next, lands);
            let element = &mut self.elements[place];
            element.free[direction] = self.now + timing.wavelet;
            element.served[direction] = color * 8 + u16::from(travels);
            let used = &mut self.maps.links[direction][place];
            *used = used.saturating_add(1);
            self.tally.wavelet_hops += 1;
        }
        if ways.core {
            let Some((operation, forward)) = self.core_takes(place, wavelet) else {
                return Err(CircuitError::Bug("a wavelet left for a core that does not take it".into()));
            };
            self.deliver(place, wavelet, stream, operation, forward);
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        place: usize,
        wavelet: Wavelet,
        stream: Stream,
        operation: Operation,
        forward: Option<(u32, usize)>,
    ) {
        let timing = self.lowered.timing;
        let Some(Part::Carry(lines)) =
            self.lowered.stage(wavelet.at as usize).and_then(|stage| stage.parts.get(wavelet.part as usize))
        else {
            return;
        };
        self.tally.delivered += 1;
        let used = self.now + timing.ramp_in + lines.combine;
        if let Some((send, queue)) = forward {
            let lands = used + timing.ramp_out;
            self.queues[queue].wavelets.push_back(Wavelet { lands, stream: send, ..wavelet });
            self.tally.sent += lines.streams.get(send as usize).map_or(0, Stream::receivers);
            self.wake(place, lands);
        }
        let element = &mut self.elements[place];
        element.leaving += u32::from(forward.is_some());
        element.takes_left -= 1;
        element.next_take = self.now + stream.period;
        element.end = element.end.max(used);
        let (next, left) = (element.next_take, element.takes_left);
        if left > 0 {
            self.wake(place, next);
            return;
        }
        element.taking += 1;
        if matches!(operation, Operation::Forward { .. }) {
            element.sending += 1;
            element.next_take = NEVER;
            self.begin_send(place, next);
        }
        self.begin_take(place, next);
    }

    /// Leaves a stage whose operations are all through.
    fn leave(&mut self, place: usize) -> bool {
        let element = &self.elements[place];
        if !element.inside {
            return false;
        }
        let (x, y) = self.coordinates(place);
        let lowered = self.lowered;
        let Some(stage) = lowered.stage(element.at as usize) else { return false };
        let meeting = matches!(stage.parts.first(), Some(Part::Meet { .. }));
        let core = if meeting {
            if element.core == NEVER {
                return false;
            }
            element.core
        } else {
            let through = |index: u16| operation(stage, x, y, index as usize).is_none();
            if !through(element.sending) || !through(element.taking) || element.leaving > 0 {
                return false;
            }
            element.core.max(if element.fabric { element.end + lowered.timing.completion } else { 0 })
        };
        let element = &mut self.elements[place];
        element.inside = false;
        element.core = core;
        if let Some(done) = self.done.get_mut(element.at as usize) {
            *done = (*done).max(core);
        }
        element.at += 1;
        self.wake(place, core);
        true
    }

    /// Copies on their way: of wavelets in queues, those whose receivers lie ahead.
    fn in_flight(&self) -> u64 {
        let mut copies = 0;
        for place in 0..self.elements.len() {
            let (x, y) = self.coordinates(place);
            let mut index = self.elements[place].queues;
            while index != NONE {
                let queue = &self.queues[index as usize];
                index = queue.next;
                for wavelet in &queue.wavelets {
                    let Some(Part::Carry(lines)) =
                        self.stage(wavelet.at).and_then(|stage| stage.parts.get(wavelet.part as usize))
                    else {
                        continue;
                    };
                    let Some(stream) = lines.streams.get(wavelet.stream as usize) else { continue };
                    let position = lines.position(x, y);
                    let ways = ways(stream, lines.axis, position, queue.travels);
                    let ahead = if queue.travels == FROM_CORE {
                        stream.receivers()
                    } else {
                        let upwards = queue.travels == Direction::along(lines.axis, true) as u8;
                        let beyond = if upwards { stream.high - position } else { position - stream.low };
                        u64::from(ways.core) + if stream.copies { u64::from(beyond) } else { u64::from(beyond > 0) }
                    };
                    copies += ahead;
                }
            }
        }
        copies
    }

    fn check_conservation(&self) -> Result<(), CircuitError> {
        let (sent, delivered, flying) = (self.tally.sent, self.tally.delivered, self.in_flight());
        if sent == delivered + flying {
            return Ok(());
        }
        Err(CircuitError::Bug(format!("{sent} wavelets sent, {delivered} delivered, {flying} in flight")))
    }

    /// Who waits for whom.
    fn deadlock(&self) -> Deadlock {
        let mut deadlock = Deadlock { cycle: cycles(self.now).0 as u64, waiting: 0, first: Vec::new() };
        for place in 0..self.elements.len() {
            let (x, y) = self.coordinates(place);
            let element = &self.elements[place];
            let mut note = |at: u32, who: Waiter| {
                deadlock.waiting += 1;
                if deadlock.first.len() < NAMED {
                    let operator = self.stage(at).and_then(|stage| self.lowered.operators.get(stage.operator as usize));
                    deadlock.first.push(Waiting {
                        column: self.lowered.origin.0 + u64::from(x),
                        row: self.lowered.origin.1 + u64::from(y),
                        step: u64::from(at),
                        operator: operator.map_or_else(String::new, |name| name.clone().into_owned()),
                        who,
                    });
                }
            };
            if element.inside
                && let Some(stage) = self.stage(element.at)
            {
                if element.core == NEVER {
                    note(element.at, Waiter::Neighbours);
                }
                if let Some((_, lines, found)) = operation(stage, x, y, element.taking as usize)
                    && let Operation::Take { stream, .. } | Operation::Forward { take: stream, .. } = found
                {
                    let color = lines.streams[stream as usize].color;
                    note(element.at, Waiter::Receive { color, missing: u64::from(element.takes_left) });
                }
                if let Some((_, lines, Operation::Send { stream })) =
                    operation(stage, x, y, element.sending as usize)
                {
                    let color = lines.streams[stream as usize].color;
                    note(element.at, Waiter::Send { color, left: u64::from(element.sends_left) });
                }
            }
            let mut index = element.queues;
            while index != NONE {
                let queue = &self.queues[index as usize];
                index = queue.next;
                let Some(wavelet) = queue.wavelets.front() else { continue };
                let Some((ways, _)) = self.ways(place, *wavelet, queue.travels) else { continue };
                let link = ways.links.iter().position(|&wanted| wanted);
                let wants = match link.and_then(|index| Direction::ALL.get(index)) {
                    Some(direction) if !ways.core => Wants::Place(*direction),
                    _ => Wants::Core,
                };
                let travels = Direction::ALL.get(usize::from(queue.travels)).copied();
                let words = queue.wavelets.len() as u64;
                note(wavelet.at, Waiter::Queue { color: queue.color, travels, words, wants });
            }
        }
        deadlock
    }
}
