//! What synthetic trace is wanted.

use serde::Serialize;

use crate::error::RoutingError;
use crate::header::{Header, MOST_USERS};

use super::parameters::RoutingParameters;

/// What users work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// All published prompts: neighbours share 42.7 % of their experts.
    #[default]
    Mixed,
    /// Coding prompts: 40.7 %.
    Coding,
}

impl Workload {
    /// The names.
    pub const NAMES: [&'static str; 2] = ["mixed", "coding"];
}

/// Most experts that are sampled: their whole-number weights must tell popularities apart.
const MOST_SAMPLED: u32 = 1024;
/// Most experts of a token that are drawn.
pub(super) const MOST_TOP_K: usize = 64;
/// Most affinities that are held: users x layers x experts.
const MOST_AFFINITIES: u64 = 1 << 26;

/// What synthetic trace is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticSettings {
    /// Name of the model, for the header.
    pub model: String,
    /// Layers with routed experts.
    pub layers: u32,
    /// Routed experts of a layer.
    pub experts: u32,
    /// Experts of a token.
    pub top_k: u32,
    /// Tokens in all, dealt to the users in turn.
    pub tokens: u64,
    /// Users.
    pub users: u32,
    /// Kinds of work with different hot experts, dealt to the users in turn.
    pub kinds_of_work: u32,
    /// What users work on.
    pub work: Workload,
    /// Seed of all random streams.
    pub seed: u64,
    /// The numbers of the generative model.
    pub parameters: RoutingParameters,
}

impl SyntheticSettings {
    /// The model whose figures are published: 48 layers, 128 experts, top-8; one user, one kind of work.
    pub fn qwen3_30b() -> Self {
        Self {
            model: "qwen3-30b-a3b".into(),
            layers: 48,
            experts: 128,
            top_k: 8,
            tokens: 1000,
            users: 1,
            kinds_of_work: 1,
            work: Workload::Mixed,
            seed: 1,
            parameters: RoutingParameters::QWEN3_30B,
        }
    }

    /// Qwen3-Coder-480B-A35B: 62 layers, 160 experts, top-8, by the same law: an extrapolation.
    pub fn qwen3_coder() -> Self {
        Self { model: "qwen3-coder-480b-a35b".into(), layers: 62, experts: 160, ..Self::qwen3_30b() }
    }

    /// Mean overlap of neighbouring tokens.
    pub const fn mean_overlap(&self) -> f64 {
        match self.work {
            Workload::Mixed => self.parameters.mean_overlap,
            Workload::Coding => self.parameters.mean_overlap_coding,
        }
    }

    /// The header of such a trace.
    ///
    /// # Errors
    /// Where a setting is outside its range.
    pub fn header(&self) -> Result<Header, RoutingError> {
        let mut header = Header::new(&self.model, self.layers, self.experts, self.top_k, self.tokens)?;
        if self.experts > MOST_SAMPLED {
            return Err(RoutingError::range(
                "experts",
                self.experts,
                format!("1 to {MOST_SAMPLED} in a synthetic trace"),
            ));
        }
        if self.top_k as usize > MOST_TOP_K {
            return Err(RoutingError::range("top_k", self.top_k, format!("1 to {MOST_TOP_K} in a synthetic trace")));
        }
        for (field, value) in [("users", self.users), ("kinds_of_work", self.kinds_of_work)] {
            if value == 0 || value > MOST_USERS {
                return Err(RoutingError::range(field, value, format!("1 to {MOST_USERS}")));
            }
        }
        let affinities = u64::from(self.users.max(self.kinds_of_work))
            .saturating_mul(u64::from(self.layers))
            .saturating_mul(u64::from(self.experts));
        if affinities > MOST_AFFINITIES {
            return Err(RoutingError::range(
                "users x layers x experts",
                affinities,
                format!("at most {MOST_AFFINITIES}"),
            ));
        }
        let numbers = [
            self.parameters.rank_slope,
            self.parameters.first_rank_lift,
            self.parameters.tail_rank,
            self.parameters.tail_power,
            self.parameters.mean_skew,
            self.parameters.mean_overlap,
            self.parameters.persistence,
            self.parameters.shared_taste,
        ];
        if let Some(wrong) = numbers.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
            return Err(RoutingError::range("parameters", wrong, "finite and not negative"));
        }
        let plural = |count: u32, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let published = Self::qwen3_30b();
        let is_published =
            (self.layers, self.experts, self.top_k) == (published.layers, published.experts, published.top_k);
        let how = if is_published { "after" } else { "extrapolated from" };
        header.note = format!(
            "synthetic, {how} Qwen3-30B-A3B: {}, {}, seed {}",
            plural(self.users, "user", "users"),
            plural(self.kinds_of_work, "kind of work", "kinds of work"),
            self.seed
        );
        Ok(header)
    }
}
