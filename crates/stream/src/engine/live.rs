//! A run that is fed and watched as it goes, for whoever keeps the clock: requests come from outside ([`Engine::submit`]),
//! may be taken back ([`Engine::cancel`]), and time moves when it is told to ([`Engine::advance`]).

use super::{Active, Engine};
use crate::costs::{Costs, StationKind};
use crate::load::{LoadSource, Loss};
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
        self.take_back(at as u32);
        self.settle();
    }

    /// A request that is inside is not wanted any more.
    pub(super) fn take_back(&mut self, at: u32) {
        let active = &mut self.requests[at as usize];
        active.is_cancelled = true;
        let replica = &mut self.replicas[active.replica as usize];
        // Chunks of a prompt in the line that are not its last do nothing when they are through.
        let queues = [&mut replica.waiting, &mut replica.prompts, &mut replica.ready];
        let is_queued = queues.into_iter().any(|queue| {
            let place = queue.iter().position(|other| *other == at);
            place.is_some_and(|place| queue.remove(place).is_some())
        });
        if is_queued {
            self.note_queues();
            self.leave(at, None);
        }
    }

    /// Tokens of a prompt that the prefix cache has, of the replica that has most of them.
    pub fn cached(&mut self, content: &Content, prompt: u32) -> u32 {
        (0..self.replicas.len()).map(|at| self.cached_at(at as u32, content, prompt)).max().unwrap_or(0)
    }

    /// Tokens of a prompt that a replica's prefix cache has.
    pub(super) fn cached_at(&mut self, which: u32, content: &Content, prompt: u32) -> u32 {
        let Some(replica) = self.replicas.get_mut(which as usize) else { return 0 };
        if self.service.prefix_cache.is_none() {
            return 0;
        }
        for _ in 0..replica.cache.expire(self.now) {
            replica.ledger.change(u64::from(BLOCK), 0);
        }
        let found = replica.cache.find(content, prompt.saturating_sub(1));
        (found.on_wafer + found.on_host) * BLOCK
    }

    /// How many are where.
    pub fn levels(&self) -> Levels {
        self.tally.levels()
    }

    /// Tokens that fit into the room for keys and values.
    pub fn capacity(&self) -> u64 {
        self.room.capacity().saturating_mul(self.replicas.len() as u64)
    }

    /// Tokens for which room is taken, without blocks of the prefix cache that nobody uses.
    pub fn used(&self) -> u64 {
        let taken: u64 = self.replicas.iter().map(|replica| replica.ledger.taken()).sum();
        taken.saturating_sub(self.idle_tokens())
    }

    /// Whether a request of so many tokens, prompt and answer, can ever be served.
    pub fn could_serve(&self, tokens: u64) -> bool {
        tokens <= u64::from(self.service.longest) && self.room.could_ever_hold(tokens)
    }

    /// Busy time of each station so far, in picoseconds, replica by replica.
    pub fn busy_so_far(&self) -> Vec<u64> {
        self.busy()
    }

    /// Stations of a replica.
    pub fn stations(&self) -> &[StationKind] {
        self.costs.stations()
    }

    /// One is gone that was taken back, or lost.
    pub(super) fn leave(&mut self, at: u32, loss: Option<Loss>) {
        if self.requests[at as usize].has_room {
            self.free_room(at);
        }
        let active = &mut self.requests[at as usize];
        active.is_inside = false;
        let (number, arrived) = (active.number, active.arrived);
        let owed = active.request.output.saturating_sub(active.produced);
        let replica = &mut self.replicas[active.replica as usize];
        replica.inside -= 1;
        if loss == Some(Loss::Outage) {
            replica.window.aborted += 1;
            self.totals.aborted += 1;
        } else {
            self.totals.cancelled += 1;
        }
        self.totals.asked -= u64::from(owed);
        self.observer.see(self.now, number, Happening::Cancelled);
        self.tally.cancelled(self.now, arrived);
        if !self.requests[at as usize].is_ghost {
            self.unused_requests.push(at);
        }
    }
}
