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

const HEADER: &str = "cycle,source_x,source_y,target_x,target_y,flits\n";

/// A trace of its own for each test.
fn trace(name: &str, lines: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(name);
    std::fs::write(&file, format!("{HEADER}{lines}")).expect("a file");
    let arguments = format!("traffic --mesh 8 --pattern trace --trace {}", file.display());
    (folder, arguments)
}

#[test]
fn messages_of_a_trace_arrive_when_their_way_and_length_say() {
    // Seven hops east and one flit at cycle 10: 8 routers at 3 cycles, and 2. Then 5 flits over one hop: 4 cycles more.
    let (_folder, arguments) = trace("alone.csv", "10,0,0,7,0,1\n200,3,3,3,4,5\n");
    let report = simctl(&format!("{arguments} --format json")).json();
    assert_eq!(report["completion"], serde_json::json!([10 + 3 * 8 + 2, 200 + 3 * 2 + 2 + 4]));
    assert_eq!(report["config"]["messages"], 2);
    assert_eq!(report["flits"], 6);
    let text = simctl(&arguments).data();
    assert!(text.contains("2 messages, 6 flits"), "{text}");
}

#[test]
fn a_wrong_line_of_a_trace_is_named() {
    let (_folder, arguments) = trace("wrong.csv", "0,0,0,1,1,1\n0,0,0,8,1,1\n");
    let said = simctl(&arguments);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    for part in ["wrong.csv, line 3", "target_x,target_y is 8,1", "columns 0 to 7"] {
        assert!(said.stderr.contains(part), "no '{part}' in {}", said.stderr);
    }
    for arguments in ["traffic --pattern trace", "traffic --trace no.csv", "traffic --pattern trace --trace no.csv"] {
        let said = simctl(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
    }
}
