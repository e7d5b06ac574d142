//! Every reader over the kept corpus and over seeded changes of it: read or refused, never a panic, never a broken law.
//!
//! `WAFERSIM_FUZZ_CASES=20000` looks longer; `crates/fuzzing/examples/hunt.rs` says more of one target.

use std::collections::BTreeSet;

use wafersim_fuzzing::corpus::{folder, seeds};
use wafersim_fuzzing::{Outcome, TARGETS, Target, mutate};

/// Changes of a target's corpus that every test run reads.
const CASES: u64 = 1000;
/// Largest file that is kept.
const LARGEST_SEED: usize = 16 << 10;

fn cases() -> u64 {
    std::env::var("WAFERSIM_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES)
}

fn bytes_of(target: &Target) -> Vec<Vec<u8>> {
    let kept = seeds(target.name).unwrap_or_else(|error| panic!("fuzz/corpus/{}: {error}", target.name));
    kept.into_iter().map(|seed| seed.bytes).collect()
}

/// A corpus that is refused as a whole would only test the door. What a file is named says what must happen to it.
/// UPDATE_CORPUS=1 writes what depends on hashes.
fn update() {
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        let seed = wafersim_fuzzing::resolved_seed().expect("a mapping");
        std::fs::write(folder("mapping_resolved").join("resolved.toml"), seed).expect("written");
    }
}

#[test]
fn the_corpus_has_files_that_are_read_and_files_that_are_refused() {
    update();
    for target in TARGETS {
        let kept = seeds(target.name).unwrap();
        let mut seen = BTreeSet::new();
        for seed in kept {
            assert!(seed.bytes.len() <= LARGEST_SEED, "{}/{}: too large to be kept", target.name, seed.name);
            let outcome = target.run(&seed.bytes);
            let is_read = outcome == Outcome::Read;
            assert_eq!(is_read, !seed.name.starts_with("refused"), "{}/{}: {outcome:?}", target.name, seed.name);
            seen.insert(is_read);
        }
        assert_eq!(seen.len(), 2, "{}: the corpus wants a file that is read and one that is refused", target.name);
    }
}

#[test]
fn every_folder_of_the_corpus_is_that_of_a_target() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let folders: BTreeSet<String> = std::fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(folders, names);
}

/// cargo-fuzz has a file for each of them.
#[test]
fn every_target_has_its_binary() {
    let manifest = std::fs::read_to_string(folder("../Cargo.toml")).unwrap();
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "fuzz/Cargo.toml lacks {}", target.name);
        let body = std::fs::read_to_string(folder("../fuzz_targets").join(format!("{}.rs", target.name))).unwrap();
        assert!(body.contains(&format!("\"{}\"", target.name)), "{body}");
    }
}

#[test]
fn changed_files_are_read_or_refused() {
    for target in TARGETS {
        let kept = bytes_of(target);
        for seed in 0..cases().div_ceil(target.weight) {
            let bytes = mutate(&kept, seed);
            let outcome = std::panic::catch_unwind(|| target.run(&bytes));
            assert!(outcome.is_ok(), "{}, seed {seed}: {:?}", target.name, String::from_utf8_lossy(&bytes));
        }
    }
}
