//! A trace of requests: what it is, and what it says of its load.

use wafersim_requests::summary::{Rates, Spread};
use wafersim_requests::{LeftOut, Seen, Summary, TimeUnit};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{duration, figure, plural, share, whole};
use crate::paragraph::{heading, labelled};

/// What a file is, and how that is known.
pub fn seen(seen: &Seen) -> String {
    let mut words = seen.name.clone();
    words.push_str(if seen.by_content { ", by its content" } else { ", as asked" });
    if let Some(compression) = seen.compression {
        words.push_str(&format!(", {compression}"));
    }
    if let Some(block) = seen.block {
        words.push_str(&format!(", blocks of {}", plural(block.into(), "token")));
    }
    words.push_str(match seen.time_unit {
        TimeUnit::Date => ", times as dates",
        TimeUnit::S => ", times in s",
        TimeUnit::Ms => ", times in ms",
        TimeUnit::Us => ", times in us",
        TimeUnit::Ns => ", times in ns",
    });
    if let Some(origin) = &seen.origin {
        words.push_str(&format!(" from {origin} on"));
    }
    words
}

/// Rows that gave no request, with reasons; nothing where there are none.
pub fn left_out(left_out: &LeftOut) -> Option<String> {
    let reasons: Vec<String> =
        left_out.reasons().iter().map(|(count, why)| format!("{} ({why})", whole(*count))).collect();
    (!reasons.is_empty()).then(|| reasons.join(", "))
}

/// A summary for people.
pub fn text(file: &str, summary: &Summary) -> String {
    let mut page = labelled("trace", file);
    page.push_str(&labelled(
        "format",
        &format!("{} (load.format = {})", seen(&summary.seen), summary.seen.format.name()),
    ));
    let span = match summary.span_s {
        span if span > 0.0 => format!("over {}", duration(span)),
        _ => "at one time".to_owned(),
    };
    page.push_str(&labelled(
        "requests",
        &format!(
            "{} {span}; {} prompt and {} output tokens",
            whole(summary.requests),
            whole(summary.prompt_tokens),
            whole(summary.output_tokens)
        ),
    ));
    page.push_str(&labelled("left out", &left_out(&summary.left_out).unwrap_or_else(|| "nothing".into())));
    if let Some(rates) = &summary.rates {
        page.push_str(&labelled("rates", &rates_line(rates)));
    }
    if let Some(sessions) = &summary.sessions {
        let mut words = format!(
            "{} with {}, at most {} each; {}",
            plural(sessions.sessions, "session"),
            plural(sessions.requests, "request"),
            whole(sessions.most),
            match sessions.waiting {
                0 => "all at recorded times".to_owned(),
                waiting => format!("{} wait for the answer before them", whole(waiting)),
            }
        );
        if sessions.requests == summary.requests {
            words.push_str("; none without a session");
        }
        page.push_str(&labelled("sessions", &words));
    }
    if let Some(shared) = &summary.shared {
        let least = if shared.at_least { "at least " } else { "" };
        let words = format!(
            "{least}{} prompt tokens ({}) repeat the beginning of an earlier prompt, or of their session",
            whole(shared.tokens),
            share(shared.share)
        );
        page.push_str(&labelled("shared", &words));
    }
    page.push_str(&heading("Lengths"));
    page.push_str(&lengths(summary));
    page
}

fn rates_line(rates: &Rates) -> String {
    format!(
        "{} requests/s (at most {} over {}), {} prompt and {} output tok/s; times between requests vary by {} of their \
         mean",
        figure(rates.requests_per_second),
        figure(rates.busiest),
        duration(rates.bin_s),
        figure(rates.prompt_tokens_per_second),
        figure(rates.output_tokens_per_second),
        figure(rates.variation),
    )
}

fn lengths(summary: &Summary) -> String {
    let titles = ["mean", "least", "p25", "p50", "p90", "p95", "p99", "most"].map(|title| (title, Side::Right));
    let mut grid = Grid::new([("of a request", Side::Left)].into_iter().chain(titles));
    let mut row = |name: &str, spread: &Spread, form: fn(f64) -> String| {
        let Spread { mean, min, p25, p50, p90, p95, p99, max } = *spread;
        grid.row([name.to_owned()].into_iter().chain([mean, min, p25, p50, p90, p95, p99, max].map(form)));
    };
    row("prompt, tokens", &summary.prompt, |tokens| whole(tokens.round() as u64));
    row("answer, tokens", &summary.output, |tokens| whole(tokens.round() as u64));
    if let Some(wait) = summary.sessions.as_ref().and_then(|sessions| sessions.wait_s.as_ref()) {
        row("wait after an answer", wait, duration);
    }
    grid.text()
}

/// For programs.
///
/// # Errors
/// None that a trace can cause.
pub fn json(summary: &Summary) -> Result<String, ReportError> {
    pretty(summary)
}
