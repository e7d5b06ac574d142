//! The form to exchange: JSON Lines. The first line is the [`Header`], each further line the choice of one token in one
//! layer. The lines of a token stand together, its layers counting from 0. Memory does not grow with the length.

use std::io::{BufRead, Read, Write};

use serde::{Deserialize, Serialize};

use crate::check::Checker;
use crate::error::RoutingError;
use crate::header::Header;
use crate::token::{Token, TokenSource};

/// Longest line in bytes. 1,024 experts with weights need about 20 KiB.
const LONGEST_LINE: u64 = 1 << 18;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    user: u32,
    token: u64,
    layer: u32,
    experts: Vec<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weights: Option<Vec<f32>>,
}

/// A trace in JSON Lines, being read.
#[derive(Debug)]
pub struct JsonLines<R> {
    input: R,
    header: Header,
    checker: Checker,
    /// Lines read so far.
    lines: u64,
    tokens: u64,
    text: Vec<u8>,
    experts: Vec<u16>,
    weights: Vec<f32>,
}

impl<R: BufRead> JsonLines<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Where the first line is no header of this version.
    pub fn open(input: R) -> Result<Self, RoutingError> {
        let header = Header::new("none", 1, 1, 1, 1)?;
        let checker = Checker::new(&header);
        let mut reader = Self {
            input,
            header,
            checker,
            lines: 0,
            tokens: 0,
            text: Vec::new(),
            experts: Vec::new(),
            weights: Vec::new(),
        };
        if !reader.read_line()? {
            return Err(
                reader.wrong("the file is empty; allowed: a header line, then one line for each token and layer")
            );
        }
        let header: Header = reader.parsed()?;
        header.check().map_err(|error| reader.wrong(error.to_string()))?;
        reader.checker = Checker::new(&header);
        reader.header = header;
        Ok(reader)
    }

    fn wrong(&self, reason: impl Into<String>) -> RoutingError {
        RoutingError::Line { line: self.lines.max(1), reason: reason.into() }
    }

    /// Reads a line into `text`; false at the end.
    fn read_line(&mut self) -> Result<bool, RoutingError> {
        self.text.clear();
        let read = (&mut self.input).take(LONGEST_LINE + 1).read_until(b'\n', &mut self.text);
        let read = read.map_err(|error| RoutingError::Read { reason: error.to_string() })?;
        if read == 0 {
            return Ok(false);
        }
        self.lines += 1;
        if read as u64 > LONGEST_LINE {
            return Err(self.wrong(format!("is longer than {LONGEST_LINE} bytes")));
        }
        Ok(true)
    }

    fn parsed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, RoutingError> {
        serde_json::from_slice(&self.text).map_err(|error| {
            let is_cut = error.is_eof() && self.text.last() != Some(&b'\n');
            if is_cut { self.wrong(format!("is truncated: {error}")) } else { self.wrong(error.to_string()) }
        })
    }

    /// Reads one token's choice in `layer`.
    fn layer(&mut self, layer: u32, token: Option<(u32, u64)>) -> Result<Option<(u32, u64)>, RoutingError> {
        if !self.read_line()? {
            return match token {
                None => Ok(None),
                Some((user, number)) => {
                    let layers = self.header.layers;
                    let reason = format!(
                        "the file ends within token {number} of user {user}: layer {layer} of {layers} is missing"
                    );
                    Err(self.wrong(reason))
                }
            };
        }
        let line: Line = self.parsed()?;
        let due = token.unwrap_or((line.user, line.token));
        if (line.user, line.token, line.layer) != (due.0, due.1, layer) {
            return Err(self.wrong(format!(
                "user {}, token {}, layer {} where user {}, token {}, layer {layer} is due",
                line.user, line.token, line.layer, due.0, due.1
            )));
        }
        if line.weights.is_some() != self.header.weights {
            let needs = if self.header.weights { "has no weights" } else { "has weights" };
            return Err(self.wrong(format!("{needs}, and the header says weights: {}", self.header.weights)));
        }
        if line.weights.as_ref().is_some_and(|weights| weights.len() != line.experts.len()) {
            return Err(self.wrong("has not as many weights as experts"));
        }
        if token.is_none() {
            self.checker.begin(line.user, line.token).map_err(|reason| self.wrong(reason))?;
        }
        self.checker.choice(&line.experts, line.weights.as_deref()).map_err(|reason| self.wrong(reason))?;
        self.experts.extend_from_slice(&line.experts);
        self.weights.extend(line.weights.unwrap_or_default());
        Ok(Some(due))
    }
}

impl<R: BufRead> TokenSource for JsonLines<R> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn next_token(&mut self) -> Result<Option<Token<'_>>, RoutingError> {
        self.experts.clear();
        self.weights.clear();
        let mut token = None;
        for layer in 0..self.header.layers {
            token = self.layer(layer, token)?;
            if token.is_none() {
                break;
            }
        }
        let Some((user, number)) = token else {
            if self.tokens != self.header.tokens {
                let reason = format!("the file ends after {} tokens of {}", self.tokens, self.header.tokens);
                return Err(self.wrong(reason));
            }
            return Ok(None);
        };
        self.tokens += 1;
        if self.tokens > self.header.tokens {
            return Err(self.wrong(format!("a token beyond the {} of the header", self.header.tokens)));
        }
        let weights = self.header.weights.then_some(self.weights.as_slice());
        Ok(Some(Token { user, token: number, experts: &self.experts, weights }))
    }
}

/// Writes a source as JSON Lines.
///
/// # Errors
/// What the source says, or where writing fails.
pub fn write(source: &mut dyn TokenSource, mut output: impl Write) -> Result<(), RoutingError> {
    let header = source.header().clone();
    let top_k = header.top_k as usize;
    line(&mut output, &header)?;
    while let Some(token) = source.next_token()? {
        for (layer, experts) in token.by_layer(&header).enumerate() {
            let weights = token.weights.and_then(|weights| weights.get(layer * top_k..(layer + 1) * top_k));
            let choice = Line {
                user: token.user,
                token: token.token,
                layer: layer as u32,
                experts: experts.to_vec(),
                weights: weights.map(<[f32]>::to_vec),
            };
            line(&mut output, &choice)?;
        }
    }
    output.flush().map_err(|error| RoutingError::write(&error))
}

fn line(output: &mut impl Write, value: &impl Serialize) -> Result<(), RoutingError> {
    let text = serde_json::to_string(value).map_err(|error| RoutingError::Write { reason: error.to_string() })?;
    writeln!(output, "{text}").map_err(|error| RoutingError::write(&error))
}
