//! The machine that packet mode simulates: size, queue depth and latencies. It does not change while it runs.
//!
//! Timing, in cycles, with H = Manhattan distance + 1 routers on the way and N = [`PacketMesh::router_cycles`]:
//!
//! * a packet that its source sends at cycle t is at the head of its router's input queue at t + 2;
//! * a packet that wins its output at t is at the head of the next router's input queue at t + N (BookSim2's
//!   speculative router: allocation, switch traversal and the link, N = 3), or in its sink at t + N, so that a packet
//!   alone takes N x H + 2;
//! * the slot that it leaves in a queue at t can be used again by the router upstream at t + 3 (credit channel,
//!   receiver, `credit_delay` of 1), by the source at t + 2; a sink gives its slot back when the packet arrives. A
//!   link therefore carries at most queue / (N + 3) packets a cycle, and an injection port queue / 4.
//!
//! Source: `iq_router.cpp`, `channel.hpp` and `trafficmanager.cpp` of BookSim2. The rows of `booksim2.csv` come out to
//! the last printed digit with these numbers. Those of links and sources are fixed by the rows (8 x 8, transpose, queue
//! 4, rate 0.12 accepts 0.1132; a `credit_delay` of 0 would make it 0.1190, of 2 0.1060; one cycle more to the source
//! moves the row of rate 0.35); that of sinks is read off the source only: no row has a sink short of credits.

use serde::Serialize;

use super::coordinate::MeshSize;
use super::error::TrafficError;

/// From a source to the head of its router's input queue, in cycles.
pub const INJECTION_CYCLES: u32 = 2;
/// From leaving a queue to the router upstream being able to use the slot, in cycles.
pub const CREDIT_CYCLES: u32 = 3;
/// From leaving an injection queue to the source being able to use the slot, in cycles.
pub const SOURCE_CREDIT_CYCLES: u32 = 2;
/// Deepest queue, in flits: credits are counted in a byte.
pub const DEEPEST_QUEUE: u32 = 255;
/// Slowest router, in cycles a hop.
pub const SLOWEST_ROUTER: u32 = 64;

/// A mesh of packet routers, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PacketMesh {
    size: MeshSize,
    queue: u32,
    router_cycles: u32,
}

impl PacketMesh {
    /// A mesh whose input queues hold `queue` flits and whose hops take `router_cycles`.
    pub fn new(size: MeshSize, queue: u32, router_cycles: u32) -> Result<Self, TrafficError> {
        if !(1..=DEEPEST_QUEUE).contains(&queue) {
            return Err(TrafficError::Range { field: "queue", value: queue.to_string(), allowed: "1 to 255 flits" });
        }
        if !(1..=SLOWEST_ROUTER).contains(&router_cycles) {
            let value = router_cycles.to_string();
            return Err(TrafficError::Range { field: "router_cycles", value, allowed: "1 to 64 cycles a hop" });
        }
        Ok(Self { size, queue, router_cycles })
    }

    /// Columns and rows.
    pub const fn size(&self) -> MeshSize {
        self.size
    }

    /// Flits that an input queue holds.
    pub const fn queue(&self) -> u32 {
        self.queue
    }

    /// Cycles from winning an output to being at the head of the next queue: router and link.
    pub const fn router_cycles(&self) -> u32 {
        self.router_cycles
    }

    /// Latency in cycles of a packet that meets no other, over `hops` routers.
    pub const fn zero_load_latency(&self, hops: u32) -> u64 {
        self.router_cycles as u64 * hops as u64 + INJECTION_CYCLES as u64
    }

    /// Packets a cycle that one link can carry: at most 1, less where the queue is shorter than the credit round trip.
    pub fn link_capacity(&self) -> f64 {
        (f64::from(self.queue) / f64::from(self.router_cycles + CREDIT_CYCLES)).min(1.0)
    }
}
