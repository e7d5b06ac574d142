//! Experts from the routing generator and from traces.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use wafersim_routing::{SyntheticSettings, Trace, generate};
use wafersim_stream::StreamError;
use wafersim_stream::experts::{ExpertChoice, RoutedLayer};
use wafersim_stream::observer::Nobody;
use wafersim_stream::run::{Files, Server};
use wafersim_stream::scenario::{StreamFile, StreamScenario};

const LOAD: &str = "[machine]\nmodel = 'qwen3-30b-a3b'\nplacement = 'clustered'\ncontext = 1024\nusers = 24\n\
    [service]\nprefill = false\nmicro_batch = 4\n\
    [load]\nusers = 24\nprompt = { median = 500 }\noutput = { median = 40 }\n[run]\nwarm_up = 0.02\nwindow = 0.1\n";

fn scenario(routing: &str) -> StreamScenario {
    StreamFile::parse(&format!("{LOAD}[routing]\n{routing}"), "test").unwrap().check("test").unwrap()
}

fn trace(settings: SyntheticSettings) -> Arc<Trace> {
    Arc::new(Trace::read(&mut generate(&settings).unwrap()).unwrap())
}

fn machine(routing: &str, trace: Option<Arc<Trace>>) -> Result<Server, StreamError> {
    let routing_trace = trace.map(|trace| (trace, "some.bin"));
    Server::with_files(scenario(routing), Files { routing: routing_trace, ..Files::default() })
}

fn layer(index: u32) -> RoutedLayer {
    RoutedLayer { layer: u64::from(index), index, experts: 128, top_k: 8 }
}

/// Of how many experts of a user's token the next token of a user wants the same, in a middle layer, where neighbours
/// share most.
fn kept(source: &ExpertChoice, scenario: &StreamScenario, users: [u32; 2]) -> f64 {
    let mut source = source.source(scenario, scenario.machine.routing.into()).unwrap();
    let (mut before, mut now, mut same) = (Vec::new(), Vec::new(), 0);
    for _ in 0..300 {
        source.choose(users[0], layer(24), &mut before);
        source.choose(users[1], layer(24), &mut now);
        let mut sorted = now.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert!(sorted.len() == 8 && sorted.iter().all(|expert| *expert < 128));
        same += now.iter().filter(|expert| before.contains(expert)).count();
    }
    f64::from(same as u32) / 2400.0
}

#[test]
fn users_keep_their_own_hot_experts() {
    let model = wafersim_spec::Model::builtin("qwen3-30b-a3b").unwrap();
    let asked = scenario("generator = true\nwork = 'mixed'\nkinds_of_work = 24\n");
    let choice = ExpertChoice::new(&asked, &model, None).unwrap();
    let (own, other) = (kept(&choice, &asked, [3, 3]), kept(&choice, &asked, [3, 4]));
    assert!(own > 0.4 && own > 2.0 * other, "{own} with oneself, {other} with another user");
    // A trace of the same law, played back: the same stickiness.
    let settings = SyntheticSettings { users: 4, kinds_of_work: 4, tokens: 4000, ..SyntheticSettings::qwen3_30b() };
    let asked = scenario("trace = 'some.bin'\n");
    let choice = ExpertChoice::new(&asked, &model, Some((trace(settings), "some.bin"))).unwrap();
    let played = kept(&choice, &asked, [3, 3]);
    assert!((played / own - 1.0).abs() < 0.15, "{played} played back, {own} generated");
    // Users 3 and 7 play back the same user of the trace, from different places.
    assert!(kept(&choice, &asked, [3, 7]) < 0.8 * played);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_does_not() {
    let run = |seed: u64| {
        let mut asked = scenario("generator = true\n");
        asked.seed = seed;
        Server::new(asked, None).unwrap().run(&mut Nobody, |_| {})
    };
    let first = run(1);
    assert!(first.step_parts.expert > 0.0, "tokens of a micro-batch meet in clustered experts");
    assert_eq!(first, run(1));
    assert_ne!(first.step_parts, run(2).step_parts);
}

/// A trace of the generator's law costs in the mean what the generator does.
#[test]
fn a_trace_and_the_generator_of_its_law_take_the_same_time() {
    let settings = SyntheticSettings {
        users: 24,
        tokens: 24 * 200,
        work: wafersim_routing::Workload::Coding,
        ..SyntheticSettings::qwen3_30b()
    };
    let speed = |machine: Server| machine.run(&mut Nobody, |_| {}).tokens_per_second.mean;
    let generated = speed(machine("generator = true\n", None).unwrap());
    let played = speed(machine("trace = 'some.bin'\n", Some(trace(settings))).unwrap());
    assert!((played / generated - 1.0).abs() < 0.02, "{played} {generated}");
}

#[test]
fn other_models_and_missing_traces_are_refused() {
    let refused = |routing: &str, trace: Option<Arc<Trace>>, parts: &[&str]| {
        let error = machine(routing, trace).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "no '{part}' in {error}");
        }
    };
    let of = |settings| Some(trace(SyntheticSettings { tokens: 2, ..settings }));
    let asked = "trace = 'some.bin'\n";
    refused(asked, of(SyntheticSettings::qwen3_coder()), &["some.bin", "qwen3-coder", "62 layers of 160", "48 layers"]);
    let fewer = SyntheticSettings { experts: 64, ..SyntheticSettings::qwen3_30b() };
    refused(asked, of(fewer), &["48 layers of 64 experts", "48 layers of 128 experts"]);
    let named = SyntheticSettings { model: "other".into(), ..SyntheticSettings::qwen3_30b() };
    refused(asked, of(named), &["'other'", "a trace of 'qwen3-30b-a3b'"]);
    refused(asked, None, &["routing.trace", "not read"]);
    let mut dense = scenario("generator = true\n");
    dense.machine.model = "llama-3.1-8b".into();
    let error = Server::new(dense, None).unwrap_err().to_string();
    assert!(error.contains("routing.generator") && error.contains("llama-3.1-8b"), "{error}");
}
