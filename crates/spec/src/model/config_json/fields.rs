//! Typed and bounded access to the keys of a JSON object, with messages that say which key, what is there and what is
//! allowed. A key that is `null` counts as absent: that is how `config.json` files write "no".

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::SpecError;

/// The keys of one JSON object of a file.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub file: &'a str,
    /// What stands before a key in messages: empty, or the dotted path of the object.
    pub prefix: &'static str,
    pub map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// What to say of a key that is wrong.
    pub fn wrong(&self, key: &str, problem: String, allowed: String) -> SpecError {
        SpecError::Field { file: self.file.into(), field: format!("{}{key}", self.prefix), problem, allowed }
    }

    fn given(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// How a key is absent.
    pub fn absence(&self, key: &str) -> &'static str {
        if self.map.contains_key(key) { "is null" } else { "missing" }
    }

    fn missing(&self, key: &str, allowed: String) -> SpecError {
        self.wrong(key, self.absence(key).into(), allowed)
    }

    fn wrong_value(&self, key: &str, value: &Value, allowed: String) -> SpecError {
        self.wrong(key, format!("is {}", shortened(&value.to_string())), allowed)
    }

    /// Whether the key is there and not null.
    pub fn is_given(&self, key: &str) -> bool {
        self.given(key).is_some()
    }

    /// A whole number, or nothing.
    pub fn optional_whole(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, SpecError> {
        let Some(value) = self.given(key) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong_value(key, value, whole_range(&range))),
        }
    }

    /// A whole number that must be there.
    pub fn whole(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, SpecError> {
        let allowed = whole_range(&range);
        self.optional_whole(key, range)?.ok_or_else(|| self.missing(key, allowed))
    }

    /// A number, or nothing.
    pub fn optional_real(&self, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, SpecError> {
        let Some(value) = self.given(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong_value(key, value, real_range(&range))),
        }
    }

    /// true or false, or what the family takes where the file does not say.
    pub fn flag_or(&self, key: &str, default: bool) -> Result<bool, SpecError> {
        match self.given(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.wrong_value(key, value, "true or false".into())),
        }
    }

    /// A text, or nothing.
    pub fn optional_text(&self, key: &str, allowed: &str) -> Result<Option<&'a str>, SpecError> {
        match self.given(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong_value(key, value, allowed.into())),
        }
    }

    /// An object that must be there; `prefix` stands before its keys in messages.
    pub fn object(&self, key: &str, prefix: &'static str) -> Result<Self, SpecError> {
        match self.given(key) {
            Some(Value::Object(map)) => Ok(Self { file: self.file, prefix, map }),
            Some(value) => Err(self.wrong_value(key, value, "an object".into())),
            None => Err(self.missing(key, "an object".into())),
        }
    }

    /// A list of texts, or nothing.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&'a str>>, SpecError> {
        self.list(key, "a list of texts", Value::as_str)
    }

    /// A list of whole numbers, or nothing.
    pub fn wholes(&self, key: &str, range: RangeInclusive<u64>) -> Result<Option<Vec<u64>>, SpecError> {
        let allowed = format!("a list with, in each place, {}", whole_range(&range));
        self.list(key, &allowed, |value| value.as_u64().filter(|number| range.contains(number)))
    }

    fn list<T>(
        &self,
        key: &str,
        allowed: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, SpecError> {
        let Some(value) = self.given(key) else { return Ok(None) };
        let items = value.as_array().and_then(|items| items.iter().map(read).collect::<Option<Vec<T>>>());
        items.map(Some).ok_or_else(|| self.wrong_value(key, value, allowed.into()))
    }
}

fn whole_range(range: &RangeInclusive<u64>) -> String {
    format!("a whole number from {} to {}", range.start(), range.end())
}

fn real_range(range: &RangeInclusive<f64>) -> String {
    format!("a number from {} to {}", range.start(), range.end())
}

/// At most 60 characters of a value, for a message of one line.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        None => text.into(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
