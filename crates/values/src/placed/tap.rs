//! What programs have left behind, read off their processing elements and recorded by the names of [`Record`].

use rayon::prelude::*;
use wafersim_mapping::{LayerMapping, Rewrite};
use wafersim_program::{Action, BufferId, Formula, Operand};
use wafersim_spec::model::{Attention, FeedForward, Layer};

use super::programs::{Held, Placed, buffer, bug};
use crate::checkpoint::{CachedPart, cached};
use crate::error::ValuesError;
use crate::interpreter::{MeshState, Prepared};
use crate::record::{Record, Recorded};

/// What a program has left behind.
pub(super) struct Tap<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) mesh: &'a MeshState,
}

impl Tap<'_> {
    pub(super) fn of(&self, name: &str, field: u32) -> Result<Vec<f64>, ValuesError> {
        let operand = Operand::new(buffer(self.prepared, name)?, field);
        let tensor = self.mesh.gather(self.prepared, operand).map_err(|problem| bug(self.prepared, problem))?;
        Ok(tensor.into_iter().map(f64::from).collect())
    }

    /// Whether a tensor that a norm has made is scaled: it may have its gain alone, and what is made from it the scale.
    fn is_normed(&self, buffer: BufferId) -> bool {
        self.formulas().any(|formula| match formula {
            Formula::RmsScale { y, .. } => y.buffer == buffer,
            Formula::Rescale { operands, .. } => operands.iter().any(|scaled| scaled.operand.buffer == buffer),
            Formula::Times { operands, .. } => operands.iter().any(|operand| operand.buffer == buffer),
            _ => false,
        })
    }

    /// What was added to the residual stream after the attention: the outputs of all networks.
    fn added_last(&self) -> Result<Vec<f64>, ValuesError> {
        let stream = Operand::new(buffer(self.prepared, "residual")?, 0);
        let added = self.formulas().filter_map(|formula| match formula {
            Formula::Add { x, y } if *x == stream => Some(*y),
            _ => None,
        });
        let mut sum: Vec<f64> = Vec::new();
        for operand in added.skip(1) {
            let tensor = self.mesh.gather(self.prepared, operand).map_err(|problem| bug(self.prepared, problem))?;
            sum.resize(tensor.len(), 0.0);
            sum.iter_mut().zip(tensor).for_each(|(sum, value)| *sum += f64::from(value));
        }
        Ok(sum)
    }

    fn formulas(&self) -> impl Iterator<Item = &Formula> {
        self.prepared.program.steps().filter_map(|step| match &step.action {
            Action::Compute(compute) => compute.formula.as_ref(),
            _ => None,
        })
    }

    /// Records the rows of a tensor, each with its user.
    pub(super) fn rows(&self, records: &mut [Record], kind: &str, name: &str, field: u32) -> Result<(), ValuesError> {
        let operand = Operand::new(buffer(self.prepared, name)?, field);
        let width = self.prepared.field(operand).map_err(|problem| bug(self.prepared, problem))?.row_size();
        note_rows(records, kind, (&self.of(name, field)?, width));
        Ok(())
    }

    /// Records what a layer makes.
    pub(super) fn layer(&self, records: &mut [Record], name: &str, layer: &Layer) -> Result<(), ValuesError> {
        self.rows(records, &format!("{name}.attn_out"), "attention.projected", 0)?;
        if self.is_normed(buffer(self.prepared, "feed_forward.normed")?) {
            self.rows(records, &format!("{name}.moe_in"), "feed_forward.normed", 0)?;
        } else {
            not_formed(records, format!("{name}.moe_in"));
        }
        if let FeedForward::Moe(moe) = &layer.feed_forward {
            // Sigmoids, or logits without their norm's scale, may be all that is gathered.
            let logits = self.prepared.program.find("router.all_scores").filter(|_| moe.selection.follows_logits());
            match logits {
                Some(_) => self.rows(records, &format!("{name}.router_logits"), "router.all_scores", 0)?,
                None => not_formed(records, format!("{name}.router_logits")),
            }
            self.rows(records, &format!("{name}.router_experts"), "router.choice", 0)?;
            self.rows(records, &format!("{name}.router_weights"), "router.choice", 1)?;
        }
        let stream = Operand::new(buffer(self.prepared, "residual")?, 0);
        let width = self.prepared.field(stream).map_err(|problem| bug(self.prepared, problem))?.row_size();
        note_rows(records, &format!("{name}.moe_out"), (&self.added_last()?, width));
        self.rows(records, &format!("{name}.out"), "residual", 0)
    }

    /// Records what the LM head makes.
    pub(super) fn head(&self, records: &mut [Record], phase: &str, mapping: &LayerMapping) -> Result<(), ValuesError> {
        if mapping.has(Rewrite::FusedNorms) {
            not_formed(records, format!("{phase}.final_norm"));
        } else {
            self.rows(records, &format!("{phase}.final_norm"), "head.normed", 0)?;
        }
        self.rows(records, &format!("{phase}.logits"), "head.logits", 0)
    }

    pub(super) fn tiles(&self, name: &str) -> Result<Held, ValuesError> {
        let buffer = buffer(self.prepared, name)?;
        Ok(self.mesh.pes.iter().map(|pe| pe.buffer(buffer).to_vec()).collect())
    }

    /// The tiles of some buffers, one behind the other, in the place of what was kept before.
    pub(super) fn keep(&self, names: &[&str], kept: &mut Held) -> Result<(), ValuesError> {
        let buffers = names.iter().map(|name| buffer(self.prepared, name)).collect::<Result<Vec<_>, _>>()?;
        kept.resize(self.mesh.pes.len(), Vec::new());
        kept.par_iter_mut().zip(&self.mesh.pes).for_each(|(kept, pe)| {
            let tiles = buffers.iter().flat_map(|buffer| pe.buffer(*buffer));
            kept.truncate(tiles.clone().count());
            let known = kept.len();
            kept.iter_mut().zip(tiles.clone()).for_each(|(kept, tile)| kept.clone_from(tile));
            kept.extend(tiles.skip(known).cloned());
        });
        Ok(())
    }
}

impl Placed<'_> {
    /// Records the first `tokens` cached tokens of each user.
    pub(super) fn record_caches(&self, tokens: u64, records: &mut [Record]) -> Result<(), ValuesError> {
        let users = records.len().max(1);
        for (layer, cache) in self.caches.iter().enumerate() {
            let Some(description) = self.checkpoint.model.layers.get(layer) else { continue };
            if let Attention::Linear(linear) = &description.attention {
                let elements = linear.state_elements() as usize;
                record_states(&format!("prefill.layer{layer}.state"), elements, cache, records);
                continue;
            }
            // What no query will see again is not kept.
            let oldest = description.attention.reach().oldest(tokens) as usize;
            let kept = tokens as usize - oldest;
            for (field, CachedPart { name: kind, heads, width }) in
                cached(&description.attention).into_iter().enumerate()
            {
                let name = format!("prefill.layer{layer}.{kind}");
                for record in records.iter_mut() {
                    let values = vec![f64::NAN; heads * kept * width];
                    record.tensors.insert(name.clone(), Recorded { shape: vec![heads, kept, width], values });
                }
                for tile in cache.iter().filter_map(|tiles| tiles.get(field)) {
                    for (row, number) in tile.rows.iter().enumerate() {
                        let (token, user) = (*number as usize / users, *number as usize % users);
                        let known = records.get_mut(user).and_then(|record| record.tensors.get_mut(&name));
                        let (Some(recorded), Some(token)) = (known, token.checked_sub(oldest)) else { continue };
                        for (value, element) in tile.row(row).iter().zip(tile.inner.iter()) {
                            let (head, dim) = (*element as usize / width, *element as usize % width);
                            if let Some(place) = recorded.values.get_mut((head * kept + token) * width + dim) {
                                *place = f64::from(*value);
                            }
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Records the states of a layer, a row of them for each user.
fn record_states(name: &str, elements: usize, cache: &Held, records: &mut [Record]) {
    for record in records.iter_mut() {
        let values = vec![f64::NAN; elements];
        record.tensors.insert(name.to_owned(), Recorded { shape: vec![elements], values });
    }
    for tile in cache.iter().filter_map(|tiles| tiles.first()) {
        for (row, user) in tile.rows.iter().enumerate() {
            let known = records.get_mut(*user as usize).and_then(|record| record.tensors.get_mut(name));
            let Some(recorded) = known else { continue };
            for (value, element) in tile.row(row).iter().zip(tile.inner.iter()) {
                if let Some(place) = recorded.values.get_mut(*element as usize) {
                    *place = f64::from(*value);
                }
            }
        }
    }
}

/// Notes the rows of a tensor of a width, each with its user.
fn note_rows(records: &mut [Record], kind: &str, (tensor, width): (&[f64], u64)) {
    let users = records.len().max(1);
    for (number, row) in tensor.chunks(width.max(1) as usize).enumerate() {
        if let Some(record) = records.get_mut(number % users) {
            record.push_row(kind.to_owned(), row.iter().copied());
        }
    }
}

/// Notes that no program forms a tensor.
fn not_formed(records: &mut [Record], name: String) {
    for record in records {
        record.not_formed.insert(name.clone());
    }
}
