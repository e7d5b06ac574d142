//! Rows of JSON: an object each. Keys that the format does not know are left alone.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{RequestError, shown};
use crate::format::Role;
use crate::input::{Lines, Text, Values};
use crate::number::{decimal, from_float};
use crate::row::{Call, Message, Row, Scale, allowed, span_unit};
use crate::settings::{Columns, Settings, TimeUnit};

/// Objects of a text.
pub(crate) struct Json {
    objects: Objects,
    columns: Vec<(Role, String)>,
    /// Columns that were named and have not been seen, a bit for each.
    unseen: u64,
    scale: Scale,
}

enum Objects {
    /// One in each line.
    Lines(Lines),
    /// Over lines, or in an array.
    Values(Values),
}

impl Json {
    pub(crate) fn open(text: Text, is_lines: bool, scale: Scale, columns: Vec<(Role, String)>) -> Self {
        let objects = if is_lines { Objects::Lines(Lines::new(text)) } else { Objects::Values(Values::new(text)) };
        Self { objects, columns, unseen: 0, scale }
    }

    /// Expects columns that a user has named: one that no object has is a mistake.
    pub(crate) fn expect(&mut self, settings: &Settings) {
        let is_named =
            |role: Role| settings.columns.named().iter().any(|(known, _, name)| *known == role && name.is_some());
        let bits = self.columns.iter().enumerate().filter(|(_, (role, _))| is_named(*role)).map(|(at, _)| 1 << at);
        self.unseen = bits.sum();
    }

    /// What is expected and was not there, of a file that has been read to its end.
    fn missing(&self, file: &str) -> Option<RequestError> {
        let (role, name) = self.columns.get(self.unseen.trailing_zeros() as usize)?;
        let (_, field, _) = Columns::default().named().into_iter().find(|(known, _, _)| known == role)?;
        Some(RequestError::Setting {
            file: file.into(),
            field,
            problem: format!("is '{}', and no object of the file has such a key", shown(name.as_bytes())),
            allowed: "a key of its objects".into(),
        })
    }

    /// The next row; false where there is none.
    pub(crate) fn next(&mut self, file: &str, row: &mut Row) -> Result<bool, RequestError> {
        let next = match &mut self.objects {
            Objects::Lines(lines) => lines.next(file)?.map(|line| (line.number, line.text)),
            Objects::Values(values) => values.next(file)?,
        };
        let Some((number, text)) = next else { return self.missing(file).map_or(Ok(false), Err) };
        row.clear(number);
        let mut wrong = None;
        let mut reader = serde_json::Deserializer::from_slice(text);
        let seed =
            Object { row, scale: &mut self.scale, columns: &self.columns, unseen: &mut self.unseen, wrong: &mut wrong };
        let read = seed.deserialize(&mut reader).and_then(|()| reader.end());
        let Err(error) = read else { return Ok(true) };
        let (problem, allowed) = wrong.unwrap_or_else(|| {
            let ends = if error.is_eof() { "ends too soon (truncated?)".to_owned() } else { reason(&error) };
            (format!("{ends}: '{}'", shown(text)), "JSON objects with the keys of the format".to_owned())
        });
        Err(RequestError::Line { file: file.into(), line: number, problem, allowed })
    }
}

/// The words of an error, without the line of the object, which is not the file's.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    shown(text.strip_suffix(&place).unwrap_or(&text).as_bytes())
}

struct Object<'a> {
    row: &'a mut Row,
    scale: &'a mut Scale,
    columns: &'a [(Role, String)],
    unseen: &'a mut u64,
    wrong: &'a mut Option<(String, String)>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0u64;
        while let Some(known) = map.next_key_seed(Key(self.columns))? {
            let Some(at) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (role, name) = &self.columns[at];
            if seen & (1 << at) != 0 {
                *self.wrong = Some((format!("two keys '{}'", shown(name.as_bytes())), "each key once".into()));
                return Err(A::Error::custom("a key"));
            }
            seen |= 1 << at;
            *self.unseen &= !seen;
            let mut bad = None;
            let field = Field { row: self.row, scale: self.scale, role: *role, bad: &mut bad };
            map.next_value_seed(field)?;
            if let Some(text) = bad {
                let problem = format!("field '{}' is '{}'", shown(name.as_bytes()), shown(text.as_bytes()));
                *self.wrong = Some((problem, allowed(*role, self.scale.unit)));
                return Err(A::Error::custom("a field"));
            }
        }
        Ok(())
    }
}

/// What a key means.
struct Key<'a>(&'a [(Role, String)]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    /// Which of the columns it is.
    type Value = Option<usize>;
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|(_, name)| name == key))
    }
}

/// The value of a known key. What is not understood is put into `bad`.
struct Field<'a> {
    row: &'a mut Row,
    scale: &'a mut Scale,
    role: Role,
    bad: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        if !matches!(self.role, Role::Arrival | Role::Delay | Role::WaitAfter) {
            return reader.deserialize_any(self);
        }
        // As it is written: a double would lose digits.
        let written = <&RawValue>::deserialize(reader)?.get();
        match written.as_bytes().first() {
            Some(b'"') => self.text(&serde_json::from_str::<String>(written).map_err(D::Error::custom)?),
            Some(b'-' | b'0'..=b'9') => self.time(written),
            Some(b'n') => {}
            _ => *self.bad = Some(written.to_owned()),
        }
        Ok(())
    }
}

impl Field<'_> {
    fn whole(self, value: u64) {
        let small = i64::try_from(value).ok();
        match self.role {
            Role::Prompt => self.row.prompt = Some(value),
            Role::Output => self.row.output = Some(value),
            Role::Kept => self.row.kept = Some(value),
            Role::Appended => self.row.appended = Some(value),
            Role::Block => self.row.block = Some(value),
            Role::Turn => self.row.turn = Some(value),
            Role::Chat if small.is_some() => self.row.chat = small,
            Role::Parent if small.is_some() => self.row.parent = small,
            Role::Session => self.row.session = value.to_string(),
            _ => *self.bad = Some(value.to_string()),
        }
    }

    /// A number of units of time.
    fn time(self, written: &str) {
        let is_date = self.role == Role::Arrival && self.scale.unit == TimeUnit::Date;
        match decimal(written.as_bytes(), span_unit(self.scale.unit).places()).filter(|_| !is_date) {
            Some(time) => self.set_time(Some(time)),
            None => *self.bad = Some(written.to_owned()),
        }
    }

    fn set_time(self, value: Option<i128>) {
        match self.role {
            Role::Arrival => self.row.arrival = value,
            Role::Delay => self.row.delay = value,
            _ => self.row.wait_after = value,
        }
    }

    fn text(self, text: &str) {
        if !self.scale.put(self.row, self.role, text.as_bytes()) {
            *self.bad = Some(text.to_owned());
        }
    }

    fn list(self, values: &[Value]) {
        let row = self.row;
        let well = match self.role {
            Role::Calls => {
                row.has_calls = true;
                calls(&mut row.calls, values)
            }
            Role::Events => events(row, self.scale, values),
            Role::Text => {
                row.characters = Some(values.iter().map(characters).sum());
                true
            }
            Role::Talk => {
                row.has_talk = true;
                talk(&mut row.talk, values)
            }
            Role::Turns => {
                (row.has_calls, row.has_talk) = (true, true);
                turns(row, self.scale, values)
            }
            _ => values.is_empty(),
        };
        if !well {
            *self.bad = Some(serde_json::to_string(values).unwrap_or_default());
        }
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        *self.bad = Some(value.to_string());
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(value);
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.role {
            Role::Parent => self.row.parent = Some(value),
            Role::Chat => self.row.chat = Some(value),
            Role::Session => self.row.session = value.to_string(),
            _ => *self.bad = Some(value.to_string()),
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        let is_whole = (0.0..1e15).contains(&value) && (self.scale.cuts || value.fract() == 0.0);
        match self.role {
            Role::Session => self.row.session = value.to_string(),
            _ if is_whole => self.whole(value as u64),
            _ => *self.bad = Some(value.to_string()),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if self.role == Role::Hashes {
            self.row.has_hashes = true;
            while let Some(hash) = list.next_element_seed(Hash)? {
                match hash {
                    Some(hash) => self.row.hashes.push(hash),
                    None => *self.bad = Some("no list of whole numbers".into()),
                }
            }
            return Ok(());
        }
        let mut values = Vec::new();
        while let Some(value) = list.next_element::<Value>()? {
            values.push(value);
        }
        self.list(&values);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        *self.bad = Some("an object".into());
        Ok(())
    }
}

/// A hash: a whole number; anything else is nothing.
struct Hash;

impl<'de> DeserializeSeed<'de> for Hash {
    type Value = Option<u64>;
    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Option<u64>, D::Error> {
        reader.deserialize_u64(self)
    }
}

impl Visitor<'_> for Hash {
    type Value = Option<u64>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number from 0 to 18446744073709551615 as a hash")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<u64>, E> {
        Ok(Some(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<u64>, E> {
        Ok(u64::try_from(value).ok())
    }
}

/// Characters of a text, of the texts of a list of parts, or of an object with a text.
pub(crate) fn characters(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(parts) => parts.iter().map(characters).sum(),
        Value::Object(part) => {
            ["text", "texts", "content", "value"].iter().filter_map(|key| part.get(*key)).map(characters).sum()
        }
        _ => 0,
    }
}

fn calls(into: &mut Vec<Call>, values: &[Value]) -> bool {
    let read = |value: &Value| {
        let wait = value.get("tool_duration_ns").map_or(Some(0.0), Value::as_f64)?;
        Some(Call {
            prompt: tokens(value, "input_toks")?,
            output: tokens(value, "output_toks")?,
            delay: 0,
            wait_after: from_float(wait, TimeUnit::Ns.places())?,
        })
    };
    values.iter().all(|value| {
        let call = read(value);
        into.extend(call);
        call.is_some()
    })
}

fn tokens(value: &Value, key: &str) -> Option<u64> {
    let number = value.get(key)?;
    number.as_u64().or_else(|| {
        number.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64)
    })
}

/// The begin of a call is the last event that came in before the first that it made; its end the last that it made.
fn events(row: &mut Row, scale: &mut Scale, values: &[Value]) -> bool {
    let (mut asked, mut made) = (None, None);
    for value in values {
        let (Some(kind), Some(at)) =
            (value.get("event_type").and_then(Value::as_str), value.get("timestamp").and_then(Value::as_str))
        else {
            return false;
        };
        let Some(at) = scale.clock.time(at.as_bytes(), scale.unit) else { return false };
        let is_input = matches!(kind, "user_message" | "tool_result");
        match (is_input, made) {
            (true, None) => asked = Some(asked.map_or(at, |before: i128| before.max(at))),
            (true, Some(_)) => {}
            (false, _) => made = Some(made.map_or(at, |before: i128| before.max(at))),
        }
    }
    row.arrival = asked.or_else(|| made.filter(|_| asked.is_none()));
    row.end = made.or(asked);
    true
}

fn talk(into: &mut Vec<Message>, values: &[Value]) -> bool {
    values.iter().all(|value| {
        let who = ["from", "role", "user"].iter().find_map(|key| value.get(*key)).and_then(Value::as_str);
        let Some(who) = who else { return false };
        let is_answer = matches!(who, "gpt" | "assistant" | "chatgpt" | "bard" | "bing" | "model");
        into.push(Message { is_answer, characters: characters(value) });
        true
    })
}

/// Turns of AIPerf: texts with lengths of answers, and waits in ms. Prompts are characters for now.
fn turns(row: &mut Row, scale: &mut Scale, values: &[Value]) -> bool {
    let places = span_unit(scale.unit).places();
    values.iter().all(|value| {
        let delay = value.get("delay").map_or(Some(0.0), Value::as_f64).and_then(|delay| from_float(delay, places));
        let Some(delay) = delay else { return false };
        if let (true, Some(first)) = (row.calls.is_empty(), value.get("timestamp").and_then(Value::as_f64)) {
            row.arrival = from_float(first, places);
        }
        let output = tokens(value, "output_length").unwrap_or(0);
        row.calls.push(Call { prompt: characters(value), output, delay, wait_after: 0 });
        value.is_object()
    })
}
