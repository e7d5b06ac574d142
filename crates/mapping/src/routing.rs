//! How tokens choose experts, as far as a mapping and the closed form go: the models of a scenario, and own ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Serialize, Serializer};
use wafersim_spec::Model;
use wafersim_spec::model::FeedForward;
use wafersim_spec::scenario::{Popularity, RoutingModel};

use crate::dealing::ZIPF_EXPONENT;
use crate::error::MappingError;

/// How often the most popular expert may be used for each use of the least popular one: batches are drawn without
/// putting back, which takes as long as that.
const MOST_SKEW: f64 = 1e4;

/// A routing model from outside.
pub trait RoutingWeights: Send + Sync {
    /// What tells it from all others: its name with every number that it works by. Goes into hashes.
    fn id(&self) -> String;

    /// How often each of `experts` experts is used relative to the others, the most popular first; a token chooses
    /// `top_k` different ones. Asked once for every kind of layer.
    fn weights(&self, experts: u64, top_k: u64) -> Vec<f64>;
}

/// What an own routing model says of all layers of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnRouting {
    id: String,
    /// By experts and experts of a token; the largest weight is 1.
    weights: BTreeMap<(u64, u64), Vec<f64>>,
}

impl OwnRouting {
    /// Asks a routing model about all layers of some models.
    ///
    /// # Errors
    /// Where there is not one weight for each expert, weights grow with the rank, or one is below a ten-thousandth of
    /// the first.
    pub fn new<'m>(
        routing: &dyn RoutingWeights,
        models: impl IntoIterator<Item = &'m Model>,
    ) -> Result<Self, MappingError> {
        let id = routing.id();
        let mut all = BTreeMap::new();
        for layer in models.into_iter().flat_map(|model| &model.layers) {
            let FeedForward::Moe(moe) = &layer.feed_forward else { continue };
            let shape = (moe.experts, moe.top_k);
            if let Entry::Vacant(unasked) = all.entry(shape) {
                unasked.insert(checked(&id, shape, routing.weights(moe.experts, moe.top_k))?);
            }
        }
        Ok(Self { id, weights: all })
    }

    /// What tells it from all others.
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Weights over the largest.
fn checked(id: &str, (experts, top_k): (u64, u64), weights: Vec<f64>) -> Result<Vec<f64>, MappingError> {
    let refuse = |value: String, allowed: String| {
        let what = format!("weights of {experts} experts, {top_k} for a token");
        Err(MappingError::Own { kind: "routing", id: id.to_owned(), problem: format!("{what}: {value}"), allowed })
    };
    if weights.len() as u64 != experts {
        return refuse(format!("{} weights", weights.len()), format!("{experts}, one for each expert"));
    }
    let first = weights.first().copied().unwrap_or(1.0);
    if !(first.is_finite() && first > 0.0) {
        return refuse(format!("the first is {first}"), "finite numbers above 0".into());
    }
    let relative: Vec<f64> = weights.iter().map(|weight| weight / first).collect();
    let mut before = 1.0;
    for (rank, weight) in relative.iter().copied().enumerate() {
        if !(weight <= before && weight * MOST_SKEW >= 1.0) {
            let value = format!("number {rank} is {}", weights.get(rank).copied().unwrap_or(0.0));
            return refuse(
                value,
                format!("at most {}, the one before, and at least 1/{MOST_SKEW} of {first}", before * first),
            );
        }
        before = weight;
    }
    Ok(relative)
}

impl Serialize for OwnRouting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.id, self.weights.iter().collect::<Vec<_>>()).serialize(serializer)
    }
}

/// How tokens choose experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ExpertUse<'a> {
    /// By a model of the scenario.
    Of(RoutingModel),
    /// As popular as was counted; layers with another number of experts by the model of the scenario.
    Counted(&'a Popularity, RoutingModel),
    /// By an own one; layers that it was not asked about are used evenly.
    Own(&'a OwnRouting),
}

impl From<RoutingModel> for ExpertUse<'_> {
    fn from(model: RoutingModel) -> Self {
        Self::Of(model)
    }
}

impl ExpertUse<'_> {
    /// Relative use of each of so many experts by rank, the most popular first: 1 for that one.
    pub fn weights(self, experts: u64, top_k: u64) -> Vec<f64> {
        let by_rank = |weight: &dyn Fn(f64) -> f64| (1..=experts).map(|rank| weight(rank as f64)).collect();
        match self {
            Self::Of(RoutingModel::Uniform) => by_rank(&|_| 1.0),
            Self::Of(RoutingModel::Skewed) => by_rank(&|rank| rank.powf(-ZIPF_EXPONENT)),
            Self::Counted(counted, model) => match counted.shares() {
                shares if shares.len() as u64 == experts => {
                    let most = shares.first().copied().unwrap_or(1.0);
                    shares.iter().map(|share| share / most).collect()
                }
                _ => Self::Of(model).weights(experts, top_k),
            },
            Self::Own(own) => own.weights.get(&(experts, top_k)).cloned().unwrap_or_else(|| by_rank(&|_| 1.0)),
        }
    }

    /// Its name, or its id.
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Of(model) => model.name().into(),
            Self::Counted(counted, _) => format!("counted in {}", counted.source()).into(),
            Self::Own(own) => own.id().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Vec<f64>);

    impl RoutingWeights for Given {
        fn id(&self) -> String {
            "given".into()
        }

        fn weights(&self, _: u64, _: u64) -> Vec<f64> {
            self.0.clone()
        }
    }

    #[test]
    fn weights_that_mean_nothing_are_refused() {
        let model = Model::builtin("qwen3-30b-a3b").unwrap();
        let asked = |weights: Vec<f64>| OwnRouting::new(&Given(weights), [&model]);
        let good: Vec<f64> = (0..128).map(|rank| 200.0 - f64::from(rank)).collect();
        let own = asked(good.clone()).unwrap();
        assert_eq!(ExpertUse::Own(&own).weights(128, 8)[64], 136.0 / 200.0);
        let with = |at: usize, value: f64| {
            let mut weights = good.clone();
            weights[at] = value;
            weights
        };
        for wrong in
            [vec![1.0; 127], with(0, f64::NAN), with(0, 0.0), with(5, 300.0), with(127, 0.0), with(9, f64::NAN)]
        {
            let said = asked(wrong).unwrap_err().to_string();
            assert!(said.contains("routing 'given'") && said.contains("allowed"), "{said}");
        }
    }
}
