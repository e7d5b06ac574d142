//! The engine of streams and the engine of wavelets give the same result, to the tick, for every kernel.

use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Engine, Outcome};
use wafersim_program::Program;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

use crate::programs;

/// Runs a program by both engines, and holds them to the same result.
pub fn both(program: &Program, wafer: &Wafer, set: RateSet) -> Outcome {
    let rates = Rates::new(wafer, set, View::Achieved);
    let lowered = circuit::lower(program, wafer, set, &|work| formula::work(work, &rates)).unwrap();
    let fast = circuit::run(&lowered, |_| ()).unwrap();
    let slow = circuit::run_wavelets(&lowered, |_| ()).unwrap();
    assert_eq!(slow.engine, Engine::Wavelets);
    assert_eq!(fast.cycles, slow.cycles, "{}", program.name);
    assert_eq!(fast.operators, slow.operators, "{}", program.name);
    assert_eq!(fast.maps, slow.maps, "{}", program.name);
    let counts = |outcome: &Outcome| circuit::Tally { events: 0, ..outcome.tally };
    assert_eq!(counts(&fast), counts(&slow), "{}", program.name);
    assert_eq!(fast.tally.sent, fast.tally.delivered);
    fast
}

#[test]
fn both_engines_give_the_same_bytes_for_every_kernel() {
    for device in ["wse2", "wse3"] {
        let wafer = Wafer::builtin(device).unwrap();
        for (columns, rows) in [(8, 8), (5, 9), (12, 7)] {
            for (name, program) in programs::library(columns, rows) {
                let outcome = both(&program, &wafer, RateSet::Silicon);
                println!("{device} {columns}x{rows} {name}: {} {:?}", outcome.cycles, outcome.engine);
            }
        }
    }
}
