//! The pages of explanations: from what is advertised to what agents observe, and what a finished task takes at each of
//! several services.

use crate::chart::{Reaches, Stacked};
use crate::document::{Cell, Chart, Column, Data, Document, Part, Picture, Planned, Section, Table, Tone};
use crate::generic;
use crate::unit::Unit;

/// Sides of what is not known, in the order of the columns.
const SIDES: [&str; 3] = ["low", "expected", "high"];

/// The document of the way down: `data.main` is its JSON; `drawn` is the way of each agent.
pub fn gap(data: Data, drawn: Picture, notes: &str) -> Document {
    let agents = 0..data.items("/agents");
    let name = |index: usize| data.words(&format!("/agents/{index}/agent/name")).unwrap_or_default().to_owned();
    let verdict: Vec<String> = agents
        .clone()
        .map(|index| {
            let speed = |side: &str| millispeed(&data, &format!("/agents/{index}/{side}/observed")).text();
            format!("the {} agent {} ({} to {})", name(index), speed("expected"), speed("low"), speed("high"))
        })
        .collect();
    let advertised = millispeed(&data, "/agents/0/expected/advertised").text();
    let verdict = format!("Of {advertised} tok/s that are advertised, agents observe: {}.", verdict.join("; "));
    let observed = Reaches {
        title: "What each agent observes",
        description: "From the low to the high side, with what is expected as a line.",
        axis: "tok/s, as observed",
        per: 1000.0,
        rows: agents
            .clone()
            .map(|index| (name(index), SIDES.map(|side| format!("/agents/{index}/{side}/observed"))))
            .collect(),
    };
    let mut sections = vec![
        Section::new("way", "The way down").say(notes).show(Some(Part::Picture(drawn))),
        Section::new("observed", "What is observed").show(observed.chart(&data).map(Part::Chart)),
    ];
    for index in agents {
        let what = data.words(&format!("/agents/{index}/agent/what")).unwrap_or_default().to_owned();
        let id = format!("agent-{index}");
        let section = Section::new(&id, &format!("The {} agent", name(index))).say(format!("{what}."));
        let clients = format!("/agents/{index}/expected/clients");
        let shares = shares(&data, "Mean time of a request, as expected", &clients);
        sections.push(section.show(way(&data, index).map(Part::Table)).show(shares.map(Part::Chart)));
    }
    sections.extend(made(&data, &["agents"]));
    let title = "From what is advertised to what one observes".into();
    Document { title, verdict, tone: Tone::Neutral, sections, data, machines: Vec::new(), planned: Planned::default() }
}

/// What was asked and what made it: the JSON but for the fields that are shown already.
fn made(data: &Data, shown: &[&str]) -> Vec<Section> {
    let mut main = data.main.clone();
    if let Some(fields) = main.as_object_mut() {
        fields.retain(|name, _| !shown.contains(&name.as_str()));
    }
    generic::sections(&Data { main, beside: Vec::new() }, "", "What made it")
}

fn millispeed(data: &Data, place: &str) -> Cell {
    Cell::at(data, place, Unit::Millispeed)
}

/// The steps of an agent at the three sides.
fn way(data: &Data, agent: usize) -> Option<Table> {
    let place = |side: &str, rest: &str| format!("/agents/{agent}/{side}/{rest}");
    let row = |name: String, rest: &str, after: &str| {
        let sides = SIDES.map(|side| millispeed(data, &place(side, rest)));
        [Cell::Words(name)].into_iter().chain(sides).chain([millispeed(data, &place("expected", after))]).collect()
    };
    let step = |index: usize| {
        let name = data.words(&place("expected", &format!("steps/{index}/name"))).unwrap_or_default().to_owned();
        row(name, &format!("steps/{index}/change"), &format!("steps/{index}/speed"))
    };
    let mut rows: Vec<Vec<Cell>> = vec![row("advertised".into(), "advertised", "advertised")];
    rows.extend((0..data.items(&place("expected", "steps"))).map(step));
    rows.push(row("observed".into(), "observed", "observed"));
    let titles = ["step", "low", "expected", "high", "after it, expected"];
    let columns = titles.map(|title| Column { title: title.into(), field: String::new(), unit: Unit::Plain }).to_vec();
    let caption = "tok/s: what each step takes or gives; the steps add up to the last digit".into();
    Table { name: format!("Agent {agent}"), caption, columns, rows }.without_empty_columns()
}

/// Seconds of a request by what they go to, as clients see them.
pub(crate) fn shares(data: &Data, title: &str, clients: &str) -> Option<Chart> {
    let parts = data.fields(&format!("{clients}/shares")).into_iter();
    let chart = Stacked {
        title,
        description: "One bar, in parts by what a request waits for, seen by its client.",
        axis: "seconds",
        parts: parts.map(|part| ("a request".to_owned(), part.clone(), format!("{clients}/shares/{part}"))).collect(),
    };
    chart.chart(data)
}

/// The document of the same tasks at several services: `data.main` is its JSON.
pub fn tasks(data: Data) -> Document {
    let services = 0..data.items("/services");
    let name = |index: usize| data.words(&format!("/services/{index}/service")).unwrap_or_default().to_owned();
    let at = |index: usize, side: &str, rest: &str| format!("/services/{index}/{side}/{rest}");
    let reaches = |title, description, axis, rest: &str| {
        let rows = services.clone().map(|index| (name(index), SIDES.map(|side| at(index, side, rest)))).collect();
        Reaches { title, description, axis, per: 1.0, rows }
    };
    let times = reaches(
        "Time to a finished task",
        "The mean from the task to the end of its tests, from the low to the high side, with what is expected as a line.",
        "seconds",
        "tasks/time/mean",
    );
    let dollars = reaches(
        "Dollars for a finished task",
        "At the price per token, those of unfinished tasks shared out; from the low to the high side.",
        "US dollars",
        "usd_per_finished",
    );
    let parts = services.clone().flat_map(|index| {
        ["service", "tools", "checks"]
            .map(|part| (name(index), part.to_owned(), at(index, "expected", &format!("tasks/shares/{part}"))))
    });
    let parts = Stacked {
        title: "Where the time of a task goes, as expected",
        description: "A bar for each service, in parts: the service itself, tools, tests.",
        axis: "seconds",
        parts: parts.collect(),
    };
    let verdict: Vec<String> = services
        .clone()
        .map(|index| {
            let time = |side| Cell::at(&data, at(index, side, "tasks/time/mean"), Unit::Seconds).text();
            format!("{}: {} ({} to {})", name(index), time("expected"), time("high"), time("low"))
        })
        .collect();
    let verdict = format!("Mean time to a finished task. {}.", verdict.join("; "));
    let each = |side: &str| {
        let columns = [
            ("service", "service", Unit::Verbatim),
            ("time, mean", "tasks/time/mean", Unit::Seconds),
            ("p5", "tasks/time/p5", Unit::Seconds),
            ("p50", "tasks/time/p50", Unit::Seconds),
            ("p95", "tasks/time/p95", Unit::Seconds),
            ("time for each finished", "tasks/seconds_per_finished", Unit::Seconds),
            ("$ for each finished", "usd_per_finished", Unit::Plain),
            ("finished", "tasks/finished", Unit::Plain),
            ("unfinished", "tasks/unfinished", Unit::Plain),
            ("attempts", "tasks/attempts", Unit::Plain),
            ("calls", "tasks/calls", Unit::Plain),
            ("tok/s seen", "clients/seen_speed_overall", Unit::Speed),
            ("429s an hour", "clients/refused_per_hour", Unit::Plain),
        ];
        let field = |field: &str| if field == "service" { field.to_owned() } else { format!("{side}/{field}") };
        let columns = columns.map(|(title, path, unit)| Column::of(title, &field(path)).counting(unit)).to_vec();
        let caption = match side {
            "low" => "Everything that is not known against the user",
            "high" => "Everything that is not known for the user",
            _ => "As expected",
        };
        Table::of_list(&data, "/services", side, caption, columns).map(Part::Table)
    };
    let sections = vec![
        Section::new("time", "Time")
            .show(times.chart(&data).map(Part::Chart))
            .show(parts.chart(&data).map(Part::Chart)),
        Section::new("money", "Money").show(dollars.chart(&data).map(Part::Chart)),
        Section::new("services", "Service by service").show(each("expected")).show(each("low")).show(each("high")),
        Section::new("tasks", "What every service was given").show(generic::object(&data, "/tasks")),
    ];
    let sections = sections.into_iter().filter(|section| !section.parts.is_empty());
    let sections = sections.chain(made(&data, &["services", "tasks"])).collect();
    let title = "The same tasks at several services".into();
    Document { title, verdict, tone: Tone::Neutral, sections, data, machines: Vec::new(), planned: Planned::default() }
}
