//! The pipeline at work: when each station is free, and what a pass meets on its way.
//!
//! Every station takes passes in the order in which they come, and there is one way through the line; so the order at
//! the entry is the order everywhere, and the whole way of a pass is known when it enters: at each station it starts
//! when it has arrived and the station is free (Lindley's recursion). No event is needed between entry and exit.
//! [`crate::stepwise`] does the same with an event for each station; tests hold the two together.
//!
//! A pass is let in when the slowest station of the pass before it would take the next one. Sooner would only move its
//! waiting from the entry, where the policy may still choose who goes first and users can join a micro-batch, into the
//! line.

use crate::costs::{PassTimes, StationKind};
use crate::time::Time;

/// What a pass carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Decoding tokens.
    Decode,
    /// A chunk of a prompt.
    Prefill,
}

/// Time lost on the way through the line, by what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waits {
    /// A slot that was busy with decoding tokens.
    pub stage: u64,
    /// A station that was busy with a chunk of a prompt.
    pub prefill: u64,
    /// A link that was busy with decoding tokens.
    pub link: u64,
}

impl Waits {
    /// In all.
    pub const fn sum(&self) -> u64 {
        self.stage + self.prefill + self.link
    }
}

/// The stations.
#[derive(Debug, Clone)]
pub struct Line {
    is_link: Vec<bool>,
    free: Vec<u64>,
    last: Vec<Kind>,
    busy: Vec<u64>,
    entry_free: u64,
    /// Time that the entry was held by chunks of prompts, up to the start of the last such hold.
    held: u64,
    hold: (u64, u64),
    /// Passes that went in.
    passes: u64,
}

impl Line {
    /// An idle line.
    pub fn new(stations: &[StationKind]) -> Self {
        let count = stations.len();
        Self {
            is_link: stations.iter().map(|station| station.is_link()).collect(),
            free: vec![0; count],
            last: vec![Kind::Decode; count],
            busy: vec![0; count],
            entry_free: 0,
            held: 0,
            hold: (0, 0),
            passes: 0,
        }
    }

    /// When the next pass may enter.
    pub const fn entry_free(&self) -> Time {
        Time(self.entry_free)
    }

    /// Passes that went in, ever.
    pub const fn passes(&self) -> u64 {
        self.passes
    }

    /// Sends a pass in at `now`, which is not before [`Line::entry_free`]. Returns when it is through, and what it
    /// waited for.
    pub fn enter(&mut self, now: Time, kind: Kind, times: &PassTimes) -> (Time, Waits) {
        let mut waits = Waits::default();
        let mut at = now.0;
        let stations = self.free.iter_mut().zip(&mut self.last).zip(&mut self.busy).zip(&self.is_link);
        let times_here = times.transit.iter().zip(&times.occupancy);
        for ((((free, last), busy), is_link), (transit, occupancy)) in stations.zip(times_here) {
            let start = at.max(*free);
            if start > at {
                let waited = start - at;
                match (*last, is_link) {
                    (Kind::Prefill, _) => waits.prefill += waited,
                    (Kind::Decode, true) => waits.link += waited,
                    (Kind::Decode, false) => waits.stage += waited,
                }
            }
            *last = kind;
            *busy = busy.saturating_add(*occupancy);
            *free = start.saturating_add(*occupancy);
            at = start.saturating_add(*transit);
        }
        self.passes += 1;
        self.entry_free = now.0.saturating_add(times.slowest);
        if kind == Kind::Prefill {
            self.held += self.hold.1 - self.hold.0;
            self.hold = (now.0, self.entry_free);
        }
        (Time(at.saturating_add(times.tail)), waits)
    }

    /// All that is in the line is lost at `now`, and the line is empty.
    pub fn stop(&mut self, now: Time) {
        for (busy, free) in self.busy.iter_mut().zip(&mut self.free) {
            *busy = busy.saturating_sub(free.saturating_sub(now.0));
            *free = (*free).min(now.0);
        }
        self.held = self.held_by_prefill(now);
        self.hold = (now.0, now.0);
        self.entry_free = self.entry_free.min(now.0);
    }

    /// For how long the entry has been held by chunks of prompts, up to `now`.
    pub fn held_by_prefill(&self, now: Time) -> u64 {
        self.held + now.0.clamp(self.hold.0, self.hold.1) - self.hold.0
    }

    /// Busy time of each station that was booked so far, less what lies after `now`.
    pub fn busy(&self, now: Time) -> Vec<u64> {
        self.busy.iter().zip(&self.free).map(|(busy, free)| busy.saturating_sub(free.saturating_sub(now.0))).collect()
    }
}
