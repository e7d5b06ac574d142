//! The certificate of a mapping: what can be shown of it beyond the closed form.
//!
//! | module | owns |
//! |---|---|
//! | [`limits`] | what each part may be at most |
//! | `parts` | memory, colors and the fabric, of the mapping itself |
//! | `numbers`, `scaled`, `kept` | the same decisions on a small model: computed, shrunk, and what of them is the same |
//!
//! A certificate shows that a mapping is *possible*: that it fits, that its routes can be set, that every layer takes
//! on the fabric what the closed form says, and that its decisions change nothing of the function. It shows nothing of
//! tables, of ways between regions and of links between wafers, whose times stay in closed form.

mod kept;
pub mod limits;
mod numbers;
mod parts;
mod scaled;

use wafersim_answer::fabric::RunProgress;
use wafersim_answer::{AnswerError, Opened, Question};
use wafersim_mapping::{Certificate, CertificatePart, PartName, PartState, Resolved};

use kept::Kept;
pub use limits::Limits;

/// Mappings that are tried at most until one passes.
pub const MOST_TRIED: usize = 5;

/// How far a certificate is.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A mapping is opened: which of how many, and its name.
    Mapping {
        /// Which, from 0.
        index: usize,
        /// Of how many.
        of: usize,
        /// Its name.
        name: String,
    },
    /// A part begins.
    Part(PartName),
    /// A layer on the fabric.
    Fabric(RunProgress),
}

/// Who is told how far it is, from any thread.
pub type Progress<'a> = &'a (dyn Fn(Step) + Sync);

/// A mapping that was tried, with what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// The mapping, with the certificate in it.
    pub resolved: Resolved,
    /// What came of it.
    pub certificate: Certificate,
}

/// Mappings tried one after the other, best first, until one passed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trials {
    /// Those that were tried, in their order. The last one passed, or none did.
    pub tried: Vec<Tried>,
}

impl Trials {
    /// The one that passed, and its place among the candidates.
    pub fn passed(&self) -> Option<(usize, &Tried)> {
        self.tried.iter().enumerate().find(|(_, tried)| tried.certificate.is_passed())
    }

    /// The one that an answer speaks of: the one that passed, or the best where none did.
    pub fn of_answer(&self) -> Option<&Tried> {
        self.passed().map(|(_, tried)| tried).or_else(|| self.tried.first())
    }
}

/// Certifies mappings, best first, until one passes; at most [`MOST_TRIED`] of them.
pub fn first_that_passes(
    question: &Question,
    candidates: &[Resolved],
    limits: &Limits,
    progress: Progress<'_>,
) -> Trials {
    let mut outcome = Trials::default();
    let of = candidates.len().min(MOST_TRIED);
    for (index, candidate) in candidates.iter().take(of).enumerate() {
        progress(Step::Mapping { index, of, name: candidate.name.clone() });
        let certificate = certify(question, candidate, limits, progress);
        let resolved = Resolved { certificate: Some(certificate.clone()), ..candidate.clone() };
        outcome.tried.push(Tried { resolved, certificate });
        if outcome.passed().is_some() {
            break;
        }
    }
    outcome
}

/// The certificate of one mapping. A part that cannot be run fails, and says why.
pub fn certify(question: &Question, resolved: &Resolved, limits: &Limits, progress: Progress<'_>) -> Certificate {
    let opened = match Opened::new(question, resolved) {
        Ok(opened) => opened,
        Err(error) => return Certificate::new(resolved.hash(), vec![failed(PartName::Memory, "the mapping", &error)]),
    };
    let begin = |name: PartName| progress(Step::Part(name));
    begin(PartName::Memory);
    let mut parts = vec![parts::memory(&opened, limits)];
    begin(PartName::Colors);
    parts.push(parts::colors(&opened, limits));
    begin(PartName::Fabric);
    parts.extend(parts::fabric(&opened, limits, progress));
    begin(PartName::Numbers);
    with_numbers(question, resolved, &opened, (limits, parts))
}

/// The part `numbers` by itself.
///
/// # Errors
/// Where the mapping is of another question, or does not fit.
pub fn numbers_alone(question: &Question, resolved: &Resolved, limits: &Limits) -> Result<Certificate, AnswerError> {
    let opened = Opened::new(question, resolved)?;
    Ok(with_numbers(question, resolved, &opened, (limits, Vec::new())))
}

/// Other parts, and the part `numbers`.
fn with_numbers(
    question: &Question,
    resolved: &Resolved,
    opened: &Opened<'_>,
    (limits, mut parts): (&Limits, Vec<CertificatePart>),
) -> Certificate {
    let numbers = numbers::numbers(question, resolved, opened, limits.numbers);
    parts.extend(numbers.parts);
    let Kept { identical, scaled } = numbers.kept;
    Certificate { identical, scaled, ..Certificate::new(resolved.hash(), parts) }
}

/// A count with commas between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part that could not be run.
fn failed(name: PartName, subject: &str, error: &impl ToString) -> CertificatePart {
    let (subject, says) = (subject.to_owned(), error.to_string());
    CertificatePart { name, state: PartState::Failed, subject, value: None, limit: None, unit: String::new(), says }
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(super::grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
