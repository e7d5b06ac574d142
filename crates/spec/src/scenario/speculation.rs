//! Speculative decoding as it is asked for: how long a draft is, how often its tokens are accepted, what it costs, and
//! how it is verified.
//!
//! A step of k proposed tokens gives one token of the model's own and those of the draft that are accepted: all up to
//! the first that is not. With the acceptance `a_i` of position i, given that all before it were accepted, that is
//! `1 + a_1 + a_1 a_2 + ... + a_1 ... a_k` in the mean (Leviathan et al., ICML 2023, equation 1, where all `a_i` are
//! equal). Accepted lengths of the literature are this figure, the model's own token included.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Verification;
use crate::error::{SpecError, nearest_name};

/// Acceptance of a draft as somebody measured it.
#[derive(Debug, PartialEq)]
pub struct AcceptancePreset {
    /// Its name in `speculation.acceptance`.
    pub name: &'static str,
    /// Mean accepted length (the model's own token included) with a draft of 1, 2, ... tokens, as published.
    pub lengths: &'static [f64],
    /// The draft, the model and the text that it was measured on.
    pub measured: &'static str,
    /// Where it is written.
    pub source: &'static str,
}

/// Measured acceptance by name. Nobody has published one for a 480B model on the code of agents.
pub const ACCEPTANCE_PRESETS: &[AcceptancePreset] = &[
    AcceptancePreset {
        name: "eagle3-qwen3-8b-coding",
        lengths: &[1.81, 2.40, 2.80, 3.06, 3.22, 3.30, 3.33],
        measured: "EAGLE-3 on Qwen3-8B, coding",
        source: "github.com/vllm-project/speculators/issues/563",
    },
    AcceptancePreset {
        name: "eagle3-llama-4-maverick-coding",
        lengths: &[1.83, 2.45, 2.94, 3.26, 3.47, 3.57, 3.62],
        measured: "EAGLE-3 on Llama-4-Maverick, HumanEval",
        source: "huggingface.co/RedHatAI/Llama4-Maverick-17B-128E-Instruct-speculator.eagle3",
    },
    AcceptancePreset {
        name: "eagle3-llama-4-maverick-math",
        lengths: &[1.86, 2.56, 3.08, 3.53, 3.73, 3.91, 4.02],
        measured: "EAGLE-3 on Llama-4-Maverick, GSM8K",
        source: "huggingface.co/RedHatAI/Llama4-Maverick-17B-128E-Instruct-speculator.eagle3",
    },
    AcceptancePreset {
        name: "mtp-deepseek-v3",
        // "between 85 % and 90 % across various generation topics": the middle.
        lengths: &[1.875],
        measured: "the MTP module of DeepSeek-V3, 85 to 90 % over several topics",
        source: "arxiv.org/abs/2412.19437, section 5.4.3",
    },
];

impl AcceptancePreset {
    /// The preset of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        ACCEPTANCE_PRESETS.iter().find(|preset| preset.name == name)
    }

    /// Acceptance of each position given those before it: what a length gains over the one before, as a part of what
    /// that one gained.
    pub fn positions(&self) -> Vec<f64> {
        let gains = self.lengths.iter().scan(1.0, |before, length| {
            let gain = length - *before;
            *before = *length;
            Some(gain)
        });
        let positions = gains.scan(1.0, |before, gain| {
            let part = gain / *before;
            *before = gain;
            Some(part)
        });
        positions.collect()
    }
}

/// Probability that a proposed token is accepted, given that all before it were. Written as a number, a list of
/// numbers, or the name of a preset.
#[derive(Debug, Clone, PartialEq)]
pub enum Acceptance {
    /// The same for every position.
    Constant(f64),
    /// One for each position.
    Positions(Vec<f64>),
    /// As measured.
    Preset(&'static AcceptancePreset),
}

impl Acceptance {
    /// What is allowed, for people.
    pub fn allowed() -> String {
        let names: Vec<&str> = ACCEPTANCE_PRESETS.iter().map(|preset| preset.name).collect();
        format!("a number from 0 to 1, a list of such, or one of {}", names.join(", "))
    }

    /// Whether all its numbers are probabilities.
    pub(super) fn is_allowed(&self) -> bool {
        let is_probability = |value: &f64| (0.0..=1.0).contains(value);
        match self {
            Self::Constant(value) => is_probability(value),
            Self::Positions(values) => !values.is_empty() && values.iter().all(is_probability),
            Self::Preset(_) => true,
        }
    }

    /// Positions that it knows; nothing where it is the same for all.
    fn known(&self) -> Option<usize> {
        match self {
            Self::Constant(_) => None,
            Self::Positions(values) => Some(values.len()),
            Self::Preset(preset) => Some(preset.lengths.len()),
        }
    }

    /// The acceptance of the first `count` positions: fewer where fewer are known.
    fn first(&self, count: usize) -> Vec<f64> {
        let mut all = match self {
            Self::Constant(value) => vec![*value; count],
            Self::Positions(values) => values.clone(),
            Self::Preset(preset) => preset.positions(),
        };
        all.truncate(count);
        all
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => value.fmt(formatter),
            Self::Positions(values) => {
                let values: Vec<String> = values.iter().map(f64::to_string).collect();
                write!(formatter, "[{}]", values.join(", "))
            }
            Self::Preset(preset) => formatter.write_str(preset.name),
        }
    }
}

impl FromStr for Acceptance {
    type Err = String;

    /// As in `--set`: `0.8`, `0.81,0.73` with or without brackets, or a name.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(value) = text.parse() {
            return Ok(Self::Constant(value));
        }
        if let Some(preset) = AcceptancePreset::named(text) {
            return Ok(Self::Preset(preset));
        }
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let values: Result<Vec<f64>, _> = inner.split(',').map(|value| value.trim().parse()).collect();
        values.map(Self::Positions).map_err(|_| unknown(text))
    }
}

fn unknown(text: &str) -> String {
    let nearest = nearest_name(text, ACCEPTANCE_PRESETS.iter().map(|preset| preset.name));
    let nearest = nearest.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default();
    format!("unknown acceptance '{text}'{nearest}: allowed is {}", Acceptance::allowed())
}

impl Serialize for Acceptance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Constant(value) => serializer.serialize_f64(*value),
            Self::Positions(values) => values.serialize(serializer),
            Self::Preset(preset) => serializer.serialize_str(preset.name),
        }
    }
}

impl<'de> Deserialize<'de> for Acceptance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AcceptanceVisitor;
        impl<'de> Visitor<'de> for AcceptanceVisitor {
            type Value = Acceptance;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&Acceptance::allowed())
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Acceptance, E> {
                Ok(Acceptance::Constant(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Acceptance, E> {
                Ok(Acceptance::Constant(value as f64))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Acceptance, E> {
                Ok(Acceptance::Constant(value as f64))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Acceptance, E> {
                AcceptancePreset::named(text).map(Acceptance::Preset).ok_or_else(|| E::custom(unknown(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Acceptance, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(Acceptance::Positions(values))
            }
        }
        deserializer.deserialize_any(AcceptanceVisitor)
    }
}

/// Mean tokens of a step, the model's own included, as they were measured with several drafts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeasuredLengths {
    /// With the draft of which least is accepted.
    pub least: f64,
    /// With the draft of which most is accepted.
    pub most: f64,
}

/// Speculative decoding: a draft proposes, the model verifies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speculation {
    /// Tokens proposed per step, at most 64. 0 switches speculation off.
    pub draft_length: u32,
    /// Probability that a proposed token is accepted, given that all before it were.
    pub acceptance: Acceptance,
    /// Whether `acceptance` is the default because nothing was said; then it is not known, as that of a preset is not.
    #[serde(skip)]
    pub default_acceptance: bool,
    /// Mean tokens of a step, the model's own included, in place of `acceptance`; from 1 to `draft_length` + 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_length: Option<f64>,
    /// Time to propose one token, as a fraction of the model's own time for a token; in [0, 1]. Nothing is
    /// [`Speculation::USUAL_COST`], or what the draft model takes where one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_cost: Option<f64>,
    /// The model that drafts, whose memory is placed: a name, a path, or [`Speculation::MTP`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_model: Option<String>,
    /// How a draft is verified.
    pub verification: Verification,
}

impl Default for Speculation {
    fn default() -> Self {
        Self {
            draft_length: 0,
            acceptance: Acceptance::Constant(0.7),
            default_acceptance: false,
            accepted_length: None,
            draft_cost: None,
            draft_model: None,
            verification: Verification::Faster,
        }
    }
}

impl Speculation {
    /// The draft model of a checkpoint that brings its own: its layers for multi-token prediction.
    pub const MTP: &str = "mtp";

    /// Cost of a proposed token where neither it nor a draft model is given.
    pub const USUAL_COST: f64 = 0.05;

    /// The range of that guess: a single layer and an LM head.
    pub const LEAST_COST: f64 = 0.015;

    /// Its other end: a dense model of 8 B.
    pub const MOST_COST: f64 = 0.35;

    /// Longest draft.
    pub const LONGEST_DRAFT: u64 = 64;

    /// Accepted lengths are published with two digits: nearer than this they say the same.
    const SAME_LENGTH: f64 = 0.01;

    /// Acceptance of each position of a draft, given that all before it were accepted. Where only the accepted length
    /// is known: the one acceptance of all positions that leads to it.
    pub fn positions(&self) -> Vec<f64> {
        let count = self.draft_length as usize;
        match self.accepted_length {
            Some(length) => vec![constant_of(length, count); count],
            None => self.acceptance.first(count),
        }
    }

    /// Tokens of a step in the mean: 1 without speculation, at most `draft_length` + 1.
    pub fn tokens_per_step(&self) -> f64 {
        let most = f64::from(self.draft_length) + 1.0;
        self.accepted_length.unwrap_or_else(|| accepted_length(&self.positions())).clamp(1.0, most)
    }

    /// Mean tokens of a step at the least and at the most acceptance that was measured with drafts of this length, the
    /// assumed one included ([`ACCEPTANCE_PRESETS`]). Nothing where the user gave numbers, where there is no draft, or
    /// where it is longer than any that was measured.
    pub fn measured_lengths(&self) -> Option<MeasuredLengths> {
        let is_assumed = self.default_acceptance || matches!(self.acceptance, Acceptance::Preset(_));
        let last = (self.draft_length as usize).checked_sub(1)?;
        if !is_assumed || self.accepted_length.is_some() {
            return None;
        }
        let assumed = MeasuredLengths { least: self.tokens_per_step(), most: self.tokens_per_step() };
        let mut lengths = ACCEPTANCE_PRESETS.iter().filter_map(|preset| preset.lengths.get(last)).peekable();
        lengths.peek()?;
        Some(lengths.fold(assumed, |known, length| MeasuredLengths {
            least: known.least.min(*length),
            most: known.most.max(*length),
        }))
    }

    /// The fraction that a proposed token costs; nothing where the draft model's own time counts.
    pub fn cost(&self) -> Option<f64> {
        self.draft_cost.or(if self.draft_model.is_none() { Some(Self::USUAL_COST) } else { None })
    }

    /// Refuses what does not go together: too few positions, and two lengths. `is_given` says whether the acceptance
    /// was written, or is the default.
    pub(super) fn check(&self, file: &str, is_given: bool) -> Result<(), SpecError> {
        let refused = |field: &str, problem: String, allowed: String| SpecError::Field {
            file: file.into(),
            field: format!("speculation.{field}"),
            problem,
            allowed,
        };
        let draft = self.draft_length;
        if let Some(length) = self.accepted_length {
            let most = f64::from(draft) + 1.0;
            if length > most {
                let problem = format!("is {length}, and speculation.draft_length is {draft}");
                return Err(refused("accepted_length", problem, format!("a number from 1 to {most}")));
            }
        }
        if let Some(known) = self.acceptance.known().filter(|known| *known < draft as usize) {
            let problem = format!("knows {known} position(s), and speculation.draft_length is {draft}");
            let allowed = "a position for each token of the draft, or one number for all".to_owned();
            return Err(refused("acceptance", problem, allowed));
        }
        if let (Some(length), true) = (self.accepted_length, is_given) {
            let from_acceptance = accepted_length(&self.acceptance.first(draft as usize));
            if (from_acceptance - length).abs() > Self::SAME_LENGTH {
                let problem = format!(
                    "is {length}, and speculation.acceptance is {}, which leads to {from_acceptance:.2} tokens a step",
                    self.acceptance
                );
                return Err(refused("accepted_length", problem, "one of the two".into()));
            }
        }
        Ok(())
    }
}

/// Mean tokens of a step with these positions.
fn accepted_length(positions: &[f64]) -> f64 {
    let chances = positions.iter().scan(1.0, |all, one| {
        *all *= one;
        Some(*all)
    });
    1.0 + chances.sum::<f64>()
}

/// The acceptance of all `count` positions that leads to a mean length.
fn constant_of(length: f64, count: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    // Each round halves the interval: beyond 60 there is no number between.
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if accepted_length(&vec![middle; count]) < length { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn one_acceptance_is_leviathans_formula() {
        for (acceptance, draft_length) in [(0.0f64, 3u32), (0.5, 1), (0.8, 4), (0.9, 4), (0.99, 64)] {
            let asked =
                Speculation { draft_length, acceptance: Acceptance::Constant(acceptance), ..Speculation::default() };
            let expected = (1.0 - acceptance.powf(f64::from(draft_length) + 1.0)) / (1.0 - acceptance);
            assert!(near(asked.tokens_per_step(), expected), "{acceptance} {draft_length}");
        }
        let certain = Speculation { draft_length: 3, acceptance: Acceptance::Constant(1.0), ..Speculation::default() };
        assert_eq!(certain.tokens_per_step(), 4.0);
        assert_eq!(Speculation::default().tokens_per_step(), 1.0);
    }

    #[test]
    fn presets_give_their_published_lengths_back() {
        for preset in ACCEPTANCE_PRESETS {
            for (index, length) in preset.lengths.iter().enumerate() {
                let asked = Speculation {
                    draft_length: index as u32 + 1,
                    acceptance: Acceptance::Preset(preset),
                    ..Speculation::default()
                };
                assert!(near(asked.tokens_per_step(), *length), "{} {index}", preset.name);
                assert!(asked.positions().iter().all(|chance| (0.0..=1.0).contains(chance)), "{}", preset.name);
            }
        }
        for (chance, rounded) in ACCEPTANCE_PRESETS[0].positions().iter().zip([0.81, 0.73, 0.68, 0.65, 0.62, 0.5, 0.38])
        {
            assert!((chance - rounded).abs() < 0.0051, "{chance} {rounded}");
        }
    }

    /// The page about speculation lists them all.
    #[test]
    fn presets_are_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/src/speculation.md");
        let page = std::fs::read_to_string(page).unwrap();
        for preset in ACCEPTANCE_PRESETS {
            let lengths: Vec<String> = preset.lengths.iter().map(|length| format!("{length:.2}")).collect();
            let lengths = if lengths.len() == 1 { preset.lengths[0].to_string() } else { lengths.join(" ") };
            let row = format!("| `{}` | {lengths} | {}", preset.name, preset.measured);
            assert!(page.contains(&row) && page.contains(preset.source), "{row}");
        }
    }

    #[test]
    fn an_accepted_length_is_an_acceptance() {
        for (draft_length, length) in [(1, 1.5), (4, 2.4), (4, 1.0), (4, 5.0), (64, 30.0)] {
            let asked = Speculation { draft_length, accepted_length: Some(length), ..Speculation::default() };
            assert_eq!(asked.tokens_per_step(), length);
            assert!((accepted_length(&asked.positions()) - length).abs() < 1e-6, "{draft_length} {length}");
        }
    }

    #[test]
    fn acceptance_has_a_range_unless_the_user_gave_it() {
        let preset = Acceptance::Preset(&ACCEPTANCE_PRESETS[0]);
        let asked = Speculation { draft_length: 4, acceptance: preset.clone(), ..Speculation::default() };
        assert_eq!(asked.measured_lengths(), Some(MeasuredLengths { least: 3.06, most: 3.53 }));
        let default = Speculation { draft_length: 4, default_acceptance: true, ..Speculation::default() };
        let range = default.measured_lengths().unwrap();
        assert!(near(range.least, default.tokens_per_step()) && range.most == 3.53, "{range:?}");
        for known in [
            Speculation { draft_length: 4, ..Speculation::default() },
            Speculation { draft_length: 0, default_acceptance: true, ..Speculation::default() },
            Speculation { draft_length: 8, default_acceptance: true, ..Speculation::default() },
            Speculation { draft_length: 4, accepted_length: Some(3.0), acceptance: preset, ..Speculation::default() },
        ] {
            assert_eq!(known.measured_lengths(), None, "{known:?}");
        }
    }

    #[test]
    fn texts_are_numbers_lists_or_names() {
        for (text, expected) in [
            ("0.8", Acceptance::Constant(0.8)),
            ("[0.8, 0.7]", Acceptance::Positions(vec![0.8, 0.7])),
            ("0.8,0.7", Acceptance::Positions(vec![0.8, 0.7])),
            ("mtp-deepseek-v3", Acceptance::Preset(&ACCEPTANCE_PRESETS[3])),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        let error = "eagle3-qwen3-8b-codin".parse::<Acceptance>().unwrap_err();
        assert!(error.contains("did you mean 'eagle3-qwen3-8b-coding'"), "{error}");
    }
}
