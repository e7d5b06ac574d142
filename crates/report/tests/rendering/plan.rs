//! The capacity-planning table in its four forms.

use wafersim_answer::{Ranges, Sampling};
use wafersim_report::plan;

use crate::made_by_hand;

#[test]
fn the_table_shows_what_varies() {
    let text = plan::text(&made_by_hand::plan());
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    insta::assert_snapshot!("plan_text", text);
}

#[test]
fn a_wide_table_drops_columns_until_it_fits() {
    let text = plan::text(&made_by_hand::wide_plan());
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    let header = text.lines().find(|line| line.contains("context  ")).unwrap();
    assert!(["asked", "experts", "weights", "profile", "tok/s", "target"].iter().all(|title| header.contains(title)));
    assert!(!header.contains("per token") && !header.contains("limit"), "{header}");
}

#[test]
fn markdown_has_all_columns() {
    insta::assert_snapshot!("plan_markdown", plan::markdown(&made_by_hand::plan()));
}

#[test]
fn csv_has_all_figures_in_full_and_empty_fields_for_none() {
    let text = plan::csv(&made_by_hand::plan()).unwrap();
    insta::assert_snapshot!("plan_csv", text);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let speed = reader.headers().unwrap().iter().position(|name| name == "tokens_per_second_per_user").unwrap();
    let speeds: Vec<String> = reader.records().map(|record| record.unwrap()[speed].to_owned()).collect();
    assert_eq!(speeds, ["2500", "493.125", ""]);
}

#[test]
fn json_is_the_plan() {
    let json: serde_json::Value = serde_json::from_str(&plan::json(&made_by_hand::plan()).unwrap()).unwrap();
    assert_eq!(json["target"], 2000.0);
    assert_eq!(json["rows"][1]["tokens_per_second_per_user"], 493.125);
    assert_eq!(json["rows"][2]["fits"], false);
    assert!(json["rows"][2]["tokens_per_second_per_user"].is_null());
}

#[test]
fn a_plan_without_points_is_a_table_without_rows() {
    let mut empty = made_by_hand::plan();
    empty.rows.clear();
    assert!(plan::text(&empty).contains("0 points: 0 fit"));
    assert_eq!(plan::csv(&empty).unwrap().lines().count(), 1);
}

#[test]
fn ranges_have_columns_of_their_own() {
    for (ranges, titles, cells, names) in [
        (
            Ranges::Corner,
            ["low", "high"],
            ["400.0", "620.5"],
            ["tokens_per_second_per_user_low", "time_to_first_token_ms_high"],
        ),
        (
            Ranges::Sampled(Sampling::default()),
            ["p5", "p95"],
            ["430.0", "601.0"],
            ["tokens_per_second_per_user_p50", "target_probability_standard_error"],
        ),
    ] {
        let asked = made_by_hand::plan_with(ranges);
        for text in [plan::text(&asked), plan::markdown(&asked)] {
            assert!(titles.iter().chain(&cells).all(|word| text.contains(word)), "{text}");
            assert!(text.contains(&format!("; {}, {}: ", titles[0], titles[1])), "{text}");
        }
        assert!(plan::text(&asked).lines().all(|line| line.len() <= 100));
        let text = plan::csv(&asked).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headers = reader.headers().unwrap().clone();
        assert!(names.iter().all(|name| headers.iter().any(|header| header == *name)), "{headers:?}");
        // A row that does not fit has empty fields, as many as the others.
        assert!(reader.records().all(|record| record.unwrap().len() == headers.len()));
    }
}
