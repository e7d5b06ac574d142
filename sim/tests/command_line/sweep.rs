//! `--sweep`: settings that take several values, in all combinations.

use crate::surface::{command, said, simctl};

const QUICK: &str = "--model llama-3.1-8b --wafers 1 --context 1k --search none";

#[test]
fn a_swept_run_is_a_table_of_the_answers() {
    let sweeps = "--sweep wafer.link.latency=1,5 --sweep users=1..4*2";
    let table = simctl(&format!("run {QUICK} {sweeps} --ranges none --format json")).json();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let swept: Vec<String> = row["swept"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("--set {}={}", one["path"].as_str().unwrap(), one["value"].as_str().unwrap()))
            .collect();
        let alone = simctl(&format!("run {QUICK} {} --ranges none --format json", swept.join(" "))).json();
        for key in ["users", "tokens_per_second_per_user", "time_to_first_token_ms", "wafers"] {
            assert_eq!(row[key], alone[key], "{key} of {swept:?}");
        }
    }
    let last: Vec<_> = rows.iter().map(|row| row["users"].as_u64().unwrap()).collect();
    assert_eq!(last, [1, 2, 4, 1, 2, 4], "the last one fastest");
    let text = simctl(&format!("run {QUICK} {sweeps} --ranges none")).data();
    assert!(text.contains("wafer.link.latency") && text.contains("6 points"), "{text}");
}

#[test]
fn models_wafers_and_mappings_are_swept() {
    let sweeps = "--sweep model=llama-3.1-8b,qwen3-8b --sweep wafer=wse2,wse3 --sweep mapping=published,best";
    let csv = simctl(&format!("plan --wafers 2 --context 1k --users 1 --search none {sweeps} --format csv")).data();
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("model,wafer,mapping,clock_ghz,"), "{csv}");
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0][..3], ["llama-3.1-8b", "wse2", "published"]);
    assert_eq!(rows[7][..3], ["qwen3-8b", "wse3", "best"]);
    let text = simctl(&format!("plan --wafers 2 --context 1k --users 1 --search none {sweeps}")).data();
    assert!(text.starts_with("several models on several wafers, target"), "{text}");
}

#[test]
fn threads_and_stores_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |threads: &str, store: &str| {
        let mut command = command(&format!(
            "plan {QUICK} --users 1 --sweep wafer.link.latency=1..3+0.5 --sweep clock_ghz=0.9,1.1 {store} --format csv"
        ));
        command.env("RAYON_NUM_THREADS", threads);
        said(command).data()
    };
    let one = plan("1", "");
    assert_eq!(one.lines().count(), 11);
    assert_eq!(one, plan("3", ""));
    let store = |name: &str| format!("--store {}", folder.path().join(name).display());
    for part in ["1/2", "2/2"] {
        let name = format!("{}.jsonl", &part[..1]);
        let shard = format!(
            "plan {QUICK} --users 1 --sweep wafer.link.latency=1..3+0.5 --sweep clock_ghz=0.9,1.1 {} --shard {part}",
            store(&name)
        );
        assert_eq!(simctl(&shard).code, Some(0));
    }
    let whole = folder.path().join("whole.jsonl");
    let parts = ["1.jsonl", "2.jsonl"].map(|name| folder.path().join(name).display().to_string()).join(" ");
    let merged = simctl(&format!("results merge {parts} --into {}", whole.display()));
    assert_eq!(merged.code, Some(0), "{}", merged.stderr);
    assert_eq!(one, plan("2", &format!("{} --resume", store("whole.jsonl"))), "what is kept is not computed again");
}

#[test]
fn what_cannot_be_swept_is_refused() {
    for (sweep, part) in [
        ("users", "a setting and its values"),
        ("usres=1,2", "users"),
        ("users=0,1", "from 1 to"),
        ("users=1,2 --users 4", "a list too"),
        ("mapping=beast", "best"),
        ("prompt=1k,2k", "run --sweep prompt"),
        ("users=1..9000000", "at most"),
        ("users=1,2 --sweep users=3", "twice"),
        ("wafer.link.latency=1..2 --fidelity stream", "closed form"),
    ] {
        let said = simctl(&format!("plan {QUICK} --sweep {sweep}"));
        assert_eq!(said.code, Some(2), "{sweep}");
        assert!(said.stderr.contains(part), "{sweep}: {}", said.stderr);
    }
    let said = simctl(&format!("run {QUICK} --sweep users=1,2 --certify"));
    assert!(said.code == Some(2) && said.stderr.contains("without --sweep"), "{}", said.stderr);
}
