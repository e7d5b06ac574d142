//! Are the stations of a pipeline the closed form, cut into pieces?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wafersim_answer::{Pipeline, Question, answer_one_profile};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{ExpertPlacement, Profile, WaferCount};

fn question(model: &str, users: u64, context: u64, profile: Profile, placement: ExpertPlacement) -> Question {
    let scenario = Scenario {
        model: model.into(),
        users,
        context,
        prompt: context,
        profile,
        placement,
        wafers: WaferCount::Auto,
        ..Scenario::default()
    };
    Question::load(scenario).unwrap()
}

fn same(one: f64, other: f64) {
    assert!((one / other - 1.0).abs() < 1e-12, "{one} against {other}");
}

#[test]
fn transits_add_up_to_the_latency_and_the_longest_occupancy_is_the_slowest_stage() {
    for (model, users, profile, placement) in [
        ("qwen3-coder-480b-a35b", 1, Profile::Published, ExpertPlacement::Spread),
        ("qwen3-coder-480b-a35b", 8, Profile::Best, ExpertPlacement::Clustered),
        ("llama-3.1-8b", 4, Profile::Ideal, ExpertPlacement::Spread),
        ("gpt-oss-120b", 2, Profile::Published, ExpertPlacement::Spread),
    ] {
        let question = question(model, users, 8192, profile, placement);
        let answer = answer_one_profile(&question).unwrap();
        let pipeline = Pipeline::new(question, None).unwrap();
        assert_eq!(pipeline.micro_batch(), answer.load.micro_batch);
        let said = &answer.profiles[&profile];
        let pass = pipeline.decode(pipeline.micro_batch(), 8192, None);
        assert_eq!(pass.stations.len(), pipeline.stations().len());
        same(pass.latency().microseconds(pipeline.clock()), said.latency_us);
        same(pass.slowest().microseconds(pipeline.clock()), said.slowest_stage_us);
    }
}

#[test]
fn between_two_steps_of_the_context_nothing_changes() {
    let question = question("qwen3-coder-480b-a35b", 1, 32_768, Profile::Published, ExpertPlacement::Spread);
    let pipeline = Pipeline::new(question, None).unwrap();
    let steps = pipeline.context_steps(32_768);
    assert!(steps.len() > 2);
    for pair in steps.windows(2) {
        let first = pipeline.decode(1, pair[0], None);
        assert_eq!(first, pipeline.decode(1, pair[1] - 1, None));
        assert_ne!(first, pipeline.decode(1, pair[1], None));
    }
}

#[test]
fn the_room_holds_the_users_that_it_was_placed_for() {
    for (model, users) in [("qwen3-coder-480b-a35b", 3), ("gpt-oss-120b", 5)] {
        let question = question(model, users, 16_384, Profile::Published, ExpertPlacement::Spread);
        let pipeline = Pipeline::new(question, None).unwrap();
        let room = pipeline.kv_room();
        let tokens: Vec<u64> = room.reaches.iter().map(|reach| reach.visible(16_384) * users).collect();
        assert!(room.holds(&tokens), "{model}");
        let beyond: Vec<u64> = tokens.iter().map(|count| count * 1000).collect();
        assert!(!room.holds(&beyond), "{model}");
    }
}
