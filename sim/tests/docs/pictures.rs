//! Pictures of the book and the commands that draw them: `<!-- drawn by: COMMAND -->` before a picture, or
//! `<!-- drawn by the commands below -->` before a fenced block of them. They are run by a shell in the folder of the
//! repository and write the files that they name.

use std::path::Path;
use std::process::{Command, Stdio};

const BEGIN: &str = "<!-- drawn by: ";
const BELOW: &str = "<!-- drawn by the commands below -->";

/// The commands of a page that draw its pictures.
pub fn scripts(page: &str) -> Vec<String> {
    let in_comments = page.split(BEGIN).skip(1).filter_map(|text| text.split_once(" -->"));
    let below = page.split(BELOW).skip(1).filter_map(|text| text.trim_start().strip_prefix("```sh\n"));
    let in_blocks = below.filter_map(|text| text.split_once("```"));
    in_comments.chain(in_blocks).map(|(script, _)| script.to_owned()).collect()
}

/// Draws what a script draws.
pub fn draw(script: &str, root: &Path, simctl: &Path) {
    let folder = simctl.parent().map(Path::to_path_buf).into_iter();
    let cargo = Path::new(env!("CARGO")).parent().map(Path::to_path_buf);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(folder.chain(cargo).chain(std::env::split_paths(&path))).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", script]).current_dir(root).env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null());
    let status = shell.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).status().unwrap();
    assert!(status.success(), "{script}");
}
