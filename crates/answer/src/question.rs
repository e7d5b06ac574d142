//! A scenario with everything it names loaded.

use std::sync::{Arc, OnceLock};

use wafersim_mapping::{Inputs, Load, Mapping, hash};
use wafersim_place::{KvLayoutChoice, Machine, Request};
use wafersim_search::Effort;
use wafersim_spec::scenario::{Prefill, Speculation, WaferCount};
use wafersim_spec::{Hertz, Model, Scenario, Wafer};

use crate::decode::Verified;
use crate::error::AnswerError;
use crate::extensions::Extensions;
use crate::known::KnownPrograms;
use crate::routers::KnownRouters;
use crate::rungs::Known;
use crate::searched::Searched;
use crate::stop::Stop;

/// A checked scenario with its model and wafer.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is asked.
    pub scenario: Scenario,
    /// The model.
    pub model: Model,
    /// The wafer, with the scenario's changes.
    pub wafer: Wafer,
    /// The draft model, where drafts are made and one is named.
    pub draft: Option<Model>,
    /// The mapping of the profiles `best` and `ideal`, where one was given.
    pub mapping: Option<Mapping>,
    /// How much is tried to find a better one, where none was given; nothing: the recipes that are built in.
    pub search: Option<Effort>,
    /// Code from outside.
    pub(crate) extensions: Extensions,
    /// What was found, once it has been looked for.
    pub(crate) searched: OnceLock<Option<Box<Searched>>>,
    /// The question to the other wafers that compute prompts, once somebody has asked for it.
    pub(crate) there: OnceLock<Box<Self>>,
    /// What questions like this one have in common.
    pub(crate) shared: Arc<Shared>,
    /// Whether anybody still waits.
    pub(crate) stop: Stop,
}

/// What was found for one question and holds for others.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// What was found at rungs.
    pub(crate) rungs: Known,
    /// Programs for which routers have been checked.
    pub(crate) routers: KnownRouters,
    /// Programs that were written.
    pub(crate) programs: KnownPrograms,
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

    /// A question about a model and a wafer that are already there. A draft model is loaded.
    ///
    /// # Errors
    /// As [`Question::load`].
    pub fn new(mut scenario: Scenario, model: Model, mut wafer: Wafer) -> Result<Self, AnswerError> {
        wafer.set_all(&scenario.wafer_overrides)?;
        scenario.fit_default_context(&model);
        let asked = scenario.asked_precision;
        scenario.fit_default_precision(&model);
        scenario.check_against(&model)?;
        let draft = scenario.speculation.draft_model.as_deref();
        // A name that leads nowhere is refused, whether anything is drafted or not.
        let draft = draft.map(|name| model.draft_model(name)).transpose()?;
        let draft = draft.filter(|_| scenario.speculation.draft_length > 0);
        if let Some(draft) = &draft {
            scenario.fit_draft_precision(asked, draft);
        }
        Ok(Self { draft, ..Self::plain(scenario, model, wafer) })
    }

    /// A question with nothing beside it.
    fn plain(scenario: Scenario, model: Model, wafer: Wafer) -> Self {
        let (draft, mapping, search, searched) = (None, None, None, OnceLock::new());
        let (extensions, shared, stop) = (Extensions::default(), Arc::default(), Stop::default());
        let there = OnceLock::new();
        Self { scenario, model, wafer, draft, mapping, search, extensions, searched, there, shared, stop }
    }

    /// The same with a mapping for the profiles `best` and `ideal`.
    #[must_use]
    pub fn with_mapping(self, mapping: Option<Mapping>) -> Self {
        Self { mapping, there: OnceLock::new(), ..self }
    }

    /// The same with a search for a better mapping than those that are built in, for the profiles `best` and `ideal`;
    /// it takes place when the first answer needs it.
    #[must_use]
    pub fn searching(self, search: Option<Effort>) -> Self {
        Self { search, searched: OnceLock::new(), there: OnceLock::new(), ..self }
    }

    /// The same, whose searches end soon after somebody has set `stop`; what is found then is of no use.
    #[must_use]
    pub fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, there: OnceLock::new(), ..self }
    }

    /// The best mapping found, where one is looked for and fits.
    pub fn searched(&self) -> Option<&Searched> {
        let effort = self.search.filter(|_| self.mapping.is_none())?;
        self.searched.get_or_init(|| Searched::new(self, effort).map(Box::new)).as_deref()
    }

    /// The same with what an earlier search for the same question has found.
    #[must_use]
    pub fn with_searched(self, searched: Option<Searched>) -> Self {
        Self { searched: OnceLock::from(searched.map(Box::new)), ..self }
    }

    /// FNV-1a hash (64 bit) of what the inputs mean: the scenario, the model, the wafer with all its figures, the draft
    /// model, and the mapping or how much is tried to find one. Names of files, how they are laid out, and defaults
    /// that are spelled out change nothing.
    pub fn input_hash(&self) -> String {
        let Scenario { speculation, .. } = &self.scenario;
        let nameless = |model: &Model| Model { name: String::new(), ..model.clone() };
        let scenario = Scenario {
            model: String::new(),
            wafer: String::new(),
            // They are in the wafer.
            wafer_overrides: Vec::new(),
            speculation: Speculation { draft_model: None, ..speculation.clone() },
            ..self.scenario.clone()
        };
        let mut wafer = self.wafer.clone();
        wafer.name.clear();
        wafer.title.clear();
        let inputs = (&scenario, nameless(&self.model), &wafer, self.draft.as_ref().map(nameless));
        let hash = match (&self.mapping, self.search) {
            (Some(mapping), _) => match mapping {
                // The recipe has the name of the file alone.
                Mapping::Recipe(recipe) if recipe.assignments().is_some() => {
                    hash::of(&(inputs, mapping.to_toml(), recipe.assignments()))
                }
                _ => hash::of(&(inputs, mapping.to_toml())),
            },
            (None, Some(effort)) => hash::of(&(inputs, effort)),
            (None, None) => hash::of(&inputs),
        };
        if self.extensions.is_empty() { hash } else { hash::of(&(hash, &self.extensions)) }
    }

    /// The same with other code from outside; what was found without it is looked for anew.
    pub(crate) fn extended(self, extensions: Extensions) -> Self {
        Self { extensions, searched: OnceLock::new(), there: OnceLock::new(), ..self }
    }

    /// The wafers to place on: as many as are asked for, or as the best mapping found takes.
    pub(crate) fn wafers(&self) -> WaferCount {
        match self.scenario.wafers {
            WaferCount::Auto if self.draft.is_none() => {
                self.searched().map_or(WaferCount::Auto, |searched| WaferCount::Exactly(searched.wafers))
            }
            asked => asked,
        }
    }

    /// Another scenario about the same model, wafer and mapping.
    ///
    /// # Errors
    /// As [`Question::new`].
    pub fn asking(&self, scenario: Scenario) -> Result<Self, AnswerError> {
        let other = Self::new(scenario, self.model.clone(), self.wafer.clone())?;
        let other = other.with_mapping(self.mapping.clone()).searching(self.search).with_extensions_of(self)?;
        Ok(Self { shared: Arc::clone(&self.shared), stop: self.stop.clone(), ..other })
    }

    /// What a mapping is resolved for.
    pub fn inputs(&self) -> Inputs<'_> {
        let scenario = &self.scenario;
        let load = Load {
            wafers: scenario.wafers,
            users: scenario.users,
            context: scenario.context,
            tokens_per_step: 1 + u64::from(scenario.speculation.draft_length),
            precision: scenario.precision,
            routing: scenario.routing,
        };
        Inputs {
            routing: self.extensions.routing(),
            counted: scenario.counted.as_ref(),
            ..Inputs::new(&self.model, &self.wafer, load)
        }
    }

    /// The clock that times are given at.
    pub fn clock(&self) -> Hertz {
        self.scenario.clock_ghz.map_or_else(|| self.wafer.clock(), Hertz::from_gigahertz)
    }

    /// Tokens of one user in a pass: 1, or the draft and the token after it where they are verified together.
    pub(crate) fn tokens_per_pass(&self, verified: Option<Verified>) -> u64 {
        match verified {
            Some(Verified::MicroBatch) => 1 + u64::from(self.scenario.speculation.draft_length),
            Some(Verified::Stream) | None => 1,
        }
    }

    /// Passes of one user's step: 1, or one for each token of the draft and one more where they follow each other.
    pub(crate) fn passes_per_step(&self, verified: Option<Verified>) -> u64 {
        match verified {
            Some(Verified::Stream) => 1 + u64::from(self.scenario.speculation.draft_length),
            Some(Verified::MicroBatch) | None => 1,
        }
    }

    /// The same question to the draft model by itself, where there is one.
    pub(crate) fn of_draft(&self) -> Option<Self> {
        let model = self.draft.clone()?;
        let speculation = Speculation::default();
        let scenario = Scenario {
            model: model.name.clone(),
            speculation,
            precision: self.scenario.draft_precision.unwrap_or(self.scenario.precision),
            draft_precision: None,
            ..self.scenario.clone()
        };
        let (mapping, extensions, stop) = (self.open_mapping(), self.extensions.clone(), self.stop.clone());
        Some(Self { mapping, extensions, stop, ..Self::plain(scenario, model, self.wafer.clone()) })
    }

    /// The same question without speculation, on exactly so many wafers.
    pub(crate) fn without_draft(&self, wafers: u32) -> Self {
        let scenario = Scenario {
            speculation: Speculation::default(),
            wafers: WaferCount::Exactly(wafers),
            ..self.scenario.clone()
        };
        // What was found is found for drafts too.
        Self { scenario, draft: None, mapping: self.open_mapping(), ..self.clone() }
    }

    /// The question to the other wafers that compute prompts, where their number is given: one user with the prompt,
    /// who is arranged as if it were to be answered there. Its search takes place once.
    pub(crate) fn prompts_there(&self) -> Option<&Self> {
        let wafers = self.scenario.prefill.wafers?;
        let there = || {
            let prompt = self.scenario.prompt.max(1);
            let scenario = Scenario {
                users: 1,
                context: prompt,
                prompt,
                prefill: Prefill::default(),
                ..self.without_draft(wafers).scenario
            };
            let mapping = self.open_mapping();
            Box::new(Self { scenario, draft: None, mapping, searched: OnceLock::new(), ..self.clone() })
        };
        Some(self.there.get_or_init(there))
    }

    /// The same question of one user, who has the prompt and nothing behind it.
    pub(crate) fn alone_behind_prompt(&self) -> Self {
        let scenario = Scenario { users: 1, context: self.scenario.prompt.max(1), ..self.scenario.clone() };
        Self { scenario, ..self.clone() }
    }

    /// The mapping for another load than this one: of a resolved one its recipe.
    fn open_mapping(&self) -> Option<Mapping> {
        self.mapping.as_ref().map(|mapping| Mapping::Recipe(Box::new(mapping.recipe().clone())))
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
