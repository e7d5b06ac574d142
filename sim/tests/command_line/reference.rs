//! `simctl models`, `wafers`, `settings`, `graph`, `completions`, and what every program has.

use serde_json::Value;

use crate::surface::{repository, simctl};

#[test]
fn version_and_help() {
    let version = simctl("--version").data();
    assert!(
        version.starts_with(&format!("simctl {}", env!("CARGO_PKG_VERSION"))) && version.lines().count() == 1,
        "{version}"
    );
    let help = simctl("--help").data();
    for command in ["run", "plan", "trace", "validate", "graph", "models", "wafers", "settings", "completions"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        assert!(simctl(&format!("{command} --help")).data().contains("Usage: simctl"));
    }
    for command in ["run", "map"] {
        assert!(simctl(&format!("{command} --help")).data().contains("`fewest`"), "{command}");
    }
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("Exit codes: 0 done, 1 a bug or a failure while writing, 2 wrong input, 3 no"));
}

#[test]
fn models_and_wafers_are_listed_or_shown() {
    let models = simctl("models --format json").json();
    let known =
        models["models"].as_array().unwrap().iter().find(|model| model["name"] == "qwen3-coder-480b-a35b").unwrap();
    assert_eq!(known["parameters"]["total"], 480_154_875_392_u64);
    let path = repository("models/llm/grok-1.json");
    assert!(simctl(&format!("models {} mixtral-8x7b", path.display())).data().contains("grok-1.json"));

    let wafers = simctl("wafers").data();
    assert!(["wse2", "wse3", "example-dojo-like"].iter().all(|name| wafers.contains(name)));
    let wse3 = simctl("wafers wse3").data();
    assert!(wse3.contains("fabric.hop_latency") && wse3.contains("silicon") && wse3.contains("guess"), "{wse3}");
    let both = simctl("wafers wse2 wse3 --format json").json();
    assert_eq!((&both["wafers"][0]["name"], &both["wafers"][1]["name"]), (&Value::from("wse2"), &Value::from("wse3")));
}

/// Every path that is listed can be set.
#[test]
fn settings_that_are_listed_can_be_set() {
    let settings = simctl("settings --format json").json();
    let paths: Vec<&str> =
        settings["settings"].as_array().unwrap().iter().filter_map(|entry| entry["path"].as_str()).collect();
    assert!(paths.len() > 60, "{}", paths.len());
    for path in paths.iter().step_by(7) {
        let said = simctl(&format!("run --set {path}=nonsense"));
        assert_eq!(said.code, Some(2));
        assert!(!said.stderr.contains("unknown setting"), "{}", said.stderr);
    }
    let of_streams: Vec<&str> =
        settings["stream_settings"].as_array().unwrap().iter().filter_map(|entry| entry["path"].as_str()).collect();
    assert!(of_streams.len() > 40 && of_streams.contains(&"load.prompt.median"), "{of_streams:?}");
    let file = repository("sim/scenarios/stream/chat.toml");
    for path in of_streams.iter().step_by(9) {
        let mut command = crate::surface::command(&format!("stream {}", file.display()));
        command.args(["--set", &format!("{path}={{ nonsense = 1 }}")]);
        let said = crate::surface::said(command);
        assert_eq!(said.code, Some(2), "{path}");
        let last = path.rsplit('.').next().unwrap();
        assert!(!said.stderr.contains(&format!("unknown field `{last}`")), "{}", said.stderr);
    }
    let text = simctl("settings").data();
    assert!(text.contains("service.prefix_cache") && text.lines().all(|line| line.len() <= 100), "{text}");
}

#[test]
fn graphs_are_dot_or_json() {
    let dot = simctl("graph --model qwen3-30b-a3b --layer 3").data();
    assert!(dot.starts_with("digraph operators {") && dot.contains("cluster_layer_3"), "{dot}");
    let json = simctl("graph --model qwen3-8b --phase prefill --tokens 128 --context 1k --format json").json();
    assert_eq!(json["load"]["phase"], "prefill");
    assert_eq!((&json["load"]["tokens"], &json["load"]["context"]), (&Value::from(128), &Value::from(1024)));
    assert_eq!(json["totals"]["parameters"], 8_190_735_360_u64);
    let bytes = |weights: &str| {
        let graph = simctl(&format!("graph --model qwen3-8b --layer 0 --weights {weights} --format json")).json();
        graph["totals"]["weight_bytes_read"].as_u64().unwrap()
    };
    assert!(bytes("fp4") < bytes("fp8") && bytes("fp8") < bytes("fp16"));
}

#[test]
fn shells_are_completed() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = simctl(&format!("completions {shell}")).data();
        assert!(script.contains("simctl") && script.contains("draft-length"), "{shell}");
    }
}
