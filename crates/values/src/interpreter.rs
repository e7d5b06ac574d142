//! The interpreter: processing elements with memory, what they compute by themselves, and what moves between them.
//!
//! Three things are apart, so that something else than this interpreter (the fabric) can carry the words:
//!
//! | part | function |
//! |---|---|
//! | the memory of a processing element | [`PeState`], made of [`Tile`]s that know which elements they hold |
//! | one step's mathematics in one processing element | [`compute_at`] |
//! | what a transfer takes from a sender and does at a receiver | [`outgoing`], [`incoming`] |
//!
//! [`execute`] runs a whole program with them: steps in order, transfers in the order of `Step::transfers` (chains from
//! the outside to their root), rounding to the buffer's format at every element operation.

mod attention;
mod cache;
mod compute;
mod experts;
mod group;
mod linear;
mod norm;
mod pieces;
mod prepared;
mod product;
mod ring;
mod rounding;
mod router;
mod run;
mod sparse;
mod state;
mod stored;
mod transfer;
mod weights;

pub use compute::{Context, compute_at};
pub use pieces::{held, written};
pub use prepared::Prepared;
pub use ring::{Piece, Way, join_ring, leave_ring};
pub use rounding::Rounding;
pub use run::{MeshState, execute, residents};
pub use state::{Numbers, PeState, Tile};
pub use stored::Blocks;
pub use transfer::{Arrival, combine, incoming, outgoing};
pub use weights::{TileName, Tiles};
