//! Reading a text file at the door: with a size limit, and with reasons that say what to do.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::SpecError;

/// Largest file that is read, in bytes. Real configurations are a few kilobytes.
pub(crate) const LARGEST_FILE: u64 = 16 << 20;

/// The text of a file. `hint` says what to do where the path is a directory.
///
/// # Errors
/// Where it cannot be read, is larger than 16 MiB, or is no UTF-8 text.
pub fn read_text(path: &Path, hint: &str) -> Result<String, SpecError> {
    let refuse = |reason: String| SpecError::Read { file: path.display().to_string(), reason };
    if path.is_dir() {
        return Err(refuse(format!("is a directory ({hint})")));
    }
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(refuse("is larger than 16 MiB".into()));
    }
    // Editors on Windows write a byte order mark before the text; no parser here takes one for white space.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec).unwrap_or(bytes);
    String::from_utf8(text).map_err(|error| {
        refuse(format!("is not UTF-8 text (first invalid byte at {})", error.utf8_error().valid_up_to()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let refusal = |path: &Path| read_text(path, "name the file").unwrap_err().to_string();
        assert!(refusal(&path).contains("cannot be read"));
        assert!(refusal(folder.path()).ends_with("is a directory (name the file)"));
        std::fs::write(&path, b"abc\xff").unwrap();
        assert!(refusal(&path).ends_with("is not UTF-8 text (first invalid byte at 3)"));
        std::fs::write(&path, vec![b' '; LARGEST_FILE as usize + 1]).unwrap();
        assert!(refusal(&path).ends_with("is larger than 16 MiB"));
        std::fs::write(&path, vec![b' '; LARGEST_FILE as usize]).unwrap();
        assert!(read_text(&path, "").is_ok());
        std::fs::write(&path, b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(read_text(&path, ""), Ok("{}".into()));
    }
}
