//! How many router-cycles a second packet mode simulates: `cargo bench -p wafersim-fabric --bench packet`.
//!
//! The measure of the row "32 x 32, uniform, queue 8, rate 0.05" of `tests/data/booksim2.csv`, where BookSim2 reaches
//! 4.58e5 router-cycles per second of one core. Elements are routers x cycles, warm-up and drain included. Wall-clock
//! time: on a shared machine `cargo run --release --example packet_speed` counts CPU time instead, as the measurement
//! of BookSim2 did. On one core of a 2-core AMD EPYC it counts 5.5e7 to 7.4e7 (119 to 162 times BookSim2; 12 to 16 ns a
//! hop), depending on what else the machine does.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wafersim_fabric::packet::{Pattern, TrafficConfig};

fn packet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    group.sample_size(10);
    for (side, pattern, rate) in [
        (8, Pattern::Uniform, 0.05),
        (32, Pattern::Uniform, 0.05),
        (32, Pattern::Uniform, 0.09),
        (32, Pattern::Transpose, 0.02),
        (128, Pattern::Uniform, 0.02),
    ] {
        let name = format!("{side} x {side} {pattern} {rate}");
        let (warm_up, measured) = (1_000, (4_000_000 / (side * side)).into());
        let config =
            TrafficConfig { columns: side, rows: side, pattern, rate, warm_up, measured, ..TrafficConfig::default() };
        let run = || config.check().and_then(|traffic| traffic.run(|_| ())).map_or(0, |report| report.router_cycles);
        group.throughput(Throughput::Elements(run()));
        group.bench_function(name, |bencher| bencher.iter(run));
    }
    group.finish();
}

criterion_group!(benches, packet);
criterion_main!(benches);
