//! The engine of streams and the engine of wavelets give the same result, to the tick, for every kernel.

use wafersim_cost::{Rates, View, formula};
use wafersim_fabric::circuit::{self, Engine, Outcome};
use wafersim_kernels::feed_forward::ExpertLoad;
use wafersim_kernels::gemm::{self, Broadcast};
use wafersim_kernels::{Groups, Options, gemv};
use wafersim_program::{Axis, Program, Region};
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

fn kernels(columns: u64, rows: u64) -> Vec<Program> {
    let region = Region::new(0, 0, columns, rows);
    let hidden = 16 * columns.max(rows);
    let options = Options::PUBLISHED;
    let dense = programs::published_layer(hidden, 4 * hidden);
    let small = programs::published_layer(2 * columns, 2 * columns);
    let experts = programs::expert_layer(hidden, 64, 4, 2 * columns);
    let load = ExpertLoad { pairs: 4, distinct: 4, busiest: 1 };
    let size = (columns, rows);
    let groups = Groups::SquareRoot;
    vec![
        gemv::mesh_gemv(region, hidden, hidden, Axis::Y, options),
        gemv::mesh_gemv(region, hidden, 3 * hidden, Axis::X, options),
        gemv::chain_gemv(region, hidden, hidden, Axis::Y),
        gemm::mesh_gemm(region, 4 * rows, 4 * columns, 4 * columns, true, options),
        gemm::summa(region, 4 * rows, 4 * columns, 4 * columns, Broadcast::Asynchronous, options),
        gemm::summa(region, 4 * rows, 4 * columns, 4 * columns, Broadcast::Library, options),
        programs::layer(&dense, hidden, size, (1, 64), programs::DENSE, groups, true),
        programs::layer(&experts, hidden, size, (1, 64), load, groups, true),
        programs::layer(&small, 2 * columns, size, (rows, 0), programs::DENSE, groups, false),
    ]
}

#[test]
fn both_engines_give_the_same_bytes_for_every_kernel() {
    for device in ["wse2", "wse3"] {
        let wafer = Wafer::builtin(device).unwrap();
        for (columns, rows) in [(8, 8), (5, 9), (12, 7)] {
            for program in kernels(columns, rows) {
                let outcome = both(&program, &wafer, RateSet::Silicon);
                println!("{device} {columns}x{rows} {}: {} {:?}", program.name, outcome.cycles, outcome.engine);
            }
        }
    }
}
