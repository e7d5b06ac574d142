//! Where prompts are computed: on the wafers that decode, on others like them, or by something else; and how keys and
//! values get from there to the wafers that decode.

use serde::{Deserialize, Serialize};

use super::PrefillPlace;
use super::settings::{self, Given};
use crate::error::SpecError;

/// Where prompts are computed, checked: a rate stands where prompts are computed by something else, and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Prefill {
    /// Where.
    #[serde(rename = "where")]
    pub place: PrefillPlace,
    /// Wafers that compute prompts, of the same kind as those that decode; nothing: as many as decode uses, in the same
    /// arrangement. Of [`PrefillPlace::OtherWafers`] alone. 1 to 100,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wafers: Option<u32>,
    /// Bytes of keys and values that cross to the wafers that decode in a second; nothing: what the links of one wafer
    /// carry (`link.bandwidth` of the wafer). 1 to 1e18.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<f64>,
    /// Tokens of prompts that are computed in a second, one prompt after the other. Of [`PrefillPlace::External`],
    /// where it is needed, alone. 0.001 to 1e12.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

/// The table `[prefill]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillFile {
    /// Where prompts are computed.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<PrefillPlace>,
    /// Wafers that compute prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wafers: Option<u32>,
    /// Bytes of keys and values a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<f64>,
    /// Tokens of prompts a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

impl Prefill {
    /// Whether the wafers that decode compute prompts too.
    pub const fn is_same(&self) -> bool {
        matches!(self.place, PrefillPlace::Same)
    }

    /// Refuses what is out of range, and settings that make no sense together.
    ///
    /// # Errors
    /// [`SpecError::Field`] with what would be allowed.
    pub fn check(&self, file: &str) -> Result<(), SpecError> {
        use PrefillPlace::{External, OtherWafers, Same};
        if let Some(wafers) = self.wafers {
            settings::check(file, WAFERS, Given::Whole(u64::from(wafers)))?;
        }
        for (path, value) in [(BANDWIDTH, self.bandwidth), (RATE, self.tokens_per_second)] {
            if let Some(value) = value {
                settings::check(file, path, Given::Real(value))?;
            }
        }
        let refused = |field: &str, problem: String, allowed: &str| {
            Err(SpecError::Field { file: file.into(), field: field.into(), problem, allowed: allowed.into() })
        };
        let is = |value: String| format!("is {value}, but prefill.where is \"{}\"", self.place);
        match (self.place, self.wafers, self.bandwidth, self.tokens_per_second) {
            (Same | External, Some(wafers), ..) => {
                refused(WAFERS, is(wafers.to_string()), "nothing, or prefill.where = \"other wafers\"")
            }
            (Same, _, Some(bandwidth), _) => refused(
                BANDWIDTH,
                is(bandwidth.to_string()),
                "nothing, or prefill.where = \"other wafers\" or \"external\": else nothing crosses",
            ),
            (Same | OtherWafers, .., Some(rate)) => refused(
                RATE,
                is(rate.to_string()),
                "nothing, or prefill.where = \"external\": the time of prompts on wafers is computed",
            ),
            (External, .., None) => refused(
                RATE,
                "is missing, but prefill.where is \"external\"".into(),
                "the tokens of prompts that are computed in a second, a number from 0.001 to 1e12",
            ),
            _ => Ok(()),
        }
    }
}

/// Paths of the settings.
const WAFERS: &str = "prefill.wafers";
const BANDWIDTH: &str = "prefill.bandwidth";
const RATE: &str = "prefill.tokens_per_second";

impl PrefillFile {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As `ScenarioFile::merge`. Whoever says another place, says all of it.
    pub(super) fn merge(self, over: Self) -> Self {
        let is_moved = over.place.is_some() && self.place.is_some() && over.place != self.place;
        let base = if is_moved { Self::default() } else { self };
        Self {
            place: over.place.or(base.place),
            wafers: over.wafers.or(base.wafers),
            bandwidth: over.bandwidth.or(base.bandwidth),
            tokens_per_second: over.tokens_per_second.or(base.tokens_per_second),
        }
    }

    pub(super) fn check(self, file: &str) -> Result<Prefill, SpecError> {
        let Self { place, wafers, bandwidth, tokens_per_second } = self;
        let prefill = Prefill { place: place.unwrap_or_default(), wafers, bandwidth, tokens_per_second };
        prefill.check(file)?;
        Ok(prefill)
    }
}
