//! A harder question gets no better answer. This pair did before mappings of harder questions were tried on easier
//! ones; docs/src/limits.md says how often random pairs still do.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use wafersim_answer::{Effort, Question, answer_one_profile, answer_without_ranges, fewer_at_once};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Profile, WaferCount};

struct Asked {
    model: &'static str,
    wafers: u32,
    context: u64,
    users: u64,
    free_memory: Option<f64>,
}

fn speed(asked: &Asked) -> f64 {
    let Asked { model, wafers, context, users, free_memory } = asked;
    let scenario = Scenario {
        model: (*model).to_owned(),
        wafers: WaferCount::Exactly(*wafers),
        context: *context,
        users: *users,
        prompt: 1,
        wafer_overrides: free_memory.map(|free| ("pe.free_memory".to_owned(), free)).into_iter().collect(),
        ..Scenario::default()
    };
    let question = Question::load(scenario).unwrap().searching(Some(Effort::Quick));
    answer_without_ranges(&question).unwrap().profiles.programs[&Profile::Best].tokens_per_second_per_user
}

#[test]
fn less_memory_is_not_faster() {
    let easy = Asked { model: "qwen3-32b", wafers: 3, context: 8_005, users: 1, free_memory: None };
    let hard = Asked { free_memory: Some(41_000.0), ..easy };
    let (easy, hard) = (speed(&easy), speed(&hard));
    assert!(hard <= easy * (1.0 + 1e-9), "{hard} with less memory, {easy} with more");
}

#[test]
fn fewer_users_at_once_make_more_past_a_memory_cliff() {
    let asked = |users| {
        let wafers = WaferCount::Exactly(1);
        let (model, context) = ("llama-3.1-8b".into(), 1024);
        let scenario = Scenario { model, wafers, context, users, prompt: 1, ..Scenario::default() };
        Question::load(scenario).unwrap().searching(Some(Effort::Quick))
    };
    let of = |users| {
        let question = asked(users);
        let answer = answer_one_profile(&question).unwrap();
        let fewer = fewer_at_once(&question, &answer, &|question| question);
        (answer.tokens_per_second_total, fewer)
    };
    let (total, fewer) = of(190);
    let fewer = fewer.unwrap();
    assert!(fewer.users < 190 && fewer.tokens_per_second_total > total, "{fewer:?}, {total}");
    // Asked for by themselves they get the same.
    let (alone, _) = of(fewer.users);
    assert!((alone / fewer.tokens_per_second_total - 1.0).abs() < 1e-12, "{alone}, {fewer:?}");
    assert_eq!(of(4).1, None, "two users make less than four");
}
