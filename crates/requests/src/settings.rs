//! What a user may say of a trace, where the table of formats does not say it, or says it otherwise.

use serde::{Deserialize, Serialize};

use crate::format::{Format, Role};

/// The unit of times in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds.
    #[default]
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
    /// ISO 8601 dates with times, with a zone or without.
    Date,
}

impl TimeUnit {
    /// Decimal places from one picosecond.
    pub(crate) const fn places(self) -> i32 {
        match self {
            Self::S | Self::Date => 12,
            Self::Ms => 9,
            Self::Us => 6,
            Self::Ns => 3,
        }
    }

    /// As in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
            Self::Date => "date",
        }
    }
}

/// What the prompt's length of a later turn of a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// The whole prompt, with all turns before.
    Whole,
    /// What the turn adds: prompts and answers before it come on top.
    Addition,
}

/// Names of columns or keys, where they are not the format's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// When a request comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival: Option<String>,
    /// Tokens of its prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Tokens of its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Hashes of the blocks of its prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashes: Option<String>,
    /// The wait after the answer before it in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
}

impl Columns {
    /// Each role that may be named, its setting, and its name where it has one.
    pub(crate) fn named(&self) -> [(Role, &'static str, Option<&str>); 6] {
        [
            (Role::Arrival, "load.columns.arrival", self.arrival.as_deref()),
            (Role::Prompt, "load.columns.prompt", self.prompt.as_deref()),
            (Role::Output, "load.columns.output", self.output.as_deref()),
            (Role::Session, "load.columns.session", self.session.as_deref()),
            (Role::Hashes, "load.columns.hashes", self.hashes.as_deref()),
            (Role::Delay, "load.columns.delay", self.delay.as_deref()),
        ]
    }

    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How a trace is read. Whatever is left out is the format's.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Settings {
    /// The format; by content where nothing is said.
    pub format: Format,
    /// Names of columns or keys.
    #[serde(skip_serializing_if = "Columns::is_empty")]
    pub columns: Columns,
    /// Unit of times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_unit: Option<TimeUnit>,
    /// The time that counts as 0, written as in the file; `first` and nothing are the first request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Tokens of a hashed block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// What later prompts of a session count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// Whether requests may stand in any order: they are put in order of time, in memory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sort: bool,
    /// Requests (of sessions, first turns) per second, where the file says no times: exponential gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Characters of a token, where the file has texts instead of lengths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters_per_token: Option<f64>,
    /// Seed of what is drawn: gaps by `rate`, requests of a ServeGen model.
    #[serde(skip)]
    pub seed: u64,
}
