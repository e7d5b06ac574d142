//! The answer in ten lines.

use wafersim_answer::{Answer, Drawn, State};
use wafersim_spec::scenario::Profile;

use crate::certificate;
use crate::number::{NOTHING, duration, figure, plural, whole};
use crate::prefill;

/// Ten lines, each for itself: none is wrapped.
pub(super) fn text(answer: &Answer) -> String {
    let speed = |profile: Profile| {
        answer.profiles.get(&profile).map_or_else(|| NOTHING.into(), |said| figure(said.tokens_per_second_per_user))
    };
    let state = match answer.verdict.state {
        State::Reached => "REACHED",
        State::NotFound => "NOT FOUND",
        State::Excluded => "EXCLUDED",
    };
    let profiles =
        Profile::ALL.iter().map(|profile| format!("{profile} {}", speed(*profile))).collect::<Vec<_>>().join(", ");
    let unbeaten = figure(answer.profiles.no_mapping_beats.tokens_per_second_per_user);
    let range = answer.uncertainty.as_ref().map_or_else(
        || "not asked for (--ranges)".to_owned(),
        |ranges| match &ranges.sampled {
            Some(sampled) => {
                let speed = |at: &Drawn| figure(at.tokens_per_second_per_user);
                format!(
                    "{} to {} tok/s (p5 to p95), p50 {}",
                    speed(&sampled.p5),
                    speed(&sampled.p95),
                    speed(&sampled.p50)
                )
            }
            None => {
                let of = &ranges.tokens_per_second_per_user;
                format!("{} to {} tok/s with all that is uncertain slow or fast", figure(of.low), figure(of.high))
            }
        },
    );
    let load = &answer.load;
    [
        ("verdict", format!("{state}, target {} tok/s for each user", figure(answer.verdict.target))),
        ("each user", format!("{} tok/s (profile {})", figure(answer.tokens_per_second_per_user), answer.profile)),
        ("profiles", format!("{profiles}, no mapping beats {unbeaten}")),
        ("range", range),
        (
            "first token",
            format!(
                "{}, prompt of {}{}",
                duration(answer.time_to_first_token_ms * 1e-3),
                whole(load.prompt),
                answer.prefill.as_ref().map(|place| format!(", {}", prefill::place(place))).unwrap_or_default()
            ),
        ),
        ("limit", answer.verdict.limit.to_string()),
        ("machine", {
            let wafers = plural(u64::from(answer.wafers), &format!("{} wafer", answer.wafer));
            format!("{wafers} at {} GHz, {} of them used", answer.verdict.clock_ghz, load.wafers_used)
        }),
        (
            "model",
            format!("{}, weights {}, KV cache {}", answer.model, load.precision.weights, load.precision.kv_cache),
        ),
        ("users", {
            let (full, room) = (whole(answer.users_at_full_speed), whole(answer.max_users));
            format!("{} x {} tokens; full speed to {full}, room for {room}", whole(answer.users), whole(answer.context))
        }),
        ("certificate", certificate::state(&answer.certificate)),
    ]
    .map(|(label, words)| format!("{label:<12} {words}\n"))
    .concat()
}
