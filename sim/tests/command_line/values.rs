//! `simctl values`.

use std::fs;
use std::path::Path;

use crate::surface::{repository, simctl};

fn fixture() -> String {
    repository("crates/values/tests/fixtures/tiny_qwen3_moe").display().to_string()
}

fn reference() -> String {
    format!("{}/reference.safetensors", fixture())
}

#[test]
fn the_tiny_model_is_its_reference() {
    for (grid, placement) in [("5x7", "spread"), ("16x4", "clustered")] {
        let arguments = format!(
            "values --checkpoint {} --grid {grid} --placement {placement} --reference {}",
            fixture(),
            reference()
        );
        let table = simctl(&arguments).data();
        assert!(table.contains("generated 101 0 92 121 58 70 107 58"), "{table}");
        assert!(table.contains("Every tensor is within its tolerance."), "{table}");
        let report = simctl(&format!("{arguments} --format json")).json();
        let kinds: Vec<&str> =
            report["deviations"].as_array().unwrap().iter().filter_map(|kind| kind["kind"].as_str()).collect();
        for kind in ["logits", "attn_out", "router_experts", "router_weights", "moe_out", "k_cache", "generated_ids"] {
            assert!(kinds.contains(&kind), "{kinds:?}");
        }
        assert_eq!(report["within"], true);
    }
}

#[test]
fn without_a_reference_the_equations_are_it() {
    let said = simctl(&format!("values --checkpoint {} --grid 3x2 --prompt 1,2,3 --steps 2", fixture())).data();
    assert!(said.contains("the model's equations in 64 bit") && said.contains("3 of a prompt"), "{said}");
}

#[test]
fn out_of_tolerance_is_exit_code_1_with_the_table() {
    let said =
        simctl(&format!("values --checkpoint {} --grid 2x2 --reference {} --tolerance 1e-9", fixture(), reference()));
    assert_eq!(said.code, Some(1));
    assert!(said.stdout.contains("OUT OF TOLERANCE") && said.stdout.contains("NO: "), "{}", said.stdout);
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let run = |threads: &str| {
        let arguments =
            format!("values --checkpoint {} --grid 4x3 --steps 2 --prompt-tokens 5 --format json", fixture());
        let mut command = crate::surface::command(&arguments);
        command.env("RAYON_NUM_THREADS", threads);
        crate::surface::said(command).data()
    };
    assert_eq!(run("1"), run("2"));
}

#[test]
fn wrong_input_is_exit_code_2() {
    let folder = tempfile_folder("wrong_checkpoint");
    let (config, weights) = (folder.join("config.json"), folder.join("model.safetensors"));
    let tiny = Path::new(&fixture()).join("config.json");
    let check = |extra: &str, part: &str| {
        let said = simctl(&format!("values --checkpoint {} --grid 2x2 {extra}", folder.display()));
        assert_eq!(said.code, Some(2), "{part}: {said:?}");
        assert!(said.stdout.is_empty() && said.stderr.contains(part), "{part}: {}", said.stderr);
    };
    check("", "config.json: cannot be read");
    fs::copy(&tiny, &config).unwrap();
    check("", "model.safetensors: cannot be read");
    fs::write(&weights, b"no weights at all").unwrap();
    check("", "is no safetensors file");
    fs::copy(Path::new(&fixture()).join("model.safetensors"), &weights).unwrap();
    check("--grid 0x4", "--grid");
    check("--prompt 1,500", "holds token 500; allowed is 0 to 127");
    check("--prompt 1,x", "--prompt");
    check("--profile ideal", "--profile");
    check("--reference nowhere.safetensors", "nowhere.safetensors: cannot be read");
    let text = fs::read_to_string(&tiny).unwrap();
    fs::write(&config, text.replace("\"hidden_size\": 64", "\"hidden_size\": 32")).unwrap();
    check("", "the config wants [");
    fs::write(&config, text.replace("\"rope_scaling\": null", "\"rope_scaling\": {\"type\": \"yarn\"}")).unwrap();
    check("", "allowed are default, linear and llama3");
    fs::write(&config, text.replace("qwen3_moe", "mixtral").replace("\"num_experts\"", "\"num_local_experts\""))
        .unwrap();
    check("", "block_sparse_moe");
    fs::write(folder.join("model.safetensors.index.json"), r#"{"weight_map": {"a": "../../etc/passwd"}}"#).unwrap();
    fs::copy(&tiny, &config).unwrap();
    check("", "beside the index");
}

fn tempfile_folder(name: &str) -> std::path::PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

#[test]
fn on_the_fabric_every_buffer_is_the_same_bit_for_bit() {
    for (grid, placement) in [("4x4", "spread"), ("5x3", "clustered")] {
        let arguments = format!(
            "values --checkpoint {} --grid {grid} --placement {placement} --prompt-tokens 4 --steps 1 --on-fabric",
            fixture()
        );
        let said = simctl(&arguments).data();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            said.contains("Every buffer of every processing element is that of the numeric reading, bit for bit."),
            "{said}"
        );
        let report = simctl(&format!("{arguments} --format json")).json();
        assert_eq!(report["on_fabric"]["different"], 0);
        assert!(report["on_fabric"]["words"].as_u64() > Some(10_000));
    }
}

#[test]
fn a_grid_too_large_to_carry_numbers_is_refused() {
    let said = simctl(&format!("values --checkpoint {} --grid 64x64 --on-fabric", fixture()));
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr.contains("--grid") && said.stderr.contains("at most 1024 processing elements"),
        "{}",
        said.stderr
    );
}
