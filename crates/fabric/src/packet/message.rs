//! Explicit messages: a list of who sends how much to whom and when; out comes when each was complete.
//!
//! Each flit of a message is a packet of its own. A source that has several messages open sends one flit of each in
//! turn, in the order in which they were opened, so that none waits for another to be finished: the order of the list
//! does not decide which destination everybody floods first. A trace is such a list.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::coordinate::{Coordinate, MeshSize};
use super::error::TrafficError;
use super::histogram::Histogram;
use super::mesh::PacketMesh;
use super::network::Network;
use super::report::{LinkUses, Progress};
use super::router::Packet;
use super::traffic::checkpoint;
use super::worklist::Worklist;

/// Most messages in a list.
const MOST_MESSAGES: usize = u32::MAX as usize;
/// Longest run, in cycles: routers x cycles then fits 64 bits.
const LONGEST_RUN: u64 = 1_000_000_000_000;

/// Something to be sent from one node to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The node that sends.
    pub source: Coordinate,
    /// The node that receives; may be the sender, whose packets pass its own router.
    pub destination: Coordinate,
    /// Length in flits, at least 1.
    pub flits: u32,
    /// The first cycle in which it may be sent.
    pub cycle: u64,
}

/// What a user asks: which mesh, which messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MessageConfig {
    /// Columns of the mesh, 1 to 4096.
    pub columns: u32,
    /// Rows of the mesh, 1 to 4096.
    pub rows: u32,
    /// Flits that each input queue holds, 1 to 255.
    pub queue: u32,
    /// Cycles of a hop, router and link, 1 to 64.
    pub router_cycles: u32,
    /// The messages, in any order.
    pub messages: Vec<Message>,
    /// Cycle in which everything must have arrived, or the run is given up.
    pub max_cycles: u64,
}

impl Default for MessageConfig {
    /// Nothing to send on 8 x 8, queues of 8, BookSim2's router, a thousand million cycles at most.
    fn default() -> Self {
        Self { columns: 8, rows: 8, queue: 8, router_cycles: 3, messages: Vec::new(), max_cycles: 1_000_000_000 }
    }
}

impl MessageConfig {
    /// Checks every field.
    pub fn check(&self) -> Result<Messages, TrafficError> {
        let mesh = PacketMesh::new(MeshSize::new(self.columns, self.rows)?, self.queue, self.router_cycles)?;
        let (size, columns, rows) = (mesh.size(), self.columns, self.rows);
        if self.messages.is_empty() || self.messages.len() > MOST_MESSAGES {
            let value = format!("a list of {}", self.messages.len());
            return Err(TrafficError::Range { field: "messages", value, allowed: "1 to 4,294,967,295 messages" });
        }
        if self.max_cycles > LONGEST_RUN {
            let value = self.max_cycles.to_string();
            return Err(TrafficError::Range { field: "max_cycles", value, allowed: "up to 1,000,000,000,000 cycles" });
        }
        for (index, message) in self.messages.iter().enumerate() {
            for (role, place) in [("source", message.source), ("destination", message.destination)] {
                if !size.contains(place) {
                    let what = format!("the {role} of message {index}");
                    return Err(TrafficError::Outside { what, place, columns, rows });
                }
            }
            if message.flits == 0 {
                let value = format!("0 in message {index}");
                return Err(TrafficError::Range { field: "flits", value, allowed: "1 or more" });
            }
            if message.cycle > self.max_cycles {
                let value = format!("{} in message {index}", message.cycle);
                return Err(TrafficError::Range { field: "cycle", value, allowed: "up to max_cycles" });
            }
        }
        let mut order: Vec<u32> = (0..self.messages.len() as u32).collect();
        order.sort_by_key(|&index| self.messages[index as usize].cycle);
        Ok(Messages { mesh, messages: self.messages.clone(), order, max_cycles: self.max_cycles })
    }
}

/// A checked list of messages: what runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    mesh: PacketMesh,
    messages: Vec<Message>,
    /// Indices by cycle, then by place in the list.
    order: Vec<u32>,
    max_cycles: u64,
}

/// When messages were complete, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MessageReport {
    /// For each message, in the order of the list: the cycle in which its last flit arrived.
    pub completion: Vec<u64>,
    /// The cycle in which the last flit of all arrived.
    pub finish: u64,
    /// Mean over messages of completion - cycle, in cycles.
    pub mean_latency: f64,
    /// Half of the messages took no longer, in cycles.
    pub p50_latency: u64,
    /// 99 of 100 messages took no longer, in cycles.
    pub p99_latency: u64,
    /// Mean over flits of routers passed: Manhattan distance + 1.
    pub mean_hops: f64,
    /// Flits in all.
    pub flits: u64,
    /// Flits per node and cycle, from the cycle of the first message to the finish.
    pub accepted: f64,
    /// How busy the links were, from the cycle of the first message to the finish.
    pub link_use: LinkUses,
    /// Cycles from 0 to the finish, those in which nothing was to be done included.
    pub cycles: u64,
    /// Routers x cycles.
    pub router_cycles: u64,
    /// Routers passed by flits.
    pub flit_hops: u64,
}

/// Messages that are open in each source.
#[derive(Debug)]
struct OpenMessages {
    per_node: Vec<VecDeque<u32>>,
    unsent: Vec<u32>,
    sending: Worklist,
}

impl Messages {
    /// The mesh.
    pub const fn mesh(&self) -> PacketMesh {
        self.mesh
    }

    /// Runs until everything has arrived. `progress` is called from time to time. One thread; the same list gives
    /// the same report.
    pub fn run(&self, mut progress: impl FnMut(Progress)) -> Result<MessageReport, TrafficError> {
        let size = self.mesh.size();
        let mut network = Network::new(self.mesh, 0..u64::MAX);
        let mut open = OpenMessages {
            per_node: vec![VecDeque::new(); size.nodes() as usize],
            unsent: self.messages.iter().map(|message| message.flits).collect(),
            sending: Worklist::new(size.nodes() as usize),
        };
        let mut missing = open.unsent.clone();
        let mut completion = vec![0; self.messages.len()];
        let flits = self.messages.iter().map(|message| u64::from(message.flits)).sum::<u64>();
        let mut arrived = 0;
        let mut opened = 0;

        while arrived < flits {
            if network.cycle() > self.max_cycles {
                let (cycles, missing) = (network.cycle(), flits - arrived);
                return Err(TrafficError::Unfinished { cycles, missing, flits });
            }
            while let Some(&index) = self.order.get(opened) {
                let message = self.messages[index as usize];
                if message.cycle > network.cycle() {
                    break;
                }
                let node = size.node(message.source) as usize;
                open.per_node[node].push_back(index);
                open.sending.insert(node);
                opened += 1;
            }
            network.begin();
            self.send(&mut open, &mut network);
            network.finish(|packet, cycle| {
                let message = packet.tag as usize;
                arrived += 1;
                missing[message] -= 1;
                if missing[message] == 0 {
                    completion[message] = cycle;
                }
            });
            checkpoint(&network, 0, &mut progress)?;
            if let Some(&index) = self.order.get(opened)
                && network.is_quiet()
                && open.sending.is_empty()
            {
                network.skip_to(self.messages[index as usize].cycle);
            }
        }
        Ok(self.report(&network, completion, flits))
    }

    /// Every source that may, sends one flit of the message whose turn it is.
    fn send(&self, open: &mut OpenMessages, network: &mut Network) {
        let OpenMessages { per_node, unsent, sending } = open;
        let created = network.cycle() as u32;
        sending.retain(|node| {
            if !network.may_send(node) {
                return true;
            }
            if let Some(index) = per_node[node].pop_front() {
                let destination = self.messages[index as usize].destination.packed();
                network.send(node, Packet { destination, created, tag: index });
                unsent[index as usize] -= 1;
                if unsent[index as usize] > 0 {
                    per_node[node].push_back(index);
                }
            }
            !per_node[node].is_empty()
        });
    }

    fn report(&self, network: &Network, completion: Vec<u64>, flits: u64) -> MessageReport {
        let size = self.mesh.size();
        let mut latencies = Histogram::default();
        let mut hops = 0;
        for (message, &complete) in self.messages.iter().zip(&completion) {
            latencies.add(complete - message.cycle);
            hops += u64::from(message.flits) * u64::from(message.source.hops(message.destination));
        }
        let finish = completion.iter().copied().max().unwrap_or(0);
        let first = self.order.first().map_or(0, |&index| self.messages[index as usize].cycle);
        let busy = finish - first + 1;
        let nodes = u64::from(size.nodes());
        MessageReport {
            completion,
            finish,
            mean_latency: latencies.mean().unwrap_or(0.0),
            p50_latency: latencies.quantile(0.5),
            p99_latency: latencies.quantile(0.99),
            mean_hops: hops as f64 / flits as f64,
            flits,
            accepted: flits as f64 / (nodes * busy) as f64,
            link_use: LinkUses::of(size, network.link_flits(), busy),
            cycles: finish + 1,
            router_cycles: nodes * (finish + 1),
            flit_hops: network.router_passes(),
        }
    }
}
