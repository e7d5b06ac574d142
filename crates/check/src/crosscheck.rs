//! Closed form against fabric: a set of kernels on a set of grids, on machines as measured.
//!
//! A case is a kernel on a grid of a device. Both readings get the same program and the same times of vector work, so
//! that what differs is what moves: ramps, hops, queues, who waits for whom.

mod kernels;
mod mapped;

use std::cmp::Ordering;

use rayon::prelude::*;
use serde::Serialize;
use wafersim_cost::{Rates, View, cost, formula};
use wafersim_fabric::circuit;
use wafersim_mapping::Recipe;
use wafersim_spec::Wafer;
use wafersim_spec::wafer::RateSet;

pub use kernels::{CheckedKernel, Extent};

/// Deviations above this are beyond what is claimed, in per cent.
pub const LIMIT_PERCENT: f64 = 3.0;

/// A grid of processing elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Grid {
    /// Columns.
    pub columns: u64,
    /// Rows.
    pub rows: u64,
}

impl Grid {
    /// The grids of a full cross-check, square and oblong.
    pub const ALL: [Self; 10] = [
        Self { columns: 8, rows: 8 },
        Self { columns: 16, rows: 16 },
        Self { columns: 24, rows: 9 },
        Self { columns: 48, rows: 64 },
        Self { columns: 120, rows: 120 },
        Self { columns: 200, rows: 90 },
        Self { columns: 240, rows: 240 },
        Self { columns: 360, rows: 180 },
        Self { columns: 360, rows: 360 },
        Self { columns: 720, rows: 720 },
    ];
}

impl std::fmt::Display for Grid {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}x{}", self.columns, self.rows)
    }
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct Cases {
    /// Machines.
    pub wafers: Vec<Wafer>,
    /// Kernels.
    pub kernels: Vec<CheckedKernel>,
    /// Grids.
    pub grids: Vec<Grid>,
    /// How far kernels go that take as many rounds as the grid has columns.
    pub extent: Extent,
    /// The mapping that layers are written by.
    pub mapping: Recipe,
}

/// A kernel on a grid of a device, both ways.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CheckedCase {
    /// Name of the wafer.
    pub wafer: String,
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Columns and rows.
    pub grid: Grid,
    /// Cycles in closed form.
    pub closed_form_cycles: f64,
    /// Cycles on the fabric; nothing where it cannot be run.
    pub cycles: Option<f64>,
    /// Fabric over closed form, less one, in per cent.
    pub deviation_percent: Option<f64>,
    /// Wavelets times links crossed.
    pub wavelet_hops: Option<u64>,
    /// Which engine ran it.
    pub engine: Option<&'static str>,
    /// Why it cannot be run.
    pub problem: Option<String>,
}

impl CheckedCase {
    /// The size of the deviation; nothing where there is none.
    fn size(&self) -> Option<f64> {
        self.deviation_percent.map(f64::abs).filter(|size| size.is_finite())
    }
}

/// All cases.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Crosscheck {
    /// Deviations above this are beyond what is claimed, in per cent.
    pub limit_percent: f64,
    /// Largest deviation either way, in per cent; nothing where no case ran.
    pub worst_percent: Option<f64>,
    /// Cases beyond the limit.
    pub beyond_limit: usize,
    /// Cases that the asked extent leaves out.
    pub left_out: usize,
    /// The cases: wafer by wafer, grid by grid, in the order that was asked for.
    pub cases: Vec<CheckedCase>,
}

impl Crosscheck {
    /// The case that deviates most; the first on a tie.
    pub fn worst(&self) -> Option<&CheckedCase> {
        let order = |one: f64, other: f64| one.partial_cmp(&other).unwrap_or(Ordering::Equal);
        let sized = self.cases.iter().filter_map(|case| Some((case, case.size()?)));
        let worst = sized.reduce(|best, case| if order(case.1, best.1) == Ordering::Greater { case } else { best });
        worst.map(|(case, _)| case)
    }
}

/// One kernel on one grid of a wafer.
struct Case<'a> {
    wafer: &'a Wafer,
    kernel: CheckedKernel,
    grid: Grid,
}

impl Cases {
    fn all(&self) -> Vec<Case<'_>> {
        let grids = self.wafers.iter().flat_map(|wafer| self.grids.iter().map(move |grid| (wafer, *grid)));
        grids
            .flat_map(|(wafer, grid)| self.kernels.iter().map(move |kernel| Case { wafer, kernel: *kernel, grid }))
            .collect()
    }

    /// Cases that will run.
    pub fn count(&self) -> usize {
        self.all().iter().filter(|case| case.kernel.is_within(case.grid, self.extent)).count()
    }
}

/// Runs all cases in parallel; `done` is called once per case, from any thread. The order of the rows does not depend
/// on threads. A case that cannot be run is a row that says why.
pub fn crosscheck(cases: &Cases, done: impl Fn() + Sync) -> Crosscheck {
    let all = cases.all();
    let asked: Vec<&Case<'_>> = all.iter().filter(|case| case.kernel.is_within(case.grid, cases.extent)).collect();
    let rows: Vec<CheckedCase> = asked
        .par_iter()
        .with_max_len(1)
        .map(|case| {
            let row = check(case, &cases.mapping);
            done();
            row
        })
        .collect();
    let mut found = Crosscheck {
        limit_percent: LIMIT_PERCENT,
        worst_percent: None,
        beyond_limit: rows.iter().filter(|row| row.size().is_some_and(|size| size > LIMIT_PERCENT)).count(),
        left_out: all.len() - rows.len(),
        cases: rows,
    };
    found.worst_percent = found.worst().and_then(CheckedCase::size);
    found
}

fn check(&Case { wafer, kernel, grid }: &Case<'_>, mapping: &Recipe) -> CheckedCase {
    let rates = Rates::new(wafer, RateSet::Silicon, View::Achieved);
    let mut row = CheckedCase {
        wafer: wafer.name.clone(),
        kernel: kernel.name(),
        grid,
        closed_form_cycles: 0.0,
        cycles: None,
        deviation_percent: None,
        wavelet_hops: None,
        engine: None,
        problem: None,
    };
    let program = match kernel.program(grid, wafer, mapping) {
        Ok(program) => program,
        Err(problem) => return CheckedCase { problem: Some(problem), ..row },
    };
    let closed = cost(&program, &rates).total().0;
    row.closed_form_cycles = closed;
    let lowered = circuit::lower(&program, wafer, RateSet::Silicon, &|work| formula::work(work, &rates));
    match lowered.and_then(|lowered| circuit::run(&lowered, |_| ())) {
        Ok(outcome) => {
            row.cycles = Some(outcome.cycles.0);
            row.deviation_percent = (closed > 0.0).then(|| (outcome.cycles.0 / closed - 1.0) * 100.0);
            row.wavelet_hops = Some(outcome.tally.wavelet_hops);
            row.engine = Some(outcome.engine.name());
        }
        Err(error) => row.problem = Some(error.to_string()),
    }
    row
}
