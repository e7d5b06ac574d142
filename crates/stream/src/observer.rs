//! A place to watch a run from: what happens to each request, when it happens. A timeline is made of it.

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
}

/// Who watches. Numbers of requests count from 0 in order of arrival.
pub trait Observer {
    /// Something happened to a request.
    fn see(&mut self, at: Time, request: u64, happening: Happening);
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
