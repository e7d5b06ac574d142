//! How fast circuit mode is: decode layers on growing grids up to the full wafer, as streams, and one wavelet by wavelet:
//! `cargo run --release -p wafersim-fabric --example circuit_speed`.

#![allow(clippy::print_stdout, dead_code, reason = "an example prints; shared files hold more than one needs")]

#[path = "../tests/circuit/programs.rs"]
mod programs;

use std::time::Instant;

use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit;
use wafersim_kernels::Groups;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, of which one is used; decode layer, hidden = 7 x side, on WSE-3");
    println!(
        "an idle element takes {} bytes as streams, {} as wavelets",
        circuit::bytes_per_element(24),
        circuit::BYTES_PER_IDLE_ELEMENT
    );
    println!("grid           cycles      Mhops    seconds   Mhops/s    events  engine   peak RSS");
    let wafer = Wafer::builtin("wse3")?;
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    for (columns, rows, wavelets) in [
        (120, 120, true),
        (120, 120, false),
        (240, 240, false),
        (360, 360, false),
        (480, 480, false),
        (660, 660, false),
        (755, 1170, false),
    ] {
        let hidden = 7 * columns.max(rows);
        let dense = programs::published_layer(hidden, 3 * hidden);
        let groups = Groups::SquareRoot;
        let program = programs::layer(&dense, hidden, (columns, rows), (1, hidden), programs::DENSE, groups, true);
        let began = Instant::now();
        let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates))?;
        let outcome = if wavelets { circuit::run_wavelets(&lowered, |_| ())? } else { circuit::run(&lowered, |_| ())? };
        let (seconds, hops) = (began.elapsed().as_secs_f64(), outcome.tally.wavelet_hops as f64 / 1e6);
        println!(
            "{:12} {:>8.0} {hops:>10.1} {seconds:>10.3} {:>9.1} {:>8.1}M  {:?} {:>6} MB",
            format!("{columns}x{rows}"),
            outcome.cycles.0,
            hops / seconds,
            outcome.tally.events as f64 / 1e6,
            outcome.engine,
            peak_megabytes(),
        );
    }
    for (columns, rows) in [(32, 32), (128, 128), (512, 512)] {
        for (name, program) in
            [("rows", programs::all_gather(columns, rows, false)), ("both", programs::all_gather(columns, rows, true))]
        {
            let began = Instant::now();
            let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates))?;
            let outcome = circuit::run(&lowered, |_| ())?;
            let (seconds, hops) = (began.elapsed().as_secs_f64(), outcome.tally.wavelet_hops as f64 / 1e6);
            println!(
                "{:12} {:>8.0} {hops:>10.1} {seconds:>10.3} {:>9.1} {:>8.1}M  {:?}, contended along {name} {:>6} MB",
                format!("{columns}x{rows}"),
                outcome.cycles.0,
                hops / seconds,
                outcome.tally.events as f64 / 1e6,
                outcome.engine,
                peak_megabytes(),
            );
        }
    }
    Ok(())
}

/// The process's peak so far, where the system tells.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
