//! What a release says of itself: its version, and the compiler that it wants.

use std::env::consts::ARCH;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::{none, root};

/// Documents that show the image of a version.
const SHOWN_IN: [&str; 2] = ["docs/fleet.md", "docs/flags.md"];

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

/// `1.95`, `1.95.1` as numbers.
fn version(text: &str) -> [u32; 3] {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap());
    std::array::from_fn(|_| numbers.next().unwrap_or_default())
}

#[test]
fn the_changelog_begins_with_the_version_of_the_crate() {
    let changelog = read("CHANGELOG.md");
    let first = changelog.lines().find_map(|line| line.strip_prefix("## ")).unwrap();
    let (name, date) = first.split_once(" - ").unwrap();
    assert_eq!(name, format!("[{}]", env!("CARGO_PKG_VERSION")));
    let is_date = date.len() == "2026-12-31".len()
        && date.split('-').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    assert!(is_date || date == "unreleased", "{first}");
}

#[test]
fn documents_show_the_image_of_this_version() {
    let mut wrong = Vec::new();
    for file in SHOWN_IN {
        let text = read(file);
        let shown = text.split("/pullctl:").skip(1);
        let shown: Vec<&str> = shown
            .map(|rest| rest.split(|c: char| c != '.' && !c.is_ascii_digit()).next().unwrap())
            .filter(|version| !version.is_empty())
            .collect();
        assert!(!shown.is_empty(), "{file} shows no image");
        let others = shown.into_iter().filter(|shown| *shown != env!("CARGO_PKG_VERSION"));
        wrong.extend(others.map(|other| format!("{file}: pullctl:{other}")));
    }
    none(&wrong);
}

#[test]
fn the_command_for_a_tarball_brings_the_program_alone() {
    let readme = read("README.md");
    let command = readme.lines().find_map(|line| line.strip_prefix("| any Linux | `")).unwrap();
    let command = command.trim_end_matches("` |");
    let name = format!("pullctl-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    assert!(command.contains(&format!("{name}.tar.gz -C /usr/local/bin ")), "{command}");
    // As `scripts/dist` lays it out, where completions are called like the program.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join(&name).join("completions")).unwrap();
    for file in ["pullctl", "README.md", "completions/pullctl"] {
        fs::write(folder.path().join(&name).join(file), file).unwrap();
    }
    fs::create_dir(folder.path().join("bin")).unwrap();
    let command = command.replace("/usr/local/bin", "bin");
    let script = format!("tar -czf {name}.tar.gz {name} && {command}");
    let done = Command::new("sh").args(["-ec", &script]).current_dir(folder.path()).output();
    let done = done.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let brought = fs::read_dir(folder.path().join("bin")).unwrap();
    let brought: Vec<_> = brought.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(brought, ["pullctl"]);
}

#[test]
fn no_dependency_wants_a_newer_compiler_than_the_crate_says() {
    let platform = format!("{ARCH}-unknown-linux-gnu");
    // Those of the fuzz targets are asked too, which nobody has downloaded who has only built the tests.
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", &platform, "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let wants = |package: &Value| package["rust_version"].as_str().map(version);
    let own = packages.iter().find(|package| package["name"] == env!("CARGO_PKG_NAME")).unwrap();
    let own = wants(own).unwrap();
    let newer = packages.iter().filter(|package| wants(package).is_some_and(|wanted| wanted > own));
    let newer = newer.map(|package| {
        format!("{} {} wants {}", package["name"], package["version"], package["rust_version"])
    });
    none(&newer.collect::<Vec<_>>());
    assert!(packages.len() > 100, "that are not all of them: {}", packages.len());
}
