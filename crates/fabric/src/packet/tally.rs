//! What is counted while packets arrive.

use std::ops::Range;

use super::histogram::Histogram;
use super::router::Packet;

/// Tag of packets that are not measured. Those that are have the routers on their way there instead: at least 1.
pub(crate) const UNMEASURED: u32 = 0;

/// Counts of a run under a traffic pattern.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    /// Cycles in which arriving packets count as accepted.
    window: Range<u64>,
    /// Latencies of measured packets that have arrived.
    pub(crate) latencies: Histogram,
    /// Routers that those packets passed.
    pub(crate) hops: u64,
    /// Packets, measured or not, that arrived within the window.
    pub(crate) accepted: u64,
    /// The cycle in which the last packet arrived.
    pub(crate) last_arrival: u64,
}

impl Tally {
    pub(crate) fn new(window: Range<u64>) -> Self {
        Self { window, latencies: Histogram::default(), hops: 0, accepted: 0, last_arrival: 0 }
    }

    #[inline]
    pub(crate) fn deliver(&mut self, packet: Packet, cycle: u64) {
        self.accepted += u64::from(self.window.contains(&cycle));
        self.last_arrival = cycle;
        if packet.tag != UNMEASURED {
            self.latencies.add(u64::from((cycle as u32).wrapping_sub(packet.created)));
            self.hops += u64::from(packet.tag);
        }
    }
}
