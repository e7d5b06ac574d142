//! What is said: canned words, or what a script says.
//!
//! One word is one token: the words are short English ones that common vocabularies have as single tokens with the
//! space before them, so that clients who count with a tokenizer of their own come to the same number. Of a tool call
//! the name is one token, and every four letters of the arguments are one.

use serde::Deserialize;
use serde_json::Value;

use crate::api::Query;
use crate::error::ServeError;

/// Words of canned answers.
const WORDS: [&str; 32] = [
    " the", " time", " of", " day", " and", " some", " people", " in", " that", " house", " were", " as", " good",
    " to", " each", " other", " now", " when", " they", " could", " see", " how", " long", " it", " would", " take",
    " for", " all", " this", " to", " come", " back",
];
/// Letters of a tool call's arguments in a token.
const ARGUMENT_LETTERS: usize = 4;
/// Longest answer that is written out in a script, in tokens.
const LONGEST: u64 = 1 << 20;

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It is complete.
    Stop,
    /// It has as many tokens as were allowed.
    Length,
    /// It calls a tool.
    ToolCalls,
    /// An upstream has kept the rest back.
    ContentFilter,
}

impl Finish {
    /// As in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// What goes wrong in a stream, where a script says so.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields, tag = "kind")]
pub enum Fault {
    /// The stream ends without a reason.
    Cut {
        /// After so many tokens.
        after: u32,
    },
    /// An error event comes, and then the end.
    Error {
        /// After so many tokens.
        after: u32,
    },
    /// Nothing comes for a time.
    Stall {
        /// After so many tokens.
        after: u32,
        /// For so many seconds as the client waits.
        seconds: f64,
    },
}

/// The words of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    /// Canned words, from a place in their list.
    Canned(usize),
    /// Written words.
    Words(Vec<String>),
    /// A call of a tool.
    Call { name: String, arguments: Vec<String> },
    /// What an upstream said: a piece for each token.
    Passed(Vec<PassedPiece>),
}

/// A piece of what an upstream said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PassedPiece {
    Text(String),
    Call(u32, String, String),
    Arguments(u32, String),
}

/// A tool call of an upstream's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number there.
    pub id: String,
    /// The tool.
    pub name: String,
    /// Arguments, as JSON.
    pub arguments: String,
}

/// What an upstream said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Text.
    pub content: String,
    /// Tool calls after it.
    pub calls: Vec<Call>,
    /// Why it ends.
    pub finish: Finish,
    /// Tokens, as the upstream counts them.
    pub tokens: Option<u32>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    said: Said,
    /// Tokens.
    pub tokens: u32,
    /// Why it ends.
    pub finish: Finish,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// A token of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// Text.
    Text(&'a str),
    /// The start of a tool call.
    Call {
        /// Which one of the answer's, from 0.
        index: u32,
        /// Its number; empty where the answer's own is to be taken.
        id: &'a str,
        /// The tool.
        name: &'a str,
    },
    /// Some of its arguments.
    Arguments {
        /// Of which call.
        index: u32,
        /// JSON, not complete.
        piece: &'a str,
    },
}

impl Reply {
    /// Its tokens, from 0.
    pub fn token(&self, index: u32) -> Token<'_> {
        let at = index as usize;
        match &self.said {
            Said::Canned(from) if at == 0 => Token::Text(WORDS[from % WORDS.len()].trim_start()),
            Said::Canned(from) => Token::Text(WORDS[from.wrapping_add(at) % WORDS.len()]),
            Said::Words(words) => Token::Text(words.get(at).map_or(" ", String::as_str)),
            Said::Call { name, .. } if at == 0 => Token::Call { index: 0, id: "", name },
            Said::Call { arguments, .. } => {
                Token::Arguments { index: 0, piece: arguments.get(at - 1).map_or("", String::as_str) }
            }
            Said::Passed(pieces) => match pieces.get(at) {
                Some(PassedPiece::Text(text)) => Token::Text(text),
                Some(PassedPiece::Call(index, id, name)) => Token::Call { index: *index, id, name },
                Some(PassedPiece::Arguments(index, piece)) => Token::Arguments { index: *index, piece },
                None => Token::Text(""),
            },
        }
    }

    /// An upstream's answer, in as many pieces as it has tokens: so many as the upstream counts, else one for
    /// `bytes_per_token` bytes. Letters are shared out evenly; where there are more tokens than that (thoughts that are
    /// not shown), the first ones are empty. No more than `most`.
    pub fn passed(passed: &Passed, bytes_per_token: u32, most: u32) -> Self {
        let letters = |text: &str| text.chars().count();
        let named = passed.calls.len();
        let all = letters(&passed.content) + passed.calls.iter().map(|call| letters(&call.arguments)).sum::<usize>();
        let counted = u32::try_from(passed.content.len() + named * NAME_BYTES).unwrap_or(u32::MAX);
        let arguments = passed.calls.iter().map(|call| call.arguments.len()).sum::<usize>();
        let counted = counted.saturating_add(u32::try_from(arguments).unwrap_or(u32::MAX));
        let tokens = passed.tokens.unwrap_or_else(|| counted.div_ceil(bytes_per_token.max(1)));
        let tokens = tokens.clamp(1, most.max(1));
        let for_letters = (tokens as usize).saturating_sub(named).max(1);
        let each = all.div_ceil(for_letters).max(1);
        let cut = |text: &str| -> Vec<String> {
            let letters: Vec<char> = text.chars().collect();
            letters.chunks(each).map(|piece| piece.iter().collect()).collect()
        };
        let mut pieces: Vec<PassedPiece> = cut(&passed.content).into_iter().map(PassedPiece::Text).collect();
        for (index, call) in (0u32..).zip(&passed.calls) {
            pieces.push(PassedPiece::Call(index, call.id.clone(), call.name.clone()));
            pieces.extend(cut(&call.arguments).into_iter().map(|piece| PassedPiece::Arguments(index, piece)));
        }
        let missing = (tokens as usize).saturating_sub(pieces.len());
        pieces.splice(0..0, std::iter::repeat_with(|| PassedPiece::Text(String::new())).take(missing));
        // Calls that begin within a token may make more pieces than tokens: each piece is one then.
        let tokens = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        Self { said: Said::Passed(pieces), tokens, finish: passed.finish, fault: None }
    }
}

/// Bytes of the name of a tool and what is around it, where tokens are not counted: a guess.
const NAME_BYTES: usize = 12;

/// A script as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFile {
    #[serde(default)]
    answer: Vec<RuleFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    contains: Option<String>,
    after_tool: Option<bool>,
    has_tool: Option<String>,
    text: Option<String>,
    tokens: Option<u32>,
    tool: Option<String>,
    arguments: Option<toml::Table>,
    fault: Option<Fault>,
}

#[derive(Debug, Clone, PartialEq)]
enum Says {
    Canned(u32),
    Words(Vec<String>),
    Call { name: String, arguments: Vec<String> },
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    contains: Option<String>,
    after_tool: Option<bool>,
    has_tool: Option<String>,
    says: Says,
    fault: Option<Fault>,
}

impl Rule {
    fn fits(&self, asked: &Query) -> bool {
        let is_after_tool = asked.last_role == "tool";
        self.contains.as_ref().is_none_or(|text| asked.last_text.contains(text.as_str()))
            && self.after_tool.is_none_or(|wanted| wanted == is_after_tool)
            && self.has_tool.as_ref().is_none_or(|tool| asked.tools.contains(tool))
    }
}

/// How answers are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    rules: Vec<Rule>,
    usual: u32,
}

impl Answers {
    /// Canned answers of so many tokens.
    pub const fn canned(tokens: u32) -> Self {
        Self { rules: Vec::new(), usual: tokens }
    }

    /// What the script of a TOML text says; canned answers of so many tokens where none of its rules fits. `file` is
    /// its name in messages.
    ///
    /// # Errors
    /// Where the text is no TOML, names a key that does not exist, or a rule says nothing or two things.
    pub fn scripted(tokens: u32, text: &str, file: &str) -> Result<Self, ServeError> {
        let script = |problem: String, allowed: &str| ServeError::Script {
            file: file.into(),
            problem,
            allowed: allowed.to_owned(),
        };
        let read: ScriptFile = toml::from_str(text).map_err(|error| {
            script(error.to_string().trim_end().to_owned(), "[[answer]] tables, see docs/src/serve.md")
        })?;
        let mut rules = Vec::with_capacity(read.answer.len());
        for (place, rule) in read.answer.into_iter().enumerate() {
            let number = place + 1;
            let says = match (&rule.text, rule.tokens, &rule.tool) {
                (Some(text), None, None) => Says::Words(words(text)),
                (None, Some(tokens), None) => Says::Canned(tokens),
                (None, None, Some(name)) => {
                    let arguments = rule.arguments.clone().unwrap_or_default();
                    let arguments = serde_json::to_string(&Value::from(json_of(arguments))).unwrap_or_default();
                    Says::Call { name: name.clone(), arguments: pieces(&arguments) }
                }
                _ => {
                    let problem = format!("answer {number} says nothing, or more than one thing");
                    return Err(script(problem, "one of text, tokens and tool"));
                }
            };
            if rule.arguments.is_some() && !matches!(says, Says::Call { .. }) {
                return Err(script(format!("answer {number} has arguments"), "arguments with a tool"));
            }
            if !(1..=LONGEST).contains(&length(&says)) {
                let problem = format!("answer {number} has {} tokens", length(&says));
                return Err(script(problem, "1 to 1048576 tokens"));
            }
            if let Some(Fault::Stall { seconds, .. }) = rule.fault
                && !(0.0..=3600.0).contains(&seconds)
            {
                return Err(script(format!("answer {number} stalls for {seconds} s"), "0 to 3600 s"));
            }
            let RuleFile { contains, after_tool, has_tool, fault, .. } = rule;
            rules.push(Rule { contains, after_tool, has_tool, says, fault });
        }
        Ok(Self { rules, usual: tokens })
    }

    /// The answer to a request: the first rule that fits it, canned words where none does; cut at `most` tokens. Equal
    /// `number`s have equal words.
    pub fn answer(&self, asked: &Query, most: u32, number: u64) -> Reply {
        let most = most.max(1);
        let canned = |tokens: u32| {
            let from = usize::try_from(number % WORDS.len() as u64).unwrap_or(0);
            (Said::Canned(from), tokens)
        };
        let rule = self.rules.iter().find(|rule| rule.fits(asked));
        let (said, full) = match rule.map(|rule| &rule.says) {
            Some(Says::Words(words)) => (Said::Words(words.clone()), words.len() as u32),
            Some(Says::Call { name, arguments }) => {
                let tokens = 1 + arguments.len() as u32;
                (Said::Call { name: name.clone(), arguments: arguments.clone() }, tokens)
            }
            Some(Says::Canned(tokens)) => canned(*tokens),
            None if asked.ignores_end => canned(most),
            None => canned(self.usual.max(asked.least.unwrap_or(1)).max(1)),
        };
        let finish = match said {
            _ if full > most => Finish::Length,
            Said::Call { .. } => Finish::ToolCalls,
            _ if asked.ignores_end => Finish::Length,
            _ => Finish::Stop,
        };
        Reply { said, tokens: full.min(most), finish, fault: rule.and_then(|rule| rule.fault) }
    }
}

fn length(says: &Says) -> u64 {
    match says {
        Says::Canned(tokens) => u64::from(*tokens),
        Says::Words(words) => words.len() as u64,
        Says::Call { arguments, .. } => 1 + arguments.len() as u64,
    }
}

/// Words with the space before them.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for letter in text.chars() {
        if letter.is_whitespace() && word.chars().any(|before| !before.is_whitespace()) {
            words.push(std::mem::take(&mut word));
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(ARGUMENT_LETTERS).map(|piece| piece.iter().collect()).collect()
}

fn json_of(table: toml::Table) -> serde_json::Map<String, Value> {
    table.into_iter().map(|(key, value)| (key, serde_json::to_value(value).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Endpoint, read};

    fn asked(body: &str) -> Query {
        read(Endpoint::Chat, body.as_bytes(), false).expect("a request")
    }

    fn text(answer: &Reply) -> String {
        let tokens = (0..answer.tokens).map(|index| match answer.token(index) {
            Token::Text(text) | Token::Call { name: text, .. } | Token::Arguments { piece: text, .. } => text,
        });
        tokens.collect()
    }

    #[test]
    fn a_word_is_a_token() {
        let plain = asked(r#"{"messages":[{"role":"user","content":"x"}]}"#);
        for number in 0..40 {
            let answer = Answers::canned(50).answer(&plain, 1000, number);
            assert_eq!(text(&answer).split_whitespace().count(), 50);
            assert_eq!((answer.tokens, answer.finish), (50, Finish::Stop));
        }
        let cut = Answers::canned(50).answer(&plain, 20, 0);
        assert_eq!((cut.tokens, cut.finish), (20, Finish::Length));
        let forced = asked(r#"{"messages":[{"role":"user","content":"x"}],"ignore_eos":true}"#);
        assert_eq!(Answers::canned(50).answer(&forced, 300, 0).tokens, 300);
    }

    #[test]
    fn a_script_calls_a_tool_and_goes_on_after_its_result() {
        let script = "
            [[answer]]
            has_tool = 'ls'
            after_tool = false
            tool = 'ls'
            arguments = { path = '.' }
            [[answer]]
            after_tool = true
            text = 'There are two files.'
            fault = { kind = 'cut', after = 2 }
        ";
        let answers = Answers::scripted(50, script, "script").expect("a script");
        let tools = r#""tools":[{"type":"function","function":{"name":"ls"}}]"#;
        let first = asked(&format!(r#"{{"messages":[{{"role":"user","content":"x"}}],{tools}}}"#));
        let call = answers.answer(&first, 1000, 0);
        assert_eq!((call.finish, call.token(0)), (Finish::ToolCalls, Token::Call { index: 0, id: "", name: "ls" }));
        assert_eq!(text(&call), r#"ls{"path":"."}"#);
        let second =
            asked(r#"{"messages":[{"role":"user","content":"x"},{"role":"tool","content":"a b","tool_call_id":"1"}]}"#);
        let words = answers.answer(&second, 1000, 0);
        assert_eq!((text(&words).as_str(), words.tokens), ("There are two files.", 4));
        assert_eq!(words.fault, Some(Fault::Cut { after: 2 }));
        let other = asked(r#"{"messages":[{"role":"user","content":"x"}]}"#);
        assert_eq!(answers.answer(&other, 1000, 0).tokens, 50);
    }

    #[test]
    fn what_an_upstream_says_is_said_in_as_many_tokens() {
        let call =
            |name: &str| Call { id: format!("id-{name}"), name: name.into(), arguments: r#"{"a":"b c"}"#.into() };
        let said = Passed {
            content: "Some words, and more: \u{e4}\u{f6}\u{fc}.".into(),
            calls: vec![call("ls"), call("cat")],
            finish: Finish::ToolCalls,
            tokens: Some(17),
        };
        for tokens in [None, Some(9), Some(17), Some(400)] {
            let answer = Reply::passed(&Passed { tokens, ..said.clone() }, 4, 1000);
            assert_eq!(text(&answer), format!(r#"{}ls{{"a":"b c"}}cat{{"a":"b c"}}"#, said.content));
            let wanted = tokens.unwrap_or(19);
            assert!(answer.tokens >= wanted && answer.tokens <= wanted + 3, "{} {tokens:?}", answer.tokens);
            assert_eq!((answer.finish, answer.fault), (Finish::ToolCalls, None));
        }
        let nothing = Passed { content: String::new(), calls: Vec::new(), finish: Finish::Stop, tokens: None };
        let answer = Reply::passed(&nothing, 4, 1000);
        assert_eq!((answer.tokens, answer.token(0)), (1, Token::Text("")));
    }

    #[test]
    fn wrong_scripts_are_refused() {
        for (script, says) in [
            ("[[answer]]\n", "answer 1 says nothing"),
            ("[[answer]]\ntext = 'a'\ntokens = 3\n", "answer 1 says nothing, or more than one thing"),
            ("[[answer]]\ntokens = 0\n", "answer 1 has 0 tokens"),
            ("[[answers]]\n", "unknown field"),
            ("[[answer]]\ntokens = 3\narguments = { a = 1 }\n", "has arguments"),
        ] {
            let error = Answers::scripted(50, script, "s.toml").expect_err(script).to_string();
            assert!(error.starts_with("s.toml: ") && error.contains(says), "{error}");
        }
    }
}
