//! Leave one group out: each group of measured rows predicted with constants that know nothing of it.
//!
//! [`CONSTANTS`] says which constant of a wafer file was taken from which rows. A group's constants are found again by
//! least squares over the relative errors of all other rows of the machine that they have an influence on. Where no
//! other row knows a constant, each row of the group is predicted with a constant found from the rest of the group;
//! where a row is the only one that knows its constant, it cannot be predicted without itself, and is named.
//!
//! Nothing else is found again: counts of operations and rates that were published as such stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;
use serde::Serialize;
use wafersim_cost::{Rates, View, cost};
use wafersim_spec::Wafer;
use wafersim_spec::wafer::{DECLARATIONS, Declaration, Key, RateSet};

use crate::measurements::Measurement;
use crate::validate::{MeasuredProgram, measured_program, predict};

/// A constant of a wafer file that was taken from rows of the built-in table: fitted to them, or read off them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constant {
    /// The wafer.
    pub device: &'static str,
    /// The constant.
    pub key: Key,
    /// The rate set in which these rows are judged.
    pub rates: RateSet,
    /// What the names of the rows begin with.
    pub rows: &'static str,
}

const fn constant(device: &'static str, key: Key, rates: RateSet, rows: &'static str) -> Constant {
    Constant { device, key, rates, rows }
}

/// Which constant was taken from which rows. The wafer files and docs/src/validation.md say the same in words.
pub const CONSTANTS: [Constant; 23] = [
    constant("wse3", Key::HopLatency, RateSet::Silicon, "message_"),
    constant("wse3", Key::TaskActivation, RateSet::Silicon, "message_"),
    constant("wse3", Key::WaveletCost, RateSet::Silicon, "word_cost_hw"),
    constant("wse3", Key::WaveletCost, RateSet::VendorSimulator, "word_cost_sim"),
    constant("wse3", Key::CombineLatency, RateSet::Silicon, "mesh_gemv_1x1_"),
    constant("wse3", Key::Copy16, RateSet::Silicon, "vector_copy_fp16_hw"),
    constant("wse3", Key::Copy16, RateSet::VendorSimulator, "vector_copy_fp16_sim"),
    constant("wse3", Key::Copy32, RateSet::Silicon, "vector_copy_fp32_hw"),
    constant("wse3", Key::Copy32, RateSet::VendorSimulator, "vector_copy_fp32_sim"),
    constant("wse3", Key::Fma16, RateSet::Silicon, "vector_fma_fp16_hw"),
    constant("wse3", Key::Fma16, RateSet::VendorSimulator, "vector_fma_fp16_sim"),
    constant("wse3", Key::Fma32, RateSet::Silicon, "vector_fma_fp32_"),
    constant("wse3", Key::VectorLatency, RateSet::VendorSimulator, "add16_"),
    constant("wse3", Key::Add16, RateSet::VendorSimulator, "add16_"),
    constant("wse3", Key::TileColumn, RateSet::Silicon, "mesh_gemm_step_"),
    constant("wse3", Key::TileIssue, RateSet::Silicon, "mesh_gemm_step_"),
    constant("wse3", Key::TileWord, RateSet::Silicon, "mesh_gemm_step_"),
    constant("wse3", Key::LibraryCall, RateSet::Silicon, "summa_c2d_"),
    constant("wse3", Key::LibraryReduce, RateSet::Silicon, "chain_gemv_"),
    constant("wse2", Key::VectorSetup, RateSet::VendorSimulator, "pe_gemv_wse2_"),
    constant("wse2", Key::MapColumn, RateSet::VendorSimulator, "pe_gemv_wse2_"),
    constant("wse2", Key::MapWave32, RateSet::VendorSimulator, "pe_gemv_wse2_"),
    constant("wse2", Key::MapWave16, RateSet::Silicon, "mesh_gemv_wse2_"),
];

/// A constant, as the wafer file has it and as the other rows would have it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Refitted {
    /// `group.name` in the wafer file.
    pub constant: &'static str,
    /// What the file says.
    pub value: f64,
    /// The smallest that was found without the group, or without one row after the other.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

/// A group that was predicted without its own rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HeldOut {
    /// Kernel.
    pub kernel: String,
    /// Machine.
    pub device: String,
    /// Rate set.
    pub evidence: RateSet,
    /// Rows that were predicted.
    pub rows: usize,
    /// What was found again; empty where no constant was taken from the group.
    pub constants: Vec<Refitted>,
    /// Rows outside of the group that the constants were found from.
    pub others: usize,
    /// Whether other rows of the group helped to predict one of them.
    pub row_by_row: bool,
    /// Rows that alone know their constant.
    pub only_themselves: Vec<String>,
    /// Mean of the absolute errors with the constants of the file, in per cent.
    pub mape_percent: f64,
    /// The same with constants that know nothing of the row.
    pub held_out_percent: f64,
    /// The error of largest absolute value with the constants of the file.
    pub worst_percent: f64,
    /// The same with constants that know nothing of the row.
    pub held_out_worst_percent: f64,
}

/// All groups, each predicted without its own rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LeaveOut {
    /// Rows that were predicted.
    pub rows: usize,
    /// Mean of the absolute errors of these rows with the constants of the files, in per cent.
    pub mape_percent: f64,
    /// The same with constants that know nothing of the row.
    pub held_out_percent: f64,
    /// By kernel, machine and rate set.
    pub groups: Vec<HeldOut>,
}

/// Predicts each group of rows with constants that were found without it. Rows that cannot be predicted are left out.
pub fn leave_out(rows: &[Measurement], wafers: &BTreeMap<String, Wafer>) -> LeaveOut {
    let rows: Vec<Row<'_>> = rows.iter().filter_map(|row| Row::new(row, wafers)).collect();
    let mut groups: BTreeMap<(&str, &str, RateSet), Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let measured = row.measured;
        groups.entry((&measured.kernel, &measured.device, measured.rate_set())).or_default().push(index);
    }
    let groups: Vec<Vec<usize>> = groups.into_values().collect();
    let groups: Vec<(HeldOut, Errors)> =
        groups.par_iter().filter_map(|group| Group::new(&rows, group).held_out()).collect();
    let all = |of: fn(&Errors) -> &Vec<f64>| {
        mean(&groups.iter().flat_map(|(_, errors)| of(errors)).copied().collect::<Vec<_>>())
    };
    LeaveOut {
        rows: groups.iter().map(|(group, _)| group.rows).sum(),
        mape_percent: all(|errors| &errors.as_it_is),
        held_out_percent: all(|errors| &errors.held_out),
        groups: groups.into_iter().map(|(group, _)| group).collect(),
    }
}

/// Absolute errors of the rows of a group, in per cent.
struct Errors {
    as_it_is: Vec<f64>,
    held_out: Vec<f64>,
}

fn mean(errors: &[f64]) -> f64 {
    errors.iter().sum::<f64>() / errors.len().max(1) as f64
}

fn worst(errors: &[f64]) -> f64 {
    errors.iter().copied().fold(0.0, f64::max)
}

/// A row with its wafer, and its program where it is one: that does not depend on the constants.
struct Row<'a> {
    measured: &'a Measurement,
    wafer: &'a Wafer,
    program: Option<MeasuredProgram>,
    /// With the constants of the file.
    predicted: f64,
}

impl<'a> Row<'a> {
    fn new(measured: &'a Measurement, wafers: &'a BTreeMap<String, Wafer>) -> Option<Self> {
        let wafer = wafers.get(&measured.device)?;
        let predicted = predict(measured, wafer).ok()?;
        Some(Self { measured, wafer, program: measured_program(measured, wafer).ok(), predicted })
    }

    /// The relative error with other constants.
    fn error(&self, values: &[(Known, f64)]) -> f64 {
        let wafer = changed(self.wafer, values);
        let predicted = match &self.program {
            Some(MeasuredProgram { program, rounds }) => {
                let rates = Rates::new(&wafer, self.measured.rate_set(), View::Achieved);
                cost(program, &rates).total().0 / *rounds as f64
            }
            None => predict(self.measured, &wafer).unwrap_or(self.predicted),
        };
        predicted / self.measured.value - 1.0
    }

    fn is_from(&self, constant: &Constant) -> bool {
        let measured = self.measured;
        measured.device == constant.device
            && measured.rate_set() == constant.rates
            && measured.id.starts_with(constant.rows)
    }

    /// Whether a constant changes what is predicted: by more than a hundredth of its own change.
    fn knows(&self, constant: &Known) -> bool {
        let value = constant.value(self.wafer);
        let step = STEP * constant.scale(self.wafer);
        let change = self.error(&[(*constant, value + step)]) - self.error(&[]);
        change.abs() > STEP / 100.0
    }
}

/// A constant in a rate set.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    key: Key,
    rates: RateSet,
}

/// Relative change of a constant for a derivative.
const STEP: f64 = 1e-3;

impl Known {
    fn declaration(&self) -> &'static Declaration {
        &DECLARATIONS[self.key as usize]
    }

    fn value(&self, wafer: &Wafer) -> f64 {
        wafer.value(self.key, self.rates)
    }

    /// In what steps it is looked for.
    fn scale(&self, wafer: &Wafer) -> f64 {
        self.value(wafer).abs().max(1.0)
    }
}

/// The wafer with other values of some constants, each in its rate set alone, unless both have one figure.
fn changed(wafer: &Wafer, values: &[(Known, f64)]) -> Wafer {
    wafer.map_values(|declaration, figure| {
        let of = |(known, _): &&(Known, f64)| {
            known.key == declaration.key && figure == wafer.figure_in(known.key, known.rates)
        };
        values.iter().find(of).map_or(figure.value, |(_, value)| *value)
    })
}

/// A group of rows among all of the table.
struct Group<'a> {
    rows: &'a [Row<'a>],
    own: &'a [usize],
    constants: Vec<Known>,
    /// Rows of the machine outside of the group.
    outside: Vec<usize>,
}

impl<'a> Group<'a> {
    fn new(rows: &'a [Row<'a>], own: &'a [usize]) -> Self {
        let taken = CONSTANTS.iter().filter(|constant| own.iter().any(|row| rows[*row].is_from(constant)));
        let constants = taken.map(|constant| Known { key: constant.key, rates: constant.rates }).collect();
        let device = own.first().map(|row| &rows[*row].measured.device);
        let is_other = |row: &usize| Some(&rows[*row].measured.device) == device && !own.contains(row);
        Self { rows, own, constants, outside: (0..rows.len()).filter(is_other).collect() }
    }

    /// The rows that know one of some constants.
    fn knowing(&self, rows: &[usize], constants: &[Known]) -> Vec<usize> {
        rows.iter().copied().filter(|row| constants.iter().any(|constant| self.rows[*row].knows(constant))).collect()
    }

    fn held_out(&self) -> Option<(HeldOut, Errors)> {
        let first = self.rows.get(*self.own.first()?)?;
        let unknown_outside: Vec<Known> = self
            .constants
            .iter()
            .filter(|constant| self.knowing(&self.outside, &[**constant]).is_empty())
            .copied()
            .collect();
        let mut found: BTreeMap<Vec<usize>, Vec<f64>> = BTreeMap::new();
        let mut errors = Errors { as_it_is: Vec::new(), held_out: Vec::new() };
        let (mut others, mut row_by_row, mut only_themselves) = (BTreeSet::new(), false, Vec::new());
        for index in self.own {
            let row = &self.rows[*index];
            let of_row: Vec<Known> = self.constants.iter().filter(|constant| row.knows(constant)).copied().collect();
            let alone = of_row.iter().any(|constant| unknown_outside.contains(constant));
            let mut from = self.outside.clone();
            if alone {
                from.extend(self.own.iter().filter(|other| *other != index));
            }
            let from = self.knowing(&from, &self.constants);
            if of_row.iter().any(|constant| self.knowing(&from, &[*constant]).is_empty()) {
                only_themselves.push(row.measured.id.clone());
                continue;
            }
            row_by_row |= alone;
            others.extend(from.iter().filter(|other| !self.own.contains(other)).copied());
            let values = found.entry(from.clone()).or_insert_with(|| self.found(&from));
            let values: Vec<(Known, f64)> = self.constants.iter().copied().zip(values.iter().copied()).collect();
            errors.as_it_is.push(100.0 * row.error(&[]).abs());
            errors.held_out.push(100.0 * row.error(&values).abs());
        }
        let constants = self.constants.iter().enumerate().map(|(at, known)| {
            let of = |fold: fn(f64, f64) -> f64, start: f64| {
                found.values().filter_map(|values| values.get(at)).copied().fold(start, fold)
            };
            let (low, high) = (of(f64::min, f64::INFINITY), of(f64::max, f64::NEG_INFINITY));
            let value = known.value(first.wafer);
            let (low, high) = if low.is_finite() { (low, high) } else { (value, value) };
            Refitted { constant: known.declaration().path, value, low, high }
        });
        let held_out = HeldOut {
            kernel: first.measured.kernel.clone(),
            device: first.measured.device.clone(),
            evidence: first.measured.rate_set(),
            rows: errors.held_out.len(),
            constants: constants.collect(),
            others: others.len(),
            row_by_row,
            only_themselves,
            mape_percent: mean(&errors.as_it_is),
            held_out_percent: mean(&errors.held_out),
            worst_percent: worst(&errors.as_it_is),
            held_out_worst_percent: worst(&errors.held_out),
        };
        Some((held_out, errors))
    }

    /// The group's constants by least squares over the relative errors of some rows; those that none of them knows
    /// stay.
    ///
    /// Levenberg's and Marquardt's method, from the middle between what the wafer file holds for possible.
    fn found(&self, from: &[usize]) -> Vec<f64> {
        let Some(wafer) = from.first().map(|row| self.rows[*row].wafer) else {
            return self
                .constants
                .iter()
                .filter_map(|known| Some(known.value(self.rows[*self.own.first()?].wafer)))
                .collect();
        };
        let known: Vec<bool> =
            self.constants.iter().map(|constant| !self.knowing(from, &[*constant]).is_empty()).collect();
        let start = |(constant, known): (&Known, &bool)| {
            let figure = wafer.figure_in(constant.key, constant.rates);
            if *known { (figure.low + figure.high) / 2.0 } else { figure.value }
        };
        let mut values: Vec<f64> = self.constants.iter().zip(&known).map(start).collect();
        let scales: Vec<f64> = self.constants.iter().map(|constant| constant.scale(wafer)).collect();
        let errors = |values: &[f64]| -> Vec<f64> {
            let with: Vec<(Known, f64)> = self.constants.iter().copied().zip(values.iter().copied()).collect();
            from.iter().map(|row| self.rows[*row].error(&with)).collect()
        };
        let squares = |errors: &[f64]| errors.iter().map(|error| error * error).sum::<f64>();
        let mut now = errors(&values);
        let mut damping = 1e-3;
        for _ in 0..MOST_STEPS {
            let slopes: Vec<Vec<f64>> = (0..values.len())
                .map(|at| {
                    if !known[at] {
                        return vec![0.0; now.len()];
                    }
                    let mut moved = values.clone();
                    moved[at] += STEP * scales[at];
                    errors(&moved).iter().zip(&now).map(|(after, before)| (after - before) / STEP).collect()
                })
                .collect();
            let Some(step) = step(&slopes, &now, damping) else { break };
            let bounded = |(at, value): (usize, &f64)| {
                let Declaration { smallest, largest, .. } = *self.constants[at].declaration();
                (value + step[at] * scales[at]).clamp(smallest, largest)
            };
            let moved: Vec<f64> = values.iter().enumerate().map(bounded).collect();
            let then = errors(&moved);
            if squares(&then) < squares(&now) {
                let gained = 1.0 - squares(&then) / squares(&now);
                (values, now, damping) = (moved, then, damping / 10.0);
                if gained < 1e-9 {
                    break;
                }
            } else {
                damping *= 10.0;
                if damping > 1e9 {
                    break;
                }
            }
        }
        values
    }
}

/// Most steps of a search for constants.
const MOST_STEPS: usize = 40;

/// The step that the normal equations want, damped on their diagonal.
fn step(slopes: &[Vec<f64>], errors: &[f64], damping: f64) -> Option<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut matrix: Vec<Vec<f64>> =
        slopes.iter().map(|row| slopes.iter().map(|column| dot(row, column)).collect()).collect();
    let mut right: Vec<f64> = slopes.iter().map(|row| -dot(row, errors)).collect();
    for (at, row) in matrix.iter_mut().enumerate() {
        // A constant that nothing knows stays where it is.
        row[at] = if row[at] > 0.0 { row[at] * (1.0 + damping) } else { 1.0 };
    }
    // Gauss, with the largest of each column as its pivot.
    let size = right.len();
    for column in 0..size {
        let pivot = (column..size).max_by(|a, b| matrix[*a][column].abs().total_cmp(&matrix[*b][column].abs()))?;
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        if matrix[column][column].abs() < f64::MIN_POSITIVE {
            return None;
        }
        for row in column + 1..size {
            let factor = matrix[row][column] / matrix[column][column];
            let (above, below) = matrix.split_at_mut(row);
            for (value, pivot) in below[0].iter_mut().zip(&above[column]).skip(column) {
                *value -= factor * pivot;
            }
            right[row] -= factor * right[column];
        }
    }
    let mut solution = vec![0.0; size];
    for row in (0..size).rev() {
        let rest: f64 = (row + 1..size).map(|at| matrix[row][at] * solution[at]).sum();
        solution[row] = (right[row] - rest) / matrix[row][row];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_solve_the_normal_equations() {
        // Errors 1 + 2 a - b, 3 + a, 2 - b at a = b = 0: least squares by hand.
        let slopes = [vec![2.0, 1.0, 0.0], vec![-1.0, 0.0, -1.0]];
        let found = step(&slopes, &[1.0, 3.0, 2.0], 0.0).unwrap();
        // 5 a - 2 b = -5, -2 a + 2 b = 3.
        assert!((found[0] - -2.0 / 3.0).abs() < 1e-12 && (found[1] - 5.0 / 6.0).abs() < 1e-12, "{found:?}");
    }
}
