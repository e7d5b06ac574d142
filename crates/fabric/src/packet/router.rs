//! One router: five input queues, five outputs, and what its arbitration remembers.
//!
//! BookSim2's input-queued router allocates twice for each packet: an output virtual channel, then the switch, both
//! with iSLIP (one iteration), the second speculatively in the same cycle (`speculative = 1`, `spec_check_elig`,
//! `spec_check_cred`). With one virtual channel, one output per packet and single-flit packets this comes to, per
//! output:
//!
//! * unheld: of the inputs whose head wants the output, the first at or after the round-robin pointer becomes the
//!   holder, and the pointer moves behind it. This happens without credit too;
//! * held: if there is a credit, the holder's packet leaves in this cycle and the output is unheld again; if not, it
//!   waits, and no other input can overtake it.
//!
//! The pointers of the two allocators are always equal: whoever is granted the channel is the only one who can ask for
//! the switch until he has it. `tests/reference` runs both allocators in full and must agree in every cycle.
//!
//! Ports are numbered as in BookSim2's `kncube.cpp`, since arbitration goes round in this order: 0 east, 1 west, 2
//! south (next row), 3 north, 4 the node itself. Input port p is fed by the neighbour in direction p.

use super::coordinate::Place;
use super::waiting::NONE;

/// Ports of a router, in and out.
pub(crate) const PORTS: usize = 5;
/// The port of the node itself: injection and ejection.
pub(crate) const LOCAL: usize = 4;
/// All inputs.
pub(crate) const ALL: u8 = 0b11111;

/// A flit, which is a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Packet {
    /// Where it goes.
    pub(crate) destination: Place,
    /// The cycle in which it was created, before it waited in its source.
    pub(crate) created: u32,
    /// Whatever its source wants to know again when it arrives.
    pub(crate) tag: u32,
}

impl Packet {
    /// What is in an empty slot.
    pub(crate) const NOTHING: Self = Self { destination: Place { column: 0, row: 0 }, created: 0, tag: 0 };
}

/// What the arbiter of one output remembers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Inputs whose head wants this output.
    pub(crate) requests: u8,
    /// Inputs that may have it: all of them, or only its holder.
    pub(crate) eligible: u8,
    /// Where the next round of arbitration begins.
    pub(crate) pointer: u8,
    /// Free slots downstream.
    pub(crate) credits: u8,
}

/// A router. 128 bytes: one cache line for arbitration and one for the heads of the queues. An idle router needs no
/// more.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct Router {
    /// Arbitration, per output.
    pub(crate) outputs: [Output; PORTS],
    /// Last slot of the packets behind the head, per input.
    pub(crate) waiting: [u32; PORTS],
    /// Packets that came from the east, west, south, north and were counted.
    pub(crate) link_flits: [u32; LOCAL],
    /// Where it is.
    pub(crate) place: Place,
    /// Inputs that have a head.
    pub(crate) occupied: u8,
    /// First packet of each input queue; valid where `occupied`.
    pub(crate) heads: [Packet; PORTS],
}

impl Router {
    pub(crate) const fn new(place: Place, queue: u8) -> Self {
        Self {
            outputs: [Output { requests: 0, eligible: ALL, pointer: 0, credits: queue }; PORTS],
            waiting: [NONE; PORTS],
            link_flits: [0; LOCAL],
            place,
            occupied: 0,
            heads: [Packet::NOTHING; PORTS],
        }
    }
}

/// The name of a port.
pub(crate) const fn port_name(port: usize) -> &'static str {
    match port {
        0 => "east",
        1 => "west",
        2 => "south",
        3 => "north",
        _ => "local",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_two_cache_lines() {
        assert_eq!((size_of::<Router>(), std::mem::offset_of!(Router, heads)), (128, 64));
    }
}
