//! Reading profiles: the ways by their mappings, written once, the fastest that fits the routers, and the prompt.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use wafersim_mapping::Resolved;
use wafersim_place::Placement;
use wafersim_spec::scenario::Profile;

use crate::candidates::{Candidates, Way, candidates};
use crate::chosen::{Chosen, Source};
use crate::decode::{DecodePrograms, DecodeTiming};
use crate::error::AnswerError;
use crate::first_token::{FirstTokenPrograms, FirstTokenTime, PromptPlace};
use crate::memory::fits;
use crate::question::Question;
use crate::run::{ProfileAnswer, profile_answer};
use crate::stage::LayerReading;
use crate::uncertainty::{Ranges, Spread, spread};
use crate::written::Kept;

/// What was read in closed form for the scenario's profile, for another reading to replace.
#[cfg_attr(not(feature = "fabric"), expect(dead_code, reason = "the fabric alone reads programs again"))]
pub(crate) struct Read<'a> {
    /// The placement that is fastest for the profile.
    pub(crate) placement: &'a Placement,
    /// Its programs.
    pub(crate) programs: &'a DecodePrograms,
    /// The programs of the first token on it, with its cache.
    pub(crate) first_token_programs: &'a FirstTokenPrograms,
    /// How they were read.
    pub(crate) reading: &'a LayerReading,
    /// Decoding.
    pub(crate) timing: DecodeTiming,
    /// Time to first token.
    pub(crate) first_token: FirstTokenTime,
}

/// Replaces nothing.
pub(crate) fn closed_form(_: &mut Read<'_>) -> Result<(), AnswerError> {
    Ok(())
}

/// What was found for a profile.
pub(crate) struct OfProfile<'a> {
    /// The profile.
    pub(crate) profile: Profile,
    /// The fastest way.
    pub(crate) way: &'a Way,
    /// Its times, as they were replaced.
    pub(crate) timing: DecodeTiming,
    /// What they come to.
    pub(crate) figures: ProfileAnswer,
    /// Mean time between a user's tokens in closed form, in seconds.
    pub(crate) closed_form: f64,
    /// Wafers that were asked for, or the fewest.
    pub(crate) wafers: u32,
    /// Users that they hold by any mapping of the profile.
    pub(crate) max_users: u64,
}

/// Reads several profiles in closed form; `replace` may put other times in place of those of the scenario's profile.
/// `keep` gets each profile. Ways by one mapping are placed and written once.
pub(crate) fn read_profiles(
    question: &Question,
    asked: &[Profile],
    replace: &mut dyn FnMut(&mut Read<'_>) -> Result<(), AnswerError>,
    keep: &mut dyn FnMut(OfProfile<'_>),
) -> Result<(), AnswerError> {
    for asked in by_mapping(question, asked) {
        // What is hypothetical comes last, and needs most.
        let Some(most) = asked.last() else { continue };
        let found = candidates(question, *most)?;
        let wafers = found.first().map_or(0, |candidates| candidates.wafers);
        let mut kept = Kept::sharing(question);
        let works = found.iter().map(|candidates| Worked::new(question, candidates, &mut kept));
        let written: Vec<Worked<'_>> = works.collect();
        // By the address of the way; other wafers are arranged for each profile.
        let mut prompts: BTreeMap<(*const Way, Option<Profile>), Arc<FirstTokenPrograms>> = BTreeMap::new();
        for &profile in asked {
            let reading = LayerReading::new(question, profile);
            let allowed = Source::of(question, profile);
            let here = || written.iter().filter(|worked| allowed.contains(&worked.candidates.source));
            let timed = here().flat_map(|worked| worked.timed(question, &reading)).collect();
            let Timed { way, programs, timing } = fastest(question, timed)?;
            // Keys and values lie where decode wants them.
            let place = PromptPlace::of(question, profile)?;
            let is_of_profile = matches!(place, PromptPlace::Others(_)).then_some(profile);
            let written = prompts.entry((std::ptr::from_ref(way), is_of_profile));
            let write = || Arc::new(FirstTokenPrograms::new(question, way, place, &mut kept));
            let prompt = Arc::clone(written.or_insert_with(write));
            prompt.check(&way.mapping)?;
            let first_token = prompt.time(question, &way.mapped.placement, &reading);
            let closed_form = timing.seconds_per_token(question);
            let mut read = Read {
                placement: &way.mapped.placement,
                programs: &programs,
                first_token_programs: &prompt,
                reading: &reading,
                timing,
                first_token,
            };
            if profile == question.scenario.profile {
                replace(&mut read)?;
            }
            let figures = profile_answer(question, &read)?;
            let max_users = here().map(|worked| worked.candidates.max_users).max().unwrap_or(0);
            // Beside a draft model there is room for fewer.
            let users_at_full_speed = figures.users_at_full_speed.min(max_users);
            let figures = ProfileAnswer { users_at_full_speed, ..figures };
            keep(OfProfile { profile, way, timing: read.timing, figures, closed_form, wafers, max_users });
        }
    }
    Ok(())
}

/// The programs of all ways by one mapping.
struct Worked<'a> {
    candidates: &'a Candidates,
    programs: Vec<DecodePrograms>,
}

impl<'a> Worked<'a> {
    fn new(question: &Question, candidates: &'a Candidates, kept: &mut Kept) -> Self {
        let programs = candidates.ways.iter().map(|way| DecodePrograms::new(question, way, kept)).collect();
        Self { candidates, programs }
    }

    fn timed<'b>(&'b self, question: &'b Question, reading: &'b LayerReading) -> impl Iterator<Item = Timed<'b>> {
        let ways = self.candidates.ways.iter().zip(&self.programs);
        ways.map(|(way, programs)| Timed::of(question, way, Cow::Borrowed(programs), reading))
    }
}

/// A way of working with what it takes.
pub(crate) struct Timed<'a> {
    /// The way.
    pub(crate) way: &'a Way,
    /// Its programs.
    pub(crate) programs: Cow<'a, DecodePrograms>,
    /// Decoding.
    pub(crate) timing: DecodeTiming,
}

impl<'a> Timed<'a> {
    /// Writes and reads the programs of a way.
    pub(crate) fn new(question: &Question, way: &'a Way, reading: &LayerReading) -> Self {
        Self::of(question, way, Cow::Owned(DecodePrograms::new(question, way, &mut Kept::default())), reading)
    }

    fn of(question: &Question, way: &'a Way, programs: Cow<'a, DecodePrograms>, reading: &LayerReading) -> Self {
        let timing = DecodeTiming::new(question, &way.mapped.placement, &programs, reading);
        Self { way, programs, timing }
    }

    /// Whether all of it could be written, and every router has the colors that it needs: pairs of color and route over
    /// the whole program, with names renamed where they do not meet; and whether what the programs of `best` keep fits
    /// the memory. The published mapping stays whatever it keeps, so that there is an answer, and one that was given is
    /// taken as it is.
    pub(crate) fn check(&self, question: &Question) -> Result<(), AnswerError> {
        self.programs.check(&self.way.mapping)?;
        if matches!(self.way.source, Source::Best | Source::Found) {
            fits(&self.way.mapped, &self.programs.pass).map_err(|fullest| AnswerError::ProgramsDoNotFit {
                mapping: self.way.mapping.clone(),
                slot: fullest.slot,
                needed: fullest.sum(),
                limit: self.way.mapped.placement.ledger.limit,
            })?;
        }
        self.programs.fit_in_routers(question)
    }
}

/// The fastest way that can be written and fits the routers, the first of them on a tie.
///
/// # Errors
/// Where there is none: why the fastest does not.
pub(crate) fn fastest<'a>(question: &Question, mut timed: Vec<Timed<'a>>) -> Result<Timed<'a>, AnswerError> {
    timed.sort_by(|one, other| one.timing.period.0.total_cmp(&other.timing.period.0));
    let mut refused = None;
    for way in timed {
        match way.check(question) {
            Ok(()) => return Ok(way),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or(AnswerError::NotANumber { what: "the placement", value: "nothing".into() }))
}

/// The mappings that profile `best` chooses among, each in its fastest way and with every number: the fastest first, no
/// two alike.
///
/// # Errors
/// Where the model does not fit by the first of them.
pub fn best_mappings(question: &Question) -> Result<Vec<Resolved>, AnswerError> {
    let reading = LayerReading::new(question, Profile::Best);
    let mut found: Vec<(f64, Resolved)> = Vec::new();
    for candidates in candidates(question, Profile::Best)? {
        let timed = candidates.ways.iter().map(|way| Timed::new(question, way, &reading)).collect();
        // A mapping of which no way can be written is none.
        let Ok(Timed { way, timing, .. }) = fastest(question, timed) else { continue };
        let resolved = Chosen::new(question, way.source)?.resolved(&way.mapped);
        if found.iter().all(|(_, known)| known.kinds != resolved.kinds || known.slots != resolved.slots) {
            found.push((timing.seconds_per_token(question), resolved));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(found.into_iter().map(|(_, resolved)| resolved).collect())
}

/// Profiles that are answered together: all, or by themselves those that work by a mapping that was given, or found by
/// an objective from outside.
fn by_mapping<'p>(question: &Question, asked: &'p [Profile]) -> Vec<&'p [Profile]> {
    match question.mapping {
        None if !question.searches_by_own_objective() => vec![asked],
        _ => asked.chunk_by(|one, other| Source::of(question, *one) == Source::of(question, *other)).collect(),
    }
}

/// What a plan asks of a point under one profile.
#[derive(Debug, Clone)]
pub(crate) struct PlannedProfile {
    pub(crate) figures: ProfileAnswer,
    pub(crate) wafers: u32,
    pub(crate) max_users: u64,
    pub(crate) spread: Option<Spread>,
}

/// A point under several profiles, in their order, with the ranges that are asked for.
///
/// # Errors
/// As [`answer`].
pub(crate) fn planned(
    question: &Question,
    asked: &[Profile],
    ranges: Ranges,
) -> Result<Vec<PlannedProfile>, AnswerError> {
    let (mut found, mut refused) = (BTreeMap::new(), None);
    // The published profile comes first where mappings are shared.
    let mut order = asked.to_vec();
    order.sort_unstable();
    order.dedup();
    read_profiles(question, &order, &mut closed_form, &mut |of| {
        let OfProfile { profile, way, figures, wafers, max_users, .. } = of;
        let spread = spread(question, way, wafers, profile, ranges).unwrap_or_else(|error| {
            refused.get_or_insert(error);
            None
        });
        found.insert(profile, PlannedProfile { figures, wafers, max_users, spread });
    })?;
    if let Some(error) = refused {
        return Err(error);
    }
    Ok(asked.iter().filter_map(|profile| found.get(profile).cloned()).collect())
}
