//! The page of runs under load: of one, how latencies are distributed and where the time goes; of a sweep, the
//! frontier.

use crate::chart::{Bars, ChartPoint, Points, Stacked};
use crate::document::{Cell, Chart, Column, Data, Document, Part, Picture, Planned, Section, Table, Tone};
use crate::explain;
use crate::generic::{self, Heading};
use crate::unit::Unit;

/// The document of one run: `data.main` is its JSON; `latencies` are pictures of how times are distributed.
pub fn run(data: Data, latencies: Vec<Picture>) -> Document {
    let mut document = generic::document(heading(&data), data);
    let data = &document.data;
    let mut times = Section::new("latencies", "How times are distributed");
    times.parts = latencies.into_iter().map(Part::Picture).collect();
    let mut sections = vec![
        Section::new("speeds", "What users get")
            .show(quantiles(data).map(Part::Table))
            .show(speeds(data).map(Part::Chart)),
        Section::new("parts", "Where the time goes")
            .show(parts(data, "Mean time of a step", "step_parts").map(Part::Chart))
            .show(parts(data, "Mean time of a first token", "first_token_parts").map(Part::Chart)),
        times,
        clients(data),
        tasks(data),
        machines(data),
    ];
    sections.retain(|section| !section.parts.is_empty());
    sections.append(&mut document.sections);
    Document { sections, ..document }
}

/// What a run comes to, in figures of its JSON.
fn heading(data: &Data) -> Heading {
    let say = |place: &str, unit: Unit| Cell::at(data, place, unit).text();
    let machine = format!(
        "{} on {} x {}",
        say("/machine/model", Unit::Plain),
        say("/machine/wafers", Unit::Plain),
        say("/machine/wafer", Unit::Plain)
    );
    let mut verdict = format!(
        "{machine}, profile {}: {} of {} requests finished",
        say("/machine/profile", Unit::Plain),
        say("/outcome/totals/finished", Unit::Plain),
        say("/outcome/totals/arrived", Unit::Plain)
    );
    for (words, place, unit) in [
        ("; the median user gets", "/outcome/user_speed/p50", Unit::Speed),
        (" tok/s, a slow one", "/outcome/user_speed/p5", Unit::Speed),
        (" tok/s; all together", "/outcome/tokens_per_second/mean", Unit::Speed),
        (" tok/s; the median first token comes after", "/outcome/first_token/p50", Unit::Seconds),
        (", that of one in twenty after more than", "/outcome/first_token/p95", Unit::Seconds),
        ("; clients see, in the median, tok/s of", "/outcome/clients/seen_speed/p50", Unit::Speed),
        ("; the mean time to a finished task is", "/outcome/tasks/time/mean", Unit::Seconds),
    ] {
        if data.at(place).is_some_and(serde_json::Value::is_number) {
            verdict += &format!("{words} {}", say(place, unit));
        }
    }
    Heading { title: format!("Under load: {machine}"), verdict: verdict + ".", tone: Tone::Neutral }
}

/// What is said of everything that is counted.
const QUANTILES: [&str; 8] = ["count", "mean", "min", "p5", "p50", "p95", "p99", "max"];

/// Quantiles of everything that was counted.
fn quantiles(data: &Data) -> Option<Table> {
    const COUNTED: [(&str, &str, Unit); 5] = [
        ("speed of a user", "user_speed", Unit::Speed),
        ("first token", "first_token", Unit::Seconds),
        ("per output token", "per_output_token", Unit::Seconds),
        ("between two steps", "between_steps", Unit::Seconds),
        ("whole request", "whole_request", Unit::Seconds),
    ];
    let row = |(name, field, unit): &(&str, &str, Unit)| {
        let cells = QUANTILES.iter().map(|figure| {
            let unit = if *figure == "count" { Unit::Plain } else { *unit };
            Cell::at(data, format!("/outcome/{field}/{figure}"), unit)
        });
        std::iter::once(Cell::Words((*name).into())).chain(cells).collect::<Vec<_>>()
    };
    let columns = std::iter::once("").chain(QUANTILES).map(untyped).collect();
    let rows = COUNTED.iter().map(row).filter(|row| row.iter().skip(1).any(|cell| !cell.is_empty())).collect();
    let caption = "Speeds in tok/s, and times".into();
    Table { name: "Quantiles".into(), caption, columns, rows }.without_empty_columns()
}

fn speeds(data: &Data) -> Option<Chart> {
    let bar = |figure: &str| (figure.to_owned(), format!("/outcome/user_speed/{figure}"));
    let bars = Bars {
        title: "Tokens per second of a user",
        description: "Of a slow, the median and a fast user.",
        axis: "tok/s of a user",
        bars: ["p5", "p50", "p95"].map(bar).to_vec(),
        target: None,
    };
    bars.chart(data)
}

/// Seconds of something by what they are spent on.
fn parts(data: &Data, title: &str, field: &str) -> Option<Chart> {
    let part = |part: String| {
        let place = format!("/outcome/{field}/{part}");
        ("mean".to_owned(), part, place)
    };
    let chart = Stacked {
        title,
        description: "One bar, in parts by what the time is spent on.",
        axis: "seconds",
        parts: data.fields(&format!("/outcome/{field}")).into_iter().map(part).collect(),
    };
    chart.chart(data)
}

/// What clients saw from outside.
fn clients(data: &Data) -> Section {
    let at = |field: &str| format!("/outcome/clients/{field}");
    let counted = [
        ("answer's tokens over all the time, tok/s", "seen_speed", Unit::Speed),
        ("first token after", "first_token", Unit::Seconds),
        ("whole answer after", "whole", Unit::Seconds),
    ];
    let row = |(name, field, unit): &(&str, &str, Unit)| {
        let figures = QUANTILES.iter().map(|figure| {
            let unit = if *figure == "count" { Unit::Plain } else { *unit };
            Cell::at(data, format!("{}/{figure}", at(field)), unit)
        });
        std::iter::once(Cell::Words((*name).into())).chain(figures).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<Cell>> = counted.iter().map(row).filter(|row| row.iter().any(|cell| cell.is_number())).collect();
    let columns = std::iter::once("").chain(QUANTILES).map(untyped).collect();
    let caption = "Per request, seen by its client".into();
    let table = Table { name: "Clients".into(), caption, columns, rows }.without_empty_columns();
    let figures = [
        ("Plan", "plan", Unit::Verbatim),
        ("Profile of clients", "profile", Unit::Verbatim),
        ("Answers", "served", Unit::Plain),
        ("Given up", "abandoned", Unit::Plain),
        ("Requests sent for one", "attempts_per_request", Unit::Plain),
        ("Refused for a quota", "refused_quota", Unit::Plain),
        ("Refused for want of room", "refused_capacity", Unit::Plain),
        ("Refusals an hour", "refused_per_hour", Unit::Plain),
        ("Tokens of answers in all, tok/s", "goodput", Unit::Speed),
        ("Over the time of all requests, tok/s", "seen_speed_overall", Unit::Speed),
        ("Tokens reserved", "reserved_tokens", Unit::Plain),
        ("Dollars", "dollars", Unit::Plain),
        ("Fairness (Jain)", "fairness", Unit::Plain),
    ];
    let mut section = Section::new("clients", "What clients see");
    section.parts.extend(known_figures(data, &figures.map(|(label, field, unit)| (label, at(field), unit))));
    section.show(table.map(Part::Table)).show(
        explain::shares(data, "Where the time of a request goes, seen by its client", "/outcome/clients")
            .map(Part::Chart),
    )
}

/// Tasks to their end.
fn tasks(data: &Data) -> Section {
    let at = |field: &str| format!("/outcome/tasks/{field}");
    let figures = [
        ("Finished", "finished", Unit::Plain),
        ("Not after the last attempt", "unfinished", Unit::Plain),
        ("At work at the end", "at_work", Unit::Plain),
        ("Mean time to a finished task", "time/mean", Unit::Seconds),
        ("Median time to a finished task", "time/p50", Unit::Seconds),
        ("95th percentile", "time/p95", Unit::Seconds),
        ("All time over finished tasks", "seconds_per_finished", Unit::Seconds),
        ("Attempts a task", "attempts", Unit::Plain),
        ("Calls a task", "calls", Unit::Plain),
        ("Tokens of prompts", "prompt_tokens", Unit::Plain),
        ("Of them cached", "cached_tokens", Unit::Plain),
        ("Tokens of answers", "output_tokens", Unit::Plain),
    ];
    let parts = ["service", "tools", "checks"];
    let chart = Stacked {
        title: "Where the time of a task goes",
        description: "One bar, in parts: the service, tools, tests.",
        axis: "seconds",
        parts: parts.map(|part| ("a task".to_owned(), part.to_owned(), at(&format!("shares/{part}")))).to_vec(),
    };
    let mut section = Section::new("tasks", "Tasks");
    section.parts.extend(known_figures(data, &figures.map(|(label, field, unit)| (label, at(field), unit))));
    section.show(chart.chart(data).map(Part::Chart))
}

/// Machines behind a balancer.
fn machines(data: &Data) -> Section {
    let columns = [
        ("requests finished", "finished", Unit::Plain),
        ("tokens", "tokens", Unit::Plain),
        ("lost with it", "aborted", Unit::Plain),
        ("at work", "busy", Unit::Share),
        ("away", "away", Unit::Seconds),
    ];
    let columns = columns.map(|(title, field, unit)| Column::of(title, field).counting(unit)).to_vec();
    let caption = "A row for each machine behind the balancer";
    let table = Table::of_list(data, "/outcome/replicas", "Machines", caption, columns);
    let bar = |index: usize| (format!("machine {index}"), format!("/outcome/replicas/{index}/tokens"));
    let chart = Bars {
        title: "Tokens of answers by machine",
        description: "A bar for each machine behind the balancer.",
        axis: "tokens",
        bars: (0..data.items("/outcome/replicas")).map(bar).collect(),
        target: None,
    };
    let section = Section::new("machines", "Machines behind the balancer");
    section.show(chart.chart(data).map(Part::Chart)).show(table.map(Part::Table))
}

/// Those of some figures that are there.
fn known_figures(data: &Data, figures: &[(&str, String, Unit)]) -> Option<Part> {
    let cells = figures.iter().map(|(label, place, unit)| ((*label).to_owned(), Cell::at(data, place.as_str(), *unit)));
    let known: Vec<(String, Cell)> = cells.filter(|(_, cell)| !cell.is_empty()).collect();
    (!known.is_empty()).then_some(Part::Figures(known))
}

fn untyped(title: &str) -> Column {
    Column { title: title.into(), field: String::new(), unit: Unit::Plain }
}

/// The document of a sweep: `data.main` is its JSON.
pub fn sweep(heading: Heading, data: Data) -> Document {
    // Of several settings the first is along a line, and each combination of the others has its own.
    let word = |index: usize, axis: usize, field: &str| {
        data.words(&format!("/points/{index}/swept/{axis}/{field}")).unwrap_or_default()
    };
    let line = |index: usize| {
        let others = 1..data.items(&format!("/points/{index}/swept"));
        let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
        let said = others.map(|axis| format!("{} {}", last(word(index, axis, "path")), word(index, axis, "value")));
        said.collect::<Vec<_>>().join(", ")
    };
    let point = |index: usize| {
        let line = line(index);
        let value = if line.is_empty() { data.words(&format!("/points/{index}/value")) } else { None };
        ChartPoint {
            label: value.unwrap_or_else(|| word(index, 0, "value")).to_owned(),
            series: if line.is_empty() { "sweep".into() } else { line },
            x: format!("/points/{index}/outcome/tokens_per_second/mean"),
            y: format!("/points/{index}/outcome/user_speed/p50"),
        }
    };
    let points = Points {
        title: "Speed of the median user against tokens of all users",
        description: "A point for each value of the first setting, a line for each combination of the others.",
        x: "tok/s of all users",
        y: "tok/s of the median user",
        points: (0..data.items("/points")).map(point).collect(),
        target: None,
        logarithmic: false,
    };
    let columns = [
        ("state", "outcome/steady/state", Unit::Plain),
        ("arrived", "outcome/totals/arrived", Unit::Plain),
        ("finished", "outcome/totals/finished", Unit::Plain),
        ("refused", "outcome/totals/refused", Unit::Plain),
        ("in all, tok/s", "outcome/tokens_per_second/mean", Unit::Speed),
        ("slow user, tok/s", "outcome/user_speed/p5", Unit::Speed),
        ("median user, tok/s", "outcome/user_speed/p50", Unit::Speed),
        ("first token, p50", "outcome/first_token/p50", Unit::Seconds),
        ("first token, p95", "outcome/first_token/p95", Unit::Seconds),
        ("between steps, p99", "outcome/between_steps/p99", Unit::Seconds),
        ("in service", "outcome/queues/in_service/mean", Unit::Plain),
        ("clients see, p50, tok/s", "outcome/clients/seen_speed/p50", Unit::Speed),
        ("refusals an hour", "outcome/clients/refused_per_hour", Unit::Plain),
        ("task, mean", "outcome/tasks/time/mean", Unit::Seconds),
        ("tasks finished", "outcome/tasks/finished", Unit::Plain),
        ("input", "provenance/input_hash", Unit::Verbatim),
    ];
    let columns = columns.map(|(title, field, unit)| Column::of(title, field).counting(unit));
    // Of several settings, a column each.
    let axes = match data.items("/points/0/swept") {
        count @ 2.. => (0..count)
            .map(|index| {
                let title = data.words(&format!("/points/0/swept/{index}/path")).unwrap_or_default();
                Column::of(title, &format!("swept/{index}/value")).counting(Unit::Verbatim)
            })
            .collect(),
        _ => vec![Column::of("value", "value").counting(Unit::Verbatim)],
    };
    let columns = axes.into_iter().chain(columns).collect();
    let table = Table::of_list(&data, "/points", "Sweep", "A row for each value of the setting", columns);
    let figures = ["setting", "knee"].map(|field| {
        let label = if field == "knee" { "Point of the knee, from 0" } else { "Setting" };
        (label.to_owned(), Cell::at(&data, format!("/{field}"), Unit::Verbatim))
    });
    let figures: Vec<(String, Cell)> = figures.into_iter().filter(|(_, cell)| !cell.is_empty()).collect();
    let machine = generic::object(&data, "/points/0/machine");
    let sections = vec![
        Section::new("frontier", "Speed against throughput").show(points.chart(&data).map(Part::Chart)),
        Section::new("table", "Table").show(table.map(Part::Table)).show(Some(Part::Figures(figures))),
        Section::new("machine", "Machine of the first point").show(machine),
    ];
    let sections = sections.into_iter().filter(|section| !section.parts.is_empty()).collect();
    let Heading { title, verdict, tone } = heading;
    Document { title, verdict, tone, sections, data, machines: Vec::new(), planned: Planned::default() }
}
