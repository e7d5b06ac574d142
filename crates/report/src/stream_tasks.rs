//! What became of coding tasks, for people.

use wafersim_stream::load::TaskOutcome;
use wafersim_stream::run::Point;
use wafersim_stream::statistics::Summary;

use crate::grid::{Grid, Side};
use crate::number::{NOTHING, duration, figure, plural, share, whole};
use crate::paragraph::labelled;

/// The tasks of a run.
pub(crate) fn text(tasks: &TaskOutcome, point: &Point) -> String {
    let mut page = labelled("tasks", &ends(tasks));
    let columns = ["mean", "p5", "p50", "p95"].map(|title| (title, Side::Right));
    let mut grid = Grid::new([("per task", Side::Left)].into_iter().chain(columns));
    if let Some(Summary { mean, p5, p50, p95, .. }) = tasks.time {
        let values = [mean, p5, p50, p95].map(duration);
        grid.row(["time to a finished task".to_owned()].into_iter().chain(values));
        page.push_str(&grid.text());
    }
    let parts = tasks.shares;
    let all = (parts.service + parts.tools + parts.checks).max(1e-12);
    let parts = [("the service", parts.service), ("tools", parts.tools), ("tests", parts.checks)];
    let parts = parts.map(|(name, time)| format!("{name} {} ({})", duration(time), share(time / all)));
    page.push_str(&labelled("where it goes", &parts.join(", ")));
    page.push_str(&labelled("for each finished", &each(tasks, point)));
    page
}

fn ends(tasks: &TaskOutcome) -> String {
    let mean = |value: Option<f64>| value.map_or_else(|| NOTHING.to_owned(), figure);
    let without = match tasks.without_answer {
        0 => String::new(),
        count => format!("; {} without an answer", plural(count, "call")),
    };
    format!(
        "{} finished, {} not after the last attempt, {} at work at the end; {} attempts and {} calls a task{without}",
        whole(tasks.finished),
        whole(tasks.unfinished),
        whole(tasks.at_work),
        mean(tasks.attempts),
        mean(tasks.calls),
    )
}

/// What a finished task took, with its share of those that were not.
fn each(tasks: &TaskOutcome, point: &Point) -> String {
    let count = tasks.finished.max(1);
    let time = tasks.seconds_per_finished.map_or_else(|| NOTHING.to_owned(), duration);
    let price = point.scenario.clients.as_ref().and_then(|clients| clients.plan.price);
    let dollars = price
        .and_then(|price| tasks.dollars_per_finished([price.input, price.cached.unwrap_or(price.input), price.output]));
    let dollars = dollars.map_or_else(String::new, |dollars| format!(", ${}", figure(dollars)));
    format!(
        "{time}, {} tokens of prompts ({} cached), {} of answers{dollars}; the unfinished ones' shared out",
        whole(tasks.prompt_tokens / count),
        whole(tasks.cached_tokens / count),
        whole(tasks.output_tokens / count),
    )
}
