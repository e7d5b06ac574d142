//! `simctl routing`.

use std::fs;

use crate::surface::{repository, simctl};

/// The commands of traces/README.md.
fn commands() -> Vec<(String, String)> {
    let readme = fs::read_to_string(repository("traces/README.md")).expect("traces have a README");
    let commands = readme.lines().filter_map(|line| line.split("`simctl ").nth(1)?.split('`').next());
    commands
        .map(|command| command.rsplit_once(" --out traces/").expect("they write to traces"))
        .map(|(a, b)| (a.into(), b.into()))
        .collect()
}

#[test]
fn shipped_traces_are_what_their_commands_make() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let commands = commands();
    assert_eq!(commands.len(), 2);
    for (command, name) in commands {
        assert_eq!(simctl(&format!("{command} --out {}", file.display())).code, Some(0), "{command}");
        let shipped = repository(&format!("traces/{name}"));
        assert!(fs::read(&file).unwrap() == fs::read(shipped).unwrap(), "{name}");
    }
    let listed = fs::read_dir(repository("traces")).unwrap().count();
    assert_eq!(listed, 3, "two traces and their README");
}

#[test]
fn there_and_back_again() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = repository("traces/qwen3-coder-480b-short.jsonl");
    let packed = folder.path().join("packed");
    assert_eq!(simctl(&format!("routing convert {} --out {}", shipped.display(), packed.display())).code, Some(0));
    assert!(fs::read(&packed).unwrap().starts_with(b"WSROUTE\0"));
    let back = simctl(&format!("routing convert {}", packed.display())).data();
    assert!(back == fs::read_to_string(&shipped).unwrap());
    // Which file it was is part of what was asked.
    let figures = |file: &std::path::Path| {
        let mut said = simctl(&format!("routing inspect {} --format json", file.display())).json();
        said.as_object_mut().unwrap().remove("overrides");
        said
    };
    assert_eq!(figures(&packed), figures(&shipped));
}

#[test]
fn inspection_has_a_line_for_each_layer_and_the_means() {
    let file = repository("traces/qwen3-coder-480b-short.jsonl");
    let csv = simctl(&format!("routing inspect {} --format csv", file.display())).data();
    assert_eq!(csv.lines().count(), 1 + 62 + 1);
    let columns = csv.lines().next().unwrap().split(',').count();
    assert!(csv.lines().all(|line| line.split(',').count() == columns));
    let json = simctl(&format!("routing inspect {} --format json", file.display())).json();
    assert_eq!(json["layers"].as_array().unwrap().len(), 62);
    assert_eq!((&json["users"], &json["header"]["tokens"]), (&2.into(), &8.into()));
    let text = simctl(&format!("routing inspect {}", file.display())).data();
    assert!(text.lines().all(|line| line.len() <= 100) && text.matches("\n  mean ").count() == 2, "{text}");
}

#[test]
fn seeds_decide_and_threads_do_not() {
    let run =
        |more: &str| simctl(&format!("routing generate --model qwen3-30b-a3b --layers 3 --tokens 40 {more}")).data();
    assert_eq!(run("--seed 7"), run("--seed 7"));
    assert_ne!(run("--seed 7"), run("--seed 8"));
    assert_ne!(run("--work coding"), run("--work mixed"));
}

#[test]
fn wrong_traces_and_flags_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace");
    let good = fs::read_to_string(repository("traces/qwen3-coder-480b-short.jsonl")).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "seen as an empty file: known are"),
        (b"hello\n".to_vec(), "seen as a table: columns hello; allowed: layer and expert"),
        (lines[..70].join("\n").into_bytes(), "line 70: the file ends within token 0 of user 1"),
        (good.as_bytes()[..good.len() - 9].to_vec(), "line 497: is truncated"),
        (good.replacen("\"version\":1", "\"version\":9", 1).into_bytes(), "line 1: version is 9; allowed: 1"),
    ];
    let mut packed = fs::read(repository("traces/qwen3-coder-480b-coding.bin")).unwrap();
    packed[4000] ^= 1;
    cases.push((packed, "block 1: wrong checksum"));
    for (bytes, words) in cases {
        fs::write(&file, bytes).unwrap();
        for command in ["inspect", "convert"] {
            let said = simctl(&format!("routing {command} {}", file.display()));
            assert_eq!(said.code, Some(2), "{words}: {}", said.stderr);
            assert!(said.stderr.contains("trace: ") && said.stderr.contains(words), "{words}: {}", said.stderr);
        }
    }
    for (arguments, words) in [
        ("inspect nowhere.bin", "nowhere.bin: No such file"),
        ("inspect traces", "No such file"),
        ("generate --model llama-3.1-8b", "has no routed experts"),
        ("generate --tokens 0", "tokens is 0; allowed: 1 or more"),
        ("generate --tokens x", "--tokens: is 'x'"),
        ("generate --users 0", "users is 0"),
        ("generate --users 2000000", "users is 2000000"),
        ("generate --layers 0", "layers is 0"),
        ("generate --work play", "mixed, coding"),
        ("generate --seed -1", "--seed: is '-1'"),
    ] {
        let said = simctl(&format!("routing {arguments}"));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
        assert!(said.stderr.contains(words), "{arguments}: {}", said.stderr);
    }
}

/// What fails leaves the old file.
#[test]
fn nothing_is_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let good = fs::read_to_string(repository("traces/qwen3-coder-480b-short.jsonl")).unwrap();
    fs::write(&from, &good[..good.len() / 2]).unwrap();
    fs::write(&to, "old").unwrap();
    assert_eq!(simctl(&format!("routing convert {} --out {}", from.display(), to.display())).code, Some(2));
    assert_eq!(fs::read_to_string(&to).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

/// Small files of our own, one of each kind; the formats themselves are tested in `wafersim-routing`.
#[test]
fn files_of_other_programs_are_inspected_converted_and_placed_by() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let tokens = write("vllm.json", r#"{"routed_experts":[[[1,2],[3,0]],[[0,2],[1,3]]]}"#);
    let text = simctl(&format!("routing inspect {tokens}")).data();
    assert!(text.contains("imported: 2 tokens of 1 user, 2 of 4 experts in 2 layers"), "{text}");
    let trace = simctl(&format!("routing convert {tokens}")).data();
    assert!(trace.starts_with(r#"{"format":"wafersim-routing""#), "{trace}");
    let back = simctl(&format!("routing convert {} --form vllm", write("trace.jsonl", &trace))).data();
    assert_eq!(back.replace('\n', ""), fs::read_to_string(&tokens).unwrap().replace("[[[1", " [[[1"));
    let counts = write("eplb.json", "[[90,132,40,61],[20,107,104,64]]");
    let text = simctl(&format!("routing inspect {counts}")).data();
    assert!(text.contains("choices of 4 experts in 2 layers") && text.contains("are not known"), "{text}");
    let said = simctl(&format!("routing convert {counts}"));
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("with --model or --top-k tokens are drawn from it; or --form counts"), "{said:?}");
    assert_eq!(simctl(&format!("routing convert {counts} --top-k 2 --tokens 10")).data().lines().count(), 21);
    let csv = simctl(&format!("routing inspect {counts} --format csv")).data();
    assert_eq!(csv.lines().count(), 3);
    let said = simctl(&format!("routing inspect {}", write("dump.pt", "PK\u{3}\u{4}")));
    assert!(said.code == Some(2) && said.stderr.contains("seen as a zip archive"), "{said:?}");
}
