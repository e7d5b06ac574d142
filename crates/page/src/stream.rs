//! The page of runs under load: of one, how latencies are distributed and where the time goes; of a sweep, the frontier.

use crate::chart::{Bars, ChartPoint, Points, Stacked};
use crate::document::{Cell, Column, Data, Document, Part, Section, Table};
use crate::generic::{self, Heading};
use crate::unit::Unit;

/// Points of a distribution that are drawn at most.
const MOST_BINS: usize = 400;

/// The document of one run: `data.main` is its JSON.
pub fn run(heading: Heading, data: Data) -> Document {
    let mut document = generic::document(heading, data);
    let data = &document.data;
    let mut sections = vec![
        Section::new("speeds", "What users get")
            .show(quantiles(data).map(Part::Table))
            .show(speeds(data).map(Part::Chart)),
        Section::new("first-token", "Time to first token")
            .show(distribution(data, "first_token_counts", "Time to first token").map(Part::Chart)),
        Section::new("between-steps", "Time between two steps of a user")
            .show(distribution(data, "between_steps_counts", "Time between two steps").map(Part::Chart)),
        Section::new("parts", "Where the time goes").show(parts(data).map(Part::Chart)),
    ];
    sections.retain(|section| !section.parts.is_empty());
    // The counts are drawn; as tables they have thousands of rows.
    let others = std::mem::take(&mut document.sections);
    sections.extend(others.into_iter().filter(|section| !section.id.ends_with("-counts")));
    Document { sections, ..document }
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

fn speeds(data: &Data) -> Option<crate::document::Chart> {
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

/// How often each time was counted.
fn distribution(data: &Data, field: &str, title: &str) -> Option<crate::document::Chart> {
    let place = format!("/outcome/{field}");
    let count = data.items(&place);
    let step = count.div_ceil(MOST_BINS).max(1);
    let point = |index: usize| ChartPoint {
        series: "requests".into(),
        label: String::new(),
        x: format!("{place}/{index}/value"),
        y: format!("{place}/{index}/count"),
    };
    let description =
        format!("A point for each time that was counted{}.", if step > 1 { ", some left out" } else { "" });
    let points = Points {
        title,
        description: &description,
        x: "seconds",
        y: "how often",
        points: (0..count).step_by(step).map(point).collect(),
        target: None,
        logarithmic: true,
    };
    points.chart(data)
}

/// Seconds of a step and of a first token, by what they are spent on.
fn parts(data: &Data) -> Option<crate::document::Chart> {
    let mut parts = Vec::new();
    for (name, field) in [("a step", "step_parts"), ("a first token", "first_token_parts")] {
        for part in data.fields(&format!("/outcome/{field}")) {
            let place = format!("/outcome/{field}/{part}");
            parts.push((name.to_owned(), part, place));
        }
    }
    let chart = Stacked {
        title: "Mean time of a step and of a first token",
        description: "Two bars, in parts by what the time is spent on.",
        axis: "seconds",
        parts,
    };
    chart.chart(data)
}

/// The document of a sweep: `data.main` is its JSON.
pub fn sweep(heading: Heading, data: Data) -> Document {
    let point = |index: usize| ChartPoint {
        series: "sweep".into(),
        label: data.words(&format!("/points/{index}/value")).unwrap_or_default().to_owned(),
        x: format!("/points/{index}/outcome/tokens_per_second/mean"),
        y: format!("/points/{index}/outcome/user_speed/p50"),
    };
    let points = Points {
        title: "Speed of the median user against tokens of all users",
        description: "A point for each value of the setting.",
        x: "tok/s of all users",
        y: "tok/s of the median user",
        points: (0..data.items("/points")).map(point).collect(),
        target: None,
        logarithmic: false,
    };
    let columns = [
        ("value", "value", Unit::Verbatim),
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
    let columns = columns.map(|(title, field, unit)| Column::of(title, field).counting(unit)).to_vec();
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
    Document { title, verdict, tone, sections, data, machines: Vec::new() }
}
