//! The state of the mesh, and one cycle of it.
//!
//! Every effect of a cycle on another router arrives at least one cycle later, through a ring of lists (packets, credits,
//! credits for sources), and packets that become the head of their queue ask for an output after all outputs have
//! chosen. The order in which the outputs of a cycle are visited therefore does not matter, and only those with something
//! to do are visited: an output that nobody wants, or that is held and waits for a credit, costs nothing.

use super::arbiter::{AFTER, PICK};
use super::coordinate::route;
use super::error::TrafficError;
use super::machine::{CREDIT_CYCLES, INJECTION_CYCLES, PacketMesh, SOURCE_CREDIT_CYCLES};
use super::router::{ALL, LOCAL, PORTS, Packet, Router, port_name};
use super::waiting::{NONE, WaitingPool};
use super::worklist::Worklist;

/// A packet on its way to an input port: router x 8 + port.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    target: u32,
    packet: Packet,
}

/// Lists of events for the next cycles.
#[derive(Debug, Clone)]
struct Ring<T> {
    slots: Vec<Vec<T>>,
    now: usize,
}

impl<T> Ring<T> {
    fn new(longest_delay: u32) -> Self {
        Self { slots: (0..=longest_delay).map(|_| Vec::new()).collect(), now: 0 }
    }

    #[inline]
    fn slot(&self, delay: u32) -> usize {
        let slot = self.now + delay as usize;
        if slot >= self.slots.len() { slot - self.slots.len() } else { slot }
    }

    #[inline]
    fn push(&mut self, delay: u32, event: T) {
        let slot = self.slot(delay);
        self.slots[slot].push(event);
    }

    fn take(&mut self, delay: u32) -> Vec<T> {
        let slot = self.slot(delay);
        std::mem::take(&mut self.slots[slot])
    }

    fn put_back(&mut self, delay: u32, list: Vec<T>) {
        let slot = self.slot(delay);
        self.slots[slot] = list;
    }

    fn advance(&mut self) {
        self.now = self.slot(1);
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.capacity() * size_of::<T>()).sum()
    }
}

/// Everything that changes while a mesh runs.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    mesh: PacketMesh,
    routers: Vec<Router>,
    source_credits: Vec<u8>,
    waiting: WaitingPool,
    /// Outputs to visit in this cycle, router x 8 + output, each once: those that are wanted, and not held without credit.
    active: Worklist,
    /// Outputs to visit in the next one.
    active_next: Worklist,
    /// Inputs that sent their head in this cycle and have another packet: router x 8 + input.
    exposed: Vec<u32>,
    /// Packets that reach their sink from this cycle.
    sunk: Vec<Arrival>,
    arrivals: Ring<Arrival>,
    credits: Ring<u32>,
    source_returns: Ring<u32>,
    cycle: u64,
    sent: u64,
    delivered: u64,
    router_passes: u64,
    last_move: u64,
    counting: bool,
}

impl Network {
    pub(crate) fn new(mesh: PacketMesh) -> Self {
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
            arrivals: Ring::new(mesh.router_cycles().max(INJECTION_CYCLES)),
            credits: Ring::new(mesh.router_cycles() + CREDIT_CYCLES),
            source_returns: Ring::new(SOURCE_CREDIT_CYCLES),
            cycle: 0,
            sent: 0,
            delivered: 0,
            router_passes: 0,
            last_move: 0,
            counting: false,
        }
    }

    /// The cycle that is being simulated.
    pub(crate) const fn cycle(&self) -> u64 {
        self.cycle
    }

    /// Whether this is one of the cycles in which to look around: every 1,024 of them, more often on large meshes, so that
    /// there are some 4 million router-cycles between two.
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

    /// Whether link use is counted from now on.
    pub(crate) const fn count_links(&mut self, counting: bool) {
        self.counting = counting;
    }

    /// Packets counted east, west, south and north of every router, in the order of the nodes.
    pub(crate) fn link_flits(&self) -> impl Iterator<Item = [u32; LOCAL]> + '_ {
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
        self.arrivals.push(INJECTION_CYCLES, Arrival { target: (node << 3 | LOCAL) as u32, packet });
    }

    /// First part of a cycle: what other routers sent in earlier cycles arrives.
    pub(crate) fn receive(&mut self) {
        let mut returns = self.source_returns.take(0);
        for node in returns.drain(..) {
            self.source_credits[node as usize] += 1;
        }
        self.source_returns.put_back(0, returns);

        let routers = self.routers.as_mut_slice();
        let mut active = self.active.members();
        let mut credits = self.credits.take(0);
        for &credit in &credits {
            let (node, output) = ((credit >> 3) as usize, (credit & 7) as usize);
            let output = &mut routers[node].outputs[output];
            output.credits += 1;
            if output.eligible != ALL {
                active.insert(credit as usize);
            }
        }
        credits.clear();
        self.credits.put_back(0, credits);

        let mut arrivals = self.arrivals.take(0);
        for &Arrival { target, packet } in &arrivals {
            let (node, input) = ((target >> 3) as usize, (target & 7) as usize);
            let router = &mut routers[node];
            if router.occupied >> input & 1 == 0 {
                router.occupied |= 1 << input;
                router.heads[input] = packet;
                let output = route(router.place, packet.destination);
                router.outputs[output].requests |= 1 << input;
                active.insert(node << 3 | output);
            } else {
                self.waiting.push(&mut router.waiting[input], packet);
            }
        }
        arrivals.clear();
        self.arrivals.put_back(0, arrivals);
    }

    /// Last part of a cycle: every output that can, sends one packet. `deliver` gets those that reach their sink, with the
    /// cycle in which they are there.
    pub(crate) fn arbitrate(&mut self, mut deliver: impl FnMut(Packet, u64)) {
        let hop = self.mesh.router_cycles();
        let columns = self.mesh.size().columns();
        let neighbours = [1, 1_u32.wrapping_neg(), columns, columns.wrapping_neg(), 0];
        let counted = u32::from(self.counting);
        let mut ahead = self.arrivals.take(hop);
        let mut upstream = self.credits.take(CREDIT_CYCLES);
        let mut from_sinks = self.credits.take(hop + CREDIT_CYCLES);
        let mut to_sources = self.source_returns.take(SOURCE_CREDIT_CYCLES);
        let returned_by_sinks = upstream.len();
        let Self { routers, waiting, active, active_next, exposed, sunk, .. } = self;

        active.drain(|pair| {
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
            if input == LOCAL {
                to_sources.push(node as u32);
            } else {
                upstream.push((node as u32).wrapping_add(neighbours[input]) << 3 | (input ^ 1) as u32);
            }
            if output == LOCAL {
                sunk.push(Arrival { target: node as u32, packet });
            } else {
                router.link_flits[output] += counted;
                let target = (node as u32).wrapping_add(neighbours[output]) << 3 | (output ^ 1) as u32;
                ahead.push(Arrival { target, packet });
            }
        });
        for code in exposed.drain(..) {
            let (node, input) = ((code >> 3) as usize, (code & 7) as usize);
            let router = &mut routers[node];
            if let Some(packet) = waiting.pop(&mut router.waiting[input]) {
                router.heads[input] = packet;
                let output = route(router.place, packet.destination);
                router.outputs[output].requests |= 1 << input;
                active_next.insert(node << 3 | output);
            }
        }
        self.delivered += sunk.len() as u64;
        let arrival = self.cycle + u64::from(hop);
        for Arrival { target, packet } in sunk.drain(..) {
            from_sinks.push(target << 3 | LOCAL as u32);
            deliver(packet, arrival);
        }

        std::mem::swap(&mut self.active, &mut self.active_next);
        let passes = (upstream.len() - returned_by_sinks + to_sources.len()) as u64;
        self.arrivals.put_back(hop, ahead);
        self.credits.put_back(CREDIT_CYCLES, upstream);
        self.credits.put_back(hop + CREDIT_CYCLES, from_sinks);
        self.source_returns.put_back(SOURCE_CREDIT_CYCLES, to_sources);
        if passes > 0 {
            self.last_move = self.cycle;
        }
        self.router_passes += passes;
        self.arrivals.advance();
        self.credits.advance();
        self.source_returns.advance();
        self.cycle += 1;
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
        debug_assert!(self.is_quiet() && self.credits.iter().next().is_none());
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
        let port = |code: u32| (code >> 3) as usize * PORTS + (code & 7) as usize;
        let mut queued = vec![0_u32; ports];
        let mut packets = 0_u64;
        for (node, router) in self.routers.iter().enumerate() {
            for input in 0..PORTS {
                let head = u32::from(router.occupied >> input & 1);
                queued[node * PORTS + input] = head + self.waiting.count(router.waiting[input]);
                packets += u64::from(queued[node * PORTS + input]);
            }
        }
        for arrival in self.arrivals.iter() {
            queued[port(arrival.target)] += 1;
            packets += 1;
        }
        if self.sent != self.delivered + packets {
            return wrong(format!("{} sent are not {} delivered + {packets} in flight", self.sent, self.delivered));
        }
        let mut returning = vec![0_u32; ports];
        for &credit in self.credits.iter() {
            returning[port(credit)] += 1;
        }
        let mut to_sources = vec![0_u32; self.routers.len()];
        for &node in self.source_returns.iter() {
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

    /// Bytes that the state holds now.
    pub(crate) fn bytes(&self) -> usize {
        self.routers.capacity() * size_of::<Router>()
            + self.source_credits.capacity()
            + self.waiting.bytes()
            + self.active.bytes()
            + self.active_next.bytes()
            + self.exposed.capacity() * size_of::<u32>()
            + self.sunk.capacity() * size_of::<Arrival>()
            + self.arrivals.bytes()
            + self.credits.bytes()
            + self.source_returns.bytes()
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
            let mut network = Network::new(PacketMesh::new(size, queue, router_cycles)?);
            let mut state = 1_u32;
            let mut created = 0;
            let mut delivered = 0;
            while network.cycle() < 400 || network.in_flight() > 0 {
                network.receive();
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
                network.arbitrate(|packet, _| {
                    assert!(size.contains(packet.destination.unpacked()));
                    delivered += 1;
                });
                network.audit()?;
                network.check_moving()?;
                assert_eq!((network.sent(), network.in_flight()), (created, created - delivered));
            }
            assert!(created > 100);
            for _ in 0..20 {
                network.receive();
                network.arbitrate(|_, _| ());
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
        let mut network = Network::new(PacketMesh::new(size, 1, 3)?);
        network.routers[0].outputs[0].credits = 0;
        assert!(matches!(network.audit(), Err(TrafficError::Conservation { .. })));
        network.send(0, Packet { destination: Coordinate::new(1, 0).packed(), ..Packet::NOTHING });
        for _ in 0..100 {
            network.receive();
            network.arbitrate(|_, _| ());
        }
        let error = network.check_moving().expect_err("it cannot move").to_string();
        assert!(error.contains("(0, 0) has a packet from local that waits for east, which has 0 credits"), "{error}");
        Ok(())
    }
}
