//! Every setting of a stream scenario, for lists: the fields of [`StreamFile`] with their comments.
//!
//! The declaration is the type itself; what stands here only walks its schema. Ranges are checked in `check.rs`, whose
//! messages name them. `machine.*` are the settings of a scenario, which `spec` lists.

use serde_json::{Map, Value};

use super::StreamFile;

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSetting {
    /// Path in the file and in `simctl stream --set path=value`.
    pub path: String,
    /// What it can be.
    pub allowed: String,
    /// What it means.
    pub meaning: String,
}

/// All settings but `machine.*`, in the order of the file.
pub fn settings() -> Vec<StreamSetting> {
    let schema = schemars::schema_for!(StreamFile);
    let mut found = Vec::new();
    if let Some(root) = schema.as_object() {
        let definitions = root.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
        walk("", root, &definitions, &mut found);
    }
    found
}

type Object = Map<String, Value>;

fn walk(prefix: &str, table: &Object, definitions: &Object, found: &mut Vec<StreamSetting>) {
    let Some(fields) = table.get("properties").and_then(Value::as_object) else { return };
    for (name, field) in fields {
        let Some(field) = field.as_object() else { continue };
        let path = format!("{prefix}{name}");
        let declared = behind(field, definitions);
        if declared.contains_key("properties") {
            walk(&format!("{path}."), declared, definitions, found);
            continue;
        }
        let comment = field.get("description").and_then(Value::as_str).unwrap_or_default();
        // A comment of several lines is one sentence after the other.
        let meaning = comment.split_whitespace().collect::<Vec<_>>().join(" ");
        found.push(StreamSetting { path, allowed: allowed(declared), meaning });
    }
}

/// What a field refers to, itself or in one of two forms, of which the other is nothing.
fn behind<'a>(field: &'a Object, definitions: &'a Object) -> &'a Object {
    let name = |of: &'a Object| of.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let choices = field.get("anyOf").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let named = name(field).or_else(|| choices.into_iter().find_map(name));
    named.and_then(|name| definitions.get(name)).and_then(Value::as_object).unwrap_or(field)
}

fn allowed(declared: &Object) -> String {
    let words = words(declared);
    if !words.is_empty() {
        return format!("one of {}", words.join(", "));
    }
    let kinds = declared.get("type");
    let is = |kind: &str| {
        kinds.is_some_and(|kinds| {
            kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
        })
    };
    let names = [
        ("integer", "a whole number"),
        ("number", "a number"),
        ("boolean", "true or false"),
        ("array", "a list, see the book"),
        ("string", "a text"),
    ];
    names.into_iter().find(|(kind, _)| is(kind)).map_or("see the book", |(_, name)| name).to_owned()
}

/// The words of a choice: a list, or one by one with a comment each.
fn words(declared: &Object) -> Vec<&str> {
    let listed = |of: &'_ Object| of.get("enum").and_then(Value::as_array).is_some();
    if listed(declared) {
        return declared
            .get("enum")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
    }
    let one_by_one = declared.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    one_by_one
        .flat_map(|one| {
            let single = one.get("const").and_then(Value::as_str);
            let several = one.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            single.into_iter().chain(several)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is listed that the file would not know, nothing is left out, and each has a meaning.
    #[test]
    fn each_is_known_and_says_what_it_means() {
        let listed = settings();
        for setting in &listed {
            assert!(!setting.meaning.is_empty() && setting.allowed != "see the book", "{setting:?}");
            let said = StreamFile::default().with("--set", &setting.path, "{ nonsense = 1 }");
            let message = said.err().map(|error| error.to_string()).unwrap_or_default();
            let last = setting.path.rsplit('.').next().unwrap_or_default();
            assert!(!message.contains(&format!("unknown field `{last}`")), "{message}");
        }
        let find = |path: &str| listed.iter().find(|setting| setting.path == path).expect(path);
        assert_eq!(find("load.kind").allowed, "one of closed, open, sessions, tasks, trace");
        assert_eq!(find("load.prompt.median").allowed, "a whole number");
        assert_eq!(find("load.columns.arrival").allowed, "a text");
        assert_eq!(find("service.prefix_cache").allowed, "true or false");
        assert!(find("run.seed").meaning.starts_with("Seed of the random streams"));
        // One of each table, and as many as the file has fields.
        for table in ["service.", "routing.", "load.", "clients.", "run."] {
            assert!(listed.iter().any(|setting| setting.path.starts_with(table)), "{table}");
        }
    }
}
