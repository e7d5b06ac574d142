//! The only module that prints and writes.
//!
//! The file of `--out` is opened before the work begins, so that a wrong path is known at once; it is written apart
//! from its place and put there at the end ([`Part`]), so that nobody ever sees half of it. What is no plain file (a pipe,
//! `/dev/null`) is written to as it is. A reader of stdout who has seen enough is no failure.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::files;
use crate::part::Part;
use crate::terminal;
use crate::words;

/// Where the data goes.
#[derive(Debug)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file that is put in its place when all is written.
    Replace {
        /// What will stand there.
        temporary: Part,
        /// Its place.
        target: PathBuf,
    },
    /// A pipe or device.
    Stream {
        /// The open pipe or device.
        file: File,
        /// Its path.
        target: PathBuf,
    },
}

impl Destination {
    /// Opens the file of `--out`, or takes stdout.
    pub fn open(out: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = out else {
            terminal::fit_stdout();
            return Ok(Self::Stdout);
        };
        Self::open_for("--out", path)
    }

    /// Opens the file of a flag.
    pub fn open_for(flag: &'static str, path: &Path) -> Result<Self, Failure> {
        let refuse = |reason: String| Failure::OutFile { flag, file: path.display().to_string(), reason };
        // Whatever is wrong with the name is known before the work: a link to itself, a name that is too long.
        match path.metadata() {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(refuse(reason_of(&error))),
            Err(_) if path.is_symlink() => return Err(refuse("is a link that leads nowhere".into())),
            _ => {}
        }
        files::writes(flag, path)?;
        // A link stays a link: the file that it leads to is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let known = target.metadata().ok();
        if let Some(known) = &known {
            if known.is_dir() {
                return Err(refuse("is a directory".into()));
            }
            if known.permissions().readonly() {
                return Err(refuse("is read-only".into()));
            }
            if !known.is_file() {
                let file = OpenOptions::new().write(true).open(&target).map_err(|error| refuse(error.to_string()))?;
                return Ok(Self::Stream { file, target });
            }
        }
        if target.file_name().is_none() {
            return Err(refuse("names no file".into()));
        }
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let permissions = known.map(|known| known.permissions()).or_else(default_permissions);
        let temporary = Part::new(folder, permissions).map_err(|error| refuse(reason_of(&error)))?;
        Ok(Self::Replace { temporary, target })
    }

    /// Writes the whole text; what moves a cursor is replaced.
    pub fn write(self, text: &str) -> Result<(), Failure> {
        self.write_bytes(words::printable(text).as_bytes())
    }

    /// Writes all bytes.
    pub fn write_bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let failed = |file: &Path, reason: String| Failure::Write { file: file.display().to_string(), reason };
        match self {
            Self::Stdout => {
                let mut stdout = std::io::stdout().lock();
                match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
                    Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                        Err(failed(Path::new("stdout"), error.to_string()))
                    }
                    _ => Ok(()),
                }
            }
            Self::Replace { mut temporary, target } => {
                let written = temporary.write_all(bytes).and_then(|()| temporary.flush());
                written.map_err(|error| failed(&target, error.to_string()))?;
                temporary.persist(&target).map_err(|error| failed(&target, error.to_string()))?;
                say(&format!("written: {}", target.display()));
                Ok(())
            }
            Self::Stream { mut file, target } => match file.write_all(bytes).and_then(|()| file.flush()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failed(&target, error.to_string())),
                _ => Ok(()),
            },
        }
    }
}

/// A folder that files are written to; made when the first is written.
#[derive(Debug)]
pub struct Folder {
    flag: &'static str,
    path: PathBuf,
}

impl Folder {
    /// Tries whether the folder of a flag may be written to, so that a wrong path is known at once.
    pub fn open_for(flag: &'static str, path: &Path) -> Result<Self, Failure> {
        let refuse = |reason: String| Failure::OutFolder { flag, folder: path.display().to_string(), reason };
        if path.exists() && !path.is_dir() {
            return Err(refuse("is a file".into()));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let tried = if path.is_dir() { path } else { parent };
        // The file is gone as soon as it is known that it could be made.
        Part::new(tried, None).map_err(|error| refuse(reason_of(&error)))?;
        Ok(Self { flag, path: path.to_path_buf() })
    }

    /// Writes a file into it, whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        if !self.path.is_dir() {
            std::fs::create_dir(&self.path)
                .map_err(|error| Failure::Write { file: self.path.display().to_string(), reason: error.to_string() })?;
        }
        Destination::open_for(self.flag, &self.path.join(name))?.write_bytes(bytes)
    }
}

impl Destination {
    /// Writes piece by piece what is too long for memory. All pieces wait in a file until the last is made: whatever
    /// goes wrong before, nothing appears. A reader of stdout who has seen enough is no failure.
    pub fn fill(self, pieces: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
        let failed = |file: &Path, reason: String| Failure::Write { file: file.display().to_string(), reason };
        match self {
            Self::Stdout => spool(pieces, Path::new("stdout"), std::io::stdout().lock()),
            Self::Stream { file, target } => spool(pieces, &target, file),
            Self::Replace { mut temporary, target } => {
                pieces(&mut BufWriter::new(&mut temporary))?;
                temporary.persist(&target).map_err(|error| failed(&target, error.to_string()))?;
                say(&format!("written: {}", target.display()));
                Ok(())
            }
        }
    }
}

/// Collects pieces in a file without a name, then copies it.
fn spool(
    pieces: impl FnOnce(&mut dyn Write) -> Result<(), Failure>,
    target: &Path,
    mut output: impl Write,
) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::Write { file: target.display().to_string(), reason: error.to_string() };
    let mut waiting = tempfile::tempfile().map_err(failed)?;
    pieces(&mut BufWriter::new(&mut waiting))?;
    waiting.seek(SeekFrom::Start(0)).map_err(failed)?;
    match std::io::copy(&mut waiting, &mut output).and_then(|_| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The system's own words, without the name of a temporary file that nobody knows.
fn reason_of(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "its folder does not exist".into(),
        ErrorKind::PermissionDenied => "its folder may not be written to".into(),
        ErrorKind::NotADirectory => "its folder is a file".into(),
        kind => kind.to_string(),
    }
}

/// As any program makes files; temporary files would be for their owner alone.
#[cfg(unix)]
fn default_permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt;
    Some(Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn default_permissions() -> Option<Permissions> {
    None
}

/// Words for people, on stderr. Where nobody listens, nothing is lost.
pub fn say(words: &str) {
    let message = words::message(words);
    let message = terminal::width_of_stderr().map_or_else(|| message.clone(), |width| words::wrapped(&message, width));
    let _ = writeln!(std::io::stderr().lock(), "{message}");
}
