//! A load for `simctl serve`: so many streams at once, how late their chunks are, and what memory the server takes.
//!
//! `cargo run --release -p wafersim-serve --example load -- 127.0.0.1:18080 STREAMS TOKENS [SECONDS] [PROCESS]`
//!
//! All connections are open before the first one asks. With SECONDS the streams come again and again for that long; of
//! them one in eight hangs up half-way. With PROCESS, the id of the server, its resident bytes are read (Linux) after
//! each round; the median of the first third of the rounds (without the very first tenth) is held against that of the
//! last, since single rounds leave more or less with the allocator. Ends with 1 where a stream failed: each must have
//! all its tokens, one `finish_reason`, and `[DONE]`.
//!
//! Requests carry `wafersim_due: true`, so that each chunk says when it was due on the server's clock. The two clocks
//! are put together by the chunk of a round that is least late; all others are late by what they come after it. Tokens
//! that the server sends together say when the last of them was due, which hides half a millisecond at most.
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Anything = Box<dyn Error + Send + Sync>;

/// Chunks that were seen: when, and when they were due, in seconds.
type Seen = Vec<(f64, f64)>;

/// One stream in so many hangs up half-way where rounds are repeated.
const HANGS_UP: usize = 8;
/// Seconds between two lines about a long run.
const SAYS_EVERY: f64 = 60.0;

/// What is asked for.
struct Load {
    address: String,
    streams: usize,
    tokens: u32,
    seconds: f64,
    process: Option<String>,
}

/// What came of a round.
struct Round {
    chunks: usize,
    failed: usize,
    /// From the first chunk to the last, in seconds.
    took: f64,
    /// How late chunks were, in seconds, in order.
    late: Vec<f64>,
}

fn main() -> Result<ExitCode, Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, streams, tokens, rest) = match arguments.as_slice() {
        [address, streams, tokens, rest @ ..] if rest.len() <= 2 => (address, streams, tokens, rest),
        _ => return Err("wanted: ADDRESS:PORT STREAMS TOKENS [SECONDS] [PROCESS]".into()),
    };
    let load = Load {
        address: address.clone(),
        streams: streams.parse()?,
        tokens: tokens.parse()?,
        seconds: rest.first().map_or(Ok(0.0), |seconds| seconds.parse())?,
        process: rest.get(1).cloned(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let failed = runtime.block_on(run(&load))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all rounds; streams that failed.
async fn run(load: &Load) -> Result<usize, Anything> {
    let start = Instant::now();
    let (mut said, mut failed, mut chunks, mut rounds) = (0.0, 0, 0, 0u64);
    let mut memory: Vec<(f64, u64)> = Vec::new();
    loop {
        let one = round(load).await?;
        (failed, chunks, rounds) = (failed + one.failed, chunks + one.chunks, rounds + 1);
        let bytes = load.process.as_deref().map(resident).transpose()?;
        let now = start.elapsed().as_secs_f64();
        memory.extend(bytes.map(|bytes| (now, bytes)));
        let is_last = now >= load.seconds;
        if rounds == 1 || is_last || now - said >= SAYS_EVERY {
            said = now;
            let at = |part: f64| {
                let last = one.late.len().saturating_sub(1);
                one.late.get(((one.late.len() as f64 * part) as usize).min(last)).map_or(0.0, |late| late * 1e3)
            };
            let memory = bytes.map_or(String::new(), |bytes| format!("; {bytes} bytes resident"));
            println!(
                "{} chunks of {} streams in {:.2} s, {:.0} a second; late by {:.2} ms (p50), {:.2} ms (p99), {:.2} ms \
                 (most); {} failed{memory}",
                one.chunks,
                load.streams,
                one.took,
                one.chunks as f64 / one.took,
                at(0.5),
                at(0.99),
                at(1.0),
                one.failed,
            );
        }
        if is_last {
            break;
        }
    }
    if rounds > 1 {
        println!("in all {rounds} rounds, {} streams, {chunks} chunks, {failed} failed", rounds * load.streams as u64);
    }
    if let Some(growth) = growth(&memory) {
        println!("{growth}");
    }
    Ok(failed)
}

async fn round(load: &Load) -> Result<Round, Anything> {
    let mut open = Vec::with_capacity(load.streams);
    for _ in 0..load.streams {
        let stream = TcpStream::connect(&load.address).await?;
        stream.set_nodelay(true)?;
        open.push(stream);
    }
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (index, open) in open.into_iter().enumerate() {
        let hangs_up = load.seconds > 0.0 && index % HANGS_UP == HANGS_UP - 1;
        tasks.spawn(stream(open, load.tokens, hangs_up, start));
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
    let (first, last) =
        all.iter().fold((f64::INFINITY, 0.0f64), |(first, last), (seen, _)| (first.min(*seen), last.max(*seen)));
    Ok(Round { chunks: all.len(), failed, took: last - first, late })
}

async fn stream(mut stream: TcpStream, tokens: u32, hangs_up: bool, start: Instant) -> Result<Seen, Anything> {
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"hello"}}],"stream":true,"ignore_eos":true,"max_tokens":{tokens},"wafersim_due":true}}"#
    );
    let length = body.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let (mut seen, mut text, mut buffer) = (Seen::new(), Vec::new(), vec![0; 64 << 10]);
    let (mut finishes, mut is_done) = (0, false);
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
            finishes += usize::from(line.contains("\"finish_reason\":\""));
            is_done |= line == "data: [DONE]";
        }
        if hangs_up && seen.len() * 2 >= tokens as usize {
            return Ok(seen);
        }
    }
    if seen.len() == tokens as usize && finishes == 1 && is_done {
        Ok(seen)
    } else {
        let done = if is_done { "with" } else { "without" };
        Err(format!("{} chunks of {tokens}, {finishes} with a finish_reason, {done} [DONE]", seen.len()).into())
    }
}

/// Resident bytes of a process.
fn resident(process: &str) -> Result<u64, Anything> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// The median of bytes in the first third, without the first tenth, and in the last; and the most that there were.
fn growth(memory: &[(f64, u64)]) -> Option<String> {
    let all = memory.len();
    if all < 30 {
        return None;
    }
    let median = |from: usize, until: usize| {
        let mut bytes: Vec<u64> = memory.get(from..until)?.iter().map(|(_, bytes)| *bytes).collect();
        bytes.sort_unstable();
        bytes.get(bytes.len() / 2).copied()
    };
    let (early, late) = (median(all / 10, all / 3)?, median(all - all / 3, all)?);
    let most = memory.iter().map(|(_, bytes)| *bytes).max()?;
    let hours = memory.last()?.0 / 3600.0;
    Some(format!(
        "memory: {early} bytes in the median of the first third, {late} in the last: {} bytes of growth in {:.1} minutes; \
         {most} at most",
        i128::from(late) - i128::from(early),
        hours * 60.0
    ))
}
