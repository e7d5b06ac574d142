//! Answers by a mapping that was given.

use wafersim_answer::{Pipeline, Question, answer_without_ranges, resolved_mapping};
use wafersim_mapping::{Mapping, Recipe, builtin};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{ExpertPlacement, Profile, Speculation, Verification, WaferCount};

fn question(model: &str, change: impl FnOnce(&mut Scenario)) -> Question {
    let mut scenario =
        Scenario { model: model.into(), context: 4096, prompt: 512, default_placement: true, ..Scenario::default() };
    scenario.profile = Profile::Best;
    change(&mut scenario);
    Question::load(scenario).expect("a question")
}

fn recipe(name: &str) -> Option<Mapping> {
    Some(Mapping::Recipe(Box::new(Recipe::builtin(name).expect("it is built in"))))
}

#[test]
fn published_stays_as_it_is_and_the_others_work_by_the_mapping() {
    for model in ["llama-3.1-8b", "qwen3-30b-a3b"] {
        let plain = question(model, |_| ());
        let without = answer_without_ranges(&plain).unwrap();
        for name in builtin::names() {
            let with = answer_without_ranges(&plain.clone().with_mapping(recipe(name))).unwrap();
            assert_eq!(with.profiles[&Profile::Published], without.profiles[&Profile::Published], "{name}");
            let speed = |profile| with.profiles[&profile].tokens_per_second_per_user;
            assert!(speed(Profile::Ideal) > speed(Profile::Best), "{name}");
            assert_eq!(with.provenance.mapping.as_deref(), Some(name));
            assert_ne!(with.provenance.input_hash, without.provenance.input_hash);
            println!("{model} {name} {}", speed(Profile::Best));
        }
    }
}

/// The published recipe under profile `best` is what `published` works by.
#[test]
fn the_published_recipe_is_that_of_the_published_profile() {
    for model in ["llama-3.1-8b", "qwen3-30b-a3b"] {
        let with = answer_without_ranges(&question(model, |_| ()).with_mapping(recipe("published"))).unwrap();
        assert_eq!(with.profiles[&Profile::Best], with.profiles[&Profile::Published], "{model}");
    }
}

/// Without a mapping, `best` works by the recipe of that name or the published one, whichever is faster.
#[test]
fn without_a_mapping_the_best_that_is_known_answers() {
    for model in ["llama-3.1-8b", "qwen3-30b-a3b"] {
        let asked = question(model, |scenario| scenario.wafers = WaferCount::Exactly(2));
        let speed = |asked: Question| answer_without_ranges(&asked).unwrap().tokens_per_second_per_user;
        let by = |name| speed(asked.clone().with_mapping(recipe(name)));
        assert_eq!(speed(asked.clone()), by("best").max(by("published")), "{model}");
    }
}

#[test]
fn a_saved_mapping_answers_as_its_recipe_did() {
    for (model, name, users) in
        [("llama-3.1-8b", "best", 1), ("qwen3-30b-a3b", "many-users", 64), ("qwen3-30b-a3b", "interleaved", 1)]
    {
        let asked = question(model, |scenario| scenario.users = users).with_mapping(recipe(name));
        let first = answer_without_ranges(&asked).unwrap();
        let saved = resolved_mapping(&asked).unwrap();
        let text = saved.to_toml();
        let read = Mapping::parse(&text, "saved.toml").unwrap();
        assert_eq!(read.to_toml(), text);
        let again = question(model, |scenario| scenario.users = users).with_mapping(Some(read));
        let second = answer_without_ranges(&again).unwrap();
        for profile in [Profile::Published, Profile::Best] {
            assert_eq!(
                second.profiles[&profile].time_per_output_token_us, first.profiles[&profile].time_per_output_token_us,
                "{name}"
            );
        }
        assert_eq!(second.memory, first.memory);
        assert_eq!(resolved_mapping(&again).unwrap().to_toml(), text);
        // Other inputs are refused, by name.
        let other = question(model, |scenario| (scenario.users, scenario.context) = (users, 2048));
        let error = answer_without_ranges(&other.with_mapping(again.mapping.clone())).unwrap_err();
        assert!(error.to_string().contains("another load"), "{error}");
    }
}

#[test]
fn every_profile_has_a_mapping_to_save() {
    assert_eq!(resolved_mapping(&question("llama-3.1-8b", |_| ())).unwrap().name, "best");
    let published = question("llama-3.1-8b", |scenario| scenario.profile = Profile::Published);
    assert_eq!(resolved_mapping(&published).unwrap().name, "published");
}

#[test]
fn a_placement_of_the_scenario_pins_the_experts() {
    let pinned = |placement, default_placement| {
        let asked = question("qwen3-30b-a3b", |scenario| {
            (scenario.placement, scenario.default_placement) = (placement, default_placement);
        });
        let saved = resolved_mapping(&asked.with_mapping(recipe("many-users"))).unwrap();
        saved.kinds[0].mapping.experts.as_ref().unwrap().strategy.unwrap()
    };
    assert_eq!(pinned(ExpertPlacement::Spread, true), ExpertPlacement::Clustered);
    for strategy in ExpertPlacement::ALL {
        assert_eq!(pinned(*strategy, false), *strategy);
    }
    // A resolved mapping has its own.
    let asked = question("qwen3-30b-a3b", |_| ()).with_mapping(recipe("many-users"));
    let saved = Some(Mapping::Resolved(Box::new(resolved_mapping(&asked).unwrap())));
    let other = question("qwen3-30b-a3b", |scenario| {
        (scenario.placement, scenario.default_placement) = (ExpertPlacement::Spread, false);
    });
    let error = answer_without_ranges(&other.with_mapping(saved)).unwrap_err().to_string();
    assert!(error.contains("experts.strategy is clustered: spread, as the scenario asks"), "{error}");
}

#[test]
fn a_draft_is_verified_as_the_mapping_says() {
    let asked = |name: &str, verification| {
        let asked = question("llama-3.1-8b", |scenario| {
            scenario.speculation = Speculation { draft_length: 4, verification, ..Speculation::default() };
        });
        answer_without_ranges(&asked.with_mapping(recipe(name))).unwrap().load.verification.unwrap()
    };
    use wafersim_answer::Verified;
    assert_eq!(asked("many-users", Verification::Faster), Verified::MicroBatch);
    assert_eq!(asked("many-users", Verification::Stream), Verified::Stream);
    assert_eq!(asked("best", Verification::Faster), Verified::Stream);
}

#[test]
fn a_pipeline_works_by_the_mapping() {
    let asked = question("qwen3-30b-a3b", |scenario| scenario.wafers = WaferCount::Exactly(2));
    let by = |name| Pipeline::new(asked.clone().with_mapping(recipe(name)), None).unwrap();
    let (best, static_routes) = (by("best"), by("static-routes"));
    let pass = |pipeline: &Pipeline| pipeline.decode(1, 4096, None).latency();
    assert!(pass(&best).0 < pass(&static_routes).0 && pass(&best).0.is_finite());
    let chunk = best.prefill_chunk(256, 0).latency().0;
    assert!(chunk > 0.0 && chunk.is_finite());
    assert_eq!(best.mapped().layers[0].rewrites, Recipe::builtin("best").unwrap().rewrites);
}

/// What is built in runs on the default question, for one user and for many: colors and memory suffice.
#[test]
fn every_built_in_recipe_answers_for_one_user_and_for_many() {
    for (model, users) in [("qwen3-coder-480b-a35b", 1), ("qwen3-coder-480b-a35b", 32), ("glm-4.5", 1)] {
        for name in builtin::names() {
            let asked = question(model, |scenario| (scenario.users, scenario.context) = (users, 32768));
            let answer = answer_without_ranges(&asked.with_mapping(recipe(name)));
            let answer = answer.unwrap_or_else(|error| panic!("{name}, {model}, {users} users: {error}"));
            println!("{model}, {users}, {name}: {}", answer.profiles[&Profile::Best].tokens_per_second_per_user);
        }
    }
}

#[test]
fn a_mapping_that_was_saved_with_drafts_answers_them() {
    let asked = || question("llama-3.1-8b", |scenario| scenario.speculation.draft_length = 4);
    let first = asked().with_mapping(recipe("best"));
    let saved = Mapping::Resolved(Box::new(resolved_mapping(&first).unwrap()));
    let times = [first, asked().with_mapping(Some(saved))].map(|question| {
        let answer = answer_without_ranges(&question).unwrap();
        answer.profiles[&Profile::Best].time_per_output_token_us
    });
    assert_eq!(times[0], times[1]);
}
