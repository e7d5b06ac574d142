//! Where a draft model lies: on slots of its own after the model's, in the same division of the wafers.
//!
//! Its weights and the KV cache of all users are placed as the model's are, in the same precisions. Few slots in small
//! regions are the shortest way for one user, many slots let more users draft at once; the way with the shorter period
//! counts. A draft model works on one token of one user at a time.

use std::cell::RefCell;

use wafersim_mapping::Mapped;
use wafersim_place::{Arrangement, Fill, KvLayoutChoice, Placement, Request, SlotRange, parts_in, place_within};
use wafersim_spec::scenario::WaferCount;

use crate::chosen::{Chosen, Source};
use crate::decode::DraftTime;
use crate::error::AnswerError;
use crate::question::Question;
use crate::stage::{LayerReading, StageTimes};
use crate::written::{Flow, Written};

/// The draft model of a question, if it has one, and where it lies beside the placements that were asked about.
pub struct Drafts<'a> {
    asked: &'a Question,
    draft: Option<Question>,
    source: Source,
    reading: LayerReading,
    known: RefCell<Vec<(SlotRange, Option<Mapped>)>>,
}

impl<'a> Drafts<'a> {
    /// None is placed yet. The draft model works by the same mapping as the model.
    pub fn new(asked: &'a Question, source: Source) -> Self {
        let reading = LayerReading::new(asked, asked.scenario.profile);
        Self { asked, draft: asked.of_draft(), source, reading, known: RefCell::default() }
    }

    /// Users of the question.
    pub const fn users(&self) -> u64 {
        self.asked.scenario.users
    }

    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.draft.is_none()
    }

    /// Where the draft model lies when the model lies so, on at most `wafers` wafers: nothing where it does not fit,
    /// and no placement where there is no draft model.
    pub fn beside(&self, model: &Placement, wafers: u32) -> Option<Option<Mapped>> {
        let Some(draft) = &self.draft else { return Some(None) };
        let free = free_slots(model, wafers)?;
        if let Some((_, known)) = self.known.borrow().iter().find(|(known, _)| *known == free) {
            return known.clone().map(Some);
        }
        let found = self.fastest(draft, free);
        self.known.borrow_mut().push((free, found.clone()));
        found.map(Some)
    }

    /// Whether it fits beside the model on so many wafers.
    pub fn fit(&self, model: &Placement, wafers: u32) -> bool {
        self.fit_users(model, wafers, self.asked.scenario.users)
    }

    /// Whether model and draft model hold so many users: the model as it lies for them on all wafers or on fewer.
    pub fn hold(&self, users: u64, wafers: u32, mut models: impl Iterator<Item = Placement>) -> bool {
        models.any(|model| self.fit_users(&model, wafers, users))
    }

    fn fit_users(&self, model: &Placement, wafers: u32, users: u64) -> bool {
        let Some(draft) = &self.draft else { return true };
        free_slots(model, wafers).is_some_and(|free| place_within(&request(draft, users), free).is_some())
    }

    /// The fewest wafers that hold the draft model beside the model.
    ///
    /// # Errors
    /// Where no number of them does: a part of it is too large for a slot of the model's.
    pub fn fewest_wafers(&self, model: &Placement) -> Result<u32, AnswerError> {
        let Some(draft) = &self.draft else { return Ok(model.wafers) };
        let (arrangement, first) = (model.arrangement, model.slots.len() as u64);
        let most = SlotRange { arrangement, first, count: most_slots(draft, arrangement) };
        let Some(count) = fewest_slots(&request(draft, draft.scenario.users), most) else {
            let (model, draft) = (self.asked.model.name.clone(), draft.model.name.clone());
            return Err(AnswerError::DraftInNoSlot { model, draft });
        };
        let wafers = (first + count).div_ceil(arrangement.slots().max(1));
        Ok(u32::try_from(wafers).unwrap_or(u32::MAX).max(model.wafers))
    }

    /// Why it does not fit on so many wafers; `model` is the model on the fewest.
    pub fn refused(&self, wafers: u32, model: Result<Placement, AnswerError>) -> AnswerError {
        let needed = match model.and_then(|model| self.fewest_wafers(&model)) {
            Ok(needed) => needed,
            Err(error) => return error,
        };
        let draft = self.draft.as_ref().map(|draft| draft.model.name.clone()).unwrap_or_default();
        AnswerError::DraftDoesNotFit { wafers, needed, model: self.asked.model.name.clone(), draft }
    }

    /// The fastest way to lie in these slots.
    fn fastest(&self, draft: &Question, free: SlotRange) -> Option<Mapped> {
        let usual = request(draft, draft.scenario.users);
        let fewest = fewest_slots(&usual, free)?;
        let chosen = Chosen::new(draft, self.source.elsewhere()).ok()?.open();
        struct Tried {
            period: f64,
            latency: f64,
            mapped: Mapped,
        }
        let mut best: Option<Tried> = None;
        for count in [fewest, free.count.min(most_slots(draft, free.arrangement))] {
            for fill in [Fill::Slot, Fill::Tight] {
                let request = Request { fill, ..usual.clone() };
                let Some(placement) = place_within(&request, SlotRange { count, ..free }) else { continue };
                let flow = Flow::Decode { tokens: 1, users: 1, context: draft.scenario.context };
                let Ok(mapped) = chosen.on(placement) else { continue };
                let pass = Written::new(draft, &mapped, flow);
                let pass = StageTimes::read(draft, &mapped.placement, &pass, &self.reading);
                let time = DraftTime::by_model(self.asked, &pass);
                let period = time.latency.max(time.occupancy * self.asked.scenario.users as f64).0;
                let is_better = |known: &Tried| (period, time.latency.0) < (known.period, known.latency);
                if best.as_ref().is_none_or(is_better) {
                    best = Some(Tried { period, latency: time.latency.0, mapped });
                }
            }
        }
        best.map(|tried| tried.mapped)
    }
}

/// Wafers up to the last one that holds something.
pub fn wafers_used(model: &Placement, draft: Option<&Placement>) -> u32 {
    let last = |placement: &Placement| placement.slots.last().map_or(0, |slot| slot.wafer + 1);
    draft.map_or(0, last).max(model.wafers_used)
}

fn request(draft: &Question, users: u64) -> Request<'_> {
    Request { users, ..draft.request(WaferCount::Auto, 1, KvLayoutChoice::Balanced) }
}

/// Slots after the model's on so many wafers, where there are any.
fn free_slots(model: &Placement, wafers: u32) -> Option<SlotRange> {
    let (arrangement, first): (Arrangement, u64) = (model.arrangement, model.slots.len() as u64);
    let count = arrangement.slots().saturating_mul(u64::from(wafers)).checked_sub(first)?;
    (count > 0).then_some(SlotRange { arrangement, first, count })
}

/// More slots than a draft model has layers and parts of tables are of no use.
fn most_slots(draft: &Question, arrangement: Arrangement) -> u64 {
    parts_in(&request(draft, draft.scenario.users), arrangement).unwrap_or(0).max(1)
}

/// The fewest of these slots that hold a draft model.
fn fewest_slots(request: &Request<'_>, slots: SlotRange) -> Option<u64> {
    let fits = |count: u64| place_within(request, SlotRange { count, ..slots }).is_some();
    if !fits(slots.count) {
        return None;
    }
    let (mut low, mut high) = (0, slots.count);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
