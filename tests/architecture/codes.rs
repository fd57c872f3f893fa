//! What `doctor` may find, beside the document that tells it and the tests that show it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::{none, root, rust_files};

/// Every function of the crate and of its tests by its name, with its text up to the next one.
fn functions() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for file in ["src", "tests/it"].iter().flat_map(|place| rust_files(&root().join(place))) {
        let text = fs::read_to_string(&file).unwrap();
        let mut name = String::new();
        for line in text.lines() {
            let mut words = line.split_whitespace().skip_while(|word| *word != "fn");
            if let (Some(_), Some(declared)) = (words.next(), words.next())
                && !line.trim_start().starts_with("//")
            {
                name = declared.split(['(', '<']).next().unwrap_or_default().to_owned();
            }
            found.entry(name.clone()).or_insert_with(String::new).push_str(line);
        }
    }
    found
}

/// The texts in quotes that are codes: two words or more in small letters, with dashes, and whatever a
/// finding begins with.
fn codes(text: &str) -> BTreeSet<&str> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let is_code = |quoted: &&str| quoted.contains('-') && quoted.split('-').all(is_word);
    let begins = ["Finding::error(", "Finding::warning(", "Finding::note("];
    let of_finding = |begin: &'static str| {
        let quoted = |rest: &'_ str| rest.trim_start().starts_with('"');
        let after = text.split(begin).skip(1).filter(move |rest| quoted(rest));
        after.filter_map(|rest| rest.split('"').nth(1))
    };
    text.split('"').filter(is_code).chain(begins.into_iter().flat_map(of_finding)).collect()
}

/// The columns of a table's rows, without backticks.
fn rows(text: &str) -> Vec<Vec<String>> {
    let is_row = |line: &&str| line.starts_with("| `");
    let column = |column: &str| column.trim().to_owned();
    let columns = |line: &str| line.trim_matches('|').split('|').map(column).collect();
    text.lines().filter(is_row).map(columns).collect()
}

#[test]
fn each_code_of_doctor_has_a_line_and_a_test_that_meets_it() {
    let mut emitted = BTreeSet::new();
    for file in rust_files(&root().join("src/doctor")) {
        // What the network answers has the codes of a probe, and `serde` a word of its own.
        if !file.ends_with("network.rs") && !file.ends_with("finding.rs") {
            let text = fs::read_to_string(&file).unwrap();
            let own = text.split("#[cfg(test)]").next().unwrap_or_default();
            emitted.extend(codes(own).into_iter().map(str::to_owned));
        }
    }
    let document = fs::read_to_string(root().join("docs/doctor.md")).unwrap();
    let functions = functions();
    let mut wrong = Vec::new();
    let mut told = BTreeSet::new();
    for row in rows(&document) {
        let [code, .., test] = row.as_slice() else { continue };
        let (code, test) = (code.trim_matches('`'), test.trim_matches('`'));
        told.insert(code.to_owned());
        match functions.get(test.rsplit("::").next().unwrap_or_default()) {
            None => wrong.push(format!("docs/doctor.md: there is no test {test}")),
            Some(text) if !text.contains(code) => {
                wrong.push(format!("docs/doctor.md: {test} does not meet {code}"));
            }
            Some(_) => {}
        }
    }
    let missing = emitted.difference(&told).map(|code| format!("docs/doctor.md has no {code}"));
    let stale =
        told.difference(&emitted).map(|code| format!("docs/doctor.md: nobody tells {code}"));
    wrong.extend(missing.chain(stale));
    none(&wrong);
}

#[test]
fn each_entry_of_troubleshooting_names_a_test() {
    let text = fs::read_to_string(root().join("docs/troubleshooting.md")).unwrap();
    let functions = functions();
    let mut wrong = Vec::new();
    for entry in text.split("\n### ").skip(1) {
        let (title, body) = entry.split_once('\n').unwrap_or((entry, ""));
        let body = body.split("\n## ").next().unwrap_or_default();
        let shown = body.split_once("Shown by").map_or("", |(_, tests)| tests);
        let tests: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            wrong.push(format!("docs/troubleshooting.md: {title}: no test shows it"));
        }
        for test in tests {
            if !functions.contains_key(test.rsplit("::").next().unwrap_or_default()) {
                wrong.push(format!("docs/troubleshooting.md: {title}: there is no test {test}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn codes_are_known_from_other_texts() {
    let text = "Finding::note(\n\"left\", what, \"a why\"); (\"a-b\"); arg(\"--version\"); \"cri\"; \
                Finding::error(code, \"no\")";
    assert_eq!(codes(text), BTreeSet::from(["left", "a-b"]));
    let table = "| code | test |\n|---|---|\n| `a-b` | x | `c::d` |\n";
    assert_eq!(rows(table), [["`a-b`", "x", "`c::d`"].map(str::to_owned)]);
}
