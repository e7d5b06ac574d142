//! The page of a plan: speed against users for every series of the table, and the table.

use crate::chart::{ChartPoint, Points};
use crate::document::{Cell, Column, Data, Document, Machine, Part, Section, Table, Tone};
use crate::generic::Heading;
use crate::unit::Unit;

/// What tells rows of a plan apart, beside users.
const ASKED: [(&str, &str); 6] = [
    ("profile", "profile"),
    ("wafers", "wafers_asked"),
    ("experts", "placement"),
    ("weights", "weights"),
    ("KV cache", "kv_cache"),
    ("context", "context"),
];

/// The name of a series where rows differ in their users alone.
const USERS: &str = "users";

/// Fields of a row that have a column; those that are left aside are the same or empty everywhere.
fn columns() -> Vec<Column> {
    [
        ("users", "users"),
        ("context", "context"),
        ("profile", "profile"),
        ("wafers asked", "wafers_asked"),
        ("wafers", "wafers"),
        ("experts", "placement"),
        ("weights", "weights"),
        ("KV cache", "kv_cache"),
        ("fits", "fits"),
        ("tok/s", "tokens_per_second_per_user"),
        ("low", "ranges/tokens_per_second_per_user/low"),
        ("high", "ranges/tokens_per_second_per_user/high"),
        ("p5", "ranges/p5/tokens_per_second_per_user"),
        ("p95", "ranges/p95/tokens_per_second_per_user"),
        ("no mapping beats", "no_mapping_beats"),
        ("in all, tok/s", "tokens_per_second_total"),
        ("per token", "time_per_output_token_us"),
        ("first token", "time_to_first_token_ms"),
        ("at full speed", "users_at_full_speed"),
        ("fit", "max_users"),
        ("slow user, tok/s", "stream/user_speed/p5"),
        ("median user, tok/s", "stream/user_speed/p50"),
        ("target", "reaches_target"),
        ("limit", "limit"),
    ]
    .into_iter()
    .map(|(title, field)| {
        let column = Column::of(title, field);
        let is_speed = matches!(title, "low" | "high" | "p5" | "p95" | "no mapping beats") || title.ends_with("tok/s");
        if is_speed { column.counting(Unit::Speed) } else { column }
    })
    .collect()
}

/// The rows of a plan, whose JSON has that name; the result itself where the name is empty. What was asked is left out
/// where it is the same in all rows.
pub(crate) fn table(data: &Data, of: &str, name: &str, caption: &str) -> Option<Table> {
    let rows = rows(of);
    let same = same_in_all_rows(data, &rows);
    let columns = columns().into_iter().filter(|column| same.iter().all(|(_, field)| column.field != *field)).collect();
    Table::of_list(data, &rows, name, caption, columns)
}

/// What was asked of all rows alike.
fn same_in_all_rows(data: &Data, rows: &str) -> Vec<(&'static str, &'static str)> {
    let at = |index: usize, field: &str| data.at(&format!("{rows}/{index}/{field}"));
    let count = data.items(rows);
    ASKED.into_iter().filter(|(_, field)| (1..count).all(|index| at(index, field) == at(0, field))).collect()
}

fn rows(of: &str) -> String {
    if of.is_empty() { "/rows".into() } else { format!("{of}:/rows") }
}

/// The names of the series of rows: what was asked, where it varies.
fn series(data: &Data, rows: &str) -> Vec<String> {
    let cell = |index: usize, field: &str| Cell::at(data, format!("{rows}/{index}/{field}"), Unit::Plain).text();
    let count = data.items(rows);
    let varying: Vec<(&str, &str)> =
        ASKED.into_iter().filter(|(_, field)| (1..count).any(|index| cell(index, field) != cell(0, field))).collect();
    let name = |index: usize| {
        let parts = varying.iter().map(|(title, field)| format!("{title} {}", cell(index, field)));
        parts.collect::<Vec<_>>().join(", ")
    };
    (0..count).map(|index| Some(name(index)).filter(|name| !name.is_empty()).unwrap_or_else(|| USERS.into())).collect()
}

/// A machine for each row that fits.
pub(crate) fn machines(data: &Data, rows: &str) -> Vec<Machine> {
    let names = series(data, rows);
    let machine = |(index, name): (usize, &String)| {
        let cell = |field: &str| Cell::at(data, format!("{rows}/{index}/{field}"), Unit::Plain);
        let users = cell("users").text();
        let machine = Machine {
            name: if name == USERS { format!("for {users} users") } else { format!("for {users} users, {name}") },
            wafers: cell("wafers"),
            users: cell("users"),
            speed: cell("tokens_per_second_per_user"),
            total: cell("tokens_per_second_total"),
        };
        (!machine.speed.is_empty() && !machine.wafers.is_empty()).then_some(machine)
    };
    names.iter().enumerate().filter_map(machine).collect()
}

/// The document of a plan: `data.main` is its JSON.
pub fn document(heading: Heading, data: Data) -> Document {
    let names = series(&data, "/rows");
    let point = |(index, name): (usize, &String)| ChartPoint {
        series: name.clone(),
        label: Cell::at(&data, format!("/rows/{index}/users"), Unit::Plain).text(),
        x: format!("/rows/{index}/tokens_per_second_total"),
        y: format!("/rows/{index}/tokens_per_second_per_user"),
    };
    let points = Points {
        title: "Speed of each user against tokens of all users",
        description: "A point for each row that fits; the dashed line is the target.",
        x: "tok/s of all users",
        y: "tok/s of each user",
        points: names.iter().enumerate().map(point).collect(),
        target: data.number("/target"),
        logarithmic: true,
    };
    let asked = ["model", "wafer", "target", "clock_ghz"].map(|field| {
        let label = if field == "target" { "Target, tok/s".into() } else { crate::generic::words(field) };
        (label, Cell::at(&data, format!("/{field}"), Unit::of_field(field)))
    });
    let same = same_in_all_rows(&data, "/rows").into_iter();
    let same = same.map(|(title, field)| (title.to_owned(), Cell::at(&data, format!("/rows/0/{field}"), Unit::Plain)));
    let asked: Vec<(String, Cell)> = asked.into_iter().chain(same).filter(|(_, cell)| !cell.is_empty()).collect();
    let caption = "Users x context x wafers x precisions x profiles x placements";
    let sections = vec![
        Section::new("frontier", "Speed against users")
            .say("Labels are users; the dashed line is the target.")
            .show(points.chart(&data).map(Part::Chart)),
        Section::new("table", "Table").show(table(&data, "", "Plan", caption).map(Part::Table)),
        Section::new("inputs", "Inputs").show(Some(Part::Figures(asked))),
    ];
    let sections = sections.into_iter().filter(|section| !section.parts.is_empty()).collect();
    let machines = machines(&data, "/rows");
    let Heading { title, verdict, tone } = heading;
    Document { title, verdict, tone, sections, data, machines, planned: crate::document::Planned::default() }
}

/// Whether any row reaches the target.
pub fn tone(data: &Data) -> Tone {
    let reached = |index: usize| data.at(&format!("/rows/{index}/reaches_target")).and_then(serde_json::Value::as_bool);
    if (0..data.items("/rows")).any(|index| reached(index) == Some(true)) { Tone::Good } else { Tone::Bad }
}
