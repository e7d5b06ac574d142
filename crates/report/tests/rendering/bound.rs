//! The bound for people and for programs.

use serde_json::Value;
use wafersim_bound::{Bound, BoundLoad, bound};
use wafersim_report::bound::{json, text};
use wafersim_spec::{Hertz, Model, Precision, Wafer};

fn example(wafers: Option<u32>) -> Option<Bound> {
    let load = BoundLoad {
        context: 32_768,
        users: 64,
        precision: Precision::default(),
        wafers,
        tokens: 5,
        accepted: 3.36,
        clock: Hertz::from_gigahertz(1.1),
    };
    let (model, wafer) = (Model::builtin("deepseek-v3").ok()?, Wafer::builtin("wse3").ok()?);
    Some(bound(&model, &wafer, &load))
}

#[test]
fn the_text_has_every_term() {
    for wafers in [None, Some(24)] {
        let text = text(&example(wafers).unwrap());
        assert!(text.lines().all(|line| line.len() <= 100 && line == line.trim_end()), "{text}");
        assert!(text.is_ascii());
        for part in
            ["compression of the query", "gate, up", "LM head", "given away at links", "tokens of a step, 5 at most"]
        {
            assert!(text.contains(part), "no '{part}' in: {text}");
        }
        assert_eq!(text.contains("all products of a step"), wafers.is_some(), "{text}");
    }
}

#[test]
fn the_json_has_every_term() {
    let json: Value = serde_json::from_str(&json(&example(Some(24)).unwrap()).unwrap()).unwrap();
    for rate in ["no_mapping_beats", "no_mapping_beats_at_measured_rate"] {
        for key in ["tokens_per_second_per_user", "pass_us", "stages_us", "links_us", "given_away_us", "work_us"] {
            assert!(json[rate][key].as_f64().is_some_and(|value| value > 0.0), "{rate} {key}");
        }
        let term = &json[rate]["terms"][0];
        for key in ["/stage/macs", "/times", "/pes", "/shortest/cycles", "/shortest/binds"] {
            assert!(term.pointer(key).is_some_and(|value| !value.is_null()), "{rate} {key}");
        }
    }
    assert!(json["assumptions"].as_array().is_some_and(|list| list.len() > 3));
}
