//! Sources that create packets at random: Bernoulli arrivals into queues without end.
//!
//! As BookSim2 does it (`TrafficManager::_Inject`), a source that cannot send does not draw: it falls behind, and draws
//! for the cycles it has missed when it can send again. The packets are then as old as if they had waited in a queue, and the
//! queue takes no memory however long it is. A source that is not behind draws once a cycle.

use super::coordinate::MeshSize;
use super::network::Network;
use super::pattern::Pattern;
use super::random::{Arrivals, Destinations};
use super::router::{MEASURED, Packet};
use super::worklist::Worklist;

/// No packet: coordinates take 24 bits.
const NOTHING: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Source {
    /// Destination of the packet that cannot be sent yet, or [`NOTHING`].
    destination: u32,
    /// The cycle in which that packet was created.
    created: u32,
    /// The next cycle for which to draw, where the source is behind.
    clock: u32,
}

/// All sources of a mesh.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    size: MeshSize,
    pattern: Pattern,
    arrivals: Arrivals,
    destinations: Destinations,
    sources: Vec<Source>,
    behind: Worklist,
    measured: u64,
}

impl Sources {
    pub(crate) fn new(size: MeshSize, pattern: Pattern, rate: f64, seed: u64) -> Self {
        let nodes = size.nodes() as usize;
        Self {
            size,
            pattern,
            arrivals: Arrivals::new(seed, rate),
            destinations: Destinations::new(seed),
            sources: vec![Source { destination: NOTHING, created: 0, clock: 0 }; nodes],
            behind: Worklist::new(nodes),
            measured: 0,
        }
    }

    /// Measured packets that were created.
    pub(crate) const fn measured(&self) -> u64 {
        self.measured
    }

    /// One cycle of all sources, in the order of the nodes. Packets created before cycle `measured_before` are measured.
    pub(crate) fn create_and_send(&mut self, network: &mut Network, measured_before: u32) {
        let now = network.cycle() as u32;
        let nodes = self.sources.len();
        for word in 0..nodes.div_ceil(64) {
            let first = word << 6;
            let count = (nodes - first).min(64);
            if self.behind.word(word) == 0 {
                let mut created = self.arrivals.next_word(count);
                while created != 0 {
                    let node = first + created.trailing_zeros() as usize;
                    created &= created - 1;
                    self.create(node, now, measured_before);
                    self.send_or_fall_behind(node, network, now + 1);
                }
            } else {
                for node in first..first + count {
                    self.step(node, network, now, measured_before);
                }
            }
        }
    }

    /// One cycle of the sources that hold a packet, without new ones.
    pub(crate) fn send_only(&mut self, network: &mut Network) {
        let sources = &mut self.sources;
        let size = self.size;
        self.behind.retain(|node| {
            let source = &mut sources[node];
            if source.destination != NOTHING && network.may_send(node) {
                let tag = size.place(node as u32).packed();
                network.send(node, Packet { destination: source.destination, created: source.created, tag });
                source.destination = NOTHING;
            }
            source.destination != NOTHING
        });
    }

    /// Whether any source holds a packet.
    pub(crate) fn any_waiting(&self) -> bool {
        self.behind.iter().any(|node| self.sources[node].destination != NOTHING)
    }

    /// Whether any source has not yet drawn for every cycle before `cycle`.
    pub(crate) fn any_behind(&self, cycle: u64) -> bool {
        self.behind.iter().any(|node| u64::from(self.sources[node].clock) < cycle)
    }

    /// Cycles that sources are behind the clock: the sum over all, and the most of one.
    pub(crate) fn lag(&self, now: u64) -> (u64, u64) {
        let lag = |node: usize| now.saturating_sub(u64::from(self.sources[node].clock));
        self.behind.iter().fold((0, 0), |(sum, most), node| (sum + lag(node), most.max(lag(node))))
    }

    /// Bytes that the sources hold.
    pub(crate) const fn bytes(&self) -> usize {
        self.sources.capacity() * size_of::<Source>() + self.behind.bytes()
    }

    /// A source that is in a word with one that is behind, or is behind itself.
    fn step(&mut self, node: usize, network: &mut Network, now: u32, measured_before: u32) {
        if !self.behind.contains(node) {
            self.sources[node].clock = now;
        }
        if self.sources[node].destination == NOTHING {
            while self.sources[node].clock <= now {
                let cycle = self.sources[node].clock;
                self.sources[node].clock += 1;
                if self.arrivals.next() {
                    self.create(node, cycle, measured_before);
                    break;
                }
            }
        }
        let clock = self.sources[node].clock;
        if self.sources[node].destination != NOTHING {
            self.send_or_fall_behind(node, network, clock);
        }
        if self.sources[node].destination == NOTHING && clock > now {
            self.behind.set_word(node >> 6, self.behind.word(node >> 6) & !(1 << (node & 63)));
        } else {
            self.behind.insert(node);
        }
    }

    #[inline]
    fn create(&mut self, node: usize, cycle: u32, measured_before: u32) {
        let destination = self.pattern.destination(node as u32, self.size, &mut self.destinations);
        // BookSim2 draws the sub-network of every packet, of which there is one.
        self.destinations.below(1);
        let measured = cycle < measured_before;
        self.measured += u64::from(measured);
        let source = &mut self.sources[node];
        source.destination = destination.packed() | if measured { MEASURED } else { 0 };
        source.created = cycle;
    }

    #[inline]
    fn send_or_fall_behind(&mut self, node: usize, network: &mut Network, clock: u32) {
        let source = &mut self.sources[node];
        if network.may_send(node) {
            let tag = self.size.place(node as u32).packed();
            network.send(node, Packet { destination: source.destination, created: source.created, tag });
            source.destination = NOTHING;
        } else {
            source.clock = clock;
            self.behind.insert(node);
        }
    }
}
