//! `simctl crosscheck`: closed form against fabric.

use std::fs;

use serde_json::Value;

use crate::surface::{command, said, simctl};

const SMALL: &str = "crosscheck --grids 8x8,24x9 --kernels multicast,mesh_gemm,decode_dense";

#[test]
fn golden_table() {
    // A multicast's time is a measured message in both readings: these rows are exact.
    let text = simctl("crosscheck --grids 8x8,24x9,120x90 --kernels multicast").data();
    insta::assert_snapshot!("crosscheck", text);
}

#[test]
fn the_worst_case_is_said_first_and_the_formats_agree() {
    let json = simctl(&format!("{SMALL} --format json")).json();
    let cases = json["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2 * 2 * 3);
    let size = |case: &Value| case["deviation_percent"].as_f64().unwrap().abs();
    let worst = cases.iter().map(size).fold(0.0, f64::max);
    assert_eq!(json["worst_percent"].as_f64(), Some(worst));
    let beyond = cases.iter().filter(|case| size(case) > 3.0).count();
    assert_eq!(json["beyond_limit"].as_u64(), Some(beyond as u64));

    let text = simctl(SMALL).data();
    let (first, table) = text.split_once("\n\n").unwrap();
    assert!(first.starts_with("Worst of 12 cases: "), "{first}");
    let name = cases.iter().find(|case| size(case) == worst).unwrap();
    assert!(first.contains(name["kernel"].as_str().unwrap()) && first.contains(name["wafer"].as_str().unwrap()));
    assert_eq!(table.lines().filter(|line| line.contains("  !")).count(), beyond, "{table}");

    let csv = simctl(&format!("{SMALL} --format csv")).data();
    assert_eq!(csv.lines().count(), 1 + cases.len());
    assert!(csv.starts_with("wafer,columns,rows,kernel,closed_form_cycles,cycles,deviation_percent,"), "{csv}");
}

#[test]
fn threads_change_nothing() {
    let run = |threads: &str| {
        let mut command = command(&format!("{SMALL} --format json"));
        command.env("RAYON_NUM_THREADS", threads);
        said(command).data()
    };
    assert_eq!(run("1"), run("2"));
}

#[test]
fn out_takes_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    let said = simctl(&format!("crosscheck --grids 8x8 --kernels multicast --format csv --out {}", file.display()));
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""));
    assert_eq!(fs::read_to_string(file).unwrap().lines().count(), 3);
}

#[test]
fn wrong_input_is_refused() {
    for (arguments, parts) in [
        ("--grids 8", ["'8' is no grid", "24x9"]),
        ("--grids 8x0", ["'8x0' is no grid", "from 1 to 4096"]),
        ("--grids 8x8,", ["'' is no grid", "24x9"]),
        ("--grids 8x-8", ["'8x-8' is no grid", "24x9"]),
        ("--grids 5000x8", ["'5000x8' is no grid", "4096"]),
        ("--grids 4000x8", ["4000x8 is larger than wse2", "up to"]),
        ("--kernels mesh_gem", ["mesh_gem", "mesh_gemv_y, mesh_gemv_x"]),
        ("--wafer wse4", ["wse4", "did you mean"]),
        ("--wafer missing.toml", ["missing.toml", "cannot be read"]),
        ("--format xml", ["xml", "text, markdown, csv, json"]),
        ("--out missing/x", ["--out", "missing/x"]),
    ] {
        let said = simctl(&format!("crosscheck {arguments}"));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{arguments}: no '{part}' in: {}", said.stderr);
        }
    }
}
