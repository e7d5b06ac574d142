//! By which mapping a profile works. `published` works by WaferLLM's. `best` and `ideal` work by the one that was given; where
//! none was, by the steps that are written beside the published kernels, layer by layer where they are faster.

use std::borrow::Cow;
use std::sync::Arc;

use wafersim_mapping::{LayerMapping, Mapped, Mapper, Mapping, MappingError, Recipe, Resolved};
use wafersim_place::Placement;
use wafersim_spec::scenario::{Profile, Verification, WaferCount};

use crate::decode::Verified;
use crate::error::AnswerError;
use crate::question::Question;
use crate::written::is_hypothetical;

/// Which kernels a placement runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Kernels {
    /// The published ones.
    Published,
    /// Those, and beside them the hypothetical steps: the faster counts.
    Steps,
    /// Those of a mapping.
    Mapped {
        /// By layout of the placement.
        layers: Arc<[LayerMapping]>,
        /// By table of the placement.
        tables: Arc<[LayerMapping]>,
    },
}

impl Kernels {
    /// Those of a layout: its mapping, where there is one.
    pub fn of_layout(&self, layout: usize) -> OfLayout<'_> {
        match self {
            Self::Published => OfLayout::Published,
            Self::Steps => OfLayout::Steps,
            Self::Mapped { layers, .. } => layers.get(layout).map_or(OfLayout::Published, OfLayout::Mapped),
        }
    }
}

/// Which kernels the layers of a layout run.
#[derive(Debug, Clone, Copy)]
pub enum OfLayout<'a> {
    /// The published ones.
    Published,
    /// Those, and the hypothetical steps.
    Steps,
    /// Those of a mapping.
    Mapped(&'a LayerMapping),
}

/// The mapping of a profile.
pub struct Chosen<'a> {
    question: &'a Question,
    recipe: Cow<'a, Recipe>,
    resolved: Option<&'a Resolved>,
    /// Whether its decisions are those that programs are written by.
    is_given: bool,
    is_hypothetical: bool,
}

impl<'a> Chosen<'a> {
    /// The mapping of a profile.
    pub fn new(question: &'a Question, profile: Profile) -> Self {
        let is_hypothetical = is_hypothetical(profile);
        let given = question.mapping.as_ref().filter(|_| is_hypothetical);
        let mut recipe = given.map_or_else(|| Cow::Owned(Recipe::published()), |given| Cow::Borrowed(given.recipe()));
        let scenario = &question.scenario;
        if given.is_none() || !scenario.default_placement {
            recipe.to_mut().pin_experts(scenario.placement);
        }
        let resolved = match given {
            Some(Mapping::Resolved(resolved)) => Some(&**resolved),
            _ => None,
        };
        Self { question, recipe, resolved, is_given: given.is_some(), is_hypothetical }
    }

    /// The same with its recipe, where its numbers are fixed: for another machine.
    pub fn open(self) -> Self {
        Self { resolved: None, ..self }
    }

    /// Ways in which a draft may be verified; what is first wins a tie. One of nothing without speculation.
    pub fn verified(&self) -> &'static [Option<Verified>] {
        let asked = match self.question.scenario.speculation.verification {
            Verification::Faster => self.resolved.map_or(self.recipe.draft, |resolved| resolved.draft),
            pinned => pinned,
        };
        Verified::allowed(self.question, asked)
    }

    fn mapper(&self) -> Mapper<'_> {
        Mapper::new(&self.recipe, self.question.inputs())
    }

    /// The mapping in the layout of fewest bytes on so many wafers, for passes of `together` of all `users`.
    ///
    /// # Errors
    /// Where the model does not fit, or a decision cannot be kept.
    pub fn smallest(
        &self,
        wafers: WaferCount,
        verified: Option<Verified>,
        together: u64,
        users: u64,
    ) -> Result<Mapped, AnswerError> {
        let Some(resolved) = self.resolved else {
            return Ok(self.mapper().with_users(users).smallest(wafers, draft_of(verified), together)?);
        };
        self.check_pins(resolved)?;
        let mapped = resolved.mapped(self.question.inputs())?;
        match wafers {
            WaferCount::Exactly(wafers) if wafers < mapped.placement.wafers => {
                let problem = format!("is {}, and {wafers} are left beside a draft model", mapped.placement.wafers);
                let (mapping, field) = (resolved.name.clone(), "division.wafers".into());
                Err(MappingError::Contradiction { mapping, field, problem }.into())
            }
            _ => Ok(mapped),
        }
    }

    /// Whether what the scenario pins is as a resolved mapping has it.
    fn check_pins(&self, resolved: &Resolved) -> Result<(), AnswerError> {
        let scenario = &self.question.scenario;
        let refuse = |field: &str, value: String, asked: String| {
            let allowed = format!("{asked}, as the scenario asks; or no such wish, or the recipe of the mapping");
            let (mapping, field) = (resolved.name.clone(), field.into());
            Err(MappingError::Decision { mapping, field, value, allowed }.into())
        };
        let mut experts = resolved.kinds.iter().filter_map(|kind| kind.mapping.experts.as_ref());
        if !scenario.default_placement
            && let Some(other) = experts.find(|experts| experts.strategy != Some(scenario.placement))
        {
            let is = other.strategy.map_or_else(|| "a file".to_owned(), |strategy| strategy.to_string());
            return refuse("experts.strategy", is, scenario.placement.to_string());
        }
        let (wanted, is) = (scenario.speculation.verification, resolved.draft);
        if self.question.inputs().load.tokens_per_step > 1
            && ![wanted, is].contains(&Verification::Faster)
            && wanted != is
        {
            return refuse("draft", is.to_string(), wanted.to_string());
        }
        Ok(())
    }

    /// A mapping and the same in the other KV layouts worth trying.
    pub fn splits(&self, first: Mapped) -> Vec<Mapped> {
        if self.resolved.is_some() { vec![first] } else { self.mapper().splits(first) }
    }

    /// The ways of working that begin with a mapping; where the number of wafers is given, on fewer of them too.
    pub fn ways(&self, first: Mapped) -> Vec<Mapped> {
        if self.resolved.is_some() {
            return vec![first];
        }
        let mapper = self.mapper();
        let mut bases = vec![first];
        if matches!(self.question.scenario.wafers, WaferCount::Exactly(_)) {
            bases.extend(mapper.on_fewer(bases[0].placement.wafers, bases[0].draft));
        }
        bases.extend(mapper.wider(&bases[0]));
        bases.into_iter().flat_map(|base| mapper.ways(base)).collect()
    }

    /// Whether so many wafers hold so many users in any arrangement.
    pub fn holds(&self, users: u64, wafers: u32, verified: Option<Verified>) -> bool {
        self.mapper().holds(users, wafers, draft_of(verified))
    }

    /// Whether its numbers are fixed.
    pub const fn is_resolved(&self) -> bool {
        self.resolved.is_some()
    }

    /// The kernels of a mapping of its.
    pub fn kernels(&self, mapped: &Mapped) -> Kernels {
        match (self.is_given, self.is_hypothetical) {
            (true, _) => {
                Kernels::Mapped { layers: mapped.layers.as_slice().into(), tables: mapped.tables.as_slice().into() }
            }
            (false, true) => Kernels::Steps,
            (false, false) => Kernels::Published,
        }
    }

    /// The kernels of a placement that was made elsewhere: its recipe's decisions.
    ///
    /// # Errors
    /// Where a decision cannot be kept on it.
    pub fn kernels_on(&self, placement: &Placement) -> Result<Kernels, AnswerError> {
        if !self.is_given {
            return Ok(if self.is_hypothetical { Kernels::Steps } else { Kernels::Published });
        }
        let (layers, tables) = self.mapper().decisions(placement)?;
        Ok(Kernels::Mapped { layers: layers.into(), tables: tables.into() })
    }
}

/// The decision that leads to a way of verifying.
pub const fn draft_of(verified: Option<Verified>) -> Verification {
    match verified {
        Some(Verified::Stream) => Verification::Stream,
        Some(Verified::MicroBatch) => Verification::MicroBatch,
        None => Verification::Faster,
    }
}
