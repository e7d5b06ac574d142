//! One compute step in one processing element.

use std::sync::Arc;

use wafersim_program::{BufferId, Formula, Operand, Place, Weight};
use wafersim_spec::model::Role;

use super::attention::{self, Relative, Softmax};
use super::cache;
use super::experts::{self, PairWeights};
use super::group::places;
use super::linear;
use super::norm::{self, MeanSquare};
use super::prepared::Prepared;
use super::product::{Product, product};
use super::ring;
use super::rounding::Rounding;
use super::router;
use super::sparse;
use super::state::{PeState, Tile};
use super::weights::{Cuts, TileName, Tiles};
use crate::checkpoint::WeightName;

/// What a processing element knows beside its memory: the program, the weights in place, and which layer it works for.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The program with its layouts.
    pub prepared: &'a Prepared,
    /// Weights in place.
    pub tiles: &'a Tiles<'a>,
    /// Number of the layer.
    pub layer: usize,
    /// Round of the innermost loop.
    pub round: u64,
}

impl Context<'_> {
    /// Index of a processing element.
    pub fn index(&self, pe: &PeState) -> usize {
        self.prepared.index(pe.column, pe.row)
    }

    /// Rounding of what is stored in a buffer.
    pub fn rounding(&self, buffer: BufferId) -> Rounding {
        Rounding::of(self.prepared.program.buffer_of(buffer).data_type)
    }

    /// Size of the last inner dimension of a field.
    ///
    /// # Errors
    /// Where the field has none.
    pub fn last_size(&self, operand: Operand) -> Result<u32, String> {
        let field = self.prepared.field(operand)?;
        field.inner.last().map(|last| last.size as u32).ok_or_else(|| format!("'{}' has no dimension", field.name))
    }

    /// The name of a tile of this layer.
    pub fn tile_name(&self, declared: &Weight, copy: u64) -> TileName {
        let name = self.name(declared.role, copy);
        TileName { name, behind: declared.behind.clone(), stored: declared.stored, part: declared.part }
    }

    /// The name of a weight of this layer.
    pub const fn name(&self, role: Role, copy: u64) -> WeightName {
        match role {
            Role::Embedding | Role::FinalNorm | Role::LmHead => WeightName { layer: 0, role, copy },
            _ => WeightName { layer: self.layer, role, copy },
        }
    }
}

/// Executes a formula in a processing element.
///
/// # Errors
/// Where an operand does not hold what the formula needs.
pub fn compute_at(context: &Context<'_>, pe: &mut PeState, formula: &Formula) -> Result<(), String> {
    Alike::new(context, formula)?.at(pe)
}

/// What is the same for all processing elements that execute a formula: it is looked up once.
pub(super) struct Alike<'a> {
    context: &'a Context<'a>,
    formula: &'a Formula,
    /// The tiles of a product that is the same everywhere.
    cuts: Option<Cuts<'a>>,
    /// The gain of a norm.
    gain: &'a [f32],
}

impl<'a> Alike<'a> {
    /// Looks up what a formula names.
    ///
    /// # Errors
    /// Where a weight is not in place.
    pub(super) fn new(context: &'a Context<'a>, formula: &'a Formula) -> Result<Self, String> {
        let mut alike = Self { context, formula, cuts: None, gain: &[] };
        match formula {
            Formula::Product { weight, chosen: None, .. } => {
                if let Some(declared) = context.prepared.program.weight_of(*weight) {
                    alike.cuts = Some(context.tiles.cuts(context.tile_name(declared, declared.copy))?);
                }
            }
            Formula::RmsScale { gain, .. } | Formula::Gain { gain, .. } | Formula::GatedNorm { gain, .. } => {
                let name = TileName::plain(context.name(gain.role, gain.copy));
                alike.gain = context.tiles.vector(&name, false)?;
            }
            _ => {}
        }
        Ok(alike)
    }

    /// Executes the formula in a processing element.
    ///
    /// # Errors
    /// Where an operand does not hold what the formula needs.
    pub(super) fn at(&self, pe: &mut PeState) -> Result<(), String> {
        let Self { context, formula, cuts, gain: gains } = self;
        match formula {
            Formula::Product { x, weight, y, chosen, bias } => {
                let of = Product { x: *x, y: *y, weight: *weight, chosen: chosen.as_ref(), bias: *bias };
                product(context, pe, of, cuts.as_ref())
            }
            Formula::SumOfSquares { x, sums, width } => norm::sum_of_squares(context, pe, *x, *sums, *width),
            Formula::RmsScale { x, sums, gain: _, y, width, epsilon } => {
                norm::rms_scale(context, pe, [*x, *sums, *y], gains, MeanSquare { width: *width, epsilon: *epsilon })
            }
            Formula::Gain { x, gain: _, y, width } => norm::gain(context, pe, [*x, *y], gains, *width),
            Formula::Rescale { operands, sums, width, epsilon } => {
                norm::rescale(context, pe, operands, *sums, MeanSquare { width: *width, epsilon: *epsilon })
            }
            Formula::NormScale { sums, width, epsilon } => {
                norm::norm_scale(context, pe, *sums, MeanSquare { width: *width, epsilon: *epsilon })
            }
            Formula::Times { operands, factors, pairs } => norm::times(context, pe, operands, *factors, pairs.as_ref()),
            Formula::Rope { x, head_dim, rotary, position, users } => {
                let [head_dim, rotary, position, users] = [*head_dim, *rotary, *position, *users];
                let rotation = attention::Rotation { head_dim, rotary, position, users };
                attention::rope(context, pe, *x, rotation)
            }
            Formula::SumOfLast { x, sums } => attention::sum_of_last(context, pe, *x, *sums),
            Formula::HeadScale { scores, keys, query_sums, key_sums, group, width, epsilon, token, users, scale } => {
                let of = attention::HeadScale {
                    scores: *scores,
                    keys: *keys,
                    query_sums: *query_sums,
                    key_sums: *key_sums,
                    group: *group,
                    width: *width,
                    epsilon: *epsilon,
                    token: *token,
                    users: *users,
                    scale: *scale,
                };
                attention::head_scale(context, pe, of)
            }
            Formula::Scores { parts, scores, group, users } => {
                attention::scores(context, pe, parts, *scores, attention::Sharing { group: *group, users: *users })
            }
            Formula::WeightedValues { scores, values, output, group, head_dim, users } => {
                let sharing = attention::Sharing { group: *group, users: *users };
                attention::weighted_values(context, pe, [*scores, *values, *output], *head_dim, sharing)
            }
            Formula::Maximum { scores, statistic, causal, sinks } => {
                let of = Softmax { scores: *scores, statistic: *statistic, causal: *causal, sinks: *sinks };
                attention::maximum(context, pe, of)
            }
            Formula::ExpAndSum { scores, statistic, exponentials, sums, scale, causal, sinks } => {
                let of = Softmax { scores: *scores, statistic: *statistic, causal: *causal, sinks: *sinks };
                attention::exp_and_sum(context, pe, of, [*exponentials, *sums], *scale)
            }
            Formula::RelativeTo { operands, own, all, scale } => {
                let of = Relative { own: *own, all: *all, scale: *scale };
                operands.iter().try_for_each(|operand| attention::relative_to(context, pe, *operand, of))
            }
            Formula::Convert { .. } | Formula::ConvertCache => Ok(()),
            Formula::Normalise { scores, statistic } => attention::normalise(context, pe, *scores, *statistic),
            Formula::Bias { y, role, chosen } => experts::bias(context, pe, *y, *role, chosen.as_ref()),
            Formula::GatedActivation { gate, up, gating, weights, weighs_input } => {
                let weights = weights.as_ref();
                let weights =
                    weights.map(|(operand, pairs)| PairWeights { operand: *operand, pairs, input: *weighs_input });
                experts::gated(context, pe, [*gate, *up], *gating, weights)
            }
            Formula::OutputGate { x, gate, y } => linear::output_gate(context, pe, [*x, *gate, *y]),
            Formula::HeadGate { x, gate } => linear::head_gate(context, pe, *x, *gate),
            Formula::RowGate { x, numbers } => linear::row_gate(context, pe, *x, *numbers),
            Formula::Convolve { x, y, tail, channel, tail_tokens, users } => {
                let [channel, tokens, users] = [*channel, *tail_tokens, *users];
                let of = linear::Convolution { x: *x, y: *y, tail: *tail, channel, tokens, users };
                linear::convolve(context, pe, of)
            }
            Formula::StateGates { strength, decay } => linear::state_gates(context, pe, *strength, *decay),
            Formula::UnitScale { x, sums, width, epsilon, scale } => {
                let length = linear::Length { width: *width, epsilon: *epsilon, scale: *scale };
                linear::unit_scale(context, pe, [*x, *sums], length)
            }
            Formula::Recall { state, decay, key, recalled, ahead, heads, users } => {
                linear::recall(context, pe, [*state, *decay, *key, *recalled], *ahead, *heads, *users)
            }
            Formula::Write { state, recalled, value, strength, key, query, read, ahead, heads, users } => {
                let of = linear::Writing {
                    state: *state,
                    recalled: *recalled,
                    value: *value,
                    strength: *strength,
                    key: *key,
                    query: *query,
                    read: *read,
                    ahead: *ahead,
                };
                linear::write(context, pe, of, *heads, *users)
            }
            Formula::KeepRows { source, target, users } => linear::keep_rows(context, pe, *source, *target, *users),
            Formula::GatedNorm { x, sums, gain: _, gate, width, epsilon } => linear::gated_norm(
                context,
                pe,
                [*x, *sums, *gate],
                gains,
                MeanSquare { width: *width, epsilon: *epsilon },
            ),
            Formula::AddVector { x, vector, width } => sparse::add_vector(context, pe, *x, *vector, *width),
            Formula::IndexSum { scores, weights, index } => sparse::index_sum(context, pe, [*scores, *weights, *index]),
            Formula::CountReaching { index, bound, counts, shift, causal } => {
                sparse::count_reaching(context, pe, [*index, *bound, *counts], *shift, *causal)
            }
            Formula::Narrow { counts, bound, top_k, shift } => sparse::narrow(pe, [*counts, *bound], *top_k, *shift),
            Formula::Pack { index, bound, cache, packed, filled, users, causal } => {
                let of = sparse::Packing {
                    index: *index,
                    bound: *bound,
                    cache: *cache,
                    packed: *packed,
                    filled: *filled,
                    users: *users,
                    causal: *causal,
                };
                sparse::pack(context, pe, of)
            }
            Formula::Mask { scores, filled } => sparse::mask(context, pe, *scores, *filled),
            Formula::Add { x, y } => add(context, pe, *x, *y),
            Formula::AddHeld { x, y } => add_held(context, pe, *x, *y),
            Formula::Score { logits, scores, corrected } => router::score(context, pe, *logits, *scores, *corrected),
            Formula::Choose { keys, values, experts, chosen, top_k, groups, kept_groups } => {
                let groups = router::Groups { groups: *groups, kept: *kept_groups };
                let [keys, values, experts, chosen] = [*keys, *values, *experts, *chosen];
                router::choose(context, pe, router::Choosing { keys, values, experts, chosen, top_k: *top_k, groups })
            }
            Formula::Weigh { weights, all, selection } => router::weigh(context, pe, *weights, *all, selection),
            Formula::Lookup { rows, tokens, table } => {
                let region = context.prepared.program.region;
                let place: Place = (pe.column - region.x, pe.row - region.y);
                let held = table.spread.indices(table.size, place);
                let mut tile = pe.fresh(context.prepared, *rows, 0.0)?;
                let inner = Arc::clone(&tile.inner);
                for (row, token) in tokens.iter().enumerate().filter(|(_, token)| held.contains(token)) {
                    for (value, element) in tile.row_mut(row).iter_mut().zip(inner.iter()) {
                        *value = context.tiles.embedding(*token, *element)?;
                    }
                }
                pe.put(*rows, tile);
                Ok(())
            }
            Formula::ArgMax { scores, best } => arg_max(context, pe, *scores, *best),
            Formula::Leave { before, after, entry } => cache::leave(context, pe, *before, *after, *entry),
            Formula::Enter { before, entry, new, after, row } => {
                let (before, entry, after, new, first) = (*before, *entry, *after, new, *row);
                cache::enter(context, pe, cache::Entering { before, entry, after, new, first })
            }
            Formula::TileProduct { a, b, c, bias } => ring::tile_product(context, pe, [*a, *b, *c], *bias),
            Formula::PassingScores { query, keys, partial, group, head_dim, tokens } => {
                let heads = ring::PassingHeads { group: *group, head_dim: *head_dim };
                ring::passing_scores(context, pe, [*query, *keys, *partial], heads, *tokens)
            }
            Formula::Collect { partial, whole, columns } => ring::collect(context, pe, [*partial, *whole], *columns),
            Formula::PassingValues { scores, values, output, group, head_dim } => {
                let heads = ring::PassingHeads { group: *group, head_dim: *head_dim };
                ring::passing_values(context, pe, [*scores, *values, *output], heads)
            }
            Formula::Load { source, target } => ring::load(context, pe, *source, *target),
            Formula::Join { first, behind, y } => join(context, pe, [*first, *behind], *y),
            Formula::Select { source, target } => {
                let fresh = pe.fresh(context.prepared, *target, 0.0)?;
                let tile = select(pe.tile(*source)?, fresh)?;
                pe.put(*target, tile);
                Ok(())
            }
        }
    }
}

fn select(source: &Tile, mut target: Tile) -> Result<Tile, String> {
    let rows = places(&source.rows, &target.rows)?;
    let columns = places(&source.inner, &target.inner)?;
    for (to, from) in rows.into_iter().enumerate() {
        let row = source.row(from);
        for (value, column) in target.row_mut(to).iter_mut().zip(&columns) {
            *value = row.get(*column).copied().unwrap_or(0.0);
        }
    }
    Ok(target)
}

/// What all heads have, before what each has of its own.
fn join(context: &Context<'_>, pe: &mut PeState, [first, behind]: [Operand; 2], y: Operand) -> Result<(), String> {
    let mut result = pe.fresh(context.prepared, y, 0.0)?;
    let (width, leading, own) = (context.last_size(y)?, context.last_size(first)?, context.last_size(behind)?);
    let (first, behind) = (pe.tile(first)?, pe.tile(behind)?);
    let inner = Arc::clone(&result.inner);
    let (head, number) = (|element: &u32| element / width.max(1), |element: &u32| element % width.max(1));
    let of = |wanted: bool| inner.iter().filter(move |element| (number(element) < leading) == wanted);
    let places_of_first = places(&first.inner, &of(true).map(number).collect::<Vec<_>>())?;
    let own = |element: &u32| head(element) * own + number(element) - leading;
    let places_of_behind = places(&behind.inner, &of(false).map(own).collect::<Vec<_>>())?;
    for row in 0..result.rows.len() {
        let (mut of_first, mut of_behind) = (places_of_first.iter(), places_of_behind.iter());
        for (value, element) in result.row_mut(row).iter_mut().zip(inner.iter()) {
            let is_first = number(element) < leading;
            let (tile, place) = if is_first { (first, of_first.next()) } else { (behind, of_behind.next()) };
            *value = place.and_then(|place| tile.row(row).get(*place)).copied().unwrap_or(f32::NAN);
        }
    }
    pe.put(y, result);
    Ok(())
}

fn add(context: &Context<'_>, pe: &mut PeState, x: Operand, y: Operand) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let (x, y) = pe.tile_beside(x, y)?;
    if !x.is_like(&y.rows, &y.inner) {
        return Err("two operands of a sum hold different elements".into());
    }
    x.values.iter_mut().zip(&y.values).for_each(|(x, y)| *x = rounding.round(*x + y));
    Ok(())
}

/// `x += y` for the elements that both hold.
fn add_held(context: &Context<'_>, pe: &mut PeState, x: Operand, y: Operand) -> Result<(), String> {
    let rounding = context.rounding(x.buffer);
    let (x, y) = pe.tile_beside(x, y)?;
    if x.rows != y.rows {
        return Err("two operands of a sum hold different rows".into());
    }
    let inner = Arc::clone(&x.inner);
    for row in 0..x.rows.len() {
        for (value, element) in x.row_mut(row).iter_mut().zip(inner.iter()) {
            if let Some(at) = y.inner.iter().position(|held| held == element) {
                *value = rounding.round(*value + y.row(row).get(at).copied().unwrap_or(0.0));
            }
        }
    }
    Ok(())
}

fn arg_max(context: &Context<'_>, pe: &mut PeState, scores: Operand, best: Operand) -> Result<(), String> {
    let mut result = pe.fresh(context.prepared, best, f32::NEG_INFINITY)?;
    let source = pe.tile(scores)?;
    for row in 0..source.rows.len() {
        let mut found = [f32::NEG_INFINITY, f32::MAX];
        for (value, number) in source.row(row).iter().zip(source.inner.iter()) {
            if *value > found[0] || (*value == found[0] && (*number as f32) < found[1]) {
                found = [*value, *number as f32];
            }
        }
        if let Some(result) = result.row_mut(row).get_mut(..2) {
            result.copy_from_slice(&found);
        }
    }
    pe.put(best, result);
    Ok(())
}
