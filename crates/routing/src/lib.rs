//! Which experts each token chooses: traces, what they say, and a generator of synthetic ones.
//!
//! It owns the trace format (JSON Lines to exchange, a checked binary form for speed), the statistics of a trace, a
//! generative model of routing with its parameters and their sources, and the loads that batches put on experts. It
//! knows no wafer, no placement and no time, and it opens no file: readers take anything that can be read.
//!
//! | module | owns |
//! |---|---|
//! | [`header`], [`token`] | what a trace says of itself; one token's choice in all layers; sources of tokens |
//! | [`jsonl`], [`binary`] | the two forms of a file |
//! | [`ahead`] | a second thread that reads while the first one counts |
//! | [`statistics`] | popularity, reuse and batches, by layer |
//! | [`synthetic`] | the generative model, its parameters, the sampler, the generator |
//! | [`choose`] | the interface for simulations: the next choice of each user of a micro-batch |
//! | [`import`], [`export`] | files of other programs: which experts each token chose, or how often each was chosen |
//! | [`counts`] | how often each expert was chosen, and tokens drawn from it |
//! | [`load`] | pairs, distinct experts and the busiest place of batches drawn from a trace |
//!
//! ```
//! use wafersim_routing::{SyntheticSettings, generate, statistics::inspect};
//!
//! let settings = SyntheticSettings { layers: 4, tokens: 400, users: 4, ..SyntheticSettings::qwen3_30b() };
//! let said = inspect(&mut generate(&settings)?)?;
//! assert_eq!(said.layers.len(), 4);
//! assert!(said.mean.gini > 0.3);
//! # Ok::<(), wafersim_routing::RoutingError>(())
//! ```

pub mod ahead;
pub mod binary;
mod check;
pub mod choose;
pub mod counts;
pub mod error;
pub mod export;
pub mod header;
pub mod import;
pub mod jsonl;
pub mod load;
pub mod statistics;
pub mod synthetic;
pub mod token;

pub use choose::{Replay, Routing};
pub use counts::Counts;
pub use error::RoutingError;
pub use header::Header;
pub use synthetic::{ExpertSampler, Generator, RoutingParameters, SyntheticSettings, Workload, generate};
pub use token::{Token, TokenSource, Trace};
