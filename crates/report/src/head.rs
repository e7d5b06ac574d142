//! What outputs say beside their result: the form they have, what was asked, what made it.
//!
//! Every output of `simctl` that answers something goes through [`Head`]: JSON gets keys in front, CSV constant columns
//! at the end, text and Markdown a section at the end where anything differs from its default.

use serde::Serialize;
use serde_json::Value;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::paragraph::heading;

/// Version of the JSON objects: one more wherever a key goes or means something else.
pub const SCHEMA_VERSION: u32 = 1;

/// A setting or flag that differs from its default.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Override {
    /// Path of the setting, or the flag with its dashes.
    pub path: String,
    /// What was asked.
    pub value: Value,
    /// What holds where nothing is said; nothing where there is no such value.
    pub default: Value,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeBy {
    /// Its version.
    pub version: &'static str,
    /// Commit that it was built from, with `+` where files were changed; nothing where that is not known.
    pub commit: Option<&'static str>,
}

/// What outputs say beside their result.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    command: String,
    made_by: MadeBy,
    input_hash: Option<String>,
    scenario: Option<Value>,
    mapping: Option<String>,
    overrides: Vec<Override>,
}

/// Where an output comes from.
#[derive(Serialize)]
struct Provenance<'a> {
    #[serde(flatten)]
    made_by: &'a MadeBy,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_hash: Option<&'a str>,
}

/// Keys in front of a JSON object; those that it has itself are left to it.
#[derive(Serialize)]
struct Keys<'a> {
    schema_version: u32,
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scenario: Option<&'a Value>,
    overrides: &'a [Override],
    #[serde(skip_serializing_if = "Option::is_none")]
    mapping: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<Provenance<'a>>,
}

impl Head {
    /// Of a command for which nothing but its defaults is asked.
    pub fn new(command: impl Into<String>, made_by: MadeBy) -> Self {
        let (input_hash, scenario, mapping, overrides) = (None, None, None, Vec::new());
        Self { command: command.into(), made_by, input_hash, scenario, mapping, overrides }
    }

    /// About a scenario: what differs from `default` is an override, by its dotted path.
    pub fn asking(mut self, scenario: &impl Serialize, default: &impl Serialize) -> Self {
        let value = |of: serde_json::Result<Value>| of.unwrap_or(Value::Null);
        let (scenario, default) = (value(serde_json::to_value(scenario)), value(serde_json::to_value(default)));
        differences("", &scenario, &default, &mut self.overrides);
        Self { scenario: Some(scenario), ..self }
    }

    /// With a mapping by its name.
    pub fn with_mapping(self, mapping: Option<&str>) -> Self {
        Self { mapping: mapping.map(str::to_owned), ..self }
    }

    /// With the hash of what the inputs mean.
    pub fn with_input_hash(self, hash: String) -> Self {
        Self { input_hash: Some(hash), ..self }
    }

    /// With more that differs from its default.
    pub fn with(mut self, overrides: impl IntoIterator<Item = Override>) -> Self {
        self.overrides.extend(overrides);
        self
    }

    /// What differs from its default.
    pub fn overrides(&self) -> &[Override] {
        &self.overrides
    }

    /// The JSON object `body` with the keys of the head in front.
    ///
    /// # Errors
    /// Where the body is no JSON object as this crate writes them.
    pub fn json(&self, body: &str) -> Result<String, ReportError> {
        let no_object =
            || ReportError::Format { format: "JSON", reason: "a head stands before an object of its own lines".into() };
        let rest = body.strip_prefix('{').ok_or_else(no_object)?;
        let has = |key: &str| rest.contains(&format!("\n  \"{key}\":"));
        let keys = Keys {
            schema_version: SCHEMA_VERSION,
            command: &self.command,
            scenario: self.scenario.as_ref().filter(|_| !has("scenario")),
            overrides: &self.overrides,
            mapping: (self.scenario.is_some() && !has("mapping")).then_some(self.mapping.as_deref()),
            provenance: (!has("provenance"))
                .then_some(Provenance { made_by: &self.made_by, input_hash: self.input_hash.as_deref() }),
        };
        let keys = pretty(&keys)?;
        let keys = keys.strip_suffix("\n}\n").ok_or_else(no_object)?;
        Ok(match rest.trim_start().strip_prefix('}') {
            Some(_) => format!("{keys}\n}}\n"),
            None => format!("{keys},{rest}"),
        })
    }

    /// A text with a section at its end: what differs from its default.
    pub fn text(&self, body: String) -> String {
        if self.overrides.is_empty() {
            return body;
        }
        format!("{body}{}{}", heading("Asked, where it differs from the default"), self.grid().text())
    }

    /// The same in Markdown.
    pub fn markdown(&self, body: String) -> String {
        if self.overrides.is_empty() { body } else { format!("{body}\n{}", self.grid().markdown()) }
    }

    /// A table with columns at its end, alike in all rows: `overrides` (as `path=value`, with semicolons between, and
    /// of long lists the ends), `version`, `commit`.
    ///
    /// # Errors
    /// Where the body is no table.
    pub fn csv(&self, body: &str) -> Result<String, ReportError> {
        let failed = |error: String| ReportError::Format { format: "CSV", reason: error };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(body.as_bytes());
        let mut writer = csv::Writer::from_writer(Vec::new());
        let pairs = self.overrides.iter().map(|one| format!("{}={}", one.path, shortened(&one.value)));
        let cells = [
            pairs.collect::<Vec<_>>().join("; "),
            self.made_by.version.into(),
            self.made_by.commit.unwrap_or("").into(),
        ];
        let titles = ["overrides", "version", "commit"].map(str::to_owned);
        for (row, record) in reader.records().enumerate() {
            let mut record = record.map_err(|error| failed(error.to_string()))?;
            (if row == 0 { &titles } else { &cells }).iter().for_each(|cell| record.push_field(cell));
            writer.write_record(&record).map_err(|error| failed(error.to_string()))?;
        }
        let bytes = writer.into_inner().map_err(|error| failed(error.to_string()))?;
        String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
    }

    fn grid(&self) -> Grid {
        let mut grid = Grid::new([("setting", Side::Left), ("asked", Side::Right), ("default", Side::Right)]);
        for Override { path, value, default } in &self.overrides {
            grid.row([path.clone(), shortened(value), shown(default)]);
        }
        grid
    }
}

/// A value as it is written in a flag.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        // Without the `.0` that tells JSON's numbers apart.
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, |real| real.to_string()),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Most characters of a value that stands in every row of a table.
const LONGEST: usize = 200;

/// The same, of a long list its first two values, its last one and how many there are: a list of ten thousand in each
/// row of its table would be most of it.
fn shortened(value: &Value) -> String {
    let text = shown(value);
    if text.chars().count() <= LONGEST {
        return text;
    }
    let values: Vec<&str> = text.split(',').collect();
    match values.as_slice() {
        [first, second, .., last] if first.len() + second.len() + last.len() <= LONGEST => {
            format!("{first},{second},..,{last} ({} values)", values.len())
        }
        _ => text.chars().take(LONGEST).chain("..".chars()).collect(),
    }
}

/// Leaves of `asked` that `default` has otherwise.
fn differences(path: &str, asked: &Value, default: &Value, found: &mut Vec<Override>) {
    if asked == default {
        return;
    }
    let Value::Object(fields) = asked else {
        found.push(Override { path: path.to_owned(), value: asked.clone(), default: default.clone() });
        return;
    };
    for (field, value) in fields {
        let path = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
        differences(&path, value, default.get(field).unwrap_or(&Value::Null), found);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn head() -> Head {
        Head::new("plan", MadeBy { version: "1.2.3", commit: Some("abc") })
    }

    #[test]
    fn what_differs_is_found_by_its_path() {
        let default = json!({ "users": 1, "precision": { "weights": "fp8", "kv": "bf16" }, "same": [1] });
        let asked = json!({ "users": 1, "precision": { "weights": "fp4", "kv": "bf16" }, "same": [1], "new": "a" });
        let head = head().asking(&asked, &default);
        let paths: Vec<_> = head.overrides().iter().map(|one| (one.path.as_str(), shown(&one.value))).collect();
        assert_eq!(paths, [("precision.weights", "fp4".to_owned()), ("new", "a".to_owned())]);
    }

    #[test]
    fn keys_stand_in_front_and_none_stands_twice() {
        let body = "{\n  \"rows\": [],\n  \"provenance\": {}\n}\n";
        let text = head().asking(&json!({ "users": 2 }), &json!({ "users": 1 })).json(body).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["schema_version", "command", "scenario", "overrides", "mapping", "rows", "provenance"];
        assert_eq!(keys, expected, "{text}");
        assert_eq!(text.matches("\"provenance\"").count(), 1);
        let text = head().json("{}\n").unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["provenance"], json!({ "version": "1.2.3", "commit": "abc" }));
        assert!(head().json("[]").is_err());
    }

    #[test]
    fn tables_have_the_same_columns_in_all_rows() {
        let asked = Override { path: "wafer.link.latency".into(), value: json!(0.1), default: json!(8) };
        let table = head().with([asked]).csv("a,b\n1,\"x,y\"\n2,z\n").unwrap();
        let expected = "a,b,overrides,version,commit\n1,\"x,y\",wafer.link.latency=0.1,1.2.3,abc\n\
                        2,z,wafer.link.latency=0.1,1.2.3,abc\n";
        assert_eq!(table, expected);
    }

    #[test]
    fn long_lists_are_not_in_every_row() {
        let of = |value: Value| {
            let asked = Override { path: "--context".into(), value, default: Value::Null };
            head().with([asked]).csv("a\n1\n").unwrap().lines().nth(1).unwrap().to_owned()
        };
        let list = (1..=10_000).map(|value| value.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(of(json!(list)), "1,\"--context=1,2,..,10000 (10000 values)\",1.2.3,abc");
        assert_eq!(of(json!("x".repeat(300))), format!("1,--context={}..,1.2.3,abc", "x".repeat(200)));
        assert_eq!(of(json!("1,2,3")), "1,\"--context=1,2,3\",1.2.3,abc");
    }

    #[test]
    fn defaults_are_not_repeated() {
        assert_eq!((head().text("a\n".into()), head().markdown("a\n".into())), ("a\n".into(), "a\n".into()));
        let asked = Override { path: "--search".into(), value: json!("none"), default: json!("quick") };
        let text = head().with([asked]).text("a\n".into());
        assert!(text.starts_with("a\n\nAsked") && text.contains("--search   none    quick"), "{text}");
    }
}
