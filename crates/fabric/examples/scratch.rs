//! scratch
#![allow(clippy::print_stdout, dead_code, reason = "an example prints; shared files hold more than one needs")]
#[path = "../tests/circuit/programs.rs"]
mod programs;
use std::time::Instant;
use wafersim_fabric::circuit;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let wafer = Wafer::builtin("wse3")?;
    let side: u64 = std::env::args().nth(1).unwrap().parse()?;
    let program = programs::all_gather(side, side, std::env::args().nth(2).is_some());
    let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|_| 0.0)?;
    let began = Instant::now();
    let outcome = circuit::run(&lowered, |_| ())?;
    let (seconds, hops) = (began.elapsed().as_secs_f64(), outcome.tally.wavelet_hops as f64 / 1e6);
    println!("{side} {hops} M, {seconds} s, {} Mhops/s, {:?}", hops / seconds, outcome.engine);
    Ok(())
}
