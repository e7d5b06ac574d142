//! A process that is killed at any moment loses no row that was said to be kept.
//!
//! This file is two programs: the test starts itself as a child, which keeps rows and says after each that it is kept,
//! and kills it. `WAFERSIM_KILLS` is the number of kills in each format (20 where it is not set).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the child says what is kept, and the test what it has seen")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use wafersim_store::{Asked, Opening, Program, Store, read};

/// Rows of a store: more than a child keeps before it is killed for the last time.
const ROWS: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, path] = arguments.as_slice()
        && role == "keep"
    {
        return keep(Path::new(path));
    }
    let kills = std::env::var("WAFERSIM_KILLS").map_or(20, |kills| kills.parse().expect("a number of kills"));
    for name in ["a.jsonl", "a.sqlite"] {
        killed(name, kills);
    }
}

fn asked() -> Asked {
    Asked {
        command: "test".into(),
        program: Program { version: "1".into(), build: "a".into() },
        question: "q".into(),
        words: Value::Null,
        keys: (0..ROWS).map(|row| row.to_string()).collect(),
    }
}

fn row(place: usize) -> String {
    format!("{place}: {}", "row ".repeat(1 + place % 30))
}

/// Keeps the rows that are not known, in two threads, and says so.
fn keep(path: &Path) {
    let store = Store::open(path, &asked(), Opening::Resume).unwrap();
    let known = store.known::<String>(0..ROWS).unwrap();
    println!("begin");
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (store, known) = (&store, &known);
            scope.spawn(move || {
                for place in (thread..ROWS).step_by(2).filter(|place| !known.contains_key(place)) {
                    store.keep(place, &row(place)).unwrap();
                    // A line is written whole, or the child is dead.
                    std::io::stdout().lock().write_all(format!("{place}\n").as_bytes()).unwrap();
                }
            });
        }
    });
}

fn killed(name: &str, kills: u32) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut said, mut torn, mut added) = (0, 0, 0);
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("keep")
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if kill % 4 != 0 {
            // Otherwise it is killed at whatever it does first.
            lines.next().unwrap().unwrap();
        }
        std::thread::sleep(Duration::from_micros(random.next_u64() % 10_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let kept: Vec<usize> = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).collect();
        if !path.exists() {
            assert_eq!(kept, [0; 0]);
            continue;
        }
        let Ok(stored) = read(&path) else {
            // Not yet begun.
            assert_eq!((kept.len(), said), (0, 0), "{name}: {:?}", read(&path));
            continue;
        };
        torn += u32::from(stored.torn > 0);
        let there: Vec<usize> = stored.rows.iter().map(|row| row.place as usize).collect();
        for place in &kept {
            assert!(there.binary_search(place).is_ok(), "{name}: row {place} was kept, and is lost after kill {kill}");
        }
        assert!(there.len() >= said, "{name}: rows of an earlier child are lost");
        for stored in &stored.rows {
            assert_eq!(stored.json, serde_json::to_string(&row(stored.place as usize)).unwrap(), "{name}");
        }
        added += kept.len();
        said = there.len();
    }
    assert!(added > 0, "{name}: no child has kept a row");
    println!("{name}: {kills} kills, {added} rows kept, {torn} lines torn: none lost");
}
