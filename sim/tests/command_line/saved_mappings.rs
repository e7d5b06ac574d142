//! Resolved mappings that a run has saved: given back they are the same mapping and the same answer, on other inputs or
//! with another content they are refused.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::surface::simctl;

const SMALL: &str = "--model llama-3.1-8b --context 4k --wafers 1";

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// The answer of a run under a mapping, and the mapping as it was saved.
fn run(mapping: &str, to: PathBuf) -> (Value, String) {
    let arguments =
        format!("run {SMALL} --profile best --format json --mapping {mapping} --save-mapping {}", path(&to));
    let answer = simctl(&arguments).json();
    (answer, fs::read_to_string(to).expect("a saved mapping"))
}

/// What an answer says of decode under a mapping, and its verdict. On ideal hardware, and for prompts, a recipe may be
/// resolved in other ways than the one that is saved.
fn said(answer: &Value) -> Vec<&Value> {
    let decode = ["tokens_per_second_per_user", "latency_us", "slowest_stage_us", "full_pipeline_users", "causes"];
    let best = decode.iter().map(|key| &answer["profiles"]["best"][*key]);
    best.chain([&answer["profiles"]["published"], &answer["verdict"]]).collect()
}

fn refused(arguments: &str, part: &str) {
    let said = simctl(arguments);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
    assert!(said.stderr.contains(part), "{arguments}: no '{part}' in: {}", said.stderr);
}

#[test]
fn every_shipped_recipe_and_some_random_ones_come_back_as_they_were_saved() {
    let folder = tempfile::tempdir().unwrap();
    let list = simctl("mappings --format json").json();
    let mut names: Vec<String> =
        list["mappings"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect();
    for seed in [1, 2] {
        let drawn = simctl(&format!("mappings --random {seed} {SMALL} --format toml")).data();
        let file = folder.path().join(format!("random-{seed}.toml"));
        fs::write(&file, drawn).unwrap();
        names.push(path(&file));
    }
    for name in names {
        let saved = folder.path().join("saved.toml");
        let (answer, text) = run(&name, saved.clone());
        let (again, same) = run(&path(&saved), folder.path().join("again.toml"));
        assert_eq!(text, same, "{name}");
        assert_eq!(said(&answer), said(&again), "{name}");
    }
}

#[test]
fn it_is_refused_wherever_the_inputs_are_others() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.toml");
    run("best", saved.clone());
    let with = format!("--mapping {}", path(&saved));
    for other in [
        "--model llama-3.1-8b --context 4k --wafers 1 --set wafer.pe.free_memory=40000",
        "--model llama-3.1-8b --context 4k --wafers 1 --weights fp16",
        "--model llama-3.1-8b --context 4k --wafers 1 --kv fp8",
        "--model qwen3-8b --context 4k --wafers 1",
    ] {
        refused(&format!("run {other} {with}"), "mapping 'best'");
    }
}

#[test]
fn another_content_is_refused_by_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved.toml");
    let (_, text) = run("best", saved.clone());
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    for (old, new, part) in [
        (line("micro_batch ="), "micro_batch = 9".to_owned(), "micro_batch"),
        (line("across ="), "across = 3".to_owned(), "slots"),
        (line("model_hash ="), "model_hash = \"0123456789abcdef\"".to_owned(), "with other figures"),
        (line("micro_batch ="), "micro_batches = 1".to_owned(), "micro_batches"),
    ] {
        let changed = text.replacen(&old, &new, 1);
        assert_ne!(changed, text, "{old}");
        fs::write(&saved, changed).unwrap();
        refused(&format!("run {SMALL} --profile best --mapping {}", path(&saved)), part);
    }
}
