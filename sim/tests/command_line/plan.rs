//! `simctl plan`: tables of questions.

use serde_json::Value;

use crate::surface::{command, said, simctl};

const SMALL: &str = "plan --model qwen3-30b-a3b --users 1,4 --context 2k,8k";

fn rows(arguments: &str) -> Vec<Value> {
    simctl(&format!("{arguments} --format json")).json()["rows"].as_array().cloned().unwrap_or_default()
}

#[test]
fn points_are_the_product_of_the_lists_users_fastest() {
    let table: Vec<(u64, u64)> = rows(SMALL)
        .iter()
        .map(|row| (row["context"].as_u64().unwrap_or(0), row["users"].as_u64().unwrap_or(0)))
        .collect();
    assert_eq!(table, [(2048, 1), (2048, 4), (8192, 1), (8192, 4)]);
    let all = rows(&format!("{SMALL} --search none --profile all --placement all --weights fp8,fp4 --wafers 4,5"));
    // Contexts and users, profiles, placements, weights, wafers.
    assert_eq!(all.len(), 4 * 3 * 8 * 2 * 2);
}

#[test]
fn a_point_is_what_run_says() {
    let row = &rows("plan --model qwen3-30b-a3b --users 4 --context 8k --profile ideal")[0];
    let answer = simctl("run --model qwen3-30b-a3b --users 4 --context 8k --profile ideal --format json").json();
    for key in [
        "wafers",
        "users_at_full_speed",
        "max_users",
        "tokens_per_second_per_user",
        "tokens_per_second_total",
        "time_per_output_token_us",
        "time_to_first_token_ms",
    ] {
        assert_eq!(row[key], answer[key], "{key}");
    }
    assert_eq!(row["reaches_target"] == true, answer["verdict"]["state"] == "reached");
}

#[test]
fn what_does_not_fit_is_a_row_that_says_what_would() {
    let table = rows("plan --users 1 --context 8k --wafers 2,100");
    assert_eq!((&table[0]["fits"], &table[1]["fits"]), (&Value::Bool(false), &Value::Bool(true)));
    assert!(table[0]["wafers"].as_u64().is_some_and(|wafers| (11..=20).contains(&wafers)), "{table:?}");
    let text = simctl("plan --users 1 --context 8k --wafers 2,100").data();
    assert!(text.contains("does not fit, "), "{text}");
}

#[test]
fn without_lists_the_usual_loads_are_planned() {
    assert_eq!(rows("plan --model qwen3-30b-a3b").len(), 7 * 3);
    assert_eq!(rows("plan --model llama-3-8b").len(), 7 * 2, "llama-3-8b does not reach 128k");
}

#[test]
fn speed_is_said_on_stderr_and_formats_on_stdout() {
    for (format, start) in [
        ("table", "qwen3-30b-a3b on wse3 at 1.1 GHz, target 2,000 tok/s for each user"),
        ("markdown", "qwen3-30b-a3b on wse3 at 1.1 GHz, target 2,000 tok/s for each user"),
        ("csv", "model,wafer,clock_ghz,target,wafers_asked,"),
        ("json", "{\n  \"schema_version\": 1,\n  \"command\": \"plan\""),
    ] {
        let said = simctl(&format!("{SMALL} --format {format}"));
        assert!(said.stdout.starts_with(start), "{}", said.stdout);
        assert!(said.stderr.contains("4 points in "), "{}", said.stderr);
        assert!(said.stderr.ends_with(" points per second\n"), "{}", said.stderr);
    }
}

#[test]
fn a_prompt_that_a_plan_leaves_aside_is_named() {
    let said = simctl(&format!("{SMALL} --set prompt=5"));
    assert!(said.stderr.contains("'prompt' is left aside"), "{}", said.stderr);
}

#[test]
fn threads_change_nothing() {
    let with = |threads: &str| {
        let mut command = command(&format!("{SMALL} --profile all --format csv"));
        command.env("RAYON_NUM_THREADS", threads);
        said(command).data()
    };
    assert_eq!(with("1"), with("4"));
}

/// Renewed with `INSTA_UPDATE=always cargo test -p simctl`: a change of physics shows here.
#[test]
fn golden_plan() {
    insta::assert_snapshot!("plan", simctl("plan --users 1,8,32 --context 8k,32k --profile published,ideal").data());
}
