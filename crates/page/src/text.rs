//! A document as Markdown, and its first table as CSV.

use csv::WriterBuilder;
use serde_json::Value;

use crate::document::{Cell, Document, Part, Table};
use crate::error::PageError;

/// A document as Markdown: headings, sentences, tables. Charts and pictures are left out, and named.
pub fn markdown(document: &Document) -> String {
    let mut text = format!("# {}\n", escaped(&document.title));
    if !document.verdict.is_empty() {
        text += &format!("\n{}\n", document.verdict);
    }
    for section in &document.sections {
        text += &format!("\n## {}\n", escaped(&section.heading));
        for words in &section.words {
            text += &format!("\n{words}\n");
        }
        for part in &section.parts {
            match part {
                Part::Figures(figures) => {
                    text += "\n| | |\n|---|---|\n";
                    for (label, cell) in figures {
                        text += &format!("| {} | {} |\n", escaped(label), escaped(&cell.text()));
                    }
                }
                Part::Table(table) => text += &of_table(table),
                Part::Chart(chart) => text += &format!("\n*{}: a chart of the page (.html).*\n", chart.title),
                Part::Picture(picture) => {
                    text += &format!("\n*{}: a picture of the page (.html).*\n", picture.description)
                }
                Part::Lines(lines) => text += &format!("\n```text\n{}\n```\n", lines.trim_end()),
            }
        }
    }
    text
}

fn of_table(table: &Table) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let is_number = |index: usize| table.rows.iter().any(|row| row.get(index).is_some_and(Cell::is_number));
    let rule = |index: usize| if is_number(index) { "--:" } else { "---" }.to_owned();
    let mut text = format!("\n{}\n\n", table.caption);
    text += &line(table.columns.iter().map(|column| escaped(&column.title)).collect());
    text += &line((0..table.columns.len()).map(rule).collect());
    for row in &table.rows {
        text += &line(row.iter().map(|cell| escaped(&cell.text())).collect());
    }
    text
}

/// What would end a cell or a heading, taken out of its meaning.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ").replace('<', "&lt;")
}

/// The largest table of a document as CSV: all numbers in full, in the units of the titles. Where there is no table,
/// the figures with their labels.
///
/// # Errors
/// None that a document can cause.
pub fn csv(document: &Document) -> Result<String, PageError> {
    if let Some(table) = largest_table(document) {
        let titles = table.columns.iter().map(|column| titled(&column.title, column.unit.symbol())).collect();
        return written(std::iter::once(titles).chain(table.rows.iter().map(|row| row.iter().map(full).collect())));
    }
    let parts = document.sections.iter().flat_map(|section| &section.parts);
    let figures = parts.filter_map(|part| if let Part::Figures(figures) = part { Some(figures) } else { None });
    let lines = figures.flatten().map(|(label, cell)| vec![label.clone(), full(cell), symbol(cell).to_owned()]);
    written(std::iter::once(["figure", "value", "unit"].map(str::to_owned).to_vec()).chain(lines))
}

/// The first of the tables that have most rows.
pub(crate) fn largest_table(document: &Document) -> Option<&Table> {
    let parts = document.sections.iter().flat_map(|section| &section.parts);
    let tables = parts.filter_map(|part| if let Part::Table(table) = part { Some(table) } else { None });
    tables.fold(None, |best: Option<&Table>, table| match best {
        Some(best) if best.rows.len() >= table.rows.len() => Some(best),
        _ => Some(table),
    })
}

fn written(records: impl Iterator<Item = Vec<String>>) -> Result<String, PageError> {
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    for record in records {
        writer.write_record(record).map_err(|error| PageError::form("CSV", &error))?;
    }
    let bytes = writer.into_inner().map_err(|error| PageError::form("CSV", &error))?;
    String::from_utf8(bytes).map_err(|error| PageError::form("CSV", &error))
}

/// A title with its unit.
pub(crate) fn titled(title: &str, symbol: &str) -> String {
    if symbol.is_empty() || title.contains(symbol) { title.to_owned() } else { format!("{title} ({symbol})") }
}

pub(crate) const fn symbol(cell: &Cell) -> &'static str {
    match cell {
        Cell::Value { value: Value::Number(_), unit, .. } => unit.symbol(),
        _ => "",
    }
}

/// A value in full: numbers read back to the same bits.
fn full(cell: &Cell) -> String {
    match cell {
        Cell::Value { value: Value::String(text), .. } => text.clone(),
        Cell::Value { value, .. } => value.to_string(),
        other => other.text(),
    }
}
