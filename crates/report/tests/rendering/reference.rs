//! The reference tables: complete, and as wide as a page.

use serde_json::Value;
use wafersim_report::{model, setting, wafer};
use wafersim_spec::model::builtin;
use wafersim_spec::scenario::SETTINGS;
use wafersim_spec::wafer::{BUILTIN_WAFERS, DECLARATIONS};
use wafersim_spec::{Model, Wafer};

fn fits_the_page(text: &str) {
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn a_wafer_shows_every_parameter_with_its_source() {
    for name in BUILTIN_WAFERS {
        let built_in = Wafer::builtin(name).unwrap();
        let (text, markdown) = (wafer::text(&built_in), wafer::markdown(&built_in));
        fits_the_page(&text);
        let json: Value = serde_json::from_str(&wafer::json(&built_in).unwrap()).unwrap();
        for (index, declared) in DECLARATIONS.iter().enumerate() {
            assert!(text.contains(&format!("  {} ", declared.path)), "{}", declared.path);
            assert!(markdown.contains(&format!("| {} |", declared.path)));
            let entry = &json["parameters"][index];
            assert_eq!(entry["path"], declared.path);
            for key in ["unit", "meaning", "value", "low", "high", "evidence", "source"] {
                assert!(!entry[key].is_null(), "{} {key}", declared.path);
            }
        }
    }
}

#[test]
fn lists_name_everything_that_is_built_in() {
    let models: Vec<model::Named> = builtin::names().map(|name| (name.to_owned(), Model::builtin(name))).collect();
    let text = model::list_text(&models);
    fits_the_page(&text);
    assert!(builtin::names().all(|name| text.contains(name)), "{text}");
    let json: Value = serde_json::from_str(&model::list_json(&models).unwrap()).unwrap();
    let listed = json["models"].as_array().unwrap();
    assert_eq!(listed.len(), models.len());
    assert!(listed.iter().all(|entry| entry.get("parameters").is_some() != entry.get("refused").is_some()));
    assert_eq!(
        model::list_markdown(&models).lines().count(),
        2 + models.iter().filter(|(_, model)| model.is_ok()).count()
    );

    let wafers: Vec<Wafer> = BUILTIN_WAFERS.iter().map(|name| Wafer::builtin(name).unwrap()).collect();
    fits_the_page(&wafer::list_text(&wafers));
    assert_eq!(wafer::list_markdown(&wafers).lines().count(), 2 + wafers.len());
    let json: Value = serde_json::from_str(&wafer::list_json(&wafers).unwrap()).unwrap();
    assert_eq!(json["wafers"][1]["name"], "wse3");
}

#[test]
fn settings_are_those_of_the_scenario_and_the_wafer() {
    fits_the_page(&setting::text());
    let markdown = setting::markdown();
    let rows = |text: &str| text.lines().filter(|line| line.starts_with('|')).count();
    let (own, of_streams) = markdown.split_once("\nStream scenarios").unwrap();
    assert_eq!(rows(own), 2 + SETTINGS.len() + DECLARATIONS.len());
    assert!(rows(of_streams) > 60 && of_streams.contains("load.users"));
    let json: Value = serde_json::from_str(&setting::json().unwrap()).unwrap();
    let paths: Vec<&str> =
        json["settings"].as_array().unwrap().iter().filter_map(|entry| entry["path"].as_str()).collect();
    assert!(SETTINGS.iter().all(|setting| paths.contains(&setting.path)));
    assert!(paths.contains(&"wafer.fabric.hop_latency"));
}
