//! `simctl goal`, `size` and `cost`: what a program reads of them, and what they refuse.

use std::fs;

use serde_json::Value;

use crate::surface::simctl;

/// A small model without a search, for speed.
const SMALL: &str = "--model llama-3.1-8b --context 4096 --search none";

#[test]
fn a_goal_has_levers_and_pairs() {
    let found = simctl(&format!("goal {SMALL} --target 4000 --format json")).json();
    assert_eq!((&found["target"], &found["schema_version"]), (&Value::from(4000.0), &Value::from(1)));
    let current = found["current"].as_f64().unwrap();
    assert!(current > 0.0 && current < 4000.0, "{current}");
    let levers = found["levers"].as_array().unwrap();
    assert!(levers.len() > 40, "{}", levers.len());
    for lever in levers {
        let reached = lever["reached"].as_bool().unwrap();
        assert_eq!(reached, !lever["value"].is_null(), "{lever}");
        assert!(lever["path"].is_string() && lever["speed_at_limit"].is_number());
    }
    let clock = levers.iter().find(|lever| lever["path"] == "wafer.clock.frequency").unwrap();
    assert!(clock["reached"] == true && clock["value"].as_f64().unwrap() > 1.1);
    // What is said to do is what does.
    let value = &clock["value"];
    let answer =
        simctl(&format!("run {SMALL} --target 4000 --ranges none --set wafer.clock.frequency={value} --format json"));
    assert_eq!(answer.json()["verdict"]["state"], "reached");
    for pair in found["pairs"].as_array().unwrap() {
        assert_eq!(pair["levers"].as_array().map(Vec::len), Some(2), "{pair}");
    }
    assert!(found["scenario"]["model"] == "llama-3.1-8b" && found["provenance"]["input_hash"].is_string());
}

#[test]
fn levers_are_varied_and_fixed() {
    let varied = |flags: &str| {
        let found = simctl(&format!("goal {SMALL} --target 4000 {flags} --format json")).json();
        let levers = found["levers"].as_array().unwrap().clone();
        levers.iter().map(|lever| lever["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut some = varied("--vary wafer.link,context");
    some.sort();
    assert_eq!(some, ["context", "wafer.link.bandwidth", "wafer.link.latency"]);
    assert_eq!(varied("--vary wafer.link --fix wafer.link.latency"), ["wafer.link.bandwidth"]);
    let refused = simctl(&format!("goal {SMALL} --vary wafer.lnik"));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("wafer.lnik"), "{}", refused.stderr);
}

#[test]
fn a_goal_that_is_reached_says_how_far_things_may_go() {
    let text = simctl(&format!("goal {SMALL} --target 10")).data();
    assert!(text.contains("How far each may go") && !text.contains("Two at a time"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn a_cost_adds_up() {
    let cost = simctl(&format!("cost {SMALL} --users 4 --occupancy 1 --price-kwh 0.08 --format json")).json();
    let number = |path: &str| cost.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let system = number("/system/total/value");
    let parts = number("/system/capital/value") + number("/system/electricity/value") + number("/system/other/value");
    assert!((system - parts).abs() < 1e-9 && (system - 41.96).abs() < 0.01, "{system}");
    let (systems, total) = (number("/load/systems"), number("/load/tokens_per_second_total"));
    assert!((number("/usd_per_hour/value") / (systems * system) - 1.0).abs() < 1e-9);
    assert!((number("/usd_per_million/value") / (systems * system / (total * 0.0036)) - 1.0).abs() < 1e-9);
    for figure in ["usd_per_hour", "usd_per_million", "facility_kw", "tokens_per_kwh"] {
        let at = |end: &str| number(&format!("/{figure}/{end}"));
        assert!(at("low") <= at("value") && at("value") <= at("high"), "{figure}");
    }
    let dearer = simctl(&format!("cost {SMALL} --users 4 --set wafer.system.price=3000000 --format json")).json();
    assert!(dearer["system"]["capital"]["value"].as_f64().unwrap() > 2.9 * number("/system/capital/value"));
    // Money moves no time.
    assert_eq!(dearer["load"]["tokens_per_second_total"], cost["load"]["tokens_per_second_total"]);
    let text = simctl("cost --search none --users 4").data();
    assert!(text.contains("no row reaches") && text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

/// Users who wait for their answers, on a small model.
const LOAD: &str = "[machine]\nmodel = 'llama-3.1-8b'\ncontext = 4096\n[load]\nusers = 6\nthink = 0.5\n\
                    prompt = { median = 1000 }\noutput = { median = 100 }\n[run]\nwarm_up = 1.0\nwindow = 4.0\n";

fn scenario() -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
    fs::write(file.path(), LOAD).expect("a file that is written");
    file
}

#[test]
fn a_size_has_machines_and_says_what_binds() {
    let file = scenario();
    let size = |flags: &str| {
        simctl(&format!("size {} --search none --seeds 2 {flags} --format json", file.path().display())).json()
    };
    let found = size("--ttft-p95 300ms --speed-p5 300");
    assert_eq!(found["feasible"], true);
    assert!(found["machines"].is_u64() && found["wafers_per_machine"].is_u64() && found["nearest"].is_null());
    assert!(found["users_per_machine"].as_f64().unwrap() >= 1.0);
    assert!(found["ttft_p95_s"].as_f64().unwrap() <= 0.3 && found["speed_p5"].as_f64().unwrap() >= 300.0);
    assert!(found["provenance"]["seed"] == 1 && found["scenario"]["machine"]["model"] == "llama-3.1-8b");
    let wafers = |found: &Value| found["machines"].as_u64().unwrap() * found["wafers_per_machine"].as_u64().unwrap();
    assert!(wafers(&size("--users 24 --ttft-p95 300ms --speed-p5 300")) >= wafers(&found));
    // Infeasible is an answer.
    let none = size("--speed-p5 1000000");
    assert_eq!((&none["feasible"], &none["machines"]), (&Value::from(false), &Value::Null));
    assert_eq!(none["binds"], "speed_p5");
    assert_eq!(none["nearest"]["changes"][0]["path"], "speed_p5");
    assert!(none["nearest"]["why"][0].as_str().unwrap().contains("1000000"));
}

#[test]
fn a_size_needs_a_promise() {
    for (flags, part) in [
        ("--users 5", "service levels"),
        ("--users 0 --ttft-p95 1s", "whole number"),
        ("--users 5 --ttft-p95 fast", "no time"),
        ("--users 5 --speed-p5 -3", "above 0"),
        ("--users 5 --speed-p5 3 --trace-format azure", "with --trace FILE"),
        ("--rate 5 --ttft-p95 1s", "open"),
        ("--users 5 --ttft-p95 1s --availability 2", "--availability"),
        ("--users 5 --ttft-p95 1s --growth much", "per cent"),
        ("--users 5 --ttft-p95 1s --routing nothing", "uniform, skewed, or a file"),
    ] {
        let refused = simctl(&format!("size {flags}"));
        assert_eq!(refused.code, Some(2), "{flags}");
        assert!(refused.stderr.contains(part) && refused.stdout.is_empty(), "{flags}: {}", refused.stderr);
    }
}

/// Quotas hold users back, so that a machine has room for more of them; what they see from outside is said beside it.
#[test]
fn a_size_counts_quotas() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (plan, scenario) = (folder.join("size-plan.toml"), folder.join("size-load.toml"));
    fs::write(&plan, "tokens = { minute = 30000 }\nmonthly = 50.0\n").unwrap();
    let load =
        "[load]\nkind = 'closed'\nusers = 400\nthink = 1.0\nprompt = { median = 2000 }\noutput = { median = 300 }\n";
    fs::write(
        &scenario,
        format!("[machine]\nmodel = 'llama-3.1-8b'\ncontext = 4096\n{load}[run]\nwarm_up = 20.0\nwindow = 20.0\n"),
    )
    .unwrap();
    let asked = |flags: &str| {
        simctl(&format!(
            "size {} --wafers 1 --search none --seeds 1 --ttft-p95 40ms --format json {flags}",
            scenario.display()
        ))
        .json()
    };
    let (free, limited) = (asked(""), asked(&format!("--plan {}", plan.display())));
    assert!(free["plan"].is_null());
    let seen = &limited["plan"];
    assert_eq!((&seen["organisations"], seen["usd_per_month"].as_f64()), (&400.into(), Some(20_000.0)), "{seen}");
    assert!(seen["waiting_for_quota"].as_f64().unwrap() > 0.5, "{seen}");
    let most = |size: &Value| size["most_users_per_machine"].as_f64().unwrap();
    assert!(most(&limited) > most(&free), "{} {}", most(&limited), most(&free));
    let shared = asked(&format!("--plan {} --organisation 10", plan.display()));
    assert_eq!(shared["plan"]["organisations"], 40);
    for (flags, says) in [
        ("--organisation 0 --plan coding", "--organisation: is '0'"),
        ("--organisation 5", "with --plan"),
        ("--plan goldd", "there is no plan 'goldd'"),
        ("--set service.replicas=2", "service.replicas"),
    ] {
        let refused = simctl(&format!("size {} --ttft-p95 1s {flags}", scenario.display()));
        assert_eq!(refused.code, Some(2), "{flags}: {}", refused.stderr);
        assert!(refused.stderr.contains(says), "{flags}: {}", refused.stderr);
    }
}
