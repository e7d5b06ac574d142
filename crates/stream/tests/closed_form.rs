//! Does the engine give the closed form back where nobody waits, and its limit where everybody does?
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use wafersim_answer::{Question, answer_one_profile};
use wafersim_stream::ServiceOutcome;
use wafersim_stream::observer::{Happening, Nobody};
use wafersim_stream::run::Server;
use wafersim_stream::scenario::StreamFile;
use wafersim_stream::time::Time;

fn machine(text: &str) -> Server {
    Server::new(StreamFile::parse(text, "test").unwrap().check("test").unwrap(), None).unwrap()
}

fn run(text: &str) -> ServiceOutcome {
    machine(text).run(&mut Nobody, |_| {})
}

const MACHINES: [&str; 4] = [
    "[machine]\nmodel = 'qwen3-coder-480b-a35b'\ncontext = 32768\n",
    "[machine]\nmodel = 'qwen3-coder-480b-a35b'\nplacement = 'clustered'\nprofile = 'best'\ncontext = 16384\n",
    "[machine]\nmodel = 'gpt-oss-120b'\ncontext = 16384\nprofile = 'ideal'\n",
    "[machine]\nmodel = 'llama-3.1-8b'\ncontext = 8192\nwafers = 1\n",
];

/// One user, no contention: every gap between two tokens is the closed form at that context, to the nanosecond, and the
/// last one is the answer of `simctl run`.
#[test]
fn one_user_is_the_closed_form_to_the_nanosecond() {
    for text in MACHINES {
        for prefill in [false, true] {
            let parsed = StreamFile::parse(text, "test").unwrap();
            let context = parsed.machine.context.unwrap();
            let (prompt, output) = (context - 3000, 3000);
            let text = format!(
                "{text}[service]\nprefill = {prefill}\n[load]\nprompt = {{ median = {prompt} }}\noutput = {{ median = {output} }}\nrequests = 1\n"
            );
            let machine = machine(&text);
            let pipeline = machine.pipeline();
            let mut at = Vec::new();
            let outcome = machine.run(
                &mut |now: Time, _: u64, happening: Happening| {
                    if matches!(happening, Happening::Produced { .. }) {
                        at.push(now);
                    }
                },
                |_| {},
            );
            assert_eq!(at.len() as u64, output);
            let nanoseconds = |context: u64| pipeline.latency(context).seconds(pipeline.clock()) * 1e9;
            for (index, pair) in at.windows(2).enumerate() {
                let gap = (pair[1] - pair[0]).0 as f64 / 1e3;
                let expected = nanoseconds(prompt + index as u64 + 1);
                assert!((gap - expected).abs() < 0.5, "token {index}: {gap} ns against {expected} ns");
            }
            let answer = answer_one_profile(&Question::load(parsed.machine.check("test").unwrap()).unwrap()).unwrap();
            let last = (at[at.len() - 1] - at[at.len() - 2]).0 as f64 / 1e3;
            assert!((last - answer.time_per_output_token_us * 1e3).abs() < 0.5, "{last} ns");
            let parts = outcome.step_parts;
            assert_eq!((parts.stage, parts.prefill, parts.links), (0.0, 0.0, 0.0));
        }
    }
}

/// The first token of one user is as late as the closed form says, whose chunks' times are the mean of the first and
/// the last. Of gpt-oss that mean is 2.1 % too long: layers with windows stop growing, and the slowest slot changes.
#[test]
fn one_prompt_takes_what_the_closed_form_says() {
    for (text, within) in MACHINES.into_iter().zip([0.02, 0.02, 0.03, 0.02]) {
        let parsed = StreamFile::parse(text, "test").unwrap();
        let prompt = parsed.machine.context.unwrap() - 64;
        let text = format!(
            "{}prompt = {prompt}\n[load]\nprompt = {{ median = {prompt} }}\noutput = {{ median = 1 }}\nrequests = 1\n[service]\npolicy = 'prefill_first'",
            text
        );
        let machine = machine(&text);
        let outcome = machine.run(&mut Nobody, |_| {});
        let (got, expected) = (outcome.first_token.unwrap().mean, machine.summary().closed_form_first_token);
        assert!((got / expected - 1.0).abs() < within, "{text}: {got} s against {expected} s");
    }
}

/// A full pipeline gives a micro-batch in the time of the slowest stage.
#[test]
fn saturation_is_the_closed_forms_full_pipeline() {
    for (model, micro_batch) in [("qwen3-coder-480b-a35b", 1), ("qwen3-coder-480b-a35b", 3), ("llama-3.1-8b", 2)] {
        let text = format!(
            "[machine]\nmodel = '{model}'\ncontext = 2100\nusers = 300\n[service]\nprefill = false\nmicro_batch = {micro_batch}\n\
             [load]\nusers = 300\nthink = 0.02\nprompt = {{ median = 2048 }}\noutput = {{ median = 50 }}\n[run]\nwarm_up = 1.0\nwindow = 30.0\n"
        );
        let machine = machine(&text);
        let pipeline = machine.pipeline();
        let slowest = pipeline.closed_form(micro_batch, 2075).slowest.seconds(pipeline.clock());
        let expected = micro_batch as f64 / slowest;
        let outcome = machine.run(&mut Nobody, |_| {});
        let got = outcome.tokens_per_second.mean;
        assert!((got / expected - 1.0).abs() < 0.01, "{model} {micro_batch}: {got} against {expected}");
        let other = outcome.requests_per_second.mean * outcome.whole_request.unwrap().mean;
        assert!((outcome.queues.inside.mean / other - 1.0).abs() < 0.01, "Little's law");
    }
}

/// With speculation, a step is a draft and the passes that verify it, as in the closed form.
#[test]
fn speculation_is_the_closed_forms_in_the_mean() {
    for verification in ["stream", "micro_batch"] {
        let text = format!(
            "[machine]\ncontext = 8192\n[machine.speculation]\ndraft_length = 4\nacceptance = 0.8\nverification = '{verification}'\n"
        );
        let load = "[service]\nprefill = false\n[load]\nprompt = { median = 8000 }\noutput = { median = 192 }\n[run]\nwindow = 60.0\n";
        let outcome = run(&format!("{text}{load}"));
        let parsed = StreamFile::parse(&text, "test").unwrap().machine;
        let answer = answer_one_profile(&Question::load(parsed.check("test").unwrap()).unwrap()).unwrap();
        let ratio = outcome.tokens_per_second.mean / answer.tokens_per_second_per_user;
        assert!((ratio - 1.0).abs() < 0.01, "{verification}: {ratio}");
        let parts = outcome.step_parts;
        assert!(parts.draft > 0.0 && parts.service > parts.draft);
    }
}

/// Experts drawn token by token: one token meets nobody; several wait for the busiest, and in the mean about as the
/// expected load says.
#[test]
fn drawn_experts_are_about_the_expected_ones() {
    for placement in ["spread", "clustered"] {
        let speed = |experts: &str, micro_batch: u64| {
            run(&format!(
                "[machine]\nplacement = '{placement}'\ncontext = 2100\nusers = 300\nprofile = 'best'\n\
                 [service]\nprefill = false\nmicro_batch = {micro_batch}\nexperts = '{experts}'\n\
                 [load]\nusers = 300\nprompt = {{ median = 2048 }}\noutput = {{ median = 50 }}\n[run]\nwarm_up = 0.2\nwindow = 0.4\n"
            ))
        };
        let (drawn, expected) = (speed("sampled", 1), speed("expected", 1));
        assert_eq!(drawn.step_parts.expert, 0.0, "{placement}");
        assert!((drawn.tokens_per_second.mean / expected.tokens_per_second.mean - 1.0).abs() < 1e-3, "{placement}");
        let (drawn, expected) = (speed("sampled", 4), speed("expected", 4));
        assert!(drawn.step_parts.expert > 0.0, "{placement}");
        let ratio = drawn.tokens_per_second.mean / expected.tokens_per_second.mean;
        // A line goes at the pace of the layer that drew worst, so it is slower than with the mean in every layer.
        assert!((0.6..1.1).contains(&ratio), "{placement}: {ratio}");
    }
}
