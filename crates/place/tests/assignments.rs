//! Do the strategies give valid assignments, and does the optimiser find what trying everything finds?
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wafersim_place::experts::annealed::{Annealing, anneal, exhaustive};
use wafersim_place::experts::demand::{Demand, PlaceLoad, Price};
use wafersim_place::experts::strategies::{STRATEGIES, Task};

/// Batches of skewed choices: expert e is wanted about in proportion to 1 / (e + 1); none twice by a token of `top_k`.
fn demand(experts: usize, top_k: usize, tokens: usize, batches: usize, seed: u64) -> Demand {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut choices = Vec::new();
    for _ in 0..batches * tokens {
        let mut chosen: Vec<u16> = Vec::new();
        while chosen.len() < top_k {
            let part = f64::from(random.next_u32()) / 4_294_967_296.0;
            let expert = ((experts as f64 + 1.0).powf(part) - 1.0) as u16;
            if !chosen.contains(&expert) {
                chosen.push(expert.min(experts as u16 - 1));
            }
        }
        choices.extend(chosen);
    }
    Demand::new(experts, top_k * tokens, &choices).unwrap()
}

/// Each pair costs 10, the first more; each further expert 2.
fn price() -> Price {
    Price::new(vec![0.0, 15.0, 25.0, 35.0], vec![0.0, 0.0, 2.0, 4.0])
}

#[test]
fn annealing_finds_the_exact_optimum_of_small_cases_from_any_start() {
    let price = price();
    let mut starts_beaten = 0;
    for seed in 0..12 {
        let (experts, cells, room) = [(8, 4, 2), (7, 3, 3), (9, 3, 3), (6, 2, 4)][seed as usize % 4];
        let demand = demand(experts, 2, 1 + seed as usize % 3, 60, seed);
        let task = Task { demand: &demand, cells, room, price: &price };
        let (optimum, _) = exhaustive(&task).unwrap();
        for strategy in STRATEGIES.iter().filter(|strategy| !strategy.makes_copies()) {
            let start = strategy.assign(&task);
            let before = start.judge(&demand, &price).price;
            let found = anneal(&task, &start, Annealing { moves: 3000, restarts: 4, seed });
            assert!(found.is_valid(experts, room));
            let after = found.judge(&demand, &price).price;
            assert!(optimum <= after + 1e-9 && after <= before + 1e-9);
            assert!(after < optimum * (1.0 + 1e-9), "{} {seed}: {after} against {optimum}", strategy.name());
            starts_beaten += usize::from(after < before - 1e-9);
        }
    }
    assert!(starts_beaten > 12, "the starts are not optimal already: {starts_beaten} of 48 were beaten");
}

#[test]
fn threads_do_not_matter_and_seeds_do() {
    let (price, demand) = (price(), demand(40, 4, 4, 50, 1));
    let task = Task { demand: &demand, cells: 10, room: 4, price: &price };
    let start = STRATEGIES[0].assign(&task);
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| anneal(&task, &start, Annealing { moves: 500, restarts: 3, seed }))
    };
    assert_eq!(run(1, 1), run(3, 1));
    assert_ne!(run(2, 1), run(2, 2));
}

/// Prices by the slow way: every batch counted afresh.
#[test]
fn judging_by_hand() {
    let demand = Demand::new(4, 4, &[0, 1, 0, 2, 3, 3, 3, 1]).unwrap();
    let task = Task { demand: &demand, cells: 2, room: 3, price: &price() };
    let linear = STRATEGIES[0].assign(&task);
    assert_eq!(linear.homes, [[0], [0], [1], [1]]);
    // First batch: 3 pairs of 2 experts in rectangle 0: 37. Second: 3 pairs of one expert in rectangle 1: 35.
    let judged = linear.judge(&demand, &price());
    assert_eq!((judged.price, judged.busiest_pairs, judged.imbalance), (36.0, 3.0, 1.5));
    // Copies of experts 3 and 0, the hottest: pairs take turns.
    let copies = STRATEGIES[4].assign(&task);
    assert_eq!(copies.copies(), 6);
    assert_eq!((copies.homes[0].len(), copies.homes[3].len()), (2, 2));
    assert!(copies.judge(&demand, &price()).price < judged.price);
}

#[test]
fn prices_go_on_beyond_their_table() {
    let price = price();
    assert!((price.of(PlaceLoad { pairs: 5, distinct: 1 }) - 55.0).abs() < 1e-12);
    assert!((price.of(PlaceLoad { pairs: 3, distinct: 5 }) - 43.0).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Every strategy, and annealing after it, in every shape.
    #[test]
    fn assignments_are_valid(experts in 1usize..40, cells in 1usize..20, more in 0usize..4, tokens in 1usize..6, seed in 0u64..1000) {
        let demand = demand(experts, 2.min(experts), tokens, 20, seed);
        let (room, price) = (experts.div_ceil(cells) + more, price());
        let task = Task { demand: &demand, cells, room, price: &price };
        for strategy in STRATEGIES {
            let start = strategy.assign(&task);
            prop_assert!(start.is_valid(experts, room), "{}: {:?}", strategy.name(), start);
            let found = anneal(&task, &start, Annealing { moves: 100, restarts: 1, seed });
            prop_assert!(found.is_valid(experts, room));
            prop_assert!(found.judge(&demand, &price).price <= start.judge(&demand, &price).price + 1e-9);
        }
    }
}

/// The rectangles of a room take what the layout that has them already takes; more copies take more; what has no room
/// is seen.
#[test]
fn a_room_is_as_large_as_the_ledger_says() {
    use wafersim_place::experts::room::{room, shapes};
    use wafersim_place::{Machine, Request, place};
    use wafersim_spec::scenario::ExpertPlacement;
    use wafersim_spec::{Bytes, Model};

    let model = Model::builtin("qwen3-coder-480b-a35b").unwrap();
    let machine = Machine { columns: 755, rows: 1170, memory: Bytes(49_152), free_memory: Bytes(44_976) };
    let request = Request { context: 8192, experts: ExpertPlacement::Clustered, ..Request::new(&model, machine) };
    let placement = place(&request).unwrap();
    let layout = &placement.layouts[0];
    let grid = layout.experts.as_ref().unwrap().grid;
    let of = |cells, copies| room(layout, &placement.settings, (grid.across, grid.down), cells, copies);
    let alone = of(160, 1).unwrap();
    assert_eq!(alone.grid, grid);
    assert_eq!((alone.worst_pe, alone.more), (layout.worst_pe.sum(), Bytes::ZERO));
    let twice = of(160, 2).unwrap();
    assert!(twice.more.0 > 30_000 && !placement.has_room(0, twice.more), "an expert fills its rectangle");
    assert!(placement.has_room(0, Bytes::ZERO));
    assert!(of(grid.cells() + 1, 1).is_none() && of(160, 0).is_none() && of(0, 1).is_none());
    assert!(shapes(755, 234, 160).contains(&(grid.across, grid.down)));
    assert!(shapes(3, 2, 7).is_empty() && shapes(3, 2, 6) == [(3, 2)]);
}
