//! The tiles of weights in the processing elements. They are cut when they are first used and then stay: a program that
//! wants another tile of the same weight in the same place is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::Array2;
use rayon::prelude::*;
use wafersim_program::{Factor, GainName, Part, Scaling, Stored};
use wafersim_spec::DataType;
use wafersim_spec::model::Role;

use super::prepared::Held;
use super::rounding::Rounding;
use super::state::{Numbers, same};
use super::stored::Blocks;
use crate::checkpoint::{Checkpoint, WeightName};
use crate::error::ValuesError;

/// Which weight, what its input goes through before it, and how it is stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileName {
    /// The weight.
    pub name: WeightName,
    /// What the input goes through before it: the tile is one of the product.
    pub behind: Vec<Factor>,
    /// How it is stored, where the program says so.
    pub stored: Option<Stored>,
    /// Which part of the weight it is.
    pub part: Part,
}

impl TileName {
    /// A weight of the checkpoint as it is.
    pub const fn plain(name: WeightName) -> Self {
        Self { name, behind: Vec::new(), stored: None, part: Part::Whole }
    }
}

/// A tile with the inputs and outputs that it is for.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    inputs: Numbers,
    outputs: Numbers,
    values: Array2<f32>,
    /// Rows that share their scales, where sums are scaled.
    blocks: Vec<Block>,
}

/// The tiles of a weight, by processing element.
pub(super) struct Cuts<'t> {
    name: TileName,
    tiles: &'t [Option<Cut>],
}

impl<'t> Cuts<'t> {
    /// The tile of a processing element, which must be for exactly these inputs and outputs.
    ///
    /// # Errors
    /// Where it is not there or for others.
    pub(super) fn at(&self, pe: usize, (inputs, outputs): &Held) -> Result<&'t Cut, String> {
        let name = &self.name;
        let cut = self.tiles.get(pe).and_then(Option::as_ref);
        let cut = cut.ok_or_else(|| format!("{name:?} has no tile in processing element {pe}"))?;
        if !same(&cut.inputs, inputs) || !same(&cut.outputs, outputs) {
            return Err(format!("{name:?} would have to move: another tile of it lies in processing element {pe}"));
        }
        Ok(cut)
    }
}

/// Rows of a tile whose sums are multiplied with one scale for each output.
#[derive(Debug, Clone)]
pub(super) struct Block {
    rows: Vec<usize>,
    scales: Vec<f32>,
}

impl Cut {
    /// `y += x W`, one multiply-accumulate for each element of the tile.
    pub fn multiply(&self, rounding: Rounding, x: &[f32], y: &mut [f32]) {
        let width = y.len();
        // An input that is not there is 0.
        let input = |row: usize| x.get(row).copied().unwrap_or(0.0);
        let rows = self.values.as_slice().unwrap_or(&[]).chunks_exact(width.max(1));
        if self.blocks.is_empty() {
            return rounding.accumulate(y, (0..).map(input).zip(rows));
        }
        for block in &self.blocks {
            let mut sums = vec![0.0; width];
            let term = |row: &usize| (input(*row), rows.clone().nth(*row).unwrap_or(&[]));
            rounding.accumulate(&mut sums, block.rows.iter().map(term));
            for ((y, sum), scale) in y.iter_mut().zip(&sums).zip(&block.scales) {
                *y = rounding.round(*y + sum * scale);
            }
        }
    }
}

/// A matrix that is a product of several, in 64 bit: rows of outputs, and what the biases of its factors become.
#[derive(Debug)]
struct Formed {
    width: usize,
    matrix: Vec<f64>,
    constant: Vec<f64>,
}

/// Tiles by weight and processing element, and vectors (gains, biases) by weight.
#[derive(Debug)]
pub struct Tiles<'a> {
    checkpoint: &'a Checkpoint,
    rounding: Rounding,
    vectors_rounding: Rounding,
    tiles: BTreeMap<TileName, Vec<Option<Cut>>>,
    gains: BTreeMap<TileName, Vec<f32>>,
    biases: BTreeMap<TileName, Vec<f32>>,
    blocks: BTreeMap<(WeightName, DataType), Arc<Blocks>>,
    formed: BTreeMap<TileName, Arc<Formed>>,
    turns: BTreeMap<u64, Vec<[f32; 2]>>,
}

impl<'a> Tiles<'a> {
    /// No tiles yet, of a checkpoint whose weights are stored in `weights`, gains and biases in `small_weights`.
    pub const fn new(checkpoint: &'a Checkpoint, weights: DataType, small_weights: DataType) -> Self {
        Self {
            checkpoint,
            rounding: Rounding::of(weights),
            vectors_rounding: Rounding::of(small_weights),
            tiles: BTreeMap::new(),
            gains: BTreeMap::new(),
            biases: BTreeMap::new(),
            blocks: BTreeMap::new(),
            formed: BTreeMap::new(),
            turns: BTreeMap::new(),
        }
    }

    /// Cuts the tiles of a weight that are not there yet. `wanted`: inputs and outputs by processing element. Weights
    /// that are stored narrow are converted to what is `computed` in.
    ///
    /// # Errors
    /// Where there is no such weight.
    pub fn cut(
        &mut self,
        name: &TileName,
        wanted: &[Option<(Numbers, Numbers)>],
        computed: Rounding,
    ) -> Result<(), ValuesError> {
        let is_there = |(cut, wanted): (&Option<Cut>, &Option<_>)| cut.is_some() || wanted.is_none();
        if self.tiles.get(name).is_some_and(|cuts| cuts.len() >= wanted.len() && cuts.iter().zip(wanted).all(is_there))
        {
            return Ok(());
        }
        let formed = if name.behind.is_empty() { None } else { Some(self.form(name)?) };
        let scaling = name.stored.map_or(Scaling::Nothing, |stored| stored.scaling);
        let blocks = match name.stored.filter(|_| scaling != Scaling::Nothing) {
            Some(stored) => self.blocks_of(name.name, stored.data_type)?,
            None => None,
        };
        let there = self.tiles.entry(name.clone()).or_insert_with(|| vec![None; wanted.len()]);
        there.resize(wanted.len().max(there.len()), None);
        let rounding = match (name.stored, name.name.role) {
            (Some(stored), _) if scaling == Scaling::Nothing => Rounding::of(stored.data_type),
            (Some(_), _) => computed,
            (None, Role::Router | Role::WriteStrength | Role::Decay | Role::SharedOutputGate) => self.vectors_rounding,
            (None, _) => self.rounding,
        };
        let checkpoint = self.checkpoint;
        there.par_iter_mut().zip(wanted).try_for_each(|(cut, wanted)| {
            let (None, Some((inputs, outputs))) = (&cut, wanted) else { return Ok(()) };
            let mut values = match &formed {
                Some(formed) => formed.tile(inputs, outputs),
                None => checkpoint.tile(name.name, name.part, (inputs, outputs))?,
            };
            let scaled = match &blocks {
                Some(blocks) => stored_tile((blocks, name.part), scaling, &mut values, (inputs, outputs)),
                None => Vec::new(),
            };
            // Converted elements are exact in 16 bit; those that were scaled, and all others, are rounded.
            if scaled.is_empty() {
                values.iter_mut().for_each(|value| *value = rounding.round(*value));
            }
            let blocks = scaled
                .into_iter()
                .map(|block| Block {
                    scales: block.scales.into_iter().map(|scale| rounding.round(scale)).collect(),
                    ..block
                })
                .collect();
            *cut = Some(Cut { inputs: Arc::clone(inputs), outputs: Arc::clone(outputs), values, blocks });
            Ok(())
        })
    }

    fn blocks_of(&mut self, name: WeightName, data_type: DataType) -> Result<Option<Arc<Blocks>>, ValuesError> {
        if let Some(known) = self.blocks.get(&(name, data_type)) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(blocks) = Blocks::of(self.checkpoint.weight(name)?, data_type) else { return Ok(None) };
        let blocks = Arc::new(blocks);
        self.blocks.insert((name, data_type), Arc::clone(&blocks));
        Ok(Some(blocks))
    }

    /// The product of a weight with what its input goes through before it.
    fn form(&mut self, name: &TileName) -> Result<Arc<Formed>, ValuesError> {
        if let Some(known) = self.formed.get(name) {
            return Ok(Arc::clone(known));
        }
        let of_layer = |role: Role, copy: u64| WeightName { copy, ..WeightName::new(name.name.layer, role) };
        let last = self.checkpoint.weight(name.name)?;
        let outputs = last.shape.first().copied().unwrap_or(0);
        let mut width = last.shape.get(1).copied().unwrap_or(0);
        let mut matrix = last.values();
        let mut constant = vec![0.0; outputs];
        for factor in name.behind.iter().rev() {
            match factor {
                Factor::Gain(GainName { role, copy }) => {
                    let gain = self.checkpoint.weight(of_layer(*role, *copy))?.values();
                    let scale = |(at, value): (usize, &mut f64)| *value *= gain.get(at % width.max(1)).unwrap_or(&0.0);
                    matrix.iter_mut().enumerate().for_each(scale);
                }
                Factor::Matrix(role) => {
                    let inner = self.checkpoint.weight(of_layer(*role, 0))?;
                    if let Ok(bias) = self.checkpoint.bias(of_layer(*role, 0)) {
                        let bias = bias.values();
                        for (sum, row) in constant.iter_mut().zip(matrix.chunks(width.max(1))) {
                            *sum += row.iter().zip(&bias).map(|(weight, bias)| weight * bias).sum::<f64>();
                        }
                    }
                    let inputs = inner.shape.get(1).copied().unwrap_or(0);
                    let inner = inner.values();
                    let row = |row: &[f64]| -> Vec<f64> {
                        let mut sums = vec![0.0; inputs];
                        for (weight, inner) in row.iter().zip(inner.chunks(inputs.max(1))) {
                            sums.iter_mut().zip(inner).for_each(|(sum, inner)| *sum += weight * inner);
                        }
                        sums
                    };
                    matrix = matrix.par_chunks(width.max(1)).flat_map_iter(row).collect();
                    width = inputs;
                }
            }
        }
        let formed = Arc::new(Formed { width, matrix, constant });
        self.formed.insert(name.clone(), Arc::clone(&formed));
        Ok(formed)
    }

    /// Reads a gain or a bias. The bias of a weight with factors before it is what their biases become.
    ///
    /// # Errors
    /// Where there is none.
    pub fn read_vector(&mut self, name: &TileName, is_bias: bool) -> Result<(), ValuesError> {
        if self.vectors(is_bias).contains_key(name) {
            return Ok(());
        }
        let values = if name.behind.is_empty() {
            let tensor = if is_bias { self.checkpoint.bias(name.name)? } else { self.checkpoint.weight(name.name)? };
            tensor.values()
        } else {
            self.form(name)?.constant.clone()
        };
        let rounding = self.vectors_rounding;
        let values = values.into_iter().map(|value| rounding.round(value as f32)).collect();
        let known = if is_bias { &mut self.biases } else { &mut self.gains };
        known.insert(name.clone(), values);
        Ok(())
    }

    const fn vectors(&self, is_bias: bool) -> &BTreeMap<TileName, Vec<f32>> {
        if is_bias { &self.biases } else { &self.gains }
    }

    /// The tiles of a weight.
    ///
    /// # Errors
    /// Where none was cut.
    pub(super) fn cuts(&self, name: TileName) -> Result<Cuts<'_>, String> {
        match self.tiles.get(&name) {
            Some(tiles) => Ok(Cuts { name, tiles }),
            None => Err(format!("{name:?} has no tiles")),
        }
    }

    /// A gain or a bias.
    ///
    /// # Errors
    /// Where it was not read.
    pub fn vector(&self, name: &TileName, is_bias: bool) -> Result<&[f32], String> {
        let known = self.vectors(is_bias).get(name);
        known.map(Vec::as_slice).ok_or_else(|| format!("{name:?} was not read"))
    }

    /// Works out the sines and cosines of a position.
    pub(super) fn turn(&mut self, position: u64) {
        let frequencies = &self.checkpoint.rotary.frequencies;
        self.turns.entry(position).or_insert_with(|| {
            let of = |frequency: &f64| {
                let (sine, cosine) = (position as f64 * frequency).sin_cos();
                [sine as f32, cosine as f32]
            };
            frequencies.iter().map(of).collect()
        });
    }

    /// Sine and cosine of each frequency at a position.
    ///
    /// # Errors
    /// Where they were not worked out.
    pub(super) fn turned(&self, position: u64) -> Result<&[[f32; 2]], String> {
        let known = self.turns.get(&position).map(Vec::as_slice);
        known.ok_or_else(|| format!("the sines of position {position} were not worked out"))
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

impl Formed {
    fn tile(&self, inputs: &[u32], outputs: &[u32]) -> Array2<f32> {
        Array2::from_shape_fn((inputs.len(), outputs.len()), |(row, column)| {
            let at = outputs[column] as usize * self.width + inputs[row] as usize;
            self.matrix.get(at).copied().unwrap_or(f64::NAN) as f32
        })
    }
}

/// Puts what is stored in place of a tile's values. Where sums are scaled, the rows of each block with its scales.
pub(super) fn stored_tile(
    (blocks, part): (&Blocks, Part),
    scaling: Scaling,
    values: &mut Array2<f32>,
    (inputs, outputs): (&Numbers, &Numbers),
) -> Vec<Block> {
    let at = |row: usize, column: usize| {
        let place = part.at(u64::from(inputs[row]), u64::from(outputs[column]));
        place.map(|(input, output)| (input as usize, output as usize))
    };
    for ((row, column), value) in values.indexed_iter_mut() {
        let Some((input, output)) = at(row, column) else { continue };
        *value = blocks.element(input, output, *value);
        if scaling == Scaling::Elements {
            *value *= blocks.scale(input, output);
        }
    }
    if scaling == Scaling::Elements {
        return Vec::new();
    }
    let mut found: Vec<(usize, Block)> = Vec::new();
    for row in 0..inputs.len() {
        let Some((input, output)) = (0..outputs.len()).find_map(|column| at(row, column)) else { continue };
        let block = match part {
            Part::OfHeadsTurned { .. } => blocks.block_of_output(output),
            _ => blocks.block_of(input),
        };
        let number = match found.iter().position(|(known, _)| *known == block) {
            Some(number) => number,
            None => {
                found.push((block, Block { rows: Vec::new(), scales: vec![0.0; outputs.len()] }));
                found.len() - 1
            }
        };
        let Some((_, known)) = found.get_mut(number) else { continue };
        known.rows.push(row);
        // Between heads there is nothing: the scales of an output are those of the rows of its head.
        for (column, scale) in known.scales.iter_mut().enumerate() {
            if let Some((input, output)) = at(row, column) {
                *scale = blocks.scale(input, output);
            }
        }
    }
    found.into_iter().map(|(_, block)| block).collect()
}
