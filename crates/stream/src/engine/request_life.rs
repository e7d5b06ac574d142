//! What happens to a request between its passes: coming, getting room, starting, growing, giving way, ending.

use rand::RngExt;

use super::tally::StepBefore;
use super::{Active, Engine, Event};
use crate::costs::{Costs, Way};
use crate::line::Waits;
use crate::load::{Door, Entry, LoadSource, Loss, Lost, Story};
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
            is_ghost: false,
            has_room: false,
            replica: 0,
            filled: 0,
            way: Way::Chunks,
            there: 0,
            from: 0,
            is_crossing: false,
            computed: Time::ZERO,
            crossed: Time::ZERO,
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
        let request = self.requests[at as usize].request.clone();
        let all = u64::from(request.prompt) + u64::from(request.output);
        let prompt = u64::from(request.prompt);
        let elsewhere = self.service.elsewhere.as_ref();
        let is_possible = all <= u64::from(self.service.longest)
            && self.room.could_ever_hold(all)
            && elsewhere.is_none_or(|elsewhere| elsewhere.work.could_ever_hold(prompt));
        let which = if is_possible { self.choose(&request) } else { None };
        if is_possible && self.load.asks() && !self.asked(at, &request, which) {
            return;
        }
        let active = &mut self.requests[at as usize];
        active.number = self.arrivals;
        self.arrivals += 1;
        self.totals.arrived += 1;
        let (number, user) = (active.number, active.request.user);
        let (prompt, output) = (active.request.prompt, active.request.output);
        self.observer.see(self.now, number, Happening::Arrived { prompt, output });
        let Some(which) = which else {
            self.totals.refused += 1;
            self.observer.see(self.now, number, Happening::Refused);
            self.unused_requests.push(at);
            // Whoever was refused at once does not ask again at the same moment for ever.
            self.ask_again(user, AFTER_REFUSAL);
            return;
        };
        self.totals.asked += u64::from(output);
        (active.is_inside, active.replica) = (true, which);
        self.tally.comes(self.now);
        let replica = &mut self.replicas[which as usize];
        replica.inside += 1;
        replica.waiting.push_back(at);
        replica.room_changed = true;
        self.note_waiting();
        if let Some(deadline) = self.load.deadline(&request) {
            self.events.push(deadline.max(self.now), Event::Deadline(at, number));
        }
        if let Some(longest) = self.load.queue_deadline() {
            self.events.push(self.now + longest, Event::QueueDeadline(at, number));
        }
    }

    /// Whether a request goes on to the machine; where not, the next one of whoever sent it comes, later.
    fn asked(&mut self, at: u32, request: &Request, which: Option<u32>) -> bool {
        let cached = which.map_or(0, |which| self.cached_at(which, &request.content, request.prompt));
        let waiting = which.and_then(|which| self.replicas.get(which as usize)).map(|here| here.waiting.len() as u64);
        let Entry::Back(next) = self.load.ask(request, &Door { cached, waiting }, self.now) else {
            return true;
        };
        self.unused_requests.push(at);
        self.come(next);
        false
    }

    fn ask_again(&mut self, user: u32, pause: Time) {
        // It is told after the pause, so that whoever keeps its time does not count the pause as a wait for an answer.
        let next = self.load.after(user, self.now + pause);
        self.come(next);
    }

    /// What the load sends next comes, and what it sends beside it.
    pub(super) fn come(&mut self, next: Option<Request>) {
        if let Some(request) = next {
            self.arrive(request);
        }
        while let Some(request) = self.load.beside() {
            self.arrive(request);
        }
    }

    /// Whoever sent a request has waited as long as it would, or as long as the service lets it wait for room; nothing
    /// where it has its answer, or its room.
    pub(super) fn deadline(&mut self, at: u32, number: u64, loss: Loss) {
        let Some(active) = self.requests.get(at as usize) else { return };
        let is_over = !active.is_inside || active.number != number || active.is_cancelled;
        if is_over || (loss == Loss::Queue && (active.has_room || active.produced > 0)) {
            return;
        }
        let (request, cached, produced) = (active.request.clone(), active.cached, active.produced);
        self.take_back(at);
        let lost = Lost { request: &request, loss, cached, produced };
        let next = self.load.lost(&lost, self.now);
        self.come(next);
    }

    /// Lets in the first of those who wait for room, as long as there is some.
    pub(super) fn give_room(&mut self, which: usize) {
        self.replicas[which].room_changed = false;
        while let Some(at) = self.replicas[which].waiting.front().copied() {
            if !self.admit(at) {
                return;
            }
            self.replicas[which].waiting.pop_front();
            self.note_waiting();
        }
    }

    fn admit(&mut self, at: u32) -> bool {
        let active = &mut self.requests[at as usize];
        let replica = &mut self.replicas[active.replica as usize];
        let most = active.request.prompt.saturating_add(active.request.output);
        let reserved = self.service.admission.reserve(active.target, most);
        let caches = self.service.prefix_cache.is_some();
        for _ in 0..replica.cache.expire(self.now) {
            replica.ledger.change(u64::from(BLOCK), 0);
        }
        // One token at least is computed: the first of the answer comes from it.
        let found =
            if caches { replica.cache.find(&active.request.content, active.target - 1) } else { Default::default() };
        let own = reserved.saturating_sub(found.on_wafer * BLOCK);
        let idle = (replica.cache.idle() - u64::from(found.idle)) * u64::from(BLOCK);
        if caches {
            let others = replica.ledger.taken().saturating_sub(idle);
            if others.saturating_add(u64::from(own)) > replica.ledger.capacity() {
                return false;
            }
            replica.cache.hold(&active.request.content, found.on_wafer, &mut active.held);
            while !replica.ledger.fits(0, u64::from(own)) && replica.cache.evict() {
                replica.ledger.change(u64::from(BLOCK), 0);
            }
        }
        if !replica.ledger.fits(0, u64::from(own)) {
            // Only without a prefix cache: with one, the sum above has said that it fits.
            return false;
        }
        replica.ledger.change(0, u64::from(own));
        (active.own, active.reserved, active.has_room) = (own, reserved, true);
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
            replica.host_free =
                replica.host_free.max(self.now) + Time(host.block_time.0.saturating_mul(u64::from(found.on_host)));
            self.events.push(replica.host_free, Event::Loaded(at));
            self.note_kv();
        } else {
            self.note_kv();
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
        (active.loaded, active.from) = (self.now, active.filled);
        if self.service.prefill {
            let (filled, target) = (active.filled, active.target);
            let way = match self.is_elsewhere() {
                true => self.way_there(filled, target),
                false => self.costs.way(filled, target, self.service.chunk),
            };
            let active = &mut self.requests[at as usize];
            active.way = way;
            self.replicas[active.replica as usize].prompts.push_back(at);
            self.note_prompts();
            return;
        }
        active.filled = active.target;
        self.share_prompt(at);
        self.make_ready(at);
    }

    /// The blocks of the prompt can be used by others from now on.
    pub(super) fn share_prompt(&mut self, at: u32) {
        if self.service.prefix_cache.is_none() {
            return;
        }
        let active = &mut self.requests[at as usize];
        let from = active.held.len() as u32;
        let cache = &mut self.replicas[active.replica as usize].cache;
        let shared = cache.share(&active.request.content, from, active.request.prompt / BLOCK, &mut active.held);
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
            let is_elsewhere = self.service.elsewhere.is_some();
            let [computed, crossed] = if is_elsewhere { [active.computed, active.crossed] } else { [now; 2] };
            let parts = [
                active.admitted - active.arrived,
                active.loaded - active.admitted,
                entry - active.loaded,
                computed - entry,
                crossed - computed,
                now - crossed,
            ];
            self.tally.first_token(now - active.arrived, parts);
        }
        active.produced += tokens;
        active.last_token = now;
        self.totals.produced += u64::from(tokens);
        self.replicas[active.replica as usize].window.tokens += u64::from(tokens);
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
        let which = active.replica as usize;
        let replica = &mut self.replicas[which];
        while !replica.ledger.fits(own, own + more) && replica.cache.evict() {
            replica.ledger.change(u64::from(BLOCK), 0);
        }
        if replica.ledger.fits(own, own + more) {
            replica.ledger.change(own, own + more);
            active.own += more as u32;
            active.reserved = wanted;
            self.note_kv();
            return true;
        }
        self.totals.gave_way += 1;
        self.observer.see(self.now, active.number, Happening::GaveWay);
        (active.target, active.filled) = (tokens, 0);
        self.free_room(at);
        self.replicas[which].waiting.push_front(at);
        self.note_waiting();
        false
    }

    /// Whether the request was taken back, or is gone already; then its place is free.
    pub(super) fn left(&mut self, at: u32) -> bool {
        let active = &self.requests[at as usize];
        let (is_cancelled, is_ghost) = (active.is_cancelled, active.is_ghost);
        if is_ghost {
            self.unused_requests.push(at);
        } else if is_cancelled {
            self.leave(at, None);
        }
        is_cancelled || is_ghost
    }

    pub(super) fn free_room(&mut self, at: u32) {
        self.leave_place(at);
        let active = &mut self.requests[at as usize];
        let replica = &mut self.replicas[active.replica as usize];
        replica.ledger.change(u64::from(active.own), 0);
        (active.own, active.reserved, active.has_room) = (0, 0, false);
        replica.cache.release(&mut active.held, self.now);
        replica.room_changed = true;
        self.tally.in_service.down(self.now);
        self.note_kv();
    }

    /// The next token can be made, after the draft where there is one.
    pub(super) fn make_ready(&mut self, at: u32) {
        let active = &self.requests[at as usize];
        if self.service.speculation.is_some() {
            let step = self.costs.step_of(active.request.prompt.saturating_add(active.produced));
            let draft = self.costs.draft(step);
            // Drafts of others may be ahead in a draft model's own line; only its slowest stage holds up the next one.
            let replica = &mut self.replicas[active.replica as usize];
            let start = self.now.max(replica.drafter_free);
            replica.drafter_free = start + draft.occupancy;
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
        let active = &mut self.requests[at as usize];
        let replica = &mut self.replicas[active.replica as usize];
        (active.ready, active.held_by_prefill) = (self.now, replica.line.held_by_prefill(self.now));
        replica.ready.push_back(at);
        self.note_ready();
    }

    fn finish(&mut self, at: u32) {
        let active = &mut self.requests[at as usize];
        let replica = &mut self.replicas[active.replica as usize];
        replica.inside -= 1;
        replica.window.finished += 1;
        self.totals.finished += 1;
        self.observer.see(self.now, active.number, Happening::Finished);
        let answered = active.request.output.saturating_sub(1);
        active.is_inside = false;
        self.tally.finished(self.now, active.arrived, active.last_token - active.first_token, answered);
        if self.service.prefix_cache.is_some() && active.request.content.knows_answer() {
            // The last token of the answer was never put through, so it has no keys and values.
            let tokens = active.request.prompt + answered;
            let from = active.request.prompt / BLOCK;
            let shared = replica.cache.share(&active.request.content, from, tokens / BLOCK, &mut active.held);
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
