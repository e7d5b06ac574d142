//! A router: which wavelets may leave its queues, whose turn it is, and where they go.

use super::{Mesh, NEVER, Ways, operation, ways};
use crate::circuit::error::CircuitError;
use crate::circuit::lowered::Part;
use crate::circuit::queue::{FROM_CORE, NONE, Queue, Wavelet};
use crate::circuit::recorder::Sum;
use crate::circuit::route::{Operation, Stream};

impl Mesh<'_> {
    /// The queue of a color and input, made where there is none yet.
    pub(super) fn queue(&mut self, place: usize, travels: u8, color: u16) -> usize {
        let mut index = self.elements[place].queues;
        while index != NONE {
            let queue = &self.queues[index as usize];
            if queue.travels == travels && queue.color == color {
                return index as usize;
            }
            index = queue.next;
        }
        let next = self.elements[place].queues;
        let index = match self.spare.pop() {
            Some(index) => {
                self.queues[index as usize].reuse(color, travels, next);
                index
            }
            None => {
                self.queues.push(Queue::new(color, travels, next));
                self.queues.len() as u32 - 1
            }
        };
        self.elements[place].queues = index;
        index as usize
    }

    /// The queues of a router whose heads have landed; those that nothing is left in are given back.
    pub(super) fn find_landed(&mut self, place: usize) {
        self.landed.clear();
        let mut before = NONE;
        let mut index = self.elements[place].queues;
        while index != NONE {
            let queue = &self.queues[index as usize];
            let next = queue.next;
            if queue.head(self.now).is_some() {
                self.landed.push(index as usize);
            } else if queue.is_spare(self.now) {
                match before {
                    NONE => self.elements[place].queues = next,
                    _ => self.queues[before as usize].next = next,
                }
                self.spare.push(index);
                index = next;
                continue;
            }
            before = index;
            index = next;
        }
    }

    /// Whether a queue at `place` has room that its source (at `source`) knows of.
    pub(super) fn place_in(&mut self, queue: usize, depth: u64, source: usize) -> bool {
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

    /// Whether the core runs the operation that takes this wavelet, and has room for it; for a forward with the stream that
    /// it sends and the queue.
    pub(super) fn core_takes(&mut self, place: usize, wavelet: Wavelet) -> Option<(Operation, Option<(u32, usize)>)> {
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
    pub(super) fn route(&mut self, place: usize) -> Result<bool, CircuitError> {
        self.find_landed(place);
        if self.landed.is_empty() {
            return Ok(false);
        }
        let landed = std::mem::take(&mut self.landed);
        let mut moved = false;
        for direction in 0..4 {
            let served = self.elements[place].served[direction];
            let mut best: Option<(u16, usize)> = None;
            for &queue in &landed {
                let (color, travels) = (self.queues[queue].color, u16::from(self.queues[queue].travels));
                let rank = (color * 8 + travels).wrapping_sub(served + 1);
                if best.is_none_or(|(known, _)| rank < known) && self.can_leave(place, queue, Some(direction)) {
                    best = Some((rank, queue));
                }
            }
            if let Some((_, queue)) = best {
                self.depart(place, queue)?;
                moved = true;
            }
        }
        for &queue in &landed {
            if self.can_leave(place, queue, None) {
                self.depart(place, queue)?;
                moved = true;
            }
        }
        self.landed = landed;
        Ok(moved)
    }

    pub(super) fn ways(&self, place: usize, wavelet: Wavelet, travels: u8) -> Option<(Ways, Stream)> {
        let (x, y) = self.coordinates(place);
        let Some(Part::Carry(lines)) = self.stage(wavelet.at)?.parts.get(wavelet.part as usize) else { return None };
        let stream = *lines.streams.get(wavelet.stream as usize)?;
        Some((ways(&stream, lines.axis, lines.position(x, y), travels), stream))
    }

    /// Whether the head of a queue can leave now, over the wanted link and all its other outputs; `None` wants those that only
    /// the core takes.
    pub(super) fn can_leave(&mut self, place: usize, queue: usize, wanted: Option<usize>) -> bool {
        let Some(wavelet) = self.queues[queue].head(self.now) else { return false };
        let (color, travels) = (self.queues[queue].color, self.queues[queue].travels);
        let (x, y) = self.coordinates(place);
        if self.switches.stands_at(place, (x, y), color, self.lowered) != wavelet.at {
            return false;
        }
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
    pub(super) fn depart(&mut self, place: usize, queue: usize) -> Result<(), CircuitError> {
        let timing = self.lowered.timing;
        let (color, travels) = (self.queues[queue].color, self.queues[queue].travels);
        let Some(wavelet) = self.queues[queue].head(self.now) else { return Ok(()) };
        let Some((ways, stream)) = self.ways(place, wavelet, travels) else { return Ok(()) };
        if wavelet.first && wavelet.lands < self.now {
            self.tally.stalls += 1;
            self.maps.stalled[place] += self.now - wavelet.lands;
        }
        if travels != FROM_CORE {
            let words = self.queues[queue].landed(self.now).min(usize::from(u16::MAX)) as u16;
            self.maps.queue[place] = self.maps.queue[place].max(words);
            if let Some(sheet) = &mut self.sheet {
                sheet.depth(self.now, u64::from(words));
            }
        }
        self.queues[queue].leave(self.now, timing.credit);
        self.switches.pass(place, self.coordinates(place), color, self.lowered);
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
            if let Some(sheet) = &mut self.sheet {
                sheet.spread(Sum::Links, self.now, self.now + timing.wavelet, timing.wavelet);
            }
        }
        if ways.core {
            let Some((operation, forward)) = self.core_takes(place, wavelet) else {
                return Err(CircuitError::Bug("a wavelet left for a core that does not take it".into()));
            };
            self.deliver(place, wavelet, stream, operation, forward);
        }
        Ok(())
    }

    pub(super) fn deliver(
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
        if let Some(sheet) = &mut self.sheet {
            sheet.spread(Sum::Delivered, self.now, self.now + 1, 1);
            if let Some(sent) = forward.and_then(|(send, _)| lines.streams.get(send as usize)) {
                sheet.spread(Sum::Sent, self.now, self.now + 1, sent.receivers());
            }
        }
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
        element.first = element.first.min(self.now);
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
}
