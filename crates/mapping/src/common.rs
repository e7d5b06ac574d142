//! What all recipes for one model have in common, found once for who resolves many of them: the kinds of its layers,
//! the roles of its tensors, and the placements that were made last. Most decisions move no byte, so that neighbours in
//! a search lie alike.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use wafersim_place::{Kinds, Placement, Roles, Settings};
use wafersim_spec::scenario::{ExpertPlacement, WaferCount};
use wafersim_spec::{Model, Size};

/// Placements that are kept.
const PLACEMENTS: usize = 12;

/// What all recipes for one model have in common.
#[derive(Debug)]
pub struct Common<'a> {
    /// The kinds of its layers.
    pub(crate) kinds: Kinds<'a>,
    roles: OnceLock<Roles>,
    /// The last ones, oldest first.
    placements: Mutex<Vec<(Decided, Arc<Placement>)>>,
}

/// Everything that a placement of the model depends on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Decided {
    /// Where no more is stored wide than must be.
    pub settings: Settings,
    /// The wafers that were asked for.
    pub wafers: WaferCount,
    /// What may be stored wide.
    pub may: Roles,
    /// Whether all of that is.
    pub all_wide: bool,
    /// How experts are placed.
    pub experts: DecidedExperts,
}

/// How experts are placed, where no file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecidedExperts {
    /// Who places them.
    pub strategy: ExpertPlacement,
    /// How many share a rectangle.
    pub sharing: Size,
    /// The spare room there.
    pub spare: Size,
}

impl<'a> Common<'a> {
    /// What all recipes for a model have in common.
    pub fn new(model: &'a Model) -> Self {
        Self { kinds: Kinds::new(model), roles: OnceLock::new(), placements: Mutex::default() }
    }

    /// Roles of the model's tensors.
    pub(crate) fn roles(&self) -> Roles {
        *self.roles.get_or_init(|| self.kinds.roles())
    }

    /// A placement that was made before.
    pub(crate) fn known(&self, decided: &Decided) -> Option<Arc<Placement>> {
        let placements = self.placements.lock().unwrap_or_else(PoisonError::into_inner);
        let known = placements.iter().rev().find(|(known, _)| known == decided);
        known.map(|(_, placement)| Arc::clone(placement))
    }

    pub(crate) fn keep(&self, decided: Decided, placement: &Arc<Placement>) {
        let mut placements = self.placements.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if placements.len() < PLACEMENTS { None } else { Some(placements.remove(0)) };
        placements.push((decided, Arc::clone(placement)));
        // Who drops it need not be waited for.
        drop(placements);
        drop(oldest);
    }
}
