//! The numbers of a wafer that the formulas need, as plain values, under a view.

use serde::Serialize;
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{DataType, Wafer};

/// How the machine is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// What kernels achieve, from measurements: for the profiles `published` and `best`.
    Achieved,
    /// Physics only: hops, wavelets, SIMD peak and SRAM bandwidth; software and set-up are free. For the profile
    /// `ideal`.
    Physics,
}

/// Whether a transfer that follows the core's own work is set up first: a structural guess that no measurement tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterWork {
    /// In the running task, or in one that a completion activates, whichever is quicker.
    #[default]
    SetUp,
    /// It is ready: a kernel has set it up beside the work before.
    Ready,
}

/// Rates of a wafer. Every time in it is smaller (every rate larger) in [`View::Physics`] than in [`View::Achieved`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "each field is the wafer parameter of its name, documented in wafersim_spec::wafer::parameters"
)]
pub struct Rates {
    pub hop: f64,
    pub wavelet: f64,
    pub ramp_out: f64,
    pub ramp_in: f64,
    pub completion: f64,
    pub combine: f64,
    pub route_change: f64,
    pub task: f64,
    pub setup: f64,
    pub latency: f64,
    pub copy_16: f64,
    pub copy_32: f64,
    pub fma_16: f64,
    pub fma_32: f64,
    pub add_16: f64,
    pub add_32: f64,
    pub convert: f64,
    pub map_issue: f64,
    pub map_column: f64,
    pub map_wave_16: f64,
    pub map_wave_32: f64,
    pub map_wave_mixed: f64,
    pub lanes_16: f64,
    pub lanes_32: f64,
    pub tile_column: f64,
    pub tile_issue: f64,
    pub tile_word: f64,
    pub scalar_reduce: f64,
    pub divide: f64,
    pub square_root: f64,
    pub exponential: f64,
    pub unfinished_exponential: f64,
    pub silu: f64,
    pub relay_word: f64,
    pub library_call: f64,
    pub library_reduce: f64,
    /// Not of the file: how transfers begin after work.
    #[serde(skip)]
    pub after_work: AfterWork,
}

impl Rates {
    /// The rates of a wafer in a rate set under a view.
    ///
    /// The physics view takes the vendor's peaks: a multiply-accumulate on all lanes every cycle (never more than the
    /// SRAM can read operands for: two reads of 2 bytes an element), copies and additions likewise, a cycle a hop or
    /// what the file says, and no software at all. Each value is kept at or below the achieved one, so that a file that
    /// gives a peak below an achieved rate cannot turn the order of the profiles round.
    pub fn new(wafer: &Wafer, set: RateSet, view: View) -> Self {
        let value = |key: Key| wafer.value(key, set);
        let achieved = Self {
            hop: value(Key::HopLatency),
            wavelet: value(Key::WaveletCost),
            ramp_out: value(Key::RampOut),
            ramp_in: value(Key::RampIn),
            completion: value(Key::Completion),
            combine: value(Key::CombineLatency),
            route_change: value(Key::RouteChange),
            task: value(Key::TaskActivation),
            setup: value(Key::VectorSetup),
            latency: value(Key::VectorLatency),
            copy_16: value(Key::Copy16),
            copy_32: value(Key::Copy32),
            fma_16: value(Key::Fma16),
            fma_32: value(Key::Fma32),
            add_16: value(Key::Add16),
            add_32: value(Key::Add32),
            convert: value(Key::Convert),
            map_issue: value(Key::MapIssue),
            map_column: value(Key::MapColumn),
            map_wave_16: value(Key::MapWave16),
            map_wave_32: value(Key::MapWave32),
            map_wave_mixed: value(Key::MapWaveMixed),
            lanes_16: value(Key::Lanes16),
            lanes_32: value(Key::Lanes32),
            tile_column: value(Key::TileColumn),
            tile_issue: value(Key::TileIssue),
            tile_word: value(Key::TileWord),
            scalar_reduce: value(Key::ScalarReduce),
            divide: value(Key::ScalarDivide),
            square_root: value(Key::ScalarSquareRoot),
            exponential: value(Key::Exponential),
            unfinished_exponential: value(Key::UnfinishedExponential),
            silu: value(Key::Silu),
            relay_word: value(Key::RelayWord),
            library_call: value(Key::LibraryCall),
            library_reduce: value(Key::LibraryReduce),
            after_work: AfterWork::SetUp,
        };
        match view {
            View::Achieved => achieved,
            View::Physics => {
                let reads = value(Key::ReadBytes);
                // Elements a cycle that SRAM can feed: two operands of 2 (4) bytes each; a copy reads one.
                let peak_16 = value(Key::Peak16).min(reads / 4.0);
                let peak_32 = value(Key::Peak32).min(reads / 8.0);
                let wave = |lanes: f64, peak: f64, achieved: f64| (lanes / peak).min(achieved);
                Self {
                    ramp_out: 0.0,
                    ramp_in: 0.0,
                    completion: 0.0,
                    combine: 0.0,
                    route_change: 0.0,
                    task: 0.0,
                    setup: 0.0,
                    latency: 0.0,
                    copy_16: achieved.copy_16.max(reads / 2.0),
                    copy_32: achieved.copy_32.max(reads / 4.0),
                    fma_16: achieved.fma_16.max(peak_16),
                    fma_32: achieved.fma_32.max(peak_32),
                    add_16: achieved.add_16.max(peak_16),
                    add_32: achieved.add_32.max(peak_32),
                    convert: achieved.convert.max(value(Key::ConvertPeak)),
                    map_issue: 0.0,
                    map_column: achieved.map_column.min(0.0),
                    map_wave_16: wave(achieved.lanes_16, peak_16, achieved.map_wave_16),
                    map_wave_32: wave(achieved.lanes_32, peak_32, achieved.map_wave_32),
                    map_wave_mixed: wave(achieved.lanes_16, peak_16 / 2.0, achieved.map_wave_mixed),
                    tile_column: 0.0,
                    tile_issue: 0.0,
                    tile_word: wave(4.0, peak_16, achieved.tile_word),
                    scalar_reduce: (1.0 / peak_16).min(achieved.scalar_reduce),
                    divide: achieved.divide.min(1.0),
                    square_root: achieved.square_root.min(1.0),
                    // At least a multiply, an add and a shift per element.
                    exponential: (3.0 / peak_16).min(achieved.exponential),
                    unfinished_exponential: (3.0 / peak_16).min(achieved.unfinished_exponential),
                    silu: (4.0 / peak_16).min(achieved.silu),
                    relay_word: achieved.wavelet.min(achieved.relay_word),
                    library_call: 0.0,
                    library_reduce: 0.0,
                    ..achieved
                }
            }
        }
    }

    /// From the dispatch of a send to the first operation after the last wavelet has landed, without hops and payload.
    /// On WSE-3: 7 + 3 + 3 + 27 = 40 cycles, measured end to end.
    pub fn message(&self) -> f64 {
        self.ramp_out + self.ramp_in + self.completion + self.task
    }

    /// What each member of a streaming chain adds to the way of a wavelet: both ramps and the combining operation.
    pub fn stage(&self, data_type: DataType) -> f64 {
        self.ramp_out + self.ramp_in + self.combine_of(data_type)
    }

    /// What combining adds to a wavelet: twice as much for a 32-bit value as for 16-bit ones.
    pub fn combine_of(&self, data_type: DataType) -> f64 {
        if data_type.bits() > 16 { 2.0 * self.combine } else { self.combine }
    }
}
