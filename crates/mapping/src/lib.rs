//! The mapping: who does which part where, and who tells whom, as plain data.
//!
//! It owns the decisions and their names, in TOML both ways. It writes no program (`kernels` does), counts no bytes
//! (`place` does) and knows no time (`cost` does).
//!
//! | module | owns |
//! |---|---|
//! | [`recipe`] | a mapping that fits any model: sizes are shares, divisors, numbers or left to the program |
//! | [`resolved`] | a mapping with every number, the recipe it came from, and hashes of what it was resolved for |
//! | [`mapped`] | from the one to the other: a placement with the decisions of each layer; all ways there are |
//! | [`layer`] | every decision of one kind of layer with every number: what the kernel writer takes |
//! | [`reduction`] | how sums travel along a line: trees, chains, scatters, roots |
//! | [`collective`], [`own`] | all-reduces from outside; code from outside in a mapping, under its id |
//! | [`routing`] | how tokens choose experts: models of a scenario, own ones |
//! | `common` | what all recipes for one model have in common |
//! | [`kv`], [`experts`], [`dealing`] | KV cache, routed experts and who deals them, drafts |
//! | [`operator`], [`areas`] | the operators of a layer by name, their lines and rectangles |
//! | [`certificate`] | what has been shown of a resolved mapping |
//! | [`builtin`], [`random`] | the recipes of `models/mapping`; random ones |
//! | [`inputs`], [`hash`], [`error`] | model, wafer and load; what they mean; what is wrong |
//!
//! ```
//! use wafersim_mapping::{Inputs, Load, Recipe, Resolved, resolve};
//! use wafersim_spec::scenario::{RoutingModel, WaferCount};
//! use wafersim_spec::{Model, Precision, Wafer};
//!
//! let (model, wafer) = (Model::builtin("qwen3-8b")?, Wafer::builtin("wse3")?);
//! let load = Load {
//!     wafers: WaferCount::Exactly(1),
//!     users: 1,
//!     context: 8192,
//!     tokens_per_step: 1,
//!     precision: Precision::default(),
//!     routing: RoutingModel::Skewed,
//! };
//! let inputs = Inputs::new(&model, &wafer, load);
//! let resolved = resolve(&Recipe::builtin("interleaved")?, inputs)?;
//! // 36 layers share two slots: each processing element holds a tile of 18 of them.
//! assert_eq!((resolved.slots.len(), resolved.division.layers_per_slot), (2, 18));
//! let text = resolved.to_toml();
//! assert_eq!(Resolved::parse(&text, "saved.toml")?.to_toml(), text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod areas;
pub mod builtin;
pub mod certificate;
mod choice;
pub mod collective;
mod common;
pub mod dealing;
pub mod error;
pub mod experts;
pub mod hash;
pub mod inputs;
pub mod kv;
pub mod layer;
pub mod mapped;
pub mod operator;
pub mod own;
mod pinned;
pub mod random;
pub mod recipe;
pub mod reduction;
pub mod resolved;
pub mod routing;
mod text;
mod ways;

pub use areas::{PARTS, Part};
pub use certificate::{Certificate, CertificatePart, CertificateState, PartName, PartState};
pub use choice::Mapping;
pub use collective::{Collective, Lines};
pub use common::Common;
pub use error::{Difference, MappingError};
pub use experts::{ExpertMapping, Experts, OwnExperts};
pub use inputs::{Inputs, Load};
pub use kv::{Append, KvMapping};
pub use layer::{LayerMapping, Overlap, RegionSize, Routes};
pub use mapped::{LayerPlace, Mapped, Mapper, candidate_micro_batches, micro_batch_ladder, on_region};
pub use operator::{LineKind, OPERATORS, OperatorInfo};
pub use own::Own;
pub use random::{random_recipe, random_recipe_for};
pub use recipe::KvRecipe;
pub use recipe::{Recipe, RectangleRecipe, Stored, Width};
pub use reduction::{Groups, Reduction, Reductions, Root, Tree};
pub use resolved::{Resolved, resolve};
pub use routing::{ExpertUse, OwnRouting, RoutingWeights};
pub use wafersim_graph::layer::{OwnRewrite, OwnRewrites, Rewrite, RewriteError, RewriteRefused, Rewrites};
pub use wafersim_spec::scenario::Verification;
