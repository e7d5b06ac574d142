//! What the system may refuse: memory, threads, room on the disk. An exit code and a message, never a panic,
//! and the old file stays. Unix only.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::battery::{BATTERY, Folder};
use crate::surface::simctl;

const PROGRAM: &str = env!("CARGO_BIN_EXE_simctl");
const PLAN: &str = "plan --model llama-3.1-8b --search none --users 1,2,3,4 --context 1k";

/// Runs a line under limits that a shell sets.
fn under(limit: &str, line: &str) -> Output {
    let script = format!("{limit}; exec {PROGRAM} {line}");
    let run = Command::new("bash").args(["-c", &script]).env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).output();
    run.expect("bash")
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// Stdout on a full disk: exit code 1 for every command that writes there.
#[test]
fn a_full_disk_is_said_by_every_subcommand() {
    let folder = Folder::new();
    for runs in BATTERY.iter().filter(|runs| runs.command != "results merge") {
        let Some(run) = runs.runs.last() else { continue };
        let line = folder.line(runs.command, run);
        let output = under(":", &format!("{line} > /dev/full"));
        assert_eq!(output.status.code(), Some(1), "{line}: {}", words(&output));
        assert!(words(&output).contains("stdout: could not be written: "), "{line}: {}", words(&output));
    }
}

/// A file that may not grow: a message, the old file as it was, nothing beside it.
#[test]
fn a_limit_of_the_file_size_is_a_failure_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("graph.json");
    fs::write(&file, "old").unwrap();
    let output = under("ulimit -f 1", &format!("graph --format json --out {}", file.display()));
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains("could not be written: "), "{}", words(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(files(folder.path()), ["graph.json"]);
    // What has room, is written.
    let store = folder.path().join("rows.jsonl");
    let kept = under("ulimit -f 4", &format!("{PLAN} --context 1k,2k,3k,4k --store {}", store.display()));
    assert_eq!(kept.status.code(), Some(1), "{}", words(&kept));
    let resumed = simctl(&format!("{PLAN} --context 1k,2k,3k,4k --store {} --resume", store.display()));
    assert!(resumed.stderr.contains("rows known: "), "{}", resumed.stderr);
    assert_eq!(resumed.data(), simctl(&format!("{PLAN} --context 1k,2k,3k,4k")).data());
}

/// With too little memory the process ends; what it has not finished is nowhere.
#[test]
fn a_limit_of_memory_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.csv");
    let line = format!("{PLAN} --out {}", file.display());
    assert_eq!(simctl(&line).code, Some(0));
    let whole = fs::read(&file).unwrap();
    let mut ended = [0, 0];
    for kilobytes in [30_000, 45_000, 60_000, 80_000, 120_000, 4_000_000] {
        fs::write(&file, "old").unwrap();
        let output = under(&format!("ulimit -v {kilobytes}"), &line);
        let now = fs::read(&file).unwrap();
        if output.status.success() {
            assert_eq!(now, whole, "{kilobytes}");
        } else {
            assert_eq!(now, b"old", "{kilobytes}: {}", words(&output));
            assert!(!words(&output).contains("panicked"), "{kilobytes}: {}", words(&output));
        }
        ended[usize::from(output.status.success())] += 1;
    }
    assert!(ended[0] > 0 && ended[1] > 0, "failed, done: {ended:?}");
}

/// Threads that cannot be made are not there: the same bytes with fewer.
#[test]
fn without_threads_work_is_done_all_the_same() {
    // Root has no limit of processes: somebody else is asked, if that is possible.
    let starts = Command::new("setpriv").args(["--reuid=65534", "--clear-groups", PROGRAM, "--version"]).output();
    if !starts.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: setpriv cannot start the program as another user");
        return;
    }
    let folder = Folder::new();
    for run in [
        PLAN.to_owned(),
        "run --model llama-3.1-8b --context 1k --search quick".to_owned(),
        "models".to_owned(),
        "values --checkpoint @checkpoint --grid 2x2".to_owned(),
        "routing generate --model qwen3-30b-a3b --layers 3 --tokens 400".to_owned(),
        "place --model qwen3-30b-a3b --wafers 4 --batches 8 --moves 10 --strategies spread,hybrid".to_owned(),
    ] {
        let (command, flags) = run.split_once(' ').unwrap_or((&run, ""));
        let line = folder.line(command, flags);
        let limited = Command::new("prlimit")
            .args(["--nproc=1", "setpriv", "--reuid=65534", "--clear-groups", PROGRAM])
            .args(line.split_whitespace())
            .output()
            .expect("prlimit");
        assert_eq!(limited.status.code(), Some(0), "{line}: {}", words(&limited));
        assert!(words(&limited).contains("note: of "), "{line}: {}", words(&limited));
        assert_eq!(String::from_utf8_lossy(&limited.stdout), simctl(&line).data(), "{line}");
    }
}
