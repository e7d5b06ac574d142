//! scratch
#![allow(clippy::print_stdout)]
use wafersim_fabric::packet::*;
fn main() {
    for (side, pat, q, rate, w) in [
        (16, "uniform", 8, 0.18, 3000),
        (16, "uniform", 8, 0.19, 3000),
        (16, "uniform", 8, 0.195, 3000),
        (16, "uniform", 8, 0.2, 3000),
        (16, "uniform", 8, 0.2, 30000),
        (16, "uniform", 8, 0.205, 3000),
        (16, "uniform", 8, 0.205, 30000),
        (16, "uniform", 8, 0.21, 3000),
        (16, "uniform", 8, 0.25, 3000),
        (8, "uniform", 8, 0.35, 3000),
        (8, "uniform", 8, 0.36, 3000),
        (8, "uniform", 8, 0.37, 3000),
        (8, "uniform", 8, 0.37, 30000),
        (8, "uniform", 8, 0.38, 3000),
        (8, "uniform", 8, 0.4, 3000),
        (8, "transpose", 4, 0.09, 3000),
        (8, "transpose", 4, 0.1, 3000),
        (8, "transpose", 4, 0.1, 30000),
        (8, "transpose", 4, 0.105, 3000),
        (8, "transpose", 4, 0.12, 3000),
        (8, "transpose", 8, 0.13, 3000),
        (8, "transpose", 8, 0.14, 3000),
        (8, "transpose", 8, 0.14, 30000),
        (8, "transpose", 8, 0.145, 3000),
        (8, "transpose", 8, 0.145, 30000),
        (8, "transpose", 8, 0.15, 3000),
        (8, "transpose", 8, 0.15, 30000),
        (32, "uniform", 8, 0.1, 3000),
        (32, "uniform", 8, 0.11, 3000),
        (8, "bitcomp", 8, 0.2, 3000),
        (8, "bitcomp", 8, 0.25, 3000),
        (8, "tornado", 8, 0.3, 3000),
        (8, "tornado", 8, 0.4, 3000),
        (8, "neighbor", 8, 0.7, 3000),
        (8, "neighbor", 8, 0.9, 3000),
    ] {
        let c = TrafficConfig {
            columns: side,
            rows: side,
            pattern: pat.parse().unwrap(),
            queue: q,
            rate,
            warm_up: w,
            measured: w,
            ..Default::default()
        };
        let r = c.check().unwrap().run(|_| ()).unwrap();
        println!(
            "{side} {pat} q{q} {rate} w{w}: lat {:.2} p50 {} p99 {} acc {:.5} deficit {:+.2}% {}",
            r.mean_latency,
            r.p50_latency,
            r.p99_latency,
            r.accepted,
            (1.0 - r.accepted / rate) * 100.0,
            r.saturated
        );
    }
}
