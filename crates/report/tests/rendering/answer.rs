//! The answer for people as a golden text, and for programs by its keys.

use serde_json::Value;
use wafersim_answer::{Estimator, Sampled, State};
use wafersim_report::answer;
use wafersim_spec::scenario::Profile;

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
    let nominal = answer::verdict(&asked, &made_by_hand::wafer()).replace('\n', " ");
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
fn the_verdict_says_what_the_other_profiles_give() {
    let verdict = |change: &dyn Fn(&mut wafersim_answer::Answer)| {
        let mut asked = made_by_hand::answer();
        change(&mut asked);
        answer::verdict(&asked, &made_by_hand::wafer()).replace('\n', " ")
    };
    let published = verdict(&|_| {});
    assert!(published.starts_with("NOT FOUND: with the published programs (profile published), "), "{published}");
    assert!(
        published.contains("72 % below the target of 2,000; best gives 801.0 tok/s; what is below 6,000 tok/s is"),
        "{published}"
    );
    assert!(
        published.contains("On ideal hardware these programs would give 2,150 tok/s. No mapping at all beats 6,000")
    );
    let excluded = verdict(&|asked| {
        asked.verdict.state = State::Excluded;
        asked.verdict.target = 7000.0;
    });
    assert!(
        excluded.starts_with("EXCLUDED: no mapping beats 6,000 tok/s, and the target is 7,000; with the published")
    );
    let reached = verdict(&|asked| {
        asked.profile = Profile::Best;
        asked.verdict.state = State::Reached;
        asked.verdict.margin = 0.1;
    });
    assert!(reached.starts_with("REACHED: with the best programs known (profile best), "), "{reached}");
    assert!(reached.contains("; published gives 550.0 tok/s, which does not reach it."), "{reached}");
    let ideal = verdict(&|asked| asked.profile = Profile::Ideal);
    assert!(
        ideal.contains(
            "; best gives 801.0 tok/s; published gives 550.0 tok/s; what is below 6,000 tok/s is not excluded."
        ),
        "{ideal}"
    );
    assert!(!ideal.contains("On ideal hardware these"), "{ideal}");
}

#[test]
fn draws_are_said_with_their_chance_and_what_causes_them() {
    let said = |probability: f64, change: &dyn Fn(&mut Sampled)| {
        let mut asked = made_by_hand::answer();
        let mut sampled = made_by_hand::sampled(probability);
        change(&mut sampled);
        asked.uncertainty.as_mut().unwrap().sampled = Some(sampled);
        let text = answer::text(&asked, &made_by_hand::wafer());
        assert!(text.is_ascii() && text.lines().all(|line| line.len() <= 100 && line == line.trim_end()), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (text, words)
    };
    let (text, words) = said(0.12, &|_| ());
    insta::assert_snapshot!("answer_with_draws", text);
    assert!(words.contains("over all that is not known it is reached in 12 % of 200 draws (standard error 2.3 %)."));
    let (_, none) = said(0.0, &|_| ());
    assert!(none.contains("it is reached in none of 200 draws (less than 1.5 %)."), "{none}");
    let (_, all) = said(1.0, &|sampled| sampled.samples = 1000);
    assert!(all.contains("it is reached in all of 1,000 draws (but for less than 0.3 %)."), "{all}");
    let (_, exchange) = said(0.5, &|sampled| {
        sampled.shares.estimator = Estimator::Exchange { runs: 4200 };
        sampled.shares.together = 1.06;
    });
    assert!(
        exchange.contains("all together 106 % (more than the whole by 6.0 %, an error of the estimate)"),
        "{exchange}"
    );
    assert!(exchange.contains("by exchange of inputs between draws, 4,200 runs more"), "{exchange}");
    let (_, nothing) = said(0.5, &|sampled| sampled.shares.estimator = Estimator::Nothing);
    assert!(nothing.contains("variance nothing moves the speed;"), "{nothing}");
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
        "/users_at_full_speed",
        "/max_users",
        "/verdict/target",
        "/verdict/state",
        "/verdict/margin",
        "/verdict/limit/cause",
        "/verdict/limit/operator",
        "/verdict/limit/share",
        "/profiles/published/tokens_per_second_per_user",
        "/profiles/best/tokens_per_second_per_user",
        "/profiles/ideal/tokens_per_second_per_user",
        "/profiles/no_mapping_beats/tokens_per_second_per_user",
        "/profiles/no_mapping_beats_at_measured_rate/tokens_per_second_per_user",
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
    assert_eq!(json["profile"], "published");
    assert_eq!(
        (&json["verdict"]["state"], &json["verdict"]["limit"]["cause"]),
        (&"not_found".into(), &"compute".into())
    );
}
