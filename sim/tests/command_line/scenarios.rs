//! The examples in `sim/scenarios` run.

use std::fs;

use crate::surface::{repository, simctl};

#[test]
fn every_example_scenario_has_an_answer() {
    let mut names: Vec<String> = fs::read_dir(repository("sim/scenarios"))
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .filter(|path| path.ends_with(".toml"))
        .collect();
    names.sort();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let text = fs::read_to_string(&name).unwrap();
        assert!(text.starts_with("# "), "{name} says what it is");
        let said = simctl(&format!("run {name}"));
        assert_eq!(said.code, Some(0), "{name}: {}", said.stderr);
    }
}

#[test]
fn the_default_scenario_is_the_default() {
    let path = repository("sim/scenarios/default.toml");
    let written = simctl(&format!("run {} --format json", path.display())).json();
    assert_eq!(written, simctl("run --format json").json());
}
