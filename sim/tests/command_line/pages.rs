//! Files for people: the ending of `--out` says how a result is written, for every command that has one.

use std::path::Path;

use serde_json::Value;

use crate::surface::{repository, simctl};

/// Commands that end soon, with what each writes beside text, JSON, CSV, Markdown, a page and a spreadsheet.
fn commands() -> Vec<(String, &'static [&'static str])> {
    let load = repository("sim/scenarios/stream/agents-at-100k.toml").display().to_string();
    let pictures: &[&str] = &["svg", "png"];
    vec![
        ("run --model llama-3.1-8b --context 4k --search none".into(), pictures),
        ("plan --model llama-3.1-8b --context 4k --users 1,4 --search none".into(), pictures),
        (format!("stream {load}"), pictures),
        ("bound".into(), &[]),
        ("validate".into(), &[]),
        ("crosscheck --kernels mesh_gemv_y --grids 8x8".into(), &[]),
        ("traffic --mesh 4 --warm-up 100 --measured 100".into(), &[]),
        ("models".into(), &[]),
        ("wafers wse3".into(), &[]),
        ("settings".into(), &[]),
    ]
}

fn written(folder: &Path, command: &str, ending: &str) -> Vec<u8> {
    let file = folder.join(format!("result.{ending}"));
    let said = simctl(&format!("{command} --out {}", file.display()));
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{command} as {ending}: {}", said.stderr);
    let bytes = std::fs::read(&file).expect("the file");
    std::fs::remove_file(file).expect("the file goes");
    bytes
}

#[test]
fn endings_say_how_every_command_writes() {
    let folder = tempfile::tempdir().unwrap();
    for (command, pictures) in commands() {
        let json = simctl(&format!("{command} --format json")).json();
        let text = simctl(&command).data();
        let of = |ending: &str| String::from_utf8(written(folder.path(), &command, ending)).unwrap();
        assert_eq!(of("txt"), text, "{command}");
        assert_eq!(serde_json::from_str::<Value>(&of("json")).unwrap(), json, "{command}");
        let page = of("html");
        let (_, island) = page.split_once("<script type=\"application/json\" id=\"data\">").expect("data");
        let (island, _) = island.split_once("</script>").expect("its end");
        assert_eq!(serde_json::from_str::<Value>(island).unwrap(), json, "{command}");
        assert!(page.len() < 2_000_000, "{command}: {} bytes", page.len());
        assert!(of("md").contains("| "), "{command}");
        let lines = of("csv").lines().count();
        assert!(lines > 1, "{command}: {lines} lines");
        assert_eq!(written(folder.path(), &command, "xlsx")[..2], *b"PK", "{command}");
        #[cfg(feature = "parquet")]
        assert_eq!(written(folder.path(), &command, "parquet")[..4], *b"PAR1", "{command}");
        for ending in ["svg", "png"] {
            if pictures.contains(&ending) {
                let start: &[u8] = if ending == "svg" { b"<svg" } else { b"\x89PNG" };
                assert!(written(folder.path(), &command, ending).starts_with(start), "{command} as {ending}");
            } else {
                let said = simctl(&format!("{command} --out {}", folder.path().join(format!("a.{ending}")).display()));
                assert_eq!(said.code, Some(2), "{command}");
                assert!(said.stderr.contains("this command draws none; allowed: "), "{}", said.stderr);
            }
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{command}: a file is left");
    }
}

#[test]
fn forms_that_disagree_or_are_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, parts) in [
        ("run --format json --out @a.html", ["--format: is json", "ends in .json"]),
        ("plan --format table --out @a.csv", ["--format: is text", "ends in .txt"]),
        #[cfg(not(feature = "parquet"))]
        ("run --out @a.parquet", ["--features parquet", ".csv"]),
        ("run --format pdf", ["pdf", "text, markdown, csv, json, html, xlsx, parquet, svg, png"]),
        ("graph --format dot --out @a.json", ["--format: is dot", ".dot"]),
        ("explore --users 0", ["--users: is '0'", "1 to"]),
        ("explore --model llama-3.1-8b --context 4k --wafers 1 --users 100000", ["wafer", ""]),
    ] {
        let said = simctl(&arguments.replace('@', &format!("{}/", folder.path().display())));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{arguments}: {}", said.stderr);
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{arguments}: {parts:?} in {}", said.stderr);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{arguments}: a file is left");
    }
    // What has no ending that is known, and what agrees, is written as it is asked for.
    for (arguments, start) in
        [("bound --format json --out @a.dat", "{"), ("bound --out @b", "No mapping"), ("graph --out @c.json", "{")]
    {
        let file = arguments.rsplit('@').next().unwrap();
        simctl(&arguments.replace('@', &format!("{}/", folder.path().display()))).data();
        let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(text.trim_start().starts_with(start), "{arguments}: {text}");
    }
}
