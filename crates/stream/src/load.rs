//! Who asks, when and for how much: the interface of loads; each one is a file.

mod closed;
mod lengths;
mod open;
mod replay;
pub mod sessions;

pub use closed::{ClosedLoop, ClosedSettings};
pub use lengths::Lengths;
pub use open::{OpenLoop, OpenSettings};
pub use replay::Replay;
pub use sessions::{Guess, SessionSettings, Sessions, guesses};

use crate::request::Request;
use crate::time::Time;

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
}
