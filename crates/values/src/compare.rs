//! A run against a reference: the largest deviation of each kind of tensor, and whether it is within its tolerance.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::record::{Record, Recorded};

/// How far apart two runs are in one kind of tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deviation {
    /// The kind, for example `attn_out` or `k_cache`.
    pub kind: String,
    /// Elements compared.
    pub elements: u64,
    /// Largest absolute difference; of numbers of experts or tokens, how many differ.
    pub largest: f64,
    /// Largest magnitude in the reference.
    pub magnitude: f64,
    /// What is allowed.
    pub tolerance: f64,
    /// The tensor with the largest difference.
    pub worst: String,
    /// Whether the difference is within its tolerance. Differences that are no numbers are not.
    pub within: bool,
}

/// What is allowed, by kind of tensor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerance {
    /// Of logits, absolute.
    pub logits: f64,
    /// Of the router's weights, absolute.
    pub router_weights: f64,
    /// Of all other tensors, relative to the largest magnitude of their kind where that is above 1.
    pub others: f64,
    /// Whether chosen experts and generated tokens must be the same.
    pub exact_choices: bool,
}

impl Tolerance {
    /// What 32-bit sums in another order are held to: the reference's own 32-bit run is 4.1e-6 from a 64-bit one.
    pub const FP32: Self = Self { logits: 1e-4, router_weights: 5e-6, others: 1e-4, exact_choices: true };

    /// What numbers of `bits` of precision are held to: `share` of the largest magnitude. Choices may differ, since scores that
    /// are nearer to each other than the rounding have no order.
    pub const fn rounded(share: f64) -> Self {
        Self { logits: share, router_weights: share, others: share, exact_choices: false }
    }

    /// The tolerance of a run in a data type. In 16 bit a guess from runs of the tiny model, about four times what they measure:
    /// errors of thousands of roundings add up, and no bound of them is tight.
    pub const fn of_type(data_type: wafersim_spec::DataType) -> Self {
        match data_type {
            wafersim_spec::DataType::Fp32 => Self::FP32,
            wafersim_spec::DataType::Bf16 => Self::rounded(0.5),
            _ => Self::rounded(0.05),
        }
    }

    fn of(&self, kind: &str, magnitude: f64) -> f64 {
        match kind {
            "generated_ids" | "router_experts" if self.exact_choices => 0.0,
            "generated_ids" | "router_experts" => f64::INFINITY,
            "router_weights" => self.router_weights,
            "logits" | "logits_f64" if self.exact_choices => self.logits,
            _ => self.others * magnitude.max(1.0),
        }
    }
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    let ids = |list: &[u64]| Recorded { shape: vec![list.len()], values: list.iter().map(|id| *id as f64).collect() };
    note(&mut kinds, "generated_ids", "generated_ids", &ids(&run.generated), &ids(&reference.generated));
    for (name, wanted) in &reference.tensors {
        let have = run.tensors.get(name).or_else(|| run.tensors.get(name.strip_suffix("_f64").unwrap_or(name)));
        match have {
            Some(have) if have.shape == wanted.shape => {
                let kind = name.rsplit('.').next().unwrap_or(name);
                note(&mut kinds, kind, name, have, wanted);
            }
            _ => missing.push(name.clone()),
        }
    }
    if run.generated.len() != reference.generated.len() {
        missing.push("generated_ids".into());
    }
    let mut deviations: Vec<Deviation> = kinds.into_values().collect();
    for deviation in &mut deviations {
        deviation.tolerance = tolerance.of(&deviation.kind, deviation.magnitude);
        deviation.within = deviation.largest <= deviation.tolerance;
    }
    Comparison { deviations, missing }
}

fn note(kinds: &mut BTreeMap<String, Deviation>, kind: &str, name: &str, have: &Recorded, wanted: &Recorded) {
    let entry = kinds.entry(kind.to_owned()).or_insert_with(|| Deviation {
        kind: kind.to_owned(),
        elements: 0,
        largest: 0.0,
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
