//! A store: opened for one question, rows that are known, rows that are kept as they end.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::StoreError;
use crate::header::{Asked, Header};
use crate::jsonl::JsonLines;
use crate::sqlite::Sqlite;

/// How a store is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line: the header, then the rows. A store with all rows has them in order.
    JsonLines,
    /// An SQLite database with the tables `store` (the header) and `rows`.
    Sqlite,
}

impl Format {
    /// By the end of a file's name.
    ///
    /// # Errors
    /// Where it is none of the two.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("jsonl") => Ok(Self::JsonLines),
            Some("sqlite") => Ok(Self::Sqlite),
            _ => Err(StoreError::Format { file: path.display().to_string() }),
        }
    }
}

/// What may be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: a file that is there is refused.
    New,
    /// A store of the same question, whose rows are known then; without a file a new one is begun.
    Resume,
}

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place in the order of the result, from 0.
    pub place: u64,
    /// Hash of what it means.
    pub key: String,
    /// What it holds, as JSON.
    pub json: String,
}

/// A store as somebody reads it who does not go on with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// What was asked, and what made it.
    pub header: Header,
    /// Its rows by their places.
    pub rows: Vec<Row>,
    /// Bytes at the end that are no whole row.
    pub torn: u64,
}

/// What is in a file that was there.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Rows in the order in which they were written.
    pub rows: Vec<Row>,
    /// What was cut off, in words.
    pub repaired: Option<String>,
}

#[derive(Debug)]
enum Backing {
    JsonLines(JsonLines),
    Sqlite(Sqlite),
}

/// An open store. No other process can open it.
#[derive(Debug)]
pub struct Store {
    file: String,
    keys: Vec<String>,
    known: BTreeMap<u64, String>,
    repaired: Option<String>,
    backing: Backing,
}

impl Store {
    /// Opens a store for a question, or begins one.
    ///
    /// # Errors
    /// Where the name says no format, something is there that may not be, it belongs to another question or program, is
    /// damaged or in use, or cannot be written to.
    pub fn open(path: &Path, asked: &Asked, opening: Opening) -> Result<Self, StoreError> {
        let file = path.display().to_string();
        let (backing, found) = match Format::of(path)? {
            Format::JsonLines => {
                let (lines, found) = JsonLines::open(path, asked, opening)?;
                (Backing::JsonLines(lines), found)
            }
            Format::Sqlite => {
                let (database, found) = Sqlite::open(path, asked, opening)?;
                (Backing::Sqlite(database), found)
            }
        };
        let rows = checked(found.rows, asked.keys.len() as u64, &file)?;
        if let Some(row) = rows.iter().find(|row| asked.keys.get(row.place as usize) != Some(&row.key)) {
            let reason = format!("its key is '{}', which is of another question", row.key);
            return Err(StoreError::Damaged { file, place: format!("row {}", row.place), reason });
        }
        let known = rows.into_iter().map(|row| (row.place, row.json)).collect();
        Ok(Self { file, keys: asked.keys.clone(), known, repaired: found.repaired, backing })
    }

    /// What was cut off at the end of the file, in words, where it was torn.
    pub fn repaired(&self) -> Option<&str> {
        self.repaired.as_deref()
    }

    /// How many rows were there when it was opened.
    pub fn rows_known(&self) -> usize {
        self.known.len()
    }

    /// How many rows there are when all are finished.
    pub const fn rows_asked(&self) -> usize {
        self.keys.len()
    }

    /// The rows of some places that were there when it was opened.
    ///
    /// # Errors
    /// Where one is none of these rows.
    pub fn known<T: DeserializeOwned>(&self, places: Range<usize>) -> Result<BTreeMap<usize, T>, StoreError> {
        let known = self.known.range(places.start as u64..places.end as u64);
        let rows = known.map(|(place, json)| match serde_json::from_str(json) {
            Ok(row) => Ok((*place as usize, row)),
            Err(error) => Err(StoreError::Damaged {
                file: self.file.clone(),
                place: format!("row {place}"),
                reason: error.to_string(),
            }),
        });
        rows.collect()
    }

    /// Keeps a row. When this returns, a killed process does not lose it.
    ///
    /// # Errors
    /// Where it cannot be written, or would not be the same when it is read again.
    pub fn keep<T: Serialize + DeserializeOwned + PartialEq>(&self, place: usize, row: &T) -> Result<(), StoreError> {
        let refuse = |reason: String| StoreError::Row { file: self.file.clone(), place: place as u64, reason };
        let json = serde_json::to_string(row).map_err(|error| refuse(error.to_string()))?;
        let again: T = serde_json::from_str(&json).map_err(|error| refuse(error.to_string()))?;
        if again != *row {
            return Err(refuse("it is another row when it is read again".into()));
        }
        let Some(key) = self.keys.get(place) else {
            return Err(refuse(format!("there are {} rows", self.keys.len())));
        };
        self.keep_as_it_is(&Row { place: place as u64, key: key.clone(), json })
    }

    fn keep_as_it_is(&self, row: &Row) -> Result<(), StoreError> {
        match &self.backing {
            Backing::JsonLines(lines) => lines.keep(row),
            Backing::Sqlite(database) => database.keep(row),
        }
    }

    /// Waits until the disk has all rows, and closes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn close(self) -> Result<(), StoreError> {
        match self.backing {
            Backing::JsonLines(lines) => lines.close(self.keys.len()),
            Backing::Sqlite(database) => database.close(),
        }
    }
}

/// Reads a store without going on with it.
///
/// # Errors
/// Where it is no store, is damaged, or a process works with it that lets nobody read (`.sqlite`).
pub fn read(path: &Path) -> Result<Stored, StoreError> {
    let stored = match Format::of(path)? {
        Format::JsonLines => crate::jsonl::read(path)?,
        Format::Sqlite => crate::sqlite::read(path)?,
    };
    let rows = checked(stored.rows, stored.header.rows, &path.display().to_string())?;
    Ok(Stored { rows, ..stored })
}

/// Puts the rows of several stores of one question into a new one. A row that is in several of them must be the same.
///
/// # Errors
/// Where one cannot be read, they are of different questions or programs, a row differs, or the new one cannot be made.
pub fn merge(from: &[&Path], into: &Path) -> Result<Stored, StoreError> {
    let mut merged: Option<Stored> = None;
    let mut rows: BTreeMap<u64, Row> = BTreeMap::new();
    for path in from {
        let (stored, file) = (read(path)?, path.display().to_string());
        for row in stored.rows {
            match rows.entry(row.place) {
                Entry::Vacant(place) => {
                    place.insert(row);
                }
                Entry::Occupied(known) if *known.get() == row => {}
                Entry::Occupied(_) => {
                    let place = format!("row {}", row.place);
                    return Err(StoreError::Damaged { file, place, reason: "is another in a store before it".into() });
                }
            }
        }
        match &merged {
            Some(merged) => stored.header.check_against(&merged.header, &file)?,
            None => merged = Some(Stored { rows: Vec::new(), torn: 0, header: stored.header }),
        }
    }
    let Some(Stored { header, .. }) = merged else {
        return Err(StoreError::NoStore { file: into.display().to_string(), reason: "there is none to merge".into() });
    };
    let mut keys = vec![String::new(); header.rows as usize];
    for row in rows.values() {
        if let Some(key) = keys.get_mut(row.place as usize) {
            key.clone_from(&row.key);
        }
    }
    let Header { command, program, question, asked, .. } = header.clone();
    let store = Store::open(into, &Asked { command, program, question, words: asked, keys }, Opening::New)?;
    rows.values().try_for_each(|row| store.keep_as_it_is(row))?;
    store.close()?;
    Ok(Stored { header, rows: rows.into_values().collect(), torn: 0 })
}

/// The file beside a store that takes its place when it is put in order. It is none's but the store's.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Rows by their places, each of which is one of so many and there once.
fn checked(mut rows: Vec<Row>, asked: u64, file: &str) -> Result<Vec<Row>, StoreError> {
    let damaged = |place: u64, reason: String| {
        Err(StoreError::Damaged { file: file.into(), place: format!("row {place}"), reason })
    };
    rows.sort_by_key(|row| row.place);
    for pair in rows.windows(2) {
        if let [one, other] = pair
            && one.place == other.place
        {
            return damaged(one.place, "is there twice".into());
        }
    }
    match rows.last() {
        Some(last) if last.place >= asked => damaged(last.place, format!("the store has {asked} rows, from 0")),
        _ => Ok(rows),
    }
}
