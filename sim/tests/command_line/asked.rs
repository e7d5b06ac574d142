//! What outputs say of what was asked, and of what made them.

use std::fs;

use serde_json::{Value, json};

use crate::surface::simctl;

const QUICK: &str = "--model llama-3.1-8b --wafers 1 --context 1k --search none";

/// Paths and values of what differs from the defaults.
fn overrides(output: &Value) -> Vec<(String, Value)> {
    let one = |entry: &Value| (entry["path"].as_str().expect("a path").to_owned(), entry["value"].clone());
    output["overrides"].as_array().expect("a list").iter().map(one).collect()
}

#[test]
fn every_object_begins_with_what_was_asked() {
    for command in [
        format!("run {QUICK} --ranges none"),
        format!("plan {QUICK} --users 1"),
        "bound".into(),
        "graph --model llama-3.1-8b --layer 0".into(),
        "validate".into(),
        "validate --leave-out".into(),
        "traffic --mesh 4 --measured 100".into(),
        "crosscheck --kernels multicast --grids 8x8".into(),
    ] {
        let output = simctl(&format!("{command} --format json")).json();
        let keys: Vec<&String> = output.as_object().unwrap().keys().take(2).collect();
        assert_eq!(keys, ["schema_version", "command"], "{command}");
        assert_eq!(output["command"], command.split(' ').next().unwrap());
        assert_eq!(output["provenance"]["version"], env!("CARGO_PKG_VERSION"), "{command}");
        assert!(output["overrides"].is_array(), "{command}");
    }
}

#[test]
fn what_differs_from_the_default_is_said_however_it_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("asked.toml");
    let text =
        "model = 'llama-3.1-8b'\nwafers = 1\ncontext = 1024\nusers = 1\n[wafer_parameters]\n'link.latency' = 0.5\n";
    fs::write(&file, text).unwrap();
    let by_file = format!("run {} --search none --ranges none --format json", file.display());
    let by_flags = format!("run {QUICK} --users 1 --set wafer.link.latency=0.5 --ranges none --format json");
    let (by_file, by_flags) = (simctl(&by_file).json(), simctl(&by_flags).json());
    assert_eq!(by_file, by_flags, "what was asked, not how");
    let expected = [
        ("model", json!("llama-3.1-8b")),
        ("wafers", json!(1)),
        ("context", json!(1024)),
        ("wafer.link.latency", json!(0.5)),
        ("--search", json!("none")),
        ("--ranges", json!("none")),
    ];
    assert_eq!(overrides(&by_flags), expected.map(|(path, value)| (path.to_owned(), value)));
    let text = simctl(&format!("run {QUICK} --set wafer.link.latency=0.5 --ranges none")).data();
    assert!(text.contains("\n  wafer.link.latency           0.5"), "{text}");
}

#[test]
fn defaults_are_no_overrides_and_files_have_no_names() {
    let asked = |flags: &str| simctl(&format!("run {QUICK} --format json {flags}")).json();
    let plain = asked("");
    assert_eq!(
        asked("--ranges corner --users 1 --target 2000 --set wafer.pe.memory=49152")["overrides"],
        plain["overrides"]
    );
    let folder = tempfile::tempdir().unwrap();
    let config = include_str!("../../../models/llm/llama-3.1-8b.json");
    let hash = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let output = simctl(&format!(
            "run --wafers 1 --context 1k --search none --model {} --ranges none --format json",
            file.display()
        ));
        output.json()["provenance"]["input_hash"].as_str().map(str::to_owned)
    };
    let named = hash("a.json", config);
    assert!(named.is_some());
    assert_eq!(named, hash("other.json", &config.replace("  ", " ")), "neither names nor blanks");
    assert_ne!(named, hash("a.json", &config.replace("\"rope_theta\": 500000.0", "\"rope_theta\": 400000.0")));
}

#[test]
fn tables_carry_it_in_columns() {
    let table =
        simctl(&format!("plan {QUICK} --users 1,2 --draft-length 4 --set wafer.link.latency=0.5 --format csv")).data();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().ends_with(",overrides,version,commit"), "{table}");
    for line in lines {
        assert!(line.contains("speculation.draft_length=4; wafer.link.latency=0.5; "), "{line}");
    }
    let markdown = simctl(&format!("plan {QUICK} --users 1 --draft-length 4 --format markdown")).data();
    assert!(markdown.contains("speculation.draft_length"), "{markdown}");
}

#[test]
fn the_brief_answer_has_ten_lines() {
    let brief = simctl(&format!("run {QUICK} --brief --ranges none")).data();
    assert_eq!(brief.lines().count(), 10, "{brief}");
    assert!(brief.starts_with("verdict      "), "{brief}");
    assert_eq!(simctl("run --brief --format json").code, Some(2));
    assert_eq!(simctl("run --brief --out brief.html").code, Some(2));
}

#[test]
fn how_a_checkpoint_is_stored_is_not_what_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let config = include_str!("../../../models/llm/llama-3.1-8b.json");
    assert!(config.contains("\"torch_dtype\": \"bfloat16\""));
    fs::write(&file, config).unwrap();
    let asked = |flags: &str| {
        let model = file.display();
        let said = simctl(&format!("run --model {model} --wafers 1 --context 1k --search none --format json {flags}"));
        let output = said.json();
        let paths: Vec<String> = overrides(&output).into_iter().map(|(path, _)| path).collect();
        (output["scenario"]["precision"]["weights"].clone(), paths)
    };
    let common = ["model", "wafers", "context", "--search"];
    assert_eq!(asked(""), (json!("bf16"), common.map(str::to_owned).to_vec()));
    let with_weights = ["model", "wafers", "context", "precision.weights", "--search"];
    assert_eq!(asked("--weights fp8"), (json!("fp8"), with_weights.map(str::to_owned).to_vec()));
}
