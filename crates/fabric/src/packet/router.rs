//! One router: five input queues, five outputs, and what its arbitration remembers.
//!
//! BookSim2's input-queued router allocates twice for each packet: an output virtual channel, then the switch, both with
//! iSLIP (one iteration), the second speculatively in the same cycle (`speculative = 1`, `spec_check_elig`,
//! `spec_check_cred`). With one virtual channel, one output per packet and single-flit packets this comes to, per output:
//!
//! * unheld: of the inputs whose head wants the output, the first at or after the round-robin pointer becomes the
//!   holder, and the pointer moves behind it. This happens without credit too;
//! * held: if there is a credit, the holder's packet leaves in this cycle and the output is unheld again; if not, it
//!   waits, and no other input can overtake it.
//!
//! The pointers of the two allocators are always equal: whoever is granted the channel is the only one who can ask for the
//! switch until he has it. `tests/reference.rs` runs both allocators in full and must agree in every cycle.
//!
//! Ports are numbered as in BookSim2's `kncube.cpp`, since arbitration goes round in this order: 0 east, 1 west, 2 south
//! (next row), 3 north, 4 the node itself. Input port p is fed by the neighbour in direction p.

use super::waiting::NONE;

/// Ports of a router, in and out.
pub(crate) const PORTS: usize = 5;
/// The port of the node itself: injection and ejection.
pub(crate) const LOCAL: usize = 4;
/// All outputs.
pub(crate) const ALL: u8 = 0b11111;

/// Set in [`Packet::destination`] where the packet belongs to the measured window.
pub(crate) const MEASURED: u32 = 1 << 31;

/// A flit, which is a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Packed coordinate, and [`MEASURED`].
    pub(crate) destination: u32,
    /// The cycle in which it was created, before it waited in its source.
    pub(crate) created: u32,
    /// Packed coordinate of the source, or number of the message.
    pub(crate) tag: u32,
}

/// A router. 128 bytes: two cache lines, of which an idle router needs nothing else.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Router {
    /// First packet of each input queue; valid where one of its request bits is set.
    pub(crate) heads: [Packet; PORTS],
    /// Last slot of the packets behind the head, per input.
    pub(crate) waiting: [u32; PORTS],
    /// Packets sent east, west, south, north in the measured window.
    pub(crate) link_flits: [u32; LOCAL],
    /// Which head wants which output: see [`super::arbiter`].
    pub(crate) requests: u64,
    /// Packed coordinate.
    pub(crate) place: u32,
    /// Free slots downstream, per output.
    pub(crate) credits: [u8; PORTS],
    /// The input that has been given an output which has no credit.
    pub(crate) holder: [u8; PORTS],
    /// Where the next round of arbitration for an output begins.
    pub(crate) pointer: [u8; PORTS],
    /// Outputs that have a credit.
    pub(crate) ready: u8,
    /// Outputs that nobody holds.
    pub(crate) unheld: u8,
}

impl Router {
    pub(crate) const fn new(place: u32, queue: u8) -> Self {
        Self {
            heads: [Packet { destination: 0, created: 0, tag: 0 }; PORTS],
            waiting: [NONE; PORTS],
            link_flits: [0; LOCAL],
            requests: 0,
            place,
            credits: [queue; PORTS],
            holder: [0; PORTS],
            pointer: [0; PORTS],
            ready: ALL,
            unheld: ALL,
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
        assert_eq!(size_of::<Router>(), 128);
    }
}
