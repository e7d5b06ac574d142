//! Wafer files that somebody has damaged: an error that names the file, or a wafer that keeps its promises; never a
//! panic.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::{DECLARATIONS, RateSet};

const TEXT: &str = include_str!("../models/wafer/wse3.toml");

const VALUES: [&str; 14] = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e308",
    "\"\"",
    "[]",
    "{}",
    "true",
    "99999999999999999999",
    "1e-300",
    "2.5",
    "'x'",
];

/// One kind of damage, at a place that a number chooses.
fn damaged(kind: usize, place: usize, value: usize) -> String {
    let lines: Vec<&str> = TEXT.lines().collect();
    let at = place % lines.len();
    let changed = |line: Option<String>| {
        let kept = lines.iter().enumerate().filter_map(|(index, old)| match (index == at, &line) {
            (true, new) => new.clone(),
            (false, _) => Some((*old).to_owned()),
        });
        kept.collect::<Vec<_>>().join("\n")
    };
    match kind {
        0 => changed(None),
        1 => {
            let (key, _) = lines[at].split_once('=').unwrap_or((lines[at], ""));
            changed(Some(format!("{key} = {}", VALUES[value % VALUES.len()])))
        }
        2 => TEXT.chars().take(place % TEXT.chars().count()).collect(),
        3 => {
            let mut bytes = TEXT.as_bytes().to_vec();
            let at = place % bytes.len();
            bytes[at] ^= 1 << (value % 7);
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => changed(Some(format!("{}\n{}", lines[at], lines[(at + value) % lines.len()]))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_a_wafer(kind in 0usize..5, place in any::<usize>(), value in any::<usize>()) {
        match Wafer::parse(&damaged(kind, place, value), "damaged", "damaged.toml") {
            Err(error) => prop_assert!(error.to_string().starts_with("damaged.toml"), "{error}"),
            Ok(wafer) => {
                prop_assert!(wafer.free_bytes() <= wafer.memory_bytes());
                for declared in DECLARATIONS {
                    for rates in [RateSet::Silicon, RateSet::VendorSimulator] {
                        let figure = wafer.figure_in(declared.key, rates);
                        prop_assert!(figure.low <= figure.value && figure.value <= figure.high, "{}", declared.path);
                        prop_assert!(declared.check(figure.value).is_ok());
                    }
                }
            }
        }
    }

    #[test]
    fn any_text_is_an_error_or_a_wafer(text in "\\PC{0,200}") {
        prop_assert!(Wafer::parse(&text, "any", "any.toml").is_err());
    }

    #[test]
    fn any_setting_is_an_error_or_a_change(path in 0usize..DECLARATIONS.len() + 1, value in prop_oneof![any::<f64>(), -10.0f64..10.0, 0.0f64..5000.0]) {
        let mut wafer = Wafer::builtin("wse3").unwrap();
        let before = wafer.clone();
        let path = DECLARATIONS.get(path).map_or("fabric.nothing", |declared| declared.path);
        match wafer.set(path, value) {
            Err(_) => prop_assert_eq!(wafer, before),
            Ok(()) => prop_assert!(value.is_finite()),
        }
    }
}

#[test]
fn a_wafer_starts_from_another() {
    let base = Wafer::builtin("wse3").unwrap();
    let same = Wafer::parse("base = 'wse3'", "mine", "mine.toml").unwrap();
    assert_eq!((same.title.as_str(), same.name.as_str()), (base.title.as_str(), "mine"));
    let text = "base = 'wse3'\ntitle = 'Faster links'\n[link.latency]\nvalue = 1\nunit = 'us'\nlow = 0.5\nhigh = 2\n\
                evidence = 'guess'\nsource = 'a plan'\n";
    let mine = Wafer::parse(text, "mine", "mine.toml").unwrap();
    assert_eq!(mine.title, "Faster links");
    for declared in DECLARATIONS {
        let (own, others) = (mine.figure(declared.key), base.figure(declared.key));
        match declared.path {
            "link.latency" => assert_eq!((own.value, own.source.as_str()), (1.0, "a plan")),
            path => assert_eq!(own, others, "{path}"),
        }
    }
    for (text, part) in [
        ("base = 'wse9'", "wse2, wse3"),
        ("base = 3", "is not a text"),
        ("base = 'wse3'\n[link.latncy]\nvalue = 1", "latncy"),
        ("base = 'wse3'\n[link.latency]\nvalue = 1", "link.latency"),
    ] {
        let error = Wafer::parse(text, "mine", "mine.toml").unwrap_err().to_string();
        assert!(error.starts_with("mine.toml") && error.contains(part), "{error}");
    }
}

/// Each fault takes a row, and where the rectangle has become a square rows and columns in turn; what is left is the
/// largest rectangle of all ways to take so many.
#[test]
fn faults_take_rows_and_columns() {
    let with = |faults: f64| {
        let mut wafer = Wafer::builtin("wse3").unwrap();
        wafer.set("fabric.faulty_pes", faults).map(|()| wafer)
    };
    let size = |wafer: &Wafer| (wafer.columns(), wafer.rows());
    assert_eq!(size(&with(0.0).unwrap()), (755, 1170));
    assert_eq!(size(&with(3.0).unwrap()), (755, 1167));
    for faults in [1_u32, 2, 414, 415, 416, 417, 1000, 1922, 1923] {
        let (columns, rows) = size(&with(f64::from(faults)).unwrap());
        let all = (0..=faults.min(754)).filter(|out| faults - out < 1170);
        let best = all.map(|out| u64::from(755 - out) * u64::from(1170 - (faults - out))).max();
        assert_eq!(Some(columns * rows), best, "{faults}");
    }
    for (faults, part) in [(1924.0, "at most 1923"), (-1.0, "out of range"), (0.5, "whole")] {
        let error = with(faults).unwrap_err().to_string();
        assert!(error.contains("fabric.faulty_pes") && error.contains(part), "{error}");
    }
    let text = |wafer: &Wafer| serde_json::to_string(wafer).unwrap();
    let built_in = Wafer::builtin("wse3").unwrap();
    assert_eq!(text(&with(0.0).unwrap()), text(&built_in), "what is not there changes no hash");
    assert_ne!(text(&with(1.0).unwrap()), text(&built_in));
}
