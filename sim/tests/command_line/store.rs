//! `--store` and `--resume`: rows that end are kept, whatever happens to the run.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use wafersim::store::{StoreError, read};

use crate::surface::{Said, command, repository, said, simctl};

/// 32 rows in a second or so.
const PLAN: &str = "plan --model llama-3.1-8b --search none --users 1,2,3,4,6,8,12,16 --context 1k,2k,3k,4k";
const ROWS: usize = 32;
const NAMES: [&str; 2] = ["a.jsonl", "a.sqlite"];

fn with_store(arguments: &str, path: &Path) -> Said {
    simctl(&format!("{arguments} --store {}", path.display()))
}

fn in_both(check: impl Fn(&Path)) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in NAMES {
        check(&folder.path().join(name));
    }
}

/// The rows of a store, by their places.
fn rows(path: &Path) -> Vec<(u64, String)> {
    read(path).expect("a store").rows.into_iter().map(|row| (row.place, row.json)).collect()
}

#[test]
fn a_store_changes_nothing_in_what_is_printed_and_a_whole_one_computes_nothing() {
    let plain = simctl(PLAN).data();
    in_both(|path| {
        let first = with_store(PLAN, path);
        assert!(first.stderr.contains(&format!("kept: {}\n", path.display())), "{}", first.stderr);
        assert_eq!(first.data(), plain);
        let kept = (fs::read(path).unwrap(), rows(path));
        let again = with_store(&format!("{PLAN} --resume"), path);
        assert!(again.stderr.contains("rows known: 32 of 32"), "{}", again.stderr);
        assert!(!again.stderr.contains("points per second"), "{}", again.stderr);
        assert_eq!(again.data(), plain);
        assert_eq!(rows(path), kept.1);
        if path.extension().is_some_and(|end| end == "jsonl") {
            assert_eq!(fs::read(path).unwrap(), kept.0);
        }
        // What a table is written as belongs to no question.
        let csv = with_store(&format!("{PLAN} --resume --format csv"), path).data();
        assert_eq!(csv, simctl(&format!("{PLAN} --format csv")).data());
    });
}

#[test]
fn threads_change_no_byte_of_a_finished_store_of_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let stores = ["1", "4"].map(|threads| {
        let mut with_threads = command(&format!("{PLAN} --profile all --store {}", path.display()));
        with_threads.env("RAYON_NUM_THREADS", threads);
        said(with_threads).data();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        bytes
    });
    assert_eq!(stores[0].iter().filter(|byte| **byte == b'\n').count(), 1 + 3 * ROWS);
    assert!(stores[0] == stores[1]);
}

#[test]
fn half_a_store_is_gone_on_with() {
    let arguments = format!("{PLAN} --profile published,ideal");
    let plain = simctl(&arguments).data();
    in_both(|path| {
        with_store(&arguments, path).data();
        let whole = rows(path);
        if path.extension().is_some_and(|end| end == "jsonl") {
            // Rows of one point that are known in part, and a torn one.
            let text = fs::read_to_string(path).unwrap();
            let half: Vec<&str> = text.split_inclusive('\n').take(20).collect();
            fs::write(path, half.concat() + "{\"place\":21,\"ke").unwrap();
        } else {
            let database = rusqlite::Connection::open(path).unwrap();
            database.execute("DELETE FROM rows WHERE place >= 19", []).unwrap();
        }
        let resumed = with_store(&format!("{arguments} --resume"), path);
        assert!(resumed.stderr.contains("rows known: 19 of 64"), "{}", resumed.stderr);
        assert_eq!(resumed.stderr.contains("torn: 15 bytes are cut off"), path.ends_with("a.jsonl"));
        assert!(resumed.stderr.contains("45 points in "), "{}", resumed.stderr);
        assert_eq!(resumed.data(), plain);
        assert_eq!(rows(path), whole);
    });
}

#[test]
fn runs_event_by_event_are_rows_too() {
    let arguments = "plan --model llama-3.1-8b --search none --users 1,4 --context 2k --wafers 1,2 --fidelity stream";
    let plain = simctl(arguments).data();
    in_both(|path| {
        assert_eq!(with_store(arguments, path).data(), plain);
        assert_eq!(rows(path).len(), 8);
        let again = with_store(&format!("{arguments} --resume"), path);
        assert!(again.stderr.contains("rows known: 8 of 8"), "{}", again.stderr);
        assert_eq!(again.data(), plain);
    });
}

/// A row for each part of what a command does: the same bytes again, and nothing is computed twice.
#[test]
fn stream_place_and_map_keep_their_parts() {
    let chat = repository("sim/scenarios/stream/chat.toml");
    let chat = format!("stream {} --search none --set run.window=20 --format json", chat.display());
    let place = "place --model qwen3-30b-a3b --batches 16 --moves 10 --search none --strategies spread,hybrid";
    let map = "map --model llama-3.1-8b --users 2 --context 2k --wafers 1";
    for (arguments, parts) in [
        (chat.as_str(), 1),
        (&format!("{chat} --sweep load.users=1,2,4"), 3),
        (&format!("{place} --batch 2,4"), 2),
        // What is said of the fastest is a row too.
        (map, 2),
    ] {
        let plain = simctl(arguments).data();
        in_both(|path| {
            assert_eq!(with_store(arguments, path).data(), plain, "{arguments}");
            let whole = rows(path);
            assert_eq!(whole.len(), parts, "{arguments}");
            // One row less, of which there is nothing any more.
            if path.ends_with("a.jsonl") {
                let text = fs::read_to_string(path).unwrap();
                let lines: Vec<&str> = text.split_inclusive('\n').take(parts).collect();
                fs::write(path, lines.concat()).unwrap();
            }
            let again = with_store(&format!("{arguments} --resume"), path);
            let known = if path.ends_with("a.jsonl") { parts - 1 } else { parts };
            assert!(again.stderr.contains(&format!("rows known: {known} of {parts}\n")), "{}", again.stderr);
            assert_eq!(again.data(), plain, "{arguments}");
            assert_eq!(rows(path), whole, "{arguments}");
        });
    }
}

#[test]
fn a_store_and_the_trace_of_a_run_are_refused_together() {
    let folder = tempfile::tempdir().unwrap();
    let chat = repository("sim/scenarios/stream/chat.toml");
    let [store, trace] = ["a.jsonl", "a.pftrace"].map(|name| folder.path().join(name));
    let said = with_store(&format!("stream {} --trace {}", chat.display(), trace.display()), &store);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("--trace shows the run itself"), "{}", said.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn shards_are_merged_into_the_store_of_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let arguments = format!("{PLAN} --profile published,ideal");
    let plain = with_store(&arguments, &at("whole.jsonl")).data();
    for (shard, name) in [("1/3", "1.jsonl"), ("2/3", "2.sqlite"), ("3/3", "3.jsonl")] {
        let said = with_store(&format!("{arguments} --shard {shard}"), &at(name));
        assert!(said.stderr.contains("rows of 64"), "{}", said.stderr);
        assert_eq!(said.data(), "");
    }
    let places: Vec<u64> =
        ["1.jsonl", "2.sqlite", "3.jsonl"].iter().flat_map(|name| rows(&at(name))).map(|row| row.0).collect();
    assert_eq!(places.len(), 64, "no row is computed twice");
    let merge = |from: &[&str], into: &str| {
        let names: Vec<String> = from.iter().map(|name| at(name).display().to_string()).collect();
        simctl(&format!("results merge {} --into {}", names.join(" "), at(into).display()))
    };
    let said = merge(&["2.sqlite", "1.jsonl", "3.jsonl"], "merged.jsonl");
    assert!(said.stderr.contains("64 of 64 rows"), "{}", said.stderr);
    assert!(fs::read(at("merged.jsonl")).unwrap() == fs::read(at("whole.jsonl")).unwrap());
    let resumed = with_store(&format!("{arguments} --resume"), &at("merged.jsonl"));
    assert!(resumed.stderr.contains("rows known: 64 of 64\n"), "{}", resumed.stderr);
    assert_eq!(resumed.data(), plain);
    // A part is a store of the whole question, and a run may go on with it.
    let resumed = with_store(&format!("{arguments} --resume"), &at("2.sqlite"));
    assert_eq!(resumed.data(), plain);
    for (said, part) in [
        (merge(&["1.jsonl", "3.jsonl"], "merged.jsonl"), "is there already"),
        (merge(&["1.jsonl"], "merged.csv"), "ends in .jsonl or .sqlite"),
        (merge(&["none.jsonl"], "new.jsonl"), "none.jsonl: "),
        (with_store(&format!("{arguments} --shard 4/3"), &at("4.jsonl")), "--shard: is '4/3'"),
        (with_store(&format!("{arguments} --shard 0/3"), &at("4.jsonl")), "1/4 to 4/4"),
        (
            with_store(&format!("{arguments} --shard 1/2 --fidelity stream"), &at("4.jsonl")),
            "without --fidelity stream",
        ),
        (simctl(&format!("{arguments} --shard 1/2")), "--store"),
    ] {
        assert_eq!(said.code, Some(2), "{part}: {}", said.stderr);
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert!(!at("4.jsonl").exists() && !at("new.jsonl").exists());
}

#[test]
fn results_are_listed_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    with_store(&format!("{PLAN} --shard 1/4"), &path).data();
    let list = simctl(&format!("results list {}", path.display())).data();
    assert!(list.contains("plan") && list.contains("     8  32  "), "{list}");
    let text = simctl(&format!("results show {}", path.display())).data();
    for part in ["simctl plan, 8 of 32 rows", "missing   rows 1 to 3, 5 to 7, ", "scenario.model = llama-3.1-8b"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let csv = simctl(&format!("results show {} --format csv", path.display())).data();
    assert_eq!(csv.lines().count(), 9, "{csv}");
    assert!(csv.starts_with("place,users,context,"), "{csv}");
    let json = simctl(&format!("results show {} --format json", path.display())).json();
    assert_eq!(json["finished"][1]["place"], 4);
    let table = simctl(&format!("{PLAN} --format json")).json();
    assert_eq!(json["finished"][1]["row"], table["rows"][4]);
    let said = simctl(&format!("results show {}", repository("README.md").display()));
    assert_eq!(said.code, Some(2), "{}", said.stderr);
}

#[test]
fn wrong_stores_are_refused() {
    let refused = |arguments: &str, path: &Path, parts: &[&str]| {
        let said = with_store(arguments, path);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
        let parts = [parts, &["error: ", "--store", "allowed: ", path.to_str().unwrap_or_default()]].concat();
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{arguments}: {parts:?}: {}", said.stderr);
    };
    let resumed = format!("{PLAN} --resume");
    in_both(|path| {
        refused(PLAN, Path::new("/nowhere").join(path.file_name().unwrap()).as_path(), &["No such file"]);
        fs::write(path, "users,speed\n1,2\n").unwrap();
        refused(PLAN, path, &["is there already", "--resume"]);
        refused(&resumed, path, &["is no store of results"]);
        assert_eq!(fs::read_to_string(path).unwrap(), "users,speed\n1,2\n");
        fs::remove_file(path).unwrap();
        with_store(PLAN, path).data();
        refused(PLAN, path, &["is there already", "--resume"]);
        let before = rows(path);
        refused(&resumed.replace("1k,2k", "1k,5k"), path, &["another question", "axes.contexts is [1024,2048,"]);
        refused(&format!("{resumed} --set wafer.link.latency=2"), path, &["scenario.wafer_overrides is []"]);
        refused(&format!("{resumed} --target 5"), path, &["scenario.target is 2000.0 there, 5.0 here"]);
        refused(&resumed.replace("none", "quick"), path, &["search is null there, \"quick\" here"]);
        refused(&format!("{resumed} --mapping published"), path, &["mapping is null there"]);
        refused(&format!("{resumed} --fidelity stream"), path, &["fidelity is null there, \"stream\" here"]);
        refused(&format!("{PLAN} --out {}", path.display()), path, &["is written as --out too"]);
        assert_eq!(rows(path), before);
    });
    let folder = tempfile::tempdir().unwrap();
    refused(PLAN, &folder.path().join("a.csv"), &["ends in .jsonl or .sqlite"]);
    refused(PLAN, folder.path().join("a").as_path(), &["ends in .jsonl or .sqlite"]);
    fs::create_dir(folder.path().join("b.jsonl")).unwrap();
    refused(PLAN, &folder.path().join("b.jsonl"), &["is no plain file"]);
    assert_eq!(simctl(&resumed).code, Some(2), "--resume goes with --store");
}

#[test]
fn a_store_of_another_build_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    with_store(PLAN, &path).data();
    let text = fs::read_to_string(&path).unwrap();
    let at = text.find("\"build\":\"").unwrap() + 9;
    fs::write(&path, [&text[..at], "00000000", &text[at + 8..]].concat()).unwrap();
    let said = with_store(&format!("{PLAN} --resume"), &path);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("build 00000000, and this is 0.1.0, build "), "{}", said.stderr);
}

#[cfg(unix)]
mod unix {
    use std::process::{Child, Command, Stdio};

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn started(arguments: &str, path: &Path) -> Child {
        Command::new(env!("CARGO_BIN_EXE_simctl"))
            .args(arguments.split_whitespace())
            .arg("--store")
            .arg(path)
            .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    }

    /// Waits until there are some rows in a store of lines.
    fn wait_for_rows(path: &Path) {
        let start = Instant::now();
        let lines = || fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
        while lines() < 3 && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(lines() >= 3, "it keeps rows");
    }

    const LONG: &str = "plan --model llama-3.1-8b --users 1,2,3,4,6,8,12,16 --context 1k,2k,3k,4k,5k,6k,7k,8k";

    #[test]
    fn two_runs_on_one_store_are_one_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut first = started(LONG, &path);
        wait_for_rows(&path);
        let second = with_store(&format!("{LONG} --resume"), &path);
        first.kill().unwrap();
        first.wait().unwrap();
        assert_eq!(second.code, Some(2), "{}", second.stderr);
        assert!(second.stderr.contains("another process works with it"), "{}", second.stderr);
    }

    #[test]
    fn a_signal_leaves_what_is_kept() {
        for (signal, code) in [("INT", 130), ("TERM", 143)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.jsonl");
            let mut run = started(LONG, &path);
            wait_for_rows(&path);
            assert!(Command::new("kill").args(["-s", signal, &run.id().to_string()]).status().unwrap().success());
            assert_eq!(run.wait().unwrap().code(), Some(code), "{signal}");
            assert!(rows(&path).len() >= 2, "{signal}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{signal}");
        }
    }

    /// Kills a plan at random moments, each time on a fresh store, and goes on with what it has left.
    /// `WAFERSIM_KILLS` is the number of kills in each format.
    #[test]
    fn killed_at_any_moment_a_plan_loses_no_row_that_was_kept() {
        let kills: u32 = std::env::var("WAFERSIM_KILLS").map_or(4, |kills| kills.parse().expect("a number of kills"));
        let plain = simctl(PLAN).data();
        in_both(|path| {
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let start = Instant::now();
            with_store(PLAN, path).data();
            let takes = start.elapsed().as_micros() as u64;
            let (whole, lines) = (rows(path), fs::read(path).unwrap());
            let mut in_between = 0;
            for kill in 0..kills {
                fs::remove_file(path).unwrap();
                let mut run = started(PLAN, path);
                std::thread::sleep(Duration::from_micros(random.next_u64() % takes));
                // What is in a file of lines now is kept. A database lets nobody read.
                let seen = if path.ends_with("a.jsonl") { fs::read(path).unwrap_or_default() } else { Vec::new() };
                run.kill().unwrap();
                run.wait().unwrap();
                if path.ends_with("a.jsonl") {
                    let after = fs::read(path).unwrap_or_default();
                    // A run that has ended has put its lines in order.
                    assert!(after.starts_with(&seen) || after == lines, "kill {kill}: what was written is gone");
                }
                let left = match read(path) {
                    Ok(stored) => stored.rows,
                    Err(StoreError::Open { .. }) if !path.exists() => Vec::new(),
                    // There is a file without a header.
                    Err(StoreError::NoStore { .. }) => Vec::new(),
                    Err(error) => panic!("kill {kill}: {error}"),
                };
                let is_as_before = |row: &wafersim::store::Row| whole[row.place as usize].1 == row.json;
                assert!(left.iter().all(is_as_before), "kill {kill}");
                in_between += u32::from((1..ROWS).contains(&left.len()));
                let resumed = with_store(&format!("{PLAN} --resume"), path);
                let known = format!("rows known: {} of 32\n", left.len());
                assert!(resumed.stderr.contains(&known), "kill {kill}: {known}: {}", resumed.stderr);
                assert_eq!(resumed.data(), plain, "kill {kill}");
                assert_eq!(rows(path), whole, "kill {kill}");
                if path.ends_with("a.jsonl") {
                    assert!(fs::read(path).unwrap() == lines, "kill {kill}");
                }
            }
            println!("{path:?}: {kills} kills, {in_between} between the first row and the last");
        });
    }
}
