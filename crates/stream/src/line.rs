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
//!
//! A pass that meets nobody need not visit the stations: it leaves each of them as its times say, after it entered. So
//! the line knows of its last pass when it entered and the number of its times, as long as passes meet nobody, and what
//! must lie between two passes with such times: the longest, over all stations, by which the first leaves one later
//! after its entry than the second comes there. Stations are looked at again when a pass comes sooner.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::costs::{PassTimes, StationKind, Table};
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
    /// The last pass, where it met nobody: stations are as it leaves them, whatever `free` and `last` say.
    alone: Option<Alone>,
    /// Times that were seen, by their number, with the passes that `busy` does not know.
    known: Vec<Option<(Arc<Known>, u64)>>,
    /// Time that must lie between the entries of a pass with the first times and one with the second.
    apart: FxHashMap<(Table, Table), u64>,
}

/// A pass that met nobody.
#[derive(Debug, Clone, Copy)]
struct Alone {
    entered: u64,
    kind: Kind,
    table: Table,
}

/// What a pass with certain times does that meets nobody, counted from its entry.
#[derive(Debug)]
struct Known {
    /// When it comes to each station.
    comes: Vec<u64>,
    /// When it leaves it to the next.
    leaves: Vec<u64>,
    occupancy: Vec<u64>,
    /// When it is through.
    through: u64,
}

impl Known {
    fn of(times: &PassTimes) -> Self {
        let mut at = 0_u64;
        let (mut comes, mut leaves) = (Vec::new(), Vec::new());
        for (transit, occupancy) in times.transit.iter().zip(&times.occupancy) {
            comes.push(at);
            leaves.push(at.saturating_add(*occupancy));
            at = at.saturating_add(*transit);
        }
        Self { comes, leaves, occupancy: times.occupancy.clone(), through: at.saturating_add(times.tail) }
    }

    /// The time after whose entry `next` meets nobody.
    fn apart(&self, next: &Self) -> u64 {
        let later = self.leaves.iter().zip(&next.comes).map(|(leaves, comes)| leaves.saturating_sub(*comes));
        later.max().unwrap_or(0)
    }
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
            alone: None,
            known: Vec::new(),
            apart: FxHashMap::default(),
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
        self.passes += 1;
        self.entry_free = now.0.saturating_add(times.slowest);
        if kind == Kind::Prefill {
            self.held += self.hold.1 - self.hold.0;
            self.hold = (now.0, self.entry_free);
        }
        match times.table.and_then(|table| self.pass_alone(now, kind, table)) {
            Some(through) => (through, Waits::default()),
            None => self.visit(now, kind, times),
        }
    }

    /// When a pass is through that meets nobody; nothing where it does, or where that is not known.
    fn pass_alone(&mut self, now: Time, kind: Kind, table: Table) -> Option<Time> {
        let before = self.alone?;
        let of = |known: &[Option<(Arc<Known>, u64)>], table: Table| {
            known.get(table.0 as usize).and_then(|known| known.as_ref().map(|(known, _)| Arc::clone(known)))
        };
        let apart = match self.apart.get(&(before.table, table)) {
            Some(apart) => *apart,
            None => {
                let apart = of(&self.known, before.table)?.apart(&*of(&self.known, table)?);
                self.apart.insert((before.table, table), apart);
                apart
            }
        };
        if now.0.saturating_sub(before.entered) < apart {
            return None;
        }
        let (known, passes) = self.known.get_mut(table.0 as usize)?.as_mut()?;
        *passes += 1;
        self.alone = Some(Alone { entered: now.0, kind, table });
        Some(Time(now.0.saturating_add(known.through)))
    }

    /// Writes down what passes that met nobody have left.
    fn settle(&mut self) {
        let Some(Alone { entered, kind, table }) = self.alone.take() else { return };
        let Some(Some((known, _))) = self.known.get(table.0 as usize) else { return };
        for (free, leaves) in self.free.iter_mut().zip(&known.leaves) {
            *free = entered.saturating_add(*leaves);
        }
        self.last.fill(kind);
    }

    /// Time for which each station was booked so far.
    fn booked(&self) -> Vec<u64> {
        let mut booked = self.busy.clone();
        for (known, passes) in self.known.iter().flatten().filter(|(_, passes)| *passes > 0) {
            for (busy, occupancy) in booked.iter_mut().zip(&known.occupancy) {
                *busy = busy.saturating_add(occupancy.saturating_mul(*passes));
            }
        }
        booked
    }

    /// Sends a pass from station to station.
    fn visit(&mut self, now: Time, kind: Kind, times: &PassTimes) -> (Time, Waits) {
        self.settle();
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
        if let Some(table) = times.table.filter(|_| waits == Waits::default()) {
            let place = table.0 as usize;
            if self.known.len() <= place {
                self.known.resize(place + 1, None);
            }
            if let Some(known @ None) = self.known.get_mut(place) {
                *known = Some((Arc::new(Known::of(times)), 0));
            }
            self.alone = Some(Alone { entered: now.0, kind, table });
        }
        (Time(at.saturating_add(times.tail)), waits)
    }

    /// All that is in the line is lost at `now`, and the line is empty.
    pub fn stop(&mut self, now: Time) {
        self.busy = self.booked();
        self.known.iter_mut().flatten().for_each(|(_, passes)| *passes = 0);
        self.settle();
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
        let less = |(busy, free): (u64, u64)| busy.saturating_sub(free.saturating_sub(now.0));
        let booked = self.booked().into_iter();
        let alone = self.alone.and_then(|alone| {
            let (known, _) = self.known.get(alone.table.0 as usize)?.as_ref()?;
            Some((alone.entered, known))
        });
        match alone {
            Some((entered, known)) => {
                booked.zip(known.leaves.iter().map(|leaves| entered.saturating_add(*leaves))).map(less).collect()
            }
            None => booked.zip(self.free.iter().copied()).map(less).collect(),
        }
    }
}
