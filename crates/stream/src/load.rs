//! Who asks, when and for how much: the interface of loads; each one is a file.

mod closed;
mod lengths;
mod open;
mod replay;
pub mod sessions;
mod told;

pub use closed::{ClosedLoop, ClosedSettings};
pub use lengths::Lengths;
pub use open::{OpenLoop, OpenSettings};
pub use replay::Replay;
pub use sessions::{Guess, SessionSettings, Sessions, guesses};
pub use told::{Tell, Told, hashes};

use crate::request::Request;
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

    /// Whether a request that comes goes on to the machine, which has `cached` tokens of its prompt and lets `waiting`
    /// others wait for room.
    fn ask(&mut self, _request: &Request, _cached: u32, _waiting: u64, _now: Time) -> Entry {
        Entry::In
    }

    /// A request was served; [`LoadSource::after`] is called next.
    fn served(&mut self, _story: &Story<'_>) {}
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

    fn ask(&mut self, request: &Request, cached: u32, waiting: u64, now: Time) -> Entry {
        (**self).ask(request, cached, waiting, now)
    }

    fn served(&mut self, story: &Story<'_>) {
        (**self).served(story);
    }
}
