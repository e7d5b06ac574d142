//! Where a run's experts come from: the expected load, their popularity, the generator of `wafersim_routing`, or a
//! trace.

use std::sync::Arc;

use wafersim_routing::choose::Replay;
use wafersim_routing::synthetic::RoutingLaw;
use wafersim_routing::{ExpertSampler, RoutingParameters, SyntheticSettings, Trace};
use wafersim_spec::Model;
use wafersim_spec::model::FeedForward;

use super::{ExpertSource, FromRouting, Popularity};
use crate::error::StreamError;
use crate::scenario::{ExpertKind, LoadScenario, RoutingScenario, StreamScenario};

/// Users whose choices are followed one by one where every request is another user's (open loops and traces): requests
/// take turns in them.
const TURNS: u32 = 256;
/// Most users that are followed one by one; beyond, several share the choices of one. In Qwen3-Coder a user takes 70
/// kB.
const MOST_FOLLOWED: u32 = 1024;
/// Most affinities that the generator holds: users x layers x experts.
const MOST_AFFINITIES: u64 = 1 << 26;

/// What draws a run's experts.
#[derive(Debug, Clone)]
pub enum ExpertChoice {
    /// Nothing: the closed form's expected load counts.
    Expected,
    /// The popularity of the scenario's routing model.
    Popularity,
    /// The generator, calibrated.
    Generator {
        /// Its law.
        law: Arc<RoutingLaw>,
        /// Users that are followed.
        users: u32,
    },
    /// A trace, from a different place for every user.
    Trace {
        /// The trace.
        trace: Arc<Trace>,
        /// Users that are followed.
        users: u32,
    },
}

impl ExpertChoice {
    /// What a scenario asks for, for a model. `trace` is the scenario's routing trace with its name, where it has one.
    ///
    /// # Errors
    /// Where the model has no such experts, the trace is another model's, or there is none.
    pub fn new(
        scenario: &StreamScenario,
        model: &Model,
        trace: Option<(Arc<Trace>, &str)>,
    ) -> Result<Self, StreamError> {
        let most = users(&scenario.load).min(MOST_FOLLOWED);
        match (&scenario.routing, scenario.experts) {
            (RoutingScenario::Popularity, ExpertKind::Expected) => Ok(Self::Expected),
            (RoutingScenario::Popularity, ExpertKind::Sampled) => Ok(Self::Popularity),
            (RoutingScenario::Generator(wanted), _) => {
                let shape = Shape::of(model, "routing.generator")?;
                let each = u64::from(shape.layers).saturating_mul(shape.experts.into()).max(1);
                let settings = SyntheticSettings {
                    model: model.name.clone(),
                    layers: shape.layers,
                    experts: shape.experts,
                    top_k: shape.top_k,
                    tokens: 1,
                    users: most.min(u32::try_from(MOST_AFFINITIES / each).unwrap_or(u32::MAX)).max(1),
                    kinds_of_work: wanted.kinds_of_work,
                    work: wanted.work.into(),
                    seed: scenario.seed,
                    parameters: RoutingParameters::QWEN3_30B,
                };
                let law = RoutingLaw::new(&settings).map_err(|error| {
                    refuse("routing.generator", error.to_string(), "a model and users within these ranges".into())
                })?;
                Ok(Self::Generator { law: Arc::new(law), users: settings.users })
            }
            (RoutingScenario::Trace { file }, _) => {
                let shape = Shape::of(model, "routing.trace")?;
                let Some((trace, name)) = trace else {
                    return Err(refuse("routing.trace", format!("'{file}' was not read"), "a trace".into()));
                };
                let header = &trace.header;
                let has = Shape { layers: header.layers, experts: header.experts, top_k: header.top_k };
                if header.model != model.name || has != shape {
                    return Err(StreamError::Setting {
                        file: name.into(),
                        field: "routing.trace".into(),
                        problem: format!("is of '{}' with {has}", header.model),
                        allowed: format!("a trace of '{}' with {shape}", model.name),
                    });
                }
                Ok(Self::Trace { trace, users: most })
            }
        }
    }

    /// A source at its start; nothing for the expected load. `routing` is how tokens of the machine choose experts, for
    /// those that are drawn by popularity.
    pub fn source<'s>(
        &'s self,
        scenario: &StreamScenario,
        routing: wafersim_mapping::ExpertUse<'s>,
    ) -> Option<Box<dyn ExpertSource + 's>> {
        match self {
            Self::Expected => None,
            Self::Popularity => Some(Box::new(Popularity::new(routing, scenario.seed))),
            Self::Generator { law, users } => {
                Some(Box::new(FromRouting::new(ExpertSampler::of_law(Arc::clone(law), *users), *users)))
            }
            Self::Trace { trace, users } => Some(Box::new(FromRouting::new(Replay::staggered(trace, *users), *users))),
        }
    }

    /// Bytes that say what the trace holds: for the hash of a run's inputs.
    pub(crate) fn hashed(&self, mut add: impl FnMut(&[u8])) {
        let Self::Trace { trace, .. } = self else { return };
        for index in 0..trace.len() {
            let Some(token) = trace.token(index) else { continue };
            add(&token.user.to_le_bytes());
            token.experts.iter().for_each(|expert| add(&expert.to_le_bytes()));
        }
    }
}

/// Users of a load who can be told apart.
const fn users(load: &LoadScenario) -> u32 {
    match load {
        LoadScenario::Closed(load) => load.users,
        LoadScenario::Sessions(load) => load.agents,
        LoadScenario::Tasks(load) => load.agents,
        LoadScenario::Open(_) | LoadScenario::Trace(_) => TURNS,
    }
}

/// The routed experts of a model, the same in every layer that has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    layers: u32,
    experts: u32,
    top_k: u32,
}

impl Shape {
    fn of(model: &Model, field: &str) -> Result<Self, StreamError> {
        let shapes: Vec<(u64, u64)> = model
            .layers
            .iter()
            .filter_map(|layer| match &layer.feed_forward {
                FeedForward::Moe(moe) => Some((moe.experts, moe.top_k)),
                FeedForward::Dense { .. } => None,
            })
            .collect();
        let first = shapes.first().filter(|first| shapes.iter().all(|shape| shape == *first));
        let small = |value: u64| u32::try_from(value).ok();
        let shape = first.and_then(|(experts, top_k)| {
            Some(Self { layers: small(shapes.len() as u64)?, experts: small(*experts)?, top_k: small(*top_k)? })
        });
        shape.ok_or_else(|| {
            let allowed = "for a model with the same routed experts in every layer that has any".to_owned();
            refuse(field, format!("does not go with '{}'", model.name), allowed)
        })
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} layers of {} experts, {} of them for a token", self.layers, self.experts, self.top_k)
    }
}

fn refuse(field: &str, problem: String, allowed: String) -> StreamError {
    StreamError::Setting { file: "scenario".into(), field: field.into(), problem, allowed }
}
