//! Rewrites of a layer's graph: fusions that change what is computed where, never which function. Each can be switched
//! alone. WaferLLM's published kernels have none of them; all are ours.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wafersim_spec::error::nearest_name;
use wafersim_spec::model::Role;

use super::{Dim, LayerGraph, LayerOperation, LayerOperator, NetworkKind, Tensor, TensorId, TensorKind};

/// A named rewrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rewrite {
    /// RMSNorm into the product that follows: its sum of squares rides with the product's reduction.
    FusedNorms,
    /// QK-norm's sums of squares ride with the reduction of the scores. In linear attention those of queries and keys
    /// ride with what both read of the state, in one reduction.
    RidingHeadNorm,
    /// The sum of the softmax's exponentials rides with the reduction of scores x V, which are divided afterwards. Its
    /// maximum does not: rescaling would cost every member of every chain an exponential for each head.
    OnlineSoftmax,
    /// Exponentials and weighted values are relative to the maximum of their own row of the region; the maximum of all
    /// rows is found beside them, and they are brought to it before they are summed. Only with [`Self::OnlineSoftmax`].
    LocalMaximum,
    /// Each column of a head computes the exponentials of its own part of the scores.
    DividedSoftmax,
    /// Router logits are formed beside the output projection.
    EarlyRouter,
    /// One place chooses the experts and multicasts their numbers.
    SingleChoice,
    /// The selection passes over the scores once, and keeps the best of them, or the best of each block.
    SinglePassTopK,
    /// Gate and up projections interleaved in memory: one operation of twice the length.
    InterleavedGateUp,
    /// The chosen experts' tiles in one operation a row.
    ConcatenatedExperts,
    /// The shared expert's products go beside those of the routed experts: one reduction carries both, one sum adds
    /// both to the stream. Where experts lie in rectangles, only the last reduction and the sum are shared.
    SharedExpertBeside,
    /// Reductions read accumulators where the product left them.
    AccumulatorsInPlace,
    /// Query, key and value projections interleaved in memory: one operation of the length of all. So are the output
    /// projection and the router's part beside it; queries and keys are rotated by the same operations.
    InterleavedQueryKeyValue,
    /// Neighbouring rows, which hold the same of gate and up, share out the activation and pass their parts round.
    DividedActivation,
    /// The choice is made in the line where the logits end, while the stream is still on its way to all others.
    ChoiceBesideStream,
    /// The sum of squares of the network's norm travels while experts are chosen and their weights converted. So what
    /// the scale does to the weights of the chosen happens beside the reduction of gate and up. Only with
    /// [`Self::FusedNorms`] and [`Self::EarlyRouter`].
    NormBesideChoice,
    /// Tiles that are stored narrow are converted and multiplied in two halves, those of the LM head in sixteen parts.
    ConversionInStrips,
}

impl Rewrite {
    /// All rewrites, in the order in which they are listed and written.
    pub const ALL: [Self; 17] = [
        Self::FusedNorms,
        Self::RidingHeadNorm,
        Self::OnlineSoftmax,
        Self::LocalMaximum,
        Self::DividedSoftmax,
        Self::EarlyRouter,
        Self::SingleChoice,
        Self::SinglePassTopK,
        Self::InterleavedGateUp,
        Self::ConcatenatedExperts,
        Self::SharedExpertBeside,
        Self::AccumulatorsInPlace,
        Self::InterleavedQueryKeyValue,
        Self::DividedActivation,
        Self::ChoiceBesideStream,
        Self::NormBesideChoice,
        Self::ConversionInStrips,
    ];

    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FusedNorms => "fused_norms",
            Self::RidingHeadNorm => "riding_head_norm",
            Self::OnlineSoftmax => "online_softmax",
            Self::LocalMaximum => "local_maximum",
            Self::DividedSoftmax => "divided_softmax",
            Self::EarlyRouter => "early_router",
            Self::SingleChoice => "single_choice",
            Self::SinglePassTopK => "single_pass_top_k",
            Self::InterleavedGateUp => "interleaved_gate_up",
            Self::ConcatenatedExperts => "concatenated_experts",
            Self::SharedExpertBeside => "shared_expert_beside",
            Self::AccumulatorsInPlace => "accumulators_in_place",
            Self::InterleavedQueryKeyValue => "interleaved_query_key_value",
            Self::DividedActivation => "divided_activation",
            Self::ChoiceBesideStream => "choice_beside_stream",
            Self::NormBesideChoice => "norm_beside_choice",
            Self::ConversionInStrips => "conversion_in_strips",
        }
    }

    /// What it does, in one line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::FusedNorms => "a norm's sum of squares rides with the reduction of the product that follows",
            Self::RidingHeadNorm => "the sums of squares of QK-norm ride with the reduction of the scores",
            Self::OnlineSoftmax => "the sum of the softmax's exponentials rides with the reduction of scores x V",
            Self::LocalMaximum => "the softmax's maximum over all rows is found beside exponentials and scores x V",
            Self::DividedSoftmax => "each column of a head computes the exponentials of its own part of the scores",
            Self::EarlyRouter => "router logits are formed beside the output projection",
            Self::SingleChoice => "one place chooses the experts and multicasts their numbers",
            Self::SinglePassTopK => "the selection passes over the scores once",
            Self::InterleavedGateUp => "gate and up interleaved: one operation of twice the length",
            Self::ConcatenatedExperts => "the chosen experts' tiles in one operation a row",
            Self::SharedExpertBeside => "the shared expert's sums go with those of the routed experts",
            Self::AccumulatorsInPlace => "reductions read accumulators where the product left them",
            Self::InterleavedQueryKeyValue => {
                "query, key and value interleaved, output and early logits as well: one operation of the length of all"
            }
            Self::DividedActivation => "neighbouring rows share out the activation and pass their parts round",
            Self::ChoiceBesideStream => "experts are chosen while the stream is on its way to all columns",
            Self::NormBesideChoice => "a norm's sum of squares travels while experts are chosen and converted",
            Self::ConversionInStrips => "narrow weights are converted and multiplied in parts",
        }
    }

    /// What it does to the memory of a processing element.
    pub const fn memory(self) -> &'static str {
        match self {
            Self::FusedNorms => "one element a token more in the payload of the product",
            Self::RidingHeadNorm => "one element for each head of a column and token more in the payload",
            Self::OnlineSoftmax => "one element for each query head and token more in the payload",
            Self::LocalMaximum => "one maximum for each query head and token more",
            Self::DividedSoftmax => "the softmax works on a part of the scores; they are still gathered for scores x V",
            Self::EarlyRouter => {
                "one more matrix, router x output projection, in the type of small weights; the router with a gain"
            }
            Self::SingleChoice => {
                "only the chosen numbers and weights instead of all scores, but where the choice is made"
            }
            Self::SinglePassTopK => "a list of the best scores so far, or of the best of each block",
            Self::InterleavedGateUp => "none",
            Self::ConcatenatedExperts => "converted tiles of all chosen experts at once",
            Self::SharedExpertBeside => "gate and up of the shared expert beside those of the routed ones",
            Self::AccumulatorsInPlace => "one buffer of a product's outputs less",
            Self::InterleavedQueryKeyValue | Self::ChoiceBesideStream => "none",
            Self::NormBesideChoice => "one element a token in a buffer of its own instead of in the payload",
            Self::DividedActivation => "one buffer of inner elements more, and two of a part of them",
            Self::ConversionInStrips => "half of the room for converted weights, a sixteenth in the LM head",
        }
    }

    /// Whether results differ in their last bits (other roundings, or another order of a sum) from those without it.
    pub const fn changes_numbers(self) -> bool {
        match self {
            Self::FusedNorms
            | Self::RidingHeadNorm
            | Self::OnlineSoftmax
            | Self::LocalMaximum
            | Self::DividedSoftmax
            | Self::EarlyRouter
            | Self::SharedExpertBeside => true,
            Self::SingleChoice
            | Self::SinglePassTopK
            | Self::InterleavedGateUp
            | Self::ConcatenatedExperts
            | Self::AccumulatorsInPlace
            | Self::InterleavedQueryKeyValue
            | Self::DividedActivation
            | Self::ChoiceBesideStream
            | Self::NormBesideChoice
            | Self::ConversionInStrips => false,
        }
    }
}

/// A name that is no [`Rewrite`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown rewrite '{0}'{hint}; allowed: {all}", hint = hint(.0), all = names())]
pub struct RewriteError(pub String);

fn hint(name: &str) -> String {
    let nearest = nearest_name(name, Rewrite::ALL.iter().map(|rewrite| rewrite.name()));
    nearest.map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default()
}

fn names() -> String {
    Rewrite::ALL.map(Rewrite::name).join(", ")
}

impl fmt::Display for Rewrite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Rewrite {
    type Err = RewriteError;

    fn from_str(text: &str) -> Result<Self, RewriteError> {
        let known = Self::ALL.into_iter().find(|rewrite| rewrite.name() == text);
        known.ok_or_else(|| RewriteError(text.into()))
    }
}

impl Serialize for Rewrite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Rewrite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A set of rewrites. Written as a list of names in the order of [`Rewrite::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rewrites(u32);

impl Rewrites {
    /// None: the layer as published.
    pub const NONE: Self = Self(0);
    /// All of them.
    pub const ALL: Self = Self((1 << Rewrite::ALL.len()) - 1);

    /// Whether a rewrite is among them.
    pub const fn has(self, rewrite: Rewrite) -> bool {
        self.0 & (1 << rewrite as u32) != 0
    }

    /// The same with a rewrite, or without.
    #[must_use]
    pub const fn with(self, rewrite: Rewrite, on: bool) -> Self {
        let bit = 1 << rewrite as u32;
        if on { Self(self.0 | bit) } else { Self(self.0 & !bit) }
    }

    /// Those that are in it, in order.
    pub fn iter(self) -> impl Iterator<Item = Rewrite> {
        Rewrite::ALL.into_iter().filter(move |rewrite| self.has(*rewrite))
    }
}

impl FromIterator<Rewrite> for Rewrites {
    fn from_iter<I: IntoIterator<Item = Rewrite>>(rewrites: I) -> Self {
        rewrites.into_iter().fold(Self::NONE, |set, rewrite| set.with(rewrite, true))
    }
}

impl Serialize for Rewrites {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Rewrites {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut set = Self::NONE;
        for rewrite in Vec::<Rewrite>::deserialize(deserializer)? {
            if set.has(rewrite) {
                return Err(D::Error::custom(format!("'{rewrite}' is listed twice; allowed: each rewrite once")));
            }
            set = set.with(rewrite, true);
        }
        Ok(set)
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
        match rewrite {
            Rewrite::AccumulatorsInPlace => return self.accumulators_in_place = true,
            Rewrite::InterleavedQueryKeyValue => return self.interleaved_products = true,
            Rewrite::DividedActivation => return self.divided_activation = true,
            Rewrite::ChoiceBesideStream => return self.choice_beside_stream = true,
            Rewrite::NormBesideChoice => return self.norm_beside_choice = true,
            Rewrite::ConversionInStrips => return self.conversion_in_strips = true,
            Rewrite::EarlyRouter => return self.early_router(),
            Rewrite::SharedExpertBeside => return self.shared_expert_beside(),
            Rewrite::RidingHeadNorm => self.ride_head_norm(),
            _ => {}
        }
        // A norm rides only where a product follows it: not a norm of the stream itself. That of a latent, which is
        // cached, rides where queries are compressed: their product follows as well.
        // Compressed queries of grouped heads are normed where they are made.
        let compressed = self.operator("attention.query_norm").is_some();
        let latent = self.operator("attention.latent_norm").is_some();
        let rides = |name: &str| match name {
            "attention.norm" | "feed_forward.norm" => true,
            "attention.query_norm" => latent,
            "attention.latent_norm" => compressed,
            _ => false,
        };
        for operator in &mut self.operators {
            match (rewrite, &mut operator.operation) {
                (Rewrite::FusedNorms, LayerOperation::Norm { riding }) if rides(operator.name) => *riding = true,
                (Rewrite::OnlineSoftmax, LayerOperation::Softmax(form)) => form.sum_rides = true,
                (Rewrite::OnlineSoftmax, LayerOperation::Values { sum_rides }) => *sum_rides = true,
                (Rewrite::RidingHeadNorm, LayerOperation::UnitNorm { riding }) => *riding = true,
                (Rewrite::RidingHeadNorm, LayerOperation::DeltaRule { single_read }) => *single_read = true,
                (Rewrite::LocalMaximum, LayerOperation::Softmax(form)) => form.local = true,
                (Rewrite::DividedSoftmax, LayerOperation::Softmax(form)) => form.divided = true,
                (Rewrite::SingleChoice, LayerOperation::Choose(form)) => form.single_choice = true,
                (Rewrite::SinglePassTopK, LayerOperation::Choose(form)) => form.single_pass = true,
                (Rewrite::InterleavedGateUp, LayerOperation::GateUp { interleaved, .. }) => *interleaved = true,
                (Rewrite::ConcatenatedExperts, LayerOperation::GateUp { network, concatenated, .. })
                | (Rewrite::ConcatenatedExperts, LayerOperation::Down { network, concatenated, .. }) => {
                    *concatenated = *network == NetworkKind::Experts;
                }
                _ => {}
            }
        }
    }

    /// Router logits from the stream before attention and from what attention adds to it: Wr (x + Wo a) = Wr x + (Wr
    /// Wo) a, each with the gain of the norm between; the norm's scale follows.
    ///
    /// Not where what attention adds is normed by itself.
    fn early_router(&mut self) {
        if self.operator("attention.output_norm").is_some() {
            return;
        }
        let router =
            self.operators.iter().position(|operator| matches!(operator.operation, LayerOperation::Router { .. }));
        let products =
            self.operators.iter().position(|operator| matches!(operator.operation, LayerOperation::Products));
        let output =
            self.operators.iter().position(|operator| matches!(operator.operation, LayerOperation::Output { .. }));
        let stream = self.tensors().find(|(_, tensor)| tensor.kind == TensorKind::Stream).map(|(id, _)| id);
        let (Some(router), Some(products), Some(output), Some(stream)) = (router, products, output, stream) else {
            return;
        };
        let (reads, logits) = (self.operators[router].reads.clone(), self.operators[router].writes.clone());
        let (Some(weight), Some(&logits)) = (reads.get(1).copied(), logits.first()) else { return };
        let projection = self.weights(&self.operators[output]).next().map(|matrix| matrix.extents.clone());
        let (Some(mut extents), Some(early)) = (projection, self.tensor(logits).cloned()) else { return };
        extents.pop();
        extents.extend(early.extents.last().copied());
        let early = self.add_tensor(Tensor { name: "router.early_scores", ..early });
        let kind = TensorKind::Formed { outer: Role::Router, inner: Role::Output };
        let formed = self.add_tensor(Tensor { name: "router.output_weight", extents, kind });
        self.operators[products].reads.extend([stream, weight]);
        self.operators[products].writes.push(early);
        self.operators[output].operation = LayerOperation::Output { logits_beside: true };
        self.operators[output].reads.extend([formed, early]);
        self.operators[output].writes.push(logits);
        self.operators[router].operation = LayerOperation::Router { early: true };
        // The normed vector's scale is what the router still needs.
        self.operators[router].reads = vec![logits, reads[0]];
    }

    /// The shared expert's operators into those of the routed experts.
    fn shared_expert_beside(&mut self) {
        let shared = |operation: &LayerOperation| match operation {
            LayerOperation::GateUp { network, .. }
            | LayerOperation::Activation { network }
            | LayerOperation::Down { network, .. } => *network == NetworkKind::Shared,
            _ => false,
        };
        if !self.operators.iter().any(|operator| shared(&operator.operation)) {
            return;
        }
        let (beside, mut kept): (Vec<LayerOperator>, Vec<LayerOperator>) =
            std::mem::take(&mut self.operators).into_iter().partition(|operator| shared(&operator.operation));
        kept.retain(|operator| operator.name != "shared_expert.residual");
        let [gate_up, activation, down] = beside.as_slice() else { return };
        for operator in &mut kept {
            let joined = match &mut operator.operation {
                LayerOperation::GateUp { shared_beside, .. } => {
                    *shared_beside = true;
                    gate_up
                }
                LayerOperation::Down { shared_beside, .. } => {
                    *shared_beside = true;
                    down
                }
                _ => continue,
            };
            operator.reads.extend(&joined.reads);
            if matches!(joined.operation, LayerOperation::GateUp { .. }) {
                operator.writes.extend(&joined.writes);
            }
        }
        let after = kept.iter().position(|operator| matches!(operator.operation, LayerOperation::Activation { .. }));
        kept.insert(after.map_or(kept.len(), |at| at + 1), activation.clone());
        self.operators = kept;
    }

    /// The norms of heads leave their sums of squares, which the scores take with them, and what scales comes after
    /// these.
    fn ride_head_norm(&mut self) {
        let at = |operation: fn(&LayerOperation) -> bool| {
            self.operators.iter().position(|operator| operation(&operator.operation))
        };
        let norm = at(|operation| matches!(operation, LayerOperation::HeadNorm { riding: false }));
        let append = at(|operation| *operation == LayerOperation::Append);
        let scores = at(|operation| matches!(operation, LayerOperation::Scores { .. }));
        let (Some(norm), Some(append), Some(scores)) = (norm, append, scores) else { return };
        let (Some(keys), Some(made)) =
            (self.operators[append].writes.first().copied(), self.operators[scores].writes.first().copied())
        else {
            return;
        };
        let squares = [("attention.query_squares", 0), ("attention.key_squares", 1)].map(|(name, of)| {
            let normed = self.operators[norm].reads.get(of).and_then(|id| self.tensor(*id));
            let extents = normed.map_or_else(Vec::new, |tensor| {
                tensor.extents.iter().copied().filter(|extent| extent.dim != Dim::HeadDim).collect()
            });
            self.tensors.push(Tensor { name, extents, kind: TensorKind::Statistic });
            TensorId(self.tensors.len() as u32 - 1)
        });
        self.operators[norm].operation = LayerOperation::HeadNorm { riding: true };
        self.operators[norm].writes.extend(squares);
        self.operators[scores].reads.extend(squares);
        self.operators[scores].writes.extend(squares);
        let scale = LayerOperator {
            name: "attention.head_scale",
            operation: LayerOperation::HeadScale,
            reads: [made, keys].into_iter().chain(squares).collect(),
            writes: vec![made, keys],
        };
        self.operators.insert(scores + 1, scale);
    }
}
