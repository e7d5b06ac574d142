//! From what is advertised to what one observes, for people and programs.

use serde::Serialize;
use wafersim_picture::{Waterfall, WaterfallRow};
use wafersim_stream::explain::{Agent, Gap, UNKNOWN};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{plural, thousandths, whole};
use crate::paragraph::{heading, labelled};
use crate::stream_clients::{lost_line, service_line};

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
        if let Some(words) = lost_line(clients) {
            page.push_str(&labelled("on the way", &words));
        }
        let served = clients.served.max(1);
        let means = format!(
            "{} of prompts a request, of which {} cached; {} of answers",
            plural(clients.prompt_tokens / served, "token"),
            whole(clients.cached_tokens / served),
            whole(clients.output_tokens / served),
        );
        page.push_str(&labelled("in the mean", &means));
    }
    page.push_str(&labelled("low, expected, high", &values_of_the_unknown()));
    page
}

fn values_of_the_unknown() -> String {
    let words = UNKNOWN.iter().map(|(what, [low, expected, high])| format!("{what}: {low}, {expected}, {high}"));
    words.collect::<Vec<_>>().join("; ")
}

/// What is not known, in a sentence.
pub fn unknown() -> String {
    format!("Low, expected and high differ in what is not known. {}.", values_of_the_unknown())
}

/// The way from what is advertised to what each agent observes, as expected, one agent below the other.
pub fn waterfall(all: &[Explained]) -> Waterfall {
    let row = |name: String, thousandths: i64, is_total: bool| WaterfallRow {
        name,
        value: thousandths as f64 * 1e-3,
        is_total,
    };
    let rows = all.iter().flat_map(|explained| {
        let (name, gap) = (explained.agent.name, &explained.expected);
        let steps = gap.steps.iter().map(move |step| row(step.name.to_owned(), step.speed, false));
        [row(format!("{name}: advertised"), gap.advertised, true)].into_iter().chain(steps).chain([row(
            format!("{name}: observed"),
            gap.observed,
            true,
        )])
    });
    let captions = all.iter().map(|explained| {
        format!(
            "{}: {}; observed {} tok/s, {} to {} with everything that is not known against it or for it.",
            explained.agent.name,
            explained.agent.what,
            thousandths(explained.expected.observed),
            thousandths(explained.low.observed),
            thousandths(explained.high.observed),
        )
    });
    Waterfall {
        title: "From what is advertised to what coding agents observe".into(),
        caption: captions.collect(),
        axis: "tok/s, as expected".into(),
        is_more_better: true,
        rows: rows.collect(),
    }
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
