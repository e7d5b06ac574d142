//! The page of runs under load: of one, how latencies are distributed and where the time goes; of a sweep, the
//! frontier.

use crate::chart::{Bars, ChartPoint, Points, Stacked};
use crate::document::{Cell, Chart, Column, Data, Document, Part, Picture, Planned, Section, Table, Tone};
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
    ] {
        if data.at(place).is_some_and(serde_json::Value::is_number) {
            verdict += &format!("{words} {}", say(place, unit));
        }
    }
    Heading { title: format!("Under load: {machine}"), verdict: verdict + ".", tone: Tone::Neutral }
}

/// Quantiles of everything that was counted.
fn quantiles(data: &Data) -> Option<Table> {
    const COUNTED: [(&str, &str, Unit); 5] = [
        ("speed of a user", "user_speed", Unit::Speed),
        ("first token", "first_token", Unit::Seconds),
        ("per output token", "per_output_token", Unit::Seconds),
        ("between two steps", "between_steps", Unit::Seconds),
        ("whole request", "whole_request", Unit::Seconds),
    ];
    const FIGURES: [&str; 8] = ["count", "mean", "min", "p5", "p50", "p95", "p99", "max"];
    let row = |(name, field, unit): &(&str, &str, Unit)| {
        let cells = FIGURES.iter().map(|figure| {
            let unit = if *figure == "count" { Unit::Plain } else { *unit };
            Cell::at(data, format!("/outcome/{field}/{figure}"), unit)
        });
        std::iter::once(Cell::Words((*name).into())).chain(cells).collect::<Vec<_>>()
    };
    let column = |title: &str| Column { title: title.into(), field: String::new(), unit: Unit::Plain };
    let columns = std::iter::once("").chain(FIGURES).map(column).collect();
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
