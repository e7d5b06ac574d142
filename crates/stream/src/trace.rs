//! Request traces as they are published: Azure LLM 2023 (CSV), Mooncake FAST '25 (JSON Lines), and a plain CSV of our
//! own.
//!
//! A reader takes text and gives requests, or the line where it stops making sense. Requests must be in order of time,
//! with at least one token of prompt and of answer, and within the model's context.

mod azure;
mod mooncake;
mod plain;

use serde::{Deserialize, Serialize};

use crate::error::StreamError;
use crate::request::{Content, Request};
use crate::time::Time;

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// One object a line: `timestamp` (ms), `input_length`, `output_length`, `hash_ids` of blocks of 512 tokens.
    Mooncake,
    /// `arrival_s,prompt_tokens,output_tokens`, and where there are sessions `session`.
    Plain,
}

/// The last moment at which a request may come: 10^6 s.
const LATEST: f64 = 1e6;

/// Reads a trace. `file` is its name in messages, `longest` the model's longest context, `most` the number of requests
/// that are wanted.
///
/// # Errors
/// [`StreamError::Trace`] with the line.
pub fn read(
    text: &str,
    file: &str,
    format: Format,
    longest: u32,
    most: Option<u64>,
) -> Result<Vec<Request>, StreamError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let most = usize::try_from(most.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut lines = Lines { file, longest, last: 0.0, requests: Vec::new() };
    match format {
        Format::Azure => azure::read(text, &mut lines, most)?,
        Format::Mooncake => mooncake::read(text, &mut lines, most)?,
        Format::Plain => plain::read(text, &mut lines, most)?,
    }
    if lines.requests.is_empty() {
        return Err(lines.wrong(1, "no requests".into(), "a trace with at least one request"));
    }
    Ok(lines.requests)
}

/// The requests so far.
struct Lines<'a> {
    file: &'a str,
    longest: u32,
    last: f64,
    requests: Vec<Request>,
}

impl Lines<'_> {
    fn wrong(&self, line: u64, problem: String, allowed: &str) -> StreamError {
        StreamError::Trace { file: self.file.into(), line, problem, allowed: allowed.into() }
    }

    /// Checks a request and appends it.
    fn push(&mut self, line: u64, arrival: f64, prompt: u64, output: u64, content: Content) -> Result<(), StreamError> {
        if !self.requests.is_empty() && arrival < self.last {
            let problem = format!("time runs backwards: {arrival} s after {} s", self.last);
            return Err(self.wrong(line, problem, "requests in order of time"));
        }
        if !(arrival.is_finite() && (0.0..=LATEST).contains(&arrival)) {
            return Err(self.wrong(line, format!("arrives at {arrival} s"), "a time from 0 to 1000000 s"));
        }
        let allowed = format!("from 1, prompt and answer together up to {} tokens, the longest context", self.longest);
        for (what, tokens) in [("prompt", prompt), ("answer", output)] {
            if tokens == 0 {
                return Err(self.wrong(line, format!("a {what} of 0 tokens"), &allowed));
            }
        }
        if prompt.saturating_add(output) > u64::from(self.longest) {
            return Err(self.wrong(line, format!("{prompt} tokens of prompt and {output} of answer"), &allowed));
        }
        self.last = arrival;
        let number = u32::try_from(self.requests.len()).unwrap_or(u32::MAX);
        self.requests.push(Request {
            arrival: Time::from_seconds(arrival),
            user: number,
            // Both are below `longest`.
            prompt: prompt as u32,
            output: output as u32,
            content,
        });
        Ok(())
    }
}

/// The lines of a CSV with its header checked: (number, fields).
fn rows<'t>(text: &'t str, lines: &Lines<'_>, headers: &[&str]) -> Result<Vec<(u64, Vec<&'t str>)>, StreamError> {
    let mut all = text.lines().enumerate().map(|(index, line)| (index as u64 + 1, line.trim_end_matches('\r')));
    let header = all.next().map_or("", |(_, line)| line);
    if !headers.contains(&header) {
        return Err(lines.wrong(1, format!("the columns are '{}'", shown(header)), &headers.join(", or ")));
    }
    let columns = header.split(',').count();
    let mut rows = Vec::new();
    for (number, line) in all.filter(|(_, line)| !line.is_empty()) {
        let fields: Vec<&str> = line.split(',').collect();
        if fields.len() != columns {
            let problem = format!("{} fields: '{}' (a truncated line?)", fields.len(), shown(line));
            return Err(lines.wrong(number, problem, &format!("{columns} fields: {header}")));
        }
        rows.push((number, fields));
    }
    Ok(rows)
}

fn whole(lines: &Lines<'_>, line: u64, name: &str, text: &str) -> Result<u64, StreamError> {
    text.trim()
        .parse()
        .map_err(|_| lines.wrong(line, format!("field '{name}' is '{}'", shown(text)), "a whole number of tokens"))
}

/// The start of a text, for messages.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut start: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        start.push_str("...");
    }
    start
}
