//! The question: which model, on which wafer, under which load, in which precision, to reach what.
//!
//! Life cycle: [`ScenarioFile`] is what a user wrote, in a file or as flags, where everything may be left out; layers
//! of it are merged, and [`ScenarioFile::check`] makes the [`Scenario`]. The defaults are those of
//! `Scenario::default()`. Which settings there are, with ranges and meanings, is declared once, in [`SETTINGS`].

mod check;
mod file;
mod popularity;
mod prefill;
mod settings;
mod speculation;

use std::fmt;
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::nearest_name;
use crate::precision::Precision;
pub use check::CONTEXT_BEYOND_POSITIONS;
pub use file::{PrecisionFile, ScenarioFile, SpeculationFile, WaferParameters};
pub use popularity::Popularity;
pub use prefill::{Prefill, PrefillFile};
pub use settings::{Kind, SETTINGS, Setting, without_suffix};
pub use speculation::{ACCEPTANCE_PRESETS, Acceptance, AcceptancePreset, MeasuredLengths, Speculation};

/// A word that is none of the allowed ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} '{text}'{hint}; allowed are {}", .allowed.join(", "))]
pub struct ChoiceError {
    /// What was to be chosen.
    pub kind: &'static str,
    /// What was written.
    pub text: String,
    /// What may have been meant: the word's new name, or the allowed word that is closest to it.
    pub hint: String,
    /// All allowed words.
    pub allowed: &'static [&'static str],
}

impl ChoiceError {
    fn new(
        kind: &'static str,
        text: &str,
        allowed: &'static [&'static str],
        renamed: &[(&'static str, &'static str)],
    ) -> Self {
        let hint = match renamed.iter().find(|(old, _)| *old == text) {
            Some((_, new)) => format!(": it is called '{new}' now"),
            None => nearest_name(text, allowed.iter().copied())
                .map_or_else(String::new, |name| format!(" (did you mean '{name}'?)")),
        };
        Self { kind, text: text.into(), hint, allowed }
    }
}

/// An enum of named choices: the words in files and flags, and reading and printing them.
macro_rules! choice {
    (
        $kind:literal
        $(#[$attribute:meta])*
        $name:ident { $($(#[$variant_attribute:meta])* $variant:ident $word:literal,)* }
        $(renamed { $($old:literal $new:literal,)* })?
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_attribute])* $variant,)*
        }

        impl $name {
            /// All choices, in the order they are listed to people.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// The words for them, in the same order.
            pub const NAMES: &[&str] = &[$($word),*];
            /// Words of earlier versions, each with the one that is in use now.
            pub const RENAMED: &[(&str, &str)] = &[$($(($old, $new)),*)?];

            /// The word in files, flags and tables.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.name())
            }
        }

        impl FromStr for $name {
            type Err = ChoiceError;

            fn from_str(text: &str) -> Result<Self, ChoiceError> {
                let known = Self::ALL.iter().copied().find(|choice| choice.name() == text);
                known.ok_or_else(|| ChoiceError::new($kind, text, Self::NAMES, Self::RENAMED))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

choice! {
    "placement"
    /// Where the routed experts of a layer live.
    ExpertPlacement {
        /// Each expert over the whole region of its layer.
        Spread "spread",
        /// Each expert in a rectangle of its own.
        Clustered "clustered",
        /// Neighbouring experts share a rectangle.
        Linear "linear",
        /// Experts dealt to rectangles in turn.
        #[serde(rename = "round-robin")]
        RoundRobin "round-robin",
        /// Hot experts share rectangles with cold ones.
        Hybrid "hybrid",
        /// Experts that are wanted together lie apart.
        Apart "apart",
        /// Spare memory holds copies of the hottest experts.
        Replicated "replicated",
        /// The best of those, improved by simulated annealing.
        Annealed "annealed",
    }
}

choice! {
    "profile"
    /// Which programs are read, and at which rates. Ordered from slow to fast.
    Profile {
        /// The published and measured kernels of WaferLLM (OSDI 2025), at the rates of silicon.
        Published "published",
        /// The best programs that are known, at the rates of silicon: those with fused reductions and hidden
        /// conversions, hypothetical, each step named in the docs; the published ones where they are faster.
        Best "best",
        /// The best programs on ideal hardware: hops, wavelets, SIMD peak and SRAM bandwidth alone. It bounds nothing:
        /// other programs may be faster.
        Ideal "ideal",
    }
    renamed { "waferllm" "published", "optimised" "best", "bound" "ideal", }
}

choice! {
    "routing"
    /// How tokens choose experts.
    RoutingModel {
        /// Every expert equally likely, tokens independent.
        Uniform "uniform",
        /// Popularity as measured on Qwen3-30B-A3B with coding prompts (Zipf exponent 0.67 by rank), tokens
        /// independent.
        Skewed "skewed",
    }
}

choice! {
    "place of prefill"
    /// Where prompts are computed.
    #[derive(Default)]
    PrefillPlace {
        /// On the wafers that decode.
        #[default]
        Same "same",
        /// On a second group of wafers of the same kind.
        #[serde(rename = "other wafers")]
        OtherWafers "other wafers",
        /// By something else, of which the rate is given.
        External "external",
    }
}

choice! {
    "verification"
    /// How the tokens of a draft are verified.
    #[derive(Default)]
    Verification {
        /// By the faster of the two ways.
        #[default]
        Faster "faster",
        /// All tokens in one pass, as a micro-batch.
        MicroBatch "micro_batch",
        /// One after the other through the pipeline, each in the time of the slowest stage.
        Stream "stream",
    }
}

/// How many wafers to use. Written `auto`, `fewest` or a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaferCount {
    /// As many as are worth it, where somebody compares speeds; else the fewest that hold the model.
    Auto,
    /// The fewest that hold the model with the asked users and context.
    Fewest,
    /// Exactly so many; refused where they do not suffice. 1 to 100,000.
    Exactly(u32),
}

impl WaferCount {
    /// Most wafers that can be asked for.
    pub const MOST: u32 = 100_000;

    fn exactly(count: u64) -> Result<Self, WaferCountError> {
        match u32::try_from(count) {
            Ok(count @ 1..=Self::MOST) => Ok(Self::Exactly(count)),
            _ => Err(WaferCountError(count.to_string())),
        }
    }
}

/// Text that is no [`WaferCount`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no number of wafers: allowed are 'auto', 'fewest', and whole numbers from 1 to {most}", most = WaferCount::MOST)]
pub struct WaferCountError(pub String);

impl fmt::Display for WaferCount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.pad("auto"),
            Self::Fewest => formatter.pad("fewest"),
            Self::Exactly(count) => count.fmt(formatter),
        }
    }
}

impl FromStr for WaferCount {
    type Err = WaferCountError;

    fn from_str(text: &str) -> Result<Self, WaferCountError> {
        match text {
            "auto" => return Ok(Self::Auto),
            "fewest" => return Ok(Self::Fewest),
            _ => {}
        }
        text.parse().map_err(|_| WaferCountError(text.into())).and_then(Self::exactly)
    }
}

impl Serialize for WaferCount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fewest => serializer.serialize_str("fewest"),
            Self::Exactly(count) => serializer.serialize_u32(*count),
        }
    }
}

impl<'de> Deserialize<'de> for WaferCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = WaferCount;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "\"auto\", \"fewest\" or a whole number from 1 to {}", WaferCount::MOST)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<WaferCount, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<WaferCount, E> {
                WaferCount::exactly(count).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<WaferCount, E> {
                let count = u64::try_from(count).map_err(|_| E::custom(WaferCountError(count.to_string())))?;
                self.visit_u64(count)
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
}

/// The question. Values of this type have been checked by [`ScenarioFile::check`]; whether the model reaches so far is
/// for [`Scenario::check_against`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    /// Built-in name, or path of a `config.json`.
    pub model: String,
    /// Built-in name, or path of a wafer TOML.
    pub wafer: String,
    /// Wafers to use.
    pub wafers: WaferCount,
    /// Users served at the same time, each with one token in flight (batch size). 1 to 1,000,000.
    pub users: u64,
    /// Tokens in each user's KV cache while decoding. 1 to 16,777,216, and to 4 times the model's `max_positions`.
    pub context: u64,
    /// Whether `context` is the default because nothing was said; then it shrinks to what the model was made for.
    #[serde(skip)]
    pub default_context: bool,
    /// Tokens of the prompt whose prefill is the time to first token; defaults to `context`, same limits.
    pub prompt: u64,
    /// Profile of the verdict, the breakdown and the figures at the top; all three are reported.
    pub profile: Profile,
    /// Where the experts live.
    pub placement: ExpertPlacement,
    /// Whether `placement` is the default because nothing was said; then a mapping has its way.
    #[serde(skip)]
    pub default_placement: bool,
    /// How tokens choose experts.
    pub routing: RoutingModel,
    /// How popular experts were counted to be; in place of the popularity of `routing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<Popularity>,
    /// Tokens per second that each user should get. Above 0, to 1e9.
    pub target: f64,
    /// Clock in GHz; `None` takes the wafer's nominal one. 0.01 to 100.
    pub clock_ghz: Option<f64>,
    /// Data types.
    pub precision: Precision,
    /// What was said of data types while the model was not known yet: what is left open is the checkpoint's.
    #[serde(skip)]
    pub asked_precision: Option<PrecisionFile>,
    /// Where data types come from that are the checkpoint's, in words.
    #[serde(skip)]
    pub precision_source: Option<String>,
    /// Data types of a draft model whose own file says others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_precision: Option<Precision>,
    /// Speculative decoding.
    pub speculation: Speculation,
    /// Where prompts are computed.
    #[serde(skip_serializing_if = "Prefill::is_same")]
    pub prefill: Prefill,
    /// `--set wafer.*` changes of wafer parameters, in the order given: (path without "wafer.", value).
    pub wafer_overrides: Vec<(String, f64)>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            model: "qwen3-coder-480b-a35b".into(),
            wafer: "wse3".into(),
            wafers: WaferCount::Auto,
            users: 1,
            context: 32_768,
            default_context: false,
            default_placement: false,
            prompt: 32_768,
            profile: Profile::Best,
            placement: ExpertPlacement::Spread,
            routing: RoutingModel::Skewed,
            counted: None,
            target: 2000.0,
            clock_ghz: None,
            precision: Precision::default(),
            asked_precision: None,
            precision_source: None,
            draft_precision: None,
            speculation: Speculation::default(),
            prefill: Prefill::default(),
            wafer_overrides: Vec::new(),
        }
    }
}
