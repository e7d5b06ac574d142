//! A generative model of routing.
//!
//! In every layer each expert has a popularity (a parametrised law over ranks, dealt to experts anew for each kind of
//! work), and each user has an affinity to each expert that lasts for some tokens. A token draws its experts one after
//! the other without replacement with chances in proportion to
//!
//! ```text
//! weight = exp(base of the expert's rank + spread of the layer x affinity)
//! ```
//!
//! which is the top k of (logarithm of the weight + Gumbel noise). Affinities are uniform with mean 0 and variance 1;
//! for each token and layer, `experts / persistence` of them in the mean, chosen uniformly, are drawn anew. So the
//! chance that an expert is used does not depend on how long affinities last: popularity (the bases) and stickiness
//! (the spreads) are calibrated one after the other, by [`calibration`](crate::synthetic), from [`RoutingParameters`].

mod calibration;
mod generator;
mod law;
mod parameters;
mod profile;
mod sampler;
mod settings;

pub use generator::{Generator, generate};
pub use law::popularity;
pub use parameters::{DESCRIBED, Described, RoutingParameters};
pub use profile::{LayerTarget, layer_targets};
pub use sampler::{ExpertSampler, RoutingLaw};
pub use settings::{SyntheticSettings, Workload};
