//! The README and the book: every command in them is run, every generated table is what its command prints, every link
//! leads somewhere, and the library example compiles.
//!
//! `TRYCMD=overwrite cargo test -p simctl --test docs` writes what the commands print now, leaves out what the pages
//! left out, fills the tables whose rows are commands, and draws the pictures; read the diff. Where all of that is
//! current, it changes nothing.

#[path = "../../../crates/wafersim/examples/frontier.rs"]
#[allow(dead_code)] // Its main.
mod frontier;
mod keep;
mod pictures;
mod rows;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

const SIMCTL: &str = env!("CARGO_BIN_EXE_simctl");
const BEGIN: &str = "<!-- output of: simctl ";
const END: &str = "<!-- end of output -->";

/// Held by whoever may overwrite pages.
static PAGES: Mutex<()> = Mutex::new(());

/// The library example of the README, line by line.
#[cfg(test)]
mod readme_example {
    use wafersim::prelude::*;

    pub fn main() -> Result<(), AnswerError> {
        let model = Model::builtin("llama-3.1-8b")?; // or Model::read(Path::new("config.json"))
        let wafer = Wafer::builtin("wse3")?; // or Wafer::read(Path::new("my-wafer.toml"))
        let scenario = Scenario { context: 4096, prompt: 1024, users: 4, ..Scenario::default() };
        let answer = answer(&Question::new(scenario, model, wafer)?)?;

        println!("{:.0} tok/s for each user on {} wafer(s)", answer.tokens_per_second_per_user, answer.wafers);
        println!("limited by {}", answer.verdict.limit);
        for (profile, said) in &answer.profiles {
            println!("{profile}: {:.0} tok/s", said.tokens_per_second_per_user);
        }
        Ok(())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// README, CHANGELOG and all pages of the book.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(root().join("docs/src"))
        .expect("the book has pages")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages.extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)));
    pages
}

fn is_overwriting() -> bool {
    std::env::var_os("TRYCMD").is_some_and(|mode| mode == "overwrite")
}

#[test]
fn commands_print_what_the_pages_show() {
    let _alone = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    // Commands are written for the folder of the repository. The other tests here use absolute paths only.
    std::env::set_current_dir(root()).unwrap();
    let before: Vec<(PathBuf, String)> = pages().into_iter().map(|page| (page.clone(), read(&page))).collect();
    let cases = trycmd::TestCases::new();
    cases.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).register_bin("simctl", Path::new(SIMCTL));
    cases.case("README.md").case("docs/src/*.md").run();
    for (page, old) in before.iter().filter(|_| is_overwriting()) {
        let new = read(page);
        let short = keep::left_out(old, &new);
        if short != new {
            std::fs::write(page, short).unwrap();
        }
    }
}

/// What a command of a page prints.
fn printed(command: &str) -> String {
    let arguments = command.strip_prefix("simctl ").unwrap_or_else(|| panic!("{command}: not simctl"));
    let mut run = Command::new(SIMCTL);
    run.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).args(arguments.split_whitespace()).current_dir(root());
    let output = run.output().expect("simctl runs");
    assert!(output.status.success(), "{command}");
    String::from_utf8(output.stdout).expect("simctl prints text")
}

/// Takes a page as it ought to be: writes it, or compares.
fn settle(page: &Path, text: &str, fresh: &str) {
    if fresh != text && is_overwriting() {
        std::fs::write(page, fresh).expect("a page can be written");
    } else {
        assert!(fresh == text, "{}: a table is not what its commands print (TRYCMD=overwrite)", page.display());
    }
}

#[test]
fn rows_are_what_their_commands_print() {
    let _alone = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut commands = rows::Commands::new(&printed);
    let mut all = 0;
    for page in pages() {
        let text = read(&page);
        let (fresh, tables) = rows::filled(&text, is_overwriting(), &mut commands);
        settle(&page, &text, &fresh);
        all += tables;
    }
    assert!(all >= 5, "{all} tables of rows found");
}

#[test]
fn every_picture_has_its_command() {
    let scripts: Vec<String> = pages().iter().flat_map(|page| pictures::scripts(&read(page))).collect();
    for picture in std::fs::read_dir(root().join("docs/src/images")).unwrap() {
        let name = format!("docs/src/images/{}", picture.unwrap().file_name().to_string_lossy());
        assert_eq!(scripts.iter().filter(|script| script.contains(&name)).count(), 1, "{name}");
    }
    if is_overwriting() {
        scripts.iter().for_each(|script| pictures::draw(script, &root(), Path::new(SIMCTL)));
    }
}

#[test]
fn generated_tables_are_what_their_commands_print() {
    let _alone = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tables = 0;
    for page in pages() {
        let text = read(&page);
        let mut fresh = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (command, after) = after.split_once(" -->\n").unwrap();
            let (_, after) = after.split_once(END).unwrap_or_else(|| panic!("{}: no end", page.display()));
            let printed = printed(&format!("simctl {command}"));
            fresh.push_str(&format!("{before}{BEGIN}{command} -->\n\n{}\n\n{END}", printed.trim_end()));
            rest = after;
            tables += 1;
        }
        fresh.push_str(rest);
        settle(&page, &text, &fresh);
    }
    assert!(tables >= 4, "{tables} tables found");
}

#[test]
fn the_library_example_runs_and_is_the_one_of_the_readme() {
    readme_example::main().unwrap();
    let readme = read(&root().join("README.md"));
    let (_, shown) = readme.split_once("```rust\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let source = include_str!("main.rs");
    let (_, compiled) = source.split_once("mod readme_example {\n").unwrap();
    let (compiled, _) = compiled.split_once("\n}\n").unwrap();
    let lines = compiled.lines().map(|line| line.strip_prefix("    ").unwrap_or(line).replacen("pub fn", "fn", 1));
    assert_eq!(shown.lines().collect::<Vec<_>>(), lines.collect::<Vec<_>>());
}

#[test]
fn scenario_files_are_shown_as_they_are() {
    let page = read(&root().join("docs/src/first-run.md"));
    assert!(page.contains(&format!("```toml\n{}```", read(&root().join("sim/scenarios/coding-agents.toml")))));
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = read(&root().join("docs/src/SUMMARY.md"));
    for page in pages().iter().filter(|page| page.parent() == Some(&root().join("docs/src"))) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("]({name})")), "{name}");
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        for target in links(&read(&page)) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let linked = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(linked.exists(), "{}: {target}", page.display());
            assert!(anchor.is_empty() || anchors(&read(&linked)).contains(anchor), "{}: {target}", page.display());
        }
    }
}

/// Lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_fenced ^= is_fence;
        !is_fenced && !is_fence
    })
}

/// Targets of inline links.
fn links(text: &str) -> Vec<String> {
    let pieces = prose(text).flat_map(|line| line.split("](").skip(1));
    pieces.filter_map(|piece| piece.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// What headings can be linked by, as mdBook and GitHub make it.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase();
            let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
            kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
        })
        .collect()
}
