//! A file that takes another's place when it is finished. Until then it has no name where the system knows such files
//! (Linux, on most file systems), so that nothing is left of it however the process ends, `kill -9` and a lack of
//! memory included. Elsewhere it is a hidden file `.simctl-*.part` beside its place, which goes with the value and, by
//! [`crate::files`], with a signal that can be heard.

use std::fs::{File, Permissions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::files;

/// What hidden files are called.
const PREFIX: &str = ".simctl-";
const SUFFIX: &str = ".part";

/// A file that is not finished.
#[derive(Debug)]
pub struct Part {
    file: Kind,
    folder: PathBuf,
    permissions: Option<Permissions>,
}

#[derive(Debug)]
enum Kind {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux has them"))]
    Unnamed(File),
    Named(NamedTempFile),
}

impl Part {
    /// Begins one in a folder.
    pub fn new(folder: &Path, permissions: Option<Permissions>) -> io::Result<Self> {
        let file = match unnamed(folder, permissions.as_ref()) {
            Some(file) => Kind::Unnamed(file),
            None => Kind::Named(named(folder, permissions.clone())?),
        };
        Ok(Self { file, folder: folder.to_path_buf(), permissions })
    }

    /// Puts it in its place, in one step, whatever was there.
    pub fn persist(self, target: &Path) -> io::Result<()> {
        match self.file {
            Kind::Named(file) => file.persist(target).map(|_| ()).map_err(|error| error.error),
            Kind::Unnamed(mut file) => match link(&file, &self.folder, target) {
                Ok(()) => Ok(()),
                // Without /proc a file cannot get a name: its bytes can.
                Err(_) => {
                    let mut copy = named(&self.folder, self.permissions)?;
                    file.seek(SeekFrom::Start(0))?;
                    io::copy(&mut file, &mut copy)?;
                    copy.persist(target).map(|_| ()).map_err(|error| error.error)
                }
            },
        }
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Kind::Unnamed(file) => file.write(bytes),
            Kind::Named(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Kind::Unnamed(file) => file.flush(),
            Kind::Named(file) => file.flush(),
        }
    }
}

fn named(folder: &Path, permissions: Option<Permissions>) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    if let Some(permissions) = permissions {
        builder.permissions(permissions);
    }
    files::listed(|| builder.tempfile_in(folder), |file| file.path().to_path_buf())
}

/// Nothing where the system has no such files.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path, permissions: Option<&Permissions>) -> Option<File> {
    use std::os::unix::fs::PermissionsExt;

    use rustix::fs::{Mode, OFlags};

    let mode = permissions.map_or(0o600, PermissionsExt::mode);
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::from_raw_mode(mode)).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
const fn unnamed(_: &Path, _: Option<&Permissions>) -> Option<File> {
    None
}

/// Gives an unnamed file its place. Only a free name can be taken: where there is a file already, a hidden name is
/// taken first, which is there for two system calls.
#[cfg(target_os = "linux")]
fn link(file: &File, folder: &Path, target: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD};

    let from = format!("/proc/self/fd/{}", file.as_raw_fd());
    let named = |name: &Path| rustix::fs::linkat(CWD, &from, CWD, name, AtFlags::SYMLINK_FOLLOW);
    match named(target) {
        Err(rustix::io::Errno::EXIST) => {}
        other => return other.map_err(io::Error::from),
    }
    let hidden = (0..u32::MAX).map(|number| {
        let name = format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id());
        folder.join(name)
    });
    for hidden in hidden {
        files::unfinished(hidden.clone());
        match named(&hidden) {
            Err(rustix::io::Errno::EXIST) => continue,
            other => other.map_err(io::Error::from)?,
        }
        return std::fs::rename(&hidden, target).inspect_err(|_| {
            let _gone = std::fs::remove_file(&hidden);
        });
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
