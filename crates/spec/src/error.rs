//! What was wrong with the input: which file, which line or field, what value, what would be allowed.

use thiserror::Error;

/// Everything that can be wrong with what a user gave. `simctl` answers each with exit code 2.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SpecError {
    /// The file could not be read at all.
    #[error("{file}: cannot be read: {reason}")]
    Read {
        /// Path as given.
        file: String,
        /// What the operating system said, or "is a directory".
        reason: String,
    },
    /// The text is not JSON, TOML or CSV. `detail` names line and column.
    #[error("{file}: {detail}")]
    Syntax {
        /// Path as given, or the name of a built-in.
        file: String,
        /// The parser's message with line and column.
        detail: String,
    },
    /// A field is missing, or has a value that is not allowed.
    #[error("{file}: field '{field}': {problem}; allowed: {allowed}")]
    Field {
        /// Path as given, or the name of a built-in.
        file: String,
        /// Dotted path of the field.
        field: String,
        /// What is there, or that it is missing.
        problem: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// A name of a model, wafer, family or setting that does not exist.
    #[error("unknown {kind} '{name}'{}; {allowed}", nearest_phrase(.nearest))]
    UnknownName {
        /// "model", "wafer", "setting", ...
        kind: &'static str,
        /// What was written.
        name: String,
        /// The known name that is closest to it, where one is close.
        nearest: Option<String>,
        /// What would have been accepted, as a sentence.
        allowed: String,
    },
    /// Understood, but not modelled.
    #[error("{file}: {what} is not supported: {hint}")]
    Unsupported {
        /// Path as given, or the name of a built-in.
        file: String,
        /// What was asked for.
        what: String,
        /// Why, and what to do instead.
        hint: String,
    },
}

fn nearest_phrase(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default()
}

/// The candidate with the smallest edit distance to `name`, if it is near enough to be a misspelling (at most a
/// third of its letters differ). Ties go to the first candidate.
pub fn nearest_name<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let length = name.chars().count();
    let is_near = |distance: usize, candidate: &str| distance * 3 <= candidate.chars().count().max(3);
    candidates
        .into_iter()
        // Names are at least as far apart as their lengths: this keeps a name of megabytes from costing minutes.
        .filter(|candidate| is_near(length.abs_diff(candidate.chars().count()), candidate))
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, candidate)| is_near(*distance, candidate))
        .map(|(_, candidate)| candidate.to_owned())
}

/// Levenshtein distance, two rows at a time.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substitute = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_find_their_name() {
        assert_eq!(nearest_name("hop_latncy", ["hop_latency", "ramp_in"]), Some("hop_latency".into()));
        assert_eq!(nearest_name("xyzzy", ["hop_latency", "ramp_in"]), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }
}
