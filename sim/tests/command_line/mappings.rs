//! `simctl mappings`, `--mapping` and `--save-mapping`.

use std::fs;
use std::path::Path;

use crate::surface::{Said, repository, simctl};

const SMALL: &str = "--model llama-3.1-8b --context 4k --wafers 1";

/// Arguments that name a file, written by a command that must go well.
fn file(path: &Path) -> String {
    path.display().to_string()
}

fn refused(arguments: &str, parts: &[&str]) {
    let Said { code, stdout, stderr } = simctl(arguments);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments}: {stderr}");
    assert!(stderr.starts_with("error: "), "{arguments}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{arguments}: no '{part}' in: {stderr}");
    }
}

#[test]
fn every_built_in_one_is_listed_and_is_shown_as_it_is_read() {
    let list = simctl("mappings --format json").json();
    let names: Vec<&str> =
        list["mappings"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.len() >= 5 && names.contains(&"published") && names.contains(&"best"), "{names:?}");
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        let shown = simctl(&format!("mappings {name} --format toml")).data();
        let path = folder.path().join(name);
        fs::write(&path, &shown).unwrap();
        assert_eq!(simctl(&format!("mappings {} --format toml", file(&path))).data(), shown);
        let shipped = file(&repository(&format!("models/mapping/{name}.toml")));
        assert_eq!(simctl(&format!("mappings {shipped} --format toml")).data(), shown);
        let text = simctl(&format!("mappings {name}")).data();
        assert!(text.contains(&format!("{name}: ")) && text.contains("fused_norms"), "{text}");
    }
}

#[test]
fn a_random_one_depends_on_its_seed() {
    let draw = |seed: u64| simctl(&format!("mappings --random {seed} {SMALL} --format toml")).data();
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

#[test]
fn a_saved_mapping_gives_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.toml");
    let run = |mapping: &str| simctl(&format!("run {SMALL} --profile best --format json --mapping {mapping}")).json();
    let first = run(&format!("best --save-mapping {}", file(&saved)));
    let written = fs::read_to_string(&saved).unwrap();
    let again = folder.path().join("again.toml");
    let second = run(&format!("{} --save-mapping {}", file(&saved), file(&again)));
    assert_eq!(fs::read_to_string(&again).unwrap(), written);
    assert_eq!(simctl(&format!("mappings {} --format toml", file(&saved))).data(), written);
    let speed = |said: &serde_json::Value| said["tokens_per_second_per_user"].as_f64().unwrap();
    assert_eq!(speed(&first), speed(&second));
    // The mapping is that of `best` and `ideal`; `published` stays.
    let plain = simctl(&format!("run {SMALL} --profile best --search none --format json")).json();
    assert_eq!(plain["profiles"]["published"], first["profiles"]["published"]);
    assert_eq!(
        plain["profiles"]["best"], first["profiles"]["best"],
        "the best of those that are built in is this recipe here"
    );
    let found = simctl(&format!("run {SMALL} --profile best --format json")).json();
    assert!(speed(&found) >= speed(&first), "what is found is not slower");
    assert_ne!(run("static-routes")["profiles"]["best"], first["profiles"]["best"]);
    assert_eq!(first["provenance"]["mapping"], "best");
}

#[test]
fn a_resolved_mapping_says_which_input_differs() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.toml");
    simctl(&format!("run {SMALL} --mapping best --profile best --save-mapping {}", file(&saved))).data();
    let with = file(&saved);
    for (other, differs) in [
        ("--model llama-3-8b --context 4k --wafers 1", "model"),
        ("--model llama-3.1-8b --context 2k --wafers 1", "load"),
        ("--model llama-3.1-8b --context 4k --wafers 1 --users 2", "load"),
        ("--model llama-3.1-8b --context 4k --wafers 1 --wafer wse2", "wafer"),
        ("--model llama-3.1-8b --context 4k --wafers 2", "load (1 wafer(s); here 2"),
    ] {
        refused(&format!("run {other} --mapping {with}"), &["mapping 'best'", differs]);
        refused(&format!("mappings {with} {other}"), &["mapping 'best'", differs]);
    }
}

#[test]
fn wrong_mappings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong.toml");
    let with = |text: &str| {
        fs::write(&wrong, text).unwrap();
        file(&wrong)
    };
    refused(&format!("run {SMALL} --mapping besst"), &["besst", "did you mean 'best'?"]);
    refused(&format!("run {SMALL} --mapping nowhere.toml"), &["nowhere.toml"]);
    let cases: &[(&str, &[&str])] = &[
        ("routes = \"fixed\"", &["wrong.toml: line 1: field 'routes'", "fixed", "changed", "static"]),
        (
            "about = \"x\"\nrewrites = [\"fused_norm\"]",
            &["wrong.toml: line 2: field 'rewrites", "fused_norm", "fused_norms"],
        ),
        ("[kv]\nhead_copies = \"150%\"", &["wrong.toml: line 2: field 'kv.head_copies'", "150%"]),
        ("[reductions]\nx = { kind = \"tree\", groups = [0] }", &["wrong.toml: line 2: field 'reductions.x"]),
        ("[experts]\nstrategy = \"clustered\"\nspare = 2", &["spare", "replicated"]),
    ];
    for (text, parts) in cases {
        refused(&format!("run {SMALL} --mapping {}", with(text)), parts);
    }
    // What does not fit says so with numbers.
    let text = with("[division]\ncolumns = 10\nrows = 10");
    refused(&format!("run {SMALL} --mapping {text}"), &["10 x 10"]);
    let text = with("[rectangles]\nrouter = { x = 2000, columns = 9 }");
    refused(&format!("run --model qwen3-30b-a3b --wafers 4 --mapping {text}"), &["rectangles.\"router\"", "2000"]);
}

#[test]
fn nothing_is_left_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.toml");
    fs::write(&saved, "before").unwrap();
    refused(&format!("run {SMALL} --users 100000 --mapping best --save-mapping {}", file(&saved)), &[]);
    assert_eq!(fs::read_to_string(&saved).unwrap(), "before");
    let missing = folder.path().join("no/such/folder.toml");
    refused(&format!("run {SMALL} --mapping best --save-mapping {}", file(&missing)), &["--save-mapping"]);
}

/// Each command that takes a mapping says something else with another one.
#[test]
fn every_command_takes_one() {
    let folder = tempfile::tempdir().unwrap();
    let load = folder.path().join("load.toml");
    let text = "[machine]\nmodel = \"llama-3.1-8b\"\ncontext = 4096\nusers = 2\nprofile = \"best\"\n\
                [load]\nusers = 2\nprompt = { median = 200 }\noutput = { median = 20 }\n\
                [run]\nwarm_up = 0.1\nwindow = 1.0\n";
    fs::write(&load, text).unwrap();
    for arguments in [
        "plan --model llama-3.1-8b --wafers 1 --users 1 --context 2k,4k --profile best --format csv",
        &format!("stream {} --format json", file(&load)),
        "graph --model llama-3.1-8b --layer 0 --format json",
    ] {
        let say = |mapping| simctl(&format!("{arguments} --mapping {mapping}")).data();
        assert_ne!(say("published"), say("best"), "{arguments}");
    }
    let small = "place --model qwen3-30b-a3b --wafers 4 --batches 8 --moves 10 --strategies hybrid --format json";
    let placed = |mapping| {
        let said = simctl(&format!("{small} --mapping {mapping}")).json();
        said["batches"][0]["strategies"][0]["time_per_output_token_us"].clone()
    };
    assert_ne!(placed("published"), placed("best"));
}

#[test]
fn what_graph_saves_is_the_mapping_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.toml");
    let question = "--model llama-3.1-8b --context 4k";
    simctl(&format!("graph {question} --layer 0 --mapping interleaved --save-mapping {}", file(&saved))).data();
    let speed = |mapping: &str| {
        simctl(&format!("run {question} --format json --mapping {mapping}")).json()["tokens_per_second_per_user"]
            .clone()
    };
    assert_eq!(speed(&file(&saved).to_string()), speed("interleaved"));
    refused("graph --layer 0 --save-mapping x.toml", &["--mapping"]);
}
