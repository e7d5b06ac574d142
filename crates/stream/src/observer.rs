//! A place to watch a run from: what happens to each request, when it happens, and how many are where. A timeline is
//! made of it ([`crate::recording`]).

use crate::line::Kind;
use crate::time::Time;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// It came, with so many tokens of prompt and answer.
    Arrived {
        /// Tokens of the prompt.
        prompt: u32,
        /// Tokens of the answer.
        output: u32,
    },
    /// It can never be served.
    Refused,
    /// It has room for its keys and values; so many tokens of its prompt are there already.
    Admitted {
        /// Tokens whose keys and values are in the cache.
        cached: u32,
    },
    /// A pass with it went into the line.
    Entered {
        /// What it carries.
        kind: Kind,
        /// Tokens of this request in it.
        tokens: u32,
    },
    /// So many tokens of its answer came out.
    Produced {
        /// Tokens.
        tokens: u32,
    },
    /// It gave its room back and waits again.
    GaveWay,
    /// Its answer is complete.
    Finished,
    /// Whoever sent it wanted it no more.
    Cancelled,
}

/// How many are where, from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Levels {
    /// Requests that have room: users in service.
    pub in_service: u64,
    /// Requests that wait for room.
    pub room: u64,
    /// Requests whose prompts are not all in the line.
    pub prefill: u64,
    /// Users with a token that waits to enter the line.
    pub entry: u64,
    /// Passes in the line.
    pub passes: u64,
    /// Tokens for which room is taken.
    pub kv_tokens: u64,
}

/// Who watches. Numbers of requests count from 0 in order of arrival.
pub trait Observer {
    /// Something happened to a request.
    fn see(&mut self, at: Time, request: u64, happening: Happening);

    /// Everything that happens at `at` has happened; this is how many are where now.
    fn levels(&mut self, _at: Time, _levels: Levels) {}
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Observer for Nobody {
    fn see(&mut self, _at: Time, _request: u64, _happening: Happening) {}
}

impl<F: FnMut(Time, u64, Happening)> Observer for F {
    fn see(&mut self, at: Time, request: u64, happening: Happening) {
        self(at, request, happening);
    }
}
