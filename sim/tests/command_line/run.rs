//! `simctl run`: one question, layers of settings, both formats.

use std::fs;

use serde_json::Value;

use crate::surface::{command, repository, said, simctl};

/// A small model, for speed.
const SMALL: &str = "run --model qwen3-30b-a3b --format json";

#[test]
fn without_arguments_it_asks_for_qwen3_coder_on_wse3() {
    let text = simctl("run").data();
    let verdict = text.split("\n\n").next().unwrap().replace('\n', " ");
    for part in [
        "NOT FOUND: ",
        "profile best",
        "published gives",
        "qwen3-coder-480b-a35b",
        "wse3 wafers",
        "target of 2,000",
        "1.1 GHz",
    ] {
        assert!(verdict.contains(part), "{part}: {verdict}");
    }
    for heading in
        ["Answer (profile best)", "Profiles", "One token's time", "Memory", "How sure", "Where this comes from"]
    {
        assert!(text.contains(&format!("\n{heading}")), "{heading}");
    }
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
}

#[test]
fn json_is_one_object_whose_parts_agree() {
    let answer = simctl("run --format json").json();
    assert_eq!(answer["model"], "qwen3-coder-480b-a35b");
    assert_eq!(answer["parameters"]["total"], 480_154_875_392_u64);
    assert_eq!(answer["parameters"]["active"], 35_474_765_312_u64);
    assert_eq!(answer["parameters"]["active_without_input_embedding"], 34_541_270_528_u64);
    assert_eq!(answer["kv_bytes_per_token"], 253_952);
    assert_eq!((&answer["users"], &answer["context"]), (&Value::from(1), &Value::from(32_768)));
    let number = |path: &str| answer.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let speed = number("/tokens_per_second_per_user");
    assert_eq!(number("/profiles/best/tokens_per_second_per_user"), speed);
    assert_eq!(answer["verdict"]["state"], "not_found");
    assert!((number("/time_per_output_token_us") * speed / 1e6 - 1.0).abs() < 1e-9);
    assert!((number("/verdict/margin") - (speed / 2000.0 - 1.0)).abs() < 1e-9);
    let ladder =
        ["published", "best", "ideal"].map(|name| number(&format!("/profiles/{name}/tokens_per_second_per_user")));
    assert!(ladder[0] <= ladder[1] && ladder[1] <= ladder[2], "{ladder:?}");
    let shares: f64 = answer["breakdown"].as_array().unwrap().iter().filter_map(|row| row["share"].as_f64()).sum();
    assert!((shares - 1.0).abs() < 1e-6, "{shares}");
    let bytes = answer["memory"]["per_pe_bytes"].as_object().unwrap();
    let sum: u64 = bytes.iter().filter(|(name, _)| *name != "limit").filter_map(|(_, bytes)| bytes.as_u64()).sum();
    assert_eq!(Some(sum), bytes["limit"].as_u64());
    assert_no_null(&answer, "");
}

/// Numbers are numbers. The seed is none because nothing is random; clock and mapping were left open, and `--ranges` of
/// what was asked has its own default.
fn assert_no_null(value: &Value, path: &str) {
    const OPEN: [&str; 4] = ["/provenance/seed", "/provenance/commit", "/scenario/clock_ghz", "/mapping"];
    match value {
        Value::Null => assert!(OPEN.contains(&path), "{path}"),
        Value::Array(items) => items.iter().for_each(|item| assert_no_null(item, path)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| assert_no_null(value, &format!("{path}/{key}"))),
        _ => {}
    }
}

#[test]
fn set_lies_on_flags_on_the_file_on_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scenario.toml");
    fs::write(&file, "users = 2\ncontext = 2048\ntarget = 10\n").unwrap();
    let ask = |more: &str| {
        let mut command = command(&format!("{SMALL} {more}"));
        command.arg(&file);
        let answer = said(command).json();
        (answer["users"].as_u64().unwrap(), answer["context"].as_u64().unwrap())
    };
    assert_eq!(ask(""), (2, 2048));
    assert_eq!(ask("--users 3"), (3, 2048));
    assert_eq!(ask("--users 3 --context 4k --set users=4"), (4, 4096));
    assert_eq!(ask("--set users=4 --set users=5 --set context=1k"), (5, 1024));
}

#[test]
fn every_flag_reaches_its_setting() {
    let answer = |more: &str| simctl(&format!("{SMALL} --context 2k {more}")).json();
    let same = [
        ("--weights fp16", "precision.weights=fp16"),
        ("--kv fp8", "precision.kv_cache=fp8"),
        ("--activations bf16", "precision.activations=bf16"),
        ("--wafers 3", "wafers=3"),
        ("--wafer wse2", "wafer=wse2"),
        ("--prompt 100", "prompt=100"),
        ("--profile ideal", "profile=ideal"),
        ("--placement clustered", "placement=clustered"),
        ("--routing uniform", "routing=uniform"),
        ("--clock 0.9", "clock_ghz=0.9"),
        ("--clock 900MHz", "clock_ghz=0.9"),
        ("--target 123", "target=123"),
        ("--draft-length 3", "speculation.draft_length=3"),
        ("--acceptance 0.9", "speculation.acceptance=0.9"),
        ("--draft-cost 0.2", "speculation.draft_cost=0.2"),
        ("--draft-model llama-3.1-8b", "speculation.draft_model=llama-3.1-8b"),
        ("--verification stream", "speculation.verification=stream"),
    ];
    let unchanged = answer("");
    for (flag, set) in same {
        let flagged = answer(flag);
        assert_eq!(flagged, answer(&format!("--set {set}")), "{flag}");
        assert_ne!(flagged["scenario"], unchanged["scenario"], "{flag}");
        // A model that drafts nothing changes no answer.
        let means_the_same = flagged["provenance"]["input_hash"] == unchanged["provenance"]["input_hash"];
        assert_eq!(means_the_same, flag.starts_with("--draft-model"), "{flag}");
        assert!(flagged["overrides"].as_array().unwrap().len() > unchanged["overrides"].as_array().unwrap().len());
    }
}

#[test]
fn changing_the_wafer_changes_the_answer() {
    let speed = |more: &str| simctl(&format!("{SMALL} {more}")).json()["tokens_per_second_per_user"].as_f64().unwrap();
    assert!(speed("--set wafer.fabric.hop_latency=1") > speed(""));
    assert!(speed("--clock 0.85") < speed("--clock 1.1"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slow.toml");
    let text = fs::read_to_string(repository("models/wafer/wse3.toml")).unwrap();
    fs::write(
        &file,
        text.replacen(
            "[fabric.hop_latency]\nvalue = 2.0\nunit = \"cycles\"\nlow = 2.0\nhigh = 2.0",
            "[fabric.hop_latency]\nvalue = 9.0\nunit = \"cycles\"\nlow = 2.0\nhigh = 9.0",
            1,
        ),
    )
    .unwrap();
    assert!(speed(&format!("--wafer {}", file.display())) < speed(""));
}

#[test]
fn a_model_is_read_from_its_config_json() {
    let path = repository("models/llm/qwen3-8b.json");
    // A file says how its weights are stored, a built-in name does not.
    let by_path = simctl(&format!("run --context 2k --weights fp8 --format json --model {}", path.display())).json();
    let by_name = simctl("run --context 2k --weights fp8 --format json --model qwen3-8b").json();
    assert_eq!(by_path["tokens_per_second_per_user"], by_name["tokens_per_second_per_user"]);
    assert_eq!(by_path["parameters"], by_name["parameters"]);
}

/// Renewed with `INSTA_UPDATE=always cargo test -p simctl`: a change of physics shows here.
#[test]
fn golden_answer() {
    insta::assert_snapshot!("run", simctl("run --model llama-3.1-8b --context 4k --users 4").data());
}

/// Measured loads of experts: where all are chosen alike it is the answer of uniform routing, and the more of all choices
/// one takes the longer it waits; a file of another model is refused.
#[test]
fn loads_of_experts_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, layers: usize, count: &dyn Fn(usize) -> u64| {
        let layer: Vec<String> = (0..128).map(|expert| count(expert).to_string()).collect();
        let rows = vec![format!("[{}]", layer.join(",")); layers];
        let path = folder.path().join(name);
        fs::write(&path, format!("[{}]", rows.join(","))).unwrap();
        path.display().to_string()
    };
    let load =
        "--model qwen3-30b-a3b --users 150 --context 1024 --wafers 6 --placement clustered --search none --ranges none";
    let asked = |routing: &str| {
        let answer = simctl(&format!("run {load} --routing {routing} --format json")).json();
        (answer["load"]["routing"].as_str().unwrap().to_owned(), answer["tokens_per_second_per_user"].as_f64().unwrap())
    };
    let alike = file("alike.json", 48, &|_| 7);
    let (named, speed) = asked(&alike);
    assert_eq!((named, speed), (format!("counted in {alike}"), asked("uniform").1));
    let (_, skewed) = asked(&file("skewed.json", 48, &|expert| if expert == 5 { 600 } else { 7 }));
    assert!(skewed < speed, "{skewed} {speed}");
    let said = simctl(&format!("run {load} --routing {}", file("other.json", 47, &|_| 7)));
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("47 layers of 128 experts, and qwen3-30b-a3b has 48 of 128"), "{}", said.stderr);
    let said = simctl(&format!("plan {load} --routing nothing"));
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("uniform, skewed, or a file"), "{}", said.stderr);
}
