//! What a store says of itself: what was asked, and what made it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StoreError;

/// Version of how stores are laid out.
pub const SCHEMA_VERSION: u32 = 1;

/// Most rows of a store: ten of the longest plans.
pub(crate) const MOST_ROWS: u64 = 10_000_000;

/// The program that makes rows. Two that differ may compute other rows from the same question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// What tells builds of one version apart.
    pub build: String,
}

/// A question with as many rows as it has keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The command.
    pub command: String,
    /// The program that runs.
    pub program: Program,
    /// Hash of the meaning of everything.
    pub question: String,
    /// The same in words, for people and for messages. It decides nothing.
    pub words: Value,
    /// For each row, by its place: the hash of what it means.
    pub keys: Vec<String>,
}

/// What stands at the head of a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`SCHEMA_VERSION`] of whoever wrote it.
    pub schema_version: u32,
    /// The command.
    pub command: String,
    /// The program that began it.
    pub program: Program,
    /// Hash of the meaning of everything that was asked.
    pub question: String,
    /// How many rows there are when all are finished.
    pub rows: u64,
    /// What was asked, in words.
    pub asked: Value,
}

impl Header {
    pub(crate) fn of(asked: &Asked) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            command: asked.command.clone(),
            program: asked.program.clone(),
            question: asked.question.clone(),
            rows: asked.keys.len() as u64,
            asked: asked.words.clone(),
        }
    }

    /// Refuses a store of another question or another program than the one that is asked now.
    pub(crate) fn check(&self, asked: &Asked, file: &str) -> Result<(), StoreError> {
        self.check_against(&Self::of(asked), file)
    }

    /// The same against the header of another store.
    pub(crate) fn check_against(&self, now: &Self, file: &str) -> Result<(), StoreError> {
        if self.command != now.command {
            let differs = format!("it is of 'simctl {}', not of 'simctl {}'", self.command, now.command);
            return Err(StoreError::OtherQuestion { file: file.into(), differs });
        }
        if (self.question.as_str(), self.rows) != (now.question.as_str(), now.rows) {
            let mut found = Vec::new();
            differences("", &self.asked, &now.asked, &mut found);
            let differs = match found.as_slice() {
                [] => format!("the files that it reads, or its rows ({} there, {} here)", self.rows, now.rows),
                few @ ([_] | [_, _] | [_, _, _]) => few.join("; "),
                [first, second, third, rest @ ..] => {
                    format!("{first}; {second}; {third}; and {} more", rest.len())
                }
            };
            return Err(StoreError::OtherQuestion { file: file.into(), differs });
        }
        if self.program != now.program {
            let said = |program: &Program| format!("{}, build {}", program.version, program.build);
            let (there, here) = (said(&self.program), said(&now.program));
            return Err(StoreError::OtherProgram { file: file.into(), there, here });
        }
        Ok(())
    }
}

/// Longest value in a message, in characters.
const LONGEST: usize = 60;

/// Which fields differ, with their dotted paths, as they are there and here.
fn differences(path: &str, there: &Value, here: &Value, found: &mut Vec<String>) {
    if there == here {
        return;
    }
    let (Value::Object(inside), Value::Object(asked)) = (there, here) else {
        found.push(format!("{path} is {} there, {} here", short(there), short(here)));
        return;
    };
    let fields = inside.keys().chain(asked.keys().filter(|field| !inside.contains_key(*field)));
    for field in fields {
        let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        let of = |values: &serde_json::Map<String, Value>| values.get(field).cloned().unwrap_or(Value::Null);
        differences(&path, &of(inside), &of(asked), found);
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(words: Value, question: &str) -> Asked {
        let program = Program { version: "1".into(), build: "a".into() };
        Asked { command: "plan".into(), program, question: question.into(), words, keys: vec!["k".into()] }
    }

    #[test]
    fn what_differs_is_said_with_its_path() {
        let there = Header::of(&asked(json!({ "axes": { "users": [1, 4], "wafers": 2 }, "model": "a" }), "1"));
        let here = asked(json!({ "axes": { "users": [1, 8], "wafers": 2 }, "model": "b", "seed": 3 }), "2");
        let error = there.check(&here, "f").unwrap_err().to_string();
        for part in ["f: ", "axes.users is [1,4] there, [1,8] here", "model is", "seed is null there, 3 here"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(!error.contains("wafers"), "{error}");
    }

    #[test]
    fn the_same_words_do_not_hide_another_question() {
        let there = Header::of(&asked(json!({ "model": "a.json" }), "1"));
        assert!(there.check(&asked(json!({ "model": "a.json" }), "2"), "f").is_err());
        assert!(there.check(&asked(json!({ "model": "./a.json" }), "1"), "f").is_ok(), "another name for the same");
    }

    #[test]
    fn another_program_or_command_is_refused() {
        let there = Header::of(&asked(Value::Null, "1"));
        let mut other = asked(Value::Null, "1");
        other.program.build = "b".into();
        assert!(there.check(&other, "f").unwrap_err().to_string().contains("1, build a, and this is 1, build b"));
        other.command = "map".into();
        assert!(there.check(&other, "f").unwrap_err().to_string().contains("'simctl plan', not of 'simctl map'"));
    }
}
