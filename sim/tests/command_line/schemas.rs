//! JSON Schemas of the outputs: made from outputs, shipped, and held against others.
//!
//! The types that are written are private to `report` and made of many parts, so a schema written by hand would
//! be a second declaration of them. Instead it says what the runs of [`BATTERY`] show: which keys there are,
//! which are always there, of which type; and it leaves room for more keys, as readers should. Whoever adds,
//! renames or removes a key sees it here: `UPDATE_SCHEMAS=1 cargo test -p simctl --test command_line schemas`
//! writes them anew, and the difference says whether `schema_version` goes up.

use std::fs;

use serde_json::{Map, Value, json};

use crate::battery::{BATTERY, Folder, Runs};
use crate::surface::{repository, simctl};

/// Keys whose object has data for keys: names of settings, operators, causes, roles.
const NAMED_BY_DATA: &[&str] = &["causes", "roles", "wafer_parameters", "clocks", "columns", "values", "options"];

/// Places, by the ends of their paths, whose value is what somebody asked, of any type.
const ANYTHING: &[(&str, &str)] = &[
    (".scenario", "what was asked, with its defaults: the settings that `simctl settings` lists"),
    (".overrides[].value", "as it was asked"),
    (".overrides[].default", "what holds where nothing is said; null where there is no such value"),
    (".asked[].a", "as the first store says that it was asked; null where it says nothing"),
    (".asked[].b", "the same of the second"),
    (".rows[].a", "of the first store; null where it has no such field"),
    (".rows[].b", "of the second store"),
    (".assumptions[].a", "as it was asked first"),
    (".assumptions[].b", "as it was asked second"),
    (".levers[].value", "what the setting would have to be; null where nothing does"),
];

/// What a place in a document was seen to hold.
#[derive(Default)]
struct Seen {
    types: Vec<&'static str>,
    objects: u64,
    /// In the order in which they came, with how often.
    fields: Vec<(String, u64, Seen)>,
    items: Option<Box<Seen>>,
}

impl Seen {
    fn see(&mut self, value: &Value) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !self.types.contains(&kind) {
            self.types.push(kind);
        }
        match value {
            Value::Array(items) => {
                let seen = self.items.get_or_insert_default();
                items.iter().for_each(|item| seen.see(item));
            }
            Value::Object(fields) => {
                self.objects += 1;
                for (name, value) in fields {
                    let at = self.fields.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
                        self.fields.push((name.clone(), 0, Self::default()));
                        self.fields.len() - 1
                    });
                    let (_, count, seen) = &mut self.fields[at];
                    *count += 1;
                    seen.see(value);
                }
            }
            _ => {}
        }
    }

    fn merge(&mut self, other: Self) {
        for kind in other.types {
            if !self.types.contains(&kind) {
                self.types.push(kind);
            }
        }
        self.objects += other.objects;
        for (name, count, seen) in other.fields {
            match self.fields.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, known, there)) => {
                    *known += count;
                    there.merge(seen);
                }
                None => self.fields.push((name, count, seen)),
            }
        }
        if let Some(items) = other.items {
            self.items.get_or_insert_default().merge(*items);
        }
    }

    /// `path`: the place in the document.
    fn schema(self, path: &str) -> Map<String, Value> {
        let key = path.rsplit('.').next().unwrap_or_default();
        let mut types = self.types;
        // A build knows its commit or does not.
        if key == "commit" {
            types = vec!["string", "null"];
        }
        if types.contains(&"number") {
            types.retain(|kind| *kind != "integer");
        }
        types.sort_unstable();
        let mut schema = Map::new();
        if let Some((_, declared)) = ANYTHING.iter().find(|(known, _)| path.ends_with(known)) {
            schema.insert("description".into(), json!(declared));
            return schema;
        }
        // Where nothing was ever there, anything may be.
        if types == ["null"] {
            return schema;
        }
        match types.as_slice() {
            [] => {}
            [one] => drop(schema.insert("type".into(), json!(one))),
            several => drop(schema.insert("type".into(), json!(several))),
        }
        if let Some(unit) = unit(key).filter(|_| types.iter().any(|kind| ["number", "integer", "array"].contains(kind)))
        {
            schema.insert("description".into(), json!(unit));
        }
        let numbered = self.fields.iter().all(|(name, ..)| name.bytes().all(|letter| letter.is_ascii_digit()));
        if self.objects > 0 && (numbered || NAMED_BY_DATA.contains(&key)) {
            let mut any = Self::default();
            self.fields.into_iter().for_each(|(.., seen)| any.merge(seen));
            schema.insert("additionalProperties".into(), Value::Object(any.schema(&format!("{path}.*"))));
        } else if self.objects > 0 {
            let always = self.fields.iter().filter(|(_, count, _)| *count == self.objects);
            let always: Vec<&String> = always.map(|(name, ..)| name).collect();
            if !always.is_empty() {
                schema.insert("required".into(), json!(always));
            }
            let fields = self.fields.into_iter().map(|(name, _, seen)| {
                let of = seen.schema(&format!("{path}.{name}"));
                (name, Value::Object(of))
            });
            schema.insert("properties".into(), Value::Object(fields.collect()));
        }
        if let Some(items) = self.items {
            let items = items.schema(&format!("{path}[]"));
            if !items.is_empty() {
                schema.insert("items".into(), Value::Object(items));
            }
        }
        schema
    }
}

/// What a key says of its unit.
fn unit(key: &str) -> Option<&'static str> {
    let endings = [
        ("_us", "microseconds"),
        ("_ms", "milliseconds"),
        ("_ns", "nanoseconds"),
        ("_ps", "picoseconds"),
        ("_s", "seconds"),
        ("_ghz", "GHz"),
        ("_bytes", "bytes"),
        ("_cycles", "cycles of the wafer"),
        ("_usd", "US dollars"),
        ("_kwh", "kWh"),
    ];
    if key.starts_with("tokens_per_second") {
        return Some("tokens per second");
    }
    endings.into_iter().find(|(ending, _)| key.ends_with(ending)).map(|(_, unit)| unit)
}

fn name(runs: &Runs) -> String {
    runs.command.replace(' ', "-")
}

fn writes_json(run: &str) -> bool {
    run.contains("--format json")
}

fn of(runs: &Runs, folder: &Folder) -> Value {
    let mut seen = Seen::default();
    for run in runs.runs {
        seen.see(&simctl(&folder.line(runs.command, run)).json());
    }
    let mut schema = Map::new();
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!(format!("simctl {} --format json", runs.command)));
    let from: Vec<String> = runs.runs.iter().map(|run| format!("simctl {} {run}", runs.command)).collect();
    schema.insert("$comment".into(), json!(format!("Made from the outputs of: {}", from.join("; "))));
    schema.extend(seen.schema(""));
    Value::Object(schema)
}

fn with_json() -> impl Iterator<Item = &'static Runs> {
    BATTERY.iter().filter(|runs| runs.runs.iter().all(|run| writes_json(run)))
}

/// The shipped schemas are those of today's outputs; and outputs that they were not made from fit them.
#[test]
fn schemas_are_those_of_the_outputs() {
    let folder = Folder::new();
    let mut old = Vec::new();
    for runs in with_json() {
        let file = repository(&format!("docs/schemas/{}.json", name(runs)));
        let schema = of(runs, &folder);
        let text = format!("{schema:#}\n");
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&file, text).expect("docs/schemas can be written to");
        } else if fs::read_to_string(&file).is_ok_and(|known| known == text) {
            let validator = jsonschema::validator_for(&schema).expect("a schema");
            for run in runs.others.iter().filter(|run| writes_json(run)) {
                let line = folder.line(runs.command, run);
                let output = simctl(&line).json();
                let errors: Vec<String> =
                    validator.iter_errors(&output).map(|error| format!("{}: {error}", error.instance_path())).collect();
                assert!(errors.is_empty(), "{line}: {errors:#?}");
            }
        } else {
            old.push(name(runs));
        }
    }
    let how = "UPDATE_SCHEMAS=1 cargo test -p simctl --test command_line schemas, and read the difference";
    assert!(old.is_empty(), "outputs of {old:?} are not as docs/schemas says: {how}");
}

/// What `simctl schema` writes is what lies in the folder.
#[test]
fn every_schema_is_shipped() {
    let mut there: Vec<String> = fs::read_dir(repository("docs/schemas"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().replace(".json", ""))
        .collect();
    there.sort();
    let mut made: Vec<String> = with_json().map(name).collect();
    made.sort();
    assert_eq!(there, made);
    let mut listed: Vec<String> = simctl("schema").data().lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(there, listed);
    for name in there {
        let shipped = fs::read_to_string(repository(&format!("docs/schemas/{name}.json"))).expect("a schema");
        assert_eq!(simctl(&format!("schema {name}")).data(), shipped, "{name}");
    }
    assert_eq!(simctl("schema nothing").code, Some(2));
}

/// Every object says which form it has, what was asked, and what made it.
#[test]
fn every_output_has_a_head() {
    for runs in with_json() {
        let text = fs::read_to_string(repository(&format!("docs/schemas/{}.json", name(runs)))).expect("a schema");
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(schema["type"], "object", "{}", runs.command);
        // What has made the rows of a store is said by the store.
        let made_by = if runs.command == "results show" { "program" } else { "provenance" };
        let required = schema["required"].as_array().expect("keys");
        for key in ["schema_version", "command", made_by] {
            assert!(required.iter().any(|known| known == key), "{}: no {key}", runs.command);
        }
    }
}
