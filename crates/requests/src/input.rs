//! Bytes of a trace: compression by its first bytes, what is no text refused by name, lines and JSON values of bounded
//! length.

use std::io::{BufRead, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::error::RequestError;

/// Longest line or JSON value: 64 MiB.
pub(crate) const LONGEST: usize = 64 << 20;
/// What is looked at to find the format.
const HEAD: usize = 1 << 20;
const BUFFER: usize = 1 << 18;

/// The text of a trace, with its beginning at hand.
pub(crate) struct Input {
    /// The beginning, without a byte order mark.
    pub(crate) head: Vec<u8>,
    /// `gzip` or `zstd`, where it was unpacked.
    pub(crate) compression: Option<&'static str>,
    rest: Box<dyn Read + Send>,
}

/// What files begin with that are no text, what they are, and how to get at a text.
const NO_TEXTS: [(&[u8], &str, &str); 14] = [
    (b"PK\x03\x04", "a zip archive (.zip, .npz, .pt)", "the file in it, as CSV or JSON Lines"),
    (b"\x93NUMPY", "a NumPy array", "a trace as CSV or JSON Lines (is it a routing dump?)"),
    (b"PAR1", "a Parquet file", "CSV or JSON Lines: duckdb -c \"COPY 'FILE' TO 'trace.jsonl'\""),
    (b"ARROW1", "an Arrow file", "CSV or JSON Lines, as pandas.read_feather(FILE).to_csv(...) writes it"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "the file itself: git lfs pull"),
    (b"\xff\xfe", "UTF-16 text", "UTF-8 text: iconv -f UTF-16 -t UTF-8 FILE"),
    (b"\xfe\xff", "UTF-16 text", "UTF-8 text: iconv -f UTF-16 -t UTF-8 FILE"),
    (b"\xfd7zXZ", "an xz archive", ".gz, .zst or plain text: xz -d FILE"),
    (b"BZh", "a bzip2 archive", ".gz, .zst or plain text: bzip2 -d FILE"),
    (b"7z\xbc\xaf", "a 7-Zip archive", ".gz, .zst or plain text: 7z x FILE"),
    (b"SQLite format 3", "an SQLite database", "CSV: sqlite3 -csv -header FILE 'SELECT ...'"),
    (b"<!DOCTYPE", "a web page (a failed download?)", "the file itself, as CSV or JSON Lines"),
    (b"<html", "a web page (a failed download?)", "the file itself, as CSV or JSON Lines"),
    (b"%PDF", "a PDF", "a trace as CSV or JSON Lines"),
];

impl Input {
    /// Unpacks, and reads the beginning. `is_enough` says whether a beginning tells the format; where it does not, more
    /// is read, up to the longest line.
    pub(crate) fn open(
        input: impl Read + Send + 'static,
        file: &str,
        is_enough: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, RequestError> {
        let failed = |error: std::io::Error| unreadable(file, &error);
        let mut input = BufReader::with_capacity(BUFFER, input);
        let first = peek(&mut input).map_err(failed)?;
        let (compression, mut rest): (_, Box<dyn Read + Send>) = match first.as_slice() {
            [0x1f, 0x8b, ..] => (Some("gzip"), Box::new(MultiGzDecoder::new(input))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                (Some("zstd"), Box::new(Frames { source: input, decoder: FrameDecoder::new(), is_in_frame: false }))
            }
            _ => (None, Box::new(input)),
        };
        let mut head = Vec::new();
        loop {
            let before = head.len();
            rest.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
            if head.len() - before < HEAD || head.len() >= LONGEST || is_enough(&head) {
                break;
            }
        }
        let known = NO_TEXTS.iter().find(|(magic, _, _)| head.starts_with(magic));
        let known = known.copied().or_else(|| {
            (head.get(8..12) == Some(b"DUCK")).then_some((b"", "a DuckDB file", "CSV: duckdb FILE -c \"COPY ...\""))
        });
        let known = known.or_else(|| {
            (head.get(257..262) == Some(b"ustar")).then_some((b"", "a tar archive", "the file in it: tar -xf FILE"))
        });
        let known = known.or_else(|| {
            let is_binary = head.get(..256).unwrap_or(&head).contains(&0);
            is_binary.then_some((b"", "no text (it holds bytes of 0)", "a trace as CSV or JSON Lines, UTF-8 text"))
        });
        if let Some((_, what, allowed)) = known {
            return Err(RequestError::File {
                file: file.into(),
                problem: format!("is {what}"),
                allowed: allowed.into(),
            });
        }
        if head.starts_with(b"\xef\xbb\xbf") {
            head.drain(..3);
        }
        Ok(Self { head, compression, rest })
    }

    /// The whole text from its beginning.
    pub(crate) fn into_reader(self) -> Text {
        Cursor::new(self.head).chain(BufReader::with_capacity(BUFFER, self.rest))
    }
}

/// A text from its beginning.
pub(crate) type Text = std::io::Chain<Cursor<Vec<u8>>, BufReader<Box<dyn Read + Send>>>;

pub(crate) fn unreadable(file: &str, error: &std::io::Error) -> RequestError {
    RequestError::File {
        file: file.into(),
        problem: format!("cannot be read: {error}"),
        allowed: "a whole file of text, plain or packed as .gz or .zst".into(),
    }
}

fn peek(input: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let buffer = input.fill_buf()?;
    Ok(buffer.get(..4).unwrap_or(buffer).to_vec())
}

/// Zstandard frames one after the other, with what may be skipped between them.
struct Frames<S: BufRead> {
    source: S,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

fn damaged() -> std::io::Error {
    std::io::Error::other("its zstd data is damaged or cut off")
}

impl<S: BufRead> Read for Frames<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            while self.is_in_frame {
                if self.decoder.can_collect() > 0 || buffer.is_empty() {
                    return self.decoder.read(buffer);
                }
                if self.decoder.is_finished() {
                    self.is_in_frame = false;
                    break;
                }
                let decoded = self.decoder.decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1));
                decoded.map_err(|_| damaged())?;
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => self.is_in_frame = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                    std::io::copy(&mut self.source.by_ref().take(u64::from(length)), &mut std::io::sink())?;
                }
                Err(_) => return Err(damaged()),
            }
        }
    }
}

/// Lines of a text, without their ends: parts of a buffer that is filled again where a line is not whole in it.
pub(crate) struct Lines {
    text: Text,
    buffer: Vec<u8>,
    /// What of the buffer has not been read yet.
    left: std::ops::Range<usize>,
    is_at_end: bool,
    number: u64,
    /// Whether a quote is in the buffer.
    has_quotes: bool,
}

/// A line.
pub(crate) struct Line<'a> {
    pub(crate) number: u64,
    pub(crate) text: &'a [u8],
    pub(crate) may_have_quotes: bool,
}

impl Lines {
    pub(crate) fn new(text: Text) -> Self {
        Self { text, buffer: Vec::new(), left: 0..0, is_at_end: false, number: 0, has_quotes: false }
    }

    /// The next line that is not blank.
    pub(crate) fn next(&mut self, file: &str) -> Result<Option<Line<'_>>, RequestError> {
        loop {
            let Some(mut line) = self.line(file)? else { return Ok(None) };
            self.number += 1;
            if self.buffer[line.clone()].last() == Some(&b'\r') {
                line.end -= 1;
            }
            let text = &self.buffer[line.clone()];
            let is_blank = text.first().is_none_or(u8::is_ascii_whitespace) && text.trim_ascii().is_empty();
            if !is_blank {
                let text = &self.buffer[line];
                return Ok(Some(Line { number: self.number, text, may_have_quotes: self.has_quotes }));
            }
        }
    }

    /// Where the next line is; nothing at the end.
    fn line(&mut self, file: &str) -> Result<Option<std::ops::Range<usize>>, RequestError> {
        let mut seen = 0;
        loop {
            let left = &self.buffer[self.left.clone()];
            if let Some(at) = memchr::memchr(b'\n', &left[seen..]) {
                let line = self.left.start..self.left.start + seen + at;
                self.left.start = line.end + 1;
                return Ok(Some(line));
            }
            seen = left.len();
            if seen > LONGEST {
                return Err(too_long(file, self.number + 1));
            }
            if self.is_at_end {
                let line = self.left.clone();
                self.left.start = line.end;
                return Ok((!line.is_empty()).then_some(line));
            }
            self.buffer.copy_within(self.left.clone(), 0);
            self.left = 0..seen;
            self.buffer.resize(self.buffer.len().max(seen + BUFFER), 0);
            let read = self.text.read(&mut self.buffer[seen..]).map_err(|error| unreadable(file, &error))?;
            self.left.end = seen + read;
            self.is_at_end = read == 0;
            self.has_quotes = memchr::memchr(b'"', &self.buffer[self.left.clone()]).is_some();
        }
    }
}

fn too_long(file: &str, line: u64) -> RequestError {
    RequestError::Line {
        file: file.into(),
        line,
        problem: "is longer than 64 MiB".into(),
        allowed: "lines, or JSON objects, of at most 64 MiB".into(),
    }
}

/// JSON objects one after the other, over lines or within one, bare or in an array.
pub(crate) struct Values {
    text: Text,
    value: Vec<u8>,
    scan: Scan,
}

impl Values {
    pub(crate) fn new(text: Text) -> Self {
        Self { text, value: Vec::new(), scan: Scan { line: 1, ..Scan::default() } }
    }

    /// The next object, whole or cut off by the end of the file, and the line on which it begins.
    pub(crate) fn next(&mut self, file: &str) -> Result<Option<(u64, &[u8])>, RequestError> {
        self.value.clear();
        self.scan.begin();
        loop {
            let bytes = self.text.fill_buf().map_err(|error| unreadable(file, &error))?;
            if bytes.is_empty() {
                if self.value.is_empty() && self.scan.place != Place::Outside {
                    return Err(misplaced(file, self.scan.line, "the array of objects has no ']' (truncated?)"));
                }
                let is_open = !self.value.is_empty();
                return Ok(is_open.then_some((self.scan.first_line, &self.value)));
            }
            let (used, is_whole) = self.scan.take(bytes, &mut self.value);
            self.text.consume(used);
            if let Some(problem) = self.scan.wrong {
                return Err(misplaced(file, self.scan.line, problem));
            }
            if self.value.len() > LONGEST {
                return Err(too_long(file, self.scan.first_line));
            }
            if is_whole {
                return Ok(Some((self.scan.first_line, &self.value)));
            }
        }
    }
}

fn misplaced(file: &str, line: u64, problem: &str) -> RequestError {
    let allowed = "objects one after the other, or an array of them: commas between, and ']' at its end".into();
    RequestError::Line { file: file.into(), line, problem: problem.into(), allowed }
}

/// Where between objects a scan is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// In no array.
    #[default]
    Outside,
    /// Behind the bracket that opens an array.
    Opened,
    /// Behind an object of an array.
    Behind,
    /// Behind a comma.
    Between,
}

/// Where a scan for the ends of objects is.
#[derive(Debug, Default)]
struct Scan {
    place: Place,
    /// What stands between objects and should not.
    wrong: Option<&'static str>,
    depth: u32,
    in_text: bool,
    escaped: bool,
    line: u64,
    first_line: u64,
}

impl Scan {
    fn begin(&mut self) {
        (self.depth, self.in_text, self.escaped) = (0, false, false);
    }

    /// Whether a byte stands between objects; in a place where it may not, `wrong` says why.
    fn between(&mut self, byte: u8) -> bool {
        let (place, wrong) = match (byte, self.place) {
            (b'[', Place::Outside) => (Place::Opened, None),
            (b']', Place::Opened | Place::Behind) => (Place::Outside, None),
            (b',', Place::Behind) => (Place::Between, None),
            (b'[', _) => (self.place, Some("'[' where an object is expected")),
            (b']', Place::Outside) => (self.place, Some("']' outside of an array")),
            (b']', Place::Between) => (self.place, Some("a comma with no object after it")),
            (b',', Place::Outside) => (self.place, Some("a comma outside of an array")),
            (b',', _) => (self.place, Some("a comma with no object before it")),
            (_, Place::Behind) => (self.place, Some("no comma between two objects of an array")),
            (_, Place::Opened | Place::Between) => {
                self.place = Place::Behind;
                return false;
            }
            (_, Place::Outside) => return false,
        };
        (self.place, self.wrong) = (place, wrong);
        true
    }

    /// Appends what of `bytes` belongs to the object. Returns how many bytes are done, and whether it is whole.
    fn take(&mut self, bytes: &[u8], value: &mut Vec<u8>) -> (usize, bool) {
        let mut from = 0;
        for (index, byte) in bytes.iter().enumerate() {
            self.line += u64::from(*byte == b'\n');
            if self.depth == 0 {
                // Between objects there may be blanks, and the commas and brackets of an array; anything else becomes
                // an object of its own up to the end, which will not be understood.
                if byte.is_ascii_whitespace() || self.between(*byte) {
                    from = index + 1;
                    if self.wrong.is_some() {
                        return (from, false);
                    }
                    continue;
                }
                self.first_line = self.line;
                self.depth = 1;
                if *byte != b'{' {
                    self.in_text = true;
                }
                continue;
            }
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        value.extend_from_slice(&bytes[from..=index]);
                        return (index + 1, true);
                    }
                }
                _ => {}
            }
        }
        value.extend_from_slice(&bytes[from..]);
        (bytes.len(), false)
    }
}

/// Whole objects at the beginning of a text, at most `most`.
pub(crate) fn objects(head: &[u8], most: usize) -> Vec<Vec<u8>> {
    let mut scan = Scan { line: 1, ..Scan::default() };
    let (mut objects, mut at) = (Vec::new(), 0);
    while let Some(bytes) = head.get(at..).filter(|bytes| !bytes.is_empty() && objects.len() < most) {
        let mut value = Vec::new();
        scan.begin();
        let (used, is_whole) = scan.take(bytes, &mut value);
        if !is_whole {
            break;
        }
        objects.push(value);
        at += used;
    }
    objects
}
