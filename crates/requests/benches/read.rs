//! How fast traces are read: bytes of the file a second, one core. 300 MB/s are wanted.

#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]

use std::fmt::Write;
use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wafersim_requests::{Format, Reader, Settings, TraceRequest, summarise};

/// Bytes of each trace.
const SIZE: usize = 32 << 20;

/// A trace made of lines, the `index`-th by `line`.
fn trace(header: &str, mut line: impl FnMut(&mut String, u64)) -> Arc<[u8]> {
    let mut text = format!("{header}\n");
    for index in 0.. {
        line(&mut text, index);
        if text.len() > SIZE {
            break;
        }
    }
    text.into_bytes().into()
}

fn traces() -> [(&'static str, Format, Arc<[u8]>); 5] {
    let azure = trace("TIMESTAMP,ContextTokens,GeneratedTokens", |text, index| {
        let second = index / 50;
        let _ = writeln!(
            text,
            "2024-05-12 {:02}:{:02}:{:02}.{:06}+00:00,{},{}",
            second / 3600 % 24,
            second / 60 % 60,
            second % 60,
            index % 50 * 20_000,
            index * 7919 % 4000 + 1,
            index * 104_729 % 900 + 1
        );
    });
    let burst = trace(
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type",
        |text, index| {
            let _ = writeln!(
                text,
                "{}.0,5f0c2d1e-0000-4000-8000-{:012x},7,GPT-4,{},95,405,Conversation log",
                4100 + index / 20,
                index / 4,
                index % 4000 + 1
            );
        },
    );
    let plain = trace("arrival_s,prompt_tokens,output_tokens", |text, index| {
        let _ = writeln!(text, "{}.{:03},{},{}", index / 1000, index % 1000, index * 7919 % 4000 + 1, index % 900 + 1);
    });
    let mooncake = trace("", |text, index| {
        let blocks = index * 7919 % 30 + 1;
        let hashes: Vec<String> = (0..blocks).map(|block| (index * 31 + block).to_string()).collect();
        let hashes = hashes.join(", ");
        let _ = writeln!(
            text,
            "{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [{hashes}]}}",
            index / 3 * 3000 % 3_600_000_000,
            blocks * 512,
            index % 900 + 1
        );
    });
    let bailian = trace("", |text, index| {
        let blocks = index * 7919 % 60 + 1;
        let hashes: Vec<String> = (0..blocks).map(|block| (index * 31 + block).to_string()).collect();
        let hashes = hashes.join(", ");
        let _ = writeln!(
            text,
            "{{\"chat_id\": {index}, \"parent_chat_id\": -1, \"timestamp\": {}.{:03}, \"input_length\": {}, \
             \"output_length\": {}, \"type\": \"text\", \"turn\": 1, \"hash_ids\": [{hashes}]}}",
            index / 50,
            index % 50 * 20,
            blocks * 16,
            index % 900 + 1
        );
    });
    [
        ("azure", Format::Azure, azure),
        ("burstgpt", Format::BurstGpt, burst),
        ("plain", Format::Plain, plain),
        ("mooncake", Format::Mooncake, mooncake),
        ("bailian", Format::Bailian, bailian),
    ]
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    group.sample_size(10);
    for (name, format, bytes) in traces() {
        let open = || {
            let settings = Settings { format, ..Settings::default() };
            Reader::open(Cursor::new(Arc::clone(black_box(&bytes))), name, &settings)
        };
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let (mut reader, mut request, mut count) = (open()?, TraceRequest::default(), 0u64);
                while reader.read(&mut request)? {
                    count += 1;
                }
                Ok::<_, wafersim_requests::RequestError>(count)
            });
        });
        group.bench_function(format!("{name}, inspected"), |bench| {
            bench.iter(|| summarise(open()?, |_| {}).map(|summary| summary.requests));
        });
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
