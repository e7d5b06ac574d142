//! A movement between two layouts along the lines of a region, with what it takes.
//!
//! Which element goes from whom to whom follows from the two layouts ([`wafersim_program::movement()`]). For the time of a
//! relayout a few numbers count: hops and wavelets on its critical path. Here they are in closed form for the shapes of
//! movement that layers have; tests hold them to the enumerated movement and to the fabric.

use wafersim_program::{Action, Axis, BufferId, End, Joining, Node, Relayout, collective};

use crate::writer::Writer;

/// The shape of a movement along a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Pieces on ways of their own: the farthest way in hops, and the elements that the busiest place lets pass or takes.
    Through {
        /// Farthest way of any piece, in hops.
        hops: u64,
        /// Elements of the busiest place.
        elements: u64,
    },
    /// The first `owners` of `members` places side by side have `elements` each, and all places take all.
    AllGather {
        /// Places that own something; at most all.
        owners: u64,
        /// Places.
        members: u64,
        /// Elements of an owner.
        elements: u64,
    },
}

/// Hops and wavelets of a critical path, as in [`Relayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CriticalPath {
    pub hops: u64,
    pub wavelets: u64,
    pub joining: Joining,
}

impl CriticalPath {
    /// The longer of two, where a hop takes as long as one and a half wavelets (one and 1.8 on the two machines).
    fn longer(self, other: Self) -> Self {
        let halves = |path: &Self| {
            let joining = (3 * path.joining.hops).max(path.joining.wavelets.saturating_mul(2));
            joining.saturating_add(3 * path.hops).saturating_add(path.wavelets.saturating_mul(2))
        };
        if halves(&other) > halves(&self) { other } else { self }
    }
}

impl Way {
    /// The critical path, where `wavelets` says how many carry so many elements, and routers have queues of `queue` words.
    ///
    /// A place takes what comes from before it, then what comes from behind; on each side the nearest owner's piece first
    /// (`wafersim_fabric::circuit::laid`).
    pub fn critical_path(self, queue: u64, wavelets: impl Fn(u64) -> u64) -> CriticalPath {
        match self {
            Self::Through { hops, elements } => {
                CriticalPath { hops, wavelets: wavelets(elements), joining: Joining::default() }
            }
            Self::AllGather { owners: 0, .. } | Self::AllGather { members: 0 | 1, .. } => CriticalPath::default(),
            // Either the last place takes the first owner's piece last; or the piece of the last owner, which sets off backwards
            // when its neighbour has taken all from before, comes to the first place last. What of the pieces on their way
            // back the queues do not hold has to wait for that moment as well.
            Self::AllGather { owners, members, elements } => {
                let piece = wavelets(elements);
                let others = owners.min(members - 1);
                let (onwards, back) = (members - others, owners - 1);
                let behind = owners.saturating_sub(2);
                // The last owner sends onwards first, where there is somebody.
                let turns = if members > owners { owners - 1 } else { behind };
                let waiting = turns.saturating_mul(piece.saturating_sub(queue));
                let way = |hops: u64, joined: u64, waiting: u64| CriticalPath {
                    hops,
                    wavelets: piece.saturating_add(waiting),
                    joining: Joining { hops: joined, wavelets: piece.saturating_mul(joined) },
                };
                way(onwards, others - 1, 0).longer(way(back, behind, waiting))
            }
        }
    }
}

impl Writer<'_> {
    /// A relayout from one buffer to another.
    pub fn relayout(&mut self, axis: Axis, source: BufferId, target: BufferId, way: Way) -> Node {
        let data_type = self.program.buffer_of(source).data_type;
        let CriticalPath { hops, wavelets, joining } =
            way.critical_path(self.request.queue, |elements| data_type.wavelets(elements));
        let colors = collective::transit_colors(&mut self.program, axis);
        let farthest = End::First;
        let moved = Relayout { axis, hops, wavelets, joining, farthest, source, target, accumulate: false, colors };
        self.program.step(Action::Relayout(moved))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wafersim_cost::{Rates, View, cost, formula};
    use wafersim_fabric::circuit;
    use wafersim_program::{Digit, Dimension, Field, Layout, Program, Region};
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
        let CriticalPath { hops, wavelets, joining } =
            way.critical_path(queue, |elements| DataType::Fp16.wavelets(elements));
        let colors = collective::transit_colors(&mut program, Axis::X);
        let farthest = End::First;
        let moved =
            Relayout { axis: Axis::X, hops, wavelets, joining, farthest, source, target, accumulate: false, colors };
        let node = program.step(Action::Relayout(moved));
        program.push("relayout", vec![node]);
        let lowered = circuit::lower(&program, &wafer, RateSet::Silicon, &|work| formula::work(work, &rates)).unwrap();
        (cost(&program, &rates).total().0, circuit::run(&lowered, |_| ()).unwrap().cycles.0)
    }

    fn field(dimension: Dimension) -> Field {
        Field::new("x", Dimension::whole(1), vec![dimension])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn all_gathers_take_what_the_fabric_says(
            owners in 1u64..60, more in 0u64..60, elements in 1u64..11, wse2 in any::<bool>(),
        ) {
            let members = owners + more;
            prop_assume!(members > 1);
            let name = if wse2 { "wse2" } else { "wse3" };
            let size = owners * elements;
            let source = field(Dimension::split(size, Digit::blocks(Axis::X, 1, owners)));
            let way = Way::AllGather { owners, members, elements };
            let (closed, fabric) =
                readings(name, members, way, [source, field(Dimension::whole(size))]);
            // Which of two paths is the longer one is decided by a mean machine; that is worst where pieces are longer than
            // queues and a few owners stand before many places.
            let limit = if wse2 { 0.06 } else { 0.03 };
            prop_assert!((closed - fabric).abs() <= (limit * fabric).max(FEW), "{closed} {fabric}");
        }
    }
}
