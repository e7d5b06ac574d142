//! Consecutive items into as few slots as they need, or as evenly as a number of slots allows. It knows items only by
//! the bytes that they need in the worst processing element.

use wafersim_spec::Bytes;

use crate::arithmetic::divide_up;
use crate::ledger::ByteCounts;

/// Bytes that an item needs in the worst processing element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Stays: weights and KV cache. Adds up over the items of a slot.
    pub lasting: u64,
    /// Needed while the item works. Items of a slot work one after the other, so the largest counts.
    pub passing: u64,
    /// Layers: 1, or 0 for an embedding or LM head.
    pub layers: u64,
}

/// What a slot may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Bytes of a processing element.
    pub bytes: u64,
    /// Layers.
    pub layers: u64,
}

impl Limit {
    /// Any number of layers.
    pub const fn bytes(bytes: u64) -> Self {
        Self { bytes, layers: u64::MAX }
    }
}

impl Need {
    pub fn of(load: &ByteCounts, layers: u64) -> Self {
        Self { lasting: load.lasting().0, passing: load.passing().0, layers }
    }

    pub const fn sum(&self) -> u64 {
        self.lasting.saturating_add(self.passing)
    }

    pub const fn fits(&self, limit: Limit) -> bool {
        self.sum() <= limit.bytes && self.layers <= limit.layers
    }

    /// Bytes beyond a limit.
    pub const fn beyond(&self, limit: u64) -> Bytes {
        Bytes(self.sum().saturating_sub(limit))
    }

    /// Both in one slot.
    pub fn with(&self, other: &Self) -> Self {
        Self {
            lasting: self.lasting.saturating_add(other.lasting),
            passing: self.passing.max(other.passing),
            layers: self.layers.saturating_add(other.layers),
        }
    }
}

/// How many items each slot takes when each takes as many as its limit allows. No other division into consecutive
/// groups needs fewer slots. `None` where an item alone is above the limit.
pub(crate) fn first_fit(needs: &[Need], limit: Limit) -> Option<Vec<usize>> {
    let mut groups: Vec<usize> = Vec::new();
    let mut open: Option<Need> = None;
    for need in needs {
        if !need.fits(limit) {
            return None;
        }
        let together = open.map(|open| open.with(need)).filter(|both| both.fits(limit));
        match (together, groups.last_mut()) {
            (Some(both), Some(size)) => {
                *size += 1;
                open = Some(both);
            }
            _ => {
                groups.push(1);
                open = Some(*need);
            }
        }
    }
    Some(groups)
}

/// How many slots [`first_fit`] takes, without making the list.
pub(crate) fn slots_needed(needs: &[Need], limit: Limit) -> Option<u64> {
    let mut slots = 0;
    let mut open: Option<Need> = None;
    for need in needs {
        if !need.fits(limit) {
            return None;
        }
        let together = open.map(|open| open.with(need)).filter(|both| both.fits(limit));
        if together.is_none() {
            slots += 1;
        }
        open = together.or(Some(*need));
    }
    Some(slots)
}

/// The smallest number of bytes per processing element with which `slots` slots of at most `layers` layers each hold
/// the items. `None` where no number would do.
pub(crate) fn smallest_bytes(needs: &[Need], slots: u64, layers: u64) -> Option<u64> {
    let suffices = |bytes| slots_needed(needs, Limit { bytes, layers }).is_some_and(|needed| needed <= slots);
    let mut high = needs.iter().fold(0_u64, |sum, need| sum.saturating_add(need.sum()));
    let mut low = needs.iter().map(Need::sum).max().unwrap_or(0);
    if !suffices(high) {
        return None;
    }
    if suffices(low) {
        return Some(low);
    }
    // Invariant: `low` bytes do not suffice, `high` do.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if suffices(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some(high)
}

/// How many items each slot takes, with at most `bytes` bytes a processing element and at most `slots` slots. Every
/// item is alone where there are slots enough; else the slot with most layers holds as few as possible, and after that
/// the fullest slot as few bytes as possible. Slots that are left over split the groups with most items, of those the
/// ones with most bytes first. `None` where the items do not fit.
pub(crate) fn pack(needs: &[Need], slots: u64, bytes: u64) -> Option<Vec<usize>> {
    if slots_needed(needs, Limit::bytes(bytes))? > slots {
        return None;
    }
    if needs.len() as u64 <= slots {
        return Some(vec![1; needs.len()]);
    }
    let all = needs.iter().fold(0_u64, |sum, need| sum.saturating_add(need.layers));
    let suffices =
        |layers: &u64| slots_needed(needs, Limit { bytes, layers: *layers }).is_some_and(|needed| needed <= slots);
    let layers = (divide_up(all, slots)..all).find(suffices).unwrap_or(all);
    let mut groups = first_fit(needs, Limit { bytes: smallest_bytes(needs, slots, layers)?, layers })?;
    while (groups.len() as u64) < slots {
        let Some((index, size)) = largest_group(needs, &groups) else { break };
        groups[index] = size.div_ceil(2);
        groups.insert(index + 1, size / 2);
    }
    Some(groups)
}

/// Index and size of the group with most items, of those with most bytes, of those the first; `None` where every item
/// is alone.
fn largest_group(needs: &[Need], groups: &[usize]) -> Option<(usize, usize)> {
    let mut first = 0;
    let mut best: Option<((usize, u64), usize)> = None;
    for (index, size) in groups.iter().enumerate() {
        let bytes = needs[first..first + size].iter().fold(0_u64, |sum, need| sum.saturating_add(need.lasting));
        first += size;
        if *size > 1 && best.is_none_or(|(known, _)| (*size, bytes) > known) {
            best = Some(((*size, bytes), index));
        }
    }
    best.map(|((size, _), index)| (index, size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needs(bytes: &[u64]) -> Vec<Need> {
        bytes.iter().map(|lasting| Need { lasting: *lasting, passing: 0, layers: 1 }).collect()
    }

    #[test]
    fn slots_are_filled_evenly() {
        assert_eq!(pack(&needs(&[5; 6]), 6, 30), Some(vec![1; 6]));
        assert_eq!(pack(&needs(&[5; 6]), 4, 30), Some(vec![1, 1, 2, 2]));
        assert_eq!(pack(&needs(&[1, 5, 5, 5, 1]), 3, 10), Some(vec![2, 1, 2]));
        assert_eq!(pack(&needs(&[5; 6]), 5, 30), Some(vec![1, 1, 1, 1, 2]));
        assert_eq!(pack(&needs(&[2, 7, 5, 5, 10, 10]), 5, 30), Some(vec![2, 1, 1, 1, 1]));
        assert_eq!(pack(&needs(&[5; 6]), 3, 9), None);
        assert_eq!(pack(&needs(&[5; 6]), 2, 15), Some(vec![3, 3]));
        assert_eq!(pack(&needs(&[5, 40]), 9, 30), None);
    }

    #[test]
    fn few_layers_in_a_slot_come_before_few_bytes() {
        let layer = |lasting| Need { lasting, passing: 0, layers: 1 };
        let items = [layer(1), layer(1), layer(1), layer(9), layer(9), layer(2)];
        // Three slots of two: 2, 10 and 11 bytes. By bytes alone: [1, 1, 1], [9], [9, 2], or 10 in the first.
        assert_eq!(pack(&items, 3, 12), Some(vec![2, 2, 2]));
        assert_eq!(pack(&items, 3, 11), Some(vec![2, 2, 2]));
        let items = [layer(1), layer(1), layer(1), layer(9), layer(2), layer(9)];
        assert_eq!(pack(&items, 3, 10), None);
        assert_eq!(pack(&items, 3, 11), Some(vec![2, 2, 2]));
        let items = [layer(5), layer(1), layer(1), layer(9), layer(9)];
        assert_eq!(pack(&items, 3, 10), Some(vec![2, 2, 1]));
        assert_eq!(pack(&items, 3, 9), Some(vec![3, 1, 1]));
    }

    #[test]
    fn only_the_largest_passing_need_counts() {
        let items = [Need { lasting: 4, passing: 6, layers: 1 }, Need { lasting: 4, passing: 5, layers: 0 }];
        assert_eq!(first_fit(&items, Limit::bytes(14)), Some(vec![2]));
        assert_eq!(first_fit(&items, Limit::bytes(13)), Some(vec![1, 1]));
    }

    proptest! {
        #[test]
        fn every_item_is_packed_and_no_slot_is_above_the_limit(
            items in proptest::collection::vec((0_u64..30, 0_u64..9, 0_u64..2), 1..20), slots in 1_u64..22, bytes in 1_u64..120,
        ) {
            let need = |(lasting, passing, layers): &(u64, u64, u64)| Need { lasting: *lasting, passing: *passing, layers: *layers };
            let needs: Vec<Need> = items.iter().map(need).collect();
            let limit = Limit::bytes(bytes);
            let fewest = first_fit(&needs, limit).map(|groups| groups.len() as u64);
            prop_assert_eq!(slots_needed(&needs, limit), fewest);
            match pack(&needs, slots, bytes) {
                None => prop_assert!(fewest.is_none_or(|fewest| fewest > slots)),
                Some(groups) => {
                    prop_assert!(fewest.is_some_and(|fewest| fewest <= slots));
                    prop_assert_eq!(groups.iter().sum::<usize>(), needs.len());
                    prop_assert!(groups.len() as u64 <= slots);
                    let mut rest = &needs[..];
                    for size in groups {
                        let (group, after) = rest.split_at(size);
                        let sum = group.iter().skip(1).fold(group[0], |sum, need| sum.with(need));
                        prop_assert!(sum.fits(limit));
                        rest = after;
                    }
                }
            }
        }
    }
}
