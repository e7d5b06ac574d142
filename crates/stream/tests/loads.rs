//! Do loads have the figures that they are made after?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wafersim_stream::load::{
    ClosedLoop, ClosedSettings, DayCurve, Helpers, Lengths, LoadSource, OpenLoop, OpenSettings, SessionSettings,
    Sessions,
};
use wafersim_stream::request::{BLOCK, Request};
use wafersim_stream::time::Time;

fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part) as usize]
}

fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    (mean, variance.sqrt() / mean)
}

#[test]
fn an_open_loop_has_its_rate_and_its_variation() {
    for variation in [0.0, 0.5, 1.0, 3.0] {
        let lengths = Lengths { median: 500, spread: 1.0, longest: 1_000_000 };
        let settings = OpenSettings {
            rate: 20.0,
            variation,
            prompt: lengths,
            output: lengths,
            requests: Some(200_000),
            day: DayCurve::default(),
        };
        let mut load = OpenLoop::new(settings, 11);
        let requests: Vec<Request> = std::iter::from_fn(|| load.next()).collect();
        assert_eq!(requests.len(), 200_000);
        let gaps: Vec<f64> = requests.windows(2).map(|pair| (pair[1].arrival - pair[0].arrival).seconds()).collect();
        let (mean, spread) = moments(&gaps);
        assert!((mean * 20.0 - 1.0).abs() < 0.02 && (spread - variation).abs() < 0.03 * variation.max(0.01));
        let mut prompts: Vec<f64> = requests.iter().map(|request| f64::from(request.prompt)).collect();
        assert!((quantile(&mut prompts, 0.5) / 500.0 - 1.0).abs() < 0.02);
        // One standard deviation up: e times the median.
        assert!((quantile(&mut prompts, 0.8413) / 500.0 / 1f64.exp() - 1.0).abs() < 0.03);
    }
}

#[test]
fn a_closed_loop_has_one_request_for_each_user() {
    let lengths = Lengths::fixed(10);
    let settings = ClosedSettings {
        users: 50,
        think: 2.0,
        prompt: lengths,
        output: lengths,
        requests: None,
        day: DayCurve::default(),
    };
    let mut load = ClosedLoop::new(settings, 1);
    let first: Vec<Request> = std::iter::from_fn(|| load.next()).collect();
    assert_eq!(first.len(), 50);
    assert!(first.windows(2).all(|pair| pair[0].arrival <= pair[1].arrival));
    let now = Time::from_seconds(100.0);
    let thought: Vec<f64> = (0..20_000).map(|_| (load.after(7, now).unwrap().arrival - now).seconds()).collect();
    let (mean, spread) = moments(&thought);
    assert!((mean - 2.0).abs() < 0.05 && (spread - 1.0).abs() < 0.05);
}

/// TraceLab (sources.md#tracelab): appended 875, output 214 in the median, 8.8 steps a request, tool time p50 0.1 s,
/// p90 10 s, p99 3.2 min.
#[test]
fn coding_agents_have_the_published_figures() {
    let settings = SessionSettings {
        agents: 1,
        prefix: Lengths { median: 65_536, spread: 0.3, longest: 131_072 },
        common: 16_384,
        append: Lengths { median: 875, spread: 1.0, longest: 131_072 },
        output: Lengths { median: 214, spread: 1.0, longest: 131_072 },
        steps: 8.8,
        tool: 1.0,
        tool_shortest: 0.005,
        tool_longest: 600.0,
        think: 1e5,
        longest: 131_072,
        requests: None,
        day: DayCurve::default(),
        helpers: Helpers::default(),
    };
    let mut load = Sessions::new(settings, 3);
    let mut before = load.next().unwrap();
    let (mut outputs, mut appended, mut tools, mut shares) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut requests = 0.0f64;
    for _ in 0..60_000 {
        let request = load.after(0, Time::ZERO).unwrap();
        let pause = request.arrival.seconds();
        // Thinking takes a day, tools minutes: they do not overlap but for a percent.
        if pause > 700.0 {
            requests += 1.0
        } else {
            tools.push(pause)
        }
        outputs.push(f64::from(request.output));
        let known = before.prompt + before.output;
        let is_same =
            request.content.block(request.prompt / BLOCK - 1) == before.content.block(request.prompt / BLOCK - 1);
        if is_same {
            appended.push(f64::from(request.prompt - known));
            shares.push(f64::from(known) / f64::from(request.prompt));
        }
        assert!(request.prompt + request.output <= 131_072);
        before = request;
    }
    assert!((quantile(&mut appended, 0.5) / 875.0 - 1.0).abs() < 0.05);
    assert!((quantile(&mut outputs, 0.5) / 214.0 - 1.0).abs() < 0.05);
    assert!((60_000.0 / requests / 8.8 - 1.0).abs() < 0.05, "{}", 60_000.0 / requests);
    for (part, seconds) in [(0.5, 0.1), (0.9, 10.0), (0.99, 192.0)] {
        let got = quantile(&mut tools, part);
        assert!((got / seconds - 1.0).abs() < 0.12, "{part}: {got}");
    }
    // Published: 95.7 % of input tokens hit a prefix cache; here, of requests that continue their session.
    let (mean, _) = moments(&shares);
    assert!((0.95..0.995).contains(&mean), "{mean}");
}
