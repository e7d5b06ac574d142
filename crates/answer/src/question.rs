//! A scenario with everything it names loaded.

use wafersim_place::{KvLayoutChoice, Machine, Request};
use wafersim_spec::scenario::WaferCount;
use wafersim_spec::{Hertz, Model, Scenario, Wafer};

use crate::error::AnswerError;

/// A checked scenario with its model and wafer.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is asked.
    pub scenario: Scenario,
    /// The model.
    pub model: Model,
    /// The wafer, with the scenario's changes.
    pub wafer: Wafer,
}

impl Question {
    /// Loads what a scenario names: built-ins or files.
    ///
    /// # Errors
    /// Where model or wafer cannot be read, a changed parameter is not allowed, or the context is beyond the model.
    pub fn load(scenario: Scenario) -> Result<Self, AnswerError> {
        let model = Model::from_name_or_path(&scenario.model)?;
        let wafer = Wafer::from_name_or_path(&scenario.wafer)?;
        Self::new(scenario, model, wafer)
    }

    /// A question about a model and a wafer that are already there.
    ///
    /// # Errors
    /// As [`Question::load`].
    pub fn new(mut scenario: Scenario, model: Model, mut wafer: Wafer) -> Result<Self, AnswerError> {
        wafer.set_all(&scenario.wafer_overrides)?;
        scenario.fit_default_context(&model);
        scenario.check_against(&model)?;
        Ok(Self { scenario, model, wafer })
    }

    /// The clock that times are given at.
    pub fn clock(&self) -> Hertz {
        self.scenario.clock_ghz.map_or_else(|| self.wafer.clock(), Hertz::from_gigahertz)
    }

    /// Tokens of one user that go through the model together: 1, or the draft and the token after it.
    pub fn tokens_per_step(&self) -> u64 {
        1 + u64::from(self.scenario.speculation.draft_length)
    }

    /// The question to placement for micro-batches of so many tokens.
    pub(crate) fn request(&self, wafers: WaferCount, micro_batch: u64, kv_layout: KvLayoutChoice) -> Request<'_> {
        Request {
            precision: self.scenario.precision,
            users: self.scenario.users,
            context: self.scenario.context,
            micro_batch,
            wafers,
            experts: self.scenario.placement,
            kv_layout,
            ..Request::new(&self.model, Machine::from(&self.wafer))
        }
    }
}
