//! The answer to a question with its load run event by event, beside the closed form.

use serde::Serialize;
use wafersim_answer::Answer;
use wafersim_spec::Wafer;
use wafersim_stream::steady::Steady;

use crate::answer;
use crate::error::ReportError;
use crate::fabric::deviation;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{duration, figure, plural, share, whole};
use crate::paragraph::{heading, labelled, wrapped};

#[derive(Serialize)]
struct WithStream<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    stream: &'a Steady,
}

/// The answer for people, with what the run gave.
pub fn text(answer: &Answer, steady: &Steady, wafer: &Wafer) -> String {
    answer::text_with(answer, wafer, &section(steady))
}

/// The answer for programs: the fields of [`Answer`], and `stream`.
///
/// # Errors
/// None that an answer can cause.
pub fn json(answer: &Answer, steady: &Steady) -> Result<String, ReportError> {
    pretty(&WithStream { answer, stream: steady })
}

fn section(steady: &Steady) -> String {
    let mut text = heading("Users event by event");
    text.push_str(&labelled(
        "run",
        &format!(
            "{} without pauses, every token with {} in sight; window of {} after {}, seed {}",
            plural(steady.users, "user"),
            plural(steady.context, "token"),
            duration(steady.window_s),
            duration(steady.warm_up_s),
            steady.seed
        ),
    ));
    let mut grid = Grid::new([
        ("", Side::Left),
        ("closed form", Side::Right),
        ("events", Side::Right),
        ("deviation %", Side::Right),
    ]);
    let mut row = |name: &str, closed: f64, run: f64, form: fn(f64) -> String| {
        grid.row([name.to_owned(), form(closed), form(run), deviation((run / closed - 1.0) * 100.0)]);
    };
    row("median user, tok/s", steady.closed_form_per_user, steady.user_speed.p50, figure);
    row("slow user (p5), tok/s", steady.closed_form_per_user, steady.user_speed.p5, figure);
    row("fast user (p95), tok/s", steady.closed_form_per_user, steady.user_speed.p95, figure);
    row("all users, tok/s", steady.closed_form_total, steady.tokens_per_second_total, figure);
    row("users of a micro-batch", steady.closed_form_micro_batch as f64, steady.micro_batch, figure);
    text.push('\n');
    text.push_str(&grid.text());
    let parts = steady.step_parts;
    let mut grid = Grid::new([("a step's time", Side::Left), ("mean", Side::Right), ("share", Side::Right)]);
    let named = [
        ("work for it", parts.service),
        ("its draft", parts.draft),
        ("waits: other users' tokens in a stage", parts.stage),
        ("waits: other users' tokens on a link", parts.links),
    ];
    let all: f64 = named.iter().map(|(_, time)| time).sum();
    for (name, time) in named.into_iter().filter(|(_, time)| *time > 0.0) {
        grid.row([name.to_owned(), duration(time), share(time / all)]);
    }
    text.push('\n');
    text.push_str(&grid.text());
    text.push('\n');
    text.push_str(&wrapped(
        "  ",
        &format!(
            "A user's speed is over {} tokens. The closed form takes users as full micro-batches in even gaps; in the run they \
             join whatever pass goes next. Prompts are not computed here: simctl stream runs whole loads.",
            whole(u64::from(steady.answer_tokens))
        ),
    ));
    text
}
