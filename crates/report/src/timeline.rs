//! A recorded run as a Perfetto trace: cores or rows as tracks, their operators as slices, link use and queues as counters.

use wafersim_answer::fabric::{FabricAnswer, LayerRun};
use wafersim_fabric::circuit::{Record, SliceKind, TICKS_PER_CYCLE, Tick};
use wafersim_timeline::{Trace, Written};

use crate::error::ReportError;

/// Bins of time of each counter.
const BINS: u32 = 1_000;

/// What has to be recorded for a trace of at most so many bytes: a slice takes at least 28 of them.
pub const fn record_for(limit: usize) -> Record {
    Record { slices: limit / 28, bins: BINS }
}

/// The first run that was recorded as a trace of at most `limit` bytes, in which a nanosecond stands for a cycle; nothing where
/// none was recorded. Counters come first, so that slices are what a limit cuts off: in the order of the program.
///
/// # Errors
/// None that a run can cause.
pub fn of_fabric(found: &FabricAnswer, limit: usize) -> Result<Option<Written>, ReportError> {
    let recorded = found.runs.iter().find_map(|run| Some((run, run.outcome.timeline.as_ref()?)));
    let Some((run, timeline)) = recorded else { return Ok(None) };
    let wrong = |error: wafersim_timeline::TimelineError| ReportError::Format {
        format: "Perfetto trace",
        reason: error.to_string(),
    };
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

fn name(found: &FabricAnswer, run: &LayerRun) -> String {
    let layer = &run.layer;
    format!("layer {} of {} on {}", layer.layer, found.answer.model, layer.region)
}

/// Ticks of a 64th of a cycle, at a cycle a nanosecond, rounded down: what follows each other still does.
const fn nanoseconds(ticks: Tick) -> u64 {
    ticks / TICKS_PER_CYCLE
}
