//! Closed form against fabric: `cargo run --release -p wafersim-fabric --example crosscheck [largest side]`.

#![allow(clippy::print_stdout, dead_code, reason = "an example prints; shared files hold more than one needs")]

#[path = "../tests/circuit/programs.rs"]
mod programs;

use std::time::Instant;

use wafersim_cost::{Rates, View, cost, formula};
use wafersim_fabric::circuit::{self, Engine};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let largest: u64 = std::env::args().nth(1).and_then(|side| side.parse().ok()).unwrap_or(720);
    println!("device grid      kernel                       closed       fabric       %     Mhops  Mhops/s  engine");
    for device in ["wse2", "wse3"] {
        let wafer = Wafer::builtin(device)?;
        let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
        for (columns, rows) in [(8, 8), (16, 16), (24, 9), (48, 64), (120, 120), (360, 180), (360, 360), (720, 720)] {
            if columns.max(rows) > largest {
                continue;
            }
            for (name, program) in programs::library(columns, rows) {
                // A matrix product on a large grid takes as many rounds as the grid's side: a minute and more.
                if columns > 120 && (name.contains("GEMM") || name.contains("SUMMA") || name.contains("prefill")) {
                    continue;
                }
                let closed = cost(&program, &rates).total().0;
                let began = Instant::now();
                let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates));
                let outcome = match lowered.and_then(|lowered| circuit::run(&lowered, |_| ())) {
                    Ok(outcome) => outcome,
                    Err(error) => {
                        println!("{device} {columns}x{rows} {name}: {error}");
                        continue;
                    }
                };
                let hops = outcome.tally.wavelet_hops as f64 / 1e6;
                println!(
                    "{device}   {:8} {name:24} {closed:>10.0} {:>12.0} {:>+7.2} {hops:>9.2} {:>8.1}  {}",
                    format!("{columns}x{rows}"),
                    outcome.cycles.0,
                    (outcome.cycles.0 / closed - 1.0) * 100.0,
                    hops / began.elapsed().as_secs_f64(),
                    match outcome.engine {
                        Engine::Streams => "streams",
                        Engine::Mixed => "mixed",
                        Engine::Wavelets => "wavelets",
                    }
                );
            }
        }
    }
    Ok(())
}
