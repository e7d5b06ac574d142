//! The capacity-planning table: a grid of questions, answered in parallel.

use rayon::prelude::*;
use serde::Serialize;
use wafersim_mapping::MappingError;
use wafersim_spec::scenario::{ExpertPlacement, Profile, WaferCount};
use wafersim_spec::{DataType, Scenario};

use crate::error::AnswerError;
use crate::question::Question;
use crate::run::answer_one_profile;

/// What varies. Every list holds at least one value; the points are their product, the last list fastest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axes {
    /// Wafer counts.
    pub wafers: Vec<WaferCount>,
    /// Expert placements.
    pub placements: Vec<ExpertPlacement>,
    /// Data types of weights.
    pub weights: Vec<DataType>,
    /// Data types of the KV cache.
    pub kv_caches: Vec<DataType>,
    /// Profiles.
    pub profiles: Vec<Profile>,
    /// Context lengths in tokens.
    pub contexts: Vec<u64>,
    /// Users.
    pub users: Vec<u64>,
}

impl Axes {
    /// The scenario's own values, one each.
    pub fn of(scenario: &Scenario) -> Self {
        Self {
            wafers: vec![scenario.wafers],
            placements: vec![scenario.placement],
            weights: vec![scenario.precision.weights],
            kv_caches: vec![scenario.precision.kv_cache],
            profiles: vec![scenario.profile],
            contexts: vec![scenario.context],
            users: vec![scenario.users],
        }
    }

    /// Points in the grid.
    pub fn points(&self) -> usize {
        [
            self.wafers.len(),
            self.placements.len(),
            self.weights.len(),
            self.kv_caches.len(),
            self.profiles.len(),
            self.contexts.len(),
            self.users.len(),
        ]
        .into_iter()
        .fold(1, usize::saturating_mul)
    }

    /// The scenarios of the grid: `base` with one value of each list, and the prompt as long as the context.
    pub fn scenarios(&self, base: &Scenario) -> Vec<Scenario> {
        let mut scenarios = vec![base.clone()];
        vary(&mut scenarios, &self.wafers, |scenario, wafers| scenario.wafers = wafers);
        vary(&mut scenarios, &self.placements, |scenario, placement| {
            scenario.default_placement &= scenario.placement == placement;
            scenario.placement = placement;
        });
        vary(&mut scenarios, &self.weights, |scenario, weights| scenario.precision.weights = weights);
        vary(&mut scenarios, &self.kv_caches, |scenario, kv_cache| scenario.precision.kv_cache = kv_cache);
        vary(&mut scenarios, &self.profiles, |scenario, profile| scenario.profile = profile);
        vary(&mut scenarios, &self.contexts, |scenario, context| {
            (scenario.context, scenario.prompt, scenario.default_context) = (context, context, false);
        });
        vary(&mut scenarios, &self.users, |scenario, users| scenario.users = users);
        scenarios
    }
}

/// Replaces every scenario by as many as there are values.
fn vary<T: Copy>(scenarios: &mut Vec<Scenario>, values: &[T], set: impl Fn(&mut Scenario, T)) {
    *scenarios = scenarios
        .iter()
        .flat_map(|scenario| {
            values.iter().map(|value| {
                let mut varied = scenario.clone();
                set(&mut varied, *value);
                varied
            })
        })
        .collect();
}

/// One point of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanRow {
    /// Users.
    pub users: u64,
    /// Tokens in each user's cache, and of the prompt.
    pub context: u64,
    /// Wafers asked for.
    pub wafers_asked: WaferCount,
    /// Expert placement.
    pub placement: ExpertPlacement,
    /// Data type of weights.
    pub weights: DataType,
    /// Data type of the KV cache.
    pub kv_cache: DataType,
    /// Profile.
    pub profile: Profile,
    /// Whether it fits.
    pub fits: bool,
    /// Wafers used, or that would do where the asked number does not (absent where none would).
    pub wafers: Option<u32>,
    /// Tokens per second of each user.
    pub tokens_per_second_per_user: Option<f64>,
    /// Tokens per second of all users.
    pub tokens_per_second_total: Option<f64>,
    /// Mean time between a user's tokens, in microseconds.
    pub time_per_output_token_us: Option<f64>,
    /// Time to first token of an idle machine, in milliseconds.
    pub time_to_first_token_ms: Option<f64>,
    /// Users whom the arrangement of these figures serves without slowing any of them.
    pub users_at_full_speed: Option<u64>,
    /// Users that the wafers hold at this context in any arrangement.
    pub max_users: Option<u64>,
    /// Tokens per second of each user that no mapping beats.
    pub no_mapping_beats: Option<f64>,
    /// The same at the multiply rate that was measured.
    pub no_mapping_beats_at_measured_rate: Option<f64>,
    /// Whether the target is reached.
    pub reaches_target: bool,
    /// What binds, or why it does not fit.
    pub limit: String,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Model.
    pub model: String,
    /// Wafer.
    pub wafer: String,
    /// Tokens per second that each user should get.
    pub target: f64,
    /// Clock in GHz.
    pub clock_ghz: f64,
    /// The points in the order of the axes.
    pub rows: Vec<PlanRow>,
}

/// Answers every point of a grid, in which the question's own scenario is the base. `done` is called once per point, from any thread. Points that do not fit are rows that
/// say so; the order of the rows does not depend on threads.
///
/// # Errors
/// Where a point is no question at all (a context beyond the model, a wrong wafer parameter).
pub fn plan(base: &Question, axes: &Axes, done: impl Fn() + Sync) -> Result<Plan, AnswerError> {
    let rows: Result<Vec<PlanRow>, AnswerError> = axes
        .scenarios(&base.scenario)
        .into_par_iter()
        .map(|scenario| {
            let row = base.asking(scenario).and_then(|question| row(&question));
            done();
            row
        })
        .collect();
    Ok(Plan {
        model: base.model.name.clone(),
        wafer: base.wafer.name.clone(),
        target: base.scenario.target,
        clock_ghz: base.clock().gigahertz(),
        rows: rows?,
    })
}

fn row(question: &Question) -> Result<PlanRow, AnswerError> {
    let scenario = &question.scenario;
    let mut row = PlanRow {
        users: scenario.users,
        context: scenario.context,
        wafers_asked: scenario.wafers,
        placement: scenario.placement,
        weights: scenario.precision.weights,
        kv_cache: scenario.precision.kv_cache,
        profile: scenario.profile,
        fits: false,
        wafers: None,
        tokens_per_second_per_user: None,
        tokens_per_second_total: None,
        time_per_output_token_us: None,
        time_to_first_token_ms: None,
        users_at_full_speed: None,
        max_users: None,
        no_mapping_beats: None,
        no_mapping_beats_at_measured_rate: None,
        reaches_target: false,
        limit: String::new(),
    };
    match answer_one_profile(question) {
        Ok(answer) => {
            row.fits = true;
            row.wafers = Some(answer.wafers);
            row.tokens_per_second_per_user = Some(answer.tokens_per_second_per_user);
            row.tokens_per_second_total = Some(answer.tokens_per_second_total);
            row.time_per_output_token_us = Some(answer.time_per_output_token_us);
            row.time_to_first_token_ms = Some(answer.time_to_first_token_ms);
            row.users_at_full_speed = Some(answer.users_at_full_speed);
            row.max_users = Some(answer.max_users);
            let profiles = &answer.profiles;
            row.no_mapping_beats = Some(profiles.no_mapping_beats.tokens_per_second_per_user);
            row.no_mapping_beats_at_measured_rate =
                Some(profiles.no_mapping_beats_at_measured_rate.tokens_per_second_per_user);
            row.reaches_target = answer.verdict.state.is_reached();
            row.limit = answer.verdict.limit.to_string();
        }
        Err(AnswerError::Place(error)) => {
            if let wafersim_place::PlaceError::DoesNotFit { needed_wafers, .. } = &error {
                row.wafers = Some(*needed_wafers);
            }
            row.limit = error.to_string();
        }
        Err(error @ (AnswerError::DraftDoesNotFit { .. } | AnswerError::DraftInNoSlot { .. })) => {
            if let AnswerError::DraftDoesNotFit { needed, .. } = &error {
                row.wafers = Some(*needed);
            }
            row.limit = error.to_string();
        }
        Err(error @ (AnswerError::Lower { .. } | AnswerError::Mapping(MappingError::Decision { .. }))) => {
            row.limit = error.to_string();
        }
        Err(error) => return Err(error),
    }
    Ok(row)
}
