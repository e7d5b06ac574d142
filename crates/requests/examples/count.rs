//! Counts the requests of a trace: `cargo run --release -p wafersim-requests --example count -- FILE [inspect]`. Timed
//! from outside, it is the reader's speed, or that of an inspection.
#![allow(clippy::print_stdout, reason = "an example prints")]

use wafersim_requests::{Reader, Settings, TraceRequest, summarise};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).ok_or("name a trace")?;
    let mut reader = Reader::open(std::fs::File::open(&name)?, &name, &Settings::default())?;
    if std::env::args().nth(2).is_some_and(|word| word == "inspect") {
        println!("{} requests", summarise(reader, |_| {})?.requests);
        return Ok(());
    }
    let (mut request, mut requests, mut tokens) = (TraceRequest::default(), 0u64, 0u64);
    while reader.read(&mut request)? {
        requests += 1;
        tokens += u64::from(request.prompt);
    }
    println!("{}: {requests} requests, {tokens} prompt tokens", reader.seen().name);
    Ok(())
}
