//! What comes out of a run, and how each number is defined.

use serde::Serialize;

use super::coordinate::MeshSize;
use super::router::LOCAL;

/// What a run under a traffic pattern measured. Packets are measured if they are created in the window (for a source
/// that has fallen behind: if it gets to create them then, as BookSim2 counts).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TrafficReport {
    /// Mean latency of measured packets in cycles, from creation to arrival, the wait in the source included. Where the
    /// network is saturated: of those that arrived, and it grows with the length of the run.
    pub mean_latency: f64,
    /// Half of the measured packets took no longer, in cycles (exact below 4,096).
    pub p50_latency: u64,
    /// 99 of 100 measured packets took no longer, in cycles (exact below 4,096).
    pub p99_latency: u64,
    /// Mean number of routers that measured packets passed: Manhattan distance + 1.
    pub mean_hops: f64,
    /// Packets that arrived in the window, measured or not, per node and cycle.
    pub accepted: f64,
    /// Packets that sources were asked to create per node and cycle: the rate.
    pub offered: f64,
    /// How busy the links were in the window.
    pub link_use: LinkUses,
    /// Measured packets that arrived.
    pub packets: u64,
    /// Cycles that were simulated: warm-up, window and drain.
    pub cycles: u64,
    /// Routers x cycles.
    pub router_cycles: u64,
    /// Routers passed by packets in the whole run, measured or not, the last one included.
    pub flit_hops: u64,
    /// Whether some source could not get rid of what it was asked to send: at the end of the window it was behind the
    /// clock by more than 5 % of the cycles so far, or it was not possible to deliver all measured packets. Within one
    /// per cent of saturation this depends on the seed and on the window.
    pub saturated: bool,
}

/// Link use per direction.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LinkUses {
    /// Links to the next column.
    pub east: LinkUse,
    /// Links to the column before.
    pub west: LinkUse,
    /// Links to the next row.
    pub south: LinkUse,
    /// Links to the row before.
    pub north: LinkUse,
}

/// How busy the links of one direction are: packets per link and cycle, 0 to 1. Zero where the mesh has no such link.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct LinkUse {
    /// Mean over the links.
    pub mean: f64,
    /// The busiest link.
    pub max: f64,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Cycles simulated so far.
    pub cycle: u64,
    /// Cycles to simulate, as far as is known: the drain is not. 0 where nothing is known.
    pub expected: u64,
    /// Packets in the network.
    pub in_flight: u64,
    /// Packets that have arrived.
    pub delivered: u64,
}

impl LinkUses {
    /// From what came over the links from the east, west, south and north of every router.
    pub(crate) fn of(size: MeshSize, flits: impl Iterator<Item = [u32; LOCAL]>, cycles: u64) -> Self {
        let mut sums = [0_u64; LOCAL];
        let mut most = [0_u32; LOCAL];
        for router in flits {
            for direction in 0..LOCAL {
                sums[direction] += u64::from(router[direction]);
                most[direction] = most[direction].max(router[direction]);
            }
        }
        let along_rows = u64::from(size.columns() - 1) * u64::from(size.rows());
        let along_columns = u64::from(size.rows() - 1) * u64::from(size.columns());
        let cycles = cycles.max(1) as f64;
        let of = |direction: usize, links: u64| LinkUse {
            mean: sums[direction] as f64 / (links.max(1) as f64 * cycles),
            max: f64::from(most[direction]) / cycles,
        };
        // What comes from the west went east.
        Self {
            east: of(1, along_rows),
            west: of(0, along_rows),
            south: of(3, along_columns),
            north: of(2, along_columns),
        }
    }
}
