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
//! after its entry than the second comes there. Stations are looked at again when a pass comes sooner. Times between two
//! tables are between theirs in all of this, so that what lies between the four tables of two such passes is enough.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::costs::{Between, Pass, PassTimes, Share, StationKind, Table};
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
    /// Passes between two tables that `busy` does not know.
    mixed: FxHashMap<(Table, Table), Mixed>,
    /// Room for times between two tables.
    scratch: PassTimes,
}

/// A pass that met nobody.
#[derive(Debug, Clone, Copy)]
struct Alone {
    entered: u64,
    kind: Kind,
    numbers: Numbers,
}

/// The tables of a pass: both ends of the way on which it lies, and how far.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    low: Table,
    high: Table,
    way: Share,
}

impl Numbers {
    /// Those of a pass whose times have numbers.
    fn of(pass: &Pass<'_>) -> Option<Self> {
        match pass {
            Pass::Of(times) => {
                let table = times.table?;
                Some(Self { low: table, high: table, way: Share::NONE })
            }
            Pass::Between(Between { low, high, way }) => Some(Self { low: low.table?, high: high.table?, way: *way }),
        }
    }

    fn is_one(&self) -> bool {
        self.low == self.high
    }

    /// Those that there are.
    fn ends(&self) -> impl Iterator<Item = Table> {
        std::iter::once(self.low).chain((!self.is_one()).then_some(self.high))
    }
}

/// Passes between two tables.
#[derive(Debug, Clone, Copy, Default)]
struct Mixed {
    passes: u64,
    /// The sum of how far they are on the way.
    ways: Share,
}

/// Pairs of tables for which the time between them is kept.
const MOST_APART: usize = 1 << 20;

/// What rounding of times between two tables comes to, in picoseconds: less than one for when a pass comes, and for
/// each of when it leaves.
const ROUNDED: u64 = 3;

/// What a pass with certain times does that meets nobody, counted from its entry.
#[derive(Debug)]
struct Known {
    /// When it comes to each station.
    comes: Vec<u64>,
    /// When it leaves it to the next.
    leaves: Vec<u64>,
    occupancy: Vec<u64>,
    /// When it leaves the last station, and what follows.
    end: u64,
    tail: u64,
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
        Self { comes, leaves, occupancy: times.occupancy.clone(), end: at, tail: times.tail }
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
            mixed: FxHashMap::default(),
            scratch: PassTimes::default(),
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
    pub fn enter<'t>(&mut self, now: Time, kind: Kind, times: impl Into<Pass<'t>>) -> (Time, Waits) {
        let pass = times.into();
        self.passes += 1;
        self.entry_free = now.0.saturating_add(pass.slowest());
        if kind == Kind::Prefill {
            self.held += self.hold.1 - self.hold.0;
            self.hold = (now.0, self.entry_free);
        }
        let numbers = Numbers::of(&pass);
        if let Some(through) = numbers.and_then(|numbers| self.pass_alone(now, kind, numbers)) {
            return (through, Waits::default());
        }
        let between = match pass {
            Pass::Of(times) => return self.visit(now, kind, times, numbers),
            Pass::Between(between) => between,
        };
        for times in [between.low, between.high] {
            self.know(times);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.set(pass);
        let passed = self.visit(now, kind, &scratch, numbers);
        self.scratch = scratch;
        passed
    }

    fn known(&self, table: Table) -> Option<&Known> {
        self.known.get(table.0 as usize)?.as_ref().map(|(known, _)| &**known)
    }

    /// Keeps times that have a number.
    fn know(&mut self, times: &PassTimes) {
        let Some(place) = times.table.map(|table| table.0 as usize) else { return };
        if self.known.len() <= place {
            self.known.resize(place + 1, None);
        }
        if let Some(known @ None) = self.known.get_mut(place) {
            *known = Some((Arc::new(Known::of(times)), 0));
        }
    }

    /// The time after whose entry another pass meets nobody; nothing where that is not known.
    fn apart(&mut self, before: Numbers, next: Numbers) -> Option<u64> {
        let mut longest = 0;
        for one in before.ends() {
            for other in next.ends() {
                let apart = match self.apart.get(&(one, other)) {
                    Some(apart) => *apart,
                    None => {
                        let apart = self.known(one)?.apart(self.known(other)?);
                        if self.apart.len() >= MOST_APART {
                            self.apart.clear();
                        }
                        self.apart.insert((one, other), apart);
                        apart
                    }
                };
                longest = longest.max(apart);
            }
        }
        Some(if before.is_one() && next.is_one() { longest } else { longest.saturating_add(ROUNDED) })
    }

    /// When a pass is through that meets nobody; nothing where it does, or where that is not known.
    fn pass_alone(&mut self, now: Time, kind: Kind, numbers: Numbers) -> Option<Time> {
        let before = self.alone?;
        if now.0.saturating_sub(before.entered) < self.apart(before.numbers, numbers)? {
            return None;
        }
        let Numbers { low, high, way } = numbers;
        let through = match numbers.is_one() {
            true => self.known(low).map(|known| known.end.saturating_add(known.tail))?,
            false => {
                let (low, high) = (self.known(low)?, self.known(high)?);
                way.mix(low.end, high.end).saturating_add(way.mix(low.tail, high.tail))
            }
        };
        self.book(numbers);
        self.alone = Some(Alone { entered: now.0, kind, numbers });
        Some(Time(now.0.saturating_add(through)))
    }

    /// Counts a pass whose tables are known.
    fn book(&mut self, Numbers { low, high, way }: Numbers) {
        if low != high {
            let mixed = self.mixed.entry((low, high)).or_default();
            mixed.passes += 1;
            mixed.ways = mixed.ways.and(way);
        } else if let Some(Some((_, passes))) = self.known.get_mut(low.0 as usize) {
            *passes += 1;
        }
    }

    /// When a pass leaves each station, counted from its entry.
    fn leaves(&self, Numbers { low, high, way }: Numbers) -> impl Iterator<Item = u64> {
        let of =
            |table: Table| self.known(table).into_iter().flat_map(|known| known.comes.iter().zip(&known.occupancy));
        of(low).zip(of(high)).map(move |((comes, occupancy), (comes_high, occupancy_high))| {
            way.mix(*comes, *comes_high).saturating_add(way.mix(*occupancy, *occupancy_high))
        })
    }

    /// Writes down what passes that met nobody have left.
    fn settle(&mut self) {
        let Some(Alone { entered, kind, numbers }) = self.alone.take() else { return };
        let mut free = std::mem::take(&mut self.free);
        for (free, leaves) in free.iter_mut().zip(self.leaves(numbers)) {
            *free = entered.saturating_add(leaves);
        }
        self.free = free;
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
        for ((low, high), Mixed { passes, ways }) in &self.mixed {
            let (Some(low), Some(high)) = (self.known(*low), self.known(*high)) else { continue };
            for (busy, (low, high)) in booked.iter_mut().zip(low.occupancy.iter().zip(&high.occupancy)) {
                *busy = busy.saturating_add(ways.sum(*passes, *low, *high));
            }
        }
        booked
    }

    /// Sends a pass from station to station.
    fn visit(&mut self, now: Time, kind: Kind, times: &PassTimes, numbers: Option<Numbers>) -> (Time, Waits) {
        self.settle();
        let is_mixed = numbers.filter(|numbers| !numbers.is_one());
        if let Some(numbers) = is_mixed {
            self.book(numbers);
        }
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
            if is_mixed.is_none() {
                *busy = busy.saturating_add(*occupancy);
            }
            *free = start.saturating_add(*occupancy);
            at = start.saturating_add(*transit);
        }
        if let Some(numbers) = numbers.filter(|_| waits == Waits::default()) {
            self.know(times);
            self.alone = Some(Alone { entered: now.0, kind, numbers });
        }
        (Time(at.saturating_add(times.tail)), waits)
    }

    /// All that is in the line is lost at `now`, and the line is empty.
    pub fn stop(&mut self, now: Time) {
        self.busy = self.booked();
        self.known.iter_mut().flatten().for_each(|(_, passes)| *passes = 0);
        self.mixed.clear();
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
        match self.alone {
            Some(Alone { entered, numbers, .. }) => {
                booked.zip(self.leaves(numbers).map(|leaves| entered.saturating_add(leaves))).map(less).collect()
            }
            None => booked.zip(self.free.iter().copied()).map(less).collect(),
        }
    }
}
