//! Schedules against the theorem: every processing element of a stage begins when the last of what it waits for can
//! have come to it, and works for as long as it is given. None may be quicker than the bound; good ones come near.

use std::collections::BTreeSet;

use proptest::prelude::*;
use wafersim_bound::{Demand, Mesh, Shortest, crossing};

/// A processing element that works in a stage.
#[derive(Debug, Clone, Copy)]
struct Worker {
    wafer: u32,
    x: i64,
    y: i64,
    /// Cycles that it works without waiting for anybody.
    work: f64,
}

type Stage = Vec<Worker>;

#[derive(Debug, Clone, Copy)]
struct Machine {
    hop: f64,
    link: f64,
}

impl Machine {
    fn way(&self, from: &Worker, to: &Worker) -> f64 {
        if from.wafer == to.wafer {
            self.hop * (from.x.abs_diff(to.x) + from.y.abs_diff(to.y)) as f64
        } else {
            self.link
        }
    }

    /// Cycles of one round through the stages once they have settled.
    fn period(&self, stages: &[Stage]) -> f64 {
        const ROUNDS: usize = 12;
        let mut last: Vec<(Worker, f64)> = Vec::new();
        let mut ends = [0.0; ROUNDS];
        for end in &mut ends {
            for stage in stages {
                let begin = |worker: &Worker| {
                    last.iter().map(|(from, finished)| finished + self.way(from, worker)).fold(0.0, f64::max)
                };
                last = stage.iter().map(|worker| (*worker, begin(worker) + worker.work)).collect();
            }
            *end = last.iter().map(|(_, finished)| *finished).fold(0.0, f64::max);
        }
        (ends[ROUNDS - 1] - ends[ROUNDS / 2 - 1]) / (ROUNDS / 2) as f64
    }

    /// The bound, with nothing known of the schedule but its work, its elements and its wafers.
    fn bound(&self, stages: &[Stage]) -> f64 {
        let mesh = Mesh { hop: self.hop, pes: 1_000_000, macs_per_cycle: UNITS };
        let shortest = |stage: &Stage| {
            let work: f64 = stage.iter().map(|worker| worker.work).sum();
            mesh.shortest(Demand { macs: (work * UNITS) as u64, pes: places(stage) })
        };
        let each: Vec<Shortest> = stages.iter().map(shortest).collect();
        let cycles: Vec<f64> = each.iter().map(|stage| stage.cycles).collect();
        let wafers: BTreeSet<u32> = stages.iter().flatten().map(|worker| worker.wafer).collect();
        let wafers = wafers.len() as u32;
        let crossing = crossing(&cycles, self.link, wafers, Some(wafers));
        let sum: f64 = each.iter().map(|stage| stage.cycles).sum();
        sum - crossing.given_away + f64::from(crossing.links) * self.link
    }
}

/// Multiply-accumulates of a cycle's work.
const UNITS: f64 = 1024.0 * 1024.0;

/// Processing elements that a stage needs: half as many where each place is there on two wafers.
fn places(stage: &Stage) -> u64 {
    let places: BTreeSet<(i64, i64)> = stage.iter().map(|worker| (worker.x, worker.y)).collect();
    places.len() as u64
}
/// Shapes and shares of work as the prototypes of this test had them, on one wafer.
fn stage() -> impl Strategy<Value = Stage> {
    let ball = (0_i64..6, 1_i64..4).prop_map(|(radius, stretch)| {
        let inside = move |(x, y): &(i64, i64)| x.abs() + y.abs() <= radius;
        let square = (-radius..=radius).flat_map(move |x| (-radius..=radius).map(move |y| (x, y)));
        square.filter(inside).map(|(x, y)| (x * stretch, y)).collect::<Vec<_>>()
    });
    let rectangle = (1_i64..10, 1_i64..10)
        .prop_map(|(columns, rows)| (0..columns).flat_map(|x| (0..rows).map(move |y| (x, y))).collect::<Vec<_>>());
    let scattered = prop::collection::btree_set((-8_i64..8, -8_i64..8), 1..30)
        .prop_map(|places| places.into_iter().collect::<Vec<_>>());
    let scale = prop_oneof![Just(0.1), Just(1.0), Just(5.0), Just(20.0)];
    let origin = (-3_i64..4, -3_i64..4);
    let places = prop_oneof![ball, rectangle, scattered];
    (places, origin, scale, 0..3, prop::collection::vec(0.01..1.0_f64, 32)).prop_map(
        |(places, (left, top), scale, shape, random)| {
            let worker = |(index, (x, y)): (usize, (i64, i64))| {
                let share = match shape {
                    0 => random[index % random.len()],
                    1 => 1.0,
                    _ => (10 - x.abs() - y.abs()).max(0) as f64 + 0.01,
                };
                Worker { wafer: 0, x: x + left, y: y + top, work: scale * share }
            };
            places.into_iter().enumerate().map(worker).collect()
        },
    )
}

/// Every place of a ball works from when the light of its middle reaches it to when it must send its own back.
fn cone(radius: i64, hop: f64, middle: (i64, i64)) -> Stage {
    let square = (-radius..=radius).flat_map(move |x| (-radius..=radius).map(move |y| (x, y)));
    let inside = square.filter(move |(x, y)| x.abs() + y.abs() <= radius);
    let work = |x: i64, y: i64| 2.0 * hop * (radius - x.abs() - y.abs()) as f64 + 1.0;
    inside.map(|(x, y)| Worker { wafer: 0, x: x + middle.0, y: y + middle.1, work: work(x, y) }).collect()
}

/// A stage on two wafers, something of it on each.
fn divided(stage: &Stage, [here, there]: [u32; 2], part: f64, by_place: bool) -> Stage {
    if by_place && stage.len() > 1 {
        let kept = (((1.0 - part) * stage.len() as f64) as usize).clamp(1, stage.len() - 1);
        let (kept, given) = stage.split_at(kept);
        return on(here, &kept.to_vec()).into_iter().chain(on(there, &given.to_vec())).collect();
    }
    let share = |wafer: u32, share: f64| move |worker: &Worker| Worker { wafer, work: worker.work * share, ..*worker };
    stage.iter().map(share(here, 1.0 - part)).chain(stage.iter().map(share(there, part))).collect()
}

fn on(wafer: u32, stage: &Stage) -> Stage {
    stage.iter().map(|worker| Worker { wafer, ..*worker }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_schedule_on_one_wafer_is_quicker(
        stages in prop::collection::vec(stage(), 1..5),
        hop in prop_oneof![Just(0.0), Just(0.3), Just(1.0), Just(2.0), Just(9.0)],
    ) {
        let machine = Machine { hop, link: 1e9 };
        let (period, bound) = (machine.period(&stages), machine.bound(&stages));
        prop_assert!(period >= bound * (1.0 - 1e-9), "{period} < {bound}");
    }

    /// Wafers after one another in a circle; where one ends, the stage may lie on both sides, each place's work in any
    /// proportion or each place on one of them.
    #[test]
    fn no_schedule_over_several_wafers_is_quicker(
        runs in prop::collection::vec((prop::collection::vec(stage(), 1..4), prop::option::of((0.0..1.0_f64, any::<bool>()))), 2..5),
        hop in prop_oneof![Just(0.3), Just(1.0), Just(2.0)],
        slower in prop_oneof![Just(1.0), Just(1.5), Just(10.0)],
    ) {
        let (wafers, mut stages) = (runs.len() as u32, Vec::new());
        for (wafer, (run, cut)) in runs.iter().enumerate() {
            let (wafer, next) = (wafer as u32, (wafer as u32 + 1) % wafers);
            for (index, stage) in run.iter().enumerate() {
                stages.push(match cut {
                    Some((part, by_place)) if index + 1 == run.len() => divided(stage, [wafer, next], *part, *by_place),
                    _ => on(wafer, stage),
                });
            }
        }
        let alone = Machine { hop, link: 1e9 };
        let longest = runs.iter().flat_map(|(run, _)| run).map(|stage| alone.bound(&[on(0, stage)])).fold(0.0, f64::max);
        let machine = Machine { hop, link: longest * slower };
        let (period, bound) = (machine.period(&stages), machine.bound(&stages));
        prop_assert!(period >= bound * (1.0 - 1e-9), "{period} < {bound}");
    }
}

/// The bound is tight: light cones are within some per cent of it, and large ones nearest.
#[test]
fn light_cones_come_near() {
    let mut before = f64::INFINITY;
    for radius in [4, 8, 16, 24] {
        let stages = [cone(radius, 2.0, (0, 0)), cone(radius + 2, 2.0, (0, 0))];
        let machine = Machine { hop: 2.0, link: 1e9 };
        let ratio = machine.period(&stages) / machine.bound(&stages);
        assert!((1.0..1.10).contains(&ratio) && ratio < before, "{radius}: {ratio}");
        before = ratio;
    }
    assert!(before < 1.03, "{before}");
}

/// Half a cone at each end of a wafer: what is given away there is what a mapping may gain.
#[test]
fn open_ends_gain_less_than_is_given_away() {
    let machine = Machine { hop: 2.0, link: 500.0 };
    let open = |wafer: u32| -> Stage {
        // Everybody begins at once and must be done in time for the middle.
        let half = |worker: &Worker| Worker { wafer, work: worker.work / 2.0 + 0.5, ..*worker };
        cone(12, 2.0, (0, 0)).iter().map(half).collect()
    };
    let stages: Vec<Stage> = [0, 1].into_iter().flat_map(|wafer| [open(wafer), open(wafer)]).collect();
    let (period, bound) = (machine.period(&stages), machine.bound(&stages));
    let closed: f64 = stages.iter().map(|stage| machine.bound(&[on(0, stage)])).sum::<f64>() + 2.0 * machine.link;
    assert!(bound <= period && period < closed, "{bound} <= {period} < {closed}");
}

/// Why a layer's four sets of products are not two stages. Rows of down and the columns of q, k and v that read what
/// they make lie together and take turns without waiting for anybody else, so do rows of the output projection and
/// columns of gate and up: two meetings a layer. Attention whole and network whole, as two stages, would exclude this
/// program; what the crate counts does not.
#[test]
fn a_row_may_be_followed_by_the_column_that_reads_it() {
    let machine = Machine { hop: 2.0, link: 1e9 };
    let large = cone(12, 2.0, (0, 0));
    let small: Stage = vec![Worker { wafer: 0, x: 0, y: 0, work: 2.0 }];
    let period = machine.period(&[large.clone(), small]);
    let mesh = Mesh { hop: 2.0, pes: 1_000_000, macs_per_cycle: 1.0 };
    let work: f64 = large.iter().map(|worker| worker.work).sum();
    // Half of the large stage's work is down, half is q, k and v; half of the small one's gate and up.
    let whole_attention = mesh.cycles_for_work(work / 2.0 + 1.0);
    let whole_network = mesh.cycles_for_work(work / 2.0 + 1.0);
    assert!(period < whole_attention + whole_network, "{period}");
    let without_down = mesh.cycles_for_work(work / 2.0) + mesh.cycles_for_work(1.0);
    let without_qkv = mesh.cycles_for_work(work / 2.0 + 1.0);
    assert!(period >= without_down.max(without_qkv), "{period}");
}
