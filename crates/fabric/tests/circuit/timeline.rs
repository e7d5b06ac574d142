//! What a recorded run keeps: nothing overlaps, nothing is lost, nothing changes, whatever the number of threads.

use rayon::ThreadPoolBuilder;
use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Engine, Lowered, Outcome, Record, SliceKind, Timeline};
use wafersim_program::Program;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

use crate::programs;

fn lowered(program: &Program) -> Lowered {
    let wafer = Wafer::builtin("wse3").unwrap();
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    circuit::lower(program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap()
}

fn recorded(lowered: &Lowered, slices: usize) -> (Outcome, Timeline) {
    let mut outcome = circuit::run_recorded(lowered, &Record { slices, bins: 100 }, |_| ()).unwrap();
    let timeline = outcome.timeline.take().unwrap();
    (outcome, timeline)
}

#[test]
fn recording_changes_nothing_and_adds_up() {
    for (columns, rows) in [(5, 9), (24, 20)] {
        let contended = [false, true].map(|both| ("contended", programs::all_gather(columns, rows, both)));
        for (name, program) in programs::library(columns, rows).into_iter().chain(contended) {
            let lowered = lowered(&program);
            let (outcome, timeline) = recorded(&lowered, 1 << 20);
            assert_eq!(outcome, circuit::run(&lowered, |_| ()).unwrap(), "{name}");
            let small = columns <= 16;
            assert_eq!(timeline.tracks.len() as u64, if small { columns * rows } else { rows });
            assert_eq!(timeline.tracks[1].name, if small { "PE 1,0" } else { "row 1" });
            assert_eq!(timeline.dropped, 0, "{name}");

            // A track is a way through time: its slices follow one another, and none is empty.
            let end = (outcome.cycles.0 * 64.0) as u64;
            let mut shown = vec![0; timeline.tracks.len()];
            for slice in &timeline.slices {
                let shown = &mut shown[slice.track as usize];
                assert!(slice.start >= *shown && slice.end > slice.start && slice.end <= end, "{name}: {slice:?}");
                assert!((slice.operator as usize) < outcome.operators.len());
                *shown = slice.end;
            }
            assert_eq!(shown.iter().max(), Some(&end), "{name}: some track lasts to the end");

            let counter = |wanted: &str| {
                let found = timeline.counters.iter().find(|counter| counter.name == wanted).unwrap();
                assert!(found.samples.len() <= 100);
                let ends = found.samples.iter().skip(1).map(|sample| sample.0).chain([end]);
                let weighted =
                    found.samples.iter().zip(ends).map(|(&(start, value), end)| value * (end - start) as f64);
                (weighted.sum::<f64>(), found.samples.last().unwrap().1, &found.samples)
            };
            // The mean over time of link use is hops times a wavelet's time over all links.
            let links = (2 * ((columns - 1) * rows + columns * (rows - 1))) as f64;
            let hops = outcome.tally.wavelet_hops as f64 * lowered.timing.wavelet as f64 / links;
            let (used, _, samples) = counter("link use");
            assert!((used / hops - 1.0).abs() < 1e-9, "{name}: {used} of {hops}");
            assert!(samples.iter().all(|&(_, share)| (0.0..=1.0).contains(&share)), "{name}: {samples:?}");
            assert_eq!(counter("wavelets in flight").1, 0.0, "{name}: all have arrived");
            let busy: u64 = outcome.maps.busy.iter().sum();
            assert!((counter("busy PEs").0 - busy as f64).abs() <= 1e-6 * busy as f64, "{name}");
            let deepest = counter("deepest queue").2.iter().map(|&(_, words)| words as u16).max();
            assert_eq!(deepest, outcome.maps.queue.iter().copied().max(), "{name}");
        }
    }
}

/// Rows that are alike are run once, and each has its own slices.
#[test]
fn rows_that_are_alike_show_the_same_slices() {
    let lowered = lowered(&programs::all_gather(24, 20, false));
    let (outcome, timeline) = recorded(&lowered, 1 << 20);
    assert_eq!(outcome.engine, Engine::Mixed);
    let of = |track: u32| {
        let slices = timeline.slices.iter().filter(move |slice| slice.track == track);
        slices.map(|slice| (slice.kind, slice.start, slice.end)).collect::<Vec<_>>()
    };
    assert!(!of(0).is_empty());
    assert!((1..20).all(|row| of(row) == of(0)));
}

#[test]
fn what_is_beyond_the_limit_is_counted_and_not_kept() {
    let (_, program) = programs::library(24, 20).into_iter().find(|(name, _)| name.contains("decode")).unwrap();
    let lowered = lowered(&program);
    let (_, all) = recorded(&lowered, 1 << 20);
    for limit in [0, 1, 77, 500] {
        let (_, cut) = recorded(&lowered, limit);
        assert_eq!(cut.slices, all.slices[..limit]);
        assert!(cut.dropped > 0);
        assert_eq!(cut.counters, all.counters);
    }
}

/// One element that works, sends and waits: every slice is known.
#[test]
fn a_message_is_a_stall_of_the_receiver_and_two_transfers() {
    let lowered = lowered(&programs::message(3, 10));
    let (outcome, timeline) = recorded(&lowered, 100);
    let of = |track: u32| {
        let slices = timeline.slices.iter().filter(move |slice| slice.track == track);
        slices.map(|slice| (slice.kind, slice.start, slice.end)).collect::<Vec<_>>()
    };
    let timing = lowered.timing;
    let last = 9 * timing.wavelet;
    // Dispatched at once; through when the last has left the router and the completion is told.
    assert_eq!(of(0), [(SliceKind::Transfer, 0, timing.ramp_out + last + timing.completion)]);
    let landed = timing.ramp_out + 3 * timing.hop;
    let end = landed + last + timing.ramp_in + timing.completion;
    assert_eq!(of(3), [(SliceKind::Stall, 0, landed), (SliceKind::Transfer, landed, end)]);
    assert_eq!(end, (outcome.cycles.0 * 64.0) as u64);
}

#[test]
fn one_and_two_threads_give_the_same_bytes() {
    let run = |lowered: &Lowered, threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let record = Record { slices: 5_000, bins: 64 };
        pool.install(|| circuit::run_recorded(lowered, &record, |_| ()).unwrap())
    };
    let contended = [false, true].map(|both| ("contended", programs::all_gather(128, 96, both)));
    for program in &contended {
        let lowered = lowered(&program.1);
        let mut mixed = run(&lowered, 1);
        assert_eq!(mixed.engine, Engine::Mixed);
        // The engine of wavelets, from beginning to end, on one thread.
        let all = circuit::run_wavelets(&lowered, |_| ()).unwrap();
        (mixed.engine, mixed.timeline, mixed.tally.events) = (all.engine, None, all.tally.events);
        assert_eq!(mixed, all);
    }
    // Large enough that stages are divided among threads.
    for (name, program) in programs::library(128, 96).into_iter().chain(contended) {
        if name.contains("prefill") || name.contains("SUMMA") {
            continue;
        }
        let lowered = lowered(&program);
        let one = run(&lowered, 1);
        assert_eq!(one, run(&lowered, 2), "{name}");
    }
}
