//! Stores of lines: the header, then a row a line. What a killed process has torn is the end of the last line, which is
//! cut off when the run goes on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::StoreError;
use crate::header::{Asked, Header, MOST_ROWS, SCHEMA_VERSION};
use crate::store::{Found, Opening, Row, Stored, part_of};
use crate::sync::Syncing;

/// A row as a line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    place: u64,
    key: String,
    row: Box<RawValue>,
}

/// Where the line of a row is.
#[derive(Debug, Clone, Copy)]
struct Span {
    place: u64,
    start: u64,
    bytes: u64,
}

/// The file and where its lines are.
#[derive(Debug)]
struct Lines {
    file: File,
    spans: Vec<Span>,
    /// Where the next line begins.
    end: u64,
}

/// An open store of lines.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    lines: Mutex<Lines>,
    syncing: Syncing,
}

/// What the lines of a file say.
struct Content {
    header: Header,
    rows: Vec<Row>,
    spans: Vec<Span>,
    /// Bytes of whole lines.
    whole: u64,
    /// Bytes after them.
    torn: u64,
}

/// Nothing but a torn header is no store yet.
enum Opened {
    Content(Box<Content>),
    /// These bytes are all there is, and no line of them is whole.
    TornHeader(Vec<u8>),
}

impl JsonLines {
    pub fn open(path: &Path, asked: &Asked, opening: Opening) -> Result<(Self, Found), StoreError> {
        let name = path.display().to_string();
        let open = |error: &std::io::Error| match error.kind() {
            ErrorKind::AlreadyExists => StoreError::Exists { file: name.clone() },
            _ => StoreError::Open { file: name.clone(), reason: error.to_string() },
        };
        let write = |error: std::io::Error| StoreError::Write { file: name.clone(), reason: error.to_string() };
        let mut options = OpenOptions::new();
        options.read(true).append(true);
        match opening {
            Opening::New => options.create_new(true),
            Opening::Resume => options.create(true),
        };
        let mut file = options.open(path).map_err(|error| open(&error))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::InUse { file: name.clone() },
            TryLockError::Error(error) => open(&error),
        })?;
        let header = header_line(&Header::of(asked)).map_err(|error| write(error.into()))?;
        let mut repaired = None;
        let found = match content(&mut file, &name)? {
            Opened::Content(content) => {
                content.header.check(asked, &name)?;
                if content.torn > 0 {
                    file.set_len(content.whole).map_err(write)?;
                    repaired = Some(format!("the last line was torn: {} bytes are cut off", content.torn));
                }
                *content
            }
            Opened::TornHeader(bytes) if header.starts_with(&bytes) => {
                if !bytes.is_empty() {
                    repaired = Some("its first line was torn, and no row was there: it is begun anew".into());
                }
                file.set_len(0).and_then(|()| file.write_all(&header)).map_err(write)?;
                sync_folder(path).and_then(|()| file.sync_all()).map_err(write)?;
                let whole = header.len() as u64;
                Content { header: Header::of(asked), rows: Vec::new(), spans: Vec::new(), whole, torn: 0 }
            }
            Opened::TornHeader(_) => {
                return Err(StoreError::NoStore { file: name, reason: "its first line is no header".into() });
            }
        };
        let syncing = file.try_clone().and_then(Syncing::start).map_err(write)?;
        let lines = Mutex::new(Lines { file, spans: found.spans, end: found.whole });
        Ok((Self { path: path.to_path_buf(), lines, syncing }, Found { rows: found.rows, repaired }))
    }

    pub fn keep(&self, row: &Row) -> Result<(), StoreError> {
        let failed = |reason: String| StoreError::Write { file: self.path.display().to_string(), reason };
        let json = RawValue::from_string(row.json.clone()).map_err(|error| failed(error.to_string()))?;
        let line = Line { place: row.place, key: row.key.clone(), row: json };
        let mut text = serde_json::to_vec(&line).map_err(|error| failed(error.to_string()))?;
        text.push(b'\n');
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = lines.file.write_all(&text) {
            // What was written of the line would stand before the next one.
            let _cut = lines.file.set_len(lines.end);
            return Err(failed(error.to_string()));
        }
        let span = Span { place: row.place, start: lines.end, bytes: text.len() as u64 };
        lines.spans.push(span);
        lines.end += span.bytes;
        drop(lines);
        self.syncing.wrote().map_err(failed)
    }

    pub fn close(self, asked: usize) -> Result<(), StoreError> {
        let failed = |reason: String| StoreError::Write { file: self.path.display().to_string(), reason };
        self.syncing.finish().map_err(failed)?;
        let mut lines = self.lines.into_inner().unwrap_or_else(PoisonError::into_inner);
        if lines.spans.len() == asked && !lines.spans.is_sorted_by_key(|span| span.place) {
            in_order(&self.path, &mut lines).map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }
}

/// Puts the rows of a store that has them all in order: the same bytes, whatever the number of threads. A link stays a
/// link.
fn in_order(path: &Path, lines: &mut Lines) -> std::io::Result<()> {
    lines.spans.sort_by_key(|span| span.place);
    let path = &path.canonicalize()?;
    let part = part_of(path);
    let mut ordered = BufWriter::new(File::create(&part)?);
    let first = lines.spans.iter().map(|span| span.start).min().unwrap_or(lines.end);
    let header = Span { place: 0, start: 0, bytes: first };
    let mut bytes = Vec::new();
    for span in std::iter::once(&header).chain(&lines.spans) {
        lines.file.seek(SeekFrom::Start(span.start))?;
        bytes.clear();
        (&lines.file).take(span.bytes).read_to_end(&mut bytes)?;
        ordered.write_all(&bytes)?;
    }
    let ordered = ordered.into_inner().map_err(|error| error.into_error())?;
    ordered.set_permissions(lines.file.metadata()?.permissions())?;
    ordered.sync_all()?;
    std::fs::rename(&part, path)?;
    sync_folder(path)
}

/// A new name in a folder is on the disk when the folder is.
#[cfg(unix)]
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) const fn sync_folder(_: &Path) -> std::io::Result<()> {
    Ok(())
}

pub fn read(path: &Path) -> Result<Stored, StoreError> {
    let name = path.display().to_string();
    let mut file =
        File::open(path).map_err(|error| StoreError::Open { file: name.clone(), reason: error.to_string() })?;
    match content(&mut file, &name)? {
        Opened::Content(content) => {
            let Content { header, rows, torn, .. } = *content;
            Ok(Stored { header, rows, torn })
        }
        Opened::TornHeader(_) => Err(StoreError::NoStore { file: name, reason: "its first line is no header".into() }),
    }
}

fn header_line(header: &Header) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(header)?;
    line.push(b'\n');
    Ok(line)
}

/// Reads all lines. What is no row at the very end is torn; anywhere else it is damage.
fn content(file: &mut File, name: &str) -> Result<Opened, StoreError> {
    let failed = |error: std::io::Error| StoreError::Open { file: name.into(), reason: error.to_string() };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).map_err(failed)?;
    if line.last() != Some(&b'\n') {
        return Ok(Opened::TornHeader(line));
    }
    let header = parsed_header(&String::from_utf8_lossy(&line), name)?;
    let (mut rows, mut spans, mut whole) = (Vec::new(), Vec::new(), line.len() as u64);
    // The number and the reason of a line that is no row, if the last one is none.
    let mut torn: Option<(u64, String)> = None;
    let mut bytes_torn = 0;
    for number in 2.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        if let Some((number, reason)) = torn {
            return Err(StoreError::Damaged { file: name.into(), place: format!("line {number}"), reason });
        }
        match serde_json::from_slice::<Line>(&line) {
            Ok(Line { place, key, row }) if line.last() == Some(&b'\n') => {
                spans.push(Span { place, start: whole, bytes: line.len() as u64 });
                rows.push(Row { place, key, json: row.get().to_owned() });
                whole += line.len() as u64;
            }
            Ok(_) => (torn, bytes_torn) = (Some((number, "has no end".into())), line.len() as u64),
            Err(error) => (torn, bytes_torn) = (Some((number, error.to_string())), line.len() as u64),
        }
    }
    Ok(Opened::Content(Box::new(Content { header, rows, spans, whole, torn: bytes_torn })))
}

/// A header of the layout that this program knows.
pub(crate) fn parsed_header(text: &str, name: &str) -> Result<Header, StoreError> {
    #[derive(Deserialize)]
    struct Layout {
        schema_version: u32,
    }
    let refuse = |reason: String| StoreError::NoStore { file: name.into(), reason };
    let layout: Layout = serde_json::from_str(text).map_err(|error| refuse(format!("its header: {error}")))?;
    if layout.schema_version != SCHEMA_VERSION {
        let there = layout.schema_version;
        return Err(refuse(format!("its schema_version is {there}, and this program knows {SCHEMA_VERSION}")));
    }
    let header: Header = serde_json::from_str(text).map_err(|error| refuse(format!("its header: {error}")))?;
    if header.rows > MOST_ROWS {
        return Err(refuse(format!("its header: rows is {}, and no store has more than {MOST_ROWS}", header.rows)));
    }
    Ok(header)
}
