//! A router: which wavelets may leave its queues, whose turn it is, and where they go.

use super::queue::{FROM_CORE, Queue, Wavelet};
use super::script::NONE;
use super::{Arrival, Mesh, NEVER};
use crate::circuit::contents::Contents;
use crate::circuit::error::CircuitError;
use crate::circuit::recorder::Sum;

/// The bit of the core among the ways of a wavelet.
const CORE: u8 = 1 << 4;

impl<C: Contents> Mesh<'_, C> {
    /// The queue of a color and input, made where there is none yet.
    pub(super) fn queue(&mut self, place: usize, travels: u8, color: u16) -> usize {
        let mut spare = NONE;
        let mut index = self.elements[place].queues;
        while index != NONE {
            let queue = &self.queues[index as usize];
            if queue.travels == travels && queue.color == color {
                return index as usize;
            }
            if queue.is_spare(self.now) {
                spare = index;
            }
            index = queue.next;
        }
        let element = &self.elements[place];
        let switch = self.switches.find(place, (element.x, element.y), color, self.script);
        if let Some(queue) = self.queues.get_mut(spare as usize) {
            queue.reuse(color, travels, switch);
            return spare as usize;
        }
        self.queues.push(Queue::new(place as u32, color, travels, switch, self.elements[place].queues));
        let index = self.queues.len() - 1;
        self.elements[place].queues = index as u32;
        index
    }

    /// The queue from the core of a color, of which the core remembers the last one.
    pub(super) fn core_queue(&mut self, place: usize, color: u16) -> usize {
        let known = self.elements[place].core_queue;
        if self.queues.get(known as usize).is_some_and(|queue| queue.is(place as u32, color, FROM_CORE)) {
            return known as usize;
        }
        let found = self.queue(place, FROM_CORE, color);
        self.elements[place].core_queue = found as u32;
        found
    }

    /// The queue behind a link, of which the queue before it remembers the one straight on.
    fn onward(&mut self, queue: usize, next: usize, direction: u8) -> usize {
        let (color, travels, straight) =
            (self.queues[queue].color, self.queues[queue].travels, self.queues[queue].straight);
        if travels == direction
            && let Some(known) = self.queues.get(straight as usize)
            && known.is(next as u32, color, direction)
        {
            return straight as usize;
        }
        let found = self.queue(next, direction, color);
        if travels == direction {
            self.queues[queue].straight = found as u32;
        }
        found
    }

    /// Whether a queue has room that its source (at `source`) knows of.
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

    /// Puts a wavelet on its way to a queue of a place.
    pub(super) fn put(&mut self, queue: usize, wavelet: Wavelet<C::Word>, place: usize) {
        let known = &mut self.queues[queue];
        known.push(wavelet);
        if !known.active {
            known.active = true;
            known.next_active = std::mem::replace(&mut self.elements[place].active, queue as u32);
        }
        if wavelet.first()
            && let Some(arrivals) = &mut self.arrivals
            && let Some(flow) = self.script.flows.get(wavelet.flow() as usize)
        {
            let element = &self.elements[place];
            let links = flow.ways(element.x, element.y, known.travels) & !CORE;
            arrivals.push(Arrival { place: place as u32, color: known.color, links, lands: wavelet.lands });
        }
        self.wake(place, wavelet.lands);
    }

    /// Whether the core runs the operation that takes this wavelet, and has room for it; for a forward also the queue
    /// of what is sent on.
    fn core_takes(&mut self, place: usize, wavelet: Wavelet<C::Word>) -> Option<Option<usize>> {
        let element = &self.elements[place];
        if !element.inside || element.at != wavelet.at || element.take != wavelet.flow() || element.takes_left == 0 {
            return None;
        }
        if element.next_take > self.now {
            let moment = element.next_take;
            self.wake(place, moment);
            return None;
        }
        let Some(sent) = self.script.flows.get(element.onward as usize) else { return Some(None) };
        let queue = self.core_queue(place, sent.color);
        self.place_in(queue, self.lowered.timing.core_queue, place).then_some(Some(queue))
    }

    /// Moves wavelets out of the queues of a router: every link to one color, then those that only the core takes.
    pub(super) fn route(&mut self, place: usize) -> Result<bool, CircuitError> {
        let mut landed = std::mem::take(&mut self.landed);
        landed.clear();
        let mut before = NONE;
        let mut index = self.elements[place].active;
        while index != NONE {
            let queue = &mut self.queues[index as usize];
            let next = queue.next_active;
            if queue.is_empty() {
                queue.active = false;
                match self.queues.get_mut(before as usize) {
                    Some(before) => before.next_active = next,
                    None => self.elements[place].active = next,
                }
            } else {
                if queue.has_landed(self.now) {
                    landed.push(index);
                }
                before = index;
            }
            index = next;
        }
        let moved = match landed.as_slice() {
            [] => Ok(false),
            // Nobody to take turns with.
            [only] => self.move_one(place, *only as usize),
            several => self.move_several(place, several),
        };
        self.landed = landed;
        moved
    }

    fn move_one(&mut self, place: usize, queue: usize) -> Result<bool, CircuitError> {
        let Some(ways) = self.can_leave(place, queue) else { return Ok(false) };
        self.depart(place, queue, ways)?;
        Ok(true)
    }

    fn move_several(&mut self, place: usize, landed: &[u32]) -> Result<bool, CircuitError> {
        let mut moved = false;
        for direction in 0..4 {
            let served = self.elements[place].served[direction];
            let mut best: Option<(u16, usize, u8)> = None;
            for &queue in landed {
                let queue = queue as usize;
                if self.ways(place, queue) & (1 << direction) == 0 {
                    continue;
                }
                let (color, travels) = (self.queues[queue].color, u16::from(self.queues[queue].travels));
                let rank = (color * 8 + travels).wrapping_sub(served + 1);
                if best.is_none_or(|(known, _, _)| rank < known)
                    && let Some(ways) = self.can_leave(place, queue)
                {
                    best = Some((rank, queue, ways));
                }
            }
            if let Some((_, queue, ways)) = best {
                self.depart(place, queue, ways)?;
                moved = true;
            }
        }
        for &queue in landed {
            let queue = queue as usize;
            if self.ways(place, queue) == CORE
                && let Some(ways) = self.can_leave(place, queue)
            {
                self.depart(place, queue, ways)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    /// Where the head of a queue wants to go; nowhere without one.
    fn ways(&self, place: usize, queue: usize) -> u8 {
        let queue = &self.queues[queue];
        let Some(wavelet) = queue.head(self.now) else { return 0 };
        let element = &self.elements[place];
        let flow = self.script.flows.get(wavelet.flow() as usize);
        flow.map_or(0, |flow| flow.ways(element.x, element.y, queue.travels))
    }

    /// Whether the head of a queue can leave now, over all the links that it wants and into the core: its ways.
    fn can_leave(&mut self, place: usize, queue: usize) -> Option<u8> {
        let head = &self.queues[queue];
        let wavelet = head.head(self.now)?;
        let turn = self.script.flows.get(wavelet.flow() as usize).map_or(0, |flow| flow.turn);
        if !self.switches.switches[head.switch as usize].stands_for(wavelet.at, turn) {
            // The route of an earlier step or stream still stands.
            return None;
        }
        let ways = self.ways(place, queue);
        let mut links = ways & !CORE;
        while links != 0 {
            let direction = links.trailing_zeros() as usize;
            links &= links - 1;
            let free = self.elements[place].free[direction];
            if free > self.now {
                self.wake(place, free);
                return None;
            }
            let next = self.neighbour(place, direction);
            let next_queue = self.onward(queue, next, direction as u8);
            if !self.place_in(next_queue, self.lowered.timing.queue, place) {
                return None;
            }
        }
        if ways & CORE != 0 {
            self.core_takes(place, wavelet)?;
        }
        Some(ways)
    }

    /// Moves the head of a queue, which [`Self::can_leave`] has allowed.
    fn depart(&mut self, place: usize, queue: usize, ways: u8) -> Result<(), CircuitError> {
        let timing = self.lowered.timing;
        let (now, head) = (self.now, &mut self.queues[queue]);
        let Some(wavelet) = head.head(now) else { return Ok(()) };
        let (color, travels, switch) = (head.color, head.travels, head.switch);
        if travels != FROM_CORE {
            let words = head.landed(now).min(usize::from(u16::MAX)) as u16;
            self.maps.queue[place] = self.maps.queue[place].max(words);
            if let Some(sheet) = &mut self.sheet {
                sheet.depth(now, u64::from(words));
            }
        }
        if wavelet.first() && wavelet.lands < now {
            self.tally.stalls += 1;
            self.maps.stalled[place] += now - wavelet.lands;
        }
        head.leave(now, timing.credit);
        let wanted = std::mem::take(&mut head.wanted);
        let element = &mut self.elements[place];
        self.switches.pass(switch, (element.x, element.y), now, self.script);
        if travels == FROM_CORE {
            element.leaving -= 1;
            element.end = element.end.max(now);
        }
        if wanted {
            let source = match travels {
                FROM_CORE => place,
                direction => self.neighbour(place, usize::from(direction ^ 1)),
            };
            self.wake(source, now + timing.credit);
        }
        let mut links = ways & !CORE;
        while links != 0 {
            let direction = links.trailing_zeros() as usize;
            links &= links - 1;
            let next = self.neighbour(place, direction);
            let next_queue = self.onward(queue, next, direction as u8);
            let onward = wavelet.landing(now + timing.hop);
            self.put(next_queue, onward, next);
            let element = &mut self.elements[place];
            element.free[direction] = now + timing.wavelet;
            element.served[direction] = color * 8 + u16::from(travels);
            let used = &mut self.maps.links[direction][place];
            *used = used.saturating_add(1);
            self.tally.wavelet_hops += 1;
            if let Some(sheet) = &mut self.sheet {
                sheet.spread(Sum::Links, now, now + timing.wavelet, timing.wavelet);
            }
        }
        if ways & CORE != 0 {
            self.deliver(place, wavelet)?;
        }
        Ok(())
    }

    fn deliver(&mut self, place: usize, wavelet: Wavelet<C::Word>) -> Result<(), CircuitError> {
        let script = self.script;
        let taken = script.flows.get(wavelet.flow() as usize);
        let (Some(forward), Some(taken)) = (self.core_takes(place, wavelet), taken) else {
            return Err(CircuitError::Bug("a wavelet left for a core that does not take it".into()));
        };
        let timing = &self.lowered.timing;
        let now = self.now;
        self.tally.delivered += 1;
        if let Some(sheet) = &mut self.sheet {
            sheet.spread(Sum::Delivered, now, now + 1, 1);
        }
        let used = now + timing.ramp_in + taken.combine;
        let element = &mut self.elements[place];
        let onward = element.onward;
        let (core, index) = ((element.x, element.y), taken.wavelets - element.takes_left);
        element.leaving += u32::from(forward.is_some());
        element.takes_left -= 1;
        element.first = element.first.min(now);
        element.next_take = now + taken.period;
        element.end = element.end.max(used);
        let (next, left) = (element.next_take, element.takes_left);
        if forward.is_none() {
            self.contents.take(core, wavelet.at, taken.id, index, wavelet.word);
        }
        if let (Some(queue), Some(sent)) = (forward, script.flows.get(onward as usize)) {
            let lands = used + timing.ramp_out;
            let receivers = sent.receivers;
            let word = self.contents.forward(core, wavelet.at, (taken.id, sent.id), index, wavelet.word);
            self.put(queue, Wavelet::new(lands, wavelet.at, onward, wavelet.first(), word), place);
            self.tally.sent += receivers;
            if let Some(sheet) = &mut self.sheet {
                sheet.spread(Sum::Sent, now, now + 1, receivers);
            }
        }
        if left > 0 {
            return Ok(());
        }
        self.note(place, self.elements[place].taking, next);
        let element = &mut self.elements[place];
        element.taking += 1;
        if forward.is_some() {
            element.sending += 1;
            element.next_take = NEVER;
            self.begin_send(place, next);
        }
        self.begin_take(place, next);
        Ok(())
    }
}
