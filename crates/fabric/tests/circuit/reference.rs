//! A slow, obvious router: every processing element is looked at at every tick, nothing is remembered that could be
//! looked up, nothing is skipped. It shares the lowered program with the engines and no line of their code.

use std::collections::BTreeMap;

use wafersim_fabric::circuit::{CoreOperation, Direction, Lines, Lowered, Part, Stream};
use wafersim_program::Axis;

#[derive(Clone, Copy)]
struct Wavelet {
    lands: u64,
    at: usize,
    part: usize,
    stream: u32,
}

#[derive(Default, Clone)]
struct Queue {
    wavelets: Vec<Wavelet>,
    left_at: Vec<u64>,
}

/// A microthread of a core: its operations, and how far the first of them is.
#[derive(Default, Clone)]
struct Thread {
    operations: Vec<(usize, CoreOperation)>,
    begun: bool,
    left: u64,
    next: u64,
}

#[derive(Default, Clone)]
struct Core {
    at: usize,
    inside: bool,
    start: u64,
    ready: u64,
    end: u64,
    fabric: bool,
    meeting: bool,
    leaving: u32,
    sends: Thread,
    takes: Thread,
}

/// What a run found: end, wavelet-hops, deliveries, wavelets on each link.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub ticks: u64,
    pub hops: u64,
    pub sent: u64,
    pub delivered: u64,
    pub links: [Vec<u32>; 4],
}

type Key = (usize, Option<usize>, u16);

struct Reference<'a> {
    lowered: &'a Lowered,
    now: u64,
    cores: Vec<Core>,
    queues: BTreeMap<Key, Queue>,
    /// When each came to a meeting, by stage of the schedule.
    came: BTreeMap<(usize, usize), u64>,
    /// Wavelets that have passed, by router, color and stage of the schedule.
    passed: BTreeMap<(usize, u16, usize), u64>,
    free: Vec<[u64; 4]>,
    served: Vec<[Option<(u16, usize)>; 4]>,
    found: Found,
}

/// Runs a program; nothing where it has not ended after `limit` ticks. Time goes on by `step` ticks at a time, which
/// must divide all times of the program.
pub fn run(lowered: &Lowered, step: u64, limit: u64) -> Option<Found> {
    let places = (lowered.columns * lowered.rows) as usize;
    let links = std::array::from_fn(|_| vec![0; places]);
    let mut all = Reference {
        lowered,
        now: 0,
        cores: vec![Core::default(); places],
        queues: BTreeMap::new(),
        came: BTreeMap::new(),
        passed: BTreeMap::new(),
        free: vec![[0; 4]; places],
        served: vec![[None; 4]; places],
        found: Found { ticks: 0, hops: 0, sent: 0, delivered: 0, links },
    };
    while all.now < limit {
        loop {
            let mut moved = false;
            for place in 0..places {
                moved |= all.enter(place);
                moved |= all.send(place);
                moved |= all.route(place);
                moved |= all.leave(place);
            }
            moved |= all.meet();
            if !moved {
                break;
            }
        }
        if all.cores.iter().all(|core| !core.inside && core.at >= lowered.schedule.len()) {
            return Some(all.found);
        }
        all.now += step;
    }
    None
}

impl Reference<'_> {
    fn coordinates(&self, place: usize) -> (u32, u32) {
        (place as u32 % self.lowered.columns, place as u32 / self.lowered.columns)
    }

    fn lines(&self, at: usize, part: usize) -> &Lines {
        match &self.lowered.stages[self.lowered.schedule[at] as usize].parts[part] {
            Part::Carry(lines) => lines,
            _ => panic!("wavelets belong to transfers"),
        }
    }

    fn enter(&mut self, place: usize) -> bool {
        let (x, y) = self.coordinates(place);
        let core = &self.cores[place];
        if core.inside || core.ready > self.now || core.at >= self.lowered.schedule.len() {
            return false;
        }
        let stage = &self.lowered.stages[self.lowered.schedule[core.at] as usize];
        let core = &mut self.cores[place];
        if !stage.parts.iter().any(|part| part.area().contains(x, y)) {
            core.at += 1;
            return true;
        }
        core.inside = true;
        core.start = core.ready;
        core.end = 0;
        (core.sends, core.takes) = (Thread::default(), Thread::default());
        (core.sends.next, core.takes.next) = (core.start, core.start);
        for (index, part) in stage.parts.iter().enumerate() {
            if !part.area().contains(x, y) {
                continue;
            }
            match part {
                Part::Busy { time, .. } => core.ready += time,
                Part::Meet { .. } => {
                    core.meeting = true;
                    self.came.insert((core.at, place), core.start);
                }
                Part::Carry(lines) => {
                    for operation in lines.operations(lines.position(x, y) as usize) {
                        if !matches!(operation, CoreOperation::Take { .. }) {
                            core.sends.operations.push((index, *operation));
                        }
                        if !matches!(operation, CoreOperation::Send { .. }) {
                            core.takes.operations.push((index, *operation));
                        }
                    }
                }
            }
        }
        core.fabric = !core.sends.operations.is_empty() || !core.takes.operations.is_empty();
        true
    }

    /// Whoever waits in a meeting, and whose neighbours have all come to it, goes on.
    fn meet(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.cores.len() {
            let (at, meeting) = (self.cores[place].at, self.cores[place].meeting);
            if !meeting {
                continue;
            }
            let (x, y) = self.coordinates(place);
            let Part::Meet { area, hops, before, way, after } =
                &self.lowered.stages[self.lowered.schedule[at] as usize].parts[0]
            else {
                panic!("a meeting is a meeting")
            };
            let hops = i64::from(*hops);
            let mut latest = Some(self.came[&(at, place)]);
            for (dx, dy) in [(hops, 0), (-hops, 0), (0, hops), (0, -hops)] {
                let (ox, oy) = (i64::from(x) + dx, i64::from(y) + dy);
                if ox >= 0 && oy >= 0 && area.contains(ox as u32, oy as u32) {
                    let other = (oy * i64::from(self.lowered.columns) + ox) as usize;
                    let came = self.came.get(&(at, other)).copied();
                    latest = latest.zip(came).map(|(one, two)| one.max(two));
                }
            }
            if let Some(latest) = latest {
                self.cores[place].ready = latest + before + way + after;
                self.cores[place].meeting = false;
                moved = true;
            }
        }
        moved
    }

    fn queue_has_place(&self, key: Key, depth: u64) -> bool {
        let credit = self.lowered.timing.credit;
        self.queues.get(&key).is_none_or(|queue| {
            let not_known = queue.left_at.iter().filter(|&&left| left + credit > self.now).count();
            ((queue.wavelets.len() + not_known) as u64) < depth
        })
    }

    fn send(&mut self, place: usize) -> bool {
        let core = &self.cores[place];
        let Some(&(part, CoreOperation::Send { stream: number })) = core.sends.operations.first() else { return false };
        if !core.inside {
            return false;
        }
        let at = core.at;
        let lines = self.lines(at, part);
        let (stream, launch) = (lines.streams[number as usize], lines.launch);
        let core = &mut self.cores[place];
        if !core.sends.begun {
            core.sends.begun = true;
            core.sends.left = stream.wavelets;
            core.sends.next = core.sends.next.max(core.start + launch) + stream.lead;
        }
        if core.sends.next > self.now {
            return false;
        }
        let key = (place, None, stream.color);
        if !self.queue_has_place(key, self.lowered.timing.core_queue) {
            return false;
        }
        let lands = self.now + self.lowered.timing.ramp_out;
        self.queues.entry(key).or_default().wavelets.push(Wavelet { lands, at, part, stream: number });
        self.found.sent += stream.receivers();
        let core = &mut self.cores[place];
        core.leaving += 1;
        core.sends.next = self.now + stream.period;
        core.sends.left -= 1;
        if core.sends.left == 0 {
            core.sends.operations.remove(0);
            core.sends.begun = false;
        }
        true
    }

    /// The links that a wavelet wants, and whether the core wants it.
    fn outputs(&self, place: usize, key: Key, wavelet: Wavelet) -> (Vec<usize>, bool, Stream) {
        let (x, y) = self.coordinates(place);
        let lines = self.lines(wavelet.at, wavelet.part);
        let stream = lines.streams[wavelet.stream as usize];
        let position = lines.position(x, y);
        let (up, down) = (Direction::along(lines.axis, true) as usize, Direction::along(lines.axis, false) as usize);
        let mut links = Vec::new();
        if key.1 != Some(down) && position < stream.high {
            links.push(up);
        }
        if key.1 != Some(up) && position > stream.low {
            links.push(down);
        }
        links.sort_unstable();
        let core = key.1.is_some() && (stream.copies || links.is_empty());
        assert!(lines.axis == Axis::X || links.iter().all(|&link| link >= 2));
        (links, core, stream)
    }

    /// Whether the core runs the operation for a wavelet: the operation, begun where it was not.
    fn core_takes(&mut self, place: usize, wavelet: Wavelet) -> Option<CoreOperation> {
        let core = &self.cores[place];
        let &(part, operation) = core.takes.operations.first()?;
        if !core.inside || core.at != wavelet.at || part != wavelet.part {
            return None;
        }
        let lines = self.lines(core.at, part);
        let (launch, wavelets) = (lines.launch, lines.streams[wavelet.stream as usize].wavelets);
        let (gap, forward) = match operation {
            CoreOperation::Take { stream, gap } if stream == wavelet.stream => (gap, None),
            CoreOperation::Forward { take, send } if take == wavelet.stream => {
                // It is the turn of a forward only when the sends before it are through.
                if core.sends.operations.first() != Some(&(part, operation)) {
                    return None;
                }
                (0, Some(lines.streams[send as usize].color))
            }
            _ => return None,
        };
        let core = &mut self.cores[place];
        if !core.takes.begun {
            core.takes.begun = true;
            core.takes.left = wavelets;
            let free = if forward.is_some() { core.takes.next.max(core.sends.next) } else { core.takes.next };
            core.takes.next = free.max(core.start + launch) + gap;
        }
        if core.takes.next > self.now {
            return None;
        }
        if let Some(color) = forward
            && !self.queue_has_place((place, None, color), self.lowered.timing.core_queue)
        {
            return None;
        }
        Some(operation)
    }

    /// Wavelets of a color that a stage sends through a router.
    fn through(&self, place: usize, color: u16, at: usize) -> u64 {
        let (x, y) = self.coordinates(place);
        let mut wavelets = 0;
        for part in &self.lowered.stages[self.lowered.schedule[at] as usize].parts {
            if let Part::Carry(lines) = part
                && lines.area.contains(x, y)
            {
                let position = lines.position(x, y);
                let here = |stream: &&Stream| stream.color == color && (stream.low..=stream.high).contains(&position);
                wavelets += lines.streams.iter().filter(here).map(|stream| stream.wavelets).sum::<u64>();
            }
        }
        wavelets
    }

    fn neighbour(&self, place: usize, link: usize) -> usize {
        let columns = self.lowered.columns as usize;
        [place + 1, place.wrapping_sub(1), place + columns, place.wrapping_sub(columns)][link]
    }

    fn can_leave(&mut self, place: usize, key: Key) -> Option<(Wavelet, Vec<usize>)> {
        let wavelet = *self.queues[&key].wavelets.first().filter(|wavelet| wavelet.lands <= self.now)?;
        if (0..wavelet.at)
            .any(|at| self.passed.get(&(place, key.2, at)).copied().unwrap_or(0) < self.through(place, key.2, at))
        {
            // The route of an earlier step still stands.
            return None;
        }
        let (links, core, _) = self.outputs(place, key, wavelet);
        for &link in &links {
            let next = (self.neighbour(place, link), Some(link), key.2);
            if self.free[place][link] > self.now || !self.queue_has_place(next, self.lowered.timing.queue) {
                return None;
            }
        }
        if core {
            self.core_takes(place, wavelet)?;
        }
        Some((wavelet, links))
    }

    fn route(&mut self, place: usize) -> bool {
        let mut moved = false;
        let keys: Vec<Key> =
            self.queues.range((place, None, 0)..=(place, Some(9), u16::MAX)).map(|(key, _)| *key).collect();
        for wanted in [Some(0), Some(1), Some(2), Some(3), None] {
            let mut candidates = Vec::new();
            for &key in &keys {
                if let Some((_, links)) = self.can_leave(place, key) {
                    let suits = wanted.map_or(links.is_empty(), |link| links.contains(&link));
                    if suits {
                        // Colors go round; of one color, wavelets travelling east, west, south, north, then the core's.
                        candidates.push((key.2, key.1.unwrap_or(4), key));
                    }
                }
            }
            candidates.sort_unstable();
            match wanted {
                Some(link) => {
                    let served = self.served[place][link];
                    let next = candidates.iter().find(|one| served.is_none_or(|last| (one.0, one.1) > last));
                    if let Some(&(_, _, key)) = next.or(candidates.first()) {
                        self.depart(place, key);
                        moved = true;
                    }
                }
                None => {
                    for (_, _, key) in candidates {
                        if self.can_leave(place, key).is_some() {
                            self.depart(place, key);
                            moved = true;
                        }
                    }
                }
            }
        }
        moved
    }

    fn depart(&mut self, place: usize, key: Key) {
        let timing = self.lowered.timing;
        let Some((wavelet, links)) = self.can_leave(place, key) else { return };
        let (_, core_wants, stream) = self.outputs(place, key, wavelet);
        let operation = if core_wants { self.core_takes(place, wavelet) } else { None };
        let now = self.now;
        *self.passed.entry((place, key.2, wavelet.at)).or_insert(0) += 1;
        let queue = self.queues.entry(key).or_default();
        queue.wavelets.remove(0);
        queue.left_at.push(now);
        if key.1.is_none() {
            self.cores[place].leaving -= 1;
            self.cores[place].end = self.cores[place].end.max(now);
        }
        for link in links {
            let next = (self.neighbour(place, link), Some(link), key.2);
            self.queues.entry(next).or_default().wavelets.push(Wavelet { lands: now + timing.hop, ..wavelet });
            self.free[place][link] = now + timing.wavelet;
            self.served[place][link] = Some((key.2, key.1.unwrap_or(4)));
            self.found.hops += 1;
            self.found.links[link][place] += 1;
        }
        let Some(operation) = operation else { return };
        self.found.delivered += 1;
        let lines = self.lines(wavelet.at, wavelet.part);
        let used = now + timing.ramp_in + lines.combine;
        let sent = match operation {
            CoreOperation::Forward { send, .. } => Some((send, lines.streams[send as usize])),
            _ => None,
        };
        if let Some((number, sent)) = sent {
            let wavelet = Wavelet { lands: used + timing.ramp_out, stream: number, ..wavelet };
            self.queues.entry((place, None, sent.color)).or_default().wavelets.push(wavelet);
            self.found.sent += sent.receivers();
        }
        let core = &mut self.cores[place];
        core.end = core.end.max(used);
        core.leaving += u32::from(sent.is_some());
        core.takes.next = now + stream.period;
        core.takes.left -= 1;
        if core.takes.left == 0 {
            core.takes.operations.remove(0);
            core.takes.begun = false;
            if sent.is_some() {
                core.sends.operations.remove(0);
                core.sends.begun = false;
                core.sends.next = now + stream.period;
            }
        }
    }

    fn leave(&mut self, place: usize) -> bool {
        let core = &mut self.cores[place];
        let through =
            core.sends.operations.is_empty() && core.takes.operations.is_empty() && !core.meeting && core.leaving == 0;
        if !core.inside || !through {
            return false;
        }
        if core.fabric {
            core.ready = core.ready.max(core.end + self.lowered.timing.completion);
        }
        core.fabric = false;
        core.inside = false;
        core.at += 1;
        self.found.ticks = self.found.ticks.max(core.ready);
        true
    }
}
