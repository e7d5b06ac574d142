//! The mapping: who does which part where, and who tells whom, as plain data.
//!
//! It owns the decisions and their names, in TOML both ways. It writes no program (`kernels` does), counts no bytes
//! (`place` does) and knows no time (`cost` does).
//!
//! | module | owns |
//! |---|---|
//! | [`layer`] | every decision of one kind of layer with every number: what the kernel writer takes |
//! | [`reduction`] | how sums travel along a line: trees, chains, scatters, roots |
//! | [`kv`], [`experts`], [`verification`] | KV cache, routed experts, drafts |
//! | [`operator`] | the operators of a layer by name, and along which line each one's sums travel |

pub mod experts;
pub mod kv;
pub mod layer;
pub mod operator;
pub mod reduction;
pub mod verification;

pub use experts::{ExpertMapping, ExpertStrategy};
pub use kv::{Append, KvMapping};
pub use layer::{LayerMapping, Overlap, RegionSize, Routes};
pub use operator::{LineKind, OPERATORS, OperatorInfo};
pub use reduction::{Groups, Reduction, Reductions, Root, Tree};
pub use verification::Verification;
pub use wafersim_graph::layer::{Rewrite, RewriteError, Rewrites};
