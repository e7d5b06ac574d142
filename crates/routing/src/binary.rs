//! The form for speed: `packed` (variable-length integers: a choice among up to 250 experts is one byte) in
//! blocks.
//!
//! `WSROUTE\0`, schema version (u32), then sections of: length (u32), CRC-32 of the content (u32), content. The first
//! section is the [`Header`], each further one a block of tokens, the last one empty (length 0, checksum 0). All
//! numbers are little-endian. Memory does not grow with the length. Only traces that this project wrote are read so:
//! the form to exchange is [`crate::jsonl`].

use std::io::{Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::error::RoutingError;
use crate::header::Header;
use crate::token::{Token, TokenSource};

/// The first bytes of every binary trace.
pub const MAGIC: [u8; 8] = *b"WSROUTE\0";
/// The version of the layout below.
pub const SCHEMA: u32 = 1;
/// Largest section in bytes.
const LARGEST_SECTION: u32 = 64 << 20;
/// Choices after which a block is closed.
const BLOCK_CHOICES: usize = 1 << 18;

/// Tokens that are checked and decoded together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Block {
    users: Vec<u32>,
    tokens: Vec<u64>,
    experts: Vec<u16>,
    weights: Vec<f32>,
}

/// A binary trace, being read.
#[derive(Debug)]
pub struct Binary<R> {
    input: R,
    header: Header,
    checker: Checker,
    blocks: u64,
    block: Block,
    /// Next token of the block.
    next: usize,
    tokens: u64,
    is_over: bool,
}

impl<R: Read> Binary<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Where the bytes are no binary trace of this version.
    pub fn open(mut input: R) -> Result<Self, RoutingError> {
        let mut magic = [0; 8];
        read_exact(&mut input, &mut magic, "magic")?;
        if magic != MAGIC {
            return Err(wrong("magic", "these are no bytes of a binary routing trace"));
        }
        let schema = read_u32(&mut input, "schema")?;
        if schema != SCHEMA {
            return Err(wrong("schema", format!("version {schema}; allowed: {SCHEMA}, the only one known")));
        }
        let header: Header =
            section(&mut input, "header")?.ok_or_else(|| wrong("header", "there is none: its length is 0"))?;
        header.check().map_err(|error| wrong("header", error.to_string()))?;
        let checker = Checker::new(&header);
        Ok(Self { input, header, checker, blocks: 0, block: Block::default(), next: 0, tokens: 0, is_over: false })
    }

    /// Reads the next block; false at the end.
    fn read_block(&mut self) -> Result<bool, RoutingError> {
        self.blocks += 1;
        let part = format!("block {}", self.blocks);
        let Some(block) = section::<Block>(&mut self.input, &part)? else {
            if self.tokens != self.header.tokens {
                let reason = format!("the trace ends after {} tokens of {}", self.tokens, self.header.tokens);
                return Err(wrong(&part, reason));
            }
            let mut one = [0];
            match self.input.read(&mut one) {
                Ok(0) => return Ok(false),
                Ok(_) => return Err(wrong("end", "bytes after the last block")),
                Err(error) => return Err(RoutingError::Read { reason: error.to_string() }),
            }
        };
        let (tokens, choices) = (block.users.len(), block.users.len().saturating_mul(self.header.choices()));
        let weights = if self.header.weights { choices } else { 0 };
        if tokens == 0
            || block.tokens.len() != tokens
            || block.experts.len() != choices
            || block.weights.len() != weights
        {
            return Err(wrong(&part, "tokens, experts and weights are not as many as the header says"));
        }
        self.block = block;
        self.next = 0;
        Ok(true)
    }
}

impl<R: Read> TokenSource for Binary<R> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        if self.is_over {
            return Ok(None);
        }
        if self.next >= self.block.users.len() && !self.read_block()? {
            self.is_over = true;
            return Ok(None);
        }
        let index = self.next;
        self.next += 1;
        self.tokens += 1;
        if self.tokens > self.header.tokens {
            let reason = format!("a token beyond the {} of the header", self.header.tokens);
            return Err(wrong(&format!("block {}", self.blocks), reason));
        }
        let choices = self.header.choices();
        let range = index * choices..(index + 1) * choices;
        let (Some(&user), Some(&number), Some(experts)) =
            (self.block.users.get(index), self.block.tokens.get(index), self.block.experts.get(range.clone()))
        else {
            return Ok(None);
        };
        let weights = if self.header.weights { self.block.weights.get(range) } else { None };
        let token = Token { user, token: number, experts, weights };
        self.checker.token(&token).map_err(|reason| wrong(&format!("block {}", self.blocks), reason))?;
        Ok(Some(token))
    }
}

/// Writes a source in the binary form.
///
/// # Errors
/// What the source says, or where writing fails.
pub fn write(source: &mut dyn TokenSource, mut output: impl Write) -> Result<(), RoutingError> {
    let header = source.header().clone();
    let failed = |error: std::io::Error| RoutingError::write(&error);
    output.write_all(&MAGIC).and_then(|()| output.write_all(&SCHEMA.to_le_bytes())).map_err(failed)?;
    write_section(&mut output, &header)?;
    let mut block = Block::default();
    while let Some(token) = source.next_token()? {
        block.users.push(token.user);
        block.tokens.push(token.token);
        block.experts.extend_from_slice(token.experts);
        block.weights.extend_from_slice(token.weights.unwrap_or(&[]));
        if block.experts.len() >= BLOCK_CHOICES {
            write_section(&mut output, &block)?;
            block = Block::default();
        }
    }
    if !block.users.is_empty() {
        write_section(&mut output, &block)?;
    }
    output.write_all(&[0; 8]).and_then(|()| output.flush()).map_err(failed)
}

fn write_section(output: &mut impl Write, value: &impl Serialize) -> Result<(), RoutingError> {
    let bytes = wafersim_packed::pack(value, u64::from(LARGEST_SECTION))
        .map_err(|error| RoutingError::Write { reason: error.to_string() })?;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let written = output
        .write_all(&length.to_le_bytes())
        .and_then(|()| output.write_all(&crc32fast::hash(&bytes).to_le_bytes()))
        .and_then(|()| output.write_all(&bytes));
    written.map_err(|error| RoutingError::write(&error))
}

/// Reads a section; `None` where its length is 0.
fn section<T: DeserializeOwned>(input: &mut impl Read, part: &str) -> Result<Option<T>, RoutingError> {
    let length = read_u32(input, part)?;
    let checksum = read_u32(input, part)?;
    if length == 0 {
        return if checksum == 0 { Ok(None) } else { Err(wrong(part, "wrong checksum of an empty section")) };
    }
    if length > LARGEST_SECTION {
        return Err(wrong(part, format!("{length} bytes; allowed: at most {LARGEST_SECTION}")));
    }
    // Room is made as bytes arrive: a length alone takes no memory.
    let mut bytes = Vec::new();
    let read = input.take(u64::from(length)).read_to_end(&mut bytes);
    let read = read.map_err(|error| RoutingError::Read { reason: error.to_string() })?;
    if read < length as usize {
        return Err(wrong(part, format!("is truncated: {read} bytes of {length}")));
    }
    let found = crc32fast::hash(&bytes);
    if found != checksum {
        return Err(wrong(part, format!("wrong checksum: {found:08x} where {checksum:08x} is written")));
    }
    wafersim_packed::unpack(&bytes, u64::from(LARGEST_SECTION))
        .map(Some)
        .map_err(|error| wrong(part, error.to_string()))
}

fn read_u32(input: &mut impl Read, part: &str) -> Result<u32, RoutingError> {
    let mut bytes = [0; 4];
    read_exact(input, &mut bytes, part)?;
    Ok(u32::from_le_bytes(bytes))
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8], part: &str) -> Result<(), RoutingError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => wrong(part, "is truncated: the file ends here"),
        _ => RoutingError::Read { reason: error.to_string() },
    })
}

fn wrong(part: &str, reason: impl Into<String>) -> RoutingError {
    RoutingError::Binary { part: part.to_owned(), reason: reason.into() }
}
