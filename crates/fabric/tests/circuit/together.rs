//! Several programs on one wafer: as alone, and merged into one picture.

use wafersim_fabric::circuit::{self, CircuitError, Lowered};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

use crate::programs;

fn lowered(columns: u64, rows: u64, both: bool) -> Lowered {
    let program = programs::all_gather(columns, rows, both);
    circuit::lower(&program, &Wafer::builtin("wse3").unwrap(), RateSet::Silicon, &|_| 0.0).unwrap()
}

#[test]
fn neighbours_run_as_alone_and_their_maps_lie_side_by_side() {
    let places = [(5, 7), (25, 7), (5, 20)];
    let programs: Vec<Lowered> = [(20, 13, true), (9, 5, false), (12, 12, true)]
        .iter()
        .zip(places)
        .map(|(&(columns, rows, both), (x, y))| lowered(columns, rows, both).placed_at(x, y))
        .collect();
    let outcomes = circuit::run_all(&programs, |_, _| ()).unwrap();
    for (outcome, program) in outcomes.iter().zip(&programs) {
        assert_eq!(outcome, &circuit::run(program, |_| ()).unwrap());
    }
    let all = circuit::side_by_side(&outcomes).unwrap().unwrap();
    assert_eq!((all.origin, all.columns, all.rows), ((5, 7), 29, 25));
    let crossed = |maps: &circuit::Maps| maps.links.iter().flatten().map(|&count| u64::from(count)).sum::<u64>();
    assert_eq!(crossed(&all.maps), all.tally.wavelet_hops);
    assert_eq!(all.tally.wavelet_hops, outcomes.iter().map(|one| one.tally.wavelet_hops).sum::<u64>());
    assert_eq!(all.cycles.0, outcomes.iter().map(|one| one.cycles.0).fold(0.0, f64::max));
    // The second program's first place, in the map of all.
    assert_eq!(all.maps.links[0][20], outcomes[1].maps.links[0][0]);
    assert_eq!(all.maps.queue[13 * 29 + 3], outcomes[2].maps.queue[3]);
    // Where nobody was.
    assert_eq!(all.maps.links[0][6 * 29 + 25], 0);
}

#[test]
fn programs_that_overlap_are_refused_with_the_place() {
    let programs = [lowered(8, 8, false), lowered(8, 8, false).placed_at(30, 0), lowered(8, 8, false).placed_at(7, 3)];
    let error = circuit::run_all(&programs, |_, _| ()).unwrap_err();
    assert_eq!(error, CircuitError::Overlap { first: 0, second: 2, column: 7, row: 3 });
}
