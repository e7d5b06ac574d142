//! What a change makes of the answer, with the mappings that are known.

use wafersim_answer::{Considered, Effort, Question, Reread, Searched, answer_one_profile, no_mapping_beats};
use wafersim_mapping::{Mapping, Recipe};
use wafersim_spec::scenario::WaferCount;
use wafersim_spec::{Scenario, Wafer};

use super::Value;
use super::levers::{Setting, What};
use crate::error::DecideError;

/// A question on as many wafers as its answer takes, with the mapping that was found for it.
pub(super) struct Pricing {
    pub(super) base: Question,
    pub(super) current: f64,
    pub(super) wafers: u32,
    /// Numbers of wafers that were compared, with the speed of the best mapping on each.
    pub(super) considered: Vec<Considered>,
    found: Option<Searched>,
    read: Reread,
}

/// A parameter with another value.
pub(super) type Change = (What, Value);

/// What is tried to find a mapping anew.
const EFFORT: Effort = Effort::Quick;

impl Pricing {
    /// Answers the question. A mapping is looked for where it says so.
    pub(super) fn new(question: &Question) -> Result<Self, DecideError> {
        let answer = answer_one_profile(question)?;
        let found = question.searched().cloned();
        let scenario = Scenario { wafers: WaferCount::Exactly(answer.wafers), ..question.scenario.clone() };
        let base = question.asking(scenario)?.with_searched(found.clone());
        let read = Reread::new(base.clone())?;
        let current = answer.tokens_per_second_per_user;
        Ok(Self { base, current, wafers: answer.wafers, considered: answer.considered, found, read })
    }

    /// The same with a mapping that was found for another question.
    pub(super) fn with_found(&self, found: Searched) -> Option<Self> {
        let base = self.base.clone().with_searched(Some(found.clone()));
        let read = Reread::new(base.clone()).ok()?;
        let (current, wafers, considered) = (self.current, self.wafers, self.considered.clone());
        Some(Self { base, current, wafers, considered, found: Some(found), read })
    }

    /// Programs as they are, or with settings that go with what is varied.
    pub(super) fn written(&self, with: &[Change]) -> Option<Reread> {
        Reread::new(self.question(with)?).ok()
    }

    /// The programs of the question as it is.
    pub(super) const fn as_it_is(&self) -> &Reread {
        &self.read
    }

    /// The question with changes, to be answered by the mappings that are known; nothing where it is none.
    pub(super) fn question(&self, changes: &[Change]) -> Option<Question> {
        let changed = self.changed(changes)?;
        let asked = changed.asking(changed.scenario.clone()).ok()?;
        Some(asked.with_searched(self.found.clone()))
    }

    fn changed(&self, changes: &[Change]) -> Option<Question> {
        let mut changed = self.base.clone();
        for (what, value) in changes {
            match what {
                What::Setting(Setting::Mapping) => {
                    let Value::Word(name) = value else { return None };
                    let recipe = Recipe::builtin(name).ok()?;
                    changed = changed.with_mapping(Some(Mapping::Recipe(Box::new(recipe))));
                }
                What::Setting(setting) => setting.apply(&mut changed.scenario, value)?,
                What::Rate(declared) | What::Machine(declared) => {
                    changed.wafer.set(declared.path, value.number()?).ok()?;
                    // What the scenario changes is laid on the wafer again, and must not win.
                    changed.scenario.wafer_overrides.retain(|(path, _)| path != declared.path);
                }
            }
        }
        Some(changed)
    }

    /// Tokens per second of each user with changes; nothing where the model does not fit then.
    pub(super) fn speed(&self, changes: &[Change]) -> Option<f64> {
        let answer = answer_one_profile(&self.question(changes)?).ok()?;
        Some(answer.tokens_per_second_per_user)
    }

    /// Tokens per second of each user that no mapping beats with changes.
    pub(super) fn bound(&self, changes: &[Change]) -> f64 {
        let changed = self.question(changes);
        changed.map_or(0.0, |changed| no_mapping_beats(&changed).no_mapping_beats.tokens_per_second_per_user)
    }

    /// The best mapping that a search finds for the question with changes, from nothing.
    pub(super) fn search(&self, changes: &[Change]) -> Option<Searched> {
        if self.base.search.is_none() || self.base.mapping.is_some() {
            return None;
        }
        let changed = self.changed(changes)?;
        let (scenario, model, wafer) = (changed.scenario.clone(), changed.model.clone(), changed.wafer.clone());
        let anew = Question::new(scenario, model, wafer).ok()?.searching(Some(EFFORT));
        let anew = anew.with_extensions_of(&changed).ok()?;
        anew.searched().cloned()
    }
}

/// Speed of programs as they are written with one number changed.
pub(super) fn reread(read: &Reread, changes: &[Change]) -> Option<f64> {
    let question = read.question();
    let mut wafer: Option<Wafer> = None;
    let mut scenario: Option<Scenario> = None;
    for (what, value) in changes {
        match what {
            What::Rate(declared) | What::Machine(declared) => {
                let number = value.number()?;
                let of = wafer.take().unwrap_or_else(|| question.wafer.clone());
                let other =
                    of.map_values(|other, figure| if other.key == declared.key { number } else { figure.value });
                wafer = Some(other);
            }
            What::Setting(setting) => {
                let scenario = scenario.get_or_insert_with(|| question.scenario.clone());
                setting.apply(scenario, value)?;
            }
        }
    }
    Some(read.speed_on(wafer.as_ref().unwrap_or(&question.wafer), scenario.as_ref().unwrap_or(&question.scenario)))
}
