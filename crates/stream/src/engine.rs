//! The engine: requests come, get room, have their prompts computed, and go round with their tokens until their answers
//! are complete.
//!
//! Events are few: a request comes, a pass is through the line, a draft or a block from the host is ready, the entry is
//! free. What happens between the entry and the exit of a pass is [`crate::line`]'s. Of events at the same time, those
//! that were planned first come first; when all are done, room is given out, then the entry.
//!
//! A request's life: it *waits for room*, first come first served; its *prompt* goes in, chunk by chunk; from then on
//! it is *ready*, or *in a pass*, in turn. The last chunk of a prompt gives the first token.

mod elsewhere;
pub mod live;
mod replica;
mod request_life;
mod tally;

use rand_chacha::ChaCha8Rng;
use wafersim_answer::Pipeline;

use crate::admission::Admission;
use crate::balancer::Replicas;
use crate::costs::{Costs, Way};
use crate::elsewhere::Elsewhere;
use crate::event_queue::EventQueue;
use crate::experts::ExpertDelay;
use crate::kv::Ledger;
use crate::line::{Kind, Line, Waits};
use crate::load::{LoadSource, Loss};
use crate::observer::Observer;
use crate::policy::{Choice, Policy, Waiting};
use crate::prefix_cache::PrefixCache;
use crate::random::{Purpose, stream};
use crate::request::Request;
use crate::result::{Ended, ServiceOutcome, Totals};
use crate::time::Time;
use elsewhere::Place;
use replica::Replica;
use tally::Tally;

/// How requests are served.
#[derive(Debug)]
pub struct Service<'s> {
    /// Who goes next.
    pub policy: Box<dyn Policy>,
    /// Who gets room.
    pub admission: Box<dyn Admission>,
    /// Users of a decoding pass at most.
    pub micro_batch: u32,
    /// Tokens of a chunk at most.
    pub chunk: u32,
    /// Whether prompts are computed here; else their keys and values are taken to be there when a request gets room.
    pub prefill: bool,
    /// Where prompts are computed instead.
    pub elsewhere: Option<Elsewhere<'s>>,
    /// Whether blocks stay for others, and what the host keeps. Needs a ledger in which all layers see everything.
    pub prefix_cache: Option<HostMemory>,
    /// How long blocks stay that nobody uses; nothing: until their room is wanted.
    pub cache_life: Option<Time>,
    /// What is proposed in a step, and how it is verified.
    pub speculation: Option<Drafting>,
    /// Most tokens of a request, prompt and answer.
    pub longest: u32,
    /// Who wants which experts, where not the expected load counts.
    pub experts: Option<Box<dyn ExpertDelay + 's>>,
    /// Machines behind the balancer.
    pub replicas: Replicas,
}

impl Service<'_> {
    fn host_blocks(&self) -> u64 {
        self.prefix_cache.map_or(0, |host| host.blocks)
    }
}

/// Drafts, and how they are verified.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Drafting {
    /// Probability that each proposed token is accepted, given that all before it were; one for each token.
    pub acceptance: Vec<f64>,
    /// Whether the tokens follow each other through the line, each in a pass of its own; else they are in one pass.
    pub streamed: bool,
}

impl Drafting {
    /// The drafts of a pipeline's scenario; nothing without speculation.
    pub fn of(pipeline: &Pipeline) -> Option<Self> {
        let acceptance = pipeline.question().scenario.speculation.positions();
        let streamed = pipeline.passes_per_step() > 1;
        (!acceptance.is_empty()).then_some(Self { acceptance, streamed })
    }

    /// Passes of a step.
    fn passes(&self) -> u32 {
        if self.streamed { self.tokens() } else { 1 }
    }

    /// Tokens of a user in a pass.
    fn tokens_per_pass(&self) -> u32 {
        if self.streamed { 1 } else { self.tokens() }
    }

    fn tokens(&self) -> u32 {
        u32::try_from(self.acceptance.len()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// Memory of the host for blocks that have lost their place.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostMemory {
    /// Blocks that it holds.
    pub blocks: u64,
    /// Time to bring one block back; blocks come one after the other.
    pub block_time: Time,
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Length {
    /// When the window begins.
    pub warm_up: Time,
    /// Length of the window.
    pub window: Time,
    /// Requests after whose end it ends too, warm-up included.
    pub requests: Option<u64>,
    /// Seed of all random streams.
    pub seed: u64,
}

/// No run is longer: 10^7 s, 116 days.
pub const LONGEST_RUN: Time = Time(10_000_000 * 1_000_000_000_000);

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Simulated time.
    pub now: Time,
    /// Its end, where the run does not end before.
    pub end: Time,
    /// Requests that are finished.
    pub finished: u64,
    /// Requests after which the run ends, where that is known.
    pub requests: Option<u64>,
}

/// Between two reports of progress.
const EVENTS_PER_REPORT: u64 = 1 << 18;

#[derive(Debug, Clone, Copy)]
enum Event {
    Arrives(u32),
    Through(u32),
    Drafted(u32),
    Loaded(u32),
    EntryFree(u32),
    /// What computes a replica's prompts takes another.
    PlaceFree(u32),
    /// A prompt is computed, by something that is no wafer.
    Computed(u32),
    /// Keys and values of a prompt are over.
    Crossed(u32),
    /// A request, by its place and its number, is not wanted any longer.
    Deadline(u32, u64),
    /// The same, if it still waits for room.
    QueueDeadline(u32, u64),
    /// A replica goes away.
    Away(u32),
    /// A replica is back.
    Back(u32),
    WarmedUp,
}

/// A request in the system.
#[derive(Debug)]
struct Active {
    request: Request,
    number: u64,
    /// Whether it has come, and has not been served.
    is_inside: bool,
    /// Whether whoever sent it wants it no more.
    is_cancelled: bool,
    /// Whether it is gone, and its place waits for an event that is still to come.
    is_ghost: bool,
    /// Whether it has room.
    has_room: bool,
    /// Where it is served.
    replica: u32,
    /// Tokens to compute before it decodes: the prompt, and what it had of its answer when it gave way.
    target: u32,
    /// Of these, tokens that are computed, in the line, or were cached.
    filled: u32,
    way: Way,
    /// Tokens for which there was room elsewhere, and the first of them that is computed there.
    there: u32,
    from: u32,
    /// Whether its keys and values wait for the way from elsewhere, or are on it.
    is_crossing: bool,
    /// When its prompt was computed elsewhere, and when its keys and values were over.
    computed: Time,
    crossed: Time,
    /// Tokens of the prompt that the cache had.
    cached: u32,
    produced: u32,
    /// Tokens for which room is taken, shared blocks included; and those of them that are its own.
    reserved: u32,
    own: u32,
    held: Vec<u32>,
    arrived: Time,
    admitted: Time,
    loaded: Time,
    first_entry: Option<Time>,
    ready: Time,
    /// What the entry's clock of prefill said when it became ready.
    held_by_prefill: u64,
    first_token: Time,
    last_token: Time,
    /// Parts of the present step so far.
    draft: Time,
    entry_stage: u64,
    entry_prefill: u64,
}

#[derive(Debug, Default)]
struct Pass {
    replica: u32,
    is_prefill: bool,
    is_elsewhere: bool,
    is_last_chunk: bool,
    entered: Time,
    waits: Waits,
    expert: Time,
    members: Vec<u32>,
}

/// A run.
#[derive(Debug)]
pub struct Engine<'a, C, L: ?Sized, O> {
    costs: C,
    load: &'a mut L,
    observer: &'a mut O,
    service: Service<'a>,
    length: Length,
    now: Time,
    events: EventQueue<Event>,
    replicas: Vec<Replica>,
    /// The room of an empty replica.
    room: Ledger,
    requests: Vec<Active>,
    unused_requests: Vec<u32>,
    passes: Vec<Pass>,
    unused_passes: Vec<u32>,
    next_arrival: Option<Request>,
    arrivals: u64,
    speculation: ChaCha8Rng,
    totals: Totals,
    tally: Tally,
    longer: Vec<i64>,
    users: Vec<u32>,
    base: crate::costs::PassTimes,
    scratch: crate::costs::PassTimes,
    handled: u64,
}

impl<'a, C: Costs, L: LoadSource + ?Sized, O: Observer> Engine<'a, C, L, O> {
    /// An empty machine at time 0.
    pub fn new(
        costs: C,
        ledger: Ledger,
        service: Service<'a>,
        load: &'a mut L,
        observer: &'a mut O,
        length: Length,
    ) -> Self {
        let count = service.replicas.count.max(1);
        let tally = Tally::new(costs.stations().len() * count as usize);
        let cache = PrefixCache::new(service.host_blocks(), service.cache_life);
        let line = Line::new(costs.stations());
        let place = service.elsewhere.as_ref().map(Place::new);
        let replica = Replica::new(line, ledger.clone(), cache, place);
        let replicas = vec![replica; count as usize];
        let mut new = Self {
            costs,
            load,
            observer,
            length,
            now: Time::ZERO,
            events: EventQueue::default(),
            replicas,
            room: ledger,
            requests: Vec::new(),
            unused_requests: Vec::new(),
            passes: Vec::new(),
            unused_passes: Vec::new(),
            next_arrival: None,
            arrivals: 0,
            speculation: stream(length.seed, Purpose::Speculation),
            totals: Totals::default(),
            tally,
            longer: Vec::new(),
            users: Vec::new(),
            base: crate::costs::PassTimes::default(),
            scratch: crate::costs::PassTimes::default(),
            handled: 0,
            service,
        };
        new.plan_outages();
        new
    }

    /// Runs to the end. `report` hears now and then how far it is.
    pub fn run(mut self, mut report: impl FnMut(Progress)) -> ServiceOutcome {
        let end = (self.length.warm_up + self.length.window).min(LONGEST_RUN);
        self.next_arrival = self.load.next();
        self.events.push(self.length.warm_up, Event::WarmedUp);
        let ended = loop {
            let arrival = self.next_arrival.as_ref().map(|request| request.arrival.max(self.now));
            let planned = self.events.next_at();
            let Some(at) = [arrival, planned].into_iter().flatten().min() else { break Ended::Served };
            if at > end {
                self.now = end;
                break Ended::Time;
            }
            self.happen(at);
            if self.length.requests.is_some_and(|most| self.totals.finished + self.totals.refused >= most) {
                break Ended::Requests;
            }
            self.settle();
            self.handled += 1;
            if self.handled.is_multiple_of(EVENTS_PER_REPORT) {
                let (now, finished) = (self.now, self.totals.finished);
                report(Progress { now, end, finished, requests: self.length.requests });
            }
        };
        self.outcome(ended)
    }

    /// Everything that happens at `at`, the next moment at which anything does.
    fn happen(&mut self, at: Time) {
        self.now = at;
        while arrival_is_due(&self.next_arrival, at) {
            if let Some(request) = self.next_arrival.take() {
                self.arrive(request);
            }
            self.next_arrival = self.load.next();
        }
        while self.events.next_at() == Some(at) {
            if let Some((_, event)) = self.events.pop() {
                self.handle(event);
            }
        }
    }

    /// When all of a moment has happened, room is given out, then the entry.
    fn settle(&mut self) {
        for which in 0..self.replicas.len() {
            if self.replicas[which].room_changed {
                self.give_room(which);
            }
            self.fill_place(which);
            self.fill_entry(which);
        }
        self.observer.levels(self.now, self.tally.levels());
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrives(at) => self.arrived(at),
            Event::Through(pass) => self.through(pass),
            Event::Drafted(at) => self.enqueue(at),
            Event::Loaded(at) => self.start_prompt(at),
            Event::EntryFree(which) => self.replicas[which as usize].wake_at = Time::NEVER,
            Event::PlaceFree(which) => {
                if let Some(place) = &mut self.replicas[which as usize].place {
                    place.woken();
                }
            }
            Event::Computed(at) => self.computed(at),
            Event::Crossed(at) => self.crossed(at),
            Event::Deadline(at, number) => self.deadline(at, number, Loss::Deadline),
            Event::QueueDeadline(at, number) => self.deadline(at, number, Loss::Queue),
            Event::Away(which) => self.goes_away(which),
            Event::Back(which) => self.comes_back(which),
            Event::WarmedUp => {
                let (busy, there) = (self.busy(), self.busy_there());
                self.tally.begin(self.now, busy, there);
                let now = self.now;
                self.replicas.iter_mut().for_each(|replica| replica.begin(now));
            }
        }
    }

    /// Sends passes in as long as the line takes one and something waits.
    fn fill_entry(&mut self, which: usize) {
        loop {
            let replica = &mut self.replicas[which];
            let prompts = if self.service.elsewhere.is_some() { 0 } else { replica.prompts.len() };
            if replica.ready.is_empty() && prompts == 0 {
                return;
            }
            let free = replica.line.entry_free();
            if free > self.now {
                if replica.wake_at != free {
                    replica.wake_at = free;
                    self.events.push(free, Event::EntryFree(which as u32));
                }
                return;
            }
            let replica = &self.replicas[which];
            let since = |at: Option<&u32>, time: fn(&Active) -> Time| {
                at.and_then(|at| self.requests.get(*at as usize)).map(time)
            };
            let waiting = Waiting {
                decode: u32::try_from(replica.ready.len()).unwrap_or(u32::MAX),
                decode_since: since(replica.ready.front(), |active| active.ready),
                prefill: u32::try_from(prompts).unwrap_or(u32::MAX),
                prefill_since: since(replica.prompts.front().filter(|_| prompts > 0), |active| active.loaded),
                last_chunk: replica.last_chunk,
            };
            match self.service.policy.choose(&waiting) {
                Choice::Prefill { most } if waiting.prefill > 0 => self.send_chunk(which, most),
                Choice::Decode if waiting.decode > 0 => self.send_tokens(which),
                Choice::Prefill { .. } => self.send_tokens(which),
                Choice::Decode => self.send_chunk(which, u32::MAX),
            }
        }
    }

    fn send_tokens(&mut self, which: usize) {
        let users = self.replicas[which].ready.len().min(self.service.micro_batch.max(1) as usize);
        let at = self.new_pass(which, false);
        let mut members = std::mem::take(&mut self.passes[at as usize].members);
        members.extend(self.replicas[which].ready.drain(..users));
        self.note_ready();
        let held = self.replicas[which].line.held_by_prefill(self.now);
        let mut steps = 0;
        for member in &members {
            let active = &mut self.requests[*member as usize];
            steps += u64::from(self.costs.step_of(active.request.prompt.saturating_add(active.produced)));
            let waited = (self.now - active.ready).0;
            active.entry_prefill = held.saturating_sub(active.held_by_prefill).min(waited);
            active.entry_stage = waited - active.entry_prefill;
            active.first_entry.get_or_insert(self.now);
            self.observer.see(
                self.now,
                active.number,
                crate::observer::Happening::Entered { kind: Kind::Decode, tokens: 1 },
            );
        }
        let count = users as u32;
        let speculation = self.service.speculation.as_ref();
        let (passes, tokens) = speculation.map_or((1, 1), |drafts| (drafts.passes(), drafts.tokens_per_pass()));
        self.users.clear();
        self.users.extend(members.iter().map(|member| self.requests[*member as usize].request.user));
        let mut times = self.costs.decode(count, steps);
        let (mut through, mut waits, mut expert) = (self.now, Waits::default(), Time::ZERO);
        for pass in 0..passes {
            if let Some(experts) = &mut self.service.experts {
                expert += experts.draw(&self.users, tokens, &mut self.longer);
                if pass == 0 {
                    self.base.clone_from(times);
                }
                self.scratch.clone_from(&self.base);
                self.scratch.lengthen(&self.longer);
                times = &self.scratch;
            }
            // Passes of a stream go in one after the other, and nothing goes in between: the last one is through last.
            let line = &mut self.replicas[which].line;
            let entry = if pass == 0 { self.now } else { line.entry_free() };
            (through, waits) = line.enter(entry, Kind::Decode, times);
        }
        let pass = &mut self.passes[at as usize];
        (pass.members, pass.waits, pass.expert) = (members, waits, expert);
        self.tally.passes.up(self.now);
        self.tally.micro_batches += 1;
        self.tally.micro_batch_users += users as u64;
        self.events.push(through, Event::Through(at));
    }

    fn send_chunk(&mut self, which: usize, most: u32) {
        let Some(member) = self.replicas[which].prompts.front().copied() else { return };
        let at = self.new_pass(which, true);
        let active = &mut self.requests[member as usize];
        let tokens = (active.target - active.filled).min(most).min(self.service.chunk).max(1);
        let times = self.costs.prefill(tokens, active.filled, active.way);
        let (through, waits) = self.replicas[which].line.enter(self.now, Kind::Prefill, times);
        active.filled += tokens;
        active.first_entry.get_or_insert(self.now);
        let is_last = active.filled >= active.target;
        let number = active.number;
        let pass = &mut self.passes[at as usize];
        (pass.is_last_chunk, pass.waits) = (is_last, waits);
        pass.members.push(member);
        if is_last {
            self.replicas[which].prompts.pop_front();
            self.note_prompts();
        }
        self.replicas[which].last_chunk = Some(self.now);
        self.tally.prompt_tokens.add(self.now, u64::from(tokens));
        self.tally.passes.up(self.now);
        self.events.push(through, Event::Through(at));
        self.observer.see(self.now, number, crate::observer::Happening::Entered { kind: Kind::Prefill, tokens });
    }

    fn new_pass(&mut self, which: usize, is_prefill: bool) -> u32 {
        let at = self.unused_passes.pop().unwrap_or_else(|| {
            self.passes.push(Pass::default());
            u32::try_from(self.passes.len() - 1).unwrap_or(u32::MAX)
        });
        let pass = &mut self.passes[at as usize];
        (pass.is_prefill, pass.is_last_chunk, pass.entered) = (is_prefill, false, self.now);
        pass.is_elsewhere = false;
        pass.replica = which as u32;
        pass.members.clear();
        at
    }

    /// A pass is through the line.
    fn through(&mut self, at: u32) {
        let mut pass = std::mem::take(&mut self.passes[at as usize]);
        if !pass.is_elsewhere {
            self.tally.pass_through(self.now, pass.entered);
        }
        if pass.is_prefill {
            if pass.is_last_chunk {
                for member in &pass.members {
                    match pass.is_elsewhere {
                        true => self.computed(*member),
                        false => self.prompt_done(*member),
                    }
                }
            }
        } else {
            let service = (self.now - pass.entered).0.saturating_sub(pass.waits.sum());
            for member in &pass.members {
                self.step_done(*member, service, &pass.waits, pass.expert);
            }
        }
        pass.members.clear();
        self.passes[at as usize] = pass;
        self.unused_passes.push(at);
    }
}

fn arrival_is_due(next: &Option<Request>, now: Time) -> bool {
    next.as_ref().is_some_and(|request| request.arrival <= now)
}
