//! `simctl traffic`.

use crate::surface::simctl;

/// BookSim2's figure for this point, to the digits that it prints.
#[test]
fn a_point_is_booksims() {
    let arguments =
        "traffic --mesh 8 --pattern uniform --rate 0.05 --queue 8 --router-cycles 3 --drain loaded --format json";
    let report = simctl(arguments).json();
    let mean = report["mean_latency"].as_f64().unwrap_or(f64::NAN);
    assert!((mean - 20.8203).abs() < 1e-4, "{mean}");
    assert_eq!(report["saturated"], false);
    assert_eq!(report["config"]["queue"], 8);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
    let run = |seed: u32| simctl(&format!("traffic --mesh 6x9 --pattern tornado --rate 0.1 --seed {seed}")).data();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
