//! The generator of random recipes: each decision takes each of its values, and none is a built-in recipe with one
//! edit.

use std::collections::{BTreeMap, BTreeSet};

use wafersim_mapping::random::{FEWEST_EDITS, decisions, edits};
use wafersim_mapping::{OPERATORS, PARTS, Recipe, Rewrite, Stored, builtin, random_recipe_for};

use crate::common::{inputs, tiny, wse3};

const DRAWS: u64 = 200;

/// Kinds of reductions; parts of lines have the first three.
const KINDS: [&str; 4] = ["tree", "chain", "reduce_scatter", "split_roots"];

fn drawn() -> Vec<Recipe> {
    let (model, wafer) = (tiny(), wse3());
    let mut inputs = inputs(&model, &wafer);
    inputs.load.users = 8;
    (0..DRAWS).map(|seed| random_recipe_for(seed, inputs).unwrap()).collect()
}

/// The class of a value: of a size, of groups or of a root its kind.
fn class(value: &str) -> String {
    let kind = match value {
        _ if value.parse::<u64>().is_ok() => "number",
        _ if value.ends_with('%') => "share",
        _ if value.starts_with('/') => "divisor",
        _ if value.starts_with('[') => "list",
        word => word,
    };
    kind.into()
}

#[test]
fn each_decision_takes_each_of_its_values() {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for recipe in drawn() {
        for (name, value) in decisions(&recipe) {
            // What is said of one operator may be said of any; likewise of roles.
            let name = match name.split_once("operators.").or_else(|| name.split_once("rectangles.")) {
                Some((_, rest)) => {
                    let field = rest.rsplit('.').next().unwrap_or("");
                    let table = if name.starts_with("rectangles") { "rectangles" } else { "operators" };
                    let operator = rest.trim_end_matches(field).trim_end_matches('.');
                    seen.entry(format!("{table} named")).or_default().insert(operator.to_owned());
                    format!("{table}.{field}")
                }
                None => match name.strip_prefix("stored.roles.") {
                    Some(role) => {
                        seen.entry("roles named".into()).or_default().insert(role.to_owned());
                        "stored.roles".into()
                    }
                    None => name,
                },
            };
            seen.entry(name).or_default().insert(class(&value));
        }
    }
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<String>>();
    let sizes = words(&["auto", "number", "share", "divisor"]);
    let mut expected: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let both = words(&["true", "false"]);
    for rewrite in Rewrite::ALL {
        expected.insert(format!("rewrites.{rewrite}"), both.clone());
    }
    for name in ["overlap.conversion", "overlap.independent"] {
        expected.insert(name.into(), both.clone());
    }
    for name in ["division.slots", "division.columns", "division.rows", "division.layers_per_slot", "micro_batch"] {
        expected.insert(name.into(), sizes.clone());
    }
    for name in ["heads_per_block", "head_copies", "dimension_split", "sequence_split"] {
        expected.insert(format!("kv.{name}"), sizes.clone());
    }
    for name in ["x", "y", "columns", "rows"] {
        expected.insert(format!("rectangles.{name}"), sizes.clone());
    }
    for line in ["reductions.x", "reductions.y", "reductions.parts", "operators"] {
        let of_parts = line == "reductions.parts";
        let kinds: &[&str] = if of_parts { &KINDS[..3] } else { &KINDS };
        expected.insert(format!("{line}.kind"), words(kinds));
        expected.insert(format!("{line}.groups"), words(&["square_root", "number", "list"]));
        expected.insert(format!("{line}.root"), words(&["middle", "number"]));
        if !of_parts {
            expected.insert(format!("{line}.roots"), words(&["number"]));
        }
    }
    let widths = words(&["checkpoint", "wide", "fit"]);
    for (name, values) in [
        ("routes", words(&["changed", "static"])),
        ("draft", words(&["faster", "micro_batch", "stream"])),
        ("division.fill", words(&["slot", "tight"])),
        ("division.order", words(&["same", "turning"])),
        ("kv.append", words(&["shifted", "round_robin"])),
        ("experts.strategy", words(wafersim_spec::scenario::ExpertPlacement::NAMES)),
        ("experts.sharing", sizes.clone()),
        ("experts.spare", sizes),
        ("stored.default", widths.clone()),
        ("stored.roles", widths),
        ("roles named", Stored::ROLES.iter().map(|role| role.name().to_owned()).collect()),
    ] {
        expected.insert(name.into(), values);
    }
    let with_line = OPERATORS.iter().filter(|operator| operator.line.is_some());
    expected.insert("operators named".into(), with_line.map(|operator| operator.name.to_owned()).collect());
    expected.insert("rectangles named".into(), PARTS.iter().map(|part| part.name.to_owned()).collect());
    for (name, values) in &expected {
        assert_eq!(seen.get(name), Some(values), "{name}");
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
}

#[test]
fn none_is_within_one_edit_of_a_built_in_recipe() {
    let shipped: Vec<Recipe> = builtin::names().map(|name| Recipe::builtin(name).unwrap()).collect();
    for recipe in drawn() {
        for known in &shipped {
            assert!(edits(known, &recipe) >= FEWEST_EDITS && FEWEST_EDITS > 1, "{} from {}", recipe.name, known.name);
        }
    }
}

#[test]
fn the_same_seed_draws_the_same_recipe_and_edits_are_counted() {
    assert_eq!(drawn()[..20], drawn()[..20]);
    let published = Recipe::builtin("published").unwrap();
    assert_eq!(edits(&published, &published), 0);
    assert_eq!(edits(&published, &Recipe::builtin("static-routes").unwrap()), 1);
}
