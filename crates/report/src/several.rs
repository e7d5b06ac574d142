//! What stands beside an answer or a plan: several machines of it, and one wafer whose weights are streamed.

use serde::Serialize;
use wafersim_decide::money::Ranged;
use wafersim_decide::several::Several;
use wafersim_decide::weight_streaming::WeightStreaming;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{duration, figure, plural, whole};
use crate::paragraph::{heading, labelled, wrapped};

/// A JSON object with one more key at its end.
///
/// # Errors
/// Where the text is no JSON object as this crate writes them.
pub fn with_key(body: &str, key: &str, value: &impl Serialize) -> Result<String, ReportError> {
    let no_object =
        || ReportError::Format { format: "JSON", reason: "a key goes into an object of its own lines".into() };
    let front = body.strip_suffix("\n}\n").ok_or_else(no_object)?;
    let value = pretty(value)?.trim_end().replace('\n', "\n  ");
    Ok(format!("{front},\n  \"{key}\": {value}\n}}\n"))
}

/// The section on several machines, a line for each row of a plan; of a run there is one.
pub fn machines(all: &[Several]) -> String {
    let Some(first) = all.first() else { return String::new() };
    let mut grid = Grid::new(
        ["wafers each", "users each", "wafers", "users", "tok/s in all", "kW", "USD/h", "USD/M tokens"]
            .map(|title| (title, Side::Right)),
    );
    for one in all {
        grid.row([
            whole(one.each.wafers),
            whole(one.each.users),
            whole(one.wafers),
            whole(one.users),
            figure(one.tokens_per_second),
            figure(one.facility_kw.value),
            figure(one.usd_per_hour.value),
            figure(one.usd_per_million.value),
        ]);
    }
    let mut text = heading(&plural(first.machines, "machine"));
    text.push_str(&grid.text());
    let [kw, usd, token] = [first.facility_kw, first.usd_per_hour, first.usd_per_million];
    let range = |ranged: Ranged| format!("{} to {}", figure(ranged.low), figure(ranged.high));
    text.push_str(&labelled(
        "ranges",
        &format!(
            "of the first row: {} kW, {} USD/h, {} USD/M tokens; kW as rated; prices are those of the wafer file (system.*), \
             none published (simctl cost)",
            range(kw),
            range(usd),
            range(token)
        ),
    ));
    text
}

/// The section on weight streaming.
pub fn weight_streaming(streaming: &WeightStreaming) -> String {
    let mut text = heading("One wafer with its weights streamed, in place of those that hold them");
    text.push_str(&wrapped(
        "  ",
        &format!(
            "A pass moves {} GB at {} GB/s; the wafer holds keys and values of {} beside two layers.",
            figure(streaming.weight_bytes as f64 * 1e-9),
            figure(streaming.bandwidth_gb_s),
            plural(streaming.most_users, "user")
        ),
    ));
    text.push('\n');
    if streaming.passes.is_empty() {
        text.push_str("  no user's keys and values fit beside two layers of weights\n");
        return text;
    }
    let titles = ["users", "weights arrive in", "compute", "tok/s of each", "tok/s in all", "at the best"];
    let mut grid = Grid::new(titles.map(|title| (title, Side::Right)));
    for pass in &streaming.passes {
        grid.row([
            whole(pass.users),
            duration(pass.streaming_s.value),
            duration(pass.compute_s.value),
            figure(pass.tokens_per_second_per_user.value),
            figure(pass.tokens_per_second.value),
            figure(pass.tokens_per_second_per_user.high),
        ]);
    }
    text.push_str(&grid.text());
    text.push_str(&labelled(
        "beside it",
        &format!(
            "{} hold all weights: {} tok/s for each user; for as much with one user, streaming would need {} GB/s; with {} \
             users, moving and computing would take as long",
            plural(u64::from(streaming.resident_wafers), "wafer"),
            figure(streaming.resident_tokens_per_second_per_user),
            figure(streaming.bandwidth_for_resident_gb_s),
            whole(streaming.balanced_users.ceil() as u64),
        ),
    ));
    text.push_str(&labelled(
        "how",
        "a pass takes as long as its weights or its compute, whichever is longer; at the best only the matrices that the \
         users' tokens use are moved, and all users are computed at once. No program for it is written: a guess with two \
         ends",
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_to_the_end() {
        let with = with_key("{\n  \"a\": 1\n}\n", "b", &serde_json::json!({ "c": [1] })).unwrap();
        assert_eq!(with, "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": [\n      1\n    ]\n  }\n}\n");
        assert!(with_key("[]", "b", &1).is_err());
    }
}
