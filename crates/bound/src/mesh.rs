//! How fast products can be done in one place of a mesh between two moments at which everything meets.
//!
//! No model, no wafer file and no clock is known here: a mesh has a time for a hop, a number of processing elements,
//! and a number of multiply-accumulates that each of them does a cycle at most. The proof stands in docs/src/bound.md;
//! in short:
//!
//! With u = x + y and v = x - y the distance of two elements is max(|du|, |dv|). Everything that happens after all of
//! the stage before and before all of the stage after lies, in the plane of t and u, in a rectangle that is cut by
//! lines of one hop in its time; it lasts `L` cycles, and t cycles after its beginning or before its end it is 2 t /
//! hop wide. A box of w x w in u and v holds at most ((w + 1)^2 + 1) / 2 elements. So a stage of `L` cycles can do no
//! more work than [`Mesh::work_in`] says, and can reach no more elements than [`Mesh::pes_in`] says.

use serde::Serialize;

/// One wafer as the bound sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mesh {
    /// Cycles in which a value moves from one processing element to its neighbour; at least 0.
    pub hop: f64,
    /// Processing elements.
    pub pes: u64,
    /// Multiply-accumulates that one of them does a cycle at most; above 0.
    pub macs_per_cycle: f64,
}

/// What a stage has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// Multiply-accumulates.
    pub macs: u64,
    /// Processing elements that must take part, since what the stage works with does not fit in fewer.
    pub pes: u64,
}

/// Which of the terms is the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binds {
    /// Multiply-accumulates inside the light cones of both meetings.
    Work,
    /// The way to the farthest of half of the processing elements that must take part; the others may lie beyond a
    /// link.
    Distance,
}

/// How long a stage takes at least; at most half of it is saved by an end that is open, or by a link inside.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Shortest {
    /// Cycles: the larger of the two terms.
    pub cycles: f64,
    /// The term of work.
    pub work_cycles: f64,
    /// The term of distance.
    pub distance_cycles: f64,
    /// The larger of the two.
    pub binds: Binds,
}

impl Mesh {
    /// Cycles that a stage takes at least between two meetings of everything.
    pub fn shortest(&self, demand: Demand) -> Shortest {
        let work_cycles = self.cycles_for_work(demand.macs as f64 / self.macs_per_cycle);
        let distance_cycles = self.cycles_for_pes(demand.pes.div_ceil(2));
        let binds = if distance_cycles > work_cycles { Binds::Distance } else { Binds::Work };
        let cycles = work_cycles.max(distance_cycles);
        Shortest { cycles, work_cycles, distance_cycles, binds }
    }

    /// Cycles of work that all elements together can do in a stage of `cycles`: the sum over time of those that can be
    /// reached, never more than there are.
    pub fn work_in(&self, cycles: f64) -> f64 {
        let whole = self.cycles_until_all();
        let pinched = cycles.clamp(0.0, whole);
        self.work_in_pinched(pinched) + (cycles - pinched).max(0.0) * self.pes as f64
    }

    /// Elements of a stage of `cycles`, at most.
    pub fn pes_in(&self, cycles: f64) -> f64 {
        if self.hop <= 0.0 {
            return self.pes as f64;
        }
        let side = cycles.max(0.0) / self.hop + 1.0;
        ((side * side + 1.0) / 2.0).min(self.pes as f64)
    }

    /// The inverse of [`Mesh::work_in`].
    pub fn cycles_for_work(&self, work: f64) -> f64 {
        if work.is_nan() || work <= 0.0 {
            return 0.0;
        }
        let whole = self.cycles_until_all();
        let in_whole = self.work_in_pinched(whole);
        if work >= in_whole {
            return whole + (work - in_whole) / self.pes.max(1) as f64;
        }
        self.cycles_for_work_pinched(work).min(whole)
    }

    /// The inverse of [`Mesh::pes_in`].
    fn cycles_for_pes(&self, pes: u64) -> f64 {
        self.hop.max(0.0) * ((2.0 * pes.max(1) as f64 - 1.0).sqrt() - 1.0)
    }

    /// The stage in the middle of which, for a moment, every element can work.
    fn cycles_until_all(&self) -> f64 {
        self.cycles_for_pes(self.pes)
    }

    /// The integral of ((w + 1)^2 + 1) / 2 over a stage, w = (2 / hop) min(t, cycles - t).
    fn work_in_pinched(&self, cycles: f64) -> f64 {
        if self.hop <= 0.0 {
            return 0.0;
        }
        let hops = cycles / self.hop;
        // (hop / 6) ((hops + 1)^3 - 1) + cycles / 2, without the difference of near numbers.
        self.hop / 6.0 * hops * (hops * hops + 3.0 * hops + 3.0) + cycles / 2.0
    }

    /// Newton's method from above: the function is convex and grows, so every step stays above the root and comes
    /// nearer.
    fn cycles_for_work_pinched(&self, work: f64) -> f64 {
        const MOST_STEPS: usize = 200;
        // Both are above the root: work_in(L) is at least L^3 / (6 hop^2), and at least L.
        let mut cycles = (6.0 * self.hop * self.hop * work).cbrt().min(work);
        for _ in 0..MOST_STEPS {
            let side = cycles / self.hop + 1.0;
            let slope = (side * side + 1.0) / 2.0;
            let next = (cycles - (self.work_in_pinched(cycles) - work) / slope).max(0.0);
            if next >= cycles {
                break;
            }
            cycles = next;
        }
        cycles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WSE3: Mesh = Mesh { hop: 2.0, pes: 755 * 1170, macs_per_cycle: 8.0 };

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1.0)
    }

    /// Counted out: the elements of a box of w x w in u and v, at the best place for it.
    #[test]
    fn a_box_holds_no_more_elements_than_the_formula_says() {
        for side in 0..40_i64 {
            let most = [0, 1].into_iter().map(|corner| {
                let inside = |u: i64, v: i64| (corner..=corner + side).contains(&u) && (0..=side).contains(&v);
                let places = (-60..=60).flat_map(|x| (-60..=60).map(move |y| (x + y, x - y)));
                places.filter(|(u, v)| inside(*u, *v)).count()
            });
            let most = most.max().unwrap_or(0) as f64;
            let formula = (((side + 1) * (side + 1) + 1) / 2) as f64;
            assert_eq!(most, formula, "{side}");
            assert!(most <= WSE3.pes_in(side as f64 * WSE3.hop));
        }
    }

    /// The sum over time by the midpoint rule.
    #[test]
    fn work_is_the_integral_of_what_can_be_reached() {
        for mesh in [WSE3, Mesh { hop: 1.0, pes: 400, macs_per_cycle: 1.0 }, Mesh { hop: 0.3, pes: 1, ..WSE3 }] {
            for cycles in [0.1, 3.0, 50.0, 400.0] {
                let parts = 20_000;
                let step = cycles / f64::from(parts);
                let reached = |part: i32| {
                    let time = (f64::from(part) + 0.5) * step;
                    mesh.pes_in(2.0 * time.min(cycles - time))
                };
                let sum: f64 = (0..parts).map(|part| reached(part) * step).sum();
                assert!((sum / mesh.work_in(cycles) - 1.0).abs() < 1e-6, "{mesh:?} {cycles}");
            }
        }
    }

    #[test]
    fn the_cycles_for_some_work_do_that_work() {
        for hop in [0.0, 1e-6, 0.5, 1.0, 2.0, 40.0, 1e4] {
            for pes in [1, 2, 100, 883_350, u64::MAX] {
                let mesh = Mesh { hop, pes, macs_per_cycle: 8.0 };
                for work in [1e-6, 0.3, 1.0, 2.0, 1e3, 1e8, 1e12, 1e18] {
                    let cycles = mesh.cycles_for_work(work);
                    assert!(near(mesh.work_in(cycles), work), "{mesh:?} {work}: {cycles}");
                }
            }
        }
        assert_eq!(WSE3.cycles_for_work(0.0), 0.0);
        assert_eq!(Mesh { hop: 0.0, ..WSE3 }.cycles_for_work(883_350.0), 1.0);
    }

    /// About (6 hop^2 W / f)^(1/3) - hop, as the design says.
    #[test]
    fn a_large_stage_takes_the_cube_root_of_its_work() {
        let demand = Demand { macs: 377_487_360, pes: 1 };
        let expected = (24.0 * demand.macs as f64 / 8.0).cbrt() - 2.0;
        assert!((WSE3.shortest(demand).cycles - expected).abs() < 0.01);
        // A stage of which one end is open does half of what a closed one of twice the time does.
        let open = WSE3.cycles_for_work(2.0 * demand.macs as f64 / 8.0) / 2.0;
        assert!((open / expected - 0.63).abs() < 0.002, "{open}");
    }

    #[test]
    fn elements_that_must_take_part_must_be_reached() {
        let all = Demand { macs: 1, pes: 2 * 167_915 };
        let shortest = WSE3.shortest(all);
        assert_eq!(shortest.binds, Binds::Distance);
        assert!((shortest.cycles - 2.0 * ((2.0 * 167_915.0_f64 - 1.0).sqrt() - 1.0)).abs() < 1e-9);
        assert_eq!(WSE3.pes_in(shortest.cycles).round() as u64, 167_915);
    }
}
