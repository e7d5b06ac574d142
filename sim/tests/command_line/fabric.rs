//! `simctl run --fidelity fabric`: the answer, pictures, the trace.

use std::fs;
use std::path::Path;

use crate::surface::{Said, command, repository, said, simctl};

/// A tiny model on 24 x 24 processing elements, which hold four slots of 12 x 12: milliseconds.
fn tiny(more: &str) -> String {
    format!(
        "run --model {} --context 64 --search none --set wafer.fabric.usable_columns=24 --set wafer.fabric.usable_rows=24 \
         {more}",
        repository("sim/tests/data/tiny-qwen3-moe.json").display()
    )
}

fn refused(arguments: &str, parts: &[&str]) {
    let said = simctl(arguments);
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
    assert!(said.stderr.starts_with("error: "), "{arguments}: {}", said.stderr);
    for part in parts {
        assert!(said.stderr.contains(part), "{arguments}: no '{part}' in: {}", said.stderr);
    }
}

#[test]
fn the_text_shows_both_readings_by_operator() {
    let text = simctl(&tiny("--fidelity fabric --layers 2")).data();
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    let (_, section) = text.split_once("\nLayers on the fabric\n").unwrap();
    let (section, _) = section.split_once("\nProfiles\n").unwrap();
    for part in [
        "per output token",
        "2 layers",
        "layers 0, 1",
        "12 x 12 at (12, 0) of wafer 0",
        "the layer",
        "attention.softmax",
    ] {
        assert!(section.contains(part), "{part}: {section}");
    }
    assert!(text.contains("layers on the fabric, all else in closed form (fabric)"), "{text}");
    assert!(!simctl(&tiny("")).data().contains("on the fabric"));
}

#[test]
fn json_has_the_runs_beside_the_answer() {
    let json = simctl(&tiny("--fidelity fabric --format json")).json();
    let number = |path: &str| json.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    assert_eq!(json["provenance"]["fidelity"], "fabric");
    assert_eq!(json["fabric"]["phase"], "decode");
    let (fabric, closed) = (number("/fabric/layers/0/cycles"), number("/fabric/layers/0/closed_form_cycles"));
    assert!((number("/fabric/layers/0/deviation_percent") - (fabric / closed - 1.0) * 100.0).abs() < 1e-9);
    let speed = number("/tokens_per_second_per_user");
    assert!((speed - 1e6 / number("/time_per_output_token_us")).abs() < 1e-6 * speed);
    assert_eq!(number("/profiles/best/tokens_per_second_per_user"), speed, "the verdict is the fabric's");
}

#[test]
fn speed_is_said_on_stderr() {
    let said = simctl(&tiny("--fidelity fabric"));
    assert!(said.stderr.contains("wavelet-hops per second"), "{}", said.stderr);
    assert!(!said.stdout.contains("per second"), "what depends on the clock is no data");
}

#[test]
fn threads_change_no_byte_of_answer_pictures_and_trace() {
    let folder = tempfile::tempdir().unwrap();
    let run = |threads: &str| {
        let at = |name: &str| folder.path().join(format!("{name}-{threads}"));
        let (pictures, trace) = (at("pictures"), at("trace"));
        let files = format!("--pictures {} --trace {}", pictures.display(), trace.display());
        let mut command = command(&tiny(&format!("--fidelity fabric --layers 2 --format json {files}")));
        command.env("RAYON_NUM_THREADS", threads);
        let Said { code, stdout, stderr } = said(command);
        assert_eq!(code, Some(0), "{stderr}");
        let names = ["link-use.png", "busy.png", "stalls.png", "queue-depth.png"];
        let mut files: Vec<Vec<u8>> = names.iter().map(|name| fs::read(pictures.join(name)).unwrap()).collect();
        assert!(files.iter().all(|bytes| bytes.starts_with(b"\x89PNG\r\n")));
        assert_eq!(fs::read_dir(&pictures).unwrap().count(), names.len(), "no other file is left");
        files.push(fs::read(trace).unwrap());
        (stdout, files)
    };
    assert!(run("1") == run("2"));
}

#[test]
fn a_trace_keeps_its_limit_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.perfetto-trace");
    let trace = |limit: &str| {
        let said = simctl(&tiny(&format!("--fidelity fabric --trace {} {limit}", file.display())));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        (fs::read(&file).unwrap().len(), said.stderr)
    };
    let (whole, words) = trace("");
    assert!(whole > 70_000 && !words.contains("left out"), "{whole}: {words}");
    let (part, words) = trace("--trace-limit 50kB");
    assert!((40_000..=50_000).contains(&part), "{part}");
    assert!(words.contains("left out (--trace-limit)"), "{words}");
}

#[test]
fn pictures_go_to_a_folder_that_is_there_or_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "new"] {
        let pictures = folder.path().join(name);
        let said = simctl(&tiny(&format!("--fidelity fabric --pictures {}", pictures.display())));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert!(pictures.join("link-use.png").is_file());
    }
}

#[test]
fn wrong_input_is_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "old").unwrap();
    let (file, folder) = (file.display().to_string(), folder.path().display().to_string());
    let cases: [(String, &[&str]); 14] = [
        (tiny("--fidelity exact"), &["--fidelity", "exact", "closed-form, fabric"]),
        (tiny("--layers 2"), &["--layers", "--fidelity fabric"]),
        (tiny("--phase decode"), &["--phase", "--fidelity fabric"]),
        (tiny("--pictures x"), &["--pictures", "--fidelity fabric"]),
        (tiny("--trace x"), &["--trace", "--fidelity fabric"]),
        (tiny("--fidelity fabric --layers 0"), &["--layers", "'0'", "from 1"]),
        (tiny("--fidelity fabric --layers -3"), &["--layers", "'-3'"]),
        (tiny("--fidelity fabric --layers 3"), &["3 layers", "holds 2", "1 to 2"]),
        (tiny("--fidelity fabric --profile ideal"), &["ideal", "published, best"]),
        (tiny("--fidelity fabric --trace-limit 7"), &["--trace-limit", "'7'", "64MiB"]),
        (tiny(&format!("--fidelity fabric --trace {folder}")), &["--trace", "is a directory"]),
        (tiny(&format!("--fidelity fabric --trace {folder}/no/where")), &["--trace", "folder does not exist"]),
        (tiny(&format!("--fidelity fabric --pictures {file}")), &["--pictures", "is a file"]),
        (tiny(&format!("--fidelity fabric --pictures {folder}/no/where")), &["--pictures", "folder does not exist"]),
    ];
    for (arguments, parts) in &cases {
        refused(arguments, parts);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(fs::read_dir(Path::new(&folder)).unwrap().count(), 1, "no other file is left");
}
