//! A run against a reference: the largest deviation of each kind of tensor, and whether it is within its tolerance.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::{Record, Recorded};

/// How far apart two runs are in one kind of tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Deviation {
    /// The kind, for example `attn_out` or `k_cache`.
    pub kind: String,
    /// Elements compared.
    pub elements: u64,
    /// Largest absolute difference; of numbers of experts or tokens, how many differ.
    pub largest: f64,
    /// `sqrt(sum of squared differences / sum of squares of the reference)`.
    pub relative: f64,
    /// Largest magnitude in the reference.
    pub magnitude: f64,
    /// What is allowed.
    pub tolerance: f64,
    /// The tensor with the largest difference.
    pub worst: String,
    /// Whether the difference is within its tolerance. Differences that are no numbers are not.
    pub within: bool,
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tolerance {
    /// Every single element, and every choice: for sums of 32 bit in another order.
    Elements {
        /// Of logits, absolute.
        logits: f64,
        /// Of the router's weights, absolute.
        router_weights: f64,
        /// Of all other tensors, relative to the largest magnitude of their kind where that is above 1.
        others: f64,
    },
    /// The relative error of a kind as a whole, `sqrt(sum of squared differences / sum of squares)`: for rounded
    /// formats. There, scores that are nearer to each other than the rounding have no order: an expert or a token is
    /// chosen differently now and then, single elements differ as much as they are large, and choices are counted
    /// without a limit.
    Whole(f64),
}

impl Tolerance {
    /// Sums of 32 bit in another order: the reference's own 32-bit run is 4.1e-6 from a 64-bit one.
    pub const FP32: Self = Self::Elements { logits: 1e-4, router_weights: 5e-6, others: 1e-4 };

    /// The tolerance of a run in a data type. In 16 bit a guess, about three times what the tiny model measures: errors
    /// of thousands of roundings add up, and no bound of them is tight.
    pub const fn of_type(data_type: wafersim_spec::DataType) -> Self {
        match data_type {
            wafersim_spec::DataType::Fp32 => Self::FP32,
            wafersim_spec::DataType::Bf16 => Self::Whole(0.2),
            _ => Self::Whole(0.02),
        }
    }

    /// The same kind of tolerance with another figure.
    #[must_use]
    pub const fn with(self, figure: f64) -> Self {
        match self {
            Self::Elements { .. } => Self::Elements { logits: figure, router_weights: figure, others: figure },
            Self::Whole(_) => Self::Whole(figure),
        }
    }

    /// What is allowed of a kind, and what it is held against.
    fn judge(&self, deviation: &Deviation) -> (f64, f64) {
        let is_choice = deviation.is_choice();
        match self {
            Self::Elements { .. } if is_choice => (0.0, deviation.largest),
            Self::Elements { router_weights, .. } if deviation.kind == "router_weights" => {
                (*router_weights, deviation.largest)
            }
            Self::Elements { logits, .. } if deviation.kind.starts_with("logits") => (*logits, deviation.largest),
            Self::Elements { others, .. } => (others * deviation.magnitude.max(1.0), deviation.largest),
            Self::Whole(_) if is_choice => (f64::INFINITY, deviation.largest),
            Self::Whole(share) => (*share, deviation.relative),
        }
    }
}

impl Deviation {
    /// Whether it counts choices (of experts, of tokens).
    pub fn is_choice(&self) -> bool {
        matches!(self.kind.as_str(), "generated_ids" | "router_experts")
    }
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// By kind, in alphabetical order.
    pub deviations: Vec<Deviation>,
    /// Tensors of the reference that the run does not have, or has in another shape.
    pub missing: Vec<String>,
}

impl Comparison {
    /// Whether everything is there and within its tolerance.
    pub fn is_within(&self) -> bool {
        self.missing.is_empty() && !self.deviations.is_empty() && self.deviations.iter().all(|kind| kind.within)
    }

    /// The deviation of a kind.
    pub fn of(&self, kind: &str) -> Option<&Deviation> {
        self.deviations.iter().find(|deviation| deviation.kind == kind)
    }
}

/// Compares what both have. `router_experts` is compared as choices, in order of weight.
pub fn compare(run: &Record, reference: &Record, tolerance: Tolerance) -> Comparison {
    let mut kinds: BTreeMap<String, Deviation> = BTreeMap::new();
    let mut missing = Vec::new();
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let ids = |list: &[u64]| Recorded { shape: vec![list.len()], values: list.iter().map(|id| *id as f64).collect() };
    note(&mut kinds, "generated_ids", "generated_ids", &ids(&run.generated), &ids(&reference.generated));
    for (name, wanted) in reference.tensors.iter().filter(|(name, _)| !run.not_formed.contains(*name)) {
        let have = run.tensors.get(name).or_else(|| run.tensors.get(name.strip_suffix("_f64").unwrap_or(name)));
        match have {
            Some(have) if have.shape == wanted.shape => {
                let kind = name.rsplit('.').next().unwrap_or(name);
                note(&mut kinds, kind, name, have, wanted);
                let sum = sums.entry(kind.to_owned()).or_default();
                for (have, wanted) in have.values.iter().zip(&wanted.values) {
                    let square = (have - wanted).powi(2);
                    sum.0 += if square.is_nan() { f64::INFINITY } else { square };
                    sum.1 += wanted.powi(2);
                }
            }
            _ => missing.push(name.clone()),
        }
    }
    if run.generated.len() != reference.generated.len() {
        missing.push("generated_ids".into());
    }
    let mut deviations: Vec<Deviation> = kinds.into_values().collect();
    for deviation in &mut deviations {
        let squares = sums.get(&deviation.kind).copied().unwrap_or((f64::INFINITY, 0.0));
        deviation.relative = if squares.0 > 0.0 { (squares.0 / squares.1).sqrt() } else { 0.0 };
        let (allowed, value) = tolerance.judge(deviation);
        deviation.tolerance = allowed;
        deviation.within = value <= allowed;
    }
    Comparison { deviations, missing }
}

fn note(kinds: &mut BTreeMap<String, Deviation>, kind: &str, name: &str, have: &Recorded, wanted: &Recorded) {
    let entry = kinds.entry(kind.to_owned()).or_insert_with(|| Deviation {
        kind: kind.to_owned(),
        elements: 0,
        largest: 0.0,
        relative: 0.0,
        magnitude: 0.0,
        tolerance: 0.0,
        worst: name.to_owned(),
        within: false,
    });
    entry.elements += wanted.values.len() as u64;
    let is_choice = matches!(kind, "generated_ids" | "router_experts");
    let mut largest = 0.0f64;
    for (have, wanted) in have.values.iter().zip(&wanted.values) {
        let difference = (have - wanted).abs();
        // A difference that is no number is larger than any.
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        largest = if is_choice { largest + f64::from(difference > 0.0) } else { largest.max(difference) };
        entry.magnitude = entry.magnitude.max(wanted.abs());
    }
    let total = if is_choice { entry.largest + largest } else { largest };
    if total > entry.largest {
        entry.largest = total;
        name.clone_into(&mut entry.worst);
    }
}
