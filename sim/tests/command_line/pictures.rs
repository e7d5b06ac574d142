//! Wafer maps: `simctl run --wafer-map` and `simctl place --pictures`.

use std::fs;
use std::path::Path;

use crate::surface::{repository, simctl};

/// A small comparison: the shipped short trace of Qwen3-Coder, no long search.
const COMPARISON: &str = "place --context 1k --batch 2 --batches 8 --moves 50 --restarts 1 --sharing 20,40";

fn bytes(file: &Path) -> Vec<u8> {
    fs::read(file).expect("a picture was written")
}

#[test]
fn the_ending_says_how_a_map_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let ask = |name: &str, more: &str| {
        let file = folder.path().join(name);
        let said = simctl(&format!(
            "run --model llama-3.1-8b --context 1k --search none {more} --wafer-map {}",
            file.display()
        ));
        (said, file)
    };
    let (said, file) = ask("map.svg", "");
    let plain = simctl("run --model llama-3.1-8b --context 1k --search none").data();
    assert_eq!(said.data(), plain, "the answer is the same");
    let svg = fs::read_to_string(&file).unwrap();
    for part in ["llama-3.1-8b on wse3", ">layer 31<", ">embedding", ">LM head", "dense layers", "belong to no region"]
    {
        assert!(svg.contains(part), "{part}");
    }
    assert!(!svg.contains("experts"), "a dense model has none");
    let (said, file) = ask("map.PNG", "");
    assert_eq!((said.code, &bytes(&file)[1..4]), (Some(0), &b"PNG"[..]));
    let (said, file) = ask("map.gif", "");
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("--wafer-map: is '") && said.stderr.contains(".svg or .png"), "{}", said.stderr);
    assert!(!file.exists());
    // A question without an answer writes nothing.
    let (said, file) = ask("never.svg", "--wafers 1 --users 100000");
    assert_eq!((said.code, file.exists()), (Some(2), false));
}

#[test]
fn clustered_experts_are_rectangles() {
    let folder = tempfile::tempdir().unwrap();
    let svg = |placement: &str| {
        let file = folder.path().join(format!("{placement}.svg"));
        let ask = format!("run --context 1k --placement {placement} --wafer-map {}", file.display());
        assert_eq!(simctl(&ask).code, Some(0));
        fs::read_to_string(file).unwrap()
    };
    let (spread, clustered) = (svg("spread"), svg("clustered"));
    assert!(!spread.contains("rectangle of experts") && clustered.contains("rectangle of experts"));
    // Every expert has its number in the enlarged region.
    assert!((0..160).all(|expert| clustered.contains(&format!(">{expert}</text>"))));
}

#[test]
fn every_strategy_has_its_map_and_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let trace = repository("traces/qwen3-coder-480b-short.jsonl");
    let ask = |pictures: &str| {
        let directory = folder.path().join(pictures);
        let more = format!("--strategies spread,hybrid,replicated --format json --trace {}", trace.display());
        let json = simctl(&format!("{COMPARISON} {more} --pictures {}", directory.display())).json();
        (json, directory)
    };
    let (json, one) = ask("one");
    let mut names: Vec<String> =
        fs::read_dir(&one).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let expected =
        ["hybrid", "replicated", "spread"].map(|name| [format!("{name}-batch-2.png"), format!("{name}-batch-2.svg")]);
    assert_eq!(names, expected.concat());
    for outcome in json["batches"][0]["strategies"].as_array().unwrap() {
        let strategy = outcome["strategy"].as_str().unwrap();
        let svg = fs::read_to_string(one.join(format!("{strategy}-batch-2.svg"))).unwrap();
        let busiest = format!("{:.1} pairs", outcome["busiest_pairs"].as_f64().unwrap());
        assert_eq!(svg.contains(&busiest), strategy != "spread", "{strategy}: {busiest}");
        assert_eq!(svg.contains("have copies elsewhere"), strategy == "replicated");
    }
    let (_, two) = ask("two");
    assert!(names.iter().all(|name| bytes(&one.join(name)) == bytes(&two.join(name))), "the same bytes each time");
}

#[test]
fn a_folder_that_cannot_be_is_refused_before_the_work() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let said = simctl(&format!("{COMPARISON} --pictures {}", file.path().display()));
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    assert!(said.stderr.contains("--pictures") && said.stderr.contains("is a file"), "{}", said.stderr);
}
