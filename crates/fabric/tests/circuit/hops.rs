//! Hops as a program counts them, held to those that wavelets were seen to make.

use wafersim_program::KnownMovements;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

use crate::engines::both;
use crate::programs::library;

#[test]
fn counted_hops_are_those_of_the_wavelets() {
    let wafer = Wafer::builtin("wse3").unwrap();
    let known = KnownMovements::default();
    let mut seen = 0;
    for (columns, rows) in [(12, 12), (16, 10)] {
        for (name, program) in library(columns, rows) {
            let found = both(&program, &wafer, RateSet::Silicon).tally.wavelet_hops;
            let counted = program.wavelet_hops(&known).unwrap();
            // Not every processing element sends as much as the fullest one.
            let (low, high) = (found as f64, 1.15 * found as f64);
            assert!((low..=high).contains(&(counted as f64)), "{name} on {columns} x {rows}: {counted}, seen {found}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} programs");
}
