//! Is the closed form's load, event by event, the closed form where it must be?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wafersim_answer::rows::Rows;
use wafersim_answer::{Pace, Question, answer_one_profile};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{ACCEPTANCE_PRESETS, Acceptance, ExpertPlacement, Profile, Speculation, Verification};
use wafersim_stream::StreamError;
use wafersim_stream::steady::{Steady, steady, steady_each};

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

/// A full pipeline gives what the closed form says. Whole micro-batches that all are full: within 1 %. Where the last
/// one is not full (65 users in micro-batches of 2), users join whoever goes next, and are up to 2.5 % faster (100
/// users: 2.02 %).
#[test]
fn a_full_pipeline_is_the_closed_forms() {
    for (model, users, context, within) in [
        ("qwen3-coder-480b-a35b", 64, 2048, 0.01),
        ("qwen3-coder-480b-a35b", 128, 2048, 0.01),
        ("llama-3.1-8b", 64, 2048, 0.01),
        ("llama-3.1-8b", 65, 2048, 0.02),
        ("llama-3.1-8b", 100, 2048, 0.025),
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

fn speculation(acceptance: Acceptance, verification: Verification) -> Speculation {
    Speculation { draft_length: 4, acceptance, verification, ..Speculation::default() }
}

/// With speculation, accepted drafts are drawn: the mean over the run is the closed form's. One user's step is the
/// closed form to the nanosecond in both ways of verifying.
#[test]
fn one_user_with_drafts_is_the_closed_form() {
    let list = Acceptance::Positions(vec![0.81, 0.73, 0.68, 0.65]);
    for (model, verification, draft_model) in [
        ("llama-3.1-8b", Verification::Stream, None),
        ("llama-3.1-8b", Verification::MicroBatch, None),
        ("qwen3-coder-480b-a35b", Verification::Stream, None),
        ("qwen3-coder-480b-a35b", Verification::Faster, Some("qwen3-8b")),
    ] {
        let mut asked = scenario(model, 1, 2048);
        asked.speculation =
            Speculation { draft_model: draft_model.map(str::to_owned), ..speculation(list.clone(), verification) };
        let question = Question::load(asked).unwrap();
        let answer = answer_one_profile(&question).unwrap();
        let run = steady(question, 1).unwrap();
        let expected = answer.time_per_output_token_us * answer.load.tokens_per_step * 1e3;
        let parts = run.step_parts;
        let got = (parts.service + parts.draft) * 1e9;
        assert!((got - expected).abs() < 0.5, "{model} {verification}: {got} ns against {expected} ns");
        assert_eq!((parts.stage, parts.links, parts.prefill, parts.room), (0.0, 0.0, 0.0, 0.0));
        let total = run.tokens_per_second_total / run.closed_form_total;
        assert!((total - 1.0).abs() < 0.01, "{model} {verification}: {total}");
        assert!((run.closed_form_per_user / answer.tokens_per_second_per_user - 1.0).abs() < 1e-12);
        assert!(parts.draft > 0.0);
    }
}

/// Under load each token of a stream takes its place: within what is held without speculation.
#[test]
fn drafts_under_load_are_the_closed_forms() {
    let list = Acceptance::Preset(&ACCEPTANCE_PRESETS[0]);
    for (model, users, verification, within) in [
        ("llama-3.1-8b", 8, Verification::Stream, 0.01),
        ("llama-3.1-8b", 8, Verification::MicroBatch, 0.01),
        // Six micro-batches of ten and one of four, which the closed form takes for full.
        ("llama-3.1-8b", 64, Verification::Stream, 0.05),
        ("llama-3.1-8b", 64, Verification::MicroBatch, 0.01),
        ("llama-3.1-8b", 128, Verification::Faster, 0.01),
        ("qwen3-coder-480b-a35b", 64, Verification::Stream, 0.01),
        ("qwen3-coder-480b-a35b", 64, Verification::MicroBatch, 0.01),
    ] {
        let asked = Scenario { speculation: speculation(list.clone(), verification), ..scenario(model, users, 2048) };
        let question = Question::load(asked).unwrap();
        let answer = answer_one_profile(&question).unwrap();
        let run = steady(question, 1).unwrap();
        let total = run.tokens_per_second_total / answer.tokens_per_second_total;
        assert!(
            (total - 1.0).abs() < within,
            "{model}, {users} users, {verification}: {total} of the closed form in all"
        );
    }
}

/// A draft model's own line is another limit: 256 users wait for their drafts.
#[test]
fn many_users_wait_for_one_draft_model() {
    let mut asked = scenario("qwen3-coder-480b-a35b", 256, 2048);
    asked.speculation = Speculation {
        draft_model: Some("qwen3-8b".into()),
        ..speculation(Acceptance::Constant(0.8), Verification::Stream)
    };
    let question = Question::load(asked).unwrap();
    let answer = answer_one_profile(&question).unwrap();
    let run = steady(question, 1).unwrap();
    let total = run.tokens_per_second_total / answer.tokens_per_second_total;
    assert_eq!(answer.load.pace, Pace::DraftStage);
    assert!((total - 1.0).abs() < 0.02, "{total}");
}

#[test]
fn rows_keep_their_order_and_their_bytes_for_any_number_of_threads() {
    let base = Question::load(scenario("llama-3.1-8b", 1, 2048)).unwrap();
    let scenarios: Vec<Option<Scenario>> = [Some(1), None, Some(10), Some(64)]
        .map(|users| users.map(|users| scenario("llama-3.1-8b", users, 2048)))
        .into();
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let rows = Rows::none_known(&|_, _: &Option<Steady>| Ok::<(), StreamError>(()));
        pool.install(|| steady_each(&base, scenarios.clone(), 1, &rows)).unwrap()
    };
    let runs = run(1);
    assert_eq!(
        runs.iter().map(|run| run.as_ref().map(|run| run.users)).collect::<Vec<_>>(),
        [Some(1), None, Some(10), Some(64)]
    );
    assert_eq!(runs, run(4));
}
