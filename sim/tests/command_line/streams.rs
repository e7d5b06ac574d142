//! Where the data goes: stdout, `--out`, closed pipes, full disks.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::surface::simctl;

const SMALL: &str = "run --model qwen3-8b --context 2k";

#[test]
fn out_writes_the_same_bytes_to_a_file_and_nothing_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answer.txt");
    fs::write(&file, "old").unwrap();
    for arguments in [SMALL, "plan --model qwen3-8b --users 1 --context 2k", "validate", "graph --layer 0"] {
        let said = simctl(&format!("{arguments} --out {}", file.display()));
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{}", said.stderr);
        assert_eq!(fs::read_to_string(&file).unwrap(), simctl(arguments).data());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
}

#[test]
fn a_run_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("answer.txt");
    fs::write(&file, "old").unwrap();
    assert_eq!(simctl(&format!("run --wafers 1 --out {}", file.display())).code, Some(2));
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other file is left");
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_permissions_are_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&file, &link).unwrap();
    assert_eq!(simctl(&format!("{SMALL} --out {}", link.display())).code, Some(0));
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(fs::read_to_string(&file).unwrap().contains("Profiles"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
}

/// A reader that closes early (`simctl graph | head`) is no failure.
#[test]
fn a_closed_pipe_is_no_failure() {
    // More than a pipe holds, so that the writer meets the closed end.
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("simctl"))
        .args(["graph", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_exit_code_1() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(assert_cmd::cargo::cargo_bin!("simctl")).arg("models").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: stdout: could not be written: "));
    let said = simctl("validate --out /dev/full");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
}

#[test]
fn same_question_same_bytes() {
    assert_eq!(simctl(SMALL).data(), simctl(SMALL).data());
}

/// In a terminal texts are as wide as it is, between 80 and 200 columns; elsewhere they have 100.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_is_filled() {
    let there = Command::new("script").arg("--version").output().is_ok_and(|said| said.status.success());
    if !there {
        eprintln!("skipped: no program 'script' that has terminals");
        return;
    }
    let program = assert_cmd::cargo::cargo_bin!("simctl").display().to_string();
    let widest = |columns: u32, line: &str| {
        let inside = format!("stty cols {columns} rows 40 && {program} {line}");
        let said = Command::new("script").args(["-qec", &inside, "/dev/null"]).output().unwrap();
        let text = String::from_utf8_lossy(&said.stdout).replace('\r', "");
        assert!(!text.trim().is_empty(), "{line}");
        text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
    };
    let plain = simctl("settings").data();
    assert!(plain.lines().all(|line| line.len() <= 100));
    let [narrow, usual, wide, wider] = [60, 100, 150, 400].map(|columns| widest(columns, "settings"));
    assert!(narrow <= 80 && (90..=100).contains(&usual) && (120..=150).contains(&wide) && wider <= 200);
    let message = widest(80, "run --set wafer.fabric.hop_latncy=1 --model qwen3-9b; true");
    assert!(message <= 80, "{message}");
}
