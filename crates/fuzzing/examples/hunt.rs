//! Looks for harm in one target, or in all: `cargo run -p wafersim-fuzzing --example hunt -- CASES [TARGET [FIRST]]`.
//!
//! Counts what was read and refused, names the slowest case, and keeps what panics in the
//! target's folder of `fuzz/artifacts`.

#![allow(clippy::print_stdout, reason = "an example")]

use std::time::{Duration, Instant};

use wafersim_fuzzing::corpus::{folder, seeds};
use wafersim_fuzzing::{Outcome, TARGETS, Target, mutate};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, other: u64| arguments.get(index).and_then(|word| word.parse().ok()).unwrap_or(other);
    let (cases, first) = (number(0, 1000), number(2, 1_000_000));
    let asked = |target: &&Target| arguments.get(1).is_none_or(|name| name == "all" || name == target.name);
    for target in TARGETS.iter().filter(asked) {
        hunt(target, first..first + cases)?;
    }
    Ok(())
}

fn hunt(target: &Target, range: std::ops::Range<u64>) -> std::io::Result<()> {
    let kept: Vec<Vec<u8>> = seeds(target.name)?.into_iter().map(|seed| seed.bytes).collect();
    let (mut read, mut refused, mut harmed, mut slowest) = (0u64, 0u64, 0u64, (Duration::ZERO, 0));
    for seed in range {
        let bytes = mutate(&kept, seed);
        let start = Instant::now();
        match std::panic::catch_unwind(|| target.run(&bytes)) {
            Ok(Outcome::Read) => read += 1,
            Ok(Outcome::Refused(_)) => refused += 1,
            Err(_) => {
                harmed += 1;
                let artifacts = folder("../artifacts").join(target.name);
                std::fs::create_dir_all(&artifacts)?;
                std::fs::write(artifacts.join(format!("panic-{seed}")), &bytes)?;
            }
        }
        slowest = slowest.max((start.elapsed(), seed));
    }
    let (time, at) = slowest;
    println!(
        "{:<18} {read:>7} read {refused:>7} refused {harmed:>4} panics; slowest {time:.1?} (seed {at})",
        target.name
    );
    Ok(())
}
