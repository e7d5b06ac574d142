//! No mapping beats the bound: not the published one, not the best that is known, not on ideal hardware, not one drawn
//! at random. Where one does, one of the two is wrong.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use wafersim_answer::{Answer, Question, State, answer_without_ranges};
use wafersim_mapping::Mapping;
use wafersim_mapping::random::random_recipe_for;
use wafersim_spec::scenario::{Profile, Speculation, WaferCount};
use wafersim_spec::{Model, Scenario, Wafer};

fn question(model: &str, context: u64, change: impl Fn(&mut Scenario)) -> Question {
    let mut scenario = Scenario { model: model.into(), context, prompt: context, ..Scenario::default() };
    change(&mut scenario);
    Question::new(scenario, Model::builtin(model).unwrap(), Wafer::builtin("wse3").unwrap()).unwrap()
}

/// The share of the bound that the best programs have. Programs at the rates of silicon are held to the bound at the
/// measured rate, those on ideal hardware to the one at peak.
fn held(name: &str, answer: &Answer) -> f64 {
    let profiles = &answer.profiles;
    let (peak, measured) = (&profiles.no_mapping_beats, &profiles.no_mapping_beats_at_measured_rate);
    for (profile, said) in profiles {
        let bound = if *profile == Profile::Ideal { peak } else { measured };
        let (found, bound) = (said.tokens_per_second_per_user, bound.tokens_per_second_per_user);
        assert!(found <= bound, "{name}, {profile}: {found} beats {bound}");
    }
    profiles[&Profile::Best].tokens_per_second_per_user / measured.tokens_per_second_per_user
}

const CASES: &[(&str, &[u64])] = &[
    ("qwen3-coder-480b-a35b", &[1024, 32_768]),
    ("llama-3.1-8b", &[256, 16_384]),
    ("qwen3-32b", &[1024, 32_768]),
    ("gpt-oss-120b", &[512, 65_536]),
    ("deepseek-v3", &[1024]),
    ("llama-4-scout-17b-16e", &[4096]),
    ("glm-4.6", &[2048]),
];

#[test]
fn no_profile_beats_the_bound() {
    for (model, contexts) in CASES {
        for context in *contexts {
            for users in [1, 12] {
                let asked = question(model, *context, |scenario| scenario.users = users);
                let share = held(model, &answer_without_ranges(&asked).unwrap());
                assert!((0.0001..1.0).contains(&share), "{model} {context} {users}: {share}");
            }
        }
    }
}

#[test]
fn no_draft_beats_the_bound() {
    for (length, accepted) in [(1, 1.9), (4, 4.9), (16, 12.0)] {
        let speculation = Speculation {
            draft_length: length,
            accepted_length: Some(accepted),
            draft_cost: Some(0.0),
            ..Speculation::default()
        };
        for (model, context) in [("llama-3.1-8b", 1024), ("qwen3-coder-480b-a35b", 8192)] {
            let asked = question(model, context, |scenario| scenario.speculation = speculation.clone());
            held(model, &answer_without_ranges(&asked).unwrap());
        }
    }
}

#[test]
fn no_mapping_drawn_at_random_beats_the_bound() {
    let cases = [("llama-3.1-8b", 2048), ("qwen3-30b-a3b", 8192), ("qwen3-32b", 1024), ("gpt-oss-120b", 4096)];
    let mut answered = 0;
    for seed in 0..36 {
        let (model, context) = cases[seed as usize % cases.len()];
        let asked = question(model, context, |scenario| scenario.wafers = WaferCount::Exactly(6));
        let Some(recipe) = random_recipe_for(seed, asked.inputs()) else { continue };
        let asked = asked.with_mapping(Some(Mapping::Recipe(Box::new(recipe))));
        // What a recipe demands may not fit the routers.
        let Ok(answer) = answer_without_ranges(&asked) else { continue };
        held(&format!("{model}, random mapping {seed}"), &answer);
        answered += 1;
    }
    assert!(answered >= 12, "only {answered} could be answered");
}

#[test]
fn a_target_is_reached_not_found_or_excluded() {
    let at = |target: f64| {
        answer_without_ranges(&question("llama-3.1-8b", 1024, |scenario| scenario.target = target)).unwrap()
    };
    let answer = at(100.0);
    assert_eq!(answer.verdict.state, State::Reached);
    let unbeaten = answer.profiles.no_mapping_beats.tokens_per_second_per_user;
    assert_eq!(at(unbeaten * 0.99).verdict.state, State::NotFound);
    assert_eq!(at(unbeaten * 1.01).verdict.state, State::Excluded);
    assert!(!at(unbeaten * 1.01).profiles.no_mapping_beats.reaches_target);
}
