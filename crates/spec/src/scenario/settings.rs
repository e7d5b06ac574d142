//! Every setting of a scenario, declared once: path, kind with its range, meaning; and setting one from text.

use std::borrow::Cow;
use std::str::FromStr;

use super::{
    Acceptance, ExpertPlacement, PrefillPlace, Profile, RoutingModel, ScenarioFile, Speculation, Verification,
    WaferCount,
};
use crate::error::{SpecError, nearest_name};
use crate::wafer::{DECLARATIONS, Declaration};

/// What a setting can be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A built-in name or a path.
    Name,
    /// `auto`, `fewest` or a number of wafers.
    Wafers,
    /// One of some words.
    Choice(&'static [&'static str]),
    /// A whole number between two, both included.
    Whole(u64, u64),
    /// A number between two, both included.
    Real(f64, f64),
    /// A probability, one for each position of a draft, or the name of measured ones.
    Acceptance,
}

/// A setting of a scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Path in the scenario file and in `--set path=value`.
    pub path: &'static str,
    /// What it can be.
    pub kind: Kind,
    /// What it means.
    pub meaning: &'static str,
}

const DATA_TYPES: &[&str] =
    &["fp32", "fp16", "bf16", "fp8", "int8", "fp4", "nvfp4", "int4", "int4-g64", "int4-g32", "mxfp4"];
const ARITHMETIC_TYPES: &[&str] = &["fp32", "fp16", "bf16"];
const MOST_USERS: u64 = 1_000_000;
const LONGEST_CONTEXT: u64 = 16_777_216;
/// Smallest target: one token in about 32 years. "Above 0" in words.
const SMALLEST_TARGET: f64 = 1e-9;
/// Tokens of a step with the longest draft.
const LONGEST_STEP: f64 = Speculation::LONGEST_DRAFT as f64 + 1.0;

macro_rules! settings {
    ($($path:literal, $kind:expr, $meaning:literal;)*) => {
        /// All settings, in the order of the reference.
        pub const SETTINGS: &[Setting] = &[$(Setting { path: $path, kind: $kind, meaning: $meaning },)*];
    };
}

settings! {
    "model", Kind::Name, "Built-in model, or path of a config.json.";
    "wafer", Kind::Name, "Built-in wafer, or path of a wafer file.";
    "wafers", Kind::Wafers, "Wafers to use; auto: the fewest that reach the target, or that more are not worth; fewest: that hold it.";
    "users", Kind::Whole(1, MOST_USERS), "Users served at the same time, each with one token in flight.";
    "context", Kind::Whole(1, LONGEST_CONTEXT), "Tokens in each user's KV cache while decoding.";
    "prompt", Kind::Whole(1, LONGEST_CONTEXT), "Tokens of the prompt; the context where left out.";
    "profile", Kind::Choice(Profile::NAMES), "Which programs and rates the verdict is for.";
    "placement", Kind::Choice(ExpertPlacement::NAMES), "Where the routed experts live.";
    "routing", Kind::Choice(RoutingModel::NAMES), "How tokens choose experts.";
    "target", Kind::Real(SMALLEST_TARGET, 1e9), "Tokens per second that each user should get.";
    "clock_ghz", Kind::Real(0.01, 100.0), "Clock in GHz; the wafer's nominal one where left out.";
    "precision.weights", Kind::Choice(DATA_TYPES), "Data type of matrices.";
    "precision.small_weights", Kind::Choice(DATA_TYPES), "Data type of norms, biases and router.";
    "precision.kv_cache", Kind::Choice(DATA_TYPES), "Data type of keys and values of past tokens.";
    "precision.activations", Kind::Choice(ARITHMETIC_TYPES), "Data type of what flows between operators.";
    "precision.attention", Kind::Choice(DATA_TYPES), "Data type of the attention's matrices; else as the checkpoint has them, or as weights.";
    "precision.dense", Kind::Choice(DATA_TYPES), "Data type of dense networks; likewise.";
    "precision.experts", Kind::Choice(DATA_TYPES), "Data type of routed experts; likewise.";
    "precision.shared_experts", Kind::Choice(DATA_TYPES), "Data type of shared experts; likewise.";
    "precision.router", Kind::Choice(ARITHMETIC_TYPES), "Data type of the router; else as small weights.";
    "precision.embedding", Kind::Choice(DATA_TYPES), "Data type of the embedding table; as of the attention.";
    "precision.head", Kind::Choice(DATA_TYPES), "Data type of the LM head; likewise.";
    "speculation.draft_length", Kind::Whole(0, Speculation::LONGEST_DRAFT), "Tokens proposed per step; 0 is no speculation.";
    "speculation.acceptance", Kind::Acceptance, "Probability that a proposed token is accepted, given that all before it were.";
    "speculation.accepted_length", Kind::Real(1.0, LONGEST_STEP), "Mean tokens of a step, the model's own included; in place of acceptance.";
    "speculation.draft_cost", Kind::Real(0.0, 1.0), "Time to propose a token, as a fraction of the model's own.";
    "speculation.draft_model", Kind::Name, "Model that drafts, placed beside the model: as model, or mtp for the checkpoint's own.";
    "speculation.verification", Kind::Choice(Verification::NAMES), "How a draft is verified.";
    "prefill.where", Kind::Choice(PrefillPlace::NAMES), "Where prompts are computed: by the wafers that decode, by other wafers of the same kind, by something else.";
    "prefill.wafers", Kind::Whole(1, WaferCount::MOST as u64), "Other wafers that compute prompts; as many as decode uses where left out.";
    "prefill.bandwidth", Kind::Real(1.0, 1e18), "Bytes a second of keys and values to the wafers that decode; one wafer's links where left out.";
    "prefill.tokens_per_second", Kind::Real(0.001, 1e12), "Tokens of prompts a second that something else computes; needed then.";
}

impl Kind {
    /// What is allowed, for people.
    pub fn allowed(&self) -> String {
        match self {
            Self::Name => "a built-in name or a path".into(),
            Self::Wafers => format!("auto, fewest, or a whole number from 1 to {}", WaferCount::MOST),
            Self::Choice(names) => format!("one of {}", names.join(", ")),
            Self::Whole(smallest, largest) => format!("a whole number from {smallest} to {largest}"),
            Self::Real(smallest, largest) => format!("a number from {smallest} to {largest}"),
            Self::Acceptance => Acceptance::allowed(),
        }
    }

    fn allows_whole(&self, number: u64) -> bool {
        matches!(self, Self::Whole(smallest, largest) if (*smallest..=*largest).contains(&number))
    }

    fn allows_real(&self, number: f64) -> bool {
        matches!(self, Self::Real(smallest, largest) if (*smallest..=*largest).contains(&number))
    }

    fn allows_word(&self, word: &str) -> bool {
        match self {
            Self::Name => !word.trim().is_empty(),
            Self::Wafers => word.parse::<WaferCount>().is_ok(),
            Self::Choice(names) => names.contains(&word),
            Self::Whole(..) => word.parse().is_ok_and(|number| self.allows_whole(number)),
            Self::Real(..) => word.parse().is_ok_and(|number| self.allows_real(number)),
            Self::Acceptance => word.parse::<Acceptance>().is_ok_and(|acceptance| acceptance.is_allowed()),
        }
    }
}

/// A value of a scenario file as its kind sees it.
pub(super) enum Given<'a> {
    Word(&'a str),
    Whole(u64),
    Real(f64),
    Acceptance(&'a Acceptance),
}

/// Refuses a value that the setting's declaration does not allow.
pub(super) fn check(file: &str, path: &'static str, given: Given<'_>) -> Result<(), SpecError> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.path == path) else { return Ok(()) };
    let (is_allowed, text) = match given {
        Given::Word(word) => (setting.kind.allows_word(word), format!("'{word}'")),
        Given::Whole(number) => (setting.kind.allows_whole(number), number.to_string()),
        Given::Real(number) => (setting.kind.allows_real(number), number.to_string()),
        Given::Acceptance(acceptance) => (acceptance.is_allowed(), acceptance.to_string()),
    };
    if is_allowed { Ok(()) } else { Err(refused(file, path, &text, setting.kind.allowed())) }
}

fn refused(file: &str, path: &str, text: &str, allowed: String) -> SpecError {
    SpecError::Field { file: file.into(), field: path.into(), problem: format!("is {text}"), allowed }
}

/// A value that is not allowed; with its new name, if it is the word of an earlier version.
fn shown(path: &str, value: &str) -> String {
    let renamed = Profile::RENAMED.iter().find(|(old, _)| path == "profile" && *old == value);
    renamed.map_or_else(|| format!("'{value}'"), |(_, new)| format!("'{value}', which is called '{new}' now"))
}

/// The name of the command line in messages.
const COMMAND_LINE: &str = "--set";

impl ScenarioFile {
    /// Sets one setting from text, as `--set path=value` does; whole numbers may have a suffix (`32k`). `path` is one of [`SETTINGS`], or `wafer.` and the path
    /// of a wafer parameter.
    ///
    /// # Errors
    /// Where the path does not exist (the nearest is suggested) or the value is not allowed; nothing is changed then.
    pub fn set(&mut self, path: &str, value: &str) -> Result<(), SpecError> {
        let parameter = path.strip_prefix("wafer.");
        if let Some(declaration) = parameter.and_then(|rest| DECLARATIONS.iter().find(|known| known.path == rest)) {
            let number = parameter_value(declaration, value).map_err(|problem| SpecError::Field {
                file: COMMAND_LINE.into(),
                field: path.into(),
                problem,
                allowed: declaration.allowed(),
            })?;
            self.wafer_parameters.set(declaration.path, number);
            return Ok(());
        }
        let setting = SETTINGS.iter().find(|setting| setting.path == path).ok_or_else(|| unknown(path))?;
        let written_out = if matches!(setting.kind, Kind::Whole(..)) { without_suffix(value) } else { value.into() };
        let value = written_out.as_ref();
        let assigned = if setting.kind.allows_word(value) { self.assign(setting.path, value) } else { None };
        assigned.ok_or_else(|| refused(COMMAND_LINE, path, &shown(path, value), setting.kind.allowed()))
    }

    /// Puts the value into its field; nothing where it is no value of the field.
    fn assign(&mut self, path: &'static str, value: &str) -> Option<()> {
        fn put<T: FromStr>(field: &mut Option<T>, value: &str) -> Option<()> {
            *field = Some(value.parse().ok()?);
            Some(())
        }
        match path {
            "model" => put(&mut self.model, value),
            "wafer" => put(&mut self.wafer, value),
            "wafers" => put(&mut self.wafers, value),
            "users" => put(&mut self.users, value),
            "context" => put(&mut self.context, value),
            "prompt" => put(&mut self.prompt, value),
            "profile" => put(&mut self.profile, value),
            "placement" => put(&mut self.placement, value),
            "routing" => put(&mut self.routing, value),
            "target" => put(&mut self.target, value),
            "clock_ghz" => put(&mut self.clock_ghz, value),
            "precision.weights" => put(&mut self.precision.weights, value),
            "precision.small_weights" => put(&mut self.precision.small_weights, value),
            "precision.kv_cache" => put(&mut self.precision.kv_cache, value),
            "precision.activations" => put(&mut self.precision.activations, value),
            "precision.attention" => put(&mut self.precision.attention, value),
            "precision.dense" => put(&mut self.precision.dense, value),
            "precision.experts" => put(&mut self.precision.experts, value),
            "precision.shared_experts" => put(&mut self.precision.shared_experts, value),
            "precision.router" => put(&mut self.precision.router, value),
            "precision.embedding" => put(&mut self.precision.embedding, value),
            "precision.head" => put(&mut self.precision.head, value),
            "speculation.draft_length" => put(&mut self.speculation.draft_length, value),
            "speculation.acceptance" => put(&mut self.speculation.acceptance, value),
            "speculation.accepted_length" => put(&mut self.speculation.accepted_length, value),
            "speculation.draft_model" => put(&mut self.speculation.draft_model, value),
            "speculation.verification" => put(&mut self.speculation.verification, value),
            "speculation.draft_cost" => put(&mut self.speculation.draft_cost, value),
            "prefill.where" => put(&mut self.prefill.place, value),
            "prefill.wafers" => put(&mut self.prefill.wafers, value),
            "prefill.bandwidth" => put(&mut self.prefill.bandwidth, value),
            "prefill.tokens_per_second" => put(&mut self.prefill.tokens_per_second, value),
            _ => None,
        }
    }
}

fn parameter_value(declaration: &Declaration, value: &str) -> Result<f64, String> {
    let number = value.parse().map_err(|_| format!("'{value}' is not a number"))?;
    declaration.check(number).map(|()| number)
}

/// A path without its first part (`weights`, `hop_latency`) suggests the whole one; else the nearest in spelling.
fn unknown(path: &str) -> SpecError {
    let wafer_paths: Vec<String> = DECLARATIONS.iter().map(|declared| format!("wafer.{}", declared.path)).collect();
    let own_paths: Vec<&str> = SETTINGS.iter().map(|setting| setting.path).collect();
    let candidates = || own_paths.iter().copied().chain(wafer_paths.iter().map(String::as_str));
    let is_end_of = |candidate: &str| candidate.strip_suffix(path).is_some_and(|start| start.ends_with('.'));
    let longer = candidates().find(|candidate| is_end_of(candidate)).map(str::to_owned);
    SpecError::UnknownName {
        kind: "setting",
        name: path.into(),
        nearest: longer.or_else(|| nearest_name(path, candidates())),
        allowed: format!("allowed are {}, and wafer.<parameter of the wafer file>", own_paths.join(", ")),
    }
}

/// A whole number with its suffix written out: `32k` is 32768, `1m` is 1048576. What has none, or is no such number,
/// stays as it is.
pub fn without_suffix(text: &str) -> Cow<'_, str> {
    let scaled = |digits: &str, scale: u64| digits.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
    let number = if let Some(digits) = text.strip_suffix(['k', 'K']) {
        scaled(digits, 1 << 10)
    } else if let Some(digits) = text.strip_suffix(['m', 'M']) {
        scaled(digits, 1 << 20)
    } else {
        None
    };
    number.map_or(Cow::Borrowed(text), |number| Cow::Owned(number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::{PrecisionFile, PrefillFile, Scenario};
    use super::*;

    #[test]
    fn suffixes_are_binary() {
        for (text, expected) in [
            ("32k", "32768"),
            ("128K", "131072"),
            ("1m", "1048576"),
            ("5", "5"),
            ("k", "k"),
            ("-1k", "-1k"),
            ("1.5k", "1.5k"),
            ("99999999999999999m", "99999999999999999m"),
            ("", ""),
        ] {
            assert_eq!(without_suffix(text), expected, "{text}");
        }
    }
    use crate::data_type::DataType;

    /// A value that is allowed, and one that is not.
    fn examples(kind: &Kind) -> (String, String) {
        match kind {
            Kind::Name => ("x.json".into(), " ".into()),
            Kind::Wafers => ("3".into(), "0".into()),
            Kind::Choice(names) => (names[names.len() - 1].into(), "nothing".into()),
            Kind::Whole(smallest, largest) => (smallest.to_string(), (largest + 1).to_string()),
            Kind::Real(_, largest) => (largest.to_string(), "NaN".into()),
            Kind::Acceptance => ("0.9,0.8".into(), "0.9,1.1".into()),
        }
    }

    #[test]
    fn every_setting_can_be_set_and_refuses_what_is_not_allowed() {
        for setting in SETTINGS {
            let (good, bad) = examples(&setting.kind);
            let mut file = ScenarioFile::default();
            let error = file.set(setting.path, &bad).unwrap_err();
            assert_eq!(file, ScenarioFile::default(), "{}", setting.path);
            assert!(error.to_string().contains(&setting.kind.allowed()), "{error}");
            file.set(setting.path, &good).unwrap();
            assert_ne!(file, ScenarioFile::default(), "{}", setting.path);
            // An accepted length is one of a draft.
            file.speculation.draft_length =
                file.speculation.draft_length.or(file.speculation.accepted_length.map(|_| 64));
            // What is said of another place needs the place, and one that is no wafer its rate.
            if file.prefill != PrefillFile::default() {
                let rate = file.prefill.tokens_per_second;
                let place = if rate.is_some() { PrefillPlace::External } else { PrefillPlace::OtherWafers };
                let place = file.prefill.place.get_or_insert(place);
                let needs_rate = *place == PrefillPlace::External;
                file.prefill.tokens_per_second = rate.or(needs_rate.then_some(1000.0));
            }
            file.check("--set").unwrap();
        }
    }

    /// The declaration and the file have the same paths.
    #[test]
    fn every_field_of_the_file_is_declared() {
        let mut file = ScenarioFile::default();
        for setting in SETTINGS {
            file.set(setting.path, &examples(&setting.kind).0).unwrap();
        }
        let mut written = Vec::new();
        for (key, value) in serde_json::to_value(&file).unwrap().as_object().unwrap() {
            match value.as_object() {
                Some(table) => written.extend(table.keys().map(|inner| format!("{key}.{inner}"))),
                None => written.push(key.clone()),
            }
        }
        assert_eq!(written, SETTINGS.iter().map(|setting| setting.path).collect::<Vec<_>>());
        // All fields are given: with a new one, this does not compile.
        let ScenarioFile {
            model: Some(_),
            wafer: Some(_),
            wafers: Some(_),
            users: Some(_),
            context: Some(_),
            prompt: Some(_),
            profile: Some(_),
            placement: Some(_),
            routing: Some(_),
            target: Some(_),
            clock_ghz: Some(_),
            precision: _,
            speculation: _,
            prefill: _,
            wafer_parameters: _,
        } = file
        else {
            panic!("a setting was not set")
        };
    }

    #[test]
    fn declared_data_types_are_all_data_types() {
        let aliases = DataType::ALIASES.iter().map(|(alias, _)| *alias);
        assert_eq!(DataType::ALL.map(DataType::name).into_iter().chain(aliases).collect::<Vec<_>>(), DATA_TYPES);
        let arithmetic = DataType::ALL.into_iter().filter(|data_type| data_type.is_arithmetic());
        assert_eq!(arithmetic.map(DataType::name).collect::<Vec<_>>(), ARITHMETIC_TYPES);
    }

    #[test]
    fn the_defaults_are_allowed() {
        let mut expected = Scenario { default_context: true, default_placement: true, ..Scenario::default() };
        expected.asked_precision = Some(PrecisionFile::default());
        expected.speculation.default_acceptance = true;
        assert_eq!(ScenarioFile::default().check("defaults"), Ok(expected));
    }
}
