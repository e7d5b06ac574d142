//! Part of a trace: an interval of time, so many requests, a sample.
//!
//! A sample takes or leaves a session with all of its turns. Of an interval, a turn that waits for an answer goes with
//! the first turn of its session, one with a time of its own by that time. A number of requests may end within a
//! session.

use rustc_hash::FxHashSet;

use crate::error::RequestError;
use crate::reader::{Reader, Start, TraceRequest};

/// What is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Requests from this moment on, in picoseconds after the first.
    pub from: u64,
    /// And before this one.
    pub to: Option<u64>,
    /// Most requests.
    pub requests: Option<u64>,
    /// Part of the sessions, and of the requests without one.
    pub sample: f64,
    /// Seed of the sample.
    pub seed: u64,
}

impl Default for Cut {
    fn default() -> Self {
        Self { from: 0, to: None, requests: None, sample: 1.0, seed: 1 }
    }
}

/// Takes what is wanted of a reader's requests.
#[derive(Debug)]
pub struct Cutter {
    reader: Reader,
    cut: Cut,
    /// Sessions whose first turn was taken, by the hash of their names.
    taken: FxHashSet<u64>,
    read: u64,
    count: u64,
}

impl Cutter {
    /// Before the first request.
    pub fn new(reader: Reader, cut: Cut) -> Self {
        Self { reader, cut, taken: FxHashSet::default(), read: 0, count: 0 }
    }

    /// The reader.
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The next request that is wanted, its time from the beginning of the cut; false where there is none.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub fn read(&mut self, request: &mut TraceRequest) -> Result<bool, RequestError> {
        while self.cut.requests.is_none_or(|most| self.count < most) {
            if !self.reader.read(request)? {
                return Ok(false);
            }
            self.read += 1;
            if self.wants(request) {
                self.count += 1;
                return Ok(true);
            }
            // Requests of one time may still be turns of sessions that are in; after the end nothing begins.
            let is_over = matches!((request.start, self.cut.to), (Start::At(at), Some(to)) if at >= to);
            if is_over && self.taken.is_empty() {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn wants(&mut self, request: &mut TraceRequest) -> bool {
        let session = (!request.session.is_empty()).then(|| hash(request.session.as_bytes(), self.cut.seed));
        match request.start {
            Start::After(_) => session.is_some_and(|session| self.taken.contains(&session)),
            Start::At(at) => {
                let is_in = at >= self.cut.from && self.cut.to.is_none_or(|to| at < to);
                let drawn = session.unwrap_or_else(|| hash(&self.read.to_le_bytes(), self.cut.seed));
                // 53 bits of a hash as a number from 0 to 1.
                let is_drawn = (drawn >> 11) as f64 / (1u64 << 53) as f64 <= self.cut.sample;
                if is_in && is_drawn {
                    self.taken.extend(session);
                    request.start = Start::At(at - self.cut.from);
                }
                is_in && is_drawn
            }
        }
    }
}

/// FNV-1a with SplitMix64's finaliser, so that near names are far apart.
fn hash(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}
