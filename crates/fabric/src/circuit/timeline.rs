//! What a recorded run keeps of its time: tracks with slices, and counters. For timelines and pictures; plain data.
//!
//! On a mesh of up to 16 x 16 every processing element has a track; on larger ones every row has, which shows the
//! element of the row that was last through with each step (a row is as far as its slowest element). Slices of a track
//! never overlap.

use super::timing::Tick;

/// What is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Slices that are kept at most, in the order of the program; the others are counted.
    pub slices: usize,
    /// Bins of time of each counter, at most.
    pub bins: u32,
}

impl Default for Record {
    /// 100,000 slices (about 2 MB in a file) and 1,000 bins.
    fn default() -> Self {
        Self { slices: 100_000, bins: 1_000 }
    }
}

/// Whose slices they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// `PE 3,4` (column, row on the wafer) or `row 12`.
    pub name: String,
    /// Column and row on the wafer of the processing element, or of the first one of the row.
    pub place: (u64, u64),
}

/// What a core does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SliceKind {
    /// Vector work.
    Work,
    /// From the first wavelet that it sends or takes in a step until its next step may begin.
    Transfer,
    /// It is ready for the step's first wavelet, which has not come or cannot leave; or it waits for its neighbours.
    Stall,
}

/// A piece of time of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Index of the track.
    pub track: u32,
    /// Index of the operator in [`super::Outcome::operators`].
    pub operator: u32,
    /// What happens.
    pub kind: SliceKind,
    /// When it begins.
    pub start: Tick,
    /// When it ends; later than it begins.
    pub end: Tick,
}

/// A number over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Counter {
    /// What is counted.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Beginning of each bin, and the value of the bin: a mean, for the deepest queue the largest, for wavelets in
    /// flight the number at the bin's end.
    pub samples: Vec<(Tick, f64)>,
}

/// A run over time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timeline {
    /// Tracks, by row and column.
    pub tracks: Vec<Track>,
    /// Slices, by place of their step in the schedule, then by track, then by time.
    pub slices: Vec<Slice>,
    /// `link use` (0 to 1: wavelets times their time on a link, over all links of the mesh), `deepest queue`
    /// (wavelets), `wavelets in flight` (copies that are sent and not yet taken), `busy PEs` (cores with vector work).
    pub counters: Vec<Counter>,
    /// What was not kept: slices beyond the limit, and one for each track and step after them.
    pub dropped: u64,
}
