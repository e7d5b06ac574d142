//! What was wrong with the input of packet mode, and what would be allowed.

use thiserror::Error;

use super::coordinate::{Coordinate, LONGEST_SIDE};

/// Why packet mode cannot run, or did not come to an end.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TrafficError {
    /// A side of the mesh is too short or too long.
    #[error("a mesh of {columns} x {rows} routers; allowed: 1 to {LONGEST_SIDE} on each side")]
    Mesh {
        /// Columns that were asked for.
        columns: u32,
        /// Rows that were asked for.
        rows: u32,
    },
    /// A number is outside its range.
    #[error("{field} is {value}; allowed: {allowed}")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would have been accepted.
        allowed: &'static str,
    },
    /// No pattern has this name.
    #[error("unknown traffic pattern '{name}'; allowed: {}", super::pattern::NAMES.join(", "))]
    UnknownPattern {
        /// What was written.
        name: String,
    },
    /// The pattern needs a square mesh.
    #[error(
        "transpose exchanges rows and columns, and the mesh is {columns} x {rows}; allowed: as many rows as columns"
    )]
    NotSquare {
        /// Columns of the mesh.
        columns: u32,
        /// Rows of the mesh.
        rows: u32,
    },
    /// A node is named that the mesh does not have.
    #[error("{what} is at {place}, outside the mesh; allowed: columns 0 to {}, rows 0 to {}",
        columns.saturating_sub(1), rows.saturating_sub(1))]
    Outside {
        /// What is there: "hot spot 0", "source of message 3".
        what: String,
        /// Where it would be.
        place: Coordinate,
        /// Columns of the mesh.
        columns: u32,
        /// Rows of the mesh.
        rows: u32,
    },
    /// A line of a trace is wrong.
    #[error("{file}, line {line}: {problem}")]
    Trace {
        /// The file.
        file: String,
        /// The line, from 1.
        line: u64,
        /// What is there, and what is allowed.
        problem: String,
    },
    /// The measured window saw no packet: there is nothing to report.
    #[error(
        "no packet was delivered in {cycles} cycles at rate {rate}; use a higher rate, a longer window or more nodes"
    )]
    NothingMeasured {
        /// Cycles that were simulated.
        cycles: u64,
        /// Packets per node and cycle.
        rate: f64,
    },
    /// The messages were not all delivered within the cycles that were allowed.
    #[error("{missing} of {flits} flits were not delivered after {cycles} cycles; allow more cycles (max_cycles)")]
    Unfinished {
        /// Cycles that were simulated.
        cycles: u64,
        /// Flits that had not arrived.
        missing: u64,
        /// Flits in all.
        flits: u64,
    },
    /// Flits are in the network and none can move. XY routing cannot deadlock, so this is a bug.
    #[error("a bug in wafersim: {flits} flits are stuck at cycle {cycle}; first: {first}")]
    Stuck {
        /// The cycle.
        cycle: u64,
        /// Flits in the network.
        flits: u64,
        /// The first router that waits, its port and what it waits for.
        first: String,
    },
    /// Flits or credits were lost or made. This is a bug.
    #[error("a bug in wafersim: at cycle {cycle} {what}")]
    Conservation {
        /// The cycle.
        cycle: u64,
        /// What does not add up.
        what: String,
    },
}
