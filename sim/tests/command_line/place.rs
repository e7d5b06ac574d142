//! `simctl place`.

use std::fs;

use crate::surface::{repository, simctl};

const SMALL: &str = "place --batches 48 --moves 50 --sharing 1,4,20,40";

fn outcomes(arguments: &str) -> Vec<serde_json::Value> {
    let said = simctl(&format!("{SMALL} {arguments} --format json")).json();
    said["batches"][0]["strategies"].as_array().expect("strategies").clone()
}

fn time(outcome: &serde_json::Value) -> f64 {
    outcome["time_per_output_token_us"].as_f64().expect("a time")
}

/// One user's spread and clustered experts take what `simctl run` says of the same recipe.
#[test]
fn one_token_agrees_with_run() {
    let found = outcomes("--batch 1 --wafers 16 --strategies spread,clustered");
    for outcome in &found {
        let name = outcome["strategy"].as_str().unwrap();
        let run = simctl(&format!("run --wafers 16 --placement {name} --mapping best --format json")).json();
        let expected = run["time_per_output_token_us"].as_f64().unwrap();
        assert!((time(outcome) / expected - 1.0).abs() < 1e-6, "{name}: {} against {expected}", time(outcome));
    }
    assert_eq!(found.len(), 2);
}

#[test]
fn every_strategy_is_compared_and_says_where_everything_lies() {
    let found = outcomes("--batch 8 --model qwen3-30b-a3b --wafers 4");
    let names: Vec<&str> = found.iter().map(|outcome| outcome["strategy"].as_str().unwrap()).collect();
    assert_eq!(names, ["spread", "clustered", "linear", "round-robin", "hybrid", "apart", "replicated", "annealed"]);
    for outcome in found.iter().skip(1) {
        let geometry = &outcome["geometry"];
        let homes = geometry["homes"].as_object().unwrap();
        assert_eq!(homes.len(), 48, "layers");
        let room = &geometry["rooms"]["0"];
        let most = room["copies_in_a_cell"].as_u64().unwrap();
        for assignment in homes.values() {
            let mut held = vec![0u64; assignment["cells"].as_u64().unwrap() as usize];
            for home in assignment["homes"].as_array().unwrap().iter().flat_map(|homes| homes.as_array().unwrap()) {
                held[home.as_u64().unwrap() as usize] += 1;
            }
            assert!(held.iter().all(|&held| held <= most) && held.iter().sum::<u64>() >= 128);
        }
        assert!(time(outcome) > 0.0 && outcome["imbalance"].as_f64().unwrap() >= 1.0);
    }
    // On what it learned from, the optimiser is never worse than the best of the others that deal experts.
    let learned = |outcome: &serde_json::Value| outcome["learned_time_us"].as_f64().unwrap();
    let best = found[1..7].iter().map(learned).fold(f64::INFINITY, f64::min);
    assert!(learned(&found[7]) <= best + 1e-6);
    assert!(found[6]["copies"].as_f64().unwrap() > 0.0);
}

#[test]
fn formats_and_seeds() {
    let run = |more: &str| simctl(&format!("{SMALL} --batch 1,4 --strategies spread,apart,annealed {more}")).data();
    assert_eq!(run("--format csv"), run("--format csv"));
    assert_ne!(run("--format csv"), run("--format csv --seed 2"));
    assert_eq!(run("--format csv").lines().count(), 1 + 2 * 3);
    let text = run("");
    assert!(text.contains("Batch 1 on") && text.contains("Batch 4 on") && text.lines().all(|line| line.len() <= 100));
}

#[test]
fn a_shipped_trace_is_a_load() {
    let file = repository("traces/qwen3-coder-480b-coding.bin");
    let said = simctl(&format!("{SMALL} --batch 8 --strategies spread,hybrid --trace {}", file.display())).data();
    assert!(said.contains("hybrid"), "{said}");
}

#[test]
fn wrong_input_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    fs::write(&file, "{}\n").unwrap();
    let shipped = repository("traces/qwen3-coder-480b-coding.bin");
    for (arguments, words) in [
        (format!("--trace {}", file.display()), "seen as a JSON object: "),
        (format!("--model qwen3-30b-a3b --trace {}", shipped.display()), "62 layers of 160 experts"),
        ("--model llama-3.1-8b".into(), "has no routed experts"),
        ("--batch 0".into(), "--batch: is '0'; allowed: a whole number from 1 to 1024"),
        ("--batch 1,x".into(), "--batch: is 'x'"),
        ("--sharing 0".into(), "--sharing: is '0'"),
        ("--strategies best".into(), "spread, clustered, linear"),
        ("--wafers 2".into(), "do not hold the model"),
        ("--restarts 0".into(), "--restarts"),
        (format!("--synthetic --trace {}", shipped.display()), "cannot be used with"),
    ] {
        let said = simctl(&format!("place {arguments}"));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{arguments}: {}", said.stderr);
    }
}
