//! `--ranges` of `simctl run` and `plan`: how sure an answer is.

use serde_json::Value;

use crate::surface::{said, simctl};

const SMALL: &str = "run --model llama-3.1-8b --context 2k --search none";
const PLAN: &str = "plan --model llama-3.1-8b --users 1,4 --context 2k --search none";

fn number(json: &Value, path: &str) -> f64 {
    json.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn none_corner_and_sampled_say_more_and_more() {
    let none = simctl(&format!("{SMALL} --ranges none")).data();
    assert!(!none.contains("How sure") && !none.contains("draws"), "{none}");
    assert!(simctl(&format!("{SMALL} --ranges none --format json")).json()["uncertainty"].is_null());
    let corner = simctl(&format!("{SMALL} --ranges corner")).data();
    assert_eq!(corner, simctl(SMALL).data(), "what is usual");
    assert!(corner.contains("How sure") && corner.contains("\n  first token          ") && !corner.contains("draws"));
    let sampled = simctl(&format!("{SMALL} --ranges sampled --samples 100")).data();
    let verdict = sampled.split("\n\n").next().unwrap().replace('\n', " ");
    assert!(verdict.contains("over all that is not known it is reached in ") && verdict.contains(" of 100 draws ("));
    for part in ["100 draws of all that is not known (seed 1)", "of the draws ", "p50", "of the speed: ", "(R2 0.9"] {
        assert!(sampled.contains(part), "{part}: {sampled}");
    }
    assert!(sampled.lines().all(|line| line.len() <= 100), "{sampled}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let asked = |seed: u64| format!("{SMALL} --ranges sampled --samples 60 --seed {seed} --format json");
    let one = simctl(&asked(7));
    assert_eq!(one.stderr, "", "nothing is said of a short run");
    let one = one.data();
    let mut on_one_thread = crate::surface::command(&asked(7));
    on_one_thread.env("RAYON_NUM_THREADS", "1");
    assert_eq!(one, said(on_one_thread).data());
    let (one, other) = (serde_json::from_str::<Value>(&one).unwrap(), simctl(&asked(8)).json());
    assert_eq!((&one["provenance"]["seed"], &other["provenance"]["seed"]), (&Value::from(7), &Value::from(8)));
    assert_ne!(one["uncertainty"]["sampled"]["p50"], other["uncertainty"]["sampled"]["p50"]);
    assert_eq!(one["tokens_per_second_per_user"], other["tokens_per_second_per_user"]);
}

#[test]
fn the_json_has_quantiles_probability_and_shares() {
    let answer = simctl(&format!("{SMALL} --target 3900 --ranges sampled --format json")).json();
    let sampled = &answer["uncertainty"]["sampled"];
    assert_eq!((&sampled["samples"], &sampled["seed"]), (&Value::from(200), &Value::from(1)));
    assert!(sampled["distribution"].as_str().unwrap().contains("triangular"));
    for figure in ["tokens_per_second_per_user", "tokens_per_second_total", "time_to_first_token_ms"] {
        let at = |part: &str| number(sampled, &format!("/{part}/{figure}"));
        assert!(at("p5") < at("p50") && at("p50") < at("p95"), "{figure}: {sampled}");
    }
    assert!(sampled["p50"]["users_at_full_speed"].is_u64());
    let (probability, error) = (number(sampled, "/probability"), number(sampled, "/standard_error"));
    assert!((error - (probability * (1.0 - probability) / 200.0).sqrt()).abs() < 1e-12);
    let shares = sampled["shares"].as_array().unwrap();
    let sum: f64 = shares.iter().map(|share| number(share, "/first_order")).sum();
    assert!((sum - number(sampled, "/together")).abs() < 1e-9);
    assert!(shares.iter().any(|share| share["parameter"] == "clock.frequency"), "{shares:?}");
    assert_eq!(sampled["estimator"]["name"], "regression");
    let first = &answer["uncertainty"]["time_to_first_token_ms"];
    assert!(number(first, "/low") < number(&answer, "/time_to_first_token_ms"));
    assert!(number(first, "/high") > number(&answer, "/time_to_first_token_ms"));
}

#[test]
fn a_table_has_columns_for_the_ends() {
    let header = |more: &str| {
        let text = simctl(&format!("{PLAN} {more}")).data();
        let line = text.lines().find(|line| line.contains("  users  ")).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |titles: &[String], wanted: [&str; 2]| titles.windows(2).any(|pair| pair == wanted);
    assert!(!has(&header(""), ["low", "high"]));
    assert!(has(&header("--ranges corner"), ["low", "high"]));
    assert!(has(&header("--ranges sampled --samples 30"), ["p5", "p95"]));
    let csv = simctl(&format!("{PLAN} --ranges sampled --samples 30 --format csv")).data();
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let json = simctl(&format!("{PLAN} --ranges sampled --samples 30 --format json")).json();
    for (index, line) in lines.enumerate() {
        // Commas in quotes part no values.
        let parts = line.split('"').enumerate();
        let values = parts.map(|(part, text)| if part % 2 == 1 { text.replace(',', " ") } else { text.into() });
        let values = values.collect::<String>();
        let values: Vec<&str> = values.split(',').collect();
        let of = |name: &str| {
            let place = names.iter().position(|known| *known == name).unwrap_or_else(|| panic!("{name}"));
            values[place].parse::<f64>().unwrap()
        };
        let row = &json["rows"][index];
        assert_eq!(of("tokens_per_second_per_user_p50"), number(row, "/ranges/sampled/p50/tokens_per_second_per_user"));
        assert_eq!(of("target_probability"), number(row, "/ranges/sampled/probability"));
        assert!(of("time_to_first_token_ms_p5") <= of("time_to_first_token_ms_p95"));
    }
    let none = simctl(&format!("{PLAN} --format json")).data();
    assert!(!none.contains("ranges"), "{none}");
}

#[test]
fn a_point_of_a_table_has_the_ranges_of_its_answer() {
    let row = simctl(&format!("{PLAN} --ranges corner --format json")).json()["rows"][1].clone();
    let answer = simctl(&format!("{SMALL} --users 4 --format json")).json();
    for figure in ["tokens_per_second_per_user", "time_to_first_token_ms"] {
        assert_eq!(row["ranges"]["corner"][figure], answer["uncertainty"][figure], "{figure}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (arguments, parts) in [
        ("run --ranges sampled --samples 19", ["--samples", "'19'", "from 20 to 100000"]),
        ("run --ranges sampled --samples 100001", ["--samples", "'100001'", "from 20 to 100000"]),
        ("run --ranges sampled --samples many", ["--samples", "'many'", "from 20 to 100000"]),
        ("run --ranges sampled --seed -1", ["--seed", "'-1'", "a whole number"]),
        ("run --samples 50", ["--samples", "nothing is drawn", "--ranges sampled"]),
        ("run --ranges corner --seed 1", ["--seed", "nothing is drawn", "--ranges sampled"]),
        ("plan --samples 50", ["--samples", "nothing is drawn", "--ranges sampled"]),
        ("plan --ranges sampled --fidelity stream", ["--ranges", "of users, not of draws", "none or corner"]),
        ("run --ranges most", ["--ranges", "most", "none, corner, sampled"]),
    ] {
        let said = simctl(arguments);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {said:?}");
        for part in parts {
            assert!(said.stderr.contains(part), "{arguments}: no '{part}' in: {}", said.stderr);
        }
    }
}
