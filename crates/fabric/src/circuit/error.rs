//! What can be wrong with a program on a fabric, and what a fabric that cannot move says.

use std::fmt;

use thiserror::Error;

use super::route::Direction;

/// A program that cannot be lowered, or that did not end.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CircuitError {
    /// More colors than a router has.
    #[error(
        "the program's {names} color names need {wanted} colors, and a router has {available} (fabric.colors): share routes \
         between steps"
    )]
    Colors {
        /// Names that the program's steps use.
        names: u32,
        /// Colors that they need: those that meet in a router with different routes differ.
        wanted: u32,
        /// Colors of a router.
        available: u32,
    },
    /// Two sources meet on one color in one router.
    #[error(
        "operator '{operator}': color {color} has two sources in the router of column {column}, row {row}: routers cannot merge; use another color"
    )]
    TwoSources {
        /// The operator of the program.
        operator: String,
        /// The program's color.
        color: u32,
        /// Column of the first such router.
        column: u64,
        /// Row of the first such router.
        row: u64,
    },
    /// Steps that run at the same time share a color on the same processing elements.
    #[error("operator '{operator}': transfers that run at the same time share color {color}: give each its own")]
    SharedColor {
        /// The operator of the program.
        operator: String,
        /// The program's color.
        color: u32,
    },
    /// A relayout that its layouts do not allow.
    #[error("operator '{operator}': {problem}")]
    Movement {
        /// The operator of the program.
        operator: String,
        /// Why not.
        problem: String,
    },
    /// A region reaches beyond the fabric.
    #[error("operator '{operator}' reaches column {column} and row {row}; the fabric has {columns} x {rows}")]
    OutsideFabric {
        /// The operator of the program.
        operator: String,
        /// Last column.
        column: u64,
        /// Last row.
        row: u64,
        /// Columns of the fabric.
        columns: u64,
        /// Rows of the fabric.
        rows: u64,
    },
    /// Two programs want the same processing element.
    #[error(
        "programs {first} and {second} (counted from 0) both want column {column}, row {row}: give each its own rectangle"
    )]
    Overlap {
        /// Index of the one.
        first: usize,
        /// Index of the other.
        second: usize,
        /// First column that they share.
        column: u64,
        /// First row that they share.
        row: u64,
    },
    /// Too much for counters or memory.
    #[error("{what} is {value}; at most {largest} are simulated: make the program smaller")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        value: u64,
        /// The limit.
        largest: u64,
    },
    /// A lowered program that no lowering would write.
    #[error("the lowered program is malformed: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// Nothing can move any more, and the program has not ended.
    #[error("{0}")]
    Deadlock(Box<Deadlock>),
    /// A bug in wafersim.
    #[error("a bug in wafersim: {0}; please report it with the program")]
    Bug(String),
}

/// One that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Column.
    pub column: u64,
    /// Row.
    pub row: u64,
    /// The program step (index in the unrolled program) whose wavelet or operation waits.
    pub step: u64,
    /// The operator that it belongs to.
    pub operator: String,
    /// What waits.
    pub who: Waiter,
}

/// What waits for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiter {
    /// The core's operation waits for wavelets of a color.
    Receive {
        /// Physical color.
        color: u16,
        /// Wavelets still missing.
        missing: u64,
    },
    /// The core's operation cannot send.
    Send {
        /// Physical color.
        color: u16,
        /// Wavelets not yet sent.
        left: u64,
    },
    /// The core waits for its neighbours.
    Neighbours,
    /// A queue whose first wavelet cannot leave.
    Queue {
        /// Physical color.
        color: u16,
        /// The way it travels; nothing for wavelets from the router's own core.
        travels: Option<Direction>,
        /// Wavelets in the queue.
        words: u64,
        /// What it waits for.
        wants: Wants,
    },
}

/// What a wavelet waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A place in the queue of the next router.
    Place(Direction),
    /// The core to run the operation that takes it.
    Core,
}

/// A fabric that cannot move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deadlock {
    /// Cycle of the last movement.
    pub cycle: u64,
    /// All that wait.
    pub waiting: u64,
    /// The first of them, by row, column and color.
    pub first: Vec<Waiting>,
}

impl fmt::Display for Deadlock {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "deadlock at cycle {}: {} wait and nothing can move", self.cycle, self.waiting)?;
        for waiting in &self.first {
            let Waiting { column, row, step, operator, who } = waiting;
            write!(out, "\n  column {column}, row {row}, step {step} ({operator}): ")?;
            match who {
                Waiter::Receive { color, missing } => write!(out, "waits for {missing} wavelets of color {color}")?,
                Waiter::Send { color, left } => write!(out, "cannot send {left} wavelets on color {color}")?,
                Waiter::Neighbours => write!(out, "waits for its neighbours")?,
                Waiter::Queue { color, travels, words, wants } => {
                    match travels {
                        Some(direction) => write!(out, "{words} wavelets of color {color} going {direction} ")?,
                        None => write!(out, "{words} wavelets of color {color} from the core ")?,
                    }
                    match wants {
                        Wants::Place(direction) => write!(out, "wait for a place {direction}")?,
                        Wants::Core => write!(out, "wait for the core to take them")?,
                    }
                }
            }
        }
        if self.waiting > self.first.len() as u64 {
            write!(out, "\n  ... and {} more", self.waiting - self.first.len() as u64)?;
        }
        Ok(())
    }
}
