//! Two answers beside each other: what differs in the figures, by operator, by cause, and in what was asked.
//!
//! Both come as the JSON of `simctl run`, so that an answer that was saved a year ago can be one of them.

use serde::Serialize;
use serde_json::Value;

use crate::error::ReportError;
use crate::grid::{Grid, Side};
use crate::json::pretty;
use crate::number::{NOTHING, figure, whole};
use crate::paragraph::{heading, wrapped};

/// An answer with the name that it is spoken of by.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Name of its file.
    pub name: String,
    /// The JSON object of `simctl run`.
    pub answer: Value,
}

/// A figure of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its key in the JSON, with its unit.
    pub key: String,
    /// Of the first.
    pub a: f64,
    /// Of the second.
    pub b: f64,
    /// `(b - a) / a` in per cent; nothing where `a` is 0.
    pub change_percent: Option<f64>,
}

/// Time of an operator in one token's way, or of a cause in all of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// The operator or cause.
    pub name: String,
    /// Microseconds of the first; 0 where it has none.
    pub a_us: f64,
    /// Of the second.
    pub b_us: f64,
    /// `b_us - a_us`.
    pub change_us: f64,
}

/// What was asked of the one and not of the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assumption {
    /// Dotted path of the setting.
    pub path: String,
    /// Of the first.
    pub a: Value,
    /// Of the second.
    pub b: Value,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the first.
    pub a: String,
    /// Name of the second.
    pub b: String,
    /// Figures, changed or not.
    pub figures: Vec<Change>,
    /// Operators in the order of the pipeline; their changes add up to that of one token's way.
    pub operators: Vec<Part>,
    /// Causes; their changes add up to the same.
    pub causes: Vec<Part>,
    /// What was asked differently.
    pub assumptions: Vec<Assumption>,
}

/// Figures that are compared, by their keys at the top of an answer.
const FIGURES: &[&str] = &[
    "tokens_per_second_per_user",
    "tokens_per_second_total",
    "time_per_output_token_us",
    "time_to_first_token_ms",
    "wafers",
    "users_at_full_speed",
    "max_users",
];

impl Comparison {
    /// What differs between two answers.
    ///
    /// # Errors
    /// Where one of them is no answer: the key that is missing.
    pub fn of(a: &Answered, b: &Answered) -> Result<Self, NoAnswer> {
        let mut figures = Vec::new();
        for key in FIGURES {
            let (a, b) = (number(a, key)?, number(b, key)?);
            let change_percent = (a != 0.0).then(|| (b - a) / a * 100.0);
            figures.push(Change { key: (*key).to_owned(), a, b, change_percent });
        }
        let (of_a, of_b) = (breakdown(a)?, breakdown(b)?);
        let operators = beside(&of_a.operators, &of_b.operators);
        let causes = beside(&of_a.causes, &of_b.causes);
        let mut assumptions = Vec::new();
        for key in ["scenario", "mapping", "model", "wafer", "profile", "users", "context"] {
            let of = |one: &Answered| with_parameters(one.answer.get(key).cloned().unwrap_or(Value::Null));
            // What is in the scenario stands at the top too.
            let is_known = key != "scenario" && key != "mapping" && a.answer.get("scenario").is_some();
            if !is_known {
                let path = if key == "scenario" { "" } else { key };
                differences(path, &of(a), &of(b), &mut assumptions);
            }
        }
        Ok(Self { a: a.name.clone(), b: b.name.clone(), figures, operators, causes, assumptions })
    }
}

/// A scenario whose changes of the wafer's parameters, a list of pairs, have paths like its other settings.
fn with_parameters(mut scenario: Value) -> Value {
    if let Some(fields) = scenario.as_object_mut()
        && let Some(Value::Array(pairs)) = fields.shift_remove("wafer_overrides")
    {
        for pair in pairs {
            if let (Some(path), Some(value)) = (pair.get(0).and_then(Value::as_str), pair.get(1)) {
                fields.insert(format!("wafer.{path}"), value.clone());
            }
        }
    }
    scenario
}

/// A file that is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file}: is no answer, it has no '{key}'; allowed: what 'simctl run --format json' writes, \
     or a scenario file (.toml)"
)]
pub struct NoAnswer {
    /// The file.
    pub file: String,
    /// The key that is missing.
    pub key: String,
}

fn missing(of: &Answered, key: &str) -> NoAnswer {
    NoAnswer { file: of.name.clone(), key: key.to_owned() }
}

fn number(of: &Answered, key: &str) -> Result<f64, NoAnswer> {
    of.answer.get(key).and_then(Value::as_f64).ok_or_else(|| missing(of, key))
}

/// Microseconds by name, in order.
#[derive(Default)]
struct Way {
    operators: Vec<(String, f64)>,
    causes: Vec<(String, f64)>,
}

/// One token's way in microseconds: cycles over the clock of the answer.
fn breakdown(of: &Answered) -> Result<Way, NoAnswer> {
    let clock = of.answer.pointer("/verdict/clock_ghz").and_then(Value::as_f64).filter(|clock| *clock > 0.0);
    let clock = clock.ok_or_else(|| missing(of, "verdict.clock_ghz"))?;
    let rows = of.answer.get("breakdown").and_then(Value::as_array).ok_or_else(|| missing(of, "breakdown"))?;
    let mut way = Way::default();
    for row in rows {
        let name = row.get("operator").and_then(Value::as_str).ok_or_else(|| missing(of, "breakdown.operator"))?;
        let cycles = row.get("cycles").and_then(Value::as_f64).ok_or_else(|| missing(of, "breakdown.cycles"))?;
        add(&mut way.operators, name, cycles / clock * 1e-3);
        for (cause, cycles) in row.get("causes").and_then(Value::as_object).into_iter().flatten() {
            add(&mut way.causes, cause, cycles.as_f64().unwrap_or(0.0) / clock * 1e-3);
        }
    }
    Ok(way)
}

fn add(to: &mut Vec<(String, f64)>, name: &str, time: f64) {
    match to.iter_mut().find(|(known, _)| known == name) {
        Some((_, sum)) => *sum += time,
        None => to.push((name.to_owned(), time)),
    }
}

/// All names of both: those of the first in its order, then those that the second alone has.
fn beside(a: &[(String, f64)], b: &[(String, f64)]) -> Vec<Part> {
    let of = |times: &[(String, f64)], name: &str| {
        times.iter().find(|(known, _)| known == name).map_or(0.0, |(_, time)| *time)
    };
    let only_b = b.iter().filter(|(name, _)| a.iter().all(|(known, _)| known != name));
    let names = a.iter().chain(only_b).map(|(name, _)| name);
    names
        .map(|name| {
            let (a_us, b_us) = (of(a, name), of(b, name));
            Part { name: name.clone(), a_us, b_us, change_us: b_us - a_us }
        })
        .collect()
}

fn differences(path: &str, a: &Value, b: &Value, found: &mut Vec<Assumption>) {
    if a == b {
        return;
    }
    let (Value::Object(of_a), Value::Object(of_b)) = (a, b) else {
        found.push(Assumption { path: path.to_owned(), a: a.clone(), b: b.clone() });
        return;
    };
    let only_b = of_b.keys().filter(|key| !of_a.contains_key(*key));
    for key in of_a.keys().chain(only_b) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let of = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
        differences(&path, &of(of_a), &of(of_b), found);
    }
}

/// Least change of an operator that has a row of its own, in microseconds.
const WORTH_A_ROW: f64 = 0.05;

/// For people.
pub fn text(compared: &Comparison) -> String {
    let Comparison { a, b, figures, operators, causes, assumptions } = compared;
    let speed = figures.first().map_or_else(String::new, |speed| {
        format!(
            "{} tok/s for each user against {}, {}",
            figure(speed.b),
            figure(speed.a),
            percent(speed.change_percent)
        )
    });
    let mut page = wrapped("", &format!("A is {a}, B is {b}: {speed}."));
    page.push_str(&heading("Figures"));
    let mut grid = Grid::new([("", Side::Left), ("A", Side::Right), ("B", Side::Right), ("change", Side::Right)]);
    for one in figures {
        // Wafers and users are counted.
        let said = |value: f64| {
            if one.key.contains("_per_") || one.key.contains("time_") { figure(value) } else { whole(value as u64) }
        };
        grid.row([one.key.clone(), said(one.a), said(one.b), percent(one.change_percent)]);
    }
    page.push_str(&grid.text());
    page.push_str(&heading("What was asked differently"));
    if assumptions.is_empty() {
        page.push_str("  nothing\n");
    } else {
        let mut grid = Grid::new([("setting", Side::Left), ("A", Side::Right), ("B", Side::Right)]);
        for one in assumptions {
            grid.row([one.path.clone(), shown(&one.a), shown(&one.b)]);
        }
        page.push_str(&grid.text());
    }
    page.push_str(&heading("One token's way by cause, us"));
    page.push_str(&parts("cause", causes).text());
    page.push_str(&heading("One token's way by operator, us"));
    page.push_str(&parts("operator", operators).text());
    page
}

fn parts(title: &str, all: &[Part]) -> Grid {
    let mut grid = Grid::new([(title, Side::Left), ("A", Side::Right), ("B", Side::Right), ("change", Side::Right)]);
    let row = |name: String, a: f64, b: f64| [name, format!("{a:.1}"), format!("{b:.1}"), signed(b - a)];
    let (shown, others): (Vec<&Part>, Vec<&Part>) = all.iter().partition(|part| part.change_us.abs() >= WORTH_A_ROW);
    for part in shown {
        grid.row(row(part.name.clone(), part.a_us, part.b_us));
    }
    let sum = |parts: &[&Part], of: fn(&Part) -> f64| parts.iter().map(|part| of(part)).sum::<f64>();
    if !others.is_empty() {
        let name = format!("{} that do not change", others.len());
        grid.row(row(name, sum(&others, |part| part.a_us), sum(&others, |part| part.b_us)));
    }
    let all: Vec<&Part> = all.iter().collect();
    grid.row(row("one pass".into(), sum(&all, |part| part.a_us), sum(&all, |part| part.b_us)));
    grid
}

/// For programs.
///
/// # Errors
/// None that a comparison can cause.
pub fn json(compared: &Comparison) -> Result<String, ReportError> {
    pretty(compared)
}

fn percent(change: Option<f64>) -> String {
    match change {
        None => NOTHING.into(),
        Some(change) if change.abs() < 0.05 => "0 %".into(),
        Some(change) => format!("{change:+.1} %"),
    }
}

fn signed(change: f64) -> String {
    if change.abs() < 0.05 { "0.0".into() } else { format!("{change:+.1}") }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => NOTHING.into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(speed: f64, clock: f64, rows: Value, scenario: Value) -> Answered {
        let mut answer = json!({ "scenario": scenario, "verdict": { "clock_ghz": clock }, "breakdown": rows });
        for key in FIGURES {
            answer[*key] = json!(speed);
        }
        Answered { name: "x".into(), answer }
    }

    #[test]
    fn changes_add_up() {
        let other = json!({ "operator": "b", "cycles": 1000.0, "causes": { "hops": 400.0, "compute": 600.0 } });
        let rows = |cycles: f64| {
            let first = json!({ "operator": "a", "cycles": cycles, "causes": { "hops": cycles } });
            json!([first, other])
        };
        let a = answered(100.0, 1.0, rows(1000.0), json!({ "users": 1, "p": { "w": "fp8" } }));
        let b = answered(150.0, 2.0, rows(3000.0), json!({ "users": 1, "p": { "w": "fp4" } }));
        let compared = Comparison::of(&a, &b).unwrap();
        assert_eq!(compared.figures[0].change_percent, Some(50.0));
        let times: Vec<_> = compared.operators.iter().map(|part| (part.name.as_str(), part.a_us, part.b_us)).collect();
        assert_eq!(times, [("a", 1.0, 1.5), ("b", 1.0, 0.5)]);
        let sum = |parts: &[Part]| parts.iter().map(|part| part.change_us).sum::<f64>();
        assert!((sum(&compared.operators) - sum(&compared.causes)).abs() < 1e-12);
        assert_eq!(compared.assumptions.len(), 1);
        assert_eq!(compared.assumptions[0].path, "p.w");
        assert!(text(&compared).contains("p.w"), "{}", text(&compared));
        let wafer = |latency: f64| json!({ "wafer_overrides": [["link.latency", latency]] });
        let compared =
            Comparison::of(&answered(1.0, 1.0, rows(1.0), wafer(1.0)), &answered(1.0, 1.0, rows(1.0), wafer(2.0)));
        assert_eq!(compared.unwrap().assumptions[0].path, "wafer.link.latency");
    }

    #[test]
    fn an_answer_differs_from_itself_in_nothing() {
        let a = answered(3.0, 1.1, json!([{ "operator": "a", "cycles": 5.0, "causes": {} }]), json!({ "users": 1 }));
        let compared = Comparison::of(&a, &a).unwrap();
        assert!(compared.assumptions.is_empty() && compared.operators.iter().all(|part| part.change_us == 0.0));
        let no_answer = Answered { name: "b.json".into(), answer: json!({ "rows": [] }) };
        let said = Comparison::of(&a, &no_answer).unwrap_err().to_string();
        assert!(said.starts_with("b.json: is no answer, it has no 'tokens_per_second_per_user'"), "{said}");
    }
}
