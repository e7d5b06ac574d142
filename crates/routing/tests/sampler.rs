//! Is the sampler deterministic, independent of who is asked first, and of the right shape?
#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use wafersim_routing::{ExpertSampler, Replay, Routing, SyntheticSettings, Trace, generate};

fn settings() -> SyntheticSettings {
    SyntheticSettings { layers: 4, tokens: 60, users: 3, kinds_of_work: 2, ..SyntheticSettings::qwen3_30b() }
}

fn asked(sampler: &mut dyn Routing, layers: &[u32], users: &[u32]) -> Vec<(u32, u32, Vec<u16>)> {
    let mut said = Vec::new();
    for _ in 0..20 {
        for &layer in layers {
            let mut chosen = vec![0; 8 * users.len()];
            sampler.choose(layer, users, &mut chosen).unwrap();
            said.extend(users.iter().zip(chosen.chunks(8)).map(|(user, chosen)| (*user, layer, chosen.to_vec())));
        }
    }
    said
}

#[test]
fn order_of_asking_does_not_matter() {
    let mut forward = asked(&mut ExpertSampler::new(&settings()).unwrap(), &[0, 1, 2, 3], &[0, 1, 2]);
    let mut backward = asked(&mut ExpertSampler::new(&settings()).unwrap(), &[3, 1, 0, 2], &[2, 0, 1]);
    forward.sort_by_key(|(user, layer, _)| (*user, *layer));
    backward.sort_by_key(|(user, layer, _)| (*user, *layer));
    assert_eq!(forward, backward);
}

#[test]
fn the_trace_is_what_the_sampler_says_and_what_replay_plays() {
    let trace = Trace::read(&mut generate(&settings()).unwrap()).unwrap();
    let mut sampler = ExpertSampler::new(&settings()).unwrap();
    let mut replay = Replay::new(&trace, 3);
    let said = asked(&mut sampler, &[0, 1, 2, 3], &[0, 1, 2]);
    assert_eq!(said, asked(&mut replay, &[0, 1, 2, 3], &[0, 1, 2]));
    for (index, (user, layer, chosen)) in said.iter().enumerate() {
        let (round, of_round) = (index / 12, index % 12);
        assert_eq!(trace.chosen(round * 3 + of_round % 3, *layer), chosen, "{user}");
    }
}

#[test]
fn threads_and_seeds() {
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Trace::read(&mut generate(&settings()).unwrap()).unwrap())
    };
    assert_eq!(with_threads(1), with_threads(4));
    let other = SyntheticSettings { seed: 2, ..settings() };
    assert_ne!(with_threads(2), Trace::read(&mut generate(&other).unwrap()).unwrap());
}

#[test]
fn a_new_session_is_another_one() {
    let mut sampler = ExpertSampler::new(&settings()).unwrap();
    let first = asked(&mut sampler, &[1], &[0]);
    sampler.begin(0, 0, 0);
    assert_eq!(asked(&mut sampler, &[1], &[0]), first);
    sampler.begin(0, 77, 0);
    assert_ne!(asked(&mut sampler, &[1], &[0]), first);
}

#[test]
fn what_is_not_there_is_refused() {
    let mut sampler = ExpertSampler::new(&settings()).unwrap();
    let mut chosen = [0; 8];
    assert!(sampler.choose(4, &[0], &mut chosen).is_err());
    assert!(sampler.choose(0, &[3], &mut chosen).is_err());
    assert!(sampler.choose(0, &[0], &mut chosen[..7]).is_err());
    for wrong in [
        SyntheticSettings { layers: 0, ..settings() },
        SyntheticSettings { top_k: 129, ..settings() },
        SyntheticSettings { top_k: 65, ..settings() },
        SyntheticSettings { experts: 2000, ..settings() },
        SyntheticSettings { tokens: 0, ..settings() },
        SyntheticSettings { users: 0, ..settings() },
        SyntheticSettings { users: 1 << 20, layers: 4000, ..settings() },
        SyntheticSettings { kinds_of_work: 0, ..settings() },
    ] {
        assert!(generate(&wrong).is_err(), "{wrong:?}");
    }
}

/// Extreme shapes: all experts, one expert, one layer.
#[test]
fn every_shape_gives_distinct_experts() {
    for (layers, experts, top_k) in [(1, 1, 1), (2, 8, 8), (3, 8, 2), (1, 1024, 64), (2, 17, 16), (1, 256, 8)] {
        let settings = SyntheticSettings { layers, experts, top_k, tokens: 50, ..settings() };
        let trace = Trace::read(&mut generate(&settings).unwrap()).unwrap();
        for index in 0..trace.len() {
            for layer in 0..layers {
                let mut chosen = trace.chosen(index, layer).to_vec();
                chosen.sort_unstable();
                chosen.dedup();
                assert_eq!(chosen.len(), top_k as usize);
                assert!(u32::from(chosen[chosen.len() - 1]) < experts);
            }
        }
    }
}

#[test]
fn users_who_share_a_user_of_the_trace_begin_at_different_tokens() {
    let trace = Trace::read(&mut generate(&settings()).unwrap()).unwrap();
    let mut replay = Replay::staggered(&trace, 9);
    let said = asked(&mut replay, &[2], &[0, 3, 6, 1]);
    let of = |user: u32| -> Vec<&Vec<u16>> {
        said.iter().filter(|(known, ..)| *known == user).map(|(.., chosen)| chosen).collect()
    };
    // Users 0, 3 and 6 play back user 0, whose 20 tokens begin again after the last: each is a rotation of the same.
    let [first, second, third] = [of(0), of(3), of(6)];
    assert!(first != second && second != third && first != third);
    let rotated = |by: usize| [&first[by..], &first[..by]].concat();
    assert!((1..20).any(|by| rotated(by) == second) && (1..20).any(|by| rotated(by) == third));
    assert_eq!(of(1)[0], trace.chosen(1, 2));
}
