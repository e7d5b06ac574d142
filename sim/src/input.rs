//! Reading a table of measurements from a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use wafersim::spec::SpecError;

use crate::failure::Failure;
use crate::files;

/// Largest table that is read: a million rows of usual length are about 100 MiB.
const LARGEST_TABLE: u64 = 256 << 20;

/// The text of a table that a flag or a setting names.
pub fn read_table_text(by: &'static str, path: &Path) -> Result<String, Failure> {
    files::reads(by, path)?;
    Ok(text_of(path)?)
}

fn text_of(path: &Path) -> Result<String, SpecError> {
    let refuse = |reason: String| SpecError::Read { file: path.display().to_string(), reason };
    if path.is_dir() {
        return Err(refuse("is a directory (name the CSV file in it)".into()));
    }
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_TABLE + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_TABLE {
        return Err(refuse("is larger than 256 MiB".into()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        refuse(format!("is not UTF-8 text (first invalid byte at {})", error.utf8_error().valid_up_to()))
    })?;
    // Spreadsheets write a byte order mark before the text; as part of the first column's name it would not be found.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
