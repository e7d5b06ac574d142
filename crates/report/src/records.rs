//! Records as CSV.

use csv::WriterBuilder;

use crate::error::ReportError;

/// Records, a line each, as CSV text; the first are the names of the columns.
pub(crate) fn csv_text(records: impl IntoIterator<Item = Vec<String>>) -> Result<String, ReportError> {
    let wrong = |reason: String| ReportError::Format { format: "CSV", reason };
    let mut writer = WriterBuilder::new().from_writer(Vec::new());
    for record in records {
        writer.write_record(record).map_err(|error| wrong(error.to_string()))?;
    }
    let bytes = writer.into_inner().map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}
