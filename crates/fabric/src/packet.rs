//! Packet mode: a 2D mesh of packet-switched routers, dimension-ordered (XY) routing, one queue per input port.
//!
//! [`TrafficConfig`] -> [`Traffic`] -> [`TrafficReport`] measures a traffic pattern at a rate; [`MessageConfig`] ->
//! [`Messages`] -> [`MessageReport`] delivers an explicit list of messages and says when each was complete. Both
//! run on the same network ([`network`]), whose timing is that of BookSim2's input-queued router with one virtual channel,
//! lookahead routing and speculative switch allocation (Jiang et al., ISPASS 2013; `src/routers/iq_router.cpp`,
//! `src/allocators/islip.cpp`, `src/trafficmanager.cpp` of github.com/booksim/booksim2). [`router`] says how that
//! router was reduced to a pointer and a holder per output, and `tests/reference.rs` holds the reduction to the full
//! pipeline.
//!
//! ```
//! use wafersim_fabric::packet::{Pattern, TrafficConfig};
//!
//! let config = TrafficConfig { columns: 8, rows: 8, pattern: Pattern::Uniform, rate: 0.05, ..TrafficConfig::default() };
//! let report = config.check()?.run(|_| ())?;
//! assert_eq!(format!("{:.4}", report.mean_latency), "20.8201", "BookSim2 with the same seed: 20.8201");
//! # Ok::<(), wafersim_fabric::packet::TrafficError>(())
//! ```

mod arbiter;
pub mod coordinate;
pub mod error;
mod histogram;
pub mod machine;
mod message;
mod network;
pub mod pattern;
mod random;
mod report;
mod router;
mod sources;
mod tally;
mod traffic;
mod waiting;
mod worklist;

pub use coordinate::{Coordinate, MeshSize};
pub use error::TrafficError;
pub use message::{Message, MessageConfig, MessageReport, Messages};
pub use pattern::{Hotspot, Pattern};
pub use report::{LinkUse, LinkUses, Progress, TrafficReport};
pub use traffic::{Drain, Traffic, TrafficConfig};
