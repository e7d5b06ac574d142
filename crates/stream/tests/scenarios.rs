//! Is whatever a user writes either refused with a reason, or run?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use wafersim_requests::TimeUnit;
use wafersim_stream::scenario::{LoadScenario, StreamFile};

const CHAT: &str = include_str!("../../../sim/scenarios/stream/chat.toml");
const AGENTS: &str = include_str!("../../../sim/scenarios/stream/coding-agents.toml");

#[test]
fn a_setting_is_changed_as_in_the_file() {
    let file = StreamFile::parse(CHAT, "chat.toml").unwrap();
    let changed = file.with("--set", "load.users", "3").unwrap();
    assert_eq!((changed.load.users, changed.load.think), (Some(3), file.load.think));
    let changed = file.with("--set", "service.policy", "first_come").unwrap();
    assert_ne!(changed.service.policy, file.service.policy);
    let changed = file.with("--set", "load.prompt.median", "7").unwrap();
    assert_eq!(changed.load.prompt.unwrap().median, 7);
    let changed = file.with("--set", "load.prompt", "{ median = 9 }").unwrap();
    assert_eq!(changed.load.prompt.unwrap().spread, 0.0);
    let changed = file.with("--set", "machine.wafer_parameters.link.latency", "3").unwrap();
    assert_eq!(changed.machine.wafer_parameters.entries(), [("link.latency".to_owned(), 3.0)]);
    assert_eq!(file.with("--set", "run.seed", "1").unwrap(), file);
}

#[test]
fn how_a_trace_is_read_is_a_setting_like_any_other() {
    let file = StreamFile::parse("[load]\nkind = 'trace'\nfile = 'x'\nrate = 2", "test").unwrap();
    let changed = file
        .with("--set", "load.format", "burstgpt")
        .and_then(|file| file.with("--set", "load.columns.prompt", "in"))
        .and_then(|file| file.with("--set", "load.time_unit", "ms"))
        .and_then(|file| file.with("--set", "load.sort", "true"))
        .unwrap();
    for (origin, text) in [
        ("19440000", "19440000"),
        ("12.5", "12.5"),
        ("first", "first"),
        ("2023-11-16 18:00:00", "2023-11-16T18:00:00"),
        ("'2023-11-16 18:00:00.5'", "2023-11-16 18:00:00.5"),
    ] {
        let LoadScenario::Trace(load) =
            changed.with("--set", "load.origin", origin).unwrap().check("test").unwrap().load
        else {
            panic!("a trace")
        };
        let reading = load.reading;
        assert_eq!((reading.format.name(), reading.columns.prompt.as_deref()), ("burstgpt", Some("in")));
        assert_eq!((reading.time_unit, reading.sort, reading.rate), (Some(TimeUnit::Ms), true, Some(2.0)));
        assert_eq!(reading.origin.as_deref(), Some(text));
    }
    let closed = StreamFile::parse("[load]\nsort = true", "test").unwrap().check("test").unwrap_err().to_string();
    assert!(closed.contains("load.sort") && closed.contains("with kind trace"), "{closed}");
}

#[test]
fn the_defaults_are_allowed_and_every_table_may_be_missing() {
    for text in ["", "[load]", "[load]\nkind = 'open'", "[load]\nkind = 'sessions'", "[service]\npolicy = 'chunked'"] {
        StreamFile::parse(text, "test").unwrap().check("test").unwrap();
    }
}

proptest! {
    /// No panic, whatever is written.
    #[test]
    fn mutated_scenarios_are_refused_or_checked(
        agents in any::<bool>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), ".{0,5}"), 0..4),
        digits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select("0123456789.-e".chars().collect::<Vec<_>>())), 0..6),
    ) {
        let routing = "[routing]\ngenerator = true\nwork = 'mixed'\nkinds_of_work = 3\n";
        let mut letters: Vec<char> = if agents { AGENTS } else { CHAT }.chars().chain(routing.chars()).collect();
        for (at, digit) in digits {
            let at = at.index(letters.len());
            letters[at] = digit;
        }
        for (from, length, with) in cuts {
            let from = from.index(letters.len());
            let to = (from + length.index(9)).min(letters.len());
            letters.splice(from..to, with.chars());
        }
        let text: String = letters.into_iter().collect();
        match StreamFile::parse(&text, "test").map(|file| file.check("test")) {
            Err(error) => prop_assert!(error.to_string().starts_with("test: ")),
            Ok(Err(error)) => prop_assert!(error.to_string().contains("allowed"), "{error}"),
            Ok(Ok(scenario)) => prop_assert!(scenario.window_seconds() > 0.0),
        }
    }

    /// Any path and value of `--set`.
    #[test]
    fn any_change_is_refused_or_made(path in "[a-z_.]{0,30}", value in ".{0,12}") {
        let file = StreamFile::parse(CHAT, "chat.toml").unwrap();
        if let Err(error) = file.with("--set", &path, &value) {
            prop_assert!(error.to_string().starts_with("--set"), "{error}");
        }
    }
}
