//! From what a user wrote to what is asked: defaults filled in, every value in its range.

use super::settings::{self, Given};
use super::{PrecisionFile, Scenario, ScenarioFile, Speculation, SpeculationFile};
use crate::error::{SpecError, nearest_name};
use crate::model::Model;
use crate::wafer::DECLARATIONS;

/// A context may be so many times longer than the model's `max_position_embeddings`: with YaRN, Qwen3-Coder goes from
/// 262,144 to 1,048,576 positions (its model card).
pub const CONTEXT_BEYOND_POSITIONS: u64 = 4;

impl ScenarioFile {
    /// The scenario, with defaults where nothing is given. `file` is its name in messages.
    ///
    /// # Errors
    /// Where a value is outside its range, or a wafer parameter does not exist.
    pub fn check(self, file: &str) -> Result<Scenario, SpecError> {
        let default = Scenario::default();
        let whole = |path, value: u64| settings::check(file, path, Given::Whole(value)).map(|()| value);
        let real = |path, value: f64| settings::check(file, path, Given::Real(value)).map(|()| value);
        let word = |path, value: String| settings::check(file, path, Given::Word(&value)).map(|()| value);

        let wafers = self.wafers.unwrap_or(default.wafers);
        settings::check(file, "wafers", Given::Word(&wafers.to_string()))?;
        let default_context = self.context.is_none();
        let context = whole("context", self.context.unwrap_or(default.context))?;
        let clock_ghz = match self.clock_ghz {
            Some(clock) => Some(real("clock_ghz", clock)?),
            None => None,
        };
        let precision = self.precision.over(default.precision);
        settings::check(file, "precision.activations", Given::Word(precision.activations.name()))?;
        if let Some(router) = self.precision.router {
            settings::check(file, "precision.router", Given::Word(router.name()))?;
        }
        let speculation = self.speculation.check(file)?;
        let prefill = self.prefill.check(file)?;
        for (path, value) in self.wafer_parameters.entries() {
            check_wafer_parameter(file, path, *value)?;
        }
        Ok(Scenario {
            model: word("model", self.model.unwrap_or(default.model))?,
            wafer: word("wafer", self.wafer.unwrap_or(default.wafer))?,
            wafers,
            users: whole("users", self.users.unwrap_or(default.users))?,
            context,
            default_context,
            prompt: whole("prompt", self.prompt.unwrap_or(context))?,
            profile: self.profile.unwrap_or(default.profile),
            placement: self.placement.unwrap_or(default.placement),
            default_placement: self.placement.is_none(),
            routing: self.routing.unwrap_or(default.routing),
            counted: None,
            target: real("target", self.target.unwrap_or(default.target))?,
            clock_ghz,
            precision,
            asked_precision: Some(self.precision),
            precision_source: None,
            draft_precision: None,
            speculation,
            prefill,
            wafer_overrides: self.wafer_parameters.entries().to_vec(),
        })
    }
}

impl SpeculationFile {
    fn check(self, file: &str) -> Result<Speculation, SpecError> {
        let default = Speculation::default();
        let real = |path, value: Option<f64>| match value {
            Some(value) => settings::check(file, path, Given::Real(value)).map(|()| Some(value)),
            None => Ok(None),
        };
        let draft_length = self.draft_length.unwrap_or(default.draft_length);
        settings::check(file, "speculation.draft_length", Given::Whole(u64::from(draft_length)))?;
        let is_given = self.acceptance.is_some();
        let acceptance = self.acceptance.unwrap_or(default.acceptance);
        settings::check(file, "speculation.acceptance", Given::Acceptance(&acceptance))?;
        if let Some(model) = &self.draft_model {
            settings::check(file, "speculation.draft_model", Given::Word(model))?;
        }
        let speculation = Speculation {
            draft_length,
            acceptance,
            default_acceptance: !is_given,
            accepted_length: real("speculation.accepted_length", self.accepted_length)?,
            draft_cost: real("speculation.draft_cost", self.draft_cost)?,
            draft_model: self.draft_model,
            verification: self.verification.unwrap_or(default.verification),
        };
        speculation.check(file, is_given)?;
        Ok(speculation)
    }
}

fn check_wafer_parameter(file: &str, path: &str, value: f64) -> Result<(), SpecError> {
    let Some(declaration) = DECLARATIONS.iter().find(|declared| declared.path == path) else {
        return Err(SpecError::UnknownName {
            kind: "wafer parameter",
            name: path.into(),
            nearest: nearest_name(path, DECLARATIONS.iter().map(|declared| declared.path)),
            allowed: format!("see [wafer_parameters] in {file}, and the wafer file for the names of its parameters"),
        });
    };
    declaration.check(value).map_err(|problem| SpecError::Field {
        file: file.into(),
        field: format!("wafer_parameters.{path}"),
        problem,
        allowed: declaration.allowed(),
    })
}

impl Scenario {
    /// Where no context was given, shortens the default to the positions that the model was made for, and a prompt that
    /// followed it with it.
    pub fn fit_default_context(&mut self, model: &Model) {
        if self.default_context && self.context > model.max_positions {
            if self.prompt == self.context {
                self.prompt = model.max_positions;
            }
            self.context = model.max_positions;
        }
    }

    /// Where data types were left open, takes those of the model's checkpoint. Afterwards nothing is open.
    pub fn fit_default_precision(&mut self, model: &Model) {
        if let (Some(asked), Some(checkpoint)) = (self.asked_precision.take(), &model.checkpoint) {
            self.precision = asked.over(checkpoint.precision);
            let said = asked.said();
            let otherwise = if said.is_empty() { String::new() } else { format!("; as asked: {}", said.join(", ")) };
            self.precision_source = Some(format!("{}{otherwise}", checkpoint.words()));
        }
    }

    /// Where data types were left open (`asked`), a draft model takes those of its checkpoint: a file of its own, or
    /// the layers for multi-token prediction of the model's.
    pub fn fit_draft_precision(&mut self, asked: Option<PrecisionFile>, draft: &Model) {
        let (Some(asked), Some(checkpoint)) = (asked, draft.checkpoint.as_ref()) else { return };
        let precision = asked.over(checkpoint.precision);
        if precision == self.precision {
            return;
        }
        self.draft_precision = Some(precision);
        let before = self.precision_source.take().map(|source| format!("{source}; ")).unwrap_or_default();
        self.precision_source = Some(format!("{before}the draft model: {}", checkpoint.words()));
    }

    /// Refuses a context or prompt that is too long for the model: more than [`CONTEXT_BEYOND_POSITIONS`] times its
    /// `max_position_embeddings`.
    ///
    /// # Errors
    /// [`SpecError::Field`] that names the model's own limit.
    pub fn check_against(&self, model: &Model) -> Result<(), SpecError> {
        let at_least_one =
            [("users", self.users), ("context", self.context)].into_iter().find(|(_, value)| *value == 0);
        let clock = self.clock_ghz.unwrap_or(1.0);
        let wrong = match at_least_one {
            Some((field, value)) => Some((field, value.to_string(), "at least 1")),
            // A search asks for no speed at all.
            None if !(self.target.is_finite() && self.target >= 0.0) => {
                Some(("target", self.target.to_string(), "a finite number above 0"))
            }
            None if !(clock.is_finite() && clock > 0.0) => Some(("clock_ghz", clock.to_string(), "a number above 0")),
            None => None,
        };
        if let Some((field, value, allowed)) = wrong {
            let (file, field, problem) = ("scenario".into(), field.into(), format!("is {value}"));
            return Err(SpecError::Field { file, field, problem, allowed: allowed.into() });
        }
        self.prefill.check("scenario")?;
        let most = model.max_positions.saturating_mul(CONTEXT_BEYOND_POSITIONS);
        for (field, tokens) in [("context", self.context), ("prompt", self.prompt)] {
            if tokens > most {
                return Err(SpecError::Field {
                    file: "scenario".into(),
                    field: field.into(),
                    problem: format!("is {tokens} tokens, too long for {}", model.name),
                    allowed: format!(
                        "1 to {most}: {CONTEXT_BEYOND_POSITIONS} times the {} positions that the model was made for, \
                         as far as YaRN stretches them",
                        model.max_positions
                    ),
                });
            }
        }
        Ok(())
    }
}
