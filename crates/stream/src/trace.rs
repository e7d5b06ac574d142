//! A trace of requests in memory, to be replayed: what `wafersim-requests` reads, in 24 bytes a request, 16 more for
//! each session and each hashed prompt, 8 for each hash.
//!
//! Sessions are numbered as they come. What a turn keeps of its session is a chain: each link holds from some token on,
//! and below it the link before.

use std::sync::OnceLock;

use rustc_hash::FxHashMap;
use serde::Serialize;
use wafersim_requests::{LeftOut, Reader, Seen, Settings, Start, TraceRequest};

use crate::error::StreamError;
use crate::request::{Content, Piece, Request};
use crate::time::Time;

/// Most requests of a run: about 1 GB.
pub const MOST_REQUESTS: u64 = 30_000_000;
/// Most hashes of blocks, of all requests: about 1 GB.
const MOST_HASHES: usize = 1 << 27;

const NONE: u32 = u32::MAX;
/// The key of what all sessions have in common.
const COMMON: u64 = u64::MAX;
/// A hashed block of more requests than this part of all, and than so many, is common to sessions: a guess (no session
/// of the public traces has a hundredth of their requests).
const COMMON_PART: f64 = 0.01;
const COMMON_USES: f64 = 16.0;

/// A request: those with a time of their own in order of time, then those that wait for an answer.
#[derive(Debug, Clone, Copy)]
struct Call {
    time: Time,
    prompt: u32,
    output: u32,
    /// The request that waits for its answer, among those that wait.
    next: u32,
    /// In `contents`.
    content: u32,
}

/// What identifies the tokens of requests.
#[derive(Debug, Clone, Copy)]
enum Stored {
    /// Hashes of blocks of `size` tokens.
    Hashed { from: u64, count: u32, size: u32 },
    /// Tokens from `from` on have this key; those below are the link's `before`.
    Link { key: u64, from: u32, before: u32 },
}

/// Where a session is while it is read.
#[derive(Debug, Clone, Copy)]
struct SessionEnd {
    link: u32,
    tokens: u64,
    last: (bool, u32),
}

/// A trace in memory.
#[derive(Debug, Default)]
pub struct Trace {
    timed: Vec<Call>,
    waiting: Vec<Call>,
    contents: Vec<Stored>,
    hashes: Vec<u64>,
    about: TraceSummary,
    families: OnceLock<Vec<u32>>,
}

/// What a run says of its trace.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct TraceSummary {
    /// What the file is.
    pub seen: Seen,
    /// Requests that are replayed.
    pub requests: u64,
    /// Rows that gave none.
    pub left_out: LeftOut,
    /// Seconds from the first to the last that comes at a time of its own.
    pub span_s: f64,
}

impl Trace {
    /// Reads a trace, or its first `most` requests.
    ///
    /// # Errors
    /// With the line that is wrong; and where there are more than [`MOST_REQUESTS`].
    pub fn read(reader: Reader, most: Option<u64>) -> Result<Self, StreamError> {
        Self::read_within(reader, most, MOST_REQUESTS)
    }

    fn read_within(mut reader: Reader, most: Option<u64>, room: u64) -> Result<Self, StreamError> {
        let mut new = Self::default();
        let mut sessions: FxHashMap<Box<str>, SessionEnd> = FxHashMap::default();
        let mut request = TraceRequest::default();
        while most.is_none_or(|most| new.about.requests < most) && reader.read(&mut request)? {
            if new.about.requests >= room || new.hashes.len() > MOST_HASHES {
                let allowed =
                    "its first ones (load.requests), or a part of it: simctl trace cut --requests or --sample";
                return Err(reader.too_many(room, allowed).into());
            }
            new.add(&request, &mut sessions);
        }
        new.about.seen = reader.seen().clone();
        new.about.left_out = reader.left_out();
        new.about.span_s = new.timed.last().map_or(0.0, |call| call.time.seconds());
        Ok(new)
    }

    /// The same of a text.
    ///
    /// # Errors
    /// As [`Trace::read`].
    pub fn of_text(text: &str, file: &str, settings: &Settings) -> Result<Self, StreamError> {
        Self::read(Reader::open(std::io::Cursor::new(text.to_owned()), file, settings)?, None)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requests.
    pub const fn len(&self) -> usize {
        self.timed.len() + self.waiting.len()
    }

    /// What a run says of it.
    pub const fn about(&self) -> &TraceSummary {
        &self.about
    }

    fn add(&mut self, request: &TraceRequest, sessions: &mut FxHashMap<Box<str>, SessionEnd>) {
        self.about.requests += 1;
        let known = sessions.get(request.session.as_str()).copied();
        let (mut content, mut link) = (NONE, NONE);
        if request.block > 0 {
            let from = self.hashes.len() as u64;
            self.hashes.extend_from_slice(&request.hashes);
            let count = u32::try_from(request.hashes.len()).unwrap_or(u32::MAX);
            content = self.store(Stored::Hashed { from, count, size: request.block });
        } else if !request.session.is_empty() {
            link = self.link(request, known);
            content = link;
        }
        let call = Call {
            time: Time(request.start.picoseconds()),
            prompt: request.prompt,
            output: request.output,
            next: NONE,
            content,
        };
        let is_timed = matches!(request.start, Start::At(_));
        let place = if is_timed { &mut self.timed } else { &mut self.waiting };
        let index = u32::try_from(place.len()).unwrap_or(NONE);
        place.push(call);
        if request.session.is_empty() {
            return;
        }
        if let Some(before) = known.filter(|_| !is_timed) {
            let place = if before.last.0 { &mut self.timed } else { &mut self.waiting };
            if let Some(call) = place.get_mut(before.last.1 as usize) {
                call.next = index;
            }
        }
        let tokens = u64::from(request.prompt) + u64::from(request.output);
        let end = SessionEnd { link, tokens, last: (is_timed, index) };
        match sessions.get_mut(request.session.as_str()) {
            Some(known) => *known = end,
            None => {
                sessions.insert(request.session.as_str().into(), end);
            }
        }
    }

    fn store(&mut self, stored: Stored) -> u32 {
        self.contents.push(stored);
        u32::try_from(self.contents.len() - 1).unwrap_or(NONE)
    }

    /// The content of a turn: its session's, or from some token on its own.
    fn link(&mut self, request: &TraceRequest, known: Option<SessionEnd>) -> u32 {
        let key = self.contents.len() as u64;
        let known = known.filter(|known| known.link != NONE);
        let Some(known) = known else {
            let common = request.kept.unwrap_or(0);
            let before =
                if common > 0 { self.store(Stored::Link { key: COMMON, from: 0, before: NONE }) } else { NONE };
            return self.store(Stored::Link { key, from: common, before });
        };
        let Some(kept) = request.kept.filter(|kept| u64::from(*kept) < known.tokens) else { return known.link };
        let mut before = known.link;
        while let Some(Stored::Link { from, before: below, .. }) = self.contents.get(before as usize).copied() {
            if from < kept {
                break;
            }
            before = below;
        }
        self.store(Stored::Link { key, from: kept, before })
    }

    fn content(&self, call: &Call) -> Content {
        match self.contents.get(call.content as usize).copied() {
            None => Content::Unique,
            Some(Stored::Hashed { from, count, size }) => {
                let from = from as usize;
                let hashes = self.hashes.get(from..from + count as usize).unwrap_or_default();
                Content::Hashed { size, hashes: hashes.into() }
            }
            Some(Stored::Link { key, from: 0, .. }) => Content::Session { session: key, common: 0 },
            Some(Stored::Link { key, from, before }) => {
                let mut pieces = vec![Piece { until: u32::MAX, key }];
                let (mut until, mut at) = (from, before);
                while let Some(Stored::Link { key, from, before }) = self.contents.get(at as usize).copied() {
                    pieces.push(Piece { until, key });
                    (until, at) = (from, before);
                }
                pieces.reverse();
                Content::Spliced(pieces.into())
            }
        }
    }

    /// The request of a number, with the time that it has in the trace; its number is its user.
    fn request(&self, number: usize) -> Option<Request> {
        let call = self.timed.get(number).or_else(|| self.waiting.get(number - self.timed.len()))?;
        Some(Request {
            arrival: call.time,
            user: u32::try_from(number).unwrap_or(NONE),
            prompt: call.prompt,
            output: call.output,
            content: self.content(call),
        })
    }

    /// All requests: those with a time of their own, then those that wait, whose arrival is their wait.
    pub fn requests(&self) -> impl Iterator<Item = Request> + '_ {
        (0..self.len()).filter_map(|number| self.request(number))
    }

    /// Requests a second, over all of it; nothing where all come at once.
    pub fn rate(&self) -> Option<f64> {
        (self.about.span_s > 0.0).then(|| self.len() as f64 / self.about.span_s)
    }

    /// For each request with a time of its own, what it belongs to: its session; among hashed prompts the request that
    /// it continues, whose last or last but one block it has (the last is seldom full); else itself. Blocks of more
    /// than `COMMON_PART` of all requests are instructions of a system, and tie nothing together.
    pub fn families(&self) -> &[u32] {
        self.families.get_or_init(|| {
            // The family of each last block.
            let mut ends: FxHashMap<u64, u32> = FxHashMap::default();
            // Families of sessions are their first links, those of others their numbers, from the other end.
            let own = |number: usize| u32::MAX - u32::try_from(number).unwrap_or(u32::MAX);
            let mut uses: FxHashMap<u64, u32> = FxHashMap::default();
            self.hashes.iter().for_each(|hash| *uses.entry(*hash).or_default() += 1);
            let most = (self.len() as f64 * COMMON_PART).max(COMMON_USES);
            let is_common = |hash: &u64| uses.get(hash).is_some_and(|uses| f64::from(*uses) > most);
            let family = |(number, call): (usize, &Call)| match self.contents.get(call.content as usize).copied() {
                None => own(number),
                Some(Stored::Link { .. }) => self.first_link(call.content),
                Some(Stored::Hashed { from, count, .. }) => {
                    let from = from as usize;
                    let hashes = self.hashes.get(from..from + count as usize).unwrap_or_default();
                    let known = hashes.iter().rev().find_map(|hash| ends.get(hash)).copied();
                    let family = known.unwrap_or_else(|| own(number));
                    for end in hashes.iter().rev().take(2).filter(|hash| !is_common(hash)) {
                        ends.entry(*end).or_insert(family);
                    }
                    family
                }
            };
            self.timed.iter().enumerate().map(family).collect()
        })
    }

    /// The link that a session began with.
    fn first_link(&self, mut link: u32) -> u32 {
        while let Some(Stored::Link { before, .. }) = self.contents.get(link as usize).copied() {
            match self.contents.get(before as usize) {
                Some(Stored::Link { key, .. }) if *key != COMMON => link = before,
                _ => break,
            }
        }
        link
    }

    /// The next request with a time of its own, from the first.
    pub fn timed(&self, number: usize) -> Option<Request> {
        if number < self.timed.len() { self.request(number) } else { None }
    }

    /// The request that waits for the answer of another; its arrival is its wait.
    pub fn after(&self, number: usize) -> Option<Request> {
        let call = self.timed.get(number).or_else(|| self.waiting.get(number.checked_sub(self.timed.len())?))?;
        if call.next == NONE { None } else { self.request(self.timed.len() + call.next as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_prompts_that_go_on_are_families() {
        let text = "{\"timestamp\": 0, \"input_length\": 1000, \"output_length\": 1, \"hash_ids\": [1, 2]}\n\
                    {\"timestamp\": 1, \"input_length\": 1000, \"output_length\": 1, \"hash_ids\": [1, 9]}\n\
                    {\"timestamp\": 2, \"input_length\": 1500, \"output_length\": 1, \"hash_ids\": [1, 2, 3]}\n\
                    {\"timestamp\": 3, \"input_length\": 2000, \"output_length\": 1, \"hash_ids\": [1, 2, 3, 4]}\n\
                    {\"timestamp\": 4, \"input_length\": 500, \"output_length\": 1, \"hash_ids\": [7]}\n";
        let trace = Trace::of_text(text, "t.jsonl", &Settings::default()).unwrap();
        let families = trace.families();
        assert_eq!(families.len(), 5);
        assert!(families[2] == families[0] && families[3] == families[0], "{families:?}");
        assert!(families[4] != families[0], "{families:?}");
    }

    #[test]
    fn more_requests_than_there_is_room_for_are_refused() {
        let text = "arrival_s,prompt_tokens,output_tokens\n0,9,1\n1,9,1\n2,9,1\n";
        let reader = || Reader::open(text.as_bytes(), "endless.csv", &Settings::default()).unwrap();
        assert_eq!(Trace::read_within(reader(), None, 3).unwrap().len(), 3);
        assert_eq!(Trace::read_within(reader(), Some(2), 2).unwrap().len(), 2);
        let error = Trace::read_within(reader(), None, 2).unwrap_err().to_string();
        for part in ["endless.csv", "more than 2 requests", "allowed: ", "load.requests", "simctl trace cut"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
