//! A replica: one machine's line, room, cache and queues; and what happens when it goes away.

use std::collections::VecDeque;

use super::elsewhere::Place;
use super::{Engine, Event};
use crate::balancer::Standing;
use crate::costs::Costs;
use crate::kv::Ledger;
use crate::line::Line;
use crate::load::{LoadSource, Loss, Lost};
use crate::observer::Observer;
use crate::prefix_cache::PrefixCache;
use crate::request::{BLOCK, Request};
use crate::time::Time;

/// One machine.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) is_up: bool,
    pub(super) line: Line,
    pub(super) ledger: Ledger,
    pub(super) cache: PrefixCache,
    /// What it has elsewhere.
    pub(super) place: Option<Place>,
    pub(super) host_free: Time,
    /// When the draft model takes the next draft.
    pub(super) drafter_free: Time,
    pub(super) waiting: VecDeque<u32>,
    pub(super) prompts: VecDeque<u32>,
    pub(super) ready: VecDeque<u32>,
    pub(super) last_chunk: Option<Time>,
    pub(super) wake_at: Time,
    pub(super) room_changed: bool,
    /// Requests that wait or are served here.
    pub(super) inside: u64,
    /// Counts of the window.
    pub(super) window: ReplicaCounts,
}

/// What a replica did in the window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ReplicaCounts {
    pub(super) finished: u64,
    pub(super) tokens: u64,
    pub(super) aborted: u64,
    /// Picoseconds that it was away, up to the last time that it came back.
    pub(super) away: u64,
    pub(super) away_since: Option<Time>,
}

impl Replica {
    /// An idle one.
    pub(super) fn new(line: Line, ledger: Ledger, cache: PrefixCache, place: Option<Place>) -> Self {
        Self {
            is_up: true,
            line,
            ledger,
            cache,
            place,
            host_free: Time::ZERO,
            drafter_free: Time::ZERO,
            waiting: VecDeque::new(),
            prompts: VecDeque::new(),
            ready: VecDeque::new(),
            last_chunk: None,
            wake_at: Time::NEVER,
            room_changed: false,
            inside: 0,
            window: ReplicaCounts::default(),
        }
    }

    /// Its window begins.
    pub(super) fn begin(&mut self, now: Time) {
        self.window = ReplicaCounts { away_since: self.window.away_since.map(|_| now), ..ReplicaCounts::default() };
    }

    /// Seconds of the window that it was away, up to `now`.
    pub(super) fn away(&self, now: Time) -> f64 {
        let running = self.window.away_since.map_or(0, |since| (now - since).0);
        Time(self.window.away.saturating_add(running)).seconds()
    }
}

impl<C: Costs, L: LoadSource + ?Sized, O: Observer> Engine<'_, C, L, O> {
    /// The replica for a request, by the balancer; nothing where none is up.
    pub(super) fn choose(&mut self, request: &Request) -> Option<u32> {
        if let [only] = self.replicas.as_slice() {
            return only.is_up.then_some(0);
        }
        let looks = self.service.replicas.balancer.looks_at_caches();
        let standings: Vec<Standing> = (0..self.replicas.len())
            .map(|at| {
                let cached = if looks { self.cached_at(at as u32, &request.content, request.prompt) } else { 0 };
                let replica = &self.replicas[at];
                Standing { is_up: replica.is_up, inside: replica.inside, cached }
            })
            .collect();
        let chosen = self.service.replicas.balancer.choose(request, &standings)?;
        standings.get(chosen).is_some_and(|standing| standing.is_up).then_some(chosen as u32)
    }

    /// Outages become events.
    pub(super) fn plan_outages(&mut self) {
        for outage in &self.service.replicas.outages {
            let [from, to] = outage.times();
            self.events.push(from, Event::Away(outage.replica));
            self.events.push(to, Event::Back(outage.replica));
        }
    }

    /// A replica goes away: all that waits or is served there is lost, and so is what it kept.
    pub(super) fn goes_away(&mut self, which: u32) {
        let now = self.now;
        let Some(replica) = self.replicas.get_mut(which as usize).filter(|replica| replica.is_up) else { return };
        replica.is_up = false;
        replica.window.away_since = Some(now);
        let mut queued: Vec<u32> = Vec::new();
        for queue in [&mut replica.waiting, &mut replica.prompts, &mut replica.ready] {
            queued.extend(queue.drain(..));
        }
        queued.sort_unstable();
        self.note_queues();
        let mut inside: Vec<(u64, u32)> = self
            .requests
            .iter()
            .enumerate()
            .filter(|(_, active)| active.is_inside && active.replica == which)
            .map(|(at, active)| (active.number, at as u32))
            .collect();
        inside.sort_unstable();
        let mut lost = Vec::new();
        for (_, at) in inside {
            let active = &mut self.requests[at as usize];
            let was_cancelled = active.is_cancelled;
            if !was_cancelled {
                lost.push((active.request.clone(), active.cached, active.produced));
            }
            // What is in the line, or has a draft or blocks on the way, has an event to come, and its place with it.
            active.is_ghost = queued.binary_search(&at).is_err();
            self.leave(at, if was_cancelled { None } else { Some(Loss::Outage) });
        }
        let replica = &mut self.replicas[which as usize];
        replica.line.stop(now);
        if let (Some(place), Some(elsewhere)) = (&mut replica.place, &self.service.elsewhere) {
            place.stop(now, elsewhere);
        }
        replica.ledger = self.room.clone();
        replica.cache = PrefixCache::new(self.service.host_blocks(), self.service.cache_life);
        (replica.host_free, replica.drafter_free, replica.last_chunk) = (now, now, None);
        self.note_kv();
        for (request, cached, produced) in lost {
            let lost = Lost { request: &request, loss: Loss::Outage, cached, produced };
            let next = self.load.lost(&lost, now);
            self.come(next);
        }
    }

    /// A replica is back, empty.
    pub(super) fn comes_back(&mut self, which: u32) {
        let now = self.now;
        let Some(replica) = self.replicas.get_mut(which as usize) else { return };
        replica.is_up = true;
        if let Some(since) = replica.window.away_since.take() {
            replica.window.away = replica.window.away.saturating_add((now - since).0);
        }
    }

    /// Queues of all replicas are counted together.
    pub(super) fn note_queues(&mut self) {
        self.note_waiting();
        self.note_prompts();
        self.note_ready();
    }

    pub(super) fn note_waiting(&mut self) {
        let count = self.replicas.iter().map(|replica| replica.waiting.len() as u64).sum();
        self.tally.room.set(self.now, count);
    }

    pub(super) fn note_prompts(&mut self) {
        let count = self.replicas.iter().map(|replica| replica.prompts.len() as u64).sum();
        self.tally.prefill.set(self.now, count);
    }

    pub(super) fn note_ready(&mut self) {
        let count = self.replicas.iter().map(|replica| replica.ready.len() as u64).sum();
        self.tally.entry.set(self.now, count);
    }

    pub(super) fn note_kv(&mut self) {
        let count = self.replicas.iter().map(|replica| replica.ledger.taken()).sum();
        self.tally.kv.set(self.now, count);
    }

    /// Busy time of each station, replica by replica.
    pub(super) fn busy(&self) -> Vec<u64> {
        self.replicas.iter().flat_map(|replica| replica.line.busy(self.now)).collect()
    }

    /// Tokens of blocks that nobody uses.
    pub(super) fn idle_tokens(&self) -> u64 {
        self.replicas.iter().map(|replica| replica.cache.idle().saturating_mul(u64::from(BLOCK))).sum()
    }
}
