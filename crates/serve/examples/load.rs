//! A load for `simctl serve`: so many streams at once, and how late their chunks are.
//!
//! `cargo run --release -p wafersim-serve --example load -- 127.0.0.1:18080 STREAMS TOKENS`
//!
//! Requests carry `wafersim_due: true`, so that each chunk says when it was due on the server's clock. The two clocks are
//! put together by the chunk that is least late; all others are late by what they come after it. Tokens that the server
//! sends together say when the last of them was due, which hides half a millisecond at most.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Chunks that were seen: when, and when they were due, in seconds.
type Seen = Vec<(f64, f64)>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, streams, tokens] = arguments.as_slice() else {
        return Err("wanted: ADDRESS:PORT STREAMS TOKENS".into());
    };
    let (streams, tokens): (usize, u32) = (streams.parse()?, tokens.parse()?);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(address.clone(), streams, tokens))
}

async fn run(address: String, streams: usize, tokens: u32) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..streams {
        let address = address.clone();
        tasks.spawn(async move { stream(&address, tokens, start).await.map_err(|error| error.to_string()) });
    }
    let (mut all, mut failed) = (Seen::new(), 0);
    while let Some(done) = tasks.join_next().await {
        match done? {
            Ok(seen) => all.extend(seen),
            Err(error) => {
                failed += 1;
                println!("a stream failed: {error}");
            }
        }
    }
    let offset = all.iter().map(|(seen, due)| seen - due).fold(f64::INFINITY, f64::min);
    let mut late: Vec<f64> = all.iter().map(|(seen, due)| seen - due - offset).collect();
    late.sort_by(f64::total_cmp);
    let at = |part: f64| late.get(((late.len() as f64 * part) as usize).min(late.len().saturating_sub(1)));
    let milliseconds = |part: f64| at(part).map_or(0.0, |late| late * 1e3);
    let (first, last) =
        all.iter().fold((f64::INFINITY, 0.0f64), |(first, last), (seen, _)| (first.min(*seen), last.max(*seen)));
    println!(
        "{} chunks of {streams} streams in {:.2} s, {:.0} a second; late by {:.2} ms (p50), {:.2} ms (p99), {:.2} ms (most); \
         {failed} failed",
        all.len(),
        last - first,
        all.len() as f64 / (last - first),
        milliseconds(0.5),
        milliseconds(0.99),
        milliseconds(1.0)
    );
    Ok(())
}

async fn stream(address: &str, tokens: u32, start: Instant) -> Result<Seen, Box<dyn Error>> {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"hello"}}],"stream":true,"ignore_eos":true,"max_tokens":{tokens},"wafersim_due":true}}"#
    );
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let length = body.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let (mut seen, mut text, mut buffer) = (Seen::new(), Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut buffer).await?;
        let now = start.elapsed().as_secs_f64();
        if count == 0 {
            break;
        }
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        // Whole lines only: what is left waits for the rest.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let lines: Vec<u8> = text.drain(..whole).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            let due = line.split_once("\"due\":").and_then(|(_, rest)| rest.split(['}', ',']).next()?.parse().ok());
            seen.extend(due.map(|due: f64| (now, due)));
        }
    }
    if seen.len() == tokens as usize { Ok(seen) } else { Err(format!("{} chunks of {tokens}", seen.len()).into()) }
}
