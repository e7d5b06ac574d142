//! A real endpoint whose answers are passed through: what it says is the client's answer, what it takes is not.
//!
//! The whole answer is fetched first, in one piece; then it is streamed at the times of the simulated machine. The key
//! goes into one header and nowhere else: no message, log or metric holds it.

mod tls;

use std::fmt;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::{HeaderValue, Request, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::answers::{Call, Finish, Passed};
use crate::api::Endpoint;
use crate::error::ServeError;
use tls::Trust;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Largest answer.
const LARGEST: usize = 16 << 20;
/// Letters of an upstream's message that are passed on.
const LONGEST_MESSAGE: usize = 400;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(HeaderValue);

impl Secret {
    /// A key as a header has it; nothing where it holds letters that a header cannot.
    pub fn bearer(key: &str) -> Option<Self> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim())).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// An endpoint.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Whom it trusts; nothing for `http://`.
    tls: Option<Trust>,
    host: String,
    port: u16,
    authority: String,
    /// Its path, without a slash at the end: `/v1`.
    path: String,
    key: Option<Secret>,
    /// The model that it is asked for; where nothing is said, the one that the client names.
    model: Option<String>,
    patience: Duration,
}

/// Why an upstream has no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum UpstreamError {
    /// It cannot be reached, or what it says is no HTTP.
    Unreachable(String),
    /// It took too long.
    Late,
    /// It says no.
    Refused {
        /// Its status.
        status: u16,
        /// Its words.
        message: String,
        /// Seconds after which it would be asked again.
        retry_after: Option<f64>,
    },
    /// Its answer is none of the API's.
    Strange(String),
}

impl Upstream {
    /// The endpoint at a URL, up to and with `/v1`.
    ///
    /// # Errors
    /// Where the URL is none of an endpoint, or needs TLS and this program was built without it.
    pub fn new(url: &str, key: Option<Secret>, model: Option<String>, patience: Duration) -> Result<Self, ServeError> {
        let wrong = |problem: &str| ServeError::Upstream { url: shown(url), problem: problem.to_owned() };
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") if Trust::IS_THERE => true,
            Some("https") => return Err(wrong("needs TLS, which is in builds with the feature https")),
            _ => return Err(wrong("begins neither with http:// nor with https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a name or a password; keys go into an environment variable (--upstream-key-env)"));
        }
        if uri.query().is_some() {
            return Err(wrong("has a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/').to_owned();
        let tls = is_tls.then(Trust::usual);
        Ok(Self { tls, host, port, authority: authority.to_string(), path, key, model, patience })
    }

    /// The same endpoint, trusted too where a certificate of a PEM file vouches for it. `file` is its name, for people.
    ///
    /// # Errors
    /// Where the endpoint has no `https://`, or the file holds no certificate that can be a root.
    pub fn trusting(self, pem: &[u8], file: &str) -> Result<Self, ServeError> {
        let wrong = |problem: String| ServeError::Roots { file: file.to_owned(), problem };
        if self.tls.is_none() {
            return Err(wrong(format!("is of no use: '{}' is asked without TLS", self.authority)));
        }
        Ok(Self { tls: Some(Trust::and(pem).map_err(wrong)?), ..self })
    }

    /// Host and port, for people.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Asks for the answer to a client's request, in one piece.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn ask(&self, endpoint: Endpoint, body: &[u8]) -> Result<Passed, UpstreamError> {
        let body = self.body(body)?;
        let asked = tokio::time::timeout(self.patience, self.send(endpoint, body)).await;
        let value = asked.map_err(|_| UpstreamError::Late)??;
        passed(endpoint, &value).ok_or_else(|| UpstreamError::Strange("has no choices with a message".into()))
    }

    /// The client's request, for an answer in one piece.
    fn body(&self, body: &[u8]) -> Result<Vec<u8>, UpstreamError> {
        let strange = |_| UpstreamError::Strange("the request is no JSON".into());
        let mut value: Value = serde_json::from_slice(body).map_err(strange)?;
        if let Value::Object(fields) = &mut value {
            fields.insert("stream".into(), json!(false));
            fields.remove("stream_options");
            fields.remove("wafersim_due");
            if let Some(model) = &self.model {
                fields.insert("model".into(), json!(model));
            }
        }
        Ok(value.to_string().into_bytes())
    }

    async fn send(&self, endpoint: Endpoint, body: Vec<u8>) -> Result<Value, UpstreamError> {
        let unreachable = |error: &dyn fmt::Display| UpstreamError::Unreachable(error.to_string());
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = tokio::time::timeout(CONNECT, connect).await.map_err(|_| UpstreamError::Late)?;
        let stream = stream.map_err(|error| unreachable(&error))?;
        match &self.tls {
            Some(trust) => self.over(trust.connect(&self.host, stream).await?, endpoint, body).await,
            None => self.over(stream, endpoint, body).await,
        }
    }

    /// One request over a connection of its own.
    async fn over<S>(&self, stream: S, endpoint: Endpoint, body: Vec<u8>) -> Result<Value, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let unreachable = |error: hyper::Error| UpstreamError::Unreachable(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        // Ends with the sender; what goes wrong is the sender's to say.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        let name = match endpoint {
            Endpoint::Chat => "chat/completions",
            Endpoint::Text => "completions",
        };
        let mut request = Request::post(format!("{}/{name}", self.path))
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json");
        if let Some(Secret(key)) = &self.key {
            request = request.header(AUTHORIZATION, key.clone());
        }
        let request = request.body(Body::from(body)).map_err(|error| UpstreamError::Strange(error.to_string()))?;
        let answered = sender.send_request(request).await.map_err(unreachable)?;
        let status = answered.status();
        let retry_after = answered.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = to_bytes(Body::new(answered.into_body()), LARGEST).await;
        driver.abort();
        let bytes = bytes.map_err(|error| UpstreamError::Strange(format!("cannot be read to its end: {error}")))?;
        if !status.is_success() {
            let retry_after = retry_after.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
            return Err(UpstreamError::Refused { status: status.as_u16(), message: words(&bytes), retry_after });
        }
        serde_json::from_slice(&bytes).map_err(|error| UpstreamError::Strange(format!("is no JSON: {error}")))
    }
}

/// A URL without what could be a secret in it.
fn shown(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("...@{rest}"),
        None => url.to_owned(),
    }
}

/// The words of an error: those of either form of the API, else the beginning of the body.
fn words(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let found = value.pointer("/error/message").or_else(|| value.get("message")).or_else(|| value.get("error"));
    let text = match found.and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    text.chars().filter(|letter| !letter.is_control()).take(LONGEST_MESSAGE).collect()
}

/// What an answer says.
fn passed(endpoint: Endpoint, value: &Value) -> Option<Passed> {
    let choice = value.get("choices")?.get(0)?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let (content, calls) = match endpoint {
        Endpoint::Text => (text(Some(choice.get("text")?)), Vec::new()),
        Endpoint::Chat => {
            let message = choice.get("message")?.as_object()?;
            let calls = message.get("tool_calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let call = |call: &Value| {
                let function = call.get("function")?;
                let name = function.get("name")?.as_str()?.to_owned();
                let arguments = match function.get("arguments") {
                    Some(Value::String(arguments)) => arguments.clone(),
                    Some(Value::Null) | None => String::new(),
                    Some(other) => other.to_string(),
                };
                Some(Call { id: text(call.get("id")), name, arguments })
            };
            (text(message.get("content")), calls.iter().filter_map(call).collect())
        }
    };
    let finish = match choice.get("finish_reason").and_then(Value::as_str) {
        Some("length") => Finish::Length,
        Some("tool_calls" | "function_call") => Finish::ToolCalls,
        Some("content_filter") => Finish::ContentFilter,
        _ if calls.is_empty() => Finish::Stop,
        _ => Finish::ToolCalls,
    };
    let tokens = value.pointer("/usage/completion_tokens").and_then(Value::as_u64);
    let tokens = tokens.and_then(|tokens| u32::try_from(tokens).ok()).filter(|tokens| *tokens > 0);
    Some(Passed { content, calls, finish, tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(url: &str) -> Result<Upstream, ServeError> {
        Upstream::new(url, Secret::bearer("sk-hidden"), None, Duration::from_secs(1))
    }

    #[test]
    fn urls_are_checked_and_keys_are_not_shown() {
        let good = upstream("http://127.0.0.1:9/v1/").expect("a URL");
        assert_eq!((good.port, good.path.as_str(), good.authority()), (9, "/v1", "127.0.0.1:9"));
        assert!(!format!("{good:?}").contains("hidden"));
        for url in ["", "127.0.0.1:9", "ftp://x/v1", "http://", "http://me:sk-hidden@x/v1", "http://x/v1?key=a"] {
            let error = upstream(url).expect_err(url).to_string();
            assert!(!error.contains("hidden") && error.contains("allowed"), "{error}");
        }
        assert!(Secret::bearer("a\nb").is_none());
    }

    #[test]
    fn answers_of_other_endpoints_are_read() {
        let chat = json!({ "choices": [{ "message": { "content": null, "tool_calls": [
            { "id": "c1", "function": { "name": "ls", "arguments": "{}" } },
            { "id": "c2", "function": { "name": "cat", "arguments": { "path": "a" } } },
        ] }, "finish_reason": "tool_calls" }], "usage": { "completion_tokens": 31 } });
        let found = passed(Endpoint::Chat, &chat).expect("an answer");
        assert_eq!((found.finish, found.tokens, found.calls.len()), (Finish::ToolCalls, Some(31), 2));
        assert_eq!(found.calls[1].arguments, r#"{"path":"a"}"#);
        let text = json!({ "choices": [{ "text": "once", "finish_reason": "length" }] });
        let found = passed(Endpoint::Text, &text).expect("an answer");
        assert_eq!((found.content.as_str(), found.finish, found.tokens), ("once", Finish::Length, None));
        for strange in [json!({}), json!({ "choices": [] }), json!({ "choices": [{}] }), json!([1])] {
            assert_eq!(passed(Endpoint::Chat, &strange), None, "{strange}");
        }
    }

    #[test]
    fn errors_keep_their_words() {
        assert_eq!(words(br#"{"error":{"message":"no"}}"#), "no");
        assert_eq!(words(br#"{"message":"no","code":1}"#), "no");
        assert_eq!(words(b"<html>\n502"), "<html>502");
    }
}
