//! A run under a traffic pattern: warm-up, measured window, drain.
//!
//! The defaults are BookSim2's: three sample periods of 1,000 cycles to warm up, three to measure (its
//! `warmup_periods`, `sample_period`, and the three samples within 5 % of one another that end a run).

use serde::{Deserialize, Serialize};

use super::coordinate::MeshSize;
use super::error::TrafficError;
use super::mesh::PacketMesh;
use super::network::Network;
use super::pattern::Pattern;
use super::random::LARGEST_SEED;
use super::report::{LinkUses, Progress, TrafficReport};
use super::sources::Sources;
use super::tally::Tally;

/// Longest warm-up and window together, in cycles: with the drain, the clock then fits 32 bits.
pub const LONGEST_RUN: u64 = 100_000_000;
/// A source further behind than this part of the cycles so far is saturated.
const LAG_OF_SATURATION: f64 = 0.05;

/// What a user asks: which mesh, which traffic, how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrafficConfig {
    /// Columns of the mesh, 1 to 4096.
    pub columns: u32,
    /// Rows of the mesh, 1 to 4096.
    pub rows: u32,
    /// Where packets go.
    pub pattern: Pattern,
    /// Packets that a node creates per cycle, above 0 and up to 1.
    pub rate: f64,
    /// Flits that each input queue holds, 1 to 255.
    pub queue: u32,
    /// Cycles of a hop, router and link, 1 to 64. BookSim2's speculative router: 3.
    pub router_cycles: u32,
    /// Seed of the random streams, 0 to 2^30 - 1. The streams are BookSim2's of the same seed.
    pub seed: u64,
    /// Cycles before the window.
    pub warm_up: u64,
    /// Cycles of the window, at least 1; with the warm-up at most 100,000,000.
    pub measured: u64,
    /// What happens after the window.
    pub drain: Drain,
}

/// What sources do after the window, until the measured packets have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drain {
    /// They create nothing more. BookSim2's `sim_type = throughput`. Always ends soon.
    #[default]
    Quiet,
    /// They go on, so that the last measured packets meet as much traffic as the first; packets created in the window
    /// but sent later are measured too. BookSim2's `sim_type = latency`. Where the network is saturated this takes
    /// long; it ends after ten times warm-up and window.
    Loaded,
}

impl Default for TrafficConfig {
    /// Uniform traffic at a rate of 0.1 on 8 x 8, queues of 8, BookSim2's router and periods, seed 1.
    fn default() -> Self {
        Self {
            columns: 8,
            rows: 8,
            pattern: Pattern::Uniform,
            rate: 0.1,
            queue: 8,
            router_cycles: 3,
            seed: 1,
            warm_up: 3000,
            measured: 3000,
            drain: Drain::Quiet,
        }
    }
}

impl TrafficConfig {
    /// Checks every field.
    pub fn check(&self) -> Result<Traffic, TrafficError> {
        let mesh = PacketMesh::new(MeshSize::new(self.columns, self.rows)?, self.queue, self.router_cycles)?;
        let range = |field, value: String, allowed| Err(TrafficError::Range { field, value, allowed });
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            return range("rate", self.rate.to_string(), "above 0 and up to 1 packet per node and cycle");
        }
        if self.seed > LARGEST_SEED {
            return range("seed", self.seed.to_string(), "0 to 1073741823");
        }
        if self.measured == 0 || self.warm_up > LONGEST_RUN || self.measured > LONGEST_RUN - self.warm_up {
            let value = format!("{} after a warm_up of {}", self.measured, self.warm_up);
            return range("measured", value, "at least 1 cycle, and with the warm-up at most 100,000,000");
        }
        self.pattern.check(mesh.size())?;
        Ok(Traffic { mesh, config: self.clone() })
    }
}

/// A checked configuration: what runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    mesh: PacketMesh,
    config: TrafficConfig,
}

impl Traffic {
    /// The mesh.
    pub const fn mesh(&self) -> PacketMesh {
        self.mesh
    }

    /// The configuration that was checked.
    pub const fn config(&self) -> &TrafficConfig {
        &self.config
    }

    /// Bytes of a mesh that is ready to run and holds no packet, per router.
    pub fn idle_bytes_per_router(&self) -> f64 {
        let bytes = Network::new(self.mesh, 0..0).idle_bytes() + self.sources().bytes();
        bytes as f64 / f64::from(self.mesh.size().nodes())
    }

    /// Runs to the end and reports. `progress` is called every 1,024 cycles, more often on large meshes. One thread;
    /// the same configuration gives the same report.
    pub fn run(&self, mut progress: impl FnMut(Progress)) -> Result<TrafficReport, TrafficError> {
        let TrafficConfig { warm_up, measured, rate, .. } = self.config;
        let end = warm_up + measured;
        let mut network = Network::new(self.mesh, warm_up..end);
        let mut sources = self.sources();
        let mut tally = Tally::new(warm_up..end);

        while network.cycle() < end {
            let measured_before = if network.cycle() >= warm_up { u32::MAX } else { 0 };
            network.begin();
            sources.create_and_send(&mut network, measured_before);
            network.finish(|packet, cycle| tally.deliver(packet, cycle));
            checkpoint(&network, end, &mut progress)?;
        }
        let (_, longest_lag) = sources.lag(end);
        let mut saturated = longest_lag as f64 > LAG_OF_SATURATION * end as f64;

        match self.config.drain {
            Drain::Quiet => {
                while network.in_flight() > 0 || sources.any_waiting() {
                    network.begin();
                    sources.send_only(&mut network);
                    network.finish(|packet, cycle| tally.deliver(packet, cycle));
                    checkpoint(&network, end, &mut progress)?;
                }
            }
            Drain::Loaded => {
                let last = 11 * end;
                while tally.latencies.samples() < sources.measured() || sources.any_behind(end) {
                    if network.cycle() >= last {
                        saturated = true;
                        break;
                    }
                    network.begin();
                    sources.create_and_send(&mut network, end as u32);
                    network.finish(|packet, cycle| tally.deliver(packet, cycle));
                    checkpoint(&network, end, &mut progress)?;
                }
            }
        }

        let cycles = network.cycle().max(tally.last_arrival + 1);
        let nodes = u64::from(self.mesh.size().nodes());
        let packets = tally.latencies.samples();
        let Some(mean_latency) = tally.latencies.mean() else {
            return Err(TrafficError::NothingMeasured { cycles, rate });
        };
        Ok(TrafficReport {
            mean_latency,
            p50_latency: tally.latencies.quantile(0.5),
            p99_latency: tally.latencies.quantile(0.99),
            mean_hops: tally.hops as f64 / packets as f64,
            accepted: tally.accepted as f64 / (nodes * measured) as f64,
            offered: rate,
            link_use: LinkUses::of(self.mesh.size(), network.link_flits(), measured),
            packets,
            cycles,
            router_cycles: nodes * cycles,
            flit_hops: network.router_passes(),
            saturated,
        })
    }

    fn sources(&self) -> Sources {
        Sources::new(self.mesh.size(), self.config.pattern.clone(), self.config.rate, self.config.seed)
    }
}

/// At checkpoints: progress, and whether anything is stuck; in debug builds, whether anything is lost.
pub(crate) fn checkpoint(
    network: &Network,
    expected: u64,
    progress: &mut impl FnMut(Progress),
) -> Result<(), TrafficError> {
    if !network.is_checkpoint() {
        return Ok(());
    }
    network.check_moving()?;
    if cfg!(debug_assertions) {
        network.audit()?;
    }
    let in_flight = network.in_flight();
    progress(Progress { cycle: network.cycle(), expected, in_flight, delivered: network.sent() - in_flight });
    Ok(())
}
