//! Is the closed form's load, event by event, the closed form where it must be?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wafersim_answer::{Question, answer_one_profile};
use wafersim_spec::scenario::{ExpertPlacement, Profile};
use wafersim_spec::{Model, Scenario, Wafer};
use wafersim_stream::steady::{steady, steady_each};

fn scenario(model: &str, users: u64, context: u64) -> Scenario {
    Scenario { model: model.into(), users, context, prompt: context, ..Scenario::default() }
}

/// One user: every step takes what `simctl run` says, to the nanosecond, whatever the context.
#[test]
fn one_user_is_the_closed_form_to_the_nanosecond() {
    let clustered = Scenario {
        placement: ExpertPlacement::Clustered,
        profile: Profile::Best,
        ..scenario("qwen3-coder-480b-a35b", 1, 16_384)
    };
    for scenario in [
        scenario("qwen3-coder-480b-a35b", 1, 8192),
        clustered,
        scenario("gpt-oss-120b", 1, 5000),
        scenario("llama-3.1-8b", 1, 32_768),
        scenario("llama-3.1-8b", 1, 1),
    ] {
        let question = Question::load(scenario).unwrap();
        let answer = answer_one_profile(&question).unwrap();
        let run = steady(question, 1).unwrap();
        let expected = answer.time_per_output_token_us * 1e3;
        let parts = run.step_parts;
        // A histogram tells nanoseconds apart up to 2 us only; the mean of what a step is made of is exact.
        let got = (parts.service + parts.draft) * 1e9;
        assert!((got - expected).abs() < 0.5, "{}: {got} ns against {expected} ns", answer.model);
        assert!((run.between_steps.mean * 1e9 - expected).abs() < 1.0);
        assert_eq!((parts.stage, parts.links, parts.prefill, parts.room), (0.0, 0.0, 0.0, 0.0));
        assert!((run.closed_form_per_user / answer.tokens_per_second_per_user - 1.0).abs() < 1e-12);
        assert!(run.deviation_percent().abs() < 0.1);
    }
}

/// A full pipeline gives what the closed form says. Whole micro-batches that all are full: within 1 %. Where the last one is not
/// full (65 users in micro-batches of 2), users join whoever goes next, and are up to 2 % faster.
#[test]
fn a_full_pipeline_is_the_closed_forms() {
    for (model, users, context, within) in [
        ("qwen3-coder-480b-a35b", 64, 2048, 0.01),
        ("qwen3-coder-480b-a35b", 128, 2048, 0.01),
        ("llama-3.1-8b", 64, 2048, 0.01),
        ("llama-3.1-8b", 65, 2048, 0.02),
        ("llama-3.1-8b", 100, 2048, 0.01),
        ("llama-3.1-8b", 256, 32_768, 0.01),
    ] {
        let question = Question::load(scenario(model, users, context)).unwrap();
        let answer = answer_one_profile(&question).unwrap();
        let run = steady(question, 1).unwrap();
        let total = run.tokens_per_second_total / answer.tokens_per_second_total;
        let median = run.user_speed.p50 / answer.tokens_per_second_per_user;
        assert!((total - 1.0).abs() < within, "{model}, {users} users: {total} of the closed form in all");
        assert!((median - 1.0).abs() < within, "{model}, {users} users: {median} of the closed form each");
        assert!(run.user_speed.p5 <= run.user_speed.p50 && run.user_speed.p50 <= run.user_speed.p95);
    }
}

/// With speculation, accepted drafts are drawn: the mean over the run is the closed form's.
#[test]
fn drafts_are_accepted_as_often_as_the_closed_form_says() {
    let mut asked = scenario("llama-3.1-8b", 8, 2048);
    (asked.speculation.draft_length, asked.speculation.acceptance) = (4, 0.8);
    let run = steady(Question::load(asked).unwrap(), 1).unwrap();
    let total = run.tokens_per_second_total / run.closed_form_total;
    assert!((total - 1.0).abs() < 0.01, "{total}");
    assert!(run.step_parts.draft > 0.0);
}

#[test]
fn rows_keep_their_order_and_their_bytes_for_any_number_of_threads() {
    let (model, wafer) = (Model::builtin("llama-3.1-8b").unwrap(), Wafer::builtin("wse3").unwrap());
    let scenarios: Vec<Option<Scenario>> = [Some(1), None, Some(10), Some(64)]
        .map(|users| users.map(|users| scenario("llama-3.1-8b", users, 2048)))
        .into();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| steady_each(scenarios.clone(), &model, &wafer, 1, || ())).unwrap()
    };
    let runs = run(1);
    assert_eq!(
        runs.iter().map(|run| run.as_ref().map(|run| run.users)).collect::<Vec<_>>(),
        [Some(1), None, Some(10), Some(64)]
    );
    assert_eq!(runs, run(4));
}
