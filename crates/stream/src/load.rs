//! Who asks, when and for how much: the interface of loads; each one is a file.

mod closed;
mod day;
mod helpers;
mod lengths;
mod open;
mod replay;
pub mod sessions;
pub mod tasks;
mod told;

pub use closed::{ClosedLoop, ClosedSettings};
pub use day::DayCurve;
pub use helpers::{Helpers, SideRequest, SideWhen, SubAgents};
pub use lengths::Lengths;
pub use open::{OpenLoop, OpenSettings};
pub use replay::Replay;
pub use sessions::{Guess, SessionSettings, Sessions, guesses};
pub use tasks::{TaskOutcome, TaskSettings, TaskShares, Tasks, task_guesses};
pub use told::{Tell, Told, hashes};

use crate::request::{Content, Request};
use crate::time::Time;

/// Whether a request that has come goes on to the machine.
#[derive(Debug)]
pub enum Entry {
    /// It does.
    In,
    /// It does not; whoever sent it tries again so, or asks for something else.
    Back(Option<Request>),
}

/// What became of a request that was served.
#[derive(Debug)]
pub struct Story<'r> {
    /// The request.
    pub request: &'r Request,
    /// When it came to the machine.
    pub arrived: Time,
    /// When its prompt began to be computed.
    pub started: Time,
    /// When its first token came out.
    pub first_token: Time,
    /// When its last token came out.
    pub ended: Time,
    /// Tokens of its prompt that the cache had.
    pub cached: u32,
}

/// What a request meets that comes to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Door {
    /// Tokens of its prompt that the cache has.
    pub cached: u32,
    /// Others that wait for room where it would go; nothing where no machine is up.
    pub waiting: Option<u64>,
}

/// Why a request that was let in has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its machine went away.
    Outage,
    /// Whoever sent it would not wait any longer.
    Deadline,
    /// It waited for room longer than the service lets it.
    Queue,
}

/// A request that was let in and has no answer.
#[derive(Debug, Clone, Copy)]
pub struct Lost<'r> {
    /// The request.
    pub request: &'r Request,
    /// Why.
    pub loss: Loss,
    /// Tokens of its prompt that the cache had.
    pub cached: u32,
    /// Tokens of its answer that came.
    pub produced: u32,
}

/// What a request is after its session was summarised.
#[derive(Debug, Clone, PartialEq)]
pub struct Shorter {
    /// Tokens of its prompt.
    pub prompt: u32,
    /// What they are.
    pub content: Content,
}

/// A load.
pub trait LoadSource: std::fmt::Debug {
    /// The next request that comes whatever happens to others, in order of arrival; nothing when there are no more.
    fn next(&mut self) -> Option<Request>;

    /// Most requests that can be in the system at once, where the load knows an end.
    fn most_inside(&self) -> Option<u64> {
        None
    }

    /// What a user sends after its request was served, or refused, at `now`: not before `now`.
    fn after(&mut self, user: u32, now: Time) -> Option<Request>;

    /// Whether requests are asked for before they count as come ([`LoadSource::ask`]).
    fn asks(&self) -> bool {
        false
    }

    /// Whether a request that comes goes on to the machine.
    fn ask(&mut self, _request: &Request, _door: &Door, _now: Time) -> Entry {
        Entry::In
    }

    /// A request was served; [`LoadSource::after`] is called next.
    fn served(&mut self, _story: &Story<'_>) {}

    /// What else is sent at what was just told of, beside what that returned; asked for until there is nothing. Not
    /// before the present moment.
    fn beside(&mut self) -> Option<Request> {
        None
    }

    /// When whoever sent a request that is let in now wants it no longer; nothing where it waits for ever.
    fn deadline(&self, _request: &Request) -> Option<Time> {
        None
    }

    /// How long the service lets a request wait for room; nothing is for ever.
    fn queue_deadline(&self) -> Option<Time> {
        None
    }

    /// A request that was let in is lost at `now`; returns what its user sends then.
    fn lost(&mut self, lost: &Lost<'_>, now: Time) -> Option<Request> {
        self.after(lost.request.user, now)
    }

    /// The session of a user's present request was summarised, so that it is shorter: what the request has now. Nothing
    /// where it stays as it is.
    fn shortened(&mut self, _user: u32) -> Option<Shorter> {
        None
    }

    /// The user whose work a user's requests are: itself, or who sent it.
    fn owner(&self, user: u32) -> u32 {
        user
    }

    /// What became of tasks, where the load has any, up to `end`.
    fn tasks(&self, _end: Time) -> Option<TaskOutcome> {
        None
    }
}

impl<L: LoadSource + ?Sized> LoadSource for Box<L> {
    fn next(&mut self) -> Option<Request> {
        (**self).next()
    }

    fn most_inside(&self) -> Option<u64> {
        (**self).most_inside()
    }

    fn after(&mut self, user: u32, now: Time) -> Option<Request> {
        (**self).after(user, now)
    }

    fn asks(&self) -> bool {
        (**self).asks()
    }

    fn ask(&mut self, request: &Request, door: &Door, now: Time) -> Entry {
        (**self).ask(request, door, now)
    }

    fn served(&mut self, story: &Story<'_>) {
        (**self).served(story);
    }

    fn beside(&mut self) -> Option<Request> {
        (**self).beside()
    }

    fn deadline(&self, request: &Request) -> Option<Time> {
        (**self).deadline(request)
    }

    fn queue_deadline(&self) -> Option<Time> {
        (**self).queue_deadline()
    }

    fn lost(&mut self, lost: &Lost<'_>, now: Time) -> Option<Request> {
        (**self).lost(lost, now)
    }

    fn shortened(&mut self, user: u32) -> Option<Shorter> {
        (**self).shortened(user)
    }

    fn owner(&self, user: u32) -> u32 {
        (**self).owner(user)
    }

    fn tasks(&self, end: Time) -> Option<TaskOutcome> {
        (**self).tasks(end)
    }
}
