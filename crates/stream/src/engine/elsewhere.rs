//! Prompts that are computed elsewhere: from their turn there to the keys and values that are over.

use super::{Engine, Event};
use crate::costs::{Costs, Way};
use crate::elsewhere::{Elsewhere, PromptWork};
use crate::kv::Ledger;
use crate::line::{Kind, Line};
use crate::load::LoadSource;
use crate::observer::{Happening, Observer};
use crate::time::Time;

/// What a replica has elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The other wafers.
    line: Line,
    /// Their room; nothing where no wafers compute.
    room: Option<Ledger>,
    /// When something that is no wafer takes the next prompt; and its time so far that was booked.
    work: Booked,
    /// When the way between takes the next keys and values; and its time so far that was booked.
    way: Booked,
    wake_at: Time,
}

/// A server that takes one after the other.
#[derive(Debug, Clone, Copy, Default)]
struct Booked {
    free: Time,
    booked: u64,
}

impl Booked {
    /// Books `time` from `now` or from when it is free; the end of it.
    fn book(&mut self, now: Time, time: Time) -> Time {
        self.booked = self.booked.saturating_add(time.0);
        self.free = self.free.max(now) + time;
        self.free
    }

    /// What was booked so far, less what lies after `now`.
    fn busy(&self, now: Time) -> u64 {
        self.booked.saturating_sub((self.free.max(now) - now).0)
    }

    /// All that was booked after `now` is lost.
    fn stop(&mut self, now: Time) {
        (self.booked, self.free) = (self.busy(now), self.free.min(now));
    }
}

impl Place {
    /// An idle one.
    pub(super) fn new(elsewhere: &Elsewhere<'_>) -> Self {
        let (line, room) = match &elsewhere.work {
            PromptWork::Wafers { costs, room } => (Line::new(costs.stations()), Some(room.clone())),
            PromptWork::Rate { .. } => (Line::new(&[]), None),
        };
        Self { line, room, work: Booked::default(), way: Booked::default(), wake_at: Time::NEVER }
    }

    /// Busy time so far in picoseconds: of what computes (the mean of its slots), and of the way between.
    pub(super) fn busy(&self, now: Time, elsewhere: &Elsewhere<'_>) -> [u64; 2] {
        let work = match &elsewhere.work {
            PromptWork::Wafers { costs, .. } => {
                let slots = costs.stations().iter().zip(self.line.busy(now)).filter(|(station, _)| !station.is_link());
                let (sum, count) = slots.fold((0, 0), |(sum, count), (_, busy)| (sum + busy, count + 1));
                sum / count.max(1)
            }
            PromptWork::Rate { .. } => self.work.busy(now),
        };
        [work, self.way.busy(now)]
    }

    /// All that is there is lost.
    pub(super) fn stop(&mut self, now: Time, elsewhere: &Elsewhere<'_>) {
        self.line.stop(now);
        self.work.stop(now);
        self.way.stop(now);
        if let PromptWork::Wafers { room, .. } = &elsewhere.work {
            self.room = Some(room.clone());
        }
    }

    pub(super) fn woken(&mut self) {
        self.wake_at = Time::NEVER;
    }

    /// Gives back the room of a prompt.
    pub(super) fn leave(&mut self, tokens: u32) {
        if let Some(room) = &mut self.room {
            room.change(u64::from(tokens), 0);
        }
    }
}

/// What a prompt that can begin elsewhere needs.
enum Turn {
    /// A chunk may go into the line of the other wafers.
    Chunk,
    /// Something that is no wafer takes it.
    Whole,
}

impl<C: Costs, L: LoadSource + ?Sized, O: Observer> Engine<'_, C, L, O> {
    /// Whether prompts are computed elsewhere.
    pub(super) const fn is_elsewhere(&self) -> bool {
        self.service.elsewhere.is_some()
    }

    /// How a prompt is worked off there.
    pub(super) fn way_there(&mut self, before: u32, target: u32) -> Way {
        match self.service.elsewhere.as_mut().map(|elsewhere| &mut elsewhere.work) {
            Some(PromptWork::Wafers { costs, .. }) => costs.way(before, target, self.service.chunk),
            Some(PromptWork::Rate { .. }) | None => Way::Chunks,
        }
    }

    /// Sends prompts to where they are computed, as long as one is taken there.
    pub(super) fn fill_place(&mut self, which: usize) {
        while let Some(turn) = self.turn_there(which) {
            match turn {
                Turn::Chunk => self.send_chunk_there(which),
                Turn::Whole => self.send_whole_there(which),
            }
        }
    }

    /// Whether the first prompt can go on now. Where it waits for time alone, it is looked at again then; what waits
    /// for room is looked at when some is given back.
    fn turn_there(&mut self, which: usize) -> Option<Turn> {
        let replica = &mut self.replicas[which];
        let first = *replica.prompts.front()?;
        let place = replica.place.as_mut()?;
        let (free, turn) = match self.service.elsewhere.as_ref()?.work {
            PromptWork::Wafers { .. } => (place.line.entry_free(), Turn::Chunk),
            PromptWork::Rate { .. } => (place.work.free, Turn::Whole),
        };
        if free > self.now {
            if place.wake_at != free {
                place.wake_at = free;
                self.events.push(free, Event::PlaceFree(which as u32));
            }
            return None;
        }
        let active = self.requests.get_mut(first as usize)?;
        if let Some(room) = &mut place.room
            && active.there == 0
        {
            let tokens = u64::from(active.target);
            // One that finds the room empty goes in whatever it takes: longer ones than prompts are those that have
            // given way.
            if room.taken() > 0 && !room.fits(0, tokens) {
                return None;
            }
            room.change(0, tokens);
            active.there = active.target;
        }
        Some(turn)
    }

    fn send_chunk_there(&mut self, which: usize) {
        let Some(member) = self.replicas[which].prompts.front().copied() else { return };
        let at = self.new_pass(which, true);
        let active = &mut self.requests[member as usize];
        let tokens = (active.target - active.filled).min(self.service.chunk).max(1);
        let Some(Elsewhere { work: PromptWork::Wafers { costs, .. }, .. }) = &mut self.service.elsewhere else {
            return;
        };
        let Some(place) = &mut self.replicas[which].place else { return };
        let times = costs.prefill(tokens, active.filled, active.way);
        let (through, _) = place.line.enter(self.now, Kind::Prefill, times);
        active.filled += tokens;
        active.first_entry.get_or_insert(self.now);
        let (is_last, number) = (active.filled >= active.target, active.number);
        let pass = &mut self.passes[at as usize];
        (pass.is_last_chunk, pass.is_elsewhere) = (is_last, true);
        pass.members.push(member);
        self.sent_there(which, number, tokens, is_last);
        self.events.push(through, Event::Through(at));
    }

    fn send_whole_there(&mut self, which: usize) {
        let Some(member) = self.replicas[which].prompts.front().copied() else { return };
        let Some(Elsewhere { work: PromptWork::Rate { token }, .. }) = &self.service.elsewhere else { return };
        let active = &mut self.requests[member as usize];
        let tokens = active.target - active.filled;
        let Some(place) = &mut self.replicas[which].place else { return };
        let end = place.work.book(self.now, Time((f64::from(tokens) * token).round() as u64));
        active.filled = active.target;
        active.first_entry.get_or_insert(self.now);
        let number = active.number;
        self.sent_there(which, number, tokens, true);
        self.events.push(end, Event::Computed(member));
    }

    fn sent_there(&mut self, which: usize, number: u64, tokens: u32, is_last: bool) {
        if is_last {
            self.replicas[which].prompts.pop_front();
            self.note_prompts();
        }
        self.tally.prompt_tokens.add(self.now, u64::from(tokens));
        self.observer.see(self.now, number, Happening::Entered { kind: Kind::Prefill, tokens });
    }

    /// A prompt is computed elsewhere: its keys and values wait for the way.
    pub(super) fn computed(&mut self, at: u32) {
        if self.left(at) {
            return;
        }
        let active = &mut self.requests[at as usize];
        active.computed = self.now;
        let Some(elsewhere) = &self.service.elsewhere else { return };
        let time = (elsewhere.crossing)(active.from, active.target);
        let Some(place) = &mut self.replicas[active.replica as usize].place else { return };
        let over = place.way.book(self.now, time);
        self.tally.crossing.up(self.now);
        active.is_crossing = true;
        self.events.push(over, Event::Crossed(at));
    }

    /// Its keys and values are over.
    pub(super) fn crossed(&mut self, at: u32) {
        self.leave_place(at);
        if self.left(at) {
            return;
        }
        self.requests[at as usize].crossed = self.now;
        self.share_prompt(at);
        self.make_ready(at);
    }

    /// Whatever a request has elsewhere, it has no longer.
    pub(super) fn leave_place(&mut self, at: u32) {
        let active = &mut self.requests[at as usize];
        if std::mem::take(&mut active.is_crossing) {
            self.tally.crossing.down(self.now);
        }
        let there = std::mem::take(&mut active.there);
        if let Some(place) = self.replicas[active.replica as usize].place.as_mut().filter(|_| there > 0) {
            place.leave(there);
        }
    }

    /// Busy time elsewhere so far, of all replicas: of what computes, and of the ways between.
    pub(super) fn busy_there(&self) -> [u64; 2] {
        let Some(elsewhere) = &self.service.elsewhere else { return [0; 2] };
        let places = self.replicas.iter().filter_map(|replica| replica.place.as_ref());
        let busy = places.map(|place| place.busy(self.now, elsewhere));
        busy.fold([0; 2], |[work, way], [more, further]| [work.saturating_add(more), way.saturating_add(further)])
    }
}
