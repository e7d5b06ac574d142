//! The times of a machine in ticks: what the engines count in.
//!
//! Read from the wafer file, whose parameters name their sources, and from nowhere else. A tick is 1/64
//! cycle: 1.125 cycles a wavelet are 72 ticks exactly; any other value of a file is rounded to the nearest 1/64 cycle.

use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{Cycles, DataType, Wafer};

/// A point in time or a duration, in ticks of 1/64 cycle.
pub type Tick = u64;

/// Ticks of a cycle.
pub const TICKS_PER_CYCLE: u64 = 64;

/// The nearest tick; negative and unbounded values become 0 and the largest time that the engines accept.
pub fn ticks(cycles: f64) -> Tick {
    /// About 4.5e12 cycles: more than an hour at 1.1 GHz, far from the end of 64 bits.
    const LONGEST: f64 = (1u64 << 48) as f64;
    if cycles.is_nan() { 0 } else { (cycles * TICKS_PER_CYCLE as f64).round().clamp(0.0, LONGEST) as Tick }
}

/// Ticks as cycles.
pub fn cycles(ticks: Tick) -> Cycles {
    Cycles(ticks as f64 / TICKS_PER_CYCLE as f64)
}

/// The times of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From leaving a router to landing in the queue of the next one; at least one tick.
    pub hop: Tick,
    /// From leaving a queue until the router before it may use the place again: the credit travels one hop.
    pub credit: Tick,
    /// Time that one wavelet occupies a link; at least one tick.
    pub wavelet: Tick,
    /// From dispatch in the core to the router's queue.
    pub ramp_out: Tick,
    /// From leaving the router to use in the core.
    pub ramp_in: Tick,
    /// What combining adds to a wavelet of 16-bit values; twice that for a 32-bit one.
    pub combine: Tick,
    /// From the last wavelet of an operation to the first operation of the task that its completion activates.
    pub completion: Tick,
    /// Activating one task.
    pub task: Tick,
    /// Set-up of a vector operation inside a running task.
    pub setup: Tick,
    /// Issue of a prepared operation inside a running task.
    pub issue: Tick,
    /// A word handled by software.
    pub relay_word: Tick,
    /// A call of the vendor's collectives library.
    pub library_call: Tick,
    /// What its reductions take beside the call.
    pub library_reduce: Tick,
    /// One change of routes.
    pub route_change: Tick,
    /// Words in the queue of a color in a router, per input from a neighbour.
    pub queue: u64,
    /// Words between core and router: the queue, and what the pipe through the core holds at full rate.
    pub core_queue: u64,
    /// Routable colors of a router.
    pub colors: u32,
}

impl Timing {
    /// Reads a wafer in a rate set.
    pub fn new(wafer: &Wafer, set: RateSet) -> Self {
        let value = |key: Key| ticks(wafer.value(key, set));
        let hop = value(Key::HopLatency).max(1);
        let wavelet = value(Key::WaveletCost).max(1);
        let (ramp_out, ramp_in, combine) = (value(Key::RampOut), value(Key::RampIn), value(Key::CombineLatency));
        let queue = wafer.value(Key::InputQueue, set).max(1.0) as u64;
        let pipe = ramp_in + 2 * combine + ramp_out + hop;
        Self {
            hop,
            credit: hop,
            wavelet,
            ramp_out,
            ramp_in,
            combine,
            completion: value(Key::Completion) + value(Key::TaskActivation),
            task: value(Key::TaskActivation),
            setup: value(Key::VectorSetup),
            issue: value(Key::MapIssue),
            relay_word: value(Key::RelayWord).max(wavelet),
            library_call: value(Key::LibraryCall),
            library_reduce: value(Key::LibraryReduce),
            route_change: value(Key::RouteChange),
            queue,
            core_queue: queue + pipe.div_ceil(wavelet),
            colors: wafer.value(Key::Colors, set) as u32,
        }
    }

    /// From dispatch to use of a message, without hops and payload, with completion: 40 cycles on WSE-3.
    pub fn message(&self) -> Tick {
        self.ramp_out + self.ramp_in + self.completion
    }

    /// What combining adds to a wavelet of a data type.
    pub fn combine_of(&self, data_type: DataType) -> Tick {
        if data_type.bits() > 16 { 2 * self.combine } else { self.combine }
    }

    /// Whether every queue between routers is deep enough for a stream at full rate: its words cover a hop and the
    /// credit's way back. True of both Cerebras machines; else streams are throttled by the round trip.
    pub fn queues_cover_hops(&self) -> bool {
        self.queue.saturating_mul(self.wavelet) >= self.hop + self.credit
    }
}
