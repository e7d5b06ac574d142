//! A harder question gets no better answer. This pair did before mappings of harder questions were tried on easier
//! ones; docs/src/limits.md says how often random pairs still do.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use wafersim_answer::{Effort, Question, answer_without_ranges};
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
    let question = Question::load(scenario).unwrap().searching(Some(Effort::Normal));
    answer_without_ranges(&question).unwrap().profiles.programs[&Profile::Best].tokens_per_second_per_user
}

#[test]
fn less_memory_is_not_faster() {
    let easy = Asked { model: "qwen3-32b", wafers: 3, context: 8_005, users: 1, free_memory: None };
    let hard = Asked { free_memory: Some(41_000.0), ..easy };
    let (easy, hard) = (speed(&easy), speed(&hard));
    assert!(hard <= easy * (1.0 + 1e-9), "{hard} with less memory, {easy} with more");
}
