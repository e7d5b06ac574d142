//! The best mapping found for a question: the search proposes, the closed form judges.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use wafersim_bound::{Bound, Limit};
use wafersim_mapping::{Common, Mapped, Recipe, Resolved, Verification};
use wafersim_search::{
    Ablated, Decision, Effort, Found, Judge, Judged, Move, Pins, Point, Search, Space, ablate, explore, way,
};
use wafersim_spec::Scenario;
use wafersim_spec::scenario::{Profile, Verification as Asked, WaferCount};

use crate::bound::no_mapping_beats;
use crate::chosen::{Chosen, Source};
use crate::decode::{DecodePrograms, DecodeTiming, Verified};
use crate::error::AnswerError;
use crate::first_token::{FirstTokenPrograms, PromptPlace};
use crate::memory::fits;
use crate::question::Question;
use crate::searched::Searched;
use crate::stage::LayerReading;
use crate::written::Kept;

/// What a mapping is to be good at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Each user's speed under the scenario's load.
    #[default]
    Speed,
    /// Tokens of all users where the pipeline is full.
    Pace,
    /// The first token of the scenario's prompt on an idle machine.
    FirstToken,
}

impl Objective {
    /// Name and unit of what is reached, as a key.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Speed => "tokens_per_second_per_user",
            Self::Pace => "tokens_per_second_of_full_pipeline",
            Self::FirstToken => "time_to_first_token_ms",
        }
    }

    /// The same in words.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Speed => "tok/s per user",
            Self::Pace => "tok/s of a full pipeline",
            Self::FirstToken => "ms to the first token",
        }
    }

    /// Times of it in words.
    pub const fn time_unit(self) -> &'static str {
        match self {
            Self::Speed => "microseconds per token of a user",
            Self::Pace => "microseconds per token of a full pipeline",
            Self::FirstToken => "microseconds to the first token",
        }
    }

    /// What is reached where it takes so many seconds: those of a token, or of the first one.
    pub fn reached(self, seconds: f64) -> f64 {
        match self {
            Self::Speed | Self::Pace => 1.0 / seconds,
            Self::FirstToken => 1e3 * seconds,
        }
    }
}

/// What a mapping takes, as an own objective sees it.
pub struct MappingTimes<'a> {
    /// The question.
    pub question: &'a Question,
    /// The mapping with every number: where every byte lives, and every decision.
    pub mapped: &'a Mapped,
    /// What one pass takes.
    pub timing: &'a DecodeTiming,
    judge: &'a ClosedForm<'a>,
}

impl MappingTimes<'_> {
    /// Seconds between two tokens of a user.
    pub fn seconds_per_token(&self) -> f64 {
        self.timing.seconds_per_token(self.question)
    }

    /// Seconds between two tokens of all users where the pipeline is full.
    pub fn seconds_per_token_of_full_pipeline(&self) -> f64 {
        self.timing.seconds_per_token_of_full_pipeline(self.question)
    }

    /// Seconds to the first token of the scenario's prompt; nothing where no program of a prompt can be written. Takes
    /// about as long as all else.
    pub fn seconds_to_first_token(&self) -> Option<f64> {
        self.judge.first_token(self.mapped)
    }
}

/// An objective from outside, in place of [`Objective`].
pub trait OwnObjective: Send + Sync {
    /// What tells it from all others: its name with every number that it works by. Stands in the mapping that is found.
    fn id(&self) -> String;

    /// What is to be small, in any unit; nothing for a mapping that is not wanted at all.
    fn value(&self, times: &MappingTimes<'_>) -> Option<f64>;
}

impl fmt::Debug for dyn OwnObjective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "objective '{}'", self.id())
    }
}

/// How to search.
#[derive(Debug, Clone, Default)]
pub struct How {
    /// What is wanted.
    pub objective: Objective,
    /// An objective from outside in its place.
    pub own: Option<Arc<dyn OwnObjective>>,
    /// Moves from outside, beside those that are built in.
    pub moves: Vec<Arc<dyn Move>>,
    /// How much is tried.
    pub effort: Effort,
    /// Seed of further starts.
    pub seed: u64,
    /// What a partial mapping fixes: its recipe, and the decisions that it names.
    pub pinned: Option<(Recipe, Pins)>,
}

impl How {
    /// A value of what is wanted as it is reported: microseconds of a time, an own objective's as it is.
    fn reported(&self, value: f64) -> f64 {
        if self.own.is_some() { value } else { value * 1e6 }
    }
}

/// What was found on so many wafers.
#[derive(Debug, Clone)]
pub struct FoundOn {
    /// Wafers that could be used.
    pub wafers: u32,
    /// Tokens a second for each user.
    pub tokens_per_second_per_user: f64,
    /// For all.
    pub tokens_per_second_total: f64,
    /// For all where the pipeline is full, however many users that takes.
    pub tokens_per_second_of_full_pipeline: f64,
    /// Milliseconds to the first token of the scenario's prompt; nothing where no program of a prompt can be written.
    pub time_to_first_token_ms: Option<f64>,
    /// What one pass takes.
    pub timing: DecodeTiming,
    /// The mapping with every number.
    pub resolved: Resolved,
    /// The mapping as the search has it.
    pub found: Found,
}

/// What a decision gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// The decision.
    pub decision: String,
    /// What is reached ([`Objective::key`], or the value of an own objective) where it is as published and the others
    /// as found; nothing where that does not fit.
    pub reached: Option<f64>,
}

/// The closed form as a judge.
pub struct ClosedForm<'a> {
    question: &'a Question,
    objective: Objective,
    own: Option<&'a dyn OwnObjective>,
    reading: LayerReading,
    profile: Profile,
    /// What computes the prompts, once that is asked; nothing where the model does not fit there.
    prompts: OnceLock<Option<PromptPlace>>,
    judged: AtomicU64,
    progress: &'a (dyn Fn(u64) + Sync),
    /// What was found for other mappings, one for each that is judged at the same time.
    kept: Mutex<Vec<Kept>>,
}

impl<'a> ClosedForm<'a> {
    /// A judge of each user's speed for a question; `progress` hears how many mappings it has judged.
    pub fn new(question: &'a Question, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self::of(question, Objective::Speed, Profile::Best, progress)
    }

    /// A judge of what a search wants.
    pub fn for_search(question: &'a Question, how: &'a How, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self::under(question, how, Profile::Best, progress)
    }

    fn under(question: &'a Question, how: &'a How, profile: Profile, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        Self { own: how.own.as_deref(), ..Self::of(question, how.objective, profile, progress) }
    }

    fn of(question: &'a Question, objective: Objective, profile: Profile, progress: &'a (dyn Fn(u64) + Sync)) -> Self {
        let reading = LayerReading::new(question, profile);
        let (own, judged, kept, prompts) = (None, AtomicU64::new(0), Mutex::default(), OnceLock::new());
        Self { question, objective, own, reading, profile, prompts, judged, progress, kept }
    }

    fn with_kept<T>(&self, write: impl FnOnce(&mut Kept) -> T) -> T {
        let all = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = all().pop().unwrap_or_default();
        let written = write(&mut kept);
        all().push(kept);
        written
    }

    fn programs(&self, mapped: &Mapped) -> DecodePrograms {
        let verified = Verified::of(self.question, mapped);
        self.with_kept(|kept| DecodePrograms::alone(self.question, mapped, verified, kept))
    }

    /// Seconds to the first token; nothing where no program of a prompt can be written.
    fn first_token(&self, mapped: &Mapped) -> Option<f64> {
        let place = self.prompts.get_or_init(|| PromptPlace::of(self.question, self.profile).ok()).clone()?;
        let programs = self.with_kept(|kept| FirstTokenPrograms::alone(self.question, mapped, place, kept));
        programs.check("found").ok()?;
        let time = programs.time(self.question, &mapped.placement, &self.reading);
        Some(time.total().seconds(self.question.clock()))
    }

    /// Seconds of what is wanted, or an own objective's value.
    fn wanted(&self, mapped: &Mapped, timing: &DecodeTiming) -> Option<f64> {
        if let Some(own) = self.own {
            return own.value(&MappingTimes { question: self.question, mapped, timing, judge: self });
        }
        match self.objective {
            Objective::Speed => Some(timing.seconds_per_token(self.question)),
            Objective::Pace => Some(timing.seconds_per_token_of_full_pipeline(self.question)),
            Objective::FirstToken => self.first_token(mapped),
        }
    }

    fn timing(&self, mapped: &Mapped) -> Option<DecodeTiming> {
        let programs = self.programs(mapped);
        programs.check("found").ok()?;
        if fits(mapped, &programs.pass).is_err() {
            return None;
        }
        Some(DecodeTiming::new(self.question, &mapped.placement, &programs, &self.reading))
    }
}

impl Judge for ClosedForm<'_> {
    fn judge(&self, mapped: &Mapped) -> Option<Judged> {
        (self.progress)(self.judged.fetch_add(1, Ordering::Relaxed) + 1);
        let timing = self.timing(mapped)?;
        let tie = match self.objective {
            Objective::Speed => timing.times.slowest,
            Objective::Pace | Objective::FirstToken => timing.period,
        };
        Some(Judged { time: self.wanted(mapped, &timing)?, tie: tie.0 })
    }

    fn fits_in_routers(&self, mapped: &Mapped) -> bool {
        self.programs(mapped).fit_in_routers(self.question).is_ok()
    }

    fn is_stopped(&self) -> bool {
        self.question.stop.is_set()
    }
}

/// The best mapping found on at most so many wafers. A draft model that is named is left out: its wafers are others.
///
/// # Errors
/// Where the model does not fit.
pub fn map_on(
    question: &Question,
    wafers: u32,
    how: &How,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<FoundOn, AnswerError> {
    let judge = ClosedForm::for_search(question, how, progress);
    let space = space(question, wafers, how);
    let search = Search { space, effort: how.effort, seed: how.seed };
    let recipe = how.pinned.as_ref().map_or_else(|| start(question), |(recipe, _)| recipe.clone());
    let point = first_point(question, recipe, wafers);
    let explored = explore(&search, point.clone(), &judge);
    let answered = how.pinned.is_none().then(|| of_answer(question, wafers, how, &judge)).flatten();
    let faster = |one: Found, other: Found| if other.judged.time < one.judged.time { other } else { one };
    let found = match (explored, answered) {
        (Some(explored), Some(answered)) => Some(faster(explored, answered)),
        (explored, answered) => explored.or(answered),
    };
    let Some(found) = found else {
        // Why not, in the words of placement.
        let inputs = question.inputs();
        let count = WaferCount::Exactly(wafers);
        wafersim_mapping::Mapper::new(&point.recipe, inputs).smallest(count, point.draft, 1)?;
        return Err(AnswerError::NothingFound { model: question.model.name.clone(), wafers });
    };
    let mut found = found;
    if let Some(own) = &how.own {
        found.point.recipe.source = format!("search by objective '{}'", own.id());
    }
    found_on(&judge, wafers, found)
        .ok_or_else(|| AnswerError::NothingFound { model: question.model.name.clone(), wafers })
}

/// What is said of a mapping that was found; nothing where it does not fit.
fn found_on(judge: &ClosedForm<'_>, wafers: u32, found: Found) -> Option<FoundOn> {
    let question = judge.question;
    let timing = judge.timing(&found.mapped)?;
    let mut asked = question.inputs();
    asked.load.wafers = WaferCount::Exactly(found.mapped.placement.wafers);
    let resolved = Resolved::new(&found.mapped, &found.point.recipe, asked);
    let per_user = 1.0 / timing.seconds_per_token(question);
    Some(FoundOn {
        wafers,
        tokens_per_second_per_user: per_user,
        tokens_per_second_total: per_user * question.scenario.users as f64,
        tokens_per_second_of_full_pipeline: 1.0 / timing.seconds_per_token_of_full_pipeline(question),
        time_to_first_token_ms: judge.first_token(&found.mapped).map(|seconds| 1e3 * seconds),
        timing,
        resolved,
        found,
    })
}

/// What a search has found, without what follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptFound {
    /// Wafers that could be used.
    pub wafers: u32,
    /// Wafers that are used.
    pub wafers_used: u32,
    /// Users whose tokens go through together.
    pub micro_batch: u64,
    /// How a draft is verified.
    pub draft: Verification,
    /// Mappings that were tried.
    pub evaluations: u64,
    /// The recipe, as TOML.
    pub recipe: String,
}

impl KeptFound {
    /// What is kept of a mapping that was found.
    pub fn of(found: &FoundOn) -> Self {
        let Found { point, evaluations, .. } = &found.found;
        Self {
            wafers: found.wafers,
            wafers_used: point.wafers,
            micro_batch: point.micro_batch,
            draft: point.draft,
            evaluations: *evaluations,
            recipe: point.recipe.to_toml(),
        }
    }

    /// The mapping again, for the same question: it is judged once, and nothing is searched.
    ///
    /// # Errors
    /// Where the recipe is none, or does not fit.
    pub fn open(&self, question: &Question, objective: Objective) -> Result<FoundOn, AnswerError> {
        let recipe = Recipe::parse(&self.recipe, "a kept mapping")?;
        let point = Point { recipe, wafers: self.wafers_used, micro_batch: self.micro_batch, draft: self.draft };
        let judge = ClosedForm::of(question, objective, Profile::Best, &|_| ());
        judged(&judge, point, self.evaluations)
            .and_then(|found| found_on(&judge, self.wafers, found))
            .ok_or_else(|| AnswerError::NothingFound { model: question.model.name.clone(), wafers: self.wafers })
    }
}

/// A mapping by itself, as a search would have found it.
fn judged(judge: &ClosedForm<'_>, point: Point, evaluations: u64) -> Option<Found> {
    let question = judge.question;
    let mapped = point.mapped(question.inputs(), &Arc::new(Common::new(&question.model)))?;
    let judged = judge.judge(&mapped)?;
    Some(Found { point, mapped, judged, evaluations })
}

/// What an answer works by on so many wafers: it may come from a harder question.
fn of_answer(question: &Question, wafers: u32, how: &How, judge: &ClosedForm<'_>) -> Option<Found> {
    let scenario = Scenario { wafers: WaferCount::Exactly(wafers), ..question.scenario.clone() };
    let asked = question.asking(scenario).ok()?.searching(Some(how.effort));
    let Searched { recipe, wafers, micro_batch, mappings, .. } = asked.searched()?.clone();
    judged(judge, Point { draft: recipe.draft, recipe, wafers, micro_batch }, mappings)
}

/// A decision on the way from published to found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayStep {
    /// The decision.
    pub decision: String,
    /// Microseconds of what is wanted with it and all before it; nothing where that does not fit yet.
    pub microseconds: Option<f64>,
}

/// The way from the published mapping to the one that was found, on the same wafers, and how far it could go on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayToFound {
    /// What was wanted.
    pub objective: Objective,
    /// The objective from outside in its place, whose values stand here as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_objective: Option<String>,
    /// Microseconds of what is wanted (a token of a user, a token of a full pipeline, the first token) with every
    /// decision as published; nothing where that does not fit.
    pub published: Option<f64>,
    /// Decisions in the order in which they are taken: at each step the one that gives most.
    pub taken: Vec<WayStep>,
    /// Microseconds as found.
    pub found: f64,
    /// The same mapping on ideal hardware.
    pub ideal: f64,
    /// What no mapping beats of a user's token, at the multiply rate that was measured; of other wants no bound is
    /// known.
    pub unbeaten_at_measured_rate: Option<f64>,
    /// The same at the peak rate.
    pub unbeaten: Option<f64>,
}

/// The way from published to found.
pub fn way_to(question: &Question, found: &FoundOn, how: &How) -> WayToFound {
    let judge = ClosedForm::for_search(question, how, &|_| ());
    let way = way(&space(question, found.wafers, how), &found.found, &judge);
    let microseconds = |value: f64| how.reported(value);
    let step = |wafersim_search::Taken { decision, time }: wafersim_search::Taken| WayStep {
        decision: decision.to_string(),
        microseconds: time.map(microseconds),
    };
    let on_ideal = ClosedForm::under(question, how, Profile::Ideal, &|_| ());
    let ideal = on_ideal.timing(&found.found.mapped);
    let ideal = ideal.and_then(|timing| on_ideal.wanted(&found.found.mapped, &timing));
    let ideal = ideal.unwrap_or(found.found.judged.time);
    let unbeaten = (how.objective == Objective::Speed && how.own.is_none()).then(|| no_mapping_beats(question));
    let of = |limit: fn(&Bound) -> &Limit| unbeaten.as_ref().map(|bound| limit(bound).time_per_output_token_us);
    WayToFound {
        objective: how.objective,
        own_objective: how.own.as_ref().map(|own| own.id()),
        published: way.published.map(microseconds),
        taken: way.taken.into_iter().map(step).collect(),
        found: microseconds(found.found.judged.time),
        ideal: microseconds(ideal),
        unbeaten_at_measured_rate: of(|bound| &bound.no_mapping_beats_at_measured_rate),
        unbeaten: of(|bound| &bound.no_mapping_beats),
    }
}

/// What each decision of a found mapping gives.
pub fn gains(question: &Question, found: &FoundOn, how: &How) -> Vec<Gain> {
    let judge = ClosedForm::for_search(question, how, &|_| ());
    let space = space(question, found.wafers, how);
    let gain = |Ablated { decision, time }: Ablated| Gain {
        decision: decision.to_string(),
        reached: time.map(|time| if how.own.is_some() { time } else { how.objective.reached(time) }),
    };
    // The division alone would only say that something else is chosen by bytes.
    let all = ablate(&space, &found.found, &judge).into_iter();
    all.filter(|ablated| ablated.decision != Decision::Division || ablated.time.is_some()).map(gain).collect()
}

/// The fewest wafers that hold the question's users, by the published mapping.
///
/// # Errors
/// Where no number does.
pub fn fewest(question: &Question) -> Result<u32, AnswerError> {
    let chosen = Chosen::new(question, Source::Published)?;
    let verified = chosen.verified().first().copied().flatten();
    Ok(chosen.smallest(WaferCount::Auto, verified, 1, question.scenario.users)?.placement.wafers)
}

/// What a search may decide on so many wafers.
pub fn space<'a>(question: &'a Question, wafers: u32, how: &How) -> Space<'a> {
    let pins = how.pinned.as_ref().map_or_else(Pins::default, |(_, pins)| pins.clone());
    // What some of the wafers do faster is done on them.
    let fewest = fewest(question).map_or(wafers, |fewest| fewest.min(wafers));
    Space { inputs: question.inputs(), fewest, wafers, pins, moves: how.moves.clone() }
}

/// Where a search begins: a recipe with all wafers, users one by one, and a draft as the scenario has it verified, as a
/// stream where it leaves that open.
pub(crate) fn first_point(question: &Question, recipe: Recipe, wafers: u32) -> Point {
    let draft = match question.scenario.speculation.verification {
        _ if question.inputs().load.tokens_per_step <= 1 => recipe.draft,
        Asked::MicroBatch => Verification::MicroBatch,
        Asked::Stream | Asked::Faster => Verification::Stream,
    };
    Point { recipe, wafers, micro_batch: 1, draft }
}

/// The recipe that a search begins with: everything that is known to help, experts as the scenario has them.
pub fn start(question: &Question) -> Recipe {
    let mut recipe = wafersim_search::space::start();
    recipe.pin_experts(question.scenario.placement);
    question.extensions().pin_experts(&mut recipe);
    recipe
}
