//! `simctl models`, and what files of models say to other commands.

use std::fs;

use crate::surface::{repository, simctl};

/// The built-in file with more keys, written to a folder of its own.
fn file(folder: &std::path::Path, more: &str) -> String {
    let text = fs::read_to_string(repository("models/llm/qwen3-30b-a3b.json")).expect("a built-in model");
    let path = folder.join("config.json");
    fs::write(&path, text.replacen('{', &format!("{{ {more},"), 1)).expect("the folder can be written to");
    path.display().to_string()
}

#[test]
fn a_file_is_read_as_it_is_stored_and_flags_win() {
    let folder = tempfile::tempdir().unwrap();
    let more = r#""quantization_config": {"quant_method": "mxfp4"}"#;
    let path = file(folder.path(), more);
    let listed = simctl(&format!("models {path} --format json")).json();
    assert_eq!(listed["models"][0]["checkpoint"]["precision"]["weights"], "fp4");
    assert_eq!(listed["models"][0]["checkpoint"]["precision"]["roles"]["query"], "bf16");
    assert_eq!(listed["models"][0]["checkpoint"]["source"], "quantization_config: mxfp4; torch_dtype: bf16");
    let run = |more: &str| {
        let folder = folder.path().display();
        simctl(&format!("run --model {folder} --wafers fewest --context 1k --ranges none --search none {more}"))
    };
    let text = run("").data();
    assert!(text.contains("weights fp4 (attention bf16,"), "{text}");
    assert!(text.contains("  stored as            quantization_config: mxfp4; torch_dtype: bf16"), "{text}");
    let said = run("--weights fp8 --set precision.experts=int4 --format json").json();
    let precision = &said["load"]["precision"];
    assert_eq!((&precision["weights"], &precision["kv_cache"]), (&"fp8".into(), &"bf16".into()));
    assert_eq!(precision["roles"]["expert_up"], "int4");
    assert_eq!(precision["roles"].get("query"), None);
    let source = said["load"]["precision_source"].as_str().unwrap();
    assert!(source.ends_with("as asked: weights, experts"), "{source}");
    let over = simctl(&format!("run --model {} --out {path}", folder.path().display()));
    assert!(over.code == Some(2) && over.stderr.contains("is read as"), "{over:?}");
    let builtin = simctl("run --model qwen3-30b-a3b --wafers fewest --context 1k --ranges none --search none").data();
    assert!(builtin.contains("weights fp8, KV cache bf16") && !builtin.contains("stored as"), "{builtin}");
}

#[test]
fn what_is_no_model_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, expected) in [
        ("a.json", r#"{"model_type": "nemotron_h", "x": [0.0, Infinity]}"#, "layers of a state space (Mamba)"),
        ("b.json", r#"{"model_type": "lama"}"#, "did you mean 'llama'?"),
        ("c.json", r#"{"weight_map": {}}"#, "an index of safetensors files is not supported"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let said = simctl(&format!("models {}", path.display()));
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{name}: {said:?}");
        assert!(said.stderr.contains(expected), "{said:?}");
    }
    let said = simctl("run --model Qwen/Qwen3-8B");
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("hf download Qwen/Qwen3-8B config.json"), "{said:?}");
}

/// What is printed to copy is read back equal.
#[test]
fn files_to_copy_are_read_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let parameters = |name: &str| simctl(&format!("models {name} --format json")).json()[0]["parameters"].clone();
    let copy = folder.path().join("config.json");
    let copied = copy.display().to_string();
    assert_eq!(simctl(&format!("models glm-4.5 --format config --out {copied}")).code, Some(0));
    assert_eq!(parameters(&copied), parameters("glm-4.5"));
    assert_eq!(simctl(&format!("models {copied} --format config")).data(), fs::read_to_string(&copy).unwrap());
    let wafer = folder.path().join("copy.toml");
    assert_eq!(simctl(&format!("wafers wse3 --format toml --out {}", wafer.display())).code, Some(0));
    let figures = |name: &str| simctl(&format!("wafers {name} --format json")).json()["parameters"].clone();
    assert_eq!(figures(&wafer.display().to_string()), figures("wse3"));
    for wrong in [
        "models --format config",
        "models glm-4.5 grok-1 --format config",
        "run --format config",
        "wafers --format toml",
    ] {
        let said = simctl(wrong);
        assert!(said.code == Some(2) && said.stderr.contains("--format: is"), "{wrong}: {said:?}");
    }
}
