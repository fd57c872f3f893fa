//! Fixes applied as they are printed: edits of files, and commands in a shell.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::containerd::Containerd;

/// Applies the `fix` of a finding, as JSON has it: edits in their order, then commands. What restarts
/// the daemon restarts this one, and `pullctl` is the built one, towards it.
pub(crate) fn apply(fix: &Value, daemon: &Containerd) {
    for edit in fix["edits"].as_array().expect("a fix has edits") {
        apply_edit(edit);
    }
    for command in fix["commands"].as_array().expect("a fix has commands") {
        run(command.as_str().expect("a command is a text"), daemon);
    }
}

/// Runs a command as it is printed.
pub(crate) fn run(command: &str, daemon: &Containerd) {
    run_in(&daemon.scratch("commands"), command, daemon);
}

/// The same in a folder that other commands share.
pub(crate) fn run_in(folder: &Path, command: &str, daemon: &Containerd) {
    if command == "systemctl restart containerd" {
        daemon.kill();
        daemon.restart();
        return;
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_pullctl")).parent().expect("it is in one");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let output = Command::new("sh")
        .args(["-ec", command])
        .env("PATH", path)
        .env("CONTAINERD_ADDRESS", daemon.socket())
        .current_dir(folder)
        .output()
        .expect("a shell runs");
    assert!(output.status.success(), "{command}: {output:?}");
}

fn apply_edit(edit: &Value) {
    let file = PathBuf::from(edit["file"].as_str().expect("an edit names its file"));
    let number = |name: &str| {
        edit[name].as_u64().and_then(|line| usize::try_from(line).ok()).unwrap_or_default()
    };
    let content = edit["content"].as_str().unwrap_or_default();
    if edit["action"] == "write" {
        fs::create_dir_all(file.parent().expect("it is in a folder")).expect("it can be made");
        fs::write(&file, content).expect("it can be written");
        return;
    }
    let text = fs::read_to_string(&file).expect("the file is there");
    let mut lines: Vec<&str> = text.lines().collect();
    let at = number("line") - 1;
    match edit["action"].as_str() {
        Some("replace") => lines[at] = content,
        Some("insert") => lines.insert(at, content),
        Some("remove") => drop(lines.drain(at..number("last"))),
        other => panic!("an unknown edit {other:?}"),
    }
    fs::write(&file, lines.join("\n") + "\n").expect("it can be written");
}
