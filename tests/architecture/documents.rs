//! Documents that people find their way by: each file and each test that they name exists.

use std::fs;
use std::path::Path;

use crate::{none, root, rust_files};

/// Documents at the root whose paths are held. Those of `docs` come on top.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CHANGELOG.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "RELEASE.md",
    "SECURITY.md",
];

/// What paths within the project begin with; below `src`, they may begin with a module.
const PLACES: [&str; 7] = ["src/", "tests/", "docs/", "scripts/", "fuzz/", "benches/", "findings/"];

/// The paths that `text` names in backticks or links to, with their lines. Code blocks are pictures.
fn paths(text: &str) -> Vec<(usize, &str)> {
    let mut is_block = false;
    let mut found = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        if content.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            let quoted = content.split('`').skip(1).step_by(2).filter(|path| is_path(path));
            let linked = content.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            let linked = linked.map(|link| link.split('#').next().unwrap_or_default());
            let linked = linked.filter(|link| !link.is_empty() && !link.contains(':'));
            found.extend(quoted.chain(linked).map(|path| (line, path)));
        }
    }
    found
}

/// Whether it is a path in this project. Capitals stand for a name of the reader's choice.
fn is_path(text: &str) -> bool {
    let is_placed = PLACES.iter().any(|place| text.starts_with(place)) || text.ends_with(".rs");
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let is_choice = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase());
    is_placed && text.contains('/') && is_plain && !text.split(['/', '.']).any(is_choice)
}

#[test]
fn each_file_that_a_document_names_exists() {
    let mut documents: Vec<_> = DOCUMENTS.iter().map(|name| root().join(name)).collect();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        documents.push(entry.unwrap().path());
    }
    let mut wrong = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document)
            .unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        let folder = document.parent().unwrap_or(Path::new("/"));
        for (line, path) in paths(&text) {
            let exists = [folder.to_owned(), root().to_owned(), root().join("src")]
                .iter()
                .any(|place| place.join(path).exists());
            if !exists {
                let document = document.strip_prefix(root()).unwrap().display();
                wrong.push(format!("{document}:{line}: {path} does not exist"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn paths_are_known_from_other_words() {
    let text = "See `src/cli/mod.rs`, `src/cli/COMMAND.rs`, `--flag`, [a](docs/b.md#c) and\n\
                [d](https://e.example/f) or [g](#h).\n```\n`src/i.rs`\n```\n`registry/hint.rs`";
    let found = paths(text);
    assert_eq!(found, [(1, "src/cli/mod.rs"), (1, "docs/b.md"), (6, "registry/hint.rs")]);
}

/// A row of the table of quirks: its file, and the last words of the tests that it names. Those are
/// functions, or the modules that they are in.
#[derive(Debug, PartialEq, Eq)]
struct Quirk<'a> {
    line: usize,
    file: &'a str,
    tests: Vec<&'a str>,
}

fn quirks(text: &str) -> Vec<Quirk<'_>> {
    let is_row = |line: &&str| line.starts_with('|') && !line.starts_with("|---");
    let rows = (1..).zip(text.lines()).filter(|(_, line)| is_row(line)).skip(1);
    rows.map(|(line, row)| {
        let mut columns = row.trim_end_matches(['|', ' ']).rsplit('|');
        let names = columns.next().unwrap_or_default().split('`').skip(1).step_by(2);
        let tests = names.map(|name| name.rsplit("::").next().unwrap_or_default()).collect();
        let file = columns.next().unwrap_or_default().trim_matches([' ', '`']);
        Quirk { line, file, tests }
    })
    .collect()
}

#[test]
fn each_quirk_names_its_file_and_its_tests() {
    let places = ["src", "tests"].map(|place| rust_files(&root().join(place)));
    let files: Vec<_> = places.into_iter().flatten().collect();
    let code: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let modules: Vec<_> = files.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
    let text = fs::read_to_string(root().join("docs/quirks.md")).unwrap();
    let mut wrong = Vec::new();
    for Quirk { line, file, tests } in quirks(&text) {
        if !root().join("src").join(file).is_file() {
            wrong.push(format!("docs/quirks.md:{line}: there is no file src/{file}"));
        }
        let exists = |test: &str| code.contains(&format!("fn {test}(")) || modules.contains(&test);
        let missing = tests.into_iter().filter(|test| !exists(test));
        wrong.extend(missing.map(|test| format!("docs/quirks.md:{line}: there is no test {test}")));
    }
    none(&wrong);
}

#[test]
fn file_and_tests_are_read_from_the_last_columns() {
    let text =
        "Words.\n\n| quirk | file | test |\n|---|---|---|\n| `a` | `b.rs` | `c::d`, `…::e` |\n";
    assert_eq!(quirks(text), [Quirk { line: 5, file: "b.rs", tests: vec!["d", "e"] }]);
}
