//! `simctl trace`, and `simctl stream` with traces of requests: what is read, what is left out, what is refused.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::surface::{repository, simctl};

const BURST: &str = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
700.5,7e0c2d1e-0000-4000-8000-00000000000a,7,GPT-4,310,95,405,Conversation log
703,,2,ChatGPT,88,0,88,API log
710,7e0c2d1e-0000-4000-8000-00000000000a,7,GPT-4,600,5,605,Conversation log
";
const TURNS: &str = "{\"session_id\": \"u1\", \"timestamp\": 40, \"input_length\": 900, \"output_length\": 30}
{\"session_id\": \"u1\", \"delay\": 1500, \"input_length\": 1100, \"output_length\": 12}
";
const SMALL: &str = "[machine]
model = 'llama-3.1-8b'
context = 4096
users = 4
[load]
kind = 'trace'
file = 'trace'
";

fn put(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, text).expect("a file in a folder of its own");
    file.display().to_string()
}

fn inspected(file: &str) -> Value {
    simctl(&format!("trace inspect {file} --format json")).json()
}

#[test]
fn an_inspection_says_what_a_trace_is() {
    let folder = tempfile::tempdir().unwrap();
    let burst = put(folder.path(), "burst.csv", BURST);
    let said = inspected(&burst);
    assert_eq!(said["seen"]["format"], "burstgpt");
    assert_eq!(
        (&said["requests"], &said["span_s"], &said["left_out"]["empty_answer"]),
        (&2.into(), &9.5.into(), &1.into())
    );
    assert_eq!((&said["sessions"]["sessions"], &said["shared"]["tokens"]), (&1.into(), &405.into()));
    let text = simctl(&format!("trace inspect {burst}")).data();
    for part in ["BurstGPT with sessions, by its content", "from 700.5 s on", "1 (answer of 0 tokens)", "1 session"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_converted_and_cut_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let turns = put(folder.path(), "turns.jsonl", TURNS);
    let plain = folder.path().join("plain.csv").display().to_string();
    let said = simctl(&format!("trace convert {turns} --to plain --out {plain}"));
    assert!(said.code == Some(0) && said.stderr.contains("Mooncake with sessions"), "{}", said.stderr);
    assert_eq!(
        fs::read_to_string(&plain).unwrap(),
        "arrival_s,prompt_tokens,output_tokens,session,delay_s\n0,900,30,u1,\n,1100,12,u1,1.5\n"
    );
    let pick = |mut said: Value| {
        // What was read, and by which name.
        for key in ["seen", "overrides"] {
            said.as_object_mut().unwrap().remove(key);
        }
        said
    };
    assert_eq!(pick(inspected(&plain)), pick(inspected(&turns)));

    let burst = put(folder.path(), "burst.csv", BURST);
    let cut = simctl(&format!("trace cut {burst} --from 5 --output-format azure")).data();
    assert_eq!(cut, "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 00:00:04.5+00:00,600,5\n");
    let first = simctl(&format!("trace cut {burst} --requests 1")).data();
    assert!(first.ends_with("\n0,310,95,7e0c2d1e-0000-4000-8000-00000000000a\n"), "{first}");
}

#[test]
fn wrong_traces_and_flags_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let turns = put(folder.path(), "turns.jsonl", TURNS);
    let three = put(folder.path(), "three.jsonl", "{\"timestamp\": 1, \"input_length\": 9, \"output_length\": 2}\n");
    let broken = put(folder.path(), "broken.csv", "arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,x,5\n");
    let out = folder.path().join("out");
    for (arguments, parts) in [
        (format!("inspect {three}"), &["load.time_unit", "milliseconds"][..]),
        (format!("inspect {three} --set load.time_unit=h"), &["load.time_unit=h", "`ms`"]),
        (format!("inspect {three} --set machine.wafers=2"), &["--set", "machine.wafers=2", "load.time_unit"]),
        (format!("inspect {three} --set load.users=2"), &["load.users=2", "load.columns.NAME"]),
        (format!("inspect {turns} --set load.speed=2"), &["--set", "load.speed=2", "says nothing", "allowed: "]),
        (format!("inspect {turns} --set load.kind=trace"), &["load.kind=trace"]),
        (format!("inspect {turns} --set load.file={broken}"), &["load.file="]),
        (format!("cut {turns} --set load.requests=1"), &["load.requests=1"]),
        (
            format!("inspect {turns} --input-format mooncake --set load.format=azure"),
            &["--input-format", "is mooncake", "load.format=azure"],
        ),
        (format!("inspect {turns} --set load.columns.session=nope"), &["load.columns.session", "'nope'"]),
        (format!("inspect {broken}"), &["line 3: field 'prompt_tokens' is 'x'", "a whole number of tokens"]),
        (format!("convert {broken} --out {}", out.display()), &["line 3"]),
        (format!("convert {turns} --to azure --out {}", out.display()), &["wait for the answer", "plain"]),
        (format!("cut {turns} --from 5 --to 2"), &["--to", "later time"]),
        (format!("cut {turns} --sample 2"), &["--sample", "0 to 1"]),
        (format!("cut {turns} --from 500"), &["no request"]),
        (format!("inspect {}", folder.path().display()), &["no chunk of ServeGen"]),
        ("inspect no-such-file".into(), &["no-such-file", "cannot be read"]),
        (format!("inspect {turns} --input-format azure"), &["load.format = mooncake"]),
    ] {
        let said = simctl(&format!("trace {arguments}"));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{arguments}: {}", said.stderr);
    }
    assert!(!out.exists());
}

#[test]
fn a_servegen_model_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "chunk-0-trace.csv", "0,0,0,,0,0\n600,0.5,1.4,Gamma,0.5,8.0\n1200,0.25,1,Weibull,1,4\n");
    put(
        folder.path(),
        "chunk-0-dataset.json",
        "{\"0\": {\"input_tokens\": \"{100: 0.75, 900: 0.25}\", \"output_tokens\": \"{20: 1.0}\"}}",
    );
    let said = inspected(&folder.path().display().to_string());
    assert_eq!((&said["seen"]["format"], &said["requests"]), (&"servegen".into(), &450.into()));
    assert_eq!(
        (&said["prompt"]["min"], &said["prompt"]["max"], &said["output"]["mean"]),
        (&100.0.into(), &900.0.into(), &20.0.into())
    );
    let mean = said["prompt"]["mean"].as_f64().unwrap();
    assert!((240.0..360.0).contains(&mean), "{mean}");
}

#[test]
fn a_stream_says_what_it_took_for_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = put(folder.path(), "small.toml", SMALL);
    put(folder.path(), "trace", BURST);
    let text = simctl(&format!("stream {scenario}")).data();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("trace BurstGPT with sessions, by its content, times in s from 700.5 s on; 2 requests over 9.500 s; left out: 1"), "{text}");
    put(folder.path(), "trace", TURNS);
    let said = simctl(&format!("stream {scenario} --format json")).json();
    assert_eq!(
        (&said["outcome"]["totals"]["finished"], &said["outcome"]["steady"]["state"]),
        (&2.into(), &"served".into())
    );
    // The second turn begins 1.5 s after the first answer.
    assert!(said["outcome"]["window_end"].as_f64().unwrap() > 1.5);
}

#[test]
fn shifted_times_are_the_same_load() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = put(folder.path(), "small.toml", SMALL);
    let speeds = [0, 7200].map(|shift| {
        let rows: String = (0..4).map(|second| format!("{},300,50\n", second + shift)).collect();
        put(folder.path(), "trace", &format!("arrival_s,prompt_tokens,output_tokens\n{rows}"));
        simctl(&format!("stream {scenario} --format json")).json()["outcome"]["tokens_per_second"].clone()
    });
    assert_eq!(speeds[0], speeds[1]);
}

#[test]
fn a_queue_without_end_and_a_run_without_a_window_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = put(
        folder.path(),
        "open.toml",
        "[machine]\nmodel = 'llama-3.1-8b'\nwafers = 2\nusers = 4\ncontext = 4096\n[load]\nkind = 'open'\nrate = 300\n\
         prompt = { median = 700 }\noutput = { median = 150 }\n[run]\nwindow = 5\n",
    );
    let state = |more: &str| {
        let said = simctl(&format!("stream {scenario} --format json {more}")).json()["outcome"].clone();
        (said["steady"]["state"].as_str().unwrap().to_owned(), said)
    };
    assert_eq!(state("").0, "growing");
    assert_eq!(state("--set load.rate=10 --set run.window=20").0, "steady");
    assert_eq!(state("--set load.rate=2").0, "short");
    let text = simctl(&format!("stream {scenario}")).data();
    assert!(text.contains("not steady") && text.contains("grows without end"), "{text}");
    let chat = repository("sim/scenarios/stream/chat.toml");
    let said =
        simctl(&format!("stream {} --set run.warm_up=3 --set run.requests=1 --format json", chat.display())).json();
    assert_eq!(said["outcome"]["steady"]["state"], "no_window");
    assert_eq!(said["outcome"]["first_token"], Value::Null);
    assert!(said["outcome"]["stations"].as_array().unwrap().iter().all(|station| station["busy"] == 0.0));
    assert_eq!(said["outcome"]["little"]["requests"], 0.0);
}
