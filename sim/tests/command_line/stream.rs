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
    // At its end a text says what was asked.
    let result = |set: &str| run(set).split("\nAsked").next().unwrap().to_owned();
    assert_eq!(result("--set run.seed=1"), result(""));
    assert_ne!(result("--set run.seed=2"), result(""));
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
        (format!("{header}\n1,0,3\n"), "no requests (1 row is left out: 1 prompt of 0 tokens)"),
        (format!("{header}\n1,10,9999999999\n"), "line 2: an answer of 9999999999 tokens"),
    ] {
        let said = run(&trace);
        assert_eq!(said.code, Some(2));
        assert!(said.stderr.contains("trace.csv: ") && said.stderr.contains(part), "{part}: {}", said.stderr);
    }
}

/// The packets of a Perfetto trace: a file is fields of number 1 with a length, one after the other.
fn packets(bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((&key, mut inner)) = rest.split_first() {
        assert_eq!(key, 1 << 3 | 2, "a packet");
        let mut length = 0usize;
        for shift in (0..).step_by(7) {
            let (&byte, after) = inner.split_first().expect("a length");
            inner = after;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (packet, after) = inner.split_at(length);
        found.push(packet);
        rest = after;
    }
    found
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn a_trace_has_requests_and_counters_and_keeps_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.perfetto-trace");
    let trace = |limit: &str| {
        let said = with_scenario(SMALL, &format!("--trace {} {limit}", file.display()));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        (fs::read(&file).unwrap(), said)
    };
    let (whole, said) = trace("");
    assert!(!said.stderr.contains("left out"));
    assert_eq!(said.stdout, with_scenario(SMALL, "").data(), "who watches changes nothing");
    assert_eq!(whole, trace("").0, "same seed, same bytes");
    let names =
        ["request 0 (", "prefill", "decode", "users in service", "waiting for room", "keys and values", "tok/s"];
    for name in names {
        assert!(packets(&whole).iter().any(|packet| contains(packet, name)), "{name}");
    }
    // A track for each request that arrived, and was served for some time.
    let run = with_scenario(SMALL, "--format json").json();
    let arrived = run["outcome"]["totals"]["arrived"].as_u64().unwrap();
    let tracks = packets(&whole).iter().filter(|packet| contains(packet, "request ")).count() as u64;
    assert!(tracks == arrived || tracks + 1 == arrived, "{tracks} tracks of {arrived} requests");
    let limit = whole.len() / 2;
    let (part, said) = trace(&format!("--trace-limit {limit}B"));
    assert!(part.len() <= limit && part.len() > limit / 2, "{} of {limit}", part.len());
    assert!(said.stderr.contains("left out (--trace-limit)"), "{}", said.stderr);
    assert!(packets(&part).iter().any(|packet| contains(packet, "beyond the limit")));
}

#[test]
fn pictures_show_latencies_and_of_a_sweep_the_frontier() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |name: &str, threads: &str, more: &str| {
        let pictures = folder.path().join(name);
        let scenario = folder.path().join("load.toml");
        fs::write(&scenario, SMALL).unwrap();
        let mut command = command(&format!("stream {} --pictures {} {more}", scenario.display(), pictures.display()));
        command.env("RAYON_NUM_THREADS", threads);
        said(command).data();
        let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&pictures)
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        files
    };
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let alone = draw("alone", "1", "");
    let latencies = ["between-steps.png", "between-steps.svg", "first-token.png", "first-token.svg"];
    assert_eq!(names(&alone), latencies);
    assert!(contains(&alone[3].1, "all requests (p50 "));
    let swept = "--sweep load.users=1,4,16,64";
    let sweep = draw("sweep", "1", swept);
    let frontier = ["frontier.png", "frontier.svg"];
    assert_eq!(names(&sweep), [&latencies[..], &frontier[..]].concat());
    assert!(contains(&sweep[5].1, "(knee)") && contains(&sweep[3].1, "load.users = 64 (p50 "));
    assert!(sweep == draw("again", "4", swept), "same bytes for any number of threads");
}

/// Small enough for a test that draws experts: 48 layers of 128, whose weights are converted.
const EXPERTS: &str = "[machine]\nmodel = \"qwen3-30b-a3b\"\ncontext = 1024\nusers = 8\nprofile = \"published\"\n\
                       [service]\nprefill = false\nmicro_batch = 2\n\
                       [load]\nusers = 8\nprompt = { median = 300 }\noutput = { median = 20 }\n\
                       [run]\nwindow = 0.1\n";

#[test]
fn experts_come_from_the_generator_or_a_trace_beside_the_scenario() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("load.toml");
    let trace = folder.path().join("experts.bin");
    let made = simctl(&format!(
        "routing generate --model qwen3-30b-a3b --users 4 --tokens 400 --form binary --out {}",
        trace.display()
    ));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let run = |routing: &str, more: &str| {
        fs::write(&scenario, format!("{EXPERTS}[routing]\n{routing}\n")).unwrap();
        simctl(&format!("stream {} --format json {more}", scenario.display()))
    };
    let generated = run("generator = true", "").data();
    assert_eq!(generated, run("generator = true", "").data());
    assert_ne!(generated, run("generator = true", "--set run.seed=2").data());
    let played = run("trace = \"experts.bin\"", "").json();
    assert!(played["outcome"]["step_parts"]["expert"].as_f64().unwrap() > 0.0);
    let hash = |value: &serde_json::Value| value["provenance"]["input_hash"].as_str().unwrap().to_owned();
    assert_ne!(hash(&played), hash(&serde_json::from_str(&generated).unwrap()));
    let swept = run("trace = \"experts.bin\"", "--sweep load.users=2,4,8").json();
    assert_eq!(swept["points"].as_array().unwrap().len(), 3);

    let refused = |routing: &str, more: &str, parts: &[&str]| {
        let said = run(routing, more);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{routing}: {said:?}");
        for part in parts {
            assert!(said.stderr.contains(part), "{routing}: no '{part}' in: {}", said.stderr);
        }
    };
    let coder = repository("traces/qwen3-coder-480b-coding.bin");
    refused(&format!("trace = '{}'", coder.display()), "", &["qwen3-coder-480b-coding.bin", "62 layers", "48 layers"]);
    refused("trace = 'no.bin'", "", &["no.bin", "No such file"]);
    refused("trace = 'load.toml'", "", &["load.toml", "line 1"]);
    refused("generator = true\ntrace = 'experts.bin'", "", &["routing.trace", "one of the two"]);
    refused("generator = true", "--set service.experts=expected", &["routing.generator", "sampled"]);
    refused("kinds_of_work = 2", "", &["routing.kinds_of_work", "generator = true"]);
    refused("generator = true\nkinds_of_work = 0", "", &["routing.kinds_of_work", "from 1"]);
    refused("generator = true\nwork = 'cooking'", "", &["cooking", "coding"]);
    refused("generator = true", "--set machine.model=llama-3.1-8b", &["routing.generator", "llama-3.1-8b"]);
    // An expert that the model has not: the trace's last line names number 128.
    let text = "{\"format\":\"wafersim-routing\",\"version\":1,\"model\":\"qwen3-30b-a3b\",\"layers\":48,\"experts\":128,\"top_k\":8,\
                \"tokens\":1,\"weights\":false}\n{\"user\":0,\"token\":0,\"layer\":0,\"experts\":[1,2,3,4,5,6,7,128]}\n";
    fs::write(folder.path().join("wrong.jsonl"), text).unwrap();
    refused("trace = 'wrong.jsonl'", "", &["wrong.jsonl", "line 2", "128"]);
}

#[test]
fn what_goes_with_one_run_only_is_refused_of_a_sweep() {
    for (arguments, part) in [
        ("--trace x --sweep load.users=1,2", "without --sweep"),
        ("--trace-limit 1MB", "with --trace"),
        ("--trace x --trace-limit 1", "64MiB"),
        ("--trace no/where/x", "folder does not exist"),
        ("--pictures no/where/x", "folder does not exist"),
    ] {
        let said = with_scenario(SMALL, arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {said:?}");
        assert!(said.stderr.contains(part), "{arguments}: {}", said.stderr);
    }
}

#[test]
fn run_and_plan_take_the_fidelity_of_events() {
    let run = simctl("run --model llama-3.1-8b --context 2048 --fidelity stream --format json").json();
    let (closed, events) = (&run["tokens_per_second_per_user"], &run["stream"]["user_speed"]["p50"]);
    assert!((closed.as_f64().unwrap() / events.as_f64().unwrap() - 1.0).abs() < 1e-3);
    let text =
        simctl("run --model llama-3.1-8b --context 2048 --users 64 --profile published --fidelity stream").data();
    let (_, section) = text.split_once("Users event by event").unwrap();
    for part in ["median user, tok/s", "closed form", "work for it", "waits: other users' tokens in a stage"] {
        assert!(section.contains(part), "{part}: {section}");
    }
    assert!(text.lines().all(|line| line.len() <= 100 && line.is_ascii()));
    let plan = |threads: &str, format: &str| {
        let lists = "--context 2k,32k --users 1,8,64,100000";
        let flags = format!("plan --model llama-3.1-8b --wafers 2 {lists} --fidelity stream --format {format}");
        let mut command = command(&flags);
        command.env("RAYON_NUM_THREADS", threads);
        said(command).data()
    };
    for format in ["table", "markdown", "csv", "json"] {
        assert_eq!(plan("1", format), plan("3", format), "{format}");
    }
    let table = plan("2", "table");
    assert!(table.lines().all(|line| line.len() <= 100), "{table}");
    assert!(table.contains("   p5 ") && table.replace('\n', " ").contains("prompts aside"), "{table}");
    let csv = plan("2", "csv");
    assert!(csv.lines().next().unwrap().ends_with(",stream_step_links_s,overrides,version,commit"));
    let json: serde_json::Value = serde_json::from_str(&plan("2", "json")).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["fits"] == true) && rows.iter().any(|row| row["fits"] == false));
    for row in rows {
        // What does not fit is not run.
        assert_eq!(row["fits"] == true, row["stream"]["user_speed"]["p50"].is_number(), "{row}");
    }
    let refused = simctl("run --model llama-3.1-8b --fidelity stream --trace x");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("--fidelity fabric"), "{}", refused.stderr);
}

/// Several machines, one of which goes away; side requests, sub-agents, summaries; and what is wrong about them.
#[test]
fn machines_behind_a_balancer_and_what_agents_send_beside() {
    let machine = "[machine]\nmodel = 'llama-3.1-8b'\nwafers = 1\nusers = 8\ncontext = 8192\n";
    let service = "[service]\nprefix_cache = true\nplan = 'none'\nreplicas = 2\nbalancer = 'prefix'\n\
                   outages = [{ replica = 1, from = 20.0, to = 40.0 }]\n[clients]\ndeadline = 20.0\n";
    let load = "[load]\nkind = 'sessions'\nusers = 16\nprefix = { median = 2000 }\ncommon = 1000\n\
                append = { median = 300, spread = 1.0 }\nthink = 1.0\nside = { prompt = 600, output = 12 }\n\
                subagents = { count = 3, share = 0.1, prompt = 900 }\nsummary = 400\n[run]\nwindow = 100.0\n";
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("balanced.toml");
    fs::write(&file, format!("{machine}{service}{load}")).unwrap();
    let found = simctl(&format!("stream {} --format json", file.display())).json();
    let replicas = found["outcome"]["replicas"].as_array().unwrap();
    assert_eq!((replicas.len(), replicas[1]["away"].as_f64()), (2, Some(20.0)));
    assert!(replicas.iter().all(|replica| replica["finished"].as_u64().unwrap() > 50), "{replicas:?}");
    let text = simctl(&format!("stream {}", file.display())).data();
    assert!(text.contains("machine 1") && text.contains("20.00 s away"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for (set, says) in [
        ("service.replicas=0", "field 'service.replicas': is 0; allowed: a whole number from 1 to 256"),
        ("service.balancer=best", "unknown variant `best`"),
        ("service.outages=[{replica=5,from=1.0,to=2.0}]", "field 'service.outages[0].replica': is 5"),
        ("service.outages=[{from=3.0,to=2.0}]", "field 'service.outages[0].to': is 2"),
        ("load.day=[1.0,2.0]", "field 'load.day': has 2 numbers; allowed: 24 numbers"),
        ("load.starts=3.0", "only with load.day"),
        ("load.planning=2.0", "does not go with a load of kind 'sessions'; allowed: with kind tasks"),
        ("load.subagents={count=0}", "field 'load.subagents.count': is 0"),
        ("clients.deadline=0.0", "field 'clients.deadline': is 0"),
    ] {
        let refused = simctl(&format!("stream {} --set {set}", file.display()));
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{set}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{set}: {}", refused.stderr);
    }
}
