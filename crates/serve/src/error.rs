//! Errors as the API words them, and why a server cannot start.
//!
//! OpenAI puts an error into an object `error`; the service on wafers puts the same fields on top (a client of the
//! other kind then shows the status alone). Which type and code a 429 of that service carries is not published: those
//! here are guesses, the texts are from users' reports.

use serde_json::{Value, json};
use thiserror::Error;
use wafersim_stream::Time;
use wafersim_stream::service::{Counted, Refusal};

use crate::upstream::UpstreamError;

/// Where the fields of an error stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ErrorShape {
    /// In an object `error`.
    #[default]
    OpenAi,
    /// On top.
    Cerebras,
}

/// An error that a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// In words.
    pub message: String,
    /// Kind.
    pub kind: &'static str,
    /// The field that is wrong, or what is used up.
    pub param: Option<String>,
    /// Code.
    pub code: &'static str,
    /// Simulated time after which the same request may be let in.
    pub retry_after: Option<Time>,
}

impl ApiError {
    /// A request that is wrong, with the field that is.
    pub fn wrong(param: &str, message: String) -> Self {
        let param = (!param.is_empty()).then(|| param.to_owned());
        Self { status: 400, message, kind: "invalid_request_error", param, code: "invalid_value", retry_after: None }
    }

    /// The same under another status and code.
    pub fn with(self, status: u16, code: &'static str) -> Self {
        Self { status, code, ..self }
    }

    /// What the service says where it does not let a request in.
    pub fn refused(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Quota { limit, wait } => {
                let window = limit.window.name();
                let (what, why, kind, code) = match limit.counted {
                    Counted::Requests => {
                        ("Requests", "too many requests sent", "too_many_requests_error", "request_quota_exceeded")
                    }
                    Counted::Tokens | Counted::UncachedTokens => {
                        ("Tokens", "too many tokens processed", "too_many_tokens_error", "token_quota_exceeded")
                    }
                };
                Self {
                    status: 429,
                    message: format!("{what} per {window} limit exceeded - {why}."),
                    kind,
                    param: Some("quota".into()),
                    code,
                    // What never fits is tried again when the bucket has been refilled, as clients do.
                    retry_after: Some(wait.unwrap_or(limit.window.time())),
                }
            }
            Refusal::Capacity => Self {
                status: 429,
                message: "We're experiencing high traffic right now! Please try again soon.".into(),
                kind: "too_many_requests_error",
                param: Some("queue".into()),
                code: "queue_exceeded",
                retry_after: Some(CAPACITY_WAIT),
            },
        }
    }

    /// What a client is told where the upstream has no answer. Of what was wrong with the request, the words and the status
    /// are the upstream's; a key that it does not take is not the client's fault. `speed` is simulated seconds in a second.
    pub fn of_upstream(error: UpstreamError, speed: f64) -> Self {
        let failed = |status: u16, code: &'static str, message: String| Self {
            status,
            message,
            kind: "server_error",
            param: Some("upstream".into()),
            code,
            retry_after: None,
        };
        match error {
            UpstreamError::Unreachable(why) => {
                failed(502, "upstream_unreachable", format!("The upstream cannot be reached: {why}."))
            }
            UpstreamError::Late => failed(504, "upstream_timeout", "The upstream did not answer in time.".into()),
            UpstreamError::Strange(what) => failed(502, "upstream_invalid", format!("The upstream's answer {what}.")),
            UpstreamError::Refused { status: 401 | 403, .. } => failed(
                502,
                "upstream_authentication",
                "The upstream does not take the key that this server was started with.".into(),
            ),
            UpstreamError::Refused { status: 429, message, retry_after } => Self {
                kind: "too_many_requests_error",
                retry_after: retry_after.map(|seconds| Time::from_seconds(seconds * speed)),
                ..failed(429, "upstream_rate_limited", message)
            },
            UpstreamError::Refused { status, message, .. } if (400..500).contains(&status) => {
                Self { kind: "invalid_request_error", ..failed(status, "upstream_refused", message) }
            }
            UpstreamError::Refused { status, message, .. } => {
                failed(502, "upstream_failed", format!("The upstream failed with status {status}: {message}"))
            }
        }
    }

    /// The body.
    pub fn body(&self, shape: ErrorShape) -> Value {
        let fields = json!({ "message": self.message, "type": self.kind, "param": self.param, "code": self.code });
        match shape {
            ErrorShape::OpenAi => json!({ "error": fields }),
            ErrorShape::Cerebras => fields,
        }
    }
}

/// When to come again after a refusal for want of room, in simulated time: 1 s (a guess, 1 to 60; nothing is published).
const CAPACITY_WAIT: Time = Time(1_000_000_000_000);

/// Why a server cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("{address}: cannot be listened on: {reason}; allowed: an address of this machine and a free port")]
    Listen {
        /// As given.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The threads cannot be started.
    #[error("threads cannot be started: {0}")]
    Threads(String),
    /// An upstream cannot be one.
    #[error(
        "--upstream: {url}: {problem}; allowed: the URL of an endpoint up to /v1, for example http://127.0.0.1:8000/v1"
    )]
    Upstream {
        /// As given, without what could be a secret in it.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of certificates is none, or of no use.
    #[error("--upstream-ca: {file}: {problem}; allowed: certificates as PEM, for an upstream with https://")]
    Roots {
        /// Its name.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A script is wrong.
    #[error("{file}: {problem}; allowed: {allowed}")]
    Script {
        /// Its name.
        file: String,
        /// What is wrong.
        problem: String,
        /// What would have been accepted.
        allowed: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use wafersim_stream::service::{Limit, Window};

    #[test]
    fn both_shapes_say_the_same() {
        let limit = Limit { counted: Counted::Tokens, window: Window::Minute, quota: 1 };
        let error = ApiError::refused(&Refusal::Quota { limit, wait: Some(Time(7)) });
        let top = error.body(ErrorShape::Cerebras);
        assert_eq!(error.body(ErrorShape::OpenAi)["error"], top);
        assert_eq!(top["message"], "Tokens per minute limit exceeded - too many tokens processed.");
        assert_eq!((error.status, error.retry_after), (429, Some(Time(7))));
        assert_eq!(ApiError::refused(&Refusal::Capacity).body(ErrorShape::Cerebras)["code"], "queue_exceeded");
    }
}
