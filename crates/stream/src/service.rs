//! What stands between users and the machine: plans with quotas, accounts that keep them, refusals.
//!
//! Times are simulated. Nothing here knows HTTP, a socket or the engine; `wafersim-serve` and the loads of this crate
//! use the same accounts.

mod account;
mod bucket;
mod plan;

pub use account::{Account, Ask, LimitState, Refusal, Reservation, Used};
pub use bucket::Bucket;
pub use plan::{Counted, Limit, Price, ServicePlan, Window};
