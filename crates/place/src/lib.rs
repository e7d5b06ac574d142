//! Where every byte lives: layers on wafers, wafers into slots, slots into tiles, experts into cells, the KV cache on
//! its rows, and a ledger of every byte of every processing element.
//!
//! **Place knows no clock.** Nothing here depends on time, bandwidth or kernels; where a choice is made for speed, it
//! is by a documented geometric proxy. The other invariants: layers are never cut over wafers; slots never overlap; no
//! processing element holds more than its memory; what does not fit says by how much, and how many wafers would do.
//!
//! [`place`] answers a [`Request`] with a [`Placement`]. On the way:
//!
//! | module | owns |
//! |---|---|
//! | [`split`], [`tiling`] | one dimension over a line, one matrix over a rectangle, exact to the byte |
//! | [`cells`], [`experts`] | which copy of a matrix lives where; the strategies for experts, one file each |
//! | [`matrix`], [`vector`] | matrices in copies and replicated vectors, with bounds in closed form |
//! | [`kv_cache`] | keys and values, and how many tokens they are |
//! | `working_memory` | activations, receive buffers, prefill tiles |
//! | [`choices`] | what the caller has chosen by other means than bytes |
//! | [`kinds`] | what of a model is the same for every placement of it |
//! | `blueprint`, `evaluation` | what a layer, a table, a model needs of a region |
//! | `packing`, `interleaved`, `search` | items into slots; which arrangement is best |
//! | [`layout`], [`placement`], [`ledger`], `capacity` | the answer |
//!
//! ```
//! use wafersim_place::{Machine, Request, place};
//! use wafersim_spec::{Bytes, Model};
//!
//! let model = Model::builtin("qwen3-coder-480b-a35b")?;
//! let machine = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
//! let placement = place(&Request { context: 8192, ..Request::new(&model, machine) })?;
//! assert_eq!(placement.wafers, 16);
//! assert!(placement.ledger.worst.worst_pe.sum() <= placement.ledger.limit);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arithmetic;
pub mod arrangement;
mod blueprint;
mod capacity;
pub mod cells;
pub mod choices;
pub mod error;
mod evaluation;
pub mod experts;
mod interleaved;
pub mod item;
pub mod kinds;
pub mod kv_cache;
pub mod layout;
pub mod ledger;
pub mod machine;
pub mod matrix;
mod packing;
pub mod placement;
pub mod request;
mod search;
mod sparse;
pub mod split;
pub mod tiling;
pub mod vector;
mod working_memory;

pub use arrangement::Arrangement;
pub use capacity::UNLIMITED;
pub use cells::CellGrid;
pub use choices::{Choices, Division, ExpertChoice, LayerChoices, Roles, SlotChoice, wide_type};
pub use error::PlaceError;
pub use experts::ExpertLayout;
pub use item::{Item, TablePart};
pub use kinds::Kinds;
pub use kv_cache::{KvContents, KvLayout, KvLayoutChoice, KvLoad, KvSizes, StateContents};
pub use layout::{LayerLayout, TableLayout};
pub use ledger::{ByteCounts, Ledger, SlotLedger, TensorEntry};
pub use machine::Machine;
pub use matrix::PlacedMatrix;
pub use placement::{Divided, Placement, Slot, SlotRange, fits, parts_in, place, place_within};
pub use request::{Fill, Request, Settings, SlotOrder};
pub use sparse::chosen_tokens;
pub use split::{Piece, Split};
pub use tiling::{MatrixTile, Orientation, Tiling, most_elements};
pub use vector::{PlacedVector, VectorAxis};
pub use working_memory::PREFILL_KEY_BLOCK;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
