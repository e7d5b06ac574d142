//! A row of a file as it stands there: what keys said, before it is a request.

use crate::format::{Preset, Role};
use crate::number::{Clock, decimal, whole};
use crate::settings::TimeUnit;

/// A call within a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Call {
    pub(crate) prompt: u64,
    pub(crate) output: u64,
    /// Picoseconds to wait after the answer before.
    pub(crate) delay: i128,
    /// Picoseconds to wait after its answer.
    pub(crate) wait_after: i128,
}

/// A message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) is_answer: bool,
    pub(crate) characters: u64,
}

/// What a row says. Times are picoseconds, from whatever the file counts from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) arrival: Option<i128>,
    pub(crate) end: Option<i128>,
    pub(crate) prompt: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) kept: Option<u64>,
    pub(crate) appended: Option<u64>,
    pub(crate) delay: Option<i128>,
    pub(crate) wait_after: Option<i128>,
    pub(crate) turn: Option<u64>,
    pub(crate) chat: Option<i64>,
    pub(crate) parent: Option<i64>,
    pub(crate) block: Option<u64>,
    pub(crate) characters: Option<u64>,
    pub(crate) has_hashes: bool,
    pub(crate) has_calls: bool,
    pub(crate) has_talk: bool,
    pub(crate) session: String,
    pub(crate) hashes: Vec<u64>,
    pub(crate) calls: Vec<Call>,
    pub(crate) talk: Vec<Message>,
}

impl Row {
    /// Empty, with its memory kept.
    pub(crate) fn clear(&mut self, line: u64) {
        self.line = line;
        (self.arrival, self.end, self.delay, self.wait_after) = (None, None, None, None);
        (self.prompt, self.output, self.kept, self.appended) = (None, None, None, None);
        (self.turn, self.chat, self.parent, self.block, self.characters) = (None, None, None, None, None);
        (self.has_hashes, self.has_calls, self.has_talk) = (false, false, false);
        self.session.clear();
        self.hashes.clear();
        self.calls.clear();
        self.talk.clear();
    }
}

/// How texts of a file become numbers.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) unit: TimeUnit,
    pub(crate) cuts: bool,
    /// Whether a comma in a time is its decimal point.
    pub(crate) comma_decimals: bool,
    pub(crate) clock: Clock,
}

/// What programs write where a row has no value (pandas, R, SQL, JavaScript).
fn is_nothing(text: &[u8]) -> bool {
    // The first letter tells most fields apart.
    matches!(text.first(), Some(b'n' | b'N' | b'-' | b'<'))
        && [&b"nan"[..], b"null", b"none", b"na", b"n/a", b"nil", b"-", b"<na>"]
            .iter()
            .any(|nothing| text.eq_ignore_ascii_case(nothing))
}

/// What is allowed in a field of a role, in words.
pub(crate) fn allowed(role: Role, unit: TimeUnit) -> String {
    match role {
        Role::Arrival if unit == TimeUnit::Date => {
            "a date such as 2023-11-16 18:15:46.6805900, with a zone or without".into()
        }
        Role::Arrival | Role::Delay | Role::WaitAfter => format!("a time in {}", span_unit(unit).name()),
        Role::Prompt | Role::Output | Role::Kept | Role::Appended | Role::Block => "a whole number of tokens".into(),
        Role::Session => "a text or a number".into(),
        Role::Hashes => "whole numbers from 0 to 18446744073709551615, in a CSV parted by blanks".into(),
        Role::Turn | Role::Chat | Role::Parent => "a whole number".into(),
        Role::Calls => "a list of calls, each with input_toks and output_toks".into(),
        Role::Events => "a list of events, each with event_type and timestamp".into(),
        Role::Text => "a text".into(),
        Role::Talk => "a list of messages, each with from and value, or role and content".into(),
        Role::Turns => "a list of turns, each with a text".into(),
        Role::Graph => "calls that follow each other: session_id and delay".into(),
    }
}

/// The unit of durations: dates have no unit, waits beside them are seconds.
pub(crate) const fn span_unit(unit: TimeUnit) -> TimeUnit {
    match unit {
        TimeUnit::Date => TimeUnit::S,
        unit => unit,
    }
}

impl Scale {
    pub(crate) fn new(preset: &Preset, unit: TimeUnit) -> Self {
        Self { unit, cuts: preset.cuts, comma_decimals: false, clock: Clock::default() }
    }

    /// Puts what a field says into the row; false where it cannot be understood. An empty field says nothing.
    pub(crate) fn put(&mut self, row: &mut Row, role: Role, text: &[u8]) -> bool {
        let text = text.trim_ascii();
        if text.is_empty() || (!matches!(role, Role::Session | Role::Text) && is_nothing(text)) {
            return true;
        }
        let with_point;
        let text = match self.comma_decimals && self.unit != TimeUnit::Date && text.contains(&b',') {
            true if matches!(role, Role::Arrival | Role::Delay | Role::WaitAfter) => {
                with_point = text.iter().map(|byte| if *byte == b',' { b'.' } else { *byte }).collect::<Vec<u8>>();
                with_point.as_slice()
            }
            _ => text,
        };
        let span = span_unit(self.unit).places();
        let tokens = |into: &mut Option<u64>, cuts| {
            *into = whole(text, cuts);
            into.is_some()
        };
        let time = |into: &mut Option<i128>, value: Option<i128>| {
            *into = value;
            value.is_some()
        };
        let number = |into: &mut Option<i64>| {
            *into = decimal(text, 0).and_then(|value| i64::try_from(value).ok());
            into.is_some()
        };
        match role {
            Role::Arrival => time(&mut row.arrival, self.clock.time(text, self.unit)),
            Role::Delay => time(&mut row.delay, decimal(text, span)),
            Role::WaitAfter => time(&mut row.wait_after, decimal(text, span)),
            Role::Prompt => tokens(&mut row.prompt, self.cuts),
            Role::Output => tokens(&mut row.output, self.cuts),
            Role::Kept => tokens(&mut row.kept, self.cuts),
            Role::Appended => tokens(&mut row.appended, self.cuts),
            Role::Block => tokens(&mut row.block, false),
            Role::Turn => tokens(&mut row.turn, false),
            Role::Chat => number(&mut row.chat),
            Role::Parent => number(&mut row.parent),
            // Names are written to CSVs: a line end in one is taken for another letter.
            Role::Session => std::str::from_utf8(text).is_ok_and(|name| {
                row.session.clear();
                row.session.extend(name.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }));
                true
            }),
            Role::Hashes => {
                row.has_hashes = true;
                text.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).all(|part| {
                    let hash = whole(part, false);
                    row.hashes.extend(hash);
                    hash.is_some()
                })
            }
            Role::Text => {
                row.characters = Some(String::from_utf8_lossy(text).chars().count() as u64);
                true
            }
            Role::Calls | Role::Events | Role::Talk | Role::Turns | Role::Graph => false,
        }
    }
}
