//! Which module may know which: the table of the architecture, held against every `crate::…` path
//! in `src`.
#![expect(clippy::unwrap_used, reason = "what can't be read fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The nouns, which everyone may use.
const NOUNS: [&str; 6] = ["oci", "reference", "platform", "progress", "failure", "sync"];

/// What each module may import besides the nouns. `registry` and `containerd` are siblings: only
/// `transfer` knows both.
const MAY_IMPORT: [(&str, &[&str]); 17] = [
    ("oci", &[]),
    ("reference", &[]),
    ("platform", &[]),
    ("progress", &[]),
    ("failure", &[]),
    ("sync", &[]),
    ("config", &[]),
    ("registry", &["config"]),
    ("containerd", &[]),
    ("layout", &[]),
    ("tar", &[]),
    ("archive", &[]),
    ("unpack", &["containerd", "tar"]),
    ("transfer", &["config", "registry", "containerd", "layout", "archive", "unpack", "images"]),
    ("images", &["containerd"]),
    ("output", &[]),
    (
        "cli",
        &[
            "config",
            "registry",
            "containerd",
            "layout",
            "archive",
            "unpack",
            "images",
            "transfer",
            "output",
        ],
    ),
];

/// Longest file of `src`, in lines, its tests not counted.
const MAX_LINES: usize = 500;

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The top-level module that a file belongs to: `registry/auth/token.rs` to `registry`.
fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(source()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that `code` names by `crate::module` or `crate::{module, …}`, comments left out.
fn imports(code: &str) -> BTreeSet<String> {
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level(group).iter().map(|part| word(part))),
            None => {
                found.insert(word(rest));
            }
        }
    }
    found
}

/// The parts of a `{a, b::{c, d}, e}` group whose opening brace has been read.
fn top_level(group: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts
}

#[test]
fn imports_are_found_in_paths_and_groups_but_not_in_comments() {
    let code = "use crate::oci::Digest;\nuse crate::{config::{self, Keychain}, transfer};\n\
                // crate::cli\nfn f() { crate::output::print() }\n";
    let found: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(found, ["config", "oci", "output", "transfer"]);
}

#[test]
fn each_module_imports_only_what_the_architecture_lets_it() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.into_iter().collect();
    let mut wrong = Vec::new();
    for file in rust_files(&source()) {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            wrong.push(format!("{module} is not in the table"));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let fine = import == module
                || NOUNS.contains(&import.as_str())
                || allowed.contains(&import.as_str());
            if !fine {
                wrong.push(format!("{} imports {import}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_short_enough_to_read() {
    let mut wrong = Vec::new();
    for file in rust_files(&source()) {
        let code = fs::read_to_string(&file).unwrap();
        let own = code.split("#[cfg(test)]\nmod ").next().unwrap();
        let lines = own.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<String> = rust_files(&source())
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
