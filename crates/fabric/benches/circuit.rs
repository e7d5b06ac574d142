//! How many wavelet-hops a second circuit mode simulates: `cargo bench -p wafersim-fabric --bench circuit`.
//!
//! A decode layer on 660 x 660 as streams, with one thread and with two; an all-gather from eight places at once along
//! rows and columns, run in turn; and the same along rows alone. Lines are alike in both: one of each kind is run.
//! Elements are wavelets times links. Wall-clock time: `--example circuit_speed` shows CPU time beside it, and the line
//! of cost against wavelet-hops.

#![allow(dead_code, reason = "shared files hold more than one needs")]

#[path = "../tests/circuit/programs.rs"]
mod programs;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::ThreadPoolBuilder;
use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Lowered};
use wafersim_program::Program;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

fn lowered(program: &Program) -> Option<Lowered> {
    let wafer = Wafer::builtin("wse3").ok()?;
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    circuit::lower(program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).ok()
}

fn circuit_mode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("circuit");
    group.sample_size(10);
    let hidden = 7 * 660;
    let dense = programs::published_layer(hidden, 3 * hidden);
    let Ok(decode) = programs::OnGrid::new(&dense, hidden, (660, 660), hidden).decode() else { return };
    for (name, program, threads) in [
        ("decode layer 660 x 660, one thread", decode.clone(), 1),
        ("decode layer 660 x 660, two threads", decode, 2),
        ("contended all-gather 128 x 128 both ways, one thread", programs::all_gather(128, 128, true), 1),
        ("contended all-gather 512 x 512 along rows, two threads", programs::all_gather(512, 512, false), 2),
    ] {
        let (Some(lowered), Ok(pool)) = (lowered(&program), ThreadPoolBuilder::new().num_threads(threads).build())
        else {
            continue;
        };
        let run = || pool.install(|| circuit::run(&lowered, |_| ())).map_or(0, |outcome| outcome.tally.wavelet_hops);
        group.throughput(Throughput::Elements(run()));
        group.bench_function(name, |bencher| bencher.iter(run));
    }
    group.finish();
}

criterion_group!(benches, circuit_mode);
criterion_main!(benches);
