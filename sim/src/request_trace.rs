//! Opening a trace of requests: a file, a pipe, or the pairs of files of a ServeGen model.

use std::fs::File;
use std::path::{Path, PathBuf};

use wafersim::requests::reader::Chunk;
use wafersim::requests::{Format, Reader, RequestError, Settings};

use crate::failure::Failure;
use crate::files;
use crate::input::read_table_text;

/// How the files of a ServeGen client end.
const TIMES: &str = "-trace.csv";
const LENGTHS: &str = "-dataset.json";

/// Opens the trace that an argument or a setting names.
pub fn open(by: &'static str, path: &Path, settings: &Settings) -> Result<Reader, Failure> {
    let file = path.display().to_string();
    if path.is_dir() {
        return servegen(by, &chunks_of(path, &file)?, &file, settings);
    }
    if let Some(pair) = pair(path)
        && matches!(settings.format, Format::Auto | Format::ServeGen)
    {
        return servegen(by, &[pair], &file, settings);
    }
    files::reads(by, path)?;
    let input = File::open(path).map_err(|error| unreadable(&file, &error))?;
    Ok(Reader::open(input, &file, settings)?)
}

fn unreadable(file: &str, error: &std::io::Error) -> RequestError {
    RequestError::File {
        file: file.into(),
        problem: format!("cannot be read: {error}"),
        allowed: "a trace of requests, or a folder of ServeGen's chunks".into(),
    }
}

/// The two files of a client, where this is the first and the other is beside it.
fn pair(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let name = path.file_name()?.to_str()?.strip_suffix(TIMES)?;
    let beside = path.with_file_name(format!("{name}{LENGTHS}"));
    beside.is_file().then(|| (path.to_path_buf(), beside))
}

/// All clients of a folder, in the order of their names.
fn chunks_of(folder: &Path, file: &str) -> Result<Vec<(PathBuf, PathBuf)>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(file, &error))?;
    let mut names: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.sort();
    Ok(names.iter().filter_map(|path| pair(path)).collect())
}

fn servegen(
    by: &'static str,
    pairs: &[(PathBuf, PathBuf)],
    file: &str,
    settings: &Settings,
) -> Result<Reader, Failure> {
    if !matches!(settings.format, Format::Auto | Format::ServeGen) {
        let problem = "is a folder".to_owned();
        let allowed = "a file, or load.format = servegen for a folder of its chunks".to_owned();
        return Err(RequestError::File { file: file.into(), problem, allowed }.into());
    }
    let mut texts = Vec::with_capacity(pairs.len());
    for (times, lengths) in pairs {
        texts.push((times.display().to_string(), read_table_text(by, times)?, read_table_text(by, lengths)?));
    }
    let chunks: Vec<Chunk<'_>> = texts.iter().map(|(file, trace, dataset)| Chunk { file, trace, dataset }).collect();
    Ok(Reader::servegen(&chunks, file, settings)?)
}
