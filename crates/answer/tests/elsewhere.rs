//! Prompts that are computed elsewhere: what the first token is made of, and what it does when something is slower.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use wafersim_answer::invariants::of_answer;
use wafersim_answer::{Answer, AnswerError, Question, answer, answer_without_ranges};
use wafersim_spec::scenario::{Prefill, PrefillPlace, Profile, WaferCount};
use wafersim_spec::{Model, Scenario, Wafer};

const MODELS: [&str; 5] =
    ["qwen3-coder-480b-a35b", "llama-3.1-8b", "gpt-oss-120b", "deepseek-v3", "qwen3-next-80b-a3b"];

fn scenario(prefill: Prefill) -> Scenario {
    Scenario { context: 8192, prompt: 8192, prefill, ..Scenario::default() }
}

fn question(model: &str, scenario: Scenario) -> Question {
    Question::new(scenario, Model::builtin(model).unwrap(), Wafer::builtin("wse3").unwrap()).unwrap()
}

fn asked(model: &str, prefill: Prefill) -> Answer {
    let answer = answer_without_ranges(&question(model, scenario(prefill))).unwrap();
    assert_eq!(of_answer(&answer), Vec::new());
    answer
}

fn others() -> Prefill {
    Prefill { place: PrefillPlace::OtherWafers, ..Prefill::default() }
}

fn external(tokens_per_second: f64) -> Prefill {
    let tokens_per_second = Some(tokens_per_second);
    Prefill { place: PrefillPlace::External, tokens_per_second, ..Prefill::default() }
}

fn near(one: f64, other: f64) -> bool {
    (one / other - 1.0).abs() < 1e-9
}

/// As many wafers that are arranged alike take for the prompt what those that decode do; then come the way and a step.
#[test]
fn other_wafers_add_the_way_and_a_step() {
    for model in MODELS {
        let (here, there) = (asked(model, Prefill::default()), asked(model, others()));
        let prefill = there.prefill.as_ref().unwrap();
        assert!(near(prefill.prompt_time_ms, here.time_to_first_token_ms), "{model}");
        let sum = prefill.prompt_time_ms + prefill.transfer_time_ms + prefill.decode_time_ms;
        assert!(near(there.time_to_first_token_ms, sum), "{model}");
        // One user, whose context is the prompt.
        assert!(near(prefill.decode_time_ms * 1e3, here.time_per_output_token_us), "{model}");
        assert!(near(prefill.transfer_time_ms, prefill.kv_bytes.0 as f64 / 150e9 * 1e3), "{model}");
        assert_eq!(prefill.wafers, there.load.wafers_used, "{model}");
        assert_eq!(there.systems(), there.wafers + prefill.wafers, "{model}");
        assert_eq!(there.tokens_per_second_per_user, here.tokens_per_second_per_user, "{model}");
        let overlapped = prefill.overlapped_time_to_first_token_ms;
        let longest = prefill.prompt_time_ms.max(prefill.transfer_time_ms) + prefill.decode_time_ms;
        assert!(longest < overlapped && overlapped < there.time_to_first_token_ms, "{model}");
    }
}

/// The bytes that cross are those that the cache of one user takes: of layers with windows their windows, of latent
/// attention its latents. States of linear attention lie padded to the places that hold them.
#[test]
fn what_crosses_is_what_the_cache_holds() {
    for model in MODELS {
        let answer = asked(model, others());
        let (crossed, held) = (answer.prefill.as_ref().unwrap().kv_bytes, answer.memory.total_bytes.kv_cache);
        let states = Model::builtin(model).unwrap().state_bytes_per_user(&Scenario::default().precision).0;
        assert!(crossed <= held && held.0 - crossed.0 <= 2 * states, "{model}: {crossed:?} of {held:?}");
    }
    let of = |model: &str, before, until| {
        Model::builtin(model).unwrap().kv_bytes_between(before, until, &Scenario::default().precision).0
    };
    // Half of the layers of gpt-oss see 128 tokens; all of Llama's see everything.
    assert_eq!(of("llama-3.1-8b", 1000, 3000), 2 * of("llama-3.1-8b", 0, 1000));
    let (window, all) = (of("gpt-oss-120b", 0, 128), of("gpt-oss-120b", 0, 8192));
    assert_eq!(all, window / 2 * 64 + window / 2);
    // A state crosses as a whole.
    let step = of("qwen3-next-80b-a3b", 1, 2) - of("qwen3-next-80b-a3b", 0, 0);
    let state = Model::builtin("qwen3-next-80b-a3b").unwrap().state_bytes_per_user(&Scenario::default().precision).0;
    assert!(state > 0 && step > state);
}

/// Slower ways and rates never give an earlier first token; at once, they give decode's own.
#[test]
fn what_is_slower_is_never_earlier() {
    let first = |prefill| asked("llama-3.1-8b", prefill).time_to_first_token_ms;
    let ways = [1e18, 1e12, 1e11, 1e9, 1e6].map(|bandwidth| first(Prefill { bandwidth: Some(bandwidth), ..others() }));
    assert!(ways.is_sorted_by(|one, other| one < other), "{ways:?}");
    let rates = [1e12, 1e6, 1e5, 1e3].map(|rate| first(external(rate)));
    assert!(rates.is_sorted_by(|one, other| one < other), "{rates:?}");
    let at_once = asked("llama-3.1-8b", Prefill { bandwidth: Some(1e18), ..external(1e12) });
    let own = at_once.time_per_output_token_us * 1e-3;
    assert!((at_once.time_to_first_token_ms / own - 1.0).abs() < 1e-3);
    // 8,192 tokens at 100,000 a second, for every profile.
    let external = asked("llama-3.1-8b", external(1e5));
    for profile in Profile::ALL {
        let said = external.profiles.get(profile).unwrap();
        assert!(near(said.prefill.as_ref().unwrap().prompt_time_ms, 81.92), "{profile}");
    }
    assert_eq!(external.systems(), external.wafers);
}

/// Other wafers in another number take for the prompt what an answer on so many wafers says.
#[test]
fn another_number_of_wafers_is_arranged_for_itself() {
    for wafers in [18, 24] {
        let there = asked("qwen3-coder-480b-a35b", Prefill { wafers: Some(wafers), ..others() });
        let alone = Scenario { wafers: WaferCount::Exactly(wafers), ..scenario(Prefill::default()) };
        let alone = answer_without_ranges(&question("qwen3-coder-480b-a35b", alone)).unwrap();
        let prefill = there.prefill.as_ref().unwrap();
        assert_eq!(prefill.wafers, wafers);
        for profile in Profile::ALL {
            let said = there.profiles.get(profile).unwrap().prefill.as_ref().unwrap();
            assert!(
                near(said.prompt_time_ms, alone.profiles.get(profile).unwrap().time_to_first_token_ms),
                "{profile}"
            );
        }
        assert!(near(prefill.prompt_time_ms, alone.time_to_first_token_ms));
    }
    let few = question("qwen3-coder-480b-a35b", scenario(Prefill { wafers: Some(3), ..others() }));
    let error = answer_without_ranges(&few).unwrap_err();
    assert!(matches!(error, AnswerError::Prefill { .. }) && error.to_string().contains("prefill.wafers"), "{error}");
}

/// The range of the first token begins where keys and values cross meanwhile, and all else is fast.
#[test]
fn overlapping_is_the_low_end() {
    let slow_way = Prefill { bandwidth: Some(2e10), ..others() };
    let answer = answer(&question("llama-3.1-8b", scenario(slow_way))).unwrap();
    let prefill = answer.prefill.as_ref().unwrap();
    let range = answer.uncertainty.as_ref().unwrap().time_to_first_token_ms;
    assert!(range.low <= prefill.overlapped_time_to_first_token_ms, "{range:?}");
    assert!(range.low < answer.time_to_first_token_ms && answer.time_to_first_token_ms < range.high, "{range:?}");
}

/// "same" is the default, in the answer and in its hash.
#[test]
fn the_same_wafers_say_nothing_of_it() {
    let said = asked("llama-3.1-8b", Prefill { place: PrefillPlace::Same, ..Prefill::default() });
    assert_eq!((said.prefill.as_ref(), said.wafers_in_all), (None, None));
    let hash = |prefill| question("llama-3.1-8b", scenario(prefill)).input_hash();
    assert_ne!(hash(others()), hash(Prefill::default()));
    let text = serde_json::to_string(&scenario(Prefill::default())).unwrap();
    assert!(!text.contains("prefill"), "{text}");
}
