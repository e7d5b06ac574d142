//! How clients retry, and how many tokens they ask for: presets from their code and from runs against a small server
//! that refuses. The versions are those that were read or run in autumn 2026.

use serde::{Deserialize, Serialize};

use crate::error::StreamError;

/// Waits that grow with each retry.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// Seconds before the first retry.
    pub base: f64,
    /// Each wait is so many times the one before.
    #[serde(default = "Backoff::same")]
    pub factor: f64,
    /// Seconds at most.
    #[serde(default = "Backoff::endless")]
    pub cap: f64,
    /// The wait is multiplied by a number drawn from here; 1 to 1 is no jitter.
    #[serde(default = "Backoff::exact")]
    pub jitter: [f64; 2],
}

impl Backoff {
    const fn same() -> f64 {
        1.0
    }

    const fn endless() -> f64 {
        1e6
    }

    const fn exact() -> [f64; 2] {
        [1.0, 1.0]
    }

    /// Seconds before a retry, counted from 0; `drawn` is from 0 to 1.
    pub fn wait(&self, retry: u32, drawn: f64) -> f64 {
        let power = self.factor.powi(i32::try_from(retry).unwrap_or(i32::MAX));
        let [low, high] = self.jitter;
        (self.base * power).min(self.cap) * (low + (high - low) * drawn)
    }
}

/// What a client makes of the wait that a refusal names.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderRule {
    /// It waits as long.
    Obey,
    /// It does not look at it.
    Ignore,
    /// It waits as long where that is less than so many seconds, else as if nothing were said.
    ObeyBelow(f64),
    /// It waits as long, and does not retry what would take more than so many seconds.
    RefuseAbove(f64),
    /// It waits as long, but no shorter and no longer than this.
    Clamp {
        /// Seconds at least.
        least: f64,
        /// Seconds at most.
        most: f64,
    },
}

/// A layer of retries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryLayer {
    /// Retries after the first try; nothing is without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Waits where no header is heard.
    pub backoff: Backoff,
    /// What it makes of the header.
    pub header: HeaderRule,
}

/// A client that takes the words of a refused quota of tokens ("too many tokens processed") for a context that is too
/// long. It does not wait: it has the session summarised at once, and where that is refused too, it stops, until a
/// person asks again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overflow {
    /// Tokens of the summary.
    pub summary: u32,
    /// Mean seconds until a person asks again; drawn between half and one and a half of it.
    pub again: f64,
}

impl Overflow {
    /// Tokens of a summary: a guess, 500 to 8,000.
    pub const SUMMARY: u32 = 2000;
    /// Seconds until a person has seen that the agent has stopped, and asks again: a guess, 5 to 120, as for the time
    /// to think.
    pub const AGAIN: f64 = 30.0;
}

impl Default for Overflow {
    fn default() -> Self {
        Self { summary: Self::SUMMARY, again: Self::AGAIN }
    }
}

/// A client.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClientProfile {
    /// Its name.
    pub name: String,
    /// Tokens of an answer that it asks for at most; nothing where it names none.
    pub max_tokens: Option<u32>,
    /// Layers of retries, the innermost first.
    pub layers: Vec<RetryLayer>,
    /// What it does after a refusal for a quota of tokens, where it does not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overflow: Option<Overflow>,
}

const fn layer(retries: u32, backoff: Backoff, header: HeaderRule) -> RetryLayer {
    RetryLayer { retries: Some(retries), backoff, header }
}

const fn backoff(base: f64, factor: f64, cap: f64, jitter: [f64; 2]) -> Backoff {
    Backoff { base, factor, cap, jitter }
}

const EXACT: [f64; 2] = [1.0, 1.0];
/// openai-python 3.57 and openai-node 6.49: 0.5 s, doubled, up to 8 s, less up to a quarter.
const OPENAI: RetryLayer = layer(2, backoff(0.5, 2.0, 8.0, [0.75, 1.0]), HeaderRule::RefuseAbove(120.0));

impl ClientProfile {
    /// Names of the presets.
    pub const NAMES: [&'static str; 10] = [
        "none",
        "openai-sdk",
        "ai-sdk",
        "code-puppy",
        "code-puppy-generic",
        "opencode",
        "qwen-code",
        "roo",
        "aider",
        "continue",
    ];

    /// A preset.
    ///
    /// # Errors
    /// Where there is none of that name; with the names that there are.
    pub fn preset(name: &str) -> Result<Self, StreamError> {
        let agent = layer(4, backoff(2.0, 2.2, 30.0, [0.5, 1.0]), HeaderRule::Ignore);
        let (max_tokens, layers) = match name {
            "none" => (None, vec![]),
            "openai-sdk" => (None, vec![OPENAI]),
            // `ai` 6.0: 2 s and 4 s; a header of 60 s or more is not heard.
            "ai-sdk" => (None, vec![layer(2, backoff(2.0, 2.0, 1e6, EXACT), HeaderRule::ObeyBelow(60.0))]),
            // 0.0.946, type cerebras: its transport waits 3, 6, 12, 24 and 48 s whatever the header says; around it the
            // SDK, around that the agent.
            "code-puppy" => {
                let transport = layer(5, backoff(3.0, 2.0, 1e6, EXACT), HeaderRule::Ignore);
                (Some(19_660), vec![transport, OPENAI, agent])
            }
            // Other types: the header is obeyed between 0.5 s and 60 s.
            "code-puppy-generic" => {
                let transport = layer(5, backoff(1.0, 2.0, 60.0, EXACT), HeaderRule::Clamp { least: 0.5, most: 60.0 });
                (Some(19_660), vec![transport, OPENAI, agent])
            }
            // 1.18: the main request is sent 6 times.
            "opencode" => (Some(32_000), vec![layer(5, backoff(2.0, 2.0, 30.0, [1.0, 1.25]), HeaderRule::Obey)]),
            // 0.24: the SDK 4 times, in 7 tries, in 11 of the stream. Told to come again after 2 s, it sent 28 requests
            // 2.0 s apart, and 60.0 s later 28 more: its own tries hear the header too, which those of 0.15 did not.
            "qwen-code" => {
                let sdk = layer(3, OPENAI.backoff, HeaderRule::RefuseAbove(120.0));
                let own = layer(6, backoff(1.5, 2.0, 30.0, [0.7, 1.3]), HeaderRule::Obey);
                let stream = layer(10, backoff(60.0, 2.0, 300.0, EXACT), HeaderRule::Ignore);
                (Some(32_000), vec![sdk, own, stream])
            }
            // With automatic approval: 5 s, doubled, up to 10 min, without end.
            "roo" => {
                let waits = backoff(5.0, 2.0, 600.0, EXACT);
                (Some(16_384), vec![RetryLayer { retries: None, backoff: waits, header: HeaderRule::Ignore }])
            }
            // 0.86: litellm's 2 retries in 8 of its own, 0.25 s to 32 s.
            "aider" => {
                let litellm = layer(2, backoff(0.5, 2.0, 8.0, [1.0, 1.75]), HeaderRule::ObeyBelow(60.0));
                (None, vec![litellm, layer(8, backoff(0.25, 2.0, 32.0, EXACT), HeaderRule::Ignore)])
            }
            "continue" => (Some(4096), vec![layer(4, backoff(1.0, 2.0, 16.0, EXACT), HeaderRule::Obey)]),
            _ => {
                return Err(StreamError::Setting {
                    file: "clients".into(),
                    field: "clients.profile".into(),
                    problem: format!("there is no profile '{name}'"),
                    allowed: Self::NAMES.join(", "),
                });
            }
        };
        // Counted against an endpoint with the vendor's text: the prompt once, the summary once, and it ends with an
        // error.
        let overflow = (name == "opencode").then(Overflow::default);
        Ok(Self { name: name.into(), max_tokens, layers, overflow })
    }
}
