//! JSON for programs: two spaces of indentation, keys in the order of the structs, a line end at the end.

use serde::Serialize;

use crate::error::ReportError;

/// A value as JSON text. Numbers that are none become `null`, which is what JSON has for them.
pub(crate) fn pretty(value: &impl Serialize) -> Result<String, ReportError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| ReportError::Format { format: "JSON", reason: error.to_string() })?;
    Ok(text + "\n")
}
