//! Predicted against measured, in three forms.

use serde_json::Value;
use wafersim_check::validate::Validation;
use wafersim_report::validation;

use crate::made_by_hand;

#[test]
fn the_text_has_rows_groups_and_what_was_left_out() {
    let text = validation::text(&made_by_hand::validation());
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    insta::assert_snapshot!("validation_text", text);
}

#[test]
fn markdown_is_for_the_docs() {
    insta::assert_snapshot!("validation_markdown", validation::markdown(&made_by_hand::validation()));
}

/// The keys that issue 2, item 10, asks for.
#[test]
fn the_json_has_the_promised_keys() {
    let json: Value = serde_json::from_str(&validation::json(&made_by_hand::validation()).unwrap()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["mape_percent", "rows", "groups", "predictions", "skipped"]);
    assert_eq!(keys(&json["groups"][0]), ["kernel", "device", "evidence", "rows", "mape_percent", "worst_percent"]);
    for key in ["id", "measured", "predicted", "error_percent"] {
        assert!(json["predictions"][0].get(key).is_some(), "{key}");
    }
    assert_eq!(keys(&json["skipped"][0]), ["id", "why"]);
}

#[test]
fn no_rows_are_no_success() {
    let nothing = Validation {
        mape_percent: None,
        rows: 0,
        groups: Vec::new(),
        rounds: None,
        predictions: Vec::new(),
        ..made_by_hand::validation()
    };
    assert!(validation::text(&nothing).contains("No row could be predicted; 1 row not predicted."));
}
