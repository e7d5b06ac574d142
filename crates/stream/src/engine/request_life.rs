//! What happens to a request between its passes: coming, getting room, starting, growing, giving way, ending.

use rand::RngExt;

use super::tally::StepBefore;
use super::{Active, Engine, Event};
use crate::costs::{Costs, Way};
use crate::line::Waits;
use crate::load::{Entry, LoadSource, Story};
use crate::observer::{Happening, Observer};
use crate::request::{BLOCK, Request};
use crate::time::Time;

/// How long a user waits at least after a refusal: one second.
const AFTER_REFUSAL: Time = Time(1_000_000_000_000);

impl<C: Costs, L: LoadSource + ?Sized, O: Observer> Engine<'_, C, L, O> {
    /// A request of the load's own time comes, or is planned for later.
    pub(super) fn arrive(&mut self, request: Request) {
        let later = request.arrival > self.now;
        let at = self.place(request);
        if later {
            let arrival = self.requests[at as usize].arrived;
            self.events.push(arrival, Event::Arrives(at));
        } else {
            self.arrived(at);
        }
    }

    fn place(&mut self, mut request: Request) -> u32 {
        (request.prompt, request.output) = (request.prompt.max(1), request.output.max(1));
        let arrived = request.arrival.max(self.now);
        let active = Active {
            target: request.prompt,
            number: 0,
            is_inside: false,
            is_cancelled: false,
            filled: 0,
            way: Way::Chunks,
            cached: 0,
            produced: 0,
            reserved: 0,
            own: 0,
            held: Vec::new(),
            arrived,
            admitted: Time::ZERO,
            loaded: Time::ZERO,
            first_entry: None,
            ready: Time::ZERO,
            held_by_prefill: 0,
            first_token: Time::ZERO,
            last_token: Time::ZERO,
            draft: Time::ZERO,
            entry_stage: 0,
            entry_prefill: 0,
            request,
        };
        if let Some(at) = self.unused_requests.pop() {
            self.requests[at as usize] = active;
            return at;
        }
        self.requests.push(active);
        u32::try_from(self.requests.len() - 1).unwrap_or(u32::MAX)
    }

    /// A request is there: it waits for room, or is refused.
    pub(super) fn arrived(&mut self, at: u32) {
        let request = &self.requests[at as usize].request;
        let all = u64::from(request.prompt) + u64::from(request.output);
        let is_possible = all <= u64::from(self.service.longest) && self.ledger.could_ever_hold(all);
        if is_possible && self.load.asks() && !self.asked(at) {
            return;
        }
        let active = &mut self.requests[at as usize];
        active.number = self.arrivals;
        self.arrivals += 1;
        self.totals.arrived += 1;
        let (number, user) = (active.number, active.request.user);
        let (prompt, output) = (active.request.prompt, active.request.output);
        self.observer.see(self.now, number, Happening::Arrived { prompt, output });
        if !is_possible {
            self.totals.refused += 1;
            self.observer.see(self.now, number, Happening::Refused);
            self.unused_requests.push(at);
            // Whoever was refused at once does not ask again at the same moment for ever.
            self.ask_again(user, AFTER_REFUSAL);
            return;
        }
        self.totals.asked += u64::from(output);
        active.is_inside = true;
        self.tally.comes(self.now);
        self.waiting.push_back(at);
        self.tally.room.set(self.now, self.waiting.len() as u64);
        self.room_changed = true;
    }

    /// Whether a request goes on to the machine; where not, the next one of whoever sent it comes, later.
    fn asked(&mut self, at: u32) -> bool {
        let request = self.requests[at as usize].request.clone();
        let cached = self.cached(&request.content, request.prompt);
        let Entry::Back(next) = self.load.ask(&request, cached, self.waiting.len() as u64, self.now) else {
            return true;
        };
        self.unused_requests.push(at);
        if let Some(next) = next {
            self.arrive(next);
        }
        false
    }

    fn ask_again(&mut self, user: u32, pause: Time) {
        if let Some(mut request) = self.load.after(user, self.now) {
            request.arrival = request.arrival.max(self.now + pause);
            self.arrive(request);
        }
    }

    /// Lets in the first of those who wait for room, as long as there is some.
    pub(super) fn give_room(&mut self) {
        self.room_changed = false;
        while let Some(at) = self.waiting.front().copied() {
            if !self.admit(at) {
                return;
            }
            self.waiting.pop_front();
            self.tally.room.set(self.now, self.waiting.len() as u64);
        }
    }

    fn admit(&mut self, at: u32) -> bool {
        let active = &mut self.requests[at as usize];
        let most = active.request.prompt.saturating_add(active.request.output);
        let reserved = self.service.admission.reserve(active.target, most);
        let caches = self.service.prefix_cache.is_some();
        for _ in 0..self.cache.expire(self.now) {
            self.ledger.change(u64::from(BLOCK), 0);
        }
        // One token at least is computed: the first of the answer comes from it.
        let found =
            if caches { self.cache.find(&active.request.content, active.target - 1) } else { Default::default() };
        let own = reserved.saturating_sub(found.on_wafer * BLOCK);
        let idle = (self.cache.idle() - u64::from(found.idle)) * u64::from(BLOCK);
        if caches {
            let others = self.ledger.taken().saturating_sub(idle);
            if others.saturating_add(u64::from(own)) > self.ledger.capacity() {
                return false;
            }
            self.cache.hold(&active.request.content, found.on_wafer, &mut active.held);
            while !self.ledger.fits(0, u64::from(own)) && self.cache.evict() {
                self.ledger.change(u64::from(BLOCK), 0);
            }
        }
        if !self.ledger.fits(0, u64::from(own)) {
            // Only without a prefix cache: with one, the sum above has said that it fits.
            return false;
        }
        self.ledger.change(0, u64::from(own));
        self.tally.kv.set(self.now, self.ledger.taken());
        (active.own, active.reserved) = (own, reserved);
        (active.admitted, active.loaded) = (self.now, self.now);
        let cached = (found.on_wafer + found.on_host) * BLOCK;
        active.filled = cached;
        if active.produced == 0 {
            active.cached = cached;
        }
        self.totals.prompt_tokens += u64::from(active.target);
        self.totals.cached_tokens += u64::from(found.on_wafer * BLOCK);
        self.totals.loaded_tokens += u64::from(found.on_host * BLOCK);
        self.observer.see(self.now, active.number, Happening::Admitted { cached });
        self.tally.in_service.up(self.now);
        let host = self.service.prefix_cache.unwrap_or_default();
        if found.on_host > 0 && host.block_time > Time::ZERO {
            self.host_free =
                self.host_free.max(self.now) + Time(host.block_time.0.saturating_mul(u64::from(found.on_host)));
            self.events.push(self.host_free, Event::Loaded(at));
        } else {
            self.start_prompt(at);
        }
        true
    }

    /// The prompt may go in.
    pub(super) fn start_prompt(&mut self, at: u32) {
        if self.left(at) {
            return;
        }
        let active = &mut self.requests[at as usize];
        active.loaded = self.now;
        if self.service.prefill {
            active.way = self.costs.way(active.filled, active.target, self.service.chunk);
            self.prompts.push_back(at);
            self.tally.prefill.set(self.now, self.prompts.len() as u64);
            return;
        }
        active.filled = active.target;
        self.share_prompt(at);
        self.make_ready(at);
    }

    /// The blocks of the prompt can be used by others from now on.
    fn share_prompt(&mut self, at: u32) {
        if self.service.prefix_cache.is_none() {
            return;
        }
        let active = &mut self.requests[at as usize];
        let from = active.held.len() as u32;
        let shared = self.cache.share(&active.request.content, from, active.request.prompt / BLOCK, &mut active.held);
        // They were its own, and are taken as before.
        active.own = active.own.saturating_sub(shared * BLOCK);
    }

    /// The last chunk of the prompt is through: there is a token.
    pub(super) fn prompt_done(&mut self, at: u32) {
        if self.left(at) {
            return;
        }
        self.share_prompt(at);
        let now = self.now;
        let active = &mut self.requests[at as usize];
        if active.produced > 0 {
            // It had given way: the time since its last token is lost for want of room.
            let gap = now - active.last_token;
            self.tally.step(gap, 1);
            self.tally.lost_for_room(gap);
        }
        self.produced(at, 1);
    }

    /// A decoding step is through.
    pub(super) fn step_done(&mut self, at: u32, service: u64, waits: &Waits, expert: Time) {
        if self.left(at) {
            return;
        }
        let tokens = self.draw_accepted();
        let active = &self.requests[at as usize];
        let tokens = tokens.min(active.request.output - active.produced).max(1);
        if active.produced > 0 {
            let gap = self.now - active.last_token;
            self.tally.step(gap, tokens);
            let (draft, entry_stage, entry_prefill) = (active.draft, active.entry_stage, active.entry_prefill);
            let before = StepBefore { draft, entry_stage, entry_prefill };
            self.tally.step_parts(gap, service, before, waits, expert);
        }
        self.produced(at, tokens);
    }

    /// Tokens that a step gives: the accepted ones of the draft, and one more.
    fn draw_accepted(&mut self) -> u32 {
        let Some(drafts) = &self.service.speculation else { return 1 };
        let accepted = drafts.acceptance.iter().take_while(|chance| self.speculation.random::<f64>() < **chance);
        1 + accepted.count() as u32
    }

    fn produced(&mut self, at: u32, tokens: u32) {
        let now = self.now;
        let active = &mut self.requests[at as usize];
        if active.produced == 0 {
            active.first_token = now;
            let entry = active.first_entry.unwrap_or(now);
            let parts =
                [active.admitted - active.arrived, active.loaded - active.admitted, entry - active.loaded, now - entry];
            self.tally.first_token(now - active.arrived, parts);
        }
        active.produced += tokens;
        active.last_token = now;
        self.totals.produced += u64::from(tokens);
        self.tally.tokens.add(now, u64::from(tokens));
        self.observer.see(now, active.number, Happening::Produced { tokens });
        if active.produced >= active.request.output {
            self.finish(at);
        } else if self.grow(at) {
            self.make_ready(at);
        }
    }

    /// Takes room for the next token where it has none. A request that finds none gives way.
    fn grow(&mut self, at: u32) -> bool {
        let active = &mut self.requests[at as usize];
        let tokens = active.request.prompt + active.produced;
        if tokens < active.reserved {
            return true;
        }
        let most = active.request.prompt + active.request.output;
        let wanted = self.service.admission.reserve(tokens, most);
        let (own, more) = (u64::from(active.own), u64::from(wanted.saturating_sub(active.reserved)));
        while !self.ledger.fits(own, own + more) && self.cache.evict() {
            self.ledger.change(u64::from(BLOCK), 0);
        }
        if self.ledger.fits(own, own + more) {
            self.ledger.change(own, own + more);
            active.own += more as u32;
            active.reserved = wanted;
            self.tally.kv.set(self.now, self.ledger.taken());
            return true;
        }
        self.totals.gave_way += 1;
        self.observer.see(self.now, active.number, Happening::GaveWay);
        (active.target, active.filled) = (tokens, 0);
        self.free_room(at);
        self.waiting.push_front(at);
        self.tally.room.set(self.now, self.waiting.len() as u64);
        false
    }

    /// Whether the request was taken back; then it goes.
    fn left(&mut self, at: u32) -> bool {
        let is_cancelled = self.requests[at as usize].is_cancelled;
        if is_cancelled {
            self.leave(at, true);
        }
        is_cancelled
    }

    pub(super) fn free_room(&mut self, at: u32) {
        let active = &mut self.requests[at as usize];
        self.ledger.change(u64::from(active.own), 0);
        (active.own, active.reserved) = (0, 0);
        self.cache.release(&mut active.held, self.now);
        self.tally.kv.set(self.now, self.ledger.taken());
        self.tally.in_service.down(self.now);
        self.room_changed = true;
    }

    /// The next token can be made, after the draft where there is one.
    fn make_ready(&mut self, at: u32) {
        let active = &self.requests[at as usize];
        if self.service.speculation.is_some() {
            let step = self.costs.step_of(active.request.prompt.saturating_add(active.produced));
            let draft = self.costs.draft(step);
            // Drafts of others may be ahead in a draft model's own line; only its slowest stage holds up the next one.
            let start = self.now.max(self.drafter_free);
            self.drafter_free = start + draft.occupancy;
            let ready = start + draft.latency;
            self.requests[at as usize].draft = ready - self.now;
            if ready > self.now {
                self.events.push(ready, Event::Drafted(at));
                return;
            }
        }
        self.enqueue(at);
    }

    pub(super) fn enqueue(&mut self, at: u32) {
        if self.left(at) {
            return;
        }
        let held = self.line.held_by_prefill(self.now);
        let active = &mut self.requests[at as usize];
        (active.ready, active.held_by_prefill) = (self.now, held);
        self.ready.push_back(at);
        self.tally.entry.set(self.now, self.ready.len() as u64);
    }

    fn finish(&mut self, at: u32) {
        let active = &mut self.requests[at as usize];
        self.totals.finished += 1;
        self.observer.see(self.now, active.number, Happening::Finished);
        let answered = active.request.output.saturating_sub(1);
        active.is_inside = false;
        self.tally.finished(self.now, active.arrived, active.last_token - active.first_token, answered);
        if self.service.prefix_cache.is_some() && active.request.content.knows_answer() {
            // The last token of the answer was never put through, so it has no keys and values.
            let tokens = active.request.prompt + answered;
            let from = active.request.prompt / BLOCK;
            let shared = self.cache.share(&active.request.content, from, tokens / BLOCK, &mut active.held);
            active.own = active.own.saturating_sub(shared * BLOCK);
        }
        let user = active.request.user;
        let story = Story {
            request: &active.request,
            arrived: active.arrived,
            started: active.first_entry.unwrap_or(active.loaded),
            first_token: active.first_token,
            ended: active.last_token,
            cached: active.cached,
        };
        self.load.served(&story);
        self.free_room(at);
        self.unused_requests.push(at);
        self.tally.goes(self.now);
        self.ask_again(user, Time::ZERO);
    }
}
