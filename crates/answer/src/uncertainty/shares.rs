//! How much of the variance of a figure each input causes: first-order Sobol indices, that is the variance of the
//! figure's mean given one input, over the variance of the figure.
//!
//! *Regression*: the draws are fitted by a sum of functions of one input each, a straight line and a parabola (of a
//! toggle a step). Inputs are independent, so that the variance of an input's function is its first-order variance, as
//! far as the sum describes the figure, and the whole is the sum of these and of what is left. It is taken where its
//! R2, adjusted for the number of its coefficients, is above [`ENOUGH`], and needs no run beside the draws.
//!
//! *Exchange*: a second set of draws B, and for each input i both sets with the column of that input exchanged, A_B
//! and B_A. With `f` less its mean, the variance of input i is the mean of `f(B) (f(A_B) - f(A))` (Saltelli et al.,
//! Computer Physics Communications 181, 2010, table 2, b) and of the same with A and B in each other's place; the whole
//! is half the mean of `(f(A) - f(B))^2`. So an input without effect gets 0, one that is alone gets 1, and the shares
//! of a sum of functions of one input each add up to 1, however few the draws are. It assumes nothing, and takes for
//! each draw twice as many runs more as there are inputs, and one.

use std::borrow::Cow;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::held::Set;
use super::inputs::{Input, Set as Draws, drawn};
use super::{Counted, Sampling};

/// The variance that a regression has to describe.
const ENOUGH: f64 = 0.95;

/// Draws that a regression needs for each of its coefficients.
const FOR_EACH: usize = 3;

/// What is left of a column where the columns before it say the same.
const NOTHING_LEFT: f64 = 1e-9;

/// Shares of the variance, and how they were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// How they were found.
    pub estimator: Estimator,
    /// Their sum: what is left to 1 is caused by inputs together.
    pub together: f64,
    /// Inputs that move the figure, largest share first. An estimate may be a little below 0 or above 1.
    #[serde(rename = "shares")]
    pub each: Vec<Share>,
}

/// How shares were found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Estimator {
    /// Nothing moves the figure: there are no shares.
    Nothing,
    /// A sum of functions of one input each.
    Regression {
        /// The part of the variance that it describes, adjusted for its coefficients.
        adjusted_r_squared: f64,
    },
    /// No other input moves the figure.
    Alone,
    /// By draws in which one input is exchanged.
    Exchange {
        /// Runs beside the draws.
        runs: u64,
    },
}

/// Of one input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The input: a parameter of the wafer file or a setting.
    pub parameter: Cow<'static, str>,
    /// The variance of the figure's mean given this input, over the variance of the figure.
    pub first_order: f64,
}

impl Shares {
    /// Of a figure that one input moves, or nothing.
    pub(super) fn alone(input: Option<&'static str>) -> Self {
        let each: Vec<Share> =
            input.map(|name| Share { parameter: name.into(), first_order: 1.0 }).into_iter().collect();
        let estimator = if each.is_empty() { Estimator::Nothing } else { Estimator::Alone };
        Self { estimator, together: each.iter().map(|share| share.first_order).sum(), each }
    }
}

/// A figure of one set of values.
pub(super) type Figure<'a> = &'a (dyn Fn(&[Set<'_>]) -> f64 + Sync);

/// The draws of set A with what came out, and the inputs that move it: by their places in a draw.
#[derive(Clone, Copy)]
pub(super) struct Drawings<'a> {
    pub(super) inputs: &'a [Input],
    pub(super) moving: &'a [usize],
    pub(super) values: &'a [Vec<f64>],
    /// The figure in each of them, and how it is found for others.
    pub(super) found: &'a [f64],
    pub(super) figure: Figure<'a>,
}

/// Shares of the variance of a figure.
pub(super) fn shares(drawings: Drawings<'_>, sampling: Sampling, counted: &Counted<'_>) -> Shares {
    let Drawings { inputs, moving, .. } = drawings;
    let (estimator, parts) = if moving.is_empty() || variance(drawings.found) <= 0.0 {
        (Estimator::Nothing, vec![0.0; moving.len()])
    } else if let Some(fitted) = regression(drawings).filter(|fitted| fitted.adjusted_r_squared > ENOUGH) {
        (Estimator::Regression { adjusted_r_squared: fitted.adjusted_r_squared }, fitted.parts)
    } else {
        let runs = runs(drawings.found.len(), moving.len());
        (Estimator::Exchange { runs }, exchange(drawings, sampling, counted))
    };
    let named = moving.iter().zip(&parts).filter_map(|(at, part)| {
        inputs.get(*at).map(|input| Share { parameter: input.name().into(), first_order: *part })
    });
    let mut each: Vec<Share> = named.collect();
    // A stable sort: equal shares stay in the order of the inputs.
    each.sort_by(|one, other| other.first_order.total_cmp(&one.first_order));
    Shares { estimator, together: each.iter().map(|share| share.first_order).sum(), each }
}

/// What a regression says.
struct Fitted {
    adjusted_r_squared: f64,
    /// Share of each moving input.
    parts: Vec<f64>,
}

/// A sum of straight lines and parabolas through the draws; nothing where they are too few.
fn regression(drawings: Drawings<'_>) -> Option<Fitted> {
    let Drawings { inputs, moving, values, found: speeds, .. } = drawings;
    let mut columns: Vec<Vec<f64>> = Vec::new();
    let mut owners = Vec::new();
    for (owner, at) in moving.iter().enumerate() {
        let line = scaled(values.iter().map(|draw| draw.get(*at).copied().unwrap_or(0.0)).collect());
        let parabola = inputs.get(*at).filter(|input| input.toggle().is_none());
        let parabola = parabola.map(|_| scaled(line.iter().map(|value| value * value).collect()));
        for column in std::iter::once(line).chain(parabola) {
            columns.push(column);
            owners.push(owner);
        }
    }
    if speeds.len() < FOR_EACH * (columns.len() + 1) {
        return None;
    }
    let mean = mean(speeds);
    let centred: Vec<f64> = speeds.iter().map(|speed| speed - mean).collect();
    let coefficients = least_squares(&columns, &centred);
    let mut functions = vec![vec![0.0; speeds.len()]; moving.len()];
    for ((column, owner), coefficient) in columns.iter().zip(&owners).zip(&coefficients) {
        for (sum, value) in functions[*owner].iter_mut().zip(column) {
            *sum += coefficient * value;
        }
    }
    let left: Vec<f64> =
        (0..speeds.len()).map(|draw| centred[draw] - functions.iter().map(|one| one[draw]).sum::<f64>()).collect();
    let (draws, used) = (speeds.len() as f64, columns.len() as f64);
    let left = variance(&left) * (draws - 1.0) / (draws - used - 1.0);
    let adjusted_r_squared = 1.0 - left / variance(speeds);
    // Inputs are independent: the variance is the sum of all parts. That of the draws has in addition what their few
    // values happen to have in common.
    let parts: Vec<f64> = functions.iter().map(|function| variance(function)).collect();
    let whole = parts.iter().sum::<f64>() + left;
    Some(Fitted { adjusted_r_squared, parts: parts.iter().map(|part| part / whole).collect() })
}

/// The coefficients of a sum of columns that comes nearest to `target`, all of them with the mean 0: by the modified
/// Gram-Schmidt process. A column that others say already gets 0.
fn least_squares(columns: &[Vec<f64>], target: &[f64]) -> Vec<f64> {
    let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
    let mut directions: Vec<(Vec<f64>, f64)> = Vec::with_capacity(columns.len());
    // Of each column, its parts along the directions before it.
    let mut along: Vec<Vec<f64>> = Vec::with_capacity(columns.len());
    // Takes from `rest` its parts along all directions.
    let parted = |rest: &mut [f64], directions: &[(Vec<f64>, f64)]| -> Vec<f64> {
        let part = |(direction, square): &(Vec<f64>, f64)| {
            let part = if *square > 0.0 { dot(direction, rest) / square } else { 0.0 };
            rest.iter_mut().zip(direction).for_each(|(value, step)| *value -= part * step);
            part
        };
        directions.iter().map(part).collect()
    };
    for column in columns {
        let mut rest = column.clone();
        let parts = parted(&mut rest, &directions);
        let square = dot(&rest, &rest);
        let is_new = square > NOTHING_LEFT * dot(column, column);
        directions.push((rest, if is_new { square } else { 0.0 }));
        along.push(parts);
    }
    let mut coefficients = parted(&mut target.to_vec(), &directions);
    for last in (0..coefficients.len()).rev() {
        let known = coefficients[last];
        for (coefficient, part) in coefficients.iter_mut().zip(&along[last]) {
            *coefficient -= known * part;
        }
    }
    coefficients
}

/// A column with the mean 0 and the variance 1; zeros where nothing varies.
fn scaled(column: Vec<f64>) -> Vec<f64> {
    let (mean, deviation) = (mean(&column), variance(&column).sqrt());
    column.into_iter().map(|value| if deviation > 0.0 { (value - mean) / deviation } else { 0.0 }).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Over all draws.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / values.len().max(1) as f64
}

/// By draws in which one input is exchanged.
fn exchange(drawings: Drawings<'_>, sampling: Sampling, counted: &Counted<'_>) -> Vec<f64> {
    let Drawings { inputs, moving, values: first, found: of_first, figure } = drawings;
    counted.expect(runs(of_first.len(), moving.len()));
    let run = |draw: &[f64]| {
        let found = figure(&inputs.iter().zip(draw.iter().copied()).collect::<Vec<_>>());
        counted.advance();
        found
    };
    let second: Vec<Vec<f64>> =
        (0..first.len() as u64).map(|draw| drawn(inputs, sampling.seed, Draws::B, draw)).collect();
    let of_second: Vec<f64> = second.par_iter().map(|draw| run(draw)).collect();
    let middle = f64::midpoint(mean(of_first), mean(&of_second));
    let squares: Vec<f64> = of_first.iter().zip(&of_second).map(|(one, other)| (one - other).powi(2)).collect();
    let whole = mean(&squares) / 2.0;
    let parts = moving.iter().map(|at| {
        let products: Vec<f64> = (0..first.len())
            .into_par_iter()
            .map(|draw| {
                let (mut one, mut other) = (first[draw].clone(), second[draw].clone());
                std::mem::swap(&mut one[*at], &mut other[*at]);
                (of_second[draw] - middle) * (run(&one) - of_first[draw])
                    + (of_first[draw] - middle) * (run(&other) - of_second[draw])
            })
            .collect();
        if whole > 0.0 { mean(&products) / 2.0 / whole } else { 0.0 }
    });
    parts.collect()
}

/// Runs that an exchange needs beside the draws.
const fn runs(draws: usize, inputs: usize) -> u64 {
    draws as u64 * (2 * inputs as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_squares_finds_the_coefficients_of_an_exact_sum() {
        let columns: Vec<Vec<f64>> =
            [1.0, 2.0, 3.0].map(|power: f64| scaled((0..50).map(|at| f64::from(at).powf(power)).collect())).to_vec();
        let target: Vec<f64> =
            (0..50).map(|at| 3.0 * columns[0][at] - 2.0 * columns[1][at] + 0.5 * columns[2][at]).collect();
        for (found, expected) in least_squares(&columns, &target).iter().zip([3.0, -2.0, 0.5]) {
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn a_column_that_says_nothing_new_gets_nothing() {
        let line = scaled((0..20).map(f64::from).collect());
        let twice: Vec<f64> = line.iter().map(|value| 2.0 * value).collect();
        let found = least_squares(&[line.clone(), twice, vec![0.0; 20]], &line);
        assert!((found[0] - 1.0).abs() < 1e-12 && found[1..] == [0.0, 0.0], "{found:?}");
    }
}
