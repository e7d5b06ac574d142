//! A document as one page of HTML: styles, charts' library, scripts and data inside, nothing from elsewhere.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment};
use serde::Serialize;
use serde_json::{Value, json};

use crate::document::{Cell, Chart, Document, Part, Section, Table, Tone};
use crate::error::PageError;

const PAGE: &str = include_str!("../assets/page.html");
const MAIN: &str = include_str!("../assets/main.html");
const CSS: &str = include_str!("../assets/page.css");
const SCRIPT: &str = include_str!("../assets/page.js");
/// Vega, Vega-Lite and vega-embed, with their licences.
const LIBRARY: &str = include_str!("../assets/vega.min.js");

/// Rows of a table that a page shows at most; a spreadsheet has them all.
pub const MOST_ROWS: usize = 500;

/// Words of a cell from which on they may be broken over lines.
const LONG: usize = 40;

/// What made a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// Program and version.
    pub generator: String,
    /// The command; nothing where it is not known.
    pub command: String,
}

/// Something that can be asked anew on a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Control {
    /// Its name in a query.
    pub name: &'static str,
    /// What stands above it.
    pub label: String,
    /// What it is set to.
    pub value: String,
    /// What it may be set to; none where that is open.
    pub choices: Vec<Choice>,
    /// The smallest number; empty where it is no number.
    pub min: String,
    /// The largest number.
    pub max: String,
    /// What the arrows add.
    pub step: String,
}

/// One of several values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The value.
    pub value: String,
    /// What is read.
    pub words: String,
}

/// A document as a page that stands for itself.
///
/// # Errors
/// None that a document can cause.
pub fn page(document: &Document, made: &Made) -> Result<String, PageError> {
    whole(document, made, &[])
}

/// The same with controls: a change of one asks `answer?NAME=VALUE&...` of the server that the page is from, which
/// answers with [`main`] of another document, or with a code of an error and words.
///
/// # Errors
/// None that a document can cause.
pub fn page_with(document: &Document, made: &Made, controls: &[Control]) -> Result<String, PageError> {
    whole(document, made, controls)
}

fn whole(document: &Document, made: &Made, controls: &[Control]) -> Result<String, PageError> {
    let inside = main(document)?;
    render(
        PAGE,
        &json!({
            "title": document.title,
            "generator": made.generator,
            "command": made.command,
            "connect": if controls.is_empty() { "'none'" } else { "'self'" },
            "css": CSS,
            "controls": controls,
            "main": inside,
            "library": LIBRARY,
            "script": SCRIPT,
        }),
    )
}

/// What stands between head and foot of a page.
///
/// # Errors
/// None that a document can cause.
pub fn main(document: &Document) -> Result<String, PageError> {
    let sections: Vec<Value> = document.sections.iter().map(section).collect();
    let beside = document.data.beside.iter().map(|(name, value)| json!({ "name": name, "json": inert(value) }));
    render(
        MAIN,
        &json!({
            "title": document.title,
            "verdict": document.verdict,
            "tone": match document.tone {
                Tone::Good => "good",
                Tone::Bad => "bad",
                Tone::Neutral => "neutral",
            },
            "sections": sections,
            "data": inert(&document.data.main),
            "beside": beside.collect::<Vec<Value>>(),
        }),
    )
}

fn render(template: &str, context: &Value) -> Result<String, PageError> {
    let failed = |error: minijinja::Error| PageError::form("HTML", &error);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).build().map_err(failed)?);
    environment.render_str(template, minijinja::value::Serde(context)).map_err(failed)
}

/// JSON that ends no script element: `<` stands inside of its strings only.
fn inert(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

fn section(section: &Section) -> Value {
    let parts: Vec<Value> = section.parts.iter().map(part).collect();
    json!({ "id": section.id, "heading": section.heading, "words": section.words, "parts": parts })
}

fn part(part: &Part) -> Value {
    match part {
        Part::Figures(figures) => {
            let figure = |(label, value): &(String, Cell)| json!({ "label": label, "cell": cell(value, false) });
            json!({ "kind": "figures", "figures": figures.iter().map(figure).collect::<Vec<_>>() })
        }
        Part::Table(shown) => table(shown),
        Part::Chart(chart) => json!({
            "kind": "chart",
            "title": chart.title,
            "description": chart.description,
            "spec": inert(&specification(chart)),
        }),
        Part::Picture(picture) => {
            json!({ "kind": "picture", "description": picture.description, "svg": picture.svg })
        }
        Part::Lines(lines) => json!({ "kind": "lines", "lines": lines }),
    }
}

/// The whole specification of a chart.
pub fn specification(chart: &Chart) -> Value {
    let mut spec = chart.spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        let records: Vec<Value> = chart.records.iter().map(|record| Value::Object(record.0.clone())).collect();
        fields.insert("$schema".into(), "https://vega.github.io/schema/vega-lite/v6.json".into());
        fields.insert("description".into(), chart.description.clone().into());
        fields.insert("data".into(), json!({ "values": records }));
    }
    spec
}

fn table(table: &Table) -> Value {
    let is_number = |index: usize| table.rows.iter().filter_map(|row| row.get(index)).any(Cell::is_number);
    let numbers: Vec<bool> = (0..table.columns.len()).map(is_number).collect();
    let titles = table.columns.iter().zip(&numbers);
    let columns: Vec<Value> =
        titles.map(|(column, numbers)| json!({ "title": column.title, "numbers": numbers })).collect();
    let row =
        |row: &Vec<Cell>| row.iter().zip(&numbers).map(|(value, numbers)| cell(value, *numbers)).collect::<Vec<_>>();
    let rows: Vec<Vec<Value>> = table.rows.iter().take(MOST_ROWS).map(row).collect();
    let all = table.rows.len();
    let left_out = (all > MOST_ROWS).then(|| format!("{MOST_ROWS} of {all} rows, a spreadsheet (.xlsx) has them all"));
    json!({ "kind": "table", "caption": table.caption, "columns": columns, "rows": rows, "left_out": left_out })
}

/// Words and attributes of a cell. The place is made of names of fields, which are escaped all the same.
fn cell(cell: &Cell, is_column_of_numbers: bool) -> Value {
    let text = cell.text();
    let mut attributes = String::new();
    if let Cell::Value { at, unit, .. } = cell {
        let escaped = at.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        let _ = write!(attributes, " data-at=\"{escaped}\" data-unit=\"{}\"", unit.name());
    }
    if is_column_of_numbers {
        attributes.push_str(" class=\"number\"");
    } else if text.len() > LONG {
        attributes.push_str(" class=\"long\"");
    }
    json!({ "text": text, "attributes": attributes })
}
