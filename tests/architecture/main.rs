//! The shape of `src`, held by tests: which module may know which, no circles among files, files and
//! functions that can be read.
//!
//! | file | owns |
//! |---|---|
//! | here | what is held, and the limits |
//! | `table` | which module may know which |
//! | `tokens`, `module` | Rust source as tokens; as what a module defines, imports and names |
//! | `house` | all modules of the crate, and which file defines what a path names |
//! | `circles` | files that need each other |
//! | `documents` | the files that documents name |
//! | `release` | version, and the compiler that is wanted |
//! | `codes` | what `doctor` may find, and what shows it |
#![expect(clippy::unwrap_used, clippy::panic, reason = "what can't be read fails the test")]

mod circles;
mod codes;
mod documents;
mod house;
mod module;
mod release;
mod table;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use house::House;
use module::{Module, Tests};
use table::{MAY_IMPORT, NOUNS};

/// Longest file of the crate, in lines, its tests not counted.
const MAX_FILE_LINES: usize = 400;

/// Longest file of tests and benchmarks. They are read one by one.
const MAX_TEST_FILE_LINES: usize = 500;

/// Longest function, from its `fn` to its last brace.
const MAX_FUNCTION_LINES: usize = 60;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(tests: Tests) -> House {
    House::new("lib.rs", tests, &|file| fs::read_to_string(root().join("src").join(file)).ok())
}

/// `src` without its tests.
fn source() -> &'static House {
    static SOURCE: LazyLock<House> = LazyLock::new(|| read(Tests::LeftOut));
    &SOURCE
}

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

#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Once a run at most, since the handles of layers are made by one single-flight map.
#[test]
fn a_layer_is_handed_to_unpack_in_one_place() {
    let made = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| line.trim().starts_with("unpack::Layer {")).count();
        std::iter::repeat_n(file, lines)
    };
    let places: Vec<_> =
        rust_files(&root().join("src/transfer")).into_iter().flat_map(made).collect();
    assert_eq!(places, [root().join("src/transfer/sinks/containerd/unpacking.rs")]);
}

#[test]
fn each_module_imports_only_what_the_table_lets_it() {
    let mut wrong = Vec::new();
    for ((room, other), place) in read(Tests::Read).rooms() {
        if !table::may_import(&room, &other) {
            wrong.push(format!("{place}: {room} may not import {other}"));
        }
    }
    none(&wrong);
}

#[test]
fn each_module_stands_in_the_table() {
    let house = source();
    let named: BTreeSet<&str> = MAY_IMPORT.iter().map(|(room, _)| *room).chain(NOUNS).collect();
    let real: BTreeSet<&str> =
        house.modules.keys().filter(|name| name.len() == 1).map(|name| name[0].as_str()).collect();
    assert_eq!(real, named);
}

#[test]
fn each_permission_is_used() {
    let used = source().rooms();
    let mut wrong = Vec::new();
    for (room, allowed) in MAY_IMPORT {
        for other in *allowed {
            if !used.contains_key(&((*room).to_owned(), (*other).to_owned())) {
                wrong.push(format!("{room} may import {other} and does not: take it out"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn every_path_is_understood() {
    none(&source().lost());
}

#[test]
fn no_files_need_each_other() {
    none(&circles::circles(&source().needs()));
}

#[test]
fn files_are_short_enough_to_read() {
    let house = source();
    let own: BTreeSet<PathBuf> =
        house.modules.values().map(|placed| root().join("src").join(&placed.file)).collect();
    let mut wrong = Vec::new();
    for file in ["src", "tests", "benches"].map(|place| rust_files(&root().join(place))).concat() {
        let code = fs::read_to_string(&file).unwrap();
        let most = if own.contains(&file) { MAX_FILE_LINES } else { MAX_TEST_FILE_LINES };
        let lines = code.lines().count() - test_lines(&Module::parse(&code, Tests::LeftOut));
        if lines > most {
            let name = file.strip_prefix(root()).unwrap().display();
            wrong.push(format!("{name}: {lines} lines, {most} are the most"));
        }
    }
    none(&wrong);
}

fn test_lines(module: &Module) -> usize {
    module.test_lines + module.inline.values().map(test_lines).sum::<usize>()
}

#[test]
fn functions_are_short_enough_to_read() {
    let mut wrong = Vec::new();
    for placed in source().modules.values() {
        let long = placed.said.functions.iter().filter(|f| f.lines > MAX_FUNCTION_LINES);
        wrong.extend(long.map(|f| {
            let (file, most) = (placed.file.display(), MAX_FUNCTION_LINES);
            format!("src/{file}:{}: {} has {} lines, {most} are the most", f.line, f.name, f.lines)
        }));
    }
    none(&wrong);
}

#[test]
fn every_file_is_part_of_the_crate() {
    let house = read(Tests::Read);
    let own: BTreeSet<PathBuf> =
        house.modules.values().map(|placed| root().join("src").join(&placed.file)).collect();
    let main = root().join("src/main.rs");
    let files = rust_files(&root().join("src")).into_iter().filter(|file| *file != main);
    let lost = files.filter(|file| !own.contains(file)).map(|file| file.display().to_string());
    none(&lost.collect::<Vec<_>>());
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<String> = rust_files(&root().join("src"))
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    none(&silent);
}
