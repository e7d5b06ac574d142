//! Where two readings of a program meet: the fabric moves its wavelets, and each carries the number that the numeric
//! reading says. What lies in every processing element at the end must be the same, bit for bit.
//!
//! The fabric knows no numbers and the numeric reading no wavelets; this crate joins them. [`carry`] lowers a program,
//! runs it wavelet by wavelet and gives a word to each; every core computes with
//! [`wafersim_values::interpreter::compute_at`] when the fabric lets it begin, and with what has arrived by then.
//! [`compare()`] holds the result to the numeric reading.
//!
//! | file | owns |
//! |---|---|
//! | `words` | numbers as 32-bit words: one fp32, or two of 16 bits |
//! | `contents` | what a core sends, combines and keeps, for each word of the language |
//! | `core_state` | what a core holds while it is inside a step |
//! | `compare` | two machines, bit for bit |
//!
//! Only numbers travel. Which elements they are is known before a program runs (its layouts say so), and their receiver
//! looks it up with the sender: a word that arrives in the wrong place, out of order or not at all is a wrong number,
//! not a message.

mod compare;
mod contents;
mod core_state;
mod words;

use thiserror::Error;
use wafersim_fabric::circuit::{self, CircuitError, Lowered, Outcome, WorkCycles};
use wafersim_program::{Operand, Program};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;
use wafersim_values::ValuesError;
use wafersim_values::interpreter::{MeshState, Prepared, Tile, Tiles, residents};

pub use compare::{Agreement, Difference, compare};
pub use contents::Carrying;

/// Processing elements times steps that are run at most: the engine visits each.
const MOST_VISITS: u64 = 1 << 27;

/// Why a program could not be carried.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CarriedError {
    /// The fabric refuses the program, or it does not end.
    #[error("the fabric: {0}")]
    Fabric(#[from] CircuitError),
    /// A weight is missing.
    #[error("{0}")]
    Values(String),
    /// A step cannot do what its numbers need.
    #[error("column {column}, row {row}, step {step} ({operator}): {problem}")]
    Step {
        /// Column.
        column: u64,
        /// Row.
        row: u64,
        /// Place in the schedule of the lowered program.
        step: u64,
        /// The operator of the program.
        operator: String,
        /// What is wrong.
        problem: String,
    },
    /// Too large.
    #[error(
        "{elements} processing elements through {steps} steps are too many to carry numbers; at most {largest} of the one \
         times the other: take a smaller grid"
    )]
    TooLarge {
        /// Processing elements.
        elements: u64,
        /// Steps, loops unrolled.
        steps: u64,
        /// The limit.
        largest: u64,
    },
}

impl From<ValuesError> for CarriedError {
    fn from(error: ValuesError) -> Self {
        Self::Values(error.to_string())
    }
}

/// The machine that a program is lowered for.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    /// The wafer.
    pub wafer: &'a Wafer,
    /// Which of its rates.
    pub set: RateSet,
    /// Cycles of vector work, which the closed form knows.
    pub work_cycles: WorkCycles<'a>,
}

impl Device<'_> {
    /// Lowers a program.
    ///
    /// # Errors
    /// As [`circuit::lower`].
    pub fn lower(&self, program: &Program) -> Result<Lowered, CarriedError> {
        Ok(circuit::lower(program, self.wafer, self.set, self.work_cycles)?)
    }
}

/// What a run has left behind.
#[derive(Debug)]
pub struct Carried {
    /// The processing elements.
    pub mesh: MeshState,
    /// Times and counts.
    pub outcome: Outcome,
}

/// Runs a program from its start to its end, its numbers carried by wavelets. `before`: what the processing elements
/// hold; `tiles`: all weights that it uses, as the numeric reading has left them.
///
/// # Errors
/// Where the fabric refuses the program, or a step does not find what it needs.
pub fn carry(
    prepared: &Prepared,
    before: &MeshState,
    (tiles, layer): (&Tiles<'_>, usize),
    device: &Device<'_>,
) -> Result<Carried, CarriedError> {
    let lowered = device.lower(&prepared.program)?;
    let (elements, steps) = (lowered.elements() as u64, lowered.schedule.len() as u64);
    if elements.saturating_mul(steps) > MOST_VISITS {
        return Err(CarriedError::TooLarge { elements, steps, largest: MOST_VISITS });
    }
    let mut mesh = before.clone();
    residents(prepared, &mut mesh, tiles, layer, 0)?;
    lay_empty(prepared, &mut mesh);
    let mut carrying = Carrying::new(prepared, &lowered, (tiles, layer), mesh);
    let outcome = circuit::run_carrying(&lowered, &mut carrying, |_| ())?;
    Ok(Carried { mesh: carrying.finish()?, outcome })
}

/// Where the layout of a buffer holds nothing, no word arrives, and steps that the whole region does find an empty
/// tile.
fn lay_empty(prepared: &Prepared, mesh: &mut MeshState) {
    for (buffer, declared) in prepared.program.buffer_ids().zip(&prepared.program.buffers) {
        let fields = declared.layout.as_ref().map_or(0, |layout| layout.fields.len() as u32);
        for (index, pe) in mesh.pes.iter_mut().enumerate() {
            let held = |field: u32| prepared.held(Operand::new(buffer, field), index);
            let is_empty = |field| held(field).is_none_or(|(rows, inner)| rows.is_empty() || inner.is_empty());
            if !pe.buffer(buffer).is_empty() || !(0..fields).all(is_empty) {
                continue;
            }
            for field in 0..fields {
                let (rows, inner) = held(field).cloned().unwrap_or_default();
                pe.put(Operand::new(buffer, field), Tile { rows, inner, values: Vec::new() });
            }
        }
    }
}
