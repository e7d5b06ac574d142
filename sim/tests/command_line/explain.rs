//! `simctl explain`: from what is advertised to what is observed; and what clients see of a service in `stream`.

use std::path::Path;

use serde_json::Value;

use crate::surface::{repository, simctl};

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn the_parts_add_up_to_the_whole_to_the_last_digit() {
    let all = simctl("explain --set run.window=400 --set run.warm_up=60 --format json").json();
    let all = all["agents"].as_array().expect("agents");
    assert_eq!(all.iter().map(|one| &one["agent"]["name"]).collect::<Vec<_>>(), ["light", "median", "heavy"]);
    for explained in all {
        for side in ["low", "expected", "high"] {
            let side = &explained[side];
            let steps = side["steps"].as_array().expect("steps");
            let changes: i64 = steps.iter().map(|step| number(&step["change"])).sum();
            assert_eq!(number(&side["advertised"]) + changes, number(&side["observed"]));
            assert_eq!(number(&side["advertised"]), 2_000_000);
            let clients = &side["clients"];
            let seen = clients["seen_speed_overall"].as_f64().expect("a number");
            assert_eq!(number(&side["observed"]), (seen * 1e3).round() as i64);
        }
        let observed = |side: &str| number(&explained[side]["observed"]);
        assert!(observed("expected") < 500_000, "at most 500 are seen: {}", observed("expected"));
        assert!(observed("low") <= observed("high"));
    }
}

#[test]
fn an_agent_is_explained_in_a_table() {
    let text = simctl("explain --agent light --set run.window=200 --set run.warm_up=30").data();
    for line in ["The light agent", "advertised", "mapping: the machine with a short context", "quota", "observed"] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("heavy") && text.lines().all(|line| line.len() <= 100), "{text}");
}

#[test]
fn an_explanation_has_a_page_and_a_picture() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, says) in [("way.html", "What each agent observes"), ("way.svg", "light: observed")] {
        let file = folder.path().join(name);
        simctl(&format!("explain --agent light --set run.window=60 --set run.warm_up=0 --out {}", file.display()))
            .data();
        let text = std::fs::read_to_string(&file).expect("a file");
        assert!(text.contains(says), "{name}");
    }
    let file = folder.path().join("tasks.svg");
    let said = crate::surface::said(crate::surface::command(&format!("explain --task --out {}", file.display())));
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("this command draws none") && !file.exists(), "{}", said.stderr);
}

#[test]
fn plans_are_compared_as_clients_see_them() {
    let machine = "[machine]\nmodel = 'llama-3.1-8b'\nwafers = 1\nusers = 4\ncontext = 8192\n";
    let load = "[load]\nusers = 4\nthink = 1.0\nprompt = { median = 4000 }\noutput = { median = 200 }\n";
    let scenario =
        format!("{machine}[service]\nplan = 'coding'\n[clients]\nprofile = 'continue'\n{load}[run]\nwindow = 300.0\n");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients.toml");
    std::fs::write(&file, scenario).expect("a file of the test");
    let run = |arguments: &str| simctl(&format!("stream {} {arguments}", file.display()));
    let point = run("--format json").json();
    let clients = &point["outcome"]["clients"];
    let shares = clients["shares"].as_object().expect("parts");
    let sum: f64 = shares.values().filter_map(Value::as_f64).sum();
    assert!((sum / clients["whole"]["mean"].as_f64().expect("a number") - 1.0).abs() < 1e-8, "{clients}");
    // 15 requests a minute: a bucket and five refills, whatever four users want.
    assert!(clients["served"].as_u64().expect("a number") <= 15 * 6, "{clients}");
    let text = run("").data();
    assert!(text.contains("Clients, as they see the service from outside") && text.contains("waiting for the quota"));
    let free = repository("sim/scenarios/service/free.toml");
    let swept = run(&format!("--sweep service.plan=none,coding,{}", free.display())).data();
    assert!(swept.contains("429/h") && swept.contains("  retries\n"), "{swept}");
    for (set, says) in [
        ("service.plan=gold", "there is no plan 'gold'"),
        ("service.plan=./no-such.toml", "no-such.toml"),
        ("clients.profile=clippy", "there is no profile 'clippy'"),
        ("clients.network=-1", "field 'clients.network': is -1"),
        ("clients.organisations=0", "field 'clients.organisations': is 0"),
        ("clients.patients=1", "unknown field `patients`"),
    ] {
        let said = run(&format!("--set {set}"));
        assert_eq!(said.code, Some(2), "{set}");
        assert!(said.stderr.contains(says), "{set}: {}", said.stderr);
    }
}

/// What came to the machine is a trace, and its replay asks the machine for the same.
#[test]
fn the_load_of_a_run_is_written_and_replayed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let machine =
        "[machine]\nmodel = 'llama-3.1-8b'\nwafers = 1\nusers = 4\ncontext = 8192\n[service]\nprefix_cache = true\n";
    let sessions =
        "[load]\nkind = 'sessions'\nusers = 2\nprefix = { median = 2000 }\ncommon = 1024\ntool = 0.001\nthink = 1.0\n";
    let first = folder.join("written.toml");
    std::fs::write(&first, format!("{machine}plan = 'developer'\n{sessions}[run]\nwindow = 60.0\n")).expect("a file");
    let load = folder.join("written.jsonl");
    let run = simctl(&format!("stream {} --format json --write-load {}", first.display(), load.display())).json();
    let again = folder.join("replayed.toml");
    let trace = format!("[load]\nkind = 'trace'\nfile = '{}'\n", load.display());
    std::fs::write(&again, format!("{machine}{trace}")).expect("a file");
    let replayed = simctl(&format!("stream {} --format json", again.display())).json();
    let total = |point: &Value, name: &str| point["outcome"]["totals"][name].as_u64().expect("a number");
    assert!(total(&run, "arrived") > 50);
    assert_eq!(total(&run, "arrived"), total(&replayed, "arrived"));
    assert_eq!(total(&run, "asked"), total(&replayed, "asked"));
    // Blocks of 512 tokens know less of what prompts have in common than those of 128, and nothing of answers.
    let cached = |point: &Value| total(point, "cached_tokens") as f64 / total(point, "prompt_tokens") as f64;
    assert!(cached(&replayed) > 0.7 * cached(&run) && cached(&replayed) <= cached(&run), "{}", cached(&replayed));
    let said = simctl(&format!("stream {} --sweep load.users=1,2 --write-load {}", first.display(), load.display()));
    assert!(said.code == Some(2) && said.stderr.contains("--write-load"), "{}", said.stderr);
}

/// The same tasks at every service; where there is a quota, a row without it says what it takes.
#[test]
fn a_finished_task_is_compared_with_other_services() {
    let machine = "[machine]\nmodel = 'llama-3.1-8b'\nwafers = 1\nusers = 4\ncontext = 32768\n";
    let load = "[load]\nkind = 'tasks'\nusers = 2\ntasks = 6\nsteps = 6.0\nlongest = 24000\n";
    let scenario =
        format!("{machine}[service]\nplan = 'coding'\nprefix_cache = true\n[clients]\nprofile = 'continue'\n{load}");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tasks.toml");
    std::fs::write(&file, scenario).expect("a file of the test");
    let all = simctl(&format!("explain --task {} --format json", file.display())).json();
    let services = all["services"].as_array().expect("services");
    let names: Vec<&str> = services.iter().filter_map(|one| one["service"].as_str()).collect();
    assert_eq!(
        names,
        ["wafers, plan coding", "wafers, no quota", "claude-like", "grok-code-like", "qwen3-coder on GPUs"]
    );
    for service in services {
        let seconds = |side: &str| service[side]["tasks"]["seconds_per_finished"].as_f64().expect("a number");
        for side in ["low", "expected", "high"] {
            let tasks = &service[side]["tasks"];
            assert_eq!(number(&tasks["finished"]) + number(&tasks["unfinished"]), 6);
            assert!(seconds(side) > 0.0 && service[side]["usd_per_finished"].as_f64().expect("a price") > 0.0);
        }
    }
    // The same model solves the same tasks.
    let of = |at: usize| &services[at]["expected"]["tasks"];
    for name in ["finished", "calls", "output_tokens"] {
        assert_eq!((&of(0)[name], &of(1)[name]), (&of(4)[name], &of(4)[name]), "{name}");
    }
    let service_time = |at: usize| of(at)["shares"]["service"].as_f64().expect("a number");
    assert!(service_time(1) < service_time(0) && service_time(1) < service_time(4), "no quota, and faster");
    let text = simctl(&format!("explain --task {}", file.display())).data();
    assert!(text.contains("Time to a finished task") && text.lines().all(|line| line.len() <= 100), "{text}");
}
