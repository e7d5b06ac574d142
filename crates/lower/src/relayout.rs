//! A movement between two layouts along the lines of a region, with what it takes.
//!
//! Which element goes from whom to whom follows from the two layouts ([`wafersim_program::movement()`]). For the time
//! of a relayout a few numbers count: hops and wavelets on its critical path. Here they are in closed form for the
//! shapes of movement that layers have; tests hold them to the enumerated movement and to the fabric.

use wafersim_program::{
    Action, Axis, BufferId, Color, Dimension, End, Field, Node, Operand, Path, Region, Relayout, Spread, collective,
    sent_along,
};

use crate::clustered::Passing;
use crate::writer::{Writer, along};

/// The shape of a movement along a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Pieces on ways of their own: the farthest way in hops, and the elements that the busiest place lets pass or
    /// takes.
    Through {
        /// Farthest way of any piece, in hops.
        hops: u64,
        /// Elements of the busiest place.
        elements: u64,
    },
    /// The same where the wavelets have been counted piece by piece.
    Pieces {
        /// Farthest way of any piece, in hops.
        hops: u64,
        /// Wavelets of the busiest place.
        wavelets: u64,
    },
    /// Owners side by side, `elements` each, whose pieces one place takes: so many owners before it on the line and
    /// behind it.
    Gather {
        /// Owners before it.
        before: u64,
        /// Owners behind it.
        behind: u64,
        /// Places between the last owner and it, where all owners are before it.
        between: u64,
        /// Elements of an owner.
        elements: u64,
    },
    /// Of `members` places side by side `owners` have `elements` each, those behind the first few, and all places take
    /// all.
    AllGather {
        /// Places before the first owner.
        before: u64,
        /// Places that own something; at most all.
        owners: u64,
        /// Places.
        members: u64,
        /// Elements of an owner.
        elements: u64,
    },
}

impl Way {
    /// The paths of which the longest counts, where `wavelets` says how many carry so many elements, and routers have
    /// queues of `queue` words.
    ///
    /// A place takes what comes from before it, then what comes from behind; on each side the nearest owner's piece
    /// first (`wafersim_fabric::circuit::laid`).
    pub fn paths(self, queue: u64, wavelets: impl Fn(u64) -> u64) -> Vec<Path> {
        match self {
            Self::Through { hops, elements } => vec![Path { hops, wavelets: wavelets(elements) }],
            Self::Pieces { hops, wavelets } => vec![Path { hops, wavelets }],
            Self::Gather { before: 0, behind: 0, .. }
            | Self::AllGather { owners: 0, .. }
            | Self::AllGather { members: 0 | 1, .. } => vec![Path::default()],
            // All pieces one after the other; the farthest from before, then those from behind; the farthest from
            // behind.
            Self::Gather { before, behind, between, elements } => {
                let piece = wavelets(elements);
                let path = |hops: u64, pieces: u64| Path { hops, wavelets: piece.saturating_mul(pieces) };
                let after = if before > 0 { path(between + before, 1 + behind) } else { Path::default() };
                vec![path(between + 1, before + behind), after, path(behind, u64::from(behind > 0))]
            }
            Self::AllGather { before, owners, members, elements } => {
                let piece = wavelets(elements);
                // `joined` owners' pieces come before the last one, which may be the later by its way or by their
                // wavelets.
                let both = |hops: u64, joined: u64, waiting: u64| {
                    let far = Path { hops: hops + joined, wavelets: piece + waiting };
                    [far, Path { hops, wavelets: (joined + 1).saturating_mul(piece) + waiting }]
                };
                // The last place takes the first owner's piece last.
                let after = members.saturating_sub(before + owners);
                let others = if after > 0 { owners } else { owners - 1 };
                let onwards = if others > 0 { both(after.max(1), others - 1, 0).to_vec() } else { Vec::new() };
                // The piece of the last owner, which sets off backwards when its neighbour has taken all from before,
                // comes to the first place last. What of the pieces on their way back the queues do not hold has to
                // wait for that moment as well; the last owner sends onwards first, where there is somebody.
                let behind = owners.saturating_sub(2);
                let turns = if after > 0 { owners - 1 } else { behind };
                let kept = piece.saturating_sub(queue);
                let back = both(before + owners - 1, behind, turns.saturating_mul(kept));
                // The first owner sends onwards, then back its own, then what comes from behind.
                let first = if after > 0 { piece } else { kept };
                let through = (before > 0 && owners + after > 1)
                    .then_some(Path { hops: before + owners - 1, wavelets: owners.saturating_mul(piece) + first });
                onwards.into_iter().chain(back).chain(through).collect()
            }
        }
    }
}

/// The relayout of some paths.
fn relayout(axis: Axis, paths: Vec<Path>, [source, target]: [BufferId; 2], colors: Vec<Color>) -> Relayout {
    let mut paths = paths.into_iter();
    let Path { hops, wavelets } = paths.next().unwrap_or_default();
    let (others, farthest) = (paths.collect(), End::First);
    Relayout { axis, hops, wavelets, others, farthest, source, target, accumulate: false, colors }
}

impl Writer<'_> {
    /// A relayout from one buffer to another.
    pub fn relayout(&mut self, axis: Axis, source: BufferId, target: BufferId, way: Way) -> Node {
        let moved = self.moved(axis, [source, target], way);
        self.program.step(Action::Relayout(moved))
    }

    /// A relayout whose pieces are added up where they arrive.
    pub fn adding(&mut self, axis: Axis, source: BufferId, target: BufferId, way: Way) -> Node {
        let moved = self.moved(axis, [source, target], way);
        self.program.step(Action::Relayout(Relayout { accumulate: true, ..moved }))
    }

    /// The way between two layouts along the first line of the region: the farthest piece, and the busiest place.
    pub fn counted_way(&self, axis: Axis, buffers: [BufferId; 2]) -> Way {
        let region = self.region();
        let moved = relayout(axis, Vec::new(), buffers, Vec::new());
        let sent = match sent_along(&self.program, region, &moved, 0) {
            Some(Ok(sent)) => sent,
            // Whoever computes with it says what is missing.
            Some(Err(_)) | None => Vec::new(),
        };
        let data_type = self.program.buffer_of(buffers[0]).data_type;
        let mut places = Passing::new(region.along(axis));
        for sent in &sent {
            places.send(sent.from, sent.to, data_type.wavelets(sent.elements));
        }
        let hops = sent.iter().map(|sent| sent.from.abs_diff(sent.to)).max().unwrap_or(0);
        Way::Pieces { hops, wavelets: places.busiest() }
    }

    fn moved(&mut self, axis: Axis, buffers: [BufferId; 2], way: Way) -> Relayout {
        let data_type = self.program.buffer_of(buffers[0]).data_type;
        let paths = way.paths(self.request.queue, |elements| data_type.wavelets(elements));
        let colors = collective::transit_colors(&mut self.program, axis);
        relayout(axis, paths, buffers, colors)
    }
}

/// What [`turn`] turns.
#[derive(Clone, Copy)]
pub(crate) struct Turned {
    pub tokens: u64,
    pub width: u64,
    pub region: Region,
}

/// From tokens along y and widths along x to widths along y, everything else everywhere: half of each column's elements
/// cross its middle, then every row gathers along x what its processing elements hold. Fields keep their name.
pub(crate) fn turn(writer: &mut Writer<'_>, source: Operand, target: BufferId, turned: Turned) -> Vec<Node> {
    let Turned { tokens, width, region } = turned;
    let field = writer.field(source);
    let columns = field.inner.first().map_or(Spread::Whole, |inner| inner.spread.clone());
    let spread = Spread::Meet(vec![columns, along(width, Axis::Y, region).spread]);
    let crossing = Field { rows: Dimension::whole(tokens), inner: vec![Dimension { size: width, spread }], ..field };
    let crossed = writer.declare("crossed", vec![crossing]);
    let half = region.share(Axis::X, width).saturating_mul(tokens).div_ceil(2);
    let all = region.share(Axis::Y, width).saturating_mul(tokens);
    vec![
        writer.relayout(Axis::Y, source.buffer, crossed, Way::Through { hops: region.rows, elements: half }),
        writer.relayout(Axis::X, crossed, target, Way::Through { hops: region.columns, elements: all }),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wafersim_cost::{Rates, View, cost, formula};
    use wafersim_fabric::circuit;
    use wafersim_program::{Digit, Dimension, Field, Layout, Program, Region, Spread};
    use wafersim_spec::wafer::{Key, RateSet};
    use wafersim_spec::{DataType, Wafer};

    use super::*;

    /// Cycles that a short movement may be apart, where 3 % of it are less.
    const FEW: f64 = 6.0;

    /// A relayout along a row, by its shape: what closed form and fabric say.
    fn readings(name: &str, length: u64, way: Way, [source, target]: [Field; 2]) -> (f64, f64) {
        let wafer = Wafer::builtin(name).unwrap();
        let rates = Rates::new(&wafer, RateSet::Silicon, View::Achieved);
        let queue = wafer.value(Key::InputQueue, RateSet::Silicon) as u64;
        let region = Region::new(0, 0, length, 1);
        let mut program = Program::new("relayout", region);
        let mut lay = |field: Field| program.laid_buffer("x", DataType::Fp16, Layout { region, fields: vec![field] });
        let (source, target) = (lay(source), lay(target));
        let paths = way.paths(queue, |elements| DataType::Fp16.wavelets(elements));
        let colors = collective::transit_colors(&mut program, Axis::X);
        let moved = relayout(Axis::X, paths, [source, target], colors);
        let node = program.step(Action::Relayout(moved));
        program.push("relayout", vec![node]);
        let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap();
        (cost(&program, &rates).total().0, circuit::run(&lowered, |_| ()).unwrap().cycles.0)
    }

    fn field(dimension: Dimension) -> Field {
        Field::new("x", Dimension::whole(1), vec![dimension])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn all_gathers_take_what_the_fabric_says(
            owners in 1u64..30, more in 0u64..40, elements in 1u64..30, wse2 in any::<bool>(),
        ) {
            let members = owners + more;
            prop_assume!(members > 1);
            let name = if wse2 { "wse2" } else { "wse3" };
            let size = owners * elements;
            let source = field(Dimension::split(size, Digit::blocks(Axis::X, 1, owners)));
            let way = Way::AllGather { before: 0, owners, members, elements };
            let (closed, fabric) =
                readings(name, members, way, [source, field(Dimension::whole(size))]);
            prop_assert!((closed - fabric).abs() <= (0.03 * fabric).max(FEW), "{closed} {fabric}");
        }

        /// Pieces that are longer and few are up to a tenth too fast.
        #[test]
        fn all_gathers_from_the_middle_take_what_the_fabric_says(
            before in 1u64..40, owners in 8u64..40, more in 0u64..40, elements in 1u64..9, wse2 in any::<bool>(),
        ) {
            let members = before + owners + more;
            prop_assume!(members > 1);
            let name = if wse2 { "wse2" } else { "wse3" };
            let size = owners * elements;
            let digit = Digit { first: before, ..Digit::blocks(Axis::X, 1, owners) };
            let source = field(Dimension::split(size, digit));
            let way = Way::AllGather { before, owners, members, elements };
            let (closed, fabric) =
                readings(name, members, way, [source, field(Dimension::whole(size))]);
            prop_assert!((closed - fabric).abs() <= (0.03 * fabric).max(FEW), "{closed} {fabric}");
        }

        #[test]
        fn gathers_take_what_the_fabric_says(
            before in 0u64..40, behind in 0u64..40, between in 0u64..30, elements in 1u64..20, wse2 in any::<bool>(),
        ) {
            let between = if behind > 0 { 0 } else { between };
            prop_assume!(before + behind > 0);
            let name = if wse2 { "wse2" } else { "wse3" };
            let (at, owners) = (before + between, before + behind);
            let size = (owners + u64::from(behind > 0)) * elements;
            let held = if behind > 0 { owners + 1 } else { owners };
            let source = field(Dimension::split(size, Digit::blocks(Axis::X, 1, held)));
            let one = Spread::At { digit: Digit::line(Axis::X, at.max(held) + 1), number: at };
            let target = field(Dimension { size, spread: one });
            let way = Way::Gather { before, behind, between, elements };
            let (closed, fabric) = readings(name, at.max(held) + 1, way, [source, target]);
            prop_assert!((closed - fabric).abs() <= (0.03 * fabric).max(FEW), "{closed} {fabric}");
        }
    }
}
