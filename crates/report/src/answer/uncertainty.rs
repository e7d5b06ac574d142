//! How the answer moves with what is not known.

use wafersim_answer::{Answer, Uncertainty};
use wafersim_spec::Bytes;
use wafersim_spec::wafer::{DECLARATIONS, Evidence};

use crate::grid::{Grid, Side};
use crate::number::{figure, plural, users, whole};
use crate::paragraph::{heading, labelled, wrapped};

/// Parameters that are listed.
const LISTED: usize = 8;

pub(super) fn text(answer: &Answer) -> String {
    let Some(ranges) = &answer.uncertainty else { return String::new() };
    let mut text = heading("How sure");
    text.push_str(&labelled("range", &range(answer, ranges)));
    let points = ranges.clock.iter().map(|point| {
        let reached = if point.reaches_target { "reached" } else { "not reached" };
        format!("{} GHz: {} tok/s ({reached})", point.ghz, figure(point.tokens_per_second_per_user))
    });
    text.push_str(&labelled("clock", &points.collect::<Vec<_>>().join("; ")));
    text.push_str(&labelled("memory", &memory(answer, ranges)));
    if ranges.parameters.is_empty() {
        return text;
    }
    let mut grid = Grid::new([
        ("what moves it most", Side::Left),
        ("low", Side::Right),
        ("high", Side::Right),
        ("unit", Side::Left),
        ("known from", Side::Left),
        ("tok/s", Side::Right),
    ]);
    for influence in ranges.parameters.iter().take(LISTED) {
        let speeds = influence.tokens_per_second_per_user;
        let unit = DECLARATIONS.iter().find(|declared| declared.path == influence.parameter);
        grid.row([
            influence.parameter.to_owned(),
            plain(influence.low),
            plain(influence.high),
            unit.map_or_else(String::new, |declared| declared.unit.to_owned()),
            evidence(influence.evidence).to_owned(),
            format!("{} to {}", figure(speeds.low), figure(speeds.high)),
        ]);
    }
    text.push('\n');
    text.push_str(&grid.text());
    let more = ranges.parameters.len().saturating_sub(LISTED);
    if more > 0 {
        text.push_str(&wrapped("  ", &format!("and {more} more that move it by more than 0.1 %")));
    }
    text
}

fn range(answer: &Answer, ranges: &Uncertainty) -> String {
    let speeds = ranges.tokens_per_second_per_user;
    let target = answer.verdict.target;
    let safe = if (speeds.low >= target) == (speeds.high >= target) {
        "the verdict is the same at both ends"
    } else {
        "the target lies inside, so the verdict is not safe"
    };
    format!(
        "{} to {} tok/s each user, with every uncertain parameter at its slow or at its fast end; {safe}",
        figure(speeds.low),
        figure(speeds.high)
    )
}

/// What wafers and users are with the least and with the most memory free.
fn memory(answer: &Answer, ranges: &Uncertainty) -> String {
    let free = ranges.free_memory;
    if free.low >= free.high {
        return format!("{} bytes of a PE are free for data", whole(free.low.0));
    }
    let end = |free: Bytes, fewest: Option<u32>, held: u64| {
        let fewest = fewest.map_or_else(
            || "no number of wafers is enough".into(),
            |fewest| format!("at least {}", plural(u64::from(fewest), "wafer")),
        );
        let here = whole(u64::from(answer.wafers));
        format!("with {} bytes of a PE free {fewest}, and {here} hold {} users", whole(free.0), users(held))
    };
    format!(
        "{}; {}",
        end(free.low, ranges.wafers.high, ranges.max_users.low),
        end(free.high, ranges.wafers.low, ranges.max_users.high)
    )
}

/// A parameter's value as it stands in the file.
fn plain(value: f64) -> String {
    if value.abs() < 1e15 { value.to_string() } else { figure(value) }
}

/// A guess is called a guess.
const fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Guess => "a guess",
        other => other.name(),
    }
}
