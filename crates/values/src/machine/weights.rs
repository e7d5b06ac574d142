//! The tiles of weights in the processing elements. They are cut when they are first used and then stay: a program that
//! wants another tile of the same weight in the same place is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::Array2;
use rayon::prelude::*;
use wafersim_spec::DataType;
use wafersim_spec::model::Role;

use super::rounding::Rounding;
use super::state::Numbers;
use crate::checkpoint::{Checkpoint, WeightName};
use crate::error::ValuesError;

/// A tile with the inputs and outputs that it is for.
#[derive(Debug, Clone)]
struct Cut {
    inputs: Numbers,
    outputs: Numbers,
    values: Array2<f32>,
}

/// Tiles by weight and processing element, and vectors (gains, biases) by weight.
#[derive(Debug)]
pub struct Tiles<'a> {
    checkpoint: &'a Checkpoint,
    rounding: Rounding,
    vectors_rounding: Rounding,
    tiles: BTreeMap<WeightName, Vec<Option<Cut>>>,
    vectors: BTreeMap<(WeightName, bool), Vec<f32>>,
}

impl<'a> Tiles<'a> {
    /// No tiles yet, of a checkpoint whose weights are stored in `weights`, gains and biases in `small_weights`.
    pub const fn new(checkpoint: &'a Checkpoint, weights: DataType, small_weights: DataType) -> Self {
        Self {
            checkpoint,
            rounding: Rounding::of(weights),
            vectors_rounding: Rounding::of(small_weights),
            tiles: BTreeMap::new(),
            vectors: BTreeMap::new(),
        }
    }

    /// Cuts the tiles of a weight that are not there yet. `wanted`: inputs and outputs by processing element.
    ///
    /// # Errors
    /// Where there is no such weight.
    pub fn cut(&mut self, name: WeightName, wanted: &[Option<(Numbers, Numbers)>]) -> Result<(), ValuesError> {
        let there = self.tiles.entry(name).or_insert_with(|| vec![None; wanted.len()]);
        there.resize(wanted.len().max(there.len()), None);
        let rounding = if name.role == Role::Router { self.vectors_rounding } else { self.rounding };
        let checkpoint = self.checkpoint;
        there.par_iter_mut().zip(wanted).try_for_each(|(cut, wanted)| {
            if let (None, Some((inputs, outputs))) = (&cut, wanted) {
                let mut values = checkpoint.tile(name, inputs, outputs)?;
                values.iter_mut().for_each(|value| *value = rounding.round(*value));
                *cut = Some(Cut { inputs: Arc::clone(inputs), outputs: Arc::clone(outputs), values });
            }
            Ok(())
        })
    }

    /// Reads a gain or a bias.
    ///
    /// # Errors
    /// Where there is none.
    pub fn read_vector(&mut self, name: WeightName, is_bias: bool) -> Result<(), ValuesError> {
        if self.vectors.contains_key(&(name, is_bias)) {
            return Ok(());
        }
        let tensor = if is_bias { self.checkpoint.bias(name)? } else { self.checkpoint.weight(name)? };
        let rounding = self.vectors_rounding;
        let values = tensor.values().into_iter().map(|value| rounding.round(value as f32)).collect();
        self.vectors.insert((name, is_bias), values);
        Ok(())
    }

    /// The tile of a processing element, which must be for exactly these inputs and outputs.
    ///
    /// # Errors
    /// Where it is not there or for others.
    pub fn tile(&self, name: WeightName, pe: usize, held: &(Numbers, Numbers)) -> Result<&Array2<f32>, String> {
        let cut = self.tiles.get(&name).and_then(|tiles| tiles.get(pe)).and_then(Option::as_ref);
        let cut = cut.ok_or_else(|| format!("{name:?} has no tile in processing element {pe}"))?;
        if cut.inputs != held.0 || cut.outputs != held.1 {
            return Err(format!("{name:?} would have to move: another tile of it lies in processing element {pe}"));
        }
        Ok(&cut.values)
    }

    /// A gain or a bias.
    ///
    /// # Errors
    /// Where it was not read.
    pub fn vector(&self, name: WeightName, is_bias: bool) -> Result<&[f32], String> {
        self.vectors.get(&(name, is_bias)).map(Vec::as_slice).ok_or_else(|| format!("{name:?} was not read"))
    }

    /// An element of the embedding table.
    ///
    /// # Errors
    /// Where there is no table.
    pub fn embedding(&self, token: u64, element: u32) -> Result<f32, String> {
        let table = self.checkpoint.weight(WeightName::new(0, Role::Embedding)).map_err(|error| error.to_string())?;
        let width = self.checkpoint.model.hidden as usize;
        Ok(self.rounding.round(table.at(token as usize * width + element as usize) as f32))
    }

    /// The checkpoint.
    pub const fn checkpoint(&self) -> &'a Checkpoint {
        self.checkpoint
    }
}
