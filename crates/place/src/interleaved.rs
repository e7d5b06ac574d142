//! Several layers in each slot: each processing element holds a tile of all of them. Every slot gets the same number of
//! layers, the last one what is left; tables have slots of their own where there are enough, else they share with their
//! neighbours.

use crate::evaluation::Evaluation;
use crate::item::Item;
use crate::packing::{Limit, Need, first_fit};

/// Items of an evaluation, parted: tables before the layers, layers, tables behind them.
struct Parted<'e> {
    before: &'e [Need],
    layers: &'e [Need],
    behind: &'e [Need],
}

impl<'e> Parted<'e> {
    fn new(evaluation: &'e Evaluation) -> Self {
        let is_layer = |item: &&Item| matches!(item, Item::Layer(_));
        let first = evaluation.items.iter().take_while(|item| !is_layer(item)).count();
        let layers = evaluation.items.iter().skip(first).take_while(is_layer).count();
        let (before, rest) = evaluation.needs.split_at(first.min(evaluation.needs.len()));
        let (layers, behind) = rest.split_at(layers.min(rest.len()));
        Self { before, layers, behind }
    }
}

fn together(needs: &[Need]) -> Need {
    let nothing = Need { lasting: 0, passing: 0, layers: 0 };
    needs.iter().fold(nothing, |sum, need| sum.with(need))
}

/// How many items each slot takes with `layers` layers in each and at most `bytes` bytes in a processing element: the
/// tables apart where that takes no more than `slots` slots, else together with the first and the last layers where
/// they fit. `None` where so many layers do not fit.
pub(crate) fn groups_of(evaluation: &Evaluation, layers: u64, bytes: u64, slots: u64) -> Option<Vec<usize>> {
    let parted = Parted::new(evaluation);
    let size = usize::try_from(layers).unwrap_or(usize::MAX).max(1);
    let limit = Limit::bytes(bytes);
    if !parted.layers.chunks(size).all(|group| together(group).fits(limit)) {
        return None;
    }
    let mut before = first_fit(parted.before, limit)?;
    let mut behind = first_fit(parted.behind, limit)?;
    let mut middle: Vec<usize> = parted.layers.chunks(size).map(<[Need]>::len).collect();
    let too_many = |before: &[usize], middle: &[usize], behind: &[usize]| {
        (before.len() + middle.len() + behind.len()) as u64 > slots
    };
    // The head first: it is what a wafer's last slot can do without least.
    if too_many(&before, &middle, &behind)
        && let (Some(group), Some(own)) = (behind.first().copied(), middle.last().copied())
    {
        let start = parted.layers.len() - own;
        let both = together(&parted.layers[start..]).with(&together(&parted.behind[..group]));
        if both.fits(limit) {
            behind.remove(0);
            middle.pop();
            middle.push(own + group);
        }
    }
    if too_many(&before, &middle, &behind)
        && let (Some(group), Some(own)) = (before.last().copied(), middle.first().copied())
    {
        let start = parted.before.len() - group;
        // The only group may have the head with it already.
        let layers = own.min(parted.layers.len());
        let tables = if middle.len() == 1 { own - layers } else { 0 };
        let both = together(&parted.before[start..])
            .with(&together(&parted.layers[..layers]))
            .with(&together(&parted.behind[..tables]));
        if both.fits(limit) {
            before.pop();
            middle[0] = own + group;
        }
    }
    Some([before, middle, behind].concat())
}

/// The fewest bytes in a processing element with which `slots` slots of `layers` layers hold the items; `None` where no
/// number would do.
pub(crate) fn fewest_bytes(evaluation: &Evaluation, layers: u64, slots: u64) -> Option<u64> {
    let suffices =
        |bytes| groups_of(evaluation, layers, bytes, slots).is_some_and(|groups| groups.len() as u64 <= slots);
    let mut high = together(&evaluation.needs).sum();
    let mut low = 0;
    if !suffices(high) {
        return None;
    }
    // Invariant: `low` bytes do not suffice, `high` do.
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if suffices(middle) { high = middle } else { low = middle }
    }
    Some(high)
}
