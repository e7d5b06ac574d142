//! `--certify`: what it prints, what it saves, and with which exit code.

use std::fs;

use serde_json::Value;

use crate::surface::simctl;

const SMALL: &str = "--model llama-3.1-8b --context 4k --wafers 1";

fn names(answer: &Value) -> Vec<&str> {
    let parts = answer["certificate"]["parts"].as_array().expect("parts");
    parts.iter().map(|part| part["name"].as_str().expect("a name")).collect()
}

#[test]
fn an_answer_says_whether_its_mapping_is_certified() {
    let answer = simctl(&format!("run {SMALL} --format json")).json();
    assert_eq!((answer["certificate"]["state"].as_str(), names(&answer).len()), (Some("none"), 0));
    let text = simctl(&format!("run {SMALL}")).data();
    assert!(text.contains("certificate          none"), "{text}");
}

#[test]
fn a_certificate_is_saved_shown_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved.toml");
    let path = file.display();
    let said = simctl(&format!("run {SMALL} --certify --format json --save-mapping {path}"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains("certificate of mapping"), "{}", said.stderr);
    let answer = said.json();
    assert_eq!(answer["certificate"]["state"], "passed");
    for name in ["memory", "colors", "fabric", "numbers"] {
        assert!(names(&answer).contains(&name));
    }
    // What was the best is the best.
    let uncertified = simctl(&format!("run {SMALL} --format json")).json();
    assert_eq!(answer["tokens_per_second_per_user"], uncertified["tokens_per_second_per_user"]);
    let shown = simctl(&format!("mappings {path}")).data();
    assert!(shown.contains("certificate          passed"), "{shown}");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(simctl(&format!("mappings {path} --format toml")).data(), text);
    let again = simctl(&format!("run {SMALL} --mapping {path} --format json")).json();
    assert_eq!(again["certificate"], answer["certificate"]);
    // Another content has no certificate.
    fs::write(&file, text.replacen("append = \"round_robin\"", "append = \"shifted\"", 1)).unwrap();
    let shown = simctl(&format!("mappings {path}")).data();
    assert!(shown.contains("certificate          none"), "{shown}");
    assert!(shown.contains("was changed after"), "{shown}");
}

/// Both mappings of this question need more than a processing element has, since LM heads convert their tile as a
/// whole.
#[test]
fn where_no_mapping_passes_best_is_published_and_the_exit_code_says_so() {
    let question = "--model qwen3-32b --context 2k --wafers 1 --format json";
    let said = simctl(&format!("run {question} --certify"));
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("no mapping passes"), "{}", said.stderr);
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["certificate"]["state"], "failed");
    let speed = |profile: &str| answer["profiles"][profile]["tokens_per_second_per_user"].as_f64();
    assert_eq!(speed("best"), speed("published"));
}
