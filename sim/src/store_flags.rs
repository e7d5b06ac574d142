//! `--store`, `--resume` and `--shard`: rows that are kept in a file as they end, and are not computed again.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wafersim::mapping::hash;
use wafersim::report::number::{plural, whole};
use wafersim::spec::Scenario;
use wafersim::store::{Asked, Format, Opening, Program, Store, part_of};

use crate::failure::Failure;
use crate::files;
use crate::output::say;

/// Where rows are kept.
#[derive(Debug, Args)]
pub struct StoreFlags {
    /// File that keeps each row as it ends, so that a run that was cut off goes on: .jsonl or .sqlite.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    /// Goes on with the file of --store: rows that are there are not computed again. Without that file it is begun.
    #[arg(long, requires = "store")]
    resume: bool,
}

/// Which part of a table's rows is computed.
#[derive(Debug, Args)]
pub struct ShardFlags {
    /// Computes one of several parts of the rows, for example 2/4, into a store of its own, and prints no table;
    /// `simctl results merge` puts the parts together.
    #[arg(long, value_name = "I/N", requires = "store", conflicts_with_all = ["out", "format"])]
    shard: Option<String>,
}

impl ShardFlags {
    /// The part, where one is asked for.
    ///
    /// # Errors
    /// For anything that is no part of a number of parts.
    pub fn shard(&self) -> Result<Option<Shard>, Failure> {
        self.shard.as_deref().map(Shard::parse).transpose()
    }
}

/// One of several parts of a table. Points are dealt to parts in turn, so that each has as many of the long ones.
#[derive(Debug, Clone, Copy)]
pub struct Shard {
    /// From 1.
    part: usize,
    parts: usize,
}

impl Shard {
    fn parse(text: &str) -> Result<Self, Failure> {
        let numbers = text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
        match numbers {
            Some((part, parts)) if (1..=parts).contains(&part) => Ok(Self { part, parts }),
            _ => Err(Failure::Flag {
                flag: "--shard".into(),
                problem: format!("is '{text}'"),
                allowed: "a part and the number of parts, 1/4 to 4/4 for example".into(),
            }),
        }
    }

    /// Whether a point, by its place from 0, is this part's.
    pub const fn has(self, point: usize) -> bool {
        point % self.parts == self.part - 1
    }

    /// Says that the part is there, and closes its store.
    ///
    /// # Errors
    /// As [`RowStore::close`].
    pub fn done(self, store: RowStore, rows: usize, of: usize) -> Result<(), Failure> {
        let [rows, of] = [rows as u64, of as u64];
        say(&format!("shard {} of {}: {} of {}", self.part, self.parts, plural(rows, "row"), whole(of)));
        store.close()
    }
}

/// A question in rows, for its store.
pub struct InRows {
    /// The command.
    pub command: &'static str,
    /// What is asked, in words: it is shown, and says what differs from another question.
    pub words: Value,
    /// Hash of what each row means.
    pub keys: Vec<String>,
}

/// The key of a row, from everything that it depends on, its scenario among that.
pub fn row_key(inputs: &impl Serialize, scenario: &Scenario) -> String {
    // It is no part of a scenario's JSON, and a mapping has its way with a placement that nobody asked for.
    hash::of(&(inputs, scenario.default_placement))
}

impl StoreFlags {
    /// Whether rows are to be kept.
    pub const fn is_given(&self) -> bool {
        self.store.is_some()
    }

    /// Opens the store, where there is to be one, for a question.
    pub fn open(&self, question: impl FnOnce() -> Result<InRows, Failure>) -> Result<RowStore, Failure> {
        let Some(path) = &self.store else { return Ok(RowStore { open: None }) };
        Format::of(path)?;
        files::writes("--store", path)?;
        if path.exists() && !path.is_file() {
            let (file, reason) = (path.display().to_string(), "is no plain file".into());
            return Err(Failure::OutFile { flag: "--store", file, reason });
        }
        let InRows { command, words, keys } = question()?;
        let question = hash::of(&(command, &keys));
        let asked = Asked { command: command.into(), program: program()?, question, words, keys };
        // A link stays a link: the file that it leads to is put in order.
        files::unfinished(part_of(&path.canonicalize().unwrap_or_else(|_| path.clone())));
        let opening = if self.resume { Opening::Resume } else { Opening::New };
        let store = Store::open(path, &asked, opening)?;
        files::keeps_rows(path);
        let name = path.display();
        if let Some(repaired) = store.repaired() {
            say(&format!("note: --store: {name}: {repaired}"));
        }
        if self.resume {
            let [known, asked] = [store.rows_known(), store.rows_asked()].map(|count| whole(count as u64));
            say(&format!("note: --store: {name}: rows known: {known} of {asked}"));
        }
        Ok(RowStore { open: Some((path.clone(), store)) })
    }
}

/// This program: its version, and a checksum of its file, since builds of one version may compute other rows.
fn program() -> Result<Program, Failure> {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let build = checksum(&path).map_err(|error| {
        let problem = format!("the program's own file {} cannot be read: {error}", path.display());
        Failure::Flag { flag: "--store".into(), problem, allowed: "a program that may be read".into() }
    })?;
    Ok(Program { version: env!("CARGO_PKG_VERSION").into(), build })
}

/// What tells the content of a flag's file from others: its size and a checksum.
pub fn checksum_of(flag: &str, path: &Path) -> Result<String, Failure> {
    let unread = |reason: String| {
        let problem = format!("{}: cannot be read a second time: {reason}", path.display());
        Failure::Flag { flag: flag.into(), problem, allowed: "a plain file, where --store is given".into() }
    };
    let known = path.metadata().map_err(|error| unread(error.to_string()))?;
    if !known.is_file() {
        return Err(unread("it is no plain file".into()));
    }
    Ok(format!("{} bytes, {}", known.len(), checksum(path).map_err(|error| unread(error.to_string()))?))
}

fn checksum(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut sum = crc32fast::Hasher::new();
    let mut bytes = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut bytes)?;
        match bytes.get(..read) {
            Some(part) if read > 0 => sum.update(part),
            _ => return Ok(format!("{:08x}", sum.finalize())),
        }
    }
}

/// The open store, where there is one.
#[derive(Debug)]
pub struct RowStore {
    open: Option<(PathBuf, Store)>,
}

impl RowStore {
    /// The rows of some places, all of one kind.
    pub fn part<T: DeserializeOwned>(&self, places: Range<usize>) -> Result<KeptRows<'_, T>, Failure> {
        let (first, all) = (places.start, places.len());
        let store = self.open.as_ref().map(|(_, store)| store);
        let known = store.map(|store| store.known(places)).transpose()?.unwrap_or_default();
        Ok(KeptRows { store, first, count: all, missing: all - known.len(), known: Mutex::new(known) })
    }

    /// Waits until the disk has all rows.
    pub fn close(self) -> Result<(), Failure> {
        let Some((path, store)) = self.open else { return Ok(()) };
        let said = format!("kept: {}", path.display());
        store.close()?;
        say(&said);
        Ok(())
    }
}

/// Rows of one kind, by their places from 0: those that are known, and where the others are kept.
#[derive(Debug)]
pub struct KeptRows<'a, T> {
    store: Option<&'a Store>,
    first: usize,
    count: usize,
    missing: usize,
    known: Mutex<BTreeMap<usize, T>>,
}

impl<T: Serialize + DeserializeOwned + PartialEq> KeptRows<'_, T> {
    /// How many are not known.
    pub const fn missing(&self) -> u64 {
        self.missing as u64
    }

    /// How many of those that are wanted are not known.
    pub fn missing_of(&self, is_wanted: impl Fn(usize) -> bool) -> u64 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_missing = |place: &usize| is_wanted(*place) && !known.contains_key(&(self.first + place));
        (0..self.count).filter(is_missing).count() as u64
    }

    /// A row that is known. It is given once.
    pub fn known(&self, place: usize) -> Option<T> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&(self.first + place))
    }

    /// Keeps a row, where there is a store.
    pub fn keep(&self, place: usize, row: &T) -> Result<(), Failure> {
        self.store.map_or(Ok(()), |store| Ok(store.keep(self.first + place, row)?))
    }
}
