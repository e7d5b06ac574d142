//! Speculative decoding: what must hold whatever the numbers are, and figures that were worked out by hand.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use wafersim_answer::{Answer, AnswerError, Pace, Pipeline, Question, Verified, answer_one_profile};
use wafersim_spec::scenario::{Acceptance, Profile, Speculation, Verification, WaferCount};
use wafersim_spec::{Bytes, Model, Scenario};

fn question(change: impl FnOnce(&mut Scenario)) -> Question {
    let mut scenario = Scenario { context: 8192, prompt: 8192, ..Scenario::default() };
    change(&mut scenario);
    Question::load(scenario).unwrap()
}

fn ask(change: impl FnOnce(&mut Scenario)) -> Answer {
    answer_one_profile(&question(change)).unwrap()
}

fn draft(draft_length: u32, acceptance: f64, verification: Verification) -> Speculation {
    Speculation { draft_length, acceptance: Acceptance::Constant(acceptance), verification, ..Speculation::default() }
}

/// A draft of 4 at 0.9 and the usual cost, one user at 32k: a step takes the pass, four times the slowest stage and a
/// fifth of a pass for the draft, and gives (1 - 0.9^5) / (1 - 0.9) tokens.
#[test]
fn a_draft_of_four_at_nine_of_ten_is_three_times_the_plain_speed() {
    let at = |speculation: Speculation| ask(|scenario| *scenario = Scenario { speculation, ..Scenario::default() });
    let (plain, streamed) = (at(Speculation::default()), at(draft(4, 0.9, Verification::Faster)));
    assert_eq!(streamed.load.verification, Some(Verified::Stream));
    let said = &streamed.profiles[&streamed.profile];
    let tokens = (1.0 - 0.9f64.powi(5)) / (1.0 - 0.9);
    let step = said.latency_us + 4.0 * said.slowest_stage_us + 4.0 * 0.05 * said.latency_us;
    assert!((streamed.load.tokens_per_step - tokens).abs() < 1e-12);
    assert!((streamed.time_per_output_token_us * tokens / step - 1.0).abs() < 1e-12);
    let gain = streamed.tokens_per_second_per_user / plain.tokens_per_second_per_user;
    assert!((gain / streamed.load.draft_gain.unwrap() - 1.0).abs() < 1e-12);
    assert!((3.1..3.3).contains(&gain), "{gain}");
    // As a micro-batch it is half of that at most: what five tokens keep does not fit beside the weights in every
    // mapping.
    let together = at(draft(4, 0.9, Verification::MicroBatch));
    assert_eq!(together.load.verification, Some(Verified::MicroBatch));
    assert!(together.load.draft_gain.unwrap() < gain / 2.0, "{:?}", together.load.draft_gain);
}

/// Under load each of the k + 1 tokens takes its place in the pipeline, and the draft holds up its user, not the
/// pipeline.
#[test]
fn a_full_pipeline_gives_a_step_in_the_times_of_its_tokens() {
    for users in [8, 64, 200] {
        let streamed = ask(|scenario| {
            scenario.users = users;
            scenario.speculation = draft(4, 0.8, Verification::Stream);
        });
        let said = &streamed.profiles[&streamed.profile];
        let load = &streamed.load;
        let step = said.latency_us + 4.0 * said.slowest_stage_us + load.draft_time_us.unwrap();
        let full = load.in_flight as f64 * 5.0 * said.slowest_stage_us;
        let period = streamed.time_per_output_token_us * load.tokens_per_step;
        assert!((period / step.max(full) - 1.0).abs() < 1e-12, "{users}");
        assert_eq!(load.pace, if full > step { Pace::SlowestStage } else { Pace::Latency }, "{users}");
        assert_eq!(said.full_pipeline_users > users, full < step, "{users}");
    }
}

/// With twice the users than fill the pipeline, a draft that is verified token by token cannot give more than a token
/// for each place that it takes: it costs more than it gives, and says so.
#[test]
fn a_draft_can_cost_more_than_it_gives() {
    let full = ask(|scenario| {
        scenario.users = 128;
        scenario.context = 2048;
        scenario.speculation = draft(4, 0.5, Verification::Stream);
    });
    assert!(full.load.draft_gain.unwrap() < 0.75, "{:?}", full.load.draft_gain);
    let alone = ask(|scenario| scenario.speculation = draft(4, 0.0, Verification::Faster));
    assert!(alone.load.draft_gain.unwrap() < 1.0);
    assert_eq!(ask(|_| ()).load.draft_gain, None);
}

#[test]
fn a_draft_of_nothing_is_no_speculation() {
    let plain = ask(|_| ());
    let mut nothing = ask(|scenario| {
        scenario.speculation =
            Speculation { draft_model: Some("qwen3-8b".into()), ..draft(0, 0.9, Verification::Stream) };
    });
    assert_eq!(nothing.profiles, plain.profiles);
    nothing.load.speculation = plain.load.speculation.clone();
    assert_eq!((nothing.load, nothing.memory), (plain.load, plain.memory));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn drafts_keep_their_laws(
        model in prop::sample::select(vec!["qwen3-coder-480b-a35b", "llama-3.1-8b", "gpt-oss-120b", "deepseek-v3"]),
        (users, context) in (prop_oneof![Just(1u64), 1u64..200], 1u64..32_000),
        positions in prop::collection::vec((0.0f64..=1.0, 0.0f64..=1.0), 1..7),
        (cost, profile) in (0.0f64..0.5, 0usize..3),
    ) {
        let placed = answer_one_profile(&question(|scenario| {
            (scenario.model, scenario.users, scenario.context) = (model.into(), users, context);
            scenario.speculation = draft(positions.len() as u32, 0.5, Verification::MicroBatch);
        }));
        // What no number of wafers holds says so.
        prop_assume!(placed.is_ok());
        let wafers = placed.unwrap().wafers;
        let speed = |acceptance: Vec<f64>, verification| {
            ask(|scenario| {
                (scenario.model, scenario.users, scenario.context) = (model.into(), users, context);
                // All ways on the same wafers.
                (scenario.profile, scenario.wafers) = (Profile::ALL[profile], WaferCount::Exactly(wafers));
                scenario.speculation = Speculation {
                    draft_length: acceptance.len() as u32,
                    acceptance: Acceptance::Positions(acceptance),
                    draft_cost: Some(cost),
                    verification,
                    ..Speculation::default()
                };
            })
        };
        let low: Vec<f64> = positions.iter().map(|(one, other)| one.min(*other)).collect();
        let high: Vec<f64> = positions.iter().map(|(one, other)| one.max(*other)).collect();
        let slower = |a: &Answer, b: &Answer| a.tokens_per_second_per_user < b.tokens_per_second_per_user * (1.0 - 1e-12);
        let (worse, better) = (speed(low, Verification::Faster), speed(high.clone(), Verification::Faster));
        prop_assert!(!slower(&better, &worse), "a better acceptance is never slower");
        let most = positions.len() as f64 + 1.0;
        prop_assert!((1.0..=most).contains(&better.load.tokens_per_step));
        for way in [Verification::Stream, Verification::MicroBatch] {
            prop_assert!(!slower(&better, &speed(high.clone(), way)), "the faster way is not slower than {way}");
        }
        prop_assert!(better.max_users >= users);
    }
}

/// A draft model's bytes are placed: with them there are more wafers, or less free room, and its time is that of its
/// passes.
#[test]
fn a_draft_model_takes_room_and_its_own_time() {
    let with = |model: Option<&str>, wafers| {
        ask(|scenario| {
            scenario.wafers = wafers;
            scenario.speculation =
                Speculation { draft_model: model.map(str::to_owned), ..draft(4, 0.8, Verification::Faster) };
        })
    };
    let without = with(None, WaferCount::Auto);
    let beside = with(Some("qwen3-8b"), WaferCount::Auto);
    let placed = beside.memory.draft.clone().unwrap();
    let model = Model::builtin("qwen3-8b").unwrap();
    assert_eq!((placed.model.as_str(), placed.parameters), ("qwen3-8b", model.parameters().total));
    // A byte a parameter; and the cache of its own.
    assert!((placed.bytes.weights.0 as f64 / model.parameters().total as f64 - 1.0).abs() < 0.01);
    assert_eq!(placed.bytes.kv_cache, Bytes(model.kv_bytes_per_token(&beside.load.precision).0 * 8192));
    assert_eq!(beside.memory.total_bytes.weights.0 - placed.bytes.weights.0, without.memory.total_bytes.weights.0);
    assert!(beside.wafers > without.wafers || beside.memory.empty_slots < without.memory.empty_slots);
    assert_eq!(beside.load.wafers_used, placed.first_wafer + placed.wafers);
    // Its own passes count, not the usual cost; a cost that is given does.
    assert_ne!(beside.load.draft_time_us, without.load.draft_time_us);
    let given = ask(|scenario| {
        scenario.speculation = Speculation {
            draft_model: Some("qwen3-8b".into()),
            draft_cost: Some(0.05),
            ..draft(4, 0.8, Verification::Faster)
        };
    });
    assert_eq!(given.load.draft_time_us, without.load.draft_time_us);
    // On the wafers that it needs it fits, on fewer it says what it needs.
    let exactly = with(Some("qwen3-8b"), WaferCount::Exactly(beside.wafers));
    assert!(exactly.tokens_per_second_per_user >= beside.tokens_per_second_per_user * (1.0 - 1e-12));
    let refused = answer_one_profile(&question(|scenario| {
        scenario.wafers = WaferCount::Exactly(without.wafers);
        scenario.speculation =
            Speculation { draft_model: Some("llama-3.3-70b".into()), ..draft(4, 0.8, Verification::Faster) };
    }))
    .unwrap_err();
    let AnswerError::DraftDoesNotFit { needed, .. } = &refused else { panic!("{refused}") };
    let large = with(Some("llama-3.3-70b"), WaferCount::Auto);
    assert_eq!(large.wafers, *needed);
}

/// The users that wafers hold with a draft model do fit, and one more does not.
#[test]
fn users_beside_a_draft_model_are_counted_with_its_cache() {
    let at = |users: u64, model: Option<&str>| {
        question(|scenario| {
            (scenario.users, scenario.wafers) = (users, WaferCount::Exactly(20));
            scenario.speculation =
                Speculation { draft_model: model.map(str::to_owned), ..draft(2, 0.8, Verification::Stream) };
        })
    };
    let most = |model| answer_one_profile(&at(1, model)).unwrap().max_users;
    let (alone, beside) = (most(None), most(Some("llama-3.3-70b")));
    assert!(beside > 1 && beside < alone, "{beside} {alone}");
    assert!(answer_one_profile(&at(beside, Some("llama-3.3-70b"))).is_ok());
    assert!(answer_one_profile(&at(beside + 1, Some("llama-3.3-70b"))).is_err());
}

/// Layers for multi-token prediction are the checkpoint's own draft model.
#[test]
fn a_checkpoint_brings_its_draft_model() {
    let asked = |model: &str| Scenario {
        model: model.into(),
        context: 4096,
        prompt: 4096,
        speculation: Speculation { draft_model: Some("mtp".into()), ..draft(1, 0.87, Verification::Faster) },
        ..Scenario::default()
    };
    let answer = answer_one_profile(&Question::load(asked("deepseek-v3")).unwrap()).unwrap();
    let placed = answer.memory.draft.unwrap();
    assert_eq!(placed.model, "deepseek-v3 (mtp)");
    assert!(placed.parameters > 13_000_000_000);
    assert!(answer.load.draft_gain.unwrap() > 1.4, "{:?}", answer.load.draft_gain);
    let refused = Question::load(asked("qwen3-coder-480b-a35b")).unwrap_err().to_string();
    assert!(refused.contains("num_nextn_predict_layers"), "{refused}");
}

/// What a discrete-event engine takes from the closed form is the closed form.
#[test]
fn a_pipeline_has_the_steps_of_an_answer() {
    for (model, verification) in
        [(None, Verification::Stream), (None, Verification::MicroBatch), (Some("qwen3-8b"), Verification::Stream)]
    {
        let question = question(|scenario| {
            scenario.speculation = Speculation { draft_model: model.map(str::to_owned), ..draft(3, 0.8, verification) };
        });
        let answer = answer_one_profile(&question).unwrap();
        let pipeline = Pipeline::new(question, None).unwrap();
        let step = pipeline.step(8192).microseconds(pipeline.clock());
        let expected = answer.time_per_output_token_us * answer.load.tokens_per_step;
        assert!((step / expected - 1.0).abs() < 1e-9, "{model:?} {verification}");
        let given = Pipeline::new(pipeline.question().clone(), Some(1)).unwrap();
        assert!((given.step(8192).0 / pipeline.step(8192).0 - 1.0).abs() < 0.1, "{model:?} {verification}");
    }
}
