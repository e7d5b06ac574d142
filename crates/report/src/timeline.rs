//! Recorded runs as Perfetto traces. On the fabric: cores or rows as tracks, their operators as slices, link use and
//! queues as counters. Under load: requests as tracks, what they wait for as slices, users, speed and room as counters.

use wafersim_answer::fabric::{FabricAnswer, LayerRun};
use wafersim_fabric::circuit::{Record, SliceKind, TICKS_PER_CYCLE, Tick};
use wafersim_stream::recording::{Phase, Recording};
use wafersim_stream::run::MachineSummary;
use wafersim_timeline::{Trace, Written};

use crate::error::ReportError;
use crate::number::{duration, whole};

/// Bins of time of each counter.
const BINS: u32 = 1_000;

/// What has to be recorded for a trace of at most so many bytes: a slice takes at least 28 of them.
pub const fn record_for(limit: usize) -> Record {
    Record { slices: limit / 28, bins: BINS }
}

/// The first run that was recorded as a trace of at most `limit` bytes, in which a nanosecond stands for a cycle;
/// nothing where none was recorded. Counters come first, so that slices are what a limit cuts off: in the order of the
/// program.
///
/// # Errors
/// None that a run can cause.
pub fn of_fabric(found: &FabricAnswer, limit: usize) -> Result<Option<Written>, ReportError> {
    let recorded = found.runs.iter().find_map(|run| Some((run, run.outcome.timeline.as_ref()?)));
    let Some((run, timeline)) = recorded else { return Ok(None) };
    let mut trace = Trace::new(limit);
    let figures = trace.group(&format!("{}: over the region (1 ns is 1 cycle)", name(found, run)));
    for counter in &timeline.counters {
        let track = trace.counter(figures, counter.name, counter.unit);
        for &(at, value) in &counter.samples {
            trace.sample(track, nanoseconds(at), value);
        }
    }
    let places = trace.group(&format!("{}: by place (1 ns is 1 cycle)", name(found, run)));
    let tracks: Vec<_> = timeline.tracks.iter().map(|track| trace.track(places, &track.name)).collect();
    for slice in &timeline.slices {
        let Some(&track) = tracks.get(slice.track as usize) else { continue };
        let operator = run.outcome.operators.get(slice.operator as usize).map_or("other", |operator| &operator.name);
        let (category, name) = match slice.kind {
            SliceKind::Work => ("work", operator.to_owned()),
            SliceKind::Transfer => ("transfer", format!("{operator}, transfer")),
            SliceKind::Stall => ("stall", format!("{operator}, waiting")),
        };
        trace.slice(track, &name, category, nanoseconds(slice.start), nanoseconds(slice.end)).map_err(wrong)?;
    }
    trace.leave_out(timeline.dropped);
    Ok(Some(trace.finish()))
}

/// Most pieces of requests that a trace of at most so many bytes can hold.
pub const fn pieces_for(limit: usize) -> usize {
    limit / 28
}

/// A run under load as a trace of at most `limit` bytes. Counters come first (means over bins of time), so that slices
/// are what a limit cuts off: those of the requests that came last.
///
/// # Errors
/// None that a run can cause.
pub fn of_stream(machine: &MachineSummary, recording: &Recording, limit: usize) -> Result<Written, ReportError> {
    let mut trace = Trace::new(limit);
    let on = format!("{} on {} x {}", machine.model, machine.wafers, machine.wafer);
    let figures = trace.group(&format!("{on}: in all (means over {})", duration(recording.bin.seconds())));
    for course in &recording.courses {
        let track = trace.counter(figures, course.name, course.unit);
        let mut last = f64::NAN;
        for (bin, mean) in course.means.iter().enumerate() {
            // A value holds until the next one.
            if mean.to_bits() != last.to_bits() {
                trace.sample(track, recording.bin.nanoseconds().saturating_mul(bin as u64), *mean);
            }
            last = *mean;
        }
    }
    let requests = trace.group(&format!("{on}: requests"));
    let mut track = None;
    for piece in &recording.pieces {
        let here = match track {
            Some((request, here)) if request == piece.request => here,
            _ => {
                let tokens = recording.requests.get(&piece.request).map_or_else(String::new, |of| {
                    format!(" ({} + {} tokens)", whole(u64::from(of.prompt)), whole(u64::from(of.output)))
                });
                trace.track(requests, &format!("request {}{tokens}", piece.request))
            }
        };
        track = Some((piece.request, here));
        let (category, name) = match piece.phase {
            Phase::Queued => ("wait", "queued: waits for room"),
            Phase::Turn => ("wait", "waits for its turn"),
            Phase::Prefill => ("prefill", "prefill"),
            Phase::Decode => ("decode", "decode"),
        };
        let (start, end) = (piece.start.nanoseconds(), piece.end.nanoseconds());
        trace.slice(here, name, category, start, end).map_err(wrong)?;
    }
    trace.leave_out(recording.dropped);
    Ok(trace.finish())
}

fn wrong(error: wafersim_timeline::TimelineError) -> ReportError {
    ReportError::Format { format: "Perfetto trace", reason: error.to_string() }
}

fn name(found: &FabricAnswer, run: &LayerRun) -> String {
    let layer = &run.layer;
    format!("layer {} of {} on {}", layer.layer, found.answer.model, layer.region)
}

/// Ticks of a 64th of a cycle, at a cycle a nanosecond, rounded down: what follows each other still does.
const fn nanoseconds(ticks: Tick) -> u64 {
    ticks / TICKS_PER_CYCLE
}
