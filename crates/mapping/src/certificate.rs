//! What has been shown of a mapping, as plain data: stored beside it, printed with answers.
//!
//! It says what was found and against which limit; it finds nothing itself (`certify` does). A certificate names the
//! mapping that it is of by a hash of its content: a mapping that was changed afterwards has none.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash;
use crate::resolved::Resolved;

/// What is known of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// Nothing was asked.
    #[default]
    None,
    /// Every part passes.
    Passed,
    /// A part fails, or could not be made.
    Failed,
}

/// What came of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Within its limit.
    Passed,
    /// Beyond it, or it cannot be run.
    Failed,
    /// There is no way to make it for such a model; `says` has the reason. Nothing is shown then.
    NotPossible,
}

/// What a part is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartName {
    /// Bytes of the fullest processing element.
    Memory,
    /// Colors of the busiest router.
    Colors,
    /// A kind of layer, wavelet by wavelet at full size, beside the closed form.
    Fabric,
    /// The same decisions on a small model, with numbers, beside the model's equations.
    Numbers,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificatePart {
    /// What it is about.
    pub name: PartName,
    /// What came of it.
    pub state: PartState,
    /// Of what: a slot, a kind of layer, a small model.
    pub subject: String,
    /// What was found, where it is a figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it may be at most; of a deviation, either way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// The unit of both.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// The same in words, or why there is no figure.
    pub says: String,
}

/// What has been shown of a mapping.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Whether every part passes.
    pub state: CertificateState,
    /// Hash of the mapping that it is of; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mapping_hash: String,
    /// What is the same in the small model of the part `numbers` and at full size.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identical: Vec<String>,
    /// What is smaller there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scaled: Vec<String>,
    /// What was looked at.
    #[serde(default)]
    pub parts: Vec<CertificatePart>,
}

impl CertificatePart {
    /// Whether it says so, and its figure does not say otherwise.
    fn is_passed(&self) -> bool {
        let is_within = |(value, limit): (f64, f64)| value.abs() <= limit;
        self.state == PartState::Passed && self.value.zip(self.limit).is_none_or(is_within)
    }
}

impl Certificate {
    /// Of a mapping whose parts have been looked at: passed where all of them are, with figures within their limits.
    pub fn new(mapping_hash: String, parts: Vec<CertificatePart>) -> Self {
        let passed = !parts.is_empty() && parts.iter().all(CertificatePart::is_passed);
        let state = if passed { CertificateState::Passed } else { CertificateState::Failed };
        Self { state, mapping_hash, parts, ..Self::default() }
    }

    /// Whether every part passes.
    pub const fn is_passed(&self) -> bool {
        matches!(self.state, CertificateState::Passed)
    }

    /// The parts that do not pass, by what they are about; each once.
    pub fn failing(&self) -> Vec<PartName> {
        let mut names: Vec<PartName> =
            self.parts.iter().filter(|part| !part.is_passed()).map(|part| part.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Resolved {
    /// Hash of everything but the certificate.
    pub fn hash(&self) -> String {
        hash::of(&Self { certificate: None, ..self.clone() })
    }

    /// What has been shown of it: nothing where its certificate is of another content. Whether it passes is what its
    /// parts say, not what a file says of them.
    pub fn certificate(&self) -> Certificate {
        let known = self.certificate.as_ref().filter(|known| known.mapping_hash == self.hash());
        known.map_or_else(Certificate::default, |known| Certificate {
            identical: known.identical.clone(),
            scaled: known.scaled.clone(),
            ..Certificate::new(known.mapping_hash.clone(), known.parts.clone())
        })
    }
}

impl CertificateState {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

impl PartState {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotPossible => "not possible",
        }
    }
}

impl PartName {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Colors => "colors",
            Self::Fabric => "fabric",
            Self::Numbers => "numbers",
        }
    }
}

/// Names as they are printed.
macro_rules! displayed {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.name())
            }
        }
    )*};
}
displayed!(CertificateState, PartState, PartName);

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: PartName, state: PartState) -> CertificatePart {
        CertificatePart {
            name,
            state,
            subject: "slot 3".into(),
            value: Some(0.1),
            limit: None,
            unit: String::new(),
            says: "some \"words\"".into(),
        }
    }

    #[test]
    fn it_passes_where_every_part_does() {
        let passed = part(PartName::Memory, PartState::Passed);
        let of = |parts: Vec<CertificatePart>| Certificate::new("0".into(), parts);
        assert_eq!(Certificate::default().state, CertificateState::None);
        assert_eq!(of(vec![]).state, CertificateState::Failed);
        assert!(of(vec![passed.clone(), passed.clone()]).is_passed());
        for value in [-0.3, 0.3, f64::NAN, f64::INFINITY] {
            let beyond = CertificatePart { value: Some(value), limit: Some(0.2), ..passed.clone() };
            assert!(!of(vec![passed.clone(), beyond]).is_passed(), "{value}");
        }
        for state in [PartState::Failed, PartState::NotPossible] {
            let failed = of(vec![passed.clone(), part(PartName::Colors, state), part(PartName::Colors, state)]);
            assert_eq!((failed.state, failed.failing()), (CertificateState::Failed, vec![PartName::Colors]));
        }
    }
}
