//! A scenario and its answer: whatever passes the checks must have a lawful answer, or a reason why it has none.

use wafersim_answer::{Question, answer_without_ranges, invariants};
use wafersim_spec::{Model, ScenarioFile, Wafer};

use crate::inputs::{FILE, text};
use crate::target::Outcome;

/// Small enough that an answer takes well below a second.
const MODELS: [&str; 2] = ["llama-3.1-8b", "qwen3-30b-a3b"];
/// Draws and searches have tests of their own, and take long.
const LONGEST_DRAFT: u32 = 16;

pub fn answer(bytes: &[u8]) -> Outcome {
    let text = match text(bytes) {
        Ok(text) => text,
        Err(refused) => return refused,
    };
    let mut scenario = match ScenarioFile::parse(text, FILE).and_then(|file| file.check(FILE)) {
        Ok(scenario) => scenario,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    // No file is opened for a name that changes have made.
    if !MODELS.contains(&scenario.model.as_str()) {
        scenario.model = MODELS[0].into();
    }
    scenario.speculation.draft_length = scenario.speculation.draft_length.min(LONGEST_DRAFT);
    scenario.speculation.draft_model = None;
    let asked = Model::builtin(&scenario.model).and_then(|model| Ok((model, Wafer::builtin(&scenario.wafer)?)));
    let (model, wafer) = match asked {
        Ok(asked) => asked,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let answered = Question::new(scenario, model, wafer).and_then(|question| answer_without_ranges(&question));
    Outcome::of(answered.map(|answer| {
        let violations = invariants::of_answer(&answer);
        assert!(violations.is_empty(), "{violations:#?}");
    }))
}
