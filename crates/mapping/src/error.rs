//! What is wrong with a mapping, and what would be allowed.

use thiserror::Error;
use wafersim_place::PlaceError;
use wafersim_spec::SpecError;

/// Why a mapping cannot be read or does not fit.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MappingError {
    /// The file cannot be read, or no built-in has the name.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The text is wrong.
    #[error("{file}: line {line}: {}{problem}", of_field(.field))]
    Text {
        /// Path as given, or the name of a built-in.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Dotted path of the field, where the place is one.
        field: Option<String>,
        /// What is there, and what would be allowed.
        problem: String,
    },
    /// The model does not fit.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A decision cannot be kept on this model, machine and load.
    #[error("mapping '{mapping}': {field} is {value}: {allowed}")]
    Decision {
        /// Name of the mapping.
        mapping: String,
        /// The decision.
        field: String,
        /// Its value, here.
        value: String,
        /// Why not, with numbers, and what would be allowed.
        allowed: String,
    },
    /// Code from outside that does not keep what its interface promises, or is not there.
    #[error("{kind} '{id}': {problem}; allowed: {allowed}")]
    Own {
        /// What it is: `experts`, `collective`, `routing`.
        kind: &'static str,
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
        /// What would be allowed.
        allowed: String,
    },
    /// A resolved mapping was made for something else.
    #[error(
        "{mapping} was resolved for {}; allowed: the same inputs, or its recipe, which fits any",
        others(.differences)
    )]
    OtherInputs {
        /// The mapping, with its file.
        mapping: String,
        /// What differs, and how.
        differences: Vec<Difference>,
    },
    /// A resolved mapping contradicts itself, or the rules by which slots are filled.
    #[error("{mapping}: {field}: {problem}")]
    Contradiction {
        /// The mapping, with its file.
        mapping: String,
        /// Where.
        field: String,
        /// What stands there, and what follows from the rest.
        problem: String,
    },
}

/// An input that differs from the one that a mapping was resolved for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// `model`, `wafer` or `load`.
    pub input: &'static str,
    /// What the mapping was resolved for.
    pub resolved_for: String,
    /// What is asked.
    pub asked: String,
}

fn of_field(field: &Option<String>) -> String {
    field.as_ref().map(|field| format!("field '{field}': ")).unwrap_or_default()
}

fn others(differences: &[Difference]) -> String {
    let one = |it: &Difference| format!("another {} ({}; here {})", it.input, it.resolved_for, it.asked);
    differences.iter().map(one).collect::<Vec<_>>().join(" and ")
}
