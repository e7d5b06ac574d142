//! The dataflow language that wafer kernels are written in: the few words of which every kernel is made.
//!
//! A [`Program`] is a tree of [`Node`]s over a rectangle of processing elements. Its leaves are [`Step`]s: chain
//! reduce, multicast, reduce-scatter, all-gather, shift, relayout, vector work, route change, synchronisation. Each
//! says who takes part (a [`Region`] and an axis), what travels (a [`Buffer`], elements, data type), on which colors,
//! and what is computed.
//!
//! Three readings share it: *cost* adds it up in closed form, *fabric* lowers it to routes and wavelets, *values*
//! computes it with numbers. This crate knows no time and no wafer.
//!
//! ```
//! use wafersim_program::{Axis, Program, Region, collective, ReduceOperator};
//! use wafersim_spec::DataType;
//!
//! let region = Region::new(0, 0, 16, 16);
//! let mut program = Program::new("row sums", region);
//! let sums = program.buffer("sums", 4, DataType::Fp16);
//! let steps = collective::all_reduce(&mut program, Axis::Y, 4, sums, ReduceOperator::Add);
//! program.push("all-reduce", steps);
//! assert_eq!(program.steps().count(), 3, "chains in the groups, chain of the roots, multicast");
//! ```

mod brand;
pub mod buffer;
pub mod collective;
pub mod formula;
mod hops;
pub mod layout;
pub mod memory;
mod moved;
pub mod movement;
pub mod pieces;
pub mod program;
pub mod runs;
pub mod sent;
pub mod step;
pub mod traffic;
pub mod transfer;
pub mod work;

pub use buffer::{Buffer, BufferId, Color};
pub use formula::{
    Chosen, Factor, Formula, GainName, HeadPart, Operand, Pair, Pairs, Part, Rescaled, Scaling, ScorePart, Stored,
    Weight, WeightId,
};
pub use layout::{Cached, Digit, Dimension, Field, Layout, Place, Ring, RowOrder, Spread};
pub use memory::Peak;
pub use movement::{Element, Movement, Piece, Wanted, movement};
pub use pieces::{AllGather, Flow, Owners, Parties, Pieces, Purpose, ReduceScatter, Share, shares};
pub use program::{ColorPurpose, Node, Order, Program, Resident};
pub use runs::{Run, Runs};
pub use sent::{KnownMovements, LinesAlike, Sent, movements, sent_along};
pub use step::{
    Action, Broadcast, ChainReduce, Compute, End, Multicast, Path, ReduceOperator, Relayout, Root, RouteChange,
    Segment, Shift, Stagger, Step, Style, Synchronise,
};
pub use traffic::Traffic;
pub use transfer::Transfer;
pub use wafersim_spec::region::{self, Axis, Region};
pub use work::{Math, Operation, Work};
