//! Clients between a load and the machine: they ask a service that has quotas, are refused, wait as their libraries
//! wait, and see answers from outside.
//!
//! [`Clients`] is a load made of another one. A request of that load is what a user *wants*; the *attempts* are what
//! its client sends. An attempt that the account or the queue refuses never reaches the machine. How long a client
//! waits before the next is for its [`ClientProfile`]: layers of retries, each around the one before.

mod delivery;
mod outcome;
mod profile;
mod retry;

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

pub use delivery::Delivery;
pub use outcome::{ClientOutcome, Shares};
pub use profile::{Backoff, ClientProfile, HeaderRule, Overflow, RetryLayer};
pub use retry::Retry;

use crate::load::{Door, Entry, LoadSource, Loss, Lost, Story, TaskOutcome};
use crate::random::{Purpose, stream};
use crate::request::{Content, Piece, Request};
use crate::service::{Account, Ask, Counted, Refusal, Reservation, ServicePlan, Used};
use crate::time::Time;
use outcome::Counts;

/// What clients are like, and what they ask.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ClientSettings {
    /// Quotas.
    pub plan: ServicePlan,
    /// How they retry.
    pub profile: ClientProfile,
    /// Organisations that users are dealt to in turn, each with an account of its own.
    pub organisations: u32,
    /// Round trip over the network, in seconds.
    pub network: f64,
    /// What the service's host adds to each request, in seconds.
    pub host: f64,
    /// Connections, chunks, answers in one piece.
    #[serde(flatten, skip_serializing_if = "Delivery::is_usual")]
    pub delivery: Delivery,
    /// Seconds after which a user gives a request up that is still refused; nothing is never.
    pub patience: Option<f64>,
    /// Seconds after which a client hangs up on a request that was let in, and retries; nothing is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// Seed of the waits that are spread.
    pub seed: u64,
}

/// Round trip over the network, in seconds: a guess, 0.01 (the same region) to 0.2 (another continent).
pub const NETWORK: f64 = 0.05;
/// What a host adds: 1 to 6 ms outside of queue, prompt and completion in records of 2025 and 2026 (15 ms in 2024).
pub const HOST: f64 = 0.004;

/// What a user wants, and how far its client is with it.
#[derive(Debug)]
struct Wanted {
    request: Request,
    /// The user's number in the load.
    user: u32,
    organisation: u32,
    since: Time,
    /// Waits after refusals so far, by cause.
    quota: Time,
    /// What the first refusal for a quota said.
    told: Option<Time>,
    capacity: Time,
    /// Attempts that were let in and lost, and the waits after them; and what was away.
    outage: Time,
    deadline: Time,
    attempts: u64,
    retry: Retry,
    reserved: Option<Reservation>,
    is_cut: bool,
    summary: Summary,
}

/// Whether the attempt on its way is a summary of the session, in place of what is wanted.
#[derive(Debug, Default)]
enum Summary {
    /// It is what is wanted.
    #[default]
    No,
    /// It is, and this is what is wanted.
    Asked(Request),
    /// It has been served, and this is what is wanted.
    Served(Request),
}

/// Clients.
#[derive(Debug)]
pub struct Clients<L> {
    inner: L,
    settings: ClientSettings,
    accounts: Vec<Account>,
    wanted: Vec<Option<Wanted>>,
    unused: Vec<u32>,
    /// Whether a user of the load has one request at a time: then its number is the user's.
    is_closed: bool,
    up: Time,
    down: Time,
    random: ChaCha8Rng,
    counts: Counts,
    dealt: u32,
}

impl<L: LoadSource> Clients<L> {
    /// Clients with what `inner` wants; what ends after `from` counts.
    pub fn new(inner: L, settings: ClientSettings, from: Time) -> Self {
        let plan = Arc::new(settings.plan.clone());
        let accounts = (0..settings.organisations.max(1)).map(|_| Account::new(Arc::clone(&plan))).collect();
        let half = settings.network / 2.0;
        Self {
            is_closed: inner.most_inside().is_some(),
            inner,
            accounts,
            wanted: Vec::new(),
            unused: Vec::new(),
            up: Time::from_seconds(half + settings.host + settings.network * settings.delivery.handshakes),
            down: Time::from_seconds(half),
            random: stream(settings.seed, Purpose::Clients),
            counts: Counts::new(from),
            settings,
            dealt: 0,
        }
    }

    /// What they have seen, up to `end`.
    pub fn outcome(&self, end: Time) -> ClientOutcome {
        self.counts.outcome(&self.settings, end)
    }

    /// A request of the load becomes one of a client's: it comes later by the way to the service.
    fn send(&mut self, mut request: Request) -> Request {
        let user = request.user;
        let dealt = if self.is_closed { self.inner.owner(user) } else { self.dealt };
        let organisation = dealt % self.settings.organisations.max(1);
        self.dealt = self.dealt.wrapping_add(1);
        let most = self.settings.longest_answer(request.prompt);
        let is_cut = request.output > most;
        request.output = request.output.min(most);
        request.content = self.within(organisation, request.content);
        let since = request.arrival;
        request.arrival = since + self.up;
        let place = if self.is_closed {
            if self.wanted.len() <= user as usize {
                self.wanted.resize_with(user as usize + 1, || None);
            }
            user
        } else if let Some(place) = self.unused.pop() {
            place
        } else {
            self.wanted.push(None);
            u32::try_from(self.wanted.len() - 1).unwrap_or(u32::MAX)
        };
        request.user = place;
        let wanted = Wanted {
            request: request.clone(),
            user,
            organisation,
            since,
            quota: Time::ZERO,
            told: None,
            capacity: Time::ZERO,
            outage: Time::ZERO,
            deadline: Time::ZERO,
            attempts: 0,
            retry: Retry::new(&self.settings.profile),
            reserved: None,
            is_cut,
            summary: Summary::No,
        };
        if let Some(slot) = self.wanted.get_mut(place as usize) {
            *slot = Some(wanted);
        }
        request
    }

    /// Content as an organisation has it: what sessions have in common, they have within their organisation.
    fn within(&self, organisation: u32, content: Content) -> Content {
        match content {
            Content::Session { session, common } if self.accounts.len() > 1 => {
                let own = u64::MAX - 1 - u64::from(organisation);
                Content::Spliced([Piece { until: common, key: own }, Piece { until: u32::MAX, key: session }].into())
            }
            content => content,
        }
    }

    /// A summary was served at `now`: what is wanted goes again, with a session that is shorter.
    fn summarised(&mut self, place: u32, now: Time) -> Option<Request> {
        let wanted = self.wanted.get_mut(place as usize).and_then(Option::as_mut)?;
        let Summary::Served(kept) = &wanted.summary else { return None };
        let again = now + self.down + LEAST_WAIT + self.up;
        let mut request = Request { arrival: again, ..kept.clone() };
        let organisation = wanted.organisation;
        if let Some(shorter) = self.inner.shortened(wanted.user) {
            request.prompt = shorter.prompt;
            request.content = self.within(organisation, shorter.content);
        }
        let wanted = self.wanted.get_mut(place as usize).and_then(Option::as_mut)?;
        // The summary is the price of the quota, by a way that the refusal did not name.
        wanted.quota += again - wanted.request.arrival;
        wanted.request = request.clone();
        (wanted.summary, wanted.retry) = (Summary::No, Retry::new(&self.settings.profile));
        Some(request)
    }

    fn take(&mut self, place: u32) -> Option<Wanted> {
        let wanted = self.wanted.get_mut(place as usize)?.take();
        if !self.is_closed {
            self.unused.push(place);
        }
        wanted
    }

    /// An attempt failed at `now`: the next one, or, where the user gives up, what it wants next.
    fn failed(&mut self, place: u32, failure: Failure, now: Time) -> Option<Request> {
        let told = now + self.down;
        self.counts.failed(now, failure);
        let random = &mut self.random;
        let wanted = self.wanted.get_mut(place as usize).and_then(Option::as_mut)?;
        let hint = failure.hint();
        let overflow = self.settings.profile.overflow.filter(|_| matches!(failure, Failure::Tokens(_)));
        // Before the delay is known the request stays: who loses patience gives up what was wanted.
        let delay = match (overflow, &wanted.summary) {
            (Some(_), Summary::No) => Some(Time::ZERO),
            (Some(overflow), _) => Some(Time::from_seconds(overflow.again * (0.5 + random.random::<f64>()))),
            (None, _) => wanted.retry.next(&self.settings.profile, hint, || random.random()),
        };
        let patience = self.settings.patience.map(Time::from_seconds);
        let delay = delay.filter(|delay| patience.is_none_or(|most| told + *delay - wanted.since <= most));
        if let Some(delay) = delay {
            let again = told + delay.max(LEAST_WAIT) + self.up;
            // From the moment at which the attempt came: what it took before it was lost is lost too.
            let took = again - wanted.request.arrival.min(now);
            match failure {
                Failure::Requests(hint) | Failure::Tokens(hint) => {
                    wanted.told.get_or_insert(hint);
                    wanted.quota += took;
                }
                Failure::Full | Failure::Lost(Loss::Queue) => wanted.capacity += took,
                Failure::Away | Failure::Lost(Loss::Outage) => wanted.outage += took,
                Failure::Lost(Loss::Deadline) => wanted.deadline += took,
            }
            if let Some(overflow) = overflow {
                let stopped = wanted.turn(overflow.summary.min(self.settings.longest_answer(wanted.request.prompt)));
                if stopped {
                    self.counts.stopped(now);
                    wanted.retry = Retry::new(&self.settings.profile);
                }
            }
            wanted.request.arrival = again;
            return Some(wanted.request.clone());
        }
        let wanted = self.take(place)?;
        self.counts.abandoned(now, wanted.attempts);
        // A user who gave up does not ask again at the same moment for ever.
        let next = self.inner.after(wanted.user, told)?;
        let arrival = next.arrival.max(told + AFTER_GIVING_UP);
        Some(self.send(Request { arrival, ..next }))
    }
}

impl ClientSettings {
    /// Tokens of an answer to a prompt at most: the client's limit, and the plan's.
    fn longest_answer(&self, prompt: u32) -> u32 {
        let context = self.plan.context.unwrap_or(u32::MAX).saturating_sub(prompt).max(1);
        [self.profile.max_tokens, self.plan.answer].into_iter().flatten().fold(context, u32::min)
    }
}

impl Wanted {
    /// A quota of tokens was refused, and taken for a context that is too long: in place of what is wanted goes a
    /// summary of so many tokens; where one was refused, what is wanted. Whether the client has stopped between.
    fn turn(&mut self, summary: u32) -> bool {
        match std::mem::take(&mut self.summary) {
            Summary::No => {
                self.summary = Summary::Asked(self.request.clone());
                self.request.output = summary.max(1);
                false
            }
            Summary::Asked(kept) | Summary::Served(kept) => {
                self.request = kept;
                true
            }
        }
    }
}

/// Why an attempt has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// 429: a quota of requests is used up; the same request would be let in after so long.
    Requests(Time),
    /// The same of a quota of tokens.
    Tokens(Time),
    /// 429: too many wait.
    Full,
    /// 503: no machine is up.
    Away,
    /// It was let in, and lost.
    Lost(Loss),
}

impl Failure {
    /// What the service says of when to come again.
    fn hint(self) -> Option<Time> {
        match self {
            Self::Requests(wait) | Self::Tokens(wait) => Some(wait),
            Self::Full | Self::Lost(Loss::Queue) => Some(Time::from_seconds(CAPACITY_WAIT)),
            Self::Away | Self::Lost(Loss::Outage | Loss::Deadline) => None,
        }
    }
}

/// Shortest wait between two attempts.
const LEAST_WAIT: Time = Time(1_000_000_000);
/// Shortest time between giving up and the next request: one second.
const AFTER_GIVING_UP: Time = Time(1_000_000_000_000);
/// What the service says after a refusal for want of room, in seconds (a guess, 1 to 60).
const CAPACITY_WAIT: f64 = 1.0;

impl<L: LoadSource> LoadSource for Clients<L> {
    fn next(&mut self) -> Option<Request> {
        let request = self.inner.next()?;
        Some(self.send(request))
    }

    fn most_inside(&self) -> Option<u64> {
        self.inner.most_inside()
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        if let Some(request) = self.summarised(user, now) {
            return Some(request);
        }
        let wanted = self.take(user)?;
        let next = self.inner.after(wanted.user, now + self.down)?;
        Some(self.send(next))
    }

    fn asks(&self) -> bool {
        true
    }

    fn beside(&mut self) -> Option<Request> {
        let request = self.inner.beside()?;
        Some(self.send(request))
    }

    fn deadline(&self, request: &Request) -> Option<Time> {
        let seconds = self.settings.deadline?;
        // From when the client sent it.
        Some(request.arrival + Time::from_seconds(seconds) - self.up)
    }

    fn queue_deadline(&self) -> Option<Time> {
        self.settings.plan.deadline.map(Time::from_seconds)
    }

    fn lost(&mut self, lost: &Lost<'_>, now: Time) -> Option<Request> {
        let place = lost.request.user;
        let wanted = self.wanted.get_mut(place as usize).and_then(Option::as_mut)?;
        // What a machine lost, or never had room for, is not paid; a client that hangs up pays for what was made.
        // Nothing is published of either.
        let used = match lost.loss {
            Loss::Outage | Loss::Queue => Used::default(),
            Loss::Deadline => Used { prompt: lost.request.prompt, cached: lost.cached, output: lost.produced },
        };
        let account = self.accounts.get_mut(wanted.organisation as usize);
        if let (Some(account), Some(reserved)) = (account, wanted.reserved.take()) {
            account.settle(now, reserved, &used);
        }
        self.failed(place, Failure::Lost(lost.loss), now)
    }

    fn owner(&self, user: u32) -> u32 {
        self.inner.owner(user)
    }

    fn tasks(&self, end: Time) -> Option<TaskOutcome> {
        self.inner.tasks(end)
    }

    fn ask(&mut self, request: &Request, door: &Door, now: Time) -> Entry {
        let place = request.user;
        let Some(wanted) = self.wanted.get_mut(place as usize).and_then(Option::as_mut) else { return Entry::In };
        wanted.attempts += 1;
        self.counts.attempt(now);
        let Some(waiting) = door.waiting else { return Entry::Back(self.failed(place, Failure::Away, now)) };
        let ask = Ask { prompt: request.prompt, cached: door.cached, most: self.settings.profile.max_tokens };
        let is_full = self.settings.plan.queue.is_some_and(|most| waiting >= most);
        let account = self.accounts.get_mut(wanted.organisation as usize);
        let admitted = match account {
            _ if is_full => Err(Refusal::Capacity),
            Some(account) => account.admit(now, &ask),
            None => Ok(Reservation::default()),
        };
        match admitted {
            Ok(reserved) => {
                self.counts.reserved(now, reserved.tokens());
                wanted.reserved = Some(reserved);
                Entry::In
            }
            Err(Refusal::Quota { wait, limit }) => {
                let wait = wait.unwrap_or(limit.window.time());
                let failure = match limit.counted {
                    Counted::Requests => Failure::Requests(wait),
                    Counted::Tokens | Counted::UncachedTokens => Failure::Tokens(wait),
                };
                Entry::Back(self.failed(place, failure, now))
            }
            Err(Refusal::Capacity) => Entry::Back(self.failed(place, Failure::Full, now)),
        }
    }

    fn served(&mut self, story: &Story<'_>) {
        let Some(wanted) = self.wanted.get_mut(story.request.user as usize).and_then(Option::as_mut) else { return };
        let used = Used { prompt: story.request.prompt, cached: story.cached, output: story.request.output };
        if let (Some(account), Some(reserved)) =
            (self.accounts.get_mut(wanted.organisation as usize), wanted.reserved.take())
        {
            account.settle(story.ended, reserved, &used);
        }
        if let Summary::Asked(kept) = &mut wanted.summary {
            wanted.summary = Summary::Served(kept.clone());
            self.counts.summary(story.ended, &used);
            return;
        }
        let seen = outcome::Seen {
            user: self.inner.owner(wanted.user),
            since: wanted.since,
            quota: wanted.quota.min(wanted.told.unwrap_or(Time::ZERO)),
            retries: wanted.quota - wanted.told.unwrap_or(Time::ZERO),
            capacity: wanted.capacity,
            outage: wanted.outage,
            deadline: wanted.deadline,
            attempts: wanted.attempts,
            is_cut: wanted.is_cut,
            up: self.up,
            down: self.down,
            first: self.settings.delivery.first(story, used.output),
            used,
        };
        self.counts.served(story, &seen);
        self.inner.served(story);
    }
}
