//! Answers as JSON: whole, or as a stream of events, one token a chunk.
//!
//! A stream is: a chunk with the role, one chunk a token, one with `finish_reason` and `time_info`, one with `usage`
//! where it was asked for, and `[DONE]`.

use serde_json::{Value, json};

use crate::answers::{Finish, Reply, Token};
use crate::api::Endpoint;

/// What is the same in all chunks of an answer.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Which path.
    pub endpoint: Endpoint,
    /// Number of the request in this run.
    pub number: u64,
    /// Unix time in seconds.
    pub created: u64,
    /// The model's name.
    pub model: String,
    /// Whether a stream ends with what was used.
    pub include_usage: bool,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// Of these, tokens that the cache had.
    pub cached: u32,
    /// Tokens of the answer.
    pub output: u32,
}

/// Where the time went, in seconds as the client waits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TimeInfo {
    /// Until the prompt began to be computed.
    pub queue: f64,
    /// From there to the first token.
    pub prompt: f64,
    /// From the first token to the last.
    pub completion: f64,
    /// In all.
    pub total: f64,
}

impl Usage {
    fn json(&self) -> Value {
        let Self { prompt, cached, output } = *self;
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": u64::from(prompt) + u64::from(output),
            "prompt_tokens_details": { "cached_tokens": cached },
            "completion_tokens_details": { "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0, "reasoning_tokens": 0 },
        })
    }
}

impl Frame {
    fn id(&self) -> String {
        let kind = match self.endpoint {
            Endpoint::Chat => "chatcmpl",
            Endpoint::Text => "cmpl",
        };
        format!("{kind}-{:016x}", self.number)
    }

    /// The number of a call: `given`, where it has one.
    fn call_id(&self, index: u32, given: &str) -> String {
        match (given, index) {
            ("", 0) => format!("call_{:016x}", self.number),
            ("", _) => format!("call_{:016x}_{index}", self.number),
            (given, _) => given.to_owned(),
        }
    }

    fn object(&self, is_chunk: bool) -> &'static str {
        match (self.endpoint, is_chunk) {
            (Endpoint::Chat, true) => "chat.completion.chunk",
            (Endpoint::Chat, false) => "chat.completion",
            (Endpoint::Text, _) => "text_completion",
        }
    }

    fn whole(&self, is_chunk: bool, choices: Value) -> Value {
        json!({
            "id": self.id(),
            "object": self.object(is_chunk),
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_wafersim",
            "choices": choices,
        })
    }

    fn time_info(&self, time: &TimeInfo) -> Value {
        json!({
            "queue_time": time.queue,
            "prompt_time": time.prompt,
            "completion_time": time.completion,
            "total_time": time.total,
            "created": self.created,
        })
    }

    /// An answer in one piece.
    pub fn answer(&self, answer: &Reply, usage: &Usage, time: &TimeInfo, finish: Finish) -> Value {
        let (mut text, mut calls) = (String::new(), Vec::<(String, &str, String)>::new());
        for token in (0..usage.output).map(|index| answer.token(index)) {
            match token {
                Token::Text(piece) => text.push_str(piece),
                Token::Call { index, id, name } => calls.push((self.call_id(index, id), name, String::new())),
                Token::Arguments { piece, .. } => {
                    if let Some((_, _, arguments)) = calls.last_mut() {
                        arguments.push_str(piece);
                    }
                }
            }
        }
        let mut choice = json!({ "index": 0, "finish_reason": finish.name(), "logprobs": null });
        match self.endpoint {
            Endpoint::Text => choice["text"] = text.into(),
            Endpoint::Chat if calls.is_empty() => choice["message"] = json!({ "role": "assistant", "content": text }),
            Endpoint::Chat => {
                let calls = calls.into_iter().map(|(id, name, arguments)| {
                    let function = json!({ "name": name, "arguments": arguments });
                    json!({ "id": id, "type": "function", "function": function })
                });
                let content = if text.is_empty() { Value::Null } else { text.into() };
                let calls: Value = calls.collect();
                choice["message"] = json!({ "role": "assistant", "content": content, "tool_calls": calls });
            }
        }
        let mut whole = self.whole(false, json!([choice]));
        whole["usage"] = usage.json();
        whole["time_info"] = self.time_info(time);
        whole
    }
}

/// Writes a stream.
#[derive(Debug)]
pub struct Events {
    frame: Frame,
    /// All of a chunk up to its delta, or text.
    before: String,
    after: &'static str,
}

impl Events {
    /// A stream of an answer.
    pub fn new(frame: Frame) -> Self {
        let marked = frame.whole(true, json!([]));
        let head = marked.to_string();
        // All but the empty list and the bracket that ends the object.
        let head = head.strip_suffix("[]}").unwrap_or(&head);
        let field = match frame.endpoint {
            Endpoint::Chat => "delta",
            Endpoint::Text => "text",
        };
        let before = format!("data: {head}[{{\"index\":0,\"{field}\":");
        let after = if frame.include_usage {
            ",\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n"
        } else {
            ",\"logprobs\":null,\"finish_reason\":null}]}\n\n"
        };
        Self { frame, before, after }
    }

    /// A chunk; `delta` is JSON.
    fn chunk(&self, out: &mut Vec<u8>, delta: &str) {
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(delta.as_bytes());
        out.extend_from_slice(self.after.as_bytes());
    }

    /// The role, which comes with the first token.
    pub fn role(&self, out: &mut Vec<u8>, first: Token<'_>) {
        if self.frame.endpoint == Endpoint::Chat {
            let content = if matches!(first, Token::Text(_)) { json!("") } else { Value::Null };
            self.chunk(out, &json!({ "role": "assistant", "content": content }).to_string());
        }
    }

    /// A token; `due` is when it was, on the server's clock, where the client asks for it.
    pub fn token(&self, out: &mut Vec<u8>, token: Token<'_>, due: Option<f64>) {
        match (self.frame.endpoint, token) {
            (
                Endpoint::Text,
                Token::Text(text) | Token::Call { name: text, .. } | Token::Arguments { piece: text, .. },
            ) => {
                self.chunk(out, &quoted(text));
            }
            (Endpoint::Chat, Token::Text(text)) => self.chunk(out, &format!("{{\"content\":{}}}", quoted(text))),
            (Endpoint::Chat, Token::Call { index, id, name }) => {
                let function = json!({ "name": name, "arguments": "" });
                let id = self.frame.call_id(index, id);
                let call = json!({ "index": index, "id": id, "type": "function", "function": function });
                self.chunk(out, &json!({ "tool_calls": [call] }).to_string());
            }
            (Endpoint::Chat, Token::Arguments { index, piece }) => {
                let call = json!({ "index": index, "function": { "arguments": piece } });
                self.chunk(out, &json!({ "tool_calls": [call] }).to_string());
            }
        }
        if let Some(due) = due {
            // In place of the last bracket.
            out.truncate(out.len().saturating_sub(3));
            out.extend_from_slice(format!(",\"wafersim\":{{\"due\":{due:.6}}}}}\n\n").as_bytes());
        }
    }

    /// The end: why, what was used, where the time went.
    pub fn end(&self, out: &mut Vec<u8>, finish: Finish, usage: &Usage, time: &TimeInfo) {
        let mut choice = json!({ "index": 0, "logprobs": null, "finish_reason": finish.name() });
        match self.frame.endpoint {
            Endpoint::Chat => choice["delta"] = json!({}),
            Endpoint::Text => choice["text"] = json!(""),
        }
        let mut last = self.frame.whole(true, json!([choice]));
        last["time_info"] = self.frame.time_info(time);
        if self.frame.include_usage {
            last["usage"] = Value::Null;
        }
        event(out, &last);
        if self.frame.include_usage {
            let mut used = self.frame.whole(true, json!([]));
            used["usage"] = usage.json();
            used["time_info"] = self.frame.time_info(time);
            event(out, &used);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

/// A text as JSON. Most are words that need no escapes.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) { format!("\"{text}\"") } else { json!(text).to_string() }
}

/// One event.
pub fn event(out: &mut Vec<u8>, data: &Value) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Answers;
    use crate::api::read;

    fn frame(endpoint: Endpoint, include_usage: bool) -> Frame {
        Frame { endpoint, number: 7, created: 1_700_000_000, model: "q \"x\"".into(), include_usage }
    }

    fn asked(tools: &str) -> crate::api::Query {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"x"}}]{tools}}}"#);
        read(Endpoint::Chat, body.as_bytes(), false).expect("a request")
    }

    fn events(frame: Frame, answer: &Reply) -> Vec<Value> {
        let writer = Events::new(frame);
        let mut out = Vec::new();
        writer.role(&mut out, answer.token(0));
        (0..answer.tokens).for_each(|index| writer.token(&mut out, answer.token(index), Some(0.5)));
        let usage = Usage { prompt: 10, cached: 4, output: answer.tokens };
        writer.end(&mut out, answer.finish, &usage, &TimeInfo { total: 1.5, ..TimeInfo::default() });
        let text = String::from_utf8(out).expect("text");
        let data: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
        let (done, others) = data.split_last().expect("events");
        assert_eq!(*done, "data: [DONE]");
        let parsed = others.iter().map(|event| event.strip_prefix("data: ").expect("data"));
        parsed.map(|event| serde_json::from_str(event).expect("JSON")).collect()
    }

    #[test]
    fn a_stream_says_what_the_whole_answer_says() {
        let answer = Answers::canned(5).answer(&asked(""), 100, 3);
        let events = events(frame(Endpoint::Chat, true), &answer);
        assert_eq!(events.len(), 1 + 5 + 1 + 1);
        let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        let usage = Usage { prompt: 10, cached: 4, output: 5 };
        let whole = frame(Endpoint::Chat, false).answer(&answer, &usage, &TimeInfo::default(), answer.finish);
        assert_eq!(whole["choices"][0]["message"]["content"], text);
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(events[3]["wafersim"]["due"], 0.5);
        assert_eq!(events[6]["choices"][0]["finish_reason"], "stop");
        assert_eq!(events[6]["time_info"]["total_time"], 1.5);
        assert_eq!((&events[7]["choices"], &events[7]["usage"]), (&json!([]), &whole["usage"]));
        assert_eq!(events[7]["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
        for event in &events {
            assert_eq!((&event["id"], &event["model"]), (&whole["id"], &json!("q \"x\"")));
            assert_eq!(event["object"], "chat.completion.chunk");
        }
    }

    #[test]
    fn a_tool_call_comes_in_pieces() {
        let script = "[[answer]]\ntool = 'ls'\narguments = { path = 'a/b' }";
        let answers = Answers::scripted(5, script, "s").expect("a script");
        let answer = answers.answer(&asked(""), 100, 3);
        let events = events(frame(Endpoint::Chat, false), &answer);
        let call = &events[1]["choices"][0]["delta"]["tool_calls"][0];
        assert_eq!((&call["function"]["name"], &call["type"]), (&json!("ls"), &json!("function")));
        let pieces = events.iter().filter_map(|event| {
            event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        });
        let usage = Usage { prompt: 1, cached: 0, output: answer.tokens };
        let whole = frame(Endpoint::Chat, false).answer(&answer, &usage, &TimeInfo::default(), answer.finish);
        let said = &whole["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(said["function"]["arguments"], pieces.collect::<String>());
        assert_eq!(said["id"], call["id"]);
        assert_eq!(events.last().map(|last| &last["choices"][0]["finish_reason"]), Some(&json!("tool_calls")));
    }

    #[test]
    fn completions_have_texts() {
        let answer = Answers::canned(2).answer(&asked(""), 100, 0);
        let events = events(frame(Endpoint::Text, true), &answer);
        let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
        assert_eq!(text, "the time");
        assert_eq!(events[0]["object"], "text_completion");
    }
}
