//! By which mappings a profile works: the one place that says so.
//!
//! `published` works by WaferLLM's. `best` and `ideal` work by the one that was given. Where none was, they work by the
//! best that is known: the recipe `best`, the published one where that is faster, or what a search has found where one
//! was asked for ([`crate::searched`]).

use std::borrow::Cow;
use std::sync::Arc;

use wafersim_mapping::{Common, Mapped, Mapper, Mapping, MappingError, Recipe, Resolved};
use wafersim_place::Placement;
use wafersim_spec::scenario::{Profile, Verification, WaferCount};

use crate::decode::Verified;
use crate::error::AnswerError;
use crate::question::Question;

/// Where a mapping comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// WaferLLM's.
    Published,
    /// Every rewrite that is known.
    Best,
    /// Found by a search.
    Found,
    /// Given with the question.
    Given,
}

impl Source {
    /// Those by which a profile works; of equally fast ones the first counts.
    pub fn of(question: &Question, profile: Profile) -> &'static [Self] {
        match (profile, &question.mapping) {
            (Profile::Published, _) => &[Self::Published],
            (Profile::Best | Profile::Ideal, Some(_)) => &[Self::Given],
            // What is wanted is not speed: the fastest is none of it.
            (Profile::Best | Profile::Ideal, None)
                if question.searches_by_own_objective() && question.searched().is_some() =>
            {
                &[Self::Found]
            }
            (Profile::Best | Profile::Ideal, None) if question.searched().is_some() => {
                &[Self::Published, Self::Best, Self::Found]
            }
            (Profile::Best | Profile::Ideal, None) => &[Self::Published, Self::Best],
        }
    }

    /// The one that says most of a profile: for who compares something else than mappings.
    pub fn main(question: &Question, profile: Profile) -> Self {
        let mut all = Self::of(question, profile).iter().copied();
        all.rfind(|source| *source != Self::Found).unwrap_or(Self::Published)
    }

    /// The same for another machine or model: what was found for one is not for another.
    #[must_use]
    pub const fn elsewhere(self) -> Self {
        match self {
            Self::Found => Self::Best,
            other => other,
        }
    }
}

/// A mapping for a question.
pub struct Chosen<'a> {
    question: &'a Question,
    source: Source,
    recipe: Cow<'a, Recipe>,
    resolved: Option<&'a Resolved>,
    /// What all ways of it have in common.
    common: Arc<Common<'a>>,
}

impl<'a> Chosen<'a> {
    /// The mapping of a source.
    ///
    /// # Errors
    /// Where a recipe that is built in cannot be read.
    pub fn new(question: &'a Question, source: Source) -> Result<Self, AnswerError> {
        let given = question.mapping.as_ref().filter(|_| source == Source::Given);
        let mut recipe = match (given, source) {
            (Some(given), _) => Cow::Borrowed(given.recipe()),
            (None, Source::Found) => match question.searched() {
                Some(searched) => Cow::Borrowed(&searched.recipe),
                None => Cow::Owned(Recipe::builtin("best")?),
            },
            (None, Source::Best) => Cow::Owned(Recipe::builtin("best")?),
            (None, _) => Cow::Owned(Recipe::published()),
        };
        let scenario = &question.scenario;
        if given.is_none() || !scenario.default_placement {
            recipe.to_mut().pin_experts(scenario.placement);
        }
        if let Some(own) = question.extensions.experts() {
            if let Some(Mapping::Resolved(resolved)) = given {
                let (kind, id) = ("experts", own.strategy.id().to_owned());
                let problem = format!("takes the place of what mapping '{}' has resolved", resolved.name);
                let allowed = "a recipe beside it, or no mapping".into();
                return Err(MappingError::Own { kind, id, problem, allowed }.into());
            }
            question.extensions.pin_experts(recipe.to_mut());
        }
        let resolved = match given {
            Some(Mapping::Resolved(resolved)) => Some(&**resolved),
            _ => None,
        };
        let common = Arc::new(Common::new(&question.model));
        Ok(Self { question, source, recipe, resolved, common })
    }

    /// The same with its recipe, where its numbers are fixed: for another machine.
    pub fn open(self) -> Self {
        Self { resolved: None, ..self }
    }

    /// Where it comes from.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The name of the mapping.
    pub fn name(&self) -> &str {
        self.resolved.map_or(&self.recipe.name, |resolved| &resolved.name)
    }

    /// The recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// A mapping of its with every number.
    pub fn resolved(&self, mapped: &Mapped) -> Resolved {
        let mut asked = self.question.inputs();
        asked.load.wafers = WaferCount::Exactly(mapped.placement.wafers);
        match self.resolved {
            Some(resolved) => resolved.clone(),
            None => Resolved::new(mapped, &self.recipe, asked),
        }
    }

    /// Ways in which a draft may be verified; what is first wins a tie. One of nothing without speculation.
    pub fn verified(&self) -> &'static [Option<Verified>] {
        let asked = match self.question.scenario.speculation.verification {
            Verification::Faster => self.resolved.map_or(self.recipe.draft, |resolved| resolved.draft),
            pinned => pinned,
        };
        Verified::allowed(self.question, asked)
    }

    /// Its refusals do not say what would do: that takes a search of its own, and ways that do not fit are left out.
    fn mapper(&self) -> Mapper<'_> {
        Mapper::one_of_many(&self.recipe, self.question.inputs(), &self.common)
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
            let smallest = |mapper: Mapper<'_>| mapper.with_users(users).smallest(wafers, draft_of(verified), together);
            // Who is refused hears what would do.
            let explained = || smallest(Mapper::new(&self.recipe, self.question.inputs()));
            return Ok(smallest(self.mapper()).or_else(|_| explained())?);
        };
        self.check_pins(resolved)?;
        let mapped = resolved.mapped(self.question.inputs())?;
        match wafers {
            WaferCount::Exactly(wafers) if wafers < mapped.placement.wafers => {
                let problem = format!("is {}, and {wafers} are left beside a draft model", mapped.placement.wafers);
                let (mapping, field) = (resolved.called(), "division.wafers".into());
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

    /// A mapping and the same in slots of other shapes and in other KV layouts.
    pub fn shapes(&self, first: Mapped) -> Vec<Mapped> {
        if self.resolved.is_some() { vec![first] } else { self.mapper().shapes(first) }
    }

    /// The ways of working that begin with a mapping; where the number of wafers is given, on fewer of them too.
    pub fn ways(&self, first: Mapped) -> Vec<Mapped> {
        if self.resolved.is_some() {
            return vec![first];
        }
        let mapper = self.mapper();
        if let (Source::Found, Some(searched)) = (self.source, self.question.searched()) {
            // It leaves nothing but the users that go through together, and the search has said how many.
            let wafers = WaferCount::Exactly(first.placement.wafers);
            let with_more = (searched.micro_batch != first.micro_batch)
                .then(|| mapper.smallest(wafers, first.draft, searched.micro_batch).ok());
            return vec![with_more.flatten().unwrap_or(first)];
        }
        let mut bases = vec![first];
        if matches!(self.question.wafers(), WaferCount::Exactly(_)) {
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

    /// A placement that was made elsewhere with the decisions of its recipe.
    ///
    /// # Errors
    /// Where a decision cannot be kept on it.
    pub fn on(&self, placement: Placement) -> Result<Mapped, AnswerError> {
        Ok(self.mapper().on(placement)?)
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
