//! The answer to one question: the verdict in one sentence, then the figures that it rests on, from the most wanted to
//! the finest.

mod breakdown;
mod brief;
mod figures;
mod memory;
mod profiles;
mod provenance;
mod uncertainty;
mod verdict;

use wafersim_answer::Answer;
use wafersim_spec::Wafer;

use crate::certificate;
use crate::error::ReportError;
use crate::json::pretty;

/// The answer for people. `wafer` is the one of the question: its title and its nominal clock are named.
pub fn text(answer: &Answer, wafer: &Wafer) -> String {
    text_with(answer, wafer, "")
}

/// The same with a section of another reading after the figures.
pub(crate) fn text_with(answer: &Answer, wafer: &Wafer, section: &str) -> String {
    [
        verdict::text(answer, wafer),
        figures::text(answer, wafer),
        certificate::section(&answer.certificate),
        section.to_owned(),
        profiles::text(answer),
        breakdown::text(answer),
        memory::text(answer),
        uncertainty::text(answer),
        provenance::text(answer),
    ]
    .concat()
}

/// The answer in ten lines.
pub fn brief(answer: &Answer) -> String {
    brief::text(answer)
}

/// The verdict alone: one sentence, in lines of at most 100 columns.
pub fn verdict(answer: &Answer, wafer: &Wafer) -> String {
    verdict::text(answer, wafer)
}

/// The answer for programs: one JSON object with the fields of [`Answer`].
///
/// # Errors
/// None that an answer can cause.
pub fn json(answer: &Answer) -> Result<String, ReportError> {
    pretty(answer)
}

/// Time of a number of cycles at the answer's clock, in seconds.
fn seconds(answer: &Answer, cycles: f64) -> f64 {
    cycles / (answer.verdict.clock_ghz * 1e9)
}
