//! Tracks with slices and counters over time, written as a Perfetto trace (TrackEvent packets of the public schema
//! `perfetto_trace.proto`): <https://ui.perfetto.dev> opens it, and Perfetto's trace processor reads it.
//!
//! A [`Trace`] is written front to back under a limit of bytes, so that it never floods a disk: what is beyond the
//! limit is counted and left out, and the trace says so itself. Who adds counters first keeps them.
//!
//! This crate knows names and times in nanoseconds; nothing of wafers, requests or files. The same calls give the same
//! bytes.
//!
//! ```
//! use wafersim_timeline::Trace;
//!
//! let mut trace = Trace::new(1 << 20);
//! let machine = trace.group("machine");
//! let queue = trace.counter(machine, "deepest queue", "wavelets");
//! let core = trace.track(machine, "PE 3,4");
//! trace.sample(queue, 0, 2.0);
//! trace.slice(core, "attention.norm", "work", 0, 120)?;
//! let written = trace.finish();
//! assert_eq!((written.slices, written.left_out), (1, 0));
//! # Ok::<(), wafersim_timeline::TimelineError>(())
//! ```

mod schema;
mod trace;

pub use trace::{Group, TimelineError, Trace, TrackId, Written};
