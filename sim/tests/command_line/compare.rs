//! `simctl compare`: two answers beside each other.

use std::fs;

use crate::surface::simctl;

const QUICK: &str = "model = 'llama-3.1-8b'\nwafers = 1\ncontext = 1024\n";

#[test]
fn a_saved_answer_and_a_scenario_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("quick.toml");
    fs::write(&scenario, QUICK).unwrap();
    let (scenario, saved) = (scenario.display().to_string(), folder.path().join("a.json").display().to_string());
    let run = format!("run {scenario} --search none --ranges none --format json");
    assert_eq!(simctl(&format!("{run} --out {saved}")).code, Some(0));
    let same = simctl(&format!("compare {saved} {scenario} --search none --format json")).json();
    assert_eq!(same["assumptions"].as_array().unwrap().len(), 0, "{same}");
    assert!(same["figures"].as_array().unwrap().iter().all(|figure| figure["a"] == figure["b"]), "{same}");

    let changed = format!("compare {saved} {scenario} --search none --set-b clock_ghz=0.55 --format json");
    let changed = simctl(&changed).json();
    let speed = &changed["figures"][0];
    let other = simctl(&format!("{run} --set clock_ghz=0.55")).json();
    assert_eq!(speed["b"], other["tokens_per_second_per_user"]);
    assert_eq!(changed["assumptions"][0]["path"], "clock_ghz");
    let sum = |parts: &str| {
        changed[parts].as_array().unwrap().iter().filter_map(|part| part["change_us"].as_f64()).sum::<f64>()
    };
    let time = |answer: &serde_json::Value| answer["time_per_output_token_us"].as_f64().unwrap();
    let whole = time(&other) - time(&simctl(&run).json());
    assert!((sum("operators") - whole).abs() < 1e-6 && (sum("causes") - whole).abs() < 1e-6, "{changed}");
    let text = simctl(&format!("compare {scenario} {scenario} --search none --set-b users=2")).data();
    assert!(text.contains("with users=2: ") && text.contains("What was asked differently"), "{text}");
}

#[test]
fn what_is_no_answer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let scenario = put("a.toml", QUICK);
    for (file, part) in [
        (put("b.json", "{\"rows\": []}"), "is no answer"),
        (put("c.json", "{"), "not valid JSON"),
        (put("d.toml", "modle = 'a'"), "model"),
        (folder.path().join("none.json").display().to_string(), "none.json"),
    ] {
        let said = simctl(&format!("compare {scenario} {file} --search none"));
        assert_eq!(said.code, Some(2), "{file}: {}", said.stderr);
        assert!(said.stderr.contains(part), "{file}: {}", said.stderr);
    }
}
