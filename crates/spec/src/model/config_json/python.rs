//! JSON as Python writes it: with `Infinity`, `-Infinity` and `NaN`, which the standard does not know.

use serde_json::Value;

use crate::error::SpecError;

/// The value of a text. Python's three numbers become texts of their names: a key that is not read may have any value,
/// and one that is read is refused by its value.
pub(super) fn json(text: &str, file: &str) -> Result<Value, SpecError> {
    serde_json::from_str(text).or_else(|error| {
        let said = |error: serde_json::Error| SpecError::Syntax {
            file: file.into(),
            detail: format!("not valid JSON: {error}"),
        };
        match quoted(text) {
            // Where there is none of them, the message is about the text as it is.
            None => Err(said(error)),
            Some(text) => serde_json::from_str(&text).map_err(said),
        }
    })
}

/// The text with Python's numbers in quotes, where there are any outside of quotes.
fn quoted(text: &str) -> Option<String> {
    const NAMES: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut out = String::with_capacity(text.len() + 16);
    let (mut rest, mut found) = (text, false);
    while let Some(start) = rest.find(['"', '-', 'I', 'N']) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let length = if from.starts_with('"') {
            end_of_string(from)
        } else if let Some(name) = NAMES.into_iter().find(|name| from.starts_with(name)) {
            found = true;
            out.push('"');
            out.push_str(name);
            out.push('"');
            rest = from.get(name.len()..).unwrap_or_default();
            continue;
        } else {
            1
        };
        let (same, after) = from.split_at(length);
        out.push_str(same);
        rest = after;
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Bytes of the string that a text begins with, both quotes included.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (place, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_of_python_are_read_outside_of_strings() {
        let text = r#"{"a": [0.0, Infinity], "NaN \" Infinity": NaN, "b": "-Infinity", "c": -Infinity, "d": -1}"#;
        let expected = json!({
            "a": [0.0, "Infinity"], "NaN \" Infinity": "NaN", "b": "-Infinity", "c": "-Infinity", "d": -1
        });
        assert_eq!(json(text, "f"), Ok(expected));
        let message = json("{\"a\": NaN, \"b\": Nix}", "f").unwrap_err().to_string();
        assert!(message.starts_with("f: not valid JSON: "), "{message}");
    }
}
