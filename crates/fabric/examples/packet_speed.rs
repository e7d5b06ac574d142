//! Speed and memory of packet mode on meshes of several sizes, per second of CPU time where Linux tells it (other
//! programs may share the core), of wall-clock time elsewhere. For people.

#![allow(clippy::print_stdout, reason = "an example talks to people")]

use std::time::Instant;

use wafersim_fabric::packet::{Pattern, TrafficConfig, TrafficError};

fn main() -> Result<(), TrafficError> {
    let only = std::env::args().nth(1).and_then(|side| side.parse::<u32>().ok());
    println!(
        "mesh         pattern   rate   router-cycles/s  flit-hops/s  ns/router-cycle  ns/flit-hop  idle bytes/router"
    );
    for (side, rate, cycles) in [
        (8, 0.05, 400_000),
        (8, 0.3, 100_000),
        (16, 0.1, 100_000),
        (32, 0.05, 60_000),
        (32, 0.09, 30_000),
        (128, 0.02, 3_000),
        (512, 0.005, 1_500),
    ] {
        if only.is_some_and(|only| only != side) {
            continue;
        }
        let config = TrafficConfig {
            columns: side,
            rows: side,
            pattern: Pattern::Uniform,
            rate,
            warm_up: 0,
            measured: cycles,
            ..TrafficConfig::default()
        };
        let traffic = config.check()?;
        let bytes = traffic.idle_bytes_per_router();
        let start = (cpu_seconds(), Instant::now());
        let report = traffic.run(|_| ())?;
        let seconds = match (start.0, cpu_seconds()) {
            (Some(before), Some(after)) => after - before,
            _ => start.1.elapsed().as_secs_f64(),
        };
        println!(
            "{side:>4} x {side:<4} {:<9} {rate:<6} {:>15.3e}  {:>11.3e}  {:>15.2}  {:>11.2}  {bytes:>6.1}",
            config.pattern,
            report.router_cycles as f64 / seconds,
            report.flit_hops as f64 / seconds,
            seconds * 1e9 / report.router_cycles as f64,
            seconds * 1e9 / report.flit_hops as f64,
        );
    }
    Ok(())
}

/// CPU time of this process so far.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    text.split_whitespace().next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds * 1e-9)
}
