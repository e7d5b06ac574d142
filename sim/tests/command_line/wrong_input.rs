//! Wrong input: exit code 2, nothing on stdout, and a message that names the thing, its value and what is allowed.

use std::fs;
use std::path::Path;

use crate::surface::{Said, command, repository, said, simctl};

fn check(said: &Said, parts: &[&str], what: &str) {
    assert_eq!(said.code, Some(2), "{what}: {said:?}");
    assert_eq!(said.stdout, "", "{what}");
    assert!(said.stderr.starts_with("error: "), "{what}: {}", said.stderr);
    for part in parts {
        assert!(said.stderr.contains(part), "{what}: no '{part}' in: {}", said.stderr);
    }
}

#[test]
fn flags() {
    let cases: &[(&str, &[&str])] = &[
        ("run --users -1", &["--users", "'-1'", "from 1 to 1000000"]),
        ("traffic --mesh 0", &["mesh of 0 x 0", "1 to 4096"]),
        ("traffic --mesh 8y8", &["--mesh", "'8y8'"]),
        ("traffic --mesh 5000", &["5000 x 5000", "4096"]),
        ("traffic --rate 0", &["rate", "up to 1"]),
        ("traffic --rate nan", &["rate", "NaN"]),
        ("traffic --queue 0", &["queue"]),
        ("traffic --router-cycles -1", &["--router-cycles", "'-1'"]),
        ("traffic --pattern swirl", &["--pattern", "swirl", "transpose"]),
        ("traffic --pattern transpose --mesh 8x4", &["8 x 4", "as many rows as columns"]),
        ("traffic --pattern hotspot --hotspot 9,9", &["9", "outside the mesh"]),
        ("traffic --pattern hotspot --hotspot-share 2", &["share", "0 to 1"]),
        ("traffic --seed 99999999999", &["seed", "99999999999"]),
        ("run --users 0", &["--users", "'0'", "from 1 to 1000000"]),
        ("run --users 1.5", &["--users", "'1.5'"]),
        ("run --users NaN", &["--users", "'NaN'"]),
        ("run --context 99999999999999", &["--context", "99999999999999", "to 16777216"]),
        ("run --context 99999999999999m", &["--context", "99999999999999m"]),
        ("run --context 3m", &["'context'", "3145728", "qwen3-coder-480b-a35b", "1048576"]),
        ("run --weights fp7", &["--weights", "fp7", "fp32, fp16, bf16, fp8, int8, fp4"]),
        ("run --activations fp8", &["--activations", "fp8", "fp32, fp16, bf16"]),
        ("run --profile fast", &["--profile", "fast", "published, best, ideal"]),
        ("run --wafers 0", &["--wafers", "'0'", "auto"]),
        ("run --wafers -3", &["--wafers", "'-3'"]),
        ("run --clock 0", &["--clock", "'0'", "0.01 to 100"]),
        ("run --clock nan", &["--clock", "'nan'"]),
        ("run --clock -1", &["--clock", "'-1'"]),
        ("run --clock fast", &["--clock", "'fast'"]),
        ("run --acceptance 1.5", &["--acceptance", "'1.5'", "0 to 1"]),
        (
            "run --draft-length 3 --acceptance 0.9,0.8",
            &["speculation.acceptance", "2 position(s)", "draft_length is 3"],
        ),
        (
            "run --draft-length 4 --acceptance 0.9 --accepted-length 2.4",
            &["speculation.accepted_length", "2.4", "speculation.acceptance is 0.9"],
        ),
        ("run --draft-length 4 --accepted-length 6", &["speculation.accepted_length", "1 to 5"]),
        ("run --draft-length 1 --draft-model mtp", &["num_nextn_predict_layers", "speculation.draft_model"]),
        ("run --draft-model qwen3-9b", &["qwen3-9b", "did you mean 'qwen3-8b'?"]),
        ("run --draft-length 1 --draft-model qwen3-9b", &["qwen3-9b", "did you mean 'qwen3-8b'?"]),
        (
            "run --wafers 16 --draft-length 1 --draft-model llama-3.3-70b",
            &["16 wafer(s) do not hold", "llama-3.3-70b", "would do"],
        ),
        ("run --verification quick", &["--verification", "quick", "micro_batch"]),
        ("run --draft-length 65", &["--draft-length", "'65'", "0 to 64"]),
        ("run --target 0", &["--target", "'0'"]),
        ("run --model qwen3-codr-480b-a35b", &["qwen3-codr-480b-a35b", "did you mean 'qwen3-coder-480b-a35b'?"]),
        ("run --wafer wse33", &["wse33", "did you mean 'wse3'?"]),
        ("run --wafers 2", &["2 wafer(s) do not hold the model", "bytes a processing element", "wafers would do"]),
        ("run --users 1000000", &["no number of wafers would do"]),
        ("run --warp 9", &["--warp"]),
        ("plan --users 1,x,3", &["--users", "'x'"]),
        ("plan --users 1,,3", &["--users", "''"]),
        ("plan --context 8k,3m", &["'context'", "3145728"]),
        ("plan --profile published,fast", &["fast"]),
        (
            "run --profile bound",
            &["unknown profile 'bound': it is called 'ideal' now; allowed are published, best, ideal"],
        ),
        ("plan --profile best,waferllm", &["'waferllm': it is called 'published' now"]),
        ("values --checkpoint x --profile optimised", &["'optimised': it is called 'best' now"]),
        ("run --set profile=bound", &["'bound', which is called 'ideal' now"]),
        ("graph --layer 62", &["no layer 62", "62 layers"]),
        ("graph --tokens 0", &["--tokens", "'0'"]),
        ("models qwen3-9b", &["qwen3-9b", "did you mean 'qwen3-8b'?"]),
        ("wafers wse4", &["wse4"]),
        ("validate --wafer wse4", &["wse4"]),
        ("teleport", &["teleport"]),
    ];
    for (arguments, parts) in cases {
        check(&simctl(arguments), parts, arguments);
    }
}

#[test]
fn set() {
    let cases: &[(&str, &[&str])] = &[
        ("users", &["--set", "'users'", "no '='", "path=value"]),
        ("users=", &["users", "''", "from 1 to 1000000"]),
        ("=3", &["unknown setting ''"]),
        ("user=3", &["user", "did you mean 'users'?"]),
        ("weights=fp8", &["weights", "did you mean 'precision.weights'?"]),
        ("wafer.fabric.hop_latncy=1", &["did you mean 'wafer.fabric.hop_latency'?"]),
        ("wafer.fabric.hop_latency=two", &["wafer.fabric.hop_latency", "'two' is not a number"]),
        ("wafer.fabric.hop_latency=NaN", &["wafer.fabric.hop_latency", "out of range"]),
        ("wafer.fabric.usable_columns=99999", &["usable_columns", "99999", "1 to 4096"]),
        ("wafer.fabric.usable_columns=4000", &["usable_columns", "4000", "fabric.columns", "at most 762"]),
        ("wafer.pe.free_memory=50000", &["pe.free_memory", "50000", "pe.memory"]),
        ("speculation.acceptance=1.5", &["speculation.acceptance", "'1.5'", "0 to 1"]),
        ("prefill.where=elsewhere", &["prefill.where", "'elsewhere'", "same, other wafers, external"]),
        ("prefill.where=external", &["prefill.tokens_per_second", "missing", "0.001"]),
        ("prefill.tokens_per_second=5", &["prefill.tokens_per_second", "\"same\"", "external"]),
        ("prefill.bandwidth=0", &["prefill.bandwidth", "'0'", "from 1"]),
    ];
    for (set, parts) in cases {
        check(
            &said({
                let mut command = command("run --set");
                command.arg(set);
                command
            }),
            parts,
            set,
        );
    }
}

/// Writes a file and asks with it.
fn with_file(folder: &Path, name: &str, text: &str, arguments: &str) -> Said {
    let path = folder.join(name);
    fs::write(&path, text).expect("the folder can be written to");
    simctl(&arguments.replace('@', &path.display().to_string()))
}

#[test]
fn scenario_files() {
    let folder = tempfile::tempdir().unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("usres = 3", &["line 1", "unknown field `usres`", "`users`"]),
        ("users = nan", &["line 1", "NaN"]),
        ("target = nan", &["'target'", "NaN", "from 0.000000001"]),
        ("users = -1", &["line 1", "-1"]),
        ("users = 0", &["'users'", "0", "from 1 to 1000000"]),
        ("context = 99999999999", &["'context'", "99999999999"]),
        ("wafers = \"many\"", &["many", "auto"]),
        ("[precision]\nweights = \"fp7\"", &["line 2", "fp7"]),
        ("[precision]\nactivations = \"fp8\"", &["precision.activations", "fp8"]),
        ("[wafer_parameters]\nfabric.hop_latncy = 3", &["did you mean 'fabric.hop_latency'?"]),
        ("[wafer_parameters]\nfabric.hop_latency = -3", &["fabric.hop_latency", "-3", "from 0"]),
        ("users = ", &["line 1"]),
        ("users = 1\nusers = 2", &["line 2", "users"]),
    ];
    for (text, parts) in cases {
        let said = with_file(folder.path(), "bad.toml", text, "run @");
        check(&said, parts, text);
        assert!(said.stderr.contains("bad.toml"), "{text}: {}", said.stderr);
    }
}

#[test]
fn model_files() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(repository("models/llm/qwen3-8b.json")).unwrap();
    let changed = |key: &str, value: &str| {
        let mut config: serde_json::Value = serde_json::from_str(&good).unwrap();
        match serde_json::from_str(value) {
            Ok(value) => config[key] = value,
            Err(_) => drop(config.as_object_mut().and_then(|fields| fields.remove(key))),
        }
        config.to_string()
    };
    let cases: [(String, &[&str]); 8] = [
        (String::new(), &["not valid JSON", "line 1"]),
        (good[..300].to_owned(), &["not valid JSON", "line"]),
        (changed("num_hidden_layers", "missing"), &["'num_hidden_layers'", "missing", "a whole number"]),
        (changed("num_hidden_layers", "-4"), &["'num_hidden_layers'", "-4"]),
        (changed("num_hidden_layers", "99999999999"), &["'num_hidden_layers'", "99999999999"]),
        (changed("hidden_size", "\"wide\""), &["'hidden_size'"]),
        (changed("model_type", "\"mamba\""), &["mamba", "is not supported", "state space"]),
        ("[]".into(), &["bad.json"]),
    ];
    for (text, parts) in &cases {
        let said = with_file(folder.path(), "bad.json", text, "run --model @");
        check(&said, parts, parts[0]);
        assert!(said.stderr.contains("bad.json"), "{}", said.stderr);
    }
}

#[test]
fn wafer_files() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(repository("models/wafer/wse3.toml")).unwrap();
    let cases: [(String, &[&str]); 5] = [
        (String::new(), &["'title'", "missing"]),
        (good[..400].to_owned(), &["bad.toml"]),
        (good.replacen("[fabric.hop_latency]", "[fabric.hop_latncy]", 1), &["fabric.hop_latency", "missing"]),
        (good.replacen("value = 755", "value = 9999", 1), &["fabric.usable_columns"]),
        (good.replacen("unit = \"cycles\"", "unit = \"s\"", 1), &["unit", "'s'"]),
    ];
    for (text, parts) in &cases {
        let said = with_file(folder.path(), "bad.toml", text, "run --wafer @");
        check(&said, parts, parts[0]);
        assert!(said.stderr.contains("bad.toml"), "{}", said.stderr);
    }
}

#[test]
fn measurement_files() {
    let folder = tempfile::tempdir().unwrap();
    let header = "id,device,kernel,grid_x,grid_y,params,metric,value,unit,evidence,source";
    let row = "a,wse3,message,2,1,hops=1;words=1,cycles,42,cycles,silicon,x";
    let table = |row: &str| format!("{header}\n{row}\n");
    let cases: [(String, &[&str]); 9] = [
        (String::new(), &["no measurements"]),
        (table(""), &["no measurements"]),
        ("a,b\n1,2\n".into(), &["expected the columns id,device"]),
        (table(&row.replace(",42,", ",NaN,")), &["line 2", "'value'", "'NaN'", "from 0.001 to 1e15"]),
        (table(&row.replace(",42,", ",1e-308,")), &["line 2", "'value'", "'1e-308'"]),
        (table(&row.replace(",42,", ",-42,")), &["line 2", "'value'", "'-42'"]),
        (table(&row.replace(",2,1,", ",2,99999,")), &["line 2", "'grid_y'", "'99999'", "1 to 4096"]),
        (table(&format!("{row}\n{row}")), &["line 3", "'id'", "'a'"]),
        (table(&format!("{row},more")), &["bad.csv"]),
    ];
    for (text, parts) in &cases {
        let said = with_file(folder.path(), "bad.csv", text, "validate --data @");
        check(&said, parts, parts[0]);
        assert!(said.stderr.contains("bad.csv"), "{}", said.stderr);
    }
    let records = "id,model,metric,value,context_or_prompt,weights,speculative,evidence,source\n";
    let cases: [(&str, &[&str]); 4] = [
        ("", &["no measurements"]),
        ("a,b\n1,2\n", &["expected the columns id,model"]),
        ("a,Qwen3-32B,tok_s_user,0,AA,fp16,no,independent,x\n", &["line 2", "'value'", "'0'"]),
        ("a,x,price,1,,,,x,x\na,x,price,1,,,,x,x\n", &["line 3", "'id'", "'a'"]),
    ];
    for (text, parts) in cases {
        let text = if text.starts_with("a,b") { text.to_owned() } else { format!("{records}{text}") };
        check(&with_file(folder.path(), "bad.csv", &text, "validate --production --data @"), parts, parts[0]);
    }
    check(&simctl("validate --search none"), &["--production"], "a search of nothing");
}

#[test]
fn paths() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display().to_string();
    let binary = format!("{folder}/binary.csv");
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    let cases: [(String, &[&str]); 13] = [
        (format!("run {folder}"), &["is a directory"]),
        (format!("run --model {folder}/"), &["is a directory"]),
        (format!("run --wafer {folder}/"), &["is a directory"]),
        (format!("validate --data {folder}"), &["is a directory"]),
        ("run missing.toml".into(), &["missing.toml", "cannot be read"]),
        ("run --model missing.json".into(), &["missing.json", "cannot be read"]),
        ("run --wafer missing.toml".into(), &["missing.toml", "cannot be read"]),
        ("validate --data missing.csv".into(), &["missing.csv", "cannot be read"]),
        (format!("validate --data {binary}"), &["binary.csv", "not UTF-8"]),
        (format!("run --out {folder}"), &["--out", "is a directory"]),
        (format!("run --out {folder}/no/where"), &["--out", "folder does not exist"]),
        (format!("plan --out {binary}/x"), &["--out"]),
        ("validate --out missing/x".into(), &["--out", "missing/x"]),
    ];
    for (arguments, parts) in &cases {
        check(&simctl(arguments), parts, arguments);
    }
}

#[test]
fn long_values_are_shortened_and_no_cursor_is_moved() {
    let long = "9".repeat(100_000);
    for arguments in [
        format!("run --users {long}"),
        format!("run --set load.{long}=1"),
        format!("run --set users={long}"),
        format!("trace inspect {long}"),
        format!("run --model {long}.json"),
        format!("run --weights {long}"),
        format!("stream {long}.toml"),
        format!("trace inspect \u{1b}[2J{long}"),
    ] {
        let said = simctl(&arguments);
        check(&said, &["99..."], &arguments[..30]);
        assert!(said.stderr.chars().count() < 2100 && !said.stderr.contains('\u{1b}'), "{}", said.stderr);
    }
}

#[test]
fn control_bytes_of_a_table_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    let header = "id,device,kernel,grid_x,grid_y,params,metric,value,unit,evidence,source\n";
    let rows = "a\u{1b}[2Jb,wse3,message,2,1,hops=1;words=1,cycles,42,cycles,silicon,x\n\
                c,d\u{7}e,message,2,1,hops=1;words=1,cycles,42,cycles,silicon,x\n";
    fs::write(&file, format!("{header}{rows}")).unwrap();
    for format in ["text", "markdown", "json"] {
        let text = simctl(&format!("validate --data {} --format {format}", file.display())).data();
        assert!(text.contains("[2Jb") && !text.contains(['\u{1b}', '\u{7}']), "{text:?}");
    }
    fs::write(&file, format!("{header}{}", rows.replace(",42,", ",\u{1b}[2J,"))).unwrap();
    let said = simctl(&format!("validate --data {}", file.display()));
    check(&said, &["field 'value'", "[2J"], "a value");
    assert!(!said.stderr.contains('\u{1b}'), "{}", said.stderr);
}
