//! The search for an arrangement: into how many slots to divide a wafer, in which shape, and how many wafers it takes.
//!
//! A region's needs do not depend on the number of wafers, so every question is answered by looking at arrangements:
//! an arrangement needs `first_fit` slots, hence `ceil(slots needed / slots per wafer)` wafers.
//!
//! For a given number of wafers the choice is, in this order:
//! 1. the least time sharing, which delays whoever waits for a slot: the most layers alone in their slot, then the
//!    fewest layers in the slot that holds most;
//! 2. a large slot: at least 90 % of the area of the largest slot that is possible after 1. So slots grow with the
//!    number of wafers, and a good shape may cost a little area;
//! 3. the smallest columns + rows of a slot, a proxy of latency: hops of a reduction and of a broadcast;
//! 4. the larger area, then the fewer slots side by side.
//!
//! Where so many layers are to share a slot, 1 falls away: the fewest slots that have room are the largest. What of the
//! division the caller has chosen ([`crate::Division`]) leaves the rest to this choice.

use std::ops::RangeInclusive;

use wafersim_spec::{Bytes, Size};

use crate::arithmetic::{divide_up, narrow};
use crate::arrangement::Arrangement;
use crate::error::{PlaceError, Short};
use crate::evaluation::{Evaluation, ModelBlueprint, Sharing};
use crate::interleaved::{fewest_bytes, groups_of};
use crate::packing::{Limit, pack, slots_needed, smallest_bytes};
use crate::request::Settings;

/// Tenths of the largest possible slot area that a chosen slot has at least.
const LEAST_AREA_TENTHS: u64 = 9;

/// What the search found.
#[derive(Debug)]
pub(crate) struct Found {
    pub wafers: u32,
    pub evaluation: Evaluation,
    /// How many items each slot takes.
    pub groups: Vec<usize>,
}

/// The search over arrangements of one model on one machine.
pub(crate) struct Search<'r, 'm> {
    blueprint: &'r ModelBlueprint<'m>,
    settings: &'r Settings,
    /// Bytes of all matrices and of the KV cache.
    bytes: u128,
    /// Slots that may be used, where others hold the rest; else all.
    slots: Option<u64>,
}

impl<'r, 'm> Search<'r, 'm> {
    pub fn new(blueprint: &'r ModelBlueprint<'m>, settings: &'r Settings) -> Self {
        Self { blueprint, settings, bytes: blueprint.bytes(settings), slots: None }
    }

    /// The same with so many slots to use, in the arrangement of the settings.
    pub fn within(self, slots: u64) -> Self {
        Self { slots: Some(slots), ..self }
    }

    /// The best arrangement on exactly `wafers` wafers.
    pub fn on(&self, wafers: u32) -> Result<Found, PlaceError> {
        if let Some(found) = self.found_on(wafers) {
            return Ok(found);
        }
        let needed_wafers = self.fewest_wafers()?;
        let Some((shortfall, what)) = self.shortfall(wafers) else {
            return Err(self.no_division(Some(wafers)));
        };
        Err(PlaceError::DoesNotFit { wafers, shortfall_bytes_per_pe: shortfall, needed_wafers, what })
    }

    /// The same without looking for what would do.
    pub fn plainly_on(&self, wafers: u32) -> Result<Found, PlaceError> {
        self.found_on(wafers).ok_or_else(|| self.refused_division(None))
    }

    /// The best arrangement on exactly `wafers` wafers, if there is one.
    pub fn found_on(&self, wafers: u32) -> Option<Found> {
        match self.layers_per_slot() {
            Some(layers) => self.shared_by(layers, wafers),
            None => self.everything_alone(wafers).or_else(|| self.time_shared(wafers)),
        }
    }

    /// The fewest wafers that hold the model.
    pub fn fewest_wafers(&self) -> Result<u32, PlaceError> {
        self.check_whole_wafer()?;
        let layers = self.layers_per_slot();
        let room = u128::from(self.settings.machine.pes()) * u128::from(self.limit());
        let bound = narrow(self.bytes.div_ceil(room.max(1))).max(1);
        let mut best = u64::MAX;
        for slots in self.slot_counts(1) {
            for arrangement in self.arrangements(slots) {
                // Fewer than `best` wafers at less than the mean load: impossible.
                if self.least_bytes(arrangement, best - 1) > self.limit() {
                    continue;
                }
                let evaluation = Evaluation::new(self.blueprint, self.settings, arrangement);
                let needed = match layers {
                    Some(layers) => groups_of(&evaluation, layers, self.limit(), 0).map(|groups| groups.len() as u64),
                    None => slots_needed(&evaluation.needs, Limit::bytes(self.limit())),
                };
                if let Some(needed) = needed {
                    best = best.min(divide_up(needed, slots)).max(1);
                }
                if best <= bound {
                    return Ok(u32::try_from(best).unwrap_or(u32::MAX));
                }
            }
        }
        if best == u64::MAX {
            return Err(self.no_division(None));
        }
        Ok(u32::try_from(best).unwrap_or(u32::MAX))
    }

    /// The ways to divide a wafer into so many slots, of those that the caller has left.
    fn arrangements(&self, slots: u64) -> impl Iterator<Item = Arrangement> {
        let (only, division, layers) = (self.settings.arrangement, self.settings.division, self.blueprint.layers());
        let machine = self.settings.machine;
        Arrangement::of_slots(slots, &self.settings.machine)
            .filter(move |one| only.is_none_or(|only| only == *one) && division.allows(*one, &machine, layers))
    }

    /// The numbers of slots on a wafer that are worth a look, `least` or more.
    fn slot_counts(&self, least: u64) -> RangeInclusive<u64> {
        let chosen = self.settings.arrangement.map(|arrangement| arrangement.slots());
        match chosen.or_else(|| self.settings.division.slots.of(self.blueprint.layers())) {
            Some(slots) => slots.max(least)..=slots,
            None => least..=self.most_slots(),
        }
    }

    /// Layers that are to share a slot.
    fn layers_per_slot(&self) -> Option<u64> {
        let layers = self.blueprint.layers();
        self.settings.division.layers_per_slot.of(layers).map(|wanted| wanted.min(layers))
    }

    /// Why no division does, on so many wafers or on any.
    fn no_division(&self, wafers: Option<u32>) -> PlaceError {
        // The division that lacks least.
        let short = self
            .slot_counts(1)
            .flat_map(|slots| self.arrangements(slots))
            .filter_map(|arrangement| {
                let evaluation = Evaluation::new(self.blueprint, self.settings, arrangement);
                let layers = self.layers_per_slot();
                let all_slots = wafers.map_or(u64::MAX, |wafers| arrangement.slots().saturating_mul(u64::from(wafers)));
                let needed = match layers {
                    Some(layers) => fewest_bytes(&evaluation, layers, all_slots),
                    None => smallest_bytes(&evaluation.needs, all_slots, u64::MAX),
                };
                needed.map(|bytes| (bytes, evaluation.region))
            })
            .min();
        let free = Bytes(self.limit());
        let short = short.map(|(bytes, (columns, rows))| Short { needed: Bytes(bytes), free, columns, rows });
        self.refused_division(short)
    }

    /// The division that was asked for, refused for what it lacks.
    fn refused_division(&self, short: Option<Short>) -> PlaceError {
        let (machine, division) = (&self.settings.machine, &self.settings.division);
        let chosen: Vec<String> = [
            ("slots", division.slots),
            ("columns", division.columns),
            ("rows", division.rows),
            ("layers_per_slot", division.layers_per_slot),
        ]
        .into_iter()
        .filter(|(_, size)| *size != Size::Auto)
        .map(|(name, size)| format!("{name} = {size}"))
        .chain(self.settings.arrangement.map(|arrangement| format!("{arrangement} slots")))
        .collect();
        PlaceError::Division { chosen: chosen.join(", "), columns: machine.columns, rows: machine.rows, short }
    }

    /// The best arrangement in which so many layers share each slot.
    fn shared_by(&self, layers: u64, wafers: u32) -> Option<Found> {
        for slots in self.slot_counts(1) {
            let all_slots = self.usable(slots, wafers);
            let candidates: Vec<(Evaluation, Vec<usize>)> = self
                .arrangements(slots)
                .filter_map(|arrangement| {
                    let evaluation = Evaluation::new(self.blueprint, self.settings, arrangement);
                    let groups = groups_of(&evaluation, layers, self.limit(), all_slots)?;
                    (groups.len() as u64 <= all_slots).then_some((evaluation, groups))
                })
                .collect();
            if let Some(found) = choose(candidates, wafers) {
                return Some(found);
            }
        }
        None
    }

    /// Slots of so many wafers that may be used.
    fn usable(&self, slots: u64, wafers: u32) -> u64 {
        self.slots.unwrap_or_else(|| slots.saturating_mul(u64::from(wafers)))
    }

    /// Bytes of a processing element that items may take.
    fn limit(&self) -> u64 {
        self.settings.machine.free_memory.0
    }

    /// Bytes of matrices and KV cache per processing element that `wafers` wafers in this arrangement hold on average.
    fn least_bytes(&self, arrangement: Arrangement, wafers: u64) -> u64 {
        let (columns, rows) = arrangement.slot_size(&self.settings.machine);
        let pes = u128::from(arrangement.slots() * columns * rows) * u128::from(wafers);
        narrow(self.bytes.div_ceil(pes.max(1)))
    }

    /// Slots on a wafer beyond which the largest layer cannot fit, or which more than four times the items cannot use.
    fn most_slots(&self) -> u64 {
        let largest = self.blueprint.kinds.iter().map(|kind| kind.bytes(self.settings)).max().unwrap_or(0);
        let room = u128::from(self.settings.machine.pes()) * u128::from(self.limit());
        let by_bytes = narrow(room / u128::from(largest.max(1)));
        by_bytes.min(self.settings.machine.pes()).min(self.blueprint.fewest_items().saturating_mul(4)).max(1)
    }

    /// The best arrangement with a slot for every item.
    fn everything_alone(&self, wafers: u32) -> Option<Found> {
        let mut candidates: Vec<(Evaluation, Vec<usize>)> = Vec::new();
        let mut largest = 0;
        for slots in self.slot_counts(divide_up(self.blueprint.fewest_items(), u64::from(wafers))) {
            if is_too_small(self.settings.machine.pes() / slots, largest) {
                break;
            }
            for arrangement in self.arrangements(slots) {
                let (columns, rows) = arrangement.slot_size(&self.settings.machine);
                if is_too_small(columns * rows, largest) {
                    continue;
                }
                let evaluation = Evaluation::new(self.blueprint, self.settings, arrangement);
                let fits = evaluation.needs.iter().all(|need| need.fits(Limit::bytes(self.limit())));
                if fits && evaluation.needs.len() as u64 <= self.usable(slots, wafers) {
                    largest = largest.max(evaluation.area());
                    let groups = vec![1; evaluation.needs.len()];
                    candidates.push((evaluation, groups));
                }
            }
        }
        choose(candidates, wafers)
    }

    /// The best arrangement in which some items share slots.
    fn time_shared(&self, wafers: u32) -> Option<Found> {
        let mut candidates: Vec<(Evaluation, Vec<usize>)> = Vec::new();
        let mut least: Option<Sharing> = None;
        for slots in self.slot_counts(1) {
            for arrangement in self.arrangements(slots) {
                if self.least_bytes(arrangement, u64::from(wafers)) > self.limit() {
                    continue;
                }
                let evaluation = Evaluation::new(self.blueprint, self.settings, arrangement);
                let Some(groups) = pack(&evaluation.needs, self.usable(slots, wafers), self.limit()) else {
                    continue;
                };
                let sharing = evaluation.sharing(&groups);
                if least.is_none_or(|least| sharing < least) {
                    least = Some(sharing);
                    candidates.clear();
                }
                if least == Some(sharing) {
                    candidates.push((evaluation, groups));
                }
            }
        }
        choose(candidates, wafers)
    }

    /// An error where one layer or the smallest part of a table does not fit a whole wafer.
    fn check_whole_wafer(&self) -> Result<(), PlaceError> {
        let machine = &self.settings.machine;
        let evaluation = Evaluation::new(self.blueprint, self.settings, Arrangement { across: 1, down: 1 });
        for (item, need) in evaluation.items.iter().zip(&evaluation.needs) {
            if !need.fits(Limit::bytes(self.limit())) {
                // A region that was asked for is too small, whatever a whole wafer would hold.
                let (columns, rows) = evaluation.region;
                if (columns, rows) != (machine.columns, machine.rows) {
                    let free = Bytes(self.limit());
                    let needed = Bytes(free.0.saturating_add(need.beyond(self.limit()).0));
                    return Err(self.refused_division(Some(Short { needed, free, columns, rows })));
                }
                return Err(PlaceError::LayerTooLarge {
                    what: item.to_string(),
                    shortfall_bytes_per_pe: need.beyond(self.limit()),
                    columns: machine.columns,
                    rows: machine.rows,
                });
            }
        }
        Ok(())
    }

    /// How many bytes the worst processing element lacks at least, and which items lack them.
    fn shortfall(&self, wafers: u32) -> Option<(Bytes, String)> {
        if self.settings.arrangement.is_some() || !self.settings.division.is_open() {
            return None;
        }
        let mut best: Option<(u64, Evaluation)> = None;
        for slots in 1..=divide_up(self.blueprint.fewest_items(), u64::from(wafers)).min(self.settings.machine.pes()) {
            for arrangement in Arrangement::of_slots(slots, &self.settings.machine) {
                // Nothing below the mean load, and nothing that does not get below the best so far.
                let wanted = best.as_ref().map_or(u64::MAX, |(bytes, _)| bytes.saturating_sub(1));
                if self.least_bytes(arrangement, u64::from(wafers)) > wanted {
                    continue;
                }
                let evaluation = Evaluation::new(self.blueprint, self.settings, arrangement);
                let all_slots = slots.saturating_mul(u64::from(wafers));
                if slots_needed(&evaluation.needs, Limit::bytes(wanted)).is_none_or(|needed| needed > all_slots) {
                    continue;
                }
                if let Some(bytes) = smallest_bytes(&evaluation.needs, all_slots, u64::MAX) {
                    best = Some((bytes, evaluation));
                }
            }
        }
        let Some((bytes, evaluation)) = best else { return Some((Bytes::ZERO, "the model".into())) };
        let what = evaluation.fullest_slot(bytes);
        Some((Bytes(bytes.saturating_sub(self.limit())), what))
    }
}

/// Whether an area is below what may be given up for a better shape.
const fn is_too_small(area: u64, largest: u64) -> bool {
    (area as u128) * 10 < (largest as u128) * (LEAST_AREA_TENTHS as u128)
}

/// Steps 2 to 4 of the choice.
fn choose(candidates: Vec<(Evaluation, Vec<usize>)>, wafers: u32) -> Option<Found> {
    let largest = candidates.iter().map(|(evaluation, _)| evaluation.area()).max()?;
    let large = candidates.into_iter().filter(|(evaluation, _)| !is_too_small(evaluation.area(), largest));
    let best = large
        .min_by_key(|(evaluation, _)| (evaluation.perimeter(), u64::MAX - evaluation.area(), evaluation.arrangement));
    best.map(|(evaluation, groups)| Found { wafers, evaluation, groups })
}
