//! What clients saw of a service, for people.

use wafersim_stream::clients::{ClientOutcome, Shares};
use wafersim_stream::run::Point;
use wafersim_stream::statistics::Summary;

use crate::grid::{Grid, Side};
use crate::number::{NOTHING, duration, figure, plural, share, whole};
use crate::paragraph::labelled;

/// One run.
pub(crate) fn text(clients: &ClientOutcome) -> String {
    let mut page = labelled("service", &service_line(clients));
    let titles = [("per request", Side::Left), ("mean", Side::Right), ("p5", Side::Right), ("p50", Side::Right)];
    let more = [("p95", Side::Right), ("p99", Side::Right), ("of", Side::Right)];
    let mut grid = Grid::new(titles.into_iter().chain(more));
    let mut row = |name: &str, summary: Option<Summary>, form: fn(f64) -> String| {
        let value = |of: fn(&Summary) -> f64| summary.as_ref().map_or_else(|| NOTHING.to_owned(), |all| form(of(all)));
        let count = whole(summary.as_ref().map_or(0, |all| all.count));
        let values = [value(|all| all.mean), value(|all| all.p5), value(|all| all.p50), value(|all| all.p95)];
        grid.row([name.to_owned()].into_iter().chain(values).chain([value(|all| all.p99), count]));
    };
    row("answer's tokens over all the time, tok/s", clients.seen_speed, figure);
    row("first token after", clients.first_token, duration);
    row("whole answer after", clients.whole, duration);
    page.push_str(&grid.text());
    let all = clients.shares.sum();
    let mut grid = Grid::new([("of a request", Side::Left), ("time", Side::Right), ("share", Side::Right)]);
    for (name, _, time) in parts(&clients.shares).into_iter().filter(|(_, _, time)| *time > 0.0) {
        grid.row([name.to_owned(), duration(time), share(time / all)]);
    }
    if !grid.is_empty() {
        page.push_str(&grid.text());
    }
    page.push_str(&labelled("tokens", &tokens_line(clients)));
    if let Some(words) = lost_line(clients) {
        page.push_str(&labelled("lost", &words));
    }
    if let Some(spread) = clients.speed_spread.filter(|_| clients.fairness.is_some()) {
        let words = format!("tok/s of users from outside: the 95th percentile is {spread:.2} times the median");
        page.push_str(&labelled("between users", &words));
    }
    page
}

/// Parts of a request's time, with their names in a list and in a column.
const fn parts(shares: &Shares) -> [(&'static str, &'static str, f64); 9] {
    [
        ("waiting for the quota", "quota", shares.quota),
        ("retries beyond that", "retries", shares.retries),
        ("refused for want of room", "refusals", shares.capacity),
        ("machines that went away", "outages", shares.outage),
        ("answers not waited for", "deadlines", shares.deadline),
        ("network and host", "network", shares.network),
        ("waiting for room and turn", "queue", shares.queue),
        ("its prompt", "prompt", shares.prompt),
        ("its answer's tokens", "tokens", shares.decode),
    ]
}

/// What was lost on the way; nothing where nothing was.
pub(crate) fn lost_line(clients: &ClientOutcome) -> Option<String> {
    let counts = [
        (clients.refused_away, "refused since no machine was up"),
        (clients.lost, "lost with their machine"),
        (clients.timed_out, "not waited for (deadline)"),
        (clients.expired, "without room in the plan's time"),
    ];
    let stopped = (clients.stopped + clients.summaries > 0).then(|| {
        format!(
            "a refused quota of tokens taken for a context that is too long: {} summarised ({} tokens), {} stopped until \
             somebody asked again",
            plural(clients.summaries, "session"),
            whole(clients.summary_tokens),
            plural(clients.stopped, "agent"),
        )
    });
    let words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", whole(*count)))
        .collect();
    let lost = (!words.is_empty()).then(|| format!("of the attempts {}", words.join(", ")));
    let words: Vec<String> = [lost, stopped].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join("; "))
}

pub(crate) fn service_line(clients: &ClientOutcome) -> String {
    let attempts = clients.attempts_per_request.map_or_else(|| NOTHING.to_owned(), figure);
    let fairness = clients.fairness.map_or_else(String::new, |index| format!("; fairness (Jain) {}", figure(index)));
    format!(
        "plan {}, profile {}: {}, {} given up, {} cut short; {} sent, {attempts} for a request; {} refused for a quota, {} \
         for want of room, {} an hour{fairness}",
        clients.plan,
        clients.profile,
        plural(clients.served, "answer"),
        whole(clients.abandoned),
        whole(clients.cut),
        whole(clients.attempts),
        whole(clients.refused_quota),
        whole(clients.refused_capacity),
        figure(clients.refused_per_hour),
    )
}

fn tokens_line(clients: &ClientOutcome) -> String {
    let overall = clients.seen_speed_overall.map_or_else(|| NOTHING.to_owned(), figure);
    let dollars = clients.dollars.map_or_else(String::new, |dollars| format!(", ${}", figure(dollars)));
    format!(
        "{} of prompts ({} cached), {} of answers, {} reserved{dollars}; {} tok/s of answers in all, {overall} over the \
         time of all requests",
        whole(clients.prompt_tokens),
        whole(clients.cached_tokens),
        whole(clients.output_tokens),
        whole(clients.reserved_tokens),
        figure(clients.goodput),
    )
}

/// A sweep: a line for each point that has clients; nothing where none has.
pub(crate) fn sweep_text(setting: &str, points: &[Point]) -> Option<String> {
    let titles = ["answers", "given up", "tok/s", "first", "whole", "429/h", "sent", "in all"];
    let side = |title: &'static str| (title, Side::Right);
    let columns = [(setting, Side::Right)].into_iter().chain(titles.map(side)).chain([("lost most to", Side::Left)]);
    let mut grid = Grid::new(columns);
    for point in points {
        let Some(clients) = &point.outcome.clients else { continue };
        let median = |summary: Option<Summary>, form: fn(f64) -> String| {
            summary.as_ref().map_or_else(|| NOTHING.to_owned(), |all| form(all.p50))
        };
        let most = parts(&clients.shares)
            .into_iter()
            .fold((NOTHING, 0.0), |best, (_, name, time)| if time > best.1 { (name, time) } else { best });
        grid.row([
            point.value.clone(),
            whole(clients.served),
            whole(clients.abandoned),
            median(clients.seen_speed, figure),
            median(clients.first_token, duration),
            median(clients.whole, duration),
            figure(clients.refused_per_hour),
            clients.attempts_per_request.map_or_else(|| NOTHING.to_owned(), figure),
            figure(clients.goodput),
            most.0.to_owned(),
        ]);
    }
    (!grid.is_empty()).then(|| {
        let words = "from outside: tok/s, first, whole: medians of the answer's tokens over all the time, of the time to \
                     the first token and to the end; sent: attempts for a request; in all: tok/s of answers";
        format!("{}{}", grid.text(), labelled("clients", words))
    })
}
