//! Stores of results: what they are of, and their rows for spreadsheets and programs.

use serde::Serialize;
use serde_json::Value;
use wafersim_store::{Header, Row, Stored};

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::whole;
use crate::records::csv_text;

/// A store with its name.
#[derive(Debug, Clone)]
pub struct Named {
    /// Path as given.
    pub file: String,
    /// What is in it.
    pub stored: Stored,
}

/// A line for each store.
pub fn list(stores: &[Named]) -> String {
    let mut grid = Grid::new([
        ("file", Side::Left),
        ("command", Side::Left),
        ("rows", Side::Right),
        ("of", Side::Right),
        ("build", Side::Right),
        ("question", Side::Right),
    ]);
    for Named { file, stored } in stores {
        let Header { command, program, question, rows, .. } = &stored.header;
        grid.row(vec![
            file.clone(),
            command.clone(),
            whole(stored.rows.len() as u64),
            whole(*rows),
            format!("{} {}", program.version, program.build),
            question.clone(),
        ]);
    }
    grid.text()
}

/// What a store is of, which rows it lacks, and what was asked.
pub fn text(store: &Named) -> String {
    let Named { file, stored } = store;
    let Header { command, program, question, rows, asked, .. } = &stored.header;
    let mut text = format!(
        "{file}: simctl {command}, {} of {} rows\n  made by   wafersim {}, build {}\n  question  {question}\n",
        whole(stored.rows.len() as u64),
        whole(*rows),
        program.version,
        program.build
    );
    let missing = missing(stored);
    if !missing.is_empty() {
        text += &format!("  missing   rows {}\n", missing.join(", "));
    }
    if stored.torn > 0 {
        text += &format!("  torn      {} bytes at the end\n", whole(stored.torn));
    }
    text += "\nAsked\n";
    let mut fields = Vec::new();
    texts("", asked, &mut fields);
    for (path, value) in fields {
        text += &format!("  {path} = {value}\n");
    }
    text
}

/// Places without a row, from 0, those that follow each other together.
fn missing(stored: &Stored) -> Vec<String> {
    let mut gaps = Vec::new();
    let mut next = 0;
    let ends = stored.rows.iter().map(|row| row.place).chain([stored.header.rows]);
    for place in ends {
        match place.saturating_sub(next) {
            0 => {}
            1 => gaps.push(next.to_string()),
            _ => gaps.push(format!("{next} to {}", place - 1)),
        }
        next = place.saturating_add(1);
    }
    gaps
}

/// The fields of a value with their dotted paths; lists stay whole.
pub(crate) fn flat(path: &str, value: &Value, field: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(inside) => {
            for (name, value) in inside {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flat(&path, value, field);
            }
        }
        other => field(path, other),
    }
}

/// The same as texts.
fn texts(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    flat(path, value, &mut |path, value| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        fields.push((path.to_owned(), text));
    });
}

/// The rows, a line each: the fields of all of them as columns, empty where a row has none; lists as JSON.
///
/// # Errors
/// Where a row is no JSON, which a store does not hold.
pub fn csv(stored: &Stored) -> Result<String, ReportError> {
    let mut titles: Vec<String> = vec!["place".into()];
    let mut lines = Vec::with_capacity(stored.rows.len());
    for row in &stored.rows {
        let value: Value = parsed(&row.json)?;
        let mut fields = vec![("place".to_owned(), row.place.to_string())];
        texts(if value.is_object() { "" } else { "row" }, &value, &mut fields);
        for (path, _) in &fields {
            if !titles.contains(path) {
                titles.push(path.clone());
            }
        }
        lines.push(fields);
    }
    let line = |fields: &Vec<(String, String)>| {
        let cell =
            |title| fields.iter().find(|(path, _)| path == title).map_or_else(String::new, |(_, cell)| cell.clone());
        titles.iter().map(cell).collect()
    };
    csv_text(std::iter::once(titles.clone()).chain(lines.iter().map(line)))
}

pub(crate) fn parsed<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, ReportError> {
    serde_json::from_str(json).map_err(|error| ReportError::Format { format: "JSON", reason: error.to_string() })
}

#[derive(Serialize)]
struct RowObject {
    place: u64,
    key: String,
    row: Value,
}

#[derive(Serialize)]
struct StoreObject<'a> {
    #[serde(flatten)]
    header: &'a Header,
    finished: Vec<RowObject>,
}

/// Header and rows as one object.
///
/// # Errors
/// As [`csv()`].
pub fn json(stored: &Stored) -> Result<String, ReportError> {
    let row = |row: &'_ Row| Ok(RowObject { place: row.place, key: row.key.clone(), row: parsed(&row.json)? });
    let finished = stored.rows.iter().map(row).collect::<Result<_, ReportError>>()?;
    pretty(&StoreObject { header: &stored.header, finished })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wafersim_store::{Program, SCHEMA_VERSION};

    use super::*;

    fn store(rows: &[(u64, Value)], of: u64) -> Named {
        let rows = rows.iter().map(|(place, row)| Row { place: *place, key: "k".into(), json: row.to_string() });
        let program = Program { version: "1.2.3".into(), build: "abc".into() };
        let asked = json!({ "axes": { "users": [1, 2] }, "search": null });
        let (command, question) = ("plan".into(), "q".into());
        let header = Header { schema_version: SCHEMA_VERSION, command, program, question, rows: of, asked };
        Named { file: "a.jsonl".into(), stored: Stored { header, rows: rows.collect(), torn: 0 } }
    }

    #[test]
    fn what_is_missing_and_what_was_asked_is_said() {
        let said = text(&store(&[(0, json!(1)), (2, json!(1)), (5, json!(1))], 9));
        for part in ["a.jsonl: simctl plan, 3 of 9 rows", "rows 1, 3 to 4, 6 to 8", "  axes.users = [1,2]\n"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!text(&store(&[(0, json!(1))], 1)).contains("missing"));
        assert!(list(&[store(&[], 9)]).contains("1.2.3 abc"));
    }

    #[test]
    fn rows_that_differ_in_their_fields_share_a_table() {
        let rows = [
            (0, json!({ "a": 1.5, "b": { "c": "x,y", "d": [1] } })),
            (1, json!({ "a": null, "e": true })),
            (3, json!([2])),
        ];
        let text = csv(&store(&rows, 4).stored).unwrap();
        assert_eq!(text, "place,a,b.c,b.d,e,row\n0,1.5,\"x,y\",[1],,\n1,,,,true,\n3,,,,,[2]\n");
    }
}
