//! The capacity-planning table: a grid of questions, answered in parallel.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use wafersim_bound::Bound;
use wafersim_mapping::{Mapping, MappingError};
use wafersim_spec::scenario::{ExpertPlacement, Profile, WaferCount};
use wafersim_spec::{DataType, Model, Precision, Scenario, Wafer};

use crate::bound::no_mapping_beats;
use crate::error::AnswerError;
use crate::first_token::PrefillElsewhere;
use crate::invariants::{self, debug_assert_lawful};
use crate::question::Question;
use crate::read::{PlannedProfile, planned};
use crate::rows::Rows;
use crate::uncertainty::{Ranges, Spread};

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
    /// Tokens of every prompt; nothing: as long as the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<u64>,
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
            prompt: None,
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

    /// The point of a row: rows that differ in their profile alone have one, and are computed together.
    pub fn point_at(&self, place: usize) -> usize {
        let (inner, profiles) = (self.inner(), self.profiles.len().max(1));
        place / (inner * profiles) * inner + place % inner
    }

    /// The places of a point's rows, one for each profile: profiles go round slower than what comes after them.
    fn places_of(&self, point: usize) -> Vec<usize> {
        let (inner, profiles) = (self.inner(), self.profiles.len());
        (0..profiles).map(|profile| (point / inner * profiles + profile) * inner + point % inner).collect()
    }

    /// Points that go round faster than profiles.
    fn inner(&self) -> usize {
        self.contexts.len().saturating_mul(self.users.len()).max(1)
    }

    /// The scenarios of the grid: `base` with one value of each list, and the prompt of all, or one as long as the
    /// context.
    pub fn scenarios(&self, base: &Scenario) -> Vec<Scenario> {
        let mut scenarios = vec![base.clone()];
        vary(&mut scenarios, &self.wafers, |scenario, wafers| scenario.wafers = wafers);
        vary(&mut scenarios, &self.placements, |scenario, placement| {
            scenario.default_placement &= scenario.placement == placement;
            scenario.placement = placement;
        });
        // Weights as the checkpoint has them leave its other formats as they are.
        vary(&mut scenarios, &self.weights, |scenario, weights| {
            if scenario.precision.weights != weights {
                scenario.precision = scenario.precision.with_weights(weights);
            }
        });
        vary(&mut scenarios, &self.kv_caches, |scenario, kv_cache| scenario.precision.kv_cache = kv_cache);
        vary(&mut scenarios, &self.profiles, |scenario, profile| scenario.profile = profile);
        vary(&mut scenarios, &self.contexts, |scenario, context| {
            let prompt = self.prompt.unwrap_or(context);
            (scenario.context, scenario.prompt, scenario.default_context) = (context, prompt, false);
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

/// A setting that is swept, and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Path of the setting.
    pub path: String,
    /// Its value, as it was written.
    pub value: String,
}

/// One combination of swept values, and the grid that is computed for it.
#[derive(Debug, Clone)]
pub struct Base {
    /// What is swept.
    pub swept: Vec<Swept>,
    /// The scenario with these values.
    pub scenario: Scenario,
    /// The mapping, where that is swept.
    pub mapping: Option<Mapping>,
    /// The grid; all bases have as many points.
    pub axes: Axes,
}

/// One point of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// Values of what was swept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub swept: Vec<Swept>,
    /// Users.
    pub users: u64,
    /// Tokens in each user's cache, and of the prompt.
    pub context: u64,
    /// Wafers asked for.
    pub wafers_asked: WaferCount,
    /// Expert placement; an own one among `extensions` takes its place.
    pub placement: ExpertPlacement,
    /// Code from outside, by kind and id: `experts: snake`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Data type of weights, that of most matrices where they differ.
    pub weights: DataType,
    /// All of them in words, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixed_weights: Option<String>,
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
    /// Where prompts are computed elsewhere: what of the first token is what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<PrefillElsewhere>,
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
    /// How sure speed and first token are; nothing where that was not asked for, or where it does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Spread>,
}

impl PlanRow {
    /// Wafers that decode, and others that compute prompts; nothing where it fits none.
    pub fn wafers_in_all(&self) -> Option<u32> {
        let prefill = self.prefill.as_ref().map_or(0, |prefill| prefill.wafers);
        self.wafers.map(|wafers| wafers.saturating_add(prefill))
    }

    /// Who places the experts: the id of an own placement, or the name of the scenario's.
    pub fn placement_name(&self) -> &str {
        let own = self.extensions.iter().find_map(|own| own.strip_prefix("experts: "));
        own.unwrap_or_else(|| self.placement.name())
    }
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
    /// Which ranges the points have.
    #[serde(skip)]
    pub ranges: Ranges,
    /// The points in the order of the axes.
    pub rows: Vec<PlanRow>,
}

/// Answers every point of a grid, in which the question's own scenario is the base, with the ranges that are asked for.
/// Places of rows are those of [`Axes::scenarios`], whatever the number of threads. Points that do not fit are rows,
/// and say so.
///
/// # Errors
/// Where a point is no question at all (a context beyond the model, a wrong wafer parameter), or a row cannot be kept.
pub fn plan<Error: From<AnswerError> + Send>(
    base: &Question,
    axes: &Axes,
    ranges: Ranges,
    rows: &Rows<'_, PlanRow, Error>,
) -> Result<Plan, Error> {
    Ok(of(base, ranges, grid(base, (&[], axes, 0), ranges, rows)?))
}

/// Answers every point of the grids of several bases, one grid after the other. The question is what the table is named
/// after; a base takes its model and its wafer where it has the same.
///
/// # Errors
/// As [`plan`], and where model or wafer of a base cannot be read.
pub fn sweep<Error: From<AnswerError> + Send>(
    question: &Question,
    bases: &[Base],
    ranges: Ranges,
    rows: &Rows<'_, PlanRow, Error>,
) -> Result<Plan, Error> {
    let loaded = Loaded::new(question, bases)?;
    let points = bases.first().map_or(0, |base| base.axes.points());
    let grids: Vec<Vec<(usize, PlanRow)>> = bases
        .par_iter()
        .enumerate()
        .map(|(index, base)| grid(&loaded.question(base)?, (&base.swept, &base.axes, index * points), ranges, rows))
        .collect::<Result<_, Error>>()?;
    Ok(of(question, ranges, grids.into_iter().flatten().collect()))
}

/// Models and wafers of bases, each read once, and what else their questions have in common.
struct Loaded<'a> {
    question: &'a Question,
    models: BTreeMap<&'a str, Model>,
    wafers: BTreeMap<&'a str, Wafer>,
}

impl<'a> Loaded<'a> {
    fn new(question: &'a Question, bases: &'a [Base]) -> Result<Self, AnswerError> {
        let mut models = BTreeMap::from([(question.scenario.model.as_str(), question.model.clone())]);
        // The question's wafer has its changes; each base has its own.
        let mut wafers = BTreeMap::new();
        for Base { scenario, .. } in bases {
            if !models.contains_key(scenario.model.as_str()) {
                models.insert(&scenario.model, Model::from_name_or_path(&scenario.model)?);
            }
            if !wafers.contains_key(scenario.wafer.as_str()) {
                wafers.insert(scenario.wafer.as_str(), Wafer::from_name_or_path(&scenario.wafer)?);
            }
        }
        Ok(Self { question, models, wafers })
    }

    fn question(&self, base: &Base) -> Result<Question, AnswerError> {
        let known = self.models.get(base.scenario.model.as_str()).zip(self.wafers.get(base.scenario.wafer.as_str()));
        let question = match known {
            Some((model, wafer)) => Question::new(base.scenario.clone(), model.clone(), wafer.clone())?,
            None => Question::load(base.scenario.clone())?,
        };
        let mapping = base.mapping.clone().or_else(|| self.question.mapping.clone());
        question.with_mapping(mapping).searching(self.question.search).with_extensions_of(self.question)
    }
}

/// The rows of a grid at their places, the first of which is given.
fn grid<Error: From<AnswerError> + Send>(
    base: &Question,
    (swept, axes, first): (&[Swept], &Axes, usize),
    ranges: Ranges,
    rows: &Rows<'_, PlanRow, Error>,
) -> Result<Vec<(usize, PlanRow)>, Error> {
    base.extensions().check_placements(axes.placements.len())?;
    // Points that differ in their profile alone are placed and written once.
    let profile = axes.profiles.first().copied().into_iter().collect();
    let points = Axes { profiles: profile, ..axes.clone() }.scenarios(&base.scenario);
    let together: Vec<Vec<(usize, PlanRow)>> = points
        .into_par_iter()
        .enumerate()
        .map(|(point, scenario)| {
            let answers = || {
                let found = of_point(&base.asking(scenario)?, &axes.profiles, ranges)?;
                for row in &found {
                    debug_assert_lawful!(invariants::of_row(row));
                }
                Ok(found.into_iter().map(|row| PlanRow { swept: swept.to_vec(), ..row }).collect())
            };
            let places: Vec<usize> = axes.places_of(point).into_iter().map(|place| first + place).collect();
            rows.together(&places, answers)
        })
        .collect::<Result<_, Error>>()?;
    Ok(together.into_iter().flatten().collect())
}

/// The table that is named after a question.
fn of(question: &Question, ranges: Ranges, mut rows: Vec<(usize, PlanRow)>) -> Plan {
    rows.sort_by_key(|(place, _)| *place);
    Plan {
        model: question.model.name.clone(),
        wafer: question.wafer.name.clone(),
        target: question.scenario.target,
        clock_ghz: question.clock().gigahertz(),
        ranges,
        rows: rows.into_iter().map(|(_, row)| row).collect(),
    }
}

/// The rows of a point, one for each profile.
fn of_point(question: &Question, profiles: &[Profile], ranges: Ranges) -> Result<Vec<PlanRow>, AnswerError> {
    let bound = no_mapping_beats(question);
    // Where a draft model lies is chosen for the scenario's profile.
    if question.draft.is_none()
        && let Ok(found) = planned(question, profiles, ranges)
        && found.len() == profiles.len()
    {
        let rows = profiles.iter().zip(found).map(|(profile, found)| fitting(empty(question, *profile), &bound, found));
        return Ok(rows.collect());
    }
    // Some profile has no answer: each by itself says why.
    let each = profiles.iter().map(|profile| {
        let row = empty(question, *profile);
        let scenario = Scenario { profile: *profile, ..question.scenario.clone() };
        match planned(&Question { scenario, ..question.clone() }, &[*profile], ranges).map(|mut found| found.pop()) {
            Ok(Some(found)) => Ok(fitting(row, &bound, found)),
            Ok(None) => Ok(row),
            Err(error) => refused(row, error),
        }
    });
    each.collect()
}

/// Formats in words, where matrices have several.
fn mixed(precision: &Precision) -> Option<String> {
    let words = precision.to_string();
    (words != precision.weights.name()).then_some(words)
}

impl PlanRow {
    /// The formats of weights, in words.
    pub fn weights_in_words(&self) -> &str {
        self.mixed_weights.as_deref().unwrap_or(self.weights.name())
    }
}

fn empty(question: &Question, profile: Profile) -> PlanRow {
    let scenario = &question.scenario;
    PlanRow {
        swept: Vec::new(),
        users: scenario.users,
        context: scenario.context,
        wafers_asked: scenario.wafers,
        placement: scenario.placement,
        extensions: question.own_code(),
        weights: scenario.precision.weights,
        mixed_weights: mixed(&scenario.precision),
        kv_cache: scenario.precision.kv_cache,
        profile,
        fits: false,
        wafers: None,
        tokens_per_second_per_user: None,
        tokens_per_second_total: None,
        time_per_output_token_us: None,
        time_to_first_token_ms: None,
        prefill: None,
        users_at_full_speed: None,
        max_users: None,
        no_mapping_beats: None,
        no_mapping_beats_at_measured_rate: None,
        reaches_target: false,
        limit: String::new(),
        ranges: None,
    }
}

fn fitting(row: PlanRow, bound: &Bound, found: PlannedProfile) -> PlanRow {
    let PlannedProfile { figures, wafers, max_users, spread } = found;
    let unbeaten = |limit: &wafersim_bound::Limit| Some(limit.tokens_per_second_per_user);
    PlanRow {
        fits: true,
        wafers: Some(wafers),
        tokens_per_second_per_user: Some(figures.tokens_per_second_per_user),
        tokens_per_second_total: Some(figures.tokens_per_second_total),
        time_per_output_token_us: Some(figures.time_per_output_token_us),
        time_to_first_token_ms: Some(figures.time_to_first_token_ms),
        prefill: figures.prefill,
        users_at_full_speed: Some(figures.users_at_full_speed),
        max_users: Some(max_users),
        no_mapping_beats: unbeaten(&bound.no_mapping_beats),
        no_mapping_beats_at_measured_rate: unbeaten(&bound.no_mapping_beats_at_measured_rate),
        reaches_target: figures.reaches_target,
        limit: figures.limit.to_string(),
        ranges: spread,
        ..row
    }
}

/// A row that says why it has no figures.
fn refused(row: PlanRow, error: AnswerError) -> Result<PlanRow, AnswerError> {
    let wafers = match &error {
        AnswerError::Place(wafersim_place::PlaceError::DoesNotFit { needed_wafers, .. }) => Some(*needed_wafers),
        AnswerError::DraftDoesNotFit { needed, .. } => Some(*needed),
        AnswerError::Place(_)
        | AnswerError::DraftInNoSlot { .. }
        | AnswerError::Prefill { .. }
        | AnswerError::Lower { .. }
        | AnswerError::Mapping(MappingError::Decision { .. }) => None,
        _ => return Err(error),
    };
    Ok(PlanRow { wafers, limit: error.to_string(), ..row })
}
