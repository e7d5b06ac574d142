//! Citations in code, wafer files and tables of measurements lead to `docs/src/sources.md`, as links do to their pages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wafersim::spec::Wafer;
use wafersim::spec::wafer::{DECLARATIONS, Evidence};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The words by which each source is cited, and the anchors of their entries.
fn sources() -> (Vec<String>, BTreeSet<String>) {
    let page = read(&root().join("docs/src/sources.md"));
    let (mut words, mut anchors) = (Vec::new(), BTreeSet::new());
    for entry in page.split("\n## ").skip(1) {
        let (heading, body) = entry.split_once('\n').expect("an entry has lines");
        let kept = heading.to_lowercase();
        let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || " -".contains(*letter));
        anchors.insert(kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect());
        let cited = body.lines().find_map(|line| line.strip_prefix("*Cited as*: "));
        let cited = cited.unwrap_or_else(|| panic!("'{heading}' does not say how it is cited"));
        words.extend(cited.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    (words, anchors)
}

/// Files of the repository that may cite.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files(&path, found);
            }
        } else if matches!(extension, Some("rs" | "toml" | "csv" | "md"))
            && name != "sources.rs"
            && name != "sources.md"
        {
            found.push(path);
        }
    }
}

fn all_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "sim", "benches", "models", "docs", "traces"] {
        files(&root().join(folder), &mut found);
    }
    found.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    found.sort();
    found
}

#[test]
fn anchors_of_sources_exist() {
    let (_, anchors) = sources();
    let mut cited = BTreeSet::new();
    for file in all_files() {
        for piece in read(&file).split("sources.md#").skip(1) {
            let anchor: String =
                piece.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
            assert!(anchors.contains(&anchor), "{}: sources.md#{anchor}", file.display());
            cited.insert(anchor);
        }
    }
    assert!(cited.len() >= 5, "{cited:?}");
}

/// A venue with its year, or a number of arXiv, is a citation.
#[test]
fn papers_are_in_the_sources() {
    const VENUES: [&str; 9] = ["OSDI", "HPDC", "ICML", "ISCA", "SOSP", "NSDI", "FAST", "NeurIPS", "MLSys"];
    let (words, _) = sources();
    let mut seen = 0;
    for file in all_files() {
        let text = read(&file);
        let pieces: Vec<&str> =
            text.split([' ', '\n', '(', ')', ';', ',', '|', ':']).filter(|piece| !piece.is_empty()).collect();
        for pair in pieces.windows(2) {
            let number = pair[1].trim_end_matches(['.', '"', '`']);
            let digits = number.trim_start_matches('\'');
            let is_year = digits.len() >= 2 && digits.chars().all(|letter| letter.is_ascii_digit());
            let is_paper = pair[0] == "arXiv" && number.starts_with(|letter: char| letter.is_ascii_digit());
            if is_paper || (VENUES.contains(&pair[0]) && is_year) {
                let cited = format!("{} {number}", pair[0]);
                assert!(words.contains(&cited), "{}: '{cited}' is not in docs/src/sources.md", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "{seen} citations found");
}

/// Where a figure of a wafer or a measurement is not our own inference or guess, its source has an entry.
#[test]
fn figures_of_wafers_and_measurements_name_their_source() {
    let (words, _) = sources();
    let known = |source: &str| words.iter().any(|word| source.contains(word.as_str()));
    let mut seen = 0;
    for wafer in ["wse2", "wse3"] {
        let wafer = Wafer::builtin(wafer).expect("built in");
        for declaration in DECLARATIONS {
            let figure = wafer.figure(declaration.key);
            let is_own = matches!(figure.evidence, Evidence::Inferred | Evidence::Guess)
                // Several sources that do not agree are named in the figure's own words.
                || figure.source.contains("conflict");
            assert!(is_own || known(&figure.source), "{}: '{}' is in no source", declaration.path, figure.source);
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen} figures");
    let table = read(&root().join("benches/measurements/wse.csv"));
    for line in table.lines().skip(1) {
        assert!(known(line), "no source: {line}");
    }
}

/// A reader has the repository and nothing else.
#[test]
fn no_file_outside_of_the_repository_is_cited() {
    for file in all_files() {
        for (number, line) in read(&file).lines().enumerate() {
            for outside in
                ["shared/facts", "facts/", "hardware.md", "workload.md", "production.md", "shared/measurements"]
            {
                assert!(!line.contains(outside), "{}:{}: {outside}", file.display(), number + 1);
            }
        }
    }
}
