//! Why there is no answer.

use thiserror::Error;
use wafersim_fabric::circuit::CircuitError;
use wafersim_lower::LowerError;
use wafersim_mapping::MappingError;
use wafersim_place::PlaceError;
use wafersim_spec::{Bytes, SpecError};

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Something is wrong with what the user gave.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The model cannot be placed.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A mapping is wrong, or does not fit.
    #[error(transparent)]
    Mapping(MappingError),
    /// A layer cannot be written as a mapping says.
    #[error("mapping '{mapping}': {error}")]
    Lower {
        /// Name of the mapping.
        mapping: String,
        /// Why not.
        error: LowerError,
    },
    /// The model can be placed, but its draft model not beside it.
    #[error(
        "{wafers} wafer(s) do not hold '{model}' and its draft model '{draft}': {needed} would do (or fewer users, a shorter context, another speculation.draft_model)"
    )]
    DraftDoesNotFit {
        /// Wafers that were asked for.
        wafers: u32,
        /// What `auto` would use.
        needed: u32,
        /// Name of the model.
        model: String,
        /// Name of its draft model.
        draft: String,
    },
    /// A draft model has a part that no slot holds.
    #[error(
        "a part of draft model '{draft}' does not fit the slots into which '{model}' divides a wafer: no number of \
         wafers would do; allowed are a smaller speculation.draft_model, smaller data types (precision.weights, of \
         both), fewer users or a shorter context"
    )]
    DraftInNoSlot {
        /// Name of the model.
        model: String,
        /// Name of its draft model.
        draft: String,
    },
    /// The other wafers that compute prompts do not hold the model.
    #[error("prefill.wafers: {reason}")]
    Prefill {
        /// Why not.
        reason: Box<Self>,
    },
    /// A demand on experts is of another model.
    #[error(
        "model '{model}' has {layers} layers of {experts} routed experts, and the trace has {demand}: allowed is a trace of this model"
    )]
    Demand {
        /// Name of the model.
        model: String,
        /// Its layers with routed experts.
        layers: usize,
        /// Experts of each.
        experts: u64,
        /// The shape of the demand.
        demand: String,
    },
    /// The numbers given lead to a time that is no number: parameters are too large or too small.
    #[error("{what} comes out as {value}: a wafer parameter is too extreme; check what was set")]
    NotANumber {
        /// Which figure.
        what: &'static str,
        /// Its value.
        value: String,
    },
    /// Programs keep more while they run than weights and cache leave.
    #[error(
        "mapping '{mapping}' needs {} bytes of {} in a processing element of slot {slot}, with what its programs keep while they run",
        needed.0, limit.0
    )]
    ProgramsDoNotFit {
        /// Name of the mapping.
        mapping: String,
        /// The fullest slot.
        slot: usize,
        /// Bytes that its fullest processing element needs.
        needed: Bytes,
        /// Bytes that it has.
        limit: Bytes,
    },
    /// A search has found nothing.
    #[error(
        "no mapping of '{model}' on {wafers} wafer(s) was found that fits the memory beside what its programs keep while they run; \
         allowed are more wafers, fewer users, a shorter context or smaller data types, or a longer search"
    )]
    NothingFound {
        /// Name of the model.
        model: String,
        /// Wafers that were asked for.
        wafers: u32,
    },
    /// A program cannot be run on the fabric.
    #[error("{what} cannot be run on the fabric: {reason}")]
    Fabric {
        /// What should have run.
        what: String,
        /// Why it cannot.
        reason: CircuitError,
    },
    /// A profile that the fabric cannot run.
    #[error(
        "the profile is '{profile}', an ideal machine, and the fabric has the times of the real one; allowed: published, best"
    )]
    NoFabricProfile {
        /// The profile.
        profile: String,
    },
    /// More layers than there are, or none.
    #[error("{asked} layers asked for on the fabric, and the first wafer holds {available}; allowed: 1 to {available}")]
    Layers {
        /// Layers asked for.
        asked: u64,
        /// Layers on the first wafer.
        available: u64,
    },
}

impl From<MappingError> for AnswerError {
    fn from(error: MappingError) -> Self {
        match error {
            MappingError::Place(error) => Self::Place(error),
            MappingError::Spec(error) => Self::Spec(error),
            other => Self::Mapping(other),
        }
    }
}
