//! A small run of every subcommand, for tests of what all of them must keep: the same bytes for any number of threads,
//! a schema for their JSON. A subcommand that is new must be entered here; a test says so.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::surface::{repository, simctl};

/// Runs of a subcommand.
pub struct Runs {
    /// The subcommand, with its own where it has some.
    pub command: &'static str,
    /// Its arguments, one text a run; `@name` is a file of [`Folder`].
    pub runs: &'static [&'static str],
    /// Others whose JSON must fit the schema that was made from `runs`.
    pub others: &'static [&'static str],
}

/// Subcommands that wait for somebody, with the reason why there is no run of them here.
pub const WAITING: &[(&str, &str)] =
    &[("explore", "waits for a browser; sim/tests/browser"), ("serve", "waits for clients; serve.rs")];

macro_rules! runs {
    ($($command:literal: [$($run:expr),* $(,)?] others [$($other:expr),* $(,)?];)*) => {
        &[$(Runs { command: $command, runs: &[$($run),*], others: &[$($other),*] }),*]
    };
}

/// All of them, in the order of `simctl --help`.
pub const BATTERY: &[Runs] = runs! {
    "run": [
        "--model llama-3.1-8b --context 2k --search none --format json",
        "--model qwen3-30b-a3b --context 2k --search none --users 4 --draft-length 2 --acceptance 0.7 \
         --ranges sampled --samples 20 --format json",
        "--model llama-3.1-8b --context 1k --ranges none --set users=2 --wafer example-dojo-like --search \
         none --format json",
        "@elsewhere.toml --search none --format json",
    ] others ["--model qwen3-8b --context 4k --ranges none --users 3 --search none --profile ideal --format json"];
    "compare": ["@quick.toml @quick.toml --search none --set-b users=2 --format json"]
        others ["@quick.toml @quick.toml --search none --set-b clock_ghz=0.9 --format json"];
    "bound": [
        "--model llama-3.1-8b --context 4k --wafers 1 --format json",
        "--model qwen3-30b-a3b --context 2k --users 2 --format json",
    ] others ["--model qwen3-8b --context 1k --users 3 --format json"];
    "goal": [
        "--model llama-3.1-8b --context 4k --search none --target 4000 --vary wafer.link,context --format json",
        "--model llama-3.1-8b --context 4k --search none --target 10 --vary wafer.clock --format json",
    ] others ["--model llama-3.1-8b --context 2k --search none --target 5000 --vary wafer.clock,users --format json"];
    "size": [
        "@sized.toml --search none --seeds 2 --ttft-p95 300ms --speed-p5 300 --format json",
        "@sized.toml --search none --seeds 2 --speed-p5 1000000 --format json",
        "@sized-elsewhere.toml --search none --seeds 2 --speed-p5 300 --format json",
        "@sized.toml --search none --seeds 2 --sweep load.users=2,6 --sweep speed_p5=100,1e6 --format json",
    ] others ["@sized.toml --search none --seeds 2 --speed-p5 100 --format json"];
    "cost": [
        "--model llama-3.1-8b --context 4k --search none --users 4 --format json",
        "@elsewhere.toml --search none --format json",
    ]
        others ["--model llama-3.1-8b --context 2k --search none --users 2 --price-kwh 0.08 --format json"];
    "plan": [
        "--model llama-3.1-8b --search none --users 1,2 --context 1k,2k --wafers 1,auto --format json",
        "@elsewhere.toml --search none --users 1 --context 1k --format json",
    ]
        others ["--model qwen3-8b --search none --users 1 --context 1k --profile published,ideal --format json"];
    "stream": [
        "@load.toml --format json",
        "@load-elsewhere.toml --format json",
        "@load.toml --sweep load.users=1,3 --format json",
    ]
        others ["@load.toml --set run.window=1.0 --set load.users=2 --format json"];
    "explain": ["--agent light --set run.window=200 --set run.warm_up=30 --format json"] others [];
    "trace inspect": ["@mooncake.jsonl --format json", "@burst.csv --format json"] others [];
    "trace convert": ["@burst.csv --to plain"] others [];
    "trace cut": ["@burst.csv --requests 1"] others [];
    "validate": ["--format json"] others ["--wafer wse2 --format json"];
    "values": ["--checkpoint @checkpoint --grid 2x2 --format json"]
        others ["--checkpoint @checkpoint --grid 3x2 --prompt 1,2,3 --steps 2 --format json"];
    "crosscheck": ["--grids 8x8,24x9 --kernels multicast,mesh_gemm --format json"]
        others ["--grids 12x12 --kernels multicast --format json"];
    "traffic": ["--mesh 6x9 --pattern tornado --rate 0.1 --format json"]
        others ["--mesh 8x8 --rate 0.05 --format json"];
    "place": ["--model qwen3-30b-a3b --wafers 4 --batches 8 --moves 10 --strategies spread,hybrid --format json"]
        others ["--model qwen3-30b-a3b --wafers 4 --batches 4 --moves 5 --strategies spread --batch 2 --format json"];
    "results list": ["@rows.jsonl"] others [];
    "results show": ["@rows.jsonl --format json"] others [];
    "results diff": ["@rows.jsonl @others.jsonl --format json", "@rows.jsonl @others.jsonl --by place --format json"]
        others ["@rows.jsonl @rows.jsonl --format json"];
    "results merge": ["@rows.jsonl --into @merged.jsonl"] others [];
    "routing inspect": ["@routed.jsonl --format json"] others [];
    "routing generate": ["--model qwen3-30b-a3b --layers 3 --tokens 40"] others [];
    "routing convert": ["@counts.json --top-k 2 --tokens 10"] others [];
    "graph": ["--model qwen3-8b --layer 0 --format json", "--model qwen3-30b-a3b --layer 3 --format json"]
        others ["--model qwen3-30b-a3b --layer 5 --format json"];
    "map": ["--model llama-3.1-8b --users 2 --context 2k --wafers 1 --search quick --format json"] others [];
    "mappings": ["--format json", "published --format json"] others ["best --format json"];
    "models": ["--format json"] others ["qwen3-8b --format json"];
    "wafers": ["--format json", "wse3 --format json"] others ["wse2 wse3 --format json", "wse2 --format json"];
    "settings": ["--format json"] others [];
    "schema": [""] others ["run"];
    "completions": ["bash"] others [];
};

const QUICK: &str = "model = 'llama-3.1-8b'\nwafers = 1\ncontext = 1024\n";
const OTHERS: &str = "where = 'other wafers'\nbandwidth = 50e9\n";
const LOAD: &str = "[machine]\nmodel = 'llama-3.1-8b'\ncontext = 4096\nusers = 4\n[load]\nusers = 6\nthink = 0.05\n\
                    prompt = { median = 300, spread = 0.5 }\noutput = { median = 40 }\n\
                    [run]\nwarm_up = 0.5\nwindow = 3.0\n";
const SIZED: &str = "[machine]\nmodel = 'llama-3.1-8b'\ncontext = 4096\n[load]\nusers = 6\nthink = 0.5\n\
                     prompt = { median = 1000 }\noutput = { median = 100 }\n[run]\nwarm_up = 1.0\nwindow = 4.0\n";
const BURST: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
                     12,ChatGPT,240,60,300,API log\n\
                     14,ChatGPT,24,6,30,API log\n";

/// Files that the runs read.
pub struct Folder(TempDir);

impl Folder {
    /// Writes them.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().join(name);
        let of_machine = format!("[machine.prefill]\n{OTHERS}[load]\n");
        let (load, sized) = (LOAD.replace("[load]\n", &of_machine), SIZED.replace("[load]\n", &of_machine));
        for (name, text) in [
            ("elsewhere.toml", format!("{QUICK}[prefill]\n{OTHERS}").as_str()),
            ("load-elsewhere.toml", load.as_str()),
            ("sized-elsewhere.toml", sized.as_str()),
            ("quick.toml", QUICK),
            ("load.toml", LOAD),
            ("sized.toml", SIZED),
            ("burst.csv", BURST),
            ("counts.json", "[[90,132,40,61],[20,107,104,64]]"),
        ] {
            fs::write(at(name), text).expect("a file of the test");
        }
        fs::copy(repository("sim/tests/data/mooncake-three.jsonl"), at("mooncake.jsonl")).expect("a trace");
        let routed = simctl("routing generate --model qwen3-30b-a3b --layers 2 --tokens 30").data();
        fs::write(at("routed.jsonl"), routed).expect("a file of the test");
        let store = at("rows.jsonl").display().to_string();
        let plan = "plan --model llama-3.1-8b --search none --users 1 --context 1k";
        simctl(&format!("{plan} --store {store}")).data();
        let store = at("others.jsonl").display().to_string();
        simctl(&format!("{plan} --set clock_ghz=0.9 --store {store}")).data();
        Self(folder)
    }

    /// The path of a file.
    pub fn at(&self, name: &str) -> PathBuf {
        match name {
            "checkpoint" => repository("crates/values/tests/fixtures/tiny_qwen3_moe"),
            _ => self.0.path().join(name),
        }
    }

    /// A command line with the paths of files.
    pub fn line(&self, command: &str, run: &str) -> String {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.at(name).display().to_string(),
            None => word.to_owned(),
        };
        let words = run.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
        // What a run makes, the next one makes anew.
        let _nothing_there = fs::remove_file(self.at("merged.jsonl"));
        format!("{command} {words}")
    }
}

/// Subcommands as a help text lists them.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_subcommand_is_entered() {
    let mut all = Vec::new();
    for name in listed(&simctl("--help").data()) {
        let inner = listed(&simctl(&format!("{name} --help")).data());
        all.extend(inner.iter().map(|inner| format!("{name} {inner}")));
        if inner.is_empty() {
            all.push(name);
        }
    }
    let entered = BATTERY.iter().map(|runs| runs.command).chain(WAITING.iter().map(|(name, _)| *name));
    let mut entered: Vec<String> = entered.map(str::to_owned).collect();
    all.sort();
    entered.sort();
    assert_eq!(entered, all, "sim/tests/command_line/battery.rs has a run of every subcommand");
}

/// On one thread and on eight, every byte the same.
#[test]
fn every_subcommand_says_the_same_for_any_number_of_threads() {
    let folder = Folder::new();
    for Runs { command, runs, .. } in BATTERY {
        for run in *runs {
            let line = folder.line(command, run);
            let on = |threads: &str| {
                let _nothing_there = fs::remove_file(folder.at("merged.jsonl"));
                let mut command = crate::surface::command(&line);
                command.env("RAYON_NUM_THREADS", threads);
                crate::surface::said(command)
            };
            let (one, eight) = (on("1"), on("8"));
            assert_eq!(one.code, Some(0), "{line}: {}", one.stderr);
            assert_eq!(one.stdout, eight.stdout, "{line}");
        }
    }
}
