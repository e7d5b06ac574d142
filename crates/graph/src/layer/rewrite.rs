//! Named rewrites of a layer: fusions that change how it is computed, not what. Each can be switched alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LayerGraph, Operation};

/// A rewrite. The published kernels of WaferLLM have none; all of them are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rewrite {
    /// A norm's sum of squares rides with the reduction of the product that follows it.
    FusedNorms,
    /// The sums of squares of the norms of q and k ride with the reduction of the scores.
    RidingHeadNorm,
    /// The sum of the softmax's exponentials rides with the reduction of the weighted values.
    OnlineSoftmax,
    /// The columns that share a head's width divide its softmax among them.
    DividedSoftmax,
    /// The router's logits are made beside the output projection, from Wr x and (Wr Wo) a.
    EarlyRouter,
    /// One processing element of a line chooses the experts and multicasts their numbers.
    SingleChoice,
    /// The choice of experts passes over the scores once.
    SinglePassTopK,
    /// Gate and up lie interleaved: one operation of twice the length.
    InterleavedGateUp,
    /// The chosen experts' tiles are worked on in one operation a row.
    ConcatenatedExperts,
    /// Products accumulate in place: no zeroing and copying around them.
    AccumulatorsInPlace,
}

impl Rewrite {
    /// All rewrites, in the order in which they are applied and printed.
    pub const ALL: [Self; 10] = [
        Self::FusedNorms,
        Self::RidingHeadNorm,
        Self::OnlineSoftmax,
        Self::DividedSoftmax,
        Self::EarlyRouter,
        Self::SingleChoice,
        Self::SinglePassTopK,
        Self::InterleavedGateUp,
        Self::ConcatenatedExperts,
        Self::AccumulatorsInPlace,
    ];

    /// Name in mapping files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FusedNorms => "fused_norms",
            Self::RidingHeadNorm => "riding_head_norm",
            Self::OnlineSoftmax => "online_softmax",
            Self::DividedSoftmax => "divided_softmax",
            Self::EarlyRouter => "early_router",
            Self::SingleChoice => "single_choice",
            Self::SinglePassTopK => "single_pass_top_k",
            Self::InterleavedGateUp => "interleaved_gate_up",
            Self::ConcatenatedExperts => "concatenated_experts",
            Self::AccumulatorsInPlace => "accumulators_in_place",
        }
    }

    /// What it does, in a line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::FusedNorms => "a norm's sum of squares rides with the reduction of the product that follows it",
            Self::RidingHeadNorm => "the sums of squares of q and k ride with the reduction of the scores",
            Self::OnlineSoftmax => "the sum of the exponentials rides with the reduction of the weighted values",
            Self::DividedSoftmax => "the columns that share a head's width divide its softmax among them",
            Self::EarlyRouter => "the router's logits are made beside the output projection, with the matrix Wr x Wo",
            Self::SingleChoice => "one processing element of a line chooses the experts and multicasts their numbers",
            Self::SinglePassTopK => "the choice of experts passes over the scores once",
            Self::InterleavedGateUp => "gate and up lie interleaved: one operation of twice the length",
            Self::ConcatenatedExperts => "the chosen experts' tiles are worked on in one operation a row",
            Self::AccumulatorsInPlace => "products accumulate in place, without zeroing and copying around them",
        }
    }

    /// What it does to the memory of a processing element.
    pub const fn memory(self) -> &'static str {
        match self {
            Self::FusedNorms => "one number a token more in the payload of a reduction",
            Self::RidingHeadNorm => "one number a head more in the payload of the scores' reduction",
            Self::OnlineSoftmax => "one number a head more in the payload of the values' reduction",
            Self::DividedSoftmax => "scores once more while they are gathered",
            Self::EarlyRouter => "a tile of Wr x Wo beside that of Wo",
            Self::SingleChoice => "scores of all experts in one line instead of everywhere",
            Self::SinglePassTopK => "the best so far, for each choice",
            Self::InterleavedGateUp => "none",
            Self::ConcatenatedExperts => "the converted tiles of all chosen experts of a network at once",
            Self::AccumulatorsInPlace => "none",
        }
    }

    /// Whether rounding differs from the layer without it: sums in another order, or products of other matrices.
    pub const fn changes_rounding(self) -> bool {
        match self {
            Self::FusedNorms
            | Self::RidingHeadNorm
            | Self::OnlineSoftmax
            | Self::DividedSoftmax
            | Self::EarlyRouter
            | Self::ConcatenatedExperts => true,
            Self::SingleChoice | Self::SinglePassTopK | Self::InterleavedGateUp | Self::AccumulatorsInPlace => false,
        }
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that no rewrite has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no rewrite '{name}': allowed are {}", Rewrite::ALL.map(Rewrite::name).join(", "))]
pub struct RewriteError {
    /// What was written.
    pub name: String,
}

impl FromStr for Rewrite {
    type Err = RewriteError;

    fn from_str(name: &str) -> Result<Self, RewriteError> {
        let known = Self::ALL.into_iter().find(|rewrite| rewrite.name() == name);
        known.ok_or_else(|| RewriteError { name: name.to_owned() })
    }
}

impl Serialize for Rewrite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Rewrite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// A set of rewrites; written as a list of names, in the order of [`Rewrite::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rewrites(u16);

impl Rewrites {
    /// No rewrite: the published layer.
    pub const NONE: Self = Self(0);

    /// All rewrites.
    pub fn all() -> Self {
        Rewrite::ALL.into_iter().collect()
    }

    /// Whether a rewrite is in it.
    pub const fn has(self, rewrite: Rewrite) -> bool {
        self.0 & (1 << rewrite as u16) != 0
    }

    /// The same with one more.
    #[must_use]
    pub const fn with(self, rewrite: Rewrite) -> Self {
        Self(self.0 | 1 << rewrite as u16)
    }

    /// The same without one.
    #[must_use]
    pub const fn without(self, rewrite: Rewrite) -> Self {
        Self(self.0 & !(1 << rewrite as u16))
    }

    /// The rewrites in their order.
    pub fn iter(self) -> impl Iterator<Item = Rewrite> {
        Rewrite::ALL.into_iter().filter(move |rewrite| self.has(*rewrite))
    }
}

impl FromIterator<Rewrite> for Rewrites {
    fn from_iter<I: IntoIterator<Item = Rewrite>>(rewrites: I) -> Self {
        rewrites.into_iter().fold(Self::NONE, Self::with)
    }
}

impl Serialize for Rewrites {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Rewrites {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Rewrite>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl LayerGraph {
    /// The layer with some rewrites. One that finds nothing to change (a router in a dense layer) changes nothing.
    #[must_use]
    pub fn rewritten(mut self, rewrites: Rewrites) -> Self {
        rewrites.iter().for_each(|rewrite| self.rewrite(rewrite));
        self
    }

    fn rewrite(&mut self, rewrite: Rewrite) {
        if rewrite == Rewrite::AccumulatorsInPlace {
            self.accumulators_in_place = true;
            return;
        }
        let has_router = self.operator("router").is_some();
        // A norm rides only where a product follows it: not a norm of the stream itself, nor one of what is cached.
        let rides = |name: &str| matches!(name, "attention.norm" | "feed_forward.norm" | "attention.query_norm");
        for operator in &mut self.operators {
            match (rewrite, &mut operator.operation) {
                (Rewrite::FusedNorms, Operation::Norm { riding }) if rides(operator.name) => *riding = true,
                (Rewrite::RidingHeadNorm, Operation::HeadNorm { riding }) => *riding = true,
                (Rewrite::OnlineSoftmax, Operation::Softmax(form)) => form.sum_rides = true,
                (Rewrite::OnlineSoftmax, Operation::Values { sum_rides }) => *sum_rides = true,
                (Rewrite::DividedSoftmax, Operation::Softmax(form)) => form.divided = true,
                (Rewrite::EarlyRouter, Operation::Output { logits_beside }) => *logits_beside = has_router,
                (Rewrite::EarlyRouter, Operation::Router { early }) => *early = true,
                (Rewrite::SingleChoice, Operation::Choose(form)) => form.single_choice = true,
                (Rewrite::SinglePassTopK, Operation::Choose(form)) => form.single_pass = true,
                (Rewrite::InterleavedGateUp, Operation::GateUp { interleaved, .. }) => *interleaved = true,
                (Rewrite::ConcatenatedExperts, Operation::GateUp { network, concatenated, .. })
                | (Rewrite::ConcatenatedExperts, Operation::Down { network, concatenated }) => {
                    *concatenated = *network == super::NetworkKind::Experts;
                }
                _ => {}
            }
        }
    }
}
