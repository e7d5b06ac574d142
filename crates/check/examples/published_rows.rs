//! The published rows, run on the fabric at their full grids: `cargo run --release -p wafersim-check --example
//! published_rows [kernel ...]`. Prints measured, closed form, fabric, and what the run took.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::time::Instant;

use wafersim_check::measurements::{BUILTIN_MEASUREMENTS, read_table};
use wafersim_check::validate::{MeasuredProgram, measured_program};
use wafersim_cost::{Rates, View, cost, formula};
use wafersim_fabric::circuit;
use wafersim_spec::Wafer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kernels: Vec<String> = std::env::args().skip(1).collect();
    let mut errors: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    println!(
        "row                                  measured    closed %    fabric %     hops    Mhops/s   seconds  engine"
    );
    for row in read_table(BUILTIN_MEASUREMENTS, "wse.csv")? {
        let chosen = if kernels.is_empty() {
            matches!(row.kernel.as_str(), "message" | "mesh_gemv" | "chain_gemv" | "pe_gemv" | "decode_layer")
        } else {
            kernels.contains(&row.kernel) || kernels.contains(&row.id)
        };
        if !chosen {
            continue;
        }
        let wafer = Wafer::builtin(&row.device)?;
        let Ok(MeasuredProgram { program, rounds }) = measured_program(&row, &wafer) else { continue };
        let divisor = rounds as f64;
        let rates = Rates::new(&wafer, row.rate_set(), View::Achieved);
        let closed = cost(&program, &rates).total().0 / divisor;
        let began = Instant::now();
        let lowered = circuit::lower(&program, &wafer, row.rate_set(), &|work| formula::work(work, &rates))?;
        let outcome = circuit::run(&lowered, |_| ())?;
        let seconds = began.elapsed().as_secs_f64();
        let fabric = outcome.cycles.0 / divisor;
        let error = |value: f64| (value / row.value - 1.0) * 100.0;
        errors.entry((row.kernel.clone(), row.device.clone())).or_default().push(error(fabric));
        let hops = outcome.tally.wavelet_hops as f64;
        println!(
            "{:36} {:>9.1} {:>+11.2} {:>+11.2} {:>8.1}M {:>9.1} {:>9.3}  {:?}",
            row.id,
            row.value,
            error(closed),
            error(fabric),
            hops / 1e6,
            hops / 1e6 / seconds,
            seconds,
            outcome.engine
        );
    }
    for ((kernel, device), errors) in errors {
        let mean = errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len() as f64;
        let worst = errors.iter().map(|error| error.abs()).fold(0.0, f64::max);
        println!("{kernel} {device}: {} rows, mean {mean:.2} %, worst {worst:.2} %", errors.len());
    }
    Ok(())
}
