//! The recipe `best` keeps the model's equations on small models of several families; all built-in recipes do on every
//! family with `WAFERSIM_FAMILIES=all`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it")]

use wafersim_answer::{Question, best_mappings};
use wafersim_certify::{Limits, numbers_alone};
use wafersim_mapping::{Mapping, PartState, builtin};
use wafersim_spec::{Model, Scenario, Wafer};

/// One of each family and of each kind of attention and experts.
const MODELS: [&str; 12] = [
    "llama-3.1-8b",
    "qwen2-72b",
    "qwen3-8b",
    "qwen3-30b-a3b",
    "qwen3-next-80b-a3b",
    "mixtral-8x7b",
    "glm-4.5",
    "deepseek-v3",
    "gpt-oss-120b",
    "grok-1",
    "grok-2",
    "llama-4-scout-17b-16e",
];

/// Those of every run of the tests: dense, experts, a state, sinks and windows.
const USUAL: [&str; 4] = ["llama-3.1-8b", "qwen3-30b-a3b", "qwen3-next-80b-a3b", "gpt-oss-120b"];

#[test]
fn numbers_of_every_family_under_every_built_in_recipe() {
    let (all, mut wrong) = (std::env::var("WAFERSIM_FAMILIES").is_ok_and(|asked| asked == "all"), Vec::new());
    for model in MODELS {
        for recipe in builtin::names() {
            if !all && (recipe != "best" || !USUAL.contains(&model)) {
                continue;
            }
            let mapping = Mapping::from_name_or_path(recipe).unwrap();
            let scenario = Scenario { context: 2048, prompt: 2048, ..Scenario::default() };
            let (built_in, wafer) = (Model::builtin(model).unwrap(), Wafer::builtin("wse3").unwrap());
            let question = Question::new(scenario, built_in, wafer).unwrap().with_mapping(Some(mapping));
            let name = format!("{} by {recipe}", question.model.name);
            let Some(found) = best_mappings(&question).ok().and_then(|found| found.into_iter().next()) else {
                println!("{name}: does not fit, or cannot be written");
                continue;
            };
            let certificate = numbers_alone(&question, &found, &Limits::of(&question.wafer)).unwrap();
            for part in certificate.parts {
                println!("{name}: {} {:?} {}", part.subject, part.value, part.says);
                if part.state != PartState::Passed {
                    wrong.push(format!("{name}: {}: {}", part.subject, part.says));
                }
            }
            println!("  same: {}\n  scaled: {}", certificate.identical.join("; "), certificate.scaled.join("; "));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
