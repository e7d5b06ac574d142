//! From what is advertised to what one observes, for people and programs.

use serde::Serialize;
use wafersim_stream::explain::{Agent, Gap, UNKNOWN};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{plural, whole};
use crate::paragraph::{heading, labelled};
use crate::stream_clients::service_line;

/// An agent, with what it sees at each end of the range and in the middle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// The agent.
    pub agent: Agent,
    /// Everything that is not known is against the user.
    pub low: Gap,
    /// As the scenario says.
    pub expected: Gap,
    /// Everything is for the user.
    pub high: Gap,
}

/// For people.
pub fn text(all: &[Explained]) -> String {
    let mut page = String::new();
    for explained in all {
        let agent = &explained.agent;
        page.push_str(&heading(&format!("The {} agent: {}", agent.name, agent.what)));
        let columns = ["tok/s low", "expected", "high", "after it"].map(|title| (title, Side::Right));
        let mut grid = Grid::new([("step", Side::Left)].into_iter().chain(columns));
        let sides = [&explained.low, &explained.expected, &explained.high];
        let row = |name: &str, values: [i64; 3], after: i64| {
            [name.to_owned()].into_iter().chain(values.map(thousandths)).chain([thousandths(after)])
        };
        let advertised = sides.map(|side| side.advertised);
        grid.row(row("advertised", advertised, explained.expected.advertised));
        for (place, step) in explained.expected.steps.iter().enumerate() {
            let changes = sides.map(|side| side.steps.get(place).map_or(0, |step| step.change));
            grid.row(row(step.name, changes, step.speed));
        }
        grid.row(row("observed", sides.map(|side| side.observed), explained.expected.observed));
        page.push_str(&grid.text());
        let clients = &explained.expected.clients;
        page.push_str(&labelled("expected", &service_line(clients)));
        let served = clients.served.max(1);
        let means = format!(
            "{} of prompts a request, of which {} cached; {} of answers",
            plural(clients.prompt_tokens / served, "token"),
            whole(clients.cached_tokens / served),
            whole(clients.output_tokens / served),
        );
        page.push_str(&labelled("in the mean", &means));
    }
    let words: Vec<String> =
        UNKNOWN.iter().map(|(what, [low, expected, high])| format!("{what}: {low}, {expected}, {high}")).collect();
    page.push_str(&labelled("low, expected, high", &words.join("; ")));
    page
}

/// Thousandths as a number.
fn thousandths(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let size = value.unsigned_abs();
    format!("{sign}{}.{:03}", whole(size / 1000), size % 1000)
}

/// Explanations as an object.
#[derive(Serialize)]
struct Agents<'a> {
    agents: &'a [Explained],
}

/// For programs.
///
/// # Errors
/// None that a run can cause.
pub fn json(all: &[Explained]) -> Result<String, ReportError> {
    pretty(&Agents { agents: all })
}
