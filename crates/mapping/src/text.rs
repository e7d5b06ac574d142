//! Reading TOML strictly, with errors that say file, line, field, value and what would be allowed.

use serde::de::DeserializeOwned;

use crate::error::MappingError;

/// Longest piece of a wrong value that is shown.
const LONGEST_VALUE: usize = 60;

/// A value from TOML text. `file` is named in errors.
pub(crate) fn read<T: DeserializeOwned>(text: &str, file: &str) -> Result<T, MappingError> {
    toml::from_str(text).map_err(|error| described(text, file, &error))
}

fn described(text: &str, file: &str, error: &toml::de::Error) -> MappingError {
    let span = error.span().unwrap_or(0..0);
    let start = span.start.min(text.len());
    let before = text.get(..start).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let value = text.get(span.clone()).unwrap_or("").trim();
    let message = error.message().trim().replace(", expected ", "; allowed: ").replace('\n', " ");
    // What is said of itself needs no second showing; a value of several lines would be no help.
    let says_it = value.is_empty() || value.contains('\n') || message.contains(value.trim_matches('"'));
    let problem =
        if says_it || value.chars().count() > LONGEST_VALUE { message } else { format!("'{value}': {message}") };
    MappingError::Text { file: file.into(), line, field: field_at(text, start), problem }
}

/// The dotted path of the field at a byte of the text: the table's header above it and the key of its line.
fn field_at(text: &str, at: usize) -> Option<String> {
    let mut table = String::new();
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let (here, end) = (line.trim(), offset + line.len());
        if let Some(header) = here.strip_prefix('[') {
            table = header.split(']').next().unwrap_or("").trim_start_matches('[').trim().to_owned();
        }
        if at < end || end == text.len() {
            let key = if here.starts_with('[') { None } else { here.split_once('=').map(|(key, _)| key.trim()) };
            let path = match (table.as_str(), key) {
                ("", key) => key.map(str::to_owned),
                (table, None) => Some(table.to_owned()),
                (table, Some(key)) => Some(format!("{table}.{key}")),
            };
            return path;
        }
        offset = end;
    }
    None
}
