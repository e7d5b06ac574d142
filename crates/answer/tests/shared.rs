//! What points of a plan have in common changes none of them: each is what it is by itself.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use wafersim_answer::plan::{Axes, PlanRow, plan};
use wafersim_answer::rows::Rows;
use wafersim_answer::{AnswerError, Question, Ranges};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Profile, Speculation};

fn rows(scenario: &Scenario, contexts: &[u64], users: &[u64]) -> Vec<PlanRow> {
    let question = Question::load(scenario.clone()).unwrap();
    let profiles = Profile::ALL.to_vec();
    let axes = Axes { contexts: contexts.to_vec(), users: users.to_vec(), profiles, ..Axes::of(&question.scenario) };
    let all = Rows::<_, AnswerError>::none_known(&|_, _| Ok(()));
    plan(&question, &axes, Ranges::None, &all).unwrap().rows
}

#[test]
fn points_are_what_they_are_by_themselves() {
    let speculation = Speculation { draft_length: 2, ..Speculation::default() };
    let model = "qwen3-30b-a3b".to_owned();
    let plain = Scenario { model, ..Scenario::default() };
    for scenario in [plain.clone(), Scenario { speculation, ..plain }] {
        let (contexts, users) = ([1024, 2048, 9000], [1, 2, 5, 130]);
        let mut together = rows(&scenario, &contexts, &users);
        let mut alone = Vec::new();
        for context in contexts {
            alone.extend(users.iter().flat_map(|users| rows(&scenario, &[context], &[*users])));
        }
        let order = |row: &PlanRow| (row.context, row.users, row.profile);
        together.sort_by_key(order);
        alone.sort_by_key(order);
        assert_eq!(together.len(), contexts.len() * users.len() * Profile::ALL.len());
        assert_eq!(together, alone);
    }
}
