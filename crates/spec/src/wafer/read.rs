//! Reading a wafer file: strict TOML, one table per parameter.
//!
//! ```toml
//! [fabric.hop_latency]
//! value = 2.0
//! unit = "cycles"
//! low = 2.0
//! high = 2.0
//! evidence = "silicon"
//! source = "where it was published"
//! ```
//! A table may hold `simulator = { value, low, high, evidence, source }`: what the vendor's simulator does instead.

use std::path::Path;

use serde::Deserialize;
use toml::Value;

use super::parameters::{DECLARATIONS, Declaration, Key};
use super::{Evidence, Figure, Wafer};
use crate::error::{SpecError, nearest_name};

/// Names of the wafers that are built in.
pub const BUILTIN_WAFERS: &[&str] = &["wse2", "wse3", "example-dojo-like"];

const BUILTIN_TEXTS: [&str; 3] = [
    include_str!("../../models/wafer/wse2.toml"),
    include_str!("../../models/wafer/wse3.toml"),
    include_str!("../../models/wafer/example-dojo-like.toml"),
];

/// The file of a built-in wafer.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    BUILTIN_WAFERS.iter().zip(BUILTIN_TEXTS).find(|(known, _)| **known == name).map(|(_, text)| text)
}

/// A figure as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FigureText {
    value: f64,
    low: f64,
    high: f64,
    evidence: Evidence,
    source: String,
}

/// A parameter as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParameterText {
    value: f64,
    unit: String,
    low: f64,
    high: f64,
    evidence: Evidence,
    source: String,
    simulator: Option<FigureText>,
}

/// Groups of parameters laid on those of a built-in wafer.
fn laid_on(base: &Value, groups: toml::Table, file: &str) -> Result<toml::Table, SpecError> {
    let built_in = || format!("the name of a built-in wafer: {}", BUILTIN_WAFERS.join(", "));
    let Some(name) = base.as_str() else { return Err(field(file, "base", "is not a text", &built_in())) };
    let Some(text) = builtin_text(name) else { return Err(field(file, "base", &format!("is '{name}'"), &built_in())) };
    let mut whole: toml::Table = toml::from_str(text).map_err(|error| SpecError::Syntax {
        file: format!("built-in wafer '{name}'"),
        detail: error.to_string().trim_end().to_owned(),
    })?;
    for (group, given) in groups {
        match (whole.get_mut(&group), given) {
            (Some(Value::Table(known)), Value::Table(given)) => known.extend(given),
            (_, given) => {
                whole.insert(group, given);
            }
        }
    }
    Ok(whole)
}

impl Wafer {
    /// A built-in wafer.
    ///
    /// # Errors
    /// Where no built-in has this name; the nearest is suggested.
    pub fn builtin(name: &str) -> Result<Self, SpecError> {
        match BUILTIN_WAFERS.iter().position(|known| *known == name) {
            Some(index) => Self::parse(BUILTIN_TEXTS[index], name, &format!("built-in wafer '{name}'")),
            None => Err(SpecError::UnknownName {
                kind: "wafer",
                name: name.into(),
                nearest: nearest_name(name, BUILTIN_WAFERS.iter().copied()),
                allowed: format!("built in are {}; or give the path of a .toml file", BUILTIN_WAFERS.join(", ")),
            }),
        }
    }

    /// A wafer from a file.
    ///
    /// # Errors
    /// Where the file cannot be read or is not a complete wafer.
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = crate::file::read_text(path, "name the .toml file itself")?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&text, &name, &path.display().to_string())
    }

    /// A built-in wafer or a file: what ends in `.toml` or holds a path separator is a file.
    ///
    /// # Errors
    /// As [`Wafer::builtin`] and [`Wafer::read`].
    pub fn from_name_or_path(text: &str) -> Result<Self, SpecError> {
        if text.ends_with(".toml") || text.contains(['/', '\\']) {
            Self::read(Path::new(text))
        } else {
            Self::builtin(text)
        }
    }

    /// A wafer from TOML text. `file` is named in errors. With `base`, the name of a built-in wafer, parameters that
    /// are left out are those of that one, its title too; a parameter that is given replaces the whole figure.
    ///
    /// # Errors
    /// Where the text is no TOML, a parameter is missing, unknown, out of range or has another unit.
    pub fn parse(text: &str, name: &str, file: &str) -> Result<Self, SpecError> {
        let mut groups: toml::Table = toml::from_str(text).map_err(|error| SpecError::Syntax {
            file: file.into(),
            detail: error.to_string().trim_end().to_owned(),
        })?;
        if let Some(base) = groups.remove("base") {
            groups = laid_on(&base, groups, file)?;
        }
        let title = match groups.remove("title") {
            Some(Value::String(title)) => title,
            other => {
                let problem = if other.is_some() { "is not a text" } else { "is missing" };
                return Err(field(file, "title", problem, "a text, the machine's name for people"));
            }
        };
        let mut silicon = Vec::with_capacity(DECLARATIONS.len());
        let mut simulator = Vec::with_capacity(DECLARATIONS.len());
        for declared in DECLARATIONS {
            let (group, parameter) = declared.path.split_once('.').unwrap_or((declared.path, ""));
            let given = groups.get_mut(group).and_then(Value::as_table_mut).and_then(|table| table.remove(parameter));
            let value = match given {
                Some(value) => value,
                None if declared.key == Key::FaultyPes => {
                    silicon.push(no_faults());
                    simulator.push(None);
                    continue;
                }
                None => return Err(field(file, declared.path, "is missing", &declared.allowed())),
            };
            let written: ParameterText = value.try_into().map_err(|error: toml::de::Error| {
                field(file, declared.path, error.message(), "value, unit, low, high, evidence, source (and simulator)")
            })?;
            if written.unit != declared.unit {
                let problem = format!("unit is '{}'", written.unit);
                return Err(field(file, declared.path, &problem, &format!("unit = \"{}\"", declared.unit)));
            }
            let ParameterText { value, low, high, evidence, source, simulator: other, .. } = written;
            silicon.push(figure(file, declared, FigureText { value, low, high, evidence, source })?);
            simulator.push(other.map(|other| figure(file, declared, other)).transpose()?);
        }
        for (group, rest) in &groups {
            let unknown = match rest {
                Value::Table(table) => table.keys().next().map(|parameter| format!("{group}.{parameter}")),
                _ => Some(group.clone()),
            };
            if let Some(unknown) = unknown {
                let nearest = nearest_name(&unknown, DECLARATIONS.iter().map(|declared| declared.path));
                let hint = nearest.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
                return Err(field(
                    file,
                    &unknown,
                    &format!("is not a wafer parameter{hint}"),
                    "the declared parameters",
                ));
            }
        }
        let wafer = Self { name: name.to_owned(), title, silicon, simulator };
        wafer.check().map_err(|error| match error {
            SpecError::Field { field, problem, allowed, .. } => {
                SpecError::Field { file: file.into(), field, problem, allowed }
            }
            other => other,
        })?;
        Ok(wafer)
    }
}

/// What a file means that says nothing of faults.
fn no_faults() -> Figure {
    let source = "spares replace faulty cores below the program, as the usable rectangle has it".into();
    Figure { value: 0.0, low: 0.0, high: 0.0, evidence: Evidence::Inferred, source }
}

fn field(file: &str, field: &str, problem: &str, allowed: &str) -> SpecError {
    SpecError::Field { file: file.into(), field: field.into(), problem: problem.into(), allowed: allowed.into() }
}

fn figure(file: &str, declared: &Declaration, written: FigureText) -> Result<Figure, SpecError> {
    let FigureText { value, low, high, evidence, source } = written;
    for (name, number) in [("value", value), ("low", low), ("high", high)] {
        declared
            .check(number)
            .map_err(|problem| field(file, &format!("{}.{name}", declared.path), &problem, &declared.allowed()))?;
    }
    if !(low <= value && value <= high) {
        let problem = format!("value {value} is not between low {low} and high {high}");
        return Err(field(file, declared.path, &problem, "low <= value <= high"));
    }
    if evidence == Evidence::Guess && low == high {
        return Err(field(file, declared.path, "is a guess without a range", "low < high for evidence = \"guess\""));
    }
    if source.trim().is_empty() {
        return Err(field(file, declared.path, "has no source", "a text that says where the figure comes from"));
    }
    Ok(Figure { value, low, high, evidence, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wafer::RateSet;

    #[test]
    fn built_in_wafers_read_and_guesses_carry_ranges() {
        for name in BUILTIN_WAFERS {
            let wafer = Wafer::builtin(name).unwrap();
            assert!(wafer.columns() > 0 && wafer.rows() > 0 && wafer.free_bytes() <= wafer.memory_bytes());
        }
        assert!(Wafer::builtin("wse4").unwrap_err().to_string().contains("did you mean 'wse2'"));
    }

    #[test]
    fn both_rate_sets_live_in_one_file() {
        let wafer = Wafer::builtin("wse3").unwrap();
        assert_eq!(wafer.value(Key::WaveletCost, RateSet::Silicon), 1.125);
        assert_eq!(wafer.value(Key::WaveletCost, RateSet::VendorSimulator), 1.0);
        assert_eq!(wafer.value(Key::HopLatency, RateSet::VendorSimulator), 2.0);
    }

    #[test]
    fn setting_a_value_changes_it_or_says_why_not() {
        let mut wafer = Wafer::builtin("wse3").unwrap();
        wafer.set("fabric.hop_latency", 1.0).unwrap();
        assert_eq!(wafer.value(Key::HopLatency, RateSet::Silicon), 1.0);
        let before = wafer.clone();
        for (path, value, part) in [
            ("fabric.hop_latncy", 1.0, "did you mean 'fabric.hop_latency'"),
            ("fabric.hop_latency", f64::NAN, "out of range"),
            ("fabric.columns", 3.5, "not a whole number"),
            ("fabric.usable_columns", 4000.0, "more than fabric.columns"),
            ("pe.free_memory", 50_000.0, "more than pe.memory"),
        ] {
            let error = wafer.set(path, value).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(wafer, before, "nothing half set");
    }

    #[test]
    fn broken_files_name_the_field() {
        let text = BUILTIN_TEXTS[1];
        for (from, to, part) in [
            ("title =", "titel =", "title"),
            ("[fabric.hop_latency]", "[fabric.hop_latncy]", "fabric.hop_latency"),
            ("unit = \"cycles\"", "unit = \"s\"", "unit"),
            ("value = 2.0", "value = nan", "fabric.hop_latency"),
            ("value = 2.0", "value = -2.0", "fabric.hop_latency"),
            ("value = 2.0", "value = \"two\"", "fabric.hop_latency"),
            ("value = 755", "value = 9999", "fabric.usable_columns"),
            ("evidence = \"silicon\"", "evidence = \"hearsay\"", "hearsay"),
        ] {
            let error = Wafer::parse(&text.replacen(from, to, 1), "test", "test.toml").unwrap_err().to_string();
            assert!(error.contains(part) && error.starts_with("test.toml"), "{from} -> {to}: {error}");
        }
        let extra = format!("{text}\n[fabric.warp]\nvalue = 1\n");
        assert!(Wafer::parse(&extra, "test", "test.toml").unwrap_err().to_string().contains("fabric.warp"));
    }
}
