//! `simctl stream`.

use std::fs;

use crate::surface::{Said, command, repository, said, simctl};

/// A run of less than a second.
const SMALL: &str = "[machine]\nmodel = \"llama-3.1-8b\"\ncontext = 4096\nusers = 4\n\
                     [load]\nusers = 6\nthink = 0.05\nprompt = { median = 300, spread = 0.5 }\noutput = { median = 40 }\n\
                     [run]\nwarm_up = 0.5\nwindow = 5.0\n";

fn with_scenario(text: &str, arguments: &str) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("load.toml");
    fs::write(&path, text).expect("the folder can be written to");
    simctl(&format!("stream {} {arguments}", path.display()))
}

#[test]
fn a_run_says_what_was_measured() {
    let run = with_scenario(SMALL, "--format json").json();
    let outcome = &run["outcome"];
    let totals = &outcome["totals"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(number(&totals["arrived"]), number(&totals["finished"]) + number(&totals["inside"]));
    assert_eq!(number(&totals["asked"]), number(&totals["produced"]) + number(&totals["owed"]));
    let speed = outcome["user_speed"]["p50"].as_f64().unwrap();
    let alone = 1.0 / run["machine"]["closed_form_per_token"].as_f64().unwrap();
    assert!(speed > 0.1 * alone && speed < 1.5 * alone, "{speed} {alone}");
    assert_eq!(outcome["stations"].as_array().unwrap().len() as u64, number(&run["machine"]["slots"]));
    let text = with_scenario(SMALL, "").data();
    for part in ["output speed, tok/s", "work for it", "users in service", "Little's law", "busiest slot"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.lines().all(|line| line.len() <= 100 && line.is_ascii()));
}

#[test]
fn a_sweep_is_the_same_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("load.toml");
    fs::write(&path, SMALL).unwrap();
    let run = |threads: &str, format: &str| {
        let mut command = command(&format!("stream {} --sweep load.users=1,3,9,27 --format {format}", path.display()));
        command.env("RAYON_NUM_THREADS", threads);
        said(command).data()
    };
    assert_eq!(run("1", "json"), run("4", "json"));
    let csv = run("2", "csv");
    let values: Vec<&str> = csv.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(values, ["1", "3", "9", "27"]);
    assert!(run("2", "text").contains("knee"));
}

#[test]
fn seeds_and_settings_change_the_run() {
    let run = |set: &str| with_scenario(SMALL, set).data();
    assert_eq!(run("--set run.seed=1"), run(""));
    assert_ne!(run("--set run.seed=2"), run(""));
    assert!(run("--set machine.context=2048").contains("requests of up to 2,048 tokens"));
    let latency = |set: &str| {
        let run = with_scenario(SMALL, &format!("--format json {set}")).json();
        run["machine"]["closed_form_per_token"].as_f64().unwrap()
    };
    assert!(latency("--set machine.wafer_parameters.fabric.hop_latency=9") > latency(""));
}

#[test]
fn the_example_scenarios_run() {
    let folder = repository("sim/scenarios/stream");
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 3);
    for path in names.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("# "), "{} says what it is", path.display());
        // A trace that is not part of the repository is replaced by a small one.
        let trace = if text.contains("conversation_trace") {
            " --set load.file=sim/tests/data/mooncake-three.jsonl"
        } else {
            " --set run.warm_up=1 --set run.window=5"
        };
        let mut command = command(&format!("stream {}{trace}", path.display()));
        command.current_dir(repository(""));
        let said = said(command);
        assert_eq!(said.code, Some(0), "{}: {}", path.display(), said.stderr);
    }
}

#[test]
fn wrong_input_is_refused_with_its_place() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("[load]\nusres = 3", "", &["load.toml", "line 2", "usres"]),
        ("[load]\nusers = -3", "", &["line 2", "-3"]),
        ("[load]\nusers = 0", "", &["load.users", "is 0", "from 1 to 1000000"]),
        ("[load]\nkind = \"flood\"", "", &["line 2", "flood", "closed"]),
        ("[load]\nkind = \"open\"\nthink = 3", "", &["load.think", "kind 'open'", "closed or sessions"]),
        ("[load]\nkind = \"open\"\nrate = nan", "", &["load.rate", "NaN"]),
        ("[load]\nkind = \"trace\"", "", &["load.file", "missing"]),
        ("[load]\nkind = \"trace\"\nfile = \"no.csv\"\nformat = \"plain\"", "", &["no.csv", "cannot be read"]),
        ("[load]\nprompt = 300", "", &["line 2", "300"]),
        ("[load]\nprompt = { median = 9999999 }", "", &["load.prompt", "machine.context"]),
        ("[load]\nprompt = { median = 10, spread = -1.0 }", "", &["load.prompt.spread", "-1"]),
        ("[machine]\nusers = 0", "", &["machine.users", "from 1"]),
        ("[machine]\nmodel = \"qwen3-9b\"", "", &["did you mean 'qwen3-8b'?"]),
        ("[machine]\nwafers = 2", "", &["2 wafer(s) do not hold the model"]),
        ("[machine]\ncontext = 4000000", "", &["context", "4000000"]),
        ("[service]\npolicy = \"fair\"", "", &["line 2", "fair", "first_come"]),
        ("[service]\nbudget = 0", "", &["service.budget", "is 0"]),
        ("[service]\nchunk = 1000000", "", &["service.chunk", "1000000", "at most"]),
        ("[service]\nhost_memory_gb = 5", "", &["service.host_memory_gb", "prefix_cache"]),
        ("[service]\nmicro_batch = 0", "", &["service.micro_batch"]),
        ("[machine]\nmodel = \"gpt-oss-120b\"\n[service]\nprefix_cache = true", "", &["service.prefix_cache"]),
        ("[run]\nwindow = 0", "", &["run.window"]),
        ("[run]\nwindow = 1e99", "", &["run.window"]),
        ("[run]\nseed = -1", "", &["line 2", "-1"]),
        ("", "--set load.users", &["--set", "path=value"]),
        ("", "--set load.user=3", &["load.user=3", "user"]),
        ("", "--set load.users.x=3", &["'users' is no table", "load.users.x"]),
        ("", "--set load.users=many", &["load.users=many", "many"]),
        ("", "--sweep load.users=1,x", &["load.users=x"]),
        ("", "--sweep machine.wafers=1,2,x", &["--sweep machine.wafers=x", "auto"]),
        (
            "[machine]\nmodel = \"qwen3-8b\"",
            "--sweep machine.users=1,100000",
            &["machine.users=100000", "no number of wafers would do"],
        ),
        ("", "--sweep =1", &["--sweep"]),
        ("", "--out no/where/x", &["--out"]),
    ];
    for (text, arguments, parts) in cases {
        let text = if text.is_empty() { SMALL } else { text };
        let said = with_scenario(text, arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{text} {arguments}: {said:?}");
        for part in *parts {
            assert!(said.stderr.contains(part), "{text} {arguments}: no '{part}' in: {}", said.stderr);
        }
    }
}

#[test]
fn a_wrong_line_of_a_trace_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("replay.toml");
    fs::write(
        &scenario,
        "[machine]\nmodel = \"llama-3.1-8b\"\ncontext = 4096\n[load]\nkind = \"trace\"\nfile = \"trace.csv\"\nformat = \"plain\"\n",
    )
    .unwrap();
    let run = |trace: &str| {
        fs::write(folder.path().join("trace.csv"), trace).unwrap();
        simctl(&format!("stream {} --format json", scenario.display()))
    };
    let header = "arrival_s,prompt_tokens,output_tokens";
    let good = run(&format!("{header}\n0,100,3\n0.001,200,2\n5,4000,1000\n")).json();
    let totals = &good["outcome"]["totals"];
    // The last one is longer than the machine's context, though not than the model's.
    assert_eq!((totals["finished"].as_u64(), totals["refused"].as_u64()), (Some(2), Some(1)));
    for (trace, part) in [
        (format!("{header}\n0,100,3\n1,200"), "line 3: 2 fields"),
        (format!("{header}\n1,100,3\n0,200,2\n"), "line 3: time runs backwards"),
        (format!("{header}\n1,0,3\n"), "line 2: a prompt of 0 tokens"),
        (format!("{header}\n1,10,99999999\n"), "line 2: 10 tokens of prompt and 99999999"),
    ] {
        let said = run(&trace);
        assert_eq!(said.code, Some(2));
        assert!(said.stderr.contains("trace.csv: ") && said.stderr.contains(part), "{part}: {}", said.stderr);
    }
}
