//! Stores as SQLite databases: a transaction a row, in a write-ahead log that a thread brings to the disk. The database
//! is locked for as long as it is open; a finished one is a single plain file.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, params};

use crate::error::StoreError;
use crate::header::{Asked, Header};
use crate::jsonl::{parsed_header, sync_folder};
use crate::store::{Found, Opening, Row, Stored};
use crate::sync::Syncing;

/// Says in the head of a database that it is one of ours: "wfrs" in ASCII.
const APPLICATION: i32 = 0x7766_7273;

const TABLES: &str = "
CREATE TABLE store (header TEXT NOT NULL);
CREATE TABLE rows (place INTEGER PRIMARY KEY, key TEXT NOT NULL, row TEXT NOT NULL);
";

/// An open database.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    connection: Mutex<Connection>,
    syncing: Syncing,
}

impl Sqlite {
    pub fn open(path: &Path, asked: &Asked, opening: Opening) -> Result<(Self, Found), StoreError> {
        let name = path.display().to_string();
        let failed = |error: std::io::Error| StoreError::Open { file: name.clone(), reason: error.to_string() };
        match OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(_) => sync_folder(path).map_err(failed)?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if opening == Opening::New {
                    return Err(StoreError::Exists { file: name });
                }
            }
            Err(error) => return Err(failed(error)),
        }
        let refuse = |error: Error| refused(&error, &name);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(refuse)?;
        connection.busy_timeout(Duration::ZERO).map_err(refuse)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE").map_err(refuse)?;
        // Nothing is changed in a database that is not ours.
        let rows = if is_empty(&connection).map_err(refuse)? {
            log_ahead(&connection).map_err(refuse)?;
            begin(&mut connection, &Header::of(asked)).map_err(refuse)?;
            Vec::new()
        } else {
            header(&connection, &name)?.check(asked, &name)?;
            log_ahead(&connection).map_err(refuse)?;
            rows(&connection).map_err(refuse)?
        };
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let log = OpenOptions::new().append(true).create(true).open(log).map_err(failed)?;
        let syncing = Syncing::start(log).map_err(failed)?;
        let connection = Mutex::new(connection);
        Ok((Self { path: path.to_path_buf(), connection, syncing }, Found { rows, repaired: None }))
    }

    pub fn keep(&self, row: &Row) -> Result<(), StoreError> {
        let failed = |reason: String| StoreError::Write { file: self.path.display().to_string(), reason };
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // A statement by itself is a transaction.
        connection
            .execute("INSERT INTO rows (place, key, row) VALUES (?1, ?2, ?3)", params![row.place, row.key, row.json])
            .map_err(|error| failed(error.to_string()))?;
        drop(connection);
        self.syncing.wrote().map_err(failed)
    }

    pub fn close(self) -> Result<(), StoreError> {
        let failed = |reason: String| StoreError::Write { file: self.path.display().to_string(), reason };
        self.syncing.finish().map_err(failed)?;
        let connection = self.connection.into_inner().unwrap_or_else(PoisonError::into_inner);
        // The log goes into the database, which the disk has then.
        connection.pragma_update(None, "journal_mode", "DELETE").map_err(|error| failed(error.to_string()))?;
        connection.close().map_err(|(_, error)| failed(error.to_string()))
    }
}

/// A killed process loses nothing that is in the log; the disk is the business of [`Syncing`].
fn log_ahead(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")
}

/// No tables, and nobody's mark: a file that was made and not begun.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && application(connection)? == 0)
}

fn application(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// Tables and header, all or nothing.
fn begin(connection: &mut Connection, header: &Header) -> rusqlite::Result<()> {
    let text = serde_json::to_string(header).map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
    let transaction = connection.transaction()?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.execute_batch(TABLES)?;
    transaction.execute("INSERT INTO store (header) VALUES (?1)", [text])?;
    transaction.commit()
}

fn header(connection: &Connection, name: &str) -> Result<Header, StoreError> {
    let refuse = |error: Error| refused(&error, name);
    if application(connection).map_err(refuse)? != APPLICATION {
        return Err(StoreError::NoStore { file: name.into(), reason: "it is another database, or none yet".into() });
    }
    let text: String = connection.query_row("SELECT header FROM store", [], |row| row.get(0)).map_err(refuse)?;
    parsed_header(&text, name)
}

fn rows(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare("SELECT place, key, row FROM rows ORDER BY place")?;
    let rows = statement.query_map([], |row| Ok(Row { place: row.get(0)?, key: row.get(1)?, json: row.get(2)? }))?;
    rows.collect()
}

pub fn read(path: &Path) -> Result<Stored, StoreError> {
    let name = path.display().to_string();
    let refuse = |error: Error| refused(&error, &name);
    // A killed process may have left a journal, which only who may write can settle.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(refuse)?;
    connection.busy_timeout(Duration::ZERO).map_err(refuse)?;
    let header = header(&connection, &name)?;
    Ok(Stored { header, rows: rows(&connection).map_err(refuse)?, torn: 0 })
}

fn refused(error: &Error, name: &str) -> StoreError {
    let file = name.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::InUse { file },
        Some(ErrorCode::NotADatabase) => StoreError::NoStore { file, reason: "it is no SQLite database".into() },
        Some(ErrorCode::DiskFull) => StoreError::Write { file, reason: error.to_string() },
        Some(
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly | ErrorCode::SystemIoFailure,
        ) => StoreError::Open { file, reason: error.to_string() },
        _ => StoreError::Damaged { file, place: "the database".into(), reason: error.to_string() },
    }
}
