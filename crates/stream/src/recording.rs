//! A run as it is drawn over time: what each request did when, and how many were where.
//!
//! A [`Recorder`] watches a run ([`Observer`]). Pieces of time are kept one by one, up to a limit, and those beyond it
//! are counted; numbers over time are kept as means over bins that grow with the run, so that they take the same room
//! whatever its length. It knows nothing of files.

use std::collections::BTreeMap;

use crate::line::Kind;
use crate::observer::{Happening, Levels, Observer};
use crate::time::Time;

/// What a request does for a piece of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It waits for room for its keys and values.
    Queued,
    /// It has room and waits for its prompt's turn, or for blocks from the host.
    Turn,
    /// Its prompt is in the line, up to the first token.
    Prefill,
    /// Its answer is made, up to the last token.
    Decode,
}

/// A piece of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Number of the request, from 0 in order of arrival.
    pub request: u64,
    /// What it does.
    pub phase: Phase,
    /// From when.
    pub start: Time,
    /// Until when.
    pub end: Time,
}

/// A request of which there are pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Tokens of its answer.
    pub output: u32,
}

/// A number over time: means over bins of equal width.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// What is counted.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// One mean for each bin, from time 0.
    pub means: Vec<f64>,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Requests with at least one piece, by number.
    pub requests: BTreeMap<u64, Recorded>,
    /// Pieces by request and time.
    pub pieces: Vec<Piece>,
    /// Pieces beyond the limit.
    pub dropped: u64,
    /// Width of a bin of the courses.
    pub bin: Time,
    /// Numbers over time.
    pub courses: Vec<Course>,
}

/// Bins of a course at most; at so many, neighbours are put together.
const MOST_BINS: usize = 2048;
/// Width of the first bins: 1 us.
const FIRST_BIN: u64 = 1_000_000;
const LEVELS: usize = 6;
const NAMES: [(&str, &str); LEVELS] = [
    ("users in service", "users"),
    ("waiting for room", "requests"),
    ("prompts not all in", "requests"),
    ("tokens waiting to enter", "tokens"),
    ("passes in the line", "passes"),
    ("keys and values", "tokens"),
];

/// Sums of one bin: levels times picoseconds, and output tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    areas: [u128; LEVELS],
    tokens: u64,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    recorded: Recorded,
    phase: Phase,
    since: Time,
}

/// Watches a run and keeps what is drawn.
#[derive(Debug)]
pub struct Recorder {
    most: usize,
    open: BTreeMap<u64, Open>,
    requests: BTreeMap<u64, Recorded>,
    pieces: Vec<Piece>,
    dropped: u64,
    bins: Vec<Bin>,
    width: u64,
    levels: [u64; LEVELS],
    since: Time,
}

impl Recorder {
    /// Keeps at most so many pieces.
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            open: BTreeMap::new(),
            requests: BTreeMap::new(),
            pieces: Vec::new(),
            dropped: 0,
            bins: Vec::new(),
            width: FIRST_BIN,
            levels: [0; LEVELS],
            since: Time::ZERO,
        }
    }

    /// What was recorded up to `end`, the end of the run: what lasts longer is cut there.
    pub fn finish(mut self, end: Time) -> Recording {
        for (request, open) in std::mem::take(&mut self.open) {
            self.keep(request, open, end);
        }
        self.pass(end);
        self.pieces.sort_by_key(|piece| (piece.request, piece.start, piece.phase));
        let seconds = |bin: usize| {
            // The last bin is not full.
            let start = self.width.saturating_mul(bin as u64);
            end.0.saturating_sub(start).clamp(1, self.width) as f64
        };
        let mean = |of: &dyn Fn(&Bin) -> f64| -> Vec<f64> {
            self.bins.iter().enumerate().map(|(index, bin)| of(bin) / seconds(index)).collect()
        };
        let mut courses = vec![Course { name: "output", unit: "tok/s", means: mean(&|bin| bin.tokens as f64 * 1e12) }];
        courses.extend(NAMES.iter().enumerate().map(|(level, (name, unit))| Course {
            name,
            unit,
            means: mean(&|bin| bin.areas.get(level).copied().unwrap_or(0) as f64),
        }));
        Recording {
            requests: self.requests,
            pieces: self.pieces,
            dropped: self.dropped,
            bin: Time(self.width),
            courses,
        }
    }

    fn keep(&mut self, request: u64, open: Open, end: Time) {
        if end <= open.since {
            return;
        }
        if self.pieces.len() >= self.most {
            self.dropped += 1;
            return;
        }
        self.requests.insert(request, open.recorded);
        self.pieces.push(Piece { request, phase: open.phase, start: open.since, end });
    }

    /// Ends what a request does, and begins something else, where it does.
    fn turn(&mut self, at: Time, request: u64, next: Option<Phase>) {
        let Some(open) = self.open.get(&request).copied() else { return };
        if next == Some(open.phase) {
            return;
        }
        self.keep(request, open, at);
        match next {
            Some(phase) => self.open.insert(request, Open { phase, since: at, ..open }),
            None => self.open.remove(&request),
        };
    }

    /// The bin of a moment; bins are put together until there is one.
    fn bin(&mut self, at: Time) -> usize {
        while at.0 / self.width >= MOST_BINS as u64 {
            let joined = self.bins.chunks(2).map(|pair| {
                let mut sum = Bin::default();
                for bin in pair {
                    sum.tokens += bin.tokens;
                    sum.areas.iter_mut().zip(bin.areas).for_each(|(sum, area)| *sum += area);
                }
                sum
            });
            self.bins = joined.collect();
            self.width = self.width.saturating_mul(2);
        }
        let bin = (at.0 / self.width) as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, Bin::default());
        }
        bin
    }

    /// Books the present levels up to `at`.
    fn pass(&mut self, at: Time) {
        if at <= self.since {
            return;
        }
        let last = self.bin(Time(at.0 - 1));
        let first = (self.since.0 / self.width) as usize;
        for index in first..=last {
            let start = self.since.0.max(self.width.saturating_mul(index as u64));
            let end = at.0.min(self.width.saturating_mul(index as u64 + 1));
            let Some(bin) = self.bins.get_mut(index) else { continue };
            for (area, level) in bin.areas.iter_mut().zip(self.levels) {
                *area += u128::from(level) * u128::from(end.saturating_sub(start));
            }
        }
        self.since = at;
    }
}

impl Observer for Recorder {
    fn see(&mut self, at: Time, request: u64, happening: Happening) {
        match happening {
            Happening::Arrived { prompt, output } => {
                let recorded = Recorded { prompt, output };
                self.open.insert(request, Open { recorded, phase: Phase::Queued, since: at });
            }
            Happening::Refused | Happening::Finished | Happening::Cancelled => self.turn(at, request, None),
            Happening::Admitted { .. } => self.turn(at, request, Some(Phase::Turn)),
            Happening::Entered { kind: Kind::Prefill, .. } => self.turn(at, request, Some(Phase::Prefill)),
            Happening::Entered { kind: Kind::Decode, .. } => self.turn(at, request, Some(Phase::Decode)),
            Happening::Produced { tokens } => {
                // What comes out at the end of a bin belongs to it.
                let bin = self.bin(Time(at.0.saturating_sub(1)));
                if let Some(bin) = self.bins.get_mut(bin) {
                    bin.tokens += u64::from(tokens);
                }
                self.turn(at, request, Some(Phase::Decode));
            }
            Happening::GaveWay => self.turn(at, request, Some(Phase::Queued)),
        }
    }

    fn levels(&mut self, at: Time, levels: Levels) {
        self.pass(at);
        self.levels = [levels.in_service, levels.room, levels.prefill, levels.entry, levels.passes, levels.kv_tokens];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_phases_and_levels_their_means() {
        let mut recorder = Recorder::new(100);
        let at = |microseconds: u64| Time(microseconds * 1_000_000);
        let mut see = |when, happening| recorder.see(at(when), 7, happening);
        see(0, Happening::Arrived { prompt: 10, output: 3 });
        see(4, Happening::Admitted { cached: 0 });
        see(4, Happening::Entered { kind: Kind::Prefill, tokens: 10 });
        see(6, Happening::Produced { tokens: 1 });
        see(7, Happening::Entered { kind: Kind::Decode, tokens: 1 });
        see(9, Happening::Produced { tokens: 1 });
        see(9, Happening::Finished);
        recorder.levels(at(4), Levels { in_service: 3, ..Levels::default() });
        recorder.levels(at(6), Levels::default());
        let recording = recorder.finish(at(10));
        let pieces: Vec<_> =
            recording.pieces.iter().map(|piece| (piece.phase, piece.start, piece.end - piece.start)).collect();
        // Room and turn came at once, so there is no piece for the turn.
        let expected = [(Phase::Queued, at(0), at(4)), (Phase::Prefill, at(4), at(2)), (Phase::Decode, at(6), at(3))];
        assert_eq!(pieces, expected);
        let course = |name: &str| recording.courses.iter().find(|course| course.name == name).unwrap();
        assert_eq!(course("users in service").means, [0.0, 0.0, 0.0, 0.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(course("output").means.iter().sum::<f64>(), 2e6);
    }

    #[test]
    fn what_is_beyond_the_limit_is_counted_and_bins_grow() {
        let mut recorder = Recorder::new(10);
        let at = |index: u64| Time(index * 1_000_000_000);
        for request in 0..10_000 {
            recorder.see(at(request), request, Happening::Arrived { prompt: 1, output: 1 });
            recorder.see(at(request + 1), request, Happening::Admitted { cached: 0 });
            recorder.see(at(request + 1), request, Happening::Finished);
            recorder.levels(at(request + 1), Levels { room: 2, ..Levels::default() });
        }
        let recording = recorder.finish(at(10_000));
        assert_eq!((recording.pieces.len(), recording.dropped), (10, 9_990));
        let room = &recording.courses[2].means;
        assert!(room.len() <= MOST_BINS && room.iter().skip(1).all(|mean| (mean - 2.0).abs() < 1e-9));
    }
}
