//! How fast circuit mode is: decode layers on growing grids up to the full wafer, as streams, and traffic that
//! contends: `cargo run --release -p wafersim-fabric --example circuit_speed [name ...]`. Seconds are wall-clock and
//! CPU time (on Linux, of all threads): other programs may share the cores.

#![allow(clippy::print_stdout, dead_code, reason = "an example prints; shared files hold more than one needs")]

#[path = "../tests/circuit/programs.rs"]
mod programs;

use std::time::Instant;

use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit;
use wafersim_lower::LowerError;
use wafersim_program::Program;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

fn decode(columns: u64, rows: u64) -> Result<Program, LowerError> {
    let hidden = 7 * columns.max(rows);
    let dense = programs::published_layer(hidden, 3 * hidden);
    programs::OnGrid::new(&dense, hidden, (columns, rows), hidden).decode()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let (cores, threads) = (std::thread::available_parallelism()?, rayon::current_num_threads());
    println!("{cores} cores, {threads} threads (RAYON_NUM_THREADS); WSE-3");
    println!(
        "an idle element takes {} bytes as streams, {} as wavelets",
        circuit::bytes_per_element(24),
        circuit::BYTES_PER_IDLE_ELEMENT
    );
    println!(
        "what      grid           cycles      Mhops    seconds    CPU s  Mhops/s  Mhops/CPU s  engine     peak RSS"
    );
    let wafer = Wafer::builtin("wse3")?;
    let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
    let mut cases: Vec<(&str, u64, u64)> = vec![("wavelets", 120, 120)];
    cases.extend([64, 120, 240, 360, 480, 600, 660, 720].map(|side| ("decode", side, side)));
    cases.push(("decode", 755, 1170));
    cases.extend([32, 128, 512].map(|side| ("rows", side, side)));
    cases.extend([32, 128, 512].map(|side| ("both", side, side)));
    let mut decodes = Vec::new();
    for (name, columns, rows) in cases {
        let grid = format!("{columns}x{rows}");
        if !wanted.is_empty() && !wanted.iter().all(|wanted| *wanted == name || *wanted == grid) {
            continue;
        }
        let program = match name {
            "rows" | "both" => programs::all_gather(columns, rows, name == "both"),
            _ => decode(columns, rows)?,
        };
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates))?;
        let outcome = match name {
            "wavelets" => circuit::run_wavelets(&lowered, |_| ())?,
            _ => circuit::run(&lowered, |_| ())?,
        };
        let (seconds, hops) = (began.elapsed().as_secs_f64(), outcome.tally.wavelet_hops as f64 / 1e6);
        let cpu = cpu.zip(cpu_seconds()).map_or(seconds, |(before, after)| after - before);
        if name == "decode" {
            decodes.push((hops, cpu));
        }
        println!(
            "{name:9} {grid:12} {:>8.0} {hops:>10.1} {seconds:>10.3} {cpu:>8.3} {:>8.1} {:>12.1}  {:9} {:>5} MB",
            outcome.cycles.0,
            hops / seconds,
            hops / cpu,
            format!("{:?}", outcome.engine),
            peak_megabytes(),
        );
    }
    if decodes.len() > 2 {
        let (slope, base, r2) = line(&decodes);
        println!("decode layers: CPU s = {base:.4} + Mhops x {slope:.6}, R^2 = {r2:.4}");
    }
    Ok(())
}

/// Least squares: slope, value at 0, and the share of the variance that the line explains.
fn line(points: &[(f64, f64)]) -> (f64, f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| points.iter().map(|&(a, b)| of(a - x, b - y)).sum::<f64>();
    let (xx, xy, yy) = (sum(&|a, _| a * a), sum(&|a, b| a * b), sum(&|_, b| b * b));
    (xy / xx, y - xy / xx * x, xy * xy / (xx * yy))
}

/// CPU time of all threads so far.
fn cpu_seconds() -> Option<f64> {
    let of = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split_whitespace().next()?.parse::<f64>().ok()
    };
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    Some(tasks.filter_map(|task| of(&task.ok()?.path())).sum::<f64>() * 1e-9)
}

/// The process's peak so far, where the system tells.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
