//! What is charged for tokens elsewhere: published prices of services, as they were read.

use serde::{Deserialize, Serialize};

use crate::error::DecideError;

const TABLE: &str = include_str!("../measurements/services.csv");

/// A service, and what it charges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServicePrice {
    /// Who.
    pub service: String,
    /// Which model.
    pub model: String,
    /// USD for a million tokens of prompts.
    pub input: f64,
    /// The same of those that its cache knows; nothing where they are charged as others.
    pub cached: Option<f64>,
    /// USD for a million tokens of answers.
    pub output: f64,
    /// Tokens a second of an answer, where somebody has said so.
    pub tok_s: Option<f64>,
    /// Who says so: vendor, independent, analyst.
    pub evidence: String,
    /// When.
    pub date: String,
    /// Where.
    pub source: String,
}

/// What a load's requests are like.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TokenMix {
    /// Tokens of prompts for each token of an answer.
    pub input_per_output: f64,
    /// Part of them that a prefix cache knows.
    pub cached: f64,
}

impl ServicePrice {
    /// USD for a million tokens of answers with the prompts that belong to them.
    pub fn per_million_outputs(&self, mix: TokenMix) -> f64 {
        let cached = self.cached.unwrap_or(self.input);
        self.output + mix.input_per_output * (self.input * (1.0 - mix.cached) + cached * mix.cached)
    }
}

/// All services that are known.
///
/// # Errors
/// None that a user can cause: the table is built in.
pub fn services() -> Result<Vec<ServicePrice>, DecideError> {
    let rows = csv::Reader::from_reader(TABLE.as_bytes()).into_deserialize();
    rows.collect::<Result<_, _>>()
        .map_err(|error| DecideError::Table { table: "services.csv", reason: error.to_string() })
}
