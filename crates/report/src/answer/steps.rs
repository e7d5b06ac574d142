//! The time of an output token from the published programs down to what no mapping beats, as a waterfall.

use wafersim_answer::Answer;
use wafersim_picture::{Waterfall, WaterfallRow};
use wafersim_spec::scenario::Profile;

use crate::number::{plural, whole};

/// Microseconds of an output token: of each profile, and of what nothing beats.
pub fn waterfall(answer: &Answer) -> Waterfall {
    let profiles = &answer.profiles;
    let said = |profile: Profile| profiles.get(&profile).map(|said| said.time_per_output_token_us);
    let times = [
        ("published", said(Profile::Published)),
        ("best", said(Profile::Best)),
        ("on ideal hardware", said(Profile::Ideal)),
        ("no mapping beats, measured rate", Some(profiles.no_mapping_beats_at_measured_rate.time_per_output_token_us)),
        ("no mapping beats", Some(profiles.no_mapping_beats.time_per_output_token_us)),
    ];
    let rows = times.into_iter().filter_map(|(name, time)| {
        Some(WaterfallRow { name: name.into(), value: time.filter(|time| time.is_finite())?, is_total: true })
    });
    let wafers = plural(u64::from(answer.wafers), "wafer");
    Waterfall {
        title: format!("{} on {wafers} ({}): time of an output token", answer.model, answer.wafer),
        caption: vec![format!(
            "{}, {} tokens of context; profile {}: {} us are the target's time.",
            plural(answer.users, "user"),
            whole(answer.context),
            answer.profile,
            crate::number::figure(1e6 / answer.verdict.target)
        )],
        axis: "us per output token".into(),
        is_more_better: false,
        rows: rows.collect(),
    }
}
