//! The fabric reading of a program: every wavelet of a dataflow program through every router of the mesh, over static
//! routes by color.
//!
//! Life cycle: a [`wafersim_program::Program`] is lowered ([`lower`]) to a [`Lowered`] program, which [`run`] runs to
//! an [`Outcome`] or a [`CircuitError`]. [`route`] holds streams and operations, [`lowered`] the order in which each
//! processing element follows the program, [`timing`] the machine's times in ticks. Two engines give the same result:
//! one takes runs of wavelets that meet nobody as one (`streams`), the other moves them one by one (`wavelets`).
//!
//! Nothing here knows the closed form; the tests hold the two readings together.
//!
//! ```
//! use wafersim_fabric::circuit;
//! use wafersim_program::{Action, Axis, Multicast, Program, Region, Style};
//! use wafersim_spec::{DataType, Wafer, wafer::RateSet};
//!
//! let mut program = Program::new("one message over 16 hops", Region::new(0, 0, 17, 1));
//! let payload = program.buffer("payload", 2, DataType::Fp16);
//! let colors = program.new_colors(1);
//! let cast = Multicast { axis: Axis::X, from: 0, span: 17, stride: 1, style: Style::Streaming, payload, colors };
//! let node = program.step(Action::Multicast(cast));
//! program.push("message", vec![node]);
//!
//! let wafer = Wafer::builtin("wse3")?;
//! let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|_| 0.0)?;
//! let outcome = circuit::run(&lowered, |_| ())?;
//! assert_eq!(outcome.cycles.0, 40.0 + 2.0 * 16.0, "measured on a CS-3");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cells;
mod check;
pub mod colors;
pub mod contents;
pub mod error;
mod laid;
mod lower;
pub mod lowered;
pub mod outcome;
mod pattern;
mod recorder;
pub mod route;
mod streams;
pub mod timeline;
pub mod timing;
mod together;
mod wavelets;

pub use colors::{Busiest, ColorUse, Given, Rerouted};
pub use contents::{Contents, Core, StreamId};
pub use error::{CircuitError, Deadlock, Waiter, Waiting, Wants};
pub use lower::{WorkCycles, fits_in_routers, lower, lower_names};
pub use lowered::{Lowered, Part, Stage};
pub use outcome::{Engine, Maps, OperatorTime, Outcome, Progress, Tally};
use recorder::Plan;
pub use route::{Area, CoreOperation, Direction, Lines, Stream};
pub use streams::bytes_per_element;
pub use timeline::{Counter, Record, Slice, SliceKind, Timeline, Track};
pub use timing::{TICKS_PER_CYCLE, Tick, Timing};
pub use together::{run_all, side_by_side};
pub use wavelets::BYTES_PER_IDLE_ELEMENT;

/// Processing elements that are simulated at most: 4096 x 4096.
const MOST_ELEMENTS: u64 = 4096 * 4096;

/// Runs a program: as streams where they meet nobody, else wavelet by wavelet. The result is the same but for
/// [`Outcome::engine`] and [`Tally::events`].
///
/// # Errors
/// [`CircuitError::Deadlock`] where nothing can move; never for a program in the order of which every wavelet has a
/// receiver.
pub fn run(lowered: &Lowered, progress: impl FnMut(Progress)) -> Result<Outcome, CircuitError> {
    run_planned(lowered, None, progress)
}

/// Runs a program as [`run`] does, and keeps what happened over time in [`Outcome::timeline`].
///
/// # Errors
/// As [`run`].
pub fn run_recorded(
    lowered: &Lowered,
    record: &Record,
    progress: impl FnMut(Progress),
) -> Result<Outcome, CircuitError> {
    run_planned(lowered, Some(Plan::new(lowered, *record)), progress)
}

fn run_planned(
    lowered: &Lowered,
    plan: Option<Plan>,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, CircuitError> {
    check(lowered)?;
    match streams::run(lowered, plan.as_ref(), &mut progress) {
        Ok(outcome) => Ok(outcome),
        Err(streams::CannotTell) => wavelets::run(lowered, plan.as_ref(), (), &mut progress),
    }
}

/// Runs a program wavelet by wavelet, whether it needs to be or not.
///
/// # Errors
/// As [`run`].
pub fn run_wavelets(lowered: &Lowered, progress: impl FnMut(Progress)) -> Result<Outcome, CircuitError> {
    check(lowered)?;
    wavelets::run(lowered, None, (), progress)
}

/// Runs a program wavelet by wavelet, each of which carries a word of `contents`. Times are those of [`run`].
///
/// # Errors
/// As [`run`].
pub fn run_carrying(
    lowered: &Lowered,
    contents: &mut impl Contents,
    progress: impl FnMut(Progress),
) -> Result<Outcome, CircuitError> {
    check(lowered)?;
    wavelets::run(lowered, None, contents, progress)
}

fn check(lowered: &Lowered) -> Result<(), CircuitError> {
    let elements = lowered.elements() as u64;
    if elements > MOST_ELEMENTS {
        return Err(CircuitError::TooLarge {
            what: "the number of processing elements",
            value: elements,
            largest: MOST_ELEMENTS,
        });
    }
    lowered.check()
}
