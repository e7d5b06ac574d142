//! Which parameters are varied, over which values.

use serde::Serialize;
use wafersim_spec::error::nearest_name;
use wafersim_spec::scenario::{Acceptance, ExpertPlacement, Profile, RoutingModel, Speculation, WaferCount};
use wafersim_spec::wafer::{Declaration, Key, TIMED};
use wafersim_spec::{DataType, Scenario, SpecError};

use super::pricing::Pricing;
use super::{Asked, Value};
use crate::error::DecideError;

/// Which way levers are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// To what is faster, until the target is reached.
    Reach,
    /// To what is slower, until the target is lost.
    Lose,
}

/// A setting of a scenario that is varied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    Users,
    Context,
    Wafers,
    Weights,
    KvCache,
    Activations,
    DraftLength,
    Acceptance,
    DraftCost,
    Routing,
    Placement,
    Profile,
    Mapping,
    Clock,
}

const SETTINGS: [(Setting, &str); 14] = [
    (Setting::Users, "users"),
    (Setting::Context, "context"),
    (Setting::Wafers, "wafers"),
    (Setting::Weights, "precision.weights"),
    (Setting::KvCache, "precision.kv_cache"),
    (Setting::Activations, "precision.activations"),
    (Setting::DraftLength, "speculation.draft_length"),
    (Setting::Acceptance, "speculation.acceptance"),
    (Setting::DraftCost, "speculation.draft_cost"),
    (Setting::Routing, "routing"),
    (Setting::Placement, "placement"),
    (Setting::Profile, "profile"),
    (Setting::Mapping, "mapping"),
    (Setting::Clock, "clock_ghz"),
];

/// What a lever moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum What {
    /// A parameter of the wafer that is read again with programs as they are.
    Rate(&'static Declaration),
    /// A parameter of the wafer that placement or programs depend on.
    Machine(&'static Declaration),
    /// A setting of the scenario.
    Setting(Setting),
}

/// The values that are tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Every number from the current one to another.
    Real { from: f64, to: f64 },
    /// Every whole number.
    Whole { from: u64, to: u64 },
    /// One after the other, the mildest first, each with how far it is in octaves.
    Each(Vec<(Value, Option<f64>)>),
}

/// A parameter, and the values that are tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) path: String,
    pub(super) what: What,
    pub(super) current: Value,
    pub(super) values: Values,
    /// Settings that go with it.
    pub(super) with: Vec<(Setting, &'static str, Value)>,
}

/// Largest draft that is tried.
const LONGEST_DRAFT: u64 = 7;
/// Draft that acceptance is asked for where there is none: EAGLE-3's usual three tokens.
const USUAL_DRAFT: u64 = 3;
/// By how much users and contexts grow at most, to see where a target is lost.
const MOST_GROWTH: u64 = 64;

/// The paths of all levers.
pub fn paths() -> Vec<String> {
    let of_wafer = TIMED.iter().filter(|declared| what_of(declared).is_some());
    let settings = SETTINGS.iter().map(|(_, path)| (*path).to_owned());
    settings.chain(of_wafer.map(|declared| format!("wafer.{}", declared.path))).collect()
}

/// Other shapes of the mesh are other machines, on which nothing that was found is a mapping.
fn what_of(declared: &'static Declaration) -> Option<What> {
    match declared.key {
        Key::Columns | Key::Rows | Key::UsableColumns | Key::UsableRows | Key::MemoryBytes => None,
        Key::FreeBytes | Key::Colors | Key::InputQueue | Key::Lanes16 | Key::Lanes32 => Some(What::Machine(declared)),
        _ => Some(What::Rate(declared)),
    }
}

/// The levers that are asked for.
pub(super) fn chosen(pricing: &Pricing, side: Side, asked: &Asked) -> Result<Vec<Candidate>, DecideError> {
    let known = paths();
    let is_of = |path: &str, wanted: &str| {
        path == wanted || path.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'))
    };
    for wanted in asked.vary.iter().chain(&asked.fix) {
        if !known.iter().any(|path| is_of(path, wanted)) {
            let nearest = nearest_name(wanted, known.iter().map(String::as_str));
            let allowed = "a path of `simctl settings` that moves times, or its beginning (wafer.link)".into();
            let unknown = SpecError::UnknownName { kind: "lever", name: wanted.clone(), nearest, allowed };
            return Err(unknown.into());
        }
    }
    let mut all = all(pricing, side)?;
    all.retain(|candidate| {
        let is_varied = asked.vary.is_empty() || asked.vary.iter().any(|wanted| is_of(&candidate.path, wanted));
        is_varied && !asked.fix.iter().any(|wanted| is_of(&candidate.path, wanted))
    });
    Ok(all)
}

fn all(pricing: &Pricing, side: Side) -> Result<Vec<Candidate>, DecideError> {
    let settings = SETTINGS.iter().filter_map(|(setting, path)| of_setting(pricing, side, *setting, path));
    let has_own_clock = pricing.base.scenario.clock_ghz.is_some();
    let of_wafer = TIMED.iter().filter(|declared| !(has_own_clock && declared.key == Key::ClockGigahertz));
    let of_wafer = of_wafer.filter_map(|declared| of_parameter(pricing, side, declared));
    Ok(settings.chain(of_wafer).collect())
}

fn of_parameter(pricing: &Pricing, side: Side, declared: &'static Declaration) -> Option<Candidate> {
    let what = what_of(declared)?;
    let from = pricing.base.wafer.figure(declared.key).value;
    let grows = (declared.is_faster_when_larger() || matches!(what, What::Machine(_))) == (side == Side::Reach);
    let to = match declared.key {
        Key::FreeBytes if grows => pricing.base.wafer.memory_bytes().0 as f64,
        _ if grows => declared.largest,
        _ => declared.smallest,
    };
    let (current, values) = match what {
        What::Machine(_) => {
            let current = Value::Whole(from as u64);
            // Doubled or halved again and again: what depends on it comes in steps.
            let steps = (1..=6).map(|step| from * 2_f64.powi(if grows { step } else { -step }));
            let last = |value: &f64| if grows { *value <= to } else { *value >= to };
            let mut each: Vec<f64> = steps.take_while(last).map(f64::floor).collect();
            if declared.key == Key::FreeBytes && each.is_empty() {
                each.push(to);
            }
            let each = each.into_iter().filter(|value| *value != from);
            (current, Values::Each(each.map(|value| (Value::Whole(value as u64), octaves(from, value))).collect()))
        }
        _ => (Value::Real(from), Values::Real { from, to }),
    };
    let is_empty = matches!(&values, Values::Each(each) if each.is_empty());
    let path = format!("wafer.{}", declared.path);
    (!is_empty && from != to).then_some(Candidate { path, what, current, values, with: Vec::new() })
}

/// How far two numbers are from each other; nothing where one of them is 0 or below.
pub(super) fn octaves(from: f64, to: f64) -> Option<f64> {
    (from > 0.0 && to > 0.0).then(|| (to / from).log2().abs())
}

fn of_setting(pricing: &Pricing, side: Side, setting: Setting, path: &str) -> Option<Candidate> {
    let scenario = &pricing.base.scenario;
    let reach = side == Side::Reach;
    let word = |word: &str| Value::Word(word.to_owned());
    let counted = |from: u64, least: u64, most: u64| {
        let to = if reach { least } else { most };
        (from != to).then_some((Value::Whole(from), Values::Whole { from, to }))
    };
    let mut with = Vec::new();
    let speculation = &scenario.speculation;
    let has_drafts = speculation.draft_length > 0;
    let (current, values) = match setting {
        Setting::Users => counted(scenario.users, 1, scenario.users.saturating_mul(MOST_GROWTH))?,
        Setting::Context => {
            let most = pricing.base.model.max_positions.max(scenario.context);
            counted(scenario.context, 1, most.min(scenario.context.saturating_mul(MOST_GROWTH)))?
        }
        Setting::Wafers => {
            let now = pricing.wafers;
            let others = pricing.considered.iter().map(|considered| considered.wafers);
            let others = others.filter(|wafers| if reach { *wafers > now } else { *wafers < now });
            let mut each: Vec<u32> = others.collect();
            if !reach {
                each.reverse();
            }
            let far = |wafers: u32| octaves(f64::from(now), f64::from(wafers));
            let each = each.into_iter().map(|wafers| (Value::Whole(u64::from(wafers)), far(wafers))).collect();
            (Value::Whole(u64::from(now)), Values::Each(each))
        }
        Setting::Weights => data_types(scenario.precision.weights, side, false),
        Setting::KvCache => data_types(scenario.precision.kv_cache, side, false),
        Setting::Activations => data_types(scenario.precision.activations, side, true),
        Setting::DraftLength => {
            let lengths: Vec<u64> = if reach {
                (u64::from(speculation.draft_length) + 1..=LONGEST_DRAFT).collect()
            } else {
                (0..u64::from(speculation.draft_length)).rev().collect()
            };
            let tokens = |length: u64| {
                let draft_length = u32::try_from(length).unwrap_or(0);
                Speculation { draft_length, ..speculation.clone() }.tokens_per_step()
            };
            let now = speculation.tokens_per_step();
            let each = lengths.into_iter().map(|length| (Value::Whole(length), octaves(now, tokens(length))));
            (Value::Whole(u64::from(speculation.draft_length)), Values::Each(each.collect()))
        }
        Setting::Acceptance => {
            if !has_drafts {
                with.push((Setting::DraftLength, "speculation.draft_length", Value::Whole(USUAL_DRAFT)));
            }
            let from = match speculation.acceptance {
                Acceptance::Constant(value) => value,
                _ => speculation.positions().first().copied()?,
            };
            let to = if reach { 1.0 } else { 0.0 };
            (from != to && (reach || has_drafts)).then_some((Value::Real(from), Values::Real { from, to }))?
        }
        Setting::DraftCost => {
            let from = speculation.cost().filter(|_| has_drafts)?;
            let to = if reach { 0.0 } else { 1.0 };
            (from != to).then_some((Value::Real(from), Values::Real { from, to }))?
        }
        Setting::Routing => {
            let others = RoutingModel::ALL.iter().filter(|other| **other != scenario.routing);
            (word(scenario.routing.name()), each_word(others.map(|other| other.name())))
        }
        Setting::Placement => {
            let others = ExpertPlacement::ALL.iter().filter(|other| **other != scenario.placement);
            (word(scenario.placement.name()), each_word(others.map(|other| other.name())))
        }
        Setting::Profile => {
            let others = Profile::ALL.iter().copied();
            let others =
                others.filter(|other| if reach { *other > scenario.profile } else { *other < scenario.profile });
            let mut others: Vec<&str> = others.map(Profile::name).collect();
            if !reach {
                others.reverse();
            }
            (word(scenario.profile.name()), each_word(others.into_iter()))
        }
        Setting::Mapping => {
            let now = pricing.base.mapping.as_ref().map_or("found", |mapping| mapping.name());
            let builtin = wafersim_mapping::builtin::names().filter(|name| *name != now);
            (word(now), each_word(builtin))
        }
        Setting::Clock => {
            let declared = &TIMED[Key::ClockGigahertz as usize];
            let from = scenario.clock_ghz?;
            let to = if reach { declared.largest } else { declared.smallest };
            (Value::Real(from), Values::Real { from, to })
        }
    };
    let is_empty = matches!(&values, Values::Each(each) if each.is_empty());
    (!is_empty).then(|| Candidate { path: path.into(), what: What::Setting(setting), current, values, with })
}

fn each_word<'a>(words: impl Iterator<Item = &'a str>) -> Values {
    Values::Each(words.map(|word| (Value::Word(word.to_owned()), None)).collect())
}

/// Data types of fewer bits, or of more; the mildest first.
fn data_types(now: DataType, side: Side, arithmetic: bool) -> (Value, Values) {
    let far = |other: DataType| (other.bits() as f64 / now.bits() as f64).log2();
    let others = DataType::ALL.into_iter().filter(|other| !arithmetic || other.is_arithmetic());
    let others = others.filter(|other| if side == Side::Reach { far(*other) < 0.0 } else { far(*other) > 0.0 });
    let mut others: Vec<DataType> = others.collect();
    // A stable sort: of equally many bits the one that is named first.
    others.sort_by(|one, other| far(*one).abs().total_cmp(&far(*other).abs()));
    others.dedup_by_key(|other| other.bits());
    let each = others.into_iter().map(|other| (Value::Word(other.name().into()), Some(far(other).abs())));
    (Value::Word(now.name().into()), Values::Each(each.collect()))
}

impl Setting {
    /// Puts a value into a scenario; nothing where it is none of the setting's.
    pub(super) fn apply(self, scenario: &mut Scenario, value: &Value) -> Option<()> {
        fn word<T: std::str::FromStr>(value: &Value) -> Option<T> {
            match value {
                Value::Word(word) => word.parse().ok(),
                _ => None,
            }
        }
        let whole = |value: &Value| value.number().map(|number| number as u64);
        match self {
            Self::Users => scenario.users = whole(value)?,
            Self::Context => (scenario.context, scenario.default_context) = (whole(value)?, false),
            Self::Wafers => scenario.wafers = WaferCount::Exactly(u32::try_from(whole(value)?).ok()?),
            Self::Weights => scenario.precision.weights = word(value)?,
            Self::KvCache => scenario.precision.kv_cache = word(value)?,
            Self::Activations => scenario.precision.activations = word(value)?,
            Self::DraftLength => scenario.speculation.draft_length = u32::try_from(whole(value)?).ok()?,
            Self::Acceptance => {
                scenario.speculation.acceptance = Acceptance::Constant(value.number()?);
                scenario.speculation.accepted_length = None;
            }
            Self::DraftCost => scenario.speculation.draft_cost = Some(value.number()?),
            Self::Routing => scenario.routing = word(value)?,
            Self::Placement => (scenario.placement, scenario.default_placement) = (word(value)?, false),
            Self::Profile => scenario.profile = word(value)?,
            Self::Clock => scenario.clock_ghz = Some(value.number()?),
            Self::Mapping => {}
        }
        Some(())
    }
}
