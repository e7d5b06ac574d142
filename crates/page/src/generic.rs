//! A document of any JSON: single values become figures, lists of objects tables, objects sections. Whatever a command
//! says has a page, before anybody writes one for it.

use serde_json::Value;

use crate::document::{Cell, Column, Data, Document, Part, Planned, Section, Table, Tone};
use crate::unit::Unit;

/// Objects within objects are columns with dotted titles down to here; below they stand as JSON.
const DEPTH: usize = 4;
/// Most columns of a table: a sheet or page with more is not read.
const MOST_COLUMNS: usize = 60;
/// Most items of a list of numbers that is shown in one line.
const LONGEST_LIST: usize = 24;

/// What a page is headed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// Title of the page.
    pub title: String,
    /// What it comes to.
    pub verdict: String,
    /// Whether that is good news.
    pub tone: Tone,
}

/// A document of everything that a result says.
pub fn document(heading: Heading, data: Data) -> Document {
    let sections = match &data.main {
        Value::Array(_) => list(&data, "", "rows").into_iter().collect(),
        _ => sections(&data, "", "Result"),
    };
    let Heading { title, verdict, tone } = heading;
    Document { title, verdict, tone, sections, data, machines: Vec::new(), planned: Planned::default() }
}

/// The sections of the object at a place: first its single values, then a section for each list and object in it.
pub(crate) fn sections(data: &Data, place: &str, heading: &str) -> Vec<Section> {
    let mut figures = Vec::new();
    let mut after = Vec::new();
    for field in data.fields(place) {
        let at = format!("{place}/{}", escaped(&field));
        match data.at(&at) {
            Some(Value::Array(items)) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                after.extend(list(data, &at, &field));
            }
            Some(Value::Array(items)) if items.len() > LONGEST_LIST => after.extend(list(data, &at, &field)),
            Some(Value::Object(fields)) if !fields.is_empty() => {
                after.push(Section::new(&anchor(&at), &words(&field)).show(object(data, &at)));
                after.extend(lists_within(data, &at));
            }
            _ => {
                let cell = Cell::at(data, at, Unit::of_field(&field));
                figures.extend((!cell.is_empty()).then(|| (words(&field), cell)));
            }
        }
    }
    let first = Section::new(&anchor(place), heading);
    let first = first.show((!figures.is_empty()).then_some(Part::Figures(figures)));
    let first = (!first.parts.is_empty()).then_some(first);
    first.into_iter().chain(after).filter(|section| !section.parts.is_empty()).collect()
}

/// The single values of an object and of those within it, as figures.
pub(crate) fn object(data: &Data, place: &str) -> Option<Part> {
    let mut figures = Vec::new();
    for path in paths(data, place, DEPTH) {
        let at = format!("{place}/{path}");
        let is_table = data.at(&at).and_then(Value::as_array).is_some_and(|items| {
            items.len() > LONGEST_LIST || items.iter().any(|item| item.is_object() || item.is_array())
        });
        let last = path.rsplit('/').next().unwrap_or(&path);
        let cell = if is_table { Cell::Empty } else { Cell::at(data, at, Unit::of_field(last)) };
        if !cell.is_empty() {
            figures.push((words(&path.replace('/', ": ")), cell));
        }
    }
    (!figures.is_empty()).then_some(Part::Figures(figures))
}

/// Sections for the lists of objects inside an object.
fn lists_within(data: &Data, place: &str) -> Vec<Section> {
    let paths = paths(data, place, DEPTH).into_iter();
    let lists = paths.filter_map(|path| {
        let at = format!("{place}/{path}");
        let items = data.at(&at)?.as_array()?;
        let is_table = items.len() > LONGEST_LIST || items.iter().any(|item| item.is_object() || item.is_array());
        is_table.then(|| list(data, &at, &path)).flatten()
    });
    lists.collect()
}

/// A section with the table of a list.
fn list(data: &Data, place: &str, name: &str) -> Option<Section> {
    let mut fields: Vec<String> = Vec::new();
    for index in 0..data.items(place) {
        for path in paths(data, &format!("{place}/{index}"), DEPTH) {
            if fields.len() < MOST_COLUMNS && !fields.contains(&path) {
                fields.push(path);
            }
        }
    }
    let columns = fields.iter().map(|field| Column::of(&words(&field.replace('/', ": ")), field)).collect();
    let table = if fields.is_empty() {
        bare(data, place, name)
    } else {
        Table::of_list(data, place, name, &words(name), columns)
    };
    Some(Section::new(&anchor(place), &words(name)).show(Some(Part::Table(table?))))
}

/// A list of bare values.
fn bare(data: &Data, place: &str, name: &str) -> Option<Table> {
    let unit = Unit::of_field(name);
    let columns = vec![Column { title: words(name), field: String::new(), unit }];
    let rows = (0..data.items(place)).map(|index| vec![Cell::at(data, format!("{place}/{index}"), unit)]).collect();
    Table { name: name.into(), caption: words(name), columns, rows }.without_empty_columns()
}

/// The paths of all values below an object, escaped as JSON pointers are; what lies deeper stays one value.
fn paths(data: &Data, place: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for field in data.fields(place) {
        let field = escaped(&field);
        let at = format!("{place}/{field}");
        match data.at(&at) {
            Some(Value::Object(fields)) if !fields.is_empty() && depth > 1 => {
                found.extend(paths(data, &at, depth - 1).into_iter().map(|path| format!("{field}/{path}")));
            }
            _ => found.push(field),
        }
    }
    found
}

/// A field as a part of a JSON pointer.
fn escaped(field: &str) -> String {
    field.replace('~', "~0").replace('/', "~1")
}

/// A field's name as words, without the unit at its end.
pub(crate) fn words(field: &str) -> String {
    let field = field.replace("~1", "/").replace("~0", "~");
    let without = ["_us", "_ms", "_s", "_percent", "_ghz"].into_iter().find_map(|unit| field.strip_suffix(unit));
    let words = without.unwrap_or(&field).replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// An anchor for a place.
fn anchor(place: &str) -> String {
    let kept: String = place
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' })
        .collect();
    let kept = kept.trim_matches('-');
    if kept.is_empty() { "result".into() } else { kept.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_finds_a_place() {
        let main = json!({
            "name": "a",
            "time_us": 12.5,
            "none": null,
            "inner": { "a": 1, "deep": { "b": true, "rows": [{ "x": 1 }, { "y": { "z": 2 } }] } },
            "rows": [{ "users": 1, "speed": 2.5 }, { "users": 2, "why": "too large" }],
            "numbers": [1, 2, 3],
        });
        let heading = Heading { title: "t".into(), verdict: "v".into(), tone: Tone::Neutral };
        let document = document(heading, Data { main, beside: Vec::new() });
        let headings: Vec<&str> = document.sections.iter().map(|section| section.heading.as_str()).collect();
        assert_eq!(headings, ["Result", "Inner", "Deep/rows", "Rows"]);
        let Some(Part::Table(rows)) = document.sections.last().and_then(|section| section.parts.first()) else {
            panic!("a table")
        };
        let titles: Vec<&str> = rows.columns.iter().map(|column| column.title.as_str()).collect();
        assert_eq!(titles, ["Users", "Speed", "Why"]);
        assert_eq!(rows.rows[1].iter().map(Cell::text).collect::<Vec<_>>(), ["2", "", "too large"]);
        let Part::Figures(figures) = &document.sections[0].parts[0] else { panic!("figures") };
        let said: Vec<(&str, String)> = figures.iter().map(|(label, cell)| (label.as_str(), cell.text())).collect();
        assert_eq!(said, [("Name", "a".into()), ("Time", "12.50 us".into()), ("Numbers", "1, 2, 3".into())]);
    }
}
