//! The choice of experts in one processing element: scores, the best of them, their weights.

use wafersim_program::Operand;
use wafersim_spec::model::{Role, Scoring, Selection};

use super::compute::Context;
use super::group::places;
use super::state::{PeState, Tile};
use super::weights::TileName;

/// Groups of experts, and how many are chosen from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    pub groups: u64,
    pub kept: u64,
}

/// Sigmoids of the logits here, and what is compared.
pub(super) fn score(
    context: &Context<'_>,
    pe: &mut PeState,
    logits: Operand,
    scores: Operand,
    corrected: Option<Operand>,
) -> Result<(), String> {
    let rounding = context.rounding(scores.buffer);
    let mut made = pe.tile(logits)?.clone();
    made.values.iter_mut().for_each(|value| *value = rounding.round(1.0 / (1.0 + (-*value).exp())));
    if let Some(corrected) = corrected {
        let name = TileName::plain(context.name(Role::Router, 0));
        let bias = context.tiles.vector(&name, true)?;
        let mut compared = made.clone();
        for row in 0..compared.rows.len() {
            let inner = std::sync::Arc::clone(&compared.inner);
            for (value, expert) in compared.row_mut(row).iter_mut().zip(inner.iter()) {
                let bias = bias.get(*expert as usize).copied().unwrap_or(f32::NAN);
                *value = rounding.round(*value + bias);
            }
        }
        pe.put(corrected, compared);
    }
    pe.put(scores, made);
    Ok(())
}

/// A row by the numbers of experts, from 0.
fn by_number(tile: &Tile, row: usize) -> Result<Vec<f32>, String> {
    let numbers: Vec<u32> = (0..tile.inner.len() as u32).collect();
    let at = places(&tile.inner, &numbers)?;
    Ok(at.into_iter().map(|place| tile.row(row).get(place).copied().unwrap_or(f32::NAN)).collect())
}

/// Numbers by falling keys; the smaller number first among equals.
fn best_first(keys: &[f32], among: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut order: Vec<usize> = among.collect();
    order.sort_by(|a, b| keys[*b].total_cmp(&keys[*a]).then(a.cmp(b)));
    order
}

/// What is chosen from what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choosing {
    /// What is compared.
    pub keys: Operand,
    /// What is kept of the chosen.
    pub values: Operand,
    /// Numbers of the chosen.
    pub experts: Operand,
    /// Their values.
    pub chosen: Operand,
    /// How many.
    pub top_k: u64,
    pub groups: Groups,
}

/// The best experts of each row: numbers and values.
pub(super) fn choose(
    context: &Context<'_>,
    pe: &mut PeState,
    Choosing { keys, values, experts, chosen, top_k, groups }: Choosing,
) -> Result<(), String> {
    let rounding = context.rounding(chosen.buffer);
    let mut numbers = pe.fresh(context.prepared, experts, 0.0)?;
    let mut kept = pe.fresh(context.prepared, chosen, 0.0)?;
    for row in 0..numbers.rows.len() {
        let (keys, values) = (by_number(pe.tile(keys)?, row)?, by_number(pe.tile(values)?, row)?);
        let allowed = allowed(&keys, groups, |sum| rounding.round(sum));
        let best = best_first(&keys, (0..keys.len()).filter(|expert| allowed[*expert]));
        for (slot, expert) in best.into_iter().take(top_k as usize).enumerate() {
            if let (Some(number), Some(value)) = (numbers.row_mut(row).get_mut(slot), kept.row_mut(row).get_mut(slot)) {
                (*number, *value) = (expert as f32, values[expert]);
            }
        }
    }
    pe.put(experts, numbers);
    pe.put(chosen, kept);
    Ok(())
}

/// Which experts may be chosen: those of the groups with the largest sums of their two best keys.
fn allowed(keys: &[f32], Groups { groups, kept }: Groups, round: impl Fn(f32) -> f32) -> Vec<bool> {
    if groups <= 1 {
        return vec![true; keys.len()];
    }
    let size = keys.len() / groups as usize;
    let sum_of_best = |group: usize| {
        let best = best_first(keys, group * size..(group + 1) * size);
        best.into_iter().take(2).fold(0.0, |sum, expert| round(sum + keys[expert]))
    };
    let sums: Vec<f32> = (0..groups as usize).map(sum_of_best).collect();
    let best: Vec<usize> = best_first(&sums, 0..groups as usize).into_iter().take(kept as usize).collect();
    (0..keys.len()).map(|expert| best.contains(&(expert / size.max(1)))).collect()
}

/// Weights from what was kept of the chosen, in place.
pub(super) fn weigh(
    context: &Context<'_>,
    pe: &mut PeState,
    weights: Operand,
    all: Option<Operand>,
    selection: &Selection,
) -> Result<(), String> {
    let rounding = context.rounding(weights.buffer);
    let all = all.map(|all| pe.tile(all).cloned()).transpose()?;
    let scale = rounding.round(selection.scale as f32);
    let tile = pe.tile_mut(weights)?;
    for row in 0..tile.rows.len() {
        let values = tile.row_mut(row);
        let mut sum = 0.0;
        // Where experts are chosen by their logits, the sigmoids of the chosen are still to be made.
        if selection.scoring == Scoring::Sigmoid && selection.follows_logits() {
            values.iter_mut().for_each(|value| *value = rounding.round(1.0 / (1.0 + (-*value).exp())));
        }
        if selection.scoring == Scoring::Softmax {
            // The first of the chosen is the largest of all.
            let most = values.first().copied().unwrap_or(0.0);
            let exponential = |score: f32| rounding.round((score - most).exp());
            values.iter_mut().for_each(|value| *value = exponential(*value));
            let others = all.as_ref().map(|all| by_number(all, row)).transpose()?;
            sum = match others {
                Some(logits) => logits.into_iter().fold(sum, |sum, logit| rounding.round(sum + exponential(logit))),
                None => values.iter().fold(sum, |sum, value| rounding.round(sum + value)),
            };
        } else if selection.normalise {
            sum = values.iter().fold(sum, |sum, value| rounding.round(sum + value));
        }
        if selection.scoring == Scoring::Softmax || selection.normalise {
            values.iter_mut().for_each(|value| *value = rounding.round(*value / sum));
        }
        if selection.scale != 1.0 {
            values.iter_mut().for_each(|value| *value = rounding.round(*value * scale));
        }
    }
    Ok(())
}
