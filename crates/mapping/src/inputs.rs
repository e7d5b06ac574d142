//! What a recipe is resolved for: model, wafer and load.

use serde::Serialize;
use wafersim_place::Machine;
use wafersim_spec::scenario::{Popularity, RoutingModel, WaferCount};
use wafersim_spec::wafer::{RateSet, TIMED};
use wafersim_spec::{Model, Precision, Wafer};

use crate::hash;
use crate::routing::{ExpertUse, OwnRouting};

/// The part of a question that a mapping depends on, beside model and wafer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Wafers to use.
    pub wafers: WaferCount,
    /// Users whose KV cache must fit.
    pub users: u64,
    /// Tokens in the cache of each.
    pub context: u64,
    /// Tokens of one user that may go through the model together: 1, or the draft and the token after it.
    pub tokens_per_step: u64,
    /// Data types.
    pub precision: Precision,
    /// How tokens choose experts, for strategies that place experts by what is wanted.
    pub routing: RoutingModel,
}

/// Model, wafer and load.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The model.
    pub model: &'a Model,
    /// The wafer.
    pub wafer: &'a Wafer,
    /// The load.
    pub load: Load,
    /// How popular experts were counted to be, in place of what the load's routing says.
    pub counted: Option<&'a Popularity>,
    /// An own routing model in place of either.
    pub routing: Option<&'a OwnRouting>,
}

impl<'a> Inputs<'a> {
    /// Inputs whose tokens choose experts by the routing model of the load.
    pub const fn new(model: &'a Model, wafer: &'a Wafer, load: Load) -> Self {
        Self { model, wafer, load, counted: None, routing: None }
    }

    /// How tokens choose experts.
    pub fn expert_use(&self) -> ExpertUse<'a> {
        match (self.routing, self.counted) {
            (Some(own), _) => ExpertUse::Own(own),
            (None, Some(counted)) => ExpertUse::Counted(counted, self.load.routing),
            (None, None) => ExpertUse::Of(self.load.routing),
        }
    }

    /// The wafer as placement sees it.
    pub fn machine(&self) -> Machine {
        Machine::from(self.wafer)
    }

    /// Hash of the model: everything but its name.
    pub fn model_hash(&self) -> String {
        let nameless = Model { name: String::new(), ..self.model.clone() };
        hash::of(&nameless)
    }

    /// Hash of the wafer: the value of every parameter that moves times, in both sets of rates; no names, ranges and
    /// sources.
    pub fn wafer_hash(&self) -> String {
        let value = |rates| move |key| self.wafer.value(key, rates);
        let values = |rates| TIMED.iter().map(|declared| declared.key).map(value(rates)).collect::<Vec<f64>>();
        hash::of(&[values(RateSet::Silicon), values(RateSet::VendorSimulator)])
    }

    /// Hash of the load but for the number of wafers, which a resolved mapping says itself.
    pub fn load_hash(&self) -> String {
        #[derive(Serialize)]
        struct Meaning<'a> {
            users: u64,
            context: u64,
            tokens_per_step: u64,
            precision: Precision,
            routing: RoutingModel,
            #[serde(skip_serializing_if = "Option::is_none")]
            counted: Option<&'a Popularity>,
        }
        let Load { users, context, tokens_per_step, precision, routing, .. } = self.load;
        let load = Meaning { users, context, tokens_per_step, precision, routing, counted: self.counted };
        self.routing.map_or_else(|| hash::of(&load), |own| hash::of(&(&load, own)))
    }

    /// The load in words.
    pub fn load_words(&self) -> String {
        let Load { users, context, tokens_per_step, precision, .. } = self.load;
        let Precision { small_weights, kv_cache, activations, .. } = precision;
        let step = if tokens_per_step == 1 { String::new() } else { format!(" of {tokens_per_step} tokens a step") };
        format!(
            "{users} user(s){step}, {context} tokens of context, weights {precision}, small weights {small_weights}, \
             KV cache {kv_cache}, activations {activations}, routing {}",
            self.expert_use().name()
        )
    }
}
