//! The state of the mesh, and one cycle of it.
//!
//! Every effect of a cycle on another router arrives at least one cycle later, through a ring of lists (packets,
//! credits, credits for sources), and packets that become the head of their queue ask for an output after all outputs
//! have chosen. The order in which the outputs of a cycle are visited therefore does not matter, and only those with
//! something to do are visited: an output that nobody wants, or that is held and waits for a credit, costs nothing.
//!
//! They are visited in ascending order of their routers, and there is a list for each direction, so that every list is
//! in this order too. A cycle can then go through the mesh in blocks that fit a cache: what arrives in a block, and
//! what leaves it.

use std::ops::Range;

use super::arbiter::{AFTER, PICK};
use super::coordinate::route;
use super::error::TrafficError;
use super::mesh::{CREDIT_CYCLES, INJECTION_CYCLES, PacketMesh, SOURCE_CREDIT_CYCLES};
use super::ring::Ring;
use super::router::{ALL, LOCAL, PORTS, Packet, Router, port_name};
use super::waiting::{NONE, WaitingPool};
use super::worklist::Worklist;

/// Routers of a block: 512 KiB of them, about half of a second-level cache. On 512 x 512 blocks make a hop 1.8 times
/// as fast as going through the whole mesh three times a cycle.
const BLOCK: usize = 4096;
/// Directions in which a router has a neighbour: all ports but the local one.
const LINKS: usize = LOCAL;

/// A packet on its way to a router.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    node: u32,
    packet: Packet,
}

/// Everything that changes while a mesh runs.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    mesh: PacketMesh,
    routers: Vec<Router>,
    source_credits: Vec<u8>,
    waiting: WaitingPool,
    /// Outputs to visit in this cycle, router x 8 + output: those that are wanted, and not held without credit.
    active: Worklist,
    /// Outputs to visit in the next one.
    active_next: Worklist,
    /// Inputs that sent their head in this cycle and have another packet: router x 8 + input.
    exposed: Vec<u32>,
    /// Packets that reach their sink from this cycle.
    sunk: Vec<Arrival>,
    /// Packets on links, by the output that they left.
    on_links: Ring<[Vec<Arrival>; LINKS]>,
    /// Packets between a source and its router.
    injected: Ring<Vec<Arrival>>,
    /// Slots that were freed, for the router upstream, by the input in which they are.
    freed: Ring<[Vec<u32>; LINKS]>,
    /// Slots that were freed in sinks.
    freed_in_sinks: Ring<Vec<u32>>,
    /// Slots that were freed in injection queues.
    freed_for_sources: Ring<Vec<u32>>,
    cycle: u64,
    sent: u64,
    delivered: u64,
    router_passes: u64,
    last_move: u64,
    counted: Range<u64>,
}

impl Network {
    /// An empty mesh at cycle 0. Packets that enter a link in `counted` cycles count for link use.
    pub(crate) fn new(mesh: PacketMesh, counted: Range<u64>) -> Self {
        let nodes = mesh.size().nodes();
        let queue = mesh.queue() as u8;
        Self {
            mesh,
            routers: (0..nodes).map(|node| Router::new(mesh.size().place(node).packed(), queue)).collect(),
            source_credits: vec![queue; nodes as usize],
            waiting: WaitingPool::new(),
            active: Worklist::new(nodes as usize * 8),
            active_next: Worklist::new(nodes as usize * 8),
            exposed: Vec::new(),
            sunk: Vec::new(),
            on_links: Ring::new(mesh.router_cycles()),
            injected: Ring::new(INJECTION_CYCLES),
            freed: Ring::new(CREDIT_CYCLES),
            freed_in_sinks: Ring::new(mesh.router_cycles() + CREDIT_CYCLES),
            freed_for_sources: Ring::new(SOURCE_CREDIT_CYCLES),
            cycle: 0,
            sent: 0,
            delivered: 0,
            router_passes: 0,
            last_move: 0,
            counted,
        }
    }

    /// The cycle that is being simulated.
    pub(crate) const fn cycle(&self) -> u64 {
        self.cycle
    }

    /// Whether this is one of the cycles in which to look around: every 1,024 of them, more often on large meshes, so
    /// that there are some 4 million router-cycles between two.
    pub(crate) const fn is_checkpoint(&self) -> bool {
        let between = (1 << 22) / self.mesh.size().nodes().next_power_of_two() as u64;
        let between = if between == 0 { 1 } else { between };
        self.cycle.is_multiple_of(if between > 1024 { 1024 } else { between })
    }

    /// Packets that sources have sent.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Packets that are in queues or on links.
    pub(crate) const fn in_flight(&self) -> u64 {
        self.sent - self.delivered
    }

    /// Packets that have passed a router, summed over routers.
    pub(crate) const fn router_passes(&self) -> u64 {
        self.router_passes
    }

    /// Packets that came over the links from the east, west, south and north of every router, in the order of the
    /// nodes.
    pub(crate) fn link_flits(&self) -> impl Iterator<Item = [u32; LINKS]> + '_ {
        self.routers.iter().map(|router| router.link_flits)
    }

    /// Whether the source of `node` may send in this cycle. It may send once a cycle.
    #[inline]
    pub(crate) fn may_send(&self, node: usize) -> bool {
        self.source_credits[node] > 0
    }

    /// Sends a packet from the source of `node`, which [`Self::may_send`].
    #[inline]
    pub(crate) fn send(&mut self, node: usize, packet: Packet) {
        self.source_credits[node] -= 1;
        self.sent += 1;
        self.injected.at(INJECTION_CYCLES).push(Arrival { node: node as u32, packet });
    }

    /// First part of a cycle: sources get the slots back that were freed for them. Then they may send.
    pub(crate) fn begin(&mut self) {
        for node in self.freed_for_sources.at(0).drain(..) {
            self.source_credits[node as usize] += 1;
        }
    }

    /// Last part of a cycle: what was on its way arrives, and every output that can, sends one packet. `deliver` gets
    /// those that reach their sink, with the cycle in which they are there.
    pub(crate) fn finish(&mut self, mut deliver: impl FnMut(Packet, u64)) {
        let hop = self.mesh.router_cycles();
        let counted = self.cycle.checked_sub(hop.into()).is_some_and(|left| self.counted.contains(&left));
        let columns = self.mesh.size().columns();
        let neighbours = [1, 1_u32.wrapping_neg(), columns, columns.wrapping_neg(), 0];

        let mut arriving = self.on_links.take(0);
        let mut entering = self.injected.take(0);
        let mut crediting = self.freed.take(0);
        let mut from_sinks = self.freed_in_sinks.take(0);
        // What leaves by an output, and what is freed in an input: the local port is one of them.
        let [east, west, south, north] = self.on_links.take(hop);
        let mut leaving = [east, west, south, north, std::mem::take(&mut self.sunk)];
        let [east, west, south, north] = self.freed.take(CREDIT_CYCLES);
        let mut freed = [east, west, south, north, self.freed_for_sources.take(SOURCE_CREDIT_CYCLES)];
        let mut passes = 0;

        let mut arrivals_left = [&*arriving[1], &*arriving[0], &*arriving[3], &*arriving[2], &*entering];
        let mut credits_left = [&*crediting[1], &*crediting[0], &*crediting[3], &*crediting[2], &*from_sinks];
        for first in (0..self.routers.len()).step_by(BLOCK) {
            let end = (first + BLOCK).min(self.routers.len());
            for (output, credits) in credits_left.iter_mut().enumerate() {
                let here = credits.partition_point(|&node| (node as usize) < end);
                self.credit(output, &credits[..here]);
                *credits = &credits[here..];
            }
            for (input, arrivals) in arrivals_left.iter_mut().enumerate() {
                let here = arrivals.partition_point(|arrival| (arrival.node as usize) < end);
                self.accept(input, &arrivals[..here], counted);
                *arrivals = &arrivals[here..];
            }
            passes += self.arbitrate(first * 8..end * 8, &neighbours, &mut leaving, &mut freed);
            self.expose();
        }

        for list in arriving.iter_mut().chain([&mut entering]) {
            list.clear();
        }
        for list in crediting.iter_mut().chain([&mut from_sinks]) {
            list.clear();
        }
        *self.on_links.at(0) = arriving;
        *self.injected.at(0) = entering;
        *self.freed.at(0) = crediting;
        *self.freed_in_sinks.at(0) = from_sinks;
        let [east, west, south, north, mut sunk] = leaving;
        *self.on_links.at(hop) = [east, west, south, north];
        let [east, west, south, north, for_sources] = freed;
        *self.freed.at(CREDIT_CYCLES) = [east, west, south, north];
        *self.freed_for_sources.at(SOURCE_CREDIT_CYCLES) = for_sources;

        self.delivered += sunk.len() as u64;
        let slots = self.freed_in_sinks.at(hop + CREDIT_CYCLES);
        for Arrival { node, packet } in sunk.drain(..) {
            slots.push(node);
            deliver(packet, self.cycle + u64::from(hop));
        }
        self.sunk = sunk;
        std::mem::swap(&mut self.active, &mut self.active_next);
        if passes > 0 {
            self.last_move = self.cycle;
        }
        self.router_passes += passes;
        self.on_links.advance();
        self.injected.advance();
        self.freed.advance();
        self.freed_in_sinks.advance();
        self.freed_for_sources.advance();
        self.cycle += 1;
    }

    /// Gives `output` of each of the routers a credit.
    #[inline]
    fn credit(&mut self, output: usize, nodes: &[u32]) {
        let routers = self.routers.as_mut_slice();
        for &node in nodes {
            let state = &mut routers[node as usize].outputs[output];
            state.credits += 1;
            if state.eligible != ALL {
                self.active.insert(node as usize * 8 + output);
            }
        }
    }

    /// Puts packets into the queues of `input`.
    #[inline]
    fn accept(&mut self, input: usize, arrivals: &[Arrival], counted: bool) {
        let routers = self.routers.as_mut_slice();
        let mut active = self.active.members();
        for &Arrival { node, packet } in arrivals {
            let router = &mut routers[node as usize];
            if input != LOCAL {
                router.link_flits[input] += u32::from(counted);
            }
            if router.occupied >> input & 1 == 0 {
                router.occupied |= 1 << input;
                router.heads[input] = packet;
                let output = route(router.place, packet.destination);
                router.outputs[output].requests |= 1 << input;
                active.insert(node as usize * 8 + output);
            } else {
                self.waiting.push(&mut router.waiting[input], packet);
            }
        }
    }

    /// Every active output of `pairs` sends a packet, if it can. How many did.
    #[inline]
    fn arbitrate(
        &mut self,
        pairs: Range<usize>,
        neighbours: &[u32; PORTS],
        leaving: &mut [Vec<Arrival>; PORTS],
        freed: &mut [Vec<u32>; PORTS],
    ) -> u64 {
        let mut passes = 0;
        let Self { routers, active, active_next, exposed, .. } = self;
        let routers = routers.as_mut_slice();
        let mut active_next = active_next.members();
        active.drain(pairs, |pair| {
            let (node, output) = (pair >> 3, pair & 7);
            let router = &mut routers[node];
            let state = &mut router.outputs[output];
            let wanted = state.requests & state.eligible & ALL;
            let input = PICK[(state.pointer & 7) as usize][wanted as usize] as usize;
            state.pointer = AFTER[input];
            if state.credits == 0 {
                state.eligible = 1 << input;
                return;
            }
            state.eligible = ALL;
            state.credits -= 1;
            state.requests &= !(1 << input);
            if state.requests != 0 {
                active_next.insert(pair);
            }
            if router.waiting[input] == NONE {
                router.occupied &= !(1 << input);
            } else {
                exposed.push((node << 3 | input) as u32);
            }
            let packet = router.heads[input];
            freed[input].push((node as u32).wrapping_add(neighbours[input]));
            leaving[output].push(Arrival { node: (node as u32).wrapping_add(neighbours[output]), packet });
            passes += 1;
        });
        passes
    }

    /// The packets that are now the heads of their queues ask for their outputs, from the next cycle on.
    #[inline]
    fn expose(&mut self) {
        for code in self.exposed.drain(..) {
            let (node, input) = ((code >> 3) as usize, (code & 7) as usize);
            let router = &mut self.routers[node];
            if let Some(packet) = self.waiting.pop(&mut router.waiting[input]) {
                router.heads[input] = packet;
                let output = route(router.place, packet.destination);
                router.outputs[output].requests |= 1 << input;
                self.active_next.insert(node << 3 | output);
            }
        }
    }

    /// Cycles after which nothing is left of a move: longer than the longest delay of any event.
    const fn memory(&self) -> u64 {
        (self.mesh.router_cycles() + CREDIT_CYCLES + INJECTION_CYCLES) as u64
    }

    /// Whether the network is empty and every credit is back.
    pub(crate) const fn is_quiet(&self) -> bool {
        self.in_flight() == 0 && self.cycle > self.last_move + self.memory()
    }

    /// Goes to a later cycle. The network must be quiet.
    pub(crate) fn skip_to(&mut self, cycle: u64) {
        debug_assert!(self.is_quiet() && self.freed_in_sinks.slots().iter().all(Vec::is_empty));
        self.cycle = self.cycle.max(cycle);
        self.last_move = self.cycle;
    }

    /// An error where packets are in the network and none has moved for longer than any event takes.
    pub(crate) fn check_moving(&self) -> Result<(), TrafficError> {
        let idle = self.cycle.saturating_sub(self.last_move);
        if self.in_flight() == 0 || idle <= 2 * self.memory() {
            return Ok(());
        }
        let waiting = self.routers.iter().find_map(|router| {
            let (port, output) = router.outputs.iter().enumerate().find(|(_, output)| output.requests != 0)?;
            Some(format!(
                "the router at {} has a packet from {} that waits for {}, which has {} credits",
                router.place.unpacked(),
                port_name(output.requests.trailing_zeros() as usize),
                port_name(port),
                output.credits
            ))
        });
        let first = waiting.unwrap_or_else(|| "no router has a request".into());
        Err(TrafficError::Stuck { cycle: self.cycle, flits: self.in_flight(), first })
    }

    /// Counts every packet and every credit: sent = delivered + in flight, and every queue slot is free upstream, on
    /// its way there, taken, or about to be.
    pub(crate) fn audit(&self) -> Result<(), TrafficError> {
        let wrong = |what: String| Err(TrafficError::Conservation { cycle: self.cycle, what });
        let ports = self.routers.len() * PORTS;
        let mut queued = vec![0_u32; ports];
        let mut packets = 0_u64;
        for (node, router) in self.routers.iter().enumerate() {
            for input in 0..PORTS {
                let head = u32::from(router.occupied >> input & 1);
                queued[node * PORTS + input] = head + self.waiting.count(router.waiting[input]);
                packets += u64::from(queued[node * PORTS + input]);
            }
        }
        let links = self.on_links.slots().iter().flat_map(|slot| slot.iter().enumerate());
        let on_links = links.flat_map(|(output, list)| list.iter().map(move |arrival| (arrival.node, output ^ 1)));
        let injected = self.injected.slots().iter().flatten().map(|arrival| (arrival.node, LOCAL));
        for (node, input) in on_links.chain(injected) {
            queued[node as usize * PORTS + input] += 1;
            packets += 1;
        }
        if self.sent != self.delivered + packets {
            return wrong(format!("{} sent are not {} delivered + {packets} in flight", self.sent, self.delivered));
        }
        let mut returning = vec![0_u32; ports];
        let links = self.freed.slots().iter().flat_map(|slot| slot.iter().enumerate());
        let by_links = links.flat_map(|(input, list)| list.iter().map(move |&node| (node, input ^ 1)));
        let by_sinks = self.freed_in_sinks.slots().iter().flatten().map(|&node| (node, LOCAL));
        for (node, output) in by_links.chain(by_sinks) {
            returning[node as usize * PORTS + output] += 1;
        }
        let mut to_sources = vec![0_u32; self.routers.len()];
        for &node in self.freed_for_sources.slots().iter().flatten() {
            to_sources[node as usize] += 1;
        }
        let size = self.mesh.size();
        for (node, router) in self.routers.iter().enumerate() {
            let place = router.place.unpacked();
            let neighbours = [
                (place.column + 1 < size.columns()).then(|| node + 1),
                (place.column > 0).then(|| node.wrapping_sub(1)),
                (place.row + 1 < size.rows()).then(|| node + size.columns() as usize),
                (place.row > 0).then(|| node.wrapping_sub(size.columns() as usize)),
            ];
            for (output, state) in router.outputs.iter().enumerate() {
                let taken = match neighbours.get(output) {
                    Some(Some(neighbour)) => queued[neighbour * PORTS + (output ^ 1)],
                    _ => 0,
                };
                let slots = u32::from(state.credits) + returning[node * PORTS + output] + taken;
                if slots != self.mesh.queue() {
                    return wrong(format!("output {} of {place} has {slots} slots", port_name(output)));
                }
            }
            let slots = u32::from(self.source_credits[node]) + to_sources[node] + queued[node * PORTS + LOCAL];
            if slots != self.mesh.queue() {
                return wrong(format!("the injection port of {place} has {slots} slots"));
            }
        }
        Ok(())
    }

    /// Bytes that the state of an empty mesh holds. Lists of what is on its way come on top, 16 bytes a packet and 4 a
    /// credit.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.routers.capacity() * size_of::<Router>()
            + self.source_credits.capacity()
            + self.waiting.bytes()
            + self.active.bytes()
            + self.active_next.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::coordinate::{Coordinate, MeshSize};

    /// Floods a small mesh and counts every packet and slot in every cycle, until it is empty again.
    #[test]
    fn nothing_is_lost_or_made_in_any_cycle() -> Result<(), TrafficError> {
        for (columns, rows, queue, router_cycles) in [(4, 3, 1, 3), (3, 5, 2, 1), (5, 5, 8, 3), (6, 1, 3, 4)] {
            let size = MeshSize::new(columns, rows)?;
            let mut network = Network::new(PacketMesh::new(size, queue, router_cycles)?, 0..0);
            let mut state = 1_u32;
            let mut created = 0;
            let mut delivered = 0;
            while network.cycle() < 400 || network.in_flight() > 0 {
                network.begin();
                for node in 0..size.nodes() as usize {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if network.cycle() < 400 && state >> 30 != 0 && network.may_send(node) {
                        let destination =
                            if state & 1 << 20 == 0 { size.nodes() / 2 } else { (state >> 8) % size.nodes() };
                        let destination = size.place(destination).packed();
                        network.send(node, Packet { destination, created: 0, tag: node as u32 });
                        created += 1;
                    }
                }
                network.finish(|packet, _| {
                    assert!(size.contains(packet.destination.unpacked()));
                    delivered += 1;
                });
                network.audit()?;
                network.check_moving()?;
                assert_eq!((network.sent(), network.in_flight()), (created, created - delivered));
            }
            assert!(created > 100);
            for _ in 0..20 {
                network.begin();
                network.finish(|_, _| ());
            }
            assert!(network.is_quiet());
            network.audit()?;
            assert!(network.routers.iter().all(|router| router.occupied == 0));
        }
        Ok(())
    }

    /// A credit that never comes back is found, and so is a network in which nothing moves.
    #[test]
    fn losses_and_standstill_are_errors() -> Result<(), TrafficError> {
        let size = MeshSize::new(2, 1)?;
        let mut network = Network::new(PacketMesh::new(size, 1, 3)?, 0..0);
        network.routers[0].outputs[0].credits = 0;
        assert!(matches!(network.audit(), Err(TrafficError::Conservation { .. })));
        network.send(0, Packet { destination: Coordinate::new(1, 0).packed(), ..Packet::NOTHING });
        for _ in 0..100 {
            network.begin();
            network.finish(|_, _| ());
        }
        let error = network.check_moving().expect_err("it cannot move").to_string();
        assert!(error.contains("(0, 0) has a packet from local that waits for east, which has 0 credits"), "{error}");
        Ok(())
    }
}
