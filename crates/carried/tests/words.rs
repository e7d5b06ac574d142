//! The collectives of trees, staggered roots, scatters and gathers: closed form against fabric, wavelets against the
//! numeric reading bit for bit, and the numeric reading against a plain sum.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::{Case, data_types, matrix};
use proptest::prelude::*;
use wafersim_cost::{Rates, View, cost, formula};
use wafersim_fabric::circuit;
use wafersim_program::collective::{self, Along, Level, Neighbours, Sharing, SplitRoots, Tree};
use wafersim_program::pieces::ring_words;
use wafersim_program::{
    Axis, BufferId, Digit, Dimension, Field, Layout, Operand, Program, ReduceOperator, Region, Root, Spread, Stagger,
};
use wafersim_spec::wafer::{Key, RateSet};
use wafersim_spec::{DataType, Wafer};

/// How far closed form and fabric may be apart: 5 %. Most are within 3 %, as the kernels of `simctl crosscheck`; rings
/// of many members whose pieces take several turns were seen 4.3 % apart (docs/src/kernels.md).
const LIMIT: f64 = 0.05;
/// Cycles that a single short step may be apart, where 3 % of it are less.
const FEW: f64 = 3.0;

/// Holds the two readings of a program together on both machines; `written` gets the depth of the machine's queues.
fn readings_agree(written: impl Fn(u64) -> Program) -> Result<(), TestCaseError> {
    for name in ["wse2", "wse3"] {
        let wafer = Wafer::builtin(name).unwrap();
        let program = &written(queue(&wafer));
        let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
        let closed = cost(program, &rates).total().0;
        let lowered = circuit::lower(program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates));
        let lowered = lowered.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let fabric = circuit::run(&lowered, |_| ()).map_err(|error| TestCaseError::fail(error.to_string()))?.cycles.0;
        prop_assert!(
            (fabric - closed).abs() <= (LIMIT * closed).max(FEW),
            "{name}: fabric {fabric}, closed form {closed}"
        );
    }
    Ok(())
}

fn queue(wafer: &Wafer) -> u64 {
    wafer.value(Key::InputQueue, RateSet::Silicon) as u64
}

/// A program of one buffer of `width` numbers, which every processing element holds partial sums of.
fn partials(region: Region, width: u64, data_type: DataType) -> (Program, BufferId) {
    let mut program = Program::new("words", region);
    let field = Field::new("payload", Dimension::whole(1), vec![Dimension::whole(width)]);
    let payload = program.laid_buffer("payload", data_type, Layout { region, fields: vec![field] });
    (program, payload)
}

/// Sums along x of what the processing elements of a row begin with.
fn plain_sums(case: &Case, row: u64) -> Vec<f64> {
    let of_row = case.before.pes.iter().filter(|pe| pe.row == row);
    let tiles = of_row.map(|pe| &pe.buffers[0][0].values);
    tiles.fold(Vec::new(), |mut sums, values| {
        sums.resize(values.len(), 0.0);
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
        sums
    })
}

fn near(found: &[f32], wanted: &[f64]) -> bool {
    found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(found, wanted)| (f64::from(*found) - wanted).abs() < 1e-4)
}

/// A tree over the rows of a region, with an index for each level's root and perhaps another one for each row.
fn tree(line: u64, sizes: &[u64], roots: &[u64], stagger: Option<(u64, u64)>) -> Option<Tree> {
    let tree = Tree::of_sizes(line, sizes).ok()?;
    let at = |(level, root): (&Level, &u64)| Level { root: Root::At(root % level.members), ..*level };
    let levels =
        if roots.is_empty() { tree.levels().to_vec() } else { tree.levels().iter().zip(roots).map(at).collect() };
    let tree = Tree::new(line, levels).ok()?;
    let Some((first, step)) = stagger else { return Some(tree) };
    let top = tree.levels().last().map_or(1, |level| level.members);
    let first = first % top;
    tree.with_root(Root::Staggered(Stagger { first, step, roots: (top - first).div_ceil(2) })).ok()
}

/// A payload of `width` numbers of which the places along an axis hold the parts of a digit.
fn shared(program: &mut Program, width: u64, data_type: DataType, digit: Digit) -> BufferId {
    let region = program.region;
    let field = Field::new("payload", Dimension::whole(1), vec![Dimension::split(width, digit)]);
    program.laid_buffer("shared", data_type, Layout { region, fields: vec![field] })
}

/// The pieces of a payload that neighbours own, `stride` apart, the first of them at a place along the axis.
fn owned(program: &mut Program, width: u64, data_type: DataType, owners: Owned) -> BufferId {
    let Owned { axis, first, stride, roots } = owners;
    let region = program.region;
    let span = (roots - 1) * stride + 1;
    let region = match axis {
        Axis::X => Region::new(region.x + first, region.y, span, region.rows),
        Axis::Y => Region::new(region.x, region.y + first, region.columns, span),
    };
    let spread = Spread::Meet(vec![
        Spread::Split(Digit::blocks(axis, stride, roots)),
        Spread::At { digit: Digit::inside(axis, stride), number: 0 },
    ]);
    let field = Field::new("payload", Dimension::whole(1), vec![Dimension { size: width, spread }]);
    program.laid_buffer("owned", data_type, Layout { region, fields: vec![field] })
}

/// Who owns pieces.
#[derive(Debug, Clone, Copy)]
struct Owned {
    axis: Axis,
    first: u64,
    stride: u64,
    roots: u64,
}

fn oblong(axis: Axis, along: u64, across: u64) -> Region {
    match axis {
        Axis::X => Region::new(2, 1, along, across),
        Axis::Y => Region::new(2, 1, across, along),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_are_carried(
        columns in 1u64..30, rows in 1u64..4, along_x in any::<bool>(), sizes in prop::collection::vec(2u64..6, 0..3),
        roots in prop::collection::vec(0u64..6, 6..7), middle in any::<bool>(), stagger in prop::option::of((0u64..5, 0u64..4)),
        width in 1u64..9, data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        let (across, region) = (rows, oblong(axis, columns, rows));
        let Some(tree) = tree(columns, &sizes, if middle { &[] } else { &roots }, stagger) else { return Ok(()) };
        let (mut program, payload) = partials(region, width, data_type);
        let nodes = collective::tree_reduce(&mut program, region, &tree, Along { axis, payload, operator: ReduceOperator::Add });
        program.push("reduce", nodes);
        let case = Case::new(program, "payload", data_type, matrix(2, 2, 1), seed).with_partials(seed);
        let agreement = case.agreement()?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
        if along_x && data_type == DataType::Fp32 {
            let after = case.numbers();
            for line in 0..across {
                let place = case.prepared.index(region.x + tree.root(line), region.y + line);
                let sums = after.pes[place].tile(Operand::new(payload, 0)).unwrap();
                prop_assert!(near(&sums.values, &plain_sums(&case, region.y + line)), "line {line}");
            }
        }
    }

    #[test]
    fn trees_take_what_the_closed_form_says(
        line in 2u64..400, rows in 1u64..9, sizes in prop::collection::vec(2u64..15, 0..3),
        roots in prop::collection::vec(0u64..15, 6..7), middle in any::<bool>(), stagger in prop::option::of((0u64..5, 0u64..4)),
        width in 1u64..120, wide in any::<bool>(),
    ) {
        // A group that is cut short begins the next level before the others, and its root lies nearer. Where the
        // longest chain begins there, the closed form, which knows full groups, is too long.
        let product: u64 = sizes.iter().product();
        let line = (product * (2 + line % 8)).min(700 / product * product);
        let Some(tree) = tree(line, &sizes, if middle { &[] } else { &roots }, stagger) else { return Ok(()) };
        let region = Region::new(0, 0, line, rows);
        let data_type = if wide { DataType::Fp32 } else { DataType::Fp16 };
        let mut program = Program::new("words", region);
        let payload = program.buffer("payload", width, data_type);
        let along = Along { axis: Axis::X, payload, operator: ReduceOperator::Add };
        let nodes = collective::tree_reduce(&mut program, region, &tree, along);
        program.push("reduce", nodes);
        readings_agree(|_| program.clone())?;
    }

    #[test]
    fn rings_are_carried(
        count in 2u64..9, segments in 1u64..4, cut in 0u64..3, stride in 1u64..3, rows in 1u64..4, along_x in any::<bool>(),
        width in 1u64..90, maximum in any::<bool>(), data_type in data_types(), seed in 0u64..100,
    ) {
        let axis = if along_x { Axis::X } else { Axis::Y };
        // A line may end inside a segment: then only the parts of those who are there are kept.
        let line = (count * segments * stride).saturating_sub(cut).max(2);
        let region = oblong(axis, line, rows);
        let (mut program, source) = partials(region, width, data_type);
        let digit = Digit { axis, first: 0, modulus: count * stride, limit: count * stride, stride, parts: count };
        let piece = shared(&mut program, width, data_type, digit);
        let operator = if maximum { ReduceOperator::Max } else { ReduceOperator::Add };
        let segment = Sharing { axis, count, stride, words: ring_words(4), source, target: piece };
        let scatter = collective::reduce_scatter(&mut program, region, segment, operator);
        program.push("scatter", scatter);
        if cut == 0 {
            let field = Field::new("payload", Dimension::whole(1), vec![Dimension::whole(width)]);
            let whole = program.laid_buffer("whole", data_type, Layout { region, fields: vec![field] });
            let back = collective::all_gather(&mut program, region, Sharing { source: piece, target: whole, ..segment });
            program.push("gather", back);
        }
        let case = Case::new(program, "payload", data_type, matrix(2, 2, 1), seed).with_partials(seed);
        let agreement = case.agreement()?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
        if cut == 0 && along_x && segments == 1 && stride == 1 && data_type == DataType::Fp32 && !maximum {
            let after = case.numbers();
            for pe in &after.pes {
                prop_assert!(near(&pe.buffers[2][0].values, &plain_sums(&case, pe.row)));
            }
        }
    }

    #[test]
    fn split_roots_are_carried(
        below in 1u64..5, top in 2u64..9, roots in 1u64..5, root in 0u64..9, rows in 1u64..4, along_x in any::<bool>(),
        width in 1u64..90, data_type in data_types(), seed in 0u64..100,
    ) {
        let (axis, line, roots) = (if along_x { Axis::X } else { Axis::Y }, below * top, roots.min(top));
        let region = oblong(axis, line, rows);
        let tree = Tree::of_sizes(line, &[below]).unwrap().with_root(Root::At(root % top)).unwrap();
        let (mut program, payload) = partials(region, width, data_type);
        let first = (tree.root(0) / below).saturating_sub(roots / 2).min(top - roots) * below + below / 2;
        let owners = Owned { axis, first, stride: below, roots };
        let piece = owned(&mut program, width, data_type, owners);
        let along = Along { axis, payload, operator: ReduceOperator::Add };
        let split = SplitRoots { roots, target: piece };
        let nodes = collective::split_reduce(&mut program, region, &tree, along, split);
        program.push("reduce", nodes);
        let field = Field::new("payload", Dimension::whole(1), vec![Dimension::whole(width)]);
        let whole = program.laid_buffer("whole", data_type, Layout { region, fields: vec![field] });
        let owners = Neighbours { axis, first, stride: below, count: roots, source: piece, target: whole };
        let back = collective::gather(&mut program, region, owners);
        program.push("gather", vec![back]);
        let case = Case::new(program, "payload", data_type, matrix(2, 2, 1), seed).with_partials(seed);
        let agreement = case.agreement()?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
        if along_x && data_type == DataType::Fp32 {
            let after = case.numbers();
            for pe in &after.pes {
                prop_assert!(near(&pe.buffers[2][0].values, &plain_sums(&case, pe.row)));
            }
        }
    }

    #[test]
    fn rings_take_what_the_closed_form_says(
        count in 2u64..17, segments in 1u64..4, rows in 1u64..3, width in 1u64..1500, wide in any::<bool>(), gathers in any::<bool>(),
    ) {
        let region = Region::new(0, 0, count * segments, rows);
        let data_type = if wide { DataType::Fp32 } else { DataType::Fp16 };
        readings_agree(|queue| {
            let mut program = Program::new("words", region);
            let whole = program.buffer("whole", width, data_type);
            let piece = program.buffer("piece", width.div_ceil(count), data_type);
            let (source, target) = if gathers { (piece, whole) } else { (whole, piece) };
            let segment = Sharing { axis: Axis::X, count, stride: 1, words: ring_words(queue), source, target };
            let nodes = if gathers {
                collective::all_gather(&mut program, region, segment)
            } else {
                collective::reduce_scatter(&mut program, region, segment, ReduceOperator::Add)
            };
            program.push("pieces", nodes);
            program
        })?;
    }

    #[test]
    fn split_roots_take_what_the_closed_form_says(
        below in 1u64..12, top in 2u64..24, roots in 1u64..6, root in 0u64..24, width in 1u64..300, wide in any::<bool>(),
    ) {
        let (line, roots) = (below * top, roots.min(top));
        let region = Region::new(0, 0, line, 2);
        let data_type = if wide { DataType::Fp32 } else { DataType::Fp16 };
        let mut program = Program::new("words", region);
        let payload = program.buffer("whole", width, data_type);
        let target = program.buffer("piece", width.div_ceil(roots), data_type);
        let tree = Tree::of_sizes(line, &[below]).unwrap().with_root(Root::At(root % top)).unwrap();
        let along = Along { axis: Axis::X, payload, operator: ReduceOperator::Add };
        let nodes = collective::split_reduce(&mut program, region, &tree, along, SplitRoots { roots, target });
        program.push("reduce", nodes);
        readings_agree(|_| program.clone())?;
    }

    #[test]
    fn gathers_take_what_the_closed_form_says(
        line in 30u64..200, first in 0u64..200, stride in 1u64..9, owners in 1u64..6, width in 20u64..300, wide in any::<bool>(),
    ) {
        let region = Region::new(0, 0, line, 2);
        let owners = owners.min(line.div_ceil(stride));
        let first = first % (line - (owners - 1) * stride);
        let data_type = if wide { DataType::Fp32 } else { DataType::Fp16 };
        let mut program = Program::new("words", region);
        let target = program.buffer("whole", width, data_type);
        let source = program.buffer("piece", width.div_ceil(owners), data_type);
        let gathered = Neighbours { axis: Axis::X, first, stride, count: owners, source, target };
        let node = collective::gather(&mut program, region, gathered);
        program.push("gather", vec![node]);
        readings_agree(|_| program.clone())?;
    }

    #[test]
    fn broadcasts_are_carried(
        columns in 1u64..14, rows in 1u64..14, column in 0u64..14, row in 0u64..14, width in 1u64..40, before in 0u64..3,
        data_type in data_types(), seed in 0u64..100,
    ) {
        let region = Region::new(2, 1, columns, rows);
        let (mut program, payload) = partials(region, width, data_type);
        // After a reduction cores are ready at different times: some not yet when the first word lands.
        for axis in [Axis::X, Axis::Y].into_iter().take(before as usize) {
            let tree = Tree::two_level(region.along(axis), 3);
            let along = Along { axis, payload, operator: ReduceOperator::Add };
            let nodes = collective::tree_reduce(&mut program, region, &tree, along);
            program.push("reduce", nodes);
        }
        let node = collective::broadcast(&mut program, region, (column % columns, row % rows), payload);
        program.push("broadcast", vec![node]);
        let case = Case::new(program, "payload", data_type, matrix(2, 2, 1), seed).with_partials(seed);
        let agreement = case.agreement()?;
        prop_assert!(agreement.is_whole() && agreement.elements > 0, "{:#?}", agreement.first);
        let after = case.numbers();
        let sent = &after.pes[case.prepared.index(2 + column % columns, 1 + row % rows)].buffers[0];
        prop_assert!(after.pes.iter().all(|pe| &pe.buffers[0] == sent));
    }

    #[test]
    fn broadcasts_take_what_the_closed_form_says(
        columns in 1u64..90, rows in 1u64..90, column in 0u64..90, row in 0u64..90, width in 1u64..300,
    ) {
        let region = Region::new(0, 0, columns, rows);
        let mut program = Program::new("words", region);
        let payload = program.buffer("payload", width, DataType::Fp16);
        let node = collective::broadcast(&mut program, region, (column % columns, row % rows), payload);
        program.push("broadcast", vec![node]);
        readings_agree(|_| program.clone())?;
    }
}
