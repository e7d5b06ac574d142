//! Two stores beside each other: which rows only one of them has, and what differs in those that both have.
//!
//! Rows are one and the same where their keys are: the hash of everything that a row means. Stores of different
//! questions have none in common; there rows are put beside each other by their places, if that is asked.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use wafersim_store::Row;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, plural, share, significant, whole};
use crate::paragraph::{heading, labelled};
use crate::records::csv_text;
use crate::results::{Named, flat, parsed};

/// Which rows of two stores belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Those that mean the same.
    Key,
    /// Those at the same place, whatever they mean.
    Place,
}

/// What differs between two stores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    a: OfStore,
    b: OfStore,
    by: By,
    /// Rows that both have.
    both: u64,
    /// Of these, rows that are the same.
    same: u64,
    /// Places of rows that only the first has.
    only_a: Vec<u64>,
    /// Places of rows that only the second has.
    only_b: Vec<u64>,
    /// What was asked differently.
    asked: Vec<Field>,
    /// What differs in rows that both have.
    rows: Vec<Differs>,
}

/// One of the stores.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct OfStore {
    file: String,
    command: String,
    version: String,
    build: String,
    question: String,
    finished: u64,
    rows: u64,
}

/// A field of what was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Field {
    path: String,
    a: Value,
    b: Value,
}

/// A field of a row.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Differs {
    place_a: u64,
    place_b: u64,
    key_a: String,
    key_b: String,
    #[serde(flatten)]
    field: Field,
    /// By which part `b` is larger, where both are numbers: 0.1 is 10 %.
    change: Option<f64>,
}

impl Difference {
    /// Whether the stores have the same rows, all of them.
    pub fn is_none(&self) -> bool {
        self.rows.is_empty() && self.only_a.is_empty() && self.only_b.is_empty()
    }

    /// Rows that both have.
    pub const fn in_both(&self) -> u64 {
        self.both
    }
}

/// Compares two stores.
///
/// # Errors
/// Where a row is no JSON, which a store does not hold.
pub fn difference(a: &Named, b: &Named, by: By) -> Result<Difference, ReportError> {
    let name = |row: &Row| match by {
        By::Key => (row.key.clone(), 0),
        // Places are in order; keys do not tell them apart.
        By::Place => (String::new(), row.place),
    };
    let mut others: BTreeMap<(String, u64), Vec<&Row>> = BTreeMap::new();
    // Several rows may mean the same: they belong together in their order.
    for row in b.stored.rows.iter().rev() {
        others.entry(name(row)).or_default().push(row);
    }
    let (mut both, mut same, mut only_a, mut rows) = (0, 0, Vec::new(), Vec::new());
    for row in &a.stored.rows {
        let Some(other) = others.get_mut(&name(row)).and_then(Vec::pop) else {
            only_a.push(row.place);
            continue;
        };
        both += 1;
        let fields = differing(&parsed(&row.json)?, &parsed(&other.json)?);
        same += u64::from(fields.is_empty());
        rows.extend(fields.into_iter().map(|field| Differs {
            place_a: row.place,
            place_b: other.place,
            key_a: row.key.clone(),
            key_b: other.key.clone(),
            change: change(&field),
            field,
        }));
    }
    let mut only_b: Vec<u64> = others.into_values().flatten().map(|row| row.place).collect();
    only_b.sort_unstable();
    let asked = differing(&a.stored.header.asked, &b.stored.header.asked);
    Ok(Difference { a: side(a), b: side(b), by, both, same, only_a, only_b, asked, rows })
}

fn side(named: &Named) -> OfStore {
    let header = &named.stored.header;
    OfStore {
        file: named.file.clone(),
        command: header.command.clone(),
        version: header.program.version.clone(),
        build: header.program.build.clone(),
        question: header.question.clone(),
        finished: named.stored.rows.len() as u64,
        rows: header.rows,
    }
}

/// The fields in which two values differ, with their dotted paths; one that is not there is null.
fn differing(a: &Value, b: &Value) -> Vec<Field> {
    let leaves = |value: &Value| {
        let mut fields = Vec::new();
        flat(if value.is_object() { "" } else { "row" }, value, &mut |path, value| {
            fields.push((path.to_owned(), value.clone()));
        });
        fields
    };
    let (a, b) = (leaves(a), leaves(b));
    let of_b: BTreeMap<&str, &Value> = b.iter().map(|(path, value)| (path.as_str(), value)).collect();
    let of_a: BTreeMap<&str, &Value> = a.iter().map(|(path, value)| (path.as_str(), value)).collect();
    let paths = a
        .iter()
        .map(|(path, _)| path)
        .chain(b.iter().map(|(path, _)| path).filter(|path| !of_a.contains_key(path.as_str())));
    let at = |of: &BTreeMap<&str, &Value>, path: &str| of.get(path).map_or(Value::Null, |value| (*value).clone());
    paths
        .map(|path| Field { path: path.clone(), a: at(&of_a, path), b: at(&of_b, path) })
        .filter(|field| field.a != field.b)
        .collect()
}

fn change(field: &Field) -> Option<f64> {
    let (a, b) = (field.a.as_f64()?, field.b.as_f64()?);
    (a != 0.0).then(|| b / a - 1.0).filter(|change| change.is_finite())
}

/// Most lines of the table for people.
const MOST_LINES: usize = 100;

/// For people.
pub fn text(difference: &Difference) -> String {
    let Difference { a, b, by, both, same, only_a, only_b, asked, rows } = difference;
    let mut page = String::new();
    for (name, side) in [("a", a), ("b", b)] {
        let of = format!(
            "{}: simctl {}, {} of {} rows, wafersim {} build {}",
            side.file,
            side.command,
            whole(side.finished),
            whole(side.rows),
            side.version,
            side.build
        );
        page.push_str(&labelled(name, &of));
    }
    let by = match by {
        By::Key => "by what they mean",
        By::Place => "by their places",
    };
    page.push_str(&labelled(
        "rows",
        &format!(
            "{} in both ({by}), {} of them the same; {} in a only, {} in b only",
            whole(*both),
            whole(*same),
            whole(only_a.len() as u64),
            whole(only_b.len() as u64)
        ),
    ));
    for (name, only) in [("only in a", only_a), ("only in b", only_b)] {
        if !only.is_empty() && *both > 0 {
            page.push_str(&labelled(name, &format!("rows {}", spans(only).join(", "))));
        }
    }
    if *both == 0 && a.question != b.question {
        page.push_str(&labelled("note", "the stores are of different questions: --by place puts row beside row"));
    }
    if !asked.is_empty() {
        page.push_str(&heading("Asked differently"));
        let mut grid = Grid::new([("field", Side::Left), ("a", Side::Left), ("b", Side::Left)]);
        asked.iter().for_each(|field| grid.row([field.path.clone(), whole_text(&field.a), whole_text(&field.b)]));
        page.push_str(&grid.text());
    }
    if !rows.is_empty() {
        page.push_str(&heading("What differs"));
        let numbers = ["row", "a", "b", "change"].map(|title| (title, Side::Right));
        let mut grid = Grid::new([("field", Side::Left)].into_iter().chain(numbers));
        for row in rows.iter().take(MOST_LINES) {
            let place = match row.place_a == row.place_b {
                true => row.place_a.to_string(),
                false => format!("{}, {}", row.place_a, row.place_b),
            };
            let change = row.change.map_or_else(|| NOTHING.to_owned(), signed);
            grid.row([row.field.path.clone(), place, shown(&row.field.a), shown(&row.field.b), change]);
        }
        page.push_str(&grid.text());
        if let Some(more) = rows.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
            page.push_str(&format!("\n  and {}: --format csv has all\n", plural(more as u64, "more field")));
        }
    }
    page
}

fn signed(change: f64) -> String {
    if change < 0.0 { format!("-{}", share(-change)) } else { format!("+{}", share(change)) }
}

/// A value as people read it.
fn whole_text(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => significant(number.as_f64().unwrap_or(0.0), 6),
        Value::Array(items) => items.iter().map(whole_text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The same, cut where it is long.
fn shown(value: &Value) -> String {
    /// Longest text, in characters.
    const LONGEST: usize = 24;
    let text = whole_text(value);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Places that follow each other, together.
fn spans(places: &[u64]) -> Vec<String> {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for place in places {
        match spans.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*place) => *last = *place,
            _ => spans.push((*place, *place)),
        }
    }
    let said = |(first, last): (u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    };
    spans.into_iter().map(said).collect()
}

/// For programs.
///
/// # Errors
/// None that a difference can cause.
pub fn json(difference: &Difference) -> Result<String, ReportError> {
    pretty(difference)
}

/// For spreadsheets: a line for each field that differs, and for each row that only one has.
///
/// # Errors
/// None that a difference can cause.
pub fn csv(difference: &Difference) -> Result<String, ReportError> {
    let titles = ["place_a", "place_b", "field", "a", "b", "change"].map(str::to_owned).to_vec();
    let plain = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let differs = difference.rows.iter().map(|row| {
        vec![
            row.place_a.to_string(),
            row.place_b.to_string(),
            row.field.path.clone(),
            plain(&row.field.a),
            plain(&row.field.b),
            row.change.map_or_else(String::new, |change| change.to_string()),
        ]
    });
    let lone = |place_a: String, place_b: String| {
        vec![place_a, place_b, String::new(), String::new(), String::new(), String::new()]
    };
    let only_a = difference.only_a.iter().map(|place| lone(place.to_string(), String::new()));
    let only_b = difference.only_b.iter().map(|place| lone(String::new(), place.to_string()));
    csv_text(std::iter::once(titles).chain(differs).chain(only_a).chain(only_b))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wafersim_store::{Header, Program, SCHEMA_VERSION, Stored};

    use super::*;

    fn store(question: &str, rows: &[(u64, &str, Value)]) -> Named {
        let rows = rows
            .iter()
            .map(|(place, key, row)| Row { place: *place, key: (*key).into(), json: row.to_string() })
            .collect();
        let program = Program { version: "1".into(), build: "b".into() };
        let (command, asked) = ("plan".into(), json!({ "users": [1, 2], "wafer": question }));
        let header =
            Header { schema_version: SCHEMA_VERSION, command, program, question: question.into(), rows: 9, asked };
        Named { file: "f.jsonl".into(), stored: Stored { header, rows, torn: 0 } }
    }

    #[test]
    fn rows_belong_together_by_what_they_mean() {
        let a = store("q", &[(0, "k", json!({ "speed": 100.0, "fits": true })), (1, "l", json!({ "speed": 1.0 }))]);
        let b = store("q", &[(3, "k", json!({ "speed": 110.0, "fits": true })), (4, "m", json!({ "speed": 1.0 }))]);
        let found = difference(&a, &b, By::Key).unwrap();
        assert_eq!((found.both, found.same, &found.only_a[..], &found.only_b[..]), (1, 0, &[1][..], &[4][..]));
        assert_eq!(found.rows.len(), 1);
        assert!((found.rows[0].change.unwrap() - 0.1).abs() < 1e-12);
        assert!(text(&found).contains("+10 %"), "{}", text(&found));
        let itself = difference(&a, &a, By::Key).unwrap();
        assert!(itself.is_none() && itself.same == 2, "a store and itself");
    }

    #[test]
    fn other_questions_have_no_row_in_common_but_places() {
        let a = store("q", &[(0, "k", json!({ "speed": 100.0 })), (1, "l", json!(3))]);
        let b = store("r", &[(0, "m", json!({ "speed": 100.0, "more": [1] })), (1, "n", json!(4))]);
        let by_key = difference(&a, &b, By::Key).unwrap();
        assert!(by_key.both == 0 && text(&by_key).contains("--by place"));
        let by_place = difference(&a, &b, By::Place).unwrap();
        let fields: Vec<_> = by_place.rows.iter().map(|row| row.field.path.as_str()).collect();
        assert_eq!((by_place.both, fields), (2, vec!["more", "row"]));
        assert!(text(&by_place).contains("wafer"), "what was asked differently");
        assert_eq!(csv(&by_key).unwrap().lines().count(), 1 + 2 + 2);
    }

    #[test]
    fn rows_of_the_same_meaning_keep_their_order() {
        let a = store("q", &[(0, "k", json!(1)), (1, "k", json!(2))]);
        assert!(difference(&a, &a, By::Key).unwrap().is_none());
    }
}
