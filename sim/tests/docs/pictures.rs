//! Pictures of the book and the commands that draw them: `<!-- drawn by: COMMAND -->` before a picture, or
//! `<!-- drawn by the commands below -->` before a fenced block of them. They are run by a shell in the folder of the
//! repository and write the files that they name. The example `frontier` of the library is run by the test itself.

use std::path::Path;
use std::process::{Command, Stdio};

const BEGIN: &str = "<!-- drawn by: ";
const BELOW: &str = "<!-- drawn by the commands below -->";

/// The commands of a page that draw its pictures.
pub fn scripts(page: &str) -> Vec<String> {
    let in_comments = page.split(BEGIN).skip(1).filter_map(|text| text.split_once(" -->"));
    let below = page.split(BELOW).skip(1).filter_map(|text| text.trim_start().strip_prefix("```sh\n"));
    let in_blocks = below.filter_map(|text| text.split_once("```"));
    let all = in_comments.chain(in_blocks).map(|(script, _)| script.to_owned());
    // The page that says how they are written.
    all.filter(|script| script != "...").collect()
}

/// Instead of cargo, which waits for itself where it runs a test: leaves the arguments of the example.
const CARGO: &str = "cargo() { shift 6; printf '%s\\n' \"$@\" > target/frontier.txt; }\n";

/// Draws what a script draws.
pub fn draw(script: &str, root: &Path, simctl: &Path) {
    let folder = simctl.parent().map(Path::to_path_buf).into_iter();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folder.chain(std::env::split_paths(&path))).expect("a path");
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &format!("{CARGO}{script}")]).current_dir(root).env("PATH", path);
    shell.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(shell.status().expect("a shell").success(), "{script}");
    if script.contains("cargo run -p wafersim --example frontier -- ") {
        let arguments = std::fs::read_to_string(root.join("target/frontier.txt")).expect("arguments");
        let arguments = arguments.lines().map(|argument| match argument.split_once('=') {
            Some((name, file)) => format!("{name}={}", root.join(file).display()),
            None => root.join(argument).display().to_string(),
        });
        super::frontier::draw(arguments).expect("a chart");
    }
}
