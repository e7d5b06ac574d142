//! Code from outside that a question is answered with: an own placement of experts, an own routing model, own kernels
//! and rewrites; what a search for its mapping wants and tries. Own collectives stand in the mapping
//! ([`wafersim_mapping::Reduction::Own`]); a search by itself has its own objective and moves ([`crate::map::How`]).
//!
//! Each has an id, which stands in the answer and in its `input_hash`.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use wafersim_graph::{OwnRewrite, OwnRewrites};
use wafersim_lower::Kernel;
use wafersim_mapping::{ExpertUse, Experts, MappingError, OwnExperts, OwnRouting, Recipe, RoutingWeights};
use wafersim_search::Move;

use crate::error::AnswerError;
use crate::map::OwnObjective;
use crate::question::Question;

/// Code from outside.
#[derive(Clone, Default)]
pub struct Extensions {
    experts: Option<OwnExperts>,
    routing: Option<Routing>,
    kernels: Vec<Arc<dyn Kernel>>,
    rewrites: OwnRewrites,
    objective: Option<Arc<dyn OwnObjective>>,
    moves: Vec<Arc<dyn Move>>,
}

/// A routing model, and what it says of the question's models.
#[derive(Clone)]
struct Routing {
    code: Arc<dyn RoutingWeights>,
    says: Arc<OwnRouting>,
}

impl Extensions {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids().is_empty()
    }

    /// Kind and id of each.
    pub fn ids(&self) -> Vec<(&'static str, String)> {
        let mut ids = Vec::new();
        ids.extend(self.experts.iter().map(|own| ("experts", own.strategy.id().to_owned())));
        ids.extend(self.routing.iter().map(|own| ("routing", own.says.id().to_owned())));
        ids.extend(self.kernels.iter().map(|kernel| ("kernel", kernel.id())));
        ids.extend(self.rewrites.ids().map(|id| ("rewrite", id)));
        ids.extend(self.objective.iter().map(|own| ("objective", own.id())));
        ids.extend(self.moves.iter().map(|own| ("move", own.id())));
        ids
    }

    /// The own kernels.
    pub fn kernels(&self) -> &[Arc<dyn Kernel>] {
        &self.kernels
    }

    /// The own rewrites.
    pub const fn rewrites(&self) -> &OwnRewrites {
        &self.rewrites
    }

    /// What a search wants in place of speed.
    pub(crate) const fn objective(&self) -> Option<&Arc<dyn OwnObjective>> {
        self.objective.as_ref()
    }

    /// What a search tries beside its own moves.
    pub(crate) fn moves(&self) -> &[Arc<dyn Move>] {
        &self.moves
    }

    /// The same without what concerns searches.
    fn without_search(&self) -> Self {
        Self { objective: None, moves: Vec::new(), ..self.clone() }
    }

    pub(crate) const fn experts(&self) -> Option<&OwnExperts> {
        self.experts.as_ref()
    }

    pub(crate) fn routing(&self) -> Option<&OwnRouting> {
        self.routing.as_ref().map(|own| &*own.says)
    }

    /// A recipe with the experts as an own placement has them, where there is one.
    pub(crate) fn pin_experts(&self, recipe: &mut Recipe) {
        if let Some(own) = &self.experts {
            recipe.experts = Experts::Own(own.clone());
        }
    }

    /// The same without the own routing model: as the scenario has it.
    pub(crate) fn without_routing(&self) -> Self {
        Self { routing: None, ..self.clone() }
    }

    /// Whether several placements of a table would all be the same one.
    pub(crate) fn check_placements(&self, count: usize) -> Result<(), AnswerError> {
        match &self.experts {
            Some(own) if count > 1 => Err(AnswerError::Mapping(MappingError::Own {
                kind: "experts",
                id: own.strategy.id().to_owned(),
                problem: format!("takes the place of {count} placements"),
                allowed: "one placement beside an own one".into(),
            })),
            _ => Ok(()),
        }
    }
}

/// Kinds, ids, and what own routing models say.
impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let experts = self.experts.clone().map(Experts::Own);
        (self.ids(), experts, self.routing()).serialize(serializer)
    }
}

impl fmt::Debug for Extensions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.ids()).finish()
    }
}

impl Question {
    /// The same with the routed experts placed by a strategy from outside, under every profile: in place of
    /// `scenario.placement`.
    #[must_use]
    pub fn with_experts(self, experts: OwnExperts) -> Self {
        let extensions = Extensions { experts: Some(experts), ..self.extensions.clone() };
        self.extended(extensions)
    }

    /// The same with a routing model from outside, in place of `scenario.routing`. It is asked now, about every kind of
    /// layer of the model and of the draft model.
    ///
    /// # Errors
    /// Where its weights are none ([`OwnRouting::new`]).
    pub fn with_routing(self, routing: Arc<dyn RoutingWeights>) -> Result<Self, AnswerError> {
        let says = OwnRouting::new(&*routing, std::iter::once(&self.model).chain(&self.draft))?;
        let routing = Some(Routing { code: routing, says: Arc::new(says) });
        let extensions = Extensions { routing, ..self.extensions.clone() };
        Ok(self.extended(extensions))
    }

    /// The same with one more kernel from outside.
    #[must_use]
    pub fn with_kernel(self, kernel: Arc<dyn Kernel>) -> Self {
        let mut extensions = self.extensions.clone();
        extensions.kernels.push(kernel);
        self.extended(extensions)
    }

    /// The same with one more rewrite from outside: every layer of a decoding pass gets it after the rewrites of its
    /// mapping, under every profile. A chunk of a prompt has kernels of its own, which no rewrite of an order reaches.
    #[must_use]
    pub fn with_rewrite(self, rewrite: Arc<dyn OwnRewrite>) -> Self {
        let extensions =
            Extensions { rewrites: self.extensions.rewrites.clone().and(rewrite), ..self.extensions.clone() };
        self.extended(extensions)
    }

    /// The same with an objective from outside for the search of its mapping ([`Question::searching`]), in place of
    /// each user's speed: what is found is what `best` and `ideal` work by, faster or slower than the published
    /// mapping.
    #[must_use]
    pub fn with_objective(self, objective: Arc<dyn OwnObjective>) -> Self {
        let extensions = Extensions { objective: Some(objective), ..self.extensions.clone() };
        self.extended(extensions)
    }

    /// The same with one more move from outside for the search of its mapping.
    #[must_use]
    pub fn with_move(self, own: Arc<dyn Move>) -> Self {
        let mut extensions = self.extensions.clone();
        extensions.moves.push(own);
        self.extended(extensions)
    }

    /// Whether its mapping is found by an objective from outside.
    pub(crate) fn searches_by_own_objective(&self) -> bool {
        self.is_searching() && self.extensions.objective.is_some()
    }

    fn is_searching(&self) -> bool {
        self.search.is_some() && self.mapping.is_none()
    }

    /// The same with the code from outside of another question.
    ///
    /// # Errors
    /// Where its routing model has no weights for this model.
    pub fn with_extensions_of(self, other: &Self) -> Result<Self, AnswerError> {
        if other.extensions.is_empty() && self.extensions.is_empty() {
            return Ok(self);
        }
        let extended = self.extended(other.extensions.without_routing());
        match &other.extensions.routing {
            Some(own) => extended.with_routing(Arc::clone(&own.code)),
            None => Ok(extended),
        }
    }

    /// Code from outside that it is answered with.
    pub const fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// How tokens choose experts.
    pub fn expert_use(&self) -> ExpertUse<'_> {
        self.inputs().expert_use()
    }

    /// Who places the experts: the id of an own placement, or the name of the scenario's.
    pub fn placement_name(&self) -> String {
        let own = self.extensions.experts().map(|own| own.strategy.id().to_owned());
        own.unwrap_or_else(|| self.scenario.placement.to_string())
    }

    /// All code from outside, with that of the mapping, in words: `experts: snake`.
    pub fn own_code(&self) -> Vec<String> {
        let of_mapping = self.mapping.iter().flat_map(|mapping| mapping.recipe().own());
        let of_mapping = of_mapping.map(|(kind, id)| (kind, id.to_owned()));
        // Where nothing is searched, no objective and no move has a say.
        let own = if self.is_searching() { self.extensions.ids() } else { self.extensions.without_search().ids() };
        own.into_iter().chain(of_mapping).map(|(kind, id)| format!("{kind}: {id}")).collect()
    }
}
