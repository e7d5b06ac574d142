//! What a client may ask, read from JSON and checked. Fields that are not known are let through, as local servers do;
//! in strict mode they are refused with the words of the service on wafers.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// Which path was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// A request, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Which path.
    pub endpoint: Endpoint,
    /// The model that it names; nothing where it names none.
    pub model: Option<String>,
    /// Everything that the model reads, in order: tools, then messages.
    pub text: String,
    /// Whether the answer comes token by token.
    pub stream: bool,
    /// Whether a stream ends with what was used.
    pub include_usage: bool,
    /// Whether each chunk of a token says when it was due, in seconds of the server's clock: for load generators.
    pub says_due: bool,
    /// Tokens of the answer at most.
    pub most: Option<u32>,
    /// Tokens of the answer at least.
    pub least: Option<u32>,
    /// Whether the answer is as long as it may be.
    pub ignores_end: bool,
    /// Names of the tools.
    pub tools: Vec<String>,
    /// Who said the last thing.
    pub last_role: String,
    /// What that was.
    pub last_text: String,
}

/// Fields that the service on wafers knows, as its documentation lists them.
const KNOWN: [&str; 28] = [
    "messages",
    "prompt",
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "min_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "n",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "disable_reasoning",
    "prediction",
    "service_tier",
    "presence_penalty",
    "frequency_penalty",
    "metadata",
];
/// Fields of a message that it knows.
const KNOWN_IN_MESSAGES: [&str; 6] = ["role", "content", "name", "tool_calls", "tool_call_id", "refusal"];
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

/// Reads the body of a request.
///
/// # Errors
/// Where it is no JSON, lacks what is needed, or has a field of the wrong kind; `strict`: or one that is not known.
pub fn read(endpoint: Endpoint, body: &[u8], strict: bool) -> Result<Query, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::wrong("", format!("The body is no JSON: {error}.")).with(400, "invalid_json"))?;
    let Value::Object(fields) = value else {
        return Err(ApiError::wrong("", "The body is no JSON object.".into()).with(400, "invalid_json"));
    };
    if strict {
        refuse_unknown(&fields, &KNOWN, "")?;
    }
    let model = match fields.get("model") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(other) => return Err(wrong_kind("model", other, "a text")),
    };
    if whole(&fields, "n", 1, u32::MAX)?.is_some_and(|count| count > 1) {
        return Err(ApiError::wrong("n", "'n' is more than 1; allowed: 1.".into()));
    }
    let limits = (whole(&fields, "max_completion_tokens", 1, u32::MAX)?, whole(&fields, "max_tokens", 1, u32::MAX)?);
    let options = match fields.get("stream_options") {
        None | Some(Value::Null) => None,
        Some(Value::Object(options)) => Some(options),
        Some(other) => return Err(wrong_kind("stream_options", other, "an object")),
    };
    let include_usage = options.map(|options| flag(options, "include_usage")).transpose()?.unwrap_or(false);
    let mut asked = Query {
        endpoint,
        model,
        text: String::new(),
        stream: flag(&fields, "stream")?,
        include_usage,
        says_due: flag(&fields, "wafersim_due")?,
        most: limits.0.or(limits.1),
        least: whole(&fields, "min_tokens", 0, u32::MAX)?,
        ignores_end: flag(&fields, "ignore_eos")?,
        tools: Vec::new(),
        last_role: String::new(),
        last_text: String::new(),
    };
    match endpoint {
        Endpoint::Chat => {
            read_tools(&fields, &mut asked)?;
            read_messages(&fields, &mut asked, strict)?;
        }
        Endpoint::Text => {
            asked.text = match fields.get("prompt") {
                Some(Value::String(prompt)) => prompt.clone(),
                Some(Value::Array(parts)) if parts.len() == 1 && parts.iter().all(Value::is_string) => {
                    parts.iter().filter_map(Value::as_str).collect()
                }
                Some(other) => return Err(wrong_kind("prompt", other, "a text, or a list of one")),
                None => return Err(ApiError::wrong("prompt", "'prompt' is missing.".into())),
            };
            asked.last_text.clone_from(&asked.text);
            asked.last_role = "user".into();
        }
    }
    Ok(asked)
}

fn refuse_unknown(fields: &Map<String, Value>, known: &[&str], before: &str) -> Result<(), ApiError> {
    let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let message = format!("{before}property '{name}' is unsupported");
    let error = ApiError::wrong("validation_error", message);
    Err(error.with(400, "wrong_api_format"))
}

fn read_tools(fields: &Map<String, Value>, asked: &mut Query) -> Result<(), ApiError> {
    let tools = match fields.get("tools") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(tools)) => tools,
        Some(other) => return Err(wrong_kind("tools", other, "a list")),
    };
    for (place, tool) in tools.iter().enumerate() {
        let name = tool.get("function").and_then(|function| function.get("name")).and_then(Value::as_str);
        let Some(name) = name else {
            let field = format!("tools[{place}].function.name");
            return Err(ApiError::wrong(&field, format!("'{field}' is missing.")));
        };
        asked.tools.push(name.to_owned());
        asked.text.push_str(&tool.to_string());
        asked.text.push('\n');
    }
    Ok(())
}

fn read_messages(fields: &Map<String, Value>, asked: &mut Query, strict: bool) -> Result<(), ApiError> {
    let messages = match fields.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) => {
            return Err(ApiError::wrong("messages", "'messages' is empty; allowed: at least one.".into()));
        }
        Some(other) => return Err(wrong_kind("messages", other, "a list")),
        None => return Err(ApiError::wrong("messages", "'messages' is missing.".into())),
    };
    for (place, message) in messages.iter().enumerate() {
        let field = |name: &str| format!("messages[{place}].{name}");
        let Value::Object(message) = message else {
            return Err(wrong_kind(&format!("messages[{place}]"), message, "an object"));
        };
        if strict {
            refuse_unknown(message, &KNOWN_IN_MESSAGES, &format!("messages.{place}: "))?;
        }
        let role = match message.get("role") {
            Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role.as_str(),
            Some(Value::String(role)) => {
                let message = format!("'{}' is '{role}'; allowed: {}.", field("role"), ROLES.join(", "));
                return Err(ApiError::wrong(&field("role"), message));
            }
            Some(other) => return Err(wrong_kind(&field("role"), other, "a text")),
            None => return Err(ApiError::wrong(&field("role"), format!("'{}' is missing.", field("role")))),
        };
        let content = match message.get("content") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => text_of(parts),
            Some(other) => return Err(wrong_kind(&field("content"), other, "a text, a list of parts or null")),
        };
        asked.text.push_str(role);
        asked.text.push('\n');
        asked.text.push_str(&content);
        if let Some(calls) = message.get("tool_calls").filter(|calls| !calls.is_null()) {
            asked.text.push_str(&calls.to_string());
        }
        asked.text.push('\n');
        role.clone_into(&mut asked.last_role);
        asked.last_text = content;
    }
    Ok(())
}

/// The texts of a message's parts. What is no text (a picture) counts as its JSON, which is a guess at its tokens.
fn text_of(parts: &[Value]) -> String {
    let mut text = String::new();
    for part in parts {
        match part.get("text").and_then(Value::as_str) {
            Some(piece) => text.push_str(piece),
            None => text.push_str(&part.to_string()),
        }
    }
    text
}

fn wrong_kind(field: &str, is: &Value, allowed: &str) -> ApiError {
    let kind = match is {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    ApiError::wrong(field, format!("'{field}' is {kind}; allowed: {allowed}.")).with(400, "invalid_type")
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong_kind(name, other, "true or false")),
    }
}

fn whole(fields: &Map<String, Value>, name: &str, least: u32, most: u32) -> Result<Option<u32>, ApiError> {
    let value = match fields.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(value @ Value::Number(_)) => value,
        Some(other) => return Err(wrong_kind(name, other, "a whole number")),
    };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    let allowed =
        || ApiError::wrong(name, format!("'{name}' is {value}; allowed: a whole number from {least} to {most}."));
    number.filter(|number| (least..=most).contains(number)).ok_or_else(allowed).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chat(body: &str) -> Result<Query, ApiError> {
        read(Endpoint::Chat, body.as_bytes(), false)
    }

    #[test]
    fn what_clients_send_is_read() {
        let asked = chat(
            r#"{"model":"q","stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true},
            "max_tokens":32000,"ignore_eos":true,"tools":[{"type":"function","function":{"name":"ls","parameters":{}}}],
            "messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hi"}]}],
            "something_new":1}"#,
        )
        .expect("read");
        assert_eq!((asked.stream, asked.include_usage, asked.ignores_end), (true, true, true));
        assert_eq!((asked.most, asked.tools.as_slice()), (Some(32_000), ["ls".to_owned()].as_slice()));
        assert_eq!((asked.last_role.as_str(), asked.last_text.as_str()), ("user", "Hi"));
        assert!(asked.text.ends_with("system\nBe brief.\nuser\nHi\n"), "{}", asked.text);
        let asked = read(Endpoint::Text, br#"{"prompt":["once"],"max_completion_tokens":3,"max_tokens":9}"#, true);
        let asked = asked.expect("read");
        assert_eq!((asked.text.as_str(), asked.most), ("once", Some(3)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("{", "", "invalid_json"),
            ("[]", "", "invalid_json"),
            ("{}", "messages", "invalid_value"),
            (r#"{"messages":[]}"#, "messages", "invalid_value"),
            (r#"{"messages":"hi"}"#, "messages", "invalid_type"),
            (r#"{"messages":[{"role":"","content":"x"}]}"#, "messages[0].role", "invalid_value"),
            (r#"{"messages":[{"role":"user","content":7}]}"#, "messages[0].content", "invalid_type"),
            (r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":0}"#, "max_tokens", "invalid_value"),
            (r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":1.5}"#, "max_tokens", "invalid_value"),
            (r#"{"messages":[{"role":"user","content":"x"}],"stream":"yes"}"#, "stream", "invalid_type"),
            (r#"{"messages":[{"role":"user","content":"x"}],"n":2}"#, "n", "invalid_value"),
            (r#"{"messages":[{"role":"user","content":"x"}],"tools":[{}]}"#, "tools[0].function.name", "invalid_value"),
        ];
        for (body, param, code) in cases {
            let error = chat(body).expect_err(body);
            assert_eq!((error.status, error.param.as_deref().unwrap_or(""), error.code), (400, param, code), "{body}");
        }
    }

    #[test]
    fn strict_refuses_what_the_service_refuses() {
        let unknown = |body: &str| {
            let error = read(Endpoint::Chat, body.as_bytes(), true).expect_err("refused");
            assert_eq!(
                (error.status, error.code, error.param.as_deref()),
                (400, "wrong_api_format", Some("validation_error"))
            );
            error.message
        };
        let message = r#"{"role":"user","content":"x"}"#;
        assert_eq!(unknown(&format!(r#"{{"messages":[{message}],"store":true}}"#)), "property 'store' is unsupported");
        let thought = r#"{"role":"assistant","content":"x","reasoning_content":"y"}"#;
        assert_eq!(
            unknown(&format!(r#"{{"messages":[{message},{thought}]}}"#)),
            "messages.1: property 'reasoning_content' is unsupported"
        );
    }

    proptest! {
        /// Whatever comes, an answer or an error comes back.
        #[test]
        fn nothing_that_is_sent_is_a_panic(body in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let _ = read(Endpoint::Chat, &body, true);
            let good = br#"{"messages":[{"role":"user","content":"x","tool_calls":[{}]}],"tools":[{"function":{"name":"a"}}]}"#;
            let _ = read(Endpoint::Chat, good.get(..cut).unwrap_or(good), true);
            let _ = read(Endpoint::Text, &body, false);
        }
    }
}
