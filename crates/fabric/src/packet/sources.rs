//! Sources that create packets at random: Bernoulli arrivals into queues without end.
//!
//! As BookSim2 does it (`TrafficManager::_Inject`), a source that cannot send does not draw: it falls behind, and draws
//! for the cycles it has missed when it can send again. The packets are then as old as if they had waited in a queue,
//! and the queue takes no memory however long it is. A source that is not behind draws once a cycle.

use super::coordinate::MeshSize;
use super::network::Network;
use super::pattern::Pattern;
use super::random::{Arrivals, Destinations};
use super::router::Packet;
use super::tally::UNMEASURED;
use super::worklist::Worklist;

#[derive(Debug, Clone, Copy)]
struct Source {
    /// The packet that cannot be sent yet, if `waits`.
    packet: Packet,
    /// The next cycle for which to draw, where the source is behind.
    clock: u32,
    /// Whether there is such a packet.
    waits: bool,
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
            sources: vec![Source { packet: Packet::NOTHING, clock: 0, waits: false }; nodes],
            behind: Worklist::new(nodes),
            measured: 0,
        }
    }

    /// Measured packets that were created.
    pub(crate) const fn measured(&self) -> u64 {
        self.measured
    }

    /// One cycle of all sources, in the order of the nodes. Packets created before cycle `measured_before` are
    /// measured.
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
        self.behind.retain(|node| {
            let source = &mut sources[node];
            if source.waits && network.may_send(node) {
                network.send(node, source.packet);
                source.waits = false;
            }
            source.waits
        });
    }

    /// Whether any source holds a packet.
    pub(crate) fn any_waiting(&self) -> bool {
        self.behind.iter().any(|node| self.sources[node].waits)
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
        if !self.sources[node].waits {
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
        if self.sources[node].waits {
            self.send_or_fall_behind(node, network, clock);
        }
        if !self.sources[node].waits && clock > now {
            self.behind.remove(node);
        } else {
            self.behind.insert(node);
        }
    }

    #[inline]
    fn create(&mut self, node: usize, cycle: u32, measured_before: u32) {
        let source = self.size.place(node as u32);
        let destination = self.pattern.destination(source, self.size, &mut self.destinations);
        // BookSim2 draws the sub-network of every packet, of which there is one.
        self.destinations.below(1);
        let measured = cycle < measured_before;
        self.measured += u64::from(measured);
        let tag = if measured { source.hops(destination) } else { UNMEASURED };
        self.sources[node].packet = Packet { destination: destination.packed(), created: cycle, tag };
        self.sources[node].waits = true;
    }

    #[inline]
    fn send_or_fall_behind(&mut self, node: usize, network: &mut Network, clock: u32) {
        let source = &mut self.sources[node];
        if network.may_send(node) {
            network.send(node, source.packet);
            source.waits = false;
        } else {
            source.clock = clock;
            self.behind.insert(node);
        }
    }
}
