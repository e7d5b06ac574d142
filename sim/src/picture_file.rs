//! A picture's file: SVG or PNG by its name.

use std::path::Path;

use wafersim::picture::PictureError;
use wafersim::report::ReportError;

use crate::failure::Failure;
use crate::output::Destination;

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Svg,
    Png,
}

/// The file of a flag, opened.
#[derive(Debug)]
pub struct PictureFile {
    kind: Kind,
    file: Destination,
}

impl PictureFile {
    /// Opens the file of a flag; its ending says how it is written.
    pub fn open(flag: &'static str, path: &Path) -> Result<Self, Failure> {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let kind = match ending.as_deref() {
            Some("svg") => Kind::Svg,
            Some("png") => Kind::Png,
            _ => {
                return Err(Failure::Flag {
                    flag: flag.into(),
                    problem: format!("is '{}'", path.display()),
                    allowed: "a file whose name ends in .svg or .png".into(),
                });
            }
        };
        Ok(Self { kind, file: Destination::open_for(flag, path)? })
    }

    /// Draws and writes.
    pub fn write(self, draw: impl FnOnce(Kind) -> Result<Vec<u8>, PictureError>) -> Result<(), Failure> {
        self.file.write_bytes(&draw(self.kind).map_err(|why| refused(&why))?)
    }
}

/// What is drawn fits a picture whatever it is: all else is a bug.
pub fn refused(why: &PictureError) -> Failure {
    Failure::Report(ReportError::Format { format: "a picture", reason: why.to_string() })
}
