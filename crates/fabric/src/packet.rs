//! Packet mode: a 2D mesh of packet-switched routers, dimension-ordered (XY) routing, one queue per input port.
//!
//! [`TrafficConfig`] -> [`Traffic`] -> [`TrafficReport`] measures a traffic pattern at a rate; [`MessageConfig`] ->
//! [`Messages`] -> [`MessageReport`] delivers an explicit list of messages and says when each was complete. Both run on
//! the same network, whose timing ([`mesh`]) is that of BookSim2's input-queued router with one virtual channel,
//! lookahead routing and speculative switch allocation (Jiang et al., ISPASS 2013; `src/routers/iq_router.cpp`,
//! `src/allocators/islip.cpp`, `src/trafficmanager.cpp` of github.com/booksim/booksim2). `router.rs` says how that
//! router was reduced to a pointer and a holder per output; `tests/reference` holds the reduction to the full pipeline.
//!
//! What it is not: packets have one flit, queues are not divided into virtual channels, and there is one network. A
//! packet that waits behind another for a different output waits (head-of-line blocking): under uniform traffic on 8 x
//! 8 three quarters of the bisection bandwidth is what such routers deliver. One thread runs a network.
//!
//! ```
//! use wafersim_fabric::packet::{Drain, Pattern, TrafficConfig};
//!
//! let pattern = Pattern::Uniform;
//! let drain = Drain::Loaded;
//! let config = TrafficConfig { columns: 8, rows: 8, pattern, rate: 0.05, drain, ..TrafficConfig::default() };
//! let report = config.check()?.run(|_| ())?;
//! assert_eq!(format!("{:.4}", report.mean_latency), "20.8203", "as BookSim2 says");
//! # Ok::<(), wafersim_fabric::packet::TrafficError>(())
//! ```

mod arbiter;
pub mod coordinate;
pub mod error;
mod histogram;
pub mod mesh;
mod message;
mod network;
pub mod pattern;
mod random;
mod report;
mod ring;
mod router;
mod sources;
mod tally;
pub mod trace;
mod traffic;
mod waiting;
mod worklist;

pub use coordinate::{Coordinate, MeshSize};
pub use error::TrafficError;
pub use mesh::PacketMesh;
pub use message::{Message, MessageConfig, MessageReport, Messages};
pub use pattern::{Hotspot, Pattern};
pub use report::{LinkUse, LinkUses, Progress, TrafficReport};
pub use trace::read_trace;
pub use traffic::{Drain, Traffic, TrafficConfig};
