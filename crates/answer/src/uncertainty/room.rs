//! What fits at another amount of memory that code and runtime leave free: each needs a placement of its own.

use wafersim_mapping::Mapped;
use wafersim_spec::Bytes;
use wafersim_spec::scenario::WaferCount;
use wafersim_spec::wafer::{DECLARATIONS, Declaration, Key};

use super::sampled::place_of_rank;
use crate::candidates::{Way, most_users, way, with_room_for_draft};
use crate::chosen::Chosen;
use crate::draft::Drafts;
use crate::error::AnswerError;
use crate::question::Question;

/// A way whose room is asked about, on the wafers of the answer.
#[derive(Clone, Copy)]
pub(super) struct Rooms<'a> {
    pub(super) question: &'a Question,
    pub(super) known: &'a Way,
    pub(super) wafers: u32,
}

/// What the model takes at one amount of free memory.
pub(super) struct Room {
    pub(super) free: Bytes,
    /// Nothing where no number of wafers is enough.
    pub(super) fewest: Option<u32>,
    /// Of the wafers of the answer; 0 where the model does not fit on them.
    pub(super) max_users: u64,
    pub(super) spare: Option<Bytes>,
}

impl Rooms<'_> {
    /// Places anew, for drafts that are verified as in the known way.
    pub(super) fn at(&self, free: f64) -> Result<Room, AnswerError> {
        let Self { question, known, wafers } = *self;
        let free = free.floor().min(question.wafer.figure(Key::MemoryBytes).value);
        let question = changed(question, &DECLARATIONS[Key::FreeBytes as usize], free);
        let source = known.source.elsewhere();
        let drafts = Drafts::new(&question, source);
        // Another memory is another machine: a mapping with every number is opened.
        let chosen = Chosen::new(&question, source)?.open();
        let placed = |wafers: WaferCount| with_room_for_draft(&chosen, known.verified, 1, wafers, &drafts).ok();
        let here = placed(WaferCount::Exactly(wafers)).map(|(mapped, _)| mapped);
        let users = |mapped: &Mapped| {
            let way = way(&chosen, known.verified, mapped.clone(), wafers, &drafts);
            way.map_or(0, |way| most_users(&chosen, &question, wafers, &way, &drafts))
        };
        Ok(Room {
            free: question.wafer.free_bytes(),
            fewest: placed(WaferCount::Auto).map(|(_, wafers)| wafers),
            max_users: here.as_ref().map_or(0, users),
            spare: here.map(|mapped| mapped.placement.ledger.worst.spare),
        })
    }

    /// At the low and at the high end.
    pub(super) fn ends(&self) -> Result<[Room; 2], AnswerError> {
        let free = self.question.wafer.figure(Key::FreeBytes);
        Ok([self.at(free.low)?, self.at(free.high)?])
    }

    /// Whether the users that are asked for fit.
    fn holds(&self, room: &Room) -> bool {
        room.max_users >= self.question.scenario.users.max(1)
    }

    /// What a number of draws of the free memory give. More memory never holds less, so that the rank of what fits is
    /// the rank of the memory: a placement is asked for where one is wanted, and not for every draw.
    pub(super) fn of_draws(&self, draws: &[f64]) -> Result<Drawing, AnswerError> {
        let mut ascending = draws.to_vec();
        ascending.sort_by(f64::total_cmp);
        let mut known: Vec<(usize, Room)> = Vec::new();
        let mut at = |place: usize| -> Result<(Option<u32>, u64, bool), AnswerError> {
            let found = match known.iter().position(|(other, _)| *other == place) {
                Some(found) => found,
                None => {
                    known.push((place, self.at(ascending.get(place).copied().unwrap_or(f64::NAN))?));
                    known.len() - 1
                }
            };
            let (_, room) = &known[found];
            Ok((room.fewest, room.max_users, self.holds(room)))
        };
        let last = ascending.len().saturating_sub(1);
        let mut of_part = |part: f64| -> Result<Fitting, AnswerError> {
            let place = place_of_rank(part, ascending.len());
            // Few wafers go with much memory.
            Ok(Fitting { fewest_wafers: at(last - place.min(last))?.0, max_users: at(place)?.1 })
        };
        let parts = [of_part(0.05)?, of_part(0.5)?, of_part(0.95)?];
        // The first draw that holds the users: most often all do.
        let (mut below, mut from) = (0, ascending.len());
        if at(0)?.2 {
            from = 0;
        }
        while below < from {
            let middle = below.midpoint(from);
            if at(middle)?.2 { from = middle } else { below = middle + 1 }
        }
        let least = ascending.get(from).copied().unwrap_or(f64::INFINITY);
        let differ = |what: fn(&Room) -> u64| {
            let mut all = known.iter().map(|(_, room)| what(room));
            let first = all.next();
            all.any(|other| Some(other) != first)
        };
        Ok(Drawing {
            parts,
            least,
            moves_wafers: differ(|room| room.fewest.map_or(u64::MAX, u64::from)),
            moves_users: differ(|room| room.max_users),
        })
    }
}

/// What fits over many draws.
pub(super) struct Drawing {
    /// At 5, 50 and 95 % of the draws, each figure by itself.
    pub(super) parts: [Fitting; 3],
    /// The least memory that was drawn with which the users that are asked for fit on the wafers of the answer.
    pub(super) least: f64,
    /// Whether the draws differ in their fewest wafers.
    pub(super) moves_wafers: bool,
    /// Whether they differ in their most users.
    pub(super) moves_users: bool,
}

/// What fits at one part of the draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fitting {
    pub(super) fewest_wafers: Option<u32>,
    pub(super) max_users: u64,
}

fn changed(question: &Question, declared: &Declaration, value: f64) -> Question {
    let wafer = question.wafer.map_values(|other, figure| if other.key == declared.key { value } else { figure.value });
    Question { wafer, ..question.clone() }
}
