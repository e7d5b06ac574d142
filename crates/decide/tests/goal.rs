//! Laws of goals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use wafersim_answer::{Question, answer_one_profile};
use wafersim_decide::goal::{Asked, Goal, Side, Value, goal, paths};
use wafersim_spec::Scenario;

/// A small model without a search, for speed.
fn asked(target: f64, vary: &[&str]) -> Goal {
    let scenario =
        Scenario { model: "llama-3.1-8b".into(), context: 4096, prompt: 4096, target, ..Scenario::default() };
    let vary = vary.iter().map(|path| (*path).to_owned()).collect();
    goal(&Question::load(scenario).unwrap(), &Asked { vary, fix: Vec::new() }, &|_, _| ()).unwrap()
}

const SOME: &[&str] = &["wafer.fabric", "wafer.clock", "wafer.link", "context", "speculation", "precision"];

#[test]
fn a_harder_target_never_needs_less() {
    let now = asked(1.0, &["users"]).current;
    let goals = [1.1, 1.3, 2.0].map(|times| asked(times * now, SOME));
    for pair in goals.windows(2) {
        let [easier, harder] = pair else { unreachable!() };
        assert_eq!((easier.side, harder.side), (Side::Reach, Side::Reach));
        for hard in harder.levers.iter().filter(|lever| lever.reached) {
            let easy = easier.levers.iter().find(|lever| lever.path == hard.path).unwrap();
            assert!(easy.reached, "{}", hard.path);
            if let (Some(easy), Some(hard)) = (easy.octaves, hard.octaves) {
                assert!(easy <= hard + 1e-6, "{easy} {hard}");
            }
        }
        assert!(
            harder.levers.iter().filter(|lever| lever.reached).count()
                <= easier.levers.iter().filter(|lever| lever.reached).count()
        );
    }
}

#[test]
fn a_value_reaches_the_target_and_hardly_less_does_not() {
    let now = asked(1.0, &["users"]).current;
    let found = asked(1.2 * now, &["wafer.clock", "wafer.fabric.hop_latency"]);
    let speed = |path: &str, value: f64| {
        let overrides = vec![(path.strip_prefix("wafer.").unwrap().to_owned(), value)];
        let scenario = Scenario { wafer_overrides: overrides, ..found.scenario.clone() };
        answer_one_profile(&Question::load(scenario).unwrap()).unwrap().tokens_per_second_per_user
    };
    let mut seen = 0;
    for lever in found.levers.iter().filter(|lever| lever.reached) {
        let (Some(Value::Real(value)), Value::Real(is)) = (&lever.value, &lever.current) else { panic!("{lever:?}") };
        assert!(speed(&lever.path, *value) >= found.target * (1.0 - 1e-9), "{lever:?}");
        let short = is + 0.98 * (value - is);
        assert!(speed(&lever.path, short) < found.target, "{lever:?}");
        seen += 1;
    }
    assert!(seen >= 1, "the clock alone does");
}

#[test]
fn where_the_target_is_reached_it_is_said_how_far_things_may_go() {
    let now = asked(1.0, &["users"]).current;
    let found = asked(0.8 * now, &["wafer.clock", "context", "users"]);
    assert_eq!((found.side, found.reached), (Side::Lose, true));
    let clock = found.levers.iter().find(|lever| lever.path == "wafer.clock.frequency").unwrap();
    let value = clock.value.as_ref().and_then(Value::number).unwrap();
    assert!((0.8..1.1).contains(&value), "links do not slow down with the clock: {value}");
    assert!(found.pairs.is_empty());
}

#[test]
fn pairs_are_cheaper_than_either_alone() {
    let now = asked(1.0, &["users"]).current;
    let found = asked(1.5 * now, SOME);
    for pair in &found.pairs {
        assert!(pair.speed >= found.target * (1.0 - 1e-9), "{pair:?}");
        for part in &pair.levers {
            let alone = found.levers.iter().find(|lever| lever.path == part.path).unwrap();
            assert!(alone.octaves.is_none_or(|octaves| octaves > pair.octaves), "{pair:?}");
        }
    }
    assert!(found.pairs.windows(2).all(|pair| pair[0].octaves <= pair[1].octaves));
}

#[test]
fn what_is_no_lever_is_refused() {
    let scenario = Scenario { model: "llama-3.1-8b".into(), context: 4096, ..Scenario::default() };
    let question = Question::load(scenario).unwrap();
    let wrong = Asked { vary: vec!["wafer.fabric.hop_latncy".into()], fix: Vec::new() };
    let error = goal(&question, &wrong, &|_, _| ()).unwrap_err().to_string();
    assert!(error.contains("wafer.fabric.hop_latency"), "{error}");
    assert!(paths().iter().all(|path| !path.contains("system.")), "money moves no time");
}
