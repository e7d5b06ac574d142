//! The answer for people as a golden text, and for programs by its keys.

use serde_json::Value;
use wafersim_report::answer;

use crate::made_by_hand;

#[test]
fn the_text_says_everything() {
    let text = answer::text(&made_by_hand::answer(), &made_by_hand::wafer());
    assert!(text.lines().all(|line| line.len() <= 100 && line == line.trim_end()), "{text}");
    assert!(text.is_ascii());
    insta::assert_snapshot!("answer_text", text);
}

#[test]
fn the_verdict_names_the_clock_that_changes_it() {
    let mut asked = made_by_hand::answer();
    let nominal = answer::verdict(&asked, &made_by_hand::wafer());
    assert!(nominal.contains("the clock is the nominal 1.1 GHz"), "{nominal}");
    asked.verdict.clock_ghz = 0.9;
    asked.verdict.depends_on_clock = true;
    if let Some(ranges) = &mut asked.uncertainty {
        ranges.clock[1].reaches_target = true;
    }
    let verdict = answer::verdict(&asked, &made_by_hand::wafer()).replace('\n', " ");
    assert!(verdict.contains("the clock is 0.9 GHz as asked (nominal: 1.1 GHz)"), "{verdict}");
    assert!(verdict.contains("depends on it: at 1.1 GHz (550.0 tok/s) the target would be reached"), "{verdict}");
    asked.uncertainty = None;
    let verdict = answer::verdict(&asked, &made_by_hand::wafer());
    assert!(!verdict.contains("depends"), "not asked, not said: {verdict}");
}

#[test]
fn the_verdict_counts_the_profiles_that_reach_the_target() {
    let verdict = |speeds: &dyn Fn(&mut wafersim_answer::Answer)| {
        let mut asked = made_by_hand::answer();
        speeds(&mut asked);
        answer::verdict(&asked, &made_by_hand::wafer()).lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(verdict(&|_| {}), "It is reached under bound (2,150 tok/s).");
    assert_eq!(
        verdict(&|asked| asked.verdict.reachable_under.clear()),
        "Under no profile is it reached: even bound gives 2,150 tok/s."
    );
    assert_eq!(
        verdict(&|asked| asked.verdict.reachable_under = asked.profiles.keys().copied().collect()),
        "It is reached under all profiles."
    );
}

/// The keys that issue 2, item 8, asks for.
#[test]
fn the_json_has_the_promised_keys() {
    let json: Value = serde_json::from_str(&answer::json(&made_by_hand::answer()).unwrap()).unwrap();
    for key in [
        "/model",
        "/parameters/total",
        "/parameters/active",
        "/parameters/active_without_input_embedding",
        "/kv_bytes_per_token",
        "/wafer",
        "/wafers",
        "/users",
        "/context",
        "/profile",
        "/tokens_per_second_per_user",
        "/tokens_per_second_total",
        "/time_per_output_token_us",
        "/time_to_first_token_ms",
        "/max_users",
        "/verdict/target",
        "/verdict/reachable",
        "/verdict/margin",
        "/verdict/limit",
        "/profiles/waferllm/tokens_per_second_per_user",
        "/profiles/optimised/tokens_per_second_per_user",
        "/profiles/bound/tokens_per_second_per_user",
        "/breakdown/0/operator",
        "/breakdown/0/cycles",
        "/breakdown/0/share",
        "/breakdown/0/causes/compute",
        "/memory/per_pe_bytes/weights",
        "/memory/per_pe_bytes/kv_cache",
        "/memory/worst_pe",
        "/provenance/version",
        "/provenance/input_hash",
    ] {
        assert!(json.pointer(key).is_some_and(|value| !value.is_null()), "{key}");
    }
    assert_eq!(json["tokens_per_second_per_user"], 550.0);
    assert_eq!(json["profile"], "waferllm");
}
