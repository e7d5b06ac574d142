//! Running a program: its nodes in order, over all processing elements of the region.

use rayon::prelude::*;
use wafersim_program::{
    Action, BufferId, Chosen, Formula, GainName, Node, Operand, Program, Region, Resident, Root, Scaling, Step,
    WeightId,
};
use wafersim_spec::model::Role;

use super::compute::{Alike, Context};
use super::prepared::Prepared;
use super::ring;
use super::state::{PeState, Tile};
use super::stored::Blocks;
use super::transfer::transfer;
use super::weights::{TileName, Tiles, stored_tile};
use crate::checkpoint::WeightName;
use crate::error::ValuesError;

/// A region of processing elements that runs a program.
#[derive(Debug, Clone)]
pub struct MeshState {
    /// The processing elements, row by row.
    pub pes: Vec<PeState>,
}

impl MeshState {
    /// Processing elements with empty memory for a program.
    pub fn new(prepared: &Prepared) -> Self {
        let region = prepared.program.region;
        let buffers = prepared.program.buffers.len();
        let places = (region.y..region.y + region.rows)
            .flat_map(|row| (region.x..region.x + region.columns).map(move |column| (column, row)));
        Self { pes: places.map(|(column, row)| PeState::new(column, row, buffers)).collect() }
    }

    /// The same processing elements with empty memory for another program, or others where the region is another one.
    pub(crate) fn emptied(mut self, prepared: &Prepared) -> Self {
        let region = prepared.program.region;
        let corners = [(region.x, region.y), (region.x + region.columns, region.y + region.rows)];
        let [first, last] = [self.pes.first(), self.pes.last()];
        let ours = [first.map(|pe| (pe.column, pe.row)), last.map(|pe| (pe.column + 1, pe.row + 1))];
        if ours != corners.map(Some) {
            return Self::new(prepared);
        }
        let buffers = prepared.program.buffers.len();
        self.pes.par_iter_mut().for_each(|pe| pe.forget(buffers));
        self
    }

    /// Writes a whole tensor into a field: every processing element takes what its layout says.
    ///
    /// # Errors
    /// Where the layout wants an element that the tensor has not.
    pub fn scatter(&mut self, prepared: &Prepared, operand: Operand, tensor: &[f32]) -> Result<(), String> {
        let width = prepared.field(operand)?.row_size() as usize;
        for (index, pe) in self.pes.iter_mut().enumerate() {
            let Some((rows, inner)) = prepared.held(operand, index) else { continue };
            let numbers = rows.iter().flat_map(|row| inner.iter().map(move |element| (*row, *element)));
            let values = numbers.map(|(row, element)| tensor.get(row as usize * width + element as usize).copied());
            let values = values.collect::<Option<Vec<f32>>>().ok_or("a tensor is too small for its layout")?;
            pe.put(operand, Tile { rows: rows.clone(), inner: inner.clone(), values });
        }
        Ok(())
    }

    /// The whole tensor of a field, row by row.
    ///
    /// # Errors
    /// Where an element lies nowhere, or copies of it differ from each other.
    pub fn gather(&self, prepared: &Prepared, operand: Operand) -> Result<Vec<f32>, String> {
        let field = prepared.field(operand)?;
        let width = field.row_size() as usize;
        let mut tensor: Vec<Option<f32>> = vec![None; field.rows.size as usize * width];
        for pe in &self.pes {
            let Ok(tile) = pe.tile(operand) else { continue };
            let numbers = tile.rows.iter().flat_map(|row| tile.inner.iter().map(move |element| (*row, *element)));
            for ((row, element), value) in numbers.zip(&tile.values) {
                match tensor.get_mut(row as usize * width + element as usize) {
                    Some(Some(known)) if known.to_bits() != value.to_bits() => {
                        return Err(format!("copies of element {element} of '{}' differ from each other", field.name));
                    }
                    Some(place) => *place = Some(*value),
                    None => return Err(format!("'{}' holds an element beyond its end", field.name)),
                }
            }
        }
        tensor
            .into_iter()
            .collect::<Option<Vec<f32>>>()
            .ok_or_else(|| format!("an element of '{}' lies nowhere", field.name))
    }
}

/// Runs the operators `from..to` of a program (all from `from` on where `to` is larger).
///
/// # Errors
/// Where a weight is missing, or the program does not hold what its numbers need.
pub fn execute(
    prepared: &Prepared,
    mesh: &mut MeshState,
    tiles: &mut Tiles<'_>,
    layer: usize,
    operators: std::ops::Range<usize>,
) -> Result<(), ValuesError> {
    if operators.start == 0 {
        residents(prepared, mesh, tiles, layer, 0)?;
    }
    let body = prepared.program.body.iter().take(operators.end).skip(operators.start);
    for node in body {
        let name = match node {
            Node::Operator { name, .. } => name.as_ref(),
            _ => "other",
        };
        let mut running = Running { prepared, mesh, tiles, layer, round: 0, systolic: false };
        running.node(node).map_err(|problem| match problem {
            Problem::Values(error) => error,
            Problem::Program(problem) => {
                ValuesError::Program { program: prepared.program.name.clone(), operator: name.to_owned(), problem }
            }
        })?;
    }
    Ok(())
}

/// Puts matrices that the program will move into their buffers, those from buffer number `first` on.
///
/// # Errors
/// Where there is no such matrix.
pub fn residents(
    prepared: &Prepared,
    mesh: &mut MeshState,
    tiles: &Tiles<'_>,
    layer: usize,
    first: usize,
) -> Result<(), ValuesError> {
    let residents = prepared.program.residents.iter().filter(|resident| resident.buffer.index() >= first);
    for Resident { buffer, role, part } in residents.copied() {
        let operand = Operand::new(buffer, 0);
        let name = Context { prepared, tiles, layer, round: 0 }.name(role, 0);
        let checkpoint = tiles.checkpoint();
        let of_role = prepared.program.weights.iter().filter(|weight| weight.role == role);
        let stored = of_role.filter_map(|weight| weight.stored).find(|stored| stored.scaling == Scaling::Elements);
        let blocks = match stored {
            Some(stored) => Blocks::of(checkpoint.weight(name)?, stored.data_type),
            None => None,
        };
        mesh.pes.par_iter_mut().enumerate().try_for_each(|(index, pe)| {
            let Some((rows, inner)) = prepared.held(operand, index) else { return Ok(()) };
            let mut values = checkpoint.tile(name, part, (rows, inner))?;
            let values = match &blocks {
                // Converted to what is computed in before any of it moves.
                Some(blocks) => {
                    stored_tile((blocks, part), Scaling::Elements, &mut values, (rows, inner));
                    let computed = computed_with(&prepared.program, buffer).unwrap_or(buffer);
                    ring::rounded(prepared, computed, values.into_raw_vec_and_offset().0)
                }
                None => ring::rounded(prepared, buffer, values.into_raw_vec_and_offset().0),
            };
            pe.put(operand, Tile { rows: rows.clone(), inner: inner.clone(), values });
            Ok::<(), ValuesError>(())
        })?;
    }
    Ok(())
}

/// The buffer that the products of a moving matrix write.
fn computed_with(program: &Program, matrix: BufferId) -> Option<BufferId> {
    program.steps().find_map(|step| match &step.action {
        Action::Compute(compute) => match &compute.formula {
            Some(Formula::TileProduct { b, c, .. }) if b.buffer == matrix => Some(c.buffer),
            _ => None,
        },
        _ => None,
    })
}

/// The steps at the start of a list that compute, as far as they can go together: which weights the experts of a choice
/// have is known only when what comes before it is done.
fn computing(nodes: &[Node]) -> Vec<&Step> {
    let chooses = |formula: &Option<Formula>| {
        matches!(formula, Some(Formula::Product { chosen: Some(_), .. } | Formula::Bias { chosen: Some(_), .. }))
    };
    let together = nodes.iter().enumerate().map_while(|(number, node)| match node {
        Node::Step(step) => match &step.action {
            Action::Compute(compute) if number == 0 || !chooses(&compute.formula) => Some(step),
            _ => None,
        },
        _ => None,
    });
    together.collect()
}

enum Problem {
    Values(ValuesError),
    Program(String),
}

struct Running<'a, 'b> {
    prepared: &'a Prepared,
    mesh: &'a mut MeshState,
    tiles: &'a mut Tiles<'b>,
    layer: usize,
    /// Round of the innermost loop.
    round: u64,
    /// Whether that is a systolic one.
    systolic: bool,
}

impl Running<'_, '_> {
    fn node(&mut self, node: &Node) -> Result<(), Problem> {
        match node {
            Node::Step(step) => self.step(step),
            // Branches work on different processing elements or different buffers: their order does not matter.
            Node::Operator { body, .. } | Node::Sequence(body) | Node::Parallel(body) => {
                let mut rest = body.as_slice();
                while let Some(first) = rest.first() {
                    let together = computing(rest);
                    if together.is_empty() {
                        self.node(first)?;
                    } else {
                        self.compute(&together)?;
                    }
                    rest = rest.get(together.len().max(1)..).unwrap_or(&[]);
                }
                Ok(())
            }
            Node::Systolic { times, compute, transfers, after } => {
                let outer = (self.round, self.systolic);
                for round in 0..*times {
                    (self.round, self.systolic) = (round, true);
                    self.node(compute)?;
                    transfers.iter().chain(after).try_for_each(|step| self.step(step))?;
                }
                (self.round, self.systolic) = outer;
                Ok(())
            }
            Node::Repeat { times, body } => {
                let outer = (self.round, self.systolic);
                for round in 0..*times {
                    (self.round, self.systolic) = (round, false);
                    self.node(body)?;
                }
                (self.round, self.systolic) = outer;
                Ok(())
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Problem> {
        if matches!(step.action, Action::Compute(_)) {
            return self.compute(&[step]);
        }
        let pes = &mut self.mesh.pes;
        let moved = match (&step.action, ring::ring_shift(step)) {
            (_, Some(moved)) => ring::shift(self.prepared, pes, step, moved, !self.systolic),
            (Action::ChainReduce(chain), _) if chain.root == Root::Rotating => {
                ring::rotating(self.prepared, pes, step, chain, self.round)
            }
            _ => transfer(self.prepared, pes, step),
        };
        moved.map_err(Problem::Program)
    }

    /// Steps that compute, one processing element after the other: it executes all of them while its memory is at hand.
    fn compute(&mut self, steps: &[&Step]) -> Result<(), Problem> {
        let mut formulas = Vec::with_capacity(steps.len());
        for step in steps {
            let Action::Compute(compute) = &step.action else { continue };
            let Some(formula) = &compute.formula else {
                return Err(Problem::Program(format!("{:?} does not say what it computes with", compute.math)));
            };
            self.bring_weights(formula)?;
            formulas.push((step.region, formula));
        }
        let context = Context { prepared: self.prepared, tiles: self.tiles, layer: self.layer, round: self.round };
        let alike = formulas.into_iter().map(|(region, formula)| Ok((region, Alike::new(&context, formula)?)));
        let alike = alike.collect::<Result<Vec<_>, _>>().map_err(Problem::Program)?;
        let all = |pe: &mut PeState| {
            let (column, row) = (pe.column, pe.row);
            let mut here = alike.iter().filter(|(region, _)| region.seen(column, row).is_some());
            here.try_for_each(|(_, alike)| alike.at(pe))
        };
        self.mesh.pes.par_iter_mut().try_for_each(all).map_err(Problem::Program)
    }

    /// Weights that a formula needs and that are not in place yet.
    fn bring_weights(&mut self, formula: &Formula) -> Result<(), Problem> {
        let plain = |role, copy| TileName::plain(self.context().name(role, copy));
        match formula {
            Formula::Product { weight, y, chosen, bias, .. } => {
                let computed = self.context().rounding(y.buffer);
                let names = self.names(*weight, chosen.as_ref())?;
                let wanted = self.prepared.weights_of(*weight);
                for name in names {
                    self.tiles.cut(&name, wanted, computed).map_err(Problem::Values)?;
                    if bias.is_some() {
                        self.tiles.read_vector(&name, true).map_err(Problem::Values)?;
                    }
                }
                Ok(())
            }
            Formula::Bias { role, chosen, .. } => {
                let name = plain(*role, 0);
                let names = self.copies(name, self.prepared.program.region, chosen.as_ref())?;
                names.iter().try_for_each(|name| self.tiles.read_vector(name, true)).map_err(Problem::Values)
            }
            Formula::Score { corrected: Some(_), .. } => {
                let name = plain(Role::Router, 0);
                self.tiles.read_vector(&name, true).map_err(Problem::Values)
            }
            Formula::Rescale { operands, .. } => {
                let biases = operands.iter().filter_map(|scaled| scaled.bias);
                let names: Vec<TileName> = biases.map(|role| plain(role, 0)).collect();
                names.iter().try_for_each(|name| self.tiles.read_vector(name, true)).map_err(Problem::Values)
            }
            Formula::Rope { x, position, users, .. } => {
                let rows = self.prepared.field(*x).map_err(Problem::Program)?.rows.size;
                let last = rows.saturating_sub(1) / (*users).max(1);
                (*position..=position + last).for_each(|position| self.tiles.turn(position));
                Ok(())
            }
            Formula::TileProduct { bias: Some(role), .. } => {
                let name = plain(*role, 0);
                self.tiles.read_vector(&name, true).map_err(Problem::Values)
            }
            Formula::Maximum { sinks: Some(_), .. } => {
                let name = plain(Role::Sinks, 0);
                self.tiles.read_vector(&name, false).map_err(Problem::Values)
            }
            Formula::Convolve { .. } => {
                let name = plain(Role::Convolution, 0);
                self.tiles.read_vector(&name, false).map_err(Problem::Values)
            }
            Formula::StateGates { .. } => {
                let name = plain(Role::DecayRate, 0);
                self.tiles.read_vector(&name, false).map_err(Problem::Values)
            }
            Formula::RmsScale { gain: GainName { role, copy }, .. }
            | Formula::Gain { gain: GainName { role, copy }, .. }
            | Formula::AddVector { vector: GainName { role, copy }, .. }
            | Formula::GatedNorm { gain: GainName { role, copy }, .. } => {
                let name = plain(*role, *copy);
                self.tiles.read_vector(&name, false).map_err(Problem::Values)
            }
            _ => Ok(()),
        }
    }

    fn context(&self) -> Context<'_> {
        Context { prepared: self.prepared, tiles: self.tiles, layer: self.layer, round: self.round }
    }

    /// The tiles that a product uses.
    fn names(&self, weight: WeightId, chosen: Option<&Chosen>) -> Result<Vec<TileName>, Problem> {
        let Some(declared) = self.prepared.program.weight_of(weight) else { return Ok(Vec::new()) };
        let name = self.context().tile_name(declared, declared.copy);
        self.copies(name, declared.region, chosen)
    }

    /// A weight, or those of the experts that the places of a region have chosen.
    fn copies(&self, name: TileName, region: Region, chosen: Option<&Chosen>) -> Result<Vec<TileName>, Problem> {
        let Some(chosen) = chosen else { return Ok(vec![name]) };
        let inside = |pe: &&PeState| region.seen(pe.column, pe.row).is_some();
        let choice = self.mesh.pes.iter().find(inside).and_then(|pe| pe.tile(chosen.experts).ok());
        let choice = choice.ok_or_else(|| Problem::Program("nobody has chosen the experts".into()))?;
        let of = |pair: wafersim_program::Pair| {
            choice.row(pair.token as usize).get(pair.slot as usize).map(|expert| *expert as u64)
        };
        let mut copies: Vec<u64> = chosen.pairs.iter().filter_map(of).collect();
        copies.sort_unstable();
        copies.dedup();
        let of_copy = |copy| TileName { name: WeightName { copy, ..name.name }, ..name.clone() };
        Ok(copies.into_iter().map(of_copy).collect())
    }
}
