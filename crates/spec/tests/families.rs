//! Every family on a tiny configuration: parameters, active parameters and KV cache as the `transformers` package counts
//! them (5.24, models on the meta device, caches of real passes). `tests/data/families.py` makes the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use wafersim_spec::Model;

#[derive(Deserialize)]
struct Counted {
    parameters: u64,
    active: u64,
    kv_elements_per_token: Option<u64>,
    config: Value,
}

/// Families that the package has and this program refuses.
const REFUSED: &[&str] = &["olmo"];

/// Families whose files name another's architecture.
const OF_OTHERS: &[&str] = &["internlm3", "iquestcoder", "sarvam_mla", "sarvam_moe"];

fn families() -> BTreeMap<String, Counted> {
    serde_json::from_str(include_str!("data/families.json")).expect("the file is JSON")
}

#[test]
fn every_family_is_counted_as_its_own_package_does() {
    let mut wrong = Vec::new();
    for (name, counted) in families() {
        let model = match Model::from_config_json(&counted.config.to_string(), &name) {
            Ok(model) => model,
            Err(_) if REFUSED.contains(&name.as_str()) => continue,
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        assert!(!REFUSED.contains(&name.as_str()), "{name} is read");
        let count = model.parameters();
        let kv = counted.kv_elements_per_token.map(|_| model.kv_elements_per_token());
        let ours = (count.total, count.active, kv);
        let theirs = (counted.parameters, counted.active, counted.kv_elements_per_token);
        if ours != theirs {
            wrong.push(format!("{name}: {ours:?}, the package has {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `architectures` alone says which family it is.
#[test]
fn a_file_without_a_type_is_read_by_its_architecture() {
    for (name, counted) in families() {
        let Ok(model) = Model::from_config_json(&counted.config.to_string(), &name) else { continue };
        if OF_OTHERS.contains(&name.as_str()) {
            continue;
        }
        let mut config = counted.config;
        config.as_object_mut().unwrap().shift_remove("model_type");
        let by_architecture = Model::from_config_json(&config.to_string(), &name);
        // What FlexOLMo and others share with a family are not their names.
        assert_eq!(by_architecture.map(|model| model.family), Ok(model.family), "{name}");
    }
}
