//! Which files a run reads and writes: none that it writes may be one that it reads, nor be written twice. And files
//! that are not finished, which a signal must not leave behind.
//!
//! Both are of the whole process, as signals are, and so are the two lists.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::failure::Failure;

/// A file of this run.
struct Used {
    by: &'static str,
    /// Its path as given.
    path: PathBuf,
    file: Identity,
    is_written: bool,
}

/// What says that two paths lead to one file: the path behind all links, and on Unix the file itself, which may have
/// several names.
#[derive(PartialEq, Eq)]
struct Identity {
    path: PathBuf,
    node: Option<(u64, u64)>,
}

static USED: Mutex<Vec<Used>> = Mutex::new(Vec::new());

impl Identity {
    fn of(path: &Path) -> Self {
        let beside = || {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(folder.canonicalize().ok()?.join(path.file_name()?))
        };
        let known = path.canonicalize().ok();
        let node = known.as_deref().and_then(node);
        Self { path: known.or_else(beside).unwrap_or_else(|| path.to_path_buf()), node }
    }

    fn is(&self, other: &Self) -> bool {
        self.path == other.path || (self.node.is_some() && self.node == other.node)
    }
}

#[cfg(unix)]
fn node(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|known| (known.dev(), known.ino()))
}

#[cfg(not(unix))]
const fn node(_: &Path) -> Option<(u64, u64)> {
    None
}

/// Says that a flag, or a setting, names a file that is read. Pipes, devices and names that are no files are let
/// through.
pub fn reads(by: &'static str, path: &Path) -> Result<(), Failure> {
    use_file(by, path, false)
}

/// The same of a name that may be built in, the path of a file, or of the folder of a model.
pub fn reads_named(by: &'static str, name: &str) -> Result<(), Failure> {
    let path = Path::new(name);
    if !path.is_dir() {
        return reads(by, path);
    }
    let inside = ["config.json", "hf_quant_config.json"].map(|file| path.join(file));
    inside.iter().filter(|file| file.is_file()).try_for_each(|file| reads(by, file))
}

/// Says that a flag names a file that is written.
pub fn writes(by: &'static str, path: &Path) -> Result<(), Failure> {
    use_file(by, path, true)
}

fn use_file(by: &'static str, path: &Path, is_written: bool) -> Result<(), Failure> {
    if path.exists() && !path.is_file() {
        return Ok(());
    }
    let new = Used { by, path: path.to_path_buf(), file: Identity::of(path), is_written };
    let mut used = list(&USED);
    let clash = used.iter().find(|known| (is_written || known.is_written) && known.file.is(&new.file));
    if let Some(clash) = clash {
        let (writer, other) = if is_written { (&new, clash) } else { (clash, &new) };
        let how = if other.is_written { "written" } else { "read" };
        return Err(Failure::Flag {
            flag: writer.by.into(),
            problem: format!("{}: is {how} as {} too", writer.path.display(), other.by),
            allowed: "a file of its own".into(),
        });
    }
    used.push(new);
    Ok(())
}

/// Files that are not finished.
static PARTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Makes a file that is to go with the process where a signal ends it: no signal comes between it and the list.
pub fn listed<T>(make: impl FnOnce() -> std::io::Result<T>, path: impl FnOnce(&T) -> PathBuf) -> std::io::Result<T> {
    let mut parts = list(&PARTS);
    let made = make()?;
    parts.push(path(&made));
    Ok(made)
}

/// A file that may come to be, and is to go with the process where a signal ends it.
pub fn unfinished(path: PathBuf) {
    list(&PARTS).push(path);
}

/// Files of rows that stay.
static KEPT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Says that rows are kept in a file as they end, which a signal does not undo.
pub fn keeps_rows(path: &Path) {
    list(&KEPT).push(path.to_path_buf());
}

/// From now on SIGINT and SIGTERM end the process with a message and the exit code that shells give them, 130 and 143,
/// without unfinished files. Where no thread can be made for them, they end it as ever.
#[cfg(unix)]
pub fn heed_signals() {
    use std::sync::mpsc;
    use std::thread;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    use crate::output::say;

    let (ready, is_ready) = mpsc::channel();
    let waits = move || {
        let signals = Signals::new([SIGINT, SIGTERM]);
        let _nobody_waits = ready.send(());
        let Some(signal) = signals.ok().and_then(|mut signals| signals.forever().next()) else { return };
        for part in list(&PARTS).iter() {
            let _gone = std::fs::remove_file(part);
        }
        let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
        match list(&KEPT).last() {
            Some(path) => say(&format!("stopped by {name}; finished rows are kept: {} (--resume)", path.display())),
            None => say(&format!("stopped by {name}")),
        }
        std::process::exit(128 + signal);
    };
    if thread::Builder::new().name("signals".into()).spawn(waits).is_ok() {
        let _is_ready = is_ready.recv();
    }
}

/// A file that has become as large as the system lets it (`ulimit -f`) is a failure to write, with a message, and not
/// the end of the process.
#[cfg(unix)]
pub fn survive_full_files() {
    /// The signal that says so; the same on Linux and macOS.
    const SIGXFSZ: i32 = 25;
    let _heard = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Elsewhere there is no such signal.
#[cfg(not(unix))]
pub const fn survive_full_files() {}

/// Elsewhere signals end the process as ever.
#[cfg(not(unix))]
pub const fn heed_signals() {}

/// What another thread has left of a list is as good as any.
fn list<T>(of: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
