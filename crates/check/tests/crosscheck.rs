//! The cross-check: what must hold whatever the numbers are, and what is claimed.

#![allow(clippy::unwrap_used, reason = "tests")]

use wafersim_check::crosscheck::{Cases, CheckedCase, CheckedKernel, Extent, Grid, crosscheck};
use wafersim_mapping::Recipe;
use wafersim_spec::Wafer;

#[test]
fn a_cross_check_keeps_the_order_that_was_asked_for() {
    let grid = |columns, rows| Grid { columns, rows };
    let cases = Cases {
        wafers: vec![Wafer::builtin("wse3").unwrap(), Wafer::builtin("wse2").unwrap()],
        kernels: vec![CheckedKernel::Multicast, CheckedKernel::MeshGemm],
        grids: vec![grid(24, 9), grid(8, 8), grid(700, 700)],
        extent: Extent::Short,
        mapping: Recipe::published(),
    };
    let found = crosscheck(&cases, || ());
    let names: Vec<String> =
        found.cases.iter().map(|case| format!("{} {} {}", case.wafer, case.grid, case.kernel)).collect();
    assert_eq!(names.len(), cases.count());
    assert_eq!(names[..3], ["wse3 24x9 multicast", "wse3 24x9 mesh_gemm", "wse3 8x8 multicast"]);
    assert_eq!(found.left_out, 2, "a product of matrices on 700 x 700 takes long");
    assert!(names.iter().all(|name| name != "wse2 700x700 mesh_gemm"));
    // Both readings take a multicast's time from the same measured message.
    for case in found.cases.iter().filter(|case| case.kernel == "multicast") {
        assert_eq!(case.cycles, Some(case.closed_form_cycles), "{} {}", case.wafer, case.grid);
    }
    assert_eq!(found.worst().map(|case| case.kernel), Some("mesh_gemm"));
}

#[test]
fn a_case_that_cannot_run_is_a_row_that_says_why() {
    let mut wafer = Wafer::builtin("wse3").unwrap();
    wafer.set("fabric.colors", 4.0).unwrap();
    let cases = Cases {
        wafers: vec![wafer],
        kernels: vec![CheckedKernel::AllReduce],
        grids: vec![Grid { columns: 8, rows: 8 }],
        extent: Extent::Full,
        mapping: Recipe::published(),
    };
    let found = crosscheck(&cases, || ());
    assert!(found.cases[0].problem.as_ref().is_some_and(|why| why.contains("colors")), "{:?}", found.cases[0]);
    assert_eq!((found.cases[0].cycles, found.worst_percent, found.worst()), (None, None, None));
}

/// The claim of docs/src/crosscheck.md: every kernel, both wafers, square and oblong. The largest grids, where only
/// products with few rounds run in time, are part of it.
#[test]
fn closed_form_and_fabric_agree_on_every_kernel() {
    let grid = |columns, rows| Grid { columns, rows };
    let wafers = || vec![Wafer::builtin("wse2").unwrap(), Wafer::builtin("wse3").unwrap()];
    let small = Cases {
        wafers: wafers(),
        kernels: CheckedKernel::ALL.to_vec(),
        grids: vec![grid(8, 8), grid(24, 9), grid(20, 48), grid(64, 64)],
        extent: Extent::Full,
        mapping: Recipe::published(),
    };
    let large = Cases { wafers: wafers(), grids: vec![grid(360, 180)], extent: Extent::Short, ..small.clone() };
    for cases in [small, large] {
        let found = crosscheck(&cases, || ());
        // Where steps wait for one another less than the closed form has it, the fabric is faster.
        let allowed = |case: &CheckedCase| match case.kernel {
            "prefill" | "prefill_spread" => -6.0..3.0,
            "dispatch_combine" => -4.0..3.0,
            _ => -3.0..3.0,
        };
        let beyond: Vec<_> = found
            .cases
            .iter()
            .filter(|case| case.deviation_percent.is_none_or(|by| !allowed(case).contains(&by)))
            .collect();
        assert!(beyond.is_empty(), "{beyond:#?}");
        assert_eq!(found.cases.len(), cases.count());
    }
}
