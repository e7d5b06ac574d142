//! A run that is fed and watched as it goes, for whoever keeps the clock: requests come from outside ([`Engine::submit`]),
//! may be taken back ([`Engine::cancel`]), and time moves when it is told to ([`Engine::advance`]).

use std::collections::VecDeque;

use super::{Active, Engine};
use crate::costs::Costs;
use crate::load::LoadSource;
use crate::observer::{Happening, Levels, Observer};
use crate::request::{BLOCK, Content, Request};
use crate::time::Time;

/// Nobody asks but whoever submits.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromOutside;

impl LoadSource for FromOutside {
    fn next(&mut self) -> Option<Request> {
        None
    }

    fn after(&mut self, _user: u32, _now: Time) -> Option<Request> {
        None
    }
}

impl<C: Costs, L: LoadSource + ?Sized, O: Observer> Engine<'_, C, L, O> {
    /// Who watches.
    pub const fn observer(&mut self) -> &mut O {
        self.observer
    }

    /// The present moment.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// When the next thing happens, where anything is planned.
    pub fn next_at(&self) -> Option<Time> {
        let arrival = self.next_arrival.as_ref().map(|request| request.arrival.max(self.now));
        [arrival, self.events.next_at()].into_iter().flatten().min()
    }

    /// Everything up to and including `until` happens; then that is the present moment.
    pub fn advance(&mut self, until: Time) {
        while let Some(at) = self.next_at().filter(|at| *at <= until) {
            self.happen(at);
            self.settle();
        }
        self.now = self.now.max(until);
    }

    /// A request comes now. Returns its number, by which the observer speaks of it.
    pub fn submit(&mut self, request: Request) -> u64 {
        let number = self.arrivals;
        let request = Request { arrival: self.now, ..request };
        self.arrive(request);
        self.settle();
        number
    }

    /// Whoever sent a request wants it no more: what waits goes at once, what is in the line when it is through.
    /// Nothing where there is no such request any more.
    pub fn cancel(&mut self, number: u64) {
        let is_it = |active: &Active| active.is_inside && active.number == number && !active.is_cancelled;
        let Some(at) = self.requests.iter().position(is_it) else { return };
        self.requests[at].is_cancelled = true;
        let at = at as u32;
        let position = |queue: &VecDeque<u32>| queue.iter().position(|other| *other == at);
        if let Some(place) = position(&self.waiting) {
            self.waiting.remove(place);
            self.tally.room.set(self.now, self.waiting.len() as u64);
            self.leave(at, false);
        } else if let Some(place) = position(&self.prompts) {
            // Chunks of it that are in the line are not its last, and do nothing when they are through.
            self.prompts.remove(place);
            self.tally.prefill.set(self.now, self.prompts.len() as u64);
            self.leave(at, true);
        } else if let Some(place) = position(&self.ready) {
            self.ready.remove(place);
            self.tally.entry.set(self.now, self.ready.len() as u64);
            self.leave(at, true);
        }
        self.settle();
    }

    /// Tokens of a prompt that the prefix cache has.
    pub fn cached(&mut self, content: &Content, prompt: u32) -> u32 {
        if self.service.prefix_cache.is_none() {
            return 0;
        }
        for _ in 0..self.cache.expire(self.now) {
            self.ledger.change(u64::from(BLOCK), 0);
        }
        let found = self.cache.find(content, prompt.saturating_sub(1));
        (found.on_wafer + found.on_host) * BLOCK
    }

    /// How many are where.
    pub fn levels(&self) -> Levels {
        self.tally.levels()
    }

    /// Tokens that fit into the room for keys and values.
    pub const fn capacity(&self) -> u64 {
        self.ledger.capacity()
    }

    /// Tokens for which room is taken, without blocks of the prefix cache that nobody uses.
    pub fn used(&self) -> u64 {
        self.ledger.taken().saturating_sub(self.cache.idle().saturating_mul(u64::from(BLOCK)))
    }

    /// Whether a request of so many tokens, prompt and answer, can ever be served.
    pub fn could_serve(&self, tokens: u64) -> bool {
        tokens <= u64::from(self.service.longest) && self.ledger.could_ever_hold(tokens)
    }

    /// One that was taken back is gone; `has_room` says whether it had been let in.
    pub(super) fn leave(&mut self, at: u32, has_room: bool) {
        if has_room {
            self.free_room(at);
        }
        let active = &mut self.requests[at as usize];
        active.is_inside = false;
        let (number, arrived) = (active.number, active.arrived);
        let owed = active.request.output.saturating_sub(active.produced);
        self.totals.cancelled += 1;
        self.totals.asked -= u64::from(owed);
        self.observer.see(self.now, number, Happening::Cancelled);
        self.tally.cancelled(self.now, arrived);
        self.unused_requests.push(at);
    }
}
