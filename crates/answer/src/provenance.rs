//! Where an answer comes from: version, inputs, fidelity, and the error of the model against what was measured.

#[cfg(feature = "fabric")]
use std::collections::BTreeMap;

use serde::Serialize;
#[cfg(feature = "fabric")]
use wafersim_check::measurements::{BUILTIN_MEASUREMENTS, read_table};
#[cfg(feature = "fabric")]
use wafersim_check::validate::validate;
use wafersim_search::Effort;
use wafersim_spec::Wafer;
use wafersim_spec::scenario::Profile;
use wafersim_spec::wafer::RateSet;

use crate::question::Question;

/// The mean error of the model on measured rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnownError {
    /// Kernel of the rows.
    pub kernel: String,
    /// Rows.
    pub rows: usize,
    /// Mean absolute error in per cent.
    pub mape_percent: f64,
    /// Largest absolute error in per cent.
    pub worst_percent: f64,
}

/// Where an answer comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// Version of wafersim.
    pub version: &'static str,
    /// Commit that the program was built from, where it knows and says so.
    pub commit: Option<&'static str>,
    /// [`Question::input_hash`].
    pub input_hash: String,
    /// How the answer was found: `cost` is the closed form.
    pub fidelity: &'static str,
    /// Profile of the verdict.
    pub profile: Profile,
    /// Name of the mapping of the profiles `best` and `ideal`, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// How much was tried to find one, where none was given; nothing: the recipes that are built in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Effort>,
    /// Nothing in this answer is random.
    pub seed: Option<u64>,
    /// Which wafer's rates.
    pub rate_set: RateSet,
    /// Error against silicon of this wafer, by kernel; empty where nothing was measured on it, or the feature
    /// `fabric` is off. It holds for the measured range and the profile `published` only.
    pub known_errors: Vec<KnownError>,
}

impl Provenance {
    /// Of the closed form's answer to a question; what is above it adds its own name, seed and inputs. `known_errors`
    /// are left empty: sweeps do without.
    pub fn new(question: &Question) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: None,
            input_hash: question.input_hash(),
            fidelity: "cost",
            profile: question.scenario.profile,
            mapping: question.mapping.as_ref().map(|mapping| mapping.name().to_owned()),
            search: question.search.filter(|_| question.mapping.is_none()),
            seed: None,
            rate_set: RateSet::Silicon,
            known_errors: Vec::new(),
        }
    }

    /// Adds the errors of the model against silicon, for the wafer of the question.
    pub(crate) fn with_known_errors(self, question: &Question) -> Self {
        Self { known_errors: known_errors(&question.wafer), ..self }
    }
}

#[cfg(feature = "fabric")]
/// The built-in measurements of this wafer, predicted with the wafer as it is now, changes included.
fn known_errors(wafer: &Wafer) -> Vec<KnownError> {
    let rows = read_table(BUILTIN_MEASUREMENTS, "built-in measurements").unwrap_or_default();
    let wafers = BTreeMap::from([(wafer.name.clone(), wafer.clone())]);
    validate(&rows, &wafers)
        .groups
        .into_iter()
        .filter(|group| group.evidence == RateSet::Silicon)
        .map(|group| KnownError {
            kernel: group.kernel,
            rows: group.rows,
            mape_percent: group.mape_percent,
            worst_percent: group.worst_percent,
        })
        .collect()
}

#[cfg(not(feature = "fabric"))]
fn known_errors(_: &Wafer) -> Vec<KnownError> {
    Vec::new()
}
