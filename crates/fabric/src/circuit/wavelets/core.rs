//! A core: its way through the program, its operations that send and that take, its meetings.

use wafersim_program::Axis;

use super::queue::Wavelet;
use super::script::{Flows, NONE};
use super::{Mesh, NEVER, Share};
use crate::circuit::contents::Contents;
use crate::circuit::error::CircuitError;
use crate::circuit::lowered::Part;
use crate::circuit::recorder::{Span, Sum};
use crate::circuit::timing::Tick;

impl<C: Contents> Mesh<'_, C> {
    /// Enters the next stage that concerns this place, when its core is ready.
    pub(super) fn enter(&mut self, place: usize) -> bool {
        let element = &self.elements[place];
        if element.inside || element.core > self.now || element.at >= self.script.end {
            return false;
        }
        let (x, y, start) = (element.x, element.y, element.core);
        let mut at = element.at;
        let stage = loop {
            let Some(stage) = self.script.stage(at) else {
                self.elements[place].at = at;
                return false;
            };
            if stage.parts.iter().any(|part| part.area().contains(x, y)) {
                break stage;
            }
            at += 1;
        };
        let [along_x, along_y] = self.script.operations_along(at, (x, y));
        let (own, others) = match self.share {
            None => (along_x + along_y, 0),
            Some(share) if share.axis == Axis::X => (along_x, along_y),
            Some(_) => (along_y, along_x),
        };
        if let Some(share) = self.share.filter(|_| own == 0 && others > 0) {
            return self.pass_over(place, at, &share);
        }
        self.contents.enter((x, y), at);
        // What a core does beside transfers along both axes is counted with those that come first.
        let others_count = self.share.is_none_or(|share| share.counts_others);
        let counted = (own > 0 && others == 0) || others_count;
        let element = &mut self.elements[place];
        element.at = at;
        element.inside = true;
        (element.counted, element.mixed, element.own_left) = (counted, own > 0 && others > 0, own);
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
                    if !counted {
                        continue;
                    }
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
        element.fabric = own > 0;
        if element.fabric {
            self.begin_send(place, start);
            self.begin_take(place, start);
        }
        true
    }

    /// A step along the other axis, which is not run here: the core comes back when it is through with it.
    fn pass_over(&mut self, place: usize, at: u32, share: &Share<'_>) -> bool {
        let end = share.others.end(place, (at - self.script.begin) as usize).and_then(|index| share.noted.get(index));
        // Earlier than now only as long as what is known of the other axis is not right yet.
        let end = end.map_or(NEVER, |&end| end.max(self.now));
        let element = &mut self.elements[place];
        element.at = at;
        element.core = end;
        if end == NEVER {
            return false;
        }
        element.at += 1;
        self.wake(place, end);
        true
    }

    /// Comes to a meeting: hears those neighbours that are there, and is heard by them. None of them can have gone on
    /// before.
    fn meet(&mut self, place: usize, came: Tick) {
        let element = &self.elements[place];
        let (x, y, at) = (element.x, element.y, element.at);
        let Some(Part::Meet { area, hops, .. }) = self.script.stage(at).and_then(|stage| stage.parts.first()) else {
            return;
        };
        let (mut heard, mut missing) = (came, 0);
        let hops = i64::from(*hops);
        let ways: &[(i64, i64)] = if hops > 0 { &[(hops, 0), (-hops, 0), (0, hops), (0, -hops)] } else { &[] };
        for (dx, dy) in ways {
            let (other_x, other_y) = (i64::from(x) + dx, i64::from(y) + dy);
            if other_x < 0 || other_y < 0 || !area.contains(other_x as u32, other_y as u32) {
                continue;
            }
            let window = self.area;
            let row = other_y - i64::from(window.y);
            let other = (row * i64::from(window.columns) + other_x - i64::from(window.x)) as usize;
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
        let stage = self.script.stage(element.at);
        let Some(Part::Meet { before, way, after, .. }) = stage.and_then(|stage| stage.parts.first()) else { return };
        element.core = element.heard + before + way + after;
        let core = element.core;
        self.wake(place, core.max(self.now));
    }

    /// Of an operation along the other axis, which is not run here: when the core goes on to the next one.
    fn passed_over(&self, place: usize, Flows { take, send, .. }: Flows, operation: u16) -> Option<Tick> {
        let share = self.share?;
        let flow = self.script.flows.get(if take == NONE { send } else { take } as usize)?;
        if flow.vertical == (share.axis == Axis::Y) {
            return None;
        }
        let step = (self.elements[place].at - self.script.begin) as usize;
        let index = share.others.operation(place, step, operation);
        Some(index.and_then(|index| share.noted.get(index)).copied().unwrap_or(NEVER))
    }

    /// An operation is through: the core goes on to its next one at `next`.
    pub(super) fn note(&mut self, place: usize, operation: u16, next: Tick) {
        let element = &mut self.elements[place];
        let Some(share) = self.share.filter(|_| element.mixed) else { return };
        element.own_left = element.own_left.saturating_sub(1);
        let index = share.own.operation(place, (element.at - self.script.begin) as usize, operation);
        if let Some(noted) = index.and_then(|index| self.noted.get_mut(index)) {
            *noted = next;
        }
    }

    /// Whether the operations of a core that has some along both axes are through, those along the other one included:
    /// then with their end. Notes the end of those that are run here.
    fn are_both_through(&mut self, place: usize, at: u32) -> Option<()> {
        let (element, share) = (&mut self.elements[place], self.share?);
        if element.own_left > 0 || element.leaving > 0 {
            return None;
        }
        let step = (at - self.script.begin) as usize;
        *self.noted.get_mut(share.own.end(place, step)?)? = element.end;
        *self.noted.get_mut(share.own.first(place, step)?)? = element.first;
        let end = *share.noted.get(share.others.end(place, step)?)?;
        if end == NEVER {
            return None;
        }
        element.end = element.end.max(end);
        element.first = element.first.min(*share.noted.get(share.others.first(place, step)?)?);
        Some(())
    }

    /// Makes the next operation that sends ready, from `earliest`.
    pub(super) fn begin_send(&mut self, place: usize, mut earliest: Tick) {
        self.elements[place].send = NONE;
        loop {
            let element = &self.elements[place];
            let found = self.script.operation(element.at, (element.x, element.y), element.sending.into());
            let passed = found
                .filter(|found| found.send != NONE)
                .and_then(|found| self.passed_over(place, found, element.sending));
            let element = &mut self.elements[place];
            let Some(Flows { take, send, .. }) = found.filter(|_| passed != Some(NEVER)) else {
                element.next_send = NEVER;
                return;
            };
            if let Some(end) = passed {
                earliest = end;
                element.sending += 1;
                continue;
            }
            match (take, send) {
                (_, NONE) => element.sending += 1,
                (NONE, flow) => {
                    let Some(stream) = self.script.flows.get(flow as usize) else { return };
                    element.send = flow;
                    element.next_send = earliest.max(element.start + stream.launch) + stream.lead;
                    element.sends_left = stream.wavelets;
                    let moment = element.next_send;
                    self.wake(place, moment);
                    return;
                }
                _ => {
                    // Starts with the operation that takes, when that has come as far; `next_send` is when sends are
                    // free.
                    element.next_send = earliest;
                    element.sends_left = 0;
                    self.begin_forward(place);
                    return;
                }
            }
        }
    }

    pub(super) fn begin_take(&mut self, place: usize, mut earliest: Tick) {
        let element = &mut self.elements[place];
        (element.take, element.onward) = (NONE, NONE);
        loop {
            let element = &self.elements[place];
            let found = self.script.operation(element.at, (element.x, element.y), element.taking.into());
            let passed = found
                .filter(|found| found.take != NONE)
                .and_then(|found| self.passed_over(place, found, element.taking));
            let element = &mut self.elements[place];
            let Some(Flows { take, send, gap }) = found.filter(|_| passed != Some(NEVER)) else {
                element.next_take = NEVER;
                return;
            };
            if let Some(end) = passed {
                earliest = end;
                element.taking += 1;
                continue;
            }
            match (take, send) {
                (NONE, _) => element.taking += 1,
                (flow, NONE) => {
                    let Some(stream) = self.script.flows.get(flow as usize) else { return };
                    element.take = flow;
                    element.next_take = earliest.max(element.start + stream.launch) + gap;
                    element.takes_left = stream.wavelets;
                    return;
                }
                _ => {
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
        let element = &mut self.elements[place];
        if element.sending != element.taking || element.next_send == NEVER || element.next_take == NEVER {
            return;
        }
        let found = self.script.operation(element.at, (element.x, element.y), element.taking.into());
        let Some(Flows { take, send, .. }) = found else { return };
        let Some(stream) = self.script.flows.get(take as usize).filter(|_| send != NONE) else { return };
        (element.take, element.onward) = (take, send);
        element.next_take = element.next_take.max(element.next_send).max(element.start + stream.launch);
        element.takes_left = stream.wavelets;
    }

    /// Dispatches one wavelet from memory.
    pub(super) fn send(&mut self, place: usize) -> Result<bool, CircuitError> {
        let element = &self.elements[place];
        if !element.inside || element.next_send > self.now || element.sends_left == 0 {
            return Ok(false);
        }
        let (at, flow) = (element.at, element.send);
        let Some(&stream) = self.script.flows.get(flow as usize) else {
            return Err(CircuitError::Bug("a send without its operation".into()));
        };
        let timing = &self.lowered.timing;
        let queue = self.core_queue(place, stream.color);
        if !self.place_in(queue, timing.core_queue, place) {
            return Ok(false);
        }
        let lands = self.now + timing.ramp_out;
        let element = &self.elements[place];
        let (core, index) = ((element.x, element.y), stream.wavelets - element.sends_left);
        let word = self.contents.send(core, at, stream.id, index);
        self.put(queue, Wavelet::new(lands, at, flow, index == 0, word), place);
        self.tally.sent += stream.receivers;
        if let Some(sheet) = &mut self.sheet {
            sheet.spread(Sum::Sent, self.now, self.now + 1, stream.receivers);
        }
        let element = &mut self.elements[place];
        element.first = element.first.min(self.now);
        element.sends_left -= 1;
        element.next_send = self.now + stream.period;
        element.leaving += 1;
        let (next, left) = (element.next_send, element.sends_left);
        if left > 0 {
            self.wake(place, next);
        } else {
            self.note(place, self.elements[place].sending, next);
            self.elements[place].sending += 1;
            self.begin_send(place, next);
        }
        Ok(true)
    }

    /// Leaves a stage whose operations are all through.
    pub(super) fn leave(&mut self, place: usize) -> bool {
        let element = &self.elements[place];
        if !element.inside || element.leaving > 0 || element.take != NONE || element.send != NONE {
            return false;
        }
        let (at, element_place) = (element.at, (element.x, element.y));
        if element.mixed && self.are_both_through(place, at).is_none() {
            return false;
        }
        let element = &self.elements[place];
        let stage = self.script.stage(at);
        let meeting = stage.is_some_and(|stage| matches!(stage.parts.first(), Some(Part::Meet { .. })));
        let core = if meeting {
            if element.core == NEVER {
                return false;
            }
            element.core
        } else {
            let through = |index: u16| self.script.operation(at, element_place, index.into()).is_none();
            if element.fabric && (!through(element.sending) || !through(element.taking)) {
                return false;
            }
            let completion = self.lowered.timing.completion;
            element.core.max(if element.fabric { element.end + completion } else { 0 })
        };
        self.contents.leave(element_place, at);
        let element = &mut self.elements[place];
        if let Some(sheet) = self.sheet.as_mut().filter(|_| element.counted) {
            let worked = if meeting { element.start } else { element.core };
            let first = if meeting { element.heard } else { element.first };
            let place = element.y * self.lowered.columns + element.x;
            sheet.span(at, Span { start: element.start, worked, first, end: core, place });
        }
        element.inside = false;
        element.core = core;
        let step = (at - self.script.begin) as usize;
        if let Some(done) = self.done.get_mut(step).filter(|_| element.counted) {
            *done = (*done).max(core);
        }
        if element.fabric
            && !element.mixed
            && let Some(share) = self.share
            && let Some(noted) = share.own.end(place, step).and_then(|index| self.noted.get_mut(index))
        {
            *noted = core;
        }
        element.at += 1;
        self.wake(place, core);
        true
    }
}
