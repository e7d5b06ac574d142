//! What a user wrote: a scenario file, or flags, in which everything may be left out.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Acceptance, ExpertPlacement, PrefillFile, Profile, RoutingModel, Verification, WaferCount};
use crate::data_type::DataType;
use crate::error::SpecError;
use crate::file::read_text;
use crate::precision::{Precision, RoleGroup};

/// A scenario as written. What is left out comes from the layer below, at the end from `Scenario::default()`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// Built-in name, or path of a `config.json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Built-in name, or path of a wafer TOML.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wafer: Option<String>,
    /// `"auto"`, `"fewest"` or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wafers: Option<WaferCount>,
    /// Users served at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub users: Option<u64>,
    /// Tokens in each user's KV cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// Tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
    /// Whose kernels are assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Where the experts live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<ExpertPlacement>,
    /// How tokens choose experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingModel>,
    /// Tokens per second that each user should get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// Clock in GHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ghz: Option<f64>,
    /// Data types.
    #[serde(default, skip_serializing_if = "PrecisionFile::is_empty")]
    pub precision: PrecisionFile,
    /// Speculative decoding.
    #[serde(default, skip_serializing_if = "SpeculationFile::is_empty")]
    pub speculation: SpeculationFile,
    /// Where prompts are computed.
    #[serde(default, skip_serializing_if = "PrefillFile::is_empty")]
    pub prefill: PrefillFile,
    /// Changes of wafer parameters.
    #[serde(default, skip_serializing_if = "WaferParameters::is_empty")]
    pub wafer_parameters: WaferParameters,
}

/// The table `[precision]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrecisionFile {
    /// Matrices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<DataType>,
    /// Norms, biases and router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub small_weights: Option<DataType>,
    /// Keys and values of past tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_cache: Option<DataType>,
    /// What flows between operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activations: Option<DataType>,
    /// Projections of the attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<DataType>,
    /// Dense feed-forward networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense: Option<DataType>,
    /// Routed experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<DataType>,
    /// Shared experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_experts: Option<DataType>,
    /// The router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router: Option<DataType>,
    /// The embedding table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<DataType>,
    /// The LM head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<DataType>,
}

/// The table `[speculation]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeculationFile {
    /// Tokens proposed per step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_length: Option<u32>,
    /// Probability that a proposed token is accepted: one, one for each position, or the name of a preset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acceptance: Option<Acceptance>,
    /// Mean tokens of a step, the model's own included, in place of `acceptance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_length: Option<f64>,
    /// Time to propose one token, as a fraction of the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_cost: Option<f64>,
    /// The model that drafts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft_model: Option<String>,
    /// How a draft is verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
}

impl PrecisionFile {
    /// What is said here, and of `base` what is left open. A format of all matrices leaves nothing open of matrices.
    pub fn over(&self, base: Precision) -> Precision {
        let base = Precision {
            small_weights: self.small_weights.unwrap_or(base.small_weights),
            kv_cache: self.kv_cache.unwrap_or(base.kv_cache),
            activations: self.activations.unwrap_or(base.activations),
            ..self.weights.map_or(base, |weights| base.with_weights(weights))
        };
        self.groups().into_iter().fold(base, |precision, (group, stored)| match stored {
            Some(stored) => precision.with_group(group, stored),
            None => precision,
        })
    }

    /// Names of the settings that say something.
    pub(super) fn said(&self) -> Vec<&'static str> {
        let given = [
            ("weights", self.weights),
            ("small_weights", self.small_weights),
            ("kv_cache", self.kv_cache),
            ("activations", self.activations),
        ];
        let names = given.into_iter().chain(self.groups().map(|(group, stored)| (group.words(), stored)));
        names.filter(|(_, stored)| stored.is_some()).map(|(name, _)| name).collect()
    }

    const fn groups(&self) -> [(RoleGroup, Option<DataType>); 7] {
        [
            (RoleGroup::Attention, self.attention),
            (RoleGroup::Dense, self.dense),
            (RoleGroup::Experts, self.experts),
            (RoleGroup::SharedExperts, self.shared_experts),
            (RoleGroup::Router, self.router),
            (RoleGroup::Embedding, self.embedding),
            (RoleGroup::Head, self.head),
        ]
    }

    /// As [`ScenarioFile::merge`]. A format of all matrices says so of each group too.
    fn merge(self, over: Self) -> Self {
        let of_all = over.weights.is_some();
        let group = |ours: Option<DataType>, theirs: Option<DataType>| theirs.or(ours.filter(|_| !of_all));
        Self {
            weights: over.weights.or(self.weights),
            small_weights: over.small_weights.or(self.small_weights),
            kv_cache: over.kv_cache.or(self.kv_cache),
            activations: over.activations.or(self.activations),
            attention: group(self.attention, over.attention),
            dense: group(self.dense, over.dense),
            experts: group(self.experts, over.experts),
            shared_experts: group(self.shared_experts, over.shared_experts),
            router: over.router.or(self.router),
            embedding: group(self.embedding, over.embedding),
            head: group(self.head, over.head),
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl SpeculationFile {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As [`ScenarioFile::merge`]. Acceptance and accepted length say the same thing: whoever gives one, gives both.
    fn merge(self, over: Self) -> Self {
        let says_how_many = over.acceptance.is_some() || over.accepted_length.is_some();
        let (acceptance, accepted_length) = if says_how_many {
            (over.acceptance, over.accepted_length)
        } else {
            (self.acceptance, self.accepted_length)
        };
        Self {
            draft_length: over.draft_length.or(self.draft_length),
            acceptance,
            accepted_length,
            draft_cost: over.draft_cost.or(self.draft_cost),
            draft_model: over.draft_model.or(self.draft_model),
            verification: over.verification.or(self.verification),
        }
    }
}

/// The table `[wafer_parameters]`: path (without `wafer.`) and value, in the order in which they are applied. A path is
/// written as one quoted key or as nested tables: `"fabric.hop_latency" = 1` or `fabric.hop_latency = 1`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WaferParameters(Vec<(String, f64)>);

impl WaferParameters {
    /// The changes in the order in which they are applied.
    pub fn entries(&self) -> &[(String, f64)] {
        &self.0
    }

    /// Sets a parameter, after all others; an earlier value of it is dropped.
    pub fn set(&mut self, path: &str, value: f64) {
        self.0.retain(|(known, _)| known != path);
        self.0.push((path.into(), value));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for WaferParameters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, value)| (path, value)))
    }
}

impl<'de> Deserialize<'de> for WaferParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut entries = Vec::new();
        ParameterTable { prefix: String::new(), entries: &mut entries }.deserialize(deserializer)?;
        Ok(Self(entries))
    }
}

/// Most entries of `[wafer_parameters]`: several times what a wafer has, and few enough to be searched one by one.
const MOST_PARAMETERS: usize = 1000;

/// Reads a number into `entries` under its path, or a table of more.
struct ParameterTable<'a> {
    prefix: String,
    entries: &'a mut Vec<(String, f64)>,
}

impl<'de> DeserializeSeed<'de> for ParameterTable<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl ParameterTable<'_> {
    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        if self.prefix.is_empty() {
            return Err(E::custom("expected a table of wafer parameters, \"group.name\" = number"));
        }
        if self.entries.len() == MOST_PARAMETERS {
            return Err(E::custom(format!("more than {MOST_PARAMETERS} wafer parameters")));
        }
        if self.entries.iter().any(|(known, _)| *known == self.prefix) {
            return Err(E::custom(format!("wafer parameter '{}' is given twice", self.prefix)));
        }
        self.entries.push((self.prefix, value));
        Ok(())
    }
}

impl<'de> Visitor<'de> for ParameterTable<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, or a table of wafer parameters, \"group.name\" = number")
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let prefix = if self.prefix.is_empty() { key } else { format!("{}.{key}", self.prefix) };
            map.next_value_seed(ParameterTable { prefix, entries: &mut *self.entries })?;
        }
        Ok(())
    }
}

impl ScenarioFile {
    /// The scenario that a TOML text describes. `file` is its name in messages.
    ///
    /// # Errors
    /// Where the text is no TOML, names a key that does not exist, or gives a value of the wrong type; with line,
    /// column and what is allowed.
    pub fn parse(text: &str, file: &str) -> Result<Self, SpecError> {
        toml::from_str(text).map_err(|error: toml::de::Error| SpecError::Syntax {
            file: file.into(),
            detail: error.to_string().trim_end().to_owned(),
        })
    }

    /// Reads a scenario file. A model, wafer or draft model that it names by a relative path is looked for in the
    /// folder of the file first, and else left as it is: relative to the working directory.
    ///
    /// # Errors
    /// Where the file cannot be read, and as [`ScenarioFile::parse`].
    pub fn read(path: &Path) -> Result<Self, SpecError> {
        let text = read_text(path, "name the scenario file in it")?;
        let mut scenario = Self::parse(&text, &path.display().to_string())?;
        if let Some(folder) = path.parent() {
            let draft = &mut scenario.speculation.draft_model;
            for name in [&mut scenario.model, &mut scenario.wafer, draft].into_iter().flatten() {
                if let Some(found) = beside(folder, name) {
                    *name = found;
                }
            }
        }
        Ok(scenario)
    }

    /// This layer with `over` laid on it: what `over` gives, wins. Its wafer parameters are applied after ours.
    #[must_use]
    pub fn merge(self, over: Self) -> Self {
        let mut wafer_parameters = self.wafer_parameters;
        for (path, value) in over.wafer_parameters.entries() {
            wafer_parameters.set(path, *value);
        }
        Self {
            model: over.model.or(self.model),
            wafer: over.wafer.or(self.wafer),
            wafers: over.wafers.or(self.wafers),
            users: over.users.or(self.users),
            context: over.context.or(self.context),
            prompt: over.prompt.or(self.prompt),
            profile: over.profile.or(self.profile),
            placement: over.placement.or(self.placement),
            routing: over.routing.or(self.routing),
            target: over.target.or(self.target),
            clock_ghz: over.clock_ghz.or(self.clock_ghz),
            precision: self.precision.merge(over.precision),
            speculation: self.speculation.merge(over.speculation),
            prefill: self.prefill.merge(over.prefill),
            wafer_parameters,
        }
    }
}

/// The path of a model or wafer file that exists in `folder`; nothing for a built-in name and for a path that does not
/// exist there.
fn beside(folder: &Path, name: &str) -> Option<String> {
    let is_path = name.ends_with(".json") || name.ends_with(".toml") || name.contains(['/', '\\']);
    let path = folder.join(name);
    if is_path && path.exists() { path.to_str().map(str::to_owned) } else { None }
}
