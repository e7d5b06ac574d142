//! What a pass takes at each station: the interface between the engine and the closed form.
//!
//! A decoding user stands on a *step* of the context: between two steps nothing changes. A micro-batch of users on
//! different steps is read between the two steps around their mean, linearly; a micro-batch of users on one step is
//! exact.

use crate::time::Time;

/// What kind of thing a station is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StationKind {
    /// A slot of the pipeline, with its wafer.
    Slot {
        /// Index of the slot.
        slot: u32,
        /// Wafer, from 0.
        wafer: u32,
    },
    /// The link from a wafer to the next.
    Link {
        /// The wafer that sends.
        wafer: u32,
    },
    /// The way of chosen tokens back to the first wafer.
    Return,
}

impl StationKind {
    /// Whether it is a link and no slot.
    pub const fn is_link(self) -> bool {
        !matches!(self, Self::Slot { .. })
    }
}

/// Times of one pass, in picoseconds by station.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PassTimes {
    /// Until the pass is at the next station.
    pub transit: Vec<u64>,
    /// Until the station takes the next pass.
    pub occupancy: Vec<u64>,
    /// From the last station to the end.
    pub tail: u64,
    /// The longest occupancy.
    pub slowest: u64,
    /// The same number, the same times: so that a line need not look at every station. Nothing for times that are made
    /// for one pass.
    pub table: Option<Table>,
}

/// The number of times that are kept, from 0, of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table(pub u32);

impl PassTimes {
    /// Times from (transit, occupancy) of each station.
    pub fn new(stations: &[(u64, u64)], tail: u64) -> Self {
        Self {
            transit: stations.iter().map(|(transit, _)| *transit).collect(),
            occupancy: stations.iter().map(|(_, occupancy)| *occupancy).collect(),
            tail,
            slowest: stations.iter().map(|(_, occupancy)| *occupancy).max().unwrap_or(0),
            table: None,
        }
    }

    /// The same with a number.
    #[must_use]
    pub const fn numbered(mut self, number: u32) -> Self {
        self.table = Some(Table(number));
        self
    }

    /// One pass through an empty pipeline.
    pub fn latency(&self) -> Time {
        Time(self.transit.iter().fold(self.tail, |sum, transit| sum.saturating_add(*transit)))
    }

    /// Each station takes so much longer, or shorter, in transit and occupancy.
    pub fn lengthen(&mut self, longer: &[i64]) {
        for times in [&mut self.transit, &mut self.occupancy] {
            for (time, longer) in times.iter_mut().zip(longer) {
                *time = time.saturating_add_signed(*longer);
            }
        }
        self.slowest = self.occupancy.iter().copied().max().unwrap_or(0);
        self.table = None;
    }

    /// Makes this the times `part / whole` of the way from `low` to `high`.
    pub fn set_between(&mut self, low: &Self, high: &Self, part: u64, whole: u64) {
        // 16 binary digits of the way are enough: a thousandth of a step's difference.
        let way = (part << 16).checked_div(whole).unwrap_or(0);
        let mix = |low: u64, high: u64| {
            let step = (high.abs_diff(low) * way) >> 16;
            if high >= low { low + step } else { low - step }
        };
        let mixed = |out: &mut Vec<u64>, low: &[u64], high: &[u64]| {
            out.clear();
            out.extend(low.iter().zip(high).map(|(low, high)| mix(*low, *high)));
        };
        mixed(&mut self.transit, &low.transit, &high.transit);
        mixed(&mut self.occupancy, &low.occupancy, &high.occupancy);
        self.tail = mix(low.tail, high.tail);
        self.slowest = self.occupancy.iter().copied().max().unwrap_or(0);
        self.table = None;
    }
}

/// What a draft takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DraftTime {
    /// Until its last token is proposed.
    pub latency: Time,
    /// Until whoever drafts takes the next user's; 0 where nothing is known of where drafts are made.
    pub occupancy: Time,
}

/// How a prompt is worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Way {
    /// By the prefill kernels: a chunk's tokens go through together.
    #[default]
    Chunks,
    /// Token by token through the decode kernels.
    Trains,
}

/// Where times come from.
pub trait Costs {
    /// Stations in the order of a pass.
    fn stations(&self) -> &[StationKind];

    /// The step of the context that a decoding token with `context` tokens in sight stands on.
    fn step_of(&self, context: u32) -> u32;

    /// One pass of a micro-batch of `users` users whose steps add up to `steps`: a token of each, or a draft of each
    /// where drafts are verified in one pass.
    fn decode(&mut self, users: u32, steps: u64) -> &PassTimes;

    /// How to work off the tokens of a prompt from `before` to `target`, in chunks of at most `chunk`: decided once for
    /// a prompt, since short and long passes in turn would wait for each other.
    fn way(&mut self, before: u32, target: u32, chunk: u32) -> Way;

    /// A chunk of `tokens` tokens of a prompt after `before` tokens.
    fn prefill(&mut self, tokens: u32, before: u32, way: Way) -> &PassTimes;

    /// What a draft for one user on this step takes before it is verified.
    fn draft(&mut self, step: u32) -> DraftTime;
}

/// Times that are given and do not depend on the context: for laws and benches.
#[derive(Debug, Clone)]
pub struct GivenCosts {
    stations: Vec<StationKind>,
    base: Vec<(u64, u64)>,
    /// Added for each user beyond the first, and each token of a prompt, in parts of 1024 of the base.
    per_token: u64,
    scratch: PassTimes,
    /// Tokens that `scratch` is for.
    cached: u64,
}

impl GivenCosts {
    /// Stations with (transit, occupancy) in picoseconds. A micro-batch of n tokens takes `1 + (n - 1) per_token /
    /// 1024` times as long.
    pub fn new(stations: Vec<(StationKind, u64, u64)>, per_token: u64) -> Self {
        let base: Vec<(u64, u64)> = stations.iter().map(|(_, transit, occupancy)| (*transit, *occupancy)).collect();
        let scratch = PassTimes::new(&base, 0).numbered(1);
        let stations = stations.into_iter().map(|(kind, _, _)| kind).collect();
        Self { stations, base, per_token, scratch, cached: 1 }
    }

    /// So many slots on one wafer, each with the same time.
    pub fn even(slots: u32, time: u64, per_token: u64) -> Self {
        Self::new((0..slots).map(|slot| (StationKind::Slot { slot, wafer: 0 }, time, time)).collect(), per_token)
    }

    fn of(&mut self, tokens: u64) -> &PassTimes {
        if self.cached != tokens {
            let scale = tokens.saturating_sub(1).saturating_mul(self.per_token).saturating_add(1024);
            let scaled = |time: u64| time.saturating_mul(scale) / 1024;
            let scaled: Vec<(u64, u64)> =
                self.base.iter().map(|(transit, occupancy)| (scaled(*transit), scaled(*occupancy))).collect();
            self.scratch = PassTimes::new(&scaled, 0);
            self.scratch.table = u32::try_from(tokens).ok().map(Table);
            self.cached = tokens;
        }
        &self.scratch
    }
}

impl Costs for GivenCosts {
    fn stations(&self) -> &[StationKind] {
        &self.stations
    }

    fn step_of(&self, _context: u32) -> u32 {
        0
    }

    fn decode(&mut self, users: u32, _steps: u64) -> &PassTimes {
        self.of(u64::from(users))
    }

    fn way(&mut self, _before: u32, _target: u32, _chunk: u32) -> Way {
        Way::Chunks
    }

    fn prefill(&mut self, tokens: u32, _before: u32, _way: Way) -> &PassTimes {
        self.of(u64::from(tokens))
    }

    fn draft(&mut self, _step: u32) -> DraftTime {
        DraftTime::default()
    }
}
