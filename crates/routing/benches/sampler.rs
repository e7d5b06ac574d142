//! How many choices of a token in a layer are made in a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wafersim_routing::{ExpertSampler, Routing, SyntheticSettings, TokenSource, generate};

fn sampler(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("routing");
    let settings = SyntheticSettings { users: 8, tokens: 1 << 40, ..SyntheticSettings::qwen3_coder() };
    let Ok(mut sampler) = ExpertSampler::new(&settings) else { return };
    let users: Vec<u32> = (0..8).collect();
    let mut chosen = vec![0; 64];
    group.throughput(Throughput::Elements(8 * 62));
    group.bench_function("choose, 8 users through 62 layers, one thread", |bencher| {
        bencher.iter(|| {
            for layer in 0..62 {
                let _ = black_box(sampler.choose(layer, &users, &mut chosen));
            }
        });
    });
    let Ok(mut generator) = generate(&settings) else { return };
    group.throughput(Throughput::Elements(62));
    group.bench_function("generate, all threads", |bencher| {
        bencher.iter(|| black_box(generator.next_token().is_ok()));
    });
    group.finish();
}

criterion_group!(benches, sampler);
criterion_main!(benches);
