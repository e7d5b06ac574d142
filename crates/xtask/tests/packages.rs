//! What a package of a crate has in it, and how little of other people's code the smallest build needs.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use xtask::{Library, libraries, packages, root};

/// A file outside of a crate's folder is in no package.
#[test]
fn what_crates_embed_is_in_their_packages() {
    let mut seen = 0;
    let simctl = Library { name: "simctl".into(), folder: root().join("sim") };
    for library in libraries().expect("the crates can be read").into_iter().chain([simctl]) {
        for embedded in packages::embedded(&library).expect("sources can be read") {
            let from = embedded.source.display();
            assert!(embedded.is_inside(&library), "{from} embeds {}, which is outside of its crate", embedded.written);
            assert!(embedded.path().exists(), "{from} embeds {}, which is not there", embedded.written);
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} embedded files");
}

/// Crates have links to the data that people open at the top. Where a checkout has no links, or somebody put a copy,
/// the bytes must be the same.
#[test]
fn data_of_packages_is_the_data_at_the_top() {
    let folders = [
        ("crates/spec/models/llm", "models/llm"),
        ("crates/spec/models/wafer", "models/wafer"),
        ("crates/mapping/models/mapping", "models/mapping"),
        ("crates/check/measurements", "benches/measurements"),
        ("crates/decide/measurements", "benches/measurements"),
        ("crates/stream/scenarios/service", "sim/scenarios/service"),
        ("sim/schemas", "docs/schemas"),
    ];
    for (packed, top) in folders {
        let (packed, top) = (root().join(packed), root().join(top));
        let mut seen = 0;
        for entry in fs::read_dir(&packed).unwrap_or_else(|error| panic!("{}: {error}", packed.display())) {
            let entry = entry.expect("an entry");
            let path = top.join(entry.file_name());
            let original = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(
                fs::read(entry.path()).expect("a file") == original,
                "{} is not {}",
                entry.path().display(),
                path.display()
            );
            seen += 1;
        }
        assert!(seen >= 3, "{}: {seen} files", packed.display());
    }
}

/// Every library crate can be published: what crates.io asks for, and nothing that depends on a crate without version.
#[test]
fn manifests_are_complete() {
    for library in libraries().expect("the crates can be read") {
        let manifest = fs::read_to_string(library.folder.join("Cargo.toml")).expect("a manifest");
        for key in ["description", "readme", "documentation", "keywords", "categories", "include"] {
            let has = manifest.lines().any(|line| line.starts_with(&format!("{key} = ")));
            assert!(has, "crates/{}/Cargo.toml has no {key}", library.name);
        }
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(library.folder.join(file).is_file(), "crates/{} has no {file}", library.name);
        }
    }
}

/// A question in closed form, without features: fewer than 40 crates that are not ours.
#[test]
fn the_smallest_build_needs_few_crates() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments =
        ["tree", "-p", "wafersim", "--no-default-features", "-e", "normal", "--prefix", "none", "--no-dedupe"];
    let tree = Command::new(cargo).args(arguments).args(["--locked", "--offline"]).current_dir(root()).output();
    let tree = tree.expect("cargo can be started");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).expect("UTF-8");
    let all: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let (ours, others): (Vec<&str>, Vec<&str>) = all.iter().partition(|line| line.starts_with("wafersim"));
    assert!(ours.len() >= 10, "{ours:?}");
    assert!(others.len() < 40, "{} crates from elsewhere: {others:?}", others.len());
    for absent in ["wafersim-check", "wafersim-values", "wafersim-report", "petgraph", "tokio", "rusqlite"] {
        assert!(!all.iter().any(|line| line.starts_with(&format!("{absent} "))), "{absent} is in the smallest build");
    }
}
