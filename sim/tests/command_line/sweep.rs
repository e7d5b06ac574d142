//! `--sweep`: settings that take several values, in all combinations.

use crate::surface::{command, said, simctl};

const QUICK: &str = "--model llama-3.1-8b --wafers 1 --context 1k --search none";

#[test]
fn a_swept_run_is_a_table_of_the_answers() {
    let sweeps = "--sweep wafer.link.latency=1,5 --sweep users=1..4*2";
    let table = simctl(&format!("run {QUICK} {sweeps} --ranges none --format json")).json();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let swept: Vec<String> = row["swept"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("--set {}={}", one["path"].as_str().unwrap(), one["value"].as_str().unwrap()))
            .collect();
        let alone = simctl(&format!("run {QUICK} {} --ranges none --format json", swept.join(" "))).json();
        for key in ["users", "tokens_per_second_per_user", "time_to_first_token_ms", "wafers"] {
            assert_eq!(row[key], alone[key], "{key} of {swept:?}");
        }
    }
    let last: Vec<_> = rows.iter().map(|row| row["users"].as_u64().unwrap()).collect();
    assert_eq!(last, [1, 2, 4, 1, 2, 4], "the last one fastest");
    let folder = tempfile::tempdir().unwrap();
    let store = format!("--store {}", folder.path().join("rows.jsonl").display());
    let kept = simctl(&format!("run {QUICK} {sweeps} --ranges none --format csv {store}")).data();
    let again = simctl(&format!("run {QUICK} {sweeps} --ranges none --format csv {store} --resume"));
    assert!(again.stderr.contains("rows known: 6 of 6"), "{}", again.stderr);
    assert_eq!(kept, again.data());
    let other = simctl(&format!("run {QUICK} {sweeps} --ranges corner --format csv {store} --resume"));
    assert_eq!(other.code, Some(2), "another question: {}", other.stderr);
    assert_eq!(simctl(&format!("run {QUICK} {store} --resume")).code, Some(2), "a store of one answer");
    let text = simctl(&format!("run {QUICK} {sweeps} --ranges none")).data();
    assert!(text.contains("wafer.link.latency") && text.contains("6 points"), "{text}");
}

#[test]
fn models_wafers_and_mappings_are_swept() {
    let sweeps = "--sweep model=llama-3.1-8b,qwen3-8b --sweep wafer=wse2,wse3 --sweep mapping=published,best";
    let csv = simctl(&format!("plan --wafers 2 --context 1k --users 1 --search none {sweeps} --format csv")).data();
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().starts_with("model,wafer,mapping,clock_ghz,"), "{csv}");
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0][..3], ["llama-3.1-8b", "wse2", "published"]);
    assert_eq!(rows[7][..3], ["qwen3-8b", "wse3", "best"]);
    let text = simctl(&format!("plan --wafers 2 --context 1k --users 1 --search none {sweeps}")).data();
    assert!(text.starts_with("several models on several wafers, target"), "{text}");
}

#[test]
fn threads_and_stores_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |threads: &str, store: &str| {
        let mut command = command(&format!(
            "plan {QUICK} --users 1 --sweep wafer.link.latency=1..3+0.5 --sweep clock_ghz=0.9,1.1 {store} --format csv"
        ));
        command.env("RAYON_NUM_THREADS", threads);
        said(command).data()
    };
    let one = plan("1", "");
    assert_eq!(one.lines().count(), 11);
    assert_eq!(one, plan("3", ""));
    let store = |name: &str| format!("--store {}", folder.path().join(name).display());
    for part in ["1/2", "2/2"] {
        let name = format!("{}.jsonl", &part[..1]);
        let shard = format!(
            "plan {QUICK} --users 1 --sweep wafer.link.latency=1..3+0.5 --sweep clock_ghz=0.9,1.1 {} --shard {part}",
            store(&name)
        );
        assert_eq!(simctl(&shard).code, Some(0));
    }
    let whole = folder.path().join("whole.jsonl");
    let parts = ["1.jsonl", "2.jsonl"].map(|name| folder.path().join(name).display().to_string()).join(" ");
    let merged = simctl(&format!("results merge {parts} --into {}", whole.display()));
    assert_eq!(merged.code, Some(0), "{}", merged.stderr);
    assert_eq!(one, plan("2", &format!("{} --resume", store("whole.jsonl"))), "what is kept is not computed again");
}

#[test]
fn what_cannot_be_swept_is_refused() {
    for (sweep, part) in [
        ("users", "a setting and its values"),
        ("usres=1,2", "users"),
        ("users=0,1", "from 1 to"),
        ("users=1,2 --users 4", "a list too"),
        ("mapping=beast", "best"),
        ("prompt=1k,2k", "run --sweep prompt"),
        ("users=1..9000000", "at most"),
        ("users=1,2 --sweep users=3", "twice"),
        ("wafer.link.latency=1..2 --fidelity stream", "closed form"),
    ] {
        let said = simctl(&format!("plan {QUICK} --sweep {sweep}"));
        assert_eq!(said.code, Some(2), "{sweep}");
        assert!(said.stderr.contains(part), "{sweep}: {}", said.stderr);
    }
    let said = simctl(&format!("run {QUICK} --sweep users=1,2 --certify"));
    assert!(said.code == Some(2) && said.stderr.contains("without --sweep"), "{}", said.stderr);
}

const LOAD: &str = "[machine]\nmodel = 'llama-3.1-8b'\ncontext = 4096\nusers = 4\n[load]\nusers = 6\nthink = 0.05\n\
                    prompt = { median = 300 }\noutput = { median = 40 }\n[run]\nwarm_up = 0.5\nwindow = 2.0\n";

#[test]
fn a_stream_is_swept_over_several_settings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("load.toml");
    std::fs::write(&path, LOAD).unwrap();
    let stream = |threads: &str, more: &str| {
        let sweeps =
            "--sweep load.users=1,3 --sweep mapping=published,best --sweep machine.wafer_parameters.link.latency=1,5";
        let mut command = command(&format!("stream {} --search none {sweeps} {more}", path.display()));
        command.env("RAYON_NUM_THREADS", threads);
        said(command)
    };
    let csv = stream("1", "--format csv").data();
    assert_eq!(csv, stream("4", "--format csv").data());
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..3], ["load.users", "mapping", "machine.wafer_parameters.link.latency"]);
    let asked: Vec<String> = rows[1..].iter().map(|row| row[..3].join(" ")).collect();
    assert_eq!(asked.len(), 8);
    assert_eq!((asked[0].as_str(), asked[1].as_str()), ("1 published 1", "1 published 5"), "the last one fastest");
    assert_eq!(asked[7], "3 best 5");
    let store = folder.path().join("rows.jsonl");
    let store = format!("--format csv --store {}", store.display());
    assert_eq!(csv, stream("2", &store).data());
    let again = stream("2", &format!("{store} --resume"));
    assert!(again.stderr.contains("rows known: 8 of 8"), "{}", again.stderr);
    assert_eq!(csv, again.data());
    let one = simctl(&format!(
        "stream {} --search none --mapping best --set load.users=3 --set machine.wafer_parameters.link.latency=5 --format json",
        path.display()
    ));
    let all = stream("2", "--format json").json();
    assert_eq!(all["points"][7]["outcome"], one.json()["outcome"], "a point is what a run says");
    assert_eq!(all["points"][7]["swept"][1]["value"], "best");
    let lines = folder.path().join("lines.svg");
    let many = format!(
        "stream {} --search none --sweep load.users=1,2 --sweep machine.wafer_parameters.link.latency=1..12 --out {}",
        path.display(),
        lines.display()
    );
    simctl(&many).data();
    let svg = std::fs::read_to_string(&lines).unwrap();
    assert!(
        svg.contains("latency 1") && svg.contains("of 12 combinations"),
        "a line for each, as many as have a color"
    );
    let said = simctl(&format!("stream {} --sweep load.users=1,2 --sweep load.users=3", path.display()));
    assert!(said.code == Some(2) && said.stderr.contains("twice"), "{}", said.stderr);
}

#[test]
fn a_size_is_swept_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sized.toml");
    std::fs::write(&path, LOAD).unwrap();
    let size = |more: &str| simctl(&format!("size {} --search none --seeds 2 {more}", path.display()));
    let sweeps = "--speed-p5 300 --sweep load.users=2,40 --sweep ttft_p95=5ms,300ms";
    let store = format!("--store {}", folder.path().join("rows.jsonl").display());
    let csv = size(&format!("{sweeps} {store} --format csv")).data();
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), &rows[0][..3]), (5, &["load.users", "ttft_p95", "feasible"][..]));
    let again = size(&format!("{sweeps} {store} --resume --format csv"));
    assert!(again.stderr.contains("rows known: 4 of 4"), "{}", again.stderr);
    assert_eq!(again.data(), csv);
    let alone = size("--set load.users=40 --speed-p5 300 --ttft-p95 300ms --format json").json();
    assert_eq!(rows[4][3], alone["machines"].to_string(), "a row is what a size says");
    // No machine of one wafer holds the large model: a row, not an error.
    let models = "--speed-p5 300 --set machine.wafers=1 --sweep machine.model=llama-3.1-8b,qwen3-coder-480b-a35b";
    let text = size(models).data();
    assert!(text.contains("2 combinations, 1 of them feasible") && text.contains("no machine"), "{text}");
    for (more, part) in [
        ("--sweep load.users=1,2", "service levels"),
        ("--speed-p5 300 --store x.jsonl", "--sweep"),
        ("--sweep ttft_p95=1s,soon", "ttft_p95=soon"),
        ("--speed-p5 300 --sweep load.nothing=1,2", "load.nothing"),
    ] {
        let said = size(more);
        assert!(said.code == Some(2) && said.stderr.contains(part), "{more}: {}", said.stderr);
    }
}

/// Parts of a sweep, each in a store of its own, make the table of the whole, whatever the command.
#[test]
fn parts_of_sweeps_are_merged_into_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: String| folder.path().join(name).display().to_string();
    let load = at("load.toml".into());
    std::fs::write(&load, LOAD).unwrap();
    let commands = [
        format!("run {QUICK} --ranges none --sweep users=1,2,3"),
        format!("stream {load} --search none --sweep load.users=1,2,3"),
        format!("size {load} --search none --seeds 2 --speed-p5 300 --sweep load.users=2,3,4"),
    ];
    for (index, sweep) in commands.iter().enumerate() {
        let whole = simctl(&format!("{sweep} --format csv")).data();
        let parts = [1, 2].map(|part| at(format!("{index}-{part}.jsonl")));
        for (part, store) in (1..).zip(&parts) {
            let said = simctl(&format!("{sweep} --store {store} --shard {part}/2"));
            assert_eq!(said.code, Some(0), "{sweep}: {}", said.stderr);
            let rows = if part == 1 { "2 rows" } else { "1 row" };
            assert!(said.stderr.contains(&format!("shard {part} of 2: {rows} of 3")), "{}", said.stderr);
            assert_eq!(said.data(), "", "a part prints no table");
        }
        let merged = at(format!("{index}.jsonl"));
        let said = simctl(&format!("results merge {} --into {merged}", parts.join(" ")));
        assert!(said.stderr.contains("3 of 3 rows"), "{}", said.stderr);
        let again = simctl(&format!("{sweep} --store {merged} --resume --format csv"));
        assert!(again.stderr.contains("rows known: 3 of 3"), "{}", again.stderr);
        assert_eq!(again.data(), whole, "{sweep}");
        let store = at("new.jsonl".into());
        for (more, part) in [
            (format!("--store {store} --shard 3/2"), "1/4 to 4/4"),
            (format!("--store {store} --shard 1/2 --format csv"), "--shard"),
            ("--shard 1/2".into(), "--store"),
        ] {
            let said = simctl(&format!("{sweep} {more}"));
            assert!(said.code == Some(2) && said.stderr.contains(part), "{more}: {}", said.stderr);
        }
        assert!(!std::path::Path::new(&store).exists());
    }
    let said = simctl(&format!("stream {load} --store {} --shard 1/2", at("one.jsonl".into())));
    assert!(said.code == Some(2) && said.stderr.contains("with --sweep"), "{}", said.stderr);
}

#[test]
fn a_size_takes_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    let mut text = "arrival_s,prompt_tokens,output_tokens\n".to_owned();
    for number in 0..300 {
        text += &format!("{},{},{}\n", number as f64 * 0.2, 200 + number % 7 * 100, 20 + number % 5);
    }
    std::fs::write(&path, text).unwrap();
    let size = |more: &str| {
        simctl(&format!(
            "size --model llama-3.1-8b --search none --seeds 2 --ttft-p95 300ms --trace {} {more}",
            path.display()
        ))
    };
    let json = size("--format json").json();
    assert!((json["users"].as_f64().unwrap() - 5.0).abs() < 0.1, "requests a second: {}", json["users"]);
    assert_eq!((&json["feasible"], &json["machines"]), (&true.into(), &1.into()));
    let text = size("--trace-format plain").data();
    assert!(
        text.contains("requests/s of llama-3.1-8b") && text.contains("prompts: 500 tokens in the median"),
        "{text}"
    );
    let said = size("--users 5");
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    let said = size("--trace-format nothing");
    assert!(said.code == Some(2) && said.stderr.contains("mooncake"), "{}", said.stderr);
}

#[test]
fn stores_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let store = |name: &str, set: &str| simctl(&format!("plan {QUICK} --users 1,2 {set} --store {}", at(name))).data();
    store("a.jsonl", "");
    store("b.sqlite", "");
    store("c.jsonl", "--set clock_ghz=0.9");
    let same = simctl(&format!("results diff {} {}", at("a.jsonl"), at("b.sqlite"))).data();
    assert!(same.contains("2 in both (by what they mean), 2 of them the same; 0 in a only"), "{same}");
    let other = simctl(&format!("results diff {} {}", at("a.jsonl"), at("c.jsonl"))).data();
    assert!(other.contains("0 in both") && other.contains("--by place"), "{other}");
    let json = simctl(&format!("results diff {} {} --by place --format json", at("a.jsonl"), at("c.jsonl"))).json();
    assert_eq!((&json["both"], &json["same"]), (&2.into(), &0.into()));
    let slower = json["rows"].as_array().unwrap().iter().find(|row| row["path"] == "tokens_per_second_per_user");
    assert!(slower.unwrap()["change"].as_f64().unwrap() < 0.0, "a slower clock: {json}");
    let csv = simctl(&format!("results diff {} {} --format csv", at("a.jsonl"), at("c.jsonl"))).data();
    assert_eq!(csv.lines().count(), 1 + 4, "rows that only one has: {csv}");
}

#[test]
fn machines_and_streamed_weights_stand_beside_an_answer() {
    let json =
        simctl(&format!("run {QUICK} --users 2 --ranges none --machines 10 --weight-streaming --format json")).json();
    let (machines, streaming) = (&json["machines"], &json["weight_streaming"]);
    assert_eq!((&machines["users"], &machines["wafers"]), (&20.into(), &10.into()));
    let total = json["tokens_per_second_total"].as_f64().unwrap();
    assert!((machines["tokens_per_second"].as_f64().unwrap() / total - 10.0).abs() < 1e-9);
    assert!((streaming["bandwidth_gb_s"].as_f64().unwrap() - 150.0).abs() < 1e-9, "a link's");
    let one = &streaming["passes"][0];
    let seconds = streaming["weight_bytes"].as_f64().unwrap() / 150e9;
    assert!((one["pass_s"]["value"].as_f64().unwrap() - seconds).abs() < 1e-9, "{one}");
    let plain = simctl(&format!("run {QUICK} --users 2 --ranges none --format json")).json();
    assert_eq!(json["tokens_per_second_total"], plain["tokens_per_second_total"], "nothing beside it moves it");
    assert_eq!(json["provenance"]["input_hash"], plain["provenance"]["input_hash"]);
    let plan = simctl(&format!("plan {QUICK} --users 1,2 --machines 3 --format json")).json();
    assert_eq!(plan["machines"].as_array().unwrap().len(), 2);
    let text = simctl(&format!("plan {QUICK} --users 1,2 --machines 3")).data();
    assert!(text.contains("3 machines") && text.contains("USD/M tokens"), "{text}");
    for (more, part) in [
        ("run --weight-streaming=0", "above 0"),
        ("run --weight-streaming=much", "much"),
        ("run --machines 0", "1..=100000"),
        ("plan --machines 2 --sweep wafer=wse2,wse3", "--machines"),
    ] {
        let (command, flags) = more.split_once(' ').unwrap();
        let said = simctl(&format!("{command} {QUICK} {flags}"));
        assert!(said.code == Some(2) && said.stderr.contains(part), "{more}: {}", said.stderr);
    }
}
