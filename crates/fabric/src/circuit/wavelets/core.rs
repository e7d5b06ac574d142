//! A core: its way through the program, its operations that send and that take, its meetings.

use super::{Mesh, NEVER, operation};
use crate::circuit::error::CircuitError;
use crate::circuit::lowered::Part;
use crate::circuit::queue::{FROM_CORE, Wavelet};
use crate::circuit::recorder::{Span, Sum};
use crate::circuit::route::Operation;
use crate::circuit::timing::Tick;

impl Mesh<'_> {
    /// Enters the next stage that concerns this place, when its core is ready.
    pub(super) fn enter(&mut self, place: usize) -> bool {
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
        element.first = NEVER;
        (element.sending, element.taking) = (0, 0);
        (element.next_send, element.next_take) = (NEVER, NEVER);
        for part in &stage.parts {
            match part {
                Part::Busy { area, time } if area.contains(x, y) => {
                    let from = element.core;
                    element.core += time;
                    self.maps.busy[place] += time;
                    if let Some(sheet) = &mut self.sheet {
                        sheet.spread(Sum::Busy, from, from + time, *time);
                    }
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
    pub(super) fn meet(&mut self, place: usize, came: Tick) {
        let (x, y) = self.coordinates(place);
        let lowered = self.lowered;
        let at = self.elements[place].at;
        let Some(Part::Meet { area, hops, .. }) = lowered.stage(at as usize).and_then(|stage| stage.parts.first())
        else {
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
    pub(super) fn go_on(&mut self, place: usize) {
        let element = &mut self.elements[place];
        let stage = self.lowered.stage(element.at as usize);
        let Some(Part::Meet { before, way, after, .. }) = stage.and_then(|stage| stage.parts.first()) else { return };
        element.core = element.heard + before + way + after;
        let core = element.core;
        self.wake(place, core.max(self.now));
    }

    /// Makes the next operation that sends ready, from `earliest`.
    pub(super) fn begin_send(&mut self, place: usize, earliest: Tick) {
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

    pub(super) fn begin_take(&mut self, place: usize, earliest: Tick) {
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
    pub(super) fn begin_forward(&mut self, place: usize) {
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

    /// Dispatches one wavelet from memory.
    pub(super) fn send(&mut self, place: usize) -> Result<bool, CircuitError> {
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
        if let Some(sheet) = &mut self.sheet {
            sheet.spread(Sum::Sent, self.now, self.now + 1, stream.receivers());
        }
        let element = &mut self.elements[place];
        element.first = element.first.min(self.now);
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

    /// Leaves a stage whose operations are all through.
    pub(super) fn leave(&mut self, place: usize) -> bool {
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
        if let Some(sheet) = &mut self.sheet {
            let worked = if meeting { element.start } else { element.core };
            let first = if meeting { element.heard } else { element.first };
            let place = place as u32;
            sheet.span(element.at, Span { start: element.start, worked, first, end: core, place });
        }
        element.inside = false;
        element.core = core;
        if let Some(done) = self.done.get_mut(element.at as usize) {
            *done = (*done).max(core);
        }
        element.at += 1;
        self.wake(place, core);
        true
    }
}
